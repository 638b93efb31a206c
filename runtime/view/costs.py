"""What the window takes of the machine: processor time of its own thread, of those that paint beside it, and of a software renderer's.

Where the system does not tell the time of single threads (it does on Linux), only the window's own thread is counted.
"""

import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path

RENDERER = "llvmpipe"
"""How Mesa calls the threads that draw where there is no graphics card."""


class Costs:
    """``share`` of the whole machine, 0 .. 1, over the last second or so. Made and asked by the window's thread."""

    def __init__(self, tasks: Path = Path("/proc/self/task")) -> None:
        self.share = 0.0
        self._tasks = tasks
        self._own = threading.get_native_id()
        self._renderers: set[int] = set()
        self._looked = 0.0
        self._since = time.perf_counter()
        self._before = time.thread_time()
        self._seen: dict[int, float] = {}

    def update(self, helpers: Iterable[int]) -> None:
        """Measure, once a second. ``helpers`` are the system's numbers of the threads that work for the window."""
        now = time.perf_counter()
        if now - self._since < 1.0:
            return
        own = time.thread_time()
        spent = own - self._before
        for thread in {*helpers, *self._software(now)} - {self._own, 0}:
            total = self._seconds(thread)
            spent += max(total - self._seen.get(thread, total), 0.0)
            self._seen[thread] = total
        self.share = min(spent / (now - self._since) / max(os.cpu_count() or 1, 1), 1.0)
        self._since, self._before = now, own

    def _software(self, now: float) -> set[int]:
        """A software renderer's threads; they come up with the first picture and stay."""
        if now - self._looked > 5.0:
            self._looked = now
            self._renderers = set()
            for task in self._tasks.glob("*/comm") if self._tasks.is_dir() else ():
                try:
                    if task.read_text().startswith(RENDERER):
                        self._renderers.add(int(task.parent.name))
                except (OSError, ValueError):  # the thread has ended
                    continue
        return self._renderers

    def _seconds(self, thread: int) -> float:
        """Processor time of a thread so far; 0 where the system does not tell."""
        try:
            fields = (self._tasks / str(thread) / "stat").read_text().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError, IndexError, AttributeError):
            return 0.0
