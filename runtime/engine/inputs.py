"""What a run follows, kept in its folder: the script as it is followed, the scripts that were followed before, and what they read."""

import dataclasses
import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interactive3d.dsl.operations import AddFile
from interactive3d.dsl.program import InitMesh, InitSplats, Program
from interactive3d.runtime.engine.codec import program_from_json, to_json
from interactive3d.runtime.engine.hooks import Given
from interactive3d.runtime.output.atomic import write_bytes
from interactive3d.runtime.output.run_folder import RunFolder

SCRIPT = "script"
"""The folder, below the run's, of the script as it is followed."""


def program_digest(program: Program, seed: int) -> str:
    """What must be equal for a checkpoint to belong to a script: everything that the program says, and the seed."""
    said = dataclasses.replace(program, sources=(), folder=".", params=())
    return hashlib.sha256(f"{said!r}/{seed}".encode()).hexdigest()


def program_record(program: Program) -> dict[str, Any]:
    """A program as JSON: all that its digest is made of. ``program_from_json`` reads it."""
    record: dict[str, Any] = to_json(dataclasses.replace(program, sources=(), folder=".", params=()))
    return record


@dataclass(frozen=True, kw_only=True)
class Splice:
    """A change of the script whose past was not replayed: from ``step`` on the run is another than a fresh one.

    ``first`` is the first step that differs. ``program`` is what was followed until then, as JSON, and ``seed`` its seed; ``script`` is
    its text, below the run's folder, in a folder with all that it reads. ``entered`` says whether what was due at ``step`` had been done,
    ``journal`` how much of what was done by hand.
    """

    step: int
    first: int
    script: str
    seed: int
    program: Mapping[str, Any]
    entered: bool
    journal: int

    def followed(self, folder: Path) -> Program:
        """The program that was followed until then; ``folder`` is the run's.

        Raises:
            ValueError: it was recorded by another version.
        """
        return dataclasses.replace(program_from_json(self.program), folder=str((folder / self.script).parent))


@dataclass(frozen=True, kw_only=True)
class CheckpointRecord:
    """What a checkpoint holds besides the state: what was followed and given, and how far the run's books have come.

    ``entered`` says whether what is due at the state's step has been done; ``kept`` are the steps whose checkpoints are never pruned.
    """

    seconds: float
    seed: int
    given: Given
    program: Mapping[str, Any]
    entered: bool
    splices: tuple[Splice, ...] = ()
    kept: tuple[int, ...] = ()

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "CheckpointRecord":
        """Raises TypeError or KeyError where another version wrote it."""
        given = record["given"]
        overrides = tuple((name, text) for name, text in given["overrides"])
        parts = {
            "given": Given(seed=given["seed"], overrides=overrides),
            "splices": tuple(Splice(**splice) for splice in record["splices"]),
            "kept": tuple(record["kept"]),
        }
        return cls(**{**record, **parts})


def keep_script(program: Program, script: Path, folder: RunFolder) -> None:
    """The script as it is followed, the files it uses and the files it reads, in the same places relative to each other, and no others."""
    base = Path(program.folder).resolve()
    used = [Path(s.path) for s in program.sources] or [script]
    read = [base / op.path for op in program.operations if isinstance(op, AddFile)]
    if isinstance(program.initial, InitMesh | InitSplats):
        read.append(base / program.initial.path)
    if program.guidance is not None and program.guidance.name == "reference":
        read += [base / model for model in program.guidance.models]
    kept = set()
    for path in (*used, *read):
        source = path.resolve()
        if source.is_relative_to(base) and source.is_file():
            name = f"{SCRIPT}/{source.relative_to(base).as_posix()}"
            write_bytes(folder.output(name), source.read_bytes())
            kept.add(name)
    for name in folder.owned():
        if name.startswith(f"{SCRIPT}/") and name not in kept:
            (folder.path / name).unlink(missing_ok=True)


def keep_former(splice: Splice, folder: RunFolder) -> None:
    """The script that was followed until a splice, as it lies in the folder, and what it reads."""
    target = folder.output(str(Path(splice.script).parent), folder=True)
    shutil.copytree(folder.output(SCRIPT, folder=True), target, dirs_exist_ok=True)


def script_name(program: Program, script: Path) -> str:
    """The file name of a program's own script."""
    return Path(program.sources[0].path).name if program.sources else script.name
