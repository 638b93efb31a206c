"""A window follows the files of its script: the script itself, and what it uses."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from imgui_bundle import imgui

from interactive3d.runtime.engine.hooks import Given
from interactive3d.runtime.engine.script import load_script
from interactive3d.runtime.engine.session import Session
from interactive3d.runtime.engine.start import begin, make_guidance
from interactive3d.runtime.output.splat_files import write_splats
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.view.panels.script_panel import WATCH_EVERY, ScriptPanel
from interactive3d.runtime.view.studio import Project, Studio
from interactive3d.runtime.view.worker import Worker

PATIENCE = 20.0
SCRIPT = """prompt "goal"
steps 12
guidance reference "goal.ply"
set guidance.size 16
set camera.batch 1
splats 40 in sphere at (0, 0, 0) radius 0.4
use "parts.sculpt" as parts
param turn = 30 in 0 .. 90
at step 2 rotate parts.top by turn * 1 deg about y
at step 9 paint parts.top red
"""


@pytest.fixture
def studio(tmp_path: Path, make_ball: Callable[..., GaussianModel]) -> Studio:
    write_splats(make_ball(1, count=30), tmp_path / "goal.ply")
    (tmp_path / "parts.sculpt").write_text("part top = box (-1, 0.1, -1) .. (1, 1, 1)\n")
    script = tmp_path / "script.sculpt"
    script.write_text(SCRIPT)
    overrides = (("turn", "20"),)
    program = load_script(script, overrides).program
    assert program is not None
    trainer, start = begin(program, make_guidance(program.guidance, tmp_path, "cpu"), seed=3, device="cpu")
    session = Session(trainer, program.operations, start, given=Given(seed=3, overrides=overrides))
    session.advance(5)
    return Studio(Worker(session), Project(title="t", folder=tmp_path, program=program, script=script))


def until(panel: ScriptPanel, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not done() and time.monotonic() < deadline:
        panel.watch()
        time.sleep(WATCH_EVERY)
    assert done()


def test_the_script_and_what_it_uses_are_followed_and_the_command_line_keeps_its_say(studio: Studio) -> None:
    imgui.create_context()
    try:
        panel = ScriptPanel(studio)
        panel.watch()
        folder, first = studio.project.folder, studio.project.program
        (folder / "parts.sculpt").write_text("part top = box (-1, 0.2, -1) .. (1, 1, 1)\n")
        until(panel, lambda: studio.project.program is not first)
        session = studio.worker.session
        # The rotation at step 2 is another now: the run went back to before it.
        assert session.latest().step < 2 or any("replaying" in text for _, _, text in studio.log)
        second = studio.project.program
        (folder / "script.sculpt").write_text(SCRIPT.replace("red", "gold").replace("= 30", "= 50"))
        until(panel, lambda: studio.project.program is not second)
        program = studio.project.program
        assert program is not None
        assert program.operations[0].degrees == 20  # type: ignore[attr-defined]
        assert session.trainer.seed == 3
        third = studio.project.program
        (folder / "script.sculpt").write_text(SCRIPT.replace("red", "gld"))
        until(panel, lambda: bool(panel.diagnostics))
        assert studio.project.program is third
    finally:
        studio.close()
        imgui.destroy_context()


def test_another_prior_is_loaded_with_the_runs_settings_and_device(
    studio: Studio, make_ball: Callable[..., GaussianModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def noted(choice, folder, device, settings, *rest):
        asked.append((choice.models, folder, device, settings.guidance.size))
        return make_guidance(choice, folder, device, settings, *rest)

    monkeypatch.setattr("interactive3d.runtime.engine.replan.make_guidance", noted)
    imgui.create_context()
    try:
        panel = ScriptPanel(studio)
        folder, first = studio.project.folder, studio.project.program
        write_splats(make_ball(4, count=20), folder / "other.ply")
        (folder / "script.sculpt").write_text(SCRIPT.replace("goal.ply", "other.ply").replace("size 16", "size 20"))
        until(panel, lambda: studio.project.program is not first)
        session = studio.worker.session
        assert asked == [(("other.ply",), folder, str(session.latest().model.device), 20)]
    finally:
        studio.close()
        imgui.destroy_context()
