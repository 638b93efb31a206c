"""Names and what they stand for, and the types of values that an expression can have."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from interactive3d.dsl.nodes import GestureDecl
from interactive3d.dsl.operations import NamedPart
from interactive3d.dsl.source import Source
from interactive3d.dsl.values import PART_KINDS, SHAPE_KINDS, OrbitView


class Bad:
    """The value of an expression that was already reported: everything made from it is bad too, silently."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "BAD"


BAD = Bad()


@dataclass(frozen=True, slots=True)
class Angle:
    degrees: float


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    values: tuple[Any, ...]


@dataclass(slots=True)
class Bound:
    """A name in a scope. `kind` is let, param, part, view, tag, loop, argument, gesture or module."""

    name: str
    kind: str
    value: Any
    source: Source
    start: int
    end: int
    used: bool = False


@dataclass(slots=True)
class Gesture:
    """A gesture and the scope that its body sees."""

    node: GestureDecl
    source: Source
    scope: "Scope"
    running: bool = False


@dataclass(slots=True)
class Scope:
    """Names of one block, file or call; what is not here is looked for outside."""

    outer: "Scope | None" = None
    names: dict[str, Bound] = field(default_factory=dict)

    def find(self, name: str) -> Bound | None:
        scope: Scope | None = self
        while scope is not None:
            bound = scope.names.get(name)
            if bound is not None:
                return bound
            scope = scope.outer
        return None

    def visible(self) -> Iterator[Bound]:
        """All names that can be used here, inner ones first."""
        seen: set[str] = set()
        scope: Scope | None = self
        while scope is not None:
            for name, bound in scope.names.items():
                if name not in seen:
                    seen.add(name)
                    yield bound
            scope = scope.outer


_PARTS = frozenset(PART_KINDS)
_SHAPES = frozenset(SHAPE_KINDS)


def type_of(value: Any) -> str:
    """number, angle, vector, text, truth, part, shape, view, list or bad."""
    kind = type(value)
    if kind is float or kind is int:
        return "number"
    if kind is tuple:
        return "vector"
    if kind is str:
        return "text"
    if kind is bool:
        return "truth"
    if kind is Angle:
        return "angle"
    if kind in _PARTS or kind is NamedPart:
        return "part"
    if kind in _SHAPES:
        return "shape"
    if kind is OrbitView:
        return "view"
    if kind is Items:
        return "list"
    return "bad"


ARTICLES = {
    "number": "a number",
    "whole": "a whole number",
    "angle": "an angle",
    "vector": "a vector",
    "point": "a point",
    "color": "a colour",
    "text": "a text",
    "truth": "on or off",
    "part": "a part",
    "shape": "a shape",
    "view": "a view",
    "list": "a list",
}
