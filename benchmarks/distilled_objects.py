"""Fifty prompts that the embedded prior was never trained on, distilled to objects and judged by the independent matcher.

    python benchmarks/distilled_objects.py [--out out/eval-prompts_50]

Has `interactive3d eval benchmarks/prompts_50.txt` make the objects that are not there yet, then looks at kind and main colour too.
Writes docs/pictures/prior-objects.png, benchmarks/distilled_objects.md and, as eval wrote it, benchmarks/distilled_objects.csv.
R-Precision (1 of 50): the share of objects whose own prompt the judge ranks first over 8 views.
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from PIL import Image

from interactive3d.runtime.engine.evaluation import SIDE, as_tensor
from interactive3d.runtime.guidance.judge import Judge
from interactive3d.runtime.guidance.objects.captions import PROMPTS_50
from interactive3d.runtime.output.pictures import SheetRow, contact_sheet, load_picture

ROOT = Path(__file__).resolve().parent.parent
PROMPTS = Path(__file__).with_name("prompts_50.txt")


def views_of(strip: Path):
    """The views of an object, side by side in eval's picture."""
    pixels = (load_picture(strip) * 255 + 0.5).byte().numpy()
    return [pixels[:, i : i + SIDE] for i in range(0, pixels.shape[1], SIDE)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/eval-prompts_50"))
    options = parser.parse_args()
    command = [sys.executable, "-m", "interactive3d.runtime.cli", "eval", str(PROMPTS), "--out", str(options.out)]
    if subprocess.run(command, check=False).returncode:
        raise SystemExit("eval did not end well; the same command goes on")
    told = json.loads((options.out / "results.json").read_text())
    judge = Judge.load()
    lines, rows, kinds, colours = [], [], 0, 0
    for row, prompt in zip(told["objects"], PROMPTS_50, strict=True):
        assert row["text"] == prompt.text, "prompts_50.txt is not the list of the held-out prompts"
        views = views_of(options.out / "objects" / f"{row['index']:03d}.png")
        found = judge.attributes(as_tensor(views))
        kind = judge.kinds[int(found.kind.mean(0).argmax())]
        colour = judge.colours[int(found.colour.mean(0).argmax())]
        kinds += kind == prompt.description.kind
        colours += colour == prompt.description.colour
        wrong = "" if row["rank"] == 1 else row["judged"]
        seconds = row["made"]["seconds"]
        lines.append(f"| {prompt.text} | {row['rank']} | {wrong} | {kind} | {colour} | {seconds:.0f} |")
        rows.append(SheetRow(title=prompt.text, subtitle=wrong and f"judged: {wrong}", images=views))
    count = len(rows)
    sheet = ROOT / "docs" / "pictures" / "prior-objects.png"
    contact_sheet(rows, sheet, tile=80)
    Image.open(sheet).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(sheet, optimize=True)
    shutil.copyfile(options.out / "results.csv", ROOT / "benchmarks" / "distilled_objects.csv")
    report = f"""# Fifty objects from prompts never trained on

`python benchmarks/distilled_objects.py`, {datetime.date.today()}, {platform.processor() or platform.machine()}, {os.cpu_count()} cores,
{told["threads"]} threads, torch {torch.__version__}. The objects are those of `interactive3d eval benchmarks/prompts_50.txt`: 4096 blobs seeded
from the text, {told["steps"]} steps, default settings, judged on 8 views. `distilled_objects.csv` is what eval wrote.

| what | result |
| --- | --- |
| R-Precision, 1 of {told["prompts"]} | {told["r_precision"]:.2f} ({round(told["r_precision"] * count)} of {count}) |
| R-Precision of single views | {told["r_precision_of_single_views"]:.2f} |
| kind right | {kinds / count:.2f} |
| main colour right | {colours / count:.2f} |
| seconds an object | median {told["seconds_median"]:.0f}, longest {told["seconds_longest"]:.0f} |
| memory | at most {told["memory_gb_highest"]:.2f} GiB |

| prompt | rank | judged as | kind | colour | seconds |
| --- | --- | --- | --- | --- | --- |
""" + "\n".join(lines)
    (ROOT / "benchmarks" / "distilled_objects.md").write_text(report + "\n")


if __name__ == "__main__":
    main()
