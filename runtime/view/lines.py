"""Lines over and under the object: the grid, axes, wire shapes, arrows. Widths are pixels, colours straight RGBA in 0 .. 1."""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import moderngl
import numpy as np
from jaxtyping import Float

from interactive3d.dsl.operations import (
    Box,
    Capsule,
    Cone,
    Cylinder,
    DeclaredPart,
    DifferencePart,
    Ellipsoid,
    GrowPart,
    IntersectionPart,
    PartExpression,
    Shape,
    ShapePart,
    Sphere,
    Torus,
    UnionPart,
)
from interactive3d.runtime.scene.transforms import axis_rotation
from interactive3d.runtime.view.orbit import Projection
from interactive3d.runtime.view.programs import Programs, set_uniforms

Rgba = tuple[float, float, float, float]
Points = Float[np.ndarray, "n 3"]

CIRCLE = 48
GRID_HALF = 10
GRID_STEP = 0.2
AXIS_COLORS: tuple[Rgba, ...] = ((0.90, 0.25, 0.28, 0.9), (0.45, 0.75, 0.25, 0.9), (0.25, 0.50, 0.95, 0.9))
FARTHEST_WIRE = 3.0
"""A shape reaching farther than this is a half space made by a selection, and its wires would say nothing."""


@dataclass
class LineBatch:
    """Segments gathered for one drawing."""

    rows: list[np.ndarray] = field(default_factory=list)

    def segments(self, starts: Points, ends: Points, color: Rgba, width: float) -> None:
        """As many segments as there are rows."""
        count = len(starts)
        block = np.empty((count, 11), np.float32)
        block[:, 0:3], block[:, 3:6], block[:, 6:10], block[:, 10] = starts, ends, color, width
        self.rows.append(block)

    def path(self, points: Points, color: Rgba, width: float, closed: bool = False) -> None:
        """A chain of segments."""
        points = np.asarray(points, np.float64)
        ends = np.roll(points, -1, axis=0) if closed else points[1:]
        self.segments(points if closed else points[:-1], ends, color, width)

    def table(self) -> Float[np.ndarray, "n 11"]:
        """Everything gathered so far."""
        return np.concatenate(self.rows) if self.rows else np.zeros((0, 11), np.float32)


class LineRenderer:
    """Draws batches into the bound framebuffer."""

    def __init__(self, context: moderngl.Context, programs: Programs) -> None:
        self.context = context
        self.programs = programs
        self._buffer: moderngl.Buffer | None = None
        self._array: moderngl.VertexArray | None = None
        self._generation = -1

    def draw(self, batch: LineBatch, projection: Projection, scale: float = 1.0) -> None:
        """Draw over what is there; ``scale`` widens the lines where pixels are small."""
        table = batch.table()
        if scale != 1.0:
            table = table.copy()
            table[:, 10] *= scale
        if not len(table):
            return
        program = self.programs.get("line")
        if self._buffer is None or self._buffer.size < table.nbytes or self._generation != self.programs.generation:
            if self._buffer is not None:
                self._buffer.release()
            self._buffer = self.context.buffer(reserve=max(2 * table.nbytes, 4096), dynamic=True)
            self._array = self.context.vertex_array(
                program, [(self._buffer, "3f 3f 4f 1f/i", "from", "to", "hue", "width")], skip_errors=True
            )
            self._generation = self.programs.generation
        self._buffer.write(table)
        size = (float(projection.width), float(projection.height))
        set_uniforms(program, world_to_clip=tuple(projection.world_to_clip().T.reshape(-1)), size=size)
        self.context.disable(moderngl.DEPTH_TEST | moderngl.CULL_FACE)
        self.context.enable(moderngl.BLEND)
        self.context.blend_func = moderngl.ONE, moderngl.ONE_MINUS_SRC_ALPHA
        assert self._array is not None
        self._array.render(moderngl.TRIANGLE_STRIP, vertices=4, instances=len(table))


# What is drawn.


def add_grid(batch: LineBatch, height: float, color: tuple[float, float, float]) -> None:
    """A floor at y = ``height``: every fifth line stronger, fading towards the rim."""
    reach = GRID_HALF * GRID_STEP
    pieces = 8
    for i in range(-GRID_HALF, GRID_HALF + 1):
        strength = 0.34 if i % 5 == 0 else 0.16
        ticks = np.linspace(-reach, reach, pieces + 1)
        for a, b in itertools.pairwise(ticks):
            middle = 0.5 * (a + b)
            fade = max(0.0, 1.0 - math.hypot(middle, i * GRID_STEP) / reach)
            if fade <= 0.02:
                continue
            shade = (*color, strength * fade)
            x = i * GRID_STEP
            starts = np.array([[x, height, a], [a, height, x]])
            ends = np.array([[x, height, b], [b, height, x]])
            batch.segments(starts, ends, shade, 1.0)


def add_axes(batch: LineBatch, height: float, length: float = 0.5) -> None:
    """x red, y green, z blue, from the floor's middle."""
    origin = np.array([[0.0, height, 0.0]])
    for axis, color in enumerate(AXIS_COLORS):
        end = origin.copy()
        end[0, axis] += length
        batch.segments(origin, end, color, 2.0)


def add_arrow(
    batch: LineBatch, start: Sequence[float], end: Sequence[float], projection: Projection, color: Rgba
) -> None:
    """An arrow whose head keeps its size on the screen."""
    a, b = np.asarray(start, np.float64), np.asarray(end, np.float64)
    batch.segments(a[None], b[None], color, 3.0)
    along = b - a
    length = float(np.linalg.norm(along))
    if length < 1e-9:
        return
    along /= length
    to_eye = np.asarray(projection.camera.position) - b
    side = np.cross(along, to_eye)
    if np.linalg.norm(side) < 1e-9:
        return
    side /= np.linalg.norm(side)
    size = min(14.0 * max(projection.depth_of(tuple(b)), 0.05) / projection.focal, 0.5 * length)
    tips = b + size * (-along + np.array([[0.5], [-0.5]]) * side)
    batch.segments(np.repeat(b[None], 2, 0), tips, color, 3.0)


def add_part(batch: LineBatch, part: PartExpression, color: Rgba, width: float = 1.5) -> None:
    """Wires of every shape in a part expression; what has no shape is left out, and so are half spaces."""
    match part:
        case ShapePart(shape=shape):
            add_shape(batch, shape, color, width)
        case UnionPart(left=left, right=right) | IntersectionPart(left=left, right=right):
            add_part(batch, left, color, width)
            add_part(batch, right, color, width)
        case DifferencePart(left=left):
            add_part(batch, left, color, width)
        case GrowPart(part=inner) | DeclaredPart(part=inner):
            add_part(batch, inner, color, width)


def add_shape(batch: LineBatch, shape: Shape, color: Rgba, width: float = 1.5) -> None:
    """A shape's wires."""
    loops = list(_loops(shape))
    if loops and max(float(np.abs(loop).max()) for loop, _ in loops) > FARTHEST_WIRE:
        return
    for loop, closed in loops:
        batch.path(loop, color, width, closed=closed)


def _circle(center: Sequence[float] | np.ndarray, u: Points, v: Points) -> Points:
    angle = np.linspace(0.0, 2.0 * math.pi, CIRCLE, endpoint=False)[:, None]
    return np.asarray(center) + np.cos(angle) * u + np.sin(angle) * v


def _frame(axis: Float[np.ndarray, "3"]) -> tuple[np.ndarray, np.ndarray]:
    """Two unit vectors square to an axis."""
    axis = axis / max(float(np.linalg.norm(axis)), 1e-12)
    helper = np.eye(3)[int(np.abs(axis).argmin())]
    u = np.cross(axis, helper)
    u /= np.linalg.norm(u)
    return u, np.cross(axis, u)


def _loops(shape: Shape) -> Iterable[tuple[Points, bool]]:
    match shape:
        case Sphere(center=c, radius=r):
            x, y, z = r * np.eye(3)
            yield from ((_circle(c, a, b), True) for a, b in ((x, y), (y, z), (z, x)))
        case Ellipsoid(center=c, radii=radii, rotation=turn):
            axes = np.diag(radii)
            if turn is not None:
                axes = axes @ axis_rotation(turn.axis, turn.degrees).numpy().T
            x, y, z = axes
            yield from ((_circle(c, a, b), True) for a, b in ((x, y), (y, z), (z, x)))
        case Box(low=low, high=high):
            yield from _box_loops(np.asarray(low), np.asarray(high))
        case Capsule(a=a, b=b, radius=r) | Cylinder(a=a, b=b, radius=r):
            start, end = np.asarray(a), np.asarray(b)
            u, v = _frame(end - start)
            yield _circle(a, r * u, r * v), True
            yield _circle(b, r * u, r * v), True
            for side in (u, -u, v, -v):
                yield np.stack([start + r * side, end + r * side]), False
            if isinstance(shape, Capsule):
                along = r * (end - start) / max(float(np.linalg.norm(end - start)), 1e-12)
                yield _circle(a, r * u, along), True
                yield _circle(b, r * v, along), True
        case Cone(a=a, b=b, radius=r):
            u, v = _frame(np.asarray(b) - np.asarray(a))
            yield _circle(a, r * u, r * v), True
            for side in (u, -u, v, -v):
                yield np.stack([np.asarray(a) + r * side, np.asarray(b)]), False
        case Torus(center=c, radius=r, thickness=t, axis=axis):
            u, v = _frame(np.asarray(axis, np.float64))
            n = np.cross(u, v)
            yield _circle(c, (r + t) * u, (r + t) * v), True
            yield _circle(c, (r - t) * u, (r - t) * v), True
            for side in (u, -u, v, -v):
                yield _circle(np.asarray(c) + r * side, t * side, t * n), True


def _box_loops(low: np.ndarray, high: np.ndarray) -> Iterable[tuple[Points, bool]]:
    for y in (low[1], high[1]):
        corners = ((low[0], low[2]), (high[0], low[2]), (high[0], high[2]), (low[0], high[2]))
        yield np.array([[x, y, z] for x, z in corners]), True
    for x in (low[0], high[0]):
        for z in (low[2], high[2]):
            yield np.array([[x, low[1], z], [x, high[1], z]]), False
