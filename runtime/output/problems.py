"""What can be wrong with a file, said so that a person can act on it."""

import contextlib
import difflib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO


class FileProblem(ValueError):
    """A file that cannot be read or written. Says which file, what is wrong, where in it, and what to do.

    The parts are kept as ``path``, ``what``, ``where`` and ``todo`` for renderers other than the terminal.
    """

    def __init__(self, path: str | Path, what: str, todo: str, *, where: str = "") -> None:
        self.path = Path(path)
        self.what = what
        self.where = where
        self.todo = todo
        place = f" ({where})" if where else ""
        super().__init__(f"{self.path}: {what}{place}; {todo}")


class UnknownKind(FileProblem):
    """A file of no kind that is read here; ``kinds`` are those that are. Who reads more says so in its place."""

    def __init__(self, path: str | Path, *kinds: str) -> None:
        listed = kinds[0] if len(kinds) == 1 else f"{', '.join(kinds[:-1])}, or {kinds[-1]}"
        super().__init__(path, "is of no kind that is read here", f"expected {listed}")


def suffixed(name: str, suffixes: Iterable[str]) -> str:
    """`splats (.ply, .splat)`."""
    return f"{name} ({', '.join(suffixes)})"


@dataclass(frozen=True, kw_only=True)
class Note:
    """Something a reader or writer had to change or leave out: not an error, but to be told.

    ``code`` is stable for tests and filters, ``count`` says how many rows or values it concerns.
    """

    code: str
    count: int
    text: str

    def __str__(self) -> str:
        return self.text


@contextlib.contextmanager
def open_file(path: str | Path, *, at_most: int | None = None) -> Iterator[tuple[BinaryIO, int]]:
    """A regular file open for reading, with its size in bytes.

    Pipes and devices are refused, for reading them may never end. ``at_most`` bounds the size in bytes.

    Raises:
        FileProblem: missing, a folder, not readable, not a regular file, empty or too large.
    """
    path = Path(path)
    try:
        # Not blocking: a pipe without a writer would stop in open itself.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise FileProblem(path, "there is no such file", _near(path)) from None
    except IsADirectoryError:
        raise FileProblem(path, "is a folder", "name a file in it") from None
    except PermissionError:
        raise FileProblem(path, "may not be read", "check its permissions") from None
    except (OSError, ValueError) as error:
        raise FileProblem(path, f"cannot be opened: {error}", "check the name") from None
    try:
        info = os.fstat(descriptor)
        if stat.S_ISDIR(info.st_mode):
            raise FileProblem(path, "is a folder", "name a file in it")
        if not stat.S_ISREG(info.st_mode):
            raise FileProblem(path, "is not a regular file", "copy its content into a file first")
        if info.st_size == 0:
            raise FileProblem(path, "is empty", "export or download it again")
        if at_most is not None and info.st_size > at_most:
            raise FileProblem(
                path, f"has {size_text(info.st_size)}, the limit is {size_text(at_most)}", "make it smaller"
            )
    except BaseException:
        os.close(descriptor)
        raise
    # An opener, so that the stream knows its name: trimesh asks for it.
    with open(path, "rb", opener=lambda *_: descriptor) as stream:
        yield stream, info.st_size


def read_file(path: str | Path, *, at_most: int) -> bytes:
    """The whole content of a regular file of at most so many bytes. Raises FileProblem as :func:`open_file` does."""
    with open_file(path, at_most=at_most) as (stream, size):
        return stream.read(size)


def size_text(count: int) -> str:
    """A byte count for people: ``12.3 MB``."""
    value = float(count)
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("unreachable")


def _near(path: Path) -> str:
    try:
        names = [p.name for p in path.parent.iterdir()]
    except OSError:
        return f"the folder {path.parent} is missing too; check the name"
    near = difflib.get_close_matches(path.name, names, 3, 0.5)
    return (
        f"did you mean {' or '.join(near)}?"
        if near
        else f"check the name; the folder looked in was {path.parent.absolute()}"
    )
