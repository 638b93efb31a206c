"""A script run into a folder: outputs, metrics, checkpoints, the record, and going on after an interruption."""

import dataclasses
import hashlib
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from interactive3d.dsl import format_program
from interactive3d.dsl.operations import AddFile
from interactive3d.dsl.program import InitMesh, InitSplats, Program
from interactive3d.runtime.engine.codec import operation_from_json, to_json
from interactive3d.runtime.engine.outputs import ContactSheet, Timelapses, write_output
from interactive3d.runtime.engine.session import Hooks, Session
from interactive3d.runtime.engine.snapshots import digest, load_state, save_state
from interactive3d.runtime.engine.start import DEFAULT_SEED, begin, first_settings, make_guidance
from interactive3d.runtime.engine.state import Effect, RunState
from interactive3d.runtime.output.atomic import write_bytes
from interactive3d.runtime.output.checkpoints import newest_whole, prune_snapshots, snapshot_name
from interactive3d.runtime.output.problems import FileProblem
from interactive3d.runtime.output.run_folder import RunFolder
from interactive3d.runtime.output.splat_files import write_splats

AUTOSAVE_SECONDS = 30.0
CHECKPOINTS_KEPT = 3
SPACE_NEEDED = 200 << 20
METRICS = ("step", "loss", "blobs", "motion", "active", "seconds")


@dataclass(kw_only=True)
class Report:
    """Whom a run tells what it does. All are called between steps."""

    stepped: Callable[[RunState, int, float], None] = lambda state, steps, seconds: None
    effect: Callable[[Effect], None] = lambda effect: None
    message: Callable[[str], None] = lambda text: None


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
        self.guidance = make_guidance(
            program.guidance, Path(program.folder), device, first_settings(program.settings), self.report.message
        )
        checkpoint = self._checkpoint_to_resume(folder) if resume else None
        trainer, state = begin(program, self.guidance, seed=self.seed, device=device)
        self.spent = 0.0
        if checkpoint is not None:
            self.folder = RunFolder.open(folder)
            state, _, record = load_state(checkpoint, device)
            self.spent = float(record.get("seconds", 0.0))
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
            interaction=self.contact.add,
            stepped=self._stepped,
            pause=lambda state: self.report.message(f"step {state.step}: pause is for the window; going on"),
        )
        self.session = Session(trainer, program.operations, state, policy=program.repair, hooks=hooks)

    # -- going ----------------------------------------------------------------------------------------------------------
    def go(self, drive: Callable[[Session], Program | None] | None = None) -> RunResult:
        """Advance to the end, or to the next boundary after ``session.stop``; everything that was reached is on disk afterwards.

        ``drive`` advances the session in its own way (a window does) and gives back the program where it was exchanged meanwhile.
        """
        with self.folder.locked(), self.metrics:
            if drive is None:
                self.session.advance()
            elif (program := drive(self.session)) is not None and program != self.program:
                self.program = program
                self.program_digest = program_digest(program, self.seed)
                self._keep_inputs(Path(program.sources[0].path) if program.sources else Path(program.folder))
            state = self.session.latest()
            complete = self.session.finished
            if complete:
                self._finish(state)
            else:
                self._save(state, None)
        return RunResult(
            folder=self.folder.path, state=state, complete=complete, seconds=self.seconds(), digest=digest(state)
        )

    def as_script(self) -> str:
        """The run as a formatted script: its own operations and everything that was submitted, with its steps."""
        journal = self.session.latest().journal
        return format_program(
            dataclasses.replace(self.program, operations=self.program.operations + journal, seed=self.seed)
        )

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
        save_state(self.folder.checkpoints / file, state, self.program_digest, {"seconds": self.seconds()})
        return f"checkpoints/{file}"

    # -- the end --------------------------------------------------------------------------------------------------------
    def _finish(self, state: RunState) -> None:
        if not (self.folder.path / "splats.ply").exists() and len(state.model):
            write_splats(state.model, self.folder.output("splats.ply"))
        self.contact.write(self.folder.output("contact.png"), state, f"“{self.program.prompt or ''}”")
        self._save(state, None)
        self.folder.write_record(self.record(state))

    def record(self, state: RunState) -> dict[str, Any]:
        """What run.json says: enough to make the same object again and to know whether it is the same."""
        return {
            "script": Path(self.program.sources[0].path).name if self.program.sources else None,
            "prompt": self.program.prompt,
            "steps": self.session.trainer.steps,
            "seed": self.seed,
            "seconds": round(self.seconds(), 2),
            "device": self.device,
            "guidance": self.guidance.describe(),
            "blobs": len(state.model),
            "state_digest": digest(state),
            "program_digest": self.program_digest,
            "settings": state.settings.differing(),
            "params": {p.name: p.value for p in self.program.params},
            "overrides": [list(o) for o in self.overrides],
            "operations": [dataclasses.asdict(e) for e in state.effects],
            "journal": [to_json(op) for op in state.journal],
            "sources": {Path(s.path).name: s.sha256 for s in self.program.sources},
            "versions": {
                "interactive3d": version("interactive3d"),
                "torch": torch.__version__,
                "python": platform.python_version(),
                "platform": platform.platform(),
                "threads": torch.get_num_threads(),
            },
        }


def replay_digest(program: Program, record: dict[str, Any], report: Report) -> str:
    """The digest of running a program again without writing anything, as ``record`` says it was run."""
    guidance = make_guidance(
        program.guidance, Path(program.folder), record["device"], first_settings(program.settings), report.message
    )
    trainer, state = begin(program, guidance, seed=record["seed"], device=record["device"])
    journal = tuple(operation_from_json(op) for op in record["journal"])
    state = dataclasses.replace(state, journal=journal)
    started = time.monotonic()
    hooks = Hooks(
        stepped=lambda s: report.stepped(s, trainer.steps, time.monotonic() - started),
        output=lambda o, s: "",
        checkpoint=lambda s, n: "",
    )
    session = Session(trainer, program.operations, state, policy=program.repair, hooks=hooks)
    return digest(session.advance())


def read_record(folder: Path) -> dict[str, Any]:
    """A finished run's record.

    Raises:
        FileProblem: the folder holds no finished run, or its record is damaged.
    """
    record = RunFolder.open(folder).read_record()
    for name in ("state_digest", "seed", "device", "journal", "script", "overrides", "versions"):
        if name not in record:
            raise FileProblem(folder / "run.json", f"lacks {name!r}", "run the script again")
    return record
