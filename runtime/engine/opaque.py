"""The pull of `guidance.opaque`: coverage that is neither all nor nothing becomes one of the two.

Score distillation leaves the sides of an object soft and thin parts in shreds, for what a picture of 64 pixels shows of a soft edge and of a
sharp one is nearly the same. threestudio's `lambda_opaque` is a term of this kind; this one asks the prior which of the two it should be.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from interactive3d.runtime.guidance.protocol import REFERENCE_SIDE

PERIOD = (0.2, 0.5)
"""Shares of a run between which the pull comes to its full weight: before, an object still looks for its shape."""
SEEN = 0.15
"""From this difference to the background on, in a colour's 0 .. 1, the prior's clean picture shows something at a pixel."""
TURNING = 1 / 3
"""Coverage below which the pull is down: under a half, or thin parts would be torn where they are stretched."""
ROUNDING = 0.01
"""Keeps the slope at no coverage finite."""
HEIGHT = 0.65
"""Brings the term to 1/4 at its highest, as that of alpha (1 - alpha)."""


def opaque_share(step: int, steps: int) -> float:
    """How much of the weight counts at a step, 0 .. 1."""
    begin, end = PERIOD
    return min(max((step / max(steps, 1) - begin) / (end - begin), 0.0), 1.0)


def half_transparent(
    alpha: Float[Tensor, "b h w"],
    clean: Float[Tensor, "b h w 3"] | None,
    background: Float[Tensor, "b 3"] | Float[Tensor, "b h w 3"],
) -> Tensor:
    """How far coverage is from all or nothing: summed over a picture of the size that losses are stated in, averaged over the pictures.

    Where the prior's clean picture shows nothing but background, coverage is not pulled up: else a white haze, which nobody sees on
    white, would turn into a white solid. Without a clean picture (None) it is pulled up everywhere.
    """
    term = HEIGHT * (alpha + ROUNDING).sqrt() * (1 - alpha)
    if clean is not None:
        behind = background[:, None, None, :] if background.ndim == 2 else background
        shown = (clean - behind).abs().amax(-1) > SEEN
        term = torch.where(shown | (alpha.detach() < TURNING), term, torch.zeros_like(term))
    return term.mean(0).sum() * REFERENCE_SIDE**2 / alpha[0].numel()
