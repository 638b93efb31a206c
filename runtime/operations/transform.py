"""Geometry transformation of parts (paper 3.1.2, equation 2): move, rotate, stretch. Covariances are transformed too."""

import torch

from interactive3d.dsl.operations import Move, Rotate, Stretch
from interactive3d.runtime.operations.base import Environment
from interactive3d.runtime.operations.common import Applied, counted, pointed, refusal, selected
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.scene.selection import bounds
from interactive3d.runtime.scene.transforms import axis_rotation, transform_rows


def move(operation: Move, model: GaussianModel, environment: Environment) -> Applied:
    """By a vector, or so that the centre of the part's box comes to a point."""
    mask = selected(operation.part, operation, model, environment)
    if operation.by is not None:
        offset = operation.by
    else:
        assert operation.to is not None
        center = bounds(model, mask).center
        offset = tuple(t - c for t, c in zip(operation.to, center, strict=True))  # type: ignore[assignment]
    moved = transform_rows(model, mask, offset=offset)
    return moved, mask, f"moved {counted(int(mask.sum()))} by {pointed(offset)}"


def rotate(operation: Rotate, model: GaussianModel, environment: Environment) -> Applied:
    """About an axis through the centre of the part's own box, unless another point is given."""
    mask = selected(operation.part, operation, model, environment)
    about = operation.through or bounds(model, mask).center
    try:
        linear = axis_rotation(operation.axis, operation.degrees)
    except ValueError as error:
        raise refusal(operation, environment, error) from error
    turned = transform_rows(model, mask, linear=linear, about=about)
    return turned, mask, f"turned {counted(int(mask.sum()))} by {operation.degrees:g} deg about {pointed(about)}"


def stretch(operation: Stretch, model: GaussianModel, environment: Environment) -> Applied:
    """By factors along x, y, z about the centre of the part's own box, unless another point is given."""
    mask = selected(operation.part, operation, model, environment)
    about = operation.about or bounds(model, mask).center
    try:
        stretched = transform_rows(
            model, mask, linear=torch.diag(torch.tensor(operation.by, dtype=torch.float64)), about=about
        )
    except ValueError as error:
        raise refusal(operation, environment, error) from error
    return stretched, mask, f"stretched {counted(int(mask.sum()))} by {pointed(operation.by)} about {pointed(about)}"
