"""What a run keeps in its folder while it goes on: checkpoints, measurements, pictures of interactions, the scripts that it follows."""

import dataclasses
import time
from pathlib import Path

from interactive3d.dsl.operations import Export, RecordTimelapse, RecordTurntable, SnapshotImage
from interactive3d.dsl.program import Program
from interactive3d.runtime.engine.differences import Replanned
from interactive3d.runtime.engine.hooks import Given
from interactive3d.runtime.engine.inputs import (
    CheckpointRecord,
    Splice,
    keep_former,
    keep_script,
    program_digest,
    program_record,
    script_name,
)
from interactive3d.runtime.engine.outputs import ContactSheet, Timelapses
from interactive3d.runtime.engine.resume import Earlier, state_before
from interactive3d.runtime.engine.session import Session
from interactive3d.runtime.engine.snapshots import save_state
from interactive3d.runtime.engine.state import RunState
from interactive3d.runtime.output.checkpoints import prune_snapshots, snapshot_name, snapshots, step_of
from interactive3d.runtime.output.run_folder import RunFolder

CHECKPOINTS_KEPT = 3
SPACE_NEEDED = 200 << 20
WITH_FILE = (Export, RecordTimelapse, RecordTurntable, SnapshotImage)
METRICS = ("step", "loss", "blobs", "motion", "active", "seconds")


class Books:
    """A run's folder, and what is followed at present. A script that is followed anew reaches the folder with the next checkpoint."""

    def __init__(self, folder: RunFolder, script: Path, given: Given, program: Program, seed: int) -> None:
        self.folder, self.script, self.given = folder, script, given
        self.splices: list[Splice] = []
        self.kept_steps: set[int] = set()
        self.saved: RunState | None = None
        """The newest state that is on disk as a checkpoint."""
        self.untouched = False
        """Whether the folder still is as an earlier stretch of the run left it."""
        self._unwritten: list[tuple[Replanned, Splice | None]] = []
        self._reached = 0
        """The last step that the folder tells of."""
        self._spent, self._started = 0.0, time.monotonic()
        self.follow(program, seed)
        self.timelapses = Timelapses(folder)

    @classmethod
    def begun(cls, path: Path, script: Path, given: Given, program: Program, seed: int) -> "Books":
        """The folder of a new run.

        Raises:
            FileProblem: it cannot be made there.
        """
        books = cls(RunFolder.create(path, needed=SPACE_NEEDED), script, given, program, seed)
        keep_script(program, script, books.folder)
        books._open(None)
        return books

    @classmethod
    def taken_up(cls, earlier: Earlier, script: Path, given: Given, program: Program) -> "Books":
        """The folder of a run as it was left; ``program`` is what was followed then.

        Raises:
            FileProblem: it is no run's folder.
        """
        books = cls(RunFolder.open(earlier.folder), script, given, program, earlier.record.seed)
        books._spent = earlier.record.seconds
        books.splices, books.kept_steps = list(earlier.record.splices), set(earlier.record.kept)
        books.untouched = True
        books._reached = earlier.state.step
        books._open(earlier.state.step, entered=earlier.record.entered)
        return books

    def _open(self, step: int | None, *, entered: bool = True) -> None:
        """Measurements and pictures from behind a step on, and from its boundary where that was not entered; all where it is None."""
        seen = step if step is None or entered else step - 1
        self.contact = ContactSheet(self.folder.output("contact", folder=True), from_step=seen)
        self.metrics = self.folder.metrics(METRICS, resume_at=None if step is None else step + 1)

    def seconds(self) -> float:
        """Time spent on this run, earlier stretches included."""
        return self._spent + time.monotonic() - self._started

    # -- what is followed -----------------------------------------------------------------------------------------------
    def follow(self, program: Program, seed: int) -> None:
        """What is followed from now on."""
        self.program, self.seed = program, seed
        self.program_digest = program_digest(program, seed)
        self._said = program_record(program)

    def exchanged(self, outcome: Replanned, session: Session) -> None:
        """The session follows another script."""
        splice = None
        if outcome.rewound:
            self.splices = [s for s in self.splices if s.step <= outcome.from_step]
        if outcome.spliced:
            assert outcome.first is not None
            splice = Splice(
                step=outcome.step,
                first=outcome.first,
                script=f"script-before-{len(self.splices) + 1}/{script_name(outcome.old, self.script)}",
                seed=self.seed,
                program=self._said,
                entered=session.entered,
                journal=len(session.latest().journal),
            )
            self.splices.append(splice)
        self._unwritten.append((outcome, splice))
        self.follow(outcome.program, session.trainer.seed)

    @property
    def diverged(self) -> int | None:
        """The first step at which the run differs from one of the script alone."""
        return min((s.first for s in self.splices), default=None)

    def before(self, step: int, device: str) -> RunState | None:
        """The newest checkpoint of the program in force from before a step."""
        return state_before(self.folder.path, step, self.program_digest, device)

    # -- writing --------------------------------------------------------------------------------------------------------
    def stepped(self, state: RunState) -> None:
        """The measurements of a step.

        With the first one of a run that was taken up, its folder becomes its own; with the first one that is taken anew, since the hand went
        back, the folder forgets the time that was left.
        """
        if self.untouched or state.step <= self._reached:
            self.save(state, entered=False, left=state.step - 1)
        self._reached = state.step
        found = state.metrics
        self.metrics.append(
            {
                "step": state.step,
                "loss": f"{found.loss:.6g}",
                "blobs": found.blobs,
                "motion": f"{found.motion:.6g}",
                "active": "+".join(found.active),
                "seconds": f"{self.seconds():.3f}",
            }
        )

    def save(self, state: RunState, *, entered: bool, name: str | None = None, left: int | None = None) -> str:
        """Write a checkpoint, and then the script that it belongs to; its name below the folder.

        Where the folder tells of later steps the run has gone back, and what lies behind ``left``, or behind the state, is forgotten.

        Raises:
            FileProblem: the disk is full.
        """
        for _, splice in self._unwritten:
            if splice is not None:
                keep_former(splice, self.folder)
        record = CheckpointRecord(
            seconds=self.seconds(),
            seed=self.seed,
            given=self.given,
            program=self._said,
            entered=entered,
            splices=tuple(self.splices),
            kept=tuple(sorted(self.kept_steps)),
        )
        path = self.folder.checkpoints / (f"{name}-{snapshot_name(state.step)}" if name else snapshot_name(state.step))
        save_state(path, state, self.program_digest, dataclasses.asdict(record))
        self.saved = state
        rewound = [outcome for outcome, _ in self._unwritten if outcome.rewound]
        if rewound:
            self._forget(min(outcome.from_step for outcome in rewound), path)
            for outcome in rewound:
                self._forget_outputs(outcome)
        elif state.step < self._reached or (left is not None and left < self._reached):
            self._forget(state.step if left is None else left, path)
        if self._unwritten or self.untouched:
            keep_script(self.program, self.script, self.folder)
            self._unwritten, self.untouched = [], False
        return f"{self.folder.checkpoints.name}/{path.name}"

    def prune(self) -> None:
        """Older checkpoints go, but those that the script asked for."""
        prune_snapshots(self.folder.checkpoints, CHECKPOINTS_KEPT, frozenset(self.kept_steps))

    def _forget(self, step: int, checkpoint: Path) -> None:
        """What belongs to steps that are taken anew goes, now that ``checkpoint`` takes its place."""
        self.metrics.close()
        for path in snapshots(self.folder.checkpoints):
            if step_of(path) > step and path != checkpoint:
                path.unlink(missing_ok=True)
        self.kept_steps = {s for s in self.kept_steps if s <= step}
        self._reached = step
        self._open(step)
        self.timelapses.forget_after(step)

    def _forget_outputs(self, outcome: Replanned) -> None:
        """What operations wrote that the script no longer has."""
        still = {op.path for op in outcome.program.operations if isinstance(op, WITH_FILE)}
        for op in outcome.old.operations:
            if isinstance(op, WITH_FILE) and op.path not in still and op.path in self.folder.owned():
                (self.folder.path / op.path).unlink(missing_ok=True)
