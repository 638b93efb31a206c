"""A step under a prior whose loss is read once the card has all of the step to work on."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from interactive3d.runtime.engine import trainer as trainers
from interactive3d.runtime.engine.state import RunState
from interactive3d.runtime.engine.trainer import StepNotes, Trainer
from interactive3d.runtime.guidance.protocol import Score, ScoreRequest, StepAgain
from tests.conftest import ball


class Later:
    """A prior whose losses are read later; of its first scores ``bad`` turn out to be no numbers, in their gradient too."""

    def __init__(self, inner: Any, events: list[str], bad: int = 0) -> None:
        self.inner, self.events, self.bad = inner, events, bad

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def score(self, request: ScoreRequest) -> Score:
        assert request.later
        found = self.inner.score(request)
        bad, self.bad = self.bad > 0, self.bad - 1
        gradient = torch.full_like(found.gradient, math.nan) if bad else found.gradient

        def read() -> float:
            self.events.append("read")
            if bad:
                raise StepAgain
            return found.loss

        return Score(gradient=gradient, clean=found.clean, loss=math.nan, read=read)


def same(a: RunState, b: RunState) -> bool:
    return all(torch.equal(a.model.columns[name], b.model.columns[name]) for name in a.model.columns)


@pytest.fixture
def made(make_run: Callable[..., tuple[Trainer, RunState]]) -> tuple[Trainer, RunState]:
    return make_run()


def test_the_loss_is_read_behind_the_update(made: tuple[Trainer, RunState], monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, state = made
    events: list[str] = []
    update = trainers.adamw_step
    monkeypatch.setattr(trainers, "adamw_step", lambda *a: (events.append("update"), update(*a))[1])
    expected = trainer.step(state)
    events.clear()
    notes: list[StepNotes] = []
    found = dataclasses.replace(trainer, guidance=Later(trainer.guidance, events), listen=notes.append).step(state)
    assert events == ["update", "read"]
    assert same(found, expected) and found.metrics == expected.metrics
    assert notes[0].losses["guidance"] == expected.metrics.loss


def test_a_score_that_was_no_number_costs_no_state(made: tuple[Trainer, RunState]) -> None:
    """The same step is taken again, with the same cameras and noise, and its notes are those of the last try."""
    trainer, state = made
    expected = trainer.step(state)
    events: list[str] = []
    notes: list[StepNotes] = []
    again = dataclasses.replace(trainer, guidance=Later(trainer.guidance, events, bad=2), listen=notes.append)
    found = again.step(state)
    assert events == ["read"] * 3 and len(notes) == 1
    assert same(found, expected) and found.metrics == expected.metrics and found.cameras == expected.cameras


def test_whether_blobs_are_frozen_is_asked_when_that_changes(made: tuple[Trainer, RunState]) -> None:
    trainer, state = made
    first = trainer.step(state)
    assert not torch.equal(first.model.mean, state.model.mean)
    rows = torch.arange(len(state.model)) < 40
    frozen = dataclasses.replace(first, model=first.model.with_columns({"frozen": rows}))
    still = trainer.step(frozen)
    assert torch.equal(still.model.mean[:40], first.model.mean[:40])
    assert not torch.equal(still.model.mean[40:], first.model.mean[40:])
    thawed = dataclasses.replace(still, model=still.model.with_columns({"frozen": torch.zeros_like(rows)}))
    assert not torch.equal(trainer.step(thawed).model.mean[:40], still.model.mean[:40])
    keep = dataclasses.replace(still, model=ball().with_columns({"settled": rows}), step=0)
    for settled, moves in (("keep", False), ("train", True), ("keep", False)):
        asked = dataclasses.replace(keep, settings=keep.settings.set("guidance.settled", settled))
        found = trainer.step(asked)
        assert torch.equal(found.model.mean[:40], keep.model.mean[:40]) is not moves, settled
