"""What is said of a run in a place without a terminal."""

from types import SimpleNamespace

import pytest

from interactive3d.runtime import progress as progress_module
from interactive3d.runtime.progress import Progress, time_left


def test_what_is_left_is_told_by_the_phase_that_goes_on(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """A hundred quick steps, then slow ones: a mean over the whole run would promise an end that does not come."""
    clock = [0.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: clock[0])
    shown = Progress(quiet=False)
    metrics = SimpleNamespace(loss=1.0, blobs=5, active=())
    for step in range(1, 141):
        clock[0] += 0.1 if step <= 100 else 2.0
        shown.report.stepped(SimpleNamespace(step=step, metrics=metrics), 200, clock[0])
    *_, last = capsys.readouterr().err.strip().splitlines()
    assert "0.5 steps/s" in last and "2 min left" in last


@pytest.mark.parametrize(("seconds", "told"), [(7.2, "7 s"), (99.0, "99 s"), (130.0, "2 min"), (12000.0, "3 h 20 min")])
def test_times_are_told_as_finely_as_a_guess_deserves(seconds: float, told: str) -> None:
    assert time_left(seconds) == told
