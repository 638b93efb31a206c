"""Splats to a field, and to a mesh file, in one call: distil, extract, bake (paper section 3.2.1)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from interactive3d.runtime.field.baking import write_mesh
from interactive3d.runtime.field.distill import begin_distillation, distill_step, psnr_against_splats
from interactive3d.runtime.field.field import HashGridField
from interactive3d.runtime.field.meshing import TriangleMesh, extract_mesh
from interactive3d.runtime.scene.camera import DEFAULT_DISTANCE, Camera
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.settings import Settings

LOWEST, HIGHEST = -75.0, 80.0  # degrees; a mesh is looked at from below too
UNSEEN = tuple(Camera.orbit(azimuth, elevation) for azimuth, elevation in ((13.0, 7.0), (137.0, 33.0), (259.0, -12.0)))
"""Cameras that training meets with probability zero, by which the result is judged."""
TELL_EVERY = 50  # steps

OBJECT_RADIUS = 0.8
"""Radius of the ball about the origin that an object is fitted into where it does not lie in the scene's cube."""
OUTLIERS = 0.005
"""Share of the blobs on either side of each axis that do not count for an object's size: captures have far strays."""
ROOM = (0.2, 0.95)  # largest coordinate of an object that is taken as it stands

Randomness = Callable[[int, str], torch.Generator]
"""A generator for (step, purpose)."""


@dataclass(frozen=True)
class Placement:
    """Where an object stood before it was fitted: a point p of the scene was ``center + p / scale``."""

    center: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = 1.0


def fitted(model: GaussianModel) -> tuple[GaussianModel, Placement, int]:
    """The blobs in the scene's cube, where they stood before, and how many strays were left out.

    An object that fits stays as it is. Raises ValueError where there are no blobs.
    """
    if len(model) == 0:
        raise ValueError("there are no blobs")
    # Quantiles by sorting: torch's own takes at most 2^24 numbers.
    ordered = model.mean.sort(dim=0).values
    low, high = (ordered[round(share * (len(model) - 1))] for share in (OUTLIERS, 1 - OUTLIERS))
    place = Placement()
    if not ROOM[0] <= float(torch.maximum(-low, high).max()) <= ROOM[1]:
        center, half = (low + high) / 2, float((high - low).max()) / 2
        scale = OBJECT_RADIUS / max(half, 1e-9)
        x, y, z = center.tolist()
        place = Placement((x, y, z), scale)
        model = model.with_columns(
            {"mean": (model.mean - center) * scale, "log_scale": model.columns["log_scale"] + math.log(scale)}
        )
    inside = (model.mean.abs() <= 1).all(-1)
    strays = int((~inside).sum())
    return (model.rows(inside.nonzero().squeeze(1)) if strays else model), place, strays


def distill_cameras(count: int, generator: torch.Generator) -> list[Camera]:
    """Random orbit cameras, even over the sphere between the lowest and the highest elevation."""
    uniform = torch.rand(count, 3, generator=generator, dtype=torch.float64)
    low, high = (float(torch.deg2rad(torch.tensor(e)).sin()) for e in (LOWEST, HIGHEST))
    cameras = []
    for i, (u, v, w) in enumerate(uniform.tolist()):
        elevation = float(torch.rad2deg(torch.asin(torch.tensor(low + (high - low) * v))))
        azimuth = 360.0 * (i + u) / count
        cameras.append(Camera.orbit(azimuth, elevation, DEFAULT_DISTANCE * (0.95 + 0.1 * w)))
    return cameras


def distill(
    model: GaussianModel,
    settings: Settings,
    randomness: Randomness,
    steps: int | None = None,
    tell: Callable[[str], None] = lambda text: None,
    progress: Callable[[int, float], None] | None = None,
) -> HashGridField:
    """A field that looks like the splats. ``progress`` hears of each step and its loss instead of ``tell``.

    Raises:
        ValueError: there is nothing to distil.
    """
    count = settings.distill.steps if steps is None else steps
    state = begin_distillation(model, settings, randomness(0, "field"))
    for i in range(count):
        cameras = distill_cameras(settings.distill.cameras, randomness(i, "distill cameras"))
        state, loss = distill_step(state, model, cameras, i / count, i, settings, randomness(i, "distill"))
        if progress is not None:
            progress(i + 1, loss)
        elif (i + 1) % TELL_EVERY == 0:
            tell(f"distilling: step {i + 1} of {count}, loss {loss:.4f}")
    tell(f"distilled: {psnr_against_splats(state.field, model, list(UNSEEN)):.1f} dB on unseen views")
    return state.field


def splats_to_mesh(
    model: GaussianModel,
    path: str | Path,
    settings: Settings,
    randomness: Randomness,
    *,
    threshold: float | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> TriangleMesh:
    """Distil the blobs, extract the surface, bake its colours, write the file.

    Raises:
        ValueError, NoSurface: nothing to distil, or no surface in it.
        FileProblem: the file cannot be written.
    """
    field = distill(model, settings, randomness, tell=tell)
    return field_to_mesh(field, path, settings, threshold=threshold, tell=tell)


def field_to_mesh(
    field: HashGridField,
    path: str | Path,
    settings: Settings,
    *,
    threshold: float | None = None,
    tell: Callable[[str], None] = lambda text: None,
    place: Placement = Placement(),
) -> TriangleMesh:
    """Extract the surface, bake its colours, write the file with the object where ``place`` says.

    Raises as ``splats_to_mesh`` does.
    """
    chosen = settings.mesh
    mesh = extract_mesh(
        field, resolution=chosen.resolution, threshold=threshold, faces=chosen.faces, floaters=chosen.floaters
    )
    tell(f"surface: {len(mesh.vertices)} vertices, {len(mesh.faces)} faces; baking")
    write_mesh(path, field, mesh, chosen.texture, place.center, place.scale)
    return mesh


def mesh_settings(
    settings: Settings, *, resolution: int | None = None, texture: int | None = None, faces: int | None = None
) -> Settings:
    """Settings with the numbers that a call names."""
    named = {"resolution": resolution, "texture": texture, "faces": faces}
    for name, value in named.items():
        if value is not None:
            settings = settings.set(f"mesh.{name}", value)
    return settings
