"""Pictures of a field: rays of a camera, a fast view without gradients, and the same picture with them for training."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interactive3d.kernels.volume_render import composite, march_rays, render_rays
from interactive3d.runtime.field.field import HashGridField
from interactive3d.runtime.scene.camera import Camera
from interactive3d.runtime.scene.render import carried

VIEW_STOP = 1 / 255
"""Transmittance at which a view's ray ends: what shines through beyond is less than one step of an eight-bit picture."""


@dataclass(frozen=True, kw_only=True)
class FieldPicture:
    """Pictures of c cameras, background included. ``depth`` is the sum of weight times distance along the ray."""

    color: Float[Tensor, "c h w 3"]
    alpha: Float[Tensor, "c h w"]
    depth: Float[Tensor, "c h w"]


@dataclass(frozen=True, kw_only=True)
class RayPixels:
    """Pixels of n rays with gradients, and the samples behind them."""

    color: Float[Tensor, "n 3"]
    alpha: Float[Tensor, " n"]
    positions: Float[Tensor, "m 3"]
    directions: Float[Tensor, "m 3"]
    weights: Float[Tensor, " m"]


def camera_rays(
    cameras: Sequence[Camera], width: int, height: int, device: torch.device | str = "cpu"
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"]]:
    """Origins and unit directions of all pixels, camera by camera, row by row; pixel centres lie at +0.5."""
    origins, directions = [], []
    for camera in cameras:
        view = camera.view_matrix()
        fx, fy, cx, cy = camera.intrinsics(width, height).tolist()
        y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        local = torch.stack([(x - cx) / fx, (y - cy) / fy, torch.ones_like(x)], dim=-1).reshape(-1, 3)
        # Rows of the rotation are the camera's axes in the world.
        world = torch.nn.functional.normalize(local @ view[:3, :3], dim=-1)
        directions.append(world)
        origins.append((-view[:3, 3] @ view[:3, :3]).expand_as(world))
    return carried(torch.cat(origins).contiguous(), device), carried(torch.cat(directions), device)


@torch.no_grad()
def render_field(
    field: HashGridField,
    cameras: Sequence[Camera],
    width: int,
    height: int | None = None,
    background: tuple[float, float, float] | Tensor = (1.0, 1.0, 1.0),
    *,
    stop: float = VIEW_STOP,
) -> FieldPicture:
    """Pictures for a screen, a file or a test. Empty cells and what lies behind the surface are skipped."""
    height = height or width
    origins, directions = camera_rays(cameras, width, height, field.device)
    found = render_rays(
        origins, directions, field.occupancy(), field.base_grid(), field.region_grids(), field.step, stop=stop
    )
    shape = (len(cameras), height, width)
    alpha = found.alpha.reshape(shape)
    color = over_background(found.color.reshape(*shape, 3), alpha, background)
    return FieldPicture(color=color, alpha=alpha, depth=found.depth.reshape(shape))


def over_background(color: Tensor, alpha: Tensor, background: tuple[float, float, float] | Tensor) -> Tensor:
    """Adds the background that still shines through; one colour, one per picture (c 3), or pictures."""
    behind = torch.as_tensor(background, dtype=color.dtype, device=color.device)
    if behind.dim() == 2 and color.dim() == 4:
        behind = behind[:, None, None]
    return color + (1 - alpha[..., None]) * behind


def render_trainable(
    field: HashGridField,
    origins: Float[Tensor, "n 3"],
    directions: Float[Tensor, "n 3"],
    *,
    base: Tensor | None = None,
    regions: dict[str, Tensor] | None = None,
    shifts: Float[Tensor, " n"] | None = None,
) -> RayPixels:
    """Pixels without background, differentiable in the given parameters.

    A first pass without gradients finds where each ray ends; only the samples before are evaluated with them.
    """
    occupancy = field.occupancy()
    with torch.no_grad():
        shown = field if base is None else field.with_base(base.detach())
        values = {name: value.detach() for name, value in (regions or {}).items()}
        seen = render_rays(
            origins, directions, occupancy, shown.base_grid(), shown.region_grids(values), field.step, shifts=shifts
        )
        samples = march_rays(origins, directions, occupancy, field.step, shifts=shifts, limits=seen.used)
    raw = field.raw(samples.positions, base, regions)
    pixels = composite(raw, samples.times, samples.offsets, field.step)
    owners = directions.repeat_interleave(samples.offsets.diff(), dim=0, output_size=len(samples.times))
    return RayPixels(
        color=pixels.color,
        alpha=pixels.alpha,
        positions=samples.positions,
        directions=owners,
        weights=pixels.weights.detach(),
    )


def orientation_loss(
    field: HashGridField,
    pixels: RayPixels,
    generator: torch.Generator,
    count: int = 1024,
    *,
    base: Tensor | None = None,
    regions: dict[str, Tensor] | None = None,
) -> Tensor:
    """Visible normals should face the camera (Verbin et al. 2022, equation 11): mean over a few samples, drawn by weight."""
    if pixels.weights.numel() == 0 or float(pixels.weights.sum()) <= 0:
        return pixels.color.new_zeros(())
    chance = pixels.weights.cpu()
    # multinomial takes at most 2^24 categories; a stride keeps every sample as likely relative to its neighbours.
    stride = -(-chance.numel() // (1 << 24))
    rows = torch.multinomial(chance[::stride], count, replacement=True, generator=generator) * stride
    slope = field.slope(pixels.positions[rows], base, regions)
    normals = torch.nn.functional.normalize(-slope, dim=-1, eps=1e-9)
    away = (normals * pixels.directions[rows]).sum(-1).clamp(min=0)
    return away.square().mean()
