"""What is done to a file that is only viewed, written down as a script that makes the same without the window."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import trimesh
from click.testing import CliRunner

from interactive3d.dsl.operations import AllPart, Densify, Duplicate, NamedPart, Operation, Paint, ShapePart, Sphere
from interactive3d.runtime.cli import main
from interactive3d.runtime.engine.script import load_script
from interactive3d.runtime.engine.snapshots import load_state, save_state
from interactive3d.runtime.engine.state import RunState
from interactive3d.runtime.output.checkpoints import newest_whole
from interactive3d.runtime.output.splat_files import write_splats
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.settings import Settings
from interactive3d.runtime.view.open import still_session, viewed_program
from interactive3d.runtime.view.project import Project
from interactive3d.runtime.view.studio import Studio
from interactive3d.runtime.view.worker import Worker

PATIENCE = 60.0
DONE = (
    Duplicate(part=AllPart(), by=(0.5, 0.1, 0.0), name="twin"),
    Paint(part=ShapePart(shape=Sphere(center=(5.0, 5.0, 5.0), radius=0.1)), color=(0.9, 0.1, 0.1)),
    Densify(part=NamedPart(name="twin")),
    Paint(part=NamedPart(name="twin"), color=(0.1, 0.2, 0.9)),
)
"""With chance in it, and a paint that finds nothing and so is refused."""


@pytest.fixture
def view() -> Iterator[Callable[[Path], Studio]]:
    opened: list[Studio] = []

    def made(path: Path) -> Studio:
        project = Project(title=path.name, folder=path.parent, viewed=viewed_program(path))
        opened.append(Studio(Worker(still_session(path)), project))
        return opened[-1]

    yield made
    for studio in opened:
        studio.close()


def do(studio: Studio, *operations: Operation) -> GaussianModel:
    for operation in operations:
        assert studio.submit(operation)
    done = threading.Event()
    studio.worker.command(done.set)
    assert done.wait(PATIENCE)
    return studio.worker.latest().model


def file(kind: str, folder: Path, model: GaussianModel) -> Path:
    path = folder / f"thing{kind}"
    if kind == ".faces.ply":
        trimesh.creation.box((0.5, 0.4, 0.3)).export(path)
    elif kind in (".obj", ".off"):
        trimesh.creation.icosphere(subdivisions=1, radius=0.4).export(path)
    else:
        write_splats(model, path)
    return path


@pytest.mark.parametrize("kind", [".ply", ".splat", ".faces.ply", ".obj", ".off"])
def test_the_script_makes_the_same(
    kind: str, view: Callable[[Path], Studio], red_ball: GaussianModel, tmp_path: Path
) -> None:
    studio = view(file(kind, tmp_path, red_ball))
    made = do(studio, *DONE)
    assert [e.refused for e in studio.worker.latest().effects] == [False, True, False, False]
    studio.save_session(tmp_path / "sessions" / "session.sculpt")
    script = tmp_path / "sessions" / "session.sculpt"
    assert f'"../thing{kind}"' in script.read_text()
    assert not load_script(script).diagnostics
    ran = CliRunner().invoke(main, ["run", str(script), "--headless", "--out", str(tmp_path / "out")])
    assert ran.exit_code == 0, ran.output
    newest = newest_whole(tmp_path / "out" / "checkpoints").path
    assert newest is not None
    again = load_state(newest, "cpu")[0].model
    assert again.tag_names == made.tag_names
    assert all(torch.equal(again.columns[name], column) for name, column in made.columns.items())


def test_no_script_begins_with_a_checkpoint(
    view: Callable[[Path], Studio], red_ball: GaussianModel, tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    save_state(path, RunState(step=3, model=red_ball, settings=Settings()), "", {})
    studio = view(path)
    do(studio, *DONE)
    studio.save_session(tmp_path / "session.sculpt")
    assert not (tmp_path / "session.sculpt").exists()
    assert "no script begins with a.safetensors" in studio.failures[0][0]
