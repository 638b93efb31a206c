"""The Pygments lexer: every word has its colour, nothing is an error, and it agrees with the TextMate grammar of editors."""

import json
import re
from pathlib import Path

import pytest
from pygments.lexers import get_lexer_by_name, get_lexer_for_filename
from pygments.token import Error, Keyword, Name, Text, Token

from interactive3d.dsl.highlighting import groups, text_mate
from interactive3d.dsl.pygments_lexer import TOKENS, SculptLexer

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = [ROOT / "tests/dsl/tour.sculpt", *sorted((ROOT / "scripts").rglob("*.sculpt"))]
WORDS = [(scope, word) for scope, words in groups().items() for word in sorted(words)]


def lexed(text: str) -> list[tuple[object, str]]:
    return [(kind, value) for kind, value in SculptLexer(ensurenl=False, stripnl=False).get_tokens(text)]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_whole_scripts_have_a_token_for_everything(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tokens = lexed(text)
    assert "".join(value for _, value in tokens) == text
    assert [value for kind, value in tokens if kind in Error] == []


@pytest.mark.parametrize(("scope", "word"), WORDS, ids=[f"{w}" for _, w in WORDS])
def test_every_word_of_the_language_has_the_colour_of_its_kind(scope: str, word: str) -> None:
    kind = lexed(f"q {word} q")[2]
    expected = "constant.language.sculpt" if word in ("all", "on", "off") else scope
    assert kind == (TOKENS[expected], word)


def test_every_scope_of_the_grammar_has_a_token_of_its_own() -> None:
    scopes = {p["name"] for p in text_mate()["patterns"]}
    scopes |= {inner["name"] for p in text_mate()["patterns"] for inner in p.get("patterns", ())}
    assert scopes == set(TOKENS)
    assert len(set(TOKENS.values())) == len(TOKENS)


def textmate_scopes(line: str) -> list[str]:
    """The scope of each character of a line as an editor finds them: the earliest match of all patterns, then the first pattern.

    Editors read the file that is committed.
    """
    grammar = json.loads((ROOT / "editors/vscode/syntaxes/sculpt.tmLanguage.json").read_text(encoding="utf-8"))
    patterns = [(re.compile(p.get("match", r'"(?:\\.|[^"\\])*(?:"|$)')), p["name"]) for p in grammar["patterns"]]
    scopes, at = [""] * len(line), 0
    while at < len(line):
        found = [(m.start(), i, m.end(), name) for i, (p, name) in enumerate(patterns) if (m := p.search(line, at))]
        if not found:
            break
        start, _, end, name = min(found)
        scopes[start:end] = [name] * (end - start)
        at = max(end, at + 1)
    return scopes


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_editors_and_documents_agree_on_every_character(path: Path) -> None:
    for line in path.read_text(encoding="utf-8").splitlines():
        kinds = [kind for kind, value in lexed(line) for _ in value]
        for place, (scope, kind) in enumerate(zip(textmate_scopes(line), kinds, strict=True)):
            if scope.startswith("string"):
                assert kind in Token.Literal.String, (line, place)
            elif scope == "entity.name.label.sculpt" and line[place].isspace():
                assert kind in (TOKENS[scope], Text.Whitespace)
            elif scope:
                assert kind is TOKENS[scope], (line, place)
            else:
                assert kind in Name or kind in Text or kind in Token.Punctuation, (line, place)


def test_a_broken_text_is_coloured_all_the_same() -> None:
    tokens = lexed('at step 3 print "not closed\nat step 4 pause $\n')
    assert (Keyword.Reserved, "pause") in tokens
    assert [value for kind, value in tokens if kind in Error] == ["$"]


def test_it_is_found_by_name_and_by_file() -> None:
    assert isinstance(get_lexer_by_name("sculpt"), SculptLexer)
    assert isinstance(get_lexer_for_filename("mine.sculpt"), SculptLexer)
