"""The parts of docs/language.md that are made from the code: grammar, functions, words, colours, diagnostics.

`python -m interactive3d.dsl.reference docs/language.md` writes them anew between their markers; a test holds them up to date.
"""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from interactive3d.dsl.diagnostics import catalogue
from interactive3d.dsl.functions import FUNCTIONS
from interactive3d.dsl.gestures import TYPES
from interactive3d.dsl.help import STATEMENTS
from interactive3d.dsl.program import COLORS, METRICS
from interactive3d.dsl.tables import GRAMMAR_PATH, tables

_MARKED = re.compile(r"(<!-- made from the code: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_RULE = re.compile(r"^[!?]?([a-z_]\w*)\s*:\s*(.*)$")
# How a rule of the grammar is called in the reference, where its own name says too little.
_TERMINALS = {
    "_NL": "line end",
    "CALL": 'NAME"("',
    "STRING": "TEXT",
    "HEX": "#rrggbb",
}
# Alternatives share a line up to here.
_WIDTH = 110
# Rules that are there for the parser's recovery.
_HIDDEN = {"broken", "start"}


def _rules() -> Iterator[tuple[str, list[str]]]:
    """Rules of grammar.lark with their alternatives, without what concerns the parser alone."""
    name = ""
    alternatives: list[str] = []
    for raw in GRAMMAR_PATH.read_text(encoding="utf-8").split("\n"):
        line = raw.split("//")[0].rstrip()
        if not line or line.startswith("%"):
            continue
        found = _RULE.match(line)
        if found:
            if name:
                yield name, alternatives
            name, alternatives = found.group(1), []
            line = found.group(2)
        for part in re.split(r"(?:^|\s)\|\s", " " + line):
            written = re.sub(r"\s*->\s*\w+$", "", part).strip()
            if written:
                alternatives.append(written)
    yield name, alternatives


def _readable(alternative: str) -> str:
    out = alternative
    for terminal, spelled in _TERMINALS.items():
        out = re.sub(rf"(?<![\w\"]){terminal}(?![\w\"])", spelled, out)
    return re.sub(r"\s+", " ", out)


def grammar() -> str:
    """Every rule: quoted words and signs stand for themselves, `?` may be left out, `*` and `+` repeat, `|` chooses."""
    # Postfix repetition is no word of the lexers that pages are coloured by.
    lines = ["```text"]
    for name, alternatives in _rules():
        if name in _HIDDEN:
            continue
        shown = [_readable(a) for a in alternatives if "broken" not in a and a != "VECTOR"]
        if name == "line":
            shown = ["statement?"]
        together = f"{name} = {' | '.join(shown)}"
        if len(together) <= _WIDTH:
            lines.append(together)
            continue
        first, *rest = shown
        lines.append(f"{name} = {first}")
        lines += [f"{' ' * len(name)} | {alternative}" for alternative in rest]
    return "\n".join([*lines, "```"])


def statements() -> str:
    rows = [f"| `{_cell(entry.form)}` | {entry.text} |" for entry in STATEMENTS.values()]
    return "\n".join(["| statement | says |", "| --- | --- |", *rows])


def functions() -> str:
    return "\n".join(
        [
            "| call | gives |",
            "| --- | --- |",
            *(f"| `{u.split(': ')[0]}` | {u.split(': ')[1]} |" for _, _, u in FUNCTIONS.values()),
        ]
    )


def words() -> str:
    listed = sorted(set(tables().words) - {"x"} | {"all", "on", "off"})
    return "`" + "` `".join(listed) + "`"


def colors() -> str:
    return "`" + "` `".join(sorted(COLORS)) + "`"


def metrics() -> str:
    return "`" + "` `".join(METRICS) + "`"


def types() -> str:
    return "`" + "` `".join(TYPES) + "`"


def diagnostics() -> str:
    rows = [f"| `{code}` | {_cell(entry.message)} |" for code, entry in catalogue().items()]
    return "\n".join(["| code | says |", "| --- | --- |", *rows])


def _cell(message: str) -> str:
    plain = re.sub(r"\{(\w+)\}", "…", message.replace("{{", "{").replace("}}", "}"))
    return plain.replace("|", "\\|")


SECTIONS: dict[str, Callable[[], str]] = {
    "grammar": grammar,
    "statements": statements,
    "functions": functions,
    "words": words,
    "colors": colors,
    "metrics": metrics,
    "types": types,
    "diagnostics": diagnostics,
}


def refreshed(text: str) -> str:
    """A document with its marked sections made anew."""
    return _MARKED.sub(lambda m: f"{m.group(1)}{SECTIONS[m.group(2)]()}\n{m.group(3)}", text)


def main() -> None:
    for name in sys.argv[1:]:
        path = Path(name)
        path.write_text(refreshed(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
