"""Turning blobs from a file's axes to ours (right-handed, y up, front +z) and back.

A file's frame is told by the axis that points up. What faces the viewer follows from the frame's usual owner: y down comes from COLMAP
and INRIA (front -z), z up from Blender and nerfstudio (front -y). All turns are proper rotations, so nothing is mirrored.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from interactive3d.runtime.scene.gaussians import GaussianModel

Up = Literal["x", "-x", "y", "-y", "z", "-z"]
UPS: tuple[str, ...] = get_args(Up)

_HALF = math.sqrt(0.5)
# Quaternions (wxyz) that turn a frame with this axis up into ours.
_TO_OURS: dict[str, tuple[float, float, float, float]] = {
    "y": (1.0, 0.0, 0.0, 0.0),
    "-y": (0.0, 1.0, 0.0, 0.0),
    "z": (_HALF, -_HALF, 0.0, 0.0),
    "-z": (_HALF, _HALF, 0.0, 0.0),
    "x": (_HALF, 0.0, 0.0, _HALF),
    "-x": (_HALF, 0.0, 0.0, -_HALF),
}
_DIRECTION: dict[str, tuple[float, float, float]] = {
    "x": (1.0, 0.0, 0.0),
    "-x": (-1.0, 0.0, 0.0),
    "y": (0.0, 1.0, 0.0),
    "-y": (0.0, -1.0, 0.0),
    "z": (0.0, 0.0, 1.0),
    "-z": (0.0, 0.0, -1.0),
}


@dataclass(frozen=True)
class Turn:
    """A rotation, as a unit quaternion wxyz in double precision."""

    wxyz: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)

    @classmethod
    def from_up(cls, up: str) -> "Turn":
        """From a frame whose ``up`` axis is one of x, -x, y, -y, z, -z to ours.

        Raises:
            ValueError: ``up`` is none of these.
        """
        return cls(_TO_OURS[checked_up(up)])

    @classmethod
    def from_up_vector(cls, up: Sequence[float]) -> "Turn":
        """From a frame whose up is any direction: its nearest axis decides what is front, the rest is the shortest turn."""
        length = math.sqrt(sum(v * v for v in up))
        if len(up) != 3 or not 0.0 < length < math.inf:
            raise ValueError(f"up: expected a direction of three numbers, got {tuple(up)}")
        unit = [v / length for v in up]
        axis = max(_DIRECTION, key=lambda name: sum(a * b for a, b in zip(_DIRECTION[name], unit, strict=True)))
        turn = cls.from_up(axis)
        x, y, z = turn.apply_vector(unit)
        # Shortest arc from (x, y, z) to +y: the half-way quaternion.
        w = math.sqrt(max(0.0, (1.0 + y) / 2.0))
        if math.hypot(x, z) < 1e-12:
            return turn
        return turn.then(cls((w, -z / (2.0 * w), 0.0, x / (2.0 * w))))

    @classmethod
    def from_xyz_degrees(cls, x: float, y: float, z: float) -> "Turn":
        """About the fixed x axis, then y, then z; degrees, counter-clockwise seen from the axis' tip."""
        turn = cls()
        for axis, angle in enumerate((x, y, z)):
            if not math.isfinite(angle):
                raise ValueError(f"rotate: expected three finite angles in degrees, got {(x, y, z)}")
            half = math.radians(angle) / 2.0
            vector = [0.0, 0.0, 0.0]
            vector[axis] = math.sin(half)
            turn = turn.then(cls((math.cos(half), vector[0], vector[1], vector[2])))
        return turn

    def then(self, later: "Turn") -> "Turn":
        """This turn followed by another."""
        a, b = later.wxyz, self.wxyz
        return Turn(
            (
                a[0] * b[0] - a[1] * b[1] - a[2] * b[2] - a[3] * b[3],
                a[0] * b[1] + a[1] * b[0] + a[2] * b[3] - a[3] * b[2],
                a[0] * b[2] - a[1] * b[3] + a[2] * b[0] + a[3] * b[1],
                a[0] * b[3] + a[1] * b[2] - a[2] * b[1] + a[3] * b[0],
            )
        )

    def inverse(self) -> "Turn":
        """The turn back."""
        w, x, y, z = self.wxyz
        return Turn((w, -x, -y, -z))

    def matrix(self) -> Float[Tensor, "3 3"]:
        """Rotation matrix in double precision; quarter turns hold exact zeros and ones."""
        w, x, y, z = self.wxyz
        rows = [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
        matrix = torch.tensor(rows, dtype=torch.float64)
        whole = matrix.round()
        return torch.where((matrix - whole).abs() < 1e-12, whole, matrix)

    def apply_vector(self, vector: Sequence[float]) -> tuple[float, float, float]:
        """One vector turned."""
        x, y, z = (self.matrix() @ torch.tensor(list(vector), dtype=torch.float64)).tolist()
        return x, y, z

    def apply(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Points or directions turned about the origin; in the points' own precision."""
        return (points.double() @ self.matrix().T).to(points.dtype)

    def apply_rotation(self, rotation: Float[Tensor, "n 4"]) -> Float[Tensor, "n 4"]:
        """Quaternions wxyz (any length) of blobs that are turned along."""
        a = self.wxyz
        b = rotation.double().unbind(-1)
        turned = torch.stack(
            [
                a[0] * b[0] - a[1] * b[1] - a[2] * b[2] - a[3] * b[3],
                a[0] * b[1] + a[1] * b[0] + a[2] * b[3] - a[3] * b[2],
                a[0] * b[2] - a[1] * b[3] + a[2] * b[0] + a[3] * b[1],
                a[0] * b[3] + a[1] * b[2] - a[2] * b[1] + a[3] * b[0],
            ],
            dim=-1,
        )
        return turned.to(rotation.dtype)

    def apply_model(self, model: GaussianModel) -> GaussianModel:
        """Every blob turned about the origin; all other columns shared."""
        if self.wxyz == (1.0, 0.0, 0.0, 0.0):
            return model
        return model.with_columns(
            {"mean": self.apply(model.mean), "rotation": self.apply_rotation(model.columns["rotation"])}
        )


def checked_up(up: str) -> str:
    """``up`` in its short form (``+y`` and ``Y`` are read as ``y``).

    Raises:
        ValueError: not an axis.
    """
    short = str(up).strip().lower().removeprefix("+")
    if short not in UPS:
        raise ValueError(f"up: expected one of {', '.join(UPS)}, got {up!r}")
    return short


def up_vector(up: str) -> tuple[float, float, float]:
    """The direction that ``up`` names."""
    return _DIRECTION[checked_up(up)]
