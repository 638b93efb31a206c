"""The folder that a run leaves: results, metrics, record, checkpoints and the script as run.

A folder is a run folder when it holds our marker file, which also lists what the run wrote. Only such files are ever deleted: a
folder with somebody's own files in it is refused, and own files put into a run folder stay.
"""

import contextlib
import csv
import io
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from interactive3d.runtime.output.atomic import check_space, remove_leftovers, write_problem, write_text, writing
from interactive3d.runtime.output.digests import state_digest
from interactive3d.runtime.output.problems import FileProblem, read_file

__all__ = ["MetricsFile", "RunFolder", "check_space", "state_digest"]

MARKER = ".interactive3d-run"
CHECKPOINTS = "checkpoints"
METRICS = "metrics.csv"
RECORD = "run.json"
LOG = "run.log"
SCRIPT = "script.sculpt"
LOCK = ".lock"

Previous = Literal["replace", "archive", "keep"]

_MAX_TEXT = 64 << 20
# What file managers leave in any folder, and our own lock.
_HARMLESS = {".DS_Store", "Thumbs.db", "desktop.ini", LOCK}


@dataclass(frozen=True)
class RunFolder:
    """Paths and writers of one run folder. Make one with :meth:`create` or :meth:`open`."""

    path: Path

    @classmethod
    def create(cls, path: str | Path, previous: Previous = "replace", needed: int = 0) -> "RunFolder":
        """A folder for a new run.

        ``previous`` says what becomes of an earlier run in the same folder: its files are deleted (``replace``), the whole folder is
        renamed to the first free ``NAME~1``, ``NAME~2`` … (``archive``), or everything stays, to be gone on with (``keep``).
        ``needed`` is the free space in bytes that the run will want.

        Raises:
            FileProblem: not a folder, a folder that no run of ours made, one in which a run goes on, no room, or it may not be written.
        """
        folder = cls(Path(path))
        check_space(folder.path, needed)
        if folder.path.exists() and not folder.path.is_dir():
            raise FileProblem(
                folder.path, "is a file, a folder for the run was to be made", "choose another with --out"
            )
        with writing(folder.path / MARKER):
            if not is_run_folder(folder.path):
                foreign = next((p.name for p in folder.path.iterdir() if p.name not in _HARMLESS), None)
                if foreign is not None:
                    raise FileProblem(
                        folder.path,
                        f"holds files that no run of ours wrote (such as {foreign!r})",
                        "choose another folder with --out, or empty this one",
                    )
            elif previous != "keep":
                # A run that still goes on in it, and so has its lock there, would lose what it has.
                with folder.locked() if (folder.path / LOCK).exists() else contextlib.nullcontext():
                    if previous == "archive":
                        _archive(folder.path)
                    else:
                        folder._clean()
            folder.checkpoints.mkdir(parents=True, exist_ok=True)
        if not (folder.path / MARKER).exists():
            folder._write_marker([])
        return folder

    @classmethod
    def open(cls, path: str | Path) -> "RunFolder":
        """The folder of an earlier run.

        Raises:
            FileProblem: there is none, or no run of ours made it.
        """
        folder = cls(Path(path))
        if not folder.path.is_dir():
            raise FileProblem(folder.path, "is not a folder", "name the folder of a run, such as out/dragon")
        if not is_run_folder(folder.path):
            raise FileProblem(
                folder.path,
                f"is not the folder of a run: it has no {MARKER}",
                "name the folder of a run, such as out/dragon",
            )
        return folder

    # -- places ---------------------------------------------------------------------------------------------------------
    @property
    def checkpoints(self) -> Path:
        return self.path / CHECKPOINTS

    @property
    def metrics_path(self) -> Path:
        return self.path / METRICS

    @property
    def script_path(self) -> Path:
        return self.path / SCRIPT

    def output(self, name: str, *, folder: bool = False) -> Path:
        """Path of a result of this run, remembered as the run's own; folders in between are made.

        With ``folder`` the result is a folder of files: it is made, or found as an earlier stretch of the run left it.

        Raises:
            FileProblem: the name leads out of the folder, or is one of the folder's own files.
        """
        relative = PurePosixPath(name.replace("\\", "/"))
        if not name.strip() or relative.is_absolute() or ".." in relative.parts or ":" in name or "\0" in name:
            raise FileProblem(
                name, "is not a name inside the run's folder", "give a plain relative name, such as dragon.ply"
            )
        if relative.parts[:1] in ((CHECKPOINTS,), (MARKER,), (LOCK,), (METRICS,), (RECORD,), (LOG,), (SCRIPT,)):
            raise FileProblem(name, "is a name that the run's folder uses itself", "choose another")
        target = self.path / relative
        with writing(target / "file" if folder else target):
            resolved = target.resolve()
            if not resolved.is_relative_to(self.path.resolve()):
                raise FileProblem(
                    name, "leads out of the run's folder through a link", "remove the link or choose another name"
                )
        owned = self.owned()
        if str(relative) not in owned:
            self._write_marker([*owned, str(relative)])
        return target

    def owned(self) -> list[str]:
        """Names of the results that this run wrote, by order of first writing."""
        try:
            data = json.loads(read_file(self.path / MARKER, at_most=_MAX_TEXT))
            return [str(name) for name in data["files"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            # A damaged marker still marks; without its list nothing but our fixed names is ever deleted.
            return []

    # -- writing --------------------------------------------------------------------------------------------------------
    def save_script(self, text: str, name: str = SCRIPT) -> Path:
        """The script as run. Other names (scripts it uses) become results like any other."""
        target = self.script_path if name == SCRIPT else self.output(name)
        write_text(target, text)
        return target

    def write_record(self, record: Mapping[str, Any]) -> Path:
        """``run.json``, whole or not at all."""
        target = self.path / RECORD
        write_text(target, json.dumps(dict(record), indent=2) + "\n")
        return target

    def read_record(self) -> dict[str, Any]:
        """``run.json`` as written.

        Raises:
            FileProblem: missing or not a JSON object.
        """
        target = self.path / RECORD
        try:
            record = json.loads(read_file(target, at_most=_MAX_TEXT))
        except (ValueError, RecursionError) as error:
            if isinstance(error, FileProblem):
                raise
            raise FileProblem(target, f"is not JSON: {error}", "run the script anew") from error
        if not isinstance(record, dict):
            raise FileProblem(target, f"holds {type(record).__name__}, expected an object", "run the script anew")
        return record

    def log(self, line: str) -> None:
        """One line, with the time, at the end of ``run.log``."""
        target = self.path / LOG
        with writing(target), target.open("a", encoding="utf-8") as stream:
            stream.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")

    def metrics(self, columns: tuple[str, ...], resume_at: int | None = None) -> "MetricsFile":
        """The appender of ``metrics.csv``; see :class:`MetricsFile`."""
        return MetricsFile(self.metrics_path, columns, resume_at)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Held while a run writes here; the system lets go of it when the process ends, however it ends.

        Raises:
            FileProblem: another process is running in this folder.
        """
        try:
            import fcntl
        except ImportError:  # Windows: no advisory locks in the standard library that end with the process.
            yield
            return
        with writing(self.path / LOCK), (self.path / LOCK).open("a") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise FileProblem(
                    self.path,
                    "is in use: another run is writing to it",
                    "wait for it, or choose another folder with --out",
                ) from None
            yield

    # -- inside ---------------------------------------------------------------------------------------------------------
    def _write_marker(self, files: list[str]) -> None:
        text = json.dumps(
            {
                "about": "the folder of an interactive3d run; files lists what the run wrote",
                "version": 1,
                "files": files,
            },
            indent=1,
        )
        write_text(self.path / MARKER, text + "\n")

    def _clean(self) -> None:
        """Deletes what the earlier run wrote, and nothing else."""
        root = self.path.resolve()
        for name in self.owned():
            relative = PurePosixPath(name)
            target = self.path / relative
            if relative.is_absolute() or ".." in relative.parts or not target.parent.resolve().is_relative_to(root):
                continue
            _remove(target)
        for name in (METRICS, RECORD, LOG, SCRIPT):
            _remove(self.path / name)
        for leftover in self.checkpoints.glob("*.safetensors"):
            _remove(leftover)
        for folder in (self.path, self.checkpoints):
            remove_leftovers(folder)
        self._write_marker([])


class MetricsFile:
    """Appends rows to a CSV file; each is flushed, so that a killed run keeps what it had.

    With ``resume_at``, rows of that step and later, and a torn last line, are removed first; without, the file begins anew.
    """

    def __init__(self, path: Path, columns: tuple[str, ...], resume_at: int | None = None) -> None:
        if "step" not in columns:
            raise ValueError(f"columns: expected one called 'step', got {columns}")
        self.path = path
        self.columns = columns
        kept = _rows_before(path, columns, resume_at) if resume_at is not None and path.exists() else []
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(columns)
        writer.writerows(kept)
        write_text(path, text.getvalue())
        try:
            self._stream = path.open("a", newline="", encoding="utf-8")
        except OSError as error:
            raise write_problem(path, error) from error

    def append(self, row: Mapping[str, object]) -> None:
        """One row; columns that it lacks stay empty.

        Raises:
            ValueError: a column that was not declared.
            FileProblem: the disk is full.
        """
        unknown = set(row) - set(self.columns)
        if unknown:
            raise ValueError(f"metrics: unknown columns {sorted(unknown)}, expected {self.columns}")
        try:
            csv.writer(self._stream).writerow([row.get(c, "") for c in self.columns])
            self._stream.flush()
        except OSError as error:
            raise write_problem(self.path, error) from error

    def close(self) -> None:
        """Flushes to the disk and closes."""
        if not self._stream.closed:
            with contextlib.suppress(OSError):
                os.fsync(self._stream.fileno())
            self._stream.close()

    def __enter__(self) -> "MetricsFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def is_run_folder(path: str | Path) -> bool:
    """Whether a run of ours made this folder."""
    return (Path(path) / MARKER).is_file()


def _rows_before(path: Path, columns: tuple[str, ...], step: int) -> list[list[str]]:
    """Whole rows of earlier steps, brought into the order of ``columns``."""
    try:
        text = read_file(path, at_most=1 << 30).decode("utf-8", "replace")
    except FileProblem:
        return []
    torn = not text.endswith("\n")
    try:
        rows = [r for r in csv.reader(io.StringIO(text.replace("\0", ""), newline="")) if r]
    except csv.Error:
        return []
    if torn:
        rows = rows[:-1]
    if not rows or "step" not in rows[0]:
        return []
    place = {name: i for i, name in enumerate(rows[0])}
    kept = []
    for row in rows[1:]:
        if len(row) != len(place):
            continue
        with contextlib.suppress(ValueError):
            if int(row[place["step"]]) < step:
                kept.append([row[place[c]] if c in place else "" for c in columns])
    return kept


def _archive(path: Path) -> Path:
    path = path.resolve()
    number = 1
    while (target := path.with_name(f"{path.name}~{number}")).exists():
        number += 1
    path.rename(target)
    path.mkdir()
    return target


def _remove(path: Path) -> None:
    # A result may be a folder of our own frames; a link is removed itself, never what it leads to.
    with contextlib.suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
