"""What a denoiser's outputs say about a clean picture: score distillation and interval score matching.

Both give a residual of the noise, weighted by level, with respect to the (latent) picture.
"""

from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from interactive3d.runtime.guidance.large.paths import Level, Path
from interactive3d.runtime.guidance.protocol import ScoreRequest

LEAST_SIGNAL = 0.01
"""`clean` weights by s / a; where next to no signal is left that says nothing about the picture any more."""


class Denoiser(Protocol):
    """What the estimators ask of a guidance."""

    @property
    def path(self) -> Path:
        """How noise is mixed in."""
        ...

    def guided_output(self, noisy: Tensor, level: Level, request: ScoreRequest) -> Tensor:
        """Output under guidance."""
        ...

    def plain_output(self, noisy: Tensor, level: Level, request: ScoreRequest) -> Tensor:
        """Output without a text."""
        ...


def weighted(residual: Tensor, level: Level, weighting: str) -> Tensor:
    """A residual of the noise with the weight that ``large.weighting`` names: s^2, 1, or s / a."""
    a, s = level.wide(residual)
    if weighting == "variance":
        return s.square() * residual
    if weighting == "uniform":
        return residual
    return s / a.clamp(min=LEAST_SIGNAL) * residual


def distillation(
    denoiser: Denoiser,
    clean: Float[Tensor, "b c h w"],
    level: Level,
    shares: Float[Tensor, "b"],
    noise: Float[Tensor, "b c h w"],
    request: ScoreRequest,
) -> Float[Tensor, "b c h w"]:
    """Score distillation (DreamFusion, equation 3): w (e_hat(x_t; text) - e)."""
    noisy = level.mix(clean, noise)
    output = denoiser.guided_output(noisy, level, request)
    found = denoiser.path.noise_in(noisy, output, level)
    return weighted(found - noise, level, request.large.weighting)


def interval(
    denoiser: Denoiser,
    clean: Float[Tensor, "b c h w"],
    level: Level,
    shares: Float[Tensor, "b"],
    noise: Float[Tensor, "b c h w"],
    request: ScoreRequest,
) -> Float[Tensor, "b c h w"]:
    """Interval score matching (Liang et al. 2024, LucidDreamer, equation 17): w (e_hat(x_t; text) - e_hat(x_s; nothing)).

    x_s is found by deterministic inversion without a text, in steps of at most ``large.stride``, and x_t lies one interval above it.
    """
    lower = (shares - request.large.interval).clamp(min=0.0)
    steps = max(1, int(torch.ceil(lower.max() / request.large.stride)))
    state, at = clean, denoiser.path.level(torch.zeros_like(lower)).to(clean.device)
    for step in range(1, steps + 1):
        output = denoiser.plain_output(state, at, request)
        picture, found = denoiser.path.split(state, output, at)
        at = denoiser.path.level(lower * step / steps).to(clean.device)
        state = at.mix(picture, found)
    output = denoiser.plain_output(state, at, request)
    picture, plain = denoiser.path.split(state, output, at)
    noisy = level.mix(picture, plain)
    found = denoiser.path.noise_in(noisy, denoiser.guided_output(noisy, level, request), level)
    return weighted(found - plain, level, request.large.weighting)
