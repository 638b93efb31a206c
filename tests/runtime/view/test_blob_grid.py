"""What lies under a pixel of many blobs: the same as without the grid, and few of them are asked."""

import dataclasses

import numpy as np
import pytest
import torch

from interactive3d.runtime.engine.state import RunState
from interactive3d.runtime.scene.camera import Camera
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.settings import Settings
from interactive3d.runtime.view import scene_view
from interactive3d.runtime.view.blob_grid import WORTH
from interactive3d.runtime.view.orbit import Projection
from interactive3d.runtime.view.scene_view import Pointed, Scene, SceneJob, _near_ray, make_scene, pick

COUNT = 2 * WORTH
ASKED = 0.05
"""Share of the blobs that a ray through the object's middle may ask one by one."""


def shell(spread: float = -4.6, strays: int = 0) -> Scene:
    """A hollow object of small blobs; ``strays`` are far away, as large as the object, or no numbers."""
    generator = torch.Generator().manual_seed(0)
    away = torch.nn.functional.normalize(torch.randn(COUNT, 3, generator=generator), dim=1)
    mean = away * (0.5 + 0.1 * torch.rand(COUNT, 1, generator=generator)) * torch.tensor([1.0, 0.8, 0.6])
    log_scale = spread + 0.3 * torch.randn(COUNT, 3, generator=generator)
    if strays:
        mean[:strays] *= 40.0
        log_scale[strays : 2 * strays] = -1.0
    model = GaussianModel.create(
        mean=mean,
        log_scale=log_scale,
        rotation=torch.nn.functional.normalize(torch.randn(COUNT, 4, generator=generator), dim=1),
        color=torch.rand(COUNT, 3, generator=generator),
        logit_opacity=torch.randn(COUNT, generator=generator),
    )
    mean = mean.clone()
    mean[2 * strays : 3 * strays] = float("nan")
    model = model.with_columns({"mean": mean})
    return make_scene(SceneJob(state=RunState(step=0, model=model, settings=Settings())))


@pytest.mark.parametrize("strays", [0, 20])
@pytest.mark.parametrize("distance", [0.3, 0.9, 2.5, 12.0])
def test_the_same_is_found_as_without_the_grid(strays: int, distance: float) -> None:
    scene = shell(strays=strays)
    bare = dataclasses.replace(scene, grid=None)
    assert scene.grid is not None and 2 * strays <= len(scene.grid.loose) < ASKED * COUNT
    projection = Projection(camera=Camera.orbit(35.0, 20.0, distance, 60.0), width=640, height=480)
    for x, y in np.random.default_rng(1).uniform((0, 0), (640, 480), (12, 2)):
        assert np.array_equal(_near_ray(scene, projection, x, y), _near_ray(bare, projection, x, y))
        assert pick(scene, projection, x, y) == pick(bare, projection, x, y)


def test_few_blobs_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = shell()
    assert scene.grid is not None
    asked: list[int] = []
    among = type(scene.grid).among

    def counted(grid: object, cells: np.ndarray) -> np.ndarray:
        rows = among(grid, cells)  # type: ignore[arg-type]
        asked.append(len(rows))
        return rows

    monkeypatch.setattr(type(scene.grid), "among", counted)
    projection = Projection(camera=Camera.orbit(35.0, 20.0), width=640, height=480)
    assert pick(scene, projection, 320, 240) is not None
    assert len(asked) == 1 and 0 < asked[0] < ASKED * COUNT


def test_few_blobs_need_no_grid(red_ball: GaussianModel) -> None:
    assert make_scene(SceneJob(state=RunState(step=0, model=red_ball, settings=Settings()))).grid is None


def test_a_pointer_at_rest_over_the_same_picture_asks_once(
    red_ball: GaussianModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = RunState(step=0, model=red_ball, settings=Settings())
    scene = make_scene(SceneJob(state=state))
    near, far = (Projection(camera=Camera.orbit(0.0, 0.0, distance), width=64, height=64) for distance in (2.0, 3.0))
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(scene_view, "pick", lambda *what: asked.append(what) or pick(*what))
    pointed = Pointed()
    for _ in range(3):
        assert pointed(scene, near, 32.0, 32.0) == pick(scene, near, 32.0, 32.0)
    assert len(asked) == 1
    for what in ((scene, near, 33.0, 32.0), (scene, far, 33.0, 32.0), (make_scene(scene.job), far, 33.0, 32.0)):
        assert pointed(*what) == pick(*what)
    assert len(asked) == 4
