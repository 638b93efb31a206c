"""The language's solids: what is inside, how far the rest is, and even sampling."""

import pytest
import torch

from interactive3d.dsl.values import SHAPE_KINDS, AxisAngle, Box, Capsule, Cone, Cylinder, Ellipsoid, Sphere, Torus
from interactive3d.runtime.scene.shapes import sample_in_shape, signed_distance

SHAPES = [
    Sphere(center=(0.1, 0.2, 0.3), radius=0.4),
    Box(low=(-0.1, -0.2, -0.3), high=(0.4, 0.1, 0.2)),
    Ellipsoid(center=(0.0, 0.1, 0.0), radii=(0.5, 0.2, 0.1), rotation=AxisAngle(axis=(0.0, 0.0, 1.0), degrees=30.0)),
    Capsule(a=(-0.3, 0.0, 0.1), b=(0.2, 0.4, 0.0), radius=0.1),
    Cylinder(a=(-0.3, 0.0, 0.1), b=(0.2, 0.4, 0.0), radius=0.1),
    Cone(a=(0.0, -0.3, 0.0), b=(0.1, 0.4, 0.2), radius=0.25),
    Torus(center=(0.1, 0.0, 0.0), radius=0.4, thickness=0.1, axis=(1.0, 1.0, 0.0)),
]
NAMES = [type(s).__name__ for s in SHAPES]
VOLUME_TOLERANCE = 0.05
"""Monte Carlo with 200,000 points: the share of the smallest shape has a standard error of about 1 %."""


def test_every_kind_is_here():
    assert {type(s) for s in SHAPES} == set(SHAPE_KINDS)


@pytest.mark.parametrize("shape", SHAPES, ids=NAMES)
def test_samples_lie_inside_and_repeat(shape):
    points = sample_in_shape(shape, 3000, torch.Generator().manual_seed(1))
    assert float(signed_distance(shape, points).max()) <= 1e-9
    again = sample_in_shape(shape, 3000, torch.Generator().manual_seed(1))
    assert torch.equal(points, again)


@pytest.mark.parametrize("shape", SHAPES, ids=NAMES)
def test_samples_are_even(shape):
    # Any half space must hold the same share of the samples as of evenly thrown points that happen to be inside.
    g = torch.Generator().manual_seed(2)
    thrown = torch.rand(200_000, 3, generator=g, dtype=torch.float64) * 1.6 - 0.8
    inside = thrown[signed_distance(shape, thrown) <= 0]
    points = sample_in_shape(shape, 20_000, g)
    for axis in torch.eye(3, dtype=torch.float64):
        middle = (inside @ axis).median()
        assert abs(float(((points @ axis) < middle).double().mean()) - 0.5) < VOLUME_TOLERANCE
        spread = float((points @ axis).std() / (inside @ axis).std())
        assert abs(spread - 1.0) < VOLUME_TOLERANCE


@pytest.mark.parametrize("shape", [s for s in SHAPES if not isinstance(s, Ellipsoid)], ids=lambda s: type(s).__name__)
def test_distance_is_a_distance(shape):
    g = torch.Generator().manual_seed(3)
    points = (torch.rand(2000, 3, generator=g, dtype=torch.float64) * 2 - 1).requires_grad_(True)
    d = _differentiable(shape, points)
    (slope,) = torch.autograd.grad(d.sum(), points)
    outside = d > 1e-3
    torch.testing.assert_close(slope.norm(dim=-1)[outside], torch.ones(int(outside.sum()), dtype=torch.float64))


def _differentiable(shape, points):
    from interactive3d.runtime.scene.shapes import _distance

    return _distance(shape, points)


def test_box_and_sphere_by_hand():
    at = torch.tensor([[0.0, 0.0, 2.0], [0.0, 0.0, 0.5]])
    assert signed_distance(Sphere(center=(0.0, 0.0, 0.0), radius=1.0), at).tolist() == [1.0, -0.5]
    assert signed_distance(Box(low=(-1.0, -1.0, -1.0), high=(1.0, 1.0, 1.0)), at).tolist() == [1.0, -0.5]


def test_unknown_shapes_and_empty_counts_are_refused():
    with pytest.raises(TypeError, match="unknown shape"):
        signed_distance("ball", torch.zeros(1, 3))
    with pytest.raises(ValueError, match="count"):
        sample_in_shape(SHAPES[0], 0, torch.Generator())
