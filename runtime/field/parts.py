"""Parts of the language as places in space: what a refined region covers (paper equation 8, and any other part).

Shapes mean their own solids. Parts that only blobs can answer for (names, colours, clicks) mean the space near the blobs that the field
was distilled from.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interactive3d.dsl.values import (
    AllPart,
    DeclaredPart,
    DifferencePart,
    IntersectionPart,
    NotPart,
    PartExpression,
    ShapePart,
    Sphere,
    UnionPart,
)
from interactive3d.runtime.field.refine import box_around, sphere_box
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.scene.parts import part_mask
from interactive3d.runtime.scene.shapes import signed_distance

REACH = 0.06
"""Scene units around a blob that belong to it: about the cell of a 32^3 grid."""
SEARCH = 64  # cells a side of the grid on which a part's extent is looked up

Inside = Callable[[Float[Tensor, "n 3"]], Bool[Tensor, " n"]]


def inside_part(part: PartExpression, model: GaussianModel) -> Inside:
    """A function that tells which points lie in the part. Raises PartError where blobs cannot answer either."""
    match part:
        case DeclaredPart(part=inner):
            return inside_part(inner, model)
        case ShapePart(shape=shape):
            return lambda points: signed_distance(shape, points) <= 0
        case AllPart():
            return lambda points: torch.ones(len(points), dtype=torch.bool)
        case UnionPart(left=left, right=right):
            a, b = inside_part(left, model), inside_part(right, model)
            return lambda points: a(points) | b(points)
        case DifferencePart(left=left, right=right):
            a, b = inside_part(left, model), inside_part(right, model)
            return lambda points: a(points) & ~b(points)
        case IntersectionPart(left=left, right=right):
            a, b = inside_part(left, model), inside_part(right, model)
            return lambda points: a(points) & b(points)
        case NotPart(part=inner):
            a = inside_part(inner, model)
            return lambda points: ~a(points)
    return near_blobs(model.mean[part_mask(part, model)])


def near_blobs(centers: Float[Tensor, "m 3"]) -> Inside:
    """Points within REACH of any of these."""

    def inside(points: Float[Tensor, "n 3"]) -> Bool[Tensor, " n"]:
        from scipy.spatial import cKDTree

        if len(centers) == 0:
            return torch.zeros(len(points), dtype=torch.bool)
        distance, _ = cKDTree(centers.cpu().numpy()).query(points.cpu().numpy(), distance_upper_bound=REACH)
        return torch.from_numpy(distance <= REACH)

    return inside


def part_box(part: PartExpression, inside: Inside) -> Float[Tensor, "8"]:
    """The box of a region: a ball's own, else the cube around the part within the scene's cube.

    Raises:
        ValueError: the part has no extent there.
    """
    inner = part
    while isinstance(inner, DeclaredPart):
        inner = inner.part
    if isinstance(inner, ShapePart) and isinstance(inner.shape, Sphere):
        return sphere_box(inner.shape.center, inner.shape.radius)
    axis = (torch.arange(SEARCH) + 0.5) / SEARCH * 2 - 1
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    points = torch.stack([x, y, z], dim=-1).reshape(-1, 3)
    found = points[inside(points)]
    if len(found) == 0:
        raise ValueError("the part covers nothing of the scene's cube, or is smaller than a 64th of it")
    half = 1.0 / SEARCH
    return box_around((found.amin(0) - half).tolist(), (found.amax(0) + half).tolist())
