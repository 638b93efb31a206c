"""Cameras: a frozen pose and intrinsics.

Conventions, stated once: the world is right-handed with y up; the object's front faces +z. Camera space is OpenCV's (x right, y down,
z forward); pixel centres lie at +0.5; angles are degrees. Azimuth 0 looks at the object's front from +z, azimuth 90 at its left side from +x.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Vec3 = tuple[float, float, float]

DEFAULT_DISTANCE = 2.5
DEFAULT_FOV = 40.0
STEEP = 0.9999
"""Share of a view's direction along the world's y beyond which y is no longer the picture's top."""


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A perspective camera that looks at ``target`` from ``position``.

    ``fov`` is the vertical field of view in degrees; positions are in scene units.
    """

    position: Vec3
    target: Vec3 = (0.0, 0.0, 0.0)
    fov: float = DEFAULT_FOV

    def __post_init__(self) -> None:
        if not 0.1 <= self.fov <= 170.0:
            raise ValueError(f"fov: expected 0.1 to 170 degrees, got {self.fov}")
        if not all(math.isfinite(v) for v in (*self.position, *self.target)):
            raise ValueError(f"camera: expected finite position and target, got {self.position} and {self.target}")
        if math.dist(self.position, self.target) < 1e-6:
            raise ValueError("camera: position and target are the same point; move one of them")

    @classmethod
    def orbit(
        cls,
        azimuth: float,
        elevation: float,
        distance: float = DEFAULT_DISTANCE,
        fov: float = DEFAULT_FOV,
        target: Vec3 = (0.0, 0.0, 0.0),
    ) -> "Camera":
        """A camera on a sphere of radius ``distance`` about ``target``; angles in degrees."""
        a, e = math.radians(azimuth), math.radians(elevation)
        offset = (math.sin(a) * math.cos(e), math.sin(e), math.cos(a) * math.cos(e))
        position = tuple(t + distance * o for t, o in zip(target, offset, strict=True))
        return cls(position=position, target=target, fov=fov)  # type: ignore[arg-type]

    def view_matrix(self) -> Float[Tensor, "4 4"]:
        """World to camera, OpenCV axes, float32."""
        return view_matrices([self])[0]

    def intrinsics(self, width: int, height: int) -> Float[Tensor, "4"]:
        """``fx fy cx cy`` in pixels for a picture of this size."""
        focal = height / (2.0 * math.tan(math.radians(self.fov) / 2.0))
        return torch.tensor([focal, focal, width / 2.0, height / 2.0])


def view_matrices(cameras: Sequence[Camera]) -> Float[Tensor, "c 4 4"]:
    """World-to-camera matrices of several cameras, OpenCV axes, float32."""
    ends = torch.tensor([(camera.position, camera.target) for camera in cameras], dtype=torch.float64)
    eye, target = ends.unbind(1)
    forward = torch.nn.functional.normalize(target - eye, dim=-1)
    # Straight up or down has no horizon: the picture stands as it does from a little in front of there.
    up = torch.tensor([_top(y) for y in forward[:, 1].tolist()], dtype=torch.float64)
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, up), dim=-1)
    down = torch.linalg.cross(forward, right)
    rotation = torch.stack([right, down, forward], dim=1)
    matrix = torch.zeros(len(cameras), 4, 4, dtype=torch.float64)
    matrix[:, :3, :3] = rotation
    # One by one: a product of the whole batch rounds otherwise, and every run that was recorded would end with other bits.
    for turned, place, moved in zip(rotation, eye, matrix, strict=True):
        moved[:3, 3] = -turned @ place
    matrix[:, 3, 3] = 1.0
    return matrix.float()


def _top(forward_y: float) -> Vec3:
    if abs(forward_y) <= STEEP:
        return (0.0, 1.0, 0.0)
    return (0.0, 0.0, -1.0 if forward_y < 0 else 1.0)


def intrinsics(cameras: Sequence[Camera], width: int, height: int) -> Float[Tensor, "c 4"]:
    """``fx fy cx cy`` of several cameras in pixels."""
    return torch.stack([camera.intrinsics(width, height) for camera in cameras])


def turntable(
    count: int,
    *,
    elevation: float = 15.0,
    distance: float = DEFAULT_DISTANCE,
    fov: float = DEFAULT_FOV,
    start: float = 0.0,
) -> list[Camera]:
    """``count`` cameras once around the object, starting at azimuth ``start`` degrees."""
    return [Camera.orbit(start + 360.0 * i / count, elevation, distance, fov) for i in range(count)]
