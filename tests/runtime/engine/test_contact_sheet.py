"""The contact sheet's rows: operations of one kind at one step, as a gesture makes them, are one row."""

import json
from pathlib import Path

import numpy as np

from interactive3d.runtime.engine.outputs import ContactSheet, _shortened
from interactive3d.runtime.engine.state import Effect
from interactive3d.runtime.output.pictures import save_picture


def note(folder: Path, stem: int, step: int, text: str, shade: int, *states: str) -> None:
    """An interaction as the sheet keeps it; the grey of its pictures tells which they are."""
    for i, word in enumerate(states):
        for view in range(2):
            save_picture(folder / f"{stem:03d}_{word}_{view}.png", np.full((8, 8, 3), shade + i, np.uint8))
    known = {"step": step, "text": text, "done": "did it", "states": states, "seen": step}
    (folder / f"{stem:03d}.json").write_text(json.dumps(known))


TEXTS = (
    "at step 5 paint all red",
    "at step 5 paint all blue",
    "at step 5 rotate all by 3 deg about y",
    "at step 9 rotate all by 3 deg about y",
    "at step 9 rotate all by 4 deg about y",
)


def test_the_stripes_of_one_gesture_are_one_row(tmp_path: Path) -> None:
    note(tmp_path, 0, 5, TEXTS[0], 10, "before", "after")
    note(tmp_path, 1, 5, TEXTS[1], 20, "before", "after")
    note(tmp_path, 2, 5, TEXTS[2], 30, "before", "after", "repaired")
    note(tmp_path, 3, 9, TEXTS[3], 40, "before", "after", "repaired")
    note(tmp_path, 4, 9, TEXTS[4], 50, "before", "after", "repaired")
    sheet = ContactSheet(tmp_path, from_step=9)
    done = [Effect(step=int(text.split()[2]), text=text, message="") for text in TEXTS]
    rows = [sheet._row(together) for together in sheet._grouped(sheet._notes(done))]
    assert [row.title.split(":")[0] for row in rows] == ["step 5", "step 5", "step 9"]
    assert [round(255 * float(np.asarray(image)[0, 0, 0])) for image in rows[0].images] == [10, 10, 21, 21], (
        "first before, last after"
    )
    assert [round(255 * float(np.asarray(image)[0, 0, 0])) for image in rows[2].images] == [40, 40, 51, 51, 52, 52]
    assert rows[0].subtitle == "did it; and 1 more of the kind" and rows[1].subtitle == "did it"


def test_titles_are_short(tmp_path: Path) -> None:
    assert _shortened("at step 5 move all by (0.123456789, 0.5, -1.00004)") == "move all by (0.123, 0.5, -1)"
    assert len(_shortened("at step 5 print " + "x" * 500)) == 110


def test_what_was_undone_has_no_row_and_of_what_was_done_twice_the_last_counts(tmp_path: Path) -> None:
    for stem, text in enumerate((TEXTS[0], TEXTS[1], TEXTS[0])):
        note(tmp_path, stem, 5, text, 10 * stem, "before", "after")
    kept = ContactSheet(tmp_path, from_step=9)._notes([Effect(step=5, text=TEXTS[0], message="")])
    assert [stem for stem, _ in kept] == ["002"]
