"""Semantic edits: the part alone changes, under its own prompt, noise and zoom."""

import dataclasses

import pytest
import torch

from interactive3d.dsl.operations import Edit, Freeze, NamedPart, ShapePart, Sphere
from interactive3d.runtime.guidance.reference import ReferenceGuidance
from interactive3d.runtime.operations import OperationRefused, apply_edit, restore_term, start_term
from interactive3d.runtime.scene.camera import Camera
from interactive3d.runtime.scene.gaussians import PARAMETERS
from interactive3d.runtime.scene.render import render
from interactive3d.runtime.settings import Settings

HEAD = NamedPart(name="head")
BLUE = Edit(part=HEAD, prompt="a blue head", steps=40)


@pytest.fixture
def blue_headed(creature):
    return creature.map_rows(creature.tagged("head"), {"color": lambda c: torch.tensor([0.1, 0.2, 0.9]).expand_as(c)})


def test_only_the_part_changes_and_it_becomes_what_was_asked(creature, blue_headed, environment, play, quick_settings):
    guidance = ReferenceGuidance([("red", creature), ("blue", blue_headed)])
    term, model = play(BLUE, creature, quick_settings.set("lr.color", 0.03), guidance)
    final = term.finish(model, environment(step=term.end))
    head = final.tagged("head")
    body = ~head
    assert torch.equal(final.columns["row"][body], creature.columns["row"][~creature.tagged("head")])
    for name in PARAMETERS:
        assert torch.equal(final.columns[name][body], creature.columns[name][~creature.tagged("head")]), name
    camera = [Camera.orbit(0.0, 10.0)]
    wanted, before, after = (render(m, camera, 48).color for m in (blue_headed, creature, final))
    assert float((after - wanted).abs().mean()) < 0.3 * float((before - wanted).abs().mean())
    assert not any(name.startswith("term.") for name in final.columns)


def test_the_wish_is_the_events_own_and_else_the_settings(creature, environment):
    here = environment()
    term, model = start_term(dataclasses.replace(BLUE, noise=(0.1, 0.3), zoom=2.0, scale=7.0), "0", creature, here)
    wish, focus = term.wish(model, here), term.focus(model, here)
    assert (wish.prompt, wish.noise, wish.scale) == ("a blue head", (0.1, 0.3), 7.0)
    plain, _ = start_term(BLUE, "0", creature, here)
    assert plain.wish(model, here).noise == (here.settings.edit.noise_min, here.settings.edit.noise_max)
    assert focus.center == pytest.approx((0.0, 0.35, 0.25), abs=0.03)
    near = plain.focus(model, here)
    assert focus.radius / near.radius == pytest.approx(2.0 / here.settings.edit.zoom)
    # The head's radius is 0.18 and its blobs have some width.
    assert 0.18 < focus.radius / 2.0 < 0.3


def test_the_part_grows_and_its_children_belong_to_it(creature, environment):
    settings = Settings().set("densify.every", 10).set("densify.gradient", 0.0)
    here = environment(settings=settings)
    term, model = start_term(BLUE, "0", creature, here)
    model = model.with_columns({"grown_gradient": torch.ones(len(model)), "grown_count": torch.ones(len(model))})
    _, same = term.before_step(model, here)
    assert len(same) == len(model)
    _, grown = term.before_step(model, dataclasses.replace(here, step=310))
    assert len(grown) == len(model) + 12
    assert torch.equal(term.trainable(grown, here), grown.tagged("head"))


def test_frozen_blobs_of_the_part_stay(creature, environment):
    half = ShapePart(shape=Sphere(center=(0.0, 0.45, 0.25), radius=0.15))
    frozen, _, _ = apply_edit(Freeze(part=half), creature, environment())
    term, model = start_term(BLUE, "0", frozen, environment())
    assert torch.equal(term.trainable(model, environment()), frozen.tagged("head") & ~frozen.columns["frozen"])
    all_frozen, _, _ = apply_edit(Freeze(part=HEAD), creature, environment())
    with pytest.raises(OperationRefused, match="frozen"):
        start_term(BLUE, "0", all_frozen, environment())


def test_an_edit_of_nothing_names_the_nearest(creature, environment):
    nowhere = ShapePart(shape=Sphere(center=(3.0, 0.0, 0.0), radius=0.1))
    with pytest.raises(OperationRefused, match=r"edit at step 300: .*nearest are at"):
        start_term(dataclasses.replace(BLUE, part=nowhere), "0", creature, environment())


def test_an_edit_is_restored_as_it_was(creature, environment):
    term, model = start_term(BLUE, "0", creature, environment())
    again = restore_term(
        key=term.key, operation=term.operation, start=term.start, steps=term.steps, tensors={}, state=dict(term.state)
    )
    assert again == term
    assert torch.equal(again.trainable(model, environment()), creature.tagged("head"))


def test_the_length_is_the_settings_unless_given(creature, environment):
    here = environment(settings=Settings().set("edit.steps", 17))
    term, _ = start_term(dataclasses.replace(BLUE, steps=None), "0", creature, here)
    assert (term.steps, term.end) == (17, 317)
