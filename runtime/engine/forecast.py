"""What a script would do, without doing it: its events, the blobs, memory and time that they take.

A rehearsal plays the whole timeline with the run's own schedule and operations on the run's own first blobs, but with a trainer that
optimizes nothing: edits, drags and their repairs begin and end as they would, so counts are those of the geometry. What the optimizer
alone decides (which blobs densification grows, which fade and are pruned, when a `when` fires) is not foreseen. Seconds are those of a
few steps of each kind, taken once on this machine and thrown away; a step's share that grows with the blobs is scaled by their number.
"""

import dataclasses
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from interactive3d.dsl import format_operation
from interactive3d.dsl.operations import (
    Distill,
    Drag,
    Edit,
    EditOperation,
    Export,
    ExportKind,
    Operation,
    OutputOperation,
    Ramp,
    RecordTimelapse,
    RecordTurntable,
    Refine,
    Repair,
    SnapshotImage,
    TermOperation,
)
from interactive3d.dsl.program import InitSplats, Program
from interactive3d.dsl.values import NOW, Every, FromTo
from interactive3d.runtime.engine.hooks import Hooks
from interactive3d.runtime.engine.outputs import FPS, PICTURE_SIZE, TURNTABLE_SECONDS, VIDEO_SIZE, picture
from interactive3d.runtime.engine.session import HISTORY_BYTES, HISTORY_EVERY, Session
from interactive3d.runtime.engine.state import Effect, Metrics, RunState
from interactive3d.runtime.engine.trainer import StepNotes, Trainer
from interactive3d.runtime.operations.base import OperationRefused, Term
from interactive3d.runtime.scene.camera import Camera
from interactive3d.runtime.scene.gaussians import GaussianModel

MEASURED_STEPS = 5
"""Steps of each kind that are timed; the first is left out, for it warms up, and the quickest counts, for other work only slows down."""

PLAIN = "plain"
IN_FIELD = " in the field"
SIZE = "rehearsal.size"

SETTLED = 0.9
"""How large blobs are, against those that a run begins with, once the optimizer has had some hundred steps; measured on the dragon."""

DEFAULT_SPLIT = 0.35
"""Share of a step that grows with the blobs, for kinds of steps that were not taken apart."""

ENCODE_SECONDS = 0.006
"""Encoding one 512 x 512 frame of a film; measured on two cores with libx264."""

MESH_SECONDS = 20.0
"""Surface, texture and file of a mesh, beyond the distillation that splats need first; measured on two cores."""

LIVE_COPIES = 6
"""Copies of the blobs' columns that a step holds at its widest: the columns, the leaves, gradients and what AdamW makes anew."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Measured once: seconds of a step by its kind, the share of it that grows with the blobs, seconds of a million pixels of picture.

    ``resident`` is what the process held after measuring, bytes.
    """

    seconds: Mapping[str, float]
    scaled: float
    picture: float
    blobs: int
    resident: int

    def step(self, kinds: tuple[str, ...], blobs: int) -> float:
        """One step with these terms under way."""
        plain = self.seconds.get(PLAIN, 0.0)
        if "field" in kinds:
            return sum(self.seconds.get(k + IN_FIELD, self.seconds.get(k, plain)) for k in kinds if k != "field")
        total = plain + sum(max(self.seconds.get(k, plain) - plain, 0.0) for k in kinds)
        return total * (1 - self.scaled + self.scaled * blobs / max(self.blobs, 1))


@dataclass(kw_only=True)
class Row:
    """One event. ``step`` to ``end`` are the steps that it lasts; ``seconds`` what the run spends in them, ``clock`` when it begins."""

    step: int
    end: int
    line: int | None
    text: str
    does: str
    touches: int | None
    blobs: int
    memory: int
    seconds: float
    clock: float
    times: int = 1


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The whole timeline."""

    rows: tuple[Row, ...]
    steps: int
    blobs: int
    peak_memory: int
    seconds: float
    costs: Costs
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Plain values, for programs."""
        return dataclasses.asdict(self)


# -- what steps cost ----------------------------------------------------------------------------------------------------
def measure_costs(trainer: Trainer, start: RunState, program: Program) -> Costs:
    """Takes a few steps of each kind that the script has, on its first blobs, and throws them away."""
    heard: list[StepNotes] = []
    trainer = dataclasses.replace(trainer, listen=heard.append)
    found: dict[str, float] = {}
    scaled = DEFAULT_SPLIT
    if trainer.steps:
        # The first steps of a process find caches empty.
        _, warm = _timed(trainer, start)
        heard.clear()
        found[PLAIN], _ = _timed(trainer, warm)
        last = min((notes.seconds for notes in heard), key=lambda spent: sum(spent.values()))
        growing = sum(last.get(name, 0.0) for name in ("render", "gradient", "update"))
        scaled = growing / max(sum(last.values()), 1e-9)
    examples: dict[str, Operation] = {}
    if any(isinstance(op, EditOperation | Drag) for op in program.operations) and start.settings.repair.enabled:
        examples["repair"] = Repair()
    for operation in program.operations:
        if isinstance(operation, TermOperation) and not isinstance(operation, Ramp):
            in_field = "distill" in examples and isinstance(operation, Edit)
            examples.setdefault(operation.keyword + (IN_FIELD if in_field else ""), operation)
    state = start
    for keyword in examples:
        session = Session(dataclasses.replace(trainer, steps=10**6), (), state)
        session.submit(examples[keyword])
        try:
            begun = session.advance(0)
        except OperationRefused:
            continue
        if not begun.terms:
            continue
        found[keyword], after = _timed(dataclasses.replace(trainer, steps=10**6), begun)
        if keyword == "distill":
            # What refines needs a field to stand on.
            state = dataclasses.replace(after, terms=())
    begun_at = time.perf_counter()
    picture(start.model, Camera.orbit(0.0, 15.0), PICTURE_SIZE, PICTURE_SIZE)
    drawn = (time.perf_counter() - begun_at) / PICTURE_SIZE**2
    return Costs(seconds=found, scaled=scaled, picture=drawn, blobs=len(start.model), resident=resident_bytes())


def _timed(trainer: Trainer, state: RunState) -> tuple[float, RunState]:
    taken = []
    for _ in range(MEASURED_STEPS):
        begun = time.perf_counter()
        state = trainer.step(state)
        taken.append(time.perf_counter() - begun)
    return min(taken[1:]), state


def resident_bytes() -> int:
    """The most memory that this process has held; 0 where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most << 10


# -- the rehearsal ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class _Rehearsing(Trainer):
    """Moves what terms move and counts the steps; nothing is optimized."""

    rehearsal: Any = field(default=None)

    def step(self, state: RunState) -> RunState:
        environment = self.environment(state)
        model, terms = state.model, []
        if state.terms:
            model = model.with_columns({SIZE: model.columns["log_scale"].clone()})
        for term in state.terms:
            moved, model = term.before_step(model, environment)
            terms.append(moved)
        if state.terms:
            # A drag stretches what trails behind it, and the optimizer takes that back; nobody does here.
            size = torch.minimum(model.columns["log_scale"], model.columns[SIZE])
            model = model.with_columns({"log_scale": size}).without_columns(SIZE)
        active = tuple(t.operation.keyword for t in terms)
        self.rehearsal.spend(active, len(model))
        metrics = Metrics(blobs=len(model), active=active)
        return dataclasses.replace(state, step=state.step + 1, model=model, terms=tuple(terms), metrics=metrics)


class _Rehearsal(Session):
    """A session whose refusals become remarks, and whose stage II is counted only."""

    def __init__(self, trainer: Trainer, program: Program, start: RunState, costs: Costs) -> None:
        hooks = Hooks(output=self._output, checkpoint=lambda state, name: "", frame=self._frame, effect=self._effect)
        trainer = _Rehearsing(**{f.name: getattr(trainer, f.name) for f in dataclasses.fields(Trainer)}, rehearsal=self)
        if not isinstance(program.initial, InitSplats):
            settled = start.model.columns["log_scale"] + math.log(SETTLED)
            start = dataclasses.replace(start, model=start.model.with_columns({"log_scale": settled}))
        super().__init__(trainer, program.operations, start, policy=program.repair, hooks=hooks)
        self.costs = costs
        self.rows: list[Row] = []
        self.notes: list[str] = []
        self.clock = 0.0
        self.peak = costs.resident
        self._distilled = False
        self._open: dict[str, Row] = {}
        self._repeated: dict[int, Row] = {}
        self._pending = 0.0

    def spend(self, kinds: tuple[str, ...], blobs: int) -> None:
        """A step goes by."""
        self.clock += self.costs.step((*kinds, "field") if self._distilled else kinds, blobs)

    # -- what a session does, rehearsed ---------------------------------------------------------------------------------
    def _dispatch(self, operation: Operation, state: RunState) -> tuple[RunState, str, str | None]:
        stage_two = isinstance(operation, Distill | Refine) or (isinstance(operation, Edit) and self._distilled)
        if stage_two:
            assert isinstance(operation, TermOperation)
            steps = getattr(operation, "steps", None) or int(state.settings.get(str(operation.steps_setting)))
            key = str(state.terms_begun)
            term = Term(key=key, operation=operation, start=state.step, steps=int(steps), tensors={}, state={})
            self._distilled = True
            terms = (*state.terms, term)
            return dataclasses.replace(state, terms=terms, terms_begun=state.terms_begun + 1), "", key
        try:
            return super()._dispatch(operation, state)
        except OperationRefused as refusal:
            self.notes.append(str(refusal))
            return state, "not foreseen: it selects nothing of the first blobs", None

    def _begin_repair(
        self, operation: Operation, touched: Bool[Tensor, "n"] | None, state: RunState, replaces: str | None
    ) -> RunState:
        after = super()._begin_repair(operation, touched, state, replaces)
        for term in after.terms[len(state.terms) :]:
            steps = f"for {term.steps} steps"
            self._row(term, state.step, None, f"repair {steps}", f"follows `{operation.keyword}`", after.model)
        return after

    def _finish_terms(self) -> None:
        ending = [t.key for t in self._state.terms if t.end <= self._state.step]
        super()._finish_terms()
        for key in ending:
            if (row := self._open.pop(key, None)) is not None:
                row.blobs, row.seconds, row.memory = len(self._state.model), self.clock - row.clock, self._memory()

    # -- rows -----------------------------------------------------------------------------------------------------------
    def _row(self, term: Term | None, step: int, line: int | None, text: str, does: str, model: GaussianModel) -> Row:
        rows = term.trainable(model, self.trainer.environment(self._state)) if term is not None else None
        row = Row(
            step=step,
            end=step if term is None else min(term.end, self.trainer.steps),
            line=line,
            text=text,
            does=does,
            touches=None if rows is None else int(rows.sum()),
            blobs=len(model),
            memory=self._memory(),
            seconds=self._pending,
            clock=self.clock,
        )
        self.clock += self._pending
        self._pending = 0.0
        self.rows.append(row)
        if term is not None:
            self._open[term.key] = row
        return row

    def _effect(self, effect: Effect) -> None:
        state = self._state
        index = next((i for i, step in reversed(list(state.fired.items())) if step == state.step), None)
        operation = self.operations[index] if index is not None and index < len(self.operations) else None
        if operation is not None and isinstance(operation.when, Every) and index in self._repeated:
            row = self._repeated[index]
            row.times, row.end, row.seconds = row.times + 1, state.step, row.seconds + self._pending
            self.clock += self._pending
            self._pending = 0.0
            return
        lasting = isinstance(operation, TermOperation) and not isinstance(operation, Ramp)
        # Repairs may have begun since, so the newest term of this operation is meant.
        term = next((t for t in reversed(state.terms) if t.operation is operation), None) if lasting else None
        does = effect.message if term is None else ""
        # An edit's repair has its row already; the edit itself comes first.
        before = self.rows.pop() if self.rows and self.rows[-1].does == f"follows `{_keyword(operation)}`" else None
        if before is not None and before.step != state.step:
            self.rows.append(before)
            before = None
        text = format_operation(dataclasses.replace(operation, when=NOW)) if operation is not None else effect.text
        row = self._row(term, state.step, effect.line, text, does, state.model)
        if before is not None:
            before.clock = self.clock
            self.rows.append(before)
        if operation is not None and isinstance(operation.when, Every) and index is not None:
            self._repeated[index] = row

    def _memory(self) -> int:
        """Resident bytes at this moment: what measuring held, the states kept for going back, and what more blobs need."""
        model = self._state.model
        size = sum(c.numel() * c.element_size() for c in model.columns.values())
        kept = min((self._state.step // HISTORY_EVERY + 1) * size, HISTORY_BYTES + 4 * size)
        each = size / max(len(model), 1)
        more = max(len(model) - self.costs.blobs, 0) * each * LIVE_COPIES
        memory = int(self.costs.resident + kept + more)
        self.peak = max(self.peak, memory)
        return memory

    # -- outputs --------------------------------------------------------------------------------------------------------
    def _output(self, operation: OutputOperation, state: RunState) -> str:
        match operation:
            case RecordTurntable():
                width = operation.width or VIDEO_SIZE
                frames = max(2, round((operation.seconds or TURNTABLE_SECONDS) * (operation.fps or FPS)))
                pixels = width * (operation.height or width)
                share = pixels / VIDEO_SIZE**2
                self._pending = frames * (self.costs.picture * pixels + ENCODE_SECONDS * share)
                return f"{frames} frames"
            case SnapshotImage():
                width = operation.width or PICTURE_SIZE
                self._pending = self.costs.picture * width * (operation.height or width)
            case Export(kind=ExportKind.MESH):
                self._pending = MESH_SECONDS
                if not self._distilled:
                    self._pending += int(state.settings.get("distill.steps")) * self.costs.seconds.get("distill", 0.16)
        return ""

    def _frame(self, operation: OutputOperation, state: RunState, last: bool) -> None:
        self.clock += (self.costs.picture + ENCODE_SECONDS / VIDEO_SIZE**2) * VIDEO_SIZE**2


def _keyword(operation: Operation | None) -> str:
    return operation.keyword if operation is not None else ""


def forecast(program: Program, trainer: Trainer, start: RunState, costs: Costs | None = None) -> Forecast:
    """Measures what steps cost, unless that is given, and rehearses the script."""
    costs = costs or measure_costs(trainer, start, program)
    rehearsal = _Rehearsal(trainer, program, start, costs)
    rehearsal.advance()
    foreseen = {row.line for row in rehearsal.rows}
    rows = list(rehearsal.rows)
    for op in program.operations:
        line = op.span.line if op.span else None
        if isinstance(op, Ramp) and isinstance(op.when, FromTo):
            first = next((r for r in rows if r.step >= op.when.start), None)
            over = next((r for r in reversed(rows) if r.end <= op.when.start), None)
            blobs, memory = (over.blobs, over.memory) if over else (len(start.model), costs.resident)
            clock = first.clock if first else 0.0
            text = format_operation(dataclasses.replace(op, when=NOW))
            row = Row(
                step=op.when.start,
                end=op.when.end,
                line=line,
                text=text,
                does="",
                touches=None,
                blobs=blobs,
                memory=memory,
                seconds=0.0,
                clock=clock,
            )
            rows.insert(rows.index(first) if first else len(rows), row)
        elif line not in foreseen and not isinstance(op, RecordTimelapse):
            rehearsal.notes.append(f"not foreseen, for it waits for what only a run can tell: {format_operation(op)}")
    seen = rehearsal.latest()
    return Forecast(
        rows=tuple(rows),
        steps=seen.step,
        blobs=len(seen.model),
        peak_memory=rehearsal.peak,
        seconds=rehearsal.clock,
        costs=costs,
        notes=tuple(dict.fromkeys(rehearsal.notes)),
    )
