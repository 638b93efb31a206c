"""What a person sees in the terminal while a run goes on: step, rate, time left, loss, what is active."""

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from interactive3d.runtime.engine.pace import Pace, noting_wakes
from interactive3d.runtime.engine.record import Report
from interactive3d.runtime.engine.state import Effect, RunState
from interactive3d.runtime.engine.trainer import StepNotes

PLAIN_EVERY_SECONDS = 10.0


class Progress:
    """A bar in a terminal; a line every ten seconds elsewhere. Everything goes to standard error.

    ``debug`` tells of every step, with what its loss is made of and where its time went, and of the end of every operation.
    """

    def __init__(self, *, quiet: bool, debug: bool = False) -> None:
        self.quiet = quiet
        self.debug = debug
        self._notes: StepNotes | None = None
        self.console = Console(stderr=True, highlight=False)
        self.bar: Bar | None = None
        self.task: TaskID | None = None
        self.report = Report(
            stepped=self._stepped, effect=self._effect, travelled=self._travelled, message=self._message
        )
        if debug:
            self.report.notes = self._note
            self.report.ended = self._ended
        self._pace = Pace()
        self._step = 0
        self._spoke = 0.0
        self._noting = contextlib.ExitStack()

    def __enter__(self) -> "Progress":
        self._noting.enter_context(noting_wakes())
        if self.console.is_terminal and not self.quiet:
            columns = (
                TextColumn("step"),
                MofNCompleteColumn(),
                BarColumn(None),
                TextColumn("{task.fields[rate]}"),
                TextColumn("{task.fields[left]}"),
                TextColumn("{task.fields[note]}"),
            )
            self.bar = Bar(*columns, console=self.console, refresh_per_second=4)
            self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.stop()
        self._noting.close()

    @contextlib.contextmanager
    def interruptible(self, stop: Callable[[], None]) -> Iterator[None]:
        """Ctrl+C, the end of a terminal or of a job asks for a stop at the next step boundary; a second one interrupts at once."""
        previous: dict[int, Any] = {}

        def restore() -> None:
            for number, handler in previous.items():
                signal.signal(number, handler)

        def stopping(number: int, frame: FrameType | None) -> None:
            restore()
            # The terminal may be gone.
            with contextlib.suppress(OSError):
                self._message("stopping at the next step; Ctrl+C again to stop at once")
            stop()

        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            # nohup has the end of the terminal ignored, and so it stays.
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                previous[number] = signal.signal(number, stopping)
        try:
            yield
        finally:
            restore()

    def _stepped(self, state: RunState, steps: int, seconds: float | None) -> None:
        now = time.monotonic()
        if state.step <= self._step or not self._spoke:
            # Where a replay began, or the first step that is heard of.
            self._pace.clear()
            self._spoke = now
        self._step = state.step
        self._pace.stepped(seconds)
        rate = self._pace.rate
        told = f"{rate:.0f}" if rate >= 100 else f"{rate:.2g}" if rate < 1 else f"{rate:.1f}"
        left = time_left((steps - state.step) / rate) if rate else "?"
        note = f"loss {state.metrics.loss:.4g}  {state.metrics.blobs} blobs"
        if state.metrics.active:
            note += "  " + "+".join(state.metrics.active)
        if self.debug:
            self._message(f"step {state.step}/{steps}: {note}{_details(self._notes)}")
        if self.bar is not None:
            if self.task is None:
                self.task = self.bar.add_task("run", total=steps, completed=state.step, rate="", left="", note="")
            self.bar.update(
                self.task, completed=state.step, total=steps, rate=f"{told} steps/s", left=f"{left} left", note=note
            )
        elif not self.quiet and not self.debug and now - self._spoke > PLAIN_EVERY_SECONDS:
            self._spoke = now
            print(f"step {state.step}/{steps}  {told} steps/s  {left} left  {note}", file=sys.stderr, flush=True)

    def _note(self, notes: StepNotes) -> None:
        self._notes = notes

    def _ended(self, text: str, step: int) -> None:
        self._message(f"step {step}: over: {text}")

    def _effect(self, effect: Effect) -> None:
        word = "refused" if effect.refused else effect.message
        self._message(f"step {effect.step}: {effect.text}" + (f"  ({word})" if word else ""))

    def _travelled(self, gone: Sequence[Effect], back: Sequence[Effect]) -> None:
        """What a hand took back is listed above as done."""
        for word, effects in (("undone", reversed(gone)), ("done again", back)):
            for effect in effects:
                if not effect.refused:
                    self._message(f"step {effect.step}: {word}: {effect.text}")

    def _message(self, text: str) -> None:
        if not self.quiet:
            self.console.print(text, markup=False, soft_wrap=True)


def time_left(seconds: float) -> str:
    """`40 s`, `12 min`, `3 h 20 min`: as finely as such a guess deserves."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _details(notes: StepNotes | None) -> str:
    """`: guidance 3.1, drag 0.2; render 12 ms, guidance 40 ms`, or nothing."""
    if notes is None:
        return ""
    losses = ", ".join(f"{name} {loss:.4g}" for name, loss in notes.losses.items())
    seconds = ", ".join(f"{name} {spent * 1000:.1f} ms" for name, spent in notes.seconds.items())
    return f"; loss of {losses or 'nothing'}; {seconds}"


@contextlib.contextmanager
def film_progress(total: int) -> Iterator[Callable[[int, int | None], None]]:
    """A bar over the frames of a film; what is yielded wants to be told how many are done."""
    console = Console(stderr=True)
    columns = (TextColumn("frame"), MofNCompleteColumn(), BarColumn(None), TimeRemainingColumn())
    with Bar(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("film", total=total)
        yield lambda done, _: bar.update(task, completed=done)
