"""Small scenes that many tests share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from interactive3d.dsl.values import Sphere
from interactive3d.runtime.engine.state import RunState
from interactive3d.runtime.engine.trainer import Trainer
from interactive3d.runtime.guidance.reference import ReferenceGuidance
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.scene.initial import blobs_in_shape
from interactive3d.runtime.settings import InitSettings, Settings


def ball(
    seed: int = 0,
    *,
    count: int = 150,
    center: tuple[float, float, float] = (0.0, 0.0, 0.0),
    radius: float = 0.4,
    color: tuple[float, float, float] = (0.9, 0.1, 0.1),
) -> GaussianModel:
    """A solid ball of opaque blobs of one colour."""
    generator = torch.Generator().manual_seed(seed)
    init = InitSettings(scale=0.06, opacity=0.9)
    model = blobs_in_shape(Sphere(center=center, radius=radius), count, init, generator)
    return model.with_columns({"color": torch.tensor(color).expand(count, 3).contiguous()})


@pytest.fixture
def make_ball() -> Callable[..., GaussianModel]:
    """The function `ball`, for tests that need several."""
    return ball


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Tiny tensors are quicker on one thread, by far where the machine does other things."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def red_ball() -> GaussianModel:
    """150 red blobs in a ball of radius 0.4 at the origin."""
    return ball()


@pytest.fixture
def small_settings() -> Settings:
    """Pictures of 24 x 24 pixels, two a step: enough to move blobs, cheap enough for a test."""
    return Settings().set("guidance.size", 24).set("camera.batch", 2).set("repair.steps", 4)


@pytest.fixture
def make_run(small_settings: Settings, tmp_path: Path) -> Callable[..., tuple[Trainer, RunState]]:
    """A trainer with the exact prior of a blue ball, and the first state of a red one."""

    def make(steps: int = 20, seed: int = 0, settings: Settings | None = None) -> tuple[Trainer, RunState]:
        goal = ball(1, center=(0.1, 0.0, 0.0), color=(0.1, 0.2, 0.9))
        guidance = ReferenceGuidance([("goal", goal)])
        trainer = Trainer(
            guidance=guidance,
            prompt="a blue ball",
            negative="",
            seed=seed,
            steps=steps,
            folder=tmp_path,
            load_blobs=lambda path: ball(2, count=40, radius=0.1),
        )
        return trainer, RunState(step=0, model=ball(seed), settings=settings or small_settings)

    return make
