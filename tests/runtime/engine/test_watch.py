"""Files of a script edited on disk: by any editor's way of saving, in bursts, broken and mended, while a real run goes on."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from interactive3d.runtime.engine.record import Report
from interactive3d.runtime.engine.replay import read_record, replay_digest
from interactive3d.runtime.engine.run import Run
from interactive3d.runtime.engine.script import load_script
from interactive3d.runtime.engine.watch import Saved, ScriptWatcher
from interactive3d.runtime.output.splat_files import write_splats
from interactive3d.runtime.scene.gaussians import GaussianModel

PATIENCE = 30.0
"""Far more than a save takes to be seen, for machines that do much else."""

NOTHING = 0.9
"""Seconds without news that count as no news; files are looked at every half second."""

SCRIPT = """prompt "goal"
seed 5
steps 60
guidance reference "goal.ply"
set guidance.size 16
set camera.batch 1
set repair.steps 3
splats 60 in sphere at (0, 0, 0) radius 0.4
use "parts.sculpt" as parts
at step 3 paint parts.top red
at step 50 rotate parts.top by 30 deg about y
"""


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def script(tmp_path: Path, make_ball: Callable[..., GaussianModel]) -> Path:
    write_splats(make_ball(1, count=40, color=(0.1, 0.2, 0.9)), tmp_path / "goal.ply")
    (tmp_path / "parts.sculpt").write_text("part top = box (-1, 0.1, -1) .. (1, 1, 1)\n")
    path = tmp_path / "small.sculpt"
    path.write_text(SCRIPT)
    return path


@contextmanager
def watching(script: Path) -> Iterator[ScriptWatcher]:
    program = load_script(script).program
    assert program is not None
    with ScriptWatcher(program, lambda: load_script(script)) as watcher:
        # A system that has just been asked to watch may miss what happens in the same moment.
        assert watcher.wait(0.2) is None
        yield watcher


def news(watcher: ScriptWatcher) -> Saved:
    saved = watcher.wait(PATIENCE)
    assert saved is not None
    return saved


def renamed_over(path: Path, text: str) -> None:
    new = path.with_suffix(".tmp")
    new.write_text(text)
    os.replace(new, path)


def in_place(path: Path, text: str) -> None:
    path.write_text(text)


def moved_away(path: Path, text: str) -> None:
    path.rename(path.with_suffix(".bak"))
    path.write_text(text)


@pytest.mark.parametrize("save", [in_place, renamed_over, moved_away])
def test_every_way_of_saving_is_seen(save: Callable[[Path, str], None], script: Path) -> None:
    with watching(script) as watcher:
        for degrees in (40, 50):
            save(script, SCRIPT.replace("30 deg", f"{degrees} deg"))
            saved = news(watcher)
            assert saved.loaded.program is not None
            assert saved.loaded.program.operations[-1].degrees == degrees  # type: ignore[attr-defined]


def test_a_used_file_is_followed_and_what_changes_nothing_is_no_news(script: Path) -> None:
    with watching(script) as watcher:
        script.touch()
        assert watcher.wait(NOTHING) is None
        renamed_over(script.with_name("parts.sculpt"), "part top = box (-1, 0.2, -1) .. (1, 1, 1)\n")
        assert news(watcher).loaded.program is not None


def test_a_broken_file_is_told_once_and_mended_by_any_of_its_files(script: Path) -> None:
    with watching(script) as watcher:
        renamed_over(script, SCRIPT.replace("parts.top red", "parts.top rde").replace('"parts.', '"lib/parts.'))
        broken = news(watcher)
        assert broken.loaded.program is None and broken.loaded.errors
        assert watcher.wait(2 * NOTHING) is None
        # The file that was missing appears in a folder that nobody watches.
        (script.parent / "lib").mkdir()
        (script.parent / "lib" / "parts.sculpt").write_text("part top = box (-1, 0.1, -1) .. (1, 1, 1)\n")
        assert len(news(watcher).loaded.errors) == 1
        renamed_over(script, SCRIPT)
        assert news(watcher).loaded.program is not None


def test_a_burst_of_saves_ends_with_the_last(script: Path) -> None:
    with watching(script) as watcher:
        for degrees in range(31, 61):
            renamed_over(script, SCRIPT.replace("30 deg", f"{degrees} deg"))
        deadline, last = time.monotonic() + PATIENCE, None
        while last != 60 and time.monotonic() < deadline:
            if (saved := watcher.wait(0.2)) is not None and saved.loaded.program is not None:
                last = saved.loaded.program.operations[-1].degrees  # type: ignore[attr-defined]
        assert last == 60


# -- whole runs ---------------------------------------------------------------------------------------------------------
def edited_run(script: Path, folder: Path, rewind: bool, edits: dict[int, str]) -> tuple[Run, list[str]]:
    """A run whose script is saved anew at the given steps, and waited for."""
    program = load_script(script).program
    assert program is not None
    said: list[str] = []
    run = Run(program, script, folder, report=Report(message=said.append, diagnostics=lambda found: said.append("!")))
    todo = dict(edits)

    def stepped(state: object, steps: int, seconds: float) -> None:
        step = run.session.latest().step
        if (text := todo.pop(step, None)) is not None:
            count = len(said)
            renamed_over(script, text)
            # The watcher's thread sees it; the boundary that follows takes it over.
            deadline = time.monotonic() + PATIENCE
            while len(said) == count and time.monotonic() < deadline:
                run.session.hooks.boundary()
                threading.Event().wait(0.01)

    run.report.stepped = stepped
    run.go(watch=True, rewind=rewind)
    return run, said


def digest_of(folder: Path) -> str:
    return json.loads((folder / "run.json").read_text())["state_digest"]


def fresh_digest(script: Path, folder: Path) -> str:
    program = load_script(script).program
    assert program is not None
    Run(program, script, folder).go()
    return digest_of(folder)


def verified(folder: Path) -> bool:
    record = read_record(folder)
    loaded = load_script(folder / "script" / record["script"])
    assert loaded.program is not None
    return replay_digest(folder, loaded.program, record, Report()) == record["state_digest"]


PAST = SCRIPT.replace("top red", "top gold")
AHEAD = SCRIPT.replace("30 deg", "44 deg")


def test_a_replayed_run_leaves_the_folder_of_a_fresh_one(script: Path, tmp_path: Path) -> None:
    _, said = edited_run(script, tmp_path / "out", True, {20: AHEAD, 40: PAST.replace("30 deg", "44 deg")})
    assert sum("was saved" in line for line in said) == 2
    fresh = fresh_digest(script, tmp_path / "fresh")
    assert digest_of(tmp_path / "out") == fresh and verified(tmp_path / "out")
    rows = [(tmp_path / name / "metrics.csv").read_text().splitlines() for name in ("out", "fresh")]
    assert [r.split(",")[:-1] for r in rows[0]] == [r.split(",")[:-1] for r in rows[1]]
    names = [{p.name for p in (tmp_path / name / "contact").iterdir()} for name in ("out", "fresh")]
    assert names[0] == names[1]
    assert (tmp_path / "out" / "script" / "small.sculpt").read_text() == script.read_text()


def test_without_rewind_the_record_tells_how_to_make_the_same_object(script: Path, tmp_path: Path) -> None:
    run, said = edited_run(script, tmp_path / "out", False, {20: PAST})
    assert any("the past stays as it was" in line for line in said)
    assert len(run.splices) == 1 and "not replayed" in run.as_script(tmp_path)
    assert digest_of(tmp_path / "out") != fresh_digest(script, tmp_path / "fresh")
    assert verified(tmp_path / "out")


def test_a_refused_operation_waits_for_the_script_to_be_mended(script: Path, tmp_path: Path) -> None:
    script.write_text(SCRIPT.replace("rotate parts.top", "rotate (sphere at (5, 5, 5) radius 0.1)"))
    program = load_script(script).program
    assert program is not None
    said: list[str] = []

    def hear(text: str) -> None:
        said.append(text)
        if "waiting for the script" in text:
            renamed_over(script, SCRIPT)

    run = Run(program, script, tmp_path / "out", report=Report(message=hear))
    result = run.go(watch=True)
    assert result.complete and sum("waiting" in text for text in said) == 1
    assert digest_of(tmp_path / "out") == fresh_digest(script, tmp_path / "fresh")
    assert verified(tmp_path / "out") and not run.splices


def test_a_run_that_waits_can_be_stopped(script: Path, tmp_path: Path) -> None:
    script.write_text(SCRIPT.replace("rotate parts.top", "rotate (sphere at (5, 5, 5) radius 0.1)"))
    program = load_script(script).program
    assert program is not None
    run = Run(program, script, tmp_path / "out")
    run.report.message = lambda text: run.stop()
    result = run.go(watch=True)
    assert not result.complete and result.state.step == 50


def reloaded(script: Path, folder: Path, rewind: bool, stop: int | None) -> None:
    """A run whose script is edited at step 20, stopped at a later step."""
    script.write_text(SCRIPT)
    program = load_script(script).program
    assert program is not None
    run = Run(program, script, folder)

    def boundary() -> None:
        step = run.session.latest().step
        if step == 20 and "gold" not in script.read_text():
            renamed_over(script, PAST)
            assert run.take_over(Saved(loaded=load_script(script), seconds=0.0), rewind)
        elif step == stop and "gold" in script.read_text():
            run.stop()

    run.session.hooks.boundary = boundary
    run.go()


@pytest.mark.parametrize("rewind", [True, False])
def test_a_reloaded_run_is_resumed_with_the_edited_script(rewind: bool, script: Path, tmp_path: Path) -> None:
    reloaded(script, tmp_path / "whole", rewind, None)
    reloaded(script, tmp_path / "out", rewind, 33)
    assert not (tmp_path / "out" / "run.json").exists()
    edited = load_script(script).program
    assert edited is not None
    result = Run(edited, script, tmp_path / "out", resume=True).go()
    assert result.complete and result.digest == digest_of(tmp_path / "whole")
    assert verified(tmp_path / "out")


@pytest.mark.parametrize(("wanted", "checkpoints"), [(0, ""), (20, "every 20 steps checkpoint\n")])
def test_a_resumed_run_goes_back_further_than_it_remembers(
    wanted: int, checkpoints: str, script: Path, tmp_path: Path
) -> None:
    """To a checkpoint on disk from before the edit, or to the start where there is none."""
    text = SCRIPT.replace("at step 50", "at step 25 paint parts.top lime\nat step 50") + checkpoints
    script.write_text(text)
    for stop in (33, None):
        program = load_script(script).program
        assert program is not None
        run = Run(program, script, tmp_path / "out", resume=stop is None)
        went: list[int] = []

        def boundary(run: Run = run, stop: int | None = stop, went: list[int] = went) -> None:
            step = run.session.latest().step
            if step == stop:
                run.stop()
            elif step == 40 and stop is None and not went:
                renamed_over(script, text.replace("lime", "navy"))
                assert run.take_over(Saved(loaded=load_script(script), seconds=0.0), True)
                went.append(run.session.latest().step)

        run.session.hooks.boundary = boundary
        run.go()
    assert went == [wanted]
    assert digest_of(tmp_path / "out") == fresh_digest(script, tmp_path / "fresh")
    rows = [(tmp_path / name / "metrics.csv").read_text().splitlines() for name in ("out", "fresh")]
    assert [r.split(",")[:-1] for r in rows[0]] == [r.split(",")[:-1] for r in rows[1]]


def test_the_command_line_follows_a_script_that_is_edited_on_disk(script: Path, tmp_path: Path) -> None:
    """A real process: an edit of the past, a broken file, a mended one, to the end."""
    long = SCRIPT.replace("steps 60", "steps 400").replace("at step 50", "at step 390")
    script.write_text(long)
    command = [sys.executable, "-m", "interactive3d.runtime.cli", "run", str(script), "--headless", "--rewind"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, "--log-level", "debug", "--out", str(tmp_path / "out")],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    lines: list[str] = []
    assert process.stderr is not None

    def until(word: str) -> None:
        for line in process.stderr:  # type: ignore[union-attr]
            lines.append(line)
            if word in line:
                return
        raise AssertionError(f"never said {word!r}:\n" + "".join(lines[-30:]))

    until("step 30/400")
    renamed_over(script, long.replace("top red", "top gold"))
    until("lies behind")
    until("past: changed (step 3, line 10)")
    until("step 20/400")
    renamed_over(script, long.replace("top red", "top glod"))
    until("glod")
    until("the run goes on with the script as it was")
    renamed_over(script, long.replace("top red", "top gold").replace("30 deg", "31 deg"))
    until("ahead: changed (step 390, line 11)")
    output, rest = process.communicate(timeout=300)
    assert process.returncode == 0, rest[-2000:]
    said = "".join(lines) + rest
    assert "Traceback" not in said and "^^^^" in said and "did you mean `gold`" in said
    assert "loss of guidance" in said and "render" in said
    assert any("over: " in line and "repair" in line for line in said.splitlines())
    assert digest_of(tmp_path / "out") == fresh_digest(script, tmp_path / "fresh")
    assert digest_of(tmp_path / "out")[:16] in output
