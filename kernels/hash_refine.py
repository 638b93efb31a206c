"""Part-specific hash tables (paper section 3.2.2): all refined regions of a field in one call, forward and backward.

Each region has tables addressed in its own box, so that a small table reaches a fine cell, and a small network that turns
[its encoding, the base encoding, the base output] into residual raw density and colour. A region gives zero outside itself
and outside its occupancy (equations 8 and 9); regions that overlap are summed.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from interactive3d.kernels import _library, reference_field
from interactive3d.kernels.field_network import GridBatch
from interactive3d.kernels.hash_grid import KERNEL, check_points, gradients
from interactive3d.kernels.reference_field import OUTPUTS

__all__ = ["hash_refine"]


def hash_refine(
    positions: Float[Tensor, "n 3"],
    base_encoding: Float[Tensor, "n e"],
    base_raw: Float[Tensor, "n 4"],
    regions: GridBatch,
) -> tuple[Float[Tensor, "n 4"], UInt8[Tensor, " n"]]:
    """The summed residuals, and where any region speaks; differentiable in everything but masks and boxes.

    Raises:
        TypeError, ValueError: shapes, dtypes or devices do not agree, or a layout does not take the base's outputs.
    """
    check_points("positions", positions, regions.params)
    n, width = positions.shape[0], base_encoding.shape[-1]
    if tuple(base_encoding.shape) != (n, width) or tuple(base_raw.shape) != (n, OUTPUTS):
        raise ValueError(
            f"base: expected an encoding with {n} rows and raw outputs of shape {(n, OUTPUTS)}, "
            f"got {tuple(base_encoding.shape)} and {tuple(base_raw.shape)}"
        )
    for layout in regions.layouts:
        if layout.extra != width + OUTPUTS:
            raise ValueError(f"regions: expected layouts with extra {width + OUTPUTS}, got {layout.extra}")
    op = _library.operator("hash_refine", KERNEL, positions.device)
    return op(positions, base_encoding, base_raw, regions.params, regions.masks, regions.boxes, regions.numbers)


def _fake(
    positions: Tensor,
    base_encoding: Tensor,
    base_raw: Tensor,
    params: Tensor,
    masks: Tensor,
    boxes: Tensor,
    layouts: Sequence[int],
) -> tuple[Tensor, Tensor]:
    return base_raw.new_empty(base_raw.shape), masks.new_empty(positions.shape[0])


def _backward_reference(
    grad: Tensor,
    positions: Tensor,
    base_encoding: Tensor,
    base_raw: Tensor,
    params: Tensor,
    masks: Tensor,
    boxes: Tensor,
    layouts: Sequence[int],
    want_positions: bool,
    want_base: bool,
    want_params: bool,
) -> tuple[Tensor, ...]:
    wanted = (want_positions, want_base, want_base, want_params)
    with torch.enable_grad():
        tensors = (positions, base_encoding, base_raw, params)
        leaves = [tensor.detach().requires_grad_(want) for tensor, want in zip(tensors, wanted, strict=True)]
        out = reference_field.hash_refine(leaves[0], leaves[1], leaves[2], leaves[3], masks, boxes, layouts)[0]
    return gradients(out, grad, leaves, wanted)


def _backward_fake(
    grad: Tensor,
    positions: Tensor,
    base_encoding: Tensor,
    base_raw: Tensor,
    params: Tensor,
    masks: Tensor,
    boxes: Tensor,
    layouts: Sequence[int],
    want_positions: bool,
    want_base: bool,
    want_params: bool,
) -> tuple[Tensor, ...]:
    n = positions.shape[0]
    return (
        positions.new_empty(n if want_positions else 0, 3),
        base_encoding.new_empty(n if want_base else 0, base_encoding.shape[1]),
        base_raw.new_empty(n if want_base else 0, OUTPUTS),
        params.new_empty(params.shape[0] if want_params else 0),
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.layouts = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(*tensors)


def _backward(prefix: str, ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor | None, ...]:
    need = ctx.needs_input_grad[:4]
    op = getattr(torch.ops.i3d, prefix + "hash_refine_backward")
    found = op(grad, *ctx.saved_tensors, ctx.layouts, need[0], need[1] or need[2], need[3])
    return (*(part if want else None for part, want in zip(found, need, strict=True)), None, None, None)


_INPUTS = (
    "Tensor positions, Tensor base_encoding, Tensor base_raw, Tensor params, Tensor masks, Tensor boxes, int[] layouts"
)
_library.define("hash_refine", f"({_INPUTS}) -> (Tensor, Tensor)", reference_field.hash_refine, _fake)
_library.define(
    "hash_refine_backward",
    f"(Tensor grad, {_INPUTS}, bool want_positions, bool want_base, bool want_params) -> (Tensor, Tensor, Tensor, Tensor)",
    _backward_reference,
    _backward_fake,
)
_library.define_autograd("hash_refine", _setup, _backward)
