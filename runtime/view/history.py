"""Undo and redo of everything a hand does, selections among them, in one order.

Operations are undone by the engine, which restores parameters and moments exactly; selections are the window's own.
"""

from collections.abc import Callable
from dataclasses import dataclass

from interactive3d.dsl.operations import PartExpression


@dataclass(frozen=True, kw_only=True)
class Selected:
    """The selection changed from one query to another."""

    before: PartExpression | None
    after: PartExpression | None


@dataclass(frozen=True, kw_only=True)
class Operated:
    """An operation was submitted; the selection may have followed what it moved."""

    before: PartExpression | None
    after: PartExpression | None
    text: str


class History:
    """Two stacks. ``undo`` and ``redo`` say what the selection is to be, after the engine was asked to go back or forth."""

    def __init__(self, undo: Callable[[], None], redo: Callable[[], None]) -> None:
        self._engine_undo, self._engine_redo = undo, redo
        self._done: list[Selected | Operated] = []
        self._undone: list[Selected | Operated] = []

    def note(self, entry: Selected | Operated) -> None:
        """Something was done; what had been undone can no longer come back."""
        if isinstance(entry, Selected) and entry.before == entry.after:
            return
        self._done.append(entry)
        self._undone.clear()

    @property
    def can_undo(self) -> bool:
        """Whether there is something to take back."""
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        """Whether something was taken back."""
        return bool(self._undone)

    def undo(self) -> tuple[bool, PartExpression | None]:
        """Take back the newest entry: whether there was one, and the selection after it."""
        if not self._done:
            return False, None
        entry = self._done.pop()
        self._undone.append(entry)
        if isinstance(entry, Operated):
            self._engine_undo()
        return True, entry.before

    def redo(self) -> tuple[bool, PartExpression | None]:
        """Bring back the newest entry taken back."""
        if not self._undone:
            return False, None
        entry = self._undone.pop()
        self._done.append(entry)
        if isinstance(entry, Operated):
            self._engine_redo()
        return True, entry.after
