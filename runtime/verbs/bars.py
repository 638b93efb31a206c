"""How a verb shows that it goes on: a bar with the time left in a terminal, a line every ten seconds elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

PLAIN_EVERY_SECONDS = 10.0

Step = Callable[[int, str], None]
"""Hears how many are done, and what to say beside it."""


@contextlib.contextmanager
def step_bar(what: str, total: int, quiet: bool = False) -> Iterator[Step]:
    """A bar over ``total`` steps on standard error."""
    console = Console(stderr=True, highlight=False)
    if quiet or not console.is_terminal:
        yield _lines(what, total, quiet)
        return
    columns = (
        TextColumn("{task.description}"),
        MofNCompleteColumn(),
        BarColumn(None),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(what, total=total, note="")
        yield lambda done, note: bar.update(task, completed=done, note=note)


def _lines(what: str, total: int, quiet: bool) -> Step:
    start = spoke = time.monotonic()

    def told(done: int, note: str) -> None:
        nonlocal spoke
        now = time.monotonic()
        if quiet or (now - spoke < PLAIN_EVERY_SECONDS and done < total):
            return
        spoke = now
        left = (now - start) / max(done, 1) * (total - done)
        print(f"{what} {done}/{total}  {left:.0f} s left  {note}".rstrip(), file=sys.stderr, flush=True)

    return told
