"""The judge's own training pictures: other seeds, cameras and lights than the prior's, and rendered worse on purpose. Needs numba."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from interactive3d.runtime.guidance.objects.captions import Description, available_parts, caption, describe
from interactive3d.runtime.guidance.objects.dataset import average_down, colour, look_tables
from interactive3d.runtime.guidance.objects.looks import look_of
from interactive3d.runtime.guidance.objects.words import COLOURS, KINDS, KINDS_WORDS

SEED = 771_000_000
"""Far from the seeds of the prior's data."""
VIEWS = 3
STORED = 128
PLACES = 16
"""Side of the grid on which the judge says where a part is."""
VISIBLE = 40
"""Pixels of the stored size that a part must show for its colour to be judged."""
HIDDEN = 6
"""Pixels of the stored size up to which a part counts as not seen; between the two nothing is asked."""


@dataclass(frozen=True)
class Renders:
    """Label, mark and shade maps (n, 128, 128) uint8, `VIEWS` of each object, with the object's kind and options."""

    labels: np.ndarray
    marks: np.ndarray
    shades: np.ndarray
    kinds: list[str]
    options: list[tuple[str, ...]]


def make_renders(objects: int, seed: int = SEED, progress: Callable[[int, int], None] | None = None) -> Renders:
    """Renders objects from a few random sides each: azimuth all round, elevation -20 to 60, field of view 25 to 60 degrees, filling 55 to
    95 % of the frame, under a lamp from a random side above, hard or soft."""
    from interactive3d.runtime.guidance.objects.cameras import orbit_viewmat
    from interactive3d.runtime.guidance.objects.deform import deform
    from interactive3d.runtime.guidance.objects.render import Light, render
    from interactive3d.runtime.guidance.objects.shapes import make_shape

    shape_of = (objects * VIEWS, STORED, STORED)
    labels, marks, shades = (np.zeros(shape_of, np.uint8) for _ in range(3))
    kinds, options = [], []
    for index in range(objects):
        rng = np.random.default_rng([seed, index])
        kind = KINDS[index % len(KINDS)]
        shape = make_shape(kind, int(rng.integers(2**31)), variation=0.45)
        kinds.append(kind)
        options.append(shape.options)
        if rng.random() < 0.12:
            shape = deform(shape, index)
        for view in range(index * VIEWS, (index + 1) * VIEWS):
            fov = float(rng.uniform(25, 60))
            distance = shape.reach / rng.uniform(0.55, 0.95) / np.sin(np.radians(fov) / 2)
            target = tuple(rng.uniform(-0.08, 0.08, 3))
            camera = orbit_viewmat(rng.uniform(0, 360), rng.uniform(-20, 60), float(distance), target)
            lamp = (float(rng.uniform(-1, 1)), float(rng.uniform(0.3, 1.2)), float(rng.uniform(-1, 1)))
            light = Light(
                lamp, float(rng.uniform(0.4, 0.8)), float(rng.uniform(0.1, 1.0)), float(rng.uniform(0.0, 0.8))
            )
            traced = render(shape, camera[None], np.array([fov]), STORED, light)
            labels[view], marks[view], shades[view] = traced.labels[0], traced.marks[0], traced.shade[0]
        if progress and index % 100 == 99:
            progress(index + 1, objects)
    return Renders(labels, marks, shades, kinds, options)


def save_renders(path: Path, renders: Renders) -> None:
    """Writes renders compressed (.npz)."""
    options = ["|".join(names) for names in renders.options]
    np.savez_compressed(
        path,
        labels=renders.labels,
        marks=renders.marks,
        shades=renders.shades,
        kinds=np.array(renders.kinds),
        options=options,
    )


def load_renders(path: Path) -> Renders:
    with np.load(path) as data:
        options = [tuple(name for name in str(names).split("|") if name) for names in data["options"]]
        return Renders(data["labels"], data["marks"], data["shades"], [str(kind) for kind in data["kinds"]], options)


def altered(description: Description, rng: random.Random) -> Description:
    """A look that differs in one thing: a wrong text for the same picture."""
    colours = list(COLOURS)
    parts = dict(description.part_colours)
    act = rng.random()
    if parts and act < 0.5:
        part = rng.choice(list(parts))
        if act < 0.2 and parts[part] != description.colour:  # colours exchanged between the part and the whole
            changed = {**parts, part: description.colour}
            return replace(description, colour=parts[part], part_colours=tuple(changed.items()))
        parts[part] = rng.choice([c for c in colours if c != parts[part]])
        return replace(description, part_colours=tuple(parts.items()))
    if act < 0.8:
        return replace(description, colour=rng.choice([c for c in colours if c != description.colour]))
    kind = rng.choice([kind for kind in KINDS if kind != description.kind])
    kept = tuple((p, c) for p, c in description.part_colours if p in available_parts(kind, ()))
    return Description(kind, description.colour, description.pattern, description.second_colour, kept)


@dataclass(frozen=True)
class Batch:
    """Pictures with their right texts, as many wrong ones, and what the attribute heads should say (-1: not to be judged).

    `parts` (B, P) is the number of a named part's colour, or the number of colours where the part does not show. `sights` are all
    parts that show: rows (S), parts (S), and `covers` (S, 16 * 16), how much of each place the part covers.
    """

    images: Float[Tensor, "b 3 64 64"]
    texts: list[str]
    wrong: list[str]
    kinds: Tensor
    colours: Tensor
    parts: Tensor
    sights: tuple[Tensor, Tensor]
    covers: Float[Tensor, "s 256"]


def _named_look(kind: str, options: tuple[str, ...], rng: random.Random) -> Description:
    """A random look, more often with named parts than the prior's are: the first drawn of four that names one, or the last."""
    for _ in range(4):
        description = describe(kind, options, rng)
        if description.part_colours:
            break
    return description


def draw_batch(
    renders: Renders,
    size: int,
    parts: tuple[tuple[str, str], ...],
    rng: random.Random,
    generator: torch.Generator,
    degrade_share: float = 0.75,
) -> Batch:
    """A random batch in random looks, a share of it degraded."""
    ids = [rng.randrange(len(renders.labels)) for _ in range(size)]
    descriptions = [_named_look(renders.kinds[i // VIEWS], renders.options[i // VIEWS], rng) for i in ids]
    images = coloured(renders, ids, descriptions, generator, degrade_share)
    names = list(COLOURS)
    wanted = torch.full((size, len(parts)), -1)
    column = {part: index for index, part in enumerate(parts)}
    rows, shown, covers = [], [], []
    for row, (image, description) in enumerate(zip(ids, descriptions, strict=True)):
        labels, named = renders.labels[image], dict(description.part_colours)
        seen = np.bincount(labels.reshape(-1), minlength=16)
        for part, word in KINDS_WORDS[description.kind].parts.items():
            index = column[description.kind, part]
            if seen[word.slot] >= VISIBLE:
                rows.append(row)
                shown.append(index)
                cells = labels.reshape(PLACES, STORED // PLACES, PLACES, STORED // PLACES) == word.slot
                covers.append(cells.mean((1, 3), dtype=np.float32).reshape(-1))
            if part in named:  # named ones alone: what follows from the kind would be guessed, not seen
                if seen[word.slot] >= VISIBLE:
                    wanted[row, index] = names.index(named[part])
                elif seen[word.slot] <= HIDDEN:
                    wanted[row, index] = len(names)
    return Batch(
        images,
        [caption(description, rng) for description in descriptions],
        [caption(altered(description, rng), rng) for description in descriptions],
        torch.tensor([KINDS.index(description.kind) for description in descriptions]),
        torch.tensor([names.index(description.colour) for description in descriptions]),
        wanted,
        (torch.tensor(rows, dtype=torch.long), torch.tensor(shown, dtype=torch.long)),
        torch.from_numpy(np.stack(covers)) if covers else torch.zeros(0, PLACES**2),
    )


def coloured(
    renders: Renders, ids: list[int], descriptions: list[Description], generator: torch.Generator, degrade_share: float
) -> Float[Tensor, "b 3 64 64"]:
    """The pictures in these looks, in 0..1; `degrade_share` of them made worse as soft splat renders are."""
    code = torch.from_numpy(renders.labels[ids] | (renders.marks[ids] << 4))
    shade = torch.from_numpy(renders.shades[ids])
    table = torch.from_numpy(look_tables([look_of(description) for description in descriptions]))
    background = random_background(len(ids), generator)
    plain = torch.rand(len(ids), 1, 1, 1, generator=generator) < 0.75 - 0.75 * degrade_share
    background = torch.where(plain, torch.ones_like(background), background)
    if degrade_share == 0:
        return colour(code, shade, table, torch.ones(len(ids), 3), 64).images * 0.5 + 0.5
    table[..., :3] = (table[..., :3] * _uniform(generator, (len(ids), 1, 1), 0.88, 1.1)
                      + _uniform(generator, (len(ids), 1, 3), -0.04, 0.04)).clamp(0, 1)  # fmt: skip
    black = colour(code, shade, table, torch.zeros(len(ids), 3), 64)
    rgba = torch.cat([black.images * 0.5 + 0.5, black.alpha], dim=1)
    worse = degrade(rgba, generator)
    pick = torch.rand(len(ids), 1, 1, 1, generator=generator) < degrade_share
    rgba = torch.where(pick, worse, rgba)
    images = rgba[:, :3] + background * (1 - rgba[:, 3:])
    noise = torch.randn(images.shape, generator=generator) * _uniform(generator, (len(ids), 1, 1, 1), 0.0, 0.05) * pick
    return (images + noise).clamp(0, 1)


def _uniform(generator: torch.Generator, shape: tuple[int, ...], low: float, high: float) -> Tensor:
    return torch.rand(shape, generator=generator) * (high - low) + low


def random_background(count: int, generator: torch.Generator) -> Float[Tensor, "b 3 64 64"]:
    """White in two of five, else one colour or a soft ramp between two."""
    corners = torch.rand(count, 3, 2, 2, generator=generator)
    flat = torch.rand(count, 1, 1, 1, generator=generator)
    corners = torch.where(flat < 0.75, corners[:, :, :1, :1].expand(-1, -1, 2, 2), corners)
    grey = torch.rand(count, 1, 1, 1, generator=generator) < 0.4
    corners = torch.where(grey, corners[:, :1].expand(-1, 3, -1, -1), corners)
    corners = torch.where(flat < 0.4, torch.ones_like(corners), corners)
    return functional.interpolate(corners, size=(64, 64), mode="bilinear", align_corners=True)


def _enlarge(images: Tensor) -> Tensor:
    return functional.interpolate(images, size=(64, 64), mode="bilinear", align_corners=False)


def degrade(rgba: Float[Tensor, "b 4 64 64"], generator: torch.Generator) -> Float[Tensor, "b 4 64 64"]:
    """Premultiplied pictures shifted, bent, blurred, faded in places, their colours bled: as soft splats, or a compressed photograph."""
    count = len(rgba)
    scale = _uniform(generator, (count, 1, 1, 1), 0.85, 1.2)
    shift = _uniform(generator, (count, 2, 1, 1), -0.12, 0.12)
    bend = torch.randn(count, 2, 6, 6, generator=generator) * _uniform(generator, (count, 1, 1, 1), 0.0, 0.05)
    bend = functional.interpolate(bend, size=(64, 64), mode="bicubic", align_corners=False)
    line = (torch.arange(64) + 0.5) / 32 - 1
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"))[None]
    grid = (grid * scale + shift + bend).permute(0, 2, 3, 1)
    out = functional.grid_sample(rgba, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    halved = average_down(out, 2)
    blurred, strong = _enlarge(halved), _enlarge(average_down(halved, 2))
    mix = torch.rand(count, 2, 1, 1, generator=generator)
    out = torch.where(
        mix[:, :1] < 0.5, torch.lerp(out, blurred, mix[:, 1:]), torch.lerp(blurred, strong, mix[:, 1:] * 0.7)
    )
    fade = torch.rand(count, 1, 4, 4, generator=generator)
    fade = functional.interpolate(fade, size=(64, 64), mode="bilinear", align_corners=False)
    out = out * (1 - _uniform(generator, (count, 1, 1, 1), 0.0, 0.6) * fade)
    grey = out[:, :3].mean(1, keepdim=True)
    tint = _enlarge(average_down(out[:, :3] - grey, 4))
    bleed = _uniform(generator, (count, 1, 1, 1), 0.0, 0.7)
    return torch.cat([torch.lerp(out[:, :3], grey + tint, bleed), out[:, 3:]], dim=1)
