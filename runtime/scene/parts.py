"""Part expressions evaluated on blobs: a query becomes a mask (paper 3.1.1, the set I(P) of equation 1).

A part is asked anew whenever an operation begins, so blobs born meanwhile belong to it where its words say so.
"""

from functools import singledispatch

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interactive3d.dsl.values import (
    AllPart,
    Box,
    Capsule,
    ClickPart,
    ColorPart,
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
    SegmentPart,
    ShapePart,
    Sphere,
    Torus,
    UnionPart,
)
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.scene.selection import distances_to_set, within
from interactive3d.runtime.scene.shapes import signed_distance

COLOR_TOLERANCE = 0.25
"""Distance in RGB of `color C` without `within`: about a seventh of the cube's diagonal, so shades of a colour belong to it."""

NEAREST_SHOWN = 3


class PartError(ValueError):
    """A part that cannot be evaluated or holds no blob. The message says what was asked, what is there and what to do."""


@singledispatch
def _members(part: PartExpression, model: GaussianModel) -> Tensor:
    raise TypeError(f"part: unknown expression {type(part).__name__}")


def part_mask(part: PartExpression, model: GaussianModel) -> Bool[Tensor, "n"]:
    """Rows of the blobs whose mean is in the part; may be empty.

    Raises:
        PartError: a name that nothing in the scene carries, a click that hits nothing, or a text without a segmenter.
    """
    return _members(part, model)


def select(part: PartExpression, model: GaussianModel) -> Bool[Tensor, "n"]:
    """``part_mask``, but an empty part is an error that names the nearest blobs.

    Raises:
        PartError: no blob is in the part, or see ``part_mask``.
    """
    mask = part_mask(part, model)
    if not bool(mask.any()):
        raise PartError(explain_empty(part, model))
    return mask


@_members.register
def _(part: ShapePart, model: GaussianModel) -> Tensor:
    return (signed_distance(part.shape, model.mean) <= 0.0).to(model.device)


@_members.register
def _(part: NamedPart, model: GaussianModel) -> Tensor:
    if part.name not in model.tag_names:
        known = ", ".join(model.tag_names) if model.tag_names else "none yet"
        raise PartError(
            f"no blobs are called {part.name!r}; names in the scene: {known}. `add … as {part.name}` gives a name"
        )
    return model.tagged(part.name)


@_members.register
def _(part: AllPart, model: GaussianModel) -> Tensor:
    return torch.ones(len(model), dtype=torch.bool, device=model.device)


@_members.register
def _(part: ColorPart, model: GaussianModel) -> Tensor:
    return _color_distance(part, model) <= (COLOR_TOLERANCE if part.tolerance is None else part.tolerance)


@_members.register
def _(part: ClickPart, model: GaussianModel) -> Tensor:
    # Pictures and segmentation are only loaded where somebody clicks.
    from interactive3d.runtime.scene.clicks import clicked

    return clicked(part, model)


@_members.register
def _(part: SegmentPart, model: GaussianModel) -> Tensor:
    from interactive3d.runtime.scene.clicks import named_by

    return named_by(part, model)


@_members.register
def _(part: UnionPart, model: GaussianModel) -> Tensor:
    return part_mask(part.left, model) | part_mask(part.right, model)


@_members.register
def _(part: DifferencePart, model: GaussianModel) -> Tensor:
    return part_mask(part.left, model) & ~part_mask(part.right, model)


@_members.register
def _(part: IntersectionPart, model: GaussianModel) -> Tensor:
    return part_mask(part.left, model) & part_mask(part.right, model)


@_members.register
def _(part: NotPart, model: GaussianModel) -> Tensor:
    return ~part_mask(part.part, model)


@_members.register
def _(part: GrowPart, model: GaussianModel) -> Tensor:
    return within(model, part_mask(part.part, model), part.by)


@_members.register
def _(part: DeclaredPart, model: GaussianModel) -> Tensor:
    return part_mask(part.part, model)


def _color_distance(part: ColorPart, model: GaussianModel) -> Float[Tensor, "n"]:
    return (model.color - torch.tensor(part.color, device=model.device)).norm(dim=-1)


# What to say when nothing was found.


def _point(values: "tuple[float, ...] | list[float]") -> str:
    return "(" + ", ".join(f"{v:.3g}" for v in values) + ")"


def describe_part(part: PartExpression) -> str:
    """The part in few words for a message: its declared name where it has one."""
    match part:
        case DeclaredPart(name=name):
            return f"part {name}"
        case NamedPart(name=name):
            return f"{name!r}"
        case AllPart():
            return "all"
        case ColorPart(color=color):
            return f"color {_point(color)}"
        case ClickPart(clicks=clicks):
            return f"click {', '.join(f'({c.x:g}, {c.y:g})' for c in clicks)}"
        case SegmentPart(text=text):
            return f'segment "{text}"'
        case UnionPart(left=left, right=right):
            return f"({describe_part(left)} + {describe_part(right)})"
        case DifferencePart(left=left, right=right):
            return f"({describe_part(left)} - {describe_part(right)})"
        case IntersectionPart(left=left, right=right):
            return f"({describe_part(left)} & {describe_part(right)})"
        case NotPart(part=inner):
            return f"not {describe_part(inner)}"
        case GrowPart(part=inner, by=by):
            return f"{describe_part(inner)} grow {by:g}"
        case ShapePart(shape=shape):
            return _describe_shape(shape)
    raise TypeError(f"part: unknown expression {type(part).__name__}")


def _describe_shape(shape: object) -> str:
    match shape:
        case Sphere(center=c, radius=r):
            return f"sphere at {_point(c)} radius {r:g}"
        case Box(low=low, high=high):
            return f"box {_point(low)} .. {_point(high)}"
        case Ellipsoid(center=c, radii=radii):
            return f"ellipsoid at {_point(c)} radii {_point(radii)}"
        case Capsule(a=a, b=b, radius=r) | Cylinder(a=a, b=b, radius=r) | Cone(a=a, b=b, radius=r):
            return f"{type(shape).__name__.lower()} from {_point(a)} to {_point(b)} radius {r:g}"
        case Torus(center=c, radius=r):
            return f"torus at {_point(c)} radius {r:g}"
    raise TypeError(f"shape: unknown kind {type(shape).__name__}")


def nearest_blobs(part: PartExpression, model: GaussianModel) -> list[tuple[float, tuple[float, ...]]]:
    """Up to three blobs nearest to the part in space, as (distance, position); empty where the part has no place of its own."""
    gap = _gap(part, model)
    if gap is None or len(model) == 0:
        return []
    order = torch.argsort(gap, stable=True)[:NEAREST_SHOWN].tolist()
    return [(float(gap[i]), tuple(model.mean[i].tolist())) for i in order]


def _gap(part: PartExpression, model: GaussianModel) -> Float[Tensor, "n"] | None:
    """How far each blob is from the part; None for what has no place, such as a colour."""
    match part:
        case ShapePart(shape=shape):
            return signed_distance(shape, model.mean).clamp(min=0.0)
        case DeclaredPart(part=inner) | GrowPart(part=inner):
            return _gap(inner, model)
        case NamedPart():
            mask = model.tagged(part.name).cpu()
            return distances_to_set(model.mean.cpu(), model.mean.cpu()[mask])[0] if bool(mask.any()) else None
        case UnionPart(left=left, right=right):
            return _combine(_gap(left, model), _gap(right, model), torch.minimum)
        case IntersectionPart(left=left, right=right):
            return _combine(_gap(left, model), _gap(right, model), torch.maximum)
        case DifferencePart(left=left):
            return _gap(left, model)
    return None


def _combine(a: Tensor | None, b: Tensor | None, how) -> Tensor | None:
    if a is None or b is None:
        return b if a is None else a
    return how(a, b)


def explain_empty(part: PartExpression, model: GaussianModel) -> str:
    """Why a part holds no blob, with the nearest blobs."""
    told = f"{describe_part(part)} holds none of the {len(model)} blobs"
    if len(model) == 0:
        return "the scene holds no blobs at all; `add` some first"
    core = part
    while isinstance(core, DeclaredPart | GrowPart):
        core = core.part
    if isinstance(core, ColorPart):
        distance = _color_distance(core, model)
        best = int(distance.argmin())
        limit = COLOR_TOLERANCE if core.tolerance is None else core.tolerance
        return (
            f"{told}; the nearest colour is {_point(model.color[best].tolist())}, {float(distance[best]):.3g} away where "
            f"{limit:g} is allowed; widen it with `within {float(distance[best]) * 1.2:.2g}`"
        )
    if isinstance(core, IntersectionPart | DifferencePart):
        left, right = int(part_mask(core.left, model).sum()), int(part_mask(core.right, model).sum())
        told += f" ({describe_part(core.left)} holds {left}, {describe_part(core.right)} holds {right})"
    near = nearest_blobs(part, model)
    if near:
        listed = "; ".join(f"{_point(position)}, {distance:.3g} away" for distance, position in near)
        told += f"; the nearest are at {listed}"
    return told
