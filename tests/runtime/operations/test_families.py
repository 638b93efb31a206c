"""Whole families at once: a newcomer to the language that nobody handles makes these fail."""

import dataclasses

import pytest
import torch

from interactive3d.dsl.operations import (
    OPERATION_KINDS,
    Distill,
    Drag,
    DragMode,
    Edit,
    NamedPart,
    Ramp,
    Refine,
    Repair,
    TermOperation,
)
from interactive3d.runtime.operations import restore_term, start_term
from interactive3d.runtime.scene.growth import densify
from interactive3d.runtime.settings import Settings

HEAD = NamedPart(name="head")
TERMS = [
    Drag(source=(0.0, 0.35, 0.25), target=(0.0, 0.5, 0.3), mode=DragMode.RIGID, part=HEAD, steps=5),
    Drag(source=(0.0, 0.35, 0.25), target=(0.0, 0.5, 0.3), mode=DragMode.DEFORMABLE, radius=0.2, steps=5),
    Edit(part=HEAD, prompt="a blue head", steps=5),
    Repair(part=HEAD, steps=5),
]
ELSEWHERE = {Ramp, Distill, Refine}
"""Ramps are settings in motion and stage II is not made of blobs: the engine knows them."""


def test_every_term_of_the_language_is_handled():
    kinds = {k for k in OPERATION_KINDS if issubclass(k, TermOperation)}
    assert {type(op) for op in TERMS} == kinds - ELSEWHERE


@pytest.mark.parametrize("operation", TERMS, ids=lambda op: f"{type(op).__name__}-{getattr(op, 'mode', '')}")
def test_what_a_term_promises(creature, environment, play, operation):
    here = environment()
    first, _ = start_term(operation, "0", creature, here)
    saved = {f.name: getattr(first, f.name) for f in dataclasses.fields(first)}
    assert type(restore_term(**saved)) is type(first)
    # Scheduled growth of the whole scene in the middle of a term must not confuse it: pins ride along with the rows.
    term, model = play(operation, creature, until=302)
    grown, _ = densify(model, Settings().densify, here.generator("x"), threshold=0.0)
    later = dataclasses.replace(here, step=303)
    rows = term.trainable(grown, later)
    assert rows.dtype == torch.bool and len(rows) == len(grown)
    leaves = {name: value.clone().requires_grad_(True) for name, value in grown.parameters().items()}
    loss = term.loss(leaves, grown, later)
    if loss is not None:
        gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        assert all(g is None or bool(torch.isfinite(g).all()) for g in gradients)
        # A loss pulls at the term's own rows only.
        for g in gradients:
            assert g is None or float(g[~rows].abs().max()) == 0.0
    moved, after = term.before_step(grown, later)
    final = moved.finish(after, dataclasses.replace(here, step=305))
    assert not any(name.startswith("term.") for name in final.columns)
    assert final.tag_names == creature.tag_names


@pytest.mark.parametrize("operation", TERMS, ids=lambda op: f"{type(op).__name__}-{getattr(op, 'mode', '')}")
def test_a_term_begins_from_a_value_and_leaves_it(creature, environment, operation):
    before = {name: column.clone() for name, column in creature.columns.items()}
    _, pinned = start_term(operation, "0", creature, environment())
    assert set(creature.columns) == set(before)
    for name, column in before.items():
        assert torch.equal(creature.columns[name], column), name
    for name in ("mean", "log_scale", "rotation", "color", "logit_opacity", "tags", "updates"):
        assert torch.equal(pinned.columns[name], before[name]), name
