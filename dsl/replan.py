"""What changes when a script is edited while it runs: which operations stay, and from which step on the run is another."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import partial
from itertools import islice

from interactive3d.dsl.frame import first_step
from interactive3d.dsl.operations import Operation, SettingValue
from interactive3d.dsl.program import Program
from interactive3d.dsl.values import After, AtEnd

# What holds from the first step on: an edit of it is an edit of the past, as soon as one step was taken.
_FROM_THE_START = ("prompt", "avoid", "seed", "guidance", "initial", "repair")


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """An operation that was edited."""

    old: Operation
    new: Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingChange:
    """A setting of the run that was edited; None where it was not given. Values are those of the program's fields."""

    name: str
    old: object
    new: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Replan:
    """The difference of two programs.

    A fresh run of the new one is the same as a run of the old one up to, not including, `first_changed_step`; None when the two do the same.
    What hangs on a metric counts as changed from the first step at which it could have happened. The number of steps is told among `settings`
    and does not count as an edit of the past by itself: whether anything is scaled by it is for the engine to say.
    """

    kept: tuple[Operation, ...]
    changed: tuple[Changed, ...]
    added: tuple[Operation, ...]
    removed: tuple[Operation, ...]
    settings: tuple[SettingChange, ...]
    first_changed_step: int | None

    @property
    def empty(self) -> bool:
        return not (self.changed or self.added or self.removed or self.settings) and self.first_changed_step is None

    def rewinds(self, step: int) -> bool:
        """Whether a run that has taken `step` steps has to go back to agree with the new script."""
        return self.first_changed_step is not None and self.first_changed_step < step

    def summary(self) -> str:
        """One line for a person."""
        counts = (("kept", self.kept), ("changed", self.changed), ("added", self.added), ("removed", self.removed))
        words = [f"{len(items)} {name}" for name, items in counts if items] or ["no operations"]
        if self.settings:
            words.append("settings: " + ", ".join(change.name for change in self.settings))
        since = "nothing to do" if self.first_changed_step is None else f"from step {self.first_changed_step}"
        return f"{', '.join(words)}; {since}"


def _settings(old: Program, new: Program) -> Iterator[SettingChange]:
    for name in (*_FROM_THE_START, "steps"):
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            yield SettingChange(name=name, old=before, new=after)
    before_paths: dict[str, SettingValue] = dict(old.settings)
    after_paths: dict[str, SettingValue] = dict(new.settings)
    for path in sorted(before_paths.keys() | after_paths.keys()):
        if before_paths.get(path) != after_paths.get(path):
            yield SettingChange(name=path, old=before_paths.get(path), new=after_paths.get(path))


# How far ahead the edited form of an operation is looked for: an edit moves few lines, and pairing must stay quick.
_CANDIDATES = 64


def _pair(old: list[Operation], new: list[Operation]) -> tuple[list[Changed], list[Operation], list[Operation]]:
    """Old and new operations that are most alike, as edits; the rest was removed and added."""
    changed: list[Changed] = []
    rest = list(new)
    removed: list[Operation] = []
    for operation in old:
        alike = max(islice(rest, _CANDIDATES), key=partial(_likeness, operation), default=None)
        if alike is None or _likeness(operation, alike) < 1:
            removed.append(operation)
        else:
            rest.remove(alike)
            changed.append(Changed(old=operation, new=alike))
    return changed, removed, rest


def _likeness(a: Operation, b: Operation) -> int:
    """How many fields two operations of one kind share, beyond those that are empty; 0 for other kinds."""
    if type(a) is not type(b):
        return 0
    names = [f.name for f in fields(a) if f.name != "span"]
    same = sum(getattr(a, name) == getattr(b, name) for name in names if getattr(a, name) is not None)
    return 1 + same + (2 if a.label is not None and a.label == b.label else 0)


def _begins(operation: Operation, program: Program) -> int:
    """The first step at which an operation can have an effect."""
    if isinstance(operation.when, AtEnd):
        return program.steps or 0
    step = first_step(operation.when)
    if step is not None:
        return step
    if isinstance(operation.when, After):
        waited = [first_step(other.when) for other in program.operations if other.label == operation.when.label]
        known = [step for step in waited if step is not None]
        if known and len(known) == len(waited):
            return max(known) + operation.when.plus
    return 0


def _timed(program: Program) -> list[tuple[int, Operation]]:
    known: list[tuple[int, Operation]] = []
    open_: list[tuple[int, Operation]] = []
    for operation in program.operations:
        (open_ if first_step(operation.when) is None else known).append((_begins(operation, program), operation))
    return sorted(known, key=lambda pair: pair[0]) + open_


def _first_difference(old: Program, new: Program) -> int | None:
    """The first step at which the two sequences of operations differ, order within a step included."""
    steps: list[int] = []
    for known in (True, False):
        before = [pair for pair in _timed(old) if (first_step(pair[1].when) is not None) == known]
        after = [pair for pair in _timed(new) if (first_step(pair[1].when) is not None) == known]
        same = 0
        while same < min(len(before), len(after)) and before[same] == after[same]:
            same += 1
        tails = before[same:] + after[same:]
        if tails:
            steps.append(min(step for step, _ in tails))
    return min(steps) if steps else None


def diff_programs(old: Program, new: Program) -> Replan:
    """Compares two checked programs."""
    settings = tuple(_settings(old, new))
    spare = Counter(new.operations)
    kept: list[Operation] = []
    gone: list[Operation] = []
    for operation in old.operations:
        if spare[operation]:
            spare[operation] -= 1
            kept.append(operation)
        else:
            gone.append(operation)
    fresh: list[Operation] = []
    for operation in new.operations:
        if spare[operation]:
            spare[operation] -= 1
            fresh.append(operation)
    changed, removed, added = _pair(gone, fresh)
    first = _first_difference(old, new)
    if any(change.name != "steps" for change in settings):
        first = 0
    return Replan(
        kept=tuple(kept),
        changed=tuple(changed),
        added=tuple(added),
        removed=tuple(removed),
        settings=settings,
        first_changed_step=first,
    )
