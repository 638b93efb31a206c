"""Statements of the same form are parsed once: the types of a line's tokens decide what is built from which of them.

A plan is that decision, made by running the LALR tables over the types alone. Ten thousand events have a few dozen forms, so that most
lines cost a look-up and the building of their nodes.
"""

from dataclasses import dataclass, field
from typing import Any

from interactive3d.dsl.builders import Maker, on_shift, raw_makers
from interactive3d.dsl.lexer import Report, Tokens
from interactive3d.dsl.tables import Rule, Tables

# Plans are small; this bounds what a stream of ever new forms can take.
MAX_PLANS = 4096
# A longer line is rare, and its plan would seldom be used again.
MAX_TOKENS = 400
_FORMS_WITH_BLOCKS = ("LBRACE", "RBRACE")


@dataclass(frozen=True, slots=True)
class Plan:
    """`steps` in order: (function, indices of earlier results or None for a token, first token, last token), counted from the line's first."""

    steps: tuple[tuple[Any, tuple[int, ...] | None, int, int], ...]
    result: int
    # Tokens whose word stands for a name here.
    names: tuple[int, ...]

    def build(self, tokens: Tokens, at: int, report: Report) -> Any:
        texts, starts, ends = tokens.texts, tokens.starts, tokens.ends
        results: list[Any] = []
        append = results.append
        for make, arguments, first, last in self.steps:
            if arguments is not None:
                append(make([results[i] for i in arguments], starts[at + first], ends[at + last]))
            elif make is None:
                append(texts[at + first])
            else:
                append(make(texts[at + first], starts[at + first], ends[at + first], report))
        return results[self.result]


@dataclass(slots=True)
class _Symbol:
    """What stands on the symbolic stack: the result that it will be (or several, for a repeated rule), and the tokens it spans."""

    results: list[int]
    first: int
    last: int


@dataclass(slots=True)
class _Planner:
    table: Tables
    states: list[int]
    stack: list[_Symbol] = field(default_factory=list)
    steps: list[tuple[Any, tuple[int, ...] | None, int, int]] = field(default_factory=list)
    names: list[int] = field(default_factory=list)

    def step(self, make: Any, arguments: tuple[int, ...] | None, first: int, last: int) -> list[int]:
        self.steps.append((make, arguments, first, last))
        return [len(self.steps) - 1]

    def shift(self, terminal: str, state: int, index: int) -> None:
        self.stack.append(_Symbol(self.step(on_shift.get(terminal), None, index, index), index, index))
        self.states.append(state)

    def reduce(self, rule: Rule, make: Maker | None, index: int) -> bool:
        """False when the rule is empty: what spans no token has no place in a plan."""
        size = len(rule.symbols)
        if not size:
            return False
        below = self.stack[-size:]
        del self.stack[-size:], self.states[-size:]
        first, last = below[0].first, below[-1].last
        if rule.passes or rule.origin.startswith("__"):
            results = [result for i in rule.kept for result in below[i].results]
        else:
            results = self.step(make, tuple(result for i in rule.kept for result in below[i].results), first, last)
        self.stack.append(_Symbol(results, first, last))
        self.states.append(self.table.gotos[self.states[-1]][rule.origin])
        return True


def _make(table: Tables, state: int, types: tuple[str, ...]) -> Plan | None:
    """The plan for a statement of these types, the last of which ends it; None when the tables refuse it."""
    planner = _Planner(table, [state])
    makers = raw_makers()
    words = table.word_terminals
    goal = table.gotos[state]["statement"]
    index = 0
    while True:
        terminal = types[index]
        row = table.actions[planner.states[-1]]
        action = row.get(terminal)
        if action is None:
            if not table.may_name(row, terminal) or terminal not in words:
                return None
            action = row["NAME"]
            terminal = "NAME"
            planner.names.append(index)
        if action >= 0:
            if index == len(types) - 1:
                return None
            planner.shift(terminal, action, index)
            index += 1
            continue
        number = -1 - action
        if not planner.reduce(table.rules[number], makers[number], index):
            return None
        if len(planner.states) == 2 and planner.states[-1] == goal and index == len(types) - 1:
            return Plan(tuple(planner.steps), planner.stack[-1].results[0], tuple(planner.names))


_plans: dict[tuple[int, tuple[str, ...]], Plan | None] = {}


def plan_for(table: Tables, state: int, types: list[str], at: int) -> tuple[Plan | None, int]:
    """The plan for the statement that begins at a token in a state, and the index of the token that ends it."""
    try:
        end = types.index("_NL", at)
    except ValueError:
        end = len(types) - 1
    if end - at > MAX_TOKENS:
        return None, end
    form = tuple(types[at : end + 1])
    key = (state, form)
    plan = _plans.get(key)
    if plan is None and key not in _plans:
        if len(_plans) >= MAX_PLANS:
            _plans.clear()
        blocks = any(kind in form for kind in _FORMS_WITH_BLOCKS)
        plan = _plans[key] = None if blocks else _make(table, state, form)
    return plan, end
