"""Undo and redo of everything a hand does, selections among them, in one order.

Operations are undone by the engine, which restores parameters and moments exactly; what is marked is the window's own.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from interactive3d.dsl.operations import PartExpression
from interactive3d.runtime.view.camera_keys import CameraKeys
from interactive3d.runtime.view.regions import Region


@dataclass(frozen=True, kw_only=True)
class Marks:
    """What the hand has marked and the run knows nothing of: what is selected, what is hidden (blobs, refined regions), a region, a camera
    path.
    """

    selection: PartExpression | None = None
    hidden: PartExpression | None = None
    region: Region | None = None
    path: CameraKeys = field(default_factory=CameraKeys)
    hidden_regions: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Marked:
    """The marks changed."""

    before: Marks
    after: Marks


@dataclass(frozen=True, kw_only=True)
class Operated:
    """An operation was submitted; the selection may have followed what it moved."""

    before: Marks
    after: Marks
    text: str


class History:
    """Two stacks. ``undo`` and ``redo`` say what the marks are to be, after the engine was asked to go back or forth."""

    def __init__(self, undo: Callable[[], None], redo: Callable[[], None]) -> None:
        self._engine_undo, self._engine_redo = undo, redo
        self._done: list[Marked | Operated] = []
        self._undone: list[Marked | Operated] = []

    def note(self, entry: Marked | Operated) -> None:
        """Something was done; what had been undone can no longer come back."""
        if isinstance(entry, Marked) and entry.before == entry.after:
            return
        self._done.append(entry)
        self._undone.clear()

    def forget(self, told: str) -> Marks | None:
        """Drop the newest operation that the run tells of in these words, for it was refused.

        The marks as they were before it; None where something was done since, or where there is none.
        """
        for place in reversed(range(len(self._done))):
            entry = self._done[place]
            if isinstance(entry, Operated) and told.endswith(entry.text):
                del self._done[place]
                return entry.before if place == len(self._done) else None
        return None

    @property
    def can_undo(self) -> bool:
        """Whether there is something to take back."""
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        """Whether something was taken back."""
        return bool(self._undone)

    def undo(self) -> Marks | None:
        """Take back the newest entry: the marks after it; None when there was none."""
        if not self._done:
            return None
        entry = self._done.pop()
        self._undone.append(entry)
        if isinstance(entry, Operated):
            self._engine_undo()
        return entry.before

    def redo(self) -> Marks | None:
        """Bring back the newest entry taken back."""
        if not self._undone:
            return None
        entry = self._undone.pop()
        self._done.append(entry)
        if isinstance(entry, Operated):
            self._engine_redo()
        return entry.after
