"""Where shapes are, as far as that is known before the run: enough to prove that two regions overlap."""

import math
from collections.abc import Iterator
from itertools import product
from typing import Any

from interactive3d.dsl import values as v

# Points per axis when a common point of two regions is looked for.
_GRID = 13


def _sub(a: v.Vec3, b: v.Vec3) -> v.Vec3:
    return (a[0] - b[0], a[1] - b[1], a[2] - b[2])


def _dot(a: v.Vec3, b: v.Vec3) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _turned_back(point: v.Vec3, turn: v.AxisAngle) -> v.Vec3:
    """Rodrigues' formula with the opposite angle."""
    size = math.hypot(*turn.axis)
    k = (turn.axis[0] / size, turn.axis[1] / size, turn.axis[2] / size)
    cosine, sine = math.cos(math.radians(-turn.degrees)), math.sin(math.radians(-turn.degrees))
    cross = (
        k[1] * point[2] - k[2] * point[1],
        k[2] * point[0] - k[0] * point[2],
        k[0] * point[1] - k[1] * point[0],
    )
    along = _dot(k, point) * (1 - cosine)
    return (
        point[0] * cosine + cross[0] * sine + k[0] * along,
        point[1] * cosine + cross[1] * sine + k[1] * along,
        point[2] * cosine + cross[2] * sine + k[2] * along,
    )


def _in_shape(shape: v.Shape, point: v.Vec3) -> bool:
    match shape:
        case v.Sphere():
            return math.dist(point, shape.center) <= shape.radius
        case v.Box():
            return all(low <= p <= high for low, p, high in zip(shape.low, point, shape.high, strict=True))
        case v.Ellipsoid():
            local = _sub(point, shape.center)
            if shape.rotation is not None:
                local = _turned_back(local, shape.rotation)
            return sum((p / r) ** 2 for p, r in zip(local, shape.radii, strict=True)) <= 1
        case v.Torus():
            local = _sub(point, shape.center)
            height = _dot(local, shape.axis) / math.hypot(*shape.axis)
            ring = math.sqrt(max(_dot(local, local) - height * height, 0.0)) - shape.radius
            return math.hypot(ring, height) <= shape.thickness
        case v.Capsule() | v.Cylinder() | v.Cone():
            along = _sub(shape.b, shape.a)
            t = _dot(_sub(point, shape.a), along) / _dot(along, along)
            if not isinstance(shape, v.Capsule) and not 0 <= t <= 1:
                return False
            held = min(max(t, 0.0), 1.0)
            on_axis = (shape.a[0] + along[0] * held, shape.a[1] + along[1] * held, shape.a[2] + along[2] * held)
            radius = shape.radius * (1 - held) if isinstance(shape, v.Cone) else shape.radius
            return math.dist(point, on_axis) <= radius


def contains(part: v.PartExpression, point: v.Vec3) -> bool | None:
    """Whether a part holds a point; None where only the run can say."""
    match part:
        case v.DeclaredPart():
            return contains(part.part, point)
        case v.ShapePart():
            return _in_shape(part.shape, point)
        case v.AllPart():
            return True
        case v.UnionPart():
            sides = (contains(part.left, point), contains(part.right, point))
            return True if True in sides else None if None in sides else False
        case v.IntersectionPart():
            sides = (contains(part.left, point), contains(part.right, point))
            return False if False in sides else None if None in sides else True
        case v.DifferencePart():
            left, right = contains(part.left, point), contains(part.right, point)
            if left is False or right is True:
                return False
            return None if left is None or right is None else True
        case v.NotPart():
            inner = contains(part.part, point)
            return None if inner is None else not inner
        case v.GrowPart():
            # Growing never loses a point, shrinking never gains one.
            inner = contains(part.part, point)
            return inner if (part.by >= 0) == (inner is True) else None
        case _:
            return None


def _boxes(shape: v.Shape) -> tuple[v.Vec3, v.Vec3]:
    match shape:
        case v.Box():
            return shape.low, shape.high
        case v.Sphere():
            low = high = shape.center
            reach = shape.radius
        case v.Ellipsoid():
            low = high = shape.center
            reach = max(shape.radii)
        case v.Torus():
            low = high = shape.center
            reach = shape.radius + shape.thickness
        case v.Capsule() | v.Cylinder() | v.Cone():
            low = (min(shape.a[0], shape.b[0]), min(shape.a[1], shape.b[1]), min(shape.a[2], shape.b[2]))
            high = (max(shape.a[0], shape.b[0]), max(shape.a[1], shape.b[1]), max(shape.a[2], shape.b[2]))
            reach = shape.radius
    return (low[0] - reach, low[1] - reach, low[2] - reach), (high[0] + reach, high[1] + reach, high[2] + reach)


def _shapes(part: Any) -> Iterator[v.Shape]:
    match part:
        case v.ShapePart():
            yield part.shape
        case v.DeclaredPart() | v.NotPart() | v.GrowPart():
            yield from _shapes(part.part)
        case v.UnionPart() | v.DifferencePart() | v.IntersectionPart():
            yield from _shapes(part.left)
            yield from _shapes(part.right)


def common_point(a: v.PartExpression, b: v.PartExpression) -> v.Vec3 | None:
    """A point that both certainly hold, None when none was found on a grid over each shape."""
    for shape in (*_shapes(a), *_shapes(b)):
        low, high = _boxes(shape)
        ticks = [[a0 + (a1 - a0) * i / (_GRID - 1) for i in range(_GRID)] for a0, a1 in zip(low, high, strict=True)]
        for x, y, z in product(*ticks):
            point = (x, y, z)
            if contains(a, point) and contains(b, point):
                return point
    return None
