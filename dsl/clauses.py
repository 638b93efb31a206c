"""Reads the clauses of one operation: each method gives a checked value, None where the clause was left out, BAD where it is faulty."""

from typing import Any

from interactive3d.dsl import nodes as n
from interactive3d.dsl.arithmetic import as_part
from interactive3d.dsl.evaluate import Evaluator, near
from interactive3d.dsl.scope import ARTICLES, BAD, Items, type_of
from interactive3d.dsl.shapes import read_angle, read_axis, read_point
from interactive3d.dsl.values import AxisAngle

# What a statement is called in messages, where that is not its keyword.
STATEMENTS = {
    "splats_in": "splats",
    "splats_from": "splats",
    "splats_file": "splats",
    "turntable": "record turntable",
    "timelapse": "record timelapse",
}


class Clauses:
    def __init__(self, evaluate: Evaluator, op: n.Op) -> None:
        self.evaluate = evaluate
        self.report = evaluate.report
        self.op = op
        self.statement = STATEMENTS.get(op.keyword, op.keyword)
        self.given: dict[str, n.Clause] = {}
        for clause in op.clauses:
            if type(clause) is not n.Clause:
                continue
            if clause.name in self.given:
                self.report("E0504", clause.start, clause.end, clause=clause.name)
            else:
                self.given[clause.name] = clause

    def has(self, name: str) -> bool:
        return name in self.given

    def node(self, name: str, at: int = 0) -> Any:
        clause = self.given.get(name)
        return None if clause is None else clause.values[at]

    def missing(self, clause: str, help_: str | None = None) -> Any:
        """Reports that the statement cannot do without a clause."""
        end = self.op.start + len(self.statement)
        self.report("E0505", self.op.start, end, statement=self.statement, clause=clause, help=help_)
        return BAD

    def one_of(self, first: str, second: str) -> str | None:
        """Which of two clauses is given; both or none is reported."""
        if self.has(first) and self.has(second):
            clause = max(self.given[first], self.given[second], key=lambda c: c.start)
            other = first if clause.name == second else second
            self.report("E0506", clause.start, clause.end, clause=clause.name, other=other, statement=self.statement)
            return None
        if not self.has(first) and not self.has(second):
            self.missing(f"{first}` or `{second}")
            return None
        return first if self.has(first) else second

    # Values.

    def number(
        self,
        name: str,
        what: str,
        low: float | None = None,
        high: float | None = None,
        above: float | None = None,
        at: int = 0,
    ) -> Any:
        node = self.node(name, at)
        if node is None:
            return None
        value = node.value if type(node) is n.Number else self.evaluate.number(node)
        return self._within(node, value, what, low, high, above)

    def whole(self, name: str, what: str, low: int = 1, high: int = 10**9, at: int = 0) -> Any:
        node = self.node(name, at)
        return None if node is None else self.read_whole(node, what, low, high)

    def read_whole(self, node: Any, what: str, low: int = 1, high: int = 10**9) -> Any:
        value: Any = node.value if type(node) is n.Number else self.evaluate.number(node)
        if value is BAD:
            return BAD
        if value != int(value):
            self.report("E0303", node.start, node.end, found=f"{value:g}")
            return BAD
        value = int(value)
        if low == 1 and value < 1:
            self.report("E0402", node.start, node.end, what=what, found=f"{value:g}")
            return BAD
        return self._within(node, value, what, low, high, None)

    def _within(
        self, node: Any, value: Any, what: str, low: float | None, high: float | None, above: float | None
    ) -> Any:
        if value is BAD:
            return BAD
        if above is not None and value <= above:
            self.report("E0402", node.start, node.end, what=what, found=f"{value:g}")
            return BAD
        if (low is not None and value < low) or (high is not None and value > high):
            bounds = {"low": "-∞" if low is None else f"{low:g}", "high": "∞" if high is None else f"{high:g}"}
            self.report("E0401", node.start, node.end, what=what, found=f"{value:g}", **bounds)
            return BAD
        return value

    def noise(self) -> Any:
        """The noise range: both in 0 .. 1, the first below the second."""
        clause = self.given.get("noise")
        if clause is None:
            return None
        low = self.number("noise", "the noise", 0, 1)
        high = self.number("noise", "the noise", 0, 1, at=1)
        if low is BAD or high is BAD:
            return BAD
        if low >= high:
            self.report("E0403", clause.start, clause.end, what="the noise range", low=f"{low:g}", high=f"{high:g}")
            return BAD
        return (low, high)

    def point(self, name: str, what: str = "point") -> Any:
        node = self.node(name)
        return None if node is None else read_point(self.evaluate, node, what)

    def axis_angle(self, name: str) -> Any:
        clause = self.given.get(name)
        if clause is None:
            return None
        degrees, axis = read_angle(self.evaluate, clause.values[0]), read_axis(self.evaluate, clause.values[1])
        return BAD if degrees is BAD or axis is BAD else AxisAngle(axis=axis, degrees=degrees)

    def text(self, name: str, empty: bool = False) -> Any:
        node = self.node(name)
        return None if node is None else self.read_text(node, empty)

    def read_text(self, node: Any, empty: bool = False) -> Any:
        value = self.evaluate(node)
        if value is BAD:
            return BAD
        if type(value) is not str:
            self.report("E0301", node.start, node.end, expected="a text", found=ARTICLES[type_of(value)])
            return BAD
        if not value.strip() and not empty:
            self.report("E0411", node.start, node.end)
            return BAD
        return value

    def color(self) -> Any:
        node = self.node("color")
        return None if node is None else self.evaluate.color(node)

    def view(self, name: str = "view") -> Any:
        node = self.node(name)
        return None if node is None else self.evaluate.view(node)

    def part(self) -> Any:
        node = self.node("part")
        if node is None:
            return None
        return self.read_part(node)

    def read_part(self, node: Any) -> Any:
        scope = self.evaluate.scope
        if type(node) is n.Name and "." not in node.text and node.text not in ("all", "on", "off"):
            bound = scope.find(node.text)
            if bound is None and self.evaluate.reporter.declared_below(node.text, node.start) is None:
                parts = [b.name for b in scope.visible() if b.kind in ("part", "tag", "argument")]
                guess = near(node.text, [*parts, "all"])
                help_ = (
                    f"did you mean `{guess}`?"
                    if guess
                    else f"declare it: part {node.text} = sphere at (0, 0, 0) radius 0.1"
                )
                self.report("E0207", node.start, node.end, name=node.text, help=help_, replace=guess)
                return BAD
        value = self.evaluate(node)
        if value is BAD:
            return BAD
        kind = type_of(value)
        if kind not in ("part", "shape"):
            self.report("E0301", node.start, node.end, expected="a part", found=ARTICLES[kind])
            return BAD
        return as_part(value)

    def steps(self, name: str) -> Any:
        return self.whole(name, "the number of steps")

    def size(self) -> Any:
        """(width, height or None) in pixels, or (None, None)."""
        clause = self.given.get("size")
        if clause is None:
            return (None, None)
        width = self.whole("size", "the size", 16, 8192)
        height = self.whole("size", "the size", 16, 8192, at=1) if len(clause.values) > 1 else None
        return BAD if width is BAD or height is BAD else (width, height)


def items_of(value: Any) -> tuple[Any, ...] | None:
    return value.values if type(value) is Items else None
