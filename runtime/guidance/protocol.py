"""What a prior must do: look at pictures with a prompt and say in which direction they should change."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from interactive3d.runtime.scene.camera import Camera
from interactive3d.runtime.settings import LargeSettings


@dataclass(frozen=True, kw_only=True)
class ScoreRequest:
    """Pictures to be judged.

    ``images`` and ``background`` are display values in 0 .. 1; ``condition`` is what the same guidance's ``encode`` gave;
    ``noise`` is the range of noise levels as shares of the schedule; ``generator`` (CPU) is the only source of randomness;
    ``object_volume`` (RGBA on the cube [-1, 1]^3, layout rgba z y x) shows the object as it stands to priors that can use it;
    ``large`` are the run's settings for large diffusion models at this step; ``steps`` is how many the whole run has, None where that
    is not known: what takes its time to prepare is prepared for long runs only. ``later`` says that the caller reads the loss by
    ``Score.read`` where there is such, once it has given the device more to do.
    """

    images: Float[Tensor, "b h w 3"]
    cameras: Sequence[Camera]
    condition: Any
    noise: tuple[float, float]
    guidance_scale: float
    generator: torch.Generator
    background: Float[Tensor, "b 3"] | Float[Tensor, "b h w 3"]
    shape: str = "text"
    object_volume: Float[Tensor, "4 d h w"] | None = None
    large: LargeSettings = field(default_factory=LargeSettings)
    steps: int | None = None
    later: bool = False


class StepAgain(Exception):
    """A score turned out to be no number after it had been used, and the prior has mended itself: the same step is to be taken again."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """The gradient of the distillation loss with respect to the pictures, the pictures that the prior had in mind, if it can tell,
    and a number for the plots.

    Scale, the same for every prior: the loss is half the squared distance to the clean pictures, summed over the pixels and channels
    of a 64 x 64 picture (other sizes are weighted as if they had that many pixels) and averaged over the pictures. So a term's loss,
    a sum over blobs, has the same weight against it whatever the batch and the size.

    ``read``, where it is given, is the loss in place of ``loss``: it waits for the device, and may raise StepAgain.
    """

    gradient: Float[Tensor, "b h w 3"]
    clean: Float[Tensor, "b h w 3"] | None
    loss: float
    read: Callable[[], float] | None = None


REFERENCE_SIDE = 64
"""Side of the picture whose pixels a score's loss is summed over."""


def residual_score(
    images: Float[Tensor, "b h w 3"], clean: Float[Tensor, "b h w 3"], weight: Float[Tensor, "b"] | None = None
) -> Score:
    """The score that pulls pictures towards clean ones, in the scale that ``Score`` states."""
    batch, height, width, _ = images.shape
    scale = REFERENCE_SIDE**2 / (height * width * batch)
    residual = (images - clean) * scale
    if weight is not None:
        residual = residual * weight[:, None, None, None]
    loss = 0.5 * float((residual * (images - clean)).sum())
    return Score(gradient=residual, clean=clean, loss=loss)


@dataclass(frozen=True, kw_only=True)
class SeedPoints:
    """Points with colours for the first blobs, and the distance between neighbours."""

    positions: Float[Tensor, "n 3"]
    colors: Float[Tensor, "n 3"]
    spacing: float


@runtime_checkable
class Guidance(Protocol):
    """A prior. Embedded, diffusers and reference-object priors are equals behind this."""

    name: str
    device: torch.device

    def encode(self, prompt: str, negative: str = "") -> Any:
        """What ``score`` wants as its condition; kept per text."""
        ...

    def score(self, request: ScoreRequest) -> Score:
        """Score distillation's gradient for these pictures (paper 3.1.5)."""
        ...

    def unknown_words(self, prompt: str) -> list[tuple[str, list[str]]]:
        """Words of the prompt that the prior has never seen, each with near ones it knows."""
        ...

    def seed_points(self, condition: Any, count: int, generator: torch.Generator) -> SeedPoints | None:
        """Points where the prior expects the object, or None when it cannot tell (paper 5.1: Shap-E points)."""
        ...

    def describe(self) -> dict[str, str]:
        """Name, model and version, for the run's record."""
        ...
