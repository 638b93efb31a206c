"""What a session tells the rim, and what it was given: values and callbacks, nothing that runs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from interactive3d.dsl.operations import Operation, OutputOperation
from interactive3d.runtime.engine.state import Effect, RunState

if TYPE_CHECKING:
    from interactive3d.runtime.engine.differences import Replanned


@dataclass(frozen=True, kw_only=True)
class Interaction:
    """One interaction that took effect, with the models before it, right after it, and after its repair where it had one."""

    effect: Effect
    operation: Operation
    before: RunState
    after: RunState
    repaired: RunState | None = None


@dataclass(kw_only=True)
class Hooks:
    """What the rim wants to be told. All are called between steps, on the thread that advances."""

    output: Callable[[OutputOperation, RunState], str] = lambda operation, state: (
        "not written: this session has no folder"
    )
    checkpoint: Callable[[RunState, str | None], str] = lambda state, name: "not written: this session has no folder"
    frame: Callable[[OutputOperation, RunState, bool], None] = lambda operation, state, last: None
    effect: Callable[[Effect], None] = lambda effect: None
    travelled: Callable[[Sequence[Effect], Sequence[Effect]], None] = lambda gone, back: None
    """A hand has undone, redone or gone back: what has no longer taken effect, and what has again."""
    ended: Callable[[Operation, RunState], None] = lambda operation, state: None
    interaction: Callable[[Interaction], None] = lambda interaction: None
    stepped: Callable[[RunState], None] = lambda state: None
    finished: Callable[[RunState], None] = lambda state: None
    """Told when the last step has been taken and everything due at the end has been done; what a person does later comes on top."""
    pause: Callable[[RunState], None] = lambda state: None
    boundary: Callable[[], None] = lambda: None
    """Asked after every step, before anything happens at the boundary that it came to; the script may be exchanged here."""
    replanned: Callable[["Replanned"], None] = lambda outcome: None


@dataclass(frozen=True, kw_only=True)
class Given:
    """What a run was given on the command line, which an edit of its script does not change."""

    seed: int | None = None
    overrides: tuple[tuple[str, str], ...] = ()
