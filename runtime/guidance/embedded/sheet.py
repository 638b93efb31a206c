"""Sheets of samples for people to look at: prompts down, views across; the prompt's own volume or the samples.

`python -m interactive3d.runtime.guidance.embedded.sheet OUT.png`
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from interactive3d.runtime.guidance.embedded.conditioning import render_volume
from interactive3d.runtime.guidance.embedded.gate import orbit_viewmats
from interactive3d.runtime.guidance.embedded.prior import EmbeddedPrior
from interactive3d.runtime.guidance.embedded.weights import DEFAULT_FOLDER

STRIP = 14  # pixels of text above a row


def views_of(prior: EmbeddedPrior, prompt: str, views: int, steps: int, scale: float, seed: int) -> np.ndarray:
    """(views, 64, 64, 3) uint8: samples round the object, or its volume where `steps` is 0."""
    azimuths = torch.arange(views) * (360 / views)
    viewmats = orbit_viewmats(azimuths, torch.full((views,), 15.0))
    fovs = torch.full((views,), 40.0)
    if steps:
        generator = torch.Generator().manual_seed(seed)
        pictures = prior.sample(prompt, viewmats, fovs, steps=steps, guidance_scale=scale, generator=generator)
    else:
        volume = prior.volume(prior.encode(prompt))
        view = render_volume(volume.expand(views, *volume.shape), viewmats, fovs, size=64)
        pictures = view[:, :3] + 1 - view[:, 3:4]
    return (pictures.clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy() * 255 + 0.5).astype(np.uint8)


def sample_sheet(
    prior: EmbeddedPrior,
    prompts: Sequence[str],
    path: Path,
    *,
    views: int = 8,
    steps: int = 30,
    scale: float = 3.0,
    columns: int = 2,
    seed: int = 0,
) -> None:
    """Write a PNG: each prompt from `views` sides; `steps` 0 shows the volumes instead of samples."""
    from PIL import Image, ImageDraw

    rows = -(-len(prompts) // columns)
    wide = views * prior.size + 8
    sheet = Image.new("RGB", (wide * columns, rows * (prior.size + STRIP)), "white")
    draw = ImageDraw.Draw(sheet)
    for i, prompt in enumerate(prompts):
        x, y = wide * (i // rows), (prior.size + STRIP) * (i % rows)
        draw.text((x + 2, y + 1), prompt, fill="black")
        for j, picture in enumerate(views_of(prior, prompt, views, steps, scale, seed + i)):
            sheet.paste(Image.fromarray(picture), (x + j * prior.size, y + STRIP))
    sheet.quantize(192, dither=Image.Dither.NONE).save(path, optimize=True)


def main(argv: list[str] | None = None) -> None:
    """Command line; the fifty held-out prompts by default."""
    from interactive3d.runtime.guidance.objects.captions import PROMPTS_50

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--weights", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("--prompts", nargs="*", help="the fifty held-out ones by default")
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--steps", type=int, default=30, help="0 shows the volumes instead of samples")
    parser.add_argument("--scale", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args(argv)
    prompts = a.prompts or [prompt.text for prompt in PROMPTS_50]
    prior = EmbeddedPrior.load(folder=a.weights)
    sample_sheet(prior, prompts, a.path, views=a.views, steps=a.steps, scale=a.scale, seed=a.seed)


if __name__ == "__main__":
    main()
