"""The pull of `guidance.opaque`: coverage that is neither all nor nothing becomes one of the two.

Score distillation leaves the sides of an object soft and thin parts in shreds, for what a picture of 64 pixels shows of a soft edge and of a
sharp one is nearly the same. threestudio's `lambda_opaque` is a term of this kind; this one asks the prior which of the two it should be.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interactive3d.runtime.guidance.protocol import REFERENCE_SIDE, Score

PERIOD = (0.2, 0.5)
"""Shares of a run between which the pull comes to its full weight: before, an object still looks for its shape."""
SEEN = 0.15
"""Colours that lie closer than this to the background, in their 0 .. 1, do not tell coverage."""
COVERED = 0.5
"""Coverage of the prior's clean picture from which on a pixel belongs to the object."""
LEFT_OUT_OF_EDITS = 0.5
"""How much of what would grey colours is left out while a part is edited: with all of it new colours turn dark in an edit's few steps."""
FULL = 0.5
"""The weight from which on the whole of it is left out, so that a slider has no jump at its lower end."""
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


def left_out_share(weight: float, share: float, edited: bool) -> float:
    """How much of what would grey colours is left out, 0 .. 1, at a weight of which ``share`` counts."""
    return share * min(weight / FULL, 1.0) * (LEFT_OUT_OF_EDITS if edited else 1.0)


def _shown(
    images: Float[Tensor, "b h w 3"],
    alpha: Float[Tensor, "b h w"],
    clean: Float[Tensor, "b h w 3"],
    background: Float[Tensor, "b 3"] | Float[Tensor, "b h w 3"],
) -> tuple[Bool[Tensor, "b h w"], Float[Tensor, "b h w 3"]]:
    """Where the clean picture is covered by more than a half, and the unit direction from the background to the object's own colour.

    The clean picture's coverage is how far it lies along that direction. Where both colours are alike it cannot be told: not covered.
    """
    behind = background[:, None, None, :] if background.ndim == 2 else background
    contrast = (images - behind) / alpha.clamp(min=TURNING)[..., None]
    length = contrast.square().sum(-1).clamp(min=SEEN**2)
    covered = ((clean - behind) * contrast).sum(-1) > COVERED * length
    return covered, contrast / length.sqrt()[..., None]


def half_transparent(
    images: Float[Tensor, "b h w 3"],
    alpha: Float[Tensor, "b h w"],
    clean: Float[Tensor, "b h w 3"] | None,
    background: Float[Tensor, "b 3"] | Float[Tensor, "b h w 3"],
    up: bool = True,
    spare: bool = False,
) -> Tensor:
    """How far coverage is from all or nothing: summed over a picture of the size that losses are stated in, averaged over the pictures.

    Differentiable by ``alpha`` only. Coverage is pulled up only where the prior's clean picture is covered by more than a half itself:
    else every soft edge would become a thick one, and a white haze, which nobody sees on white, a white solid. Without a clean picture
    (None) it is pulled up everywhere; not ``up``, nowhere. ``spare``: nothing that the clean picture shows is pulled down, thin parts
    that are faint for example.
    """
    term = HEIGHT * (alpha + ROUNDING).sqrt() * (1 - alpha)
    seen = alpha.detach()
    faint = pulled = seen < TURNING
    shown = ~faint if clean is None else _shown(images.detach(), seen, clean, background)[0]
    if spare:
        pulled = pulled & ~shown
    if up:
        pulled = pulled | (shown & ~faint)
    term = torch.where(pulled, term, torch.zeros_like(term))
    return term.mean(0).sum() * REFERENCE_SIDE**2 / alpha[0].numel()


@torch.no_grad()
def without_thinning(
    score: Score,
    images: Float[Tensor, "b h w 3"],
    alpha: Float[Tensor, "b h w"],
    background: Float[Tensor, "b 3"] | Float[Tensor, "b h w 3"],
    share: float,
) -> Float[Tensor, "b h w 3"]:
    """The score's gradient less a share of what asks for more background where the clean picture is covered by more than a half.

    There coverage is pulled to all, and what the prior's half transparent picture asks for would only grey the colour with the
    backgrounds' mean. What asks for less background stays, so that the prior's noise becomes a slow drift away from the backgrounds,
    most of which are white. Without a clean picture the gradient is returned as it is.
    """
    if score.clean is None:
        return score.gradient
    covered, contrast = _shown(images, alpha, score.clean, background)
    along = (score.gradient * contrast).sum(-1)
    thinner = torch.where(covered, along.clamp(min=0), torch.zeros_like(along))
    return score.gradient - share * thinner[..., None] * contrast
