"""Paths and values of `set` and `ramp`, checked against what the engine says exists."""

from typing import Any

from interactive3d.dsl import nodes as n
from interactive3d.dsl.clauses import Clauses
from interactive3d.dsl.evaluate import near
from interactive3d.dsl.operations import SettingValue
from interactive3d.dsl.program import CheckContext, SettingSpec
from interactive3d.dsl.scope import ARTICLES, BAD, Angle, type_of

_KINDS = {
    "float": "a number",
    "int": "a whole number",
    "bool": "on or off",
    "enum": "one of its choices",
    "str": "a text",
}


class Settings:
    """Knows every path; `chosen` holds what the script sets before the run."""

    def __init__(self, context: CheckContext) -> None:
        self.specs: dict[str, SettingSpec] = {spec.path: spec for spec in context.settings}
        self.chosen: dict[str, SettingValue] = {}

    def default(self, path: str) -> SettingValue | None:
        """The value in force when the run begins, None when it is not known."""
        if path in self.chosen:
            return self.chosen[path]
        spec = self.specs.get(path)
        return None if spec is None else spec.default

    def spec(self, c: Clauses, path: n.Name) -> SettingSpec | None:
        """The spec of a path; an unknown one is reported. None too when the engine told no paths at all."""
        if not self.specs:
            return None
        spec = self.specs.get(path.text)
        if spec is None:
            guess = near(path.text, self.specs) or near(
                path.text.rpartition(".")[2], [p.rpartition(".")[2] for p in self.specs]
            )
            full = (
                guess
                if guess in self.specs
                else next((p for p in self.specs if guess and p.endswith("." + guess)), None)
            )
            help_ = f"did you mean `{full}`?" if full else "docs/settings.md lists them all"
            c.report("E0203", path.start, path.end, path=path.text, help=help_, replace=full)
        return spec

    def value(self, c: Clauses, path: n.Name, node: Any, live: bool = True) -> Any:
        """The checked value of `set PATH VALUE`."""
        spec = self.spec(c, path)
        if spec is None:
            if self.specs:
                c.evaluate(node) if type(node) is not n.Name else None
                return BAD
            return self._untyped(c, node)
        if spec.kind == "enum":
            return self._choice(c, spec, node)
        value = c.evaluate(node)
        if value is BAD:
            return BAD
        if type(value) is Angle and spec.unit in ("deg", "degrees"):
            value = value.degrees
        kinds = {"float": "number", "int": "number", "bool": "truth", "str": "text"}
        if type_of(value) != kinds[spec.kind]:
            found = ARTICLES[type_of(value)]
            c.report("E0312", node.start, node.end, path=spec.path, expected=_KINDS[spec.kind], found=found)
            return BAD
        if spec.kind == "int":
            if value != int(value):
                c.report("E0303", node.start, node.end, found=f"{value:g}")
                return BAD
            value = int(value)
        if spec.kind in ("float", "int") and not self._in_range(spec, value):
            low = "-∞" if spec.low is None else f"{spec.low:g}"
            high = "∞" if spec.high is None else f"{spec.high:g}"
            c.report("E0401", node.start, node.end, what=f"`{spec.path}`", low=low, high=high, found=f"{value:g}")
            return BAD
        return value

    def ramp_value(self, c: Clauses, path: n.Name, node: Any) -> Any:
        spec = self.spec(c, path)
        if spec is not None and spec.kind != "float":
            c.report("E0517", path.start, path.end, path=spec.path, kind=_KINDS[spec.kind])
            return BAD
        value = self.value(c, path, node)
        if value is BAD or type(value) is float:
            return value
        if type(value) is int:
            return float(value)
        c.report("E0301", node.start, node.end, expected="a number", found=ARTICLES[type_of(value)])
        return BAD

    def check_live(self, c: Clauses, path: n.Name) -> bool:
        """Whether a path may change while the run goes on; reported when not."""
        spec = self.specs.get(path.text)
        if spec is not None and not spec.live:
            c.report("E0516", path.start, path.end, path=spec.path)
            return False
        return True

    @staticmethod
    def _in_range(spec: SettingSpec, value: float) -> bool:
        return (spec.low is None or value >= spec.low) and (spec.high is None or value <= spec.high)

    def _choice(self, c: Clauses, spec: SettingSpec, node: Any) -> Any:
        text = node.text if type(node) is n.Name else node.value if type(node) is n.Text else None
        if text in spec.choices:
            return text
        if type(node) is n.Name:
            bound = c.evaluate.scope.find(node.text)
            if bound is not None and bound.value in spec.choices:
                bound.used = True
                return bound.value
        guess = near(str(text), spec.choices)
        help_ = f"did you mean `{guess}`?" if guess else None
        c.report(
            "E0313", node.start, node.end, path=spec.path, choices=", ".join(spec.choices), help=help_, replace=guess
        )
        return BAD

    @staticmethod
    def _untyped(c: Clauses, node: Any) -> Any:
        """Without specs: numbers as they are written, bare words as texts."""
        if type(node) is n.Name and c.evaluate.scope.find(node.text) is None and node.text not in ("on", "off"):
            return node.text
        value = c.evaluate(node)
        if type(value) is Angle:
            return value.degrees
        if type(node) is n.Number and node.whole:
            return int(node.value)
        return value if value is BAD or isinstance(value, (float, bool, str)) else BAD
