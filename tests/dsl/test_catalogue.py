"""Every diagnostic, word for word: message, place, caret, help. The table is catalogue.txt."""

import re
from pathlib import Path

import pytest
from catalogue_table import Case, read, run

from interactive3d.dsl import explain
from interactive3d.dsl.diagnostics import catalogue

CASES = read()
SOURCES = sorted((Path(__file__).parents[2] / "dsl").glob("*.py"))


@pytest.mark.parametrize("case", CASES, ids=[f"{case.code}-{i}" for i, case in enumerate(CASES)])
def test_a_broken_script_shows_exactly_this(case: Case) -> None:
    assert run(case.code, case.script) == case.shown


@pytest.mark.parametrize("code", catalogue())
def test_the_wrong_example_shows_its_code_alone(code: str) -> None:
    assert set(re.findall(r"^\w+\[(\w+)\]", run(code, catalogue()[code].wrong), re.MULTILINE)) == {code}


@pytest.mark.parametrize("code", catalogue())
def test_the_right_example_is_right(code: str) -> None:
    assert run(code, catalogue()[code].right, right=True) == ""


@pytest.mark.parametrize("code", catalogue())
def test_explain_tells_why_with_both_examples(code: str) -> None:
    entry = catalogue()[code]
    told = explain(code.lower())
    assert entry.why in told
    assert "Wrong" in told
    assert "Right" in told
    assert len(entry.why) > 20


def test_no_code_is_uncovered() -> None:
    assert {case.code for case in CASES} == set(catalogue())
    assert len(catalogue()) >= 60


def test_codes_in_the_source_and_in_the_catalogue_are_the_same() -> None:
    """No entry that nothing reports, no report without an entry."""
    reported = set()
    for path in SOURCES:
        if not path.name.startswith("catalogue_"):
            reported |= set(re.findall(r'"([EW]0\d{3})"', path.read_text(encoding="utf-8")))
    assert reported == set(catalogue())


def test_every_caret_stands_in_the_line() -> None:
    for case in CASES:
        for line, under in re.findall(r"^ *\d+ \|(.*)\n *\|( .*[\^-].*)$", case.shown, re.MULTILINE):
            marks = re.search(r"[\^-]+", under)
            assert marks is not None
            assert marks.start() <= len(line) + 1, case.code


def test_an_unknown_code_is_said_to_be_unknown() -> None:
    with pytest.raises(ValueError, match="E9999"):
        explain("E9999")
