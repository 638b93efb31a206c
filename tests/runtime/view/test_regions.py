"""Regions that the hand places, marks that are undone, selecting by colour, what the window costs."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from interactive3d.dsl import loads
from interactive3d.dsl.operations import AllPart, Box, ColorPart, ShapePart, Sphere
from interactive3d.dsl.program import CheckContext
from interactive3d.runtime.engine.session import Session
from interactive3d.runtime.view.costs import Costs
from interactive3d.runtime.view.panels.parts_panel import PartsPanel
from interactive3d.runtime.view.panels.script_panel import ScriptPanel
from interactive3d.runtime.view.project import Project
from interactive3d.runtime.view.regions import Region, RegionKind, with_part
from interactive3d.runtime.view.scene_view import Hit
from interactive3d.runtime.view.selecting import Combine
from interactive3d.runtime.view.studio import Studio
from interactive3d.runtime.view.worker import Worker

SCRIPT = 'prompt "a ball"\nseed 0\nsteps 6\n\nat step 2 paint all red\n'


@pytest.fixture
def studio(make_run, tmp_path: Path):
    trainer, state = make_run()
    program = loads(SCRIPT, CheckContext()).program
    script = tmp_path / "ball.sculpt"
    script.write_text(SCRIPT)
    made = Studio(
        Worker(Session(trainer, program.operations, state)),
        Project(title="t", folder=tmp_path, program=program, script=script),
    )
    yield made
    made.close()


def test_a_region_follows_the_gizmo():
    ball = Region.about(RegionKind.SPHERE, (0.1, 0.0, 0.0), 0.2)
    matrix = np.diag([1.0, 1.5, 1.0, 1.0])
    matrix[:3, 3] = (0.0, 0.3, 0.0)
    assert ball.moved(matrix).shape == Sphere(center=(0.0, 0.3, 0.0), radius=0.3)
    box = Region.about(RegionKind.BOX, (0.0, 0.0, 0.0), 0.2)
    assert box.moved(matrix).shape == Box(low=(-0.2, 0.0, -0.2), high=(0.2, 0.6, 0.2))
    assert box.turned_into(RegionKind.SPHERE).radius == pytest.approx(0.2)
    assert ball.moved(np.diag([1e-9, 1.0, 1.0, 1.0])).radius > 0


def test_a_part_is_declared_where_parts_are():
    part = ShapePart(shape=Sphere(center=(0.0, 0.3, 0.0), radius=0.2))
    text = with_part(SCRIPT, "cap", part)
    assert text.index("part cap = sphere at (0, 0.3, 0) radius 0.2") < text.index("at step 2")
    program = loads(text, CheckContext()).program
    assert program is not None and program.parts[0].part == part
    second = with_part(text, "stem", part).splitlines()
    assert second.index("part stem = sphere at (0, 0.3, 0) radius 0.2") == 1 + second.index(
        "part cap = sphere at (0, 0.3, 0) radius 0.2"
    )
    with pytest.raises(ValueError, match="already"):
        with_part(text, "cap", part)
    with pytest.raises(ValueError, match="lower-case"):
        with_part(text, "The Cap", part)


def test_a_region_becomes_a_part_of_the_script(studio):
    studio.new_region(RegionKind.BOX)
    assert studio.region.kind is RegionKind.BOX
    script = ScriptPanel(studio)
    panel = PartsPanel(studio, script)
    panel.part_name = "middle"
    assert panel.make_part()
    text = studio.project.script.read_text()
    assert "part middle = box" in text and panel.part_name == "part_1"
    done = threading.Event()
    studio.worker.command(done.set)
    assert done.wait(30.0)
    assert [p.name for p in studio.project.program.parts] == ["middle"]
    panel.part_name = "middle"
    assert not panel.make_part() and "already" in studio.notices[-1].text


def test_refining_needs_a_field_and_says_so(studio):
    studio.new_region(RegionKind.SPHERE)
    panel = PartsPanel(studio, ScriptPanel(studio))
    assert not panel.refine() and "distill" in studio.notices[-1].text
    assert studio.worker.latest().journal == ()


def test_everything_that_is_marked_is_undone_in_order(studio):
    studio.select(AllPart())
    studio.hide()
    studio.new_region(RegionKind.SPHERE)
    studio.set_path(studio.path.with_key(studio.camera))
    assert studio.hidden == AllPart() and studio.selection is None
    studio.undo()
    assert studio.path.keys == () and studio.region is not None
    studio.undo()
    assert studio.region is None and studio.hidden == AllPart()
    studio.undo()
    assert studio.hidden is None and studio.selection == AllPart()
    studio.redo()
    studio.redo()
    studio.redo()
    assert studio.hidden == AllPart() and len(studio.path.keys) == 1
    studio.show_all()
    studio.undo()
    assert studio.hidden == AllPart()


def test_selecting_by_colour_takes_what_looks_like_the_blob_that_was_clicked(studio):
    hit = Hit(point=(0.0, 0.0, 0.0), row=0, depth=1.0)
    studio.select_color(hit, Combine.REPLACE)
    assert isinstance(studio.selection, ColorPart) and studio.selection.tolerance == studio.color_tolerance
    expected = studio.scene.model.color[0].clamp(0, 1).tolist()
    assert studio.selection.color == pytest.approx(expected, abs=1e-3)
    studio.select_color(None, Combine.REPLACE)
    assert studio.selection is None


def test_curves_hold_every_step_and_follow_a_walk_back(studio):
    studio.worker.run(5)
    deadline = time.monotonic() + 60.0
    while studio.worker.running and time.monotonic() < deadline:
        time.sleep(0.01)
    studio.refresh()
    assert [row[0] for row in studio.curves] == [1, 2, 3, 4, 5]
    studio.worker.go_to(0)
    while studio.worker.latest().step and time.monotonic() < deadline:
        time.sleep(0.01)
    studio.refresh()
    assert list(studio.curves) == []


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="only Linux tells the time of single threads")
def test_the_share_counts_threads_that_work_for_the_window():
    stop, ids = threading.Event(), []

    def work() -> None:
        ids.append(threading.get_native_id())
        while not stop.is_set():
            sum(range(1000))

    helper = threading.Thread(target=work, daemon=True)
    helper.start()
    while not ids:
        time.sleep(0.001)
    costs = Costs()
    costs._since -= 1.0
    costs.update(ids)
    time.sleep(1.1)
    costs.update(ids)
    counted = costs.share
    costs.update([])
    stop.set()
    helper.join()
    assert 0.01 < counted <= 1.0
