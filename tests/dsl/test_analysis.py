"""What an editor asks: completion, hover, definitions, uses, renaming, folds, colours, symbols."""

import json
import re
from pathlib import Path

import pytest
from dsl_support import context

from interactive3d.dsl import loads
from interactive3d.dsl.analysis import Analysis
from interactive3d.dsl.help import HELP, STATEMENTS
from interactive3d.dsl.highlighting import groups, text_mate, written
from interactive3d.dsl.tables import tables

SCRIPT = (
    """# A script
# for editors.
prompt "a green dragon"
steps  1200
param lift = 0.35 in 0 .. 0.8 "how high"
let   back = (0, lift, 0)
view  front = orbit azimuth 0 elevation 10
part  head = sphere at back radius 0.1
gesture nod(what: part, by: angle = 10 deg) "up and down" {
  rotate what by by about x
}
turn: at step 300 nod(head, by = 20 deg)
after turn {
  paint head red
  paint head - (color #ff8800) gold
  print "lift is {lift}"
}
at step 400 add sphere at back.y * x radius 0.1 count 20 color red as ball
at step 500 remove ball
at end snapshot "a.png" from front
""".replace("by: angle", "far: angle")
    .replace("by by about", "by far about")
    .replace("by = 20", "far = 20")
)


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    made = Analysis(SCRIPT, context(), None, "a.sculpt")
    assert made.diagnostics == ()
    return made


def at(mark: str) -> tuple[Analysis, int]:
    """An analysis of a text with `|` taken out, and where that was."""
    offset = mark.index("|")
    content = mark.replace("|", "", 1)
    return Analysis(content, context(), None, "a.sculpt"), offset


def offered(mark: str) -> set[str]:
    analysed, offset = at(mark)
    return {item.text for item in analysed.complete(offset)}


HEAD = "part head = sphere at (0, 0, 0) radius 1\nview front = orbit azimuth 0 elevation 0\nlet up = (0, 1, 0)\n"


@pytest.mark.parametrize(
    ("text", "present", "absent"),
    [
        ("|", {"prompt", "let", "at", "gesture", "drag"}, {"radius", "to", "head", "red"}),
        ("pr|", {"prompt", "print", "prune"}, {"let"}),
        (HEAD + "at |", {"step", "start", "end"}, {"let", "head"}),
        (HEAD + "at step 3 |", {"drag", "remove"}, {"let", "seed", "part"}),
        (HEAD + "at step 3 remove |", {"head", "all", "sphere", "up"}, {"drag", "later"}),
        (HEAD + "at step 3 remove he|", {"head"}, {"all"}),
        (HEAD + "at step 3 drag head |", {"from", "grow"}, {"to", "rigid"}),
        (HEAD + "at step 3 drag head from up to up |", {"radius", "rigid", "deformable", "over"}, {"noise", "with"}),
        (HEAD + 'at step 3 edit head with "x" |', {"for", "noise", "zoom"}, {"over", "rigid"}),
        (HEAD + 'at end snapshot "a.png" from |', {"front", "orbit"}, {"red"}),
        (HEAD + "set |", {"lr.position", "background"}, {"head", "drag"}),
        (HEAD + "set background |", {"white", "random", "checker"}, {"lr.position"}),
        (HEAD + "set densify.enabled |", {"on", "off"}, {"white"}),
        ("guidance |", {"embedded", "reference"}, {"head"}),
        (HEAD + "at step 3 mirror head across |", {"x", "y", "z"}, {"head"}),
        ("when |", {"loss", "blobs"}, {"head"}),
        ("a: at step 3 pause\nafter |", {"a"}, {"all"}),
        ("gesture g(a: |", {"part", "number", "tag"}, {"red"}),
        (HEAD + "gesture g(what: part) {\n  remove |\n}\n", {"what", "head"}, set()),
        (HEAD + "let a = up.|", {"up.x", "up.y", "up.z"}, {"head"}),
        (HEAD + "let a = ma|", {"max"}, {"min"}),
        (HEAD + "at step 3 paint head |", {"red", "up", "mix"}, {"drag"}),
        (HEAD + 'prompt "he|', set(), {"head", "let"}),
        (HEAD + "# he|", set(), {"head", "let"}),
        (HEAD + "at step 3 {\n  |\n}\n", {"drag", "remove"}, set()),
    ],
)
def test_completion(text: str, present: set[str], absent: set[str]) -> None:
    found = offered(text)
    assert present <= found
    assert not absent & found


def test_every_word_offered_is_accepted() -> None:
    """What the grammar says can follow does follow: no offered keyword is a syntax fault at that place."""
    for mark in (HEAD + "at step 3 |", HEAD + "at step 3 drag head from up to up rigid |", HEAD + "view v = orbit |"):
        analysed, offset = at(mark)
        text = mark.replace("|", "", 1)
        for item in analysed.complete(offset):
            told = loads(text[:offset] + item.text, context()).diagnostics
            assert not any(
                d.code in ("E0109", "E0110", "E0117", "E0120") and d.span.end <= offset + len(item.text) - 1
                for d in told
            ), item


@pytest.mark.parametrize(
    ("mark", "told"),
    [
        ("rot|ate what", "rotate PART by A deg"),
        ("nod(he|ad", "part head = sphere at (0, 0.35, 0) radius 0.1"),
        ("lift is {li|ft}", "how high"),
        ("lift is {li|ft}", "0 .. 0.8"),
        ("300 no|d(", "up and down"),
        ("after tu|rn", "label"),
        ("remove ba|ll", "tag"),
        ("from fr|ont", "orbit azimuth 0 elevation 10"),
        ("wh|at: part", "argument what"),
    ],
)
def test_hover(analysis: Analysis, mark: str, told: str) -> None:
    offset = SCRIPT.index(mark.replace("|", "")) + mark.index("|")
    shown = analysis.hover(offset)
    assert shown is not None
    assert told in shown


def test_hover_over_settings_functions_colours_and_nothing() -> None:
    for mark, told in (
        ("set lr.pos|ition 0.01", "rate of the means"),
        ("let a = ma|x(1, 2)", "largest"),
        ("at step 1 paint all re|d", "0.85"),
    ):
        analysed, offset = at(mark)
        shown = analysed.hover(offset)
        assert shown is not None
        assert told in shown
    for mark in ('prompt "dr|ag"', "# dr|ag", "let a = 1 |  + 2"):
        analysed, offset = at(mark)
        assert analysed.hover(offset) is None


def test_every_statement_has_its_help() -> None:
    begins = {tables().spelling[t] for t in tables().actions[tables().start] if t in tables().spelling}
    assert {word for word in begins if word.isalpha()} == set(STATEMENTS)
    for word, entry in HELP.items():
        assert word in entry.form
        assert entry.text.endswith(".")


def places(analysis: Analysis, mark: str) -> list[str]:
    offset = SCRIPT.index(mark.replace("|", "")) + mark.index("|")
    lines = SCRIPT.split("\n")
    found = []
    for site in analysis.uses(offset):
        line, column = analysis.source.position(site.start)
        found.append(f"{line}:{lines[line - 1][column - 1 : column - 1 + site.end - site.start]}")
    return found


def test_uses_of_names(analysis: Analysis) -> None:
    assert places(analysis, "part  he|ad") == ["8:head", "12:head", "14:head", "15:head"]
    assert places(analysis, "nod(he|ad") == ["8:head", "12:head", "14:head", "15:head"]
    assert places(analysis, "param li|ft") == ["5:lift", "6:lift", "16:lift"]
    assert places(analysis, "let   ba|ck") == ["6:back", "8:back", "18:back"]
    assert places(analysis, "what: pa|rt") == []
    assert places(analysis, "wh|at: part") == ["9:what", "10:what"]
    assert places(analysis, "fa|r = 20") == ["9:far", "10:far", "12:far"]
    assert places(analysis, "300 no|d(") == ["9:nod", "12:nod"]
    assert places(analysis, "after tu|rn") == ["12:turn", "13:turn"]
    assert places(analysis, "remove ba|ll") == ["18:ball", "19:ball"]


@pytest.mark.parametrize(
    ("mark", "old", "new"),
    [
        ("part  he|ad", "head", "skull"),
        ("fa|r = 20", "far", "much"),
        ("tu|rn:", "turn", "spin"),
        ("remove ba|ll", "ball", "orb"),
        ("300 no|d", "nod", "bow"),
    ],
)
def test_renaming_keeps_the_meaning(analysis: Analysis, mark: str, old: str, new: str) -> None:
    offset = SCRIPT.index(mark.replace("|", "")) + mark.index("|")
    text = SCRIPT
    for site in sorted(analysis.rename(offset, new), key=lambda site: -site.start):
        assert text[site.start : site.end] == old
        text = text[: site.start] + new + text[site.end :]
    renamed = loads(text, context())
    assert renamed.diagnostics == ()
    assert text == re.sub(rf"\b{old}\b", new, SCRIPT)


def test_what_cannot_be_renamed(analysis: Analysis) -> None:
    head = SCRIPT.index("part  head") + 7
    for name in ("size", "2x", "a-b", "back", "all"):
        with pytest.raises(ValueError, match="rename"):
            analysis.rename(head, name)
    with pytest.raises(ValueError, match="rename"):
        analysis.rename(SCRIPT.index("prompt"), "skull")


def test_names_of_used_files(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "a.sculpt").write_text("let h = 1\ngesture g() {\n  paint all red\n}\n")
    content = 'use "lib/a.sculpt" as a\nat step 3 a.g()\nlet _b = a.h\n'
    made = Analysis(content, context(), tmp_path / "m.sculpt", str(tmp_path / "m.sculpt"))
    site = made.definition(content.index("a.g") + 2)
    assert site is not None
    assert (Path(site.file).name, site.start) == ("a.sculpt", 18)
    assert made.definition(content.index("a.g")) == made.definition(content.index("as a") + 3)
    found = {item.text for item in made.complete(len(content) - 2)}
    assert "a.h" in found


def test_folds_colours_and_symbols(analysis: Analysis) -> None:
    assert analysis.folds() == ((1, 2), (9, 10), (13, 16))
    shown = [SCRIPT[start:end] for start, end, _ in analysis.colors()]
    assert shown == ["red", "#ff8800", "gold", "red"]
    assert [(s.name, s.kind) for s in analysis.symbols()] == [
        ("lift", "param"),
        ("back", "let"),
        ("front", "view"),
        ("head", "part"),
        ("nod", "gesture"),
        ("turn", "label"),
    ]


@pytest.mark.parametrize("length", range(0, len(SCRIPT), 23))
def test_questions_about_half_a_script(length: int) -> None:
    """While one types, the text is broken most of the time."""
    made = Analysis(SCRIPT[:length], context(), None, "a.sculpt")
    made.complete(length)
    made.hover(length)
    made.uses(max(length - 1, 0))
    made.folds()
    made.colors()
    made.symbols()


EDITOR = Path(__file__).parents[2] / "editors" / "vscode"


def test_the_text_mate_grammar_is_up_to_date() -> None:
    """`python -m interactive3d.dsl.highlighting editors/vscode/syntaxes/sculpt.tmLanguage.json` refreshes it."""
    assert (EDITOR / "syntaxes" / "sculpt.tmLanguage.json").read_text(encoding="utf-8") == written()
    shown: set[str] = set()
    for words in groups().values():
        assert not words & shown
        shown |= words
    assert set(tables().words) - {"x"} == shown


def scopes(line: str) -> dict[str, str]:
    """What an editor shows a line's pieces as: the first pattern that matches wins."""
    found: dict[str, str] = {}
    at_ = 0
    while at_ < len(line):
        for pattern in text_mate()["patterns"]:
            expression = pattern.get("match") or f"{pattern['begin']}.*?(?:{pattern['end']})"
            match = re.compile(expression).match(line, at_)
            if match and match.end() > at_:
                found[match.group(0).strip()] = pattern["name"].removesuffix(".sculpt")
                at_ = match.end()
                break
        else:
            at_ += 1
    return found


def test_the_text_mate_grammar_colours_a_line() -> None:
    line = 'turn: at step 300 drag head from (0.5, 0, 0) to lib.back radius 0.1 rigid # so "it" goes'
    assert scopes(line) == {
        "turn": "entity.name.label",
        "at": "keyword.control.moment",
        "step": "keyword.control.moment",
        "300": "constant.numeric",
        "drag": "keyword.other.operation",
        "from": "keyword.control.moment",
        "0.5": "constant.numeric",
        "0": "constant.numeric",
        "to": "keyword.control.moment",
        "lib.back": "variable.other.path",
        "radius": "variable.parameter.clause",
        "0.1": "constant.numeric",
        "rigid": "variable.parameter.clause",
        '# so "it" goes': "comment.line.number-sign",
    }
    assert scopes('at step 3 paint all #ff8800 # "x"')["#ff8800"] == "constant.other.color"
    assert scopes("at step 3 flap(max(1, 2))") == {
        "at": "keyword.control.moment",
        "step": "keyword.control.moment",
        "3": "constant.numeric",
        "flap": "entity.name.function",
        "max": "support.function",
        "1": "constant.numeric",
        "2": "constant.numeric",
    }


def test_the_extension_names_files_that_exist() -> None:
    package = json.loads((EDITOR / "package.json").read_text(encoding="utf-8"))
    named = [package["main"], *(g["path"] for g in package["contributes"]["grammars"])]
    named += [language["configuration"] for language in package["contributes"]["languages"]]
    assert all((EDITOR / name).is_file() for name in named)
    for path in EDITOR.rglob("*.json"):
        json.loads(path.read_text(encoding="utf-8"))
