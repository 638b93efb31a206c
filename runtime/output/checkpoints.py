"""Snapshot files: tensors and a JSON record in one safetensors file, written atomically, checked when read.

The record rides in the file's ``__metadata__`` as text. A SHA-256 over the tensors and that text lies beside it, so a file that was cut
short or has a flipped bit is refused instead of being gone on from. Anybody's safetensors reader opens these files.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from torch import Tensor

from interactive3d.runtime.output.atomic import atomic_file, remove_leftovers
from interactive3d.runtime.output.digests import state_digest
from interactive3d.runtime.output.problems import FileProblem, open_file, size_text, suffixed

FORMAT = "interactive3d snapshot"
VERSION = 1
SUFFIX = ".safetensors"
TENSORS = suffixed("a field or a checkpoint", (SUFFIX,))
MAX_SNAPSHOT = 16 << 30
# The safetensors library's own bound on headers.
MAX_HEADER = 100_000_000
OLDER = "use an older checkpoint, or run the script anew"

_STEP = re.compile(r"step-(\d{1,15})")


@dataclass(frozen=True, kw_only=True)
class NewestSnapshot:
    """The newest snapshot of a folder that is whole (None where there is none), and why newer ones were passed over."""

    path: Path | None
    skipped: tuple[FileProblem, ...] = ()


def snapshot_name(step: int) -> str:
    """File name of the snapshot of a step; names sort like steps."""
    if step < 0:
        raise ValueError(f"step: expected 0 or more, got {step}")
    return f"step-{step:08d}{SUFFIX}"


def save_snapshot(path: str | Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Writes tensors (from any device) and a record that JSON can hold; atomic.

    Raises:
        FileProblem: the disk is full or the place cannot be written.
        TypeError: ``meta`` is not JSON, or a value is not a dense tensor.
    """
    import safetensors.torch

    text = json.dumps(dict(meta), sort_keys=True)
    # Clones, for safetensors refuses tensors that share memory.
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    metadata = {"format": FORMAT, "version": str(VERSION), "meta": text, "sha256": _checksum(plain, text)}
    content = safetensors.torch.save(plain, metadata=metadata)
    with atomic_file(path) as stream:
        stream.write(content)


def load_snapshot(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors (on the CPU) and the record of a snapshot.

    Raises:
        FileProblem: missing, cut short, damaged, not a snapshot, or of another version.
    """
    import safetensors.torch

    path = Path(path)
    with open_file(path, at_most=MAX_SNAPSHOT) as (stream, size):
        metadata = _metadata(path, stream, size)
        stream.seek(0)
        content = stream.read(size)
    try:
        tensors = safetensors.torch.load(content)
    except Exception as error:
        # A foreign parser on a damaged file: whatever it raises means damage.
        raise FileProblem(path, f"is damaged: {error or type(error).__name__}", OLDER) from error
    if _checksum(tensors, metadata["meta"]) != metadata["sha256"]:
        raise FileProblem(path, "is damaged: its checksum does not fit its content", OLDER)
    return tensors, json.loads(metadata["meta"])


def read_snapshot_meta(path: str | Path) -> dict[str, Any]:
    """The record alone, without reading or checking the tensors.

    Raises:
        FileProblem: as :func:`load_snapshot`, damage in the tensors excepted.
    """
    path = Path(path)
    with open_file(path, at_most=MAX_SNAPSHOT) as (stream, size), _damage(path):
        meta = json.loads(_metadata(path, stream, size)["meta"])
        if isinstance(meta, dict):
            return meta
    raise FileProblem(path, "is damaged: its record is not an object", OLDER)


def newest_whole(folder: str | Path) -> NewestSnapshot:
    """The snapshot of the highest step that reads back whole; a folder that does not exist holds none.

    Of several of one step it is the one without a name of its own: what was done by hand at that step is in no other.
    """
    skipped: list[FileProblem] = []
    for path in sorted(
        snapshots(folder), key=lambda p: (step_of(p), p.name == snapshot_name(step_of(p))), reverse=True
    ):
        try:
            load_snapshot(path)
        except FileProblem as problem:
            skipped.append(problem)
        else:
            return NewestSnapshot(path=path, skipped=tuple(skipped))
    return NewestSnapshot(path=None, skipped=tuple(skipped))


def snapshots(folder: str | Path) -> list[Path]:
    """Snapshot files of a folder by rising step, whole or not."""
    found = [p for p in Path(folder).glob(f"*{SUFFIX}") if _STEP.search(p.stem) and not p.name.startswith(".")]
    return sorted(found, key=lambda p: (step_of(p), p.name))


def step_of(path: Path) -> int:
    """The step that a snapshot's name tells."""
    match = _STEP.search(path.stem)
    if match is None:
        raise ValueError(f"{path.name}: expected a name like {snapshot_name(0)}")
    return int(match[1])


def prune_snapshots(folder: str | Path, keep: int, always: frozenset[int] = frozenset()) -> list[Path]:
    """Deletes all but the ``keep`` newest snapshots and those of the steps in ``always``, and what killed writers left; returns what went."""
    if keep < 1:
        raise ValueError(f"keep: expected at least 1, got {keep}")
    remove_leftovers(Path(folder))
    old = [p for p in snapshots(folder)[:-keep] if step_of(p) not in always]
    return _unlink(old)


def drop_after(folder: str | Path, step: int) -> list[Path]:
    """Deletes snapshots of steps beyond ``step``: a run that goes back must not resume into the future that it left."""
    return _unlink([p for p in snapshots(folder) if step_of(p) > step])


def _unlink(paths: list[Path]) -> list[Path]:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
    return paths


def _checksum(tensors: Mapping[str, Tensor], text: str) -> str:
    return hashlib.sha256(f"{VERSION}|{state_digest(tensors)}|{text}".encode()).hexdigest()


@contextlib.contextmanager
def _damage(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, RecursionError, TypeError, KeyError, IndexError, OverflowError) as error:
        if isinstance(error, FileProblem):
            raise
        raise FileProblem(path, f"is damaged: {error}", OLDER) from error


def _metadata(path: Path, stream: BinaryIO, size: int) -> dict[str, str]:
    """The header's ``__metadata__``, checked with the sizes that the header claims before any tensor is read."""
    length = int.from_bytes(stream.read(8), "little")
    if size < 8 or length > min(size - 8, MAX_HEADER):
        raise FileProblem(
            path,
            f"is no snapshot or cut short: {size_text(size)}, its header would take {size_text(length)}",
            OLDER,
        )
    with _damage(path):
        header = json.loads(stream.read(length))
        found = header.pop("__metadata__", None) if isinstance(header, dict) else None
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise FileProblem(
                path,
                "is a safetensors file, but no snapshot of this program",
                "name a file of a run's checkpoints folder",
            )
        if found.get("version") != str(VERSION):
            raise FileProblem(
                path,
                f"is a snapshot of version {str(found.get('version'))[:20]}, this program reads {VERSION}",
                "use the program that wrote it, or run the script anew",
            )
        if not all(isinstance(found.get(key), str) for key in ("meta", "sha256")):
            raise FileProblem(path, "is damaged: its record is missing", OLDER)
        claimed = max((int(entry["data_offsets"][1]) for entry in header.values()), default=0)
        if claimed != size - 8 - length:
            raise FileProblem(
                path,
                f"is damaged: it should hold {size_text(claimed)} of tensors, but holds {size_text(size - 8 - length)}",
                OLDER,
            )
        return found
    raise AssertionError("unreachable")
