"""Who draws the blobs: OpenGL, or the optimizer's rasterizer; and why.

Cards that are made for computing have few units for OpenGL's triangles: many blobs take them longer than a frame, while the rasterizer, which
only computes, is done in a part of one. So where many blobs lie on a graphics card both are timed, and the quicker one stays.
"""

from enum import Enum

from interactive3d.kernels import _library
from interactive3d.kernels._build import BuildError
from interactive3d.kernels.splat_raster import KERNEL
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.view.splats import SHARED_FROM

FRAME_SECONDS = 1 / 60
"""What OpenGL draws in no longer than this is quick enough, and nothing else is tried."""

TIMED = 3
"""Pictures of each engine; the quickest counts, so that the first ones, which build, load and allocate, do not."""

GROWN = 2
"""OpenGL is timed again when blobs or pixels have become this many times as many."""


class Engine(Enum):
    """Who draws the blobs."""

    OPENGL = "OpenGL"
    RASTERIZER = "rasterizer"


class Trial(Enum):
    """What is being timed."""

    NOTHING = "nothing"
    DRAWING = "drawing"
    PAINTING = "painting"


class EngineChoice:
    """See the module's docstring. ``chosen`` is what a person chose, which always wins; ``software`` whether OpenGL has no card."""

    def __init__(self, chosen: Engine | None, software: bool) -> None:
        self.software = software
        self.choose(chosen)

    def choose(self, engine: Engine | None) -> None:
        """What a person wants; None is whichever is quicker, found out anew."""
        self.chosen = engine
        self.trial = Trial.NOTHING
        self._quicker = Engine.OPENGL
        self._why = "fewer blobs are on a graphics card than would be timed"
        self._failed = False
        self._timed = (0, 0)
        self._seconds: list[float] = []
        self._drawn = 0.0

    def engine(self, model: GaussianModel | None = None) -> Engine:
        """Who draws this model."""
        if self.chosen is not None:
            return self.chosen
        if self.software:
            return Engine.RASTERIZER
        return self._quicker if model is not None and _many(model) else Engine.OPENGL

    @property
    def automatic(self) -> bool:
        """Whether there is a choice to make."""
        return self.chosen is None and not self.software

    @property
    def why(self) -> str:
        """The reason, in a line."""
        if self.chosen is not None:
            return "as chosen"
        return "OpenGL has no graphics card here" if self.software else self._why

    def consider(self, model: GaussianModel, pixels: int) -> Trial:
        """Told of what is drawn next; what is to be timed with it."""
        free = self.automatic and not self._failed and self._quicker is Engine.OPENGL
        if not (free and _many(model)):
            self.trial = Trial.NOTHING
        elif self.trial is Trial.NOTHING:
            grown = any(now >= GROWN * then for now, then in zip((len(model), pixels), self._timed, strict=True))
            if grown:
                self.trial, self._seconds, self._timed = Trial.DRAWING, [], (len(model), pixels)
        return self.trial

    @property
    def alone(self) -> bool:
        """Whether the rasterizer is to have the card for itself: its kernel is there, and a card shares its time between the two."""
        return self.trial is Trial.PAINTING and bool(self._seconds)

    def took(self, seconds: float) -> None:
        """A picture of the engine that is being timed has taken so long, from its first command until the card was done."""
        self._seconds.append(seconds)
        if len(self._seconds) < TIMED:
            return
        least, blobs = min(self._seconds), f"{self._timed[0]:,} blobs"
        self._seconds = []
        if self.trial is Trial.PAINTING:
            self.trial = Trial.NOTHING
            if least < self._drawn:
                self._quicker = Engine.RASTERIZER
            self._why = f"{blobs}: {1000 * self._drawn:.1f} ms by OpenGL, {1000 * least:.1f} ms by the rasterizer"
            return
        self._drawn = least
        self._why = f"{blobs}: {1000 * least:.1f} ms by OpenGL, and a frame has {1000 * FRAME_SECONDS:.1f} ms"
        self.trial = Trial.PAINTING if least > FRAME_SECONDS else Trial.NOTHING

    def give_up(self, problem: Exception) -> bool:
        """The rasterizer has failed; whether OpenGL goes on in its place."""
        if not self.automatic:
            return False
        self._failed, self._quicker, self.trial = True, Engine.OPENGL, Trial.NOTHING
        said = str(problem).strip().splitlines() or [type(problem).__name__]
        self._why = f"the rasterizer failed on the card: {said[0]}"
        return True


def _many(model: GaussianModel) -> bool:
    return model.device.type == "cuda" and len(model) >= SHARED_FROM


def need_kernel() -> None:
    """Load or build the rasterizer for CUDA.

    Raises:
        BuildError: only the plain reference would serve, which takes seconds and all memory for many blobs.
    """
    if _library.external(KERNEL, "cuda") is None:
        served = _library.ensure(KERNEL, "cuda")
        if served.implementation == "reference":
            raise BuildError(served.reason)
