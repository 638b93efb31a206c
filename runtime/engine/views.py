"""Cameras and backgrounds that the optimizer draws (paper 3.1.5: zoomed cameras for a part)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from interactive3d.runtime.operations.base import Focus
from interactive3d.runtime.scene.camera import Camera
from interactive3d.runtime.scene.render import carried
from interactive3d.runtime.settings import CameraSettings

CHECKER_CELLS = 8
CHECKER_SHADES = (0.35, 0.75)


def draw_cameras(settings: CameraSettings, focus: Focus | None, generator: torch.Generator) -> list[Camera]:
    """``settings.batch`` orbit cameras. Azimuths are stratified, so that a batch sees the object from all sides.

    With a focus, all but its whole share of the cameras look at the part's ball from as near as makes it fill the picture.
    """
    batch = settings.batch
    uniform = torch.rand(batch, 4, generator=generator, dtype=torch.float64)
    turn = float(torch.rand((), generator=generator, dtype=torch.float64))
    whole = batch if focus is None else round(batch * focus.whole_share)
    # A fractional share is honoured over time: the generator decides whether this step rounds up.
    if focus is not None:
        exact = batch * focus.whole_share
        whole = int(exact) + int(float(torch.rand((), generator=generator, dtype=torch.float64)) < exact - int(exact))
    cameras = []
    for i in range(batch):
        u = uniform[i].tolist()
        azimuth = 360.0 * (i + u[0]) / batch + 360.0 * turn
        # Uniform on the sphere between the two elevations.
        low, high = (math.sin(math.radians(e)) for e in sorted((settings.elevation_min, settings.elevation_max)))
        elevation = math.degrees(math.asin(low + (high - low) * u[1]))
        fov = settings.fov_min + (settings.fov_max - settings.fov_min) * u[2]
        distance = settings.distance_min + (settings.distance_max - settings.distance_min) * u[3]
        if focus is None or i < whole:
            cameras.append(Camera.orbit(azimuth % 360.0, elevation, distance, fov))
        else:
            cameras.append(zoomed(focus, azimuth % 360.0, elevation, distance))
    return cameras


def zoomed(focus: Focus, azimuth: float, elevation: float, distance: float) -> Camera:
    """The orbit camera, aimed at the part and with the field of view that just holds its ball.

    The distance stays, so perspective does not change and no camera lands inside the object.
    """
    fov = 2.0 * math.degrees(math.asin(min(0.8, focus.radius / distance)))
    return Camera.orbit(azimuth, elevation, distance, max(fov, 4.0), focus.center)


def draw_backgrounds(
    kind: str, batch: int, side: int, generator: torch.Generator, device: torch.device
) -> Float[Tensor, "b 3"] | Float[Tensor, "b h w 3"]:
    """What lies behind the object: one colour a picture, or a checker board of two random greys."""
    fixed = {"white": 1.0, "grey": 0.5, "black": 0.0}
    if kind in fixed:
        return torch.full((batch, 3), fixed[kind], device=device)
    if kind == "mixed":
        colors = torch.rand(batch, 3, generator=generator)
        colors[torch.rand(batch, generator=generator) < 0.5] = 1.0
        return carried(colors, device)
    if kind == "random":
        return carried(torch.rand(batch, 3, generator=generator), device)
    if kind == "checker":
        cell = max(1, side // CHECKER_CELLS)
        grid = (torch.arange(side)[:, None] // cell + torch.arange(side)[None, :] // cell) % 2
        low, high = CHECKER_SHADES
        shades = torch.rand(batch, 2, generator=generator) * (high - low) + low
        picture = torch.where(grid[None] == 0, shades[:, 0, None, None], shades[:, 1, None, None])
        return carried(picture[..., None].expand(batch, side, side, 3).contiguous(), device)
    raise ValueError(f"background: expected mixed, white, random, checker, grey or black, got {kind!r}")
