"""What `guidance.opaque` does to objects of held-out prompts: how soft they are, and whether the judge still knows them.

    python benchmarks/opaque.py [--every 4] [--weight 0.5] [--out out/opaque]

Every n-th of the fifty prompts is distilled without it and with it, by `interactive3d eval`; what is there already is not made again.
Writes benchmarks/opaque.md and docs/pictures/opaque.png. An object is soft by the share of half transparent pixels (coverage 0.05 to 0.95)
among all that it covers, over eight views. Its silhouette is where it covers more than a half.
"""

import argparse
import datetime
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

import torch
from PIL import Image

from interactive3d.runtime.engine.evaluation import ELEVATION, SIDE, VIEWS, as_tensor, ranked, read_prompts
from interactive3d.runtime.guidance.judge import Judge
from interactive3d.runtime.output.pictures import SheetRow, contact_sheet, load_picture
from interactive3d.runtime.output.splat_files import read_splats
from interactive3d.runtime.scene.camera import turntable
from interactive3d.runtime.scene.render import render

ROOT = Path(__file__).resolve().parent.parent
PROMPTS = read_prompts(Path(__file__).with_name("prompts_50.txt"))
STEPS = 600
SHOWN = 4
"""Objects in the picture."""


def make(chosen: list[int], weight: float, folder: Path) -> None:
    """Has eval make objects of the chosen prompts, with a weight."""
    folder.mkdir(parents=True, exist_ok=True)
    prompts, script = folder / "prompts.txt", folder / "made.sculpt"
    prompts.write_text("".join(f"{PROMPTS[i]}\n" for i in chosen))
    script.write_text(f'prompt "any"\nsteps {STEPS}\nsplats 4096 from text\nset guidance.opaque {weight}\n')
    command = [sys.executable, "-m", "interactive3d.runtime.cli", "eval", str(prompts), "--script", str(script)]
    if subprocess.run([*command, "--out", str(folder / "eval")], check=False).returncode:
        raise SystemExit("eval did not end well; the same command goes on")


def measured(splats: Path) -> tuple[float, torch.Tensor]:
    """The share of half transparent pixels among those that an object covers, and its silhouettes (views height width)."""
    alpha = render(read_splats(splats), turntable(VIEWS, elevation=ELEVATION), SIDE, SIDE).alpha
    covered = alpha > 0.05
    return float((covered & (alpha < 0.95)).sum() / covered.sum()), alpha > 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--weight", type=float, default=0.5)
    parser.add_argument("--out", type=Path, default=Path("out/opaque"))
    options = parser.parse_args()
    chosen = list(range(0, len(PROMPTS), options.every))
    judge = Judge.load()
    lines, rows, plain = [], [[] for _ in chosen], []
    for weight in (0.0, options.weight):
        folder = options.out / f"{weight:g}"
        make(chosen, weight, folder)
        ranks, views_right, soft, areas = [], [], [], []
        for place, index in enumerate(chosen):
            stem = folder / "eval" / "objects" / f"{place:03d}"
            strip = (load_picture(stem.with_suffix(".png")) * 255 + 0.5).byte().numpy()
            views = [strip[:, i : i + SIDE] for i in range(0, strip.shape[1], SIDE)]
            rank, _, share = ranked(judge.score(as_tensor(views), PROMPTS), index)
            ranks.append(rank)
            views_right.append(share)
            softness, silhouettes = measured(stem.with_suffix(".ply"))
            if weight == 0:
                plain.append(silhouettes)
            soft.append(softness)
            areas.append(float(silhouettes.sum() / plain[place].sum()))
            rows[place].append(SheetRow(title=f"{PROMPTS[index]}, {weight:g}", subtitle="", images=views[:6]))
        precision = sum(rank == 1 for rank in ranks) / len(ranks)
        lines.append(
            f"| {weight:g} | {statistics.median(soft):.2f} | {max(soft):.2f} | {statistics.median(areas):.2f} | {max(areas):.2f} | "
            f"{precision:.2f} | {statistics.fmean(views_right):.2f} |"
        )
    sheet = ROOT / "docs" / "pictures" / "opaque.png"
    contact_sheet([row for pair in rows[:: max(1, len(rows) // SHOWN)][:SHOWN] for row in pair], sheet, tile=128)
    Image.open(sheet).convert("RGB").quantize(160, dither=Image.Dither.NONE).save(sheet, optimize=True)
    table = "\n".join(lines)
    (ROOT / "benchmarks" / "opaque.md").write_text(f"""# Solid objects: `guidance.opaque`

`python benchmarks/opaque.py --every {options.every} --weight {options.weight:g}`, {datetime.date.today()}, {platform.processor() or platform.machine()},
{os.cpu_count()} cores, torch {torch.__version__}. {len(chosen)} of the fifty held-out prompts, {STEPS} steps each, with and without; the judge
ranks all fifty prompts. Soft: the share of half transparent pixels among those that the object covers, over {VIEWS} views.
Area: of the silhouettes, in those without it.

| guidance.opaque | soft, median | soft, worst | area, median | area, largest | R-Precision, 1 of {len(PROMPTS)} | of single views |
| --- | --- | --- | --- | --- | --- | --- |
{table}
""")
    print(table)


if __name__ == "__main__":
    main()
