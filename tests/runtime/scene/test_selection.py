"""Boxes, balls and neighbours of sets of blobs."""

import pytest
import torch

from interactive3d.runtime.scene.initial import round_blobs
from interactive3d.runtime.scene.selection import (
    bounds,
    distances_to_set,
    nearest_neighbours,
    scene_radius,
    visible_ball,
    within,
)


def model_at(points: list[list[float]]):
    mean = torch.tensor(points)
    return round_blobs(mean, torch.zeros_like(mean), 0.01, 0.8)


def test_bounds():
    model = model_at([[0.0, 0.0, 0.0], [1.0, 2.0, -2.0], [9.0, 9.0, 9.0]])
    box = bounds(model, torch.tensor([True, True, False]))
    assert (box.low, box.high, box.center, box.radius) == ((0.0, 0.0, -2.0), (1.0, 2.0, 0.0), (0.5, 1.0, -1.0), 1.5)
    with pytest.raises(ValueError, match="empty set"):
        bounds(model, torch.zeros(3, dtype=torch.bool))


def test_an_empty_scene_has_no_radius():
    assert scene_radius(model_at([[0.0, 0.0, 0.0]]).rows(torch.zeros(0, dtype=torch.int64))) == 0.0


def test_faint_blobs_do_not_widen_the_visible_ball():
    model = model_at([[0.0, 0.0, 0.0], [0.2, 0.0, 0.0], [5.0, 0.0, 0.0]])
    model = model.map_rows(torch.tensor([False, False, True]), {"logit_opacity": lambda x: torch.full_like(x, -9.0)})
    center, radius = visible_ball(model, torch.ones(3, dtype=torch.bool))
    assert center == pytest.approx((0.1, 0.0, 0.0))
    assert radius == pytest.approx(0.12, abs=1e-6)


def test_within_is_the_brute_force_answer():
    g = torch.Generator().manual_seed(0)
    points = torch.rand(400, 3, generator=g)
    model = round_blobs(points, points, 0.01, 0.8)
    mask = torch.rand(400, generator=g) < 0.1
    table = (points[:, None] - points[None]).norm(dim=-1)
    assert torch.equal(within(model, mask, 0.1), mask | (table[:, mask] <= 0.1).any(1))
    assert torch.equal(within(model, mask, -0.05), mask & ~(table[:, ~mask] <= 0.05).any(1))
    assert torch.equal(within(model, mask, 0.0), mask)


def test_neighbours_leave_out_the_point_itself():
    points = torch.tensor([[0.0, 0, 0], [1.0, 0, 0], [3.0, 0, 0]])
    lengths, index = nearest_neighbours(points, 5)
    assert index.tolist() == [[1, 2], [0, 2], [1, 0]]
    assert lengths.tolist() == [[1.0, 3.0], [1.0, 2.0], [2.0, 3.0]]
    assert nearest_neighbours(points[:1], 3)[0].shape == (1, 0)


def test_distance_to_an_empty_set_is_infinite():
    assert bool(torch.isinf(distances_to_set(torch.zeros(2, 3), torch.zeros(0, 3))[0]).all())
