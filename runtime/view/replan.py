"""A script that changes while the window runs it: the window's side of ``engine.replan``. Here an edit of the past is always replayed.

So the script on the screen and the object on the screen always agree.
"""

import dataclasses
from functools import partial

from interactive3d.dsl.program import Program
from interactive3d.runtime.engine.replan import ReplanRefused, follow
from interactive3d.runtime.engine.script import load_script
from interactive3d.runtime.engine.session import Session
from interactive3d.runtime.view.studio import Studio


def replan(studio: Studio, program: Program) -> None:
    """Let the run follow another script; carried out in the optimizer's thread at the next step boundary."""
    session = studio.worker.session
    assert isinstance(session, Session)
    if studio.project.program is None:
        return
    if session.given.overrides and studio.project.script is not None:
        # What --set gave to the script holds for its new form too.
        loaded = load_script(studio.project.script, session.given.overrides)
        program = loaded.program or program
    studio.worker.command(partial(_follow, studio, session, program))


def _follow(studio: Studio, session: Session, program: Program) -> None:
    # Read here and not before: two saves may be on their way.
    old = studio.project.program
    if old is None:
        return
    was = session.latest().step
    try:
        outcome = follow(session, old, program, rewind=True, seed=session.given.seed)
    except ReplanRefused as refusal:
        studio.say(str(refusal), error=True)
        return
    studio.project = dataclasses.replace(studio.project, program=program)
    start = session.latest()
    moved = outcome.moved
    if moved is None:
        studio.worker.remember_again(lambda s: start if s.step == 0 else None)
    else:
        studio.worker.remember_again(moved)
    if session.latest().step < was:
        studio.worker.run(was if not studio.worker.running else None)
    studio.say(outcome.headline())
