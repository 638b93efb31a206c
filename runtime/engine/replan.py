"""A script that is edited while it runs: what lies ahead is planned anew at once, and what lies behind is named.

With ``rewind`` an edit of the past takes the run back to the newest snapshot before the first event that differs, from where it is
replayed, so that it ends exactly where a fresh run of the edited script would end. Without, the past stays as it was.
"""

import dataclasses
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from interactive3d.dsl import diff_programs, format_operation, format_program
from interactive3d.dsl.frame import first_step
from interactive3d.dsl.operations import After, AtEnd, Comparison, Operation, WhenMetric
from interactive3d.dsl.program import Program
from interactive3d.dsl.replan import Replan
from interactive3d.runtime.engine.session import Session
from interactive3d.runtime.engine.start import DEFAULT_SEED, DEFAULT_STEPS, begin, first_settings, make_guidance
from interactive3d.runtime.engine.state import Metrics, RunState
from interactive3d.runtime.engine.trainer import Trainer
from interactive3d.runtime.guidance.protocol import Guidance
from interactive3d.runtime.settings import Settings

HEAD = ("prompt", "avoid", "seed", "steps", "guidance", "initial", "settings", "repair")
"""What a run is made of besides its operations; steps too, for step sizes decay over the whole run."""

NEVER = 10**12
"""A step that no run reaches."""

_Dated: TypeAlias = tuple[int, Operation]


class ReplanRefused(ValueError):
    """A script that the run cannot follow from where it stands; nothing has changed. Says what to do."""


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
    """What came of an edit: ``step`` is where the run stood, ``from_step`` where it goes on, ``first`` the first step that differs."""

    program: Program
    old: Program
    kept: int
    edits: tuple[Edit, ...]
    past: tuple[Edit, ...]
    first: int | None
    step: int
    from_step: int
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
        counts = [f"{self.kept} kept"]
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

    def lines(self, most: int = 12) -> list[str]:
        """The report for a terminal."""
        out = [f"{self.headline()} (planned in {self.seconds * 1000:.0f} ms)" if self.edits else self.headline()]
        for group, edits in (("past", self.past), ("ahead", [e for e in self.edits if e not in self.past])):
            shown = list(edits)[:most]
            out += [f"  {group}: {edit}" for edit in shown]
            if len(edits) > most:
                out.append(f"  {group}: and {len(edits) - most} more")
        if self.past and not self.rewound:
            out.append("  the past stays as it was; with --rewind the run would go back and replay it")
        return out


# -- where two scripts part ---------------------------------------------------------------------------------------------
def first_difference(
    old: Program, new: Program, state: RunState, measured: Mapping[int, Metrics] | None = None, *, seed: bool = True
) -> int | None:
    """The first step at which a fresh run of ``new`` would differ from the run of ``old`` that has come to ``state``.

    None when both mean the same; 0 when the run itself is another. What waits for a label or a metric is judged by what the run has
    seen: ``measured`` holds what each step so far measured. ``seed`` says whether the script's seed is the one in force.
    """
    if any(getattr(old, name) != getattr(new, name) for name in HEAD if seed or name != "seed"):
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
    steps = program.steps if program.steps is not None else DEFAULT_STEPS
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


# -- notes on what has fired --------------------------------------------------------------------------------------------
def carrier(
    old: Program, new: Program, plan: Replan, measured: Mapping[int, Metrics] | None = None
) -> Callable[[RunState], RunState]:
    """Rewrites a state's notes on what has fired for the operations of another script; its journal stays."""
    places = _places(old.operations, new.operations)
    taken = set(places.values())
    index_old = {id(op): i for i, op in enumerate(old.operations)}
    index_new = {id(op): i for i, op in enumerate(new.operations)}
    for change in plan.changed:
        i, j = index_old.get(id(change.old)), index_new.get(id(change.new))
        # What was done in its old form is not done again in its new one.
        if i is not None and j is not None and i not in places and j not in taken:
            places[i] = j
    waits = [(j, op.when) for j, op in enumerate(new.operations) if j not in taken and isinstance(op.when, WhenMetric)]
    shift = len(new.operations) - len(old.operations)

    def moved(state: RunState) -> RunState:
        def place(index: int) -> int | None:
            return index + shift if index >= len(old.operations) else places.get(index)

        fired = {j: step for i, step in state.fired.items() if (j := place(i)) is not None}
        streaks = {j: count for i, count in state.streaks.items() if (j := place(i)) is not None}
        for j, when in waits:
            streaks[j] = 0 if measured is None else streak(when, measured, state.step)[1]
        return dataclasses.replace(state, fired=fired, streaks=streaks)

    return moved


def _places(old: Sequence[Operation], new: Sequence[Operation]) -> dict[int, int]:
    """For the operations of one list that the other has too: their places in it, in order."""
    free: dict[Operation, deque[int]] = defaultdict(deque)
    for j, op in enumerate(new):
        free[op].append(j)
    return {i: free[op].popleft() for i, op in enumerate(old) if free.get(op)}


# -- following ----------------------------------------------------------------------------------------------------------
def follow(
    session: Session,
    old: Program,
    new: Program,
    *,
    rewind: bool,
    seed: int | None = None,
    diverged: int | None = None,
    earlier: Callable[[int], RunState | None] | None = None,
) -> Replanned:
    """Let a run of ``old`` follow ``new`` from its next step boundary on. Asked by whoever advances, between two steps.

    Args:
        rewind: go back when the edit touches the past.
        seed: the seed that the run was given, which the script's own does not change.
        diverged: the first step at which the run differs from ``old`` already, for an edit of the past was not replayed.
        earlier: a state on disk before a step, where the session remembers none that is older.

    Raises:
        ReplanRefused: the run cannot follow; it goes on with ``old``.
    """
    begun = time.perf_counter()
    now = session.latest()
    plan = diff_programs(old, new)
    first = first_difference(old, new, now, session.measured, seed=seed is None)
    edits = _edits(plan, old, new, now, session.measured, seed is not None)
    # Before its boundary is entered, what happens at this step still lies ahead.
    lies_behind = now.step if session.entered else now.step - 1
    past = tuple(e for e in edits if e.step is not None and e.step <= lies_behind)
    behind = first is not None and first <= lies_behind
    if behind and not past:
        past = tuple(e for e in edits if e.step == first) or (
            Edit(kind="moved", step=first, line=None, text="the order of what happens at one step"),
        )
        edits = (*edits, *(e for e in past if e not in edits))
    target = min((s for s in (first, diverged) if s is not None), default=None)
    outcome = Replanned(
        program=new,
        old=old,
        kept=len(plan.kept),
        edits=edits,
        past=past,
        first=first,
        step=now.step,
        from_step=now.step,
    )
    if rewind and target is not None and target <= lies_behind:
        outcome = _go_back(session, outcome, plan, target, seed, earlier)
    else:
        trainer, moved = _trainer_from_now_on(session, old, new, seed), carrier(old, new, plan, session.measured)
        session.replan(new, trainer=trainer, moved=moved, settings=_settings_from_now_on(old, new, trainer.guidance))
        outcome = dataclasses.replace(outcome, moved=moved, spliced=behind)
    outcome = dataclasses.replace(outcome, seconds=time.perf_counter() - begun)
    session.hooks.replanned(outcome)
    return outcome


def _go_back(
    session: Session,
    outcome: Replanned,
    plan: Replan,
    target: int,
    seed: int | None,
    earlier: Callable[[int], RunState | None] | None,
) -> Replanned:
    """To the newest state before the first step that differs, or to the start where the run itself is another."""
    old, new, now = outcome.old, outcome.program, session.latest()
    another = any(getattr(old, name) != getattr(new, name) for name in HEAD if seed is None or name != "seed")
    moved = carrier(old, new, plan, session.measured)
    if not another:
        if session.remembers_before(target):
            session.replan(new, trainer=session.trainer, moved=moved, before=target)
            return dataclasses.replace(outcome, from_step=session.latest().step, moved=moved)
        found = earlier(target) if earlier is not None else None
        if found is not None:
            session.replan(new, trainer=session.trainer, moved=moved, start=moved(found))
            return dataclasses.replace(outcome, from_step=found.step, moved=moved)
    guidance = session.trainer.guidance
    device = str(now.model.device)
    if old.guidance != new.guidance:
        guidance = _guidance(new, device)
    trainer, start = begin(new, guidance, seed=_seed(new, seed), device=device)
    trainer = dataclasses.replace(trainer, listen=session.trainer.listen)
    session.replan(new, trainer=trainer, moved=moved, start=start)
    return dataclasses.replace(outcome, from_step=0, restarted=True)


def _seed(program: Program, given: int | None) -> int:
    return given if given is not None else program.seed if program.seed is not None else DEFAULT_SEED


def _trainer_from_now_on(session: Session, old: Program, new: Program, seed: int | None) -> Trainer:
    """The trainer with what the edited script says of it; what only the first blobs are made of stays as it was."""
    trainer, now = session.trainer, session.latest()
    steps = new.steps if new.steps is not None else DEFAULT_STEPS
    if steps != trainer.steps and steps < now.step:
        raise ReplanRefused(
            f"steps {steps}: the run is at step {now.step} already, so it goes on with the script as it was; "
            "give it more steps, or run with --rewind to go back"
        )
    guidance = trainer.guidance
    if old.guidance != new.guidance:
        guidance = _guidance(new, str(now.model.device))
    return dataclasses.replace(
        trainer,
        guidance=guidance,
        prompt=new.prompt or "",
        negative=new.avoid or "",
        steps=steps,
        seed=trainer.seed if old.seed == new.seed else _seed(new, seed),
    )


def _guidance(program: Program, device: str) -> Guidance:
    return make_guidance(program.guidance, Path(program.folder), device, first_settings(program.settings))


def _settings_from_now_on(old: Program, new: Program, guidance: Guidance) -> Callable[[Settings], Settings]:
    """Changes of `set` at the top of the script, for settings that nothing has changed since the start."""
    preferred = getattr(guidance, "preferred", ())
    before, after = (first_settings((*preferred, *program.settings)) for program in (old, new))

    def changed(settings: Settings) -> Settings:
        for path, _ in (*old.settings, *new.settings):
            was, now = before.get(path), after.get(path)
            if was != now and settings.get(path) == was:
                settings = settings.set(path, now)
        return settings

    return changed


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
