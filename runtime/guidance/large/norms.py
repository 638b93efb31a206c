"""Norms, and what stands about them in diffusers' U-Nets and VAEs, by our own kernels; on CUDA in half precision.

torch's group norm answers channels first on CUDA whatever it is given, so that every convolution turns its picture there and back; on an
H200 that was more than half of the VAE's time (docs/large_models.md). With kernels/group_norm.py pictures stay channels last through the
whole network, and a convolution's bias, the time's embedding, SiLU, the residual sum and a gate cost no passes of their own.
"""

import inspect
from collections.abc import Callable, Iterator
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from interactive3d.kernels import _library
from interactive3d.kernels.group_norm import KERNEL, fits, gates, normalized, summed

Way = Callable[..., Tensor]

MODELS = ("unet", "vae")
HALVES = (torch.float16, torch.bfloat16)


def use_own(pipeline: Any) -> int:
    """Gives norms and what stands about them our kernels, in place, in models all of whose norms fit; the number of modules.

    Such a model is laid out channels last. With torch's norms it would be slower so: on an H200 a step took 107 ms for 77 channels first.
    ``use_torch`` takes it back.
    """
    found = {name: _ways(model) for name, model in _models(pipeline)}
    if not any(found.values()) or _library.reference_is_wanted():
        return 0
    if _library.ensure(KERNEL, "cuda").implementation != "native":
        return 0
    for name, model in _models(pipeline):
        for module, way in found[name]:
            setattr(module, WAYS[way], MethodType(way, module))
        if found[name]:
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch says less than it can
    return sum(map(len, found.values()))


def use_torch(pipeline: Any) -> None:
    """All modules compute as they were made."""
    for _, model in _models(pipeline):
        changed = False
        for module in model.modules():
            for way, name in WAYS.items():
                own = module.__dict__.get(name)
                if isinstance(own, MethodType) and own.__func__ is way:
                    delattr(module, name)
                    changed = True
        if changed:
            model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def _models(pipeline: Any) -> Iterator[tuple[str, nn.Module]]:
    for name in MODELS:
        model = getattr(pipeline, name, None)
        if isinstance(model, nn.Module):
            yield name, model


def _ways(model: nn.Module) -> list[tuple[nn.Module, Way]]:
    """The modules that our kernels take, and what they do then; none where one norm would answer channels first all the same."""
    if any(isinstance(m, nn.GroupNorm) and not _norm_fits(m) for m in model.modules()):
        return []
    found = [(module, way) for module in model.modules() if (way := _way_of(module)) is not None]
    return found if any(way is _norm for _, way in found) else []


def _way_of(module: nn.Module) -> Way | None:
    """What a module does by our kernels; None where they do not fit."""
    kind = type(module).__name__
    if isinstance(module, nn.GroupNorm):
        return _norm if _norm_fits(module) else None
    if type(module) is nn.Conv2d:
        return _convolution if _convolution_fits(module) else None
    if kind == "ResnetBlock2D":
        return _residual if _takes(module, _residual) and _residual_fits(module) else None
    if kind == "GEGLU":
        return _gated if _takes(module, _gated) and _gate_fits(module) else None
    if kind == "Transformer2DModel":
        return _joined if _takes(module, _joined) and _in_half(module.proj_out) else None
    return None


def _takes(module: nn.Module, way: Way) -> bool:
    """Whether diffusers' method is asked for the same as ours; another version's may not be."""
    method = getattr(module, WAYS[way], None)
    if method is None:
        return False
    theirs, ours = (list(inspect.signature(f).parameters) for f in (method, way))
    return theirs == ours[1:]


def _in_half(layer: Any) -> bool:
    return isinstance(layer, nn.Linear | nn.Conv2d) and layer.weight.dtype in HALVES


def _norm_fits(norm: nn.Module) -> bool:
    return (
        isinstance(norm, nn.GroupNorm)
        and norm.affine
        and norm.weight.dtype in HALVES
        and fits(norm.num_channels, norm.num_groups, norm.weight.dtype)
    )


def _convolution_fits(convolution: nn.Module) -> bool:
    return (
        type(convolution) is nn.Conv2d
        and convolution.bias is not None
        and convolution.weight.dtype in HALVES
        and convolution.padding_mode == "zeros"
        and fits(convolution.out_channels, 1, convolution.weight.dtype)
    )


def _gate_fits(gate: Any) -> bool:
    return (
        isinstance(gate.proj, nn.Linear)
        and gates(gate.proj.out_features, gate.proj.weight.dtype)
        and _in_half(gate.proj)
    )


def _residual_fits(block: Any) -> bool:
    """A block of diffusers in its plain form: two convolutions with a norm and SiLU before each, and a time that is added."""
    return (
        block.upsample is None
        and block.downsample is None
        and block.time_embedding_norm == "default"
        and isinstance(block.nonlinearity, nn.SiLU)
        and (block.dropout.p == 0.0 or not block.training)
        and _norm_fits(block.norm1)
        and _norm_fits(block.norm2)
        and _convolution_fits(block.conv1)
        and _convolution_fits(block.conv2)
        and (block.conv_shortcut is None or type(block.conv_shortcut) is nn.Conv2d)
    )


def _norm(self: nn.GroupNorm, x: Tensor, shift: Tensor | None = None, silu: bool = False) -> Tensor:
    """GroupNorm.forward. The operators are native ones where `use_own` has been, and torch's compiler can follow them."""
    return normalized(torch.ops.i3d.group_norm, x, self.weight, self.bias, self.num_groups, self.eps, shift, silu)


def _without_bias(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """A picture that lies channels first would be answered so, and its gradient turned there and back."""
    return F.conv2d(
        x.contiguous(memory_format=torch.channels_last),
        convolution.weight,
        None,
        convolution.stride,
        convolution.padding,
        convolution.dilation,
        convolution.groups,
    )


def _convolution(self: nn.Conv2d, x: Tensor) -> Tensor:
    """Conv2d.forward."""
    assert self.bias is not None
    return summed(torch.ops.i3d.add_bias, _without_bias(self, x), self.bias, None)


def _residual(self: Any, input_tensor: Tensor, temb: Tensor | None, *args: Any, **kwargs: Any) -> Tensor:
    """ResnetBlock2D.forward; the first convolution's bias and the time are added within the second norm."""
    hidden = _without_bias(self.conv1, _norm(self.norm1, input_tensor, silu=True))
    shift = self.conv1.bias.expand(len(hidden), -1)
    if self.time_emb_proj is not None and temb is not None:
        shift = shift + self.time_emb_proj(temb if self.skip_time_act else F.silu(temb))
    elif temb is not None:
        shift = shift + temb
    hidden = _without_bias(self.conv2, _norm(self.norm2, hidden, shift, silu=True))
    bias, shortcut = self.conv2.bias, self.conv_shortcut
    if shortcut is not None:
        input_tensor = _without_bias(shortcut, input_tensor)
        bias = bias if shortcut.bias is None else bias + shortcut.bias
    found = summed(torch.ops.i3d.add_bias, hidden, bias, input_tensor)
    return found if self.output_scale_factor == 1.0 else found / self.output_scale_factor


def _gated(self: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """GEGLU.forward."""
    return torch.ops.i3d.gated_gelu(self.proj(hidden_states))


def _joined(
    self: Any, hidden_states: Tensor, residual: Tensor, batch_size: int, height: int, width: int, inner_dim: int
) -> Tensor:
    """Transformer2DModel's way back from rows of pixels to a picture, which lies channels last already."""
    if self.use_linear_projection:
        hidden_states = self.proj_out(hidden_states)
    hidden_states = hidden_states.reshape(batch_size, height, width, inner_dim).permute(0, 3, 1, 2)
    if not self.use_linear_projection:
        hidden_states = self.proj_out(hidden_states)
    return hidden_states + residual


WAYS: dict[Way, str] = {
    _norm: "forward",
    _convolution: "forward",
    _residual: "forward",
    _gated: "forward",
    _joined: "_get_output_for_continuous_inputs",
}
"""What is done in another way, and the method in whose place it stands."""
