"""Names of what the hand adds, so that every session can be written down as a script."""

import threading
from pathlib import Path

import pytest

from interactive3d.dsl import loads
from interactive3d.dsl.distinct import free_name
from interactive3d.dsl.operations import AllPart, Axis, Duplicate, Mirror, NamedPart
from interactive3d.runtime.engine.script import check_context
from interactive3d.runtime.engine.session import Session
from interactive3d.runtime.output.splat_files import write_splats
from interactive3d.runtime.view.actions import Actions
from interactive3d.runtime.view.naming import naming_problem
from interactive3d.runtime.view.panels.parts_panel import PartsPanel
from interactive3d.runtime.view.panels.script_panel import ScriptPanel
from interactive3d.runtime.view.project import Project
from interactive3d.runtime.view.studio import Studio
from interactive3d.runtime.view.worker import Worker

PATIENCE = 60.0
SCRIPT = """prompt "a ball"
seed 0
steps 6
part cap = sphere at (0, 0, 0) radius 0.3
at step 5 duplicate cap by (0.5, 0, 0) as horn
"""


@pytest.fixture
def studio(make_run, tmp_path: Path):
    trainer, state = make_run(steps=6)
    program = loads(SCRIPT, check_context()).program
    (tmp_path / "ball.sculpt").write_text(SCRIPT)
    made = Studio(
        Worker(Session(trainer, program.operations, state)),
        Project(title="t", folder=tmp_path, program=program, script=tmp_path / "ball.sculpt"),
    )
    yield made
    made.close()


def wait(studio: Studio) -> None:
    done = threading.Event()
    studio.worker.command(done.set)
    assert done.wait(PATIENCE)


def test_a_name_is_given_once_and_the_next_is_proposed(studio):
    panel = PartsPanel(studio, ScriptPanel(studio))
    assert panel.add(Duplicate(part=AllPart(), name=panel.copy_name, by=(0.2, 0.0, 0.0)))
    assert panel.copy_name == "copy_2" and studio.selection == NamedPart(name="copy")
    wait(studio)
    assert panel.add(Mirror(part=AllPart(), axis=Axis.X, name=panel.copy_name))
    assert panel.copy_name == "copy_3" and studio.selection == NamedPart(name="copy_2")
    wait(studio)
    panel.copy_name = "copy"
    assert not panel.add(Duplicate(part=AllPart(), name="copy"))
    assert "taken" in studio.notices[-1].text and studio.selection == NamedPart(name="copy_2")
    assert loads(studio.session_script(), check_context()).program is not None


@pytest.mark.parametrize("name", ["cap", "horn", "box", "My part", "", "1st"])
def test_what_cannot_be_a_name_is_refused_with_a_reason(studio, name: str):
    """`horn` is given by the script later on."""
    assert not studio.submit(Duplicate(part=AllPart(), name=name))
    assert studio.notices[-1].error and (name in studio.notices[-1].text)
    assert not studio.history.can_undo


def test_a_file_that_is_dropped_twice_gets_two_names(studio, tmp_path: Path):
    class Bare:
        """As much of a window as dropping a file needs."""

    write_splats(studio.scene.model, tmp_path / "Cap.ply")
    bare = Bare()
    bare.studio = studio
    actions = Actions(bare)
    for _ in range(2):
        actions.add_file(tmp_path / "Cap.ply")
        wait(studio)
    assert studio.worker.latest().model.tag_names == ("cap_2", "cap_3")
    assert loads(studio.session_script(), check_context()).program is not None


def test_free_names_count_on():
    assert free_name("wing", set()) == "wing"
    assert free_name("wing_2", {"wing_2", "wing_3"}) == "wing_4"
    assert naming_problem("wing_4", {"wing"}) is None
