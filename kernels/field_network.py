"""The base field's kernel: hash encoding and a small network in one pass, forward and backward.

One hidden layer of rectified units gives four raw numbers a point: density and red, green, blue before their activations
(see `volume_render`). On CUDA tiny-cuda-nn serves the encoding where it is installed.

The field speaks where its mask is set; elsewhere it gives a raw density that its caller names.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from interactive3d.kernels import _library, reference_field
from interactive3d.kernels.hash_grid import KERNEL, GridLayout, check_points, gradients
from interactive3d.kernels.reference_field import OUTPUTS

__all__ = ["EMPTY", "SCENE_BOX", "GridBatch", "field_network"]

EMPTY = -4.0
"""Raw density where only a refined region speaks: a density of 0.02, from which a refinement can grow surface."""

SCENE_BOX = (-1.0, -1.0, -1.0, 2.0, 0.0, 0.0, 0.0, 0.0)
"""Low corner and side of the scene's cube; the last four are a grid's sphere, here none."""


@dataclass(frozen=True)
class GridBatch:
    """Grids as the operators take them: parameters one after the other, masks, boxes (low corner, side, sphere), layouts."""

    params: Float[Tensor, " p"]
    masks: UInt8[Tensor, "r m m m"]
    boxes: Float[Tensor, "r 8"]
    layouts: tuple[GridLayout, ...]

    def __post_init__(self) -> None:
        count = len(self.layouts)
        size = sum(layout.size for layout in self.layouts)
        if tuple(self.params.shape) != (size,):
            raise ValueError(
                f"params: expected {size} numbers as the layouts say, got shape {tuple(self.params.shape)}"
            )
        if self.masks.dim() != 4 or self.masks.shape[0] != count or self.masks.dtype != torch.uint8:
            raise ValueError(
                f"masks: expected {count} cubes of uint8, got {tuple(self.masks.shape)} {self.masks.dtype}"
            )
        if tuple(self.boxes.shape) != (count, 8):
            raise ValueError(f"boxes: expected shape {(count, 8)}, got {tuple(self.boxes.shape)}")

    @property
    def numbers(self) -> list[int]:
        return [n for layout in self.layouts for n in layout.numbers]


def field_network(
    positions: Float[Tensor, "n 3"], grid: GridBatch, empty: float = EMPTY
) -> tuple[Float[Tensor, "n 4"], Float[Tensor, "n e"], UInt8[Tensor, " n"]]:
    """Raw outputs, the encoding, and where the field speaks; differentiable in positions and parameters.

    Where it does not speak the raw density is ``empty`` and everything else zero.

    Raises:
        TypeError, ValueError: not exactly one grid, or shapes, dtypes or devices do not agree.
    """
    if len(grid.layouts) != 1:
        raise ValueError(f"grid: expected one, got {len(grid.layouts)}")
    check_points("positions", positions, grid.params)
    if _library.external(KERNEL, positions.device.type) is not None:
        from interactive3d.kernels import tinycudann_backend

        if tinycudann_backend.serves(positions):
            return tinycudann_backend.field_network(
                positions, grid.params, grid.masks[0], grid.boxes[0], grid.numbers, empty
            )
    op = _library.operator("field_network", KERNEL, positions.device)
    return op(positions, grid.params, grid.masks[0], grid.boxes[0], grid.numbers, empty)


def _fake(
    positions: Tensor, params: Tensor, mask: Tensor, box: Tensor, layout: Sequence[int], empty: float
) -> tuple[Tensor, Tensor, Tensor]:
    n, width = positions.shape[0], layout[0] * layout[3]
    # On CUDA the encoding lies feature after feature.
    encoding = positions.new_empty(width, n).t() if positions.is_cuda else positions.new_empty(n, width)
    return positions.new_empty(n, OUTPUTS), encoding, mask.new_empty(n)


def _backward_reference(
    grad_raw: Tensor | None,
    grad_encoding: Tensor | None,
    positions: Tensor,
    params: Tensor,
    mask: Tensor,
    box: Tensor,
    encoding: Tensor,
    layout: Sequence[int],
    want_positions: bool,
    want_params: bool,
) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        leaves = (positions.detach().requires_grad_(want_positions), params.detach().requires_grad_(want_params))
        raw, features, _ = reference_field.field_network(*leaves, mask, box, layout, 0.0)
        loss = raw.new_zeros(())
        for out, grad in ((raw, grad_raw), (features, grad_encoding)):
            if grad is not None:
                loss = loss + (out * grad).sum()
    found = gradients(loss, torch.ones_like(loss), leaves, (want_positions, want_params))
    return found[0], found[1]


def _backward_fake(
    grad_raw: Tensor | None,
    grad_encoding: Tensor | None,
    positions: Tensor,
    params: Tensor,
    mask: Tensor,
    box: Tensor,
    encoding: Tensor,
    layout: Sequence[int],
    want_positions: bool,
    want_params: bool,
) -> tuple[Tensor, Tensor]:
    return (
        positions.new_empty(positions.shape[0] if want_positions else 0, 3),
        params.new_empty(params.shape[0] if want_params else 0),
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    positions, params, mask, box, ctx.layout, _ = inputs
    ctx.mark_non_differentiable(output[2])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(positions, params, mask, box, output[1])


def _backward(prefix: str, ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
    wanted = ctx.needs_input_grad[:2]
    op = getattr(torch.ops.i3d, prefix + "field_network_backward")
    found = op(grads[0], grads[1], *ctx.saved_tensors, ctx.layout, *wanted)
    return (*(part if want else None for part, want in zip(found, wanted, strict=True)), None, None, None, None)


_library.define(
    "field_network",
    "(Tensor positions, Tensor params, Tensor mask, Tensor box, int[] layout, float empty) -> (Tensor, Tensor, Tensor)",
    reference_field.field_network,
    _fake,
)
_library.define(
    "field_network_backward",
    "(Tensor? grad_raw, Tensor? grad_encoding, Tensor positions, Tensor params, Tensor mask, Tensor box, Tensor encoding, "
    "int[] layout, bool want_positions, bool want_params) -> (Tensor, Tensor)",
    _backward_reference,
    _backward_fake,
)
_library.define_autograd("field_network", _setup, _backward)
