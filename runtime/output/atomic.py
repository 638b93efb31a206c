"""Files that are either wholly there or not there: written beside their place, flushed to the disk, then renamed.

A crash, a full disk or Ctrl+C leaves the earlier file as it was.
"""

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from interactive3d.runtime.output.problems import FileProblem, size_text

PART_SUFFIX = ".part"

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG}


@contextlib.contextmanager
def atomic_file(path: str | Path) -> Iterator[BinaryIO]:
    """A binary stream whose content appears at ``path`` when the block ends without an error.

    Raises:
        FileProblem: the disk is full, the folder may not be written, or ``path`` is a folder.
    """
    path = Path(path)
    with writing(path):
        temporary = _temporary(path)
        # Not mkstemp: its files are private to the user, while results should follow the umask.
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_BINARY", 0), 0o666)
        try:
            with open(descriptor, "w+b") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        sync_folder(path.parent)


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Like :func:`atomic_file`, for writers that want a file name. The temporary name keeps the suffix of ``path``."""
    path = Path(path)
    with writing(path):
        temporary = _temporary(path)
        try:
            yield temporary
            with open(temporary, "rb") as stream:
                os.fsync(stream.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        sync_folder(path.parent)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Atomic :meth:`pathlib.Path.write_bytes`."""
    with atomic_file(path) as stream:
        stream.write(content)


def write_text(path: str | Path, content: str) -> None:
    """Atomic :meth:`pathlib.Path.write_text`, UTF-8, line ends as they are."""
    write_bytes(path, content.encode())


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Makes the folder of ``path`` and turns the system's errors while writing into :class:`FileProblem`."""
    try:
        if path.is_dir():
            raise FileProblem(path, "is a folder, a file was to be written", "choose another name")
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except FileProblem:
        raise
    except OSError as error:
        raise write_problem(path, error) from error


def write_problem(path: Path, error: OSError) -> FileProblem:
    """The :class:`FileProblem` that tells of this error while writing ``path``."""
    if error.errno in _FULL:
        return FileProblem(path, f"could not be written: the disk is full{_free(path)}", "free some room and go on")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return FileProblem(path, "may not be written", "check the folder's permissions or choose another with --out")
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return FileProblem(path, f"cannot be written: {path.parent} is not a folder", "choose another place")
    return FileProblem(path, f"could not be written: {error.strerror or error}", "choose another place")


def sync_folder(folder: Path) -> None:
    """Flushes a folder's entries, so that a rename survives a power cut. Systems that cannot are left alone."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def check_space(folder: str | Path, needed: int) -> None:
    """Refuses before work begins when the disk of ``folder`` has fewer than ``needed`` bytes free.

    Raises:
        FileProblem: not enough room; says how much there is and how much is needed.
    """
    folder = _existing(Path(folder))
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise FileProblem(
            folder,
            f"the disk has {size_text(free)} free, {size_text(needed)} are needed",
            "free some room or choose another with --out",
        )


def remove_leftovers(folder: Path) -> int:
    """Deletes temporary files that a killed writer left in ``folder``; returns how many."""
    leftovers = [p for p in folder.glob(f".*{PART_SUFFIX}*") if p.is_file()]
    for leftover in leftovers:
        with contextlib.suppress(OSError):
            leftover.unlink()
    return len(leftovers)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.stem[:100]}.{os.getpid()}-{secrets.token_hex(4)}{PART_SUFFIX}{path.suffix}")


def _existing(folder: Path) -> Path:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _free(path: Path) -> str:
    try:
        return f" ({size_text(shutil.disk_usage(_existing(path.parent)).free)} free)"
    except OSError:
        return ""
