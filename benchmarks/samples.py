"""Samples of the embedded prior for fifty prompts never trained on, 8 views each, against the independent judge.

    python benchmarks/samples.py [--steps 25] [--scale 3] [--weights FOLDER]

Writes benchmarks/samples.md. The judge's answers are summed over the eight views of a prompt; the same is done for true renders of the
prompts, which shows how much of what is wrong is the judge's own fault.
"""

import argparse
import datetime
import platform
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from interactive3d.runtime.guidance.embedded import EmbeddedPrior
from interactive3d.runtime.guidance.embedded.sheet import views_of
from interactive3d.runtime.guidance.embedded.weights import DEFAULT_FOLDER
from interactive3d.runtime.guidance.judge import Judge
from interactive3d.runtime.guidance.judge.measuring import prompt_renders
from interactive3d.runtime.guidance.judge.pictures import coloured
from interactive3d.runtime.guidance.objects.captions import PROMPTS_50

ROOT = Path(__file__).resolve().parent.parent
VIEWS = 8
TEXTS = [prompt.text for prompt in PROMPTS_50]


@dataclass
class Tally:
    """What the judge told of a set of pictures."""

    first: int = 0
    kinds: int = 0
    colours: int = 0
    parts: list[bool] = field(default_factory=list)
    count: int = 0

    def add(self, judge: Judge, index: int, images: Float[Tensor, "v 3 h w"]) -> str:
        """Judge the views of one prompt; returns what was wrong, in words."""
        wanted = PROMPTS_50[index].description
        order = judge.rank(images, TEXTS).tolist()
        found = judge.attributes(images)
        kind = judge.kinds[int(found.kind.sum(0).argmax())]
        colour = judge.colours[int(found.colour.sum(0).argmax())]
        wrong = [] if order[0] == index else [f"taken for {TEXTS[order[0]]}"]
        wrong += [] if kind == wanted.kind else [f"kind {kind}"]
        wrong += [] if colour == wanted.colour else [f"colour {colour}"]
        self.count += 1
        self.first += order[0] == index
        self.kinds += kind == wanted.kind
        self.colours += colour == wanted.colour
        for part, name in wanted.part_colours:
            told = judge.colours[int(judge.part_colour(images, wanted.kind, part).sum(0).argmax())]
            self.parts.append(told == name)
            wrong += [] if told == name else [f"{part} {told}"]
        return ", ".join(wrong)

    def cells(self) -> list[str]:
        right = [self.kinds, self.colours, self.first]
        shares = [f"{value / self.count:.2f}" for value in right]
        return [*shares[:2], f"{sum(self.parts) / max(len(self.parts), 1):.2f}", shares[2]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--scale", type=float, default=3.0)
    parser.add_argument("--weights", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("--judge", type=Path, default=None)
    parser.add_argument("--report", type=Path, default=ROOT / "benchmarks" / "samples.md")
    options = parser.parse_args()
    prior = EmbeddedPrior.load(folder=options.weights)
    judge = Judge.load(options.judge) if options.judge else Judge.load()
    samples, truth, lines = Tally(), Tally(), []
    generator, began = torch.Generator().manual_seed(0), time.monotonic()
    for index, renders in enumerate(prompt_renders(views=VIEWS)):
        views = views_of(prior, TEXTS[index], VIEWS, options.steps, options.scale, seed=index)
        wrong = samples.add(judge, index, torch.from_numpy(views).permute(0, 3, 1, 2).float() / 255)
        true = coloured(renders, list(range(VIEWS)), [PROMPTS_50[index].description] * VIEWS, generator, 0.0)
        fault = truth.add(judge, index, true)
        lines.append(f"| {TEXTS[index]} | {wrong or 'right'} | {fault or 'right'} |")
        print(f"{index + 1:2d} of {len(TEXTS)}, {time.monotonic() - began:4.0f} s  {lines[-1]}", flush=True)
    header = ["kind", "main colour", "named part's colour", "R-Precision, 1 of 50"]
    rows = zip(header, samples.cells(), ["0.95", "0.95", "0.80", ""], truth.cells(), strict=True)
    report = f"""# Samples against the judge

`python benchmarks/samples.py --steps {options.steps} --scale {options.scale:g}`, {datetime.date.today()}, {platform.processor() or platform.machine()},
torch {torch.__version__}. Fifty prompts never trained on, {VIEWS} views each, deterministic sampling; the judge's answers summed over the views.

| right | samples | bar | true renders |
| --- | --- | --- | --- |
""" + "\n".join(f"| {' | '.join(row)} |" for row in rows)
    report += "\n\n| prompt | samples | true renders |\n| --- | --- | --- |\n" + "\n".join(lines)
    options.report.write_text(report + "\n")
    print(report.split("\n\n| prompt")[0])


if __name__ == "__main__":
    main()
