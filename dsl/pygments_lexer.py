"""Sculpt for Pygments, so that documents, terminals and notebooks show scripts as editors do.

Registered as the lexer ``sculpt`` (entry point ``pygments.lexers``). Its rules are the patterns of the TextMate grammar, which are made
from the language's own words (`highlighting`), so the two cannot disagree; what this module adds is a token type for each scope.
"""

import re
from typing import Any, ClassVar

from pygments.lexer import RegexLexer
from pygments.token import (
    Comment,
    Keyword,
    Literal,
    Name,
    Number,
    Operator,
    Punctuation,
    String,
    Text,
    _TokenType,
)

from interactive3d.dsl.highlighting import text_mate

TOKENS: dict[str, _TokenType] = {
    "comment.line.number-sign.sculpt": Comment.Single,
    "constant.character.escape.sculpt": String.Escape,
    "constant.language.sculpt": Keyword.Constant,
    "constant.numeric.sculpt": Number,
    "constant.other.color.sculpt": Literal,
    "entity.name.function.sculpt": Name.Function,
    "entity.name.label.sculpt": Name.Label,
    "keyword.control.moment.sculpt": Keyword.Namespace,
    "keyword.control.sculpt": Keyword,
    "keyword.operator.sculpt": Operator,
    "keyword.operator.word.sculpt": Operator.Word,
    "keyword.other.operation.sculpt": Keyword.Reserved,
    "keyword.other.unit.sculpt": Keyword.Type,
    "storage.type.sculpt": Keyword.Declaration,
    "string.quoted.double.sculpt": String.Double,
    "support.constant.color.sculpt": Name.Constant,
    "support.function.sculpt": Name.Builtin,
    "support.type.shape.sculpt": Name.Class,
    "variable.other.interpolated.sculpt": String.Interpol,
    "variable.other.path.sculpt": Name.Attribute,
    "variable.parameter.clause.sculpt": Name.Tag,
}
"""Each scope of the TextMate grammar as a token type. `Keyword.Reserved` are operations, `Name.Tag` the words of their clauses."""

_REST: list[tuple[str, Any]] = [
    (r"\s+", Text.Whitespace),
    (r"[^\W\d]\w*", Name),
    (r"[(){}\[\],:.]", Punctuation),
]


def _rules() -> dict[str, list[Any]]:
    """The grammar's patterns in their order, as states of a lexer: the text outside strings, and each quoted text."""
    states: dict[str, list[Any]] = {"root": []}
    for pattern in text_mate()["patterns"]:
        token = TOKENS[pattern["name"]]
        if "match" in pattern:
            # A line's leading white space must not take the lines above with it.
            states["root"].append((pattern["match"].replace(r"^\s*", r"^[^\S\n]*"), token))
            continue
        inside = pattern["name"]
        states["root"].append((pattern["begin"], token, inside))
        states[inside] = [(inner["match"], TOKENS[inner["name"]]) for inner in pattern["patterns"]]
        states[inside] += [(pattern["end"], token, "#pop"), (r'[^"\\{\n]+', token), (r"[\\{]", token)]
    states["root"] += _REST
    return states


class SculptLexer(RegexLexer):
    """Sculpt, the interaction language of interactive3d."""

    name = "Sculpt"
    aliases: ClassVar = ["sculpt"]
    filenames: ClassVar = ["*.sculpt"]
    mimetypes: ClassVar = ["text/x-sculpt"]
    flags = re.MULTILINE
    tokens: ClassVar = _rules()
