"""States to files and back: the run that goes on from a file ends where the undisturbed one ends."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interactive3d.dsl.operations import (
    OPERATION_KINDS,
    AtStep,
    Box,
    Drag,
    DragMode,
    Edit,
    Move,
    Operation,
    Print,
    Rotate,
    ShapePart,
)
from interactive3d.runtime.engine import snapshots
from interactive3d.runtime.engine.codec import operation_from_json, to_json
from interactive3d.runtime.engine.session import Session
from interactive3d.runtime.engine.snapshots import digest, load_state, save_state
from interactive3d.runtime.engine.state import RunState
from interactive3d.runtime.engine.trainer import Trainer
from interactive3d.runtime.output.problems import FileProblem
from interactive3d.runtime.settings import LATER, SPECS

MakeRun = Callable[..., tuple[Trainer, RunState]]
TOP = ShapePart(shape=Box(low=(-1.0, 0.1, -1.0), high=(1.0, 1.0, 1.0)))
OPERATIONS: list[Operation] = [
    Rotate(part=TOP, degrees=30.0, axis=(0.0, 1.0, 0.0), when=AtStep(step=1)),
    Drag(
        source=(0.0, 0.4, 0.0),
        target=(0.0, 0.7, 0.0),
        radius=0.2,
        mode=DragMode.DEFORMABLE,
        steps=4,
        when=AtStep(step=2),
    ),
    Drag(
        source=(0.0, -0.4, 0.0), target=(0.3, -0.6, 0.0), radius=0.2, mode=DragMode.RIGID, steps=4, when=AtStep(step=4)
    ),
    Edit(part=TOP, prompt="goal", steps=4, when=AtStep(step=9)),
]


def test_a_run_resumed_at_any_step_ends_with_the_same_digest(make_run: MakeRun, tmp_path: Path) -> None:
    trainer, start = make_run(steps=16)
    straight = Session(trainer, OPERATIONS, start)
    saved = []
    for step in range(16):
        state = straight.advance(1)
        if step % 3 == 0:
            path = tmp_path / f"{step}.safetensors"
            save_state(path, state, "program", {"seconds": 1.5})
            saved.append(path)
    for path in saved:
        state, program, record = load_state(path)
        assert program == "program" and record == {"seconds": 1.5}
        assert digest(Session(trainer, OPERATIONS, state).advance()) == digest(straight.latest())


def test_what_was_submitted_is_in_the_snapshot_and_replays(make_run: MakeRun, tmp_path: Path) -> None:
    trainer, start = make_run(steps=10)
    session = Session(trainer, [], start)
    session.advance(3)
    session.submit(Move(part=TOP, by=(0.1, 0.0, 0.0)))
    session.advance()
    save_state(tmp_path / "x.safetensors", session.latest(), "p", {})
    loaded, _, _ = load_state(tmp_path / "x.safetensors")
    assert loaded.journal == (Move(part=TOP, by=(0.1, 0.0, 0.0), when=AtStep(step=3)),)
    again = Session(trainer, [], dataclasses.replace(start, journal=loaded.journal))
    assert digest(again.advance()) == digest(loaded)


def test_a_setting_that_came_later_counts_where_it_is_turned(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Digests that were recorded before there was such a setting still hold."""
    _, state = make_run()
    found = digest(state)
    for path in LATER:
        spec = SPECS[path]
        other = next(c for c in spec.choices or (spec.high,) if c != spec.default)
        assert digest(dataclasses.replace(state, settings=state.settings.set(path, other))) != found
    monkeypatch.setattr(snapshots, "SPECS", {p: s for p, s in SPECS.items() if p not in LATER})
    assert digest(state) == found


def test_a_damaged_snapshot_is_refused(make_run: MakeRun, tmp_path: Path) -> None:
    _, start = make_run()
    path = tmp_path / "x.safetensors"
    save_state(path, start, "p", {})
    data = bytearray(path.read_bytes())
    data[len(data) * 3 // 4] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(FileProblem):
        load_state(path)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_operation_survives_json(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from([k for k in OPERATION_KINDS if k is not Move]))
    operation = dataclasses.replace(data.draw(st.from_type(kind)), span=None)
    text = to_json(operation)
    assert repr(operation_from_json(text)) == repr(operation)


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown kind"):
        operation_from_json({"$is": "Popen", "args": ["ls"]})
    with pytest.raises(ValueError, match="expected a saved operation"):
        operation_from_json({"$is": "Sphere", "center": [0, 0, 0], "radius": 1})
    assert operation_from_json(to_json(Print(text="x"))) == Print(text="x")
