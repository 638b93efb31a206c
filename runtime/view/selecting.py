"""From gestures to part expressions, so that whatever is selected on the screen can be written down, replayed and undone.

A rectangle or a lasso is a pyramid with its tip in the eye: its sides are half spaces, written as cylinders so large that only their
flat end matters. A lasso that is not convex is its convex hull without its bays. A brush leaves spheres on the surface.
"""

import math
from collections.abc import Sequence
from enum import Enum

import numpy as np
from jaxtyping import Float

from interactive3d.dsl.operations import (
    AllPart,
    AxisAngle,
    Box,
    Capsule,
    Cone,
    Cylinder,
    DeclaredPart,
    DifferencePart,
    Ellipsoid,
    GrowPart,
    IntersectionPart,
    NamedPart,
    NotPart,
    PartExpression,
    Shape,
    ShapePart,
    Sphere,
    UnionPart,
    Vec3,
)
from interactive3d.runtime.view.orbit import Projection

REACH = 20.0
"""Half spaces end here: ten times as far as any object is large."""

DIGITS = 4
"""Coordinates are rounded to a tenth of a thousandth of a unit, finer than a pixel, so that scripts stay readable."""

MOST_CORNERS = 14
CONFORMAL = 1e-6

Pixels = Float[np.ndarray, "n 2"]
Triple = Sequence[float] | Float[np.ndarray, "3"]


class Combine(Enum):
    """What a new selection does to the one that is there: shift adds, ctrl subtracts, alt intersects."""

    REPLACE = "replace"
    ADD = "add"
    SUBTRACT = "subtract"
    INTERSECT = "intersect"


def combined(old: PartExpression | None, new: PartExpression, how: Combine) -> PartExpression | None:
    """The selection after a gesture; None when nothing can be in it."""
    match how:
        case Combine.REPLACE:
            return new
        case Combine.ADD:
            return new if old is None else UnionPart(left=old, right=new)
        case Combine.SUBTRACT:
            return None if old is None else DifferencePart(left=old, right=new)
        case Combine.INTERSECT:
            return None if old is None else IntersectionPart(left=old, right=new)


def inverted(part: PartExpression | None) -> PartExpression | None:
    """Everything else; nothing selected becomes everything, and the other way round."""
    match part:
        case None:
            return AllPart()
        case AllPart():
            return None
        case NotPart(part=inner):
            return inner
    return NotPart(part=part)


def grown(part: PartExpression, by: float) -> PartExpression:
    """Wider by a distance, or narrower by a negative one; growing and shrinking by the same undo each other in the words."""
    if isinstance(part, GrowPart):
        total = round(part.by + by, DIGITS)
        return part.part if total == 0.0 else GrowPart(part=part.part, by=total)
    return GrowPart(part=part, by=round(by, DIGITS))


def ball(center: Triple, radius: float) -> PartExpression:
    """A sphere."""
    return ShapePart(shape=Sphere(center=_rounded(center), radius=max(round(radius, DIGITS), 10.0**-DIGITS)))


def stroke(points: Sequence[Triple], radius: float) -> PartExpression | None:
    """The union of a brush's dabs; None without any."""
    part: PartExpression | None = None
    for point in points:
        part = ball(point, radius) if part is None else UnionPart(left=part, right=ball(point, radius))
    return part


def half_space(through: Triple, normal: Triple) -> PartExpression:
    """Everything on the side of a plane that its unit normal points to."""
    a = np.asarray(through, np.float64)
    b = a + REACH * np.asarray(normal, np.float64)
    return ShapePart(shape=Cylinder(a=_rounded(a), b=_rounded(b), radius=REACH))


def rectangle(projection: Projection, a: Sequence[float], b: Sequence[float]) -> PartExpression | None:
    """Everything seen inside a rectangle given by two corners in pixels; None for an empty one."""
    (x0, x1), (y0, y1) = sorted((a[0], b[0])), sorted((a[1], b[1]))
    return lasso(projection, [(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


def lasso(projection: Projection, outline: Sequence[Sequence[float]]) -> PartExpression | None:
    """Everything seen inside an outline in pixels; None for one without area."""
    polygon = simplified(np.asarray(outline, np.float64), MOST_CORNERS)
    if len(polygon) < 3 or abs(area(polygon)) < 4.0:
        return None
    return _inside(projection, polygon, depth=0)


def up_to_depth(part: PartExpression, projection: Projection, depth: float) -> PartExpression:
    """Only what is nearer to the camera than a depth."""
    forward = projection.ray(projection.width / 2.0, projection.height / 2.0)
    at = np.array(projection.camera.position) + depth * forward
    return IntersectionPart(left=part, right=half_space(at, -forward))


# Outlines.


def area(polygon: Pixels) -> float:
    """Signed, square pixels."""
    x, y = polygon.T
    return 0.5 * float(x @ np.roll(y, -1) - y @ np.roll(x, -1))


def simplified(outline: Pixels, most: int) -> Pixels:
    """An outline with at most so many corners: those are dropped first whose loss changes the area least (Visvalingam 1993)."""
    kept = [p for i, p in enumerate(outline) if i == 0 or np.abs(p - outline[i - 1]).max() > 0.5]
    while len(kept) > 3:
        points = np.array(kept)
        before, after = np.roll(points, 1, axis=0), np.roll(points, -1, axis=0)
        u, v = before - points, after - points
        loss = 0.5 * np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0])
        least = int(loss.argmin())
        if len(kept) <= most and loss[least] > 1.0:
            break
        kept.pop(least)
    return np.array(kept).reshape(-1, 2)


def hull_rows(polygon: Pixels) -> list[int]:
    """Rows of the convex hull's corners, counter-clockwise where y points up (Andrew's monotone chain)."""
    order = sorted(range(len(polygon)), key=lambda i: tuple(polygon[i]))

    def chain(rows: list[int]) -> list[int]:
        out: list[int] = []
        for row in rows:
            while len(out) > 1 and _turn(polygon[out[-2]], polygon[out[-1]], polygon[row]) <= 0:
                out.pop()
            out.append(row)
        return out[:-1]

    return chain(order) + chain(order[::-1])


def _turn(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
    return float((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))


def _inside(projection: Projection, polygon: Pixels, depth: int) -> PartExpression:
    """A polygon as its hull without its bays, each of which is a polygon again."""
    rows = hull_rows(polygon)
    part = _convex(projection, polygon[rows])
    if len(rows) == len(polygon) or depth > 3:
        return part
    corners = sorted(rows)
    for start, end in zip(corners, [*corners[1:], corners[0] + len(polygon)], strict=True):
        bay = polygon[np.arange(start, end + 1) % len(polygon)]
        if len(bay) > 2 and abs(area(bay)) > 4.0:
            part = DifferencePart(left=part, right=_inside(projection, bay, depth + 1))
    return part


def _convex(projection: Projection, corners: Pixels) -> PartExpression:
    eye = np.array(projection.camera.position)
    target = np.array(projection.camera.target)
    middle = projection.ray(*corners.mean(axis=0))
    part: PartExpression | None = None
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        normal = np.cross(projection.ray(*a), projection.ray(*b))
        normal /= np.linalg.norm(normal)
        normal *= 1.0 if normal @ middle > 0 else -1.0
        side = half_space(target - normal * (normal @ (target - eye)), normal)
        part = side if part is None else IntersectionPart(left=part, right=side)
    assert part is not None
    return part


# Selections follow what is done to them.


def transformed(part: PartExpression, linear: Float[np.ndarray, "3 3"], offset: Triple) -> PartExpression | None:
    """The part under x -> linear x + offset; None where the language has no words for the result.

    Names and colours stay with their blobs however they move.
    """
    shift = np.asarray(offset, np.float64)
    match part:
        case AllPart() | NamedPart():
            return part
        case ShapePart(shape=shape):
            moved = _moved_shape(shape, linear, shift)
            return None if moved is None else ShapePart(shape=moved)
        case (
            UnionPart(left=left, right=right)
            | DifferencePart(left=left, right=right)
            | IntersectionPart(left=left, right=right)
        ):
            a, b = transformed(left, linear, shift), transformed(right, linear, shift)
            return None if a is None or b is None else type(part)(left=a, right=b)
        case NotPart(part=inner):
            a = transformed(inner, linear, shift)
            return None if a is None else NotPart(part=a)
        case DeclaredPart(part=inner):
            return transformed(inner, linear, shift)
        case GrowPart(part=inner, by=by):
            a, factor = transformed(inner, linear, shift), _even_scale(linear)
            return None if a is None or factor is None else GrowPart(part=a, by=round(by * factor, DIGITS))
    return None


def _even_scale(linear: np.ndarray) -> float | None:
    """The factor of a rotation times an even scaling; None for anything else."""
    gram = linear.T @ linear
    factor = math.sqrt(max(float(np.trace(gram)) / 3.0, 0.0))
    even = float(np.abs(gram - factor**2 * np.eye(3)).max()) < CONFORMAL * max(factor**2, 1e-12)
    return factor if even and factor > 0 else None


def _moved_shape(shape: Shape, linear: np.ndarray, shift: np.ndarray) -> Shape | None:
    def move(p: Triple) -> Vec3:
        return _rounded(linear @ np.asarray(p) + shift)

    factor = _even_scale(linear)
    straight = float(np.abs(linear - np.diag(np.diag(linear))).max()) < CONFORMAL
    match shape:
        case Cylinder(a=a, b=b, radius=r) if r >= REACH:
            # A half space: its plane is carried along, its size is not.
            start = linear @ np.asarray(a) + shift
            normal = np.linalg.solve(linear.T, np.asarray(b) - np.asarray(a))
            return Cylinder(a=_rounded(start), b=_rounded(start + REACH * normal / np.linalg.norm(normal)), radius=r)
        case Sphere(center=c, radius=r) if factor is not None:
            return Sphere(center=move(c), radius=round(r * factor, DIGITS))
        case Sphere(center=c, radius=r) if straight:
            return Ellipsoid(center=move(c), radii=_rounded(np.abs(np.diag(linear)) * r))
        case Ellipsoid(center=c, radii=radii, rotation=None) if straight:
            return Ellipsoid(center=move(c), radii=_rounded(np.abs(np.diag(linear)) * np.asarray(radii)))
        case Box(low=low, high=high) if straight and (np.diag(linear) > 0).all():
            return Box(low=move(low), high=move(high))
        case Capsule(a=a, b=b, radius=r) | Cylinder(a=a, b=b, radius=r) | Cone(a=a, b=b, radius=r) if (
            factor is not None
        ):
            return type(shape)(a=move(a), b=move(b), radius=round(r * factor, DIGITS))
    return None


def _rounded(point: Triple) -> Vec3:
    # Adding zero turns -0.0 into 0.0, which reads better.
    x, y, z = (round(float(v), DIGITS) + 0.0 for v in point)
    return x, y, z


def rounded(point: Triple) -> Vec3:
    """A point with the digits that scripts made by the window have."""
    return _rounded(point)


def turn_of(linear: Float[np.ndarray, "3 3"]) -> AxisAngle:
    """Axis and angle (0 .. 180 degrees) of a rotation matrix."""
    cosine = min(max((float(np.trace(linear)) - 1.0) / 2.0, -1.0), 1.0)
    angle = math.acos(cosine)
    axis = np.array([linear[2, 1] - linear[1, 2], linear[0, 2] - linear[2, 0], linear[1, 0] - linear[0, 1]], np.float64)
    if np.linalg.norm(axis) < 1e-6:
        # Half a turn: the axis is the largest column of R + 1.
        both = linear + np.eye(3)
        axis = both[:, int(np.linalg.norm(both, axis=0).argmax())]
    axis = axis / np.linalg.norm(axis)
    return AxisAngle(axis=_rounded(axis), degrees=round(math.degrees(angle), 2))
