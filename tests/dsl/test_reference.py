"""docs/language.md: every example is right and tidy, every statement has one, and what is made from the code is up to date."""

import re
from pathlib import Path

import pytest
from dsl_support import context, whole

from interactive3d.dsl import format_program, format_source, loads
from interactive3d.dsl.operations import OPERATION_KINDS
from interactive3d.dsl.reference import SECTIONS, refreshed
from interactive3d.dsl.tables import tables
from interactive3d.dsl.values import PART_KINDS, SHAPE_KINDS, WHEN_KINDS, DeclaredPart, Now

DOCUMENT = Path(__file__).parents[2] / "docs" / "language.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sculpt(?: file=(\S+))?\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
EXAMPLES = [script for name, script in BLOCKS if not name]
FILES = {name: script for name, script in BLOCKS if name}


def read(script: str, folder: Path):
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return loads(whole(script.rstrip("\n")), context(file_exists=None), path=folder / "example.sculpt")


@pytest.mark.parametrize("script", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_is_right(script: str, tmp_path: Path) -> None:
    loaded = read(script, tmp_path)
    # Examples name things to show how, and use words that the small prior of these tests has not seen.
    told = [str(d) for d in loaded.diagnostics if d.code not in ("W0801", "W0802", "W0803")]
    assert told == []
    assert loaded.program is not None


@pytest.mark.parametrize("script", [script for _, script in BLOCKS], ids=range(len(BLOCKS)))
def test_an_example_is_tidy(script: str) -> None:
    assert format_source(script) == script


@pytest.mark.parametrize("script", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_printed_as_a_whole_is_the_same_script(script: str, tmp_path: Path) -> None:
    """Gestures, loops and used files opened up: the plain script does the same and prints the same."""
    before = read(script, tmp_path).program
    assert before is not None
    printed = format_program(before)
    again = loads(printed, context(file_exists=None))
    assert again.program is not None, (printed, again.diagnostics)
    assert format_program(again.program) == printed
    assert format_source(printed)
    assert [type(op) for op in again.program.operations] == [type(op) for op in before.operations]


def _classes(value: object) -> set[type]:
    found = {type(value)}
    if isinstance(value, tuple):
        for item in value:
            found |= _classes(item)
    for name in getattr(type(value), "__dataclass_fields__", ()):
        found |= _classes(getattr(value, name))
    return found


def test_every_kind_of_value_is_shown(tmp_path: Path) -> None:
    shown: set[type] = set()
    for i, script in enumerate(EXAMPLES):
        folder = tmp_path / str(i)
        folder.mkdir()
        shown |= _classes(read(script, folder).program)
    # Now is what has no moment, so no script shows it.
    everything = {*OPERATION_KINDS, *SHAPE_KINDS, *PART_KINDS, *WHEN_KINDS, DeclaredPart} - {Now}
    assert everything - shown == set()


def test_every_word_is_shown() -> None:
    used = set(re.findall(r"[a-z]+", " ".join(script for _, script in BLOCKS)))
    assert set(tables().words) - used == set()


def test_what_is_made_from_the_code_is_up_to_date() -> None:
    """`python -m interactive3d.dsl.reference docs/language.md` refreshes it."""
    assert set(re.findall(r"<!-- made from the code: (\w+) -->", TEXT)) == set(SECTIONS)
    assert refreshed(TEXT) == TEXT
