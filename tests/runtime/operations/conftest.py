"""A small object and environments for the tests of operations."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from interactive3d.dsl.values import Ellipsoid, Shape, Sphere, Vec3
from interactive3d.runtime.engine.state import RunState
from interactive3d.runtime.engine.trainer import Trainer
from interactive3d.runtime.operations import start_term
from interactive3d.runtime.operations.base import Environment, Term
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.scene.initial import blobs_on_points
from interactive3d.runtime.scene.shapes import sample_in_shape, signed_distance
from interactive3d.runtime.settings import Settings

HEAD: Vec3 = (0.0, 0.35, 0.25)
BACK: Vec3 = (0.3, 0.25, 0.0)


def shell(shape: Shape, count: int, generator: torch.Generator, color: Vec3) -> GaussianModel:
    """Blobs on a shape's surface, in one colour."""
    points = sample_in_shape(shape, 6 * count, generator)
    outer = torch.argsort(signed_distance(shape, points), descending=True, stable=True)[:count]
    return blobs_on_points(points[outer], torch.tensor(color, dtype=torch.float64).expand(count, 3))


@pytest.fixture(scope="session")
def creature() -> GaussianModel:
    """A green body (350 blobs) with a red head at HEAD (120 blobs), which is tagged; its optimizer state is as after some steps."""
    body, head = 350, 120
    generator = torch.Generator().manual_seed(0)
    model = shell(Ellipsoid(center=(0.0, 0.0, 0.0), radii=(0.5, 0.3, 0.3)), body, generator, (0.2, 0.6, 0.2))
    model = model.append(shell(Sphere(center=HEAD, radius=0.18), head, generator, (0.8, 0.2, 0.1)))
    worn = {
        name: 0.01 * torch.rand(column.shape, generator=generator)
        for name, column in model.columns.items()
        if name.startswith(("first.", "second."))
    }
    worn |= {
        "updates": torch.full((len(model),), 7, dtype=torch.int32),
        "grown_gradient": torch.rand(len(model), generator=generator),
        "grown_count": torch.full((len(model),), 3.0),
        "row": torch.arange(len(model)),
    }
    return model.with_columns(worn).with_tag("head", torch.arange(len(model)) >= body)


def no_files(path: Path) -> GaussianModel:
    """A folder that holds nothing."""
    raise FileNotFoundError(f"no file {path}")


@pytest.fixture
def environment() -> Callable[..., Environment]:
    """What an operation may know, at some step of some run."""

    def make(step: int = 300, settings: Settings | None = None, load=no_files) -> Environment:
        return Environment(
            step=step,
            seed=7,
            settings=settings or Settings(),
            folder=Path("folder"),
            load_blobs=load,
            prompt="a creature",
        )

    return make


@pytest.fixture
def play() -> Callable[..., tuple[Term, GaussianModel]]:
    """Runs one term to its end through the real trainer, from step 300 of 1000; returns it and the blobs before its last touches.

    Without a guidance the pictures are not scored at all.
    """

    def run(
        operation,
        model: GaussianModel,
        settings: Settings | None = None,
        guidance=None,
        until: int | None = None,
        touched=None,
    ):
        settings = settings or Settings()
        if guidance is None:
            settings = settings.set("guidance.weight", 0.0)
        trainer = Trainer(
            guidance=guidance, prompt="", negative="", seed=7, steps=1000, folder=Path("."), load_blobs=no_files
        )
        state = RunState(step=300, model=model, settings=settings)
        term, pinned = start_term(operation, "0", model, trainer.environment(state), touched)
        state = dataclasses.replace(state, model=pinned, terms=(term,))
        while state.step < (term.end if until is None else until):
            state = trainer.step(state)
        return state.terms[0], state.model

    return run


@pytest.fixture
def quick_settings() -> Settings:
    """Two pictures of 32 pixels a step: enough for a guidance to pull at blobs."""
    return Settings().set("guidance.size", 32).set("camera.batch", 2)
