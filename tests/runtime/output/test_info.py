import json

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interactive3d.runtime.output.camera_path import write_camera_path
from interactive3d.runtime.output.checkpoints import save_snapshot, snapshot_name
from interactive3d.runtime.output.info import describe_file
from interactive3d.runtime.output.pictures import save_picture
from interactive3d.runtime.output.problems import FileProblem
from interactive3d.runtime.output.run_folder import RunFolder
from interactive3d.runtime.output.splat_files import write_splats
from interactive3d.runtime.output.video import write_video
from interactive3d.runtime.scene.camera import turntable

FUZZ = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


def described(path):
    """Everything that is said can be printed and sent as JSON."""
    found = describe_file(path)
    assert json.loads(json.dumps(found, allow_nan=False)) == found and next(iter(found)) == "kind"
    return found


@pytest.mark.parametrize("suffix", ["ply", "splat"])
def test_splats(blobs, tmp_path, suffix):
    model = blobs(200)
    write_splats(model, tmp_path / f"a.{suffix}", comments=["hello"])
    found = described(tmp_path / f"a.{suffix}")
    assert found["kind"] == "splats" and found["blobs"] == 200
    assert found["box_from"] == pytest.approx(model.mean.min(0).values.tolist(), rel=1e-3)
    assert found["opacity_5_50_95"][1] == pytest.approx(float(model.opacity.median()), abs=0.02)
    assert found["nearly_transparent"] == int((model.opacity < 0.05).sum())
    assert found["up_in_file"] == "0 -1 0" and found["memory_bytes"] == sum(c.nbytes for c in model.columns.values())
    assert ("hello" in found["comments"]) == (suffix == "ply")


@pytest.mark.parametrize("suffix", ["glb", "obj", "stl", "ply", "off"])
def test_meshes(tmp_path, suffix):
    trimesh.creation.box((1, 2, 3)).export(tmp_path / f"a.{suffix}")
    found = described(tmp_path / f"a.{suffix}")
    assert (found["kind"], found["faces"], found["pieces"], found["textures"]) == ("mesh", 12, 1, [])
    assert found["area"] == pytest.approx(22) and found["box_to"] == [0.5, 1.0, 1.5]


def test_snapshots_and_other_tensors(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / snapshot_name(7)
    save_snapshot(path, {"model/mean": torch.zeros(5, 3)}, {"step": 7, "digest": "abc", "settings": {}})
    found = described(path)
    assert (found["kind"], found["step"], found["blobs"], found["digest"], found["whole"]) == (
        "snapshot",
        7,
        5,
        "abc",
        True,
    )
    assert "settings" not in found
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(FileProblem, match="checksum"):
        describe_file(path)
    save_file({"w": torch.zeros(2, 3)}, tmp_path / "other.safetensors")
    assert described(tmp_path / "other.safetensors")["shapes"] == {"w": [2, 3]}


def test_runs(tmp_path):
    run = RunFolder.create(tmp_path / "dragon")
    assert described(run.path)["finished"] is False
    run.output("a.ply").write_text("x")
    run.write_record({"steps": 600, "versions": {}, "state_digest": "abc"})
    save_snapshot(run.checkpoints / snapshot_name(5), {}, {})
    found = described(run.path)
    assert (
        found["finished"]
        and found["steps"] == 600
        and found["results"] == ["a.ply"]
        and found["checkpoints"] == [snapshot_name(5)]
    )


def test_paths_pictures_and_videos(tmp_path):
    write_camera_path(tmp_path / "a.json", turntable(10), fps=5)
    found = described(tmp_path / "a.json")
    assert (found["kind"], found["frames"], found["seconds"], found["video_size"]) == (
        "camera path",
        10,
        2.0,
        "512 x 512",
    )
    save_picture(tmp_path / "a.png", torch.zeros(4, 6, 3), {"prompt": "x"})
    found = described(tmp_path / "a.png")
    assert (found["kind"], found["width"], found["height"], found["comments"]) == ("picture", 6, 4, {"prompt": "x"})
    for suffix in ("mp4", "webm", "gif"):
        write_video(tmp_path / f"a.{suffix}", (np.full((16, 16, 3), 9 * i, np.uint8) for i in range(5)), 10)
        found = described(tmp_path / f"a.{suffix}")
        assert (found["kind"], found["frames"], found["width"], found["seconds"]) == (
            "video",
            5,
            16,
            pytest.approx(0.5),
        ), suffix


def test_what_is_not_known_is_said(tmp_path):
    for name, content in (("a.txt", b"x"), ("a.spz", b"x"), ("a.mp4", b"x" * 100), ("a.png", b"x"), ("a.json", b"{}")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FileProblem, match=name):
            describe_file(tmp_path / name)
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileProblem, match="not the folder of a run"):
        describe_file(tmp_path / "folder")
    with pytest.raises(FileProblem, match="no such file"):
        describe_file(tmp_path / "none.ply")


@FUZZ
@given(
    st.binary(max_size=200),
    st.sampled_from(
        ["ply", "splat", "glb", "gltf", "obj", "stl", "off", "safetensors", "json", "png", "mp4", "gif", "what", ""]
    ),
)
def test_random_files_of_every_kind_are_described_or_refused(tmp_path, survives, content, suffix):
    path = tmp_path / f"random.{suffix}"
    path.write_bytes(content)
    survives(lambda: describe_file(path))


@pytest.mark.parametrize("suffix", ["ply", "splat", "glb", "gltf", "obj", "stl", "safetensors", "json", "png"])
def test_files_of_four_gigabytes_are_refused_without_reading_them(tmp_path, survives, suffix):
    """Sparse files: they take no room on the disk, but would fill the memory of a reader that trusts them."""
    path = tmp_path / f"huge.{suffix}"
    heads = {
        "ply": b"ply\nformat binary_little_endian 1.0\nelement vertex 2147483648\nproperty uchar opacity\nend_header\n",
        "glb": b"glTF\x02\0\0\0\xff\xff\xff\xff\xff\xff\xff\xeeJSON",
        "safetensors": (2**32 - 100).to_bytes(8, "little"),
    }
    with path.open("wb") as stream:
        stream.write(heads.get(suffix, b""))
        stream.truncate(2**32)
    assert survives(lambda: describe_file(path)) is not None


def test_a_huge_snapshot_that_claims_less_is_refused_without_reading_it(tmp_path, survives):
    path = tmp_path / snapshot_name(1)
    save_snapshot(path, {"a": torch.zeros(2)}, {})
    with path.open("r+b") as stream:
        stream.truncate(2**32)
    problem = survives(lambda: describe_file(path))
    assert problem is not None and "should hold 8 bytes of tensors, but holds 4.3 GB" in str(problem)
