"""Cameras around generated objects (OpenCV axes, world to camera; degrees)."""

from typing import NamedTuple

import numpy as np


class Cameras(NamedTuple):
    """viewmats (c, 4, 4) float32 and vertical fields of view (c,) float32 in degrees."""

    viewmats: np.ndarray
    fovs: np.ndarray


def orbit_viewmat(
    azimuth: float, elevation: float, distance: float, target: tuple[float, float, float] = (0, 0, 0)
) -> np.ndarray:
    """(4, 4) float64 world to camera; azimuth 0 sees the front from +z, 90 looks from +x."""
    a, e = np.radians([azimuth, elevation])
    away = np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])
    position = np.asarray(target, float) + distance * away
    forward = -away
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    view = np.eye(4)
    view[:3, :3] = np.stack([right, down, forward])
    view[:3, 3] = -view[:3, :3] @ position
    return view


def draw_cameras(rng: np.random.Generator, count: int, targets: np.ndarray, zoomed_fraction: float = 0.3) -> Cameras:
    """Random cameras of a data set: whole-object orbits, and some zoomed onto one of `targets` (m, 3).

    Orbits have azimuths all round, elevation -15 to 50, distance 2.2 to 2.8, field of view 36 to 44. A zoomed camera stands on such
    an orbit about the target and sees a window of half-width 0.25 to 0.6.
    """
    views, fovs = [], []
    for _ in range(count):
        azimuth, elevation = rng.uniform(0, 360), rng.uniform(-15, 50)
        distance, fov, target = rng.uniform(2.2, 2.8), rng.uniform(36, 44), np.zeros(3)
        if rng.random() < zoomed_fraction and len(targets):
            target = targets[rng.integers(len(targets))] + rng.uniform(-0.08, 0.08, 3)
            fov = 2 * np.degrees(np.arctan(rng.uniform(0.25, 0.6) / distance))
        x, y, z = (float(c) for c in target)
        views.append(orbit_viewmat(azimuth, elevation, distance, (x, y, z)))
        fovs.append(fov)
    return Cameras(np.stack(views).astype(np.float32), np.array(fovs, np.float32))
