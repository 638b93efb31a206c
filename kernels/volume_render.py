"""Volume rendering of a field in the cube [-1, 1]^3: samples along rays, and their composition front to back.

Rays have directions of length one; samples lie at even steps where an occupancy grid is set. A field's raw outputs become
density exp(raw), cut at RAW_MAX, and colour sigmoid(raw). A ray ends once its transmittance is at or under `stop`.
`render_rays` does everything in one pass without gradients and never evaluates hidden samples; training marches with its
`used` counts as limits, then evaluates and composites with gradients.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from interactive3d.kernels import _library, reference_field
from interactive3d.kernels.field_network import EMPTY, GridBatch
from interactive3d.kernels.hash_grid import KERNEL, check_points
from interactive3d.kernels.reference_field import OUTPUTS, RAW_MAX, activate

__all__ = ["RAW_MAX", "Composite", "Rendered", "Samples", "activate", "composite", "march_rays", "render_rays"]

STOP = 1e-3
NEAR = 0.01
REFERENCE_RAYS = 4096  # that the reference renders at a time; only bounds its memory


class Samples(NamedTuple):
    """Samples of n rays, those of ray i at offsets[i] up to offsets[i + 1]."""

    times: Float[Tensor, " m"]
    positions: Float[Tensor, "m 3"]
    offsets: Int[Tensor, " n+1"]


class Composite(NamedTuple):
    """Pictures' pixels without background. Depth is the sum of weight times distance, not divided by alpha."""

    color: Float[Tensor, "n 3"]
    alpha: Float[Tensor, " n"]
    depth: Float[Tensor, " n"]
    weights: Float[Tensor, " m"]


class Rendered(NamedTuple):
    """Pixels without background, and how many samples each ray needed."""

    color: Float[Tensor, "n 3"]
    alpha: Float[Tensor, " n"]
    depth: Float[Tensor, " n"]
    used: Int[Tensor, " n"]


def march_rays(
    origins: Float[Tensor, "n 3"],
    directions: Float[Tensor, "n 3"],
    occupancy: UInt8[Tensor, "g g g"],
    step: float,
    *,
    shifts: Float[Tensor, " n"] | None = None,
    limits: Int[Tensor, " n"] | None = None,
    near: float = NEAR,
) -> Samples:
    """Samples every ``step`` scene units in set cells (z, y, x) of the cube; not differentiable.

    ``shifts`` in 0 .. 1 place each ray's lattice (a half when None); ``limits`` (int32) bound the samples of each ray.

    Raises:
        TypeError, ValueError: shapes, dtypes or devices do not agree, or a step that is not positive.
    """
    _check_rays(origins, directions, shifts, occupancy, step)
    op = _library.operator("march_rays", KERNEL, origins.device)
    return Samples(*op(origins, directions, shifts, occupancy, limits, step, near))


def composite(
    raw: Float[Tensor, "m 4"],
    times: Float[Tensor, " m"],
    offsets: Int[Tensor, " n+1"],
    step: float,
    *,
    stop: float = STOP,
) -> Composite:
    """Pixels of n rays from their samples' raw outputs; differentiable in ``raw``.

    Raises:
        TypeError, ValueError: shapes or dtypes do not agree.
    """
    if raw.dim() != 2 or raw.shape[1] != OUTPUTS or tuple(times.shape) != (raw.shape[0],):
        raise ValueError(f"raw, times: expected (m, 4) and (m,), got {tuple(raw.shape)} and {tuple(times.shape)}")
    if offsets.dtype != torch.int64 or offsets.dim() != 1 or offsets.shape[0] < 1:
        raise TypeError(f"offsets: expected int64 of shape (n + 1,), got {offsets.dtype} {tuple(offsets.shape)}")
    if raw.dtype != times.dtype:
        raise TypeError(f"times: expected {raw.dtype} as raw has, got {times.dtype}")
    return Composite(*_library.operator("composite", KERNEL, raw.device)(raw, times, offsets, step, stop))


def render_rays(
    origins: Float[Tensor, "n 3"],
    directions: Float[Tensor, "n 3"],
    occupancy: UInt8[Tensor, "g g g"],
    base: GridBatch,
    regions: GridBatch | None,
    step: float,
    *,
    shifts: Float[Tensor, " n"] | None = None,
    near: float = NEAR,
    empty: float = EMPTY,
    stop: float = STOP,
) -> Rendered:
    """Pixels of a field, refined by regions where there are any; not differentiable.

    Raises:
        TypeError, ValueError: shapes, dtypes or devices do not agree, or a step that is not positive.
    """
    _check_rays(origins, directions, shifts, occupancy, step)
    check_points("origins", origins, base.params)
    finer: tuple[Tensor, Tensor, Tensor, list[int]]
    if regions is None:
        finer = base.params.new_zeros(0), base.masks.new_zeros(0, 1, 1, 1), base.params.new_zeros(0, 8), []
    else:
        finer = regions.params, regions.masks, regions.boxes, regions.numbers
    op = _library.operator("render_rays", KERNEL, origins.device)
    grid = (base.params, base.masks[0], base.boxes[0], base.numbers)
    return Rendered(*op(origins, directions, shifts, occupancy, *grid, *finer, step, near, empty, stop))


def _check_rays(origins: Tensor, directions: Tensor, shifts: Tensor | None, occupancy: Tensor, step: float) -> None:
    check_points("directions", directions, origins)
    if origins.shape != directions.shape:
        raise ValueError(f"origins: expected shape {tuple(directions.shape)}, got {tuple(origins.shape)}")
    if shifts is not None and (tuple(shifts.shape) != (origins.shape[0],) or shifts.dtype != origins.dtype):
        raise ValueError(f"shifts: expected {origins.shape[0]} of {origins.dtype}, got {tuple(shifts.shape)}")
    side = occupancy.shape[0]
    if occupancy.dtype != torch.uint8 or tuple(occupancy.shape) != (side, side, side):
        raise ValueError(f"occupancy: expected a cube of uint8, got {tuple(occupancy.shape)} {occupancy.dtype}")
    if not 1e-5 <= step <= 1.0:
        raise ValueError(f"step: expected 1e-5 to 1 scene unit, got {step}")


def _march_fake(
    origins: Tensor,
    directions: Tensor,
    shifts: Tensor | None,
    occupancy: Tensor,
    limits: Tensor | None,
    step: float,
    near: float,
) -> tuple[Tensor, Tensor, Tensor]:
    samples = torch.library.get_ctx().new_dynamic_size()
    return (
        origins.new_empty(samples),
        origins.new_empty(samples, 3),
        origins.new_empty(origins.shape[0] + 1, dtype=torch.int64),
    )


def _composite_fake(
    raw: Tensor, times: Tensor, offsets: Tensor, step: float, stop: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    n = offsets.shape[0] - 1
    return raw.new_empty(n, 3), raw.new_empty(n), raw.new_empty(n), raw.new_empty(raw.shape[0])


def _composite_backward_reference(
    grad_color: Tensor | None,
    grad_alpha: Tensor | None,
    grad_depth: Tensor | None,
    raw: Tensor,
    times: Tensor,
    offsets: Tensor,
    step: float,
    stop: float,
) -> Tensor:
    with torch.enable_grad():
        leaf = raw.detach().requires_grad_()
        outputs = reference_field.composite(leaf, times, offsets, step, stop)[:3]
        loss = leaf.new_zeros(())
        for out, grad in zip(outputs, (grad_color, grad_alpha, grad_depth), strict=True):
            if grad is not None:
                loss = loss + (out * grad).sum()
    if not loss.requires_grad:
        return torch.zeros_like(raw)
    return torch.autograd.grad(loss, leaf, allow_unused=False)[0]


def _composite_backward_fake(
    grad_color: Tensor | None,
    grad_alpha: Tensor | None,
    grad_depth: Tensor | None,
    raw: Tensor,
    *rest: Any,
) -> Tensor:
    return raw.new_empty(raw.shape)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    raw, times, offsets, ctx.step, ctx.stop = inputs
    ctx.mark_non_differentiable(output[3])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(raw, times, offsets)


def _backward(prefix: str, ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
    if all(grad is None for grad in grads[:3]):
        return None, None, None, None, None
    op = getattr(torch.ops.i3d, prefix + "composite_backward")
    return op(*grads[:3], *ctx.saved_tensors, ctx.step, ctx.stop), None, None, None, None


def _render_reference(
    origins: Tensor,
    directions: Tensor,
    shifts: Tensor | None,
    occupancy: Tensor,
    params: Tensor,
    mask: Tensor,
    box: Tensor,
    layout: Sequence[int],
    region_params: Tensor,
    region_masks: Tensor,
    region_boxes: Tensor,
    region_layouts: Sequence[int],
    step: float,
    near: float,
    empty: float,
    stop: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    base = (params, mask, box, layout)
    regions = (region_params, region_masks, region_boxes, region_layouts)
    parts = []
    for first in range(0, max(origins.shape[0], 1), REFERENCE_RAYS):
        rows = slice(first, first + REFERENCE_RAYS)
        part = None if shifts is None else shifts[rows]
        times, positions, offsets = reference_field.march_rays(
            origins[rows], directions[rows], part, occupancy, None, step, near
        )
        raw = reference_field.field_raw(positions, base, regions, empty)
        color, alpha, depth, weights = reference_field.composite(raw, times, offsets, step, stop)
        parts.append((color, alpha, depth, _used(raw, weights, offsets, step, stop)))
    joined = [torch.cat(column) for column in zip(*parts, strict=True)]
    return joined[0], joined[1], joined[2], joined[3]


def _used(raw: Tensor, weights: Tensor, offsets: Tensor, step: float, stop: float) -> Tensor:
    """Samples before the ray's end: those that still had light in front of them."""
    density, _ = activate(raw)
    total = torch.cat([density.new_zeros(1), (density * step).cumsum(0)])
    counts = offsets[1:] - offsets[:-1]
    first = total[offsets[:-1]].repeat_interleave(counts)
    lit = ((first - total[:-1]).exp() > stop).long()
    running = torch.cat([lit.new_zeros(1), lit.cumsum(0)])
    return (running[offsets[1:]] - running[offsets[:-1]]).int()


def _render_fake(origins: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    n = origins.shape[0]
    return (
        origins.new_empty(n, 3),
        origins.new_empty(n),
        origins.new_empty(n),
        origins.new_empty(n, dtype=torch.int32),
    )


_library.define(
    "march_rays",
    "(Tensor origins, Tensor directions, Tensor? shifts, Tensor occupancy, Tensor? limits, float step, float near) "
    "-> (Tensor, Tensor, Tensor)",
    reference_field.march_rays,
    _march_fake,
)
_library.define(
    "composite",
    "(Tensor raw, Tensor times, Tensor offsets, float step, float stop) -> (Tensor, Tensor, Tensor, Tensor)",
    reference_field.composite,
    _composite_fake,
)
_library.define(
    "composite_backward",
    "(Tensor? grad_color, Tensor? grad_alpha, Tensor? grad_depth, Tensor raw, Tensor times, Tensor offsets, float step, "
    "float stop) -> Tensor",
    _composite_backward_reference,
    _composite_backward_fake,
)
_library.define_autograd("composite", _setup, _backward)
_library.define(
    "render_rays",
    "(Tensor origins, Tensor directions, Tensor? shifts, Tensor occupancy, Tensor params, Tensor mask, Tensor box, "
    "int[] layout, Tensor region_params, Tensor region_masks, Tensor region_boxes, int[] region_layouts, float step, "
    "float near, float empty, float stop) -> (Tensor, Tensor, Tensor, Tensor)",
    _render_reference,
    _render_fake,
)
