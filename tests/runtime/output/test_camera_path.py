import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interactive3d.runtime.output.camera_path import (
    camera_to_world,
    load_camera_path,
    read_camera_path,
    write_camera_path,
)
from interactive3d.runtime.output.problems import FileProblem
from interactive3d.runtime.output.splines import spline
from interactive3d.runtime.scene.camera import Camera, turntable

# Matrices pass through float32 view matrices.
FLOAT_TOLERANCE = 1e-5
FUZZ = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


def save(folder: Path, **tree) -> Path:
    path = folder / "path.json"
    path.write_text(json.dumps(tree))
    return path


def key(x=0.0, y=0.0, z=2.5, **more):
    return {"position": [x, y, z], **more}


def opengl(position, right=(1, 0, 0), up=(0, 1, 0), back=(0, 0, 1)):
    matrix = np.eye(4)
    matrix[:3] = np.array([right, up, back, position], dtype=float).T
    return matrix


def direction(camera: Camera) -> np.ndarray:
    difference = np.subtract(camera.target, camera.position)
    return difference / np.linalg.norm(difference)


# -- frames -----------------------------------------------------------------------------------------------------------------
def test_nerfstudio_frames_stand_z_up(tmp_path):
    """A file as nerfstudio's viewer writes it: the camera stands in front (-y), looks to +y, level with z up."""
    matrix = opengl((0, -2, 0.5), right=(1, 0, 0), up=(0, 0, 1), back=(0, -1, 0))
    entry = {"camera_to_world": matrix.flatten().tolist(), "fov": 50.0, "aspect": 1.0}
    path = save(
        tmp_path,
        default_fov=50.0,
        default_transition_sec=0.5,
        keyframes=[],
        camera_type="perspective",
        render_height=1080,
        render_width=1920,
        fps=24,
        seconds=3 / 24,
        is_cycle=False,
        smoothness_value=0.0,
        camera_path=[entry, entry, entry],
    )
    found = load_camera_path(path)
    assert len(found.cameras) == 3 and (found.fps, found.width, found.height, found.loop) == (24, 1920, 1080, False)
    camera = found.cameras[0]
    assert camera.position == pytest.approx((0, 0.5, 2)) and camera.fov == 50.0
    assert direction(camera) == pytest.approx((0, 0, -1), abs=1e-9)
    assert found.notes == ()


@pytest.mark.parametrize("form", ["flat", "rows", "three rows", "old text"])
def test_matrices_in_every_form(tmp_path, form):
    matrix = opengl((1, 2, 3), right=(0, 0, -1), up=(0, 1, 0), back=(1, 0, 0))
    value = {
        "flat": matrix.flatten().tolist(),
        "rows": matrix.tolist(),
        "three rows": matrix[:3].flatten().tolist(),
        "old text": json.dumps(matrix.T.flatten().tolist()),
    }[form]
    camera = read_camera_path(save(tmp_path, camera_path=[{"camera_to_world": value, "fov": 30}]))[0]
    assert camera.position == (1, 2, 3) and direction(camera) == pytest.approx((-1, 0, 0), abs=1e-9)


def test_up_is_told_by_the_caller_before_the_file(tmp_path):
    path = save(tmp_path, up="z", camera_path=[{"position": [0, -2, 0], "target": [0, 0, 0]}])
    assert read_camera_path(path)[0].position == pytest.approx((0, 0, 2))
    assert read_camera_path(path, up="y")[0].position == pytest.approx((0, -2, 0))


def test_a_written_path_reads_back(tmp_path):
    cameras = turntable(12, elevation=20.0, fov=35.0)
    for up in ("y", "z"):
        write_camera_path(
            tmp_path / "a.json", cameras, fps=12, keyframes=cameras[::4], loop=True, width=640, height=360, up=up
        )
        found = load_camera_path(tmp_path / "a.json")
        assert (found.fps, found.width, found.height, found.loop) == (12, 640, 360, True)
        for a, b in zip(found.cameras, cameras, strict=True):
            assert (
                a.position == pytest.approx(b.position, abs=1e-9)
                and a.target == pytest.approx(b.target, abs=1e-9)
                and a.fov == b.fov
            )


def test_written_matrices_alone_say_the_same(tmp_path):
    cameras = turntable(8, elevation=-30.0)
    write_camera_path(tmp_path / "a.json", cameras, up="z")
    tree = json.loads((tmp_path / "a.json").read_text())
    for entry in tree["camera_path"]:
        del entry["position"], entry["target"]
    del tree["up"]  # what nerfstudio's own files look like
    (tmp_path / "a.json").write_text(json.dumps(tree))
    found = load_camera_path(tmp_path / "a.json")
    assert found.notes == ()
    for a, b in zip(found.cameras, cameras, strict=True):
        assert np.allclose(a.view_matrix().numpy(), b.view_matrix().numpy(), atol=FLOAT_TOLERANCE)


def test_camera_to_world_inverts_the_view_matrix_in_opengl_axes():
    camera = Camera.orbit(30, 20)
    view = camera.view_matrix().numpy()
    flip = np.diag([1.0, -1.0, -1.0, 1.0])
    assert np.allclose(camera_to_world(camera) @ flip @ view, np.eye(4), atol=FLOAT_TOLERANCE)


def test_roll_is_told(tmp_path):
    s = math.sqrt(0.5)
    matrix = opengl((0, 0, 2), right=(s, s, 0), up=(-s, s, 0))
    found = load_camera_path(save(tmp_path, camera_path=[{"camera_to_world": matrix.tolist()}]))
    assert [(n.code, n.count) for n in found.notes] == [("roll-dropped", 1)] and "45 degrees" in str(found.notes[0])


# -- keyframes --------------------------------------------------------------------------------------------------------------
def test_keyframes_are_joined_and_met(tmp_path):
    path = save(tmp_path, fps=10, seconds=4, keyframes=[key(0, fov=30), key(1, fov=60), key(2, fov=30), key(1), key(0)])
    cameras = read_camera_path(path, frames=41)
    assert [cameras[i].position[0] for i in (0, 10, 20, 30, 40)] == pytest.approx([0, 1, 2, 1, 0])
    assert [cameras[i].fov for i in (0, 10, 20, 30)] == pytest.approx([30, 60, 30, 40])
    steps = np.diff([c.position[0] for c in cameras])
    assert np.abs(np.diff(steps)).max() < 0.05, "no jerks: at a corner without rounding the step changes by 0.2"
    assert len(read_camera_path(path)) == 40


def test_a_loop_comes_round_without_a_seam(tmp_path):
    corners = [key(2, 0, 0), key(0, 0, -2), key(-2, 0, 0), key(0, 0, 2)]
    cameras = read_camera_path(save(tmp_path, fps=30, seconds=4, is_cycle=True, keyframes=corners))
    assert len(cameras) == 120
    positions = np.array([c.position for c in cameras])
    assert positions[[0, 30, 60, 90]] == pytest.approx(np.array([k["position"] for k in corners], dtype=float))
    radius = np.linalg.norm(positions, axis=1)
    assert radius.min() > 1.75 and radius.max() < 2.05
    steps = np.linalg.norm(np.diff(positions, axis=0, append=positions[:1]), axis=1)
    assert steps.max() / steps.min() < 2 and abs(steps[-1] / steps[0] - 1) < 0.1, "no jolt at the seam"


def test_tension_stands_still_at_keyframes(tmp_path):
    keys = [key(0), key(1), key(3)]
    loose = read_camera_path(save(tmp_path, fps=10, seconds=4, keyframes=keys), frames=41)
    tight = read_camera_path(save(tmp_path, fps=10, seconds=4, smoothness_value=1.0, keyframes=keys), frames=41)
    assert abs(tight[21].position[0] - 1) < 0.02 < abs(loose[21].position[0] - 1)


def test_times_and_transitions_space_the_keyframes(tmp_path):
    timed = [key(0, time=0), key(1, time=1), key(2, time=4)]
    assert read_camera_path(save(tmp_path, fps=10, keyframes=timed), frames=41)[10].position[0] == pytest.approx(1)
    keys = [key(0, override_transition_sec=1), key(1, override_transition_sec=3), key(2)]
    assert read_camera_path(save(tmp_path, fps=10, keyframes=keys), frames=41)[10].position[0] == pytest.approx(1)
    ignored = [key(0, override_transition_sec=1, override_transition_enabled=False), key(1), key(2)]
    cameras = read_camera_path(save(tmp_path, fps=10, default_transition_sec=2, keyframes=ignored))
    assert len(cameras) == 40


def test_few_poses_in_camera_path_are_keyframes(tmp_path):
    cameras = read_camera_path(save(tmp_path, fps=10, seconds=2, camera_path=[key(0), key(1)]))
    assert len(cameras) == 20 and cameras[-1].position[0] == pytest.approx(1)
    assert len(read_camera_path(save(tmp_path, camera_path=[key(0), key(1)]))) == 2


def test_one_keyframe_stands_still(tmp_path):
    cameras = read_camera_path(save(tmp_path, fps=5, seconds=2, keyframes=[key(1)]))
    assert len(cameras) == 10 and len(set(cameras)) == 1


def test_spline_is_catmull_rom_between_even_times():
    values = np.array([[0.0], [1.0], [4.0], [9.0]])
    times = np.arange(4.0)
    assert spline(values, times, np.array([1.5]))[0, 0] == pytest.approx((-0 + 9 * 1 + 9 * 4 - 9) / 16)
    # Parabolas are met on uneven times as well.
    uneven = np.array([0.0, 0.5, 2.0, 3.0])
    assert spline(uneven[:, None] ** 2, uneven, np.array([1.0]))[0, 0] == pytest.approx(1.0)
    with pytest.raises(ValueError, match="increasing"):
        spline(values, np.zeros(4), times)


# -- what is refused --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "holds a list"),
        ("{}", "neither 'camera_path' nor 'keyframes'"),
        ('{"keyframes": 3}', "keyframes: expected a list, got 3"),
        ('{"keyframes": [7]}', "keyframes[0]: expected an object, got 7"),
        ('{"keyframes": [{}]}', "keyframes[0] has no pose"),
        ('{"keyframes": [{"position": [1, 2]}]}', "keyframes[0].position: expected three numbers"),
        ('{"keyframes": [{"position": [1, 2, NaN]}]}', "keyframes[0].position"),
        ('{"keyframes": [{"position": [1, 2, 1e30]}]}', "keyframes[0].position"),
        ('{"keyframes": [{"position": [1, 2, true]}]}', "keyframes[0].position"),
        ('{"keyframes": [{"position": [0, 0, 0]}]}', "keyframes[0].target: expected another point"),
        (
            '{"keyframes": [{"position": [0, 0, 1], "fov": 190}]}',
            "keyframes[0].fov: expected a number of 0.1 to 170, got 190",
        ),
        ('{"keyframes": [{"position": [0, 0, 1], "fov": "wide"}]}', "keyframes[0].fov"),
        ('{"camera_path": [{"camera_to_world": [1, 2]}]}', "camera_path[0].camera_to_world: expected 16 numbers"),
        (
            '{"camera_path": [{"camera_to_world": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]}]}',
            "without a rotation",
        ),
        ('{"camera_path": [{"matrix": "hello"}]}', "camera_path[0].matrix"),
        ('{"fps": 0, "keyframes": []}', "fps: expected a number"),
        ('{"fps": 1e400, "keyframes": []}', "fps: expected a number"),
        ('{"seconds": 1e9, "keyframes": []}', "seconds: expected"),
        ('{"fps": 240, "seconds": 3600, "keyframes": [{"position": [0, 0, 1]}]}', "864000 frames, the limit is 100000"),
        ('{"is_cycle": "yes"}', "is_cycle: expected true or false"),
        ('{"render_width": 1e9, "keyframes": [{"position": [0, 0, 1]}]}', "render_width"),
        ('{"camera_type": "equirectangular"}', "camera_type: expected perspective"),
        ('{"up": "w"}', "up: expected one of"),
        ('{"up": []}', "up: expected one of"),
        ('{"keyframes": [{"position": [0, 0, 1], "time": 1}, {"position": [0, 0, 2]}]}', "keyframes[1].time"),
        (
            '{"keyframes": [{"position": [0, 0, 1], "time": 1}, {"position": [0, 0, 2], "time": 1}]}',
            "keyframes[1].time",
        ),
        ('{"keyframes": [{"position": [0, 0, 1]}, {"position": [0, 0, -1], "target": [0, 0, -3]}]}', None),
        ('{"frames": 3, "keyframes": [{"position": [0,0,1]}, {"position": [0,0,-1], "target": [0,0,1e-7]}]}', None),
    ],
)
def test_wrong_values_are_named_with_their_place(tmp_path, survives, content, message):
    path = tmp_path / "path.json"
    path.write_text(content)
    problem = survives(lambda: load_camera_path(path))
    if message is not None:
        assert problem is not None and message in str(problem)


def test_wrong_calls(tmp_path):
    with pytest.raises(ValueError, match="frames"):
        read_camera_path(save(tmp_path, keyframes=[key()]), frames=0)
    with pytest.raises(ValueError, match="up"):
        read_camera_path(save(tmp_path, keyframes=[key()]), up="w")
    with pytest.raises(ValueError, match="at least one frame"):
        write_camera_path(tmp_path / "b.json", [])
    with pytest.raises(ValueError, match="fps"):
        write_camera_path(tmp_path / "b.json", turntable(2), fps=0)
    with pytest.raises(FileProblem, match="no such file"):
        read_camera_path(tmp_path / "c.json")


NUMBERS = st.one_of(st.integers(-3, 3), st.floats(), st.sampled_from([2**31, 10**400, "1", None, True, [], {}]))
ENTRIES = st.dictionaries(
    st.sampled_from(
        [
            "position",
            "target",
            "fov",
            "camera_to_world",
            "matrix",
            "time",
            "seconds",
            "override_transition_sec",
            "aspect",
        ]
    ),
    st.one_of(
        NUMBERS,
        st.lists(NUMBERS, min_size=3, max_size=3),
        st.lists(NUMBERS, min_size=16, max_size=16),
        st.just([0, 0, 2.5]),
    ),
    max_size=4,
)
TREES = st.dictionaries(
    st.sampled_from(
        [
            "camera_path",
            "keyframes",
            "fps",
            "seconds",
            "is_cycle",
            "loop",
            "smoothness_value",
            "tension",
            "default_fov",
            "up",
            "camera_type",
            "render_width",
        ]
    ),
    st.one_of(NUMBERS, st.lists(ENTRIES, max_size=4), st.sampled_from(["y", "z", "perspective"])),
    max_size=6,
)


@FUZZ
@given(TREES)
def test_random_paths_read_or_are_refused(tmp_path, survives, tree):
    path = save(tmp_path, **tree)
    survives(lambda: load_camera_path(path))


@FUZZ
@given(
    st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5), st.floats(1, 5), st.floats(10, 90)), min_size=1, max_size=5),
    st.booleans(),
    st.floats(-1, 1),
)
def test_proper_keyframes_always_make_proper_frames(tmp_path, keys, loop, tension):
    entries = [key(x, y, z, fov=fov, target=[0, 0, -5]) for x, y, z, fov in keys]
    path = save(tmp_path, fps=10, seconds=2, is_cycle=loop, tension=tension, keyframes=entries)
    cameras = read_camera_path(path)
    assert len(cameras) == 20
    assert cameras[0].position == pytest.approx(keys[0][:3], abs=1e-9)
    if not loop:
        assert cameras[-1].position == pytest.approx(keys[-1][:3], abs=1e-9)
    assert all(10 - 1e-6 <= c.fov <= 90 + 1e-6 for c in cameras)
