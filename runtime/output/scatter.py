"""Evenly spread subsets of points on a surface: neither clumps nor holes, so that blobs of one size cover it."""

import numpy as np
from jaxtyping import Float, Int

# More candidate pairs than this (crumpled or many-layered surfaces) and plain random points must do.
MAX_PAIRS = 20_000_000
# Half of the neighbouring columns of cells; the other half meets the same pairs from the other side.
_FORWARD = np.array([(0, 0), (0, 1), (1, -1), (1, 0), (1, 1)])


def even_subset(
    points: Float[np.ndarray, "m 3"], normals: Float[np.ndarray, "m 3"], count: int, spacing: float
) -> Int[np.ndarray, "n"]:
    """Indices of ``count`` points with nearly the largest mutual distance that dart throwing finds (Poisson disk sampling).

    ``points`` are in random order and lie on a surface where ``count`` points would be ``spacing`` apart; several times ``count`` of
    them give the choice. Points on sides that face away from each other do not compete, so thin sheets keep both sides.
    """
    total = len(points)
    if total <= count:
        return np.arange(total)
    pairs = _close_pairs(points, normals, 0.95 * spacing)
    if pairs is None:
        return np.arange(count)
    first, second, distance = pairs
    low, high = 0.3 * spacing, 0.95 * spacing
    chosen = np.arange(total)
    for _ in range(8):
        radius = 0.5 * (low + high)
        near = distance < radius
        accepted = _first_come(total, first[near], second[near])
        if len(accepted) >= count:
            low, chosen = radius, accepted
        else:
            high = radius
    return chosen[:count]


def _first_come(total: int, first: Int[np.ndarray, "k"], second: Int[np.ndarray, "k"]) -> Int[np.ndarray, "a"]:
    """Each point in order is accepted unless an accepted earlier one is its neighbour; ``first < second`` in every pair."""
    open_ = np.ones(total, dtype=bool)
    accepted = np.zeros(total, dtype=bool)
    while open_.any():
        live = open_[first] & open_[second]
        first, second = first[live], second[live]
        waits = np.zeros(total, dtype=bool)
        waits[second] = True
        now = open_ & ~waits
        accepted |= now
        open_ &= ~now
        open_[second[now[first]]] = False
    return np.flatnonzero(accepted)


def _close_pairs(
    points: np.ndarray, normals: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Pairs (i < j) nearer than ``radius`` whose normals agree, with their distances; None when there are too many to look at."""
    low = points.min(axis=0)
    # At most a million cells along an axis, so that a cell's number fits 64 bits.
    side = max(radius, float((points - low).max()) / 1e6)
    cells = ((points - low) / side).astype(np.int64) + 1
    width = cells.max(axis=0) + 2
    strides = np.array([width[1] * width[2], width[2], 1])
    keys = cells @ strides
    order = np.argsort(keys, kind="stable")
    keys, points, normals = keys[order], points[order], normals[order]
    place = np.arange(len(points))
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    looked = 0
    for offset in _FORWARD @ strides[:2]:
        # Three cells that differ in z alone have neighbouring numbers: one stretch of the sorted points.
        begin = np.searchsorted(keys, keys + (offset - 1), "left") if offset else place + 1
        lengths = np.searchsorted(keys, keys + (offset + 1), "right") - begin
        looked += int(lengths.sum())
        if looked > MAX_PAIRS:
            return None
        i = np.repeat(place, lengths)
        j = np.repeat(begin - (np.cumsum(lengths) - lengths), lengths) + np.arange(len(i))
        distance = np.sqrt(((points[i] - points[j]) ** 2).sum(-1))
        keep = (distance < radius) & ((normals[i] * normals[j]).sum(-1) > 0.0)
        i, j = order[i[keep]], order[j[keep]]
        found.append((np.minimum(i, j), np.maximum(i, j), distance[keep]))
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))  # type: ignore[return-value]
