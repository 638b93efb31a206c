"""Clicks that are segmented beside the window, and what they are in the language."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from interactive3d.dsl import format_operation, loads, parse_operation
from interactive3d.dsl.operations import Capsule, DifferencePart, Paint, Sphere
from interactive3d.dsl.program import CheckContext
from interactive3d.dsl.values import ClickPart, SegmentPart
from interactive3d.runtime.engine.script import check_context
from interactive3d.runtime.engine.segmenters import TEXT_VARIABLE, has_text_segmenter
from interactive3d.runtime.engine.session import Session
from interactive3d.runtime.engine.snapshots import digest
from interactive3d.runtime.engine.state import RunState
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.scene.initial import blobs_in_shape
from interactive3d.runtime.scene.parts import part_mask
from interactive3d.runtime.scene.segmenter import use_text_segmenter
from interactive3d.runtime.settings import InitSettings
from interactive3d.runtime.view import segmenting
from interactive3d.runtime.view.orbit import OrbitCamera, Projection
from interactive3d.runtime.view.project import Project
from interactive3d.runtime.view.segmenting import SegmentJob, mark_at, mask_layer, part_of, placed, propose, with_mask
from interactive3d.runtime.view.selecting import Combine
from interactive3d.runtime.view.studio import Studio
from interactive3d.runtime.view.worker import Worker

SCRIPT = 'prompt "a ball"\nseed 0\nsteps 6\n\nat step 2 paint all red\n'
CAMERA = OrbitCamera(azimuth=25.123456, elevation=15.0)
WIDE = (900, 500)
PATIENCE = 60.0


def coloured(shape, count: int, color: tuple[float, float, float]) -> GaussianModel:
    made = blobs_in_shape(shape, count, InitSettings(scale=0.025, opacity=0.95), torch.Generator().manual_seed(1))
    return made.with_columns({"color": torch.tensor(color).expand(count, 3).contiguous()})


@pytest.fixture(scope="module")
def figure() -> GaussianModel:
    """A blue head on a yellow body."""
    head = coloured(Sphere(center=(0.0, 0.4, 0.0), radius=0.25), 300, (0.1, 0.2, 0.9))
    return head.append(coloured(Capsule(a=(0, -0.5, 0), b=(0, 0.05, 0), radius=0.2), 400, (0.9, 0.8, 0.2)))


@pytest.fixture
def studio(make_run, tmp_path: Path, figure):
    trainer, state = make_run()
    program = loads(SCRIPT, CheckContext()).program
    state = RunState(step=0, model=figure, settings=state.settings)
    made = Studio(
        Worker(Session(trainer, program.operations, state)), Project(title="t", folder=tmp_path, program=program)
    )
    yield made
    made.close()


def view(camera: OrbitCamera = CAMERA) -> Projection:
    return Projection(camera=camera.camera(), width=WIDE[0], height=WIDE[1])


def pixel(point: tuple[float, float, float], camera: OrbitCamera = CAMERA) -> tuple[float, float]:
    """Where the viewport shows a place."""
    x, y = view(camera).pixels(np.array([point]))[0][0]
    return float(x), float(y)


def test_a_click_picks_out_what_the_language_says_it_does(figure):
    mark = mark_at(view(), CAMERA, *pixel((0.0, 0.4, 0.0)), takes_away=False)
    found = propose(SegmentJob(marks=(mark,), model=figure))
    assert found.problem is None and len(found.views) == 2
    assert 250 < found.count <= 310 and found.rows[:300].sum() > 250
    text = format_operation(Paint(part=found.part, color=(1.0, 0.0, 0.0)))
    assert "click (" in text and "in orbit azimuth 25.12 elevation 15" in text
    read = parse_operation(text, CheckContext())
    assert read.part == found.part
    assert np.array_equal(part_mask(read.part, figure).numpy(), found.rows)


def test_clicks_with_one_camera_are_joined_and_those_with_ctrl_taken_away(figure):
    head = mark_at(view(), CAMERA, *pixel((0.0, 0.4, 0.0)), takes_away=False)
    body = mark_at(view(), CAMERA, *pixel((0.0, -0.3, 0.0)), takes_away=False)
    both = propose(SegmentJob(marks=(head, body), model=figure))
    assert both.count > 600 and isinstance(both.part, ClickPart) and len(both.part.clicks) == 2
    less = mark_at(view(), CAMERA, *pixel((0.0, 0.4, 0.0)), takes_away=True)
    without = propose(SegmentJob(marks=(head, body, less), model=figure))
    assert isinstance(without.part, DifferencePart) and without.rows[:300].sum() < 30 and without.count > 350
    # The mask of the view that was clicked in loses what was taken away, as far as it can be told from one view.
    assert without.views[0].mask.sum() < both.views[0].mask.sum()
    side = OrbitCamera(azimuth=90.0, elevation=0.0)
    two = part_of((head, mark_at(view(side), side, *pixel((0.0, 0.4, 0.0), side), takes_away=False)))
    assert len({c.view for c in two.clicks}) == 2


def test_a_click_outside_of_the_square_gives_a_wider_view_with_the_same_places(figure):
    near = OrbitCamera(azimuth=0.0, elevation=0.0, distance=1.0, target=(-0.3, 0.4, 0.0))
    x, y = pixel((0.15, 0.4, 0.1), near)
    assert x > 0.5 * WIDE[0] + 0.5 * WIDE[1], "this click lies right of the square in the middle"
    mark = mark_at(view(near), near, x, y, takes_away=False)
    part = part_of((mark,))
    assert part.clicks[0].view.fov > near.fov and part.clicks[0].x < 512.0
    found = propose(SegmentJob(marks=(mark,), model=figure))
    assert found.problem is None and found.rows[:300].sum() > 200
    left, top, side = placed(found.views[0].camera, view(near))
    back = left + part.clicks[0].x / 512.0 * side, top + part.clicks[0].y / 512.0 * side
    assert back == pytest.approx((x, y), abs=0.2)
    assert placed(found.views[0].camera, view()) is None


def test_a_mask_is_drawn_with_its_rim(figure):
    mask = np.zeros((20, 30), dtype=bool)
    mask[5:12, 6:20] = True
    layer = mask_layer(mask)
    assert layer[0, 0, 3] == 0 and layer[5, 6, 3] == 255 and 0 < layer[8, 10, 3] < 255
    plain = segmenting.MaskedView(camera=CAMERA.camera(), picture=np.full((20, 30, 3), 255, np.uint8), mask=mask)
    drawn = with_mask(plain)
    assert tuple(drawn[5, 6]) == segmenting.MASK_COLOR and (drawn[0, 0] == 255).all() and drawn[8, 10, 0] < 255


def wait(studio: Studio) -> None:
    deadline = time.monotonic() + PATIENCE
    while studio.segmenting.waiting and time.monotonic() < deadline:
        studio.refresh()
        time.sleep(0.005)
    assert not studio.segmenting.waiting


def test_the_window_does_not_wait_and_what_is_accepted_is_undone(studio, monkeypatch):
    slow, made = segmenting.propose, []

    def slowly(job):
        time.sleep(0.5)
        made.append(job)
        return slow(job)

    monkeypatch.setattr(studio.segmenting._worker, "work", slowly)
    studio.camera = CAMERA
    started = time.perf_counter()
    studio.segment(view(), *pixel((0.0, 0.4, 0.0)), Combine.REPLACE)
    studio.refresh()
    assert time.perf_counter() - started < 0.4 and studio.segmenting.waiting and not made
    assert studio.accept_masks() is None and studio.selection is None
    wait(studio)
    found = studio.segmenting.proposal
    part = studio.accept_masks()
    assert part == found.part == studio.selection and not studio.segmenting.active
    assert any(text.startswith("selected click (") for _, _, text in studio.log)
    studio.undo()
    assert studio.selection is None
    studio.redo()
    assert studio.selection == part


def test_a_click_on_nothing_is_said_and_keeps_what_was_there(studio):
    studio.camera = CAMERA
    studio.segment(view(), 20.0, 20.0, Combine.REPLACE)
    wait_for_words(studio, "hits nothing")
    assert not studio.segmenting.active and "snapshot" not in studio.notices[-1].text
    studio.segment(view(), *pixel((0.0, 0.4, 0.0)), Combine.SUBTRACT)
    assert "click first" in studio.notices[-1].text and not studio.segmenting.active
    studio.segment(view(), *pixel((0.0, 0.4, 0.0)), Combine.REPLACE)
    wait(studio)
    first = studio.segmenting.proposal
    studio.segment(view(), 20.0, 20.0, Combine.ADD)
    wait_for_words(studio, "hits nothing")
    assert studio.segmenting.proposal is first and not studio.segmenting.waiting
    studio.segmenting.cancel()
    assert not studio.segmenting.active and studio.accept_masks() is None


def wait_for_words(studio: Studio, words: str) -> None:
    deadline = time.monotonic() + PATIENCE
    studio.notices.clear()
    while not any(words in n.text for n in studio.notices) and time.monotonic() < deadline:
        studio.refresh()
        time.sleep(0.005)
    assert any(words in n.text for n in studio.notices)
    studio.refresh()


def test_a_segmenter_that_fails_is_shown(studio, monkeypatch):
    def broken(job):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(studio.segmenting._worker, "work", broken)
    studio.segment(view(), *pixel((0.0, 0.4, 0.0)), Combine.REPLACE)
    deadline = time.monotonic() + PATIENCE
    while not studio.failures and time.monotonic() < deadline:
        studio.refresh()
        time.sleep(0.005)
    assert "out of memory" in studio.failures[0][0] and not studio.segmenting.active


def test_a_segmenter_that_cannot_be_loaded_says_what_to_do(studio, monkeypatch):
    def missing():
        raise ValueError("segment-anything is not installed; pip install segment-anything")

    monkeypatch.setattr(segmenting, "segmenter", missing)
    studio.camera = CAMERA
    studio.segment(view(), *pixel((0.0, 0.4, 0.0)), Combine.REPLACE)
    wait_for_words(studio, "; pip install")
    assert not studio.segmenting.active


class Blue:
    """A text-prompted segmenter that knows one word."""

    name = "knows blue"

    def mask_of(self, view, text: str) -> np.ndarray:
        return (view.color[..., 2] > view.color[..., 0] + 0.3) & (view.coverage > 0.5) & (text == "blue")


def test_words_select_what_a_text_prompted_segmenter_finds(studio, monkeypatch):
    monkeypatch.delenv(TEXT_VARIABLE, raising=False)
    assert not has_text_segmenter()
    monkeypatch.setenv(TEXT_VARIABLE, "somebody/clipseg")
    assert has_text_segmenter()
    use_text_segmenter(Blue)
    try:
        studio.segment_words(" blue ", Combine.REPLACE)
        assert studio.selection == SegmentPart(text="blue") and 'selected segment "blue"' in studio.log[-1][2]
        deadline = time.monotonic() + PATIENCE
        studio.refresh()
        while not studio.current and time.monotonic() < deadline:
            studio.refresh()
            time.sleep(0.005)
        assert studio.scene.selected[:300].sum() > 250 and studio.scene.selected[300:].sum() < 40
    finally:
        use_text_segmenter(None)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """A person's clicks in the real window, looked at by the tests below."""
    import sys

    sys.path.insert(0, str(Path(__file__).parent))
    try:
        from test_window import drive
    finally:
        sys.path.pop(0)
    folder = tmp_path_factory.mktemp("segmenting")
    return {**drive(folder, "segmenting"), "folder": str(folder)}


@pytest.mark.slow
def test_in_the_window_a_click_gives_masks_in_two_views(session):
    assert session["tool"] == "Segment" and session["waited_for_nothing"] and session["views"] == 2
    assert session["stem"] > 100 and session["stem_is_stem"] > 0.9
    assert "hits nothing" in session["missed"] and session["kept_after_miss"] == session["stem"]
    assert session["both"] > session["stem"] + 200 > session["less"]
    assert session["less_text"].count("click") == 2 and " - " in session["less_text"]
    assert session["failures"] == [] and session["gl_errors"] == ["GL_NO_ERROR"]


@pytest.mark.slow
def test_in_the_window_masks_are_accepted_painted_undone_and_made_a_part(session):
    count, proposed = session["accepted"]
    assert session["cancelled"] and count == proposed == session["painted"]
    assert session["selection"].startswith("click (") and session["logged"] == [f"selected {session['selection']}"]
    assert session["selection"] in session["journal"][0] and session["selection"] in session["session"]
    assert session["undone"] and "part hat = click (" in session["script"]
    name, count = session["pointed"]
    assert name == "hat" and count > 300 and session["not_pointed"]
    followed, above = session["followed"]
    assert followed > 0.5 * above


@pytest.mark.slow
def test_a_session_with_clicks_replays_to_the_same_object(session, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import driver

    folder = Path(session["folder"])
    made, _ = driver.make_session(folder / "mushroom.sculpt")
    loaded = loads(session["session"], check_context(), path=folder / "session.sculpt")
    assert loaded.program is not None, loaded.diagnostics
    replay = Session(made.trainer, loaded.program.operations, made.latest())
    assert digest(replay.advance(0)) == session["digest"] != digest(made.latest())
