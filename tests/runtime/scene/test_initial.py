"""First blobs: where, how large, how opaque, and the same for the same generator."""

import pytest
import torch

from interactive3d.dsl.values import Sphere
from interactive3d.runtime.scene.initial import SCALE_PER_SPACING, blobs_in_shape, blobs_on_points, solid_in_shape
from interactive3d.runtime.settings import InitSettings

BALL = Sphere(center=(0.1, 0.2, 0.3), radius=0.4)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_blobs_in_a_shape():
    model = blobs_in_shape(BALL, 500, InitSettings(scale=0.02, opacity=0.3), generator())
    assert len(model) == 500
    assert float((model.mean - torch.tensor(BALL.center)).norm(dim=-1).max()) <= BALL.radius + 1e-6
    torch.testing.assert_close(model.scale, torch.full((500, 3), 0.02))
    torch.testing.assert_close(model.opacity, torch.full((500,), 0.3))
    assert float(model.color.std()) > 0.05
    again = blobs_in_shape(BALL, 500, InitSettings(scale=0.02, opacity=0.3), generator())
    assert all(torch.equal(model.columns[n], again.columns[n]) for n in model.columns)


def test_blobs_in_a_colour():
    model = solid_in_shape(BALL, 200, (0.9, 0.1, 0.2), generator())
    torch.testing.assert_close(model.color, torch.tensor([0.9, 0.1, 0.2]).expand(200, 3))


def test_fewer_blobs_in_a_shape_are_larger():
    few, many = (solid_in_shape(BALL, n, (1.0, 1.0, 1.0), generator()).scale.median() for n in (50, 1000))
    assert 1.5 < float(few / many) < 6.0


def test_points_take_their_size_from_the_spacing_or_from_their_neighbours():
    grid = torch.cartesian_prod(*[torch.arange(5) * 0.1] * 3)
    colors = torch.rand(125, 3)
    known = blobs_on_points(grid, colors, 0.1)
    found = blobs_on_points(grid, colors)
    torch.testing.assert_close(known.scale, torch.full((125, 3), 0.1 * SCALE_PER_SPACING))
    torch.testing.assert_close(found.scale, known.scale, rtol=1e-4, atol=0)
    torch.testing.assert_close(known.opacity, torch.full((125,), 0.8))


def test_one_point_and_coinciding_points_give_finite_blobs():
    assert bool(torch.isfinite(blobs_on_points(torch.zeros(1, 3), torch.zeros(1, 3)).columns["log_scale"]).all())
    assert bool(torch.isfinite(blobs_on_points(torch.zeros(9, 3), torch.zeros(9, 3)).columns["log_scale"]).all())


def test_points_need_as_many_colours():
    with pytest.raises(ValueError, match="as many colours"):
        blobs_on_points(torch.zeros(3, 3), torch.zeros(2, 3))
    with pytest.raises(ValueError, match="at least one"):
        blobs_on_points(torch.zeros(0, 3), torch.zeros(0, 3))
