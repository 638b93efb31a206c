"""A running script: operations go in, states come out.

The session owns the trainer and the newest state. It has no thread of its own: a window runs ``advance`` in a worker and reads
``latest``, a script run calls ``advance`` to the end. ``submit`` may be called from any thread; what is submitted is applied at the
next step boundary, in order (architecture law 1).
"""

import dataclasses
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jaxtyping import Bool
from torch import Tensor

from interactive3d.dsl import format_operation
from interactive3d.dsl.operations import (
    AtStep,
    Checkpoint,
    ControlOperation,
    EditOperation,
    Operation,
    OutputOperation,
    Pause,
    Print,
    Ramp,
    Remove,
    Repair,
    SetValue,
    TermOperation,
)
from interactive3d.dsl.program import Program, RepairPolicy
from interactive3d.dsl.tidy import tidy_operation
from interactive3d.runtime.engine import stage2
from interactive3d.runtime.engine.hooks import Given, Hooks, Interaction
from interactive3d.runtime.engine.pace import StepClock
from interactive3d.runtime.engine.schedule import Schedule
from interactive3d.runtime.engine.settling import close_term, follow_policy, settle
from interactive3d.runtime.engine.state import Effect, Entry, Metrics, RunState
from interactive3d.runtime.engine.trainer import Trainer
from interactive3d.runtime.operations import apply_edit, repair_after, start_term
from interactive3d.runtime.operations.base import OperationRefused, Term
from interactive3d.runtime.settings import Settings

if TYPE_CHECKING:
    pass

HISTORY_BYTES = 512 * 2**20
HISTORY_EVERY = 25


@dataclass(frozen=True, kw_only=True)
class _Watched:
    """An interaction whose end is still to be seen: a term, or the repair of an edit."""

    operation: Operation
    effect: Effect
    before: RunState
    after: RunState | None


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """A state that can be gone back to, and the interactions that were under way."""

    state: RunState
    watched: dict[str, _Watched]


class Session:
    """See the module's docstring."""

    def __init__(
        self,
        trainer: Trainer,
        operations: Sequence[Operation],
        start: RunState,
        *,
        policy: RepairPolicy | None = None,
        hooks: Hooks | None = None,
        given: Given | None = None,
        entered: bool = False,
    ) -> None:
        """``entered`` says whether what is due at the first state's step has been done already."""
        self.given = given or Given()
        self.trainer = trainer
        self.operations = tuple(operations)
        self.policy = policy
        self.hooks = hooks or Hooks()
        self._state = start
        self._queue: deque[Operation] = deque()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._history: list[_Kept] = [_Kept(state=start, watched={})]
        self._undo: list[_Kept] = []
        self._redo: list[_Kept] = []
        self._watched: dict[str, _Watched] = {}
        self._entered = start.step if entered else -1
        self._arrived, self._arrived_entered = self._history[0], entered
        self._clock = StepClock()
        self.measured: dict[int, Metrics] = {}
        """What each step so far has measured; steps before those of an earlier stretch of the run are missing."""

    # -- asked from anywhere --------------------------------------------------------------------------------------------
    def latest(self) -> RunState:
        """The newest state; a value that nobody will change."""
        return self._state

    def submit(self, operation: Operation) -> None:
        """Queue an operation for the next step boundary. Its numbers are cleaned, so that it is done as it will be printed."""
        with self._lock:
            self._queue.append(tidy_operation(operation))

    def resubmit(self, operations: Sequence[Operation]) -> None:
        """Operations of a journal, for the steps at which they were done; by whoever advances, between two steps."""
        self._state = dataclasses.replace(self._state, journal=(*self._state.journal, *operations))

    def stop(self) -> None:
        """Make ``advance`` return at the next step boundary."""
        self._stop.set()

    @property
    def finished(self) -> bool:
        """Whether the last step and everything due at the end are done."""
        return (
            self._state.step >= self.trainer.steps
            and next(self._schedule().due(self._state), None) is None
            and not self._queue
        )

    @property
    def entered(self) -> bool:
        """Whether what is due where the run stands has happened; after a step, and before its boundary, it has not."""
        return self._entered == self._state.step

    @property
    def step_seconds(self) -> float | None:
        """What the newest step took, pauses left out; None where the process was stopped meanwhile."""
        return self._clock.seconds

    # -- asked by whoever advances --------------------------------------------------------------------------------------
    def advance(self, steps: int | None = None) -> RunState:
        """Take this many steps (to the end of the run when None), with everything due at their boundaries, the last one's included.

        Returns early when ``stop`` was called. The state is whole whenever this returns or raises.
        """
        self._stop.clear()
        self._clock.begin()
        wanted = None if steps is None else self._state.step + steps
        self._boundary()
        while not self._stop.is_set():
            # Asked anew: the script, and with it the number of steps, may change at any boundary.
            if self._state.step >= (self.trainer.steps if wanted is None else min(self.trainer.steps, wanted)):
                break
            state = self.trainer.step(self._state)
            self._state = dataclasses.replace(state, streaks=self._schedule().streaks(state, state.metrics))
            self.measured[self._state.step] = self._state.metrics
            self._clock.stepped()
            self.hooks.stepped(self._state)
            self._entered = -1
            self.hooks.boundary()
            self._arrived, self._arrived_entered = _Kept(state=self._state, watched=dict(self._watched)), False
            self._boundary()
            self._remember()
            if self.finished:
                self.hooks.finished(self._state)
        if steps != 0:
            self._clock.rest()
        return self._state

    def undo(self) -> bool:
        """Back to the state before the newest interaction, parameters, moments and terms to the bit. False when there is none."""
        return self._travel(self._undo, self._redo)

    def redo(self) -> bool:
        """Forward again to where ``undo`` came from. False when there is nothing to redo."""
        return self._travel(self._redo, self._undo)

    def seek(self, step: int) -> RunState:
        """The run at the boundary of ``step``: back to the newest remembered state at or before it, then forward.

        Raises:
            ValueError: the step lies outside the run, or before what is kept of it.
        """
        if not 0 <= step <= self.trainer.steps:
            raise ValueError(f"step: expected 0 to {self.trainer.steps}, got {step}")
        if step < self._state.step:
            kept = [k for k in self._history if k.state.step <= step]
            if not kept:
                first = min(k.state.step for k in self._history)
                raise ValueError(f"step {step} lies before what is kept: the run was taken up at step {first}")
            left = self._state
            self._go_to(max(kept, key=lambda k: k.state.step))
            self._tell_of_travel(left)
        return self.advance(step - self._state.step) if step > self._state.step else self._state

    def remembers_before(self, step: int) -> bool:
        """Whether a state is kept in memory from before anything happened at ``step``."""
        return self._kept_before(step) is not None

    def retreat(self) -> None:
        """Back to before the boundary where the run stands, as if nothing had happened there yet; its last step is kept.

        For a boundary that could not be finished, because an operation of the script was refused. What was submitted happens there again.
        """
        if self._arrived.state.step != self._state.step:
            return
        self._state = dataclasses.replace(self._arrived.state, journal=self._state.journal)
        self._watched = dict(self._arrived.watched)
        self._entered = self._state.step if self._arrived_entered else -1

    def replan(
        self,
        program: Program,
        *,
        trainer: Trainer,
        moved: Callable[[RunState], RunState],
        settings: Callable[[Settings], Settings] | None = None,
        before: int | None = None,
        start: RunState | None = None,
    ) -> None:
        """Follow another script. Asked by whoever advances, between two steps; see ``engine.replan``, which knows what to ask for.

        Args:
            moved: rewrites a state's notes on what has fired for the new script; with it earlier states stay reachable.
            settings: rewrites the settings in force, where the run goes on from where it stands.
            before: go on from the newest state kept in memory from before this step.
            start: go on from this state, whose notes are those of the new script; earlier states are forgotten.
        """
        journal = self._state.journal
        self.trainer, self.operations, self.policy = trainer, program.operations, program.repair
        if start is not None:
            self._state = dataclasses.replace(start, journal=journal)
            self._history = [_Kept(state=self._state, watched={})]
            self._undo, self._redo, self._watched = [], [], {}
            self._entered = self._stands_in(start)
        else:
            kept = self._kept_before(before) if before is not None else None
            if kept is not None:
                # What was done by hand after that state is in the journal, and happens again at its step.
                self._go_to(kept)
                self._state = dataclasses.replace(self._state, journal=journal)
                self._redo = []
            self._state = moved(self._state)
            if settings is not None:
                self._state = dataclasses.replace(self._state, settings=settings(self._state.settings))
            undo = [k for k in self._undo if k.state.step <= self._state.step]
            self._history, self._undo, self._redo = (
                [dataclasses.replace(k, state=moved(k.state)) for k in kept]
                for kept in (self._history, undo, self._redo)
            )
        self._arrived = _Kept(state=self._state, watched=dict(self._watched))
        self._arrived_entered = self.entered

    def _kept_before(self, step: int) -> _Kept | None:
        # The very first state is from before anything has happened at step 0.
        kept = [k for k in self._history if k.state.step < step or (k.state.step == 0 == step and not k.state.effects)]
        return max(kept, key=lambda k: k.state.step, default=None)

    def _go_to(self, kept: _Kept) -> None:
        self._state = kept.state
        self._watched = dict(kept.watched)
        self._history = [k for k in self._history if k.state.step <= kept.state.step]
        self._entered = self._stands_in(kept.state)

    @staticmethod
    def _stands_in(state: RunState) -> int:
        """States are kept from behind their boundary, the very first one excepted."""
        return -1 if state.step == 0 and not state.effects else state.step

    # -- a step boundary ------------------------------------------------------------------------------------------------
    def _schedule(self) -> Schedule:
        return Schedule(self.operations, self._state.journal, self.trainer.steps)

    def _boundary(self) -> None:
        """Everything due now: ends of terms, ramps, operations of the script, what was submitted, frames of timelapses."""
        self._entered = self._state.step
        self._finish_terms()
        self._state = dataclasses.replace(
            self._state, settings=self._schedule().ramped(self._state.settings, self._state.step)
        )
        self._take_submitted()
        while (entry := next(self._schedule().due(self._state), None)) is not None:
            self._apply(entry)
        for operation, last in self._schedule().timelapses(self._state):
            self.hooks.frame(operation, self._state, last)

    def _take_submitted(self) -> None:
        with self._lock:
            taken = list(self._queue)
            self._queue.clear()
        if taken:
            placed = tuple(dataclasses.replace(op, when=AtStep(step=self._state.step)) for op in taken)
            self._state = dataclasses.replace(self._state, journal=self._state.journal + placed)

    def _finish_terms(self) -> None:
        state = self._state
        for term in [t for t in state.terms if t.end <= state.step]:
            self.hooks.ended(term.operation, state)
            if isinstance(term, stage2.DistillTerm | stage2.RegionTerm):
                state = self._finish_field_term(term, state)
                continue
            environment = self.trainer.environment(state)
            model, touched = close_term(term, state.model, environment)
            # A repair settles nothing: what the person changed was settled when it was changed.
            if not isinstance(term.operation, Repair):
                model = settle(model, touched)
            state = dataclasses.replace(state, model=model, terms=tuple(t for t in state.terms if t.key != term.key))
            if term.operation.label:
                state = dataclasses.replace(state, finished={**state.finished, term.operation.label: state.step})
            state = self._begin_repair(term.operation, touched, state, term.key)
        self._state = state
        self._report_ended()

    def _apply(self, entry: Entry) -> None:
        before = self._state
        operation = entry.operation
        state = dataclasses.replace(before, fired={**before.fired, entry.index: before.step})
        try:
            state, message, watched = self._dispatch(operation, state)
            effect = Effect(
                step=before.step,
                text=_text(operation),
                message=message,
                line=operation.span.line if operation.span else None,
            )
        except OperationRefused as refusal:
            effect = Effect(step=before.step, text=_text(operation), message=str(refusal), refused=True)
            self._state = dataclasses.replace(state, effects=(*state.effects, effect))
            self.hooks.effect(effect)
            if not entry.submitted:
                raise
            # It changed nothing, so there is nothing to undo.
            return
        if entry.submitted:
            # Without the operation itself, or the boundary that undo leads to would carry it out again.
            place = entry.index - len(self.operations)
            left = dataclasses.replace(before, journal=before.journal[:place])
            self._undo.append(_Kept(state=left, watched=dict(self._watched)))
            self._redo.clear()
        lasting = isinstance(operation, TermOperation) and not isinstance(operation, Ramp)
        if operation.label and not lasting:
            state = dataclasses.replace(state, finished={**state.finished, operation.label: before.step})
        self._state = dataclasses.replace(state, effects=(*state.effects, effect))
        if isinstance(operation, Checkpoint):
            # Saved last, so that the file knows that this operation has taken effect.
            self.hooks.checkpoint(self._state, operation.name)
        self.hooks.effect(effect)
        if isinstance(operation, EditOperation) or lasting:
            after = None if lasting else self._state
            if watched is None:
                self.hooks.interaction(
                    Interaction(effect=effect, operation=operation, before=before, after=self._state)
                )
            else:
                self._watched[watched] = _Watched(operation=operation, effect=effect, before=before, after=after)

    def _dispatch(self, operation: Operation, state: RunState) -> tuple[RunState, str, str | None]:
        """The state after an operation, what it did, and the key of the term whose end completes it."""
        environment = self.trainer.environment(state)
        match operation:
            case TermOperation() if stage2.concerns(operation, state):
                key = str(state.terms_begun)
                term, state, said = stage2.begin(operation, key, state, self.trainer)
                state = dataclasses.replace(state, terms=(*state.terms, term), terms_begun=state.terms_begun + 1)
                return state, f"until step {term.end}; {said}", key
            case Remove() if state.field is not None:
                state, said = stage2.remove_region(operation, state)
                return state, said, None
            case EditOperation() | TermOperation() if state.field is not None:
                raise OperationRefused(
                    f"{operation.keyword} at step {state.step}: works on splats, and the object has become a field; "
                    "`refine` or `edit` a part of it, or go back to before `distill`"
                )
            case EditOperation():
                model, touched, message = apply_edit(operation, state.model, environment)
                state = dataclasses.replace(state, model=settle(model, touched))
                begun = state.terms_begun
                state = self._begin_repair(operation, touched, state, None)
                return state, message, state.terms[-1].key if state.terms_begun > begun else None
            case TermOperation():
                key = str(state.terms_begun)
                term, model = start_term(operation, key, state.model, environment)
                state = dataclasses.replace(
                    state, model=model, terms=(*state.terms, term), terms_begun=state.terms_begun + 1
                )
                return state, f"until step {term.end}", key
            case SetValue():
                old = state.settings.get(operation.path)
                state = dataclasses.replace(state, settings=state.settings.set(operation.path, operation.value))
                return state, f"was {old}", None
            case Checkpoint():
                return state, "", None
            case Print():
                return state, operation.text.replace("{step}", str(state.step)), None
            case Pause():
                self.hooks.pause(state)
                return state, "paused", None
            case OutputOperation():
                return state, self.hooks.output(operation, state), None
            case ControlOperation():
                raise OperationRefused(f"{operation.keyword}: not known to this version")
        raise TypeError(f"unknown operation {operation!r}")

    def _finish_field_term(self, term: Term, state: RunState) -> RunState:
        state, said = stage2.finish(term, state)
        effect = Effect(
            step=state.step,
            text=_text(term.operation),
            message=said,
            line=term.operation.span.line if term.operation.span else None,
        )
        self.hooks.effect(effect)
        finished = dict(state.finished)
        if term.operation.label:
            finished[term.operation.label] = state.step
        terms = tuple(t for t in state.terms if t.key != term.key)
        return dataclasses.replace(state, terms=terms, finished=finished, effects=(*state.effects, effect))

    def _begin_repair(
        self, operation: Operation, touched: Bool[Tensor, "n"] | None, state: RunState, replaces: str | None
    ) -> RunState:
        """The default repair that follows an interaction, where the policy and the operation ask for one."""
        settings = follow_policy(state.settings, self.policy)
        environment = dataclasses.replace(self.trainer.environment(state), settings=settings)
        repair = repair_after(operation, touched, state.model, environment) if settings.repair.enabled else None
        if repair is None or state.step >= self.trainer.steps:
            return state
        key = str(state.terms_begun)
        term, model = start_term(repair, key, state.model, environment, touched)
        term = dataclasses.replace(term, steps=min(term.steps, self.trainer.steps - state.step))
        if replaces is not None and replaces in self._watched:
            watched = self._watched.pop(replaces)
            self._watched[key] = dataclasses.replace(watched, after=dataclasses.replace(state))
        return dataclasses.replace(state, model=model, terms=(*state.terms, term), terms_begun=state.terms_begun + 1)

    def _report_ended(self) -> None:
        running = {t.key for t in self._state.terms}
        for key in [k for k in self._watched if k not in running]:
            seen = self._watched.pop(key)
            after = seen.after or self._state
            self.hooks.interaction(
                Interaction(
                    effect=seen.effect,
                    operation=seen.operation,
                    before=seen.before,
                    after=after,
                    repaired=self._state if seen.after else None,
                )
            )

    # -- history --------------------------------------------------------------------------------------------------------
    def _remember(self) -> None:
        """Keep a reference every few steps, and thin the oldest out when they hold too much memory."""
        if self._state.step % HISTORY_EVERY:
            return
        self._history.append(_Kept(state=self._state, watched=dict(self._watched)))
        size = sum(c.numel() * c.element_size() for c in self._state.model.columns.values())
        size += self._state.field.bytes if self._state.field is not None else 0
        most = max(4, HISTORY_BYTES // max(size, 1))
        if len(self._history) > most:
            # The start stays; every second of the rest goes, so that old times stay reachable in bigger strides.
            self._history = [self._history[0], *self._history[1::2]]

    def _travel(self, source: list[_Kept], destination: list[_Kept]) -> bool:
        if not source:
            return False
        left, kept = self._state, source.pop()
        destination.append(_Kept(state=left, watched=dict(self._watched)))
        self._state, self._watched = kept.state, dict(kept.watched)
        self._history = [k for k in self._history if k.state.step <= self._state.step]
        self._tell_of_travel(left)
        return True

    def _tell_of_travel(self, left: RunState) -> None:
        before, now = left.effects, self._state.effects
        same = next(
            (i for i, (a, b) in enumerate(zip(before, now, strict=False)) if a != b), min(len(before), len(now))
        )
        self.hooks.travelled(before[same:], now[same:])

    def events(self) -> Iterator[Effect]:
        """What has taken effect so far."""
        return iter(self._state.effects)


def _text(operation: Operation) -> str:
    return format_operation(operation)
