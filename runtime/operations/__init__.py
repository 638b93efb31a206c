"""What each operation of the language does to the scene: one file for each interaction of the paper.

The engine calls four functions: ``apply_edit`` for what changes blobs at once, ``start_term`` for what acts over a window of steps,
``repair_after`` for the repair that follows an interaction by default, ``restore_term`` for a term that a snapshot has kept.
"""

from collections.abc import Callable, Mapping

from jaxtyping import Bool
from torch import Tensor

from interactive3d.dsl.operations import (
    AddFile,
    AddShape,
    Densify,
    Drag,
    DragMode,
    Duplicate,
    Edit,
    EditOperation,
    Freeze,
    Keep,
    Mirror,
    Move,
    Operation,
    Paint,
    Prune,
    Remove,
    Repair,
    Rotate,
    Stretch,
    TermOperation,
    Thaw,
)
from interactive3d.runtime.operations.add_remove import add_file, add_shape, duplicate, keep, mirror, remove
from interactive3d.runtime.operations.appearance import freeze, paint, thaw
from interactive3d.runtime.operations.base import Environment, Focus, GuidanceWish, OperationRefused, Term
from interactive3d.runtime.operations.common import Applied
from interactive3d.runtime.operations.drag import DeformableDrag, RigidDrag, start_drag
from interactive3d.runtime.operations.growth import densify_part, prune_part
from interactive3d.runtime.operations.repair import RepairTerm, repair_after, start_repair
from interactive3d.runtime.operations.semantic_edit import EditTerm, start_edit
from interactive3d.runtime.operations.transform import move, rotate, stretch
from interactive3d.runtime.scene.gaussians import GaussianModel

__all__ = [
    "Environment",
    "Focus",
    "GuidanceWish",
    "OperationRefused",
    "Term",
    "apply_edit",
    "repair_after",
    "restore_term",
    "start_term",
]

EDITS: Mapping[type[EditOperation], Callable[..., Applied]] = {
    AddFile: add_file,
    AddShape: add_shape,
    Remove: remove,
    Keep: keep,
    Duplicate: duplicate,
    Mirror: mirror,
    Move: move,
    Rotate: rotate,
    Stretch: stretch,
    Paint: paint,
    Freeze: freeze,
    Thaw: thaw,
    Densify: densify_part,
    Prune: prune_part,
}


def apply_edit(operation: EditOperation, model: GaussianModel, environment: Environment) -> Applied:
    """The new blobs, the rows of it that a repair should look after, and what was done in words.

    Rows: None for the whole object, an empty mask for nothing to repair. Rows that the operation does not concern keep every bit.

    Raises:
        OperationRefused: it cannot be carried out; nothing has changed.
        TypeError: not an edit of stage I.
    """
    if type(operation) not in EDITS:
        raise TypeError(f"apply_edit: expected an edit of stage I, got {type(operation).__name__}")
    return EDITS[type(operation)](operation, model, environment)


def start_term(
    operation: TermOperation,
    key: str,
    model: GaussianModel,
    environment: Environment,
    touched: Bool[Tensor, "n"] | None = None,
) -> tuple[Term, GaussianModel]:
    """A term that begins at ``environment.step``, and the blobs with what it pins to them.

    ``key`` must be unique among the run's terms. ``touched`` is for the repair that follows an interaction: the rows it changed.

    Raises:
        OperationRefused: it cannot be carried out; nothing has changed.
        TypeError: not a term of stage I that acts on blobs.
    """
    match operation:
        case Drag():
            return start_drag(operation, key, model, environment)
        case Edit():
            return start_edit(operation, key, model, environment)
        case Repair():
            return start_repair(operation, key, model, environment, touched)
    raise TypeError(f"start_term: expected drag, edit or repair, got {type(operation).__name__}")


def restore_term(
    *,
    key: str,
    operation: Operation,
    start: int,
    steps: int,
    tensors: Mapping[str, Tensor],
    state: Mapping[str, float | int | str | bool | list],
) -> Term:
    """The term that a snapshot kept; what it pinned to blobs is in the model's columns.

    Raises:
        TypeError: no term of stage I comes from this operation.
    """
    match operation:
        case Drag(mode=DragMode.RIGID):
            kind: type[Term] = RigidDrag
        case Drag():
            kind = DeformableDrag
        case Edit():
            kind = EditTerm
        case Repair():
            kind = RepairTerm
        case _:
            raise TypeError(f"restore_term: expected drag, edit or repair, got {type(operation).__name__}")
    return kind(key=key, operation=operation, start=start, steps=steps, tensors=tensors, state=state)
