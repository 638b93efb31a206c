"""A script run into a folder: outputs, metrics, checkpoints, the record, and going on after an interruption."""

import contextlib
import dataclasses
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from interactive3d.dsl import format_operation, format_program
from interactive3d.dsl.operations import Export, SettingValue
from interactive3d.dsl.program import Program
from interactive3d.runtime.engine.books import Books
from interactive3d.runtime.engine.differences import Replanned
from interactive3d.runtime.engine.hooks import Given, Hooks
from interactive3d.runtime.engine.inputs import Splice
from interactive3d.runtime.engine.memory import lighter
from interactive3d.runtime.engine.origin import LOOKED_IN, Origin
from interactive3d.runtime.engine.outputs import write_output
from interactive3d.runtime.engine.record import Report, RunResult, reached, said_of, versions
from interactive3d.runtime.engine.replan import ReplanRefused, follow
from interactive3d.runtime.engine.resume import Past, Resuming, changes, earlier_run
from interactive3d.runtime.engine.script import load_script
from interactive3d.runtime.engine.session import Session
from interactive3d.runtime.engine.session_script import session_program, told_from
from interactive3d.runtime.engine.snapshots import digest
from interactive3d.runtime.engine.start import begin, first_settings, make_guidance, seed_of, steps_of, trainer_of
from interactive3d.runtime.engine.state import RunState
from interactive3d.runtime.engine.trainer import Trainer
from interactive3d.runtime.engine.watch import Saved, ScriptWatcher
from interactive3d.runtime.guidance.large.memory import ran_out
from interactive3d.runtime.guidance.protocol import Guidance
from interactive3d.runtime.operations.base import OperationRefused
from interactive3d.runtime.output.run_folder import RunFolder
from interactive3d.runtime.output.splat_files import write_splats
from interactive3d.runtime.settings import Settings

AUTOSAVE_SECONDS = 30.0
RESULT = "splats.ply"
"""What every finished run leaves behind, unless its script exports something else under that name."""


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
        resume: bool | Resuming = False,
        report: Report | None = None,
        overrides: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """``resume`` goes on from the newest whole checkpoint in the folder, where there is one; as it says, or with an unchanged past."""
        self.overrides = overrides
        self.report = report or Report()
        self.device = device
        self.script = script
        self._given = Given(seed=seed, overrides=overrides)
        self._stopping = False
        self._written: RunState | None = None  # as results
        self._resuming = resume if isinstance(resume, Resuming) else None
        if resume is True and (earlier := earlier_run(folder, device, self.report.message)) is not None:
            self._resuming = Resuming(earlier=earlier)
        self._asked = program
        """The program to follow; a run that was taken up follows what it followed before until it goes on."""
        self._changed: Replanned | None = None
        if self._resuming is None:
            trainer, state, entered = self._begun(folder)
        else:
            trainer, state, entered = self._taken_up(self._resuming)
        self._saved = time.monotonic()
        self.session = Session(
            dataclasses.replace(trainer, listen=self.report.notes),
            self.program.operations,
            state,
            policy=self.program.repair,
            hooks=self._hooks(),
            given=self._given,
            entered=entered,
        )

    def _begun(self, folder: Path) -> tuple[Trainer, RunState, bool]:
        """A run from its first step on: its trainer, its first state, and whether what is due there is done."""
        program, seed = self._asked, seed_of(self._asked, self._given.seed)
        guidance = self._guidance(first_settings(program.settings))
        trainer, state = begin(program, guidance, seed=seed, device=self.device)
        self.books = Books.begun(folder, self.script, self._given, program, seed)
        return trainer, state, False

    def _taken_up(self, resuming: Resuming) -> tuple[Trainer, RunState, bool]:
        """A run as it was left, under what it followed then; ``_go_on`` has it follow the script as it is now."""
        earlier, program, seed = resuming.earlier, self._asked, seed_of(self._asked, self._given.seed)
        self._changed = changes(resuming, program, seed)
        followed = program if self._changed is None else earlier.program(program.folder)
        assert followed is not None
        trainer = trainer_of(program, self._guidance(resuming.settings), seed=earlier.record.seed, device=self.device)
        self.books = Books.taken_up(earlier, self.script, self._given, followed)
        self.report.message(f"going on from {earlier.path.name}, step {earlier.state.step}")
        return dataclasses.replace(trainer, steps=steps_of(followed)), earlier.state, earlier.record.entered

    @property
    def folder(self) -> RunFolder:
        """Where everything lands."""
        return self.books.folder

    @property
    def program(self) -> Program:
        """What is followed at present."""
        return self.books.program

    @property
    def splices(self) -> list[Splice]:
        """Changes of the script whose past was not replayed."""
        return self.books.splices

    def _guidance(self, settings: Settings) -> Guidance:
        program = self._asked
        return make_guidance(program.guidance, Path(program.folder), self.device, settings, self.report.message)

    def _hooks(self) -> Hooks:
        return Hooks(
            output=lambda operation, state: write_output(
                operation, state, self.folder, self.report.message, self.books.seed
            ),
            checkpoint=self._checkpoint,
            frame=self.books.timelapses.frame,
            effect=self.report.effect,
            travelled=self.report.travelled,
            ended=lambda operation, state: self.report.ended(format_operation(operation), state.step),
            interaction=lambda interaction: self.books.contact.add(interaction),
            stepped=self._stepped,
            pause=lambda state: self.report.message(f"step {state.step}: pause is for the window; going on"),
            replanned=self._replanned,
            finished=self._finish,
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
                self._go_on()
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
                elif not self._untouched(state):
                    self._save(state)
            except BaseException as error:
                self._save_what_was_reached(error)
                raise
            finally:
                self.books.metrics.close()
        return RunResult(
            folder=self.folder.path, state=state, complete=complete, seconds=self.books.seconds(), digest=digest(state)
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
        try:
            outcome = follow(
                self.session,
                self.program,
                loaded.program,
                rewind=rewind,
                seed=self._given.seed,
                diverged=self.books.diverged,
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
        return self.books.before(step, self.device)

    def _replanned(self, outcome: Replanned) -> None:
        """The folder tells of the script that is followed now, and holds nothing of steps that will be taken anew."""
        if outcome.first is not None or outcome.rewound:
            self.books.exchanged(outcome, self.session)
            self._save(self.session.latest())

    def _go_on(self) -> None:
        """Where the run was taken up: follow the script as it is now, with the settings that were given anew.

        The folder stays as it is until a step has been taken.
        """
        if self._resuming is None:
            return
        session, books, changed = self.session, self.books, self._changed
        if changed is not None:
            rewind = self._resuming.past is Past.REPLAYED
            if changed.behind and not rewind and session.entered:
                # What is due here belongs to what lies behind.
                session.advance(0)
            session.hooks.replanned = lambda outcome: books.exchanged(outcome, session)
            outcome = follow(
                session,
                changed.old,
                changed.program,
                rewind=rewind,
                diverged=books.diverged,
                earlier=self._on_disk_before,
                guidance=session.trainer.guidance,
            )
            session.hooks.replanned = self._replanned
            # The seeds in force stood in what was compared.
            books.follow(self._asked, session.trainer.seed)
            self.report.message("\n".join([f"{self.script} differs: {outcome.lines()[0]}", *outcome.lines()[1:]]))
        for operation in self._resuming.turned:
            if session.latest().settings.get(operation.path) != operation.value:
                session.submit(operation)

    def _untouched(self, state: RunState) -> bool:
        """Whether a run that was taken up has done nothing since that cannot be done again: no step taken, nothing by hand."""
        if self._resuming is None or not self.books.untouched:
            return False
        left = self._resuming.earlier.state
        return state.step <= left.step and len(state.journal) <= len(left.journal) + len(self._resuming.turned)

    def as_script(self, folder: Path) -> str:
        """The run as a formatted script that lies in ``folder``: its own operations and everything that was submitted, with its steps."""
        whole = session_program(
            self.program, self.session.latest(), seed=self.books.seed, steps=self.session.trainer.steps
        )
        text = format_program(told_from(whole, folder))
        if (first := self.books.diverged) is not None:
            text = f"# The script was edited from step {first} on while it ran, and not replayed: this makes another object.\n{text}"
        return text

    def resume_command(self, less: tuple[str, SettingValue] | None = None) -> str:
        """What goes on with this run on the command line; ``less`` is a setting and the value that it is to have."""
        words, values = ["interactive3d", "run", str(self.script), "--out", str(self.folder.path), "--resume"], {}
        if self._resuming is not None and self.books.untouched:
            # What was asked for this time has reached no checkpoint.
            values = self._resuming.words(self._given)
            words += {Past.KEPT: ["--keep-past"], Past.REPLAYED: ["--rewind"]}.get(self._resuming.past, [])
            if self._given.seed not in (None, self._resuming.earlier.record.given.seed):
                words += ["--seed", str(self._given.seed)]
        if less is not None:
            values[less[0]] = str(less[1])
        return shlex.join([*words, *(word for name, text in values.items() for word in ("--set", f"{name}={text}"))])

    # -- hooks ----------------------------------------------------------------------------------------------------------
    def _stepped(self, state: RunState) -> None:
        self.books.stepped(state)
        self.report.stepped(state, self.session.trainer.steps, self.session.step_seconds)
        if time.monotonic() - self._saved > AUTOSAVE_SECONDS:
            self._saved = time.monotonic()
            # The boundary of this step is still to come; whoever resumes enters it.
            self._save(state)
            self.books.prune()

    def _checkpoint(self, state: RunState, name: str | None) -> str:
        """A checkpoint that the script asked for; it is never pruned."""
        self.books.kept_steps.add(state.step)
        return self._save(state, name)

    def _save(self, state: RunState, name: str | None = None) -> str:
        return self.books.save(state, entered=self.session.entered, name=name)

    def _save_what_was_reached(self, error: BaseException) -> None:
        """A run that ends by an error loses nothing. What stands in the way of saving is not what went wrong first."""
        refused = isinstance(error, OperationRefused)
        if refused:
            # Its boundary lies ahead again, and a script in which it is mended goes on from there.
            self.session.retreat()
        state = self.session.latest()
        with contextlib.suppress(Exception):
            if state is not self.books.saved and not self._untouched(state):
                self._save(state)
            less = lighter(state, self.session.trainer.guidance) if ran_out(error) else None
            told = "go on with" if less is None else "it goes on with less memory by"
            if refused:
                told = "mend the script, then go on with"
            self.report.message(
                f"what was reached, step {state.step}, is in {self.folder.path}; {told}: {self.resume_command(less)}"
            )

    # -- the end --------------------------------------------------------------------------------------------------------
    def _finish(self, state: RunState) -> None:
        """The results. A window may stay open after the last step, and what is done in it then is written when it closes."""
        if state is self._written:
            return
        theirs = any(isinstance(op, Export) and op.path == RESULT for op in (*self.program.operations, *state.journal))
        if not theirs and len(state.model):
            write_splats(state.model, self.folder.output(RESULT))
        self.books.contact.write(self.folder.output("contact.png"), state, f"“{self.program.prompt or ''}”")
        self._save(state)
        self.folder.write_record(self.record(state))
        self._written = state

    def record(self, state: RunState) -> dict[str, Any]:
        """What run.json says: enough to make the same object again and to know whether it is the same."""
        trainer = self.session.trainer
        return {
            **said_of(self.program, self.books.seed, self._given, self.splices),
            LOOKED_IN: Origin(Path(self.program.folder), Path()).seen_from(self.folder.path),
            "steps": trainer.steps,
            "seconds": round(self.books.seconds(), 2),
            "device": self.device,
            "guidance": trainer.guidance.describe(),
            **reached(state),
            "versions": versions(),
        }
