"""What to say when a token does not fit: from the parser's state to a message that a person can use."""

from difflib import get_close_matches

from interactive3d.dsl.functions import FUNCTIONS
from interactive3d.dsl.lexer import Report, Tokens
from interactive3d.dsl.tables import END, Tables, tables

_KINDS = {
    "NAME": "a name",
    "CALL": "a call",
    "STRING": "a text in quotes",
    "NUMBER": "a number",
    "HEX": "a colour",
    "VECTOR": "a vector",
    "_NL": "the end of the line",
    END: "the end of the file",
}
# Accepted together, these are what an expression may begin with.
_EXPRESSION = {"NUMBER", "NAME", "LPAR", "STRING", "HEX", "VECTOR", "CALL", "LSQB", "MINUS", "NOT"}
_SHAPES = {"SPHERE", "BOX", "ELLIPSOID", "CAPSULE", "CYLINDER", "CONE", "TORUS", "CLICK", "SEGMENT", "ORBIT"}
_OPERATORS = {
    "PLUS",
    "MINUS",
    "STAR",
    "SLASH",
    "CIRCUMFLEX",
    "AMPERSAND",
    "GROW",
    "DEG",
    "RAD",
    "AND",
    "OR",
    "LESSTHAN",
    "MORETHAN",
    "__ANON_2",
    "__ANON_3",
    "__ANON_4",
    "__ANON_5",
}
_UNSIGNED = ("set", "prompt", "avoid", "seed", "steps", "guidance")
# Words that people know from other tools -> what Sculpt calls them.
_SYNONYMS = {
    "delete": "remove",
    "erase": "remove",
    "copy": "duplicate",
    "translate": "move",
    "scale": "stretch",
    "resize": "stretch",
    "turn": "rotate",
    "color": "paint",
    "colour": "paint",
    "pull": "drag",
    "negative": "avoid",
    "def": "gesture",
    "function": "gesture",
    "import": "use",
    "include": "use",
    "var": "let",
    "const": "let",
    "camera": "view",
    "lock": "freeze",
    "unlock": "thaw",
    "save": "export",
    "screenshot": "snapshot",
    "video": "record",
    "on": "at",
}


def accepted(table: Tables, states: list[int]) -> set[str]:
    """The terminals that can really come next: those whose reductions end in a shift."""
    found: set[str] = set()
    for terminal in table.actions[states[-1]]:
        stack = list(states)
        while True:
            action = table.actions[stack[-1]].get(terminal)
            if action is None:
                break
            if action >= 0:
                found.add(terminal)
                break
            rule = table.rules[-1 - action]
            del stack[len(stack) - len(rule.symbols) :]
            goto = table.gotos[stack[-1]][rule.origin]
            if goto == table.accept:
                found.add(terminal)
                break
            stack.append(goto)
    found.discard("ERROR")
    return found


def accepted_after(types: list[str]) -> set[str]:
    """The terminals that can follow a beginning of a statement; empty when the beginning itself is wrong."""
    table = tables()
    states = [table.start]
    for terminal in types:
        while True:
            row = table.actions[states[-1]]
            action = row.get(terminal)
            if action is None and table.may_name(row, terminal) and terminal in table.word_terminals:
                action = row["NAME"]
            if action is None:
                return set()
            if action >= 0:
                states.append(action)
                break
            rule = table.rules[-1 - action]
            del states[len(states) - len(rule.symbols) :]
            states.append(table.gotos[states[-1]][rule.origin])
    return accepted(table, states)


def spell(table: Tables, terminal: str) -> str:
    return _KINDS.get(terminal) or f"`{table.spelling[terminal]}`"


def expectation(table: Tables, terminals: set[str]) -> str:
    """ "a value, `over` or the end of the line": values and operators are summed up, words are listed."""
    rest = set(terminals)
    phrases: list[str] = []
    if {"NUMBER", "LPAR"} <= rest:
        phrases.append("a shape or part" if "SPHERE" in rest and "MINUS" not in rest else "a value")
        rest -= _EXPRESSION | _SHAPES | {"COLOR"}
    elif "PLUS" in rest:
        rest -= _OPERATORS
    if {"DRAG", "LBRACE"} <= rest:
        return "a statement" if "LET" in rest else "an operation, the call of a gesture or a block"
    words = sorted(spell(table, terminal) for terminal in rest if terminal not in _KINDS)
    kinds = sorted(spell(table, terminal) for terminal in rest if terminal in _KINDS and terminal not in (END, "_NL"))
    phrases += kinds + words
    if "_NL" in rest:
        phrases.append(_KINDS["_NL"])
    if not phrases:
        return "an operator"
    if len(phrases) > 8:
        phrases = [*phrases[:7], "…"]
    return phrases[0] if len(phrases) == 1 else ", ".join(phrases[:-1]) + " or " + phrases[-1]


def _statement(table: Tables, tokens: Tokens, at: int) -> str:
    """The keyword of the operation or declaration that a token belongs to, or an empty string."""
    found = ""
    moments = {"at", "from", "every", "after", "when", "step", "steps", "to", "start", "end", "in", "for"}
    first = at
    while first > 0 and tokens.types[first - 1] not in ("_NL", "LBRACE", "RBRACE"):
        first -= 1
    statement_words = {table.spelling[t] for t in table.actions[table.start] if t in table.spelling}
    for i in range(first, at):
        text = tokens.texts[i]
        if text in statement_words and (text not in moments or i == first):
            found = text
            if text not in moments:
                return found
    return found


def describe(table: Tables, states: list[int], tokens: Tokens, at: int, report: Report) -> None:
    """Reports why the token at an index does not fit the state on top of the stack."""
    terminal, text = tokens.types[at], tokens.texts[at]
    start, end = tokens.starts[at], tokens.ends[at]
    can = accepted(table, states)
    expected = expectation(table, can)
    begins_statement = "DRAG" in can and "LET" in can
    if terminal in ("_NL", END, "RBRACE") and not begins_statement:
        _ends_early(table, tokens, at, can, report)
        return
    if terminal == "ELSE" and begins_statement:
        report("E0119", start, end)
        return
    if begins_statement or ("DRAG" in can and "LBRACE" in can):
        _statement_fault(table, tokens, at, begins_statement, report)
        return
    statement = _statement(table, tokens, at)
    if can == {"COLON"} and tokens.types[at - 1] == "NAME":
        _label_fault(table, tokens, at, report)
        return
    if (terminal == "OVER" and "FOR" in can) or (terminal == "FOR" and "OVER" in can):
        right = "for" if terminal == "OVER" else "over"
        report(
            "E0109",
            start,
            end,
            text=text,
            statement=statement,
            help=f"`{statement}` lasts `{right} N steps`",
            replace=right,
        )
        return
    if "_NL" in can and terminal in table.actions[table.start] and terminal not in ("NAME", "CALL", "LBRACE"):
        report("E0117", start, end, text=text)
        return
    if terminal in _SHAPES and {"NUMBER", "LPAR"} <= can:
        report("E0116", start, end, text=text)
        return
    if can == {"CALL"} and terminal == "NAME" and tokens.types[at + 1] == "LPAR":
        report("E0118", tokens.starts[at + 1], tokens.ends[at + 1], name=text)
        return
    if terminal in ("LPAR", "VECTOR") and at and tokens.types[at - 1] == "NAME" and tokens.texts[at - 1] in FUNCTIONS:
        report("E0118", start, start + 1, name=tokens.texts[at - 1])
        return
    options = sorted(table.spelling[t] for t in can if t in table.spelling and table.spelling[t].isalpha())
    if text.isidentifier() and terminal == "NAME":
        near = get_close_matches(text, options, 1, 0.6)
        if near or (options and not ({"NUMBER", "NAME"} & can)):
            guess = f"did you mean `{near[0]}`?" if near else f"expected {expected}"
            report("E0109", start, end, text=text, statement=statement, help=guess)
            return
    found = f"`{text}`" if terminal not in _KINDS or terminal in ("NUMBER", "NAME") else _KINDS[terminal]
    if text in table.words and {"NUMBER", "LPAR"} <= can:
        report("E0120", start, end, text=text, expected=expected)
        return
    help_ = f"`{statement}` takes its value without a sign" if text == "=" and statement in _UNSIGNED else None
    report("E0110", start, end, expected=expected, found=found, help=help_)


def _ends_early(table: Tables, tokens: Tokens, at: int, can: set[str], report: Report) -> None:
    """The line is over and something is missing; a colour with too few digits was read as a comment."""
    previous, start = tokens.ends[at - 1] if at else 0, tokens.starts[at]
    hashes = (c for c in tokens.comments if previous <= c[0] <= start and c[1] - c[0] in (4, 5, 6, 8, 9))
    digits = next(hashes, None)
    if digits is not None and "HEX" in can:
        report("E0114", *digits)
        return
    expected = expectation(table, can)
    report("E0111", max(previous - 1, 0), max(previous, 1), expected=expected, statement=_statement(table, tokens, at))


def _label_fault(table: Tables, tokens: Tokens, at: int, report: Report) -> None:
    """A name, and no `:` behind it: at the beginning of a line a misspelt statement, or a call with a space in it; else an argument."""
    if at >= 2 and tokens.types[at - 2] in ("LPAR", "COMMA", "CALL"):
        name = tokens.texts[at - 1]
        found = _KINDS.get(tokens.types[at], f"`{tokens.texts[at]}`")
        help_ = f"an argument of a gesture has a type: `{name}: number`, `{name}: part`, …; see `gesture` in docs/language.md"
        report("E0110", tokens.starts[at], tokens.ends[at], expected="`:` and a type", found=found, help=help_)
    elif tokens.types[at] in ("LPAR", "VECTOR"):
        report("E0118", tokens.starts[at], tokens.starts[at] + 1, name=tokens.texts[at - 1])
    else:
        _statement_fault(table, tokens, at - 1, True, report)


def _statement_fault(table: Tables, tokens: Tokens, at: int, first: bool, report: Report) -> None:
    """A statement cannot begin with this token."""
    text = tokens.texts[at]
    start, end = tokens.starts[at], tokens.ends[at]
    words = sorted(table.spelling[t] for t in table.actions[table.start] if t in table.spelling)
    words = [word for word in words if word.isalpha()]
    if text in words:
        report("E0110", start, end, expected="an operation", found=f"`{text}`")
    elif text in table.words:
        help_ = "a statement ends with its line; inside ( ) and [ ] it goes on"
        report("E0108", start, end, text=text, help=help_)
    elif text.isidentifier():
        near = get_close_matches(text, words, 1, 0.6)
        meant = _SYNONYMS.get(text) or (near[0] if near else None)
        help_ = (
            f"did you mean `{meant}`?"
            if meant
            else "a line begins with a setting, a name or a moment; see `interactive3d explain E0108`"
        )
        report("E0108", start, end, text=text, help=help_)
    elif not first:
        report("E0110", start, end, expected="an operation", found=f"`{text}`")
    else:
        report("E0110", start, end, expected="a statement", found=f"`{text}`")
