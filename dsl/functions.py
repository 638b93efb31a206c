"""The functions that an expression may call."""

import math
from collections.abc import Callable
from typing import Any

from interactive3d.dsl.lexer import Report
from interactive3d.dsl.nodes import Call
from interactive3d.dsl.scope import ARTICLES, BAD, Angle, type_of
from interactive3d.dsl.tidy import tidy_number, tidy_sum


def _mix(a: Any, b: Any, t: float) -> Any:
    if type(a) is tuple:
        return tuple(_mix(p, q, t) for p, q in zip(a, b, strict=True))
    if type(a) is Angle:
        return Angle(_mix(a.degrees, b.degrees, t))
    return tidy_sum(a + (b - a) * t, a, b)


def _normalize(v: tuple[float, float, float]) -> Any:
    size = math.hypot(*v)
    return tuple(tidy_number(c / size) for c in v) if size else math.nan


def _turn(wave: Callable[[float], float]) -> Callable[[Any], float]:
    # To twelve places, for the cosine of 90 degrees is 0.
    return lambda a: tidy_sum(wave(math.radians(a.degrees if type(a) is Angle else a)), 1.0)


# Name -> (signatures, function, what it gives). A signature is a tuple of types; `number+` is one or more numbers.
FUNCTIONS: dict[str, tuple[tuple[tuple[str, ...], ...], Callable[..., Any], str]] = {
    "mix": (
        (("number", "number", "number"), ("vector", "vector", "number"), ("angle", "angle", "number")),
        _mix,
        "mix(a, b, t): a at t = 0, b at t = 1, evenly between; numbers, angles, vectors or colours",
    ),
    "min": ((("number", "number+"),), min, "min(a, b, …): the smallest of numbers"),
    "max": ((("number", "number+"),), max, "max(a, b, …): the largest of numbers"),
    "sqrt": ((("number",),), lambda a: tidy_number(math.sqrt(a)) if a >= 0 else math.nan, "sqrt(a): the square root"),
    "sin": ((("angle",), ("number",)), _turn(math.sin), "sin(a): of an angle, or of a number of degrees"),
    "cos": ((("angle",), ("number",)), _turn(math.cos), "cos(a): of an angle, or of a number of degrees"),
    "length": ((("vector",),), lambda v: tidy_number(math.hypot(*v)), "length(v): of a vector"),
    "normalize": ((("vector",),), _normalize, "normalize(v): the vector of length 1 in the same direction"),
    "abs": ((("number",),), abs, "abs(a): without its sign"),
    "floor": ((("number",),), lambda a: float(math.floor(a)), "floor(a): the whole number at or below it"),
    "round": (
        (("number",),),
        lambda a: float(math.floor(a + 0.5)),
        "round(a): the nearest whole number, halves upwards",
    ),
}


def _fits(signature: tuple[str, ...], kinds: list[str]) -> bool:
    if signature and signature[-1].endswith("+"):
        fixed = signature[:-1]
        return len(kinds) > len(fixed) and all(k == signature[0] for k in kinds)
    return list(signature) == kinds


def call_function(report: Report, node: Call, values: list[Any]) -> Any:
    """The value of a call of a known function whose arguments are good."""
    signatures, function, usage = FUNCTIONS[node.name.text]
    kinds = [type_of(value) for value in values]
    if not any(_fits(signature, kinds) for signature in signatures):
        given = ", ".join(ARTICLES[kind] for kind in kinds) or "nothing"
        report("E0306", node.start, node.end, name=node.name.text, given=given, help=usage)
        return BAD
    value = function(*values)
    if type(value) is float and not math.isfinite(value):
        report("E0406", node.start, node.end, what=f"`{node.name.text}` of this")
        return BAD
    return value
