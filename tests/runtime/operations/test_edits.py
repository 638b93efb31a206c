"""Edits: what each does, what it must leave alone, and what it refuses."""

import dataclasses

import pytest
import torch

from interactive3d.dsl.operations import (
    OPERATION_KINDS,
    AddFile,
    AddShape,
    AllPart,
    Axis,
    AxisAngle,
    ColorPart,
    Densify,
    Duplicate,
    EditOperation,
    Freeze,
    Keep,
    Mirror,
    Move,
    NamedPart,
    NotPart,
    Paint,
    Prune,
    Remove,
    Rotate,
    ShapePart,
    Sphere,
    Stage,
    Stretch,
    TermOperation,
    Thaw,
)
from interactive3d.runtime.operations import EDITS, OperationRefused, apply_edit, repair_after, start_term
from interactive3d.runtime.scene.gaussians import PARAMETERS
from interactive3d.runtime.scene.selection import bounds
from interactive3d.runtime.scene.transforms import covariances

HEAD_PART = NamedPart(name="head")
NOWHERE = ShapePart(shape=Sphere(center=(3.0, 3.0, 3.0), radius=0.1))
FLOAT32 = 2e-6
"""Positions are about 1 and stored in float32."""

IN_PLACE = [
    Move(part=HEAD_PART, by=(0.1, 0.2, 0.3)),
    Move(part=HEAD_PART, to=(0.0, 0.0, 1.0)),
    Rotate(part=HEAD_PART, degrees=40.0, axis=(0.0, 1.0, 0.0)),
    Stretch(part=HEAD_PART, by=(1.0, 1.5, 0.7)),
    Mirror(part=HEAD_PART, axis=Axis.Z),
    Paint(part=HEAD_PART, color=(0.0, 0.0, 1.0)),
    Freeze(part=HEAD_PART),
    Thaw(part=HEAD_PART),
]
CHANGING_ROWS = [
    AddShape(shape=Sphere(center=(0.0, 0.8, 0.0), radius=0.1), count=30, color=(1.0, 1.0, 0.0), name="ball"),
    Remove(part=HEAD_PART),
    Keep(part=NotPart(part=HEAD_PART)),
    Duplicate(part=HEAD_PART, name="twin", by=(0.0, 0.4, 0.0)),
    Mirror(part=HEAD_PART, axis=Axis.Z, name="twin"),
    Densify(part=HEAD_PART),
    Prune(part=HEAD_PART, below=0.9),
]


def kind(value):
    return type(value).__name__


def test_every_edit_of_the_language_is_handled_and_tested():
    edits = {k for k in OPERATION_KINDS if issubclass(k, EditOperation) and k.stage is not Stage.FIELD}
    assert set(EDITS) == edits
    assert {type(op) for op in (*IN_PLACE, *CHANGING_ROWS)} | {AddFile} == edits


@pytest.mark.parametrize("operation", IN_PLACE, ids=kind)
def test_other_rows_keep_every_bit_of_every_column(creature, environment, operation):
    new, touched, message = apply_edit(operation, creature, environment())
    rest = ~creature.tagged("head")
    for name in creature.columns:
        assert torch.equal(new.columns[name][rest], creature.columns[name][rest]), name
    assert message
    assert touched is not None and not bool((touched & rest).any())


@pytest.mark.parametrize("operation", CHANGING_ROWS, ids=kind)
def test_rows_that_stay_keep_every_bit(creature, environment, operation):
    new, touched, _ = apply_edit(operation, creature, environment())
    assert touched is not None and len(touched) == len(new)
    # `row` holds where each blob was; of the body each is there once, as it was.
    body = new.rows((~new.tagged("head") & ~new.tagged("twin") & ~new.tagged("ball")).nonzero().squeeze(1))
    assert body.columns["row"].tolist() == list(range(350))
    for name in creature.columns:
        expected = creature.columns[name][:350]
        assert torch.equal(body.columns[name] & 1 if name == "tags" else body.columns[name], expected), name


@pytest.mark.parametrize(
    "operation", [op for op in (*IN_PLACE, *CHANGING_ROWS) if not isinstance(op, AddShape)], ids=kind
)
def test_an_empty_part_is_refused_with_step_and_nearest_blobs(creature, environment, operation):
    with pytest.raises(OperationRefused, match=rf"{operation.keyword} at step 300: .*the nearest are at"):
        apply_edit(dataclasses.replace(operation, part=NOWHERE), creature, environment())


@pytest.mark.parametrize("operation", [*IN_PLACE, *CHANGING_ROWS], ids=kind)
def test_the_same_edit_gives_the_same_bits(creature, environment, operation):
    one, two = (apply_edit(operation, creature, environment())[0] for _ in range(2))
    assert one.tag_names == two.tag_names
    for name in one.columns:
        assert torch.equal(one.columns[name], two.columns[name]), name


# Transformations (paper 3.1.2).


def test_move_to_puts_the_boxs_centre_there(creature, environment):
    new, _, _ = apply_edit(Move(part=HEAD_PART, to=(0.0, 0.0, 1.0)), creature, environment())
    assert bounds(new, new.tagged("head")).center == pytest.approx((0.0, 0.0, 1.0), abs=FLOAT32)


def test_rotate_is_about_the_parts_own_centre_unless_said(creature, environment):
    mask = creature.tagged("head")
    before = bounds(creature, mask).center
    turned, _, _ = apply_edit(Rotate(part=HEAD_PART, degrees=180.0, axis=(0.0, 1.0, 0.0)), creature, environment())
    assert bounds(turned, mask).center == pytest.approx(before, abs=FLOAT32)
    about = Rotate(part=HEAD_PART, degrees=180.0, axis=(0.0, 1.0, 0.0), through=(0.0, 0.0, 0.0))
    turned, _, _ = apply_edit(about, creature, environment())
    assert bounds(turned, mask).center == pytest.approx((-before[0], before[1], -before[2]), abs=FLOAT32)


def test_stretch_scales_the_box_and_the_covariances(creature, environment):
    mask = creature.tagged("head")
    new, _, _ = apply_edit(Stretch(part=HEAD_PART, by=(1.0, 2.0, 0.5)), creature, environment())
    old_box, new_box = bounds(creature, mask), bounds(new, mask)
    for axis, factor in enumerate((1.0, 2.0, 0.5)):
        size = old_box.high[axis] - old_box.low[axis]
        assert new_box.high[axis] - new_box.low[axis] == pytest.approx(factor * size, abs=FLOAT32)
    a = torch.diag(torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64))
    torch.testing.assert_close(covariances(new)[mask], a @ covariances(creature)[mask] @ a, rtol=1e-5, atol=1e-9)


def test_stretch_by_nothing_is_refused(creature, environment):
    with pytest.raises(OperationRefused, match="flatten"):
        apply_edit(Stretch(part=HEAD_PART, by=(1.0, 0.0, 1.0)), creature, environment())


def test_mirroring_twice_is_nothing(creature, environment):
    once, _, _ = apply_edit(Mirror(part=HEAD_PART, axis=Axis.X, through=(0.1, 0.0, 0.0)), creature, environment())
    twice, _, _ = apply_edit(Mirror(part=HEAD_PART, axis=Axis.X, through=(0.1, 0.0, 0.0)), once, environment())
    assert not torch.equal(once.mean, creature.mean)
    torch.testing.assert_close(twice.mean, creature.mean, atol=FLOAT32, rtol=0)
    torch.testing.assert_close(covariances(twice), covariances(creature), rtol=1e-5, atol=1e-10)


# Adding and removing (paper 3.1.1).


def test_remove_and_keep_are_complements_and_look_after_the_rim(creature, environment):
    removed, rim, _ = apply_edit(Remove(part=HEAD_PART), creature, environment())
    kept, _, _ = apply_edit(Keep(part=HEAD_PART), creature, environment())
    assert (len(removed), len(kept)) == (350, 120)
    assert 0 < int(rim.sum()) < 100
    hole = torch.tensor([0.0, 0.35, 0.25])
    assert float((removed.mean[rim] - hole).norm(dim=-1).max()) < 0.35


def test_added_blobs_carry_their_name_and_nothing_else(creature, environment):
    new, touched, message = apply_edit(CHANGING_ROWS[0], creature, environment())
    assert torch.equal(touched, new.tagged("ball"))
    assert int(new.tagged("ball").sum()) == 30
    assert int(new.tagged("head").sum()) == 120
    assert int(new.columns["updates"][touched].abs().max()) == 0
    assert message == "added 30 blobs as ball"


def test_the_same_name_twice_means_both(creature, environment):
    once, _, _ = apply_edit(CHANGING_ROWS[0], creature, environment())
    twice, touched, _ = apply_edit(CHANGING_ROWS[0], once, environment(step=301))
    assert int(twice.tagged("ball").sum()) == 60
    assert int(touched.sum()) == 30


def test_a_copy_has_its_own_name_only(creature, environment):
    frozen, _, _ = apply_edit(Freeze(part=HEAD_PART), creature, environment())
    new, touched, _ = apply_edit(Duplicate(part=HEAD_PART, name="twin", by=(0.0, 0.4, 0.0)), frozen, environment())
    assert not bool((new.tagged("twin") & new.tagged("head")).any())
    assert not bool(new.columns["frozen"][touched].any())
    torch.testing.assert_close(new.mean[touched], creature.mean[350:] + torch.tensor([0.0, 0.4, 0.0]))
    for name in PARAMETERS[1:]:
        assert torch.equal(new.columns[name][touched], creature.columns[name][350:])


def test_a_file_is_scaled_turned_and_placed(creature, environment):
    operation = AddFile(
        path="knight.ply",
        name="knight",
        position=(0.0, 1.0, 0.0),
        scale=0.5,
        rotation=AxisAngle(axis=(0, 1, 0), degrees=90),
    )
    asked = []

    def load(path):
        asked.append(path.as_posix())
        return creature

    new, touched, _ = apply_edit(operation, creature, environment(load=load))
    assert asked == ["folder/knight.ply"]
    assert torch.equal(new.tagged("knight"), touched)
    box, old = bounds(new, touched), bounds(creature)
    assert box.center == pytest.approx((0.0, 1.0, 0.0), abs=FLOAT32)
    assert box.high[0] - box.low[0] == pytest.approx(0.5 * (old.high[2] - old.low[2]), abs=FLOAT32)
    # Names inside the file become names below the new one; the scene's own stay what they were.
    assert int(new.tagged("knight.head").sum()) == 120
    assert torch.equal(new.tagged("head")[: len(creature)], creature.tagged("head"))
    assert not bool((new.tagged("head") & touched).any())


def test_a_part_of_a_file(creature, environment):
    operation = AddFile(path="knight.ply", name="knight", part="head")
    _, touched, _ = apply_edit(operation, creature, environment(load=lambda _: creature))
    assert int(touched.sum()) == 120
    with pytest.raises(OperationRefused, match="has no part 'sword'; its parts: head"):
        apply_edit(dataclasses.replace(operation, part="sword"), creature, environment(load=lambda _: creature))


def test_a_file_that_is_not_there_is_refused(creature, environment):
    with pytest.raises(OperationRefused, match="add at step 300: no file"):
        apply_edit(AddFile(path="knight.ply", name="knight"), creature, environment())


def test_names_run_out_with_a_message(creature, environment):
    full = creature
    for i in range(61):
        full = full.with_tag(f"t{i}", full.tagged("head"))
    with pytest.raises(OperationRefused, match="at most 62 named sets"):
        apply_edit(CHANGING_ROWS[0], full, environment())


# Appearance and growth.


def test_paint_freeze_thaw(creature, environment):
    painted, _, _ = apply_edit(Paint(part=HEAD_PART, color=(0.0, 0.0, 1.0)), creature, environment())
    assert painted.color[350:].unique(dim=0).tolist() == [[0.0, 0.0, 1.0]]
    frozen, _, _ = apply_edit(Freeze(part=HEAD_PART), creature, environment())
    assert torch.equal(frozen.columns["frozen"], creature.tagged("head"))
    thawed, _, _ = apply_edit(Thaw(part=AllPart()), frozen, environment())
    assert not bool(thawed.columns["frozen"].any())


def test_densify_and_prune_of_a_part(creature, environment):
    grown, _, message = apply_edit(Densify(part=HEAD_PART), creature, environment())
    assert len(grown) == len(creature) + 12
    assert int(grown.tagged("head").sum()) == 132
    assert message.endswith("482 in all")
    gone, _, _ = apply_edit(Prune(part=ColorPart(color=(0.8, 0.2, 0.1)), below=0.95), creature, environment())
    assert len(gone) == 350


# The repair that follows.

FOLLOWED = {"add", "remove", "keep", "duplicate", "mirror", "move", "rotate", "stretch"}


@pytest.mark.parametrize("operation", [*IN_PLACE, *CHANGING_ROWS], ids=kind)
def test_a_repair_follows_what_moves_matter(creature, environment, operation):
    here = environment()
    new, touched, _ = apply_edit(operation, creature, here)
    repair = repair_after(operation, touched, new, here)
    assert (repair is not None) == (operation.keyword in FOLLOWED)
    if repair is not None:
        term, model = start_term(repair, "0", new, here, touched)
        assert torch.equal(term.trainable(model, here), touched)
    off = environment(settings=here.settings.set("repair.enabled", False))
    assert repair_after(operation, touched, new, off) is None


def test_only_edits_are_applied_and_only_terms_started(creature, environment):
    with pytest.raises(TypeError, match="expected an edit"):
        apply_edit(TermOperation(), creature, environment())
    with pytest.raises(TypeError, match="expected drag, edit or repair"):
        start_term(Paint(part=HEAD_PART, color=(0.0, 0.0, 0.0)), "0", creature, environment())
