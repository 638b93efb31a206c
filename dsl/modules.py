"""Reading scripts, and `use`: which file a path means, and that it stays below its root."""

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from interactive3d.dsl.program import CheckContext, SourceFile

MAX_BYTES = 8 * 1024 * 1024
SUFFIX = ".sculpt"


class ReadFault(ValueError):
    """Why a file cannot be used: a code and what its message needs."""

    def __init__(self, code: str, **fields: str) -> None:
        super().__init__(code)
        self.code = code
        self.fields = fields


@dataclass(frozen=True, slots=True)
class Found:
    """A file to import: where it is, and the root that it and its own imports must stay below."""

    path: Path
    root: Path


def digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def source_file(path: str, text: str) -> SourceFile:
    return SourceFile(path=path, sha256=digest(text))


def read_script(path: Path, context: CheckContext) -> str:
    """The text of a script. ReadFault when it is not there, not a text or too long."""
    if context.read_text is not None:
        try:
            text = context.read_text(path)
        except OSError as fault:
            raise ReadFault("E0701", path=str(path), reason=fault.strerror or str(fault)) from fault
    else:
        try:
            if path.stat().st_size > MAX_BYTES:
                raise ReadFault("E0113", reason=f"it is longer than {MAX_BYTES >> 20} MB")
            raw = path.read_bytes()
        except OSError as fault:
            raise ReadFault("E0701", path=str(path), reason=fault.strerror or str(fault)) from fault
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as fault:
            raise ReadFault("E0113", reason=f"byte {fault.start} is not UTF-8") from fault
    fault_in = text_fault(text)
    if fault_in is not None:
        raise ReadFault("E0113", reason=fault_in)
    return text.replace("\r\n", "\n")


def text_fault(text: str) -> str | None:
    """Why a text cannot be a script, or None."""
    if "\0" in text:
        return "it holds a NUL character"
    if len(text) > MAX_BYTES:
        return f"it is longer than {MAX_BYTES >> 20} MB"
    return None


def locate(written: str, folder: Path, root: Path, context: CheckContext) -> Found:
    """The file that `use "…"` means: below the importing file's folder, else in the library. ReadFault for anything else."""
    if "\\" in written:
        raise ReadFault("E0703", path=written, why="paths are written with `/`")
    pure = PurePosixPath(written)
    if pure.is_absolute() or PureWindowsPath(written).drive or written.startswith("~"):
        raise ReadFault("E0703", path=written, why="an import is relative")
    if ".." in pure.parts:
        raise ReadFault("E0702", path=written)
    if pure.suffix != SUFFIX:
        raise ReadFault("E0710", path=written)
    places = [(folder, root)]
    if context.library is not None:
        places += [(context.library, context.library)]
    for base, limit in places:
        candidate = base / pure
        if not _readable(candidate, context):
            continue
        if not candidate.resolve().is_relative_to(limit.resolve()):
            raise ReadFault("E0704", path=written, target=str(candidate.resolve()))
        return Found(path=candidate, root=limit)
    raise ReadFault("E0701", path=written, reason="no such file below the script's folder or in the library")


def _readable(path: Path, context: CheckContext) -> bool:
    if context.read_text is None:
        return path.is_file()
    try:
        context.read_text(path)
    except OSError:
        return False
    return True
