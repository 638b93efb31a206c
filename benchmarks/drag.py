"""Both forms of equation 5, rigid and deformable, with and without what holds the shape; weights, steps and the plasticine's core.

    python benchmarks/drag.py            # the tables of drag.md, some ten minutes on two idle cores
    python benchmarks/drag.py --quick    # fewer rows

The scene is a green body of 700 blobs with a red head of 250. `hostile` runs are scored by a reference prior that knows the creature only
as it was, so it pulls every dragged blob back: the worst that a prior can do. `alone` runs are not scored at all.
"""

import argparse
import dataclasses
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from interactive3d.dsl.operations import Drag, DragForm, DragMode, NamedPart
from interactive3d.dsl.values import Ellipsoid, Shape, Sphere, Vec3
from interactive3d.runtime.engine.state import RunState
from interactive3d.runtime.engine.trainer import Trainer
from interactive3d.runtime.guidance.reference import ReferenceGuidance
from interactive3d.runtime.operations import start_term
from interactive3d.runtime.scene.camera import Camera
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.scene.initial import blobs_on_points
from interactive3d.runtime.scene.render import render
from interactive3d.runtime.scene.selection import scene_radius
from interactive3d.runtime.scene.shapes import sample_in_shape, signed_distance
from interactive3d.runtime.settings import Settings

START, RUN = 300, 1000
SIDE = 96
HEAD = Drag(
    source=(0.0, 0.35, 0.25), target=(0.15, 0.5, 0.3), mode=DragMode.RIGID, part=NamedPart(name="head"), steps=80
)
WING = Drag(source=(0.3, 0.25, 0.0), target=(0.6, 0.7, 0.0), mode=DragMode.DEFORMABLE, radius=0.15, steps=100)
VIEWS = [Camera.orbit(azimuth, 10.0, 3.2) for azimuth in range(0, 360, 45)]


def shell(shape: Shape, count: int, generator: torch.Generator, color: Vec3) -> GaussianModel:
    points = sample_in_shape(shape, 6 * count, generator)
    outer = torch.argsort(signed_distance(shape, points), descending=True, stable=True)[:count]
    return blobs_on_points(points[outer], torch.tensor(color, dtype=torch.float64).expand(count, 3))


def creature() -> GaussianModel:
    generator = torch.Generator().manual_seed(0)
    model = shell(Ellipsoid(center=(0.0, 0.0, 0.0), radii=(0.5, 0.3, 0.3)), 700, generator, (0.2, 0.6, 0.2))
    model = model.append(shell(Sphere(center=(0.0, 0.35, 0.25), radius=0.18), 250, generator, (0.8, 0.2, 0.1)))
    return model.with_tag("head", torch.arange(len(model)) >= 700)


@dataclasses.dataclass(frozen=True)
class Played:
    """A drag that is over: its term at the end, the blobs before and after the last touches, the way at half time, seconds."""

    term: object
    last: GaussianModel
    final: GaussianModel
    halfway: float
    seconds: float


def play(drag: Drag, settings: Settings, model: GaussianModel, hostile: bool) -> Played:
    guidance = ReferenceGuidance([("as it was", model)]) if hostile else None
    settings = settings if hostile else settings.set("guidance.weight", 0.0)
    trainer = Trainer(
        guidance=guidance, prompt="", negative="", seed=0, steps=RUN, folder=Path("."), load_blobs=lambda path: model
    )
    state = RunState(step=START, model=model, settings=settings)
    term, pinned = start_term(drag, "0", model, trainer.environment(state))
    state = dataclasses.replace(state, model=pinned, terms=(term,))
    begun, halfway = time.process_time(), 0.0
    vector = torch.tensor(drag.target) - torch.tensor(drag.source)
    while state.step < term.end:
        state = trainer.step(state)
        if state.step == START + term.steps // 2:
            halfway = float(shift(state.model) @ vector / (vector @ vector))
    ended = state.terms[0]
    final = ended.finish(state.model, trainer.environment(state))
    return Played(ended, state.model, final, halfway, time.process_time() - begun)


def shift(model: GaussianModel) -> torch.Tensor:
    """How far the dragged blobs have gone on average."""
    rows = model.columns["term.0.member"]
    return (model.mean - model.columns["term.0.start"])[rows].mean(0)


def rigid_row(drag: Drag, settings: Settings, hostile: bool) -> dict[str, str]:
    model = creature()
    played = play(drag, settings, model, hostile)
    head = model.tagged("head")
    before, after = model.mean[head].double(), played.final.mean[: len(model)][head].double()
    vector = torch.tensor(drag.target, dtype=torch.float64) - torch.tensor(drag.source, dtype=torch.float64)
    change = (torch.pdist(after) - torch.pdist(before)).abs() / torch.pdist(before)
    ideal = model.map_rows(head, {"mean": lambda m: m + vector.float()})
    pictures = [render(m, VIEWS, SIDE).color for m in (ideal, played.final)]
    return {
        "miss, % of R": f"{100 * float((after.mean(0) - before.mean(0) - vector).norm()) / scene_radius(model):.2f}",
        "distances, median %": f"{100 * float(change.median()):.2f}",
        "distances, worst %": f"{100 * float(change.max()):.1f}",
        "picture off by": f"{255 * float((pictures[0] - pictures[1]).abs().mean()):.2f}",
        "way at half time": f"{played.halfway:.2f}",
        "ms a step": f"{1000 * played.seconds / drag.steps:.0f}",
    }


def deformable_row(drag: Drag, settings: Settings, hostile: bool) -> dict[str, str]:
    model = creature()
    played = play(drag, settings, model, hostile)
    vector = torch.tensor(drag.target) - torch.tensor(drag.source)
    miss = float((shift(played.last) - vector).norm()) / scene_radius(model)
    rows = played.last.columns["term.0.member"]
    start = played.last.columns["term.0.start"][rows]
    spread = float(played.last.mean[rows].std(0).norm() / start.std(0).norm())
    masks = render(played.final, VIEWS, SIDE).alpha > 0.5
    whole = sum(joined(mask, drag, camera) for mask, camera in zip(masks, VIEWS, strict=True))
    return {
        "miss, % of R": f"{100 * miss:.2f}",
        "core's size kept": f"{spread:.2f}",
        "views joined": f"{whole} of {len(VIEWS)}",
        "blobs": f"{len(model)} to {len(played.final)}",
        "way at half time": f"{played.halfway:.2f}",
        "ms a step": f"{1000 * played.seconds / drag.steps:.0f}",
    }


def joined(mask: torch.Tensor, drag: Drag, camera: Camera) -> bool:
    """Whether source and target lie in one piece of the silhouette."""
    reached = torch.zeros_like(mask)
    ends = [pixel(p, camera) for p in (drag.source, drag.target)]
    reached[ends[0]] = mask[ends[0]]
    while True:
        grown = (torch.nn.functional.max_pool2d(reached[None, None].float(), 3, 1, 1)[0, 0] > 0) & mask
        if torch.equal(grown, reached):
            return bool(reached[ends[1]])
        reached = grown


def pixel(point: Vec3, camera: Camera) -> tuple[int, int]:
    view, k = camera.view_matrix(), camera.intrinsics(SIDE, SIDE)
    x, y, z = (view[:3, :3] @ torch.tensor(point) + view[:3, 3]).tolist()
    return int(float(k[1]) * y / z + float(k[3])), int(float(k[0]) * x / z + float(k[2]))


def rigid_cases(quick: bool) -> Iterator[tuple[str, Drag, Settings]]:
    base = Settings()
    loose = base.set("drag.fit", False)
    for form in DragForm:
        for settings in (base, loose):
            name = f"{form.value}, {'fitted' if settings is base else 'equation 6 alone'}"
            yield name, dataclasses.replace(HEAD, form=form), settings
    if quick:
        return
    for weight in (0.0, 1.0, 10.0, 1000.0):
        yield f"offset, equation 6 alone, rigidity {weight:g}", dataclasses.replace(HEAD, rigidity=weight), loose
    for weight in (0.0, 1.0, 10.0, 100.0):
        yield f"offset, fitted, motion {weight:g}", dataclasses.replace(HEAD, motion=weight), base
    for weight in (1.0, 30.0):
        pulled = base.set("drag.pace", "pull")
        yield f"offset, fitted, pace pull, motion {weight:g}", dataclasses.replace(HEAD, motion=weight), pulled
    for alpha in (0.002, 0.01, 0.05):
        yield f"offset, fitted, alpha {alpha:g}", dataclasses.replace(HEAD, alpha=alpha), base


def deformable_cases(quick: bool) -> Iterator[tuple[str, Drag, Settings]]:
    base = Settings()
    for form in DragForm:
        yield f"{form.value}", dataclasses.replace(WING, form=form), base
    if quick:
        return
    for weight in (0.0, 1.0, 10.0, 100.0):
        yield f"offset, motion {weight:g}", dataclasses.replace(WING, motion=weight), base
    yield "offset, pace pull", WING, base.set("drag.pace", "pull")
    for core in (0.1, 0.5, 0.8):
        yield f"offset, core {core:g}", WING, base.set("drag.core", core)
    for steps in (1, 20, 300):
        yield f"offset, {steps} step{'s' if steps > 1 else ''}", dataclasses.replace(WING, steps=steps), base


def table(title: str, cases, row, hostile: bool) -> None:
    print(f"\n### {title}, {'hostile prior' if hostile else 'alone'}\n")
    for i, (name, drag, settings) in enumerate(cases):
        values = row(drag, settings, hostile)
        if i == 0:
            print(f"| | {' | '.join(values)} |\n| --- |{' --- |' * len(values)}")
        print(f"| {name} | {' | '.join(values.values())} |")
        sys.stdout.flush()


def main() -> None:
    """Print the tables of drag.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rows")
    quick = parser.parse_args().quick
    for hostile in (False, True):
        table("Rigid", rigid_cases(quick), rigid_row, hostile)
        table("Deformable", deformable_cases(quick), deformable_row, hostile)


if __name__ == "__main__":
    main()
