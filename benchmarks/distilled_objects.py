"""Fifty prompts that the embedded prior was never trained on, distilled to objects and judged by the independent matcher.

    python benchmarks/distilled_objects.py [--first 50] [--steps 600] [--out out/distilled_objects]

Writes one splat file an object (an object that is there is not made again), the sheet docs/pictures/prior-objects.png and
benchmarks/distilled_objects.md. R-Precision (1 of 50): the share of objects whose own prompt the judge ranks first over 8 views.
"""

import argparse
import datetime
import json
import platform
import time
from pathlib import Path

import torch
from PIL import Image

from interactive3d.dsl.program import GuidanceChoice, InitText, Program
from interactive3d.runtime.engine.evaluation import as_tensor, make_object, ranked
from interactive3d.runtime.engine.outputs import picture
from interactive3d.runtime.guidance.embedded import EmbeddedPrior
from interactive3d.runtime.guidance.judge import Judge
from interactive3d.runtime.guidance.objects.captions import PROMPTS_50
from interactive3d.runtime.output.pictures import SheetRow, contact_sheet
from interactive3d.runtime.output.splat_files import read_splats, write_splats
from interactive3d.runtime.scene.camera import turntable
from interactive3d.runtime.scene.gaussians import GaussianModel

ROOT = Path(__file__).resolve().parent.parent
BLOBS = 4096
VIEWS = 8
SHEET_SIDE = 128


def distil(text: str, index: int, steps: int, prior: EmbeddedPrior) -> GaussianModel:
    """One object with the default settings."""
    program = Program(prompt=text, steps=steps, guidance=GuidanceChoice(name="embedded"), initial=InitText(count=BLOBS))
    return make_object(program, prior, text, index, "cpu")[0].model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=len(PROMPTS_50))
    parser.add_argument("--start", type=int, default=0, help="for a second process beside the first")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--out", type=Path, default=Path("out/distilled_objects"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    prior, judge = EmbeddedPrior.load(), Judge.load()
    texts = [prompt.text for prompt in PROMPTS_50]
    lines, rows, right, kinds, colours, seconds = [], [], 0, 0, 0, []
    for index, prompt in list(enumerate(PROMPTS_50))[options.start : options.first]:
        path, note = options.out / f"{index:02d}.ply", options.out / f"{index:02d}.json"
        if not note.exists():
            started = time.monotonic()
            model = distil(prompt.text, index, options.steps, prior)
            write_splats(model, path)
            note.write_text(
                json.dumps({"text": prompt.text, "seconds": time.monotonic() - started, "steps": options.steps})
            )
        model = read_splats(path)
        taken = json.loads(note.read_text())["seconds"]
        views = [picture(model, camera, SHEET_SIDE, SHEET_SIDE) for camera in turntable(VIEWS, elevation=15)]
        images = as_tensor(views)
        place, first, _ = ranked(judge.score(images, texts), index)
        found = judge.attributes(images)
        kind = judge.kinds[int(found.kind.mean(0).argmax())]
        colour = judge.colours[int(found.colour.mean(0).argmax())]
        right += place == 1
        kinds += kind == prompt.description.kind
        colours += colour == prompt.description.colour
        seconds.append(taken)
        lines.append(
            f"| {prompt.text} | {place} | {texts[first] if place > 1 else ''} | {kind} | {colour} | {taken:.0f} |"
        )
        rows.append(SheetRow(title=prompt.text, subtitle="" if place == 1 else f"judged: {texts[first]}", images=views))
        print(f"{index:2d} rank {place:2d} {kind:10s} {colour:8s} {taken:5.1f} s  {prompt.text}", flush=True)
    count = len(rows)
    sheet = ROOT / "docs" / "pictures" / "prior-objects.png"
    contact_sheet(rows, sheet, tile=80)
    Image.open(sheet).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(sheet, optimize=True)
    report = f"""# Fifty objects from prompts never trained on

`python benchmarks/distilled_objects.py --first {count} --steps {options.steps}`, {datetime.date.today()}, {platform.processor() or platform.machine()},
{torch.get_num_threads()} threads, torch {torch.__version__}. {BLOBS} blobs seeded from the text, default settings, judged on {VIEWS} views.

| what | result |
| --- | --- |
| R-Precision, 1 of {len(texts)} | {right / count:.2f} ({right} of {count}) |
| kind right | {kinds / count:.2f} |
| main colour right | {colours / count:.2f} |
| seconds an object | median {sorted(seconds)[count // 2]:.0f}, longest {max(seconds):.0f} |

| prompt | rank | judged as | kind | colour | seconds |
| --- | --- | --- | --- | --- | --- |
""" + "\n".join(lines)
    (ROOT / "benchmarks" / "distilled_objects.md").write_text(report + "\n")


if __name__ == "__main__":
    main()
