"""Operators on values."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from interactive3d.dsl import nodes as n
from interactive3d.dsl.scope import ARTICLES, BAD, Angle, type_of
from interactive3d.dsl.tidy import tidy_number, tidy_sum
from interactive3d.dsl.values import (
    DeclaredPart,
    DifferencePart,
    GrowPart,
    IntersectionPart,
    NotPart,
    ShapePart,
    UnionPart,
)

if TYPE_CHECKING:
    from interactive3d.dsl.evaluate import Evaluator

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def as_part(value: Any) -> Any:
    """A shape where a part is wanted selects what is inside it."""
    return ShapePart(shape=value) if type_of(value) == "shape" else value


def as_shape(value: Any) -> Any:
    """The shape that a declared part is, or None."""
    while type(value) is DeclaredPart:
        value = value.part
    return value.shape if type(value) is ShapePart else value if type_of(value) == "shape" else None


def unary(evaluate: "Evaluator", node: n.Unary) -> Any:
    value = evaluate(node.operand)
    kind = type_of(value)
    if kind == "bad":
        return BAD
    if node.op == "-":
        if kind == "number":
            return -value
        if kind == "angle":
            return Angle(-value.degrees)
        if kind == "vector":
            return (-value[0], -value[1], -value[2])
    else:
        if kind == "truth":
            return not value
        if kind in ("part", "shape"):
            return NotPart(part=as_part(value))
    evaluate.report("E0302", node.start, node.end, op=node.op, types=ARTICLES[kind], help=None)
    return BAD


def binary(evaluate: "Evaluator", node: n.Binary) -> Any:
    op = node.op
    left, right = evaluate(node.left), evaluate(node.right)
    if left is BAD or right is BAD:
        return BAD
    kinds = (type_of(left), type_of(right))
    if kinds == ("number", "number"):
        return _numbers(evaluate, node, op, left, right)
    result = _combine(op, kinds, left, right)
    if type(result) in (tuple, Angle, float):
        evaluate.reporter.compute()
    if result is ZERO_DIVISION:
        evaluate.report("E0405", node.right.start, node.right.end)
        return BAD
    if result is None:
        evaluate.report(
            "E0302",
            node.start,
            node.end,
            op=op,
            types=f"{ARTICLES[kinds[0]]} and {ARTICLES[kinds[1]]}",
            help=_operator_help(op, kinds),
        )
        return BAD
    return result


def _numbers(evaluate: "Evaluator", node: n.Binary, op: str, a: float, b: float) -> Any:
    if op == "+":
        value = tidy_sum(a + b, a, b)
    elif op == "-":
        value = tidy_sum(a - b, a, b)
    elif op == "*":
        value = tidy_number(a * b)
    elif op == "/":
        if b == 0:
            evaluate.report("E0405", node.right.start, node.right.end)
            return BAD
        value = tidy_number(a / b)
    elif op == "^":
        try:
            value = a**b
        except (OverflowError, ZeroDivisionError):
            value = math.inf
        if isinstance(value, complex):
            value = math.nan
        value = tidy_number(value)
    elif op in _COMPARE:
        return _COMPARE[op](a, b)
    elif op in ("==", "!="):
        return (a == b) == (op == "==")
    else:
        evaluate.report(
            "E0302",
            node.start,
            node.end,
            op=op,
            types="a number and a number",
            help=_operator_help(op, ("number", "number")),
        )
        return BAD
    if not math.isfinite(value):
        evaluate.report("E0406", node.start, node.end, what="this")
        return BAD
    if value != int(value):
        evaluate.reporter.compute()
    return float(value)


ZERO_DIVISION = object()
_PART_OPERATORS = {"+": UnionPart, "-": DifferencePart, "&": IntersectionPart}


def _combine(op: str, kinds: tuple[str, str], a: Any, b: Any) -> Any:
    """The value of `a op b` for everything but two numbers, None when there is none, ZERO_DIVISION for that."""
    if kinds[0] in ("part", "shape"):
        if kinds[1] in ("part", "shape") and op in _PART_OPERATORS:
            return _PART_OPERATORS[op](left=as_part(a), right=as_part(b))
        if op == "grow" and kinds[1] == "number":
            return GrowPart(part=as_part(a), by=b)
        return None
    if op in ("==", "!=") and kinds[0] == kinds[1] and kinds[0] in ("truth", "text", "angle", "vector"):
        return (a == b) == (op == "==")
    if kinds == ("vector", "vector"):
        if op in "+-":
            sign = 1 if op == "+" else -1
            return tuple(tidy_sum(p + sign * q, p, q) for p, q in zip(a, b, strict=True))
    elif kinds == ("vector", "number"):
        if op == "*":
            return _scaled(a, b)
        if op == "/":
            return tuple(tidy_number(p / b) for p in a) if b else ZERO_DIVISION
    elif kinds == ("number", "vector"):
        if op == "*":
            return _scaled(b, a)
    elif kinds == ("angle", "angle"):
        return _angles(op, a.degrees, b.degrees)
    elif kinds == ("angle", "number"):
        if op == "*":
            return Angle(tidy_number(a.degrees * b))
        if op == "/":
            return Angle(tidy_number(a.degrees / b)) if b else ZERO_DIVISION
    elif kinds == ("number", "angle"):
        if op == "*":
            return Angle(tidy_number(a * b.degrees))
    elif kinds == ("truth", "truth") and op in ("and", "or"):
        return (a and b) if op == "and" else (a or b)
    return None


def _scaled(vector: tuple[float, ...], by: float) -> tuple[float, ...]:
    return tuple(tidy_number(component * by) for component in vector)


def _angles(op: str, a: float, b: float) -> Any:
    if op == "+":
        return Angle(tidy_sum(a + b, a, b))
    if op == "-":
        return Angle(tidy_sum(a - b, a, b))
    if op == "/":
        return tidy_number(a / b) if b else ZERO_DIVISION
    return _COMPARE[op](a, b) if op in _COMPARE else None


def _operator_help(op: str, kinds: tuple[str, str]) -> str | None:
    if "angle" in kinds and "number" in kinds and op in ("+", "-", "<", ">", "<=", ">="):
        return "give the number its unit: 20 deg"
    if kinds == ("vector", "vector") and op in ("*", "/"):
        return "vectors are scaled by numbers; take them apart with .x .y .z"
    if {"part", "shape"} & set(kinds) and op in ("and", "or"):
        return "parts are joined by + and intersected by &"
    if "part" in kinds or "shape" in kinds:
        return "parts are combined by + - & not and grow"
    return None
