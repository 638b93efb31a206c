"""Group normalization (Wu and He 2018) of pictures that lie channels last, with SiLU behind it, and what stands about it in the networks of
large models; for CUDA.

torch's own answers channels first on CUDA whatever it is given, so that a network in half precision turns every picture there and back at
every convolution (pytorch issue 111824). Here what lies channels last stays so, and is read and written once less for SiLU. The gradient
is that of the picture alone: the networks' weights are frozen. Where a kernel is missing torch's own serves.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from interactive3d.kernels import _library

__all__ = ["KERNEL", "add_bias", "fits", "gated_gelu", "group_norm", "normalized", "summed"]

KERNEL = _library.register(
    _library.NativeKernel(
        "group_norm",
        cpu=(),
        cuda=("cuda/group_norm_torch.cpp", "cuda/group_norm.cu"),
        instead="torch's own",
    )
)
VECTOR = 16  # bytes that a thread reads at once
CHANNELS = 2560  # the most, as csrc/cuda/group_norm.h has them
TYPES = (torch.float16, torch.bfloat16, torch.float32)


def fits(channels: int, groups: int, dtype: torch.dtype) -> bool:
    """Whether the kernels take so many channels: whole vectors of at most 2560, float64 not. For others the reference serves."""
    return dtype in TYPES and channels % groups == 0 and _whole(channels, dtype) and channels <= CHANNELS


def gates(channels: int, dtype: torch.dtype) -> bool:
    """Whether the kernels take so many channels with their gates: whole vectors of each half."""
    return dtype in TYPES and channels % 2 == 0 and _whole(channels // 2, dtype)


def _whole(channels: int, dtype: torch.dtype) -> bool:
    return channels > 0 and channels % (VECTOR // dtype.itemsize) == 0


def _operator(name: str, x: Tensor, fitting: bool) -> Any:
    return _library.operator(name, KERNEL, x.device) if fitting else getattr(torch.ops.i3d, f"reference_{name}")


def group_norm(
    x: Float[Tensor, "n c *space"],
    weight: Float[Tensor, " c"],
    bias: Float[Tensor, " c"],
    groups: int,
    eps: float,
    *,
    shift: Float[Tensor, "n c"] | None = None,
    silu: bool = False,
) -> Float[Tensor, "n c *space"]:
    """``x + shift`` normalized within groups of channels of each picture, times weight plus bias, then SiLU if asked; lies channels last.

    Differentiable in ``x``.

    Raises:
        TypeError: another type than ``x``'s, or a weight, bias or shift that wants a gradient.
        ValueError: shapes that do not agree.
    """
    _check(x, weight, bias, groups, shift)
    op = _operator("group_norm", x, fits(x.shape[1], groups, x.dtype))
    return normalized(op, x, weight, bias, groups, eps, shift, silu)


def normalized(
    op: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float, shift: Tensor | None, silu: bool
) -> Tensor:
    """``group_norm`` by an operator that was chosen before, unchecked: torch's compiler can follow it."""
    return _pictures(op(_rows(x), shift, weight, bias, groups, eps, silu)[0], x)


def add_bias(
    x: Float[Tensor, "n c *space"], bias: Float[Tensor, " c"], other: Float[Tensor, "n c *space"] | None = None
) -> Float[Tensor, "n c *space"]:
    """``x + bias``, plus ``other``; lies channels last. Differentiable in ``x`` and ``other``.

    Raises:
        TypeError: another type than ``x``'s, or a bias that wants a gradient.
        ValueError: shapes that do not agree.
    """
    _check(x, bias, bias, 1, None)
    if other is not None and (other.shape != x.shape or other.dtype != x.dtype):
        raise ValueError(f"other: expected {tuple(x.shape)} {x.dtype}, got {tuple(other.shape)} {other.dtype}")
    return summed(_operator("add_bias", x, fits(x.shape[1], 1, x.dtype)), x, bias, other)


def summed(op: Any, x: Tensor, bias: Tensor, other: Tensor | None) -> Tensor:
    """``add_bias`` by an operator that was chosen before, unchecked."""
    return _pictures(op(_rows(x), bias, None if other is None else _rows(other)), x)


def gated_gelu(x: Float[Tensor, "*n c2"]) -> Float[Tensor, "*n c"]:
    """The first half of the last axis times GELU of the second half (Shazeer 2020, GEGLU). Without a gradient.

    Raises:
        ValueError: an odd number of channels.
    """
    if x.shape[-1] % 2:
        raise ValueError(f"x: expected an even last axis, got {tuple(x.shape)}")
    return _operator("gated_gelu", x, gates(x.shape[-1], x.dtype))(x)


def _check(x: Tensor, weight: Tensor, bias: Tensor, groups: int, shift: Tensor | None) -> None:
    if x.dim() < 3:
        raise ValueError(f"x: expected (n, c, ...), got {tuple(x.shape)}")
    channels = x.shape[1]
    if channels % groups:
        raise ValueError(f"groups: expected a divisor of {channels} channels, got {groups}")
    for name, tensor, shape in (
        ("weight", weight, (channels,)),
        ("bias", bias, (channels,)),
        ("shift", shift, x.shape[:2]),
    ):
        if tensor is None:
            continue
        if tuple(tensor.shape) != tuple(shape):
            raise ValueError(f"{name}: expected {tuple(shape)}, got {tuple(tensor.shape)}")
        if tensor.dtype != x.dtype or tensor.device != x.device:
            raise TypeError(f"{name}: expected {x.dtype} on {x.device}, got {tensor.dtype} on {tensor.device}")
        if tensor.requires_grad and torch.is_grad_enabled():
            raise TypeError(f"{name}: has no gradient here; the networks' weights are frozen")


def _rows(x: Tensor) -> Float[Tensor, "n p c"]:
    """Pixels in rows of channels: a view where they lie channels last already."""
    return x.movedim(1, -1).reshape(x.shape[0], -1, x.shape[1])


def _pictures(rows: Tensor, like: Tensor) -> Tensor:
    return rows.reshape(like.shape[0], *like.shape[2:], like.shape[1]).movedim(-1, 1)


# -- the reference, forward and backward -------------------------------------------------------------------------------


def _wide(*tensors: Tensor) -> list[Tensor]:
    return [t.double() if t.dtype == torch.float64 else t.float() for t in tensors]


def _reference(
    x: Tensor, shift: Tensor | None, weight: Tensor, bias: Tensor, groups: int, eps: float, silu: bool
) -> tuple[Tensor, Tensor]:
    wide, w, b = _wide(x, weight, bias)
    moved = wide if shift is None else wide + shift.to(wide)[:, None]
    grouped = moved.reshape(x.shape[0], x.shape[1], groups, -1)
    variance, mean = torch.var_mean(grouped, dim=(1, 3), correction=0)
    inverse = (variance + eps).rsqrt()
    normal = ((grouped - mean[:, None, :, None]) * inverse[:, None, :, None]).reshape(moved.shape)
    found = normal * w + b
    found = F.silu(found) if silu else found
    return found.to(x.dtype).contiguous(), torch.stack((mean, inverse), dim=-1)


def _fake(
    x: Tensor, shift: Tensor | None, weight: Tensor, bias: Tensor, groups: int, eps: float, silu: bool
) -> tuple[Tensor, Tensor]:
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    return x.new_empty(x.shape), x.new_empty(x.shape[0], groups, 2, dtype=wide)


def _backward_reference(
    grad: Tensor,
    x: Tensor,
    shift: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    moments: Tensor,
    groups: int,
    silu: bool,
) -> Tensor:
    wide, given, w, b = _wide(x, grad, weight, bias)
    moved = wide if shift is None else wide + shift.to(wide)[:, None]
    mean, inverse = (m.repeat_interleave(x.shape[2] // groups, dim=1)[:, None] for m in moments.unbind(-1))
    normal = (moved - mean) * inverse
    if silu:
        before = normal * w + b
        s = torch.sigmoid(before)
        given = given * s * (1 + before * (1 - s))
    of_normal = (given * w).reshape(x.shape[0], x.shape[1], groups, -1)
    plain = of_normal.mean(dim=(1, 3), keepdim=True)
    grouped = normal.reshape(of_normal.shape)
    slope = (of_normal * grouped).mean(dim=(1, 3), keepdim=True)
    return ((of_normal - plain - grouped * slope).reshape(x.shape) * inverse).to(x.dtype).contiguous()


def _backward_fake(
    grad: Tensor,
    x: Tensor,
    shift: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    moments: Tensor,
    groups: int,
    silu: bool,
) -> Tensor:
    return x.new_empty(x.shape)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, shift, weight, bias, ctx.groups, _, ctx.silu = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(x, shift, weight, bias, output[1])


def _backward(prefix: str, ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor | None, ...]:
    op = getattr(torch.ops.i3d, prefix + "group_norm_backward")
    found = op(grad.contiguous(), *ctx.saved_tensors, ctx.groups, ctx.silu) if ctx.needs_input_grad[0] else None
    return (found, None, None, None, None, None, None)


def _add_reference(x: Tensor, bias: Tensor, other: Tensor | None) -> Tensor:
    wide, b = _wide(x, bias)
    return (wide + b if other is None else wide + b + other.to(wide)).to(x.dtype).contiguous()


def _add_fake(x: Tensor, bias: Tensor, other: Tensor | None) -> Tensor:
    return x.new_empty(x.shape)


def _add_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.two = inputs[2] is not None


def _add_backward(prefix: str, ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return grad, None, grad if ctx.two else None


def _gated_reference(x: Tensor) -> Tensor:
    first, gate = _wide(*x.chunk(2, dim=-1))
    return (first * F.gelu(gate)).to(x.dtype).contiguous()


def _gated_fake(x: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], x.shape[-1] // 2)


_INPUTS = "Tensor x, Tensor? shift, Tensor weight, Tensor bias"
_library.define("group_norm", f"({_INPUTS}, int groups, float eps, bool silu) -> (Tensor, Tensor)", _reference, _fake)
_library.define(
    "group_norm_backward",
    f"(Tensor grad, {_INPUTS}, Tensor moments, int groups, bool silu) -> Tensor",
    _backward_reference,
    _backward_fake,
)
_library.define_autograd("group_norm", _setup, _backward)
_library.define("add_bias", "(Tensor x, Tensor bias, Tensor? other) -> Tensor", _add_reference, _add_fake)
_library.define_autograd("add_bias", _add_setup, _add_backward)
_library.define("gated_gelu", "(Tensor x) -> Tensor", _gated_reference, _gated_fake)
