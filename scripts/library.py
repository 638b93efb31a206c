"""The library of gestures, read for its documentation: what each does, its arguments, its example and what the example shows.

The comment above a gesture is its documentation. Indented in it stands the example: the prompt of an object, perhaps parts, and a call
at step 80.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from interactive3d.dsl import nodes
from interactive3d.dsl.parser import parse

LIBRARY = Path(__file__).resolve().parent / "lib"

BASE_STEP = 80
"""Steps that an example's object is optimized before the gesture."""

_FAR = 100_000


@dataclass(frozen=True, kw_only=True)
class Argument:
    """One argument of a gesture, as written."""

    name: str
    type: str
    default: str = ""
    range: str = ""
    help: str = ""


@dataclass(frozen=True, kw_only=True)
class LibraryGesture:
    """A gesture of the library. `prompt` and `body` are its example's."""

    file: str
    name: str
    help: str
    about: str
    arguments: tuple[Argument, ...]
    prompt: str
    body: str

    @property
    def called(self) -> str:
        """As scripts call it."""
        return f"{self.file}.{self.name}"

    def script(self, *, steps: int = _FAR, settings: str = "") -> str:
        """The example as a whole script."""
        head = f'prompt "{self.prompt}"\nseed 1\nsteps {steps}\nsplats 3000 from text\n{settings}'
        return f'{head}use "lib/{self.file}.sculpt"\n{self.body}'


def read_library(folder: Path = LIBRARY) -> tuple[LibraryGesture, ...]:
    """All gestures, by file and in the order of the text."""
    found: list[LibraryGesture] = []
    for path in sorted(folder.glob("*.sculpt")):
        found += _gestures(path)
    return tuple(found)


def file_heading(file: str, folder: Path = LIBRARY) -> str:
    """The first comment of a file, up to the first empty line: what it is about."""
    lines = (folder / f"{file}.sculpt").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    return "\n".join(line.removeprefix("#").strip() for line in lines)


def _gestures(path: Path) -> list[LibraryGesture]:
    text = path.read_text(encoding="utf-8")
    body = parse(text, lambda code, *_, **__: _refuse(path, code))
    return [_gesture(path.stem, text, node) for node in body.statements if isinstance(node, nodes.GestureDecl)]


def _refuse(path: Path, code: str) -> None:
    raise ValueError(f"{path}: {code}; `interactive3d check {path}` says more")


def _gesture(file: str, text: str, node: nodes.GestureDecl) -> LibraryGesture:
    about, example = _comment_above(text, node.start)
    prompt, _, body = example.partition("\n")
    arguments = tuple(_argument(text, formal) for formal in node.formals)
    return LibraryGesture(
        file=file,
        name=node.name.text,
        help=_unquoted(text, node.help),
        about=about,
        arguments=arguments,
        prompt=prompt.removeprefix("prompt ").strip('"'),
        body=body,
    )


def _comment_above(text: str, start: int) -> tuple[str, str]:
    """What is said above a declaration, as prose and as the indented example."""
    lines: list[str] = []
    for line in reversed(text[:start].splitlines()):
        if not line.startswith("#"):
            break
        lines.insert(0, line[1:].removeprefix(" "))
    prose = " ".join(line for line in lines if line and not line.startswith("  "))
    example = "".join(f"{line[2:]}\n" for line in lines if line.startswith("  "))
    return prose, example


def _argument(text: str, formal: nodes.Formal) -> Argument:
    found = Argument(name=formal.name.text, type=formal.type.text, help=_unquoted(text, formal.help))
    if formal.default is not None:
        found = replace(found, default=_written(text, formal.default))
    if formal.range is not None:
        found = replace(found, range=_written(text, formal.range).removeprefix("in ").strip())
    return found


def _written(text: str, node: nodes.Node) -> str:
    return text[node.start : node.end].removeprefix("=").strip()


def _unquoted(text: str, node: nodes.Text | None) -> str:
    return "" if node is None else text[node.start : node.end].strip('"')
