"""Expressions to values. Faults are reported where they are, and the value is BAD."""

import math
import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from interactive3d.dsl import nodes as n
from interactive3d.dsl.functions import FUNCTIONS, call_function
from interactive3d.dsl.reporter import Reporter
from interactive3d.dsl.scope import ARTICLES, BAD, Angle, Bad, Bound, Items, Scope, type_of
from interactive3d.dsl.shapes import build_shape
from interactive3d.dsl.values import (
    X_AXIS,
    Y_AXIS,
    Z_AXIS,
    AllPart,
    Click,
    ClickPart,
    ColorPart,
    DeclaredPart,
    DifferencePart,
    GrowPart,
    IntersectionPart,
    NotPart,
    OrbitView,
    ShapePart,
    UnionPart,
)

CONSTANTS: dict[str, Any] = {"all": AllPart(), "on": True, "off": False, "x": X_AXIS, "y": Y_AXIS, "z": Z_AXIS}
_AXES = {"x": 0, "y": 1, "z": 2}
_IN_TEXT = re.compile(r"\{([^{}]*)\}")
# What stays in a text for the run to fill in.
_RUNTIME_FIELDS = frozenset({"step"})
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def near(word: str, candidates: Any) -> str | None:
    """The candidate that a misspelt word most probably meant."""
    found = get_close_matches(word, list(candidates), 1, 0.6)
    return found[0] if found else None


def meant(word: str, candidates: Any, otherwise: str | None = None) -> str | None:
    guess = near(word, candidates)
    return f"did you mean `{guess}`?" if guess else otherwise


class Evaluator:
    """Evaluates nodes of one file in a scope; `at` moves it to another."""

    def __init__(self, reporter: Reporter, scope: Scope) -> None:
        self.reporter = reporter
        self.report = reporter.report
        self.scope = scope
        self.colors = reporter.context.colors

    def __call__(self, node: Any) -> Any:
        return _EVALUATE[type(node)](self, node)

    # Names.

    def look_up(self, node: n.Name) -> Any:
        text = node.text
        bound = self.scope.find(text)
        if bound is not None:
            self.reporter.use(bound, node.start, node.end)
            return self._value(bound, node)
        if text in CONSTANTS:
            return CONSTANTS[text]
        color = self.colors.get(text)
        if color is not None:
            return color
        if "." in text:
            return self._dotted(node)
        return self._unknown(node)

    def _value(self, bound: Bound, node: n.Name) -> Any:
        if bound.kind in ("gesture", "module"):
            what = "gesture" if bound.kind == "gesture" else "namespace"
            self.report("E0301", node.start, node.end, expected="a value", found=f"the {what} `{bound.name}`")
            return BAD
        return bound.value

    def _dotted(self, node: n.Name) -> Any:
        head, _, rest = node.text.partition(".")
        bound = self.scope.find(head)
        if bound is None:
            return self._unknown(node)
        self.reporter.use(bound, node.start, node.start + len(head))
        if bound.kind == "module":
            inner = bound.value.names.get(rest)
            if inner is None or inner.kind == "module":
                help_ = meant(rest, bound.value.names)
                self.report("E0213", node.start, node.end, space=head, name=rest, help=help_)
                return BAD
            self.reporter.use(inner, node.end - len(rest), node.end)
            return self._value(inner, node)
        value = bound.value
        if type(value) is tuple and rest in _AXES:
            return value[_AXES[rest]]
        if isinstance(value, Bad):
            return BAD
        self.report("E0314", node.start, node.end, name=head, rest=rest, type=ARTICLES[type_of(value)])
        return BAD

    def _unknown(self, node: n.Name) -> Any:
        below = self.reporter.declared_below(node.text, node.start)
        if below is not None:
            self.report(
                "E0214", node.start, node.end, name=node.text, line=below.line, related=((below, "declared here"),)
            )
            return BAD
        candidates = [bound.name for bound in self.scope.visible()] + list(CONSTANTS) + list(self.colors)
        guess = near(node.text, candidates)
        help_ = f"did you mean `{guess}`?" if guess else None
        self.report("E0201", node.start, node.end, name=node.text, help=help_, replace=guess)
        return BAD

    # Texts.

    def text(self, node: n.Text) -> str | Bad:
        """With every `{name}` filled in, except those that the run fills in."""
        value = node.value
        if "{" not in value:
            return value
        good = True

        def fill(match: re.Match[str]) -> str:
            nonlocal good
            name = match.group(1).strip()
            if name in _RUNTIME_FIELDS:
                return match.group(0)
            bound = self.scope.find(name)
            color = None if bound else self.colors.get(name)
            start = node.start + 1 + match.start()
            if bound is None and color is None:
                help_ = meant(name, [b.name for b in self.scope.visible()] + ["step"])
                self.report("E0202", start, start + len(match.group(0)), name=name, help=help_)
                good = False
                return ""
            held = bound.value if bound else color
            if bound:
                at = node.start + 1 + match.start(1) + match.group(1).index(name)
                self.reporter.use(bound, at, at + len(name))
            if isinstance(held, bool):
                return "on" if held else "off"
            if isinstance(held, (float, int)):
                return f"{held:g}"
            if isinstance(held, Angle):
                return f"{held.degrees:g}"
            if isinstance(held, str):
                return held
            if not isinstance(held, Bad):
                self.report(
                    "E0301",
                    start,
                    start + len(match.group(0)),
                    expected="a number or a text",
                    found=ARTICLES[type_of(held)],
                )
            good = False
            return ""

        filled = _IN_TEXT.sub(fill, value)
        return filled if good else BAD

    # Compounds.

    def tuple(self, node: n.Tuple) -> Any:
        items = node.items
        values = []
        for item in items:
            value = item.value if type(item) is n.Number else self.number(item)
            values.append(value)
        if len(items) != 3:
            self.report("E0305", node.start, node.end, count=len(items))
            return BAD
        if any(value is BAD for value in values):
            return BAD
        return tuple(values)

    def number(self, node: Any) -> float | Bad:
        """A plain number."""
        value = self(node)
        if type(value) is float:
            return value
        if not isinstance(value, Bad):
            self.report("E0301", node.start, node.end, expected="a number", found=ARTICLES[type_of(value)])
        return BAD

    def list(self, node: n.ListOf) -> Any:
        values = [self(item) for item in node.items]
        if any(value is BAD for value in values):
            return BAD
        return Items(tuple(values))

    def unit(self, node: n.UnitOf) -> Any:
        value = self(node.operand)
        if isinstance(value, Bad):
            return BAD
        if type(value) is not float:
            self.report("E0315", node.start, node.end, unit=node.unit, found=ARTICLES[type_of(value)])
            return BAD
        return Angle(value if node.unit == "deg" else math.degrees(value))

    def unary(self, node: n.Unary) -> Any:
        value = self(node.operand)
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
        self.report("E0302", node.start, node.end, op=node.op, types=ARTICLES[kind], help=None)
        return BAD

    def binary(self, node: n.Binary) -> Any:
        op = node.op
        left, right = self(node.left), self(node.right)
        if left is BAD or right is BAD:
            return BAD
        kinds = (type_of(left), type_of(right))
        if kinds == ("number", "number"):
            return self._numbers(node, op, left, right)
        result = _combine(op, kinds, left, right)
        if result is ZERO_DIVISION:
            self.report("E0405", node.right.start, node.right.end)
            return BAD
        if result is None:
            self.report(
                "E0302",
                node.start,
                node.end,
                op=op,
                types=f"{ARTICLES[kinds[0]]} and {ARTICLES[kinds[1]]}",
                help=_operator_help(op, kinds),
            )
            return BAD
        return result

    def _numbers(self, node: n.Binary, op: str, a: float, b: float) -> Any:
        if op == "+":
            value = a + b
        elif op == "-":
            value = a - b
        elif op == "*":
            value = a * b
        elif op == "/":
            if b == 0:
                self.report("E0405", node.right.start, node.right.end)
                return BAD
            value = a / b
        elif op == "^":
            try:
                value = a**b
            except (OverflowError, ZeroDivisionError):
                value = math.inf
            if isinstance(value, complex):
                value = math.nan
        elif op in _COMPARE:
            return _COMPARE[op](a, b)
        elif op in ("==", "!="):
            return (a == b) == (op == "==")
        else:
            self.report(
                "E0302",
                node.start,
                node.end,
                op=op,
                types="a number and a number",
                help=_operator_help(op, ("number", "number")),
            )
            return BAD
        if not math.isfinite(value):
            self.report("E0406", node.start, node.end, what="this")
            return BAD
        return float(value)

    def call(self, node: n.Call) -> Any:
        name = node.name.text
        values = [self(argument.value) for argument in node.arguments]
        for argument in node.arguments:
            if argument.name is not None:
                self.report(
                    "E0307", argument.name.start, argument.name.end, name=argument.name.text, callee=name, help=None
                )
                return BAD
        if name not in FUNCTIONS:
            bound = self.scope.find(name)
            if bound is not None and bound.kind == "gesture":
                bound.used = True
                self.report("E0301", node.start, node.end, expected="a value", found=f"the gesture `{name}`")
            else:
                guess = near(name, FUNCTIONS)
                help_ = f"did you mean `{guess}`?" if guess else "the functions are " + " ".join(sorted(FUNCTIONS))
                self.report("E0212", node.name.start, node.name.end, name=name, help=help_, replace=guess)
            return BAD
        if any(value is BAD for value in values):
            return BAD
        return call_function(self.report, node, values)

    # Parts and views.

    def shape(self, node: n.ShapeOf) -> Any:
        return build_shape(self, node)

    def color_part(self, node: n.ColorOf) -> Any:
        color = self.color(node.color)
        tolerance = None if node.tolerance is None else self.number(node.tolerance)
        if color is BAD or tolerance is BAD:
            return BAD
        if isinstance(tolerance, float) and not 0 < tolerance <= 2:
            self.report(
                "E0401",
                node.tolerance.start,
                node.tolerance.end,
                what="the tolerance",
                low="0",
                high="2",
                found=f"{tolerance:g}",
            )
            return BAD
        return ColorPart(color=color, tolerance=tolerance)

    def color(self, node: Any) -> Any:
        """Red, green, blue in 0 .. 1."""
        if type(node) is n.Name and self.scope.find(node.text) is None and "." not in node.text:
            color = self.colors.get(node.text)
            if color is None:
                guess = near(node.text, self.colors)
                help_ = (
                    f"did you mean `{guess}`?"
                    if guess
                    else "the colours are " + " ".join(sorted(self.colors)) + ", or #rrggbb"
                )
                self.report("E0205", node.start, node.end, name=node.text, help=help_, replace=guess)
                return BAD
            return color
        value = self(node)
        if value is BAD:
            return BAD
        if type(value) is not tuple:
            self.report("E0301", node.start, node.end, expected="a colour", found=ARTICLES[type_of(value)])
            return BAD
        if not all(0 <= channel <= 1 for channel in value):
            self.report("E0407", node.start, node.end)
            return BAD
        return value

    def click(self, node: n.ClickOf) -> Any:
        clicks = []
        size = None
        if node.size is not None:
            size = self(node.size)
            if size is BAD or type(size) is not float or size < 1 or size != int(size):
                if size is not BAD:
                    self.report(
                        "E0303",
                        node.size.start,
                        node.size.end,
                        found=f"`{size}`" if type(size) is not float else f"{size:g}",
                    )
                return BAD
        for place, eye in node.clicks:
            if type(place) is not n.Tuple or len(place.items) != 2:
                self.report("E0316", place.start, place.end)
                return BAD
            x, y = self.number(place.items[0]), self.number(place.items[1])
            view = self.view(eye)
            if isinstance(x, Bad) or isinstance(y, Bad) or view is BAD:
                return BAD
            if x < 0 or y < 0 or (size is not None and (x > size or y > size)):
                high = f"{size:g}" if size is not None else "the picture's side"
                self.report(
                    "E0401", place.start, place.end, what="the pixel", low="0", high=high, found=f"({x:g}, {y:g})"
                )
                return BAD
            clicks.append(Click(x=x, y=y, view=view))
        return ClickPart(clicks=tuple(clicks), size=None if size is None else int(size))

    def view(self, node: Any) -> Any:
        if type(node) is n.Name and self.scope.find(node.text) is None and "." not in node.text:
            below = self.reporter.declared_below(node.text, node.start)
            if below is not None:
                return self._unknown(node)
            views = [bound.name for bound in self.scope.visible() if bound.kind == "view"]
            guess = near(node.text, views)
            help_ = (
                f"did you mean `{guess}`?"
                if guess
                else "declare it: view " + node.text + " = orbit azimuth 0 elevation 10"
            )
            self.report("E0206", node.start, node.end, name=node.text, help=help_, replace=guess)
            return BAD
        value = self(node)
        if value is BAD or type(value) is OrbitView:
            return value
        self.report("E0301", node.start, node.end, expected="a view", found=ARTICLES[type_of(value)])
        return BAD

    def orbit(self, node: n.OrbitOf) -> Any:
        given: dict[str, Any] = {}
        for clause in node.clauses:
            if clause.name in given:
                self.report("E0504", clause.start, clause.end, clause=clause.name)
                continue
            operand = clause.values[0]
            value = self(operand)
            if clause.name == "target":
                if value is not BAD and type(value) is not tuple:
                    self.report("E0301", operand.start, operand.end, expected="a point", found=ARTICLES[type_of(value)])
                    value = BAD
            elif type(value) is Angle and clause.name != "distance":
                value = value.degrees
            elif value is not BAD and type(value) is not float:
                self.report("E0301", operand.start, operand.end, expected="a number", found=ARTICLES[type_of(value)])
                value = BAD
            if type(value) is float:
                value = self._in_orbit(clause, operand, value)
            given[clause.name] = value
        missing = [name for name in ("azimuth", "elevation") if name not in given]
        if missing:
            self.report("E0505", node.start, node.end, statement="orbit", clause=missing[0], help=None)
            return BAD
        if any(value is BAD for value in given.values()):
            return BAD
        return OrbitView(**given)

    def _in_orbit(self, clause: n.Clause, operand: Any, value: float) -> Any:
        low, high = {"elevation": (-90, 90), "distance": (0.01, 100), "fov": (1, 150)}.get(clause.name, (-3600, 3600))
        if low <= value <= high:
            return value
        self.report(
            "E0401",
            operand.start,
            operand.end,
            what=f"`{clause.name}`",
            low=f"{low:g}",
            high=f"{high:g}",
            found=f"{value:g}",
        )
        return BAD


def as_part(value: Any) -> Any:
    """A shape where a part is wanted selects what is inside it."""
    return ShapePart(shape=value) if type_of(value) == "shape" else value


def as_shape(value: Any) -> Any:
    """The shape that a declared part is, or None."""
    while type(value) is DeclaredPart:
        value = value.part
    return value.shape if type(value) is ShapePart else value if type_of(value) == "shape" else None


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
            return (a[0] + sign * b[0], a[1] + sign * b[1], a[2] + sign * b[2])
    elif kinds == ("vector", "number"):
        if op == "*":
            return (a[0] * b, a[1] * b, a[2] * b)
        if op == "/":
            return (a[0] / b, a[1] / b, a[2] / b) if b else ZERO_DIVISION
    elif kinds == ("number", "vector"):
        if op == "*":
            return (b[0] * a, b[1] * a, b[2] * a)
    elif kinds == ("angle", "angle"):
        return _angles(op, a.degrees, b.degrees)
    elif kinds == ("angle", "number"):
        if op == "*":
            return Angle(a.degrees * b)
        if op == "/":
            return Angle(a.degrees / b) if b else ZERO_DIVISION
    elif kinds == ("number", "angle"):
        if op == "*":
            return Angle(a * b.degrees)
    elif kinds == ("truth", "truth") and op in ("and", "or"):
        return (a and b) if op == "and" else (a or b)
    return None


def _angles(op: str, a: float, b: float) -> Any:
    if op == "+":
        return Angle(a + b)
    if op == "-":
        return Angle(a - b)
    if op == "/":
        return a / b if b else ZERO_DIVISION
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


_EVALUATE: dict[type, Callable[[Evaluator, Any], Any]] = {
    n.Number: lambda self, node: node.value,
    n.Broken: lambda self, node: BAD,
    n.Text: Evaluator.text,
    n.Hex: lambda self, node: node.value,
    n.Name: Evaluator.look_up,
    n.Tuple: Evaluator.tuple,
    n.ListOf: Evaluator.list,
    n.Unary: Evaluator.unary,
    n.Binary: Evaluator.binary,
    n.UnitOf: Evaluator.unit,
    n.Call: Evaluator.call,
    n.ShapeOf: Evaluator.shape,
    n.ColorOf: Evaluator.color_part,
    n.ClickOf: Evaluator.click,
    n.OrbitOf: Evaluator.orbit,
}
