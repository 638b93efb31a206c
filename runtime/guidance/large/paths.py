"""From a clean picture x to noise e: x_t = a x + s e. What a network's output means at a noise level depends on the path alone.

Shares of the schedule, 0 .. 1, name noise levels (as in the settings ``guidance.noise_min`` and ``noise_max``).
"""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from interactive3d.runtime.guidance.large.problems import LargeModelProblem
from interactive3d.runtime.scene.render import carried


@dataclass(frozen=True)
class Level:
    """Noise levels of a batch: what the network is told, and the shares ``signal`` a and ``noise`` s of x_t = a x + s e, each (b,)."""

    timestep: Tensor
    signal: Tensor
    noise: Tensor

    def mix(self, clean: Float[Tensor, "b ..."], noise: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
        """x_t of clean pictures and noise."""
        a, s = self.wide(clean)
        return a * clean + s * noise

    def wide(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """``signal`` and ``noise``, shaped to be multiplied with a batch."""
        shape = (-1,) + (1,) * (like.dim() - 1)
        return self.signal.reshape(shape).to(like), self.noise.reshape(shape).to(like)

    def to(self, device: torch.device) -> "Level":
        """The same on another device, so that it is carried there once."""
        return Level(*(carried(t, device) for t in (self.timestep, self.signal, self.noise)))


class Path(Protocol):
    """How noise is mixed in, and what the network predicts."""

    @property
    def prediction(self) -> str:
        """epsilon, v_prediction, sample or flow."""
        ...

    def level(self, share: Float[Tensor, "b"]) -> Level:
        """The level at a share of the schedule."""
        ...

    def split(self, noisy: Tensor, output: Tensor, level: Level) -> tuple[Tensor, Tensor]:
        """Clean picture and noise that an output stands for."""
        ...

    def noise_in(self, noisy: Tensor, output: Tensor, level: Level) -> Tensor:
        """The noise of ``split`` alone."""
        ...


TINY_SIGNAL = 1e-4
"""Schedules rescaled to zero terminal signal would divide by it."""


@dataclass(frozen=True)
class VariancePreserving:
    """The discrete schedule of DDPM: a^2 + s^2 = 1, with a^2 the cumulated product of the scheduler."""

    alphas_cumprod: Tensor
    prediction: str

    def level(self, share: Float[Tensor, "b"]) -> Level:
        """The nearest step of the schedule."""
        step = (share * (len(self.alphas_cumprod) - 1)).round().long()
        kept = self.alphas_cumprod.cpu().double()[step]
        return Level(step, kept.sqrt().float(), (1 - kept).sqrt().float())

    def split(self, noisy: Tensor, output: Tensor, level: Level) -> tuple[Tensor, Tensor]:
        """Solves for both; the network predicts the noise e, the clean picture x, or the velocity v = a e - s x."""
        a, s = level.wide(noisy)
        noise = self.noise_in(noisy, output, level)
        match self.prediction:
            case "epsilon":
                return (noisy - s * output) / a.clamp(min=TINY_SIGNAL), noise
            case "v_prediction":
                return a * noisy - s * output, noise
        return output, noise

    def noise_in(self, noisy: Tensor, output: Tensor, level: Level) -> Tensor:
        """The noise of ``split`` alone."""
        a, s = level.wide(noisy)
        match self.prediction:
            case "epsilon":
                return output
            case "v_prediction":
                return a * output + s * noisy
        return (noisy - a * output) / s.clamp(min=TINY_SIGNAL)


@dataclass(frozen=True)
class RectifiedFlow:
    """Straight paths from picture to noise: a = 1 - s; the network predicts the velocity v = e - x.

    ``shift`` moves the schedule towards noise, s = shift u / (1 + (shift - 1) u), as large pictures want.
    """

    shift: float
    steps: int
    prediction: str = "flow"

    def level(self, share: Float[Tensor, "b"]) -> Level:
        """The level at the shifted share; the network is told ``steps`` times s."""
        s = self.shift * share / (1 + (self.shift - 1) * share)
        return Level(s * self.steps, 1 - s, s)

    def split(self, noisy: Tensor, output: Tensor, level: Level) -> tuple[Tensor, Tensor]:
        """x = x_t - s v and e = x_t + a v."""
        _, s = level.wide(noisy)
        return noisy - s * output, self.noise_in(noisy, output, level)

    def noise_in(self, noisy: Tensor, output: Tensor, level: Level) -> Tensor:
        """The noise of ``split`` alone."""
        a, _ = level.wide(noisy)
        return noisy + a * output


def dynamic_shift(config: Any, tokens: int) -> float:
    """The shift that FLUX's schedule has for a picture of so many tokens: a line through two given points, in its exponent as a rule."""
    low, high = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    least, most = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    line = least + (most - least) * (tokens - low) / (high - low)
    return line if config.get("time_shift_type", "exponential") == "linear" else math.exp(line)


def path_of(scheduler: Any, tokens: int) -> VariancePreserving | RectifiedFlow:
    """The path that a pipeline's scheduler stands for.

    Raises:
        LargeModelProblem: a scheduler of another kind.
    """
    config = scheduler.config
    if "FlowMatch" in type(scheduler).__name__ or config.get("prediction_type") == "flow_prediction":
        dynamic = config.get("use_dynamic_shifting", False)
        shift = dynamic_shift(config, tokens) if dynamic else config.get("shift", config.get("flow_shift", 1.0))
        return RectifiedFlow(float(shift), int(config.get("num_train_timesteps", 1000)))
    if not hasattr(scheduler, "alphas_cumprod"):
        raise LargeModelProblem(
            f"guidance diffusers: the model's scheduler is a {type(scheduler).__name__}; expected a DDPM or a flow-matching one: pick a "
            f"model trained with one of these"
        )
    prediction = config.get("prediction_type", "epsilon")
    if prediction not in ("epsilon", "v_prediction", "sample"):
        raise LargeModelProblem(
            f"guidance diffusers: the model's scheduler has prediction_type {prediction!r}; expected epsilon, v_prediction or sample"
        )
    return VariancePreserving(scheduler.alphas_cumprod.detach().cpu(), prediction)


def drawn_shares(noise: tuple[float, float], count: int, generator: torch.Generator) -> Float[Tensor, "b"]:
    """Levels drawn evenly from a range."""
    low, high = noise
    return low + (high - low) * torch.rand(count, generator=generator)
