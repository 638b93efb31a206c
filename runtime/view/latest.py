"""Work beside the window: one thread, and the newest request wins."""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

BELOW_THE_OPTIMIZER = 4
"""How much nicer these threads are than the optimizer's, where threads have priorities of their own (Linux). Its steps are many small
pieces that wait for every core, so that one which a picture holds up holds up the step (benchmarks/window.md).
"""

Job = TypeVar("Job")
Result = TypeVar("Result")


class Latest(Generic[Job, Result]):
    """Does ``work`` on the newest job in a thread of its own, which the first job starts. A job that is overtaken before it is begun is never
    done.
    """

    def __init__(self, work: Callable[[Job], Result], name: str) -> None:
        self.work = work
        self._condition = threading.Condition()
        self._job: Job | None = None
        self._result: Result | None = None
        self._error: BaseException | None = None
        self._closing = False
        self.busy = False
        self.seconds = 0.0
        self.thread_id = 0
        """The system's number of the thread; 0 before the first job."""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def request(self, job: Job) -> None:
        """Ask for a job; the one that was waiting is forgotten."""
        with self._condition:
            self._job = job
            self._condition.notify()
            if self._thread.ident is None:
                self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether a result, or an error, waits to be taken."""
        return self._result is not None or self._error is not None

    @property
    def overtaken(self) -> bool:
        """Whether a newer job waits, or the end, so that the one being done may be given up."""
        return self._job is not None or self._closing

    @property
    def idle(self) -> bool:
        """Whether nothing is being done and nothing waits."""
        return not self.busy and self._job is None

    def take(self) -> Result | None:
        """The newest result, once; None when there is no new one. Raises what the work raised."""
        with self._condition:
            result, self._result = self._result, None
            error, self._error = self._error, None
        if error is not None:
            raise error
        return result

    def close(self) -> None:
        """Finish what has been begun and end the thread."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        self.thread_id = threading.get_native_id()
        with contextlib.suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, self.thread_id, BELOW_THE_OPTIMIZER)
        while True:
            with self._condition:
                while self._job is None and not self._closing:
                    self._condition.wait()
                if self._closing:
                    return
                job, self._job = self._job, None
                self.busy = True
            started = time.perf_counter()
            result, error = None, None
            try:
                result = self.work(job)  # type: ignore[arg-type]
            except Exception as problem:  # shown in the window by whoever takes
                error = problem
            with self._condition:
                self.seconds = time.perf_counter() - started
                if error is None:
                    self._result = result
                self._error = error
                self.busy = False
