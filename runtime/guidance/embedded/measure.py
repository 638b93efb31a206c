"""The figures of `docs/prior.md`, measured on objects of a seed that training never saw, and the time of a guidance step.

`python -m interactive3d.runtime.guidance.embedded.measure`
"""

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from interactive3d.runtime.guidance.embedded.data import ObjectSource
from interactive3d.runtime.guidance.embedded.gate import GateTable, gate
from interactive3d.runtime.guidance.embedded.prior import EmbeddedPrior
from interactive3d.runtime.guidance.embedded.weights import DEFAULT_FOLDER
from interactive3d.runtime.guidance.protocol import ScoreRequest
from interactive3d.runtime.scene.camera import turntable

GATE_SEED = 1009
GATE_OBJECTS = 250
VIEWS = 4


def gate_source(folder: Path) -> ObjectSource:
    """The objects of the gate, made where they are missing; none of them is ever trained on."""
    from interactive3d.runtime.guidance.objects.building import build

    build(folder, GATE_OBJECTS, VIEWS, GATE_SEED, workers=min(2, os.cpu_count() or 1))
    return ObjectSource(folder, gate_share=1)


def measure_gate(prior: EmbeddedPrior, folder: Path, pictures: int = 256) -> GateTable:
    """The gate on `pictures` renders of whole objects and as many of deformed ones."""
    source = gate_source(folder)
    whole, deformed = (source.gate_batch(GATE_SEED, pictures, flag) for flag in (False, True))
    return gate(prior.networks, whole, deformed, seed=GATE_SEED)


def step_milliseconds(prior: EmbeddedPrior, shape: str, repeats: int = 20) -> tuple[float, float]:
    """(median, best) time of a guidance step: 4 views of 128 pixels, with and without text."""
    condition = prior.encode("a red dragon with blue wings")
    request = ScoreRequest(
        images=torch.rand(4, 128, 128, 3),
        cameras=turntable(4),
        condition=condition,
        noise=(0.02, 0.98),
        guidance_scale=3.0,
        generator=torch.Generator().manual_seed(0),
        background=torch.ones(4, 3),
        shape=shape,
        object_volume=condition.volume,
    )
    taken = []
    for _ in range(repeats + 3):
        began = time.perf_counter()
        prior.score(request)
        taken.append(1000 * (time.perf_counter() - began))
    kept = sorted(taken[3:])
    return kept[len(kept) // 2], kept[0]


def main(argv: Sequence[str] | None = None) -> None:
    """Print the gate and the times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("--dataset", type=Path, default=Path("out/gate-objects"), help="made where missing")
    parser.add_argument("--pictures", type=int, default=256)
    a = parser.parse_args(argv)
    began = time.perf_counter()
    prior = EmbeddedPrior.load(folder=a.weights)
    print(f"loaded in {time.perf_counter() - began:.2f} s; {prior.describe()['version']}")
    for name, module in prior.networks.modules().items():
        print(f"{name}: {sum(p.numel() for p in module.parameters()) / 1e6:.2f} M parameters")
    for shape in ("text", "object", "none"):
        median, best = step_milliseconds(prior, shape)
        print(
            f"guidance step, shape {shape}: median {median:.0f} ms, best {best:.0f} ms, {torch.get_num_threads()} threads"
        )
    print(measure_gate(prior, a.dataset, a.pictures).line())


if __name__ == "__main__":
    main()
