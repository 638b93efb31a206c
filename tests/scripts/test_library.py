"""The library of gestures: every file is clean and formatted, every gesture is documented, and its example checks."""

from pathlib import Path

import pytest

from interactive3d.dsl import format_source, loads
from interactive3d.runtime.engine.script import LIBRARY, check_context, load_script
from interactive3d.scripts.library import LibraryGesture, read_library

FILES = sorted((LIBRARY / "lib").glob("*.sculpt"))
GESTURES = read_library()


def named(gesture: LibraryGesture) -> str:
    return gesture.called


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_files_check_clean_and_format_to_themselves(path: Path) -> None:
    assert load_script(path).diagnostics == ()
    text = path.read_text(encoding="utf-8")
    assert format_source(text) == text


@pytest.mark.parametrize("gesture", GESTURES, ids=named)
def test_gestures_say_what_they_do(gesture: LibraryGesture) -> None:
    assert gesture.help and gesture.about and gesture.prompt and f"{gesture.called}(" in gesture.body
    for argument in gesture.arguments:
        assert argument.help, argument.name
        if argument.type in ("number", "count") and argument.default:
            assert argument.range, argument.name


@pytest.mark.parametrize("gesture", GESTURES, ids=named)
def test_examples_check_clean_from_any_folder(gesture: LibraryGesture, tmp_path: Path) -> None:
    loaded = loads(gesture.script(), check_context(), path=tmp_path / "mine.sculpt")
    assert loaded.program is not None and loaded.diagnostics == (), loaded.diagnostics
    assert loaded.program.operations


def test_a_library_may_leave_its_gestures_uncalled_but_a_script_may_not() -> None:
    gesture = "gesture up(what: part) {\n  move what by (0, 1, 0)\n}\n"
    assert loads(gesture, check_context()).diagnostics == ()
    script = 'prompt "a red car"\nsteps 10\n' + gesture + 'at step 1 print "nothing is called"\n'
    assert [d.code for d in loads(script, check_context()).diagnostics] == ["W0802"]


def test_a_tag_that_a_gesture_only_gives_away_is_used() -> None:
    gesture = "gesture ball(name: tag) {\n  add sphere at (0, 0, 0) radius 1 count 9 color red as name\n}\n"
    assert loads(gesture, check_context()).diagnostics == ()


def test_two_words_may_be_one_to_the_prior() -> None:
    def warned(prompt: str) -> list[str]:
        text = f'prompt "{prompt}"\nsteps 10\nat step 1 paint all red\n'
        return [d.message for d in loads(text, check_context()).diagnostics]

    assert warned("a green t rex with closed mouth") == []
    assert warned("a green t dragon") == ["`embedded` has never seen the word `t`"]
