import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import safetensors
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interactive3d.runtime.output import checkpoints
from interactive3d.runtime.output.checkpoints import (
    drop_after,
    load_snapshot,
    newest_whole,
    prune_snapshots,
    read_snapshot_meta,
    save_snapshot,
    snapshot_name,
    snapshots,
    step_of,
)
from interactive3d.runtime.output.problems import FileProblem

FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


def state() -> dict[str, torch.Tensor]:
    shared = torch.arange(12.0).reshape(3, 4)
    return {
        "model/mean": torch.tensor([[1.0, float("nan")], [-0.0, float("inf")]]),
        "shared": shared,
        "view": shared[:, ::2],
        "tags": torch.tensor([2**62, -1]),
        "frozen": torch.tensor([True, False]),
        "half": torch.tensor([1.5], dtype=torch.bfloat16),
        "number": torch.tensor(7, dtype=torch.int32),
        "nothing": torch.zeros(0, 3),
        "generator": torch.Generator().manual_seed(1).get_state(),
    }


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def test_everything_comes_back_to_the_bit(tmp_path):
    meta = {"step": 7, "loss": 0.1, "names": ["a", "ü"], "nested": {"none": None}}
    save_snapshot(tmp_path / "a.safetensors", state(), meta)
    tensors, back = load_snapshot(tmp_path / "a.safetensors")
    assert back == meta == read_snapshot_meta(tmp_path / "a.safetensors")
    assert set(tensors) == set(state())
    for name, tensor in state().items():
        assert tensors[name].dtype == tensor.dtype and tensors[name].shape == tensor.shape
        assert bits(tensors[name]) == bits(tensor), name


def test_equal_states_make_equal_files(tmp_path):
    save_snapshot(tmp_path / "a", state(), {"a": 1, "b": 2})
    save_snapshot(tmp_path / "b", dict(reversed(state().items())), {"b": 2, "a": 1})
    assert load_snapshot(tmp_path / "a")[1] == load_snapshot(tmp_path / "b")[1]
    with safetensors.safe_open(tmp_path / "a", "pt") as a, safetensors.safe_open(tmp_path / "b", "pt") as b:
        assert a.metadata() == b.metadata()


def test_anybodys_safetensors_reader_opens_it(tmp_path):
    save_snapshot(tmp_path / "a.safetensors", state(), {"step": 3})
    with safetensors.safe_open(tmp_path / "a.safetensors", "pt") as opened:
        assert json.loads(opened.metadata()["meta"]) == {"step": 3}
        assert torch.equal(opened.get_tensor("shared"), state()["shared"])


def small_file(folder: Path) -> bytes:
    path = folder / "small.safetensors"
    save_snapshot(path, {"a": torch.arange(6.0), "b": torch.tensor([True])}, {"step": 1, "text": "x" * 30})
    return path.read_bytes()


@FUZZ
@given(data=st.data())
def test_every_truncation_is_found(tmp_path, survives, data):
    content = small_file(tmp_path)
    path = tmp_path / "cut.safetensors"
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    assert survives(lambda: load_snapshot(path)) is not None


@FUZZ
@given(data=st.data())
def test_every_flipped_bit_is_found(tmp_path, survives, data):
    content = bytearray(small_file(tmp_path))
    place, bit = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 7))
    content[place] ^= 1 << bit
    path = tmp_path / "flipped.safetensors"
    path.write_bytes(content)
    problem = survives(lambda: load_snapshot(path))
    # The only bytes that carry nothing are the blanks that pad the header.
    padding = place < 8 + int.from_bytes(content[:8], "little") and small_file(tmp_path)[place : place + 1] == b" "
    assert problem is not None or padding


@FUZZ
@given(st.binary(max_size=300))
def test_random_bytes_are_refused(tmp_path, survives, content):
    path = tmp_path / "random.safetensors"
    path.write_bytes(content)
    assert survives(lambda: load_snapshot(path)) is not None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(checkpoints.FORMAT),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["__metadata__", "format", "version", "meta", "dtype", "shape"]), inner)
    ),
    max_leaves=12,
)


@FUZZ
@given(JSON)
def test_random_headers_are_refused(tmp_path, survives, header):
    path = tmp_path / "random.safetensors"
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(16))
    assert survives(lambda: load_snapshot(path)) is not None


def file_of(header: object, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


GOOD = {"format": checkpoints.FORMAT, "version": "1", "meta": "{}", "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"abc", "cut short"),
        ((2**40).to_bytes(8, "little") + b"{}", "its header would take 1.1 TB"),
        ((2**63).to_bytes(8, "little"), "its header would take"),
        (file_of({}), "no snapshot of this program"),
        (file_of([1]), "no snapshot of this program"),
        (file_of({"__metadata__": GOOD | {"version": "2"}}), "of version 2, this program reads 1"),
        (file_of({"__metadata__": {k: v for k, v in GOOD.items() if k != "sha256"}}), "its record is missing"),
        (file_of({"__metadata__": GOOD}), "checksum"),
        (
            file_of({"__metadata__": GOOD, "a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}),
            "is damaged",
        ),
        (
            file_of({"__metadata__": GOOD, "a": {"dtype": "F32", "shape": [2**62, 8], "data_offsets": [0, 0]}}),
            "is damaged",
        ),
        (len(b"[" * 5000).to_bytes(8, "little") + b"[" * 5000, "is damaged"),
    ],
)
def test_lies_are_named(tmp_path, survives, content, message):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    problem = survives(lambda: load_snapshot(path))
    assert problem is not None and message in str(problem)


def test_a_record_that_was_swapped_is_found(tmp_path):
    path = tmp_path / "a.safetensors"
    save_snapshot(path, {"a": torch.zeros(2)}, {"step": 1})
    path.write_bytes(path.read_bytes().replace(b'\\"step\\": 1', b'\\"step\\": 9'))
    with pytest.raises(FileProblem, match="checksum"):
        load_snapshot(path)


def test_names_sort_like_steps_and_tell_them():
    names = [snapshot_name(s) for s in (0, 9, 10, 99_999_999, 100_000_000)]
    assert [step_of(Path(n)) for n in names] == [0, 9, 10, 99_999_999, 100_000_000]
    with pytest.raises(ValueError, match="step"):
        step_of(Path("last.safetensors"))
    with pytest.raises(ValueError, match="0 or more"):
        snapshot_name(-1)


def fill(folder: Path, *steps: int) -> None:
    for step in steps:
        save_snapshot(folder / snapshot_name(step), {"a": torch.tensor([step])}, {"step": step})


def test_newest_whole_passes_over_broken_ones_and_says_why(tmp_path):
    assert newest_whole(tmp_path / "missing").path is None
    fill(tmp_path, 5, 40, 300, 2000)
    (tmp_path / "notes.safetensors").write_bytes(b"not ours")
    (tmp_path / snapshot_name(2000)).write_bytes(b"")
    broken = bytearray((tmp_path / snapshot_name(300)).read_bytes())
    broken[-1] ^= 1
    (tmp_path / snapshot_name(300)).write_bytes(broken)
    found = newest_whole(tmp_path)
    assert found.path == tmp_path / snapshot_name(40)
    assert [step_of(p.path) for p in found.skipped] == [2000, 300]
    assert "is empty" in str(found.skipped[0]) and "checksum" in str(found.skipped[1])


@pytest.mark.parametrize("name", ["before", "wings"])
def test_of_one_step_the_checkpoint_without_a_name_is_the_newest(name, tmp_path):
    fill(tmp_path, 5)
    shutil.copy(tmp_path / snapshot_name(5), tmp_path / f"{name}-{snapshot_name(5)}")
    assert newest_whole(tmp_path).path == tmp_path / snapshot_name(5)


def test_pruning_keeps_the_newest_and_the_named(tmp_path):
    fill(tmp_path, 1, 2, 3, 4, 5)
    (tmp_path / ".step-00000006.123-ab.part.safetensors").write_bytes(b"left by a killed writer")
    gone = prune_snapshots(tmp_path, 2, always=frozenset({1}))
    assert [step_of(p) for p in gone] == [2, 3]
    assert [step_of(p) for p in snapshots(tmp_path)] == [1, 4, 5]
    assert len(list(tmp_path.iterdir())) == 3
    with pytest.raises(ValueError, match="keep"):
        prune_snapshots(tmp_path, 0)


def test_going_back_drops_the_future(tmp_path):
    fill(tmp_path, 1, 2, 3)
    assert [step_of(p) for p in drop_after(tmp_path, 2)] == [3]
    assert newest_whole(tmp_path).path == tmp_path / snapshot_name(2)


def test_a_record_that_json_cannot_hold_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        save_snapshot(tmp_path / "a", {}, {"x": torch.zeros(1)})
    assert list(tmp_path.iterdir()) == []


def test_killed_at_any_moment_a_whole_snapshot_remains(tmp_path):
    program = textwrap.dedent(
        f"""
        import torch
        from interactive3d.runtime.output.checkpoints import save_snapshot, snapshot_name
        state = {{"a": torch.arange(400_000.0)}}
        for step in range(10_000):
            save_snapshot("{tmp_path}/" + snapshot_name(step), state, {{"step": step}})
            print(step, flush=True)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) == 5:
            break
    os.kill(process.pid, signal.SIGKILL)
    rest = process.stdout.read().split()
    process.stdout.close()
    process.wait()
    last = max([5, *map(int, rest)])
    found = newest_whole(tmp_path)
    assert found.skipped == () and found.path is not None
    assert step_of(found.path) >= last
