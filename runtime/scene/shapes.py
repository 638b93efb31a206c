"""The language's solids as arithmetic: signed distance, and points drawn evenly from the volume. Scene units, float64.

Membership is ``signed_distance <= 0`` and exact for every shape; as a distance the ellipsoid's value is the usual first-order estimate.
"""

import math
from functools import singledispatch

import torch
from jaxtyping import Float
from torch import Tensor

from interactive3d.dsl.values import Box, Capsule, Cone, Cylinder, Ellipsoid, Shape, Sphere, Torus, Vec3
from interactive3d.runtime.scene.transforms import axis_rotation


def _vector(value: Vec3) -> Float[Tensor, "3"]:
    return torch.tensor(value, dtype=torch.float64)


def _along(points: Tensor, a: Vec3, b: Vec3) -> tuple[Tensor, Tensor, float]:
    """Coordinates along the axis from ``a`` (0 at a, length at b) and away from it, and the length."""
    start, way = _vector(a), _vector(b) - _vector(a)
    length = float(way.norm())
    relative = points - start
    unit = way / length if length > 0 else torch.zeros(3, dtype=torch.float64)
    along = relative @ unit
    across = (relative - along[:, None] * unit).norm(dim=-1)
    return along, across, length


@singledispatch
def _distance(shape: Shape, points: Tensor) -> Tensor:
    raise TypeError(f"signed_distance: unknown shape {type(shape).__name__}")


def signed_distance(shape: Shape, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
    """Distance to the shape's surface, negative inside.

    Raises:
        TypeError: not one of the language's shapes.
    """
    return _distance(shape, points.detach().cpu().double())


@_distance.register
def _(shape: Sphere, points: Tensor) -> Tensor:
    return (points - _vector(shape.center)).norm(dim=-1) - shape.radius


@_distance.register
def _(shape: Box, points: Tensor) -> Tensor:
    over = torch.maximum(_vector(shape.low) - points, points - _vector(shape.high))
    return over.clamp(min=0.0).norm(dim=-1) + over.amax(-1).clamp(max=0.0)


@_distance.register
def _(shape: Ellipsoid, points: Tensor) -> Tensor:
    local = points - _vector(shape.center)
    if shape.rotation is not None:
        local = local @ axis_rotation(shape.rotation.axis, shape.rotation.degrees)
    radii = _vector(shape.radii)
    k0 = (local / radii).norm(dim=-1)
    k1 = (local / radii**2).norm(dim=-1)
    return torch.where(k1 > 0, k0 * (k0 - 1.0) / k1.clamp(min=1e-300), -radii.min())


@_distance.register
def _(shape: Capsule, points: Tensor) -> Tensor:
    along, across, length = _along(points, shape.a, shape.b)
    beyond = along - along.clamp(0.0, length)
    return torch.hypot(beyond, across) - shape.radius


@_distance.register
def _(shape: Cylinder, points: Tensor) -> Tensor:
    along, across, length = _along(points, shape.a, shape.b)
    over = torch.stack([across - shape.radius, (along - length / 2).abs() - length / 2], -1)
    return over.clamp(min=0.0).norm(dim=-1) + over.amax(-1).clamp(max=0.0)


@_distance.register
def _(shape: Cone, points: Tensor) -> Tensor:
    along, across, length = _along(points, shape.a, shape.b)
    slant = math.hypot(shape.radius, length)
    # In the half plane (across, along) the cone is a triangle: the base below, the slanted side from (radius, 0) to (0, length).
    side = (across * length + along * shape.radius - shape.radius * length) / slant
    inside = (side <= 0) & (along >= 0)
    t = ((shape.radius - across) * shape.radius + along * length) / slant**2
    t = t.clamp(0.0, 1.0)
    to_side = torch.hypot(across - shape.radius * (1 - t), along - length * t)
    to_base = torch.hypot((across - shape.radius).clamp(min=0.0), along)
    outside = torch.minimum(to_side, to_base)
    return torch.where(inside, torch.maximum(side, -along), outside)


@_distance.register
def _(shape: Torus, points: Tensor) -> Tensor:
    axis = torch.nn.functional.normalize(_vector(shape.axis), dim=0)
    relative = points - _vector(shape.center)
    height = relative @ axis
    across = (relative - height[:, None] * axis).norm(dim=-1)
    return torch.hypot(across - shape.radius, height) - shape.thickness


def _uniform(generator: torch.Generator, *size: int) -> Tensor:
    return torch.rand(*size, generator=generator, dtype=torch.float64)


def _ball(count: int, generator: torch.Generator) -> Float[Tensor, "n 3"]:
    """Points spread evenly through the unit ball."""
    direction = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator, dtype=torch.float64), dim=-1)
    return direction * _uniform(generator, count, 1) ** (1.0 / 3.0)


def _frame(axis: Tensor) -> Float[Tensor, "3 3"]:
    """Rows: two unit vectors across an axis and the axis itself."""
    unit = torch.nn.functional.normalize(axis, dim=0)
    helper = torch.eye(3, dtype=torch.float64)[int(unit.abs().argmin())]
    first = torch.nn.functional.normalize(torch.linalg.cross(unit, helper), dim=0)
    return torch.stack([first, torch.linalg.cross(unit, first), unit])


def _disc(count: int, radius: float | Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    angle = 2.0 * math.pi * _uniform(generator, count)
    distance = radius * _uniform(generator, count).sqrt()
    return distance * angle.cos(), distance * angle.sin()


@singledispatch
def _sample(shape: Shape, count: int, generator: torch.Generator) -> Tensor:
    raise TypeError(f"sample_in_shape: unknown shape {type(shape).__name__}")


def sample_in_shape(shape: Shape, count: int, generator: torch.Generator) -> Float[Tensor, "n 3"]:
    """``count`` points spread evenly through the shape's volume, float64.

    Raises:
        ValueError: a count below 1.
        TypeError: not one of the language's shapes.
    """
    if count < 1:
        raise ValueError(f"count: expected at least 1, got {count}")
    return _sample(shape, count, generator)


@_sample.register
def _(shape: Sphere, count: int, generator: torch.Generator) -> Tensor:
    return _vector(shape.center) + shape.radius * _ball(count, generator)


@_sample.register
def _(shape: Box, count: int, generator: torch.Generator) -> Tensor:
    low, high = _vector(shape.low), _vector(shape.high)
    return low + (high - low) * _uniform(generator, count, 3)


@_sample.register
def _(shape: Ellipsoid, count: int, generator: torch.Generator) -> Tensor:
    local = _ball(count, generator) * _vector(shape.radii)
    if shape.rotation is not None:
        local = local @ axis_rotation(shape.rotation.axis, shape.rotation.degrees).T
    return _vector(shape.center) + local


@_sample.register
def _(shape: Capsule, count: int, generator: torch.Generator) -> Tensor:
    start, way = _vector(shape.a), _vector(shape.b) - _vector(shape.a)
    length = float(way.norm())
    if length == 0.0:
        return start + shape.radius * _ball(count, generator)
    # The two caps together are one ball; draw where a point lies by volume.
    middle = length / (length + 4.0 / 3.0 * shape.radius)
    in_middle = _uniform(generator, count) < middle
    x, y = _disc(count, shape.radius, generator)
    tube = torch.stack([x, y, length * _uniform(generator, count)], -1)
    cap = shape.radius * _ball(count, generator)
    cap[:, 2] += torch.where(cap[:, 2] > 0, length, 0.0)
    return start + torch.where(in_middle[:, None], tube, cap) @ _frame(way)


@_sample.register
def _(shape: Cylinder, count: int, generator: torch.Generator) -> Tensor:
    way = _vector(shape.b) - _vector(shape.a)
    x, y = _disc(count, shape.radius, generator)
    z = float(way.norm()) * _uniform(generator, count)
    return _vector(shape.a) + torch.stack([x, y, z], -1) @ _frame(way)


@_sample.register
def _(shape: Cone, count: int, generator: torch.Generator) -> Tensor:
    way = _vector(shape.b) - _vector(shape.a)
    share = _uniform(generator, count) ** (1.0 / 3.0)
    x, y = _disc(count, shape.radius * share, generator)
    z = float(way.norm()) * (1.0 - share)
    return _vector(shape.a) + torch.stack([x, y, z], -1) @ _frame(way)


@_sample.register
def _(shape: Torus, count: int, generator: torch.Generator) -> Tensor:
    kept: list[Tensor] = []
    have = 0
    while have < count:
        # A slice of the tube is the wider the farther out it lies; keep points by that share.
        out, up = _disc(2 * count, shape.thickness, generator)
        reach = shape.radius + out
        keep = _uniform(generator, 2 * count) * (shape.radius + shape.thickness) < reach.abs()
        kept.append(torch.stack([reach, up], -1)[keep])
        have += int(keep.sum())
    reach, up = torch.cat(kept)[:count].unbind(-1)
    angle = 2.0 * math.pi * _uniform(generator, count)
    local = torch.stack([reach * angle.cos(), reach * angle.sin(), up], -1)
    return _vector(shape.center) + local @ _frame(_vector(shape.axis))
