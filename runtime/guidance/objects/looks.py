"""From a description to the colour of every part slot. Pure numpy."""

from dataclasses import dataclass

import numpy as np

from interactive3d.runtime.guidance.objects.captions import Description
from interactive3d.runtime.guidance.objects.words import (
    COLOURS,
    KINDS_WORDS,
    MAIN_SLOT,
    MATERIAL_SLOTS,
    MATERIALS,
    PATTERNS,
)

SLOTS = 16


@dataclass(frozen=True)
class Look:
    """Colours for the part slots of one object, and the text that asks for them.

    `palette` and `second` are (16, 3) float32 sRGB, the first and the second colour of each slot; `pattern` is (16,) int64: 0 plain,
    1 stripes, 2 spots. A marked pixel of a patterned slot takes the second colour.
    """

    palette: np.ndarray
    second: np.ndarray
    pattern: np.ndarray
    caption: str
    description: Description


def _mix(colour: np.ndarray, other: float, share: float) -> np.ndarray:
    return colour * (1 - share) + other * share


def _ruled(rule: str, main: np.ndarray) -> np.ndarray:
    if rule == "light":
        return _mix(main, 1.0, 0.55)
    if rule == "dark":
        return _mix(main, 0.0, 0.45)
    return np.array(COLOURS.get(rule) or MATERIALS[rule], np.float32)


def look_of(description: Description, caption: str = "") -> Look:
    """The look a description settles: named parts as named, the others by their rule (`words.Part`)."""
    palette = np.zeros((SLOTS, 3), np.float32)
    pattern = np.zeros(SLOTS, np.int64)
    main = np.array(COLOURS[description.colour], np.float32)
    named = dict(description.part_colours)
    patterned = [MAIN_SLOT]
    palette[MAIN_SLOT] = main
    for name, slot in MATERIAL_SLOTS.items():
        palette[slot] = MATERIALS[name]
    if description.colour == "black":
        palette[MATERIAL_SLOTS["eye"]] = MATERIALS["ivory"]
    for name, part in KINDS_WORDS[description.kind].parts.items():
        if part.rule == "alias":
            continue
        if name in named:
            palette[part.slot] = COLOURS[named[name]]
        elif part.rule == "main":
            palette[part.slot] = main
            patterned.append(part.slot)
        else:
            palette[part.slot] = _ruled(part.rule, main)
    second = palette.copy()
    if description.pattern != "plain":
        pattern[patterned] = PATTERNS.index(description.pattern)
        second[patterned] = COLOURS[description.second_colour]
    return Look(palette, second, pattern, caption, description)
