"""Building blocks shared by the text encoder, the volume network and the U-Net.

Attention is written out as two matrix products: at these widths the fused kernel is slower backward on a CPU. Pictures
stay channels-last, so that a layer norm over channels reads contiguous memory.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention of `x` to `context` (to itself when there is none), without the residual."""

    def __init__(self, width: int, heads: int, context_width: int | None = None):
        super().__init__()
        if width % heads:
            raise ValueError(f"width: expected a multiple of heads = {heads}, got {width}")
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width if context_width is None else context_width, 2 * width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(
        self,
        x: Float[Tensor, "b n c"],
        context: Float[Tensor, "b m d"] | None = None,
        mask: Bool[Tensor, "b m"] | None = None,
    ) -> Float[Tensor, "b n c"]:
        """`mask` is true where the context counts."""
        context = x if context is None else context
        b, n, c = x.shape
        m = context.shape[1]
        size = c // self.heads
        q = self.query(x).view(b, n, self.heads, size).transpose(1, 2)
        k, v = self.key_value(context).view(b, m, 2, self.heads, size).permute(2, 0, 3, 1, 4)
        logits = (q * (1 / math.sqrt(size))) @ k.transpose(-1, -2)
        if mask is not None:
            logits = logits.masked_fill(~mask[:, None, None, :], -1e4)
        return self.out((logits.softmax(-1) @ v).transpose(1, 2).reshape(b, n, c))


class FeedForward(nn.Sequential):
    """Two linear layers with a GELU between them."""

    def __init__(self, width: int, factor: int = 3):
        super().__init__(nn.Linear(width, factor * width), nn.GELU(), nn.Linear(factor * width, width))


class ChannelNorm(nn.Module):
    """Layer norm over the channels of a channels-last picture batch (b, c, h, w)."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        rows = x.permute(0, 2, 3, 1)
        return F.layer_norm(rows, self.weight.shape, self.weight, self.bias).permute(0, 3, 1, 2)


def sinusoids(value: Float[Tensor, " b"], size: int, longest: float = 10_000.0) -> Float[Tensor, "b size"]:
    """Sines and cosines of `value` at geometrically spaced frequencies from 1 down to 1 / longest."""
    half = size // 2
    rates = torch.exp(-math.log(longest) * torch.arange(half, device=value.device, dtype=torch.float32) / half)
    angles = value.float()[:, None] * rates
    return torch.cat((angles.sin(), angles.cos()), dim=1)
