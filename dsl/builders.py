"""What each rule of the grammar builds: a table from rule names to functions of (values, start, end)."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

from interactive3d.dsl import nodes as n
from interactive3d.dsl.lexer import Report
from interactive3d.dsl.tables import Rule, tables

Maker = Callable[[list[Any], int, int], Any]

# Chains such as 1 + 1 + 1 + … nest as deeply as they are long.
MAX_CHAIN = 200

_ESCAPES = {'"': '"', "\\": "\\", "n": "\n", "t": "\t"}


def _number(text: str, start: int, end: int, report: Report) -> n.Number:
    value = float(text)
    if not math.isfinite(value):
        report("E0406", start, end, what=f"`{text}`")
        value = 0.0
    return n.Number(start, end, value, text.isdigit())


def _string(text: str, start: int, end: int, report: Report) -> n.Text:
    inner = text[1:-1]
    if "\\" not in inner:
        return n.Text(start, end, inner)
    out: list[str] = []
    at = 0
    while at < len(inner):
        char = inner[at]
        if char == "\\":
            at += 1
            escaped = inner[at] if at < len(inner) else ""
            if escaped not in _ESCAPES:
                report("E0103", start + at, start + at + 2, escape=f"\\{escaped}")
            char = _ESCAPES.get(escaped, escaped)
        out.append(char)
        at += 1
    return n.Text(start, end, "".join(out))


def _hex(text: str, start: int, end: int, report: Report) -> n.Hex:
    del report
    red, green, blue = (int(text[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return n.Hex(start, end, (red, green, blue))


def _call_name(text: str, start: int, end: int, report: Report) -> n.Name:
    del report
    return n.Name(start, end - 1, text)


def _name(text: str, start: int, end: int, report: Report) -> n.Name:
    del report
    return n.Name(start, end, text)


def _vector(text: str, start: int, end: int, report: Report) -> n.VectorOf:
    x, y, z = map(float, text[1:-1].split(","))
    if not (math.isfinite(x) and math.isfinite(y) and math.isfinite(z)):
        report("E0406", start, end, what=f"a number of `{text}`")
        return n.VectorOf(start, end, (0.0, 0.0, 0.0))
    return n.VectorOf(start, end, (x, y, z))


on_shift: dict[str, Callable[[str, int, int, Report], Any]] = {
    "NUMBER": _number,
    "STRING": _string,
    "HEX": _hex,
    "VECTOR": _vector,
    "NAME": _name,
    "CALL": _call_name,
}

_BINARY = {
    "b_or": "or",
    "b_and": "and",
    "b_lt": "<",
    "b_le": "<=",
    "b_gt": ">",
    "b_ge": ">=",
    "b_eq": "==",
    "b_ne": "!=",
    "b_add": "+",
    "b_sub": "-",
    "b_meet": "&",
    "b_mul": "*",
    "b_div": "/",
    "b_grow": "grow",
    "b_pow": "^",
}


class TooDeepError(ValueError):
    """A chain of operators longer than MAX_CHAIN, at these offsets."""

    def __init__(self, start: int, end: int) -> None:
        super().__init__(f"an expression of more than {MAX_CHAIN} operators in a row")
        self.start = start
        self.end = end
        # Where the parser stood; it fills this in.
        self.token = 0


def _depth(start: int, end: int, *operands: Any) -> int:
    depth: int = 1 + max(getattr(operand, "depth", 0) for operand in operands)
    if depth > MAX_CHAIN:
        raise TooDeepError(start, end)
    return depth


def _binary(op: str) -> Maker:
    def make(v: list[Any], start: int, end: int) -> n.Binary:
        return n.Binary(start, end, op, v[0], v[1], _depth(start, end, v[0], v[1]))

    return make


def _negative(v: list[Any], start: int, end: int) -> n.Number | n.Unary:
    operand = v[0]
    if isinstance(operand, n.Number):
        return n.Number(start, end, -operand.value, operand.whole)
    return n.Unary(start, end, "-", operand, _depth(start, end, operand))


def _not(v: list[Any], start: int, end: int) -> n.Unary:
    return n.Unary(start, end, "not", v[0], _depth(start, end, v[0]))


def _moment(kind: str) -> Maker:
    def make(v: list[Any], start: int, end: int) -> n.Moment:
        named = kind in ("after", "when_below", "when_above")
        return n.Moment(start, end, kind, v[0] if named else None, tuple(v[1:] if named else v))

    return make


def _event(v: list[Any], start: int, end: int) -> n.Event:
    label = moment = None
    for value in v[:-1]:
        if isinstance(value, n.Moment):
            moment = value
        else:
            label = value
    return n.Event(start, end, label, moment, v[-1])


def _first(v: list[Any], kind: type) -> Any:
    return next((value for value in v if isinstance(value, kind)), None)


def _gesture(v: list[Any], start: int, end: int) -> n.GestureDecl:
    formals = tuple(value for value in v if isinstance(value, n.Formal))
    return n.GestureDecl(start, end, v[0], formals, _first(v, n.Text), v[-1])


def _formal(v: list[Any], start: int, end: int) -> n.Formal:
    default = next((value[0] for value in v[2:] if isinstance(value, list)), None)
    return n.Formal(start, end, v[0], v[1], default, _first(v[2:], n.Range), _first(v[2:], n.Text))


def _param(v: list[Any], start: int, end: int) -> n.ParamDecl:
    return n.ParamDecl(start, end, v[0], v[1], _first(v[2:], n.Range), _first(v[2:], n.Text))


def _binding(kind: str) -> Maker:
    return lambda v, start, end: n.Binding(start, end, kind, v[0], v[1])


def _call(v: list[Any], start: int, end: int) -> n.Call:
    arguments = v[1] if len(v) > 1 else []
    wrapped = tuple(a if isinstance(a, n.Argument) else n.Argument(a.start, a.end, None, a) for a in arguments)
    return n.Call(start, end, v[0], wrapped)


def _click(v: list[Any], start: int, end: int) -> n.ClickOf:
    clicks = tuple(value for value in v if isinstance(value, tuple))
    return n.ClickOf(start, end, clicks, None if isinstance(v[-1], tuple) else v[-1])


def _if(v: list[Any], start: int, end: int) -> n.IfThen:
    return n.IfThen(start, end, v[0], v[1], v[2] if len(v) > 2 else None)


def _block(v: list[Any], start: int, end: int) -> n.Block:
    return n.Block(start, end, v[0].statements)


def _body(v: list[Any], start: int, end: int) -> list[Any]:
    """A growing list, made a Block by `start` and `block`."""
    del start, end
    lines: list[Any] = v[0] if len(v) == 2 else []
    if v[-1] is not None:
        lines.append(v[-1])
    return lines


def _cut(v: list[Any], start: int, end: int) -> Any:
    """A statement with something behind it that does not belong there: an event is given up, a declaration still counts."""
    statement = v[0]
    if isinstance(statement, n.Event):
        return n.Broken(start, end)
    if isinstance(statement, n.Binding | n.ParamDecl):
        return replace(statement, value=n.Broken(statement.value.start, statement.value.end))
    return statement


def _clause(name: str) -> Maker:
    return lambda v, start, end: n.Clause(start, end, name, tuple(v))


def _word_clause(name: str) -> Maker:
    """Its operand is a word of the language (`rigid`) or an expression."""

    def make(v: list[Any], start: int, end: int) -> n.Clause:
        value = v[-1]
        return n.Clause(start, end, name, (n.Name(start, end, value) if isinstance(value, str) else value,))

    return make


def _op(keyword: str) -> Maker:
    return lambda v, start, end: n.Op(start, end, keyword, tuple(v))


def _shape(kind: str) -> Maker:
    return lambda v, start, end: n.ShapeOf(start, end, kind, tuple(v))


_NAMED: dict[str, Maker] = {
    "start": lambda v, start, end: n.Block(start, end, tuple(v[0])),
    "block": lambda v, start, end: n.Block(start, end, tuple(v[0])),
    "body_first": _body,
    "body_next": _body,
    "line_empty": lambda v, start, end: None,
    "line_cut": _cut,
    "line_full": lambda v, start, end: v[0],
    "broken": lambda v, start, end: n.Broken(start, end),
    "label": lambda v, start, end: v[0],
    "event": _event,
    "param": _param,
    "let": _binding("let"),
    "part": _binding("part"),
    "view": _binding("view"),
    "gesture": _gesture,
    "formal": _formal,
    "default": lambda v, start, end: [v[0]],
    "range": lambda v, start, end: n.Range(start, end, v[0], v[1]),
    "span_of": lambda v, start, end: n.Range(start, end, v[0], v[1]),
    "use": lambda v, start, end: n.Use(start, end, v[0], v[1] if len(v) > 1 else None),
    "for_each": lambda v, start, end: n.ForEach(start, end, v[0], v[1], v[2]),
    "if_then": _if,
    "call": _call,
    "arguments": lambda v, start, end: v,
    "named_argument": lambda v, start, end: n.Argument(start, end, v[0], v[1]),
    "orbit": lambda v, start, end: n.OrbitOf(start, end, tuple(v)),
    "clicked": lambda v, start, end: (v[0], v[1]),
    "p_click": _click,
    "p_segment": lambda v, start, end: n.SegmentOf(start, end, v[0]),
    "p_color": lambda v, start, end: n.ColorOf(start, end, v[0], v[1] if len(v) > 1 else None),
    "tuple": lambda v, start, end: n.Tuple(start, end, tuple(v)),
    "list": lambda v, start, end: n.ListOf(start, end, tuple(v)),
    "unit_deg": lambda v, start, end: n.UnitOf(start, end, "deg", v[0]),
    "unit_rad": lambda v, start, end: n.UnitOf(start, end, "rad", v[0]),
    "u_neg": _negative,
    "u_not": _not,
    **{rule: _binary(op) for rule, op in _BINARY.items()},
    **{kind: _moment(kind) for kind in ("at_start", "at_step", "at_end", "from_to", "every", "after")},
    **{kind: _moment(kind) for kind in ("when_below", "when_above")},
    **{f"c_{name}": _word_clause(name) for name in ("mode", "form", "kind", "source")},
}


def _append(kept: tuple[int, ...]) -> Maker:
    def make(v: list[Any], start: int, end: int) -> list[Any]:
        del start, end
        grown: list[Any] = v[kept[0]]
        grown.extend(v[i] for i in kept[1:])
        return grown

    return make


def _raw(rule: Rule) -> Maker:
    """The function that a production builds with; its values are those that count, repeated ones opened up."""
    name = rule.build
    make = _NAMED.get(name)
    if make is None:
        family = {"op_": _op, "c_": _clause, "s_": _shape}
        prefix = next((prefix for prefix in family if name.startswith(prefix)), None)
        if prefix is None:
            raise KeyError(f"builders: no function for the rule {name!r} of grammar.lark; add one")
        make = family[prefix](name[len(prefix) :])
    return make


def _for_rule(rule: Rule) -> Maker:
    """The same for all values of a production as they stand on the parser's stack."""
    kept, spread = rule.kept, rule.spread
    if rule.origin.startswith("__"):
        return _append(kept) if kept and kept[0] in spread else lambda v, start, end: [v[i] for i in kept]
    if rule.passes:
        only = kept[0]
        return lambda v, start, end: v[only]
    build = _raw(rule)
    if spread:
        return lambda v, start, end: build([x for i in kept for x in (v[i] if i in spread else (v[i],))], start, end)
    if len(kept) == len(rule.symbols):
        return build
    return lambda v, start, end: build([v[i] for i in kept], start, end)


@cache
def raw_makers() -> tuple[Maker | None, ...]:
    """Per production, None for those that build nothing."""
    return tuple(None if rule.passes or rule.origin.startswith("__") else _raw(rule) for rule in tables().rules)


@cache
def makers() -> tuple[Maker, ...]:
    """One function per production of the grammar, in the order of `tables().rules`."""
    return tuple(_for_rule(rule) for rule in tables().rules)
