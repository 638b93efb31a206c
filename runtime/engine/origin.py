"""Where a run's script lay and where the program ran, so that what its folder does not keep is found when it is made again.

A run's folder keeps the files below the script that the script reads. Models, and files outside, it does not: `run.json` says where those
names were looked for, as seen from the run's folder, so that a project that is moved as a whole is understood in its new place too.
"""

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interactive3d.dsl.operations import AddFile, Operation
from interactive3d.dsl.program import CheckContext, InitMesh, InitSplats, Program

LOOKED_IN = "looked_in"
FOLDERS = "diffusers"
"""The guidance whose models are folders; those of the others are files."""


@dataclass(frozen=True)
class Origin:
    """The folders in which names were looked for: of files in the script's, of models also where the program ran."""

    script: Path
    program: Path

    @classmethod
    def of(cls, record: Mapping[str, Any], run: Path, kept: Path) -> "Origin":
        """As the record of the run in ``run`` says; where an older version wrote it, the script as it is ``kept`` and where this runs."""
        told = record.get(LOOKED_IN)
        if not isinstance(told, Mapping) or not all(isinstance(told.get(n), str) for n in ("script", "program")):
            return cls(kept, Path())
        script, program = ((run.resolve() / told[n]).resolve() for n in ("script", "program"))
        return cls(script, program)

    def seen_from(self, run: Path) -> dict[str, str]:
        """What `run.json` says; ``Origin.of`` reads it."""
        return {"script": _seen_from(run, self.script), "program": _seen_from(run, self.program)}

    def found(self, program: Program) -> Program:
        """The program with what its folder, that of the kept script, does not hold named by its place."""
        kept = Path(program.folder)
        initial, guidance = program.initial, program.guidance
        if isinstance(initial, InitMesh | InitSplats):
            initial = dataclasses.replace(initial, path=self._file(initial.path, kept))
        if guidance is not None:
            models = [self._model(m) if guidance.name == FOLDERS else self._file(m, kept) for m in guidance.models]
            guidance = dataclasses.replace(guidance, models=tuple(models))
        operations = self.found_operations(program.operations, kept)
        return dataclasses.replace(program, initial=initial, guidance=guidance, operations=operations)

    def found_operations(self, operations: tuple[Operation, ...], kept: Path) -> tuple[Operation, ...]:
        """The same of operations."""
        return tuple(
            dataclasses.replace(op, path=self._file(op.path, kept)) if isinstance(op, AddFile) else op
            for op in operations
        )

    def context(self, context: CheckContext, kept: Path) -> CheckContext:
        """For a check of the script in ``kept``: a name that leads to something where the run looked is no fault."""
        asked, exists = context.model_trouble, context.file_exists
        assert asked is not None and exists is not None

        def file_exists(path: Path) -> bool:
            return exists(path) or exists(self.script / os.path.relpath(path, kept))

        def model_trouble(guidance: str, name: str, folder: Path) -> str | None:
            return asked(guidance, self._model(name) if guidance == FOLDERS else name, folder)

        return dataclasses.replace(context, file_exists=file_exists, model_trouble=model_trouble)

    def _file(self, name: str, kept: Path) -> str:
        there = self.script / name
        return name if (kept / name).is_file() or not there.is_file() else str(there)

    def _model(self, name: str) -> str:
        """By its place where the run found it; else as it is, for it may be an id, or may be here now."""
        path = os.path.expanduser(name)
        places = (Path(os.path.abspath(folder / path)) for folder in (self.script, self.program))
        return next((str(place) for place in places if place.is_dir()), name)


def _seen_from(run: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(folder.resolve(), run.resolve())).as_posix()
    except ValueError:  # on another drive there is no way from one to the other
        return folder.resolve().as_posix()
