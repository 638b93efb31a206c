"""CUDA graphs: when a score is recorded, that what is replayed is what would be computed, and what happens when recording fails.

There is no CUDA here: what stands for a graph computes its work once more, from the memory that it was recorded on into the memory that it
was recorded to, which is what a graph does.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from interactive3d.runtime.guidance.large import graphs
from interactive3d.runtime.guidance.large.graphs import MOST_FORMS, Graphs, Recorded, against
from interactive3d.runtime.guidance.protocol import ScoreRequest
from interactive3d.runtime.scene.camera import Camera

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


class Again:
    """Does its work again, into the same memory."""

    def __init__(self, work: Callable[[], Tensor], output: Tensor) -> None:
        self.work, self.output = work, output
        self.replays = 0

    def replay(self) -> None:
        self.replays += 1
        self.output.copy_(self.work())


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[Again]:
    """Graphs are recorded on the CPU. They are listed."""
    made: list[Again] = []

    def again(work: Callable[[], Tensor]) -> tuple[Again, Tensor]:
        output = work()
        made.append(Again(work, output))
        return made[-1], output

    def record(work: Callable[..., Tensor], inputs: tuple[Tensor, ...], both_ways: bool) -> Recorded:
        kept = tuple(t.detach().clone() for t in inputs)

        def there() -> Tensor:
            with torch.no_grad():
                return work(*kept)

        graph, output = again(there)
        if not both_ways:
            return Recorded(graph, kept, output)
        grad = torch.zeros_like(output)

        def and_back() -> Tensor:
            leaf = kept[0].detach().requires_grad_(True)
            with torch.enable_grad():
                return torch.autograd.grad(work(leaf), leaf, grad)[0]

        back, found = again(and_back)
        return Recorded(graph, kept, output, back, grad, found)

    monkeypatch.setattr(graphs, "record", record)
    monkeypatch.setattr(graphs, "against", lambda asked, device, rung, family: None if asked == "auto" else "off")
    return made


def of_step(request: ScoreRequest, step: int, count: int = 2) -> ScoreRequest:
    """Other pictures and another noise."""
    generator = torch.Generator().manual_seed(step)
    images = torch.rand(count, 24, 24, 3, generator=generator)
    cameras = [Camera.orbit(50 * step + 90 * i, 10) for i in range(count)]
    return dataclasses.replace(
        request, images=images, cameras=cameras, background=torch.ones(count, 3), generator=generator
    )


def test_when_a_score_is_recorded(make_guidance: Callable) -> None:
    family = make_guidance("sd15").family
    assert against("auto", CUDA, "full", family) is None
    assert "off" in (against("off", CUDA, "full", family) or "")
    assert "CUDA's" in (against("auto", CPU, "full", family) or "")
    assert "sliced" in (against("auto", CUDA, "sliced", family) or "")
    assert "on the processor" in (against("auto", CUDA, "full", make_guidance("sdxl").family) or "")


@pytest.mark.parametrize("name", ["sd15", "sd2v", "if"])
@pytest.mark.parametrize(
    "values", [{}, {"perp_neg": True}, {"estimator": "interval"}], ids=["sds", "perp_neg", "interval"]
)
def test_scores_stay_the_same(
    name: str, values: dict[str, Any], recorded: list, make_guidance: Callable, make_request: Callable
) -> None:
    """To the bit, over steps with other pictures, noise and views."""
    plain, guidance = make_guidance(name), make_guidance(name)
    for step in range(4):
        expected = plain.score(of_step(make_request(plain, **values, graphs="off"), step))
        found = guidance.score(of_step(make_request(guidance, **values), step))
        assert torch.equal(found.gradient, expected.gradient), step
        assert found.loss == expected.loss
    assert guidance.describe()["graphs"] == "denoiser, encoder"
    assert plain.describe()["graphs"] == "no: off"
    assert all(graph.replays > 0 for graph in recorded)


def test_the_first_score_of_a_kind_runs_as_it_is(
    recorded: list, make_guidance: Callable, make_request: Callable
) -> None:
    guidance = make_guidance("sd15")
    guidance.score(make_request(guidance))
    assert not recorded and guidance.describe()["graphs"] == "no: too few scores"
    guidance.score(make_request(guidance))
    assert len(recorded) == 3  # the encoder there and back, and the denoiser
    guidance.score(of_step(make_request(guidance), 0, count=1))
    assert len(recorded) == 3
    guidance.score(of_step(make_request(guidance), 0, count=1))
    assert len(recorded) == 6


def test_gradients_outlive_the_next_score(recorded: list, make_guidance: Callable, make_request: Callable) -> None:
    guidance = make_guidance("sd15")
    scores = [guidance.score(of_step(make_request(guidance), step)) for step in range(4)]
    plain = make_guidance("sd15")
    for step, score in enumerate(scores):
        expected = plain.score(of_step(make_request(plain, graphs="off"), step))
        assert torch.equal(score.gradient, expected.gradient)


def test_other_models_are_recorded_anew(recorded: list, make_guidance: Callable, make_request: Callable) -> None:
    guidance = make_guidance("sd15")
    for _ in range(2):
        guidance.score(make_request(guidance))
    for _ in range(2):
        guidance.score(make_request(guidance, size=8))
    assert len(recorded) == 6
    guidance.score(make_request(guidance, graphs="off"))
    assert guidance.describe()["graphs"] == "no: off" and not guidance.graphs._forms


def test_no_more_than_a_few_kinds_are_kept(recorded: list) -> None:
    """The one that was used longest ago goes."""
    made = Graphs(CPU, lambda text: None)
    made.prepare("auto", "full", None, None)  # type: ignore[arg-type]
    most = MOST_FORMS["denoiser"]
    for count in [*range(1, most + 1), 1, most + 1, 1]:
        for _ in range(2):
            assert torch.equal(made.predict(lambda x: 2 * x, torch.ones(count)), 2 * torch.ones(count))
    assert len(made._forms) == most and len(recorded) == most + 1
    made.predict(lambda x: 2 * x, torch.ones(2))
    assert len(recorded) == most + 1, "it had been forgotten, and its first time is plain"


def test_outputs_outlive_the_next_call(recorded: list) -> None:
    """The interval estimator keeps one while it asks for the next."""
    made = Graphs(CPU, lambda text: None)
    made.prepare("auto", "full", None, None)  # type: ignore[arg-type]
    found = [made.predict(lambda x: x + 1, torch.full((3,), float(n))) for n in range(4)]
    assert [float(f[0]) for f in found] == [1.0, 2.0, 3.0, 4.0] and recorded
    spaces = [made.encode(lambda x: x + 1, torch.full((3,), float(n)))[0] for n in range(4)]
    assert [float(f[0]) for f in spaces] == [1.0, 2.0, 3.0, 4.0]


def test_memory_that_runs_out_takes_the_graphs_first(
    recorded: list, make_guidance: Callable, make_request: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rung stays; without graphs there is more memory."""
    told: list[str] = []
    guidance, plain = make_guidance("sd15", told.append), make_guidance("sd15")
    for step in range(2):
        guidance.score(of_step(make_request(guidance), step))
    residual = guidance._residual

    def short(*args: Any) -> Tensor:
        if guidance.graphs.any:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return residual(*args)

    monkeypatch.setattr(guidance, "_residual", short)
    found = guidance.score(of_step(make_request(guidance), 2))
    assert guidance.rung == "full" and guidance.describe()["graphs"] == "no: memory ran out"
    assert torch.equal(found.gradient, plain.score(of_step(make_request(plain, graphs="off"), 2)).gradient)
    assert sum("graphs" in line for line in told) == 1


def test_what_fails_is_one_message_and_costs_no_step(
    monkeypatch: pytest.MonkeyPatch, make_guidance: Callable, make_request: Callable
) -> None:
    def refuse(work: Callable[[], Tensor]) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    monkeypatch.setattr(graphs, "_captured", refuse)
    monkeypatch.setattr(graphs, "against", lambda *a: None)
    told: list[str] = []
    guidance, plain = make_guidance("sd15", told.append), make_guidance("sd15")
    for step in range(3):
        found = guidance.score(of_step(make_request(guidance), step))
        assert torch.equal(found.gradient, plain.score(of_step(make_request(plain, graphs="off"), step)).gradient)
    assert [line for line in told if "graphs" in line] == [
        "CUDA graphs: recording failed: operation not permitted when stream is capturing; going on without "
        "(large.graphs off keeps it from being tried)"
    ]
    assert guidance.describe()["graphs"].startswith("no: recording failed: operation not permitted")


def test_what_is_recorded_is_not_compiled_by_itself(make_guidance: Callable) -> None:
    guidance = make_guidance("sd15")
    made = Graphs(CUDA, lambda text: None)
    assert made.wanted("auto", "full", guidance.family)
    assert not made.wanted("off", "full", guidance.family) and not made.wanted("auto", "lean", guidance.family)
    guidance.compiling.device = CUDA
    guidance.compiling.prepare(guidance.pipeline, guidance.family, "auto", "full", 10**6, recorded=True)
    assert not guidance.compiling.parts and "CUDA graphs" in guidance.compiling.described()
    made._failed = (None, "no")
    assert made.wanted("auto", "full", guidance.family), "nothing is compiled where recording has failed"
