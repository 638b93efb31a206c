"""Facts about sets of blobs: boxes, balls, neighbours. A set is a boolean mask with one entry per blob."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interactive3d.runtime.scene.camera import Vec3
from interactive3d.runtime.scene.gaussians import GaussianModel

CHUNK = 4096
"""Rows of a distance matrix held at once: 4096 x 20,000 float32 are 330 MB at the most."""

FAINT = 0.02
"""Blobs below this opacity are seen by nobody and do not stretch a part's ball."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """The axis-aligned box of a set's means and the ball about its centre that holds them. Scene units."""

    low: Vec3
    high: Vec3
    center: Vec3
    radius: float


def as_vec3(value: Float[Tensor, "3"]) -> Vec3:
    """Three Python floats."""
    x, y, z = (float(v) for v in value)
    return x, y, z


def bounds(model: GaussianModel, mask: Bool[Tensor, "n"] | None = None) -> Bounds:
    """Box and ball of the blobs of ``mask`` (all when None).

    Raises:
        ValueError: no blob is in it.
    """
    points = model.mean if mask is None else model.mean[mask]
    if points.shape[0] == 0:
        raise ValueError("bounds: expected at least one blob, got an empty set")
    low, high = points.amin(0), points.amax(0)
    center = (low.double() + high.double()) / 2
    radius = float((points.double() - center).norm(dim=-1).max())
    return Bounds(low=as_vec3(low), high=as_vec3(high), center=as_vec3(center), radius=radius)


def centroid(model: GaussianModel, mask: Bool[Tensor, "n"]) -> Float[Tensor, "3"]:
    """Mean position of a set, float64."""
    return model.mean[mask].double().mean(0)


def scene_radius(model: GaussianModel) -> float:
    """Radius of the ball about the centre of the scene's box; 0 for an empty scene. Scene units."""
    return bounds(model).radius if len(model) else 0.0


def visible_ball(model: GaussianModel, mask: Bool[Tensor, "n"]) -> tuple[Vec3, float]:
    """Centre and radius of what can be seen of a set: its box widened by two standard deviations, faint blobs left out."""
    seen = mask & (model.opacity > FAINT)
    seen = seen if bool(seen.any()) else mask
    box = bounds(model, seen)
    return box.center, box.radius + 2.0 * float(model.scale[seen].amax(-1).median())


def distances_to_set(
    points: Float[Tensor, "m 3"], others: Float[Tensor, "k 3"]
) -> tuple[Float[Tensor, "m"], Int[Tensor, "m"]]:
    """For each point the distance to the nearest of ``others`` and which one it is (the first of equals)."""
    if others.shape[0] == 0:
        return torch.full((points.shape[0],), math.inf), torch.zeros(points.shape[0], dtype=torch.int64)
    found = [_exact_distances(chunk, others).min(dim=1) for chunk in points.split(CHUNK)]
    return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])


def _exact_distances(a: Tensor, b: Tensor) -> Tensor:
    # The matrix-product shortcut loses half the digits and depends on the blocking of the product.
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def within(model: GaussianModel, mask: Bool[Tensor, "n"], distance: float) -> Bool[Tensor, "n"]:
    """The set and every blob within ``distance`` of one of its blobs; a negative distance takes off every blob that lies within it of
    a blob outside the set."""
    if distance == 0.0 or not bool(mask.any()) or bool(mask.all()):
        return mask.clone()
    if distance < 0.0:
        return mask & ~within(model, ~mask, -distance)
    rest = ~mask
    # Only what lies in the widened box can be near enough.
    low, high = model.mean[mask].amin(0) - distance, model.mean[mask].amax(0) + distance
    rest &= ((model.mean >= low) & (model.mean <= high)).all(-1)
    nearest, _ = distances_to_set(model.mean[rest], model.mean[mask])
    grown = mask.clone()
    grown[rest] = nearest <= distance
    return grown


def nearest_neighbours(points: Float[Tensor, "m 3"], count: int) -> tuple[Float[Tensor, "m k"], Int[Tensor, "m k"]]:
    """Distances to and indices of each point's ``count`` nearest other points (fewer where there are fewer), nearest first."""
    k = min(count, points.shape[0] - 1)
    if k <= 0:
        return points.new_zeros(points.shape[0], 0), torch.zeros(points.shape[0], 0, dtype=torch.int64)
    lengths, indices = [], []
    for start in range(0, points.shape[0], CHUNK):
        table = _exact_distances(points[start : start + CHUNK], points)
        rows = torch.arange(table.shape[0])
        table[rows, rows + start] = math.inf
        found = table.topk(k, dim=1, largest=False, sorted=True)
        lengths.append(found.values)
        indices.append(found.indices)
    return torch.cat(lengths), torch.cat(indices)
