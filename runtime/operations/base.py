"""What every operation is built on: the environment it reads and the terms that act over a window of steps.

An edit is a function (operation, model, environment) -> model. A term starts as (operation, model, environment) -> (term, model), is
consulted at every step while it lasts, and pins what it must remember per blob to columns named ``term.<key>.…``, which row surgery
carries along. Nothing here is changed in place, so a refused operation has changed nothing (architecture law 2).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interactive3d.dsl.operations import Operation
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.settings import Settings


class OperationRefused(ValueError):
    """An operation that cannot be carried out. The message says what, where and what to do; the scene is as it was."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What an operation may know besides the blobs."""

    step: int
    seed: int
    settings: Settings
    folder: Path
    load_blobs: Callable[[Path], GaussianModel]
    prompt: str = ""

    def generator(self, purpose: str) -> torch.Generator:
        """Randomness as a pure function of (seed, step, purpose) (architecture law 4)."""
        return seeded_generator(self.seed, self.step, purpose)


def seeded_generator(seed: int, step: int, purpose: str) -> torch.Generator:
    """A CPU generator whose stream depends on seed, step and purpose alone."""
    import hashlib

    digest = hashlib.blake2b(f"{seed}/{step}/{purpose}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") & (2**63 - 1))


@dataclass(frozen=True, kw_only=True)
class Focus:
    """What the camera should look at: a ball about the part (paper 3.1.5, camera zoom-in)."""

    center: tuple[float, float, float]
    radius: float
    whole_share: float


@dataclass(frozen=True, kw_only=True)
class GuidanceWish:
    """How a term wants its pictures scored; None leaves the run's own value."""

    prompt: str | None = None
    noise: tuple[float, float] | None = None
    scale: float | None = None
    shape: str | None = None
    object_volume: Tensor | None = None
    enabled: bool = True
    opaque: Literal["rests", "down", "acts"] = "rests"
    """Whether `guidance.opaque` pulls coverage: to all and to nothing, to nothing only, or not at all."""


@dataclass(frozen=True, kw_only=True)
class Term:
    """An operation that acts from ``start`` for ``steps`` steps. Subclasses override what they need."""

    key: str
    operation: Operation
    start: int
    steps: int
    tensors: Mapping[str, Tensor]
    state: Mapping[str, float | int | str | bool | list]

    @property
    def end(self) -> int:
        """The first step at which the term no longer acts."""
        return self.start + self.steps

    def column(self, name: str) -> str:
        """Name of a column pinned by this term."""
        return f"term.{self.key}.{name}"

    def updated(self, **state: float | int | str | bool | list) -> Self:
        """The same term with changed state."""
        return replace(self, state={**self.state, **state})

    def number(self, name: str) -> float:
        """A number of the state."""
        value = self.state[name]
        if isinstance(value, list):
            raise TypeError(f"{name}: expected a number in the term's state, got {value!r}")
        return float(value)

    def before_step(self, model: GaussianModel, environment: Environment) -> "tuple[Term, GaussianModel]":
        """Moves blobs before the optimizer's step (paper equation 4)."""
        return self, model

    def loss(
        self, parameters: Mapping[str, Float[Tensor, "n ..."]], model: GaussianModel, environment: Environment
    ) -> Tensor | None:
        """A differentiable loss on the raw parameters (paper equations 5 and 6), or None."""
        return None

    def trainable(self, model: GaussianModel, environment: Environment) -> Bool[Tensor, "n"] | None:
        """Rows that may change while the term lasts; None restricts nothing."""
        return None

    def focus(self, model: GaussianModel, environment: Environment) -> Focus | None:
        """Where the camera should zoom, or None for whole-object views."""
        return None

    def wish(self, model: GaussianModel, environment: Environment) -> GuidanceWish:
        """How the pictures should be scored."""
        return GuidanceWish()

    def finish(self, model: GaussianModel, environment: Environment) -> GaussianModel:
        """Last touches after the final step; must drop the term's pinned columns."""
        return model.without_columns(f"term.{self.key}.")
