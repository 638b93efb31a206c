"""What is said of a run in a place without a terminal."""

import dataclasses
import os
import signal
from types import SimpleNamespace
from typing import ClassVar

import pytest

from interactive3d.runtime import progress as progress_module
from interactive3d.runtime.engine.session import Session
from interactive3d.runtime.engine.state import Metrics, RunState
from interactive3d.runtime.progress import Progress, time_left


def test_what_is_left_is_told_by_the_phase_that_goes_on(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """A hundred quick steps, then slow ones: a mean over the whole run would promise an end that does not come."""
    clock = [0.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: clock[0])
    shown = Progress(quiet=False)
    metrics = SimpleNamespace(loss=1.0, blobs=5, active=())
    for step in range(1, 141):
        took = 0.1 if step <= 100 else 2.0
        clock[0] += took
        shown.report.stepped(SimpleNamespace(step=step, metrics=metrics), 200, took)
    *_, last = capsys.readouterr().err.strip().splitlines()
    assert "0.5 steps/s" in last and "2 min left" in last


def test_a_pause_is_not_taken_for_slow_steps(monkeypatch: pytest.MonkeyPatch, capsys, make_run) -> None:
    """In the window, between two calls of the session; in the terminal, by Ctrl+Z in the middle of a step."""
    clock = [100.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: clock[0])
    _, start = make_run(steps=400)
    shown = Progress(quiet=False)

    class Steps:
        """A step takes half a second, and what is due at its boundary as much."""

        steps = 400
        stopped: ClassVar[set[int]] = {210}

        def step(self, state: RunState) -> RunState:
            clock[0] += 0.5
            if state.step in self.stopped:
                clock[0] += 5000.0
                os.kill(os.getpid(), signal.SIGCONT)
            return dataclasses.replace(state, step=state.step + 1, metrics=Metrics(loss=1.0))

    session = Session(Steps(), (), start)  # type: ignore[arg-type]
    session.hooks.stepped = lambda state: shown.report.stepped(state, 400, session.step_seconds)

    def boundary() -> None:
        clock[0] += 0.5

    session.hooks.boundary = boundary
    with shown:
        for _ in range(100):
            session.advance(1)
        # A pause of the window, in which something is done.
        clock[0] += 3000.0
        session.advance(0)
        session.advance(200)
        assert session.step_seconds == pytest.approx(1.0)
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("step ")]
    assert len(told) > 20
    assert all("  1.0 steps/s  " in line for line in told)
    assert told[-1].split("steps/s")[1].split("left")[0].strip() in ("99 s", "2 min")


@pytest.mark.parametrize(("seconds", "told"), [(7.2, "7 s"), (99.0, "99 s"), (130.0, "2 min"), (12000.0, "3 h 20 min")])
def test_times_are_told_as_finely_as_a_guess_deserves(seconds: float, told: str) -> None:
    assert time_left(seconds) == told
