"""How long steps take. Time in which a run stands still is in none of them: paused in a window, or its process stopped (Ctrl+Z)."""

import contextlib
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from types import FrameType
from typing import Any

RATE_SECONDS = 20.0
"""Rates are of this time: a run's phases take very different time for a step, and what is left goes on as the last one does."""

_wakes = 0


def wakes() -> int:
    """How often the process went on after it had been stopped, while someone noted it."""
    return _wakes


@contextlib.contextmanager
def noting_wakes() -> Iterator[None]:
    """Notes it meanwhile. Only the main thread may; in others, and where there is no such signal, nothing is noted."""
    number: Any = getattr(signal, "SIGCONT", None)
    if number is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def woke(number: int, frame: FrameType | None) -> None:
        global _wakes
        _wakes += 1

    before = signal.signal(number, woke)
    try:
        yield
    finally:
        signal.signal(number, before)


class StepClock:
    """Times the steps of a session. What is done at a boundary counts with the step that follows."""

    def __init__(self) -> None:
        self.seconds: float | None = None
        """What the newest step took; None where that is not known, because the process was stopped meanwhile."""
        self._mark = self._over = 0.0
        self._wakes = 0

    def begin(self) -> None:
        """Steps are taken from now on."""
        self._mark, self._wakes = time.monotonic() - self._over, wakes()

    def stepped(self) -> None:
        """A step is over."""
        now, woken = time.monotonic(), wakes()
        self.seconds = now - self._mark if woken == self._wakes else None
        self._mark, self._wakes = now, woken

    def rest(self) -> None:
        """No steps are taken until ``begin``."""
        self._over = time.monotonic() - self._mark if wakes() == self._wakes else 0.0


class Pace:
    """Steps a second, of the newest ones. The very first step finds caches empty, and does not count."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque()
        self._sum = 0.0
        self._warm = False

    def stepped(self, seconds: float | None) -> None:
        """A step that took so long; None where that is not known."""
        if self._warm and seconds is not None:
            self._recent.append(seconds)
            self._sum += seconds
            while len(self._recent) > 1 and self._sum > RATE_SECONDS:
                self._sum -= self._recent.popleft()
        self._warm = True

    def clear(self) -> None:
        """What comes is of another kind."""
        self._recent.clear()
        self._sum = 0.0

    @property
    def rate(self) -> float:
        """0 where no step is known."""
        return len(self._recent) / max(self._sum, 1e-6)
