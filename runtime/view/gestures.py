"""From a gizmo let go and from a drag to one operation each."""

from dataclasses import dataclass
from enum import Enum

import numpy as np
from jaxtyping import Float

from interactive3d.dsl.operations import Drag, DragMode, EditOperation, Move, PartExpression, Rotate, Stretch, Vec3
from interactive3d.runtime.scene.transforms import axis_rotation
from interactive3d.runtime.view.orbit import Projection
from interactive3d.runtime.view.scene_view import Hit
from interactive3d.runtime.view.selecting import rounded, turn_of

LEAST_MOVE = 1e-4
LEAST_TURN = 0.05
LEAST_STRETCH = 1e-3
LEAST_DRAG = 0.01
"""Below these a gesture was a click; scene units, degrees, a factor, scene units."""


class Tool(Enum):
    """What the left button does in the viewport."""

    ORBIT = "Look"
    CLICK = "Select"
    RECTANGLE = "Rectangle"
    LASSO = "Lasso"
    BRUSH = "Brush"
    COLOR = "Colour"
    SEGMENT = "Segment"
    DRAG = "Drag"


class Gizmo(Enum):
    """What the gizmo on the selection does."""

    NONE = "none"
    MOVE = "Move"
    ROTATE = "Rotate"
    STRETCH = "Stretch"


def gizmo_operation(
    kind: Gizmo, part: PartExpression, pivot: Vec3, matrix: Float[np.ndarray, "4 4"]
) -> tuple[EditOperation, Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]] | None:
    """The operation that a gizmo's matrix means, with the map x -> linear x + offset that it makes after rounding.

    ``matrix`` takes the gizmo from rest, where it stands at the pivot without a turn, to where it was let go. None when hardly moved.
    """
    center = np.asarray(rounded(pivot))
    identity = np.eye(3)
    match kind:
        case Gizmo.MOVE:
            by = rounded(matrix[:3, 3] - np.asarray(pivot))
            if np.linalg.norm(by) < LEAST_MOVE:
                return None
            return Move(part=part, by=by), identity, np.asarray(by)
        case Gizmo.ROTATE:
            turn = turn_of(_orthonormal(matrix[:3, :3]))
            if turn.degrees < LEAST_TURN:
                return None
            linear = axis_rotation(turn.axis, turn.degrees).numpy()
            through = rounded(pivot)
            operation = Rotate(part=part, degrees=turn.degrees, axis=turn.axis, through=through)
            return operation, linear, center - linear @ center
        case Gizmo.STRETCH:
            factors = np.maximum(np.linalg.norm(matrix[:3, :3], axis=0), 0.01)
            by = rounded(factors)
            if np.abs(np.asarray(by) - 1.0).max() < LEAST_STRETCH:
                return None
            linear = np.diag(by)
            return Stretch(part=part, by=by, about=rounded(pivot)), linear, center - linear @ center
    return None


def _orthonormal(turn: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
    u, _, v = np.linalg.svd(turn)
    return u @ np.diag([1.0, 1.0, np.linalg.det(u @ v)]) @ v


@dataclass(frozen=True, kw_only=True)
class Pull:
    """A drag in the making: pressed at the source, pulled in the plane of its depth, which the wheel moves."""

    source: Hit
    x: float
    y: float
    deeper: float = 0.0

    def target(self, projection: Projection) -> Vec3:
        """Where the drag would end, in the world."""
        return rounded(projection.at_depth(self.x, self.y, max(self.source.depth + self.deeper, 0.02)))

    def operation(
        self, projection: Projection, mode: DragMode, radius: float, steps: int | None, part: PartExpression | None
    ) -> Drag | None:
        """The drag, or None when hardly pulled."""
        source, target = rounded(self.source.point), self.target(projection)
        if np.linalg.norm(np.subtract(target, source)) < LEAST_DRAG:
            return None
        return Drag(source=source, target=target, mode=mode, radius=round(radius, 4), steps=steps, part=part)
