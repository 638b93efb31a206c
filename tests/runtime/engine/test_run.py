"""Scripts run into folders: what they leave, that they can be stopped, killed, resumed and verified."""

import csv
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from interactive3d.dsl.operations import AllPart, NamedPart, Paint, Remove
from interactive3d.runtime.engine.record import Report
from interactive3d.runtime.engine.replay import read_record, replay_digest
from interactive3d.runtime.engine.resume import ResumeRefused
from interactive3d.runtime.engine.run import Run
from interactive3d.runtime.engine.script import load_script
from interactive3d.runtime.engine.session import Session
from interactive3d.runtime.engine.snapshots import digest
from interactive3d.runtime.engine.start import StartProblem
from interactive3d.runtime.output.checkpoints import newest_whole, snapshots, step_of
from interactive3d.runtime.output.problems import FileProblem
from interactive3d.runtime.output.splat_files import read_splats, write_splats
from interactive3d.runtime.progress import Progress
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.scene.segmenter import use_segmenter
from interactive3d.runtime.verbs.common import Failure, mendable

STEPS = 30
SCRIPT = f"""
prompt "goal"
seed 5
steps {STEPS}
guidance reference "goal.ply"
set guidance.size 24
set camera.batch 2
set repair.steps 4
splats 150 in sphere at (0, 0, 0) radius 0.4
part top = box (-1, 0.1, -1) .. (1, 1, 1)
at step 5 rotate top by 30 deg about y
at step 12 drag from (0, 0.4, 0) to (0, 0.6, 0) radius 0.2 deformable over 6 steps
at step 20 add "goal.ply" at (0.6, 0, 0) scale 0.3 as second
every 10 steps checkpoint
at step 3 record timelapse "growth.gif" every 6 steps
at end {{
  export splats "end.ply"
  snapshot "front.png" from orbit azimuth 0 elevation 10 size 64
  record turntable "turntable.mp4" seconds 0.2 size 64
}}
"""


@pytest.fixture
def script(tmp_path: Path, make_ball: Callable[..., GaussianModel]) -> Path:
    write_splats(make_ball(1, center=(0.1, 0.0, 0.0), color=(0.1, 0.2, 0.9)), tmp_path / "goal.ply")
    path = tmp_path / "small.sculpt"
    path.write_text(SCRIPT)
    return path


def started(script: Path, folder: Path, **options: object) -> Run:
    loaded = load_script(script)
    assert loaded.program is not None, loaded.diagnostics
    return Run(loaded.program, script, folder, **options)  # type: ignore[arg-type]


def test_a_run_leaves_everything_that_it_promises(script: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    result = started(script, folder).go()
    assert result.complete and result.state.step == STEPS
    for name in (
        "contact.png",
        "splats.ply",
        "end.ply",
        "front.png",
        "turntable.mp4",
        "growth.gif",
        "script/small.sculpt",
        "script/goal.ply",
    ):
        assert (folder / name).stat().st_size > 0, name
    with Image.open(folder / "front.png") as front:
        assert front.size == (64, 64)
    assert len(read_splats(folder / "end.ply")) == len(result.state.model)
    record = json.loads((folder / "run.json").read_text())
    assert record["state_digest"] == digest(result.state) and record["seed"] == 5 and record["steps"] == STEPS
    assert [(o["step"], o["text"].split()[3]) for o in record["operations"] if o["text"].startswith("at step")] == [
        (3, "record"),
        (5, "rotate"),
        (12, "drag"),
        (20, "add"),
    ]
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(r["step"]) for r in rows] == list(range(1, STEPS + 1))
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert len(list((folder / "checkpoints").glob("*.safetensors"))) >= 3


def test_verify_runs_it_again_to_the_same_digest(script: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    started(script, folder).go()
    record = read_record(folder)
    loaded = load_script(folder / "script" / record["script"])
    assert loaded.program is not None
    assert replay_digest(folder, loaded.program, record, Report()) == record["state_digest"]


def test_a_stopped_run_goes_on_and_ends_the_same(script: Path, tmp_path: Path) -> None:
    straight = started(script, tmp_path / "straight").go()
    run = started(script, tmp_path / "out")
    run.report.stepped = lambda state, steps, seconds: run.session.stop() if state.step == 14 else None
    stopped = run.go()
    assert not stopped.complete and stopped.state.step == 14
    resumed = started(script, tmp_path / "out", resume=True).go()
    assert resumed.complete and resumed.digest == straight.digest
    with (tmp_path / "out" / "metrics.csv").open() as file:
        assert [int(r["step"]) for r in csv.DictReader(file)] == list(range(1, STEPS + 1))


def test_what_is_done_after_the_end_is_in_the_results_too(script: Path, tmp_path: Path) -> None:
    """A window stays open after the last step: the results are there at once, and again when it closes."""
    folder = tmp_path / "out"
    run = started(script, folder)
    before: dict[str, object] = {}

    def window(session: Session) -> bool:
        last = session.advance()
        record = json.loads((folder / "run.json").read_text())
        before.update(blobs=len(read_splats(folder / "splats.ply")), digest=record["state_digest"])
        assert before == {"blobs": len(last.model), "digest": digest(last)}
        session.submit(Remove(part=NamedPart(name="second")))
        session.advance(0)
        return True

    result = run.go(window)
    assert result.complete and len(result.state.model) < before["blobs"]
    assert len(read_splats(folder / "splats.ply")) == len(result.state.model)
    assert json.loads((folder / "run.json").read_text())["state_digest"] == result.digest


def test_what_is_undone_is_told_and_is_in_no_list_of_what_was_done(
    script: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The terminal has said that it was done; run.json and the contact sheet have only what the object is made of."""
    run = started(script, tmp_path / "out", report=Progress(quiet=False).report)

    def window(session: Session) -> bool:
        session.advance(8)
        for color in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)):
            session.submit(Paint(part=AllPart(), color=color))
            session.advance(0)
        assert session.undo() and session.undo() and session.redo()
        session.advance()
        return True

    run.go(window)
    red, lime = "at step 8 paint all #ff0000", "at step 8 paint all #00ff00"
    said = capsys.readouterr().err.splitlines()
    assert [line.partition("  (painted")[0] for line in said if " paint " in line] == [
        f"step 8: {red}",
        f"step 8: {lime}",
        f"step 8: undone: {lime}",
        f"step 8: undone: {red}",
        f"step 8: done again: {red}",
    ]
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert [o["text"] for o in record["operations"] if " paint " in o["text"]] == [red]
    assert [op["color"] for op in record["journal"]] == [[1.0, 0.0, 0.0]]
    rows = run.books.contact._notes(run.session.latest().effects)
    # The rotation's repair was under way at each of these: its end is seen all the same.
    assert [note["text"].split()[3] for _, note in rows] == ["paint", "rotate", "drag", "add"]


@pytest.mark.parametrize("further", [0, 2])
def test_who_goes_back_and_leaves_goes_on_from_there(script: Path, tmp_path: Path, further: int) -> None:
    """The window at its end, back to an earlier step, something done there, closed: resuming once led into the time that had been left."""
    folder = tmp_path / "out"
    run = started(script, folder)

    def window(session: Session) -> bool:
        session.advance()
        session.seek(25)
        session.submit(Remove(part=NamedPart(name="second")))
        session.advance(further)
        return True

    left = run.go(window)
    assert not left.complete and left.state.step == 25 + further
    assert max(step_of(path) for path in snapshots(folder / "checkpoints")) == 25 + further
    with (folder / "metrics.csv").open() as file:
        assert [int(r["step"]) for r in csv.DictReader(file)] == list(range(1, 26 + further))
    resumed = started(script, folder, resume=True)
    assert digest(resumed.session.latest()) == left.digest
    assert [type(op) for op in resumed.session.latest().journal] == [Remove]
    done = resumed.go()
    assert done.complete and not done.state.model.tagged("second").any()


@pytest.mark.skipif(not hasattr(signal, "SIGTERM") or sys.platform == "win32", reason="no signals of this kind")
def test_the_end_of_a_job_stops_a_run_as_ctrl_c_does(script: Path, tmp_path: Path) -> None:
    script.write_text(SCRIPT.replace(f"steps {STEPS}", "steps 100000"))
    command = [sys.executable, "-m", "interactive3d.runtime.cli", "run", str(script), "--headless"]
    going = subprocess.Popen([*command, "--out", str(tmp_path / "out")], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "out").glob("checkpoints/*.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.02)
    going.send_signal(signal.SIGTERM)
    _, said = going.communicate(timeout=60)
    assert going.returncode == 1 and "--resume" in said and "Traceback" not in said
    assert newest_whole(tmp_path / "out" / "checkpoints").path is not None


def test_another_script_is_not_resumed(script: Path, tmp_path: Path) -> None:
    started(script, tmp_path / "out").go()
    script.write_text(SCRIPT.replace("by 30 deg", "by 31 deg"))
    with pytest.raises(ResumeRefused, match="what lies behind differs"):
        started(script, tmp_path / "out", resume=True)


def test_a_folder_with_somebodys_files_is_refused(script: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.tex").write_text("x")
    with pytest.raises(FileProblem, match="choose another"):
        started(script, folder)
    assert (folder / "thesis.tex").exists()


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_the_same(script: Path, tmp_path: Path) -> None:
    """kill -9 at arbitrary moments, resumed each time, against the undisturbed run."""
    command = [
        sys.executable,
        "-m",
        "interactive3d.runtime.cli",
        "run",
        str(script),
        "--headless",
        "--log-level",
        "quiet",
    ]
    subprocess.run([*command, "--out", str(tmp_path / "straight")], check=True, capture_output=True)
    wanted = json.loads((tmp_path / "straight" / "run.json").read_text())["state_digest"]
    out = [*command, "--out", str(tmp_path / "out")]
    killed = 0
    for attempt in range(4):
        process = subprocess.Popen(
            [*out, *(["--resume"] if attempt else [])], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            done = len(list((tmp_path / "out").glob("checkpoints/*.safetensors")))
            if done > attempt:
                break
            time.sleep(0.02)
        killed += process.poll() is None
        process.kill()  # nothing where a late attempt has come to the end before the look
        process.wait()
    assert killed >= 2
    subprocess.run([*out, "--resume"], check=True, capture_output=True)
    assert json.loads((tmp_path / "out" / "run.json").read_text())["state_digest"] == wanted


def test_an_error_loses_nothing_of_what_was_reached(script: Path, tmp_path: Path) -> None:
    """Memory that runs out, for one; the run goes on from there once there is more."""
    said: list[str] = []
    run = started(script, tmp_path / "out", report=Report(message=said.append))
    score = run.session.trainer.guidance.score

    def runs_out(request):
        if run.session.latest().step == 17:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return score(request)

    run.session.trainer.guidance.score = runs_out
    with pytest.raises(torch.OutOfMemoryError):
        run.go()
    assert any("step 17" in text and "--resume" in text for text in said)
    assert started(script, tmp_path / "out", resume=True).go().digest == started(script, tmp_path / "again").go().digest


def test_what_was_done_at_a_kept_step_is_saved_by_an_error_too(script: Path, tmp_path: Path) -> None:
    """A window that breaks while the run is paused at a checkpoint, after a gesture."""
    run = started(script, tmp_path / "out")

    def window(session: Session) -> bool:
        session.advance(20)
        session.submit(Remove(part=NamedPart(name="second")))
        session.advance(0)
        raise RuntimeError("the window broke")

    with pytest.raises(RuntimeError, match="broke"):
        run.go(window)
    left = run.session.latest()
    again = started(script, tmp_path / "out", resume=True)
    again.books.metrics.close()
    assert len(left.model) < 200 and again.session.latest().model.mean.equal(left.model.mean)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), MemoryError()])
def test_memory_that_runs_out_is_one_message(error: Exception) -> None:
    @mendable
    def verb() -> None:
        raise error

    with pytest.raises(Failure, match="out of memory"):
        verb()


def test_a_segmenter_that_cannot_be_loaded_is_found_before_the_first_step(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INTERACTIVE3D_SEGMENTER", "sam:nothing-here.pth")
    started(script, tmp_path / "without").books.metrics.close()
    script.write_text(SCRIPT + "\nat step 25 paint click (250, 250) in orbit azimuth 0 elevation 0 red\n")
    try:
        with pytest.raises(StartProblem, match=r"segment_anything|nothing-here"):
            started(script, tmp_path / "out")
    finally:
        use_segmenter(None)


def test_a_text_that_no_segmenter_reads_is_found_before_the_first_step(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("INTERACTIVE3D_TEXT_SEGMENTER", raising=False)
    script.write_text(SCRIPT + '\nat step 25 paint segment "left wing" red\n')
    with pytest.raises(StartProblem, match=r'segment "left wing" needs a text-prompted segmenter'):
        started(script, tmp_path / "out")
    assert not (tmp_path / "out").exists()
