"""The cameras of the newest step: they come with the state, are drawn on demand, and change nothing."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from interactive3d.dsl.operations import AtStep, Distill, Refine, ShapePart, Sphere
from interactive3d.runtime.engine.session import Session
from interactive3d.runtime.engine.snapshots import digest
from interactive3d.runtime.settings import Settings
from interactive3d.runtime.view.orbit import Projection
from interactive3d.runtime.view.overlays import STEP_COLOR, lines_of
from interactive3d.runtime.view.project import Project
from interactive3d.runtime.view.studio import Studio
from interactive3d.runtime.view.worker import Worker

TINY = {
    "distill.rays": 128,
    "distill.size": 64,
    "field.levels": 3,
    "field.capacity": 1024,
    "field.step": 0.06,
    "guidance.size": 16,
    "camera.batch": 2,
    "refine.levels": 2,
    "refine.capacity": 1024,
}
BALL = ShapePart(shape=Sphere(center=(0.0, 0.2, 0.2), radius=0.15))


class Asked:
    """A guidance that notes the cameras it is asked with."""

    def __init__(self, guidance) -> None:
        self.guidance, self.cameras = guidance, []

    def score(self, request):
        self.cameras.append(tuple(request.cameras))
        return self.guidance.score(request)

    def __getattr__(self, name: str):
        return getattr(self.guidance, name)


def test_a_state_comes_with_the_cameras_of_the_step_that_made_it(make_run):
    trainer, state = make_run(steps=3)
    asked = Asked(trainer.guidance)
    session = Session(dataclasses.replace(trainer, guidance=asked), (), state)
    assert session.latest().cameras == ()
    for _ in range(3):
        assert session.advance(1).cameras == asked.cameras[-1]
    assert len(asked.cameras) == 3 and len(set(asked.cameras)) == 3


def test_a_run_does_not_depend_on_them(make_run):
    trainer, state = make_run(steps=4)
    with_them = without = state
    for _ in range(4):
        with_them = trainer.step(with_them)
        without = dataclasses.replace(trainer.step(without), cameras=())
    assert with_them.cameras and digest(with_them) == digest(without)


def test_stage_two_tells_them_too_and_a_resting_field_has_none(make_run):
    settings = Settings()
    for path, value in TINY.items():
        settings = settings.set(path, value)
    trainer, state = make_run(steps=5, settings=settings)
    asked = Asked(trainer.guidance)
    operations = (Distill(when=AtStep(step=0), steps=2), Refine(when=AtStep(step=2), part=BALL, steps=1))
    session = Session(dataclasses.replace(trainer, guidance=asked), operations, state)
    assert len(session.advance(2).cameras) == settings.distill.cameras and not asked.cameras
    refining = session.advance(1)
    assert refining.cameras == asked.cameras[-1] and len(refining.cameras) == 2
    assert session.advance(1).cameras == ()


def test_they_are_drawn_when_they_are_asked_for(make_run, tmp_path: Path):
    trainer, state = make_run(steps=3)
    state = trainer.step(state)
    studio = Studio(Worker(Session(trainer, (), state)), Project(title="t", folder=tmp_path))
    try:
        projection = Projection(camera=studio.camera.camera(), width=300, height=200)
        _, over, key = lines_of(studio, projection, None)
        before = over.table()
        studio.show_step_cameras = True
        _, over, other = lines_of(studio, projection, None)
        rows = over.table()[len(before) :]
        assert key != other and np.allclose(rows[:, 6:9], STEP_COLOR[:3])
        tips = {tuple(np.round(row[:3], 4)) for row in rows}
        assert {tuple(np.round(np.float32(c.position), 4)) for c in state.cameras} <= tips
    finally:
        studio.close()


@pytest.mark.slow
def test_in_the_window_they_are_seen_and_the_run_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import driver
    from test_window import drive

    told = drive(tmp_path, "step_cameras")
    assert told["shown"] and told["hidden"] and told["failures"] == [] and told["gl_errors"] == ["GL_NO_ERROR"]

    def violet(name: str) -> int:
        with Image.open(tmp_path / f"{name}.png") as seen:
            rgb = np.asarray(seen.convert("RGB"), np.int64)
        return int(((rgb[..., 2] > 170) & (rgb[..., 0] > 140) & (rgb[..., 1] < 150)).sum())

    assert violet("with_cameras") > violet("without_cameras") + 100
    session, _ = driver.make_session(tmp_path / "mushroom.sculpt")
    assert digest(session.advance(3)) == told["digest"]
