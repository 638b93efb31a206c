"""A camera path in the hand: keyframes that are views, the time to the next one, and the smooth way between them."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from interactive3d.runtime.output.camera_path import load_camera_path, write_camera_path
from interactive3d.runtime.output.splines import spline
from interactive3d.runtime.scene.camera import Camera
from interactive3d.runtime.view.orbit import OrbitCamera

SECONDS = 2.0
LEAST_SECONDS = 0.1
MOST_READ = 200
"""A file of ready frames is thinned to this many keyframes at most."""


@dataclass(frozen=True, kw_only=True)
class CameraKey:
    """A view, and the seconds from it to the next."""

    camera: OrbitCamera
    seconds: float = SECONDS


@dataclass(frozen=True, kw_only=True)
class CameraKeys:
    """The whole path; every change makes a new one. ``tension`` is -1 .. 1 (see ``output.splines``)."""

    keys: tuple[CameraKey, ...] = ()
    loop: bool = False
    tension: float = 0.0

    @property
    def seconds(self) -> float:
        """From the first to the last keyframe, and back to the first in a loop."""
        last = len(self.keys) if self.loop else len(self.keys) - 1
        return sum(key.seconds for key in self.keys[: max(last, 0)])

    def with_key(self, camera: OrbitCamera, after: int | None = None) -> "CameraKeys":
        """One keyframe more, at the end or after another."""
        place = len(self.keys) if after is None else after + 1
        return replace(self, keys=(*self.keys[:place], CameraKey(camera=camera), *self.keys[place:]))

    def without(self, number: int) -> "CameraKeys":
        """One keyframe fewer."""
        return replace(self, keys=self.keys[:number] + self.keys[number + 1 :])

    def changed(self, number: int, key: CameraKey) -> "CameraKeys":
        """Another keyframe in the place of one."""
        return replace(self, keys=(*self.keys[:number], key, *self.keys[number + 1 :]))

    def swapped(self, number: int, other: int) -> "CameraKeys":
        """Two keyframes exchanged; the same where there is no such place."""
        if not 0 <= other < len(self.keys):
            return self
        keys = list(self.keys)
        keys[number], keys[other] = keys[other], keys[number]
        return replace(self, keys=tuple(keys))

    def at(self, moments: np.ndarray) -> list[Camera]:
        """Cameras at moments in seconds from the first keyframe.

        Raises:
            ValueError: no keyframes.
        """
        if not self.keys:
            raise ValueError("camera path: expected a keyframe at least; add the view that is shown")
        cameras = [key.camera.camera() for key in self.keys]
        if len(cameras) == 1:
            return cameras * len(moments)
        # The tangent's logarithm, as in camera path files, so that both give the same frames.
        rows = np.array([[*c.position, *c.target, math.log(math.tan(math.radians(c.fov) / 2.0))] for c in cameras])
        steps = [key.seconds for key in self.keys]
        times = np.concatenate([[0.0], np.cumsum(steps if self.loop else steps[:-1])])
        found = spline(rows, times, np.asarray(moments, np.float64), closed=self.loop, tension=self.tension)
        low, high = min(c.fov for c in cameras), max(c.fov for c in cameras)
        fovs = np.clip(np.degrees(2.0 * np.arctan(np.exp(found[:, 6]))), low, high)
        return [
            Camera(position=_triple(row[:3]), target=_triple(row[3:6]), fov=float(fov))
            for row, fov in zip(found, fovs, strict=True)
        ]

    def frames(self, fps: float, seconds: float | None = None) -> list[Camera]:
        """One camera for each frame of a film; ``seconds`` stretches the whole path."""
        whole = max(self.seconds, LEAST_SECONDS) if len(self.keys) > 1 else 1.0
        count = max(2, round((seconds or whole) * fps))
        end = whole * (count - 1) / count if self.loop else whole
        return self.at(np.linspace(0.0, end, count))

    def save(self, path: Path, fps: float, width: int, height: int) -> None:
        """As a file that other tools read too.

        Raises:
            FileProblem, ValueError: see ``write_camera_path``.
        """
        write_camera_path(
            path,
            self.frames(fps),
            keyframes=[key.camera.camera() for key in self.keys],
            transitions=[key.seconds for key in self.keys],
            fps=fps,
            loop=self.loop,
            tension=self.tension,
            width=width,
            height=height,
        )

    @classmethod
    def load(cls, path: Path) -> "CameraKeys":
        """The file's keyframes; where it holds ready frames alone they become keyframes, evenly thinned.

        Raises:
            FileProblem: see ``load_camera_path``.
        """
        read = load_camera_path(path)
        if 0 < len(read.keyframes) <= MOST_READ:
            keys = tuple(
                CameraKey(camera=OrbitCamera.seen_by(camera), seconds=max(seconds, LEAST_SECONDS))
                for camera, seconds in read.keyframes
            )
            return cls(keys=keys, loop=read.loop, tension=read.tension)
        cameras = list(read.cameras)
        stride = max(1, -(-len(cameras) // MOST_READ), round(read.fps * SECONDS))
        chosen = cameras[::stride]
        if not read.loop and len(cameras) > 1 and (len(cameras) - 1) % stride:
            chosen.append(cameras[-1])
        seconds = max(stride / read.fps, LEAST_SECONDS)
        keys = tuple(CameraKey(camera=OrbitCamera.seen_by(camera), seconds=seconds) for camera in chosen)
        return cls(keys=keys, loop=read.loop)


def _triple(row: np.ndarray) -> tuple[float, float, float]:
    return float(row[0]), float(row[1]), float(row[2])
