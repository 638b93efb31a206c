"""Finished runs made again: what their record says, and whether the same object comes out."""

import dataclasses
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from interactive3d.dsl.operations import Operation
from interactive3d.dsl.program import Program
from interactive3d.runtime.engine.codec import operation_from_json
from interactive3d.runtime.engine.hooks import Hooks
from interactive3d.runtime.engine.inputs import SCRIPT, Splice
from interactive3d.runtime.engine.origin import Origin
from interactive3d.runtime.engine.record import Report
from interactive3d.runtime.engine.replan import follow
from interactive3d.runtime.engine.session import Session
from interactive3d.runtime.engine.snapshots import digest
from interactive3d.runtime.engine.start import begin, first_settings, make_guidance
from interactive3d.runtime.output.problems import FileProblem
from interactive3d.runtime.output.run_folder import RunFolder


def replay_digest(folder: Path, program: Program, record: dict[str, Any], report: Report) -> str:
    """The digest of running a program again without writing anything, as the ``record`` of the run in ``folder`` says it was run.

    Raises:
        FileProblem: another version wrote what was followed before the script was edited.
    """
    origin, splices = origin_of(folder, record), _splices(folder, record)
    # A seed holds from its splice on only; here the seeds in force stand in the programs.
    programs = [dataclasses.replace(origin.found(s.followed(folder)), seed=s.seed) for s in splices]
    programs.append(dataclasses.replace(origin.found(program), seed=record["seed"]))
    journal = tuple(operation_from_json(op) for op in record["journal"])
    first = programs[0]
    guidance = make_guidance(
        first.guidance, Path(first.folder), record["device"], first_settings(first.settings), report.message
    )
    assert first.seed is not None
    trainer, state = begin(first, guidance, seed=first.seed, device=record["device"], models=origin.script)
    hooks = Hooks(
        stepped=lambda s: report.stepped(s, session.trainer.steps, session.step_seconds),
        output=lambda o, s: "",
        checkpoint=lambda s, n: "",
    )
    session = Session(trainer, first.operations, state, policy=first.repair, hooks=hooks)
    _advance(session, splices, programs, origin.found_operations(journal, Path(program.folder)))
    return digest(session.latest())


def _advance(
    session: Session, splices: Sequence[Splice], programs: Sequence[Program], journal: Sequence[Operation]
) -> None:
    """To the end. Each script is exchanged for the next at its step, in the order that this and what was due and submitted there had."""
    left = list(zip(splices, pairwise(programs), strict=True))

    def submit() -> None:
        known = len(session.latest().journal)
        session.resubmit(journal[known : left[0][0].journal if left else None])

    def exchange() -> None:
        _, (old, new) = left.pop(0)
        follow(session, old, new, rewind=False)
        submit()

    def boundary() -> None:
        while left and left[0][0].step == session.latest().step and not left[0][0].entered:
            exchange()

    session.hooks.boundary = boundary
    submit()
    while left:
        splice, here = left[0][0], session.latest().step
        if splice.step > here or splice.entered:
            session.advance(splice.step - here)
        if left and left[0][0] is splice:
            exchange()
    session.advance()


def origin_of(folder: Path, record: dict[str, Any]) -> Origin:
    """Where the run in ``folder`` looked for what its script names."""
    return Origin.of(record, folder, folder / SCRIPT)


def _splices(folder: Path, record: dict[str, Any]) -> list[Splice]:
    try:
        return [Splice(**splice) for splice in record.get("splices", ())]
    except TypeError as error:
        raise FileProblem(
            folder / "run.json", f"tells of edits as another version did ({error})", "run the script again"
        ) from error


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
