"""The syntax tree: what the parser builds and the checker reads. Every node knows its first and last offset in the text.

Operations and settings share one form, `Op`, a keyword with clauses; what each clause means is the checker's business.
"""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Node:
    start: int
    end: int


# Expressions.


@dataclass(frozen=True, slots=True)
class Number(Node):
    value: float
    whole: bool


@dataclass(frozen=True, slots=True)
class Text(Node):
    """`value` has its escapes resolved; `{name}` in it is not yet filled in."""

    value: str


@dataclass(frozen=True, slots=True)
class Hex(Node):
    """`#rrggbb`."""

    value: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Name(Node):
    """A name, perhaps with dots: `wings`, `lib.flap`, `back.x`, `lr.position`."""

    text: str


@dataclass(frozen=True, slots=True)
class Tuple(Node):
    items: "tuple[Expr, ...]"


@dataclass(frozen=True, slots=True)
class VectorOf(Node):
    """`(1, 2, 3)`: three plain numbers."""

    value: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class ListOf(Node):
    items: "tuple[Expr, ...]"


@dataclass(frozen=True, slots=True)
class Unary(Node):
    op: str
    operand: "Expr"
    depth: int


@dataclass(frozen=True, slots=True)
class Binary(Node):
    op: str
    left: "Expr"
    right: "Expr"
    depth: int


@dataclass(frozen=True, slots=True)
class UnitOf(Node):
    unit: str
    operand: "Expr"


@dataclass(frozen=True, slots=True)
class Argument(Node):
    name: Name | None
    value: "Expr"


@dataclass(frozen=True, slots=True)
class Call(Node):
    """A function in an expression, a gesture as a statement. `name` excludes the bracket."""

    name: Name
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class ShapeOf(Node):
    """`kind` and its operands in the order they are written; what is left out at the end is missing."""

    kind: str
    operands: "tuple[Expr, ...]"


@dataclass(frozen=True, slots=True)
class ColorOf(Node):
    color: "Expr"
    tolerance: "Expr | None"


@dataclass(frozen=True, slots=True)
class ClickOf(Node):
    clicks: "tuple[tuple[Expr, Expr], ...]"
    size: "Expr | None"


@dataclass(frozen=True, slots=True)
class SegmentOf(Node):
    text: "Expr"


@dataclass(frozen=True, slots=True)
class Clause(Node):
    """`radius 0.1`, `noise 0.02 .. 0.5`: a name and its operands. The span covers the clause's own word."""

    name: str
    values: "tuple[Expr, ...]"


@dataclass(frozen=True, slots=True)
class OrbitOf(Node):
    clauses: tuple[Clause, ...]


@dataclass(frozen=True, slots=True)
class Broken(Node):
    """Where a statement or a value could not be read; already reported."""


Expr: TypeAlias = (
    Broken
    | Number
    | Text
    | Hex
    | Name
    | Tuple
    | VectorOf
    | ListOf
    | Unary
    | Binary
    | UnitOf
    | Call
    | ShapeOf
    | ColorOf
    | ClickOf
    | SegmentOf
    | OrbitOf
)


# Statements.


@dataclass(frozen=True, slots=True)
class Op(Node):
    keyword: str
    clauses: tuple[Clause, ...]


@dataclass(frozen=True, slots=True)
class Block(Node):
    statements: "tuple[Statement, ...]"


@dataclass(frozen=True, slots=True)
class Moment(Node):
    """`kind` is the rule's name in the grammar: at_step, from_to, …; `name` a label or a metric."""

    kind: str
    name: Name | None
    values: "tuple[Expr, ...]"


@dataclass(frozen=True, slots=True)
class Event(Node):
    label: Name | None
    moment: Moment | None
    action: Op | Block | Call


@dataclass(frozen=True, slots=True)
class Range(Node):
    low: Expr
    high: Expr


@dataclass(frozen=True, slots=True)
class ParamDecl(Node):
    name: Name
    value: Expr
    range: Range | None
    help: Text | None


@dataclass(frozen=True, slots=True)
class Binding(Node):
    """`let`, `part` or `view` (`kind`) NAME = value."""

    kind: str
    name: Name
    value: Expr


@dataclass(frozen=True, slots=True)
class Formal(Node):
    name: Name
    type: Name
    default: Expr | None
    range: Range | None
    help: Text | None


@dataclass(frozen=True, slots=True)
class GestureDecl(Node):
    name: Name
    formals: tuple[Formal, ...]
    help: Text | None
    body: Block


@dataclass(frozen=True, slots=True)
class Use(Node):
    path: Text
    alias: Name | None


@dataclass(frozen=True, slots=True)
class ForEach(Node):
    name: Name
    domain: Expr | Range
    body: Block


@dataclass(frozen=True, slots=True)
class IfThen(Node):
    condition: Expr
    then: Block
    otherwise: "Block | IfThen | None"


Statement: TypeAlias = Event | ParamDecl | Binding | GestureDecl | Use | ForEach | IfThen | Broken
