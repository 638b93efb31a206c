"""Every panel as it looked when its picture was last looked at: ``python tests/runtime/view/test_golden.py`` makes the pictures anew.

Fonts and Mesa's software renderer draw a little differently from version to version, so pictures are compared coarsely: what is meant
to be found is a panel that is empty, cut off, overlapping or in other colours.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

GOLDEN = Path(__file__).with_name("golden")
SHRUNK = 4
"""Pictures are compared in fields of so many pixels a side, so that the shape of a letter's edge does not matter."""

COLORS = 128
"""Of a kept picture, so that it stays small; pictures with more keep theirs."""

FIELD_DIFFERS = 24.0
"""A field whose mean colour is off by more than this (of 255) counts as different."""

MOST_DIFFERENT = 0.04
"""So large a share of a panel's fields may differ: a line of text that says something else today."""


def fields(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Mean colours of the fields of a picture."""
    with Image.open(path) as seen:
        small = (max(1, size[0] // SHRUNK), max(1, size[1] // SHRUNK))
        return np.asarray(seen.convert("RGB").resize(small, Image.Resampling.BOX), np.float64)


def different(found: Path, golden: Path) -> float:
    """The share of fields that differ; 1 where the sizes do."""
    with Image.open(found) as a, Image.open(golden) as b:
        if a.size != b.size:
            return 1.0
        size = a.size
    away = np.abs(fields(found, size) - fields(golden, size)).max(axis=-1)
    return float((away > FIELD_DIFFERS).mean())


@pytest.mark.slow
def test_every_panel_looks_as_it_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    from test_window import drive

    told = drive(tmp_path, "panels")
    names = sorted(path.stem for path in GOLDEN.glob("*.png"))
    assert told["panels"] == names
    off = {name: different(tmp_path / "panels" / f"{name}.png", GOLDEN / f"{name}.png") for name in names}
    bad = {name: share for name, share in off.items() if share > MOST_DIFFERENT}
    assert not bad, (
        f"{bad}: look at {tmp_path / 'panels'}; if that is how they are meant to look, run python {__file__}"
    )


def test_the_comparison_sees_what_matters(tmp_path: Path):
    generator = np.random.default_rng(0)
    picture = generator.integers(20, 60, (120, 160, 3)).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    Image.fromarray(
        np.clip(picture.astype(int) + generator.integers(-9, 9, picture.shape), 0, 255).astype(np.uint8)
    ).save(tmp_path / "noisy.png")
    moved = picture.copy()
    moved[20:60, 20:100] = 230
    Image.fromarray(moved).save(tmp_path / "other.png")
    Image.fromarray(picture[:, :150]).save(tmp_path / "smaller.png")
    assert different(tmp_path / "a.png", tmp_path / "noisy.png") == 0.0
    assert different(tmp_path / "a.png", tmp_path / "other.png") > MOST_DIFFERENT
    assert different(tmp_path / "a.png", tmp_path / "smaller.png") == 1.0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    from test_window import drive

    with tempfile.TemporaryDirectory() as place:
        drive(Path(place), "panels")
        GOLDEN.mkdir(exist_ok=True)
        for old in GOLDEN.glob("*.png"):
            old.unlink()
        for made in sorted((Path(place) / "panels").glob("*.png")):
            kept = GOLDEN / made.name
            with Image.open(made) as seen:
                seen.convert("RGB").quantize(COLORS, dither=Image.Dither.NONE).save(kept, optimize=True)
                if different(made, kept) > 0.0 or made.stem == "object":
                    seen.convert("RGB").save(kept, optimize=True)
            print(GOLDEN / made.name)
