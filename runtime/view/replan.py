"""A script that changes while it runs: the future is planned anew at once; an edit of the past goes back to before it and replays.

So the script on the screen and the object on the screen always agree.
"""

import dataclasses

from interactive3d.dsl.operations import Operation
from interactive3d.dsl.program import Program
from interactive3d.runtime.engine.session import Session
from interactive3d.runtime.engine.start import begin, make_guidance
from interactive3d.runtime.engine.state import RunState
from interactive3d.runtime.view.studio import Studio

HEAD = ("prompt", "avoid", "seed", "steps", "guidance", "initial", "settings", "repair")
"""What a run is made of besides its operations; steps too, for step sizes decay over the whole run."""


def first_difference(old: Program, new: Program, state: RunState) -> int | None:
    """The first step at which two scripts part; None when they mean the same, 0 when the run itself is another."""
    if any(getattr(old, name) != getattr(new, name) for name in HEAD):
        return 0
    kept = _unmatched(old.operations, new.operations), _unmatched(new.operations, old.operations)
    index = {id(op): i for i, op in enumerate(old.operations)}
    steps = [_step(op, state, index.get(id(op))) for group in kept for op in group]
    return min(steps) if steps else None


def _unmatched(these: tuple[Operation, ...], those: tuple[Operation, ...]) -> list[Operation]:
    left = list(those)
    out = []
    for operation in these:
        if operation in left:
            left.remove(operation)
        else:
            out.append(operation)
    return out


def _step(operation: Operation, state: RunState, index: int | None) -> int:
    """When an operation first acts; what waits for a label or a metric and has not fired yet lies in the future."""
    when = operation.when
    for name in ("step", "start", "n"):
        value = getattr(when, name, None)
        if isinstance(value, int):
            return value
    if index is not None and index in state.fired:
        return state.fired[index]
    return state.step + 1


def moved_state(
    state: RunState, old: tuple[Operation, ...], new: tuple[Operation, ...], journal: tuple[Operation, ...]
) -> RunState:
    """A state whose notes on what has fired are those of another list of operations, with a journal."""
    places: dict[int, int] = {}
    free = list(range(len(new)))
    for i, operation in enumerate(old):
        j = next((k for k in free if new[k] == operation), None)
        if j is not None:
            free.remove(j)
            places[i] = j
    for i in range(len(journal)):
        places[len(old) + i] = len(new) + i
    fired = {places[i]: step for i, step in state.fired.items() if i in places}
    streaks = {places[i]: count for i, count in state.streaks.items() if i in places}
    return dataclasses.replace(state, fired=fired, streaks=streaks, journal=journal)


def replan(studio: Studio, program: Program) -> None:
    """Let the run follow another script; carried out in the optimizer's thread at the next step boundary."""
    old = studio.project.program
    if old is None:
        return
    session = studio.worker.session
    assert isinstance(session, Session)

    def go() -> None:
        def carried(state: RunState, journal: tuple[Operation, ...]) -> RunState:
            return moved_state(state, old.operations, program.operations, journal)

        now = session.latest()
        parted = first_difference(old, program, now)
        if parted is None:
            studio.say("the script means the same as before")
            return
        if any(getattr(old, name) != getattr(program, name) for name in HEAD):
            guidance = session.trainer.guidance
            if old.guidance != program.guidance:
                guidance = make_guidance(program.guidance, studio.project.folder, "cpu")
            seed = program.seed if program.seed is not None else session.trainer.seed
            trainer, start = begin(program, guidance, seed=seed, device=str(now.model.device))
            start = dataclasses.replace(start, journal=now.journal)
            session.replan(program.operations, start, None, trainer, program.repair)
            studio.worker.remember_again(lambda s: start if s.step == 0 else None)
            words = "from the start, for what the run is made of has changed"
        elif parted > now.step:
            session.replan(program.operations, carried(now, now.journal), lambda s: carried(s, s.journal))
            studio.worker.remember_again(lambda s: carried(s, s.journal))
            words = f"from step {parted} on"
        else:
            before = [s for s in studio.worker.remembered() if s.step < parted]
            # The very first state is from before anything has fired.
            state = before[-1] if before else studio.worker.remembered()[0]
            session.replan(program.operations, carried(state, now.journal), lambda s: carried(s, s.journal))
            studio.worker.remember_again(lambda s: carried(s, s.journal))
            words = f"from step {state.step}, for the change lies in the past; replaying"
        if session.latest().step < now.step:
            studio.worker.run(now.step if not studio.worker.running else None)
        studio.say(f"the run follows the script {words}")

    studio.project = dataclasses.replace(studio.project, program=program)
    studio.worker.command(go)
