"""What a run is at one moment: everything needed to go on, bit for bit."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from interactive3d.dsl.operations import Operation
from interactive3d.runtime.engine.stage2 import FieldState
from interactive3d.runtime.operations.base import Term
from interactive3d.runtime.scene.camera import Camera
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Effect:
    """An operation that took effect, or was refused: at which step, in the language's own words, and what it did."""

    step: int
    text: str
    message: str
    refused: bool = False
    line: int | None = None


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """What the last step measured. ``motion`` is how far the blobs moved on average, in scene units."""

    loss: float = float("nan")
    blobs: int = 0
    motion: float = 0.0
    active: tuple[str, ...] = ()

    def get(self, name: str) -> float:
        """A metric that ``when`` may name."""
        return {"loss": self.loss, "blobs": float(self.blobs), "motion": self.motion}[name]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An operation with its place: script operations in the order of the program, then what was submitted, in order."""

    index: int
    operation: Operation
    submitted: bool = False


@dataclass(frozen=True, kw_only=True)
class RunState:
    """A run at a step boundary. A value: undo, seek and the window's newest picture are references to one of these.

    ``fired`` says at which step each scheduled operation fired last, by index, so that entering the same boundary again fires
    nothing twice; ``finished`` at which step each label was over; ``streaks`` how many steps in a row each ``when`` has held.
    ``cameras`` are those of the step that made the state: shown to whoever looks, read by no step, and kept in no file.
    """

    step: int
    model: GaussianModel
    settings: Settings
    terms: tuple[Term, ...] = ()
    fired: Mapping[int, int] = field(default_factory=dict)
    finished: Mapping[str, int] = field(default_factory=dict)
    streaks: Mapping[int, int] = field(default_factory=dict)
    journal: tuple[Operation, ...] = ()
    effects: tuple[Effect, ...] = ()
    metrics: Metrics = Metrics()
    terms_begun: int = 0
    shape_volume: Float[Tensor, "4 d h w"] | None = None
    shape_volume_step: int = -1
    field: FieldState | None = None
    cameras: tuple[Camera, ...] = ()
