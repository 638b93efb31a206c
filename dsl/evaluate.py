"""Expressions to values. Faults are reported where they are, and the value is BAD."""

import math
import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from interactive3d.dsl import nodes as n
from interactive3d.dsl.arithmetic import binary, unary
from interactive3d.dsl.functions import FUNCTIONS, call_function
from interactive3d.dsl.reporter import Reporter
from interactive3d.dsl.scope import ARTICLES, BAD, Angle, Bad, Bound, Items, Scope, type_of
from interactive3d.dsl.shapes import build_shape
from interactive3d.dsl.sights import build_clicks, build_color_part, build_orbit, build_segment
from interactive3d.dsl.tidy import tidy_number
from interactive3d.dsl.values import (
    X_AXIS,
    Y_AXIS,
    Z_AXIS,
    AllPart,
    OrbitView,
)

CONSTANTS: dict[str, Any] = {"all": AllPart(), "on": True, "off": False, "x": X_AXIS, "y": Y_AXIS, "z": Z_AXIS}
_AXES = {"x": 0, "y": 1, "z": 2}
_IN_TEXT = re.compile(r"\{([^{}]*)\}")
# What stays in a text for the run to fill in.
_RUNTIME_FIELDS = frozenset({"step"})


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
        if type(bound.value) in (float, tuple, Angle):
            self.reporter.compute()
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
            self.reporter.compute()
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
        if node.unit != "deg":
            self.reporter.compute()
        return Angle(value if node.unit == "deg" else tidy_number(math.degrees(value)))

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
        self.reporter.compute()
        return call_function(self.report, node, values)

    # Parts and views.

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


_EVALUATE: dict[type, Callable[[Evaluator, Any], Any]] = {
    n.Number: lambda self, node: node.value,
    n.Broken: lambda self, node: BAD,
    n.Text: Evaluator.text,
    n.Hex: lambda self, node: node.value,
    n.VectorOf: lambda self, node: node.value,
    n.Name: Evaluator.look_up,
    n.Tuple: Evaluator.tuple,
    n.ListOf: Evaluator.list,
    n.Unary: unary,
    n.Binary: binary,
    n.UnitOf: Evaluator.unit,
    n.Call: Evaluator.call,
    n.ShapeOf: build_shape,
    n.ColorOf: build_color_part,
    n.ClickOf: build_clicks,
    n.SegmentOf: build_segment,
    n.OrbitOf: build_orbit,
}
