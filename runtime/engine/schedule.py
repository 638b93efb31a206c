"""Which operations are due at a step boundary."""

from collections.abc import Iterator, Sequence

from interactive3d.dsl.operations import (
    After,
    AtEnd,
    AtStep,
    Comparison,
    Every,
    FromTo,
    Now,
    Operation,
    Ramp,
    RecordTimelapse,
    WhenMetric,
)
from interactive3d.dsl.tidy import tidy_sum
from interactive3d.runtime.engine.state import Entry, Metrics, RunState
from interactive3d.runtime.settings import Settings, spec


class Schedule:
    """The operations of a program and of a journal, asked anew at every boundary; it holds no state of its own."""

    def __init__(self, operations: Sequence[Operation], journal: Sequence[Operation], steps: int) -> None:
        self.steps = steps
        self.entries = [Entry(index=i, operation=op) for i, op in enumerate(operations)]
        offset = len(self.entries)
        self.entries += [Entry(index=offset + i, operation=op, submitted=True) for i, op in enumerate(journal)]

    def due(self, state: RunState) -> Iterator[Entry]:
        """What fires at ``state.step`` and has not fired there yet, in order. Ramps are not events: see ``ramped``."""
        for entry in self.entries:
            if isinstance(entry.operation, Ramp):
                continue
            fired = state.fired.get(entry.index)
            if fired == state.step:
                continue
            if self._fires(entry, fired, state):
                yield entry

    def _fires(self, entry: Entry, fired: int | None, state: RunState) -> bool:
        when, step = entry.operation.when, state.step
        match when:
            case Now():
                return fired is None
            case AtStep():
                return step == when.step
            case AtEnd():
                return step == self.steps
            case FromTo():
                # Only a timelapse has a window of its own; everything else begins where the window does.
                return step == when.start
            case Every():
                first = when.n if when.start is None else when.start
                last = self.steps if when.end is None else when.end
                return first <= step <= last and (step - first) % when.n == 0
            case After():
                over = state.finished.get(when.label)
                return over is not None and step == over + when.plus
            case WhenMetric():
                return fired is None and state.streaks.get(entry.index, 0) >= (when.for_steps or 1)
        raise TypeError(f"unknown moment {when!r}")

    def streaks(self, state: RunState, metrics: Metrics) -> dict[int, int]:
        """For how many steps in a row each ``when`` has held, after a step that measured ``metrics``."""
        counts: dict[int, int] = {}
        for entry in self.entries:
            when = entry.operation.when
            if isinstance(when, WhenMetric) and entry.index not in state.fired:
                value = metrics.get(when.metric)
                held = value < when.value if when.comparison is Comparison.BELOW else value > when.value
                counts[entry.index] = state.streaks.get(entry.index, 0) + 1 if held else 0
        return counts

    def ramped(self, settings: Settings, step: int) -> Settings:
        """Settings with every ramp whose window holds this step applied; after its window a ramp leaves its end value."""
        for entry in self.entries:
            op = entry.operation
            if isinstance(op, Ramp) and isinstance(op.when, FromTo) and op.when.start <= step <= op.when.end:
                span = max(op.when.end - op.when.start, 1)
                value = tidy_sum(op.start + (op.end - op.start) * (step - op.when.start) / span, op.start, op.end)
                settings = settings.set(op.path, round(value) if spec(op.path).kind == "int" else value)
        return settings

    def timelapses(self, state: RunState) -> Iterator[tuple[RecordTimelapse, bool]]:
        """Timelapses that want a frame at this boundary, and whether it is their last."""
        for entry in self.entries:
            op = entry.operation
            if not isinstance(op, RecordTimelapse) or entry.index not in state.fired:
                continue
            begun = state.fired[entry.index]
            last = op.when.end if isinstance(op.when, FromTo) else self.steps
            if begun <= state.step <= last and ((state.step - begun) % op.every == 0 or state.step == last):
                yield op, state.step == last
