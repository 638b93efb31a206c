"""Interactive hash refinement (paper section 3.2.2): a region learns residual density and colour over a frozen field.

The region is a part's shape cut with the field's occupancy (equations 8 and 9). Its tables are addressed in its own box. Its occupancy is
refreshed from the refined density, so that it can grow surface; where the base is occupied it always stays, for the region may remove it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from interactive3d.kernels.hash_grid import GridLayout
from interactive3d.kernels.reference_field import OUTPUTS
from interactive3d.runtime.field.distill import OCCUPIED
from interactive3d.runtime.field.field import (
    MOMENTS,
    REGION_SIDE,
    HashGridField,
    Region,
    cell_centers,
    dilated,
)
from interactive3d.runtime.field.optimizer import Moments, Rates, adam_step
from interactive3d.runtime.field.rendering import camera_rays, render_trainable
from interactive3d.runtime.scene.camera import Camera
from interactive3d.runtime.scene.render import carried
from interactive3d.runtime.settings import RefineSettings

COARSEST_CELLS = 8  # of a region's coarsest level
FINER = 4.0
"""A region's finest cell is this much finer than the base's finest, as far as its tables have room for it."""
REACH = 0.03
"""Scene units around a region's surface in which it may grow further before its occupancy is looked up again."""
MARGIN = 1.05  # of the box around a part that is not a sphere
ACTIVE = 0.5  # bias of a region's hidden units, so that all of them pass gradients from the first step on
GAIN = 4.0
"""How many times larger than torch's Linear the first last layer of a region is: a step of its tables then shows at once."""
TILT = 0.7  # the finest level starts exp(2 x 0.7) times as loud as the coarsest: fine detail is what a region is for
RESOLVED = 1.0  # pixels: smaller cells learn more slowly
GRAIN = 2.0**-10  # the first last layer is made of whole multiples of this, so that its sums are exact in any order


class PictureLoss(Protocol):
    """Whatever judges pictures: score distillation, a reference picture, a test.

    Gets pictures (c h w 3, display values, background included) of the cameras and gives the gradient of its loss by them, and the loss.
    """

    def __call__(
        self, images: Float[Tensor, "c h w 3"], cameras: Sequence[Camera]
    ) -> tuple[Float[Tensor, "c h w 3"], float]: ...


@dataclass(frozen=True, kw_only=True)
class RefineState:
    """A refinement at a step boundary: the field with its region, and the optimizer of the region alone."""

    field: HashGridField
    name: str
    moments: Moments


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a region costs, before it is made. Bytes are of the parameters, and of parameters with the optimizer's moments."""

    parameters: int
    bytes: int
    bytes_while_refining: int
    finest_cell: float

    def __str__(self) -> str:
        return (
            f"{self.parameters:,} parameters, {self.bytes / 1e6:.1f} MB ({self.bytes_while_refining / 1e6:.1f} MB while refining), "
            f"finest cell {self.finest_cell:.4f} scene units"
        )


def region_layout(field: HashGridField, side: float, settings: RefineSettings) -> GridLayout:
    """Tables for a box of this side. Raises ValueError where the settings do not make a grid."""
    base_cell = 2.0 / field.layout.resolutions[-1]
    finest = max(2 * COARSEST_CELLS, math.ceil(side / base_cell * FINER))
    growth = (finest / COARSEST_CELLS) ** (1 / max(settings.levels - 1, 1))
    return GridLayout.create(
        levels=settings.levels,
        features=settings.features,
        capacity=settings.capacity,
        base_resolution=COARSEST_CELLS if settings.levels > 1 else finest,
        growth=growth,
        hidden=settings.hidden,
        extra=field.layout.encoded + OUTPUTS,
    )


def cost_of(layout: GridLayout, side: float) -> Cost:
    """What a region with this layout costs."""
    size = layout.size * 4
    return Cost(
        parameters=layout.size,
        bytes=size,
        bytes_while_refining=size * (1 + MOMENTS),
        finest_cell=side / layout.resolutions[-1],
    )


def sphere_box(center: tuple[float, float, float], radius: float) -> Float[Tensor, "8"]:
    """The box of equation 8's ball."""
    return torch.tensor([*(c - radius for c in center), 2 * radius, *center, radius])


def box_around(low: Sequence[float], high: Sequence[float]) -> Float[Tensor, "8"]:
    """The cube around a box, without a sphere."""
    side = max(h - w for w, h in zip(low, high, strict=True)) * MARGIN
    return torch.tensor([*((w + h - side) / 2 for w, h in zip(low, high, strict=True)), side, 0.0, 0.0, 0.0, 0.0])


def make_region(
    field: HashGridField,
    name: str,
    box: Float[Tensor, "8"],
    inside: Callable[[Float[Tensor, "n 3"]], Bool[Tensor, " n"]] | None,
    settings: RefineSettings,
    generator: torch.Generator,
) -> Region:
    """A region that as yet adds nothing. ``inside`` tells the part's points; None is the whole box (or its sphere).

    Raises:
        ValueError: the part holds nothing of the field, or the settings do not make a grid.
    """
    centers = cell_centers(box, REGION_SIDE)
    flat = centers.reshape(-1, 3)
    shape = torch.ones(len(flat), dtype=torch.bool) if inside is None else inside(flat)
    if float(box[7]) > 0:
        # A cell belongs to the ball when any of it may; the kernel tests the ball itself, point by point.
        half_diagonal = float(box[3]) / REGION_SIDE * 0.87
        shape = shape & ((flat - box[4:7]).norm(dim=-1) <= float(box[7]) + half_diagonal)
    cells = shape.reshape(REGION_SIDE, REGION_SIDE, REGION_SIDE).to(torch.uint8)
    occupied = cells & looked_up(dilated(field.occupancy().cpu()), centers)
    if not bool((cells & looked_up(field.occupancy().cpu(), centers)).any()):
        raise ValueError(f"refine {name}: the part holds nothing of the object; place it where the object is")
    layout = region_layout(field, float(box[3]), settings)
    region = Region(
        name=name,
        layout=layout,
        params=first_parameters(layout, generator),
        box=box,
        shape=cells,
        mask=occupied,
    )
    device = field.device
    return replace(
        region,
        params=region.params.to(device),
        box=box.to(device),
        shape=cells.to(device),
        mask=occupied.to(device),
    )


def first_parameters(layout: GridLayout, generator: torch.Generator) -> Float[Tensor, " p"]:
    """A region's first parameters: the residual is zero to the bit, and its gradient reaches the tables in the first step.

    Hidden units come in mirrored pairs, relu(b + w x) and relu(b - w x), which the last layer takes with opposite signs. With empty
    tables the two cancel, whatever the order of the sum; while tables are small the pair is a linear readout of them. (A last layer of
    zeros would be silent as well, but the tables would have to wait until it has grown.)
    """
    params = torch.zeros(layout.size)
    _, first, bias, second, _ = layout.split(params)
    pairs, encoded = layout.hidden // 2, layout.encoded
    loudness = torch.linspace(-TILT, TILT, len(layout.resolutions)) if len(layout.resolutions) > 1 else torch.zeros(1)
    weights = (torch.rand(pairs, encoded, generator=generator) * 2 - 1) * (6.0 / encoded) ** 0.5
    weights = weights * loudness.exp().repeat_interleave(layout.features)
    first[:pairs, :encoded], first[pairs:, :encoded] = weights, -weights
    bias.fill_(ACTIVE)
    readout = (torch.rand(OUTPUTS, pairs, generator=generator) * 2 - 1) * GAIN * layout.hidden**-0.5
    readout = (readout / GRAIN).round() * GRAIN
    second[:, :pairs], second[:, pairs:] = readout, -readout
    return params


def begin_refinement(field: HashGridField, region: Region) -> RefineState:
    """The first state: the region stands in the field, everything else is frozen."""
    return RefineState(field=field.with_region(region), name=region.name, moments=Moments.fresh(region.params))


def looked_up(grid: UInt8[Tensor, "g g g"], points: Float[Tensor, "... 3"]) -> UInt8[Tensor, "..."]:
    """A scene grid's cells at points of the scene's cube; zero outside."""
    side = grid.shape[0]
    inside = ((points >= -1) & (points <= 1)).all(-1)
    i = ((points + 1) * (0.5 * side)).long().clamp(0, side - 1)
    return grid[i[..., 2], i[..., 1], i[..., 0]] * inside.to(torch.uint8)


def refine_step(
    state: RefineState,
    loss: PictureLoss,
    cameras: Sequence[Camera],
    side: int,
    backgrounds: Tensor,
    number: int,
    settings: RefineSettings,
    generator: torch.Generator,
    progress: float = 0.0,
    coverage: Callable[[Float[Tensor, "c h w"]], Tensor] | None = None,
) -> tuple[RefineState, float]:
    """One step of the region's own parameters; ``number`` counts them. ``backgrounds`` are (c 3) or (c h w 3).

    ``coverage`` is asked after ``loss`` and gives a loss of the pictures' coverage.
    """
    field, name = state.field, state.name
    region = field.region(name)
    origins, directions = camera_rays(cameras, side, side, field.device)
    shifts = carried(torch.rand(len(origins), generator=generator), field.device)
    leaf = region.params.detach().requires_grad_()
    pixels = render_trainable(field, origins, directions, regions={name: leaf}, shifts=shifts)
    shape = (len(cameras), side, side)
    behind = backgrounds[:, None, None] if backgrounds.dim() == 2 else backgrounds
    alpha = pixels.alpha.reshape(shape)
    images = pixels.color.reshape(*shape, 3) + (1 - alpha)[..., None] * behind.to(field.device)
    gradient, value = loss(images.detach(), cameras)
    if images.requires_grad:
        total = (images * gradient).sum()
        if coverage is not None:
            total = total + coverage(alpha)
        found = torch.autograd.grad(total, leaf, allow_unused=True)[0]
    else:  # no ray has met the region
        found = None
    found = torch.zeros_like(leaf) if found is None else found
    rates = Rates(
        table=settings.table_rate, network=settings.network_rate, levels=resolved(region, cameras, side)
    ).scaled(0.1 ** max(0.0, progress))
    params, moments = adam_step(region.params, found, state.moments, region.layout, rates)
    field = field.with_region(replace(region, params=params))
    if number % settings.refresh == 0:
        field = with_refreshed_mask(field, name)
    return replace(state, field=field, moments=moments), value


def resolved(region: Region, cameras: Sequence[Camera], side: int) -> tuple[float, ...]:
    """Factors of the levels' step sizes, 1 for cells that the nearest camera's pictures resolve, below with the cell's area.

    What pictures say about finer cells is the noise of which rays have met them; at full steps it would show as grain.
    """
    center, _ = region.focus
    nearest = min(
        2 * math.dist(camera.position, center) * math.tan(math.radians(camera.fov) / 2) / side for camera in cameras
    )
    cells = (float(region.box[3]) / resolution for resolution in region.layout.resolutions)
    return tuple(min(1.0, cell / (RESOLVED * nearest)) ** 2 for cell in cells)


@torch.no_grad()
def with_refreshed_mask(field: HashGridField, name: str) -> HashGridField:
    """The region's occupancy looked up in the refined density: it grows with the surface, and some room around it."""
    region = field.region(name)
    side = region.mask.shape[0]
    centers = cell_centers(region.box, side).reshape(-1, 3)
    base = looked_up(dilated(field.mask), centers).reshape(region.shape.shape)
    room = max(1, math.ceil(REACH / (float(region.box[3]) / side)))
    rows = (dilated(region.mask) & region.shape).flatten().nonzero().squeeze(1)
    everywhere = field.with_region(replace(region, mask=region.shape))
    dense = torch.zeros(side**3, dtype=torch.uint8, device=centers.device)
    dense[rows] = (everywhere.density_color(centers[rows])[0] > OCCUPIED).to(torch.uint8)
    mask = (dilated(dense.reshape(region.shape.shape), room) | base) & region.shape
    return field.with_region(replace(region, mask=mask))
