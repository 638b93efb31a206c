"""Scripts edited while they run: what is followed, what is named, and that a replayed run is a fresh one."""

import dataclasses
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from interactive3d.dsl import format_program, load, loads
from interactive3d.dsl.operations import AllPart, Move, Paint, ShapePart, Sphere
from interactive3d.dsl.program import Program
from interactive3d.runtime.engine.differences import Replanned, first_difference
from interactive3d.runtime.engine.hooks import Given, Hooks
from interactive3d.runtime.engine.replan import ReplanRefused, follow
from interactive3d.runtime.engine.script import check_context, load_script
from interactive3d.runtime.engine.session import HISTORY_EVERY, Session
from interactive3d.runtime.engine.session_script import session_program
from interactive3d.runtime.engine.snapshots import digest
from interactive3d.runtime.engine.start import begin, make_guidance
from interactive3d.runtime.engine.state import RunState
from interactive3d.runtime.output.splat_files import write_splats
from interactive3d.runtime.scene.gaussians import GaussianModel

EDITS = 60
"""The issue asks for 50."""

RELOAD_SECONDS = 0.1
"""From the saved text to the planned run, without the waiting for the end of the step under way (issue 4)."""

BUSY = 3.0
"""A machine that does other things meanwhile takes this many times longer; the best of a few tries is measured."""

STEPS = 34
HEAD = """prompt "goal"
seed 5
guidance reference "goal.ply"
set guidance.size 16
set camera.batch 1
set repair.steps 3
splats 60 in sphere at (0, 0, 0) radius 0.4
part top = box (-1, 0.1, -1) .. (1, 1, 1)
gesture wiggle(angle: angle = 10 deg) {
  at step 0 rotate top by angle about y
  at step 3 rotate top by -angle about y
}
"""


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def folder(tmp_path: Path, make_ball: Callable[..., GaussianModel]) -> Path:
    write_splats(make_ball(1, count=40, center=(0.1, 0.0, 0.0), color=(0.1, 0.2, 0.9)), tmp_path / "goal.ply")
    return tmp_path


def program_of(text: str, folder: Path, steps: int = STEPS) -> Program:
    loaded = loads(f"steps {steps}\n{HEAD}{text}", check_context(), path=folder / "script.sculpt")
    assert loaded.program is not None, loaded.diagnostics
    return loaded.program


def session_of(program: Program, seed: int | None = None, **hooks: object) -> Session:
    guidance = make_guidance(program.guidance, Path(program.folder), "cpu")
    given = seed if seed is not None else program.seed or 0
    trainer, start = begin(program, guidance, seed=given, device="cpu")
    given_then = Given(seed=seed)
    return Session(
        trainer,
        program.operations,
        start,
        policy=program.repair,
        hooks=Hooks(**hooks),  # type: ignore[arg-type]
        given=given_then,
    )


def fresh(program: Program) -> RunState:
    return session_of(program).advance()


# -- random scripts and random edits of them ----------------------------------------------------------------------------
def statement(rng: random.Random, number: int) -> str:
    step = rng.randrange(0, STEPS - 1)
    acts = [
        f"at step {step} paint top {rng.choice(['red', 'lime', 'gold'])}",
        f"at step {step} rotate all by {rng.randrange(5, 90)} deg about y",
        f"at step {step} move all by (0, {rng.uniform(0.01, 0.05):.3f}, 0)",
        f"at step {step} wiggle({rng.randrange(5, 40)} deg)",
        f"at step {step} stretch all by {rng.uniform(0.9, 1.1):.2f}",
        f"at step {step} set lr.color {rng.uniform(0.01, 0.1):.3f}",
        f"at step {step} add sphere at (0, 0.6, 0) radius 0.1 count 9 color blue as ball{number}",
        f"from step {step} to {step + 6} ramp guidance.noise_max 0.9 -> 0.{rng.randrange(3, 8)}",
        f"every {rng.randrange(4, 15)} steps paint top {rng.choice(['cyan', 'pink'])}",
        f"turn{number}: at step {step} rotate all by 9 deg about x\nafter turn{number} + {rng.randrange(1, 9)} steps paint top red",
        f"when motion < {rng.choice([0.0001, 0.01, 10])} for {rng.randrange(1, 5)} steps paint top navy",
        f"at step {step} drag from (0, 0.3, 0) to (0, 0.4, 0) radius 0.3 rigid over 4 steps",
    ]
    return rng.choice(acts)


SETTINGS = ("", "set lr.position 0.004\n", "set camera.batch 2\n", "repair off\n", 'avoid "fog"\n')


def edited(rng: random.Random, lines: list[str], number: int) -> list[str]:
    """Another form of the script: a changed number, an added, removed, moved or exchanged statement."""
    lines = list(lines)
    at = rng.randrange(len(lines))
    kind = rng.choice(["number", "added", "removed", "moved", "replaced"])
    if kind == "added":
        lines.insert(at, statement(rng, number))
    elif kind == "removed":
        del lines[at]
    elif kind == "moved":
        lines.insert(rng.randrange(len(lines)), lines.pop(at))
    elif kind == "replaced":
        lines[at] = statement(rng, number)
    else:
        words = lines[at].split()
        places = [i for i, word in enumerate(words) if word.isdigit() and 1 < int(word) < STEPS]
        if places:
            i = rng.choice(places)
            words[i] = str(max(1, int(words[i]) + rng.choice([-1, 1])))
            lines[at] = lines[at] if "\n" in lines[at] else " ".join(words)
    return lines


@pytest.mark.parametrize("seed", range(EDITS // 2))
def test_a_replayed_run_is_a_fresh_one(seed: int, folder: Path) -> None:
    """Two random edits at random steps of a random script, with something done by hand in between."""
    rng = random.Random(seed)
    head, gesture = "", "10 deg"
    lines, program = valid_script(rng, folder)
    seen: list[Replanned] = []
    session = session_of(program, replanned=seen.append)
    by_hand = None
    for number in range(2):
        session.advance(rng.randrange(1, STEPS // 2))
        if number == 0 and rng.random() < 0.3:
            session.submit(Paint(part=AllPart(), color=(0.5, 0.5, 0.5)))
            session.advance(1)
            by_hand = session.latest().journal
        while True:
            new_lines = edited(rng, lines, 10 + number)
            new_head = rng.choice(SETTINGS) if rng.random() < 0.15 else head
            if rng.random() < 0.1:
                gesture = f"{rng.randrange(3, 20)} deg"
            loaded = loads(
                f"steps {STEPS}\n{HEAD.replace('10 deg', gesture)}{new_head}" + "\n".join(new_lines),
                check_context(),
                path=folder / "script.sculpt",
            )
            if loaded.program is not None:
                break
        lines, head = new_lines, new_head
        follow(session, program, loaded.program, rewind=True)
        program = loaded.program
    found = session.advance()
    operations = program.operations + (by_hand or ())
    expected = fresh(dataclasses.replace(program, operations=operations))
    assert [e.text for e in found.effects] == [e.text for e in expected.effects]
    assert digest(found) == digest(expected)
    assert session.finished and len(seen) == 2


def valid_script(rng: random.Random, folder: Path) -> tuple[list[str], Program]:
    """Random statements that pass the checks: not two drags of one place at once, and the like."""
    while True:
        lines = [statement(rng, i) for i in range(6)]
        text = f"steps {STEPS}\n{HEAD}" + "\n".join(lines)
        loaded = loads(text, check_context(), path=folder / "script.sculpt")
        if loaded.program is not None:
            return lines, loaded.program


# -- what is said and done ----------------------------------------------------------------------------------------------
BASE = "at step 4 paint top red\nat step 30 paint top lime\nwhen motion < 0 pause\n"


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("step 30", "step 32", 30),
        ("red", "gold", 4),
        ("at step 30", "at step 12 paint top blue\nat step 30", 12),
        ("motion < 0", "motion < 10", 1),
        ("when motion < 0 pause\n", "", 21),
        ("when motion", "seed 6\nwhen motion", 0),
        ("when motion", "set lr.color 0.1\nwhen motion", 0),
        ("red", "red # a comment", None),
    ],
)
def test_the_first_step_that_differs(before: str, after: str, expected: int | None, folder: Path) -> None:
    old = program_of(BASE, folder)
    whole = f"steps {STEPS}\n{HEAD}{BASE.replace(before, after)}"
    if "seed" in after:
        whole = whole.replace("seed 5\n", "")
    new = loads(whole, check_context(), path=folder / "script.sculpt").program
    assert new is not None
    session = session_of(old)
    session.advance(20)
    assert first_difference(old, new, session.latest(), session.measured) == expected


def test_an_edit_of_the_past_is_named_and_left_alone_without_rewind(folder: Path) -> None:
    old, new = program_of(BASE, folder), program_of(BASE.replace("red", "gold").replace("lime", "navy"), folder)
    session = session_of(old)
    session.advance(20)
    outcome = follow(session, old, new, rewind=False)
    assert not outcome.rewound and outcome.spliced and outcome.first == 4
    (past,) = outcome.past
    assert past.step == 4 and past.line is not None and "paint top" in past.text and past.kind == "changed"
    report = "\n".join(outcome.lines())
    assert "past: changed (step 4, line 14)" in report and "ahead: changed (step 30, line 15)" in report
    assert "--rewind" in report
    # The past of one script and the future of the other.
    mixed = dataclasses.replace(new, operations=(old.operations[0], *new.operations[1:]))
    assert digest(session.advance()) == digest(fresh(mixed))


def test_going_back_uses_the_newest_snapshot_before_the_edit(folder: Path) -> None:
    late = HISTORY_EVERY + 8
    text = f"at step {late} paint top red\n"
    old, new = program_of(text, folder), program_of(text.replace("red", "gold"), folder)
    session = session_of(old)
    session.advance(late + 3)
    outcome = follow(session, old, new, rewind=True)
    assert outcome.rewound and not outcome.restarted and outcome.from_step == HISTORY_EVERY
    assert session.latest().step == HISTORY_EVERY
    assert digest(session.advance()) == digest(fresh(new))


def test_what_cannot_be_followed_changes_nothing(folder: Path) -> None:
    old, new = program_of("", folder), program_of("", folder, steps=10)
    session = session_of(old)
    before = session.advance(20)
    with pytest.raises(ReplanRefused, match=r"steps 10.*step 20"):
        follow(session, old, new, rewind=False)
    assert session.latest() is before and session.trainer.steps == STEPS


def test_the_future_follows_a_changed_prompt_setting_and_number_of_steps(folder: Path) -> None:
    old = program_of("", folder)
    loaded = loads(
        "steps 38\n" + HEAD.replace('"goal"', '"another"', 1) + "set lr.color 0.09\n",
        check_context(),
        path=folder / "s.sculpt",
    )
    assert loaded.program is not None
    session = session_of(old)
    session.advance(10)
    outcome = follow(session, old, loaded.program, rewind=False)
    assert {e.text.split()[0] for e in outcome.past} == {"prompt", "steps", "no"}
    assert any(e.text == "no lr.color -> set lr.color 0.09" for e in outcome.past)
    assert session.latest().settings.lr.color == 0.09 and session.trainer.prompt == "another"
    assert session.advance().step == 38


def test_a_boundary_that_was_refused_is_taken_again_with_the_mended_script(folder: Path) -> None:
    from interactive3d.runtime.operations.base import OperationRefused

    text = "at step 6 paint top red\nat step 6 remove sphere at (5, 5, 5) radius 0.1\n"
    old, new = program_of(text, folder), program_of(text.replace("(5, 5, 5)", "(0, 0.2, 0)"), folder)
    session = session_of(old)
    with pytest.raises(OperationRefused):
        session.advance()
    session.retreat()
    outcome = follow(session, old, new, rewind=False)
    assert not outcome.past and not outcome.spliced
    assert digest(session.advance()) == digest(fresh(new))


def test_contact_rows_under_way_survive_a_replay(folder: Path) -> None:
    late = HISTORY_EVERY + 4
    text = f"at step {HISTORY_EVERY - 2} rotate top by 20 deg about y\nat step {late} paint top red\n"
    old, new = program_of(text, folder), program_of(text.replace("red", "gold"), folder)
    rows: list[int] = []
    session = session_of(old, interaction=lambda seen: rows.append(seen.effect.step))
    session.advance(late + 2)
    assert follow(session, old, new, rewind=True).from_step == HISTORY_EVERY
    rows.clear()
    session.advance()
    # The rotation's repair was under way at the snapshot: its row is finished again.
    assert rows == [HISTORY_EVERY - 2, late]


def test_a_reload_of_three_hundred_statements_is_immediate(folder: Path) -> None:
    text = "".join(f"at step {i % 32} move all by (0, 0.0{i % 7 + 1}, 0)\n" for i in range(300))
    path = folder / "long.sculpt"
    path.write_text(f"steps {STEPS}\n{HEAD}{text}")
    old = load_script(path).program
    assert old is not None
    session = session_of(dataclasses.replace(old, operations=()))
    session.advance(2)
    best = float("inf")
    for attempt in range(5):
        path.write_text(f"steps {STEPS}\n{HEAD}{text}at step 33 rotate all by {attempt + 1} deg about y\n")
        begun = time.perf_counter()
        new = load(path, check_context()).program
        assert new is not None
        follow(session, old, new, rewind=True)
        best = min(best, time.perf_counter() - begun)
        old = new
    assert best < RELOAD_SECONDS * BUSY


def test_what_a_hand_submits_is_saved_as_a_script_that_ends_the_same(folder: Path) -> None:
    """Numbers of single precision, as gizmos make them: done as they are printed."""
    program = program_of("at step 4 paint top red\n", folder)
    session = session_of(program)
    session.advance(6)
    by = (0.4000000059604645, 0.1 + 0.2, -0.012345679104328156)
    session.submit(Move(part=ShapePart(shape=Sphere(center=(0.0, 0.2, 0.0), radius=0.3000000119)), by=by))
    ended = session.advance()
    text = format_program(dataclasses.replace(program, operations=program.operations + ended.journal))
    assert "move sphere at (0, 0.2, 0) radius 0.3000000119 by (0.4, 0.3, -0.012345679)" in text
    saved = loads(text, check_context(), path=folder / "saved.sculpt").program
    assert saved is not None
    assert digest(fresh(saved)) == digest(ended)


def test_a_part_edited_after_a_gesture_is_saved_as_it_was_for_the_gesture(folder: Path) -> None:
    """And as it is now for what the script does; so are parts made of it, and the views that clicks were made in."""
    head = (
        "view eye = orbit azimuth {azimuth} elevation 10\n"
        "part edge = sphere at (0, {height}, 0) radius 0.3\n"
        "part both = edge + (sphere at (0.4, 0, 0) radius 0.1)\n"
        "part seen = click (32, 32) in eye size 64\n"
    )
    act = "at step 12 paint edge gold\nat step 12 paint seen navy\n"
    old = program_of(head.format(azimuth=0, height=0.2) + act, folder)
    new = program_of(head.format(azimuth=90, height=-0.2) + act, folder)
    session = session_of(old)
    session.advance(4)
    parts = {part.name: part for part in old.parts}
    session.submit(Paint(part=parts["both"], color=(0.9, 0.1, 0.1)))
    session.submit(Move(part=parts["edge"], by=(0.1, 0.0, 0.0)))
    session.submit(Paint(part=parts["seen"], color=(0.1, 0.8, 0.1)))
    session.advance(4)
    follow(session, old, new, rewind=True)
    ended = session.advance()
    text = format_program(session_program(new, ended, seed=session.trainer.seed, steps=STEPS))
    assert "part edge = sphere at (0, -0.2, 0)" in text and "part edge_2 = sphere at (0, 0.2, 0)" in text
    assert "at step 4 paint both_2 " in text and "at step 12 paint edge " in text
    loaded = loads(text, check_context(), path=folder / "saved.sculpt")
    assert loaded.program is not None, loaded.diagnostics
    assert digest(fresh(loaded.program)) == digest(ended)


def test_a_part_of_a_used_file_and_one_of_the_script_keep_apart(folder: Path) -> None:
    (folder / "far.sculpt").write_text("part top = sphere at (0, -0.2, 0) radius 0.2\n")
    text = 'use "far.sculpt" as far\npart far_top = sphere at (0, 0.2, 0) radius 0.2\n'
    program = program_of(text + "at step 2 paint far.top red\nat step 2 paint far_top gold\n", folder)
    loaded = loads(format_program(program), check_context(), path=folder / "saved.sculpt")
    assert loaded.program is not None, loaded.diagnostics
    assert digest(fresh(loaded.program)) == digest(fresh(program))
