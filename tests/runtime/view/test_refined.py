"""Refined regions in the window: hidden, shown, compared with and without, taken back."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from interactive3d.dsl.operations import AtStep, Distill, Refine, ShapePart, Sphere
from interactive3d.runtime.engine.session import Session
from interactive3d.runtime.engine.snapshots import digest
from interactive3d.runtime.settings import Settings
from interactive3d.runtime.view.orbit import Projection
from interactive3d.runtime.view.overlays import REFINED_COLOR, lines_of
from interactive3d.runtime.view.panels.parts_panel import PartsPanel
from interactive3d.runtime.view.panels.script_panel import ScriptPanel
from interactive3d.runtime.view.project import Compare, FieldViews, Project
from interactive3d.runtime.view.studio import Studio
from interactive3d.runtime.view.worker import Worker

TINY = {
    "distill.rays": 128,
    "distill.size": 64,
    "field.levels": 3,
    "field.capacity": 1024,
    "field.step": 0.06,
    "guidance.size": 16,
    "camera.batch": 1,
    "refine.levels": 2,
    "refine.capacity": 1024,
}
BALL = ShapePart(shape=Sphere(center=(0.0, 0.2, 0.2), radius=0.15))
NAME = "refine sphere at (0, 0.2, 0.2) radius 0.15"
AGAIN = f"{NAME} (2)"


@pytest.fixture
def studio(make_run, tmp_path: Path):
    settings = Settings()
    for path, value in TINY.items():
        settings = settings.set(path, value)
    trainer, state = make_run(steps=6, settings=settings)
    operations = (
        Distill(when=AtStep(step=0), steps=1),
        Refine(when=AtStep(step=1), part=BALL, steps=1),
        Refine(when=AtStep(step=2), part=BALL, steps=1),
    )
    session = Session(trainer, operations, state)
    session.advance(4)
    made = Studio(Worker(session), Project(title="t", folder=tmp_path))
    yield made
    made.close()


def enabled(studio: Studio) -> list[bool]:
    return [region.enabled for region in studio.field.regions]


def test_regions_are_hidden_one_by_one_or_all_and_undone_and_the_run_stays(studio):
    before = digest(studio.worker.latest())
    assert studio.region_names == (NAME, AGAIN) and enabled(studio) == [True, True]
    studio.hide_regions(frozenset({AGAIN, "refine what is not there"}))
    assert enabled(studio) == [True, False]
    assert studio.field is studio.field, "pictures of it would be made anew in every frame"
    studio.toggle_regions()
    assert enabled(studio) == [True, True]
    studio.toggle_regions()
    assert enabled(studio) == [False, False]
    studio.undo()
    studio.undo()
    assert enabled(studio) == [True, False]
    studio.undo()
    studio.undo()
    assert enabled(studio) == [True, True] and digest(studio.worker.latest()) == before


def test_compared_with_and_without(studio):
    studio.compare_regions(AGAIN)
    assert studio.compare is Compare.UNREFINED
    _, left = studio.left
    assert [region.enabled for region in left.regions] == [True, False] and enabled(studio) == [True, True]
    studio.compare_regions()
    _, left = studio.left
    assert [region.enabled for region in left.regions] == [False, False]
    studio.compare = Compare.NOTHING
    assert studio.left is None


def test_field_views_forget_fields_that_are_gone(studio):
    views, state = FieldViews(), studio.worker.latest()
    hidden = frozenset({NAME})
    shown = views(state, hidden)
    assert views(state, hidden) is shown and views(state, frozenset()) is state.field.field
    newer = studio.worker.session.advance(1)
    assert views(newer, hidden) is not None and len(views._made) == 1


def test_the_balls_of_hidden_regions_are_fainter(studio):
    projection = Projection(camera=studio.camera.camera(), width=300, height=200)

    def strengths() -> list[float]:
        rows = lines_of(studio, projection, None)[1].table()
        ours = rows[np.abs(rows[:, 6:9] - REFINED_COLOR[:3]).max(axis=1) < 1e-6]
        return sorted({round(float(v), 3) for v in ours[:, 9]})

    whole = round(REFINED_COLOR[3], 3)
    assert strengths() == [whole]
    key = lines_of(studio, projection, None)[2]
    studio.hide_regions(frozenset({NAME}))
    found = strengths()
    assert len(found) == 2 and found[1] == whole > 2 * found[0]
    assert lines_of(studio, projection, None)[2] != key


def test_a_region_is_taken_back_as_the_language_says_it(studio, monkeypatch):
    sent = []
    monkeypatch.setattr(studio, "submit", lambda operation: sent.append(operation) or True)
    panel = PartsPanel(studio, ScriptPanel(studio))
    assert panel.take_back(AGAIN) and sent[0].part == BALL


@pytest.mark.slow
def test_in_the_window_a_region_is_refined_hidden_compared_and_taken_back(tmp_path: Path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    from test_window import drive

    told = drive(tmp_path, "refining")
    assert "nothing has been refined" in told["nothing_yet"] and told["field"]
    assert "refine sphere at" in told["journal"][0]
    (name,) = told["regions"]
    assert name.startswith("refine sphere at") and told["hidden"] == told["hidden_by_panel"] == [name]
    assert told["shown_again"] and told["compare"] == "UNREFINED" and told["compared"] == [name]
    assert told["unchanged"] and told["undone"] and told["taken_back"][0].endswith(name.removeprefix("refine "))
    assert told["triangles"] > 100 and told["mesh_gone"] and told["still_unchanged"]
    assert told["failures"] == [] and told["gl_errors"] == ["GL_NO_ERROR"], json.dumps(told["failures"])

    left, top, wide, tall = (int(v) for v in told["box"])

    def seen(file: str, first: float, last: float) -> np.ndarray:
        with Image.open(tmp_path / f"{file}.png") as shown:
            rgb = np.asarray(shown.convert("RGB"), np.float64)
        # Between the toolbar and the hints, so that only the object differs.
        return rgb[top + 60 : top + tall - 20, left + int(first * wide) : left + int(last * wide)]

    def off(a: str, b: str, first: float, last: float) -> float:
        return float(np.abs(seen(a, first, last) - seen(b, first, last)).mean())

    assert off("refined", "unrefined", 0.3, 0.7) > 0.3, "the refinement is not seen"
    assert off("beside", "unrefined", 0.2, 0.49) < 0.2 * off("beside", "refined", 0.2, 0.49)
    assert off("mesh", "refined", 0.51, 0.7) > 5.0 * off("mesh", "refined", 0.3, 0.49), "a lit surface beside the field"
    assert off("beside", "refined", 0.51, 0.8) < 0.2 * off("beside", "unrefined", 0.51, 0.8)
