"""PLY headers, read and judged before any of the data is; then columns of an element.

plyfile and trimesh believe a header and allocate what it claims; this module refuses a claim that the file's size cannot hold.
Elements of fixed row size are then read in one go; text and lists go through plyfile.
"""

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from jaxtyping import Float

from interactive3d.runtime.output.problems import FileProblem, size_text

MAX_HEADER = 1 << 18
_ROWS_AT_ONCE = 1 << 16
# Text and lists are parsed number by number in Python.
MAX_PARSED = 512 << 20
_NUMPY = {
    **dict.fromkeys(("char", "int8", "i1"), "i1"),
    **dict.fromkeys(("uchar", "uint8", "u1"), "u1"),
    **dict.fromkeys(("short", "int16", "i2"), "i2"),
    **dict.fromkeys(("ushort", "uint16", "u2"), "u2"),
    **dict.fromkeys(("int", "int32", "i4"), "i4"),
    **dict.fromkeys(("uint", "uint32", "u4"), "u4"),
    **dict.fromkeys(("float", "float32", "f4"), "f4"),
    **dict.fromkeys(("double", "float64", "f8"), "f8"),
}
TYPE_SIZE = {name: int(kind[1]) for name, kind in _NUMPY.items()}
_INTEGERS = {name for name, kind in _NUMPY.items() if kind[0] in "iu"}
_FORMATS = {"ascii": "ascii", "binary_little_endian": "little", "binary_big_endian": "big"}
_END = re.compile(rb"(?:^|[\r\n])end_header[ \t]*(\r\n|\n|\r)")
AGAIN = "export or download it again"


@dataclass(frozen=True)
class PlyProperty:
    """One property: its name, value type, and the type of the length when it is a list."""

    name: str
    type: str
    length_type: str | None = None


@dataclass(frozen=True)
class PlyElement:
    """One element: its name, row count and properties."""

    name: str
    count: int
    properties: tuple[PlyProperty, ...]

    @property
    def has_list(self) -> bool:
        return any(p.length_type for p in self.properties)

    def names(self) -> set[str]:
        """Names of the properties."""
        return {p.name for p in self.properties}

    def least_bytes(self, text: bool) -> int:
        """The fewest bytes that a row can take: an empty list has its length alone, a number in text one digit and one separator."""
        if text:
            return 2 * len(self.properties)
        return sum(TYPE_SIZE[p.length_type or p.type] for p in self.properties)


@dataclass(frozen=True)
class PlyHeader:
    """What a PLY file says it holds. ``data_offset`` is in bytes."""

    format: Literal["ascii", "little", "big"]
    elements: tuple[PlyElement, ...]
    comments: tuple[str, ...]
    data_offset: int

    def element(self, name: str) -> PlyElement | None:
        """The element of this name, or None."""
        return next((e for e in self.elements if e.name == name), None)


def read_ply_header(path: Path, stream: BinaryIO, size: int) -> PlyHeader:
    """Reads the header at the stream's start and checks it against the file's ``size`` in bytes.

    Raises:
        FileProblem: not a PLY file, a malformed header, or more rows than the file can hold.
    """
    stream.seek(0)
    start = stream.read(min(size, MAX_HEADER))
    if not re.match(rb"ply[ \t]*[\r\n]", start):
        raise FileProblem(
            path,
            "is not a PLY file: it does not begin with the line 'ply'",
            "check the name, or name it by its real format",
        )
    end = _END.search(start)
    if end is None:
        raise FileProblem(path, f"has no end_header line in its first {len(start)} bytes", AGAIN)
    lines = re.split(r"\r\n|\n|\r", start[: end.start()].decode("latin-1"))[1:]
    header = _parse(path, lines, end.end())
    check_ply_sizes(path, header, size)
    return header


def check_ply_sizes(path: Path, header: PlyHeader, size: int) -> None:
    """Refuses a header that claims more rows than the file's ``size`` in bytes can hold."""
    room = size - header.data_offset
    text = header.format == "ascii"
    for element in header.elements:
        if element.count == 0:
            continue
        if not element.properties:
            raise FileProblem(path, f"has {element.count} rows of element {element.name!r} without properties", AGAIN)
        # The last number of a text needs no separator behind it.
        least = element.count * element.least_bytes(text) - int(text)
        if least > room:
            raise FileProblem(
                path,
                f"says it holds {element.count} rows of {element.name!r}, which take at least {size_text(least)}, but {size_text(max(room, 0))} are left",
                f"the file is cut short or its header is wrong; {AGAIN}",
            )
        room -= least


def ply_columns(
    path: Path, stream: BinaryIO, size: int, header: PlyHeader, element: str, wanted: Sequence[str]
) -> dict[str, Float[np.ndarray, "n"]]:
    """Columns of one element as float32. The header must come from :func:`read_ply_header`.

    Raises:
        FileProblem: the data does not follow the header.
    """
    names = [e.name for e in header.elements]
    before = header.elements[: names.index(element)]
    found = header.elements[names.index(element)]
    # numpy tells of numbers that do not fit float32; whoever asked judges the rows.
    with np.errstate(all="ignore"):
        if header.format != "ascii" and not any(e.has_list for e in (*before, found)):
            stream.seek(header.data_offset + sum(e.count * e.least_bytes(text=False) for e in before))
            return _fixed_rows(path, stream, header, found, wanted)
        data = _through_plyfile(path, stream, size, header, element)
        return {name: np.array(data[name], dtype=np.float32) for name in wanted}


def _fixed_rows(
    path: Path, stream: BinaryIO, header: PlyHeader, element: PlyElement, wanted: Sequence[str]
) -> dict[str, Float[np.ndarray, "n"]]:
    order = "<" if header.format == "little" else ">"
    dtype = np.dtype([(p.name, order + _NUMPY[p.type]) for p in element.properties])
    columns = {name: np.empty(element.count, np.float32) for name in wanted}
    # In pieces: a row may hold many coefficients that nobody asked for.
    for start in range(0, element.count, _ROWS_AT_ONCE):
        rows = min(_ROWS_AT_ONCE, element.count - start)
        data = np.frombuffer(stream.read(rows * dtype.itemsize), dtype=dtype)
        if len(data) != rows:
            raise FileProblem(
                path, f"ends after {start + len(data)} of {element.count} rows of {element.name!r}", AGAIN
            )
        for name, column in columns.items():
            column[start : start + rows] = data[name]
    return columns


def _through_plyfile(path: Path, stream: BinaryIO, size: int, header: PlyHeader, element: str) -> np.ndarray:
    import plyfile

    if size > MAX_PARSED:
        raise FileProblem(path, f"has text or lists and {size_text(size)}", "export it as binary PLY without lists")
    stream.seek(0)
    # plyfile insists on ASCII headers. And from memory, a list that claims 2^32 entries reads no further than the file goes.
    head = stream.read(header.data_offset).decode("latin-1").encode("ascii", "replace")
    try:
        return plyfile.PlyData.read(io.BytesIO(head + stream.read(size)))[element].data
    except Exception as error:
        # A foreign parser on foreign data: whatever it raises means that the file does not hold what its header says.
        raise FileProblem(path, f"cannot be read as PLY: {error or type(error).__name__}", AGAIN) from error


def _parse(path: Path, lines: list[str], data_offset: int) -> PlyHeader:
    format: str | None = None
    elements: list[PlyElement] = []
    comments: list[str] = []
    for number, line in enumerate(lines, start=2):
        words = line.split()
        where = f"header line {number}"
        if not words:
            continue
        match words:
            case ["format", name, _] if name in _FORMATS:
                format = _FORMATS[name]
            case ["format", *_]:
                raise FileProblem(
                    path,
                    f"has the unknown format {' '.join(words[1:])!r}",
                    f"expected one of {', '.join(_FORMATS)}",
                    where=where,
                )
            case ["comment" | "obj_info", *_]:
                comments.append(line.strip().partition(" ")[2].strip())
            case ["element", name, count]:
                if not count.isdecimal() or not count.isascii() or len(count) > 18:
                    raise FileProblem(
                        path, f"has the row count {count[:40]!r}", f"expected a whole number; {AGAIN}", where=where
                    )
                if any(e.name == name for e in elements):
                    raise FileProblem(path, f"has two elements called {name!r}", AGAIN, where=where)
                elements.append(PlyElement(name, int(count), ()))
            case ["property", *_] if not elements:
                raise FileProblem(path, "has a property before any element", AGAIN, where=where)
            case ["property", *rest]:
                last = elements[-1]
                elements[-1] = PlyElement(last.name, last.count, (*last.properties, _property(path, rest, last, where)))
            case _:
                raise FileProblem(path, f"has the unknown header line {line.strip()[:60]!r}", AGAIN, where=where)
    if format is None:
        raise FileProblem(path, "has no format line in its header", AGAIN)
    return PlyHeader(format, tuple(elements), tuple(comments), data_offset)  # type: ignore[arg-type]


def _property(path: Path, words: list[str], element: PlyElement, where: str) -> PlyProperty:
    match words:
        case ["list", length, kind, name]:
            found = PlyProperty(name, kind, length)
        case [kind, name]:
            found = PlyProperty(name, kind)
        case _:
            raise FileProblem(path, f"has the malformed property {' '.join(words)[:60]!r}", AGAIN, where=where)
    for used in (found.type, found.length_type):
        if used is not None and used not in TYPE_SIZE:
            raise FileProblem(
                path,
                f"property {found.name!r} has the unknown type {used[:40]!r}",
                f"expected one of {', '.join(TYPE_SIZE)}",
                where=where,
            )
    if found.length_type is not None and found.length_type not in _INTEGERS:
        raise FileProblem(
            path,
            f"list property {found.name!r} has lengths of type {found.length_type}",
            f"expected whole numbers; {AGAIN}",
            where=where,
        )
    if found.name in element.names():
        raise FileProblem(
            path, f"element {element.name!r} has two properties called {found.name!r}", AGAIN, where=where
        )
    return found


def sh_degree(names: set[str]) -> int:
    """Degree of the spherical harmonics whose ``f_rest_*`` coefficients are among ``names``; incomplete sets count as the lower one."""
    count = 0
    while f"f_rest_{count}" in names:
        count += 1
    return min(math.isqrt(count // 3 + 1) - 1, 4)
