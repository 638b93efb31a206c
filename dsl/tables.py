"""The parse tables that Lark makes from grammar.lark, in the shape that the parser's loop wants.

Lark's own loop spends most of its time on Token objects and on one callback per grammar rule; a script of ten thousand events has to be
checked in a second, so parser.py drives the tables itself. This is the only module that looks inside Lark.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lark import Lark
from lark.lexer import Lexer
from lark.parsers.lalr_analysis import Shift

GRAMMAR_PATH = Path(__file__).with_name("grammar.lark")
END = "$END"


class _NoLexer(Lexer):
    """Keeps Lark from building lexers: tokens come from lexer.py."""

    def __init__(self, conf: Any) -> None:
        del conf

    def lex(self, *_: Any) -> Any:
        raise RuntimeError("the tables are driven by parser.py, not by Lark.parse")


@dataclass(frozen=True, slots=True)
class Rule:
    """One production. `build` is its alias or name, `kept` the positions whose values are used, `spread` the kept ones that are lists."""

    build: str
    origin: str
    symbols: tuple[str, ...]
    kept: tuple[int, ...]
    spread: frozenset[int]
    passes: bool


@dataclass(frozen=True, slots=True)
class Tables:
    """`actions[state][terminal]` is the next state, or -1 - rule to reduce; `gotos[state][origin]` the state after a reduction."""

    actions: tuple[dict[str, int], ...]
    gotos: tuple[dict[str, int], ...]
    rules: tuple[Rule, ...]
    start: int
    accept: int
    # What is written -> terminal, for words and for signs.
    words: dict[str, str]
    signs: dict[str, str]
    # Terminal -> what is written.
    spelling: dict[str, str]
    word_terminals: frozenset[str]
    # States in which a statement may begin.
    statement_states: frozenset[int]

    @staticmethod
    def may_name(row: dict[str, int], terminal: str) -> bool:
        """Whether a word of the language is taken for a name in a state: where a name is declared or a path or type is given."""
        return "NAME" in row and "LET" not in row and (terminal == "X" or "NUMBER" not in row)


def _rule(rule: Any) -> Rule:
    symbols = tuple(symbol.name for symbol in rule.expansion)
    kept = tuple(i for i, symbol in enumerate(rule.expansion) if not (symbol.is_term and symbol.filter_out))
    origin = str(rule.origin.name)
    build = rule.alias or origin
    passes = rule.options.expand1 and rule.alias is None and len(kept) == 1
    spread = frozenset(i for i in kept if symbols[i].startswith("__"))
    return Rule(build=build, origin=origin, symbols=symbols, kept=kept, spread=spread, passes=passes)


@cache
def tables() -> Tables:
    """Made once per process, on first use (about a quarter of a second)."""
    lark = Lark(GRAMMAR_PATH.read_text(encoding="utf-8"), parser="lalr", lexer=_NoLexer, maybe_placeholders=False)
    table = lark.parser.parser._parse_table
    number = {state: i for i, state in enumerate(table.states)}
    rule_number = {rule: i for i, rule in enumerate(lark.rules)}
    actions: list[dict[str, int]] = []
    gotos: list[dict[str, int]] = []
    nonterminals = {str(rule.origin.name) for rule in lark.rules}
    for state in table.states.values():
        action: dict[str, int] = {}
        goto: dict[str, int] = {}
        for symbol, (kind, argument) in state.items():
            if symbol in nonterminals:
                goto[str(symbol)] = number[argument]
            elif kind is Shift:
                action[str(symbol)] = number[argument]
            else:
                action[str(symbol)] = -1 - rule_number[argument]
        actions.append(action)
        gotos.append(goto)
    spelling = {t.name: t.pattern.value for t in lark.terminals if t.pattern is not None and t.pattern.value}
    words = {text: name for name, text in spelling.items() if text.isalpha()}
    signs = {text: name for name, text in spelling.items() if not text.isalpha()}
    return Tables(
        actions=tuple(actions),
        gotos=tuple(gotos),
        rules=tuple(_rule(rule) for rule in lark.rules),
        start=number[table.start_states["start"]],
        accept=number[table.end_states["start"]],
        words=words,
        signs=signs,
        spelling=spelling,
        word_terminals=frozenset(words.values()),
        statement_states=frozenset(i for i, goto in enumerate(gotos) if "statement" in goto),
    )
