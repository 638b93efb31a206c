"""What a run tells: to whoever listens while it goes on, when it is over, and in run.json."""

import dataclasses
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from interactive3d.dsl import Loaded
from interactive3d.dsl.program import Program
from interactive3d.runtime.engine.codec import to_json
from interactive3d.runtime.engine.hooks import Given
from interactive3d.runtime.engine.inputs import Splice, program_digest
from interactive3d.runtime.engine.snapshots import digest
from interactive3d.runtime.engine.state import Effect, RunState
from interactive3d.runtime.engine.trainer import StepNotes


@dataclass(kw_only=True)
class Report:
    """Whom a run tells what it does. All are called between steps.

    ``stepped`` hears the number of steps in all, and what this one took; see ``Session.step_seconds``.
    """

    stepped: Callable[[RunState, int, float | None], None] = lambda state, steps, seconds: None
    effect: Callable[[Effect], None] = lambda effect: None
    travelled: Callable[[Sequence[Effect], Sequence[Effect]], None] = lambda gone, back: None
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


def said_of(program: Program, seed: int, given: Given, splices: Sequence[Splice]) -> dict[str, Any]:
    """What was followed, and what the command line gave to it."""
    return {
        "script": Path(program.sources[0].path).name if program.sources else None,
        "prompt": program.prompt,
        "seed": seed,
        "first_seed": splices[0].seed if splices else seed,
        "given_seed": given.seed,
        "program_digest": program_digest(program, seed),
        "params": {p.name: p.value for p in program.params},
        "overrides": [list(o) for o in given.overrides],
        "splices": [dataclasses.asdict(s) for s in splices],
        "sources": {Path(s.path).name: s.sha256 for s in program.sources},
    }


def reached(state: RunState) -> dict[str, Any]:
    """What came out, and all that was done on the way."""
    return {
        "blobs": len(state.model),
        "state_digest": digest(state),
        "settings": state.settings.differing(),
        "operations": [dataclasses.asdict(e) for e in state.effects],
        "journal": [to_json(op) for op in state.journal],
    }


def versions() -> dict[str, Any]:
    """Of what bits depend on."""
    return {
        "interactive3d": version("interactive3d"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
    }
