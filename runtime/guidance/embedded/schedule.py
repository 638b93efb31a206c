"""The noise schedule: cosine, 1000 steps, velocity prediction; and deterministic (DDIM) sampling steps."""

import math

from jaxtyping import Float
from torch import Tensor

STEPS = 1000


def signal_and_noise(t: Float[Tensor, " b"]) -> tuple[Float[Tensor, "b 1 1 1"], Float[Tensor, "b 1 1 1"]]:
    """(alpha, sigma) with alpha^2 + sigma^2 = 1; `t` in 0..999, fractions allowed."""
    angle = ((t.float() + 1) / (STEPS + 8)).clamp(0, 1) * (math.pi / 2)
    return angle.cos()[:, None, None, None], angle.sin()[:, None, None, None]


def noised(clean: Tensor, noise: Tensor, t: Float[Tensor, " b"]) -> Tensor:
    alpha, sigma = signal_and_noise(t)
    return alpha * clean + sigma * noise


def velocity(clean: Tensor, noise: Tensor, t: Float[Tensor, " b"]) -> Tensor:
    alpha, sigma = signal_and_noise(t)
    return alpha * noise - sigma * clean


def clean_of(noisy: Tensor, v: Tensor, t: Float[Tensor, " b"]) -> Tensor:
    """The clean picture that goes with a predicted velocity."""
    alpha, sigma = signal_and_noise(t)
    return alpha * noisy - sigma * v


def ddim_step(noisy: Tensor, clean: Tensor, t: Float[Tensor, " b"], to: Float[Tensor, " b"]) -> Tensor:
    """From noise step `t` to the lower `to` along the predicted clean picture, without new noise."""
    alpha, sigma = signal_and_noise(t)
    return noised(clean, (noisy - alpha * clean) / sigma, to)
