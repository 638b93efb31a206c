"""Going on with a run that was stopped: what its newest checkpoint holds, what it was given, and whether the script may differ by now.

An edit that lies ahead is followed, as while a run goes on; one that lies behind has to be asked for, for it makes another object than
either script. Settings that are given anew on the command line are turned where the run stands, as they are in the window.
"""

import contextlib
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from interactive3d.dsl import Loaded
from interactive3d.dsl.operations import SetValue
from interactive3d.dsl.program import Program
from interactive3d.runtime.engine.codec import program_from_json
from interactive3d.runtime.engine.differences import Replanned, another, compare
from interactive3d.runtime.engine.hooks import Given
from interactive3d.runtime.engine.inputs import SCRIPT, CheckpointRecord, program_digest
from interactive3d.runtime.engine.script import load_script
from interactive3d.runtime.engine.snapshots import load_state
from interactive3d.runtime.engine.start import steps_of
from interactive3d.runtime.engine.state import RunState
from interactive3d.runtime.output.checkpoints import newest_whole, snapshots, step_of
from interactive3d.runtime.output.problems import FileProblem
from interactive3d.runtime.output.run_folder import CHECKPOINTS
from interactive3d.runtime.settings import HOW, SPECS, Settings

CPU = "cpu"


class Past(Enum):
    """What becomes of a resumed run whose script differs in what lies behind."""

    REFUSED = "refused"
    KEPT = "kept"
    REPLAYED = "replayed"


class ResumeRefused(ValueError):
    """A run that cannot be gone on with as it was asked for; nothing has changed. Says what differs and what to do."""


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """A run as its newest whole checkpoint holds it; ``belongs_to`` is the digest of the program that it followed."""

    folder: Path
    path: Path
    state: RunState
    belongs_to: str
    record: CheckpointRecord

    def program(self, folder: str) -> Program | None:
        """The program that it followed, for scripts in ``folder``; None where this version understands it in another way."""
        with contextlib.suppress(ValueError):
            program = dataclasses.replace(program_from_json(self.record.program), folder=folder)
            if program_digest(program, self.record.seed) == self.belongs_to:
                return program
        return None


@dataclass(frozen=True, kw_only=True)
class Resuming:
    """How a run is gone on with: from where, what becomes of changes behind, and the settings that are turned at once."""

    earlier: Earlier
    past: Past = Past.REFUSED
    turned: tuple[SetValue, ...] = ()

    @property
    def settings(self) -> Settings:
        """The settings that the next step will have."""
        settings = self.earlier.state.settings
        for operation in self.turned:
            settings = settings.set(operation.path, operation.value)
        return settings

    def words(self, given: Given) -> dict[str, str]:
        """What was asked for, as the command line has it: values of --set by name."""
        before = dict(self.earlier.record.given.overrides)
        values = {name: text for name, text in given.overrides if before.get(name) != text}
        words = {True: "on", False: "off"}
        for operation in self.turned:
            value = operation.value
            values[operation.path] = words[value] if isinstance(value, bool) else str(value)
        return values


def earlier_run(folder: Path, device: str, tell: Callable[[str], None]) -> Earlier | None:
    """The run in a folder, from its newest whole checkpoint; None where there is none. ``tell`` hears of damaged ones.

    Raises:
        FileProblem: the checkpoint is of another version.
    """
    newest = newest_whole(folder / CHECKPOINTS)
    for reason in newest.skipped:
        tell(f"skipped: {reason}")
    if newest.path is None:
        tell("nothing to resume from; starting at step 0")
        return None
    state, belongs_to, record = load_state(newest.path, device)
    try:
        whole = CheckpointRecord.from_json(record)
    except (KeyError, TypeError, ValueError) as error:
        raise FileProblem(
            newest.path,
            f"was written by another version of this program, which kept other things with a state ({error})",
            "go on with that version, or begin anew without --resume",
        ) from error
    return Earlier(folder=folder, path=newest.path, state=state, belongs_to=belongs_to, record=whole)


def state_before(folder: Path, step: int, belongs_to: str, device: str) -> RunState | None:
    """The newest checkpointed state of a program from before a step."""
    for path in reversed(snapshots(folder / CHECKPOINTS)):
        if step_of(path) >= step:
            continue
        with contextlib.suppress(FileProblem):
            state, owner, _ = load_state(path, device)
            if owner == belongs_to:
                return state
    return None


# -- what the run is given ----------------------------------------------------------------------------------------------
def load_to_resume(
    script: Path, asked: Given, earlier: Earlier, tell: Callable[[str], None]
) -> tuple[Loaded, Given, tuple[SetValue, ...]]:
    """The script under what the run was given before and is given now; with the settings that are turned from here on.

    What was given stays, and need not be given again. A param that is given anew makes another program, a setting is turned.
    """
    before = dict(earlier.record.given.overrides)
    by_hand = {op.path for op in earlier.state.journal if isinstance(op, SetValue)}
    # Given as at the beginning, and never turned since: nothing new.
    news = {name: text for name, text in asked.overrides if before.get(name) != text or name in by_hand}
    turned = {name: text for name, text in news.items() if name in SPECS}
    values = {**before, **{name: text for name, text in news.items() if name not in SPECS}}
    for name in [n for n in before if n not in dict(asked.overrides) and _unknown(script, n, values[n])]:
        tell(f"--set {name}={values.pop(name)}, which the run was begun with, is left out: the script has no such name")
    seed = asked.seed if asked.seed is not None else earlier.record.given.seed
    given = Given(seed=seed, overrides=tuple(values.items()))
    loaded = load_script(script, (*given.overrides, *turned.items()))
    if loaded.program is None or not turned:
        return loaded, given, ()
    wanted = dict(loaded.program.settings)
    operations = tuple(SetValue(path=path, value=wanted[path]) for path in turned)
    return dataclasses.replace(loaded, program=load_script(script, given.overrides).program), given, operations


def _unknown(script: Path, name: str, text: str) -> bool:
    """Whether a script has a name neither as a param nor as a setting."""
    return any(d.code == "E0218" for d in load_script(script, ((name, text),)).diagnostics)


# -- whether the script may differ --------------------------------------------------------------------------------------
def changes(resuming: Resuming, program: Program, seed: int) -> Replanned | None:
    """What going on with ``program`` changes; None where it is what the run followed. The seeds in force stand in both programs.

    Raises:
        ResumeRefused: what lies behind differs, and nothing was said of what is to become of it; or the run cannot follow.
    """
    earlier = resuming.earlier
    if earlier.belongs_to == program_digest(program, seed):
        return None
    followed = earlier.program(program.folder)
    if followed is None:
        raise ResumeRefused(
            f"{earlier.path}: was made by another script, seed or setting than this run, and by another version of the program, "
            f"so they cannot be compared; give back the script as it was ({_kept(earlier)}), or begin anew without --resume"
        )
    old, new = dataclasses.replace(followed, seed=earlier.record.seed), dataclasses.replace(program, seed=seed)
    found = compare(old, new, earlier.state, entered=earlier.record.entered)
    steps = steps_of(new)
    if steps < earlier.state.step:
        raise ResumeRefused(
            f"{earlier.folder}: its run has come to step {earlier.state.step}, and the script says steps {steps}; "
            "give it more steps, or begin anew without --resume"
        )
    back = _goes_back_to(earlier, found) if found.behind else None
    if resuming.past is Past.REFUSED and found.behind and not _only_how(old, new, earlier):
        raise ResumeRefused(_refusal(earlier, found, back))
    if resuming.past is Past.REPLAYED and found.behind and back is None:
        raise ResumeRefused(
            f"{_differs(earlier, found)}\n--rewind has nothing to go back to: {_why_not_back(found)}. "
            f"--keep-past goes on from step {found.step}; without --resume the script is run anew"
        )
    if resuming.past is Past.REPLAYED and back is not None:
        return dataclasses.replace(found, from_step=back)
    return found


def _only_how(old: Program, new: Program, earlier: Earlier) -> bool:
    """Whether what differs behind is only how the run computes, not what."""
    was, will = (
        dataclasses.replace(p, settings=tuple((path, value) for path, value in p.settings if path not in HOW))
        for p in (old, new)
    )
    return not compare(was, will, earlier.state, entered=earlier.record.entered).behind


def _goes_back_to(earlier: Earlier, found: Replanned) -> int | None:
    """The step that --rewind would go back to; None where nothing of the run could stay."""
    if found.first is None or another(found.old, found.program):
        return None
    first = min([found.first, *(s.first for s in earlier.record.splices)])
    state = state_before(earlier.folder, first, earlier.belongs_to, CPU)
    return None if state is None else state.step


def _why_not_back(found: Replanned) -> str:
    if another(found.old, found.program):
        return "the run is another from its first step on"
    return f"no checkpoint is left from before step {found.first}"


def _differs(earlier: Earlier, found: Replanned) -> str:
    edits = "\n".join(found.edit_lines())
    return f"{earlier.folder}: its run has come to step {found.step}, and what lies behind differs by now:\n{edits}"


def _refusal(earlier: Earlier, found: Replanned, back: int | None) -> str:
    lines = [
        _differs(earlier, found),
        f"--keep-past goes on from step {found.step} all the same: the past stays as it was, the changes hold from there on",
    ]
    if back is not None:
        lines.append(f"--rewind goes back to step {back} and replays under this script")
    lines.append(f"or give back the script as it was ({_kept(earlier)}), or begin anew without --resume")
    return "\n".join(lines)


def _kept(earlier: Earlier) -> Path:
    return earlier.folder / SCRIPT
