"""What the panels compute before they draw, and how a changed script is taken over."""

import dataclasses
import threading
from pathlib import Path

import numpy as np
import pytest
from imgui_bundle import ImVec4

from interactive3d.dsl import loads
from interactive3d.dsl.operations import AllPart, AtStep, Paint
from interactive3d.dsl.program import CheckContext, Program
from interactive3d.runtime.engine.differences import first_difference
from interactive3d.runtime.engine.session import Session
from interactive3d.runtime.engine.snapshots import digest
from interactive3d.runtime.settings import SPECS
from interactive3d.runtime.view.actions import Actions
from interactive3d.runtime.view.keymap import ACTIONS
from interactive3d.runtime.view.panels.palette import ranked
from interactive3d.runtime.view.panels.report_panels import smoothed
from interactive3d.runtime.view.panels.run_panel import Bar, bars, nice_tick, rows_of
from interactive3d.runtime.view.panels.settings_panel import TITLES, is_logarithmic, matches, number_format
from interactive3d.runtime.view.project import Project, event_steps
from interactive3d.runtime.view.replan import replan
from interactive3d.runtime.view.studio import Studio
from interactive3d.runtime.view.worker import Worker

PATIENCE = 60.0
HEAD = 'prompt "a ball"\nseed 0\nsteps 12\n'


def program_of(text: str) -> Program:
    loaded = loads(HEAD + text, CheckContext())
    assert loaded.program is not None, loaded.diagnostics
    return loaded.program


def wait(worker: Worker) -> None:
    done = threading.Event()
    worker.command(done.set)
    assert done.wait(PATIENCE)


@pytest.mark.parametrize("spec", SPECS.values(), ids=lambda s: s.path)
def test_every_setting_has_a_slider_that_can_show_its_default(spec):
    assert spec.path.split(".")[0] in TITLES
    if spec.kind in ("int", "float"):
        shown = number_format(spec) % spec.default
        assert float(shown) == pytest.approx(spec.default, rel=0.02, abs=1e-9)
        assert not is_logarithmic(spec) or spec.low >= 0


def test_search_takes_words_of_path_and_help_in_any_order():
    assert matches(SPECS["lr.position"], "position lr")
    assert matches(SPECS["guidance.noise_max"], "HIGHEST noise")
    assert not matches(SPECS["lr.position"], "camera")


def test_bars_of_a_timeline_never_cover_each_other():
    spans = [(0, 10), (5, 8), (9, 9), (11, 20), (12, 13), (0, 100)]
    items = [Bar(start=a, end=b, text="", color=ImVec4(0, 0, 0, 1), by_hand=False) for a, b in spans]
    rows = rows_of(items, 1)
    for i, a in enumerate(items):
        for j, b in enumerate(items):
            assert i == j or rows[i] != rows[j] or a.end < b.start or b.end < a.start


@pytest.mark.parametrize(("steps", "pixels"), [(1, 100), (12, 50), (700, 900), (20_000, 1200)])
def test_labels_of_a_timeline_have_room(steps, pixels):
    tick = nice_tick(steps, pixels)
    assert (tick >= 1 and pixels * tick / steps >= 59) or tick >= steps
    assert str(tick)[0] in "125"


def test_a_smoothed_curve_keeps_its_length_and_constants():
    assert smoothed(np.full(40, 3.0)) == pytest.approx(np.full(40, 3.0))
    assert smoothed(np.array([1.0, 3.0])) == pytest.approx([1.0, 2.0])
    assert len(smoothed(np.array([]))) == 0


def test_the_palette_finds_by_all_words_and_puts_beginnings_first():
    candidates = {"undo": "undo", "redo": "redo", "remove": "remove the selected blobs", "hide": "hide the selection"}
    assert ranked("selec", candidates) == ["remove", "hide"]
    assert ranked("hide sel", candidates) == ["hide"]
    assert ranked("paint all red", candidates) == []


def test_where_two_scripts_part(make_run):
    _, state = make_run()
    state = dataclasses.replace(state, step=6)
    base = program_of("at step 2 paint all red\nat step 9 paint all blue\n")
    assert event_steps(base) == [2, 9]
    assert first_difference(base, base, state) is None
    assert first_difference(base, program_of("at step 2 paint all red\nat step 9 paint all gold\n"), state) == 9
    assert first_difference(base, program_of("at step 2 paint all red\n"), state) == 9
    assert first_difference(base, program_of("at step 4 paint all red\nat step 9 paint all blue\n"), state) == 2
    other = loads(HEAD.replace("a ball", "a cube") + "at step 2 paint all red\n", CheckContext()).program
    assert first_difference(base, other, state) == 0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("at step 1 paint all red\nat step 9 paint all blue\n", "at step 1 paint all red\nat step 8 paint all gold\n"),
        ("at step 1 paint all red\nat step 9 paint all blue\n", "at step 2 paint all lime\nat step 9 paint all blue\n"),
        ("at step 9 paint all blue\n", "at step 3 paint all red\nat step 4 paint all gold\nat step 9 paint all blue\n"),
    ],
    ids=["the future", "the past", "more of the past"],
)
def test_the_object_is_the_one_of_the_script_on_the_screen(make_run, tmp_path: Path, old: str, new: str):
    before, after = program_of(old), program_of(new)
    trainer, state = make_run(steps=12)
    by_hand = Paint(part=AllPart(), color=(0.5, 0.5, 0.5), when=AtStep(step=5))
    expected = Session(trainer, (*after.operations, by_hand), state).advance()

    trainer, state = make_run(steps=12)
    worker = Worker(Session(trainer, before.operations, state))
    studio = Studio(worker, Project(title="t", folder=tmp_path, program=before))
    worker.step(5)
    for _ in range(2000):
        if worker.latest().step == 5:
            break
        threading.Event().wait(0.02)
    wait(worker)
    studio.submit(Paint(part=AllPart(), color=(0.5, 0.5, 0.5)))
    wait(worker)
    worker.step(1)
    while worker.latest().step < 6:
        threading.Event().wait(0.02)
    replan(studio, after)
    wait(worker)
    worker.run()
    for _ in range(3000):
        if worker.session.finished:
            break
        threading.Event().wait(0.02)
    found = studio.close()
    assert [e.text for e in found.effects] == [e.text for e in expected.effects]
    for name, column in expected.model.columns.items():
        assert (column == found.model.columns[name]).all(), name
    assert digest(dataclasses.replace(found, journal=(), fired={})) == digest(
        dataclasses.replace(expected, journal=(), fired={})
    )


def test_every_action_of_the_keymap_can_be_done(make_run, tmp_path: Path):
    class Bare:
        """As much of a window as the table of actions looks at."""

    trainer, state = make_run()
    bare = Bare()
    bare.studio = Studio(Worker(Session(trainer, (), state)), Project(title="t", folder=tmp_path))
    assert Actions(bare).names() == {action.name for action in ACTIONS}
    bare.studio.close()


TIMED = """at step 1 paint all red
every 3 steps checkpoint
every 2 steps from 5 to 9 snapshot "a_{step}.png" from orbit azimuth 0 elevation 0
lift: at step 2 drag from (0, 0, 0) to (0, 0.2, 0) radius 0.2 rigid over 3 steps
after lift + 1 steps paint all blue
when loss < 1e9 paint all gold
when loss < -1 paint all lime
at end export splats "end.ply"
"""


def test_the_timeline_has_what_waits_and_what_repeats(make_run, tmp_path: Path):
    program = program_of(TIMED)
    trainer, state = make_run(steps=12)
    studio = Studio(
        Worker(Session(trainer, program.operations, state)), Project(title="t", folder=tmp_path, program=program)
    )
    try:
        assert next(b for b in bars(studio) if "checkpoint" in b.text).marks == (3, 6, 9, 12)
        assert next(b for b in bars(studio) if "snapshot" in b.text).marks == (5, 7, 9)
        assert next(b for b in bars(studio) if "export" in b.text).start == 12
        assert not any("when loss" in b.text for b in bars(studio)), "nobody knows yet when that will be"
        after = next(b for b in bars(studio) if b.text.startswith("after lift"))
        assert after.start == 6
        studio.worker.step(2)
        for _ in range(2000):
            if studio.worker.latest().step == 2 and not studio.worker.running:
                break
            threading.Event().wait(0.02)
        waited = [b for b in bars(studio) if b.text.startswith("when loss")]
        assert len(waited) == 1 and waited[0].start in (1, 2)
    finally:
        studio.close()
