"""The script's words in the language's colours."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from interactive3d.runtime.view.highlight import (
    CLAUSE,
    CONSTANT,
    CONTROL,
    DECLARATION,
    OPERATION,
    PLAIN,
    SHAPE,
    Rgb,
    coloured,
)

NEAR = 0.12
"""How far a pixel's colour may be from a word's, of one: letters are thin, and what lies behind them shines through."""


def test_words_have_the_colours_of_what_they_are():
    found = {word: hue for _, word, hue in coloured("at step 2 rotate cap by 10 deg about y through (0, 1, 0)")}
    assert found == {
        "at": CONTROL,
        "step": CONTROL,
        "rotate": OPERATION,
        "cap": PLAIN,
        "by": CLAUSE,
        "deg": CONSTANT,
        "about": CLAUSE,
        "y": PLAIN,
        "through": CLAUSE,
    }
    assert [w for _, w, _ in coloured("part cap = sphere at (0, 0, 0) radius sin(30 deg)")][:3] == [
        "part",
        "cap",
        "sphere",
    ]
    hues = [hue for _, _, hue in coloured("part cap = sphere at (0, 0, 0) radius 1")]
    assert hues[:3] == [DECLARATION, PLAIN, SHAPE]


def test_texts_comments_and_colours_of_digits_are_left_to_the_editor():
    assert coloured('prompt "a red part at \\" step 3"  # paint it red') == ((0, "prompt", OPERATION),)
    assert [w for _, w, _ in coloured("paint all #ff00aa # at end")] == ["paint", "all"]
    assert [w for _, w, _ in coloured("paint parts.top 1e5 2cap")] == ["paint", "parts.top"]
    assert coloured('"not closed at step') == ()
    assert [c for c, _, _ in coloured("at end paint all red")] == [0, 3, 7, 13, 17]


@pytest.mark.slow
def test_in_the_window_they_are_seen_also_after_scrolling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    from test_window import drive

    told = drive(tmp_path, "script")
    assert told["failed"] == [] and told["failures"] == [] and told["gl_errors"] == ["GL_NO_ERROR"]

    def pixels(name: str, hue: Rgb) -> int:
        with Image.open(tmp_path / f"{name}.png") as seen:
            rgb = np.asarray(seen.convert("RGB").crop(told["box"]), np.float64) / 255.0
        return int((np.abs(rgb - hue).max(axis=-1) < NEAR).sum())

    for hue in (OPERATION, SHAPE, DECLARATION, CONTROL):
        assert pixels("script", hue) > 20, hue
    assert pixels("scrolled", CONTROL) > 100 and pixels("scrolled", SHAPE) < 20
