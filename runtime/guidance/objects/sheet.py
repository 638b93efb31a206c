"""Pictures of the objects for people to look at."""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from interactive3d.runtime.guidance.objects.cameras import orbit_viewmat
from interactive3d.runtime.guidance.objects.captions import Description, caption, describe
from interactive3d.runtime.guidance.objects.looks import Look, look_of
from interactive3d.runtime.guidance.objects.shapes import Shape, make_shape
from interactive3d.runtime.guidance.objects.words import KINDS


def paint(labels: np.ndarray, marks: np.ndarray, shade: np.ndarray, look: Look, background: float = 1.0) -> np.ndarray:
    """(c, h, w, 3) float32 picture of label maps in a look; labels, marks and shade as `render` gives them."""
    patterned = look.pattern[labels]
    use_second = ((patterned == 1) & (marks & 1 > 0)) | ((patterned == 2) & (marks & 2 > 0))
    colour = np.where(use_second[..., None], look.second[labels], look.palette[labels])
    colour = np.clip(colour * (shade[..., None] / 255.0), 0, 1)
    return np.where(labels[..., None] > 0, colour, background).astype(np.float32)


def contact_sheet(
    path: Path | str,
    kinds: Sequence[str] = KINDS,
    azimuths: Sequence[float] = (0, 50, 110, 180),
    size: int = 144,
    seed: int = 0,
    columns: int = 2,
    deformed: bool = False,
    plain: bool = False,
) -> None:
    """Writes a PNG: every kind from several sides, in random looks with their captions.

    `deformed` shows edited objects; `plain` gives every kind its own colour and its default options.
    """
    from PIL import Image, ImageDraw

    from interactive3d.runtime.guidance.objects.deform import deform
    from interactive3d.runtime.guidance.objects.render import render

    rng = random.Random(seed)
    views = np.stack([orbit_viewmat(a, 12.0, 2.5) for a in azimuths])
    rows = -(-len(kinds) // columns)
    strip = 16
    wide = size * len(azimuths) + 8
    sheet = Image.new("RGB", (wide * columns, rows * (size + strip)), "white")
    draw = ImageDraw.Draw(sheet)
    for index, kind in enumerate(kinds):
        shape: Shape = make_shape(kind, seed + index, () if plain else None)
        description = Description(kind, look_colour(kind)) if plain else describe(kind, shape.options, rng)
        text = caption(description, rng)
        if deformed:
            shape = deform(shape, seed + index)
        traced = render(shape, views, np.full(len(views), 40.0), size * 2)
        pictures = paint(traced.labels, traced.marks, traced.shade, look_of(description, text))
        pictures = pictures.reshape(len(views), size, 2, size, 2, 3).mean((2, 4))
        x, y = wide * (index // rows), (index % rows) * (size + strip)
        draw.text((x + 4, y + 2), text, fill="black")
        for i, picture in enumerate(pictures):
            sheet.paste(Image.fromarray((picture * 255 + 0.5).astype(np.uint8)), (x + i * size, y + strip))
    sheet.save(path)


def look_colour(kind: str) -> str:
    """The colour a kind has when no text says one."""
    from interactive3d.runtime.guidance.objects.words import KINDS_WORDS

    return KINDS_WORDS[kind].colour
