"""How well the judge judges, on renders it was not trained on. Needs numba."""

import random
from collections.abc import Iterator, Sequence

import torch

from interactive3d.runtime.guidance.judge.judge import Judge
from interactive3d.runtime.guidance.judge.pictures import SEED, VIEWS, VISIBLE, Renders, coloured, make_renders
from interactive3d.runtime.guidance.objects.captions import PROMPTS_50, Description, describe
from interactive3d.runtime.guidance.objects.words import KINDS

UNSEEN = SEED + 1_000_000


def prompt_renders(seed: int = UNSEEN, views: int = 8, chosen: Sequence[int] = range(50)) -> list[Renders]:
    """True renders of the chosen ones of the fifty prompts: `views` sides of each, 45 degrees apart, under the default light."""
    import numpy as np

    from interactive3d.runtime.guidance.objects.cameras import orbit_viewmat
    from interactive3d.runtime.guidance.objects.render import render
    from interactive3d.runtime.guidance.objects.shapes import make_shape

    cameras = np.stack([orbit_viewmat(360 * i / views, 15.0, 2.5) for i in range(views)])
    found = []
    for index in chosen:
        description = PROMPTS_50[index].description
        shape = make_shape(description.kind, seed + index, _brought(description))
        traced = render(shape, cameras, np.full(views, 40.0), 128)
        found.append(Renders(*traced[:3], [description.kind] * views, [shape.options] * views))
    return found


def _brought(description: Description) -> tuple[str, ...]:
    """The prompt's options, with those that its named parts need."""
    from interactive3d.runtime.guidance.objects.words import KINDS_WORDS

    needed = [KINDS_WORDS[description.kind].parts[part].needs for part, _ in description.part_colours]
    return (*description.options, *(need for need in needed if need and not need.startswith("-")))


def precision_of_prompts(
    judge: Judge, degrade_share: float, seed: int = UNSEEN, chosen: Sequence[int] = range(50)
) -> tuple[float, float]:
    """R-Precision (1 of 50) of true renders of the chosen prompts, eight views each, on white: by all views together, and by single views."""
    texts = [text for _, text in PROMPTS_50]
    generator = torch.Generator().manual_seed(seed % 2**31)
    together = single = 0.0
    for index, renders in zip(chosen, prompt_renders(seed, chosen=chosen), strict=True):
        views = len(renders.labels)
        images = coloured(
            renders, list(range(views)), [PROMPTS_50[index].description] * views, generator, degrade_share
        )
        scores = judge.score(images, texts)
        together += float(scores.mean(0).argmax() == index)
        single += float((scores.argmax(1) == index).float().mean())
    return together / len(chosen), single / len(chosen)


def accuracy_of_attributes(judge: Judge, renders: Renders, degrade_share: float) -> dict[str, float]:
    """Share of single unseen pictures whose kind, main colour and named parts' colours (where they show) are told right."""
    import numpy as np

    from interactive3d.runtime.guidance.objects.words import KINDS_WORDS

    rng, generator = random.Random(5), torch.Generator().manual_seed(5)
    ids = list(range(len(renders.labels)))
    descriptions = [describe(renders.kinds[i // VIEWS], renders.options[i // VIEWS], rng) for i in ids]
    images = coloured(renders, ids, descriptions, generator, degrade_share)
    found = judge.attributes(images)
    kinds = [judge.kinds[i] for i in found.kind.argmax(1).tolist()]
    colours = [judge.colours[i] for i in found.colour.argmax(1).tolist()]
    parts, right = 0, 0
    for i, description in enumerate(descriptions):
        seen = np.bincount(renders.labels[i].reshape(-1), minlength=16)
        for part, wanted in description.part_colours:
            if seen[KINDS_WORDS[description.kind].parts[part].slot] >= VISIBLE:
                parts += 1
                told = judge.part_colour(images[i : i + 1], description.kind, part)
                right += judge.colours[int(told.argmax())] == wanted
    return {
        "kind": sum(a == b.kind for a, b in zip(kinds, descriptions, strict=True)) / len(ids),
        "main colour": sum(a == b.colour for a, b in zip(colours, descriptions, strict=True)) / len(ids),
        "named part's colour": right / max(parts, 1),
    }


def measure(judge: Judge, objects: int = 10 * len(KINDS)) -> Iterator[str]:
    """Lines of figures: attributes of single pictures, R-Precision of the fifty prompts; clean and degraded."""
    renders = make_renders(objects, seed=UNSEEN)
    for name, share in (("clean, on white", 0.0), ("degraded, on random backgrounds", 1.0)):
        told = accuracy_of_attributes(judge, renders, share)
        yield f"{name}: " + ", ".join(f"{what} {value:.3f}" for what, value in told.items())
        together, single = precision_of_prompts(judge, share)
        yield f"{name}: fifty held-out prompts, 1 of 50: eight views {together:.3f}, single views {single:.3f}"
