"""Where two scripts part: what an edit changes for a run that stands at a step, and how a person is told of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from interactive3d.dsl import diff_programs, format_operation, format_program
from interactive3d.dsl.frame import first_step
from interactive3d.dsl.operations import After, AtEnd, Comparison, Operation, WhenMetric
from interactive3d.dsl.program import Program
from interactive3d.dsl.replan import Replan
from interactive3d.runtime.engine.start import steps_of
from interactive3d.runtime.engine.state import Metrics, RunState

HEAD = ("prompt", "avoid", "seed", "steps", "guidance", "initial", "settings", "repair")
"""What a run is made of besides its operations; steps too, for step sizes decay over the whole run."""

NEVER = 10**12
"""A step that no run reaches."""

_Dated: TypeAlias = tuple[int, Operation]


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One statement that an edit of the script touched: when it first acts, its line, and what became of it."""

    kind: str
    step: int | None
    line: int | None
    text: str

    def __str__(self) -> str:
        place = "" if self.step is None else f"step {self.step}"
        place += "" if self.line is None else f"{', ' if place else ''}line {self.line}"
        return f"{self.kind} {f'({place})' if place else ''}: {self.text}".replace(" :", ":")


@dataclass(frozen=True, kw_only=True)
class Replanned:
    """What comes of an edit: ``step`` is where the run stands, ``from_step`` where it goes on, ``first`` the first step that differs.

    ``behind`` says whether that step lies behind, ``spliced`` whether the past stayed as it was all the same.
    """

    program: Program
    old: Program
    plan: Replan
    edits: tuple[Edit, ...]
    past: tuple[Edit, ...]
    first: int | None
    step: int
    from_step: int
    behind: bool = False
    restarted: bool = False
    spliced: bool = False
    seconds: float = 0.0
    moved: Callable[[RunState], RunState] | None = None

    @property
    def rewound(self) -> bool:
        """Whether the run went back."""
        return self.restarted or self.from_step < self.step

    @property
    def replayed(self) -> int:
        """Steps that are taken again."""
        return self.step - self.from_step

    def headline(self) -> str:
        """One line: what became of the statements, and where the run goes on."""
        counts = [f"{len(self.plan.kept)} kept"]
        for kind in ("changed", "added", "removed"):
            count = sum(e.kind == kind for e in self.edits)
            counts += [f"{count} {kind}"] if count else []
        if self.first is None:
            return "the script means the same as before"
        words = ", ".join(counts)
        if self.rewound:
            start = "from the start" if self.from_step == 0 else f"from step {self.from_step}"
            back = f"step {self.first} lies behind step {self.step}; replaying {start} ({self.replayed} steps)"
        elif self.past:
            back = f"step {self.first} lies behind step {self.step}; only what lies ahead follows"
        else:
            back = f"from step {self.first} on"
        return f"{words}; {back}"

    def lines(self) -> list[str]:
        """The report for a terminal."""
        out = [f"{self.headline()} (planned in {self.seconds * 1000:.0f} ms)" if self.edits else self.headline()]
        out += self.edit_lines()
        if self.past and not self.rewound:
            out.append("  the past stays as it was; with --rewind the run would go back and replay it")
        return out

    def edit_lines(self, most: int = 12) -> list[str]:
        """A line for each statement that was edited, those of the past first."""
        out = []
        for group, edits in (("past", self.past), ("ahead", [e for e in self.edits if e not in self.past])):
            shown = list(edits)[:most]
            out += [f"  {group}: {edit}" for edit in shown]
            if len(edits) > most:
                out.append(f"  {group}: and {len(edits) - most} more")
        return out


# -- where two scripts part ---------------------------------------------------------------------------------------------
def compare(
    old: Program,
    new: Program,
    state: RunState,
    *,
    entered: bool,
    measured: Mapping[int, Metrics] | None = None,
    seed: bool = True,
) -> Replanned:
    """What an edit means for a run of ``old`` that has come to ``state``; nothing is done about it yet.

    Args:
        entered: whether what is due at this step has happened; it still lies ahead otherwise.
        measured: what each step so far has measured.
        seed: whether the script's seed is the one in force.
    """
    plan = diff_programs(old, new)
    first = first_difference(old, new, state, measured, seed=seed)
    edits = _edits(plan, old, new, state, measured, not seed)
    lies_behind = state.step if entered else state.step - 1
    if another(old, new, seed=seed):
        # The first blobs and all that the run is made of are there before anything is due.
        lies_behind = max(lies_behind, 0)
    past = tuple(e for e in edits if e.step is not None and e.step <= lies_behind)
    behind = first is not None and first <= lies_behind
    if behind and not past:
        past = tuple(e for e in edits if e.step == first) or (
            Edit(kind="moved", step=first, line=None, text="the order of what happens at one step"),
        )
        edits = (*edits, *(e for e in past if e not in edits))
    return Replanned(
        program=new,
        old=old,
        plan=plan,
        edits=edits,
        past=past,
        first=first,
        step=state.step,
        from_step=state.step,
        behind=behind,
    )


def another(old: Program, new: Program, *, seed: bool = True) -> bool:
    """Whether the run itself is another from the first step on."""
    return any(getattr(old, name) != getattr(new, name) for name in HEAD if seed or name != "seed")


def first_difference(
    old: Program, new: Program, state: RunState, measured: Mapping[int, Metrics] | None = None, *, seed: bool = True
) -> int | None:
    """The first step at which a fresh run of ``new`` would differ from the run of ``old`` that has come to ``state``.

    None when both mean the same; 0 when the run itself is another. What waits for a label or a metric is judged by what the run has
    seen: ``measured`` holds what each step so far measured. ``seed`` says whether the script's seed is the one in force.
    """
    if another(old, new, seed=seed):
        return 0
    known = _first_tail(_timed(old), _timed(new), lambda a, b: a == b)
    waiting = _first_tail(
        _waiting(old, state, measured, fresh=False),
        _waiting(new, state, measured, fresh=True),
        lambda a, b: a[1] == b[1],
    )
    found = [step for step in (known, waiting) if step is not None]
    return min(found) if found else None


def _first_tail(
    before: Sequence[_Dated], after: Sequence[_Dated], alike: Callable[[_Dated, _Dated], bool]
) -> int | None:
    same = 0
    while same < min(len(before), len(after)) and alike(before[same], after[same]):
        same += 1
    tails = [step for step, _ in (*before[same:], *after[same:])]
    return min(tails) if tails else None


def _timed(program: Program) -> list[_Dated]:
    """Operations whose first step is known before the run, in the order in which they act."""
    steps = steps_of(program)
    found = []
    for op in program.operations:
        step = steps if isinstance(op.when, AtEnd) else first_step(op.when)
        if step is not None:
            found.append((step, op))
    return sorted(found, key=lambda pair: pair[0])


def _waiting(program: Program, state: RunState, measured: Mapping[int, Metrics] | None, *, fresh: bool) -> list[_Dated]:
    """Operations that wait for a label or a metric, with the step at which they acted, or will at the earliest.

    ``fresh`` ones have no place in the state: what they would have done is found from what the run has measured.
    """
    found = []
    for index, op in enumerate(program.operations):
        if isinstance(op.when, AtEnd) or first_step(op.when) is not None:
            continue
        if not fresh and index in state.fired:
            step = state.fired[index]
        elif isinstance(op.when, After) and op.when.label in state.finished:
            step = state.finished[op.when.label] + op.when.plus
        elif fresh and isinstance(op.when, WhenMetric):
            fired, _ = streak(op.when, measured, state.step)
            step = state.step + 1 if fired is None else fired
        else:
            step = state.step + 1
        found.append((step, op))
    return found


def streak(when: WhenMetric, measured: Mapping[int, Metrics] | None, upto: int) -> tuple[int | None, int]:
    """The step at which a `when` would have fired by ``upto`` (None: it would not), and for how many steps it holds there.

    Step 0 where it is not known, for the run was taken up again and its earlier measurements are gone.
    """
    count = 0
    for step in range(1, upto + 1):
        if measured is None or step not in measured:
            return 0, 0
        value = measured[step].get(when.metric)
        holds = value < when.value if when.comparison is Comparison.BELOW else value > when.value
        count = count + 1 if holds else 0
        if count >= (when.for_steps or 1):
            return step, count
    return None, count


# -- saying what was edited ---------------------------------------------------------------------------------------------
def _edits(
    plan: Replan, old: Program, new: Program, state: RunState, measured: Mapping[int, Metrics] | None, seed_given: bool
) -> tuple[Edit, ...]:
    steps_old = _steps(old, state, measured, fresh=False)
    steps_new = _steps(new, state, measured, fresh=True)
    found = [
        Edit(kind="changed", step=0, line=None, text=f"{_head_line(s.name, s.old)} -> {_head_line(s.name, s.new)}")
        for s in plan.settings
        if not (s.name == "seed" and seed_given)
    ]
    for change in plan.changed:
        step = min(steps_old.get(id(change.old), NEVER), steps_new.get(id(change.new), NEVER))
        text = f"{format_operation(change.old)} -> {format_operation(change.new)}"
        found.append(Edit(kind="changed", step=_known(step), line=_line(change.new), text=text))
    for kind, group, steps in (("added", plan.added, steps_new), ("removed", plan.removed, steps_old)):
        for op in group:
            step = steps.get(id(op), NEVER)
            found.append(Edit(kind=kind, step=_known(step), line=_line(op), text=format_operation(op)))
    return tuple(sorted(found, key=lambda e: e.step if e.step is not None else NEVER))


def _steps(program: Program, state: RunState, measured: Mapping[int, Metrics] | None, *, fresh: bool) -> dict[int, int]:
    return {id(op): step for step, op in (*_timed(program), *_waiting(program, state, measured, fresh=fresh))}


def _known(step: int) -> int | None:
    return None if step >= NEVER else step


def _line(operation: Operation) -> int | None:
    return operation.span.line if operation.span else None


def _head_line(name: str, value: Any) -> str:
    """A statement of the head as the language writes it."""
    if value is None:
        return f"no {'splats' if name == 'initial' else name}"
    whole = Program(**{name: value}) if name in HEAD else Program(settings=((name, value),))
    return format_program(whole).strip()
