"""A script run into a folder: outputs, metrics, checkpoints, the record, and going on after an interruption."""

import contextlib
import dataclasses
import hashlib
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from interactive3d.dsl import Loaded, format_operation, format_program
from interactive3d.dsl.operations import AddFile, Export, RecordTimelapse, RecordTurntable, SnapshotImage
from interactive3d.dsl.program import InitMesh, InitSplats, Program
from interactive3d.runtime.engine.codec import to_json
from interactive3d.runtime.engine.hooks import Given, Hooks
from interactive3d.runtime.engine.outputs import ContactSheet, Timelapses, write_output
from interactive3d.runtime.engine.replan import Replanned, ReplanRefused, follow
from interactive3d.runtime.engine.script import load_script
from interactive3d.runtime.engine.session import Session
from interactive3d.runtime.engine.snapshots import digest, load_state, save_state
from interactive3d.runtime.engine.start import DEFAULT_SEED, begin, first_settings, make_guidance
from interactive3d.runtime.engine.state import Effect, RunState
from interactive3d.runtime.engine.trainer import StepNotes
from interactive3d.runtime.engine.watch import Saved, ScriptWatcher
from interactive3d.runtime.operations.base import OperationRefused
from interactive3d.runtime.output.atomic import write_bytes
from interactive3d.runtime.output.checkpoints import newest_whole, prune_snapshots, snapshot_name, snapshots, step_of
from interactive3d.runtime.output.problems import FileProblem
from interactive3d.runtime.output.run_folder import RunFolder
from interactive3d.runtime.output.splat_files import write_splats

AUTOSAVE_SECONDS = 30.0
CHECKPOINTS_KEPT = 3
SPACE_NEEDED = 200 << 20
RESULT = "splats.ply"
"""What every finished run leaves behind, unless its script exports something else under that name."""

WITH_FILE = (Export, RecordTimelapse, RecordTurntable, SnapshotImage)
METRICS = ("step", "loss", "blobs", "motion", "active", "seconds")


@dataclass(kw_only=True)
class Report:
    """Whom a run tells what it does. All are called between steps."""

    stepped: Callable[[RunState, int, float], None] = lambda state, steps, seconds: None
    effect: Callable[[Effect], None] = lambda effect: None
    message: Callable[[str], None] = lambda text: None
    diagnostics: Callable[[Loaded], None] = lambda loaded: None
    ended: Callable[[str, int], None] = lambda text, step: None
    notes: Callable[[StepNotes], None] | None = None


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """How a run ended."""

    folder: Path
    state: RunState
    complete: bool
    seconds: float
    digest: str


def program_digest(program: Program, seed: int) -> str:
    """What must be equal for a checkpoint to belong to a script: everything that the program says, and the seed."""
    said = dataclasses.replace(program, sources=(), folder=".", params=())
    return hashlib.sha256(f"{said!r}/{seed}".encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Splice:
    """A change of the script whose past was not replayed: from ``step`` on the run is another than a fresh one.

    ``first`` is the first step that differs, ``script`` the script that was followed until then, below the run's folder, ``seed`` its seed.
    """

    step: int
    first: int
    script: str
    seed: int


class Run:
    """One script on its way into one folder. ``go`` may be stopped (``session.stop``) and gone on with later."""

    def __init__(
        self,
        program: Program,
        script: Path,
        folder: Path,
        *,
        seed: int | None = None,
        device: str = "cpu",
        resume: bool = False,
        report: Report | None = None,
        overrides: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.overrides = overrides
        self.program = program
        self.report = report or Report()
        self.seed = seed if seed is not None else program.seed if program.seed is not None else DEFAULT_SEED
        self.device = device
        self.program_digest = program_digest(program, self.seed)
        self.script = script
        self.splices: list[Splice] = []
        self._given = Given(seed=seed, overrides=overrides)
        self._stopping = False
        self._written: RunState | None = None  # as results
        self._kept: RunState | None = None  # as a checkpoint
        guidance = make_guidance(
            program.guidance, Path(program.folder), device, first_settings(program.settings), self.report.message
        )
        checkpoint = self._checkpoint_to_resume(folder) if resume else None
        trainer, state = begin(program, guidance, seed=self.seed, device=device)
        self.spent = 0.0
        if checkpoint is not None:
            self.folder = RunFolder.open(folder)
            state, _, record = load_state(checkpoint, device)
            self.spent = float(record.get("seconds", 0.0))
            self.splices = [Splice(**splice) for splice in record.get("splices", ())]
            self.report.message(f"going on from {checkpoint.name}, step {state.step}")
        else:
            self.folder = RunFolder.create(folder, needed=SPACE_NEEDED)
            self._keep_inputs(script)
        self.kept_steps: set[int] = set()
        self.contact = ContactSheet(
            self.folder.output("contact", folder=True), from_step=state.step if checkpoint else None
        )
        self.timelapses = Timelapses(self.folder)
        self.metrics = self.folder.metrics(METRICS, resume_at=state.step + 1 if checkpoint else None)
        self._started = time.monotonic()
        self._saved = self._started
        hooks = Hooks(
            output=lambda operation, state: write_output(operation, state, self.folder, self.report.message, self.seed),
            checkpoint=self._checkpoint,
            frame=self.timelapses.frame,
            effect=self.report.effect,
            ended=lambda operation, state: self.report.ended(format_operation(operation), state.step),
            interaction=self.contact.add,
            stepped=self._stepped,
            pause=lambda state: self.report.message(f"step {state.step}: pause is for the window; going on"),
            replanned=self._replanned,
            finished=self._finish,
        )
        trainer = dataclasses.replace(trainer, listen=self.report.notes)
        self.session = Session(
            trainer, program.operations, state, policy=program.repair, hooks=hooks, given=self._given
        )

    # -- going ----------------------------------------------------------------------------------------------------------
    def go(
        self, drive: Callable[[Session], bool] | None = None, *, watch: bool = False, rewind: bool = False
    ) -> RunResult:
        """Advance to the end, or to the next boundary after ``stop``; everything that was reached is on disk afterwards.

        Args:
            drive: advances the session in its own way (a window does, and follows the script's file by itself); False where it cannot.
            watch: without a window: follow the script's files while they are edited.
            rewind: with ``watch``, an edit of the past goes back to before it and replays.
        """
        with self.folder.locked():
            try:
                if drive is not None and drive(self.session) is not False:
                    pass
                elif watch:
                    self._advance_watching(rewind)
                else:
                    self.session.advance()
                state = self.session.latest()
                complete = self.session.finished
                if complete:
                    self._finish(state)
                else:
                    self._save(state, None)
            except BaseException as error:
                self._save_what_was_reached(error)
                raise
            finally:
                self.metrics.close()
        return RunResult(
            folder=self.folder.path, state=state, complete=complete, seconds=self.seconds(), digest=digest(state)
        )

    @property
    def stopping(self) -> bool:
        """Whether ``stop`` has been called: a window that drives the run closes then."""
        return self._stopping

    def stop(self) -> None:
        """Make ``go`` return at the next step boundary. May be called from a signal handler."""
        self._stopping = True
        self.session.stop()

    # -- following the script -------------------------------------------------------------------------------------------
    def _advance_watching(self, rewind: bool) -> None:
        with ScriptWatcher(self.program, lambda: load_script(self.script, self.overrides)) as watcher:

            def boundary() -> None:
                if (saved := watcher.take()) is not None:
                    self.take_over(saved, rewind)

            self.session.hooks.boundary = boundary
            try:
                while not self._stopping:
                    try:
                        self.session.advance()
                        return
                    except OperationRefused as refusal:
                        self.session.retreat()
                        self.report.message(f"{refusal}\nwaiting for the script to be saved; Ctrl+C stops")
                    while not self._stopping:
                        if (saved := watcher.wait(0.1)) is not None and self.take_over(saved, rewind):
                            break
            finally:
                self.session.hooks.boundary = lambda: None

    def take_over(self, saved: Saved, rewind: bool) -> bool:
        """Follow the script as it was saved; a broken one, or one that cannot be followed, leaves the run as it is and is shown.

        Between two steps. Returns whether the run follows it.
        """
        loaded = saved.loaded
        if loaded.program is None:
            self.report.diagnostics(loaded)
            self.report.message(f"{self.script}: not followed; the run goes on with the script as it was")
            return False
        diverged = min((s.first for s in self.splices), default=None)
        try:
            outcome = follow(
                self.session,
                self.program,
                loaded.program,
                rewind=rewind,
                seed=self._given.seed,
                diverged=diverged,
                earlier=self._on_disk_before,
            )
        except ValueError as error:
            # Ours are made for people: a file of the new script that cannot be read, a number of steps that is over already.
            if not isinstance(error, ReplanRefused) and not type(error).__module__.startswith("interactive3d."):
                raise
            self.report.message(f"{self.script}: not followed: {error}")
            return False
        outcome = dataclasses.replace(outcome, seconds=outcome.seconds + saved.seconds)
        if outcome.first is not None or outcome.rewound:
            self.report.message("\n".join([f"{self.script} was saved: {outcome.lines()[0]}", *outcome.lines()[1:]]))
        return True

    def _on_disk_before(self, step: int) -> RunState | None:
        """The newest checkpoint of the program in force from before a step."""
        for path in reversed(snapshots(self.folder.checkpoints)):
            if step_of(path) >= step:
                continue
            with contextlib.suppress(FileProblem):
                state, belongs_to, _ = load_state(path, self.device)
                if belongs_to == self.program_digest:
                    return state
        return None

    def _replanned(self, outcome: Replanned) -> None:
        """The folder tells of the script that is followed now, and holds nothing of steps that will be taken anew."""
        trainer = self.session.trainer
        if outcome.rewound:
            self._forget_after(outcome.from_step, outcome)
        if outcome.spliced:
            self._splice(outcome)
        if outcome.first is None:
            self.program = outcome.program
            return
        self.program, self.seed = outcome.program, trainer.seed
        self.program_digest = program_digest(self.program, self.seed)
        self._keep_inputs(self.script)
        self._save(self.session.latest(), None)

    def _forget_after(self, step: int, outcome: Replanned) -> None:
        self.splices = [s for s in self.splices if s.step <= step]
        self.metrics.close()
        self.metrics = self.folder.metrics(METRICS, resume_at=step + 1)
        for path in snapshots(self.folder.checkpoints):
            if step_of(path) > step:
                path.unlink(missing_ok=True)
        self.kept_steps = {s for s in self.kept_steps if s <= step}
        self.contact = ContactSheet(self.folder.output("contact", folder=True), from_step=step)
        self.session.hooks.interaction = self.contact.add
        self.timelapses.forget_after(step)
        still = {op.path for op in outcome.program.operations if isinstance(op, WITH_FILE)}
        for op in outcome.old.operations:
            if isinstance(op, WITH_FILE) and op.path not in still and op.path in self.folder.owned():
                (self.folder.path / op.path).unlink(missing_ok=True)

    def _splice(self, outcome: Replanned) -> None:
        """The script that was followed so far is kept beside the new one, for `verify` to replay both."""
        assert outcome.first is not None
        number = len(self.splices) + 1
        target = self.folder.output(f"script-before-{number}", folder=True)
        for item in sorted(self.folder.output("script", folder=True).iterdir()):
            shutil.move(item, target / item.name)
        name = Path(outcome.old.sources[0].path).name if outcome.old.sources else self.script.name
        self.splices.append(
            Splice(step=outcome.step, first=outcome.first, script=f"{target.name}/{name}", seed=self.seed)
        )

    def as_script(self) -> str:
        """The run as a formatted script: its own operations and everything that was submitted, with its steps."""
        journal = self.session.latest().journal
        text = format_program(
            dataclasses.replace(self.program, operations=self.program.operations + journal, seed=self.seed)
        )
        if self.splices:
            first = min(s.first for s in self.splices)
            text = f"# The script was edited from step {first} on while it ran, and not replayed: this makes another object.\n{text}"
        return text

    def seconds(self) -> float:
        """Time spent on this run, earlier stretches included."""
        return self.spent + time.monotonic() - self._started

    def _checkpoint_to_resume(self, folder: Path) -> Path | None:
        newest = newest_whole(folder / "checkpoints")
        for reason in newest.skipped:
            self.report.message(f"skipped: {reason}")
        if newest.path is None:
            self.report.message("nothing to resume from; starting at step 0")
            return None
        _, belongs_to, _ = load_state(newest.path)
        if belongs_to != self.program_digest:
            raise FileProblem(
                newest.path,
                "was made by another script, seed or setting than this run",
                "run without --resume, or give back the script as it was",
            )
        return newest.path

    def _keep_inputs(self, script: Path) -> None:
        """The script as run, the files it uses and the files it reads, in the same places relative to each other."""
        base = Path(self.program.folder).resolve()
        used = [Path(s.path) for s in self.program.sources] or [script]
        read = [base / op.path for op in self.program.operations if isinstance(op, AddFile)]
        if isinstance(self.program.initial, InitMesh | InitSplats):
            read.append(base / self.program.initial.path)
        if self.program.guidance is not None and self.program.guidance.name == "reference":
            read += [base / model for model in self.program.guidance.models]
        for path in (*used, *read):
            source = path.resolve()
            if source.is_relative_to(base) and source.is_file():
                target = self.folder.output(f"script/{source.relative_to(base).as_posix()}")
                write_bytes(target, source.read_bytes())

    # -- hooks ----------------------------------------------------------------------------------------------------------
    def _stepped(self, state: RunState) -> None:
        found, seconds = state.metrics, self.seconds()
        self.metrics.append(
            {
                "step": state.step,
                "loss": f"{found.loss:.6g}",
                "blobs": found.blobs,
                "motion": f"{found.motion:.6g}",
                "active": "+".join(found.active),
                "seconds": f"{seconds:.3f}",
            }
        )
        self.report.stepped(state, self.session.trainer.steps, seconds)
        if time.monotonic() - self._saved > AUTOSAVE_SECONDS:
            self._saved = time.monotonic()
            # The boundary of this step is still to come; whoever resumes enters it.
            self._save(state, None)
            prune_snapshots(self.folder.checkpoints, CHECKPOINTS_KEPT, frozenset(self.kept_steps))

    def _checkpoint(self, state: RunState, name: str | None) -> str:
        """A checkpoint that the script asked for; it is never pruned."""
        self.kept_steps.add(state.step)
        return self._save(state, name)

    def _save(self, state: RunState, name: str | None) -> str:
        file = f"{name}-{snapshot_name(state.step)}" if name else snapshot_name(state.step)
        record = {"seconds": self.seconds(), "splices": [dataclasses.asdict(s) for s in self.splices]}
        save_state(self.folder.checkpoints / file, state, self.program_digest, record)
        self._kept = state
        return f"checkpoints/{file}"

    def _save_what_was_reached(self, error: BaseException) -> None:
        """A run that ends by an error loses nothing. What stands in the way of saving is not what went wrong first."""
        state = self.session.latest()
        if state is self._kept:
            return
        with contextlib.suppress(Exception):
            self._save(state, None)
            if not isinstance(error, OperationRefused):  # which the same script would meet again
                self.report.message(
                    f"what was reached, step {state.step}, is in {self.folder.path}; --resume goes on from it"
                )

    # -- the end --------------------------------------------------------------------------------------------------------
    def _finish(self, state: RunState) -> None:
        """The results. A window may stay open after the last step, and what is done in it then is written when it closes."""
        if state is self._written:
            return
        theirs = any(isinstance(op, Export) and op.path == RESULT for op in (*self.program.operations, *state.journal))
        if not theirs and len(state.model):
            write_splats(state.model, self.folder.output(RESULT))
        self.contact.write(self.folder.output("contact.png"), state, f"“{self.program.prompt or ''}”")
        self._save(state, None)
        self.folder.write_record(self.record(state))
        self._written = state

    def record(self, state: RunState) -> dict[str, Any]:
        """What run.json says: enough to make the same object again and to know whether it is the same."""
        return {
            "script": Path(self.program.sources[0].path).name if self.program.sources else None,
            "prompt": self.program.prompt,
            "steps": self.session.trainer.steps,
            "seed": self.seed,
            "first_seed": self.splices[0].seed if self.splices else self.seed,
            "given_seed": self._given.seed,
            "seconds": round(self.seconds(), 2),
            "device": self.device,
            "guidance": self.session.trainer.guidance.describe(),
            "blobs": len(state.model),
            "state_digest": digest(state),
            "program_digest": self.program_digest,
            "settings": state.settings.differing(),
            "params": {p.name: p.value for p in self.program.params},
            "overrides": [list(o) for o in self.overrides],
            "operations": [dataclasses.asdict(e) for e in state.effects],
            "journal": [to_json(op) for op in state.journal],
            "splices": [dataclasses.asdict(s) for s in self.splices],
            "sources": {Path(s.path).name: s.sha256 for s in self.program.sources},
            "versions": {
                "interactive3d": version("interactive3d"),
                "torch": torch.__version__,
                "python": platform.python_version(),
                "platform": platform.platform(),
                "threads": torch.get_num_threads(),
            },
        }
