"""Shapes as volumes over the cube [-1, 1]^3, indexed [z, y, x] (numba; compiled on first use)."""

from typing import NamedTuple

import numpy as np

from interactive3d.runtime.guidance.objects.shapes import Shape
from interactive3d.runtime.guidance.objects.tracing import fill


class Volume(NamedTuple):
    """alpha: coverage 0..255; label: part slot, 0 far from the surface; marks: as in `render.Views`. All (R, R, R) uint8."""

    alpha: np.ndarray
    label: np.ndarray
    marks: np.ndarray


def voxelise(shape: Shape, resolution: int = 32) -> Volume:
    """The shape's coverage, part slots and pattern marks on a grid of `resolution` cells a side (a multiple of 4)."""
    if resolution % 4:
        raise ValueError(f"resolution: expected a multiple of 4, got {resolution}")
    alpha, label, marks = (np.zeros((resolution,) * 3, np.uint8) for _ in range(3))
    rows = shape.primitives.astype(np.float64)
    fill(rows, shape.warp.row().astype(np.float64), shape.stripe_axis, alpha, label, marks)
    return Volume(alpha, label, marks)
