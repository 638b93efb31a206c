"""Edits in three dimensions that no caption describes, so that a prior learns to respect what a user does to an object."""

from dataclasses import replace

import numpy as np

from interactive3d.runtime.guidance.objects.shapes import (
    ADD,
    BLEND,
    BOX,
    CENTRE,
    COLUMNS,
    ELLIPSOID,
    FRAME,
    GROUP,
    OP,
    RADIUS,
    ROUND_CONE,
    SIZE,
    SLOT,
    TYPE,
    Shape,
    Warp,
    all_extent_points,
    rescale,
    rotation,
    update_bounds,
)

MAX_TURN = 80.0
LARGEST = 0.95
"""A deformed shape may reach further than a whole one, but stays inside the scene's cube."""


def subtree(shape: Shape, group: int) -> set[int]:
    """The group and everything attached to it."""
    found = {group}
    for index, item in enumerate(shape.groups):  # parents come before their children
        if item.parent in found:
            found.add(index)
    return found


def _rows_of(shape: Shape, rows: np.ndarray, group: int) -> np.ndarray:
    return np.isin(rows[:, GROUP].astype(int), list(subtree(shape, group)))


def transform(
    rows: np.ndarray, chosen: np.ndarray, pivot: np.ndarray, turn: np.ndarray, scale: float, move: np.ndarray
) -> None:
    """Turns, scales about `pivot` and moves the chosen rows, in place. `turn` is (3, 3) local to world."""
    part = rows[chosen]
    part[:, CENTRE] = ((part[:, CENTRE] - pivot) * scale) @ turn.T + pivot + move
    frames = part[:, FRAME].reshape(-1, 3, 3)
    part[:, FRAME] = (frames @ turn.T).reshape(-1, 9)
    part[:, SIZE] *= scale
    part[:, BLEND] *= scale
    rows[chosen] = part


def stretch(rows: np.ndarray, chosen: np.ndarray, pivot: np.ndarray, direction: np.ndarray, factor: float) -> None:
    """Lengthens the chosen rows along a direction: positions exactly, ellipsoids, boxes and cones along their nearest own axis."""
    part = rows[chosen]
    along = (part[:, CENTRE] - pivot) @ direction
    part[:, CENTRE] += np.outer(along * (factor - 1), direction)
    for row in part:
        local = row[FRAME].reshape(3, 3) @ direction
        kind = int(row[TYPE])
        if kind in (ELLIPSOID, BOX):
            row[17 + int(np.abs(local).argmax())] *= factor
        elif kind == ROUND_CONE:
            axis = row[FRAME].reshape(3, 3)[1]
            tip = axis * row[17]
            tip = tip + direction * (tip @ direction) * (factor - 1)
            length = float(np.linalg.norm(tip))
            if length > 1e-6:
                y = tip / length
                x = np.cross(y, [0.31, 0.17, 0.93])
                x /= np.linalg.norm(x)
                row[FRAME] = np.stack([x, y, np.cross(x, y)]).reshape(-1)
                row[17] = length
        else:
            row[SIZE] *= 0.5 + 0.5 * factor
    rows[chosen] = part


def _random_turn(rng: np.random.Generator, largest: float) -> np.ndarray:
    axis = rng.normal(size=3)
    axis /= np.linalg.norm(axis)
    angle = np.radians(rng.uniform(0.3, 1.0) * largest)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def _foreign(rng: np.random.Generator, rows: np.ndarray) -> np.ndarray:
    """A blob, stick or block somewhere on the object, in one of its own slots."""
    added = rows[rows[:, OP] == ADD]
    host = added[rng.integers(len(added))]
    away = rng.normal(size=3)
    away /= np.linalg.norm(away)
    row = np.zeros(COLUMNS)
    row[TYPE] = rng.choice((ELLIPSOID, ROUND_CONE, BOX))
    row[SLOT], row[GROUP], row[BLEND] = rng.choice(added[:, SLOT]), host[GROUP], 0.03
    row[CENTRE] = host[22:25] + away * host[25] * 0.7
    row[FRAME] = rotation(*rng.uniform(0, 360, 3)).reshape(-1)
    sizes = rng.uniform(0.06, 0.22, 3)
    row[17:20] = (rng.uniform(0.15, 0.4), *rng.uniform(0.04, 0.1, 2)) if row[TYPE] == ROUND_CONE else sizes
    row[20] = 0.02 if row[TYPE] == BOX else 0.0
    return row


def _edit_part(shape: Shape, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One edit of one part; gives back the rows (fewer when the part is removed)."""
    parts = range(1, len(shape.groups))
    group = int(rng.choice(list(parts)))
    chosen = _rows_of(shape, rows, group)
    if not chosen.any():
        return rows
    pivot = np.array(shape.groups[group].pivot)
    act = rng.choice(("turn", "move", "scale", "stretch", "remove"), p=(0.38, 0.17, 0.13, 0.17, 0.15))
    if act == "remove":
        left = rows[~chosen]
        return left if (left[:, OP] == ADD).sum() >= max(2, 0.3 * len(rows)) else rows
    if act == "turn":
        transform(rows, chosen, pivot, _random_turn(rng, MAX_TURN), 1.0, np.zeros(3))
    elif act == "move":
        transform(rows, chosen, pivot, np.eye(3), 1.0, rng.normal(size=3) * 0.12)
    elif act == "scale":
        transform(rows, chosen, pivot, np.eye(3), float(np.exp(rng.uniform(-0.5, 0.5))), np.zeros(3))
    else:
        middle = rows[chosen][:, CENTRE].mean(axis=0) - pivot
        if np.linalg.norm(middle) < 0.03:
            middle = rng.normal(size=3)
        stretch(rows, chosen, pivot, middle / np.linalg.norm(middle), float(rng.uniform(0.6, 1.9)))
    return rows


def deform(shape: Shape, seed: int) -> Shape:
    """The shape after one to three edits: parts turned by up to 80 degrees, moved, scaled, stretched or removed, a foreign piece
    added, the whole stretched, bent or twisted. Deterministic from the seed; fits the scene's cube."""
    rng = np.random.default_rng([seed, shape.seed, 77])
    rows = shape.primitives.astype(np.float64)
    warp = Warp()
    whole = rng.random() < 0.4
    edits = int(rng.integers(1, 4)) if not whole else int(rng.integers(0, 2))
    if len(shape.groups) > 1:
        for _ in range(edits):
            rows = _edit_part(shape, rows, rng)
    if rng.random() < 0.15:
        rows = np.concatenate([rows, _foreign(rng, rows)[None]])
    if whole or len(shape.groups) == 1:
        factors = tuple(float(f) for f in np.exp(rng.uniform(-0.25, 0.25, 3)))
        bend = float(rng.uniform(0.3, 0.9) * rng.choice((-1, 1))) if rng.random() < 0.6 else 0.0
        twist = float(rng.uniform(0.4, 1.2) * rng.choice((-1, 1))) if rng.random() < 0.4 else 0.0
        warp = Warp(factors, bend, bool(rng.random() < 0.5), twist)  # type: ignore[arg-type]
    edited = replace(shape, primitives=update_bounds(rows).astype(np.float32), deformed=True)
    return _fit(edited, warp)


def _fit(shape: Shape, warp: Warp) -> Shape:
    points = all_extent_points(shape.primitives.astype(np.float64))
    # Bends and twists about the origin keep the distance to it; stretches change it by at most their largest factor.
    reach = float((np.linalg.norm(points[:, :3], axis=1) + points[:, 3]).max()) * max(warp.stretch)
    if reach > LARGEST:
        shape = rescale(shape, np.zeros(3), LARGEST / reach)
        reach = LARGEST
    return replace(shape, warp=warp, reach=max(reach, 0.5 * RADIUS))
