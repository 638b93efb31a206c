"""When operations are due."""

import dataclasses

import pytest
import torch

from interactive3d.dsl.operations import (
    After,
    AtEnd,
    AtStep,
    Comparison,
    Every,
    FromTo,
    Operation,
    Print,
    Ramp,
    RecordTimelapse,
    WhenMetric,
)
from interactive3d.runtime.engine.schedule import Schedule
from interactive3d.runtime.engine.state import Metrics, RunState
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.settings import Settings

STEPS = 100


def state(step: int, **more: object) -> RunState:
    one = torch.zeros(1, 3)
    model = GaussianModel.create(
        mean=one, log_scale=one, rotation=torch.ones(1, 4), color=one, logit_opacity=torch.zeros(1)
    )
    return dataclasses.replace(RunState(step=step, model=model, settings=Settings()), **more)


def due_steps(operation: Operation, **more: object) -> list[int]:
    schedule = Schedule([operation], [], STEPS)
    return [s for s in range(STEPS + 1) if any(True for _ in schedule.due(state(s, **more)))]


@pytest.mark.parametrize(
    ("when", "steps"),
    [
        (AtStep(step=0), [0]),
        (AtStep(step=37), [37]),
        (AtEnd(), [STEPS]),
        (Every(n=40), [40, 80]),
        (Every(n=10, start=5, end=30), [5, 15, 25]),
        (FromTo(start=3, end=9), [3]),
    ],
)
def test_moments(when: object, steps: list[int]) -> None:
    assert due_steps(Print(text="x", when=when)) == steps  # type: ignore[arg-type]


def test_after_counts_from_the_step_at_which_the_label_was_over() -> None:
    assert due_steps(Print(text="x", when=After(label="turn", plus=5)), finished={"turn": 20}) == [25]
    assert due_steps(Print(text="x", when=After(label="turn", plus=5))) == []


def test_an_entry_fires_once_at_a_boundary_that_is_entered_twice() -> None:
    schedule = Schedule([Print(text="x", when=Every(n=10))], [], STEPS)
    assert next(schedule.due(state(20, fired={0: 10})), None) is not None
    assert next(schedule.due(state(20, fired={0: 20})), None) is None


def test_when_fires_once_after_it_has_held_long_enough() -> None:
    operation = Print(text="x", when=WhenMetric(metric="loss", comparison=Comparison.BELOW, value=0.5, for_steps=3))
    schedule = Schedule([operation], [], STEPS)
    now = state(0)
    fired = []
    for step, loss in enumerate([1.0, 0.4, 0.4, 0.9, 0.4, 0.4, 0.4, 0.4, 0.4]):
        now = dataclasses.replace(now, step=step + 1, streaks=schedule.streaks(now, Metrics(loss=loss)))
        for entry in schedule.due(now):
            now = dataclasses.replace(now, fired={entry.index: now.step})
            fired.append(now.step)
    assert fired == [7]


def test_a_ramp_moves_evenly_and_leaves_its_end_value() -> None:
    schedule = Schedule([Ramp(path="guidance.noise_max", start=0.9, end=0.5, when=FromTo(start=10, end=30))], [], STEPS)
    settings = Settings()
    seen = {}
    for step in range(STEPS):
        settings = schedule.ramped(settings, step)
        seen[step] = settings.guidance.noise_max
    assert seen[9] == Settings().guidance.noise_max
    assert seen[10] == pytest.approx(0.9) and seen[20] == pytest.approx(0.7) and seen[30] == pytest.approx(0.5)
    assert seen[99] == pytest.approx(0.5)


def test_a_ramp_of_a_whole_number_stays_whole() -> None:
    schedule = Schedule([Ramp(path="camera.batch", start=1, end=4, when=FromTo(start=0, end=10))], [], STEPS)
    assert schedule.ramped(Settings(), 5).camera.batch in (2, 3)


def test_timelapse_frames_lie_every_n_steps_and_one_at_the_end() -> None:
    schedule = Schedule([RecordTimelapse(path="x.mp4", every=15, when=FromTo(start=10, end=60))], [], STEPS)
    frames = [(s, last) for s in range(STEPS + 1) for _, last in schedule.timelapses(state(s, fired={0: 10}))]
    assert frames == [(10, False), (25, False), (40, False), (55, False), (60, True)]
