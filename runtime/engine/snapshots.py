"""Run states as files and back: everything needed to go on, bit for bit.

A snapshot is one safetensors file with a JSON header (output.checkpoints): the model's columns, what the terms hold, the settings, the
journal and what has fired. ``digest`` is the number that two runs are compared by.
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from torch import Tensor

from interactive3d.runtime.engine import stage2
from interactive3d.runtime.engine.codec import operation_from_json, to_json
from interactive3d.runtime.engine.state import Effect, Metrics, RunState
from interactive3d.runtime.operations import restore_term
from interactive3d.runtime.operations.base import Term
from interactive3d.runtime.output.checkpoints import load_snapshot, save_snapshot
from interactive3d.runtime.output.problems import FileProblem
from interactive3d.runtime.output.run_folder import state_digest
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.settings import LATER, SPECS, Settings

STATE_VERSION = 1


def digest(state: RunState) -> str:
    """SHA-256 over every column of the model, its tags, the step and the settings: equal for equal runs, on the CPU to the bit."""
    columns = state_digest(dict(state.model.columns))
    turned = state.settings.differing()
    counted = sorted((p, state.settings.get(p)) for p in SPECS if p not in LATER or p in turned)
    rest = repr((state.step, state.model.tag_names, counted))
    if state.field is not None:
        tensors, meta = state.field.parts()
        rest = f"{rest}|{state_digest(tensors)}|{json.dumps(meta, sort_keys=True)}"
    return hashlib.sha256(f"{columns}|{rest}".encode()).hexdigest()


def save_state(path: Path, state: RunState, program_digest: str, record: dict[str, Any]) -> None:
    """Write a state atomically. ``record`` is kept as given, for the run's own bookkeeping.

    Raises:
        FileProblem: the disk is full or the place cannot be written.
    """
    tensors: dict[str, Tensor] = {f"model/{name}": column.cpu() for name, column in state.model.columns.items()}
    for term in state.terms:
        tensors |= {f"term/{term.key}/{name}": tensor.cpu() for name, tensor in term.tensors.items()}
    if state.shape_volume is not None:
        tensors["shape_volume"] = state.shape_volume.cpu()
    field_meta = None
    if state.field is not None:
        field_tensors, field_meta = state.field.parts()
        tensors |= {f"field/{name}": tensor for name, tensor in field_tensors.items()}
    meta = {
        "field": field_meta,
        "state_version": STATE_VERSION,
        "step": state.step,
        "program": program_digest,
        "tags": list(state.model.tag_names),
        "settings": {p: state.settings.get(p) for p in SPECS},
        "terms": [
            {
                "key": t.key,
                "operation": to_json(t.operation),
                "start": t.start,
                "steps": t.steps,
                "state": dict(t.state),
            }
            for t in state.terms
        ],
        "fired": {str(k): v for k, v in state.fired.items()},
        "finished": dict(state.finished),
        "streaks": {str(k): v for k, v in state.streaks.items()},
        "journal": [to_json(op) for op in state.journal],
        "effects": [dataclasses.asdict(e) for e in state.effects],
        "metrics": dataclasses.asdict(state.metrics),
        "terms_begun": state.terms_begun,
        "shape_volume_step": state.shape_volume_step,
        "digest": digest(state),
        "record": record,
    }
    save_snapshot(path, tensors, meta)


def load_state(path: Path, device: str = "cpu") -> tuple[RunState, str, dict[str, Any]]:
    """The state, the digest of the program it belongs to, and the record.

    Raises:
        FileProblem: not a snapshot, damaged, or of another version.
    """
    tensors, meta = load_snapshot(path)
    try:
        if meta["state_version"] != STATE_VERSION:
            raise FileProblem(
                path,
                f"holds a run state of version {meta['state_version']}, this program reads {STATE_VERSION}",
                "run the script anew",
            )
        columns = {
            name.removeprefix("model/"): t.to(device) for name, t in tensors.items() if name.startswith("model/")
        }
        settings = Settings()
        for name, value in meta["settings"].items():
            settings = settings.set(name, value)
        terms = tuple(
            _restored(
                key=t["key"],
                operation=operation_from_json(t["operation"]),
                start=t["start"],
                steps=t["steps"],
                tensors={
                    n.split("/", 2)[2]: v.to(device) for n, v in tensors.items() if n.startswith(f"term/{t['key']}/")
                },
                state=t["state"],
            )
            for t in meta["terms"]
        )
        state = RunState(
            step=meta["step"],
            model=GaussianModel(columns, tuple(meta["tags"])),
            settings=settings,
            terms=terms,
            fired={int(k): v for k, v in meta["fired"].items()},
            finished=meta["finished"],
            streaks={int(k): v for k, v in meta["streaks"].items()},
            journal=tuple(operation_from_json(op) for op in meta["journal"]),
            effects=tuple(Effect(**e) for e in meta["effects"]),
            metrics=Metrics(**{**meta["metrics"], "active": tuple(meta["metrics"]["active"])}),
            terms_begun=meta["terms_begun"],
            shape_volume=tensors["shape_volume"].to(device) if "shape_volume" in tensors else None,
            shape_volume_step=meta["shape_volume_step"],
            field=_field(tensors, meta, device),
        )
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, FileProblem):
            raise
        raise FileProblem(
            path, f"does not hold a run state that this version can read ({error})", "run the script anew"
        ) from error
    if digest(state) != meta["digest"]:
        raise FileProblem(
            path, "holds a state whose digest is not the one it was saved with", "use an older checkpoint"
        )
    return state, meta["program"], meta["record"]


def _restored(**kept: Any) -> Term:
    """A term of either stage."""
    return stage2.restore(**kept) or restore_term(**kept)


def _field(tensors: dict[str, Tensor], meta: dict[str, Any], device: str) -> stage2.FieldState | None:
    """The field, where the run had one; snapshots of stage I have none."""
    if meta.get("field") is None:
        return None
    parts = {name.removeprefix("field/"): t for name, t in tensors.items() if name.startswith("field/")}
    return stage2.FieldState.from_parts(parts, meta["field"], device)
