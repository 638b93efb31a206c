"""A session written down: a script that makes the same object again, without whoever made it."""

import dataclasses
import os
from collections import Counter
from pathlib import Path, PurePath

from interactive3d.dsl import format_operation
from interactive3d.dsl.operations import AddFile, Operation
from interactive3d.dsl.program import GuidanceChoice, InitMesh, InitSplats, Program
from interactive3d.dsl.values import AtEnd, AtStep
from interactive3d.runtime.engine.state import RunState


def session_program(program: Program, state: RunState, *, seed: int, steps: int) -> Program:
    """The program that a run follows and all that was done by hand, as one program; ``steps`` and ``seed`` are the run's own."""
    return dataclasses.replace(program, operations=program.operations + done_by_hand(state, steps), seed=seed)


def done_by_hand(state: RunState, steps: int) -> tuple[Operation, ...]:
    """What was submitted and took effect, as a script says it.

    What was refused did nothing, and would stop a script. What was done after the last of ``steps`` happens `at end`.
    """
    refused = Counter((effect.step, effect.text) for effect in state.effects if effect.refused)
    done = []
    for operation in state.journal:
        at = operation.when.step if isinstance(operation.when, AtStep) else -1
        told = (at, format_operation(operation))
        if refused[told]:
            refused[told] -= 1
        else:
            done.append(dataclasses.replace(operation, when=AtEnd()) if at >= steps else operation)
    return tuple(done)


def told_from(program: Program, folder: Path) -> Program:
    """The same program for a script in another folder: the files that it reads are named from there."""

    def name(path: str) -> str:
        if PurePath(path).is_absolute():
            return path
        place = Path(program.folder).resolve() / path
        try:
            return Path(os.path.relpath(place, folder.resolve())).as_posix()
        except ValueError:  # on another drive there is no way from one to the other
            return place.as_posix()

    initial, guidance = program.initial, program.guidance
    if isinstance(initial, InitMesh | InitSplats):
        initial = dataclasses.replace(initial, path=name(initial.path))
    if guidance is not None:
        base = Path(program.folder)
        # The same clause holds the ids of models, which are no files.
        models = tuple(name(model) if (base / model).exists() else model for model in guidance.models)
        guidance = GuidanceChoice(name=guidance.name, models=models)
    operations = tuple(
        dataclasses.replace(op, path=name(op.path)) if isinstance(op, AddFile) else op for op in program.operations
    )
    return dataclasses.replace(
        program, initial=initial, guidance=guidance, operations=operations, folder=str(folder.resolve())
    )
