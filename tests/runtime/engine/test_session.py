"""Sessions: order, refusal, undo for every kind of operation, seeking, determinism."""

import dataclasses
from collections.abc import Callable

import pytest
import torch

from interactive3d.dsl.operations import (
    OPERATION_KINDS,
    AddFile,
    AddShape,
    AtEnd,
    AtStep,
    Axis,
    Box,
    Checkpoint,
    Densify,
    Distill,
    Drag,
    DragMode,
    Duplicate,
    Edit,
    Export,
    ExportKind,
    Freeze,
    FromTo,
    Keep,
    Mirror,
    Move,
    Operation,
    OrbitView,
    Paint,
    Pause,
    Print,
    Prune,
    Ramp,
    RecordTimelapse,
    RecordTurntable,
    Refine,
    Remove,
    Repair,
    Rotate,
    SetValue,
    ShapePart,
    SnapshotImage,
    Sphere,
    Stretch,
    Thaw,
)
from interactive3d.runtime.engine.hooks import Hooks
from interactive3d.runtime.engine.session import Session
from interactive3d.runtime.engine.snapshots import digest
from interactive3d.runtime.engine.state import Effect, RunState
from interactive3d.runtime.engine.trainer import Trainer
from interactive3d.runtime.operations.base import OperationRefused
from interactive3d.runtime.scene.gaussians import PARAMETERS

MakeRun = Callable[..., tuple[Trainer, RunState]]
TOP = ShapePart(shape=Box(low=(-1.0, 0.1, -1.0), high=(1.0, 1.0, 1.0)))
NOWHERE = ShapePart(shape=Sphere(center=(5.0, 5.0, 5.0), radius=0.1))
# One of each kind that stage I knows, with something to do in the scene of `make_run`.
EXAMPLES: dict[type[Operation], Operation] = {
    type(op): op
    for op in (
        AddFile(path="other.ply", name="other", position=(0.0, 0.6, 0.0)),
        AddShape(shape=Sphere(center=(0.0, 0.6, 0.0), radius=0.1), count=30, color=(0.0, 1.0, 0.0), name="knob"),
        Remove(part=TOP),
        Keep(part=TOP),
        Duplicate(part=TOP, name="twin", by=(0.5, 0.0, 0.0)),
        Mirror(part=TOP, axis=Axis.X),
        Move(part=TOP, by=(0.2, 0.0, 0.0)),
        Rotate(part=TOP, degrees=40.0, axis=(0.0, 1.0, 0.0)),
        Stretch(part=TOP, by=(1.0, 1.5, 1.0)),
        Paint(part=TOP, color=(0.0, 1.0, 0.0)),
        Freeze(part=TOP),
        Thaw(part=TOP),
        Densify(part=TOP),
        Prune(below=0.95),
        Drag(source=(0.0, 0.4, 0.0), target=(0.0, 0.7, 0.0), radius=0.2, mode=DragMode.DEFORMABLE, steps=3),
        Edit(part=TOP, prompt="goal", steps=3),
        Repair(part=TOP, steps=3),
        Ramp(path="lr.color", start=0.01, end=0.2, when=FromTo(start=2, end=8)),
        SetValue(path="lr.color", value=0.2),
        Checkpoint(),
        Pause(),
        Print(text="hello at {step}"),
        SnapshotImage(path="x.png", view=OrbitView(azimuth=0.0, elevation=0.0)),
        Export(kind=ExportKind.SPLATS, path="x.ply"),
        RecordTurntable(path="x.mp4"),
        RecordTimelapse(path="y.mp4", every=5),
    )
}
STAGE_TWO: set[type[Operation]] = {Distill, Refine}


def test_every_kind_has_an_example() -> None:
    assert set(EXAMPLES) | STAGE_TWO == set(OPERATION_KINDS)


@pytest.mark.parametrize("kind", EXAMPLES, ids=lambda k: k.__name__)
def test_undo_restores_every_column_of_every_kind(kind: type[Operation], make_run: MakeRun) -> None:
    trainer, start = make_run(steps=12)
    session = Session(trainer, [], start)
    session.advance(3)
    before = session.latest()
    session.submit(EXAMPLES[kind])
    session.advance(4)
    assert digest(session.latest()) != digest(before)
    if kind is Ramp:  # A ramp is not an event: it has a window of its own, and undoing means submitting another.
        return
    assert session.undo()
    restored = session.latest()
    assert digest(restored) == digest(before)
    assert restored.terms == before.terms and restored.settings == before.settings
    assert session.redo()
    assert session.latest().step == 7


def test_operations_apply_in_the_order_of_steps_then_text(make_run: MakeRun) -> None:
    trainer, start = make_run(steps=6)
    said: list[str] = []
    operations = [Print(text=t, when=AtStep(step=s)) for t, s in (("a", 2), ("b", 2), ("c", 4))]
    operations.append(Print(text="end", when=AtEnd()))
    session = Session(trainer, operations, start, hooks=Hooks(effect=lambda e: said.append(f"{e.message}@{e.step}")))
    session.submit(Print(text="mine"))
    session.advance()
    assert said == ["mine@0", "a@2", "b@2", "c@4", "end@6"]
    assert session.finished


def test_a_refused_operation_changes_nothing(make_run: MakeRun) -> None:
    trainer, start = make_run()
    session = Session(trainer, [], start)
    session.advance(2)
    before = digest(session.latest())
    session.submit(Remove(part=NOWHERE))
    session.advance(0)
    assert digest(session.latest()) == before
    effect = session.latest().effects[-1]
    assert effect.refused and "step 2" in effect.message
    assert not session.undo(), "what changed nothing is not undone"


def test_a_refusal_in_the_script_stops_the_run_with_its_reason(make_run: MakeRun) -> None:
    trainer, start = make_run()
    session = Session(trainer, [Remove(part=NOWHERE, when=AtStep(step=2))], start)
    with pytest.raises(OperationRefused, match="step 2"):
        session.advance()
    assert session.latest().step == 2


def everything() -> list[Operation]:
    return [
        dataclasses.replace(EXAMPLES[Rotate], when=AtStep(step=2)),
        dataclasses.replace(EXAMPLES[Drag], when=AtStep(step=7)),
        dataclasses.replace(EXAMPLES[Ramp], when=FromTo(start=2, end=9)),
        dataclasses.replace(EXAMPLES[Edit], when=AtStep(step=13)),
        dataclasses.replace(EXAMPLES[AddShape], when=AtStep(step=15)),
    ]


def test_the_same_run_twice_is_the_same_to_the_bit(make_run: MakeRun) -> None:
    digests = set()
    for _ in range(2):
        trainer, start = make_run(steps=20)
        digests.add(digest(Session(trainer, everything(), start).advance()))
    assert len(digests) == 1


def test_another_seed_is_another_object(make_run: MakeRun) -> None:
    digests = {
        digest(
            Session(
                *_with(make_run, seed),
            ).advance()
        )
        for seed in (0, 1)
    }
    assert len(digests) == 2


def _with(make_run: MakeRun, seed: int) -> tuple[Trainer, list[Operation], RunState]:
    trainer, start = make_run(steps=4, seed=seed)
    return trainer, [], start


def test_seeking_to_before_where_a_run_was_taken_up_says_so(make_run: MakeRun) -> None:
    trainer, state = make_run()
    session = Session(trainer, (), dataclasses.replace(state, step=4))
    session.advance(2)
    with pytest.raises(ValueError, match="taken up at step 4"):
        session.seek(2)
    assert session.latest().step == 6


def test_seeking_back_and_forth_ends_where_a_straight_run_ends(make_run: MakeRun) -> None:
    trainer, start = make_run(steps=20)
    straight = digest(Session(trainer, everything(), start).advance())
    session = Session(trainer, everything(), start)
    session.advance(16)
    session.seek(5)
    assert session.latest().step == 5
    session.seek(11)
    assert digest(session.advance()) == straight


def test_stopping_and_going_on_changes_nothing(make_run: MakeRun) -> None:
    trainer, start = make_run(steps=20)
    straight = digest(Session(trainer, everything(), start).advance())
    session = Session(
        trainer, everything(), start, hooks=Hooks(stepped=lambda s: session.stop() if s.step % 3 == 0 else None)
    )
    for _ in range(20):
        session.advance()
    assert digest(session.latest()) == straight


@pytest.mark.parametrize("kind", [Rotate, Move, Stretch, Paint, Edit, Repair], ids=lambda k: k.__name__)
def test_rows_outside_a_part_stay_bit_identical_while_it_is_changed_and_repaired(
    kind: type[Operation], make_run: MakeRun
) -> None:
    trainer, start = make_run(steps=10)
    part = start.model.mean[:, 1] > 0.1
    start = dataclasses.replace(start, model=start.model.with_tag("rest", ~part))
    session = Session(trainer, [dataclasses.replace(EXAMPLES[kind], when=AtStep(step=0))], start)
    state = session.advance(0)
    assert bool(state.terms) == (kind is not Paint), "every interaction but paint is followed by a term"
    while True:
        rest = state.model.tagged("rest")
        for name in PARAMETERS:
            assert torch.equal(state.model.columns[name][rest], start.model.columns[name][~part]), name
        if not state.terms:
            break
        state = session.advance(1)
    assert not torch.equal(state.model.color[~rest], start.model.color[part]) or len(state.model) != len(start.model)


def test_effects_say_what_happened_in_the_languages_own_words(make_run: MakeRun) -> None:
    trainer, start = make_run(steps=4)
    heard: list[Effect] = []
    session = Session(
        trainer, [dataclasses.replace(EXAMPLES[SetValue], when=AtStep(step=1))], start, hooks=Hooks(effect=heard.append)
    )
    session.advance()
    assert [(e.step, e.text, e.message) for e in heard] == [(1, "at step 1 set lr.color 0.2", "was 0.015")]
