"""The camera in the user's hand: orbit, pan, zoom, fly, focus. A value; each gesture makes a new one."""

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from interactive3d.runtime.scene.camera import DEFAULT_DISTANCE, DEFAULT_FOV, Camera, Vec3
from interactive3d.runtime.view.packing import focal_length, view_matrix

ORBIT_DEGREES = 0.35
"""A pixel of dragging turns by this much: half a turn for 500 pixels."""

ZOOM_STEP = 0.88
"""A notch of the wheel brings the camera this much of the way nearer."""

NEAREST, FARTHEST = 0.05, 50.0
STEEPEST = 89.9
FLY_SPEED = 0.8
"""Distances to the target per second."""

FOCUS_MARGIN = 1.25
"""A focused ball, enlarged by this, fills the picture."""


@dataclass(frozen=True, kw_only=True)
class OrbitCamera:
    """Angles in degrees, distances in scene units. Azimuth 0 sees the front from +z, azimuth 90 looks from +x."""

    azimuth: float = 25.0
    elevation: float = 15.0
    distance: float = DEFAULT_DISTANCE
    target: Vec3 = (0.0, 0.0, 0.0)
    fov: float = DEFAULT_FOV

    def camera(self) -> Camera:
        """The camera that renderers take."""
        return Camera.orbit(self.azimuth, self.elevation, self.distance, self.fov, self.target)

    @classmethod
    def seen_by(cls, camera: Camera) -> "OrbitCamera":
        """The orbit on which a camera stands."""
        x, y, z = np.subtract(camera.position, camera.target)
        distance = math.sqrt(x * x + y * y + z * z)
        return cls(
            azimuth=math.degrees(math.atan2(x, z)),
            elevation=math.degrees(math.asin(min(max(y / distance, -1.0), 1.0))),
            distance=distance,
            target=camera.target,
            fov=camera.fov,
        )

    def orbited(self, dx: float, dy: float) -> "OrbitCamera":
        """After dragging by pixels: the object follows the pointer."""
        elevation = min(max(self.elevation + ORBIT_DEGREES * dy, -STEEPEST), STEEPEST)
        azimuth = (self.azimuth - ORBIT_DEGREES * dx + 180.0) % 360.0 - 180.0
        return replace(self, azimuth=azimuth, elevation=elevation)

    def panned(self, dx: float, dy: float, height: int) -> "OrbitCamera":
        """After dragging by pixels in a picture of this height: the point under the pointer at the target's depth stays under it."""
        right, down, _ = self.axes()
        scale = self.distance / focal_length(self.camera(), height)
        return self.moved(-(right * dx + down * dy) * scale)

    def zoomed(self, notches: float) -> "OrbitCamera":
        """Nearer for positive notches of the wheel."""
        return replace(self, distance=min(max(self.distance * ZOOM_STEP**notches, NEAREST), FARTHEST))

    def flown(self, right: float, up: float, forward: float, seconds: float) -> "OrbitCamera":
        """Camera and target moved together; the three are -1, 0 or 1 (more when hurrying)."""
        x, down, z = self.axes()
        return self.moved((x * right - down * up + z * forward) * FLY_SPEED * self.distance * seconds)

    def focused(self, center: Vec3, radius: float) -> "OrbitCamera":
        """The same direction, with a ball filling the picture."""
        distance = FOCUS_MARGIN * max(radius, 1e-3) / math.sin(math.radians(self.fov) / 2.0)
        return replace(self, target=center, distance=min(max(distance, NEAREST), FARTHEST))

    def moved(self, by: Float[np.ndarray, "3"]) -> "OrbitCamera":
        """Camera and target moved by a vector."""
        x, y, z = (float(t + b) for t, b in zip(self.target, by, strict=True))
        return replace(self, target=(x, y, z))

    def axes(self) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
        """Unit vectors to the right, down and forward in the world."""
        turn = view_matrix(self.camera())[:3, :3]
        return turn[0], turn[1], turn[2]


@dataclass(frozen=True, kw_only=True)
class Projection:
    """A camera and the size of its picture: from points to pixels and back."""

    camera: Camera
    width: int
    height: int

    @property
    def focal(self) -> float:
        """Pixels."""
        return focal_length(self.camera, self.height)

    def pixels(self, points: Float[np.ndarray, "n 3"]) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n"]]:
        """Pixels and depths of points; pixels mean nothing where the depth is not positive."""
        matrix = view_matrix(self.camera)
        local = np.asarray(points, np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
        depth = local[:, 2]
        safe = np.where(depth > 1e-6, depth, 1e-6)
        return self.focal * local[:, :2] / safe[:, None] + (self.width / 2.0, self.height / 2.0), depth

    def ray(self, x: float, y: float) -> Float[np.ndarray, "3"]:
        """Direction from the eye through a pixel, in the world, of depth 1."""
        turn = view_matrix(self.camera)[:3, :3]
        local = np.array([(x - self.width / 2.0) / self.focal, (y - self.height / 2.0) / self.focal, 1.0])
        return local @ turn

    def at_depth(self, x: float, y: float, depth: float) -> Float[np.ndarray, "3"]:
        """The point under a pixel at a depth (along the camera's forward axis)."""
        return np.array(self.camera.position) + depth * self.ray(x, y)

    def depth_of(self, point: Vec3) -> float:
        """Depth of a point along the camera's forward axis."""
        return float(self.pixels(np.array([point]))[1][0])

    def world_to_clip(self, near: float = 0.01, far: float = 100.0) -> Float[np.ndarray, "4 4"]:
        """OpenGL clip space of a picture whose first row is at the top."""
        view = view_matrix(self.camera)
        fx, fy = 2.0 * self.focal / self.width, 2.0 * self.focal / self.height
        depth = np.array([0.0, 0.0, (far + near) / (far - near), -2.0 * far * near / (far - near)])
        clip = np.array([[fx, 0, 0, 0], [0, fy, 0, 0], depth, [0, 0, 1.0, 0]])
        return clip @ view
