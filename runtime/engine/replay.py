"""Finished runs made again: what their record says, and whether the same object comes out."""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from interactive3d.dsl.program import Program
from interactive3d.runtime.engine.codec import operation_from_json
from interactive3d.runtime.engine.hooks import Hooks
from interactive3d.runtime.engine.replan import follow
from interactive3d.runtime.engine.run import Report
from interactive3d.runtime.engine.session import Session
from interactive3d.runtime.engine.snapshots import digest
from interactive3d.runtime.engine.start import begin, first_settings, make_guidance
from interactive3d.runtime.output.problems import FileProblem
from interactive3d.runtime.output.run_folder import RunFolder


def replay_digest(program: Program, record: dict[str, Any], report: Report, earlier: Sequence[Program] = ()) -> str:
    """The digest of running a program again without writing anything, as ``record`` says it was run.

    ``earlier`` are the programs that were followed before each of the record's splices.
    """
    programs = [*earlier, program]
    first = programs[0]
    guidance = make_guidance(
        first.guidance, Path(first.folder), record["device"], first_settings(first.settings), report.message
    )
    # A seed of an edited script holds from the splice on only.
    seed = record["seed"] if not earlier else record.get("first_seed", record["seed"])
    trainer, state = begin(first, guidance, seed=seed, device=record["device"])
    journal = tuple(operation_from_json(op) for op in record["journal"])
    state = dataclasses.replace(state, journal=journal)
    started = time.monotonic()
    splices = list(zip([s["step"] for s in record.get("splices", ())], programs, programs[1:], strict=False))

    def boundary() -> None:
        while splices and splices[0][0] == session.latest().step:
            _, old, new = splices.pop(0)
            follow(session, old, new, rewind=False, seed=record.get("given_seed"))

    hooks = Hooks(
        stepped=lambda s: report.stepped(s, session.trainer.steps, time.monotonic() - started),
        output=lambda o, s: "",
        checkpoint=lambda s, n: "",
        boundary=boundary,
    )
    session = Session(trainer, first.operations, state, policy=first.repair, hooks=hooks)
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
