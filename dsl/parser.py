"""Tokens to syntax tree: a loop over the LALR tables, and how it goes on after a fault.

A statement that cannot be read is reported, thrown away up to the end of its line, and the next one is read, so that one pass finds all
faults of a file.
"""

from dataclasses import dataclass
from typing import Any

from interactive3d.dsl.builders import MAX_CHAIN, TooDeepError, makers, on_shift
from interactive3d.dsl.lexer import Report, Tokens, tokenize
from interactive3d.dsl.nodes import Block
from interactive3d.dsl.plans import plan_for
from interactive3d.dsl.syntax_faults import describe
from interactive3d.dsl.tables import END, Tables, tables


@dataclass(slots=True)
class _Stack:
    states: list[int]
    values: list[Any]
    starts: list[int]
    ends: list[int]

    def push(self, state: int, value: Any, start: int, end: int) -> None:
        self.states.append(state)
        self.values.append(value)
        self.starts.append(start)
        self.ends.append(end)

    def cut(self, length: int) -> None:
        del self.states[length + 1 :], self.values[length:], self.starts[length:], self.ends[length:]


_unit_steps: dict[tuple[int, int, str], int] = {}


def _after_units(table: Tables, below: int, state: int, terminal: str) -> int:
    """The state on top once all rules of the kind A -> B, which change nothing but the state, have been reduced. Remembered."""
    key = (below, state, terminal)
    known = _unit_steps.get(key)
    if known is not None:
        return known
    while True:
        action = table.actions[state].get(terminal)
        if action is None or action >= 0:
            break
        rule = table.rules[-1 - action]
        if not (rule.passes and len(rule.symbols) == 1):
            break
        state = table.gotos[below][rule.origin]
    _unit_steps[key] = state
    return state


def parse_tokens(tokens: Tokens, report: Report) -> Block:
    """The body of a text as a block. Faults go to `report`; what could not be read is a Broken statement in its place."""
    table = tables()
    stack = _Stack([table.start], [], [], [])
    at = 0
    while True:
        try:
            at = _run(table, stack, tokens, at, report)
        except TooDeepError as fault:
            report("E0112", fault.start, fault.end, limit=MAX_CHAIN)
            at = _resume(table, stack, tokens, fault.token)
            continue
        if at < 0:
            body: Block = stack.values[-1]
            return body
        describe(table, stack.states, tokens, at, report)
        at = _resume(table, stack, tokens, at)


def _run(table: Tables, stack: _Stack, tokens: Tokens, at: int, report: Report) -> int:
    """Parses from a token until the text is accepted (-1) or a token does not fit (its index)."""
    actions, gotos, rules, accept = table.actions, table.gotos, table.rules, table.accept
    make_rule = makers()
    unit_steps = _unit_steps
    types, texts, token_starts, token_ends = tokens.types, tokens.texts, tokens.starts, tokens.ends
    states, values, starts, ends = stack.states, stack.values, stack.starts, stack.ends
    state = states[-1]
    statement_states = table.statement_states
    while True:
        terminal = types[at]
        if state in statement_states and terminal in table.actions[table.start]:
            plan, stop = plan_for(table, state, types, at)
            if plan is not None:
                try:
                    value = plan.build(tokens, at, report)
                except TooDeepError as fault:
                    fault.token = at
                    raise
                for index in plan.names:
                    types[at + index] = "NAME"
                state = gotos[state]["statement"]
                stack.push(state, value, token_starts[at], token_ends[stop - 1])
                at = stop
                terminal = types[at]
        action = actions[state].get(terminal)
        if action is None:
            row = actions[state]
            if table.may_name(row, terminal) and terminal in table.word_terminals:
                # A word of the language where only a name can stand (a path, a type, a name being declared).
                terminal = types[at] = "NAME"
                action = row["NAME"]
            else:
                return at
        if action >= 0:
            text = texts[at]
            start, end = token_starts[at], token_ends[at]
            make = on_shift.get(terminal)
            values.append(text if make is None else make(text, start, end, report))
            starts.append(start)
            ends.append(end)
            states.append(action)
            state = action
            at += 1
            continue
        rule = rules[-1 - action]
        size = len(rule.symbols)
        if size == 1 and rule.passes:
            below = states[-2]
            next_state = unit_steps.get((below, state, terminal))
            if next_state is None:
                next_state = _after_units(table, below, state, terminal)
            states[-1] = state = next_state
            continue
        if size:
            start, end = starts[-size], ends[-1]
        else:
            start = end = token_starts[at]
        try:
            value = make_rule[-1 - action](values[-size:] if size else [], start, end)
        except TooDeepError as fault:
            fault.token = at
            raise
        if size:
            del values[-size:], starts[-size:], ends[-size:], states[-size:]
        values.append(value)
        starts.append(start)
        ends.append(end)
        state = gotos[states[-1]][rule.origin]
        states.append(state)
        if state == accept:
            return -1


def _resume(table: Tables, stack: _Stack, tokens: Tokens, at: int) -> int:
    """Puts ERROR after what could be read of the statement that holds a token, and says where to go on: its line's end or its block."""
    offset = tokens.starts[at]
    while not _shift_error(table, stack, offset):
        pass
    types = tokens.types
    while types[at] not in ("_NL", "LBRACE", "RBRACE", END):
        at += 1
    return at


def _shift_error(table: Tables, stack: _Stack, offset: int) -> bool:
    """One step towards ERROR on top of the stack: shifts it, reduces by it, or gives up the topmost symbol."""
    action = table.actions[stack.states[-1]].get("ERROR")
    if action is None:
        stack.cut(len(stack.values) - 1)
        return False
    if action >= 0:
        stack.push(action, "", offset, offset)
        return True
    rule = table.rules[-1 - action]
    size = len(rule.symbols)
    start, end = (stack.starts[-size], stack.ends[-1]) if size else (offset, offset)
    try:
        value = makers()[-1 - action](stack.values[-size:] if size else [], start, end)
    except TooDeepError:
        stack.cut(len(stack.values) - 1)
        return False
    stack.cut(len(stack.values) - size)
    stack.push(table.gotos[stack.states[-1]][rule.origin], value, start, end)
    return False


def parse(text: str, report: Report) -> Block:
    """Text to tree."""
    return parse_tokens(tokenize(text, report), report)
