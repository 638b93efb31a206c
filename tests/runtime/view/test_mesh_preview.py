"""The field's mesh, made beside the window; arrows of the drags that are under way."""

import dataclasses
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from interactive3d.dsl.operations import AtStep, Drag, DragMode
from interactive3d.runtime.engine.session import Session
from interactive3d.runtime.engine.stage2 import FieldState
from interactive3d.runtime.engine.state import RunState
from interactive3d.runtime.field.distill import begin_distillation
from interactive3d.runtime.settings import Settings
from interactive3d.runtime.view.mesh_preview import Preview, PreviewJob, preview
from interactive3d.runtime.view.meshes import Mesh
from interactive3d.runtime.view.orbit import Projection
from interactive3d.runtime.view.overlays import DRAG_COLOR, lines_of
from interactive3d.runtime.view.project import Compare, Project
from interactive3d.runtime.view.studio import Studio
from interactive3d.runtime.view.worker import Worker

PATIENCE = 30.0


@pytest.fixture
def field_state(make_run):
    """A trainer, and a state whose field is as it is before it has learned anything."""
    settings = Settings().set("field.levels", 3).set("field.capacity", 1024).set("field.step", 0.06)
    trainer, state = make_run(settings=settings)
    begun = begin_distillation(state.model, settings, torch.Generator().manual_seed(0))
    return trainer, RunState(step=3, model=state.model, settings=settings, field=FieldState(field=begun.field))


@pytest.fixture
def studio(field_state, tmp_path: Path):
    trainer, state = field_state
    made = Studio(Worker(Session(trainer, (), state)), Project(title="t", folder=tmp_path))
    yield made
    made.close()


def wait(studio: Studio) -> None:
    deadline = time.monotonic() + PATIENCE
    while studio.mesh_preview.waiting and time.monotonic() < deadline:
        studio.refresh()
        time.sleep(0.002)
    assert not studio.mesh_preview.waiting


def test_a_preview_is_the_surface_that_an_export_finds(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "field"))
    from known import RADIUS, ball_field

    chosen = Settings().set("mesh.resolution", 48).mesh
    mesh = preview(PreviewJob(field=ball_field(), step=3, settings=chosen)).mesh
    assert mesh is not None and mesh.corners.shape == (3 * mesh.triangles, 9) and mesh.triangles > 500
    far = np.linalg.norm(mesh.corners[:, :3], axis=1)
    # Within a cell of the grid; normals point outwards.
    assert np.abs(far - RADIUS).max() < 2.0 / 48
    assert (np.einsum("ij,ij->i", mesh.corners[:, :3], mesh.corners[:, 3:6]) > 0.8 * far).all()
    assert mesh.corners[:, 6:].min() >= 0.0 and mesh.corners[:, 6:].max() <= 1.0


def test_a_field_that_is_empty_gives_a_reason(field_state):
    chosen = Settings().set("mesh.resolution", 24).mesh
    field = field_state[1].field.field
    found = preview(
        PreviewJob(field=dataclasses.replace(field, mask=torch.zeros_like(field.mask)), step=3, settings=chosen)
    )
    assert found.mesh is None and found.problem


def test_it_is_shown_when_it_is_there_and_taken_away_again(studio, monkeypatch):
    made = Mesh(corners=np.zeros((3, 9), np.float32), triangles=1, path=Path("x"))

    def slowly(job):
        time.sleep(0.3)
        return Preview(job=job, mesh=made)

    monkeypatch.setattr(studio.mesh_preview._worker, "work", slowly)
    started = time.perf_counter()
    studio.toggle_mesh()
    studio.refresh()
    assert time.perf_counter() - started < 0.25 and studio.mesh is None and studio.mesh_preview.waiting
    wait(studio)
    assert studio.mesh is made and studio.previewing and "step 3" in studio.notices[-1].text
    studio.compare = Compare.BLOBS
    assert studio.left == (studio.scene.model, studio.field)
    studio.toggle_mesh()
    assert studio.mesh is None and not studio.previewing and studio.left == (studio.scene.model, None)
    # Asked for and given up before it is there.
    studio.toggle_mesh()
    studio.toggle_mesh()
    time.sleep(0.4)
    studio.refresh()
    assert studio.mesh is None


def test_a_field_without_a_surface_says_so_and_a_file_has_its_own_mesh(studio, monkeypatch):
    monkeypatch.setattr(
        studio.mesh_preview._worker, "work", lambda job: Preview(job=job, problem="nothing is dense enough")
    )
    studio.toggle_mesh()
    wait(studio)
    assert studio.mesh is None and "dense" in studio.notices[-1].text
    studio.mesh = Mesh(corners=np.zeros((3, 9), np.float32), triangles=1, path=Path("x"))
    studio.toggle_mesh()
    assert studio.mesh is not None and not studio.show_mesh


def test_without_a_field_there_is_a_reason(make_run, tmp_path: Path):
    trainer, state = make_run()
    studio = Studio(Worker(Session(trainer, (), state)), Project(title="t", folder=tmp_path))
    try:
        studio.toggle_mesh()
        assert "distill" in studio.notices[-1].text and not studio.mesh_preview.waiting
    finally:
        studio.close()


def test_drags_under_way_have_arrows(make_run, tmp_path: Path):
    trainer, state = make_run(steps=6)
    drag = Drag(
        when=AtStep(step=0), source=(0.0, 0.3, 0.0), target=(0.0, 0.6, 0.1), mode=DragMode.RIGID, radius=0.2, steps=3
    )
    session = Session(trainer, (drag,), state)
    session.advance(1)
    studio = Studio(Worker(session), Project(title="t", folder=tmp_path))
    try:
        projection = Projection(camera=studio.camera.camera(), width=300, height=200)

        def ours() -> np.ndarray:
            rows = lines_of(studio, projection, None)[1].table()
            return rows[np.abs(rows[:, 6:10] - DRAG_COLOR).max(axis=1) < 1e-6]

        found = ours()
        assert any(np.allclose(row[:6], [*drag.source, *drag.target]) for row in found)
        studio.show_drags = False
        assert len(ours()) == 0
    finally:
        studio.close()
