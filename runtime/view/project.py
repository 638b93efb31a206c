"""Small things that the studio and the panels share: where a run comes from, what is said, how a drag drags, what is compared."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from interactive3d.dsl.operations import DragMode
from interactive3d.dsl.program import Program
from interactive3d.runtime.engine.state import RunState
from interactive3d.runtime.field import HashGridField


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something said to the user for a while."""

    text: str
    error: bool
    until: float


@dataclass(frozen=True, kw_only=True)
class Project:
    """Where a run comes from and goes to. A file that is only viewed has no program and nothing to optimize.

    ``viewed`` is the program without steps whose blobs are those of a viewed file; None where no script begins with such a file.
    """

    title: str
    folder: Path
    program: Program | None = None
    script: Path | None = None
    viewed: Program | None = None

    @property
    def optimizes(self) -> bool:
        """Whether steps can be taken."""
        return self.program is not None


class Compare(Enum):
    """What is shown left of the line that divides the picture."""

    NOTHING = "nothing"
    PINNED = "a moment that was kept"
    BLOBS = "its blobs"
    UNREFINED = "itself without refinement"


@dataclass(kw_only=True)
class DragChoice:
    """How the drag tool drags."""

    mode: DragMode = DragMode.RIGID
    radius: float = 0.15
    steps: int = 80
    only_selected: bool = False


class FieldViews:
    """A state's field with some of its regions hidden. The same field and names give the same object, so that pictures are kept."""

    def __init__(self) -> None:
        self._made: dict[frozenset[str], tuple[HashGridField, HashGridField]] = {}

    def __call__(self, state: RunState, hidden: frozenset[str]) -> HashGridField | None:
        """None in stage I. Names of regions that the field does not have are passed over."""
        field = field_of(state)
        hidden = hidden & {region.name for region in field.regions} if field is not None else frozenset()
        if field is None or not hidden:
            return field
        kept = self._made.get(hidden)
        if kept is None or kept[0] is not field:
            shown = field
            for name in hidden:
                shown = shown.toggled(name, False)
            # Only what the newest field is made into is of use.
            self._made = {names: pair for names, pair in self._made.items() if pair[0] is field}
            self._made[hidden] = kept = (field, shown)
        return kept[1]


def field_of(state: RunState) -> HashGridField | None:
    """The field that the blobs have become in stage II; None before."""
    return None if state.field is None else state.field.field


def event_steps(program: Program | None) -> list[int]:
    """Steps at which the script's operations begin, where they are known."""
    steps = set()
    for operation in program.operations if program else ():
        when = operation.when
        for name in ("step", "start"):
            value = getattr(when, name, None)
            if isinstance(value, int):
                steps.add(value)
    return sorted(steps)
