"""The object as it stands, as a volume: outline, coverage, colours, repeatability, cost."""

import time

import pytest
import torch

from interactive3d.dsl.values import Box, Capsule, Sphere, Torus
from interactive3d.runtime.scene.camera import Camera
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.scene.initial import blobs_in_shape, blobs_on_points, round_blobs, solid_in_shape
from interactive3d.runtime.scene.render import render
from interactive3d.runtime.scene.shapes import sample_in_shape, signed_distance
from interactive3d.runtime.scene.voxels import voxelise
from interactive3d.runtime.settings import InitSettings

IOU_BAR = 0.85
"""The outline of 32 cells a side against the render's; a ball of radius 0.7 with its edge off by one cell would have 0.84."""

SLOWEST = 0.2
"""Seconds for 4096 blobs: it takes 0.01 on two idle cores and is asked for once in tens of steps; a busy machine gets room."""

SHAPES = {
    "ball": Sphere(center=(0.0, 0.0, 0.0), radius=0.7),
    "box": Box(low=(-0.5, -0.3, -0.4), high=(0.5, 0.3, 0.4)),
    "torus": Torus(center=(0.0, 0.0, 0.0), radius=0.5, thickness=0.12),
    "limb": Capsule(a=(-0.6, -0.2, 0.0), b=(0.6, 0.3, 0.1), radius=0.1),
}


def shell(shape, count: int, generator: torch.Generator) -> GaussianModel:
    points = sample_in_shape(shape, 6 * count, generator)
    outer = torch.argsort(signed_distance(shape, points), descending=True, stable=True)[:count]
    return blobs_on_points(points[outer], torch.rand(count, 3, generator=generator, dtype=torch.float64))


def outline(volume: torch.Tensor, camera: Camera, side: int) -> torch.Tensor:
    """Pixels of which the volume covers more than a half: coverage of the cells, composited along the ray."""
    view, k = camera.view_matrix(), camera.intrinsics(side, side)
    at = torch.arange(side) + 0.5
    y, x = torch.meshgrid(at, at, indexing="ij")
    ray = torch.stack([(x - k[2]) / k[0], (y - k[3]) / k[1], torch.ones_like(x)], -1)
    depths = torch.linspace(1.2, 3.8, 160)
    points = ray[:, :, None, :] * depths[:, None]
    world = ((points - view[:3, 3]) @ view[:3, :3]).reshape(1, side, side * 160, 1, 3)
    found = torch.nn.functional.grid_sample(volume[None, 3:], world, align_corners=False).reshape(side, side, 160)
    cells_a_sample = float(depths[1] - depths[0]) * volume.shape[-1] / 2
    return 1 - (1 - found).pow(cells_a_sample).prod(-1) > 0.5


@pytest.mark.parametrize("kind", ["shell", "solid"])
@pytest.mark.parametrize("name", SHAPES)
def test_outline_matches_the_render(name, kind):
    generator = torch.Generator().manual_seed(0)
    shape = SHAPES[name]
    model = (
        shell(shape, 1000, generator) if kind == "shell" else solid_in_shape(shape, 1000, (1.0, 0.0, 0.0), generator)
    )
    camera = Camera.orbit(60.0, 20.0)
    seen, drawn = outline(voxelise(model), camera, 48), render(model, [camera], 48).alpha[0] > 0.5
    assert float((seen & drawn).sum() / (seen | drawn).sum()) > IOU_BAR
    # A prior that is shown a swollen object swells it.
    assert 0.92 < float(seen.sum() / drawn.sum()) < 1.1


def test_surface_cells_are_nearly_opaque_and_empty_ones_empty():
    model = shell(SHAPES["ball"], 1500, torch.Generator().manual_seed(0))
    volume = voxelise(model)
    x, y, z = ((model.mean + 1.0) * 16.0).long().unbind(-1)
    assert float(volume[3, z, y, x].median()) > 0.8
    assert float(volume[3, 0, 0, 0]) == 0.0
    assert volume[:3, 0, 0, 0].tolist() == [0.5, 0.5, 0.5]


def test_axes_and_colours_lie_where_the_volume_says():
    model = round_blobs(torch.tensor([[0.5, -0.25, 0.75]]), torch.tensor([[1.0, 0.5, 0.0]]), 0.05, 0.9)
    volume = voxelise(model)
    z, y, x = (int(v) for v in torch.unravel_index(volume[3].argmax(), volume[3].shape))
    assert (x, y, z) in {(23 + a, 11 + b, 27 + c) for a in (0, 1) for b in (0, 1) for c in (0, 1)}
    torch.testing.assert_close(volume[:3, z, y, x], torch.tensor([1.0, 0.5, 0.0]), atol=1e-5, rtol=0)


def test_large_and_outside_blobs_are_taken():
    mean = torch.tensor([[0.0, 0.0, 0.0], [5.0, 0.0, 0.0]])
    volume = voxelise(round_blobs(mean, torch.ones(2, 3), 0.3, 0.9))
    assert bool(torch.isfinite(volume).all())
    assert float(volume[3, 16, 16, 16]) > 0.5
    assert float(voxelise(round_blobs(mean[1:], torch.ones(1, 3), 0.05, 0.9))[3].max()) == 0.0


def test_same_blobs_same_bits_and_quick():
    model = blobs_in_shape(SHAPES["ball"], 4096, InitSettings(), torch.Generator().manual_seed(0))
    first = voxelise(model)
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        second = voxelise(model)
        times.append(time.perf_counter() - begun)
        assert torch.equal(first, second)
    assert min(times) < SLOWEST


def test_resolution_is_checked():
    model = blobs_in_shape(SHAPES["ball"], 4, InitSettings(), torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="resolution"):
        voxelise(model, 1)
    assert voxelise(model, 16).shape == (4, 16, 16, 16)
