"""Adding and removing parts (paper 3.1.1, equation 1): add, remove, keep, duplicate, mirror."""

import torch
from jaxtyping import Bool
from torch import Tensor

from interactive3d.dsl.operations import AddFile, AddShape, Axis, Duplicate, Keep, Mirror, Remove
from interactive3d.runtime.operations.base import Environment
from interactive3d.runtime.operations.common import (
    Applied,
    appended,
    copied,
    counted,
    named,
    pointed,
    refusal,
    selected,
)
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.scene.initial import solid_in_shape
from interactive3d.runtime.scene.selection import bounds, within
from interactive3d.runtime.scene.transforms import axis_rotation, reflection, transform_rows

RIM_SCALES = 3.0
"""Blobs within this many standard deviations (the removed blobs' median, longest axis) of a removed blob are the rim of the hole."""

AXES = {Axis.X: 0, Axis.Y: 1, Axis.Z: 2}


def add_file(operation: AddFile, model: GaussianModel, environment: Environment) -> Applied:
    """Blobs of a file, or of one of its parts, scaled and turned about their box's centre, which is then put at the position."""
    loaded = _load(operation, environment)
    if operation.part is not None:
        if operation.part not in loaded.tag_names:
            known = ", ".join(loaded.tag_names) or "none"
            raise refusal(
                operation, environment, f"{operation.path!r} has no part {operation.part!r}; its parts: {known}"
            )
        loaded = loaded.rows(loaded.tagged(operation.part).nonzero().squeeze(1))
    if len(loaded) == 0:
        raise refusal(operation, environment, f"{operation.path!r} holds no blobs")
    loaded = _placed(loaded, operation)
    loaded = GaussianModel(loaded.columns, tuple(f"{operation.name}.{tag}" for tag in loaded.tag_names))
    try:
        joined, new = appended(model, loaded.to(model.device))
    except ValueError as error:
        raise refusal(operation, environment, error) from error
    joined = named(joined, operation.name, new, operation, environment)
    return joined, new, f"added {counted(len(loaded))} as {operation.name}"


def _load(operation: AddFile, environment: Environment) -> GaussianModel:
    path = environment.folder / operation.path
    try:
        return environment.load_blobs(path)
    except (OSError, ValueError) as error:
        raise refusal(operation, environment, error) from error


def _placed(loaded: GaussianModel, operation: AddFile) -> GaussianModel:
    everything = torch.ones(len(loaded), dtype=torch.bool, device=loaded.device)
    center = bounds(loaded).center
    linear = torch.eye(3, dtype=torch.float64)
    if operation.rotation is not None:
        linear = axis_rotation(operation.rotation.axis, operation.rotation.degrees)
    if operation.scale is not None:
        linear = linear * operation.scale
    if operation.rotation is not None or operation.scale is not None:
        loaded = transform_rows(loaded, everything, linear=linear, about=center)
    if operation.position is not None:
        # The turned blobs have a new box, and it is this one's centre that was asked for.
        now = bounds(loaded).center
        offset = tuple(p - c for p, c in zip(operation.position, now, strict=True))
        loaded = transform_rows(loaded, everything, offset=offset)
    return loaded


def add_shape(operation: AddShape, model: GaussianModel, environment: Environment) -> Applied:
    """Opaque blobs that fill a shape in one colour."""
    if operation.count < 1:
        raise refusal(operation, environment, f"count: expected at least 1, got {operation.count}")
    generator = environment.generator(f"add {operation.name}")
    filled = solid_in_shape(operation.shape, operation.count, operation.color, generator)
    joined, new = appended(model, filled.to(model.device))
    joined = named(joined, operation.name, new, operation, environment)
    return joined, new, f"added {counted(operation.count)} as {operation.name}"


def remove(operation: Remove, model: GaussianModel, environment: Environment) -> Applied:
    """Equation 1: the blobs of the part are gone. The rim of the hole is what a repair looks after."""
    mask = selected(operation.part, operation, model, environment)
    return _without(model, mask, f"removed {counted(int(mask.sum()), len(model))}")


def keep(operation: Keep, model: GaussianModel, environment: Environment) -> Applied:
    """Everything but the part is gone."""
    mask = selected(operation.part, operation, model, environment)
    return _without(model, ~mask, f"kept {counted(int(mask.sum()), len(model))}")


def _without(model: GaussianModel, gone: Bool[Tensor, "n"], message: str) -> Applied:
    left = ~gone
    if not bool(gone.any()):
        return model, left & gone, message
    reach = RIM_SCALES * float(model.scale[gone].amax(-1).median())
    rim = within(model, gone, reach) & left
    return model.rows(left.nonzero().squeeze(1)), rim[left], message


def duplicate(operation: Duplicate, model: GaussianModel, environment: Environment) -> Applied:
    """A copy of the part, moved, under a name of its own."""
    mask = selected(operation.part, operation, model, environment)
    copy = copied(model, mask)
    if operation.by is not None:
        everything = torch.ones(len(copy), dtype=torch.bool, device=copy.device)
        copy = transform_rows(copy, everything, offset=operation.by)
    joined, new = appended(model, copy)
    joined = named(joined, operation.name, new, operation, environment)
    by = "" if operation.by is None else f", moved by {pointed(operation.by)}"
    return joined, new, f"copied {counted(len(copy))} as {operation.name}{by}"


def mirror(operation: Mirror, model: GaussianModel, environment: Environment) -> Applied:
    """The part reflected at a plane; with a name a reflected copy instead."""
    mask = selected(operation.part, operation, model, environment)
    linear = reflection(AXES[operation.axis])
    about = operation.through or (0.0, 0.0, 0.0)
    if operation.name is None:
        model = transform_rows(model, mask, linear=linear, about=about)
        return model, mask, f"mirrored {counted(int(mask.sum()))} across {operation.axis.value}"
    copy = copied(model, mask)
    everything = torch.ones(len(copy), dtype=torch.bool, device=copy.device)
    joined, new = appended(model, transform_rows(copy, everything, linear=linear, about=about))
    joined = named(joined, operation.name, new, operation, environment)
    return joined, new, f"mirrored {counted(len(copy))} across {operation.axis.value} as {operation.name}"
