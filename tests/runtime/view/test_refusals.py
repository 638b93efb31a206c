"""What the scene does not let the hand do, and what the hand cannot do where the run stands: it is said where it is seen."""

import threading
import time
from pathlib import Path

import pytest

from interactive3d.dsl import loads
from interactive3d.dsl.operations import AllPart, ColorPart, NamedPart, Paint, Remove, SetValue, ShapePart, Sphere
from interactive3d.runtime.engine.script import check_context
from interactive3d.runtime.engine.session import Session
from interactive3d.runtime.view.gestures import Gizmo
from interactive3d.runtime.view.orbit import Projection
from interactive3d.runtime.view.panels.palette import read_operation
from interactive3d.runtime.view.panels.run_panel import bars
from interactive3d.runtime.view.project import Project
from interactive3d.runtime.view.regions import RegionKind
from interactive3d.runtime.view.scene_view import Hit
from interactive3d.runtime.view.selecting import Combine
from interactive3d.runtime.view.studio import Studio
from interactive3d.runtime.view.worker import Worker

PATIENCE = 60.0
NOBODY = NamedPart(name="nobody")
NOWHERE = ShapePart(shape=Sphere(center=(5.0, 5.0, 5.0), radius=0.1))


@pytest.fixture
def studio(make_run, tmp_path: Path):
    trainer, state = make_run(steps=3)
    program = loads('prompt "a ball"\nseed 0\nsteps 3\n', check_context()).program
    made = Studio(Worker(Session(trainer, (), state)), Project(title="t", folder=tmp_path, program=program))
    yield made
    made.close()


def wait(studio: Studio) -> None:
    done = threading.Event()
    studio.worker.command(done.set)
    assert done.wait(PATIENCE)
    studio.refresh()


def to_the_end(studio: Studio) -> None:
    studio.worker.run()
    deadline = time.monotonic() + PATIENCE
    while not studio.worker.session.finished or studio.worker.stepping:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    wait(studio)


def test_a_refusal_is_shown_over_the_picture_once(studio):
    assert studio.submit(Paint(part=NOBODY, color=(1.0, 0.0, 0.0)))
    wait(studio)
    (notice,) = studio.notices
    assert notice.error and "nobody" in notice.text
    studio.notices.clear()
    studio.submit(Paint(part=AllPart(), color=(1.0, 0.0, 0.0)))
    wait(studio)
    assert not studio.notices


def test_a_refusal_is_not_undone_for_it_did_nothing(studio):
    red = Paint(part=AllPart(), color=(1.0, 0.0, 0.0))
    before = studio.worker.latest().model.color
    studio.submit(red)
    wait(studio)
    studio.select(NOWHERE)
    assert studio.submit_and_select(Remove(part=NOWHERE), None) and studio.selection is None
    wait(studio)
    assert studio.selection == NOWHERE, "what was not removed is selected still"
    assert [b.text for b in bars(studio)] == ["at start paint all #ff0000"]
    studio.undo()
    assert studio.selection is None
    studio.undo()
    wait(studio)
    assert (studio.worker.latest().model.color == before).all() and not studio.history.can_undo


def test_at_the_last_step_running_on_says_why_it_does_nothing(studio):
    to_the_end(studio)
    for go_on in (studio.toggle_run, studio.step, studio.run_to_next_event):
        studio.notices.clear()
        go_on()
        assert "last step" in studio.notices[-1].text
    studio.past = studio.worker.remembered()[0]
    studio.toggle_run()
    assert "Go on from here" in studio.notices[-1].text and studio.past is not None


def test_where_a_gizmo_stands_is_said_when_it_is_not_on_the_selection(studio):
    studio.take_gizmo(Gizmo.MOVE)
    assert "select something" in studio.notices[-1].text
    studio.take_gizmo(Gizmo.MOVE)
    assert studio.gizmo is Gizmo.NONE
    studio.new_region(RegionKind.SPHERE)
    studio.take_gizmo(Gizmo.ROTATE)
    assert "region does not turn" in studio.notices[-1].text
    studio.select(AllPart())
    studio.take_gizmo(Gizmo.STRETCH)
    assert "on the region" in studio.notices[-1].text
    studio.notices.clear()
    studio.take_gizmo(Gizmo.ROTATE)
    assert not studio.notices


def test_an_operation_from_the_palette_stands_in_no_line_of_the_script(studio):
    """The script's first line was marked as what had taken effect."""
    studio.submit(read_operation(studio, "paint all red"))
    wait(studio)
    assert studio.worker.latest().effects[-1].line is None


def test_a_mesh_gives_way_to_the_blobs_that_are_changed(studio):
    studio.mesh = object()
    studio.submit(SetValue(path="lr.position", value=0.001))
    assert studio.show_mesh
    studio.submit(Paint(part=AllPart(), color=(1.0, 0.0, 0.0)))
    assert not studio.show_mesh and "mesh" in studio.notices[-1].text


def test_what_is_selected_by_colour_follows_the_tolerance(studio):
    studio.select(ColorPart(color=(1.0, 0.0, 0.0), tolerance=0.2))
    studio.color_tolerance = 0.4
    studio.widen_color()
    assert studio.selection == ColorPart(color=(1.0, 0.0, 0.0), tolerance=0.4)
    studio.undo()
    assert studio.selection == ColorPart(color=(1.0, 0.0, 0.0), tolerance=0.2)
    studio.select(AllPart())
    studio.widen_color()
    assert studio.selection == AllPart()


def test_where_pixels_are_small_the_brush_is_as_large(studio):
    hit = Hit(row=0, point=(0.0, 0.0, 0.0), depth=2.0)
    radii = []
    for studio.pixel in (1.0, 2.0):
        projection = Projection(
            camera=studio.camera.camera(), width=int(300 * studio.pixel), height=int(200 * studio.pixel)
        )
        studio.select_hit(hit, projection, Combine.REPLACE)
        radii.append(studio.selection.shape.radius)
    assert radii[0] == pytest.approx(radii[1], rel=0.01)
