"""What was done by hand, written down as a script that a terminal runs to the same object."""

import dataclasses
from pathlib import Path

import pytest

from interactive3d.dsl import format_program, load, loads
from interactive3d.dsl.operations import AllPart, Duplicate, Move, NamedPart, Paint, ShapePart, Sphere
from interactive3d.runtime.engine.script import check_context
from interactive3d.runtime.engine.session import Session
from interactive3d.runtime.engine.session_script import session_program, told_from
from interactive3d.runtime.engine.snapshots import digest
from interactive3d.runtime.output.splat_files import write_splats

STEPS = 4
SCRIPT = f'prompt "a blue ball"\nsteps {STEPS}\nat step 2 paint all gold\nat end paint all lime\n'
NOWHERE = ShapePart(shape=Sphere(center=(5.0, 5.0, 5.0), radius=0.1))


def test_a_session_with_refusals_and_late_gestures_replays_to_the_same_object(make_run):
    program = loads(SCRIPT, check_context()).program
    assert program is not None
    trainer, start = make_run(steps=STEPS, seed=9)
    session = Session(trainer, program.operations, start)
    session.advance(2)
    session.submit(Duplicate(part=AllPart(), by=(0.4, 0.0, 0.0), name="twin"))
    session.submit(Paint(part=NOWHERE, color=(1.0, 0.0, 0.0)))
    session.advance(1)
    session.submit(Move(part=NamedPart(name="twin"), by=(0.0, 0.1, 0.0)))
    session.advance()
    session.submit(Paint(part=NamedPart(name="twin"), color=(1.0, 0.0, 0.0)))
    state = session.advance(0)
    assert session.finished and [e.refused for e in state.effects].count(True) == 1

    text = format_program(session_program(program, state, seed=trainer.seed, steps=STEPS))
    loaded = loads(text, check_context())
    assert loaded.program is not None, loaded.diagnostics
    assert loaded.program.seed == 9 and "at end paint twin" in text and "(5, 5, 5)" not in text
    again = Session(trainer, loaded.program.operations, start).advance()
    bare = {"journal": (), "fired": {}, "effects": ()}
    assert digest(dataclasses.replace(again, **bare)) == digest(dataclasses.replace(state, **bare))


def test_a_refusal_takes_only_itself_out(make_run):
    """The same words can be refused first and do something later."""
    trainer, start = make_run(steps=STEPS)
    session = Session(trainer, (), start)
    paint = Paint(part=NamedPart(name="twin"), color=(1.0, 0.0, 0.0))
    session.submit(paint)
    session.submit(Duplicate(part=AllPart(), by=(0.4, 0.0, 0.0), name="twin"))
    session.submit(paint)
    state = session.advance(0)
    program = loads(SCRIPT, check_context()).program
    assert program is not None
    told = session_program(program, state, seed=0, steps=STEPS).operations[len(program.operations) :]
    assert [type(op) for op in told] == [Duplicate, Paint]


@pytest.mark.parametrize("place", ["run", "run/deep/er", "."])
def test_files_are_named_from_where_the_session_lies(make_run, tmp_path: Path, place: str):
    home, goal = tmp_path / "home", tmp_path / place
    home.mkdir()
    goal.mkdir(parents=True, exist_ok=True)
    _, state = make_run()
    write_splats(state.model, home / "ball.ply")
    elsewhere = tmp_path / "far.ply"
    write_splats(state.model, elsewhere)
    (home / "a.sculpt").write_text(
        f'prompt "a ball"\nsteps 4\nguidance reference "ball.ply"\nsplats from "ball.ply"\n'
        f'at step 1 add "ball.ply" as one\nat step 1 add "{elsewhere}" as two\n'
    )
    program = load(home / "a.sculpt", check_context()).program
    assert program is not None
    (goal / "session.sculpt").write_text(format_program(told_from(program, goal)))
    loaded = load(goal / "session.sculpt", check_context())
    assert loaded.program is not None, loaded.diagnostics
    assert loaded.program.guidance is not None
    named = [*loaded.program.guidance.models, loaded.program.initial.path, *(o.path for o in loaded.program.operations)]
    assert [(goal / n).resolve() for n in named] == [home / "ball.ply"] * 3 + [elsewhere]


def test_the_id_of_a_model_is_no_file(tmp_path: Path):
    program = loads('prompt "a ball"\nsteps 4\nguidance diffusers "owner/name"\n', check_context()).program
    assert program is not None
    moved = told_from(program, tmp_path)
    assert moved.guidance is not None and moved.guidance.models == ("owner/name",)
