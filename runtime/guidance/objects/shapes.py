"""Shapes: a kind and a seed become a list of signed-distance primitives in the unit sphere. numpy only.

World: y up, the front faces +z, the object's left is +x. A shape is normalised to a bounding sphere of radius 0.8 about the origin.
Every primitive has a rigid frame, a smooth-union radius, a part slot (1..15, `words.Part.slot`) and a group: groups form a tree of
body parts, each with a pivot, which `deform` turns and moves.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np

from interactive3d.runtime.guidance.objects.words import KINDS, OPTIONS

ELLIPSOID, ROUND_CONE, BOX, TORUS, CONE, TRIANGLE = range(6)
ADD, PAINT, CARVE = range(3)
RADIUS = 0.8
"""Bounding radius of a normalised shape, scene units."""

# Columns of a primitive's row.
TYPE, OP, SLOT, GROUP, BLEND = range(5)
CENTRE = slice(5, 8)
FRAME = slice(8, 17)  # world-to-local rotation, by rows
SIZE = slice(17, 22)  # lengths in local axes, by type; see `Body`
BOUND = slice(22, 26)  # bounding sphere: centre and radius
COLUMNS = 26
# How many of the SIZE columns are lengths: all of them.

Point = Sequence[float]


@dataclass(frozen=True)
class Group:
    """A body part that can be turned or moved as one: its parent's index (-1 for the root) and the point where it is attached."""

    name: str
    parent: int
    pivot: tuple[float, float, float]


@dataclass(frozen=True)
class Warp:
    """A smooth map from the seen object to the stored primitives: stretch, then bend about z or x, then twist about y.

    Angles in radians per scene unit; `stretch` are factors by which the seen object is longer.
    """

    stretch: tuple[float, float, float] = (1.0, 1.0, 1.0)
    bend: float = 0.0
    bend_sideways: bool = True
    twist: float = 0.0

    def row(self) -> np.ndarray:
        """(6,) float32 for the kernels."""
        return np.array([*self.stretch, self.bend, float(self.bend_sideways), self.twist], np.float32)


@dataclass(frozen=True)
class Shape:
    """An object without colours.

    `primitives` is (n, 26) float32, `groups` the tree of its parts, `options` those other than the defaults, `stripe_axis` the world
    axis along which stripes alternate, `reach` a radius about the origin that contains everything.
    """

    kind: str
    seed: int
    options: tuple[str, ...]
    primitives: np.ndarray
    groups: tuple[Group, ...]
    stripe_axis: int
    reach: float = RADIUS
    warp: Warp = field(default_factory=Warp)
    deformed: bool = False


def rotation(x: float = 0.0, y: float = 0.0, z: float = 0.0) -> np.ndarray:
    """(3, 3) local-to-world rotation from degrees about x, then y, then z."""
    rx, ry, rz = np.radians([x, y, z])
    cx, sx, cy, sy, cz, sz = np.cos(rx), np.sin(rx), np.cos(ry), np.sin(ry), np.cos(rz), np.sin(rz)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def _frame_along(direction: np.ndarray) -> np.ndarray:
    """Local-to-world rotation whose local y is `direction`."""
    y = direction / max(float(np.linalg.norm(direction)), 1e-9)
    helper = np.array([0.0, 0.0, 1.0]) if abs(y[2]) < 0.9 else np.array([1.0, 0.0, 0.0])
    x = np.cross(y, helper)
    x /= np.linalg.norm(x)
    return np.stack([x, y, np.cross(x, y)], axis=1)


_FLIP = np.array([-1.0, 1.0, 1.0])


class Body:
    """Collects the primitives of one object. Lengths are free; `make_shape` normalises them afterwards.

    `k` is the radius of the smooth union with what was added before; `op` adds, paints (changes only the slot of the surface inside)
    or carves. Inside a group with `mirror`, everything is added on both sides (x and -x).
    """

    def __init__(self, rng: np.random.Generator, variation: float, options: frozenset[str]) -> None:
        self.rng, self.variation, self.options = rng, variation, options
        self.rows: list[np.ndarray] = []
        self.groups: list[Group] = [Group("body", -1, (0.0, 0.0, 0.0))]
        self._group, self._twin = 0, -1
        self.stripe_axis = 1

    def v(self, value: float, strength: float = 1.0) -> float:
        """`value` with a modest random factor."""
        return value * (1.0 + 0.35 * self.variation * strength * float(self.rng.uniform(-1, 1)))

    def has(self, option: str) -> bool:
        return option in self.options

    @contextmanager
    def group(self, name: str, pivot: Point, mirror: bool = False, parent: str = "body") -> Iterator[None]:
        """A named part attached at `pivot`; with `mirror` also its twin at -x, as a part of its own."""
        at = next(i for i, g in enumerate(self.groups) if g.name == parent)
        before = self._group, self._twin
        x, y, z = (float(c) for c in pivot)
        self.groups.append(Group(name, at, (x, y, z)))
        self._group, self._twin = len(self.groups) - 1, -1
        if mirror:
            twin_parent = next((i for i, g in enumerate(self.groups) if g.name == f"{parent} right"), at)
            self.groups.append(Group(f"{name} right", twin_parent, (-x, y, z)))
            self._twin = len(self.groups) - 1
        yield
        self._group, self._twin = before

    def _add(self, kind: int, centre: np.ndarray, frame: np.ndarray, size: Point, slot: int, k: float, op: int) -> None:
        for group, flip in ((self._group, False), (self._twin, True)):
            if group < 0:
                continue
            row = np.zeros(COLUMNS)
            row[[TYPE, OP, SLOT, GROUP, BLEND]] = kind, op, slot, group, k
            turned = frame * _FLIP[:, None] * _FLIP[None, :] if flip else frame
            row[CENTRE] = centre * _FLIP if flip else centre
            row[FRAME] = turned.T.reshape(-1)
            row[17 : 17 + len(size)] = size
            self.rows.append(row)

    def ell(
        self, c: Point, r: Point | float, slot: int = 1, k: float = 0.04, rot: Point = (0, 0, 0), op: int = ADD
    ) -> None:
        """Ellipsoid of radii `r` (three, or one for a sphere)."""
        radii = (r, r, r) if isinstance(r, (int, float)) else r
        self._add(ELLIPSOID, np.array(c, float), rotation(*rot), radii, slot, k, op)

    def limb(self, a: Point, b: Point, ra: float, rb: float, slot: int = 1, k: float = 0.04, op: int = ADD) -> None:
        """Round cone from `a` to `b`."""
        start, end = np.array(a, float), np.array(b, float)
        length = float(np.linalg.norm(end - start))
        self._add(ROUND_CONE, start, _frame_along(end - start), (length, ra, rb), slot, k, op)

    def chain(self, points: Sequence[Point], radii: Sequence[float], slot: int = 1, k: float = 0.03) -> None:
        """Round cones through `points`: a tail, a neck, a trunk."""
        for i in range(len(points) - 1):
            self.limb(points[i], points[i + 1], radii[i], radii[i + 1], slot, k)

    def box(
        self,
        c: Point,
        half: Point,
        slot: int = 1,
        k: float = 0.0,
        rot: Point = (0, 0, 0),
        rnd: float = 0.02,
        op: int = ADD,
    ) -> None:
        """Box of half extents `half`, edges rounded by `rnd` within them."""
        self._add(BOX, np.array(c, float), rotation(*rot), (*half, min(rnd, 0.9 * min(half))), slot, k, op)

    def torus(self, c: Point, big: float, small: float, slot: int = 1, k: float = 0.0, rot: Point = (0, 0, 0)) -> None:
        """Torus about its local y."""
        self._add(TORUS, np.array(c, float), rotation(*rot), (big, small), slot, k, ADD)

    def cone(
        self, a: Point, b: Point, ra: float, rb: float, slot: int = 1, k: float = 0.0, rnd: float = 0.01, op: int = ADD
    ) -> None:
        """Truncated cone or cylinder with flat ends at `a` and `b`, rounded by `rnd`."""
        start, end = np.array(a, float), np.array(b, float)
        half = float(np.linalg.norm(end - start)) / 2
        size = (half, ra, rb, min(rnd, 0.9 * half))
        self._add(CONE, (start + end) / 2, _frame_along(end - start), size, slot, k, op)

    def tri(
        self,
        a: Point,
        b: Point,
        c: Point,
        thick: float,
        slot: int = 1,
        k: float = 0.0,
        depth: float = 0.0,
        op: int = ADD,
    ) -> None:
        """Triangle rounded by `thick`, extruded by `depth` to both sides: membranes, fins, gables."""
        pa, pb, pc = (np.array(p, float) for p in (a, b, c))
        for group, flip in ((self._group, False), (self._twin, True)):
            if group < 0:
                continue
            qa, qb, qc = (p * _FLIP if flip else p for p in (pa, pb, pc))
            x = (qb - qa) / np.linalg.norm(qb - qa)
            z = np.cross(x, qc - qa)
            z /= np.linalg.norm(z)
            y = np.cross(z, x)
            size = (float(np.linalg.norm(qb - qa)), float((qc - qa) @ x), float((qc - qa) @ y), thick, depth)
            held = self._group, self._twin
            self._group, self._twin = group, -1
            self._add(TRIANGLE, qa, np.stack([x, y, z], axis=1), size, slot, k, op)
            self._group, self._twin = held


def _extent_points(row: np.ndarray) -> np.ndarray:
    """Points (m, 4) = centre and radius of balls that together contain the primitive."""
    frame = row[FRAME].reshape(3, 3).T
    centre, s = row[CENTRE], row[SIZE]
    kind = int(row[TYPE])
    if kind == ELLIPSOID:
        small = float(s[:3].min())
        ends = np.concatenate([np.diag(s[:3] - small), -np.diag(s[:3] - small)])
        return np.concatenate([centre + ends @ frame.T, np.full((6, 1), small)], axis=1)
    if kind == ROUND_CONE:
        tip = centre + frame[:, 1] * s[0]
        return np.array([[*centre, s[1]], [*tip, s[2]]])
    if kind == BOX:
        corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * (s[:3] - s[3])
        return np.concatenate([centre + corners @ frame.T, np.full((8, 1), s[3])], axis=1)
    if kind == TORUS:
        angles = np.linspace(0, 2 * np.pi, 8, endpoint=False)
        ring = np.stack([np.cos(angles), np.zeros(8), np.sin(angles)], axis=1) * s[0]
        return np.concatenate([centre + ring @ frame.T, np.full((8, 1), s[1] + 0.08 * s[0])], axis=1)
    if kind == CONE:
        angles = np.linspace(0, 2 * np.pi, 8, endpoint=False)
        circle = np.stack([np.cos(angles), np.zeros(8), np.sin(angles)], axis=1)
        up = np.array([0, s[0], 0])
        rims = np.concatenate([circle * s[1] - up, circle * s[2] + up])
        return np.concatenate([centre + rims @ frame.T, np.full((16, 1), 0.01)], axis=1)
    corners = np.array(
        [[0, 0, z] for z in (-1, 1)] + [[s[0], 0, z] for z in (-1, 1)] + [[s[1], s[2], z] for z in (-1, 1)]
    )
    corners = corners * np.array([1, 1, s[4]])
    return np.concatenate([centre + corners @ frame.T, np.full((6, 1), s[3])], axis=1)


def bounding_ball(points: np.ndarray, steps: int = 60) -> tuple[np.ndarray, float]:
    """Nearly smallest ball around balls (m, 4) = centre, radius (Badoiu and Clarkson's iteration)."""
    centre = points[:, :3].mean(axis=0)
    for step in range(1, steps + 1):
        distance = np.linalg.norm(points[:, :3] - centre, axis=1) + points[:, 3]
        centre = centre + (points[int(distance.argmax()), :3] - centre) / (step + 1)
    return centre, float((np.linalg.norm(points[:, :3] - centre, axis=1) + points[:, 3]).max())


def update_bounds(rows: np.ndarray) -> np.ndarray:
    """Fills every row's bounding sphere, in place."""
    for row in rows:
        points = _extent_points(row)
        centre = (points[:, :3].max(axis=0) + points[:, :3].min(axis=0)) / 2
        row[22:25] = centre
        row[25] = (np.linalg.norm(points[:, :3] - centre, axis=1) + points[:, 3]).max()
    return rows


def all_extent_points(rows: np.ndarray) -> np.ndarray:
    """Balls (m, 4) that contain all added primitives."""
    return np.concatenate([_extent_points(row) for row in rows if row[OP] == ADD])


def rescale(shape: Shape, centre: np.ndarray, factor: float) -> Shape:
    """The shape moved by -centre and then scaled about the origin."""
    rows = shape.primitives.astype(np.float64)
    rows[:, CENTRE] = (rows[:, CENTRE] - centre) * factor
    rows[:, SIZE] *= factor
    rows[:, BLEND] *= factor

    def moved(pivot: tuple[float, float, float]) -> tuple[float, float, float]:
        x, y, z = (float(c) for c in (np.array(pivot) - centre) * factor)
        return x, y, z

    groups = tuple(replace(g, pivot=moved(g.pivot)) for g in shape.groups)
    return replace(shape, primitives=update_bounds(rows).astype(np.float32), groups=groups)


@cache
def _makers() -> dict[str, Callable[[Body], None]]:
    from interactive3d.runtime.guidance.objects import kinds_animals, kinds_people, kinds_pets, kinds_things

    makers: dict[str, Callable[[Body], None]] = {
        **kinds_animals.MAKERS,
        **kinds_pets.MAKERS,
        **kinds_people.MAKERS,
        **kinds_things.MAKERS,
    }
    missing = set(KINDS) ^ set(makers)
    if missing:
        raise ValueError(f"kinds without a maker, or makers without a kind: {sorted(missing)}")
    return makers


def draw_options(kind: str, rng: np.random.Generator, fraction: float = 0.4) -> tuple[str, ...]:
    """Random options of the kind; each group leaves its default with probability `fraction`."""
    chosen = [str(rng.choice(group[1:])) for group in OPTIONS[kind] if len(group) > 1 and rng.random() < fraction]
    if "wingless" in chosen:  # a wing pose means nothing without wings
        chosen = [option for option in chosen if not option.endswith("wings")]
    return tuple(chosen)


def make_shape(kind: str, seed: int, options: Sequence[str] | None = None, variation: float = 0.35) -> Shape:
    """The object of this kind and seed, normalised.

    Args:
        kind: one of `words.KINDS`.
        seed: settles the proportions, and the options when they are not given.
        options: options other than the defaults (`words.OPTIONS`), or None to draw them.
        variation: strength of the random proportions; 0 gives the kind's mean.

    Raises:
        ValueError: unknown kind or option.
    """
    if kind not in OPTIONS:
        raise ValueError(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}")
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    chosen = draw_options(kind, rng) if options is None else tuple(options)
    known = {option for group in OPTIONS[kind] for option in group}
    if unknown := sorted(set(chosen) - known):
        raise ValueError(f"options: a {kind} knows {sorted(known - {''})}, got {unknown}")
    kept = tuple(option for group in OPTIONS[kind] for option in group[1:] if option in chosen)
    body = Body(rng, variation, frozenset(kept))
    _makers()[kind](body)
    shape = Shape(kind, seed, kept, np.stack(body.rows), tuple(body.groups), body.stripe_axis)
    centre, radius = bounding_ball(all_extent_points(shape.primitives))
    return rescale(shape, centre, RADIUS / radius)
