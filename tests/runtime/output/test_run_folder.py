import csv
import errno
import hashlib
import json
import os
import stat
import subprocess
import sys

import pytest
import torch

from interactive3d.runtime.output import atomic
from interactive3d.runtime.output.atomic import atomic_file, atomic_path, check_space, write_text
from interactive3d.runtime.output.problems import FileProblem
from interactive3d.runtime.output.run_folder import MARKER, RunFolder, is_run_folder, state_digest


# -- atomic files -----------------------------------------------------------------------------------------------------------
def test_a_file_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "new" / "a.txt"
    write_text(target, "first")
    with pytest.raises(RuntimeError, match="on purpose"), atomic_file(target) as stream:
        stream.write(b"second")
        raise RuntimeError("on purpose")
    with pytest.raises(RuntimeError, match="on purpose"), atomic_path(target) as temporary:
        temporary.write_bytes(b"third")
        raise RuntimeError("on purpose")
    assert target.read_text() == "first"
    assert [p.name for p in target.parent.iterdir()] == ["a.txt"]


def test_results_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        write_text(tmp_path / "a", "x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_a_full_disk_is_said_clearly_and_the_old_file_stays(tmp_path, monkeypatch):
    write_text(tmp_path / "a", "old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(FileProblem, match=r"the disk is full .* free some room"):
        write_text(tmp_path / "a", "new")
    monkeypatch.undo()
    assert (tmp_path / "a").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_really_full_device_is_said_clearly(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic.os, "open", lambda *_: os.dup(full.fileno()))
    with open("/dev/full", "wb") as full, pytest.raises(FileProblem, match="disk is full"):
        write_text(tmp_path / "a", "x" * 100_000)


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileProblem, match="is not a folder"):
        write_text(tmp_path / "file" / "a", "x")
    with pytest.raises(FileProblem, match="is a folder"):
        write_text(tmp_path, "x")


def test_too_little_room_is_refused_before_work_begins(tmp_path):
    check_space(tmp_path / "not" / "there", 1)
    with pytest.raises(FileProblem, match=r"1000\.0 TB are needed"):
        check_space(tmp_path, 10**15)


# -- digest -----------------------------------------------------------------------------------------------------------------
def test_digest_is_the_written_down_recipe():
    expected = hashlib.sha256(
        b"1:a|float32|[2]|" + bytes.fromhex("0000803f00000040") + b"1:b|bool|[1]|\x01"
    ).hexdigest()
    assert state_digest({"b": torch.tensor([True]), "a": torch.tensor([1.0, 2.0])}) == expected


def test_digest_sees_every_difference_and_no_layout():
    base = {"a": torch.arange(6.0).reshape(2, 3)}
    digest = state_digest(base)
    assert state_digest({"a": base["a"].T.contiguous().T}) == digest
    others = [
        {"b": base["a"]},
        {"a": base["a"].reshape(3, 2)},
        {"a": base["a"].double()},
        {"a": base["a"].int()},
        {"a": base["a"] + 2.0**-22},
        {"a": base["a"], "b": torch.zeros(0)},
        {},
    ]
    digests = [state_digest(o) for o in others]
    assert digest not in digests and len(set(digests)) == len(others)
    assert state_digest({"a": torch.tensor(0.0)}) != state_digest({"a": torch.tensor(-0.0)})
    nan = {"a": torch.tensor(float("nan"), dtype=torch.bfloat16)}
    assert state_digest(nan) == state_digest(nan)
    with pytest.raises(TypeError, match="'a'"):
        state_digest({"a": 3})


# -- run folder -------------------------------------------------------------------------------------------------------------
def test_a_run_and_all_it_leaves(tmp_path):
    run = RunFolder.create(tmp_path / "out" / "dragon", needed=1000)
    run.save_script("prompt")
    run.output("dragon.ply").write_text("ply")
    run.output("frames/a.png").write_text("png")
    run.write_record({"steps": 3, "state_digest": "abc"})
    run.log("hello")
    with run.metrics(("step", "loss")) as metrics:
        metrics.append({"step": 0, "loss": 0.5})
        # Read while it is open: each row is on its way to the disk at once.
        assert run.metrics_path.read_text().splitlines() == ["step,loss", "0,0.5"]
        metrics.append({"step": 1})
    again = RunFolder.open(tmp_path / "out" / "dragon")
    assert again.read_record() == {"steps": 3, "state_digest": "abc"}
    assert again.owned() == ["dragon.ply", "frames/a.png"]
    assert again.checkpoints.is_dir() and again.script_path.read_text() == "prompt"
    assert (again.path / "run.log").read_text().endswith("hello\n")
    with run.metrics_path.open() as stream:
        assert list(csv.DictReader(stream))[1] == {"step": "1", "loss": ""}


def test_a_folder_of_somebody_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(FileProblem, match=r"no run of ours wrote \(such as 'thesis.tex'\)"):
        RunFolder.create(tmp_path)
    with pytest.raises(FileProblem, match="is not the folder of a run"):
        RunFolder.open(tmp_path)
    with pytest.raises(FileProblem, match="is a file"):
        RunFolder.create(tmp_path / "thesis.tex")
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / ".DS_Store").write_text("x")
    RunFolder.create(tmp_path)
    assert is_run_folder(tmp_path)


def earlier_run(path):
    run = RunFolder.create(path)
    run.output("old.ply").write_text("old")
    run.output("frames").mkdir()
    (run.path / "frames" / "1.png").write_text("x")
    run.write_record({"old": True})
    (run.checkpoints / "step-00000001.safetensors").write_text("x")
    (run.path / "notes.txt").write_text("mine")
    (run.checkpoints / "kept.txt").write_text("mine")
    return run


def test_a_new_run_deletes_what_the_earlier_one_wrote_and_nothing_else(tmp_path):
    earlier_run(tmp_path / "a")
    run = RunFolder.create(tmp_path / "a")
    left = sorted(str(p.relative_to(run.path)) for p in run.path.rglob("*"))
    assert left == [MARKER, "checkpoints", "checkpoints/kept.txt", "notes.txt"]
    assert run.owned() == []


def test_a_new_run_can_archive_or_keep_the_earlier_one(tmp_path):
    earlier_run(tmp_path / "a")
    for _ in range(2):
        RunFolder.create(tmp_path / "a", previous="archive")
    assert (tmp_path / "a~1" / "old.ply").read_text() == "old"
    assert is_run_folder(tmp_path / "a~2") and is_run_folder(tmp_path / "a")
    earlier_run(tmp_path / "b")
    assert (RunFolder.create(tmp_path / "b", previous="keep").path / "old.ply").exists()


def test_a_marker_that_lies_deletes_nothing_outside(tmp_path):
    outside = tmp_path / "precious"
    outside.mkdir()
    (outside / "a").write_text("x")
    run = RunFolder.create(tmp_path / "a")
    (run.path / "link").symlink_to(outside)
    (run.path / "dir").symlink_to(outside)
    names = ["../precious", "../precious/a", str(outside / "a"), "link", "dir/a"]
    (run.path / MARKER).write_text(json.dumps({"files": names}))
    RunFolder.create(tmp_path / "a")
    assert (outside / "a").read_text() == "x"
    (run.path / MARKER).write_text("{broken")
    assert RunFolder.create(tmp_path / "a").owned() == []


@pytest.mark.parametrize(
    "name", ["../a.ply", "/etc/passwd", "a/../../b", "", " ", "C:\\x", "run.json", "checkpoints/a", MARKER, "..\\x"]
)
def test_results_stay_in_the_folder(tmp_path, name):
    run = RunFolder.create(tmp_path / "a")
    with pytest.raises(FileProblem, match="name"):
        run.output(name)


def test_results_do_not_leave_through_a_link(tmp_path):
    run = RunFolder.create(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (run.path / "link").symlink_to(tmp_path / "b")
    with pytest.raises(FileProblem, match="through a link"):
        run.output("link/a.ply")


@pytest.mark.parametrize("content", ["", "{", "[1]", "[" * 5000, "\xff"])
def test_a_broken_record_is_said(tmp_path, content):
    run = RunFolder.create(tmp_path / "a")
    (run.path / "run.json").write_text(content, encoding="latin-1")
    with pytest.raises(FileProblem, match=r"run\.json"):
        run.read_record()


def test_metrics_go_on_where_the_resumed_run_goes_on(tmp_path):
    run = RunFolder.create(tmp_path / "a")
    with run.metrics(("step", "loss")) as metrics:
        for step in range(6):
            metrics.append({"step": step, "loss": step / 10})
    with run.metrics_path.open("a") as stream:
        stream.write("6,0.")  # torn by a kill
    with run.metrics(("step", "loss", "blobs"), resume_at=4) as metrics:
        metrics.append({"step": 4, "loss": 9, "blobs": 7})
    assert run.metrics_path.read_text().splitlines() == [
        "step,loss,blobs",
        "0,0.0,",
        "1,0.1,",
        "2,0.2,",
        "3,0.3,",
        "4,9,7",
    ]
    with pytest.raises(ValueError, match="unknown columns"), run.metrics(("step",)) as metrics:
        metrics.append({"stepp": 1})
    run.metrics_path.write_bytes(b"\xff\0" + b"x" * 200_000)
    with run.metrics(("step",), resume_at=3):
        pass
    assert run.metrics_path.read_text().splitlines() == ["step"]


def test_two_runs_in_one_folder_are_refused(tmp_path):
    run = RunFolder.create(tmp_path / "a")
    program = f"from interactive3d.runtime.output.run_folder import RunFolder\nwith RunFolder.open({str(run.path)!r}).locked(): pass"
    with run.locked():
        other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert other.returncode == 1 and "another run is writing" in other.stderr
    with run.locked():
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no lock that ends with its process")
@pytest.mark.parametrize("previous", ["replace", "archive"])
def test_a_folder_in_which_a_run_goes_on_is_not_cleared_for_another(tmp_path, previous):
    run = RunFolder.create(tmp_path / "run")
    write_text(run.output("splats.ply"), "of the run that goes on")
    with run.locked(), pytest.raises(FileProblem, match="is in use"):
        RunFolder.create(run.path, previous)
    assert (run.path / "splats.ply").read_text() == "of the run that goes on"
    RunFolder.create(run.path, previous)
    assert not (run.path / "splats.ply").exists()
