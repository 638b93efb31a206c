"""The blobs of named parts: counted beside the window, shown where a part is pointed at, also over a field or a mesh."""

import time
from pathlib import Path

import numpy as np
import pytest

from interactive3d.dsl.operations import AllPart, DeclaredPart, NamedPart, NotPart, ShapePart, Sphere, UnionPart
from interactive3d.dsl.values import Click, ClickPart, OrbitView
from interactive3d.runtime.engine.session import Session
from interactive3d.runtime.view import part_masks
from interactive3d.runtime.view.looking import PART_TINT
from interactive3d.runtime.view.orbit import Projection
from interactive3d.runtime.view.overlays import MOST_POINTS, lines_of
from interactive3d.runtime.view.part_masks import PartMasks, asks_a_segmenter, smallest_part
from interactive3d.runtime.view.project import Project
from interactive3d.runtime.view.studio import Studio
from interactive3d.runtime.view.worker import Worker

PATIENCE = 30.0
TOP = DeclaredPart(name="top", part=ShapePart(shape=Sphere(center=(0.0, 0.3, 0.0), radius=0.2)))
CLICKED = DeclaredPart(
    name="hat",
    part=UnionPart(
        left=ClickPart(clicks=(Click(x=256.0, y=256.0, view=OrbitView(azimuth=0.0, elevation=0.0)),)), right=TOP
    ),
)
PARTS = (("top", TOP), ("gone", NamedPart(name="gone")), ("all", AllPart()))


def answered(masks: PartMasks, model, parts=PARTS) -> None:
    deadline = time.monotonic() + PATIENCE
    masks.refresh(model, parts, hurry=True)
    while masks.waiting and time.monotonic() < deadline:
        masks.refresh(model, parts, hurry=True)
        time.sleep(0.002)
    assert not masks.waiting


@pytest.fixture
def masks():
    made = PartMasks()
    yield made
    made.close()


def test_counts_and_problems_are_those_of_the_language(masks, red_ball):
    assert masks.count("top") is None
    answered(masks, red_ball)
    expected = (red_ball.mean - red_ball.mean.new_tensor([0.0, 0.3, 0.0])).norm(dim=1) <= 0.2
    assert masks.count("top") == int(expected.sum()) > 0
    assert masks.count("all") == len(red_ball) and masks.count("gone") is None
    assert "gone" in masks.problem("gone") and masks.problem("top") is None
    assert np.array_equal(masks.masks(red_ball)["top"], expected.numpy())


def test_masks_belong_to_the_blobs_that_they_were_made_for(masks, red_ball, make_ball):
    answered(masks, red_ball)
    other = make_ball(3, count=20)
    assert masks.masks(other) == {}
    answered(masks, other)
    assert masks.count("all") == 20 and masks.masks(red_ball) == {}


def test_a_slow_part_does_not_hold_up_the_window_and_rests_while_the_optimizer_runs(
    masks, red_ball, make_ball, monkeypatch
):
    made = []

    def slowly(job):
        time.sleep(0.2)
        made.append(job)
        return part_masks.Found(job=job)

    monkeypatch.setattr(masks._worker, "work", slowly)
    started = time.perf_counter()
    masks.refresh(red_ball, PARTS, hurry=False)
    assert time.perf_counter() - started < 0.15
    answered(masks, red_ball)
    assert len(made) == 1
    for seed in range(5):
        masks.refresh(make_ball(seed, count=10), PARTS, hurry=False)
        time.sleep(0.01)
    assert len(made) == 1, "it was asked anew although it had just worked for long"
    masks.refresh(make_ball(9, count=10), PARTS, hurry=True)
    assert masks.waiting


def test_what_asks_a_segmenter_is_told_from_what_does_not(red_ball):
    assert asks_a_segmenter(CLICKED) and asks_a_segmenter(NotPart(part=CLICKED)) and not asks_a_segmenter(TOP)
    row = int(red_ball.mean[:, 1].argmax())
    assert smallest_part((CLICKED, TOP), red_ball, {}, row) is TOP
    few = np.zeros(len(red_ball), dtype=bool)
    few[row] = True
    assert smallest_part((CLICKED, TOP), red_ball, {"hat": few}, row) is CLICKED
    assert smallest_part((CLICKED,), red_ball, {}, row) is None


def test_a_part_that_is_pointed_at_stands_out_also_over_a_mesh(make_run, tmp_path: Path):
    trainer, state = make_run()
    studio = Studio(Worker(Session(trainer, (), state)), Project(title="t", folder=tmp_path))
    try:
        answered(studio.part_masks, state.model, (("top", TOP),))
        assert studio.marked[0] is None
        studio.pointed_part = "top"
        rows, tint = studio.marked
        assert tint == PART_TINT and rows.sum() == studio.part_masks.count("top")
        projection = Projection(camera=studio.camera.camera(), width=300, height=200)
        before = len(lines_of(studio, projection, None)[1].table())
        # Over blobs the tint shows it; a mesh hides the blobs, so they are drawn over it.
        studio.mesh = object()
        after = lines_of(studio, projection, None)[1].table()
        assert len(after) - before == rows.sum() <= MOST_POINTS
        studio.show_mesh = False
        assert len(lines_of(studio, projection, None)[1].table()) == before
    finally:
        studio.close()
