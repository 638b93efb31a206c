"""Moments: `at`, `from`, `every`, `after`, `when`."""

from typing import Any

from interactive3d.dsl import nodes as n
from interactive3d.dsl.clauses import Clauses
from interactive3d.dsl.evaluate import meant, near
from interactive3d.dsl.frame import Frame, OutOfClockError, shifted
from interactive3d.dsl.values import AT_START, After, AtEnd, AtStep, Comparison, Every, FromTo, When, WhenMetric


class MomentReader:
    """Reads moments of one file; `clauses` is there for its checked numbers."""

    def __init__(self, clauses: Clauses, metrics: tuple[str, ...]) -> None:
        self.clauses = clauses
        self.report = clauses.report
        self.metrics = metrics

    def read(self, node: n.Moment, frame: Frame) -> When | None:
        """The moment, counted from the call inside a gesture; None when it is faulty."""
        when = self._plain(node, frame)
        if when is None or frame.clock is None:
            return when
        if isinstance(when, AtEnd | WhenMetric):
            self.report("E0514", node.start, node.end)
            return None
        try:
            return shifted(when, frame.clock)
        except OutOfClockError as fault:
            self.report("E0515", node.start, node.end, clock=str(fault))
            return None

    def _step(self, node: Any) -> int | None:
        value = self.clauses.read_whole(node, "a step", low=0)
        return value if type(value) is int else None

    def _steps(self, node: Any) -> int | None:
        value = self.clauses.read_whole(node, "the number of steps")
        return value if type(value) is int else None

    def _range(self, node: n.Moment, low: Any, high: Any) -> tuple[int, int] | None:
        start, end = self._step(low), self._step(high)
        if start is None or end is None:
            return None
        if start >= end:
            self.report("E0403", low.start, high.end, what="the range of steps", low=start, high=end)
            return None
        return start, end

    def _plain(self, node: n.Moment, frame: Frame) -> When | None:
        values = node.values
        match node.kind:
            case "at_step":
                step = self._step(values[0])
                return None if step is None else AtStep(step=step)
            case "at_start":
                return AT_START
            case "at_end":
                return AtEnd()
            case "from_to":
                limits = self._range(node, values[0], values[1])
                return None if limits is None else FromTo(start=limits[0], end=limits[1])
            case "every":
                period = self._steps(values[0])
                if len(values) == 1:
                    return None if period is None else Every(n=period)
                limits = self._range(node, values[1], values[2])
                if period is None or limits is None:
                    return None
                return Every(n=period, start=limits[0], end=limits[1])
            case "after":
                return self._after(node, frame)
            case _:
                return self._metric(node)

    def _after(self, node: n.Moment, frame: Frame) -> When | None:
        assert node.name is not None
        plus = 0
        if node.values:
            steps = self.clauses.read_whole(node.values[0], "the number of steps", low=0)
            if type(steps) is not int:
                return None
            plus = steps
        label = frame.labels.get(node.name.text)
        if label is None:
            guess = near(node.name.text, frame.labels)
            help_ = (
                f"did you mean `{guess}`?"
                if guess
                else "a label stands before an event, above this: name: at step 300 …"
            )
            self.report("E0209", node.name.start, node.name.end, name=node.name.text, help=help_, replace=guess)
            return None
        self.clauses.evaluate.reporter.use(label, node.name.start, node.name.end)
        if label.never:
            related = ((label.source.span(label.start, label.end), "labelled here"),)
            self.report("E0615", node.start, node.end, name=node.name.text, related=related)
            return None
        return After(label=label.name, plus=plus, step=None if label.over is None else label.over + plus)

    def _metric(self, node: n.Moment) -> When | None:
        assert node.name is not None
        value = self.clauses.evaluate.number(node.values[0])
        steps = self._steps(node.values[1]) if len(node.values) > 1 else None
        if self.metrics and node.name.text not in self.metrics:
            help_ = meant(node.name.text, self.metrics, "the metrics are " + ", ".join(self.metrics))
            self.report("E0211", node.name.start, node.name.end, name=node.name.text, help=help_)
            return None
        if type(value) is not float or (len(node.values) > 1 and steps is None):
            return None
        comparison = Comparison.BELOW if node.kind == "when_below" else Comparison.ABOVE
        return WhenMetric(metric=node.name.text, comparison=comparison, value=value, for_steps=steps)
