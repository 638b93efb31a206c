"""A script that is edited while it runs: what lies ahead is planned anew at once, and what lies behind is named.

With ``rewind`` an edit of the past takes the run back to the newest snapshot before the first event that differs, from where it is
replayed, so that it ends exactly where a fresh run of the edited script would end. Without, the past stays as it was.
"""

import dataclasses
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from interactive3d.dsl.operations import Operation, WhenMetric
from interactive3d.dsl.program import Program
from interactive3d.dsl.replan import Replan
from interactive3d.runtime.engine.differences import Replanned, another, compare, streak
from interactive3d.runtime.engine.session import Session
from interactive3d.runtime.engine.start import begin, first_settings, make_guidance, seed_of, steps_of
from interactive3d.runtime.engine.state import Metrics, RunState
from interactive3d.runtime.engine.trainer import Trainer
from interactive3d.runtime.guidance.protocol import Guidance
from interactive3d.runtime.settings import Settings


class ReplanRefused(ValueError):
    """A script that the run cannot follow from where it stands; nothing has changed. Says what to do."""


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
    guidance: Guidance | None = None,
) -> Replanned:
    """Let a run of ``old`` follow ``new`` from its next step boundary on. Asked by whoever advances, between two steps.

    Args:
        rewind: go back when the edit touches the past.
        seed: the seed that the run was given, which the script's own does not change.
        diverged: the first step at which the run differs from ``old`` already, for an edit of the past was not replayed.
        earlier: a state on disk before a step, where the session remembers none that is older.
        guidance: the prior that ``new`` names, where it is made already.

    Raises:
        ReplanRefused: the run cannot follow; it goes on with ``old``.
    """
    begun = time.perf_counter()
    now = session.latest()
    outcome = compare(old, new, now, entered=session.entered, measured=session.measured, seed=seed is None)
    moved = carrier(old, new, outcome.plan, session.measured)
    if rewind and (outcome.behind or diverged is not None):
        target = min(s for s in (outcome.first, diverged) if s is not None)
        outcome = _go_back(session, outcome, moved, target, seed, earlier)
    else:
        trainer = _trainer_from_now_on(session, old, new, seed, guidance)
        session.replan(new, trainer=trainer, moved=moved, settings=_settings_from_now_on(old, new, trainer.guidance))
        outcome = dataclasses.replace(outcome, moved=moved, spliced=outcome.behind)
    outcome = dataclasses.replace(outcome, seconds=time.perf_counter() - begun)
    session.hooks.replanned(outcome)
    return outcome


def _go_back(
    session: Session,
    outcome: Replanned,
    moved: Callable[[RunState], RunState],
    target: int,
    seed: int | None,
    earlier: Callable[[int], RunState | None] | None,
) -> Replanned:
    """To the newest state before the first step that differs, or to the start where the run itself is another."""
    old, new, now = outcome.old, outcome.program, session.latest()
    if not another(old, new, seed=seed is None):
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
    trainer, start = begin(new, guidance, seed=seed_of(new, seed), device=device)
    trainer = dataclasses.replace(trainer, listen=session.trainer.listen)
    session.replan(new, trainer=trainer, moved=moved, start=start)
    return dataclasses.replace(outcome, from_step=0, restarted=True)


def _trainer_from_now_on(
    session: Session, old: Program, new: Program, seed: int | None, made: Guidance | None
) -> Trainer:
    """The trainer with what the edited script says of it; what only the first blobs are made of stays as it was."""
    trainer, now = session.trainer, session.latest()
    steps = steps_of(new)
    if steps != trainer.steps and steps < now.step:
        raise ReplanRefused(
            f"steps {steps}: the run is at step {now.step} already, so it goes on with the script as it was; "
            "give it more steps, or run with --rewind to go back"
        )
    guidance = trainer.guidance
    if old.guidance != new.guidance:
        guidance = made or _guidance(new, str(now.model.device))
    return dataclasses.replace(
        trainer,
        guidance=guidance,
        prompt=new.prompt or "",
        negative=new.avoid or "",
        steps=steps,
        seed=trainer.seed if old.seed == new.seed else seed_of(new, seed),
        folder=Path(new.folder),
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
