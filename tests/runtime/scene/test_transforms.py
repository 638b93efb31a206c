"""Affine maps of blobs: covariances exactly, untouched rows bit for bit."""

import math

import pytest
import torch

from interactive3d.runtime.scene.gaussians import GaussianModel, first_moment
from interactive3d.runtime.scene.transforms import (
    axis_rotation,
    covariances,
    flow_rows,
    matrix_to_quaternion,
    orthogonalise_columns,
    quaternion_to_matrix,
    reflection,
    transform_rows,
)

COVARIANCE_TOLERANCE = 5e-6
"""Relative: scales and quaternions are stored in float32 (1.2e-7), a covariance squares them and sums nine products."""

STRETCH = torch.diag(torch.tensor([1.0, 0.5, 3.0], dtype=torch.float64))
SHEAR = torch.tensor([[1.0, 0.7, 0.0], [0.0, 1.3, -0.2], [0.4, 0.0, 0.9]], dtype=torch.float64)
MAPS = {
    "rotation": axis_rotation((1.0, 2.0, -0.5), 70.0),
    "even scaling": 1.7 * axis_rotation((0.0, 1.0, 0.0), -20.0),
    "mirror": reflection(0),
    "mirror and turn": axis_rotation((1.0, 0.0, 1.0), 33.0) @ reflection(2),
    "stretch": STRETCH,
    "mirrored stretch": -STRETCH,
    "shear": SHEAR,
}


def blobs(count: int = 200, seed: int = 0) -> GaussianModel:
    g = torch.Generator().manual_seed(seed)
    model = GaussianModel.create(
        mean=torch.rand(count, 3, generator=g) - 0.5,
        log_scale=torch.rand(count, 3, generator=g) * 3 - 5,
        rotation=torch.randn(count, 4, generator=g),
        color=torch.rand(count, 3, generator=g),
        logit_opacity=torch.randn(count, generator=g),
    )
    extra = {
        name: torch.rand(column.shape, generator=g)
        for name, column in model.columns.items()
        if name.startswith(("first.", "second."))
    }
    return model.with_columns(extra | {"updates": torch.full((count,), 5, dtype=torch.int32)})


def test_axis_rotation_is_right_handed():
    turned = axis_rotation((0, 1, 0), 90) @ torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(turned, torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64))


def test_a_rotation_axis_needs_a_length():
    with pytest.raises(ValueError, match="rotation axis"):
        axis_rotation((0, 0, 0), 10)


def test_quaternions_and_matrices_agree_even_at_half_turns():
    g = torch.Generator().manual_seed(1)
    q = torch.nn.functional.normalize(torch.randn(500, 4, generator=g, dtype=torch.float64), dim=-1)
    q = torch.cat([q, torch.eye(4, dtype=torch.float64)])
    q = torch.where(q[:, :1] < 0, -q, q)
    back = matrix_to_quaternion(quaternion_to_matrix(q))
    same = torch.minimum((back - q).abs().amax(-1), (back + q).abs().amax(-1))
    assert float(same.max()) < 1e-12


@pytest.mark.parametrize("name", MAPS)
def test_covariance_becomes_a_sigma_at(name):
    model, a = blobs(), MAPS[name]
    mask = torch.arange(len(model)) % 3 == 0
    about, offset = (0.1, -0.2, 0.3), (0.5, 0.0, -0.1)
    new = transform_rows(model, mask, linear=a, about=about, offset=offset)
    expected = a @ covariances(model)[mask] @ a.T
    error = (covariances(new)[mask] - expected).norm(dim=(1, 2)) / expected.norm(dim=(1, 2))
    assert float(error.max()) < COVARIANCE_TOLERANCE
    c = torch.tensor(about, dtype=torch.float64)
    mean = c + (model.mean[mask].double() - c) @ a.T + torch.tensor(offset, dtype=torch.float64)
    torch.testing.assert_close(new.mean[mask], mean.float(), rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", MAPS)
def test_other_rows_keep_every_bit_of_every_column(name):
    model = blobs()
    mask = torch.arange(len(model)) % 3 == 0
    new = transform_rows(model, mask, linear=MAPS[name], about=(0.1, 0.0, 0.0))
    for column in model.columns:
        assert torch.equal(new.columns[column][~mask], model.columns[column][~mask]), column


def test_a_translation_keeps_moments_and_shape():
    model = blobs()
    mask = torch.arange(len(model)) < 20
    new = transform_rows(model, mask, offset=(0.1, 0.2, 0.3))
    for column in model.columns:
        if column != "mean":
            assert torch.equal(new.columns[column], model.columns[column]), column


def test_a_rotation_carries_the_moments_of_positions():
    model = blobs()
    mask = torch.ones(len(model), dtype=torch.bool)
    a = MAPS["rotation"]
    new = transform_rows(model, mask, linear=a)
    expected = model.columns[first_moment("mean")].double() @ a.T
    torch.testing.assert_close(new.columns[first_moment("mean")], expected.float())


def test_a_stretch_starts_the_optimizer_afresh_for_its_rows():
    model = blobs()
    mask = torch.arange(len(model)) < 20
    new = transform_rows(model, mask, linear=STRETCH)
    assert int(new.columns["updates"][mask].abs().max()) == 0
    assert float(new.columns["second.color"][mask].abs().max()) == 0


def test_flattening_is_refused():
    model = blobs(5)
    with pytest.raises(ValueError, match="flatten"):
        transform_rows(model, torch.ones(5, dtype=torch.bool), linear=torch.diag(torch.tensor([1.0, 0.0, 1.0])))


def test_axes_that_hardly_change_stay_where_they_were():
    q, length = orthogonalise_columns(torch.diag(torch.tensor([0.1, 3.0, 1.0], dtype=torch.float64))[None])
    torch.testing.assert_close(q[0], torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(length[0], torch.tensor([0.1, 3.0, 1.0], dtype=torch.float64))


def test_round_blobs_survive_a_stretch():
    model = GaussianModel.create(
        mean=torch.zeros(1, 3),
        log_scale=torch.full((1, 3), math.log(0.1)),
        rotation=torch.tensor([[1.0, 0.0, 0.0, 0.0]]),
        color=torch.zeros(1, 3),
        logit_opacity=torch.zeros(1),
    )
    new = transform_rows(model, torch.ones(1, dtype=torch.bool), linear=STRETCH)
    torch.testing.assert_close(new.scale, torch.tensor([[0.1, 0.05, 0.3]]))


def test_flow_moves_covariances_by_its_jacobian_and_leaves_the_rest():
    model = blobs(50)
    mask = torch.arange(50) < 30
    g = torch.Generator().manual_seed(3)
    gradient = 0.3 * torch.randn(30, 3, 3, generator=g)
    gradient[:10] = 0
    step = torch.rand(30, 3, generator=g)
    new = flow_rows(model, mask, step, gradient)
    jacobian = torch.eye(3, dtype=torch.float64) + gradient.double()
    expected = jacobian @ covariances(model)[:30] @ jacobian.mT
    error = (covariances(new)[:30] - expected).norm(dim=(1, 2)) / expected.norm(dim=(1, 2))
    assert float(error.max()) < COVARIANCE_TOLERANCE
    torch.testing.assert_close(new.mean[:30], model.mean[:30] + step)
    for column in model.columns:
        assert torch.equal(new.columns[column][30:], model.columns[column][30:]), column
    assert torch.equal(new.columns["log_scale"][:10], model.columns["log_scale"][:10])
