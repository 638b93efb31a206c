"""Where a statement stands: its scope, the moment that holds for it, and the clock that its own moments count by."""

from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from interactive3d.dsl.operations import Operation
from interactive3d.dsl.scope import Scope
from interactive3d.dsl.source import Source
from interactive3d.dsl.values import After, AtEnd, AtStep, Every, FromTo, Now, When, WhenMetric

# A stretch of a file.
Place: TypeAlias = tuple[Source, int, int]


@dataclass(slots=True)
class Placed:
    """An operation with its place in the text and, where they are known before the run, its first and last step."""

    operation: Operation
    source: Source
    start: int
    end: int
    begins: int | None
    ends: int | None
    order: int
    # Where its moment is written.
    moment: Place | None = None


@dataclass(slots=True)
class Label:
    """A label: what it is called in the program, and when everything under it is over (None: known only while it runs)."""

    name: str
    source: Source
    start: int
    end: int
    over: int | None = None
    never: bool = False
    used: bool = False
    kind: str = "label"


@dataclass(frozen=True, slots=True)
class Frame:
    """`when` holds for statements without a moment of their own; `clock` is the moment of the gesture call that this is in."""

    scope: Scope
    tags: Scope
    labels: dict[str, Label]
    when: When | None = None
    clock: When | None = None
    label: str | None = None
    depth: int = 0
    library: str | None = None
    dry: bool = False
    members: tuple[list[Placed], ...] = field(default=())
    moment: Place | None = None

    def inner(self, **changes: Any) -> "Frame":
        return replace(self, depth=self.depth + 1, **changes)


class OutOfClockError(ValueError):
    """A moment that cannot be counted from the moment of a call; says which."""


def shifted(when: When, clock: When | None) -> When:
    """A moment that a gesture's body gives, counted from the moment of the call."""
    if clock is None or clock == AtStep(step=0):
        return when
    if isinstance(when, After):
        return when
    if isinstance(clock, AtStep):
        base = clock.step
        if isinstance(when, AtStep):
            return AtStep(step=base + when.step)
        if isinstance(when, FromTo):
            return FromTo(start=base + when.start, end=base + when.end)
        if isinstance(when, Every):
            start = base + (when.n if when.start is None else when.start)
            return Every(n=when.n, start=start, end=None if when.end is None else base + when.end)
        return when
    if isinstance(when, AtStep):
        if when.step == 0:
            return clock
        if isinstance(clock, Every):
            start = (clock.n if clock.start is None else clock.start) + when.step
            return Every(n=clock.n, start=start, end=None if clock.end is None else clock.end + when.step)
        if isinstance(clock, After):
            step = None if clock.step is None else clock.step + when.step
            return After(label=clock.label, plus=clock.plus + when.step, step=step)
    raise OutOfClockError(describe(clock))


def describe(when: When) -> str:
    match when:
        case AtStep():
            return "at a step"
        case AtEnd():
            return "at the end"
        case FromTo():
            return "from step to step"
        case Every():
            return "every so many steps"
        case After():
            return "after another event"
        case WhenMetric():
            return "when a metric says so"
        case Now():
            return "now"


def first_step(when: When) -> int | None:
    """The first step at which a moment comes, where that is known before the run."""
    match when:
        case AtStep(step=step) | After(step=step):
            return step
        case FromTo(start=start):
            return start
        case Every(n=n, start=start):
            return n if start is None else start
        case _:
            return None
