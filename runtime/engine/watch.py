"""The files of a script, watched on disk: whoever saves one of them gets the script checked anew.

The system tells of changes (watchfiles), folder by folder, so that editors which write another file and rename it over the old one
are followed too. Several saves in a burst are one. Twice a second the files are looked at anyway, for what the system did not tell of.
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import watchfiles

from interactive3d.dsl import Diagnostic, Loaded
from interactive3d.dsl.modules import digest
from interactive3d.dsl.program import Program

QUIET_MS = 20
"""A burst of saves is over when nothing has been written for this long."""

BURST_MS = 200
LOOK_MS = 500


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A script as it was saved: what the checker says of it, and how long that took."""

    loaded: Loaded
    seconds: float


class ScriptWatcher:
    """Loads a script again whenever one of its files has changed; ``take`` hands the newest result over, once.

    ``program`` is what is known of the script already: an edit made since it was loaded counts as a change.
    """

    def __init__(self, program: Program, load: Callable[[], Loaded]) -> None:
        self._load = load
        self._known: dict[Path, str] = {Path(s.path): s.sha256 for s in program.sources}
        self._stamps: dict[Path, tuple[int, int, int] | None] = {}
        self._broken: tuple[Diagnostic, ...] | None = None
        self._saved: Saved | None = None
        self._news = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="script watcher", daemon=True)

    def __enter__(self) -> "ScriptWatcher":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def take(self) -> Saved | None:
        """What was saved since the last call."""
        with self._news:
            saved, self._saved = self._saved, None
            return saved

    def wait(self, seconds: float) -> Saved | None:
        """As ``take``, but waits for a save for so long."""
        with self._news:
            self._news.wait_for(lambda: self._saved is not None, seconds)
        return self.take()

    # -- the thread -----------------------------------------------------------------------------------------------------
    def _run(self) -> None:
        while not self._stop.is_set():
            folders = self._folders()
            for _ in self._ticks(folders):
                self._look()
                if self._folders() != folders:
                    break

    def _ticks(self, folders: frozenset[Path]) -> Iterator[object]:
        """Comes at once, after every change in a folder, and at least twice a second."""
        yield None
        try:
            yield from watchfiles.watch(
                *folders,
                watch_filter=None,
                debounce=BURST_MS,
                step=QUIET_MS,
                stop_event=self._stop,
                rust_timeout=LOOK_MS,
                yield_on_timeout=True,
                raise_interrupt=False,
                recursive=False,
            )
        except OSError:
            # A folder went away, or the system has no watch to spare: looking has to do.
            while not self._stop.wait(LOOK_MS / 1000):
                yield None

    def _folders(self) -> frozenset[Path]:
        return frozenset(folder for path in self._known if (folder := path.resolve().parent).is_dir())

    def _look(self) -> None:
        # A file that is missing, or that was saved with a mistake, may be mended by a change that no stamp of ours shows.
        if not self._changed() and self._broken is None:
            return
        begun = time.perf_counter()
        loaded = self._load()
        seconds = time.perf_counter() - begun
        if loaded.program is not None:
            known = {Path(s.path): s.sha256 for s in loaded.program.sources}
            news = known != self._known or self._broken is not None
            self._known, self._broken = known, None
        else:
            news = loaded.diagnostics != self._broken
            # What a broken script no longer names is watched on, for mending it brings it back.
            self._known |= {Path(s.name): digest(s.text) for s in loaded.sources}
            self._broken = loaded.diagnostics
        if news and not self._stop.is_set():
            with self._news:
                self._saved = Saved(loaded=loaded, seconds=seconds)
                self._news.notify_all()

    def _changed(self) -> bool:
        stamps = {path: _stamp(path) for path in self._known}
        old, self._stamps = self._stamps, stamps
        return stamps != old


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def stamps(program: Program) -> dict[Path, tuple[int, int, int] | None]:
    """What changes with every save of one of the files that a program was made from."""
    return {Path(s.path): _stamp(Path(s.path)) for s in program.sources}
