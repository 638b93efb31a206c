"""Distillation: the splats' pictures become a field (paper section 3.2.1, equation 7).

Each step renders random cameras with both and follows the L1 of colour and coverage over random rays, at growing resolution. The field
speaks only where the blobs are, one cell around them included; its occupancy is refreshed from its own density as it takes shape.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from interactive3d.kernels.hash_grid import GridLayout
from interactive3d.runtime.field.field import OCCUPANCY_SIDE, HashGridField, cell_centers, dilated
from interactive3d.runtime.field.optimizer import Moments, Rates, adam_step
from interactive3d.runtime.field.rendering import camera_rays, orientation_loss, render_field, render_trainable
from interactive3d.runtime.scene.camera import Camera
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.scene.render import carried, render
from interactive3d.runtime.scene.voxels import voxelise
from interactive3d.runtime.settings import Settings

COVERED = 0.02
"""Coverage of a 64^3 cell above which blobs are in it; one more layer of such cells is added around."""
OCCUPIED = 0.5
"""Density (per scene unit) above which a cell is occupied: it then takes 3 % of the light of a ray through it."""
DENSE = ((0.0, 0.3), (0.65, 2.0))
"""From which share of a distillation on a cell needs which density to stay. At first only what the pictures have cleared goes, for
a surface may still be thin; at the end what is thinner than a surface is fog that no picture has cleared."""
AROUND = 1.5
"""A cell is looked up in a cube this much larger than itself, so that a surface may move across its border."""
LOOKS = 12  # random points of a cell
REFRESH_EVERY, REFRESH_AFTER = 32, 0.2  # steps; share of the run before which the density is still a fog
STAGES = ((0.0, 0.25, 2.0), (0.3, 0.5, 1.5), (0.65, 1.0, 1.0))
"""From which share of the steps on pictures have which share of the full side, and samples which distance (times the field's)."""
FOREGROUND = 0.75  # share of the rays that are drawn where something is; the rest keeps the background clean
WARM_UP, COOL_DOWN = 0.02, 0.1  # shares of the run; the step sizes end at a tenth


@dataclass(frozen=True, kw_only=True)
class DistillState:
    """A distillation at a step boundary. ``candidates`` are the cells in which the field may ever speak."""

    field: HashGridField
    moments: Moments
    candidates: UInt8[Tensor, "g g g"]


def new_field(model: GaussianModel, settings: Settings, generator: torch.Generator) -> HashGridField:
    """An untrained field around the blobs.

    Raises:
        ValueError: there are no blobs in the scene's cube, or a setting does not make a grid.
    """
    layout = GridLayout.create(
        levels=settings.field.levels,
        features=settings.field.features,
        capacity=settings.field.capacity,
        base_resolution=settings.field.base,
        growth=settings.field.growth,
        hidden=settings.field.hidden,
    )
    covered = (voxelise(model, 2 * OCCUPANCY_SIDE)[3] > COVERED).to(torch.uint8)
    if not bool(covered.any()):
        raise ValueError("distill: no blobs lie in the cube from -1 to 1; move or scale the object into it first")
    params = layout.initial(generator).to(model.device)
    near = torch.nn.functional.max_pool3d(dilated(covered)[None].float(), 2)[0].to(torch.uint8)
    return HashGridField(layout=layout, params=params, mask=near.to(model.device), step=settings.field.step)


def begin_distillation(model: GaussianModel, settings: Settings, generator: torch.Generator) -> DistillState:
    """The first state. Raises ValueError as ``new_field`` does."""
    field = new_field(model, settings, generator)
    return DistillState(field=field, moments=Moments.fresh(field.params), candidates=field.mask)


def distill_step(
    state: DistillState,
    model: GaussianModel,
    cameras: list[Camera],
    progress: float,
    number: int,
    settings: Settings,
    generator: torch.Generator,
) -> tuple[DistillState, float]:
    """One step; ``progress`` is the share of the steps already done, ``number`` counts them. Returns the loss as well."""
    side = picture_side(progress, settings.distill.size)
    field, count = state.field, len(cameras)
    raster = render(model, cameras, side, background=(0.0, 0.0, 0.0))
    target, coverage = raster.color.reshape(-1, 3), raster.alpha.reshape(-1)
    rows = draw_rays(coverage > 0.01, settings.distill.rays, generator)
    origins, directions = camera_rays(cameras, side, side, field.device)
    shifts = carried(torch.rand(len(rows), generator=generator), field.device)
    behind = carried(torch.rand(count, 3, generator=generator), field.device)[rows // (side * side)]
    leaf = field.params.detach().requires_grad_()
    sampled = replace(field, step=field.step * sample_distance(progress))
    pixels = render_trainable(sampled, origins[rows], directions[rows], base=leaf, shifts=shifts)
    color = pixels.color + (1 - pixels.alpha)[:, None] * behind
    wanted = target[rows] + (1 - coverage[rows])[:, None] * behind
    loss = (color - wanted).abs().mean() + settings.distill.alpha * (pixels.alpha - coverage[rows]).abs().mean()
    total = loss
    if settings.distill.orientation > 0 and progress > STAGES[1][0]:
        total = total + settings.distill.orientation * progress * orientation_loss(field, pixels, generator, base=leaf)
    gradient = torch.autograd.grad(total, leaf, allow_unused=True)[0]
    gradient = torch.zeros_like(leaf) if gradient is None else gradient
    rates = Rates(table=settings.distill.table_rate, network=settings.distill.network_rate)
    params, moments = adam_step(
        field.params, gradient, state.moments, field.layout, rates.scaled(rate_factor(progress))
    )
    state = replace(state, field=field.with_base(params), moments=moments)
    if number % REFRESH_EVERY == 0 and progress >= REFRESH_AFTER:
        least = next(density for start, density in reversed(DENSE) if progress >= start)
        state = replace(state, field=refreshed(state, least, generator))
    return state, float(loss.detach())


def picture_side(progress: float, full: int) -> int:
    """Side of the pictures at a share of the run, in pixels."""
    share = next(size for start, size, _ in reversed(STAGES) if progress >= start)
    return max(32, round(full * share))


def sample_distance(progress: float) -> float:
    """Distance between samples at a share of the run, in multiples of the field's own: coarse pictures need fewer."""
    return next(distance for start, _, distance in reversed(STAGES) if progress >= start)


def rate_factor(progress: float) -> float:
    """Rises linearly at first, then falls exponentially to a tenth: large steps find the shape, small ones sharpen it."""
    rise = min(1.0, (progress + 1e-3) / WARM_UP)
    return rise * COOL_DOWN ** max(0.0, (progress - 0.5) / 0.5)


def draw_rays(inside: Bool[Tensor, " n"], count: int, generator: torch.Generator) -> Tensor:
    """Rows of random pixels, most of them where the object is."""
    hit = inside.nonzero().squeeze(1).cpu()
    every = torch.randint(0, inside.shape[0], (count,), generator=generator)
    if len(hit) == 0:
        return every.to(inside.device)
    chosen = hit[torch.randint(0, len(hit), (count,), generator=generator)]
    first = torch.arange(count) < count * FOREGROUND
    return carried(torch.where(first, chosen, every), inside.device)


@torch.no_grad()
def refreshed(state: DistillState, least: float, generator: torch.Generator) -> HashGridField:
    """The field with its occupancy looked up anew: candidate cells with this density in them or close beside them."""
    side = state.candidates.shape[0]
    rows = state.candidates.flatten().nonzero().squeeze(1)
    whole = replace(state.field, mask=state.candidates)
    box = whole.base_grid().boxes[0]
    centers = cell_centers(box, side).reshape(-1, 3)[rows]
    jitter = torch.rand(LOOKS, len(rows), 3, generator=generator).to(centers.device) - 0.5
    density, _ = whole.density_color((centers + jitter * (AROUND * 2.0 / side)).reshape(-1, 3))
    dense = density.reshape(LOOKS, -1).amax(0) > least
    if not bool(dense.any()):
        # An empty field would never learn again: while there is no density at all, the candidates stay.
        return replace(state.field, mask=state.candidates)
    cells = torch.zeros_like(state.candidates).flatten()
    cells[rows] = dense.to(torch.uint8)
    return replace(state.field, mask=cells.reshape(state.candidates.shape))


def psnr_against_splats(field: HashGridField, model: GaussianModel, cameras: list[Camera], side: int = 128) -> float:
    """Peak signal-to-noise ratio of the field's pictures on white against the splats', in dB."""
    ours = render_field(field, cameras, side).color
    theirs = render(model, cameras, side).color.clamp(0, 1)
    error = (ours - theirs).square().mean().clamp(min=1e-10)
    return float(-10 * torch.log10(error))
