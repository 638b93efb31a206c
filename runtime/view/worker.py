"""The optimizer's thread: it alone advances the session; the window reads the newest state and never waits.

Commands are carried out between two steps, in order. Closing lets the step that is under way finish, so nothing is lost.
"""

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from interactive3d.dsl.operations import Operation
from interactive3d.runtime.engine.hooks import Hooks
from interactive3d.runtime.engine.pace import Pace
from interactive3d.runtime.engine.session import HISTORY_EVERY
from interactive3d.runtime.engine.state import RunState

REMEMBERED = 128
"""States kept for looking back; every second of the older ones goes when there are more."""


class Steps(Protocol):
    """What the worker needs of a session."""

    hooks: Hooks

    def latest(self) -> RunState: ...
    def submit(self, operation: Operation) -> None: ...
    def advance(self, steps: int | None = None) -> RunState: ...
    def undo(self) -> bool: ...
    def redo(self) -> bool: ...
    def seek(self, step: int) -> RunState: ...
    def stop(self) -> None: ...
    @property
    def finished(self) -> bool: ...
    @property
    def step_seconds(self) -> float | None: ...


@dataclass(frozen=True, kw_only=True)
class Problem:
    """An error of a step or a command: one line, and everything that Python knows about it."""

    text: str
    details: str


class Worker:
    """See the module's docstring. Every method may be called from the window's thread."""

    def __init__(self, session: Steps, *, running: bool = False) -> None:
        self.session = session
        self._running = running
        self._goal: int | None = None
        self._commands: deque[Callable[[], None]] = deque()
        self._condition = threading.Condition()
        self._closing = False
        self._problems: deque[Problem] = deque()
        self._remembered: list[RunState] = [session.latest()]
        self._pace = Pace()
        self.step_times: deque[float] = deque(maxlen=10_000)
        self.samples: deque[tuple[int, float, int, float]] = deque(maxlen=10_000)
        """Step, loss, blobs and steps a second of every step taken, for whoever takes them out."""
        self.listeners: list[Callable[[RunState], None]] = []
        """Told of every step's state, in the optimizer's thread: they must be quick."""
        self.stepping = False
        self.step_started = 0.0
        session.hooks.pause = lambda state: self.pause()
        self._thread = threading.Thread(target=self._run, name="optimizer", daemon=True)
        self._thread.start()

    # -- asked by the window --------------------------------------------------------------------------------------------
    def latest(self) -> RunState:
        """The newest state."""
        return self.session.latest()

    def remembered(self) -> tuple[RunState, ...]:
        """Earlier states to look at, oldest first, the newest last."""
        with self._condition:
            return (*self._remembered, self.session.latest())

    @property
    def running(self) -> bool:
        """Whether steps are being taken."""
        return self._running and not self.session.finished

    @property
    def steps_per_second(self) -> float:
        """Of the newest ones, pauses left out; 0 while paused."""
        return self._pace.rate if self.running else 0.0

    @property
    def busy_seconds(self) -> float:
        """How long the step under way has taken so far; 0 between steps."""
        return time.perf_counter() - self.step_started if self.stepping else 0.0

    def problems(self) -> list[Problem]:
        """What went wrong since the last call."""
        with self._condition:
            found = list(self._problems)
            self._problems.clear()
        return found

    def run(self, to: int | None = None) -> None:
        """Take steps: to the end, or to a step."""
        with self._condition:
            self._running, self._goal = True, to
            self._condition.notify()

    def pause(self) -> None:
        """No step after the one under way."""
        with self._condition:
            self._running, self._goal = False, None

    def step(self, count: int = 1) -> None:
        """Take a few steps, then pause."""
        self.run(self.latest().step + count)

    def submit(self, operation: Operation) -> None:
        """An operation for the next step boundary; while paused that is now."""
        self.session.submit(operation)
        self.command(lambda: None)

    def undo(self) -> None:
        """Back to before the newest interaction."""
        self.command(lambda: self._travel(self.session.undo))

    def redo(self) -> None:
        """Forward again."""
        self.command(lambda: self._travel(self.session.redo))

    def go_to(self, step: int) -> None:
        """Go on from a step: back in time at once, or forward by taking the steps that lack."""

        def go() -> None:
            if step < self.latest().step:
                self.session.seek(step)
                self.forget_after()
            else:
                self.run(step)

        self.command(go)

    def close(self) -> RunState:
        """End the thread after the step under way; the state reached."""
        with self._condition:
            self._closing = True
            self._running = False
            self._condition.notify()
        self.session.stop()
        self._thread.join()
        return self.latest()

    def command(self, command: Callable[[], None]) -> None:
        """Have something done in the thread, between two steps."""
        with self._condition:
            self._commands.append(command)
            self._condition.notify()

    # -- the thread -----------------------------------------------------------------------------------------------------
    def _run(self) -> None:
        while True:
            with self._condition:
                while not (self._closing or self._commands or self.running):
                    self._condition.wait()
                if self._closing:
                    return
                command = self._commands.popleft() if self._commands else None
            try:
                if command is not None:
                    command()
                    # What was submitted takes effect at the boundary where the run stands.
                    self.session.advance(0)
                else:
                    self._step()
            except Exception as error:
                self.pause()
                with self._condition:
                    self._problems.append(Problem(text=str(error), details=traceback.format_exc()))

    def _step(self) -> None:
        goal = self._goal
        if goal is not None and self.latest().step >= goal:
            self.pause()
            return
        self.stepping, self.step_started = True, time.perf_counter()
        try:
            state = self.session.advance(1)
        finally:
            self.stepping = False
        self._pace.stepped(self.session.step_seconds)
        self.step_times.append(time.perf_counter())
        self.samples.append((state.step, state.metrics.loss, state.metrics.blobs, self.steps_per_second))
        for listener in tuple(self.listeners):
            listener(state)
        if state.step % HISTORY_EVERY == 0:
            with self._condition:
                if self._remembered[-1].step < state.step:
                    self._remembered.append(state)
                if len(self._remembered) > REMEMBERED:
                    self._remembered = [self._remembered[0], *self._remembered[1::2]]
        if self.session.finished:
            self.pause()

    def _travel(self, go: Callable[[], bool]) -> None:
        go()
        self.forget_after()

    def remember_again(self, change: Callable[[RunState], RunState | None]) -> None:
        """Exchange the states kept for looking back; those for which None is given are forgotten. For commands."""
        step = self.latest().step
        with self._condition:
            changed = [change(s) for s in self._remembered if s.step <= step]
            self._remembered = [s for s in changed if s is not None] or [self.latest()]

    def forget_after(self) -> None:
        step = self.latest().step
        with self._condition:
            self._remembered = [s for s in self._remembered if s.step <= step] or [self.latest()]
