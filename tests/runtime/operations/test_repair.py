"""Repairs: they mend without undoing what the user did."""

import dataclasses

import pytest
import torch

from interactive3d.dsl.operations import Edit, Freeze, Move, NamedPart, Paint, Remove, Repair
from interactive3d.runtime.guidance.reference import ReferenceGuidance
from interactive3d.runtime.operations import OperationRefused, apply_edit, repair_after, restore_term, start_term
from interactive3d.runtime.scene.gaussians import PARAMETERS
from interactive3d.runtime.scene.initial import round_blobs
from interactive3d.runtime.scene.selection import scene_radius
from interactive3d.runtime.scene.voxels import voxelise
from interactive3d.runtime.settings import Settings

HEAD = NamedPart(name="head")
MOVE = Move(part=HEAD, by=(0.0, 0.15, 0.1))
STAY_BAR = 0.01
"""Of the scene's radius: how far a repair may shift a part that the user has placed, with a prior that wants it back."""


def moved_by_prior(creature, environment, play, settings) -> tuple[float, object]:
    """How far the head's centroid goes during a repair whose guidance knows the head only where it was before the user moved it."""
    here = environment(settings=settings)
    model, touched, _ = apply_edit(MOVE, creature, here)
    repair = dataclasses.replace(repair_after(MOVE, touched, model, here), steps=30)
    term, after = play(repair, model, settings, ReferenceGuidance([("x", creature)]), touched=touched)
    head = model.tagged("head")
    return float((after.mean[: len(model)][head].mean(0) - model.mean[head].mean(0)).norm()), (term, model, after)


def test_the_users_word_is_law(creature, environment, play, quick_settings):
    anchored, (term, model, after) = moved_by_prior(creature, environment, play, quick_settings)
    free, _ = moved_by_prior(creature, environment, play, quick_settings.set("repair.anchor", 0.0))
    assert anchored < STAY_BAR * scene_radius(creature)
    assert free > 4 * anchored
    body = ~model.tagged("head")
    for name in PARAMETERS:
        assert torch.equal(after.columns[name][: len(model)][body], model.columns[name][body]), name
    final = term.finish(after, environment(step=term.end))
    assert not any(name.startswith("term.") for name in final.columns)


def test_a_gap_is_filled(creature, environment, play, quick_settings):
    here = environment(settings=quick_settings)
    model, touched, _ = apply_edit(MOVE, creature, here)
    line = torch.linspace(0, 1, 40)[:, None]
    neck = torch.tensor([[0.0, 0.28, 0.2]]) * (1 - line) + torch.tensor([[0.0, 0.42, 0.3]]) * line
    whole = model.append(round_blobs(neck, torch.tensor([[0.8, 0.2, 0.1]]).expand(40, 3), 0.05, 0.8))
    guidance = ReferenceGuidance([("x", whole)])
    repair = repair_after(MOVE, touched, model, here)
    term, after = play(dataclasses.replace(repair, steps=30), model, quick_settings, guidance, touched=touched)
    assert len(after) > len(model)
    born = torch.arange(len(after)) >= len(model)
    assert bool(after.columns[term.column("member")][born].all())
    # Children were anchored where they were born, and more loosely than their elders.
    pinned = after.columns[term.column("anchor.mean")]
    strayed = (after.mean - pinned).norm(dim=-1)
    assert float(strayed[born].max()) < 0.1
    assert float(strayed[~born].max()) < 0.02
    assert float(after.columns[term.column("firm")][born].max()) < 1.0


def test_the_anchor_is_a_squared_pull(creature, environment):
    here = environment(settings=Settings().set("repair.anchor", 100.0))
    term, model = start_term(Repair(part=HEAD), "0", creature, here)
    leaves = dict(model.parameters())
    assert float(term.loss(leaves, model, here)) == 0.0
    leaves["mean"] = model.mean + torch.tensor([0.1, 0.0, 0.0])
    assert float(term.loss(leaves, model, here)) == pytest.approx(100.0 * 120 * 0.01, rel=1e-4)
    strong, _ = start_term(Repair(part=HEAD, anchor=7.0), "0", creature, here)
    assert float(strong.loss(leaves, model, here)) == pytest.approx(7.0 * 120 * 0.01, rel=1e-4)
    assert start_term(Repair(part=HEAD, anchor=0.0), "0", creature, here)[0].loss(leaves, model, here) is None


def test_the_prior_is_shown_the_object_as_it_was_when_the_repair_began(creature, environment):
    here = environment()
    term, model = start_term(Repair(part=HEAD, noise=(0.1, 0.2)), "0", creature, here)
    moved = model.with_columns({"mean": model.mean + 1.0})
    wish = term.wish(moved, here)
    assert wish.shape == "object"
    assert torch.equal(wish.object_volume, voxelise(creature))
    assert (wish.noise, wish.scale, wish.prompt) == ((0.1, 0.2), here.settings.repair.scale, None)


def test_scope(creature, environment):
    touched = creature.tagged("head")
    here = environment()
    part, model = start_term(Repair(), "0", creature, here, touched)
    assert torch.equal(part.trainable(model, here), touched)
    assert part.focus(model, here) is not None
    wide = environment(settings=Settings().set("repair.scope", "object"))
    whole, model = start_term(Repair(), "0", creature, wide, touched)
    assert bool(whole.trainable(model, wide).all())
    assert whole.focus(model, wide) is None
    alone, model = start_term(Repair(), "0", creature, here)
    assert bool(alone.trainable(model, here).all())


def test_what_is_followed_and_what_is_not(creature, environment):
    here = environment()
    nobody, everybody = torch.zeros(470, dtype=torch.bool), None
    assert repair_after(MOVE, nobody, creature, here) is None
    assert repair_after(MOVE, everybody, creature, here) is not None
    assert repair_after(Edit(part=HEAD, prompt="x"), everybody, creature, here) is None
    assert repair_after(Paint(part=HEAD, color=(0.0, 0.0, 0.0)), everybody, creature, here) is None
    frozen, _, _ = apply_edit(Freeze(part=HEAD), creature, here)
    assert repair_after(MOVE, frozen.tagged("head"), frozen, here) is None
    with pytest.raises(OperationRefused, match="frozen"):
        start_term(Repair(part=HEAD), "0", frozen, here)


def test_after_a_removal_the_rim_is_repaired(creature, environment):
    here = environment()
    operation = Remove(part=HEAD)
    model, rim, _ = apply_edit(operation, creature, here)
    repair = repair_after(operation, rim, model, here)
    term, pinned = start_term(repair, "0", model, here, rim)
    assert 0 < int(term.trainable(pinned, here).sum()) < 100


def test_a_repair_is_restored_as_it_was(creature, environment):
    here = environment()
    term, model = start_term(Repair(part=HEAD), "3", creature, here)
    again = restore_term(
        key=term.key,
        operation=term.operation,
        start=term.start,
        steps=term.steps,
        tensors=dict(term.tensors),
        state=dict(term.state),
    )
    leaves = {name: value + 0.1 for name, value in model.parameters().items()}
    assert float(again.loss(leaves, model, here)) == float(term.loss(leaves, model, here)) > 0
    assert again.focus(model, here) == term.focus(model, here)


def test_only_operations_that_last_are_restored():
    with pytest.raises(TypeError, match="expected drag, edit or repair"):
        restore_term(key="0", operation=Paint(part=HEAD, color=(0.0, 0.0, 0.0)), start=0, steps=1, tensors={}, state={})
