"""Camera paths as JSON, in the keys of nerfstudio's ``camera_path.json`` and a few plainer ones.

A file holds ready frames (``camera_path``), or ``keyframes`` that a Kochanek-Bartels spline joins, or both; a ``camera_path`` of fewer
entries than ``fps`` times ``seconds`` is taken for keyframes. A pose is ``position`` and ``target``, or a camera-to-world matrix in
OpenGL's camera axes (x right, y up, z backward): ``camera_to_world`` or ``matrix``, 16 numbers row by row, nested rows, or nerfstudio's
older text of 16 numbers column by column. ``fov`` is vertical, in degrees; ``override_transition_sec`` of a keyframe is the time to the
next. ``up`` says which axis points up in the file; without it, files with nerfstudio's ``camera_type`` stand z up, as its world does, and
others y up, as ours does. Cameras here have no roll.
"""

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from interactive3d.runtime.output.atomic import write_text
from interactive3d.runtime.output.axes import UPS, Turn, checked_up
from interactive3d.runtime.output.mesh_guard import type_name
from interactive3d.runtime.output.problems import FileProblem, Note, read_file
from interactive3d.runtime.output.splines import spline
from interactive3d.runtime.scene.camera import DEFAULT_FOV, Camera

MAX_FILE = 64 << 20
MAX_FRAMES = 100_000
MAX_SECONDS = 3600.0
DEFAULT_FPS = 30.0
DEFAULT_TRANSITION = 2.0
MOST_COORDINATE = 1e6
# Below this a tilted horizon is not worth a word; degrees.
SILENT_ROLL = 2.0

_OTHER_LENSES = ("fisheye", "equirectangular", "omnidirectional", "vr180")


@dataclass(frozen=True, kw_only=True)
class CameraPath:
    """Frames of a path, and what the file says of the video: frames per second, size in pixels (or None), whether it closes.

    ``keyframes`` are what the frames were made of, with the seconds from each to the next (of the last one, in a closed path, back to the
    first), and ``tension`` the spline's between them; none where the file holds ready frames alone.
    """

    cameras: tuple[Camera, ...]
    keyframes: tuple[tuple[Camera, float], ...] = ()
    tension: float = 0.0
    fps: float = DEFAULT_FPS
    width: int | None = None
    height: int | None = None
    loop: bool = False
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Pose:
    """One pose in our axes; ``transition`` is the time to the next one in seconds, ``time`` the moment, where the file says so."""

    position: tuple[float, float, float]
    target: tuple[float, float, float]
    fov: float
    roll: float = 0.0
    time: float | None = None
    transition: float | None = None


def read_camera_path(path: str | Path, frames: int | None = None, up: str | None = None) -> list[Camera]:
    """The cameras of a path file, one per frame; see :func:`load_camera_path`."""
    return list(load_camera_path(path, frames, up).cameras)


def load_camera_path(path: str | Path, frames: int | None = None, up: str | None = None) -> CameraPath:
    """Reads and checks a camera path.

    Args:
        frames: how many frames to make of it; None takes what the file says.
        up: axis that points up in the file; None takes what the file says.

    Raises:
        FileProblem: missing, not JSON, or a value that is missing, of the wrong type or out of range, with its place.
        ValueError: ``frames`` or ``up`` out of range.
    """
    path = Path(path)
    if frames is not None and not 1 <= frames <= MAX_FRAMES:
        raise ValueError(f"frames: expected 1 to {MAX_FRAMES}, got {frames}")
    reader = _Reader(path, _tree(path), up)
    fps = reader.number(reader.tree, "fps", "", DEFAULT_FPS, 0.01, 240.0)
    loop = reader.flag("loop") or reader.flag("is_cycle")
    tension = reader.number(
        reader.tree, "tension", "", reader.number(reader.tree, "smoothness_value", "", 0.0, -1.0, 1.0), -1.0, 1.0
    )
    given = reader.number(reader.tree, "seconds", "", 0.0, 0.0, MAX_SECONDS)
    ready, keys = reader.poses("camera_path"), reader.poses("keyframes")
    if not ready and not keys:
        raise FileProblem(
            path,
            "holds neither 'camera_path' nor 'keyframes'",
            "add keyframes: a list of objects with position, target and fov",
        )
    wanted = frames or (max(1, round(given * fps)) if given else None)
    chosen, times = keys or ready, []
    if ready and (wanted is None or abs(len(ready) - wanted) <= 1):
        poses = ready
        if keys:
            # The frames serve without them, whatever is the matter with their times.
            with contextlib.suppress(FileProblem):
                times = _times(path, keys, given, loop, reader)
    else:
        times = _times(path, chosen, given, loop, reader)
        count = wanted or max(1, round(times[-1] * fps))
        if count > MAX_FRAMES:
            raise FileProblem(path, f"would take {count} frames, the limit is {MAX_FRAMES}", "lower fps or seconds")
        poses = _interpolated(chosen, times, count, loop, tension)
    return CameraPath(
        cameras=tuple(_camera(path, pose, i) for i, pose in enumerate(poses)),
        keyframes=_keyframes(path, chosen, times),
        tension=tension,
        fps=fps,
        width=reader.size("render_width"),
        height=reader.size("render_height"),
        loop=loop,
        notes=_notes(ready + keys),
    )


def write_camera_path(
    path: str | Path,
    frames: Sequence[Camera],
    *,
    keyframes: Sequence[Camera] = (),
    transitions: Sequence[float] = (),
    fps: float = DEFAULT_FPS,
    loop: bool = False,
    tension: float = 0.0,
    width: int = 512,
    height: int = 512,
    up: str = "y",
) -> None:
    """Writes frames, and the keyframes they came from, for us and for nerfstudio (with ``up="z"``, as its world stands); atomic.

    Args:
        transitions: seconds from each keyframe to the next; all alike without them.

    Raises:
        FileProblem: the place cannot be written.
        ValueError: no frames, or a value out of range.
    """
    if not frames:
        raise ValueError("write_camera_path: expected at least one frame")
    if not 0.0 < fps <= 240.0 or not -1.0 <= tension <= 1.0:
        raise ValueError(f"write_camera_path: expected fps up to 240 and tension of -1 to 1, got {fps} and {tension}")
    if transitions and len(transitions) != len(keyframes):
        raise ValueError(
            f"write_camera_path: expected a transition for each of {len(keyframes)} keyframes, got {len(transitions)}"
        )
    turn = Turn.from_up(up).inverse()

    def entry(camera: Camera, key: str) -> dict[str, Any]:
        return {
            "position": [*turn.apply_vector(camera.position)],
            "target": [*turn.apply_vector(camera.target)],
            key: camera_to_world(camera, turn).reshape(-1).tolist(),
            "fov": camera.fov,
            "aspect": width / height,
        }

    tree = {
        "up": checked_up(up),
        "camera_type": "perspective",
        "render_width": width,
        "render_height": height,
        "fps": fps,
        "seconds": len(frames) / fps,
        "is_cycle": loop,
        "smoothness_value": tension,
        "default_fov": frames[0].fov,
        "keyframes": [
            entry(camera, "matrix")
            | ({"override_transition_enabled": True, "override_transition_sec": seconds} if seconds else {})
            for camera, seconds in zip_longest(keyframes, transitions)
        ],
        "camera_path": [entry(camera, "camera_to_world") for camera in frames],
    }
    write_text(path, json.dumps(tree, indent=1) + "\n")


def camera_to_world(camera: Camera, turn: Turn | None = None) -> Float[np.ndarray, "4 4"]:
    """Camera to world in OpenGL's camera axes (x right, y up, z backward), the world turned by ``turn``."""
    view = camera.view_matrix().double().numpy()
    matrix = np.eye(4)
    matrix[:3, :3] = view[:3, :3].T @ np.diag([1.0, -1.0, -1.0])
    matrix[:3, 3] = camera.position
    if turn is not None:
        matrix[:3] = turn.matrix().numpy() @ matrix[:3]
    return matrix


# -- reading --------------------------------------------------------------------------------------------------------------
def _tree(path: Path) -> Mapping[str, Any]:
    try:
        tree = json.loads(read_file(path, at_most=MAX_FILE))
    except (ValueError, RecursionError) as error:
        if isinstance(error, FileProblem):
            raise
        raise FileProblem(path, f"is not JSON: {str(error)[:200]}", "check it with a JSON editor") from error
    if not isinstance(tree, dict):
        raise FileProblem(
            path,
            f"holds a {type_name(tree)}, expected an object with 'camera_path' or 'keyframes'",
            'write {"keyframes": [{"position": [x, y, z], "target": [x, y, z], "fov": 40}, …]}',
        )
    return tree


class _Reader:
    """Checked access to the values of one file; every complaint names the place."""

    def __init__(self, path: Path, tree: Mapping[str, Any], up: str | None) -> None:
        self.path = path
        self.tree = tree
        stated = tree.get("up", "z" if "camera_type" in tree else "y")
        if up is None and stated not in UPS:
            raise self.problem("up", stated, f"one of {', '.join(UPS)}")
        self.turn = Turn.from_up(stated if up is None else up)
        lens = tree.get("camera_type", "perspective")
        if not isinstance(lens, str) or lens.lower() in _OTHER_LENSES:
            raise self.problem("camera_type", lens, "perspective")

    def problem(self, where: str, got: object, expected: str) -> FileProblem:
        text = json.dumps(got, default=str)
        return FileProblem(
            self.path,
            f"{where}: expected {expected}, got {text if len(text) < 60 else type_name(got)}",
            "correct this value",
        )

    def number(self, item: Mapping[str, Any], key: str, where: str, default: float, low: float, high: float) -> float:
        value = item.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise self.problem(f"{where}{key}", value, f"a number of {low:g} to {high:g}")
        return float(value)

    def flag(self, key: str) -> bool:
        value = self.tree.get(key, False)
        if not isinstance(value, bool):
            raise self.problem(key, value, "true or false")
        return value

    def size(self, key: str) -> int | None:
        value = self.tree.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 16_384:
            raise self.problem(key, value, "a whole number of pixels, 1 to 16384")
        return value

    def poses(self, key: str) -> list[_Pose]:
        items = self.tree.get(key, [])
        if not isinstance(items, list):
            raise self.problem(key, items, "a list")
        if len(items) > MAX_FRAMES:
            raise FileProblem(self.path, f"{key} has {len(items)} entries, the limit is {MAX_FRAMES}", "thin it out")
        found = []
        for number, item in enumerate(items):
            where = f"{key}[{number}]"
            if not isinstance(item, dict):
                raise self.problem(where, item, "an object")
            found.append(self.pose(item, f"{where}."))
        return found

    def pose(self, item: Mapping[str, Any], where: str) -> _Pose:
        standard = self.number(self.tree, "default_fov", "", DEFAULT_FOV, 0.1, 170.0)
        common: dict[str, Any] = {"fov": self.number(item, "fov", where, standard, 0.1, 170.0)}
        for key in ("time", "seconds"):
            if item.get(key) is not None:
                common["time"] = self.number(item, key, where, 0.0, 0.0, MAX_SECONDS)
        if item.get("override_transition_enabled", True) and item.get("override_transition_sec") is not None:
            common["transition"] = self.number(item, "override_transition_sec", where, 0.0, 1e-3, MAX_SECONDS)
        if "position" in item:
            position, target = self.vector(item, "position", where), self.vector(item, "target", where, (0.0, 0.0, 0.0))
            if math.dist(position, target) < 1e-6:
                raise self.problem(f"{where}target", item.get("target"), "another point than position")
            return _Pose(position=self.turn.apply_vector(position), target=self.turn.apply_vector(target), **common)
        for key in ("camera_to_world", "matrix"):
            if key in item:
                return self.matrix_pose(item[key], f"{where}{key}", common)
        raise FileProblem(self.path, f"{where[:-1]} has no pose", "give it position and target, or camera_to_world")

    def vector(
        self, item: Mapping[str, Any], key: str, where: str, default: tuple[float, float, float] | None = None
    ) -> tuple[float, float, float]:
        value = item.get(key, default)
        numbers = _numbers(value, 3)
        if numbers is None:
            raise self.problem(f"{where}{key}", value, "three numbers")
        return numbers[0], numbers[1], numbers[2]

    def matrix_pose(self, value: Any, where: str, common: dict[str, Any]) -> _Pose:
        columns_first = isinstance(value, str)
        if columns_first:
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                value = None
        if isinstance(value, list) and value and all(isinstance(row, list) for row in value):
            value = [number for row in value for number in row]
        numbers = _numbers(value, 16) or _numbers(value, 12)
        if numbers is None:
            raise self.problem(where, value, "16 numbers, a 4 x 4 matrix")
        matrix = np.array(numbers).reshape(-1, 4)
        matrix = matrix.T if columns_first else matrix
        axes = matrix[:3, :3]
        lengths = np.linalg.norm(axes, axis=0)
        if lengths.min() < 1e-6 or np.linalg.det(axes / lengths) < 0.5:
            raise self.problem(where, "a matrix without a rotation", "right, up and backward as columns")
        turn = self.turn.matrix().numpy()
        right, forward = turn @ axes[:, 0] / lengths[0], -(turn @ axes[:, 2]) / lengths[2]
        position = turn @ matrix[:3, 3]
        # How far it looks is not said: to where it passes nearest to the origin, where objects stand.
        distance = max(float(-position @ forward), 0.1 * float(np.linalg.norm(position)), 0.1)
        camera = Camera(position=_triple(position), target=_triple(position + distance * forward))
        level = camera.view_matrix()[0].double().numpy()[:3]
        roll = math.degrees(math.acos(float(np.clip(level @ right, -1.0, 1.0))))
        return _Pose(position=camera.position, target=camera.target, roll=roll, **common)


def _numbers(value: object, count: int) -> list[float] | None:
    if not isinstance(value, list | tuple) or len(value) != count:
        return None
    if any(isinstance(v, bool) or not isinstance(v, int | float) or not abs(v) <= MOST_COORDINATE for v in value):
        return None
    return [float(v) for v in value]


def _triple(vector: Float[np.ndarray, "3"]) -> tuple[float, float, float]:
    return float(vector[0]), float(vector[1]), float(vector[2])


# -- between keyframes ----------------------------------------------------------------------------------------------------
def _times(path: Path, poses: Sequence[_Pose], given: float, loop: bool, reader: _Reader) -> list[float]:
    """Moments of the poses from 0 on; of a loop, the moment of the return as well."""
    standard = reader.number(reader.tree, "default_transition_sec", "", DEFAULT_TRANSITION, 1e-3, MAX_SECONDS)
    stated = [pose.time for pose in poses]
    if any(time is not None for time in stated):
        times: list[float] = []
        for number, time in enumerate(stated):
            if time is None or (times and time <= times[-1]):
                raise reader.problem(
                    f"keyframes[{number}].time", time, "a time in every keyframe, each later than the one before"
                )
            times.append(time)
        times = [t - times[0] for t in times]
        if loop:
            times.append(given if given > times[-1] else times[-1] + standard)
        return times if len(times) > 1 else [0.0, standard]
    times = [0.0]
    for pose in poses[: len(poses) if loop or len(poses) == 1 else -1]:
        times.append(times[-1] + (pose.transition if pose.transition is not None else standard))
    return [t * given / times[-1] for t in times] if given else times


def _interpolated(
    poses: Sequence[_Pose], times: Sequence[float], count: int, loop: bool, tension: float
) -> list[_Pose]:
    """``count`` frames evenly in time; the last one of an open path is its last pose, that of a loop stands before the first."""
    # How wide a lens looks grows with the tangent; its logarithm never leaves the range.
    values = np.array([[*p.position, *p.target, math.log(math.tan(math.radians(p.fov) / 2.0))] for p in poses])
    if len(poses) == 1:
        return [poses[0]] * count
    end = times[-1]
    moments = np.arange(count) / count * end if loop else np.linspace(0.0, end, count)
    found = spline(values, np.array(times), moments, closed=loop, tension=tension)
    low, high = min(p.fov for p in poses), max(p.fov for p in poses)
    fovs = np.clip(np.degrees(2.0 * np.arctan(np.exp(found[:, 6]))), low, high)
    return [
        _Pose(position=_triple(row[:3]), target=_triple(row[3:6]), fov=float(fov))
        for row, fov in zip(found, fovs, strict=True)
    ]


def _camera(path: Path, pose: _Pose, number: int) -> Camera:
    try:
        return Camera(position=pose.position, target=pose.target, fov=pose.fov)
    except ValueError as error:
        raise FileProblem(
            path, f"frame {number} between keyframes: {error}", "move the keyframes' targets away from the cameras' way"
        ) from error


def _keyframes(path: Path, poses: Sequence[_Pose], times: Sequence[float]) -> tuple[tuple[Camera, float], ...]:
    """Keyframes and the seconds to the next; none without times. The last one of an open path has the file's usual time."""
    if not times:
        return ()
    steps = [b - a for a, b in pairwise(times)]
    steps += [DEFAULT_TRANSITION] * (len(poses) - len(steps))
    return tuple((_camera(path, pose, i), step) for i, (pose, step) in enumerate(zip(poses, steps, strict=False)))


def _notes(poses: Sequence[_Pose]) -> tuple[Note, ...]:
    rolled = [pose.roll for pose in poses if pose.roll > SILENT_ROLL]
    if not rolled:
        return ()
    text = f"{len(rolled)} poses are rolled by up to {max(rolled):.0f} degrees; cameras here keep the horizon level"
    return (Note(code="roll-dropped", count=len(rolled), text=text),)
