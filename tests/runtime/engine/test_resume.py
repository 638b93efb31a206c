"""Stopped runs that go on: under settings that are given anew, under a script that differs, and when that is refused."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from interactive3d.dsl.operations import Paint
from interactive3d.dsl.values import AllPart
from interactive3d.runtime.cli import main
from interactive3d.runtime.engine import run as engine_run
from interactive3d.runtime.engine.codec import program_from_json
from interactive3d.runtime.engine.inputs import program_digest, program_record
from interactive3d.runtime.engine.resume import Past, Resuming, earlier_run
from interactive3d.runtime.engine.run import Run
from interactive3d.runtime.engine.script import load_script
from interactive3d.runtime.engine.session import Session
from interactive3d.runtime.engine.snapshots import load_state, save_state
from interactive3d.runtime.engine.state import Effect
from interactive3d.runtime.engine.trainer import Trainer
from interactive3d.runtime.output.splat_files import write_splats
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.settings import HOW, SPECS

ROOT = Path(__file__).resolve().parents[3]
STEPS = 24
STOP = 14
SCRIPT = f"""prompt "goal"
seed 5
steps {STEPS}
guidance reference "goal.ply"
set guidance.size 16
set camera.batch 2
set repair.steps 3
splats 60 in sphere at (0, 0, 0) radius 0.4
param turn = 30 in 0 .. 90
use "parts.sculpt" as parts
at step 3 paint parts.top red
every 6 steps checkpoint
at step {STOP} move parts.top by (0, 0.05, 0)
at step 18 rotate parts.top by turn * 1 deg about y
"""
PAST = SCRIPT.replace("top red", "top gold")
AHEAD = SCRIPT.replace("at step 18", "at step 20")

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def script(tmp_path: Path, make_ball: Callable[..., GaussianModel]) -> Path:
    write_splats(make_ball(1, count=40, color=(0.1, 0.2, 0.9)), tmp_path / "goal.ply")
    (tmp_path / "parts.sculpt").write_text("part top = box (-1, 0.1, -1) .. (1, 1, 1)\n")
    path = tmp_path / "small.sculpt"
    path.write_text(SCRIPT)
    return path


def call(*arguments: object) -> Result:
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def go(script: Path, out: Path, *more: str) -> Result:
    return call("run", script, "--out", out, "--headless", *more)


def gone_on(script: Path, out: Path, *more: str) -> str:
    """What is said while a stopped run goes on to its end, which `verify` finds again."""
    result = go(script, out, "--resume", *more)
    assert result.exit_code == 0, result.stderr
    verified = call("verify", out)
    assert verified.exit_code == 0, verified.stderr
    return result.stderr


def fresh(script: Path, out: Path, *more: str) -> str:
    result = go(script, out, *more)
    assert result.exit_code == 0, result.stderr
    return record(out)["state_digest"]


def record(out: Path) -> dict:
    return json.loads((out / "run.json").read_text())


def started(script: Path, out: Path, **options: object) -> Run:
    overrides = options.get("overrides", ())
    loaded = load_script(script, overrides)  # type: ignore[arg-type]
    assert loaded.program is not None, loaded.diagnostics
    return Run(loaded.program, script, out, **options)  # type: ignore[arg-type]


def stopped(script: Path, out: Path, step: int = STOP, **options: object) -> Path:
    """A run that was stopped at a step's boundary: what is due there has been done."""
    run = started(script, out, **options)
    run.report.stepped = lambda state, steps, seconds: run.stop() if state.step == step else None
    assert run.go().state.step == step
    return out


def killed(script: Path, out: Path, step: int = STOP) -> Path:
    """A run that was interrupted before what is due at a step has been done."""
    run = started(script, out)

    def stepped(state: object, steps: int, seconds: float) -> None:
        if run.session.latest().step == step:
            raise KeyboardInterrupt

    run.report.stepped = stepped
    with pytest.raises(KeyboardInterrupt):
        run.go()
    return out


def contents(folder: Path) -> dict[str, bytes]:
    # The marker lists what may be written, and the lock comes and goes.
    skipped = (".interactive3d-run", ".lock")
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.name not in skipped]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


# -- settings -----------------------------------------------------------------------------------------------------------
def test_a_setting_that_is_given_anew_holds_from_there_on(script: Path, tmp_path: Path) -> None:
    out = stopped(script, tmp_path / "out")
    said = gone_on(script, out, "--set", "camera.batch=1")
    assert f"step {STOP}: at step {STOP} set camera.batch 1  (was 2)" in said
    assert record(out)["settings"]["camera.batch"] == 1
    assert record(out)["state_digest"] != fresh(script, tmp_path / "fresh")
    # As a hand in the window would have turned it: a script that says so makes the same object.
    script.write_text(SCRIPT + f"at step {STOP} set camera.batch 1\n")
    assert record(out)["state_digest"] == fresh(script, tmp_path / "said")


def test_what_was_given_stays_and_need_not_be_given_again(script: Path, tmp_path: Path) -> None:
    given = ("--set", "camera.batch=1", "--set", "turn=60", "--seed", "8")
    overrides = (("camera.batch", "1"), ("turn", "60"))
    wanted = fresh(script, tmp_path / "fresh", *given)
    for name, again in (("not", ()), ("again", given)):
        out = stopped(script, tmp_path / name, overrides=overrides, seed=8)
        gone_on(script, out, *again)
        assert record(out)["state_digest"] == wanted
        assert record(out)["given_seed"] == 8 and record(out)["journal"] == []


def test_a_setting_can_be_turned_back_and_repeated(script: Path, tmp_path: Path) -> None:
    out = stopped(script, tmp_path / "out", 4, overrides=(("camera.batch", "2"),))
    for given, wanted in (("camera.batch=1", 1), ("camera.batch=1", 1), ("camera.batch=2", 2)):
        result = go(script, out, "--resume", "--set", given, "--set", "lr.color=0.02")
        assert result.exit_code == 0, result.stderr
        assert record(out)["settings"].get("camera.batch", 4) == wanted
    # The second time nothing was to be turned.
    assert [op["value"] for op in record(out)["journal"]] == [1, 0.02, 2]
    assert call("verify", out).exit_code == 0


def test_a_setting_given_anew_wins_over_an_edit_of_it(script: Path, tmp_path: Path) -> None:
    out = stopped(script, tmp_path / "out")
    script.write_text(SCRIPT.replace("camera.batch 2", "camera.batch 3"))
    gone_on(script, out, "--keep-past", "--set", "camera.batch=2")
    assert record(out)["settings"]["camera.batch"] == 2


def test_a_wrong_value_is_told_as_the_checker_tells_it(script: Path, tmp_path: Path) -> None:
    out = stopped(script, tmp_path / "out")
    result = go(script, out, "--resume", "--set", "camera.batch=none")
    assert result.exit_code == 1 and "camera.batch" in result.stderr and "--set" in result.stderr


def test_settings_that_only_say_how_never_stand_in_the_way(script: Path, tmp_path: Path) -> None:
    assert {"large.compile", "large.graphs", "large.memory", "large.precision"} == HOW <= SPECS.keys()
    out = stopped(script, tmp_path / "out")
    script.write_text(SCRIPT + "set large.memory lean\n")
    gone_on(script, out)
    assert record(out)["settings"]["large.memory"] == "lean"
    script.write_text(PAST + "set large.memory sliced\n")
    refused = go(script, out, "--resume")
    assert refused.exit_code == 1 and "paint parts_top" in refused.stderr


# -- what lies ahead ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("leave", [stopped, killed])
def test_an_edit_ahead_is_followed_to_where_a_fresh_run_ends(leave: Callable, script: Path, tmp_path: Path) -> None:
    out = leave(script, tmp_path / "out")
    script.write_text(AHEAD)
    said = gone_on(script, out)
    assert "small.sculpt differs: " in said and "from step 18 on" in said and "ahead: changed" in said
    assert record(out)["state_digest"] == fresh(script, tmp_path / "fresh")
    assert record(out)["splices"] == [] and (out / "script" / "small.sculpt").read_text() == AHEAD


def test_a_param_given_anew_that_acts_ahead_is_followed(script: Path, tmp_path: Path) -> None:
    out = stopped(script, tmp_path / "out")
    assert "rotate" in gone_on(script, out, "--set", "turn=60")
    assert record(out)["state_digest"] == fresh(script, tmp_path / "fresh", "--set", "turn=60")


def test_a_param_that_the_script_has_no_longer_is_left_out(script: Path, tmp_path: Path) -> None:
    out = stopped(script, tmp_path / "out", overrides=(("turn", "60"),))
    script.write_text(SCRIPT.replace("param turn = 30 in 0 .. 90\n", "").replace("turn * 1 deg", "60 deg"))
    said = gone_on(script, out)
    assert "--set turn=60, which the run was begun with, is left out" in said and "differs" not in said
    assert record(out)["overrides"] == []


def test_what_is_due_where_the_run_stands_lies_ahead_only_before_it_was_done(script: Path, tmp_path: Path) -> None:
    edited = SCRIPT.replace("(0, 0.05, 0)", "(0, 0.2, 0)")
    ahead, behind = killed(script, tmp_path / "killed"), stopped(script, tmp_path / "stopped")
    script.write_text(edited)
    gone_on(script, ahead)
    assert record(ahead)["state_digest"] == fresh(script, tmp_path / "fresh")
    refused = go(script, behind, "--resume")
    assert refused.exit_code == 1 and f"past: changed (step {STOP}" in refused.stderr


def test_a_refused_operation_that_was_mended_lies_ahead(script: Path, tmp_path: Path) -> None:
    text = SCRIPT.replace("at step 18", "at step 18 paint parts.top lime\nat step 18") + "repair off\n"
    script.write_text(text.replace("rotate parts.top", "rotate (sphere at (5, 5, 5) radius 0.1)"))
    out = tmp_path / "out"
    first = go(script, out)
    assert first.exit_code == 1 and "what was reached, step 18" in first.stderr and "mend the script" in first.stderr
    again = go(script, out, "--resume")
    assert again.exit_code == 1 and "rotate" in again.stderr
    script.write_text(text)
    gone_on(script, out)
    assert record(out)["state_digest"] == fresh(script, tmp_path / "fresh")
    # What was painted before the refusal was painted again, and is shown once.
    rows = [sorted(p.name for p in (folder / "contact").iterdir()) for folder in (out, tmp_path / "fresh")]
    assert rows[0] == rows[1] != []


# -- what lies behind ---------------------------------------------------------------------------------------------------
EDITS = {
    "operation": (PAST, "past: changed (step 3, line 11): at step 3 paint parts_top"),
    "prompt": (
        SCRIPT.replace('"goal"\n', '"another"\n', 1),
        'past: changed (step 0): prompt "goal" -> prompt "another"',
    ),
    "seed": (SCRIPT.replace("seed 5", "seed 6"), "past: changed (step 0): seed 5 -> seed 6"),
    "setting": (
        SCRIPT.replace("batch 2", "batch 1"),
        "past: changed (step 0): set camera.batch 2 -> set camera.batch 1",
    ),
    "steps": (SCRIPT.replace("steps 24", "steps 30"), "past: changed (step 0): steps 24 -> steps 30"),
    "repair": (SCRIPT + "repair for 2 steps\n", "past: changed (step 0): no repair -> repair for 2 steps"),
}


@pytest.mark.parametrize("leave", [stopped, killed])
@pytest.mark.parametrize("name", EDITS)
def test_an_edit_behind_is_told_refused_and_followed_when_asked(
    name: str, leave: Callable, script: Path, tmp_path: Path
) -> None:
    out = leave(script, tmp_path / "out")
    before = contents(out)
    edited, told = EDITS[name]
    script.write_text(edited)
    refused = go(script, out, "--resume")
    assert refused.exit_code == 1 and told in refused.stderr and "--keep-past" in refused.stderr
    assert f"has come to step {STOP}" in refused.stderr and str(out / "script") in refused.stderr
    assert contents(out) == before
    said = gone_on(script, out, "--keep-past")
    assert told in said and "the past stays as it was" in said
    (splice,) = record(out)["splices"]
    assert splice["step"] == STOP and (out / splice["script"]).read_text() == SCRIPT
    assert (out / "script" / "small.sculpt").read_text() == edited
    if name in ("operation", "seed", "setting"):
        assert record(out)["state_digest"] != fresh(script, tmp_path / "fresh")


def test_another_seed_is_asked_for_twice(script: Path, tmp_path: Path) -> None:
    out = stopped(script, tmp_path / "out")
    refused = go(script, out, "--resume", "--seed", "9")
    assert refused.exit_code == 1 and "seed 5 -> seed 9" in refused.stderr
    gone_on(script, out, "--resume", "--seed", "9", "--keep-past")
    assert record(out)["seed"] == 9 and record(out)["first_seed"] == 5


def test_several_edits_in_several_stretches_are_verified(script: Path, tmp_path: Path) -> None:
    """Some made where the run stands, some before it was there; by hand in between."""
    out = stopped(script, tmp_path / "out", 8)
    run = started(script, out, resume=True)
    run.session.submit(Paint(part=AllPart(), color=(0.5, 0.5, 0.5)))
    run.report.stepped = lambda state, steps, seconds: run.stop() if state.step == 10 else None
    run.go()
    script.write_text(PAST)
    result = interrupted(script, out, 12, "--resume", "--keep-past", "--set", "lr.color=0.03")
    assert result.exit_code == 1 and "differs" in result.stderr
    script.write_text(PAST.replace("batch 2", "batch 1"))
    gone_on(script, out, "--keep-past", "--set", "lr.color=0.04")
    assert [s["step"] for s in record(out)["splices"]] == [10, 12]
    assert [s["entered"] for s in record(out)["splices"]] == [True, False]
    assert [s["journal"] for s in record(out)["splices"]] == [1, 2]


def test_what_is_left_to_do_where_the_run_stands_belongs_to_the_past(script: Path, tmp_path: Path) -> None:
    """Killed right after a checkpoint, before the other things that are due at its step."""
    text = SCRIPT.replace("every 6 steps checkpoint\n", f"every {STOP} steps checkpoint\n")
    script.write_text(text)
    run = started(script, tmp_path / "out")

    def effect(done: Effect) -> None:
        if done.text.endswith("checkpoint"):
            raise KeyboardInterrupt

    run.session.hooks.effect = effect
    with pytest.raises(KeyboardInterrupt):
        run.go()
    script.write_text(text + "repair for 7 steps\n")
    said = gone_on(script, tmp_path / "out", "--keep-past")
    assert said.index("move parts_top") < said.index("differs")


def interrupted(script: Path, out: Path, step: int, *more: str) -> Result:
    """Ended before what is due at a step has been done."""
    append = engine_run.Books.stepped

    def stepped(books: engine_run.Books, state: object) -> None:
        append(books, state)  # type: ignore[arg-type]
        if state.step == step:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_run.Books, "stepped", stepped)
        return go(script, out, *more)


def test_a_script_without_enough_steps_cannot_be_followed(script: Path, tmp_path: Path) -> None:
    out = stopped(script, tmp_path / "out")
    script.write_text('prompt "goal"\nseed 5\nsteps 9\nguidance reference "goal.ply"\n')
    refused = go(script, out, "--resume", "--keep-past")
    assert refused.exit_code == 1 and f"step {STOP}, and the script says steps 9" in refused.stderr


def test_a_finished_run_is_given_more_steps(script: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    fresh(script, out)
    gone_on(script, out, "--set", "steps=30", "--keep-past")
    assert record(out)["steps"] == 30 and record(out)["splices"][0]["step"] == STEPS


# -- back, and again ----------------------------------------------------------------------------------------------------
def test_an_edit_behind_is_replayed_from_a_checkpoint_before_it(script: Path, tmp_path: Path) -> None:
    late = SCRIPT.replace("at step 3", "at step 8")
    script.write_text(late)
    out = stopped(script, tmp_path / "out")
    script.write_text(late.replace("top red", "top gold"))
    planned = go(script, out, "--resume", "--rewind", "--dry-run")
    assert "step 8 lies behind step 14; replaying from step 6 (8 steps)" in planned.stdout
    gone_on(script, out, "--rewind")
    wanted = tmp_path / "fresh"
    assert record(out)["state_digest"] == fresh(script, wanted) and record(out)["splices"] == []
    rows = [(folder / "metrics.csv").read_text().splitlines() for folder in (out, wanted)]
    assert [r.split(",")[:-1] for r in rows[0]] == [r.split(",")[:-1] for r in rows[1]]


def test_nothing_is_thrown_away_to_go_back_to_the_start(script: Path, tmp_path: Path) -> None:
    out = stopped(script, tmp_path / "out")
    before = contents(out)
    for edited, why in (
        (PAST, "no checkpoint is left from before step 3"),
        (EDITS["prompt"][0], "from its first step"),
    ):
        script.write_text(edited)
        refused = go(script, out, "--resume", "--rewind")
        assert refused.exit_code == 1 and why in refused.stderr and "--keep-past" in refused.stderr
    assert contents(out) == before


@pytest.mark.parametrize("how", ["--keep-past", "--rewind"])
def test_until_a_step_is_taken_the_folder_stays_as_it_was(
    how: str, script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory runs out at once, again: the run goes on as it was left, or under yet another setting."""
    late = SCRIPT.replace("at step 3", "at step 8")
    script.write_text(late)
    straight, out = fresh(script, tmp_path / "straight"), stopped(script, tmp_path / "out")
    before = contents(out)
    script.write_text(late.replace("top red", "top gold"))
    with monkeypatch.context() as patch:
        patch.setattr("interactive3d.runtime.engine.trainer.Trainer._gradients", out_of_memory)
        failed = go(script, out, "--resume", how, "--set", "lr.color=0.01")
    assert failed.exit_code == 1 and "out of memory" in failed.stderr
    # Nothing of what was asked for has been kept, so it is to be asked for again.
    assert f"--resume {how} --set lr.color=0.01 --set camera.batch=1" in failed.stderr
    assert contents(out) == before
    script.write_text(late)
    gone_on(script, out)
    assert record(out)["state_digest"] == straight


def test_a_window_that_is_closed_at_once_changes_nothing(script: Path, tmp_path: Path) -> None:
    out = stopped(script, tmp_path / "out")
    before = contents(out)
    script.write_text(PAST)
    earlier = earlier_run(out, "cpu", print)
    assert earlier is not None
    kept = Resuming(earlier=earlier, past=Past.KEPT)
    assert not started(script, out, resume=kept).go(lambda session: True).complete
    assert contents(out) == before

    def painted(session: Session) -> bool:
        session.submit(Paint(part=AllPart(), color=(0.5, 0.5, 0.5)))
        session.advance(0)
        return True

    started(script, out, resume=kept).go(painted)
    assert (out / "script-before-1").is_dir()
    gone_on(script, out)
    assert len(record(out)["journal"]) == 1


def out_of_memory(*arguments: object) -> None:
    raise MemoryError


def test_the_advice_that_an_error_gives_is_taken(script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose memory is enough for one picture a step."""
    gradients = Trainer._gradients

    def greedy(trainer: Trainer, state: object, *rest: object) -> object:
        if state.step >= 9 and state.settings.camera.batch > 1:  # type: ignore[attr-defined]
            raise MemoryError
        return gradients(trainer, state, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Trainer, "_gradients", greedy)
    script.write_text(SCRIPT.replace("batch 2", "batch 4"))
    result = go(script, tmp_path / "out")
    for batch in (2, 1):
        assert result.exit_code == 1 and "what was reached, step 9" in result.stderr
        command = result.stderr[result.stderr.index("interactive3d run") :].splitlines()[0]
        assert command.endswith(f"--resume --set camera.batch={batch}")
        result = call(*shlex.split(command)[1:], "--headless")
    assert result.exit_code == 0, result.stderr
    assert call("verify", tmp_path / "out").exit_code == 0


# -- the books ----------------------------------------------------------------------------------------------------------
def test_checkpoints_that_the_script_asked_for_outlive_every_stretch(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = stopped(script, tmp_path / "out")
    monkeypatch.setattr(engine_run, "AUTOSAVE_SECONDS", 0.0)
    gone_on(script, out)
    steps = {int(p.stem[-8:]) for p in (out / "checkpoints").iterdir()}
    assert {6, 12, 18, 24} <= steps


@pytest.mark.parametrize("path", sorted((ROOT / "scripts").glob("*.sculpt")), ids=lambda p: p.stem)
def test_every_script_is_read_back_from_its_checkpoints(path: Path) -> None:
    program = load_script(path).program
    assert program is not None
    again = program_from_json(json.loads(json.dumps(program_record(program))))
    assert program_digest(again, 3) == program_digest(program, 3)
    assert again.operations == program.operations and program_digest(again, 4) != program_digest(program, 3)


def test_a_checkpoint_of_another_version_is_one_message(script: Path, tmp_path: Path) -> None:
    out = stopped(script, tmp_path / "out")
    (path,) = (out / "checkpoints").glob(f"step-*{STOP}.safetensors")
    state, program, _ = load_state(path)
    save_state(path, state, program, {"seconds": 1.0})
    refused = go(script, out, "--resume")
    assert refused.exit_code == 1 and "another version" in refused.stderr and "Traceback" not in refused.stderr
