"""The TextMate grammar of Sculpt, made from the language's own words so that it cannot fall behind them.

`python -m interactive3d.dsl.highlighting FILE` writes it; a test compares the file in editors/vscode.
"""

import json
import sys
from pathlib import Path
from typing import Any

from interactive3d.dsl.functions import FUNCTIONS
from interactive3d.dsl.help import STATEMENTS
from interactive3d.dsl.program import COLORS
from interactive3d.dsl.tables import tables

_CONTROL = ("for", "if", "else", "in", "use", "as", "gesture")
_MOMENTS = ("at", "step", "start", "end", "from", "to", "every", "after", "when", "steps")
_DECLARATIONS = ("let", "param", "part", "view")
_OPERATORS = ("and", "or", "not", "grow")
_SHAPES = ("sphere", "box", "ellipsoid", "capsule", "cylinder", "cone", "torus", "click", "segment", "orbit")
_UNITS = ("deg", "rad")


def _words(words: Any) -> str:
    return r"\b(?:" + "|".join(sorted(words)) + r")\b"


def groups() -> dict[str, frozenset[str]]:
    """Every word of the language, by how it is shown."""
    known: dict[str, frozenset[str]] = {
        "keyword.control.sculpt": frozenset(_CONTROL),
        "storage.type.sculpt": frozenset(_DECLARATIONS),
        "keyword.control.moment.sculpt": frozenset(_MOMENTS),
        "keyword.operator.word.sculpt": frozenset(_OPERATORS),
        "support.type.shape.sculpt": frozenset(_SHAPES),
        "keyword.other.unit.sculpt": frozenset(_UNITS),
    }
    taken = frozenset().union(*known.values())
    known["keyword.other.operation.sculpt"] = frozenset(STATEMENTS) - taken
    taken |= known["keyword.other.operation.sculpt"]
    known["variable.parameter.clause.sculpt"] = frozenset(tables().words) - taken - {"x"}
    return known


def text_mate() -> dict[str, Any]:
    patterns: list[dict[str, Any]] = [
        {"name": "constant.other.color.sculpt", "match": r"#[0-9a-fA-F]{6}(?!\w)"},
        {"name": "comment.line.number-sign.sculpt", "match": r"#.*$"},
        {
            "name": "string.quoted.double.sculpt",
            "begin": '"',
            "end": '"|$',
            "patterns": [
                {"name": "constant.character.escape.sculpt", "match": r"\\[\"\\nt]"},
                {"name": "variable.other.interpolated.sculpt", "match": r"\{[^{}\"]*\}"},
            ],
        },
        {"name": "entity.name.label.sculpt", "match": r"^\s*[A-Za-z_]\w*(?=:)"},
        {"name": "support.function.sculpt", "match": r"\b(?:" + "|".join(sorted(FUNCTIONS)) + r")(?=\()"},
        {"name": "entity.name.function.sculpt", "match": r"\b[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*(?=\()"},
        {"name": "variable.other.path.sculpt", "match": r"\b[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+\b"},
        {"name": "constant.numeric.sculpt", "match": r"\b\d+(?:\.\d+)?(?:[eE][+-]?\d+)?\b"},
        {"name": "constant.language.sculpt", "match": r"\b(?:all|on|off)\b"},
    ]
    patterns += [{"name": name, "match": _words(words)} for name, words in groups().items()]
    patterns += [
        {"name": "support.constant.color.sculpt", "match": _words(COLORS)},
        {"name": "keyword.operator.sculpt", "match": r"->|\.\.|[-+*/^&<>=!]=?"},
    ]
    return {
        "$schema": "https://raw.githubusercontent.com/martinring/tmlanguage/master/tmlanguage.json",
        "name": "Sculpt",
        "scopeName": "source.sculpt",
        "fileTypes": ["sculpt"],
        "patterns": patterns,
    }


def written() -> str:
    return json.dumps(text_mate(), indent=2) + "\n"


def main() -> None:
    for name in sys.argv[1:]:
        Path(name).write_text(written(), encoding="utf-8")


if __name__ == "__main__":
    main()
