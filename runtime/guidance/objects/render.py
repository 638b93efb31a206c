"""Sphere tracing of shapes into label, mark, shade and depth maps (numba; compiled on first use)."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from interactive3d.runtime.guidance.objects.shapes import Shape
from interactive3d.runtime.guidance.objects.tracing import trace


@dataclass(frozen=True)
class Light:
    """A light fixed in the world: shade = ambient + (1 - ambient) max(0, (n.l + wrap) / (1 + wrap)), darkened in crevices.

    `direction` points to the light (any length); `wrap` 1 is a soft hemisphere, 0 a hard lamp; `occlusion` in 0..1.
    """

    direction: tuple[float, float, float] = (0.25, 1.0, 0.45)
    ambient: float = 0.56
    wrap: float = 1.0
    occlusion: float = 0.6


HEMISPHERE = Light()


class Views(NamedTuple):
    """What `render` gives: (c, s, s) arrays; see there."""

    labels: np.ndarray
    marks: np.ndarray
    shade: np.ndarray
    depth: np.ndarray


def render(
    shape: Shape, viewmats: np.ndarray, fov_deg: np.ndarray, size: int = 128, light: Light = HEMISPHERE
) -> Views:
    """Traces one shape from several cameras, on all of numba's threads.

    Args:
        shape: the object.
        viewmats: (c, 4, 4) world to camera, OpenCV axes (x right, y down, z forward).
        fov_deg: (c,) vertical fields of view in degrees; pictures are square.
        size: pixels a side.
        light: fixed in the world, so that all views agree.

    Returns:
        labels: (c, s, s) uint8 part slot, 0 for the background. marks: uint8, bit 0 on a stripe, bit 1 in a spot.
        shade: uint8 brightness, 255 = 1. depth: float16 distance along the camera's z, 0 for the background.
    """
    views = np.ascontiguousarray(viewmats, np.float64).reshape(-1, 4, 4)
    focals = 0.5 * size / np.tan(np.radians(np.asarray(fov_deg, np.float64).reshape(-1)) / 2)
    if len(views) != len(focals):
        raise ValueError(f"fov_deg: expected one for each of {len(views)} cameras, got {len(focals)}")
    toward = np.array(light.direction, np.float64)
    lamp = np.array([*(toward / np.linalg.norm(toward)), light.ambient, light.wrap, light.occlusion])
    labels, marks, shade = (np.zeros((len(views), size, size), np.uint8) for _ in range(3))
    depth = np.zeros((len(views), size, size), np.float32)
    warp = shape.warp.row().astype(np.float64)
    rows = shape.primitives.astype(np.float64)
    trace(rows, warp, shape.stripe_axis, shape.reach + 0.02, views, focals, lamp, labels, marks, shade, depth)
    return Views(labels, marks, shade, depth.astype(np.float16))
