"""The optimizer's thread, undo of everything, the keymap."""

import dataclasses
import json
import threading
import time
from pathlib import Path

import pytest

from interactive3d.dsl.operations import AllPart, Move, NamedPart, SetValue, ShapePart, Sphere
from interactive3d.runtime.engine.hooks import Hooks
from interactive3d.runtime.engine.session import Session
from interactive3d.runtime.engine.snapshots import digest
from interactive3d.runtime.view.history import History, Marked, Marks, Operated
from interactive3d.runtime.view.keymap import (
    ACTIONS,
    KeymapProblem,
    conflicts,
    default_keymap,
    help_groups,
    normalized,
    read_keymap,
)
from interactive3d.runtime.view.latest import Latest
from interactive3d.runtime.view.worker import Worker

PATIENCE = 30.0
"""Seconds until a test gives up on another thread; far more than needed on a machine that is not overloaded."""


def until(condition, seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.005)


class SlowSteps:
    """A session whose steps take as long as they are told to."""

    def __init__(self, state, seconds: float) -> None:
        self.hooks = Hooks()
        self.state = state
        self.seconds = seconds
        self.submitted: list = []

    def latest(self):
        return self.state

    def submit(self, operation) -> None:
        self.submitted.append(operation)

    def advance(self, steps=None):
        if steps:
            time.sleep(self.seconds)
            self.state = dataclasses.replace(self.state, step=self.state.step + 1)
        return self.state

    def undo(self) -> bool:
        return False

    redo = undo

    def seek(self, step):
        return self.state

    def stop(self) -> None:
        pass

    finished = False
    step_seconds = None


def test_a_slow_step_never_makes_the_window_wait(make_run):
    _, state = make_run()
    worker = Worker(SlowSteps(state, 2.0), running=True)
    until(lambda: worker.stepping)
    started = time.perf_counter()
    worker.submit(Move(part=AllPart(), by=(0.1, 0.0, 0.0)))
    worker.undo()
    worker.pause()
    worker.latest()
    worker.remembered()
    asked = time.perf_counter() - started
    assert asked < 0.033
    assert worker.close().step == 1


def test_closing_in_the_middle_of_a_step_finishes_it(make_run):
    _, state = make_run()
    session = SlowSteps(state, 0.3)
    worker = Worker(session, running=True)
    until(lambda: worker.stepping)
    assert worker.close().step == session.state.step == 1


def test_a_run_by_the_worker_is_the_run_without_it(make_run):
    trainer, state = make_run(steps=8)
    expected = Session(trainer, (), state).advance()
    trainer, state = make_run(steps=8)
    worker = Worker(Session(trainer, (), state), running=True)
    until(lambda: worker.latest().step == 8)
    assert digest(worker.close()) == digest(expected)


def test_pausing_stepping_and_going_to_a_step(make_run):
    trainer, state = make_run(steps=100)
    worker = Worker(Session(trainer, (), state))
    worker.step(3)
    until(lambda: worker.latest().step == 3 and not worker.running)
    worker.go_to(6)
    until(lambda: worker.latest().step == 6 and not worker.running)
    worker.go_to(0)
    until(lambda: worker.latest().step == 0)
    assert worker.close().step == 0


def test_what_is_done_while_paused_takes_effect_at_once_and_is_undone_exactly(make_run):
    trainer, state = make_run(steps=50)
    session = Session(trainer, (), state)
    worker = Worker(session)
    worker.step(2)
    until(lambda: worker.latest().step == 2 and not worker.running)
    before = digest(worker.latest())
    worker.submit(Move(part=ShapePart(shape=Sphere(center=(0, 0, 0), radius=5.0)), by=(0.1, 0.0, 0.0)))
    until(lambda: worker.latest().effects)
    after = digest(worker.latest())
    assert after != before
    worker.undo()
    done = threading.Event()
    worker.command(done.set)
    assert done.wait(PATIENCE)
    # The boundary that undo leads to must not carry the operation out again.
    time.sleep(0.1)
    assert digest(worker.latest()) == before and worker.latest().journal == ()
    worker.redo()
    until(lambda: digest(worker.latest()) == after)
    worker.close()


def test_what_a_step_raises_pauses_the_run_and_is_told(make_run):
    _, state = make_run()
    session = SlowSteps(state, 0.0)

    def broken(steps=None):
        raise ValueError("the prior ran out of ideas")

    session.advance = broken
    worker = Worker(session, running=True)
    until(lambda: not worker.running)
    (problem,) = worker.problems()
    assert problem.text == "the prior ran out of ideas" and "Traceback" in problem.details
    worker.close()


def test_the_newest_request_wins():
    gate, seen = threading.Event(), []

    def work(job):
        seen.append(job)
        gate.wait(PATIENCE)
        return job

    latest = Latest(work, "test")
    latest.request(1)
    until(lambda: seen == [1])
    latest.request(2)
    latest.request(3)
    gate.set()
    until(lambda: latest.idle)
    assert seen == [1, 3] and latest.take() == 3 and latest.take() is None
    latest.close()


def test_marks_and_operations_are_undone_in_one_order():
    calls = []
    history = History(lambda: calls.append("undo"), lambda: calls.append("redo"))
    nothing, a, b = Marks(), Marks(selection=AllPart()), Marks(hidden=NamedPart(name="hat"))
    history.note(Marked(before=nothing, after=a))
    history.note(Marked(before=a, after=a))
    history.note(Operated(before=a, after=nothing, text="remove all"))
    history.note(Marked(before=nothing, after=b))
    assert history.undo() == nothing and calls == []
    assert history.undo() == a and calls == ["undo"]
    assert history.redo() == nothing and calls == ["undo", "redo"]
    assert history.undo() == a
    assert history.undo() == nothing and not history.can_undo
    assert history.undo() is None
    history.note(Marked(before=nothing, after=b))
    assert not history.can_redo and history.redo() is None


def test_the_keys_as_they_come_have_no_conflicts_and_all_do_something():
    assert conflicts(default_keymap()) == []
    assert len({action.name for action in ACTIONS}) == len(ACTIONS)
    shown = [meaning for rows in help_groups(default_keymap()).values() for _, meaning in rows]
    assert all(action.help in shown for action in ACTIONS)


def test_the_users_keys_are_checked(tmp_path: Path):
    file = tmp_path / "keys.json"
    assert read_keymap(file) == default_keymap()
    file.write_text(json.dumps({"undo": ["shift+ctrl+U"], "grid": "j"}))
    keymap = read_keymap(file)
    assert keymap["undo"] == ("ctrl+shift+u",) and keymap["grid"] == ("j",)
    for content, told in (
        ({"undo": ["space"]}, "space would do run and undo"),
        ({"undo": ["w"]}, "w would do undo and flying"),
        ({"fly": ["t"]}, "no action is called 'fly'"),
        ({"undo": ["ctrl+ä"]}, "expected a letter"),
        ({"undo": 3}, "expected a key or a list"),
        (["undo"], "expected an object"),
    ):
        file.write_text(json.dumps(content))
        with pytest.raises(KeymapProblem, match=told):
            read_keymap(file)
    file.write_text("{")
    with pytest.raises(KeymapProblem, match="mend or remove"):
        read_keymap(file)
    assert normalized("Alt+Ctrl+x") == "ctrl+alt+x"


def test_settings_travel_as_operations(make_run):
    trainer, state = make_run(steps=5)
    worker = Worker(Session(trainer, (), state))
    worker.submit(SetValue(path="lr.position", value=0.001))
    until(lambda: worker.latest().settings.lr.position == 0.001)
    assert worker.close().journal[0].path == "lr.position"
