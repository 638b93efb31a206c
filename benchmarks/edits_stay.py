"""Whether the prior keeps what a person did: objects turned, dragged or cut, then 200 steps of repair.

    python benchmarks/edits_stay.py [--objects 20] [--steps 200] [--from out/eval-prompts_50]

Takes the objects that benchmarks/distilled_objects.py left. For each: one interaction on the part above 0.15 (turned by 70 degrees about
y, dragged by half its length, or removed), then a repair with the default settings, with the anchor and without. Compares silhouettes
(alpha over one half, 8 views of 128 pixels) with the object as the person left it. Debris: pieces of a silhouette that lie wholly more than
NEAR pixels away from the object as it was left, the most in any view.
"""

import argparse
import dataclasses
import datetime
import json
import platform
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from interactive3d.dsl.operations import AtStep, Box, Drag, DragMode, Operation, Remove, Repair, Rotate, ShapePart
from interactive3d.dsl.program import GuidanceChoice, InitSplats, Program, RepairPolicy
from interactive3d.runtime.engine.session import Session
from interactive3d.runtime.engine.start import begin
from interactive3d.runtime.guidance.embedded import EmbeddedPrior
from interactive3d.runtime.scene.camera import turntable
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.scene.render import render
from interactive3d.runtime.scene.selection import bounds

ROOT = Path(__file__).resolve().parent.parent
SIDE, VIEWS = 128, 8
DRAG_STEPS = 60
NEAR = 2


def silhouettes(model: GaussianModel) -> np.ndarray:
    """Boolean pictures, views x height x width."""
    return (render(model, turntable(VIEWS, elevation=15), SIDE).alpha > 0.5).cpu().numpy()


def interaction(model: GaussianModel, which: int) -> tuple[str, list[Operation]]:
    """One of the three interactions, on the upper part of this object."""
    box = bounds(model)
    cut = 0.5 * (box.low[1] + box.high[1])
    part = ShapePart(shape=Box(low=(-2.0, cut, -2.0), high=(2.0, 2.0, 2.0)))
    top = bounds(model, model.mean[:, 1] > cut)
    if which == 0:
        return "turned 70 deg", [Rotate(part=part, degrees=70.0, axis=(0.0, 1.0, 0.0), when=AtStep(step=0))]
    if which == 1:
        half = 0.5 * max(h - w for h, w in zip(top.high, top.low, strict=True))
        goal = (top.center[0] + half, top.center[1], top.center[2])
        drag = Drag(
            part=part,
            source=top.center,
            target=goal,
            radius=2.0,
            mode=DragMode.RIGID,
            steps=DRAG_STEPS,
            when=AtStep(step=0),
        )
        return "dragged by half", [drag]
    return "removed", [Remove(part=part, when=AtStep(step=0))]


def debris(left: np.ndarray, after: np.ndarray) -> int:
    """Separate pieces of the silhouette `after` that do not come near `left`."""
    labels, count = ndimage.label(after)
    near = ndimage.binary_dilation(left, iterations=NEAR)
    return count - len(set(labels[near & after].tolist()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=20)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--from", dest="source", type=Path, default=Path("out/eval-prompts_50"))
    options = parser.parse_args()
    prior = EmbeddedPrior.load()
    lines, found = [], {True: [], False: []}
    for index in range(options.objects):
        path = options.source / "objects" / f"{index:03d}.ply"
        text = json.loads(path.with_suffix(".json").read_text())["text"]
        program = Program(
            prompt=text, guidance=GuidanceChoice(name="embedded"), initial=InitSplats(path=str(path.resolve()))
        )
        trainer, start = begin(program, prior, seed=index, device="cpu")
        name, operations = interaction(start.model, index % 3)
        length = DRAG_STEPS if name.startswith("dragged") else 0
        trainer = dataclasses.replace(trainer, steps=length + options.steps)
        for anchored in (True, False):
            repair = Repair(steps=options.steps, anchor=None if anchored else 0.0, when=AtStep(step=length))
            session = Session(trainer, [*operations, repair], start, policy=RepairPolicy(enabled=False))
            # What the person left: right after the interaction, before the first step of the repair.
            session.advance(length)
            left, after = session.latest().model, session.advance().model
            a, b = silhouettes(left), silhouettes(after)
            iou = float((a & b).sum() / max((a | b).sum(), 1))
            area = float(b.sum() / max(a.sum(), 1))
            stray = max(debris(x, y) for x, y in zip(a, b, strict=True))
            found[anchored].append((iou, area, stray))
            lines.append(f"| {text} | {name} | {'on' if anchored else 'off'} | {iou:.3f} | {area:.3f} | {stray} |")
            print(lines[-1], flush=True)
    summary = "\n".join(
        f"| {'on' if k else 'off'} | {np.mean([i for i, _, _ in v]):.3f} | {min(i for i, _, _ in v):.3f} "
        f"| {max(abs(a - 1) for _, a, _ in v):.3f} | {max(d for _, _, d in v)} |"
        for k, v in found.items()
    )
    report = f"""# Edits stay

`python benchmarks/edits_stay.py --objects {options.objects} --steps {options.steps}`, {datetime.date.today()}, {platform.processor() or platform.machine()},
{torch.get_num_threads()} threads. Silhouette agreement with the object as the person left it, {VIEWS} views.

| anchor | IoU, mean | IoU, worst | covered area off by, worst | debris, worst |
| --- | --- | --- | --- | --- |
{summary}

| prompt | interaction | anchor | IoU | area after / before | debris |
| --- | --- | --- | --- | --- | --- |
""" + "\n".join(lines)
    (ROOT / "benchmarks" / "edits_stay.md").write_text(report + "\n")


if __name__ == "__main__":
    main()
