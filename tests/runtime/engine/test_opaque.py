"""The pull of `guidance.opaque`, by its numbers and on blobs."""

import dataclasses
from pathlib import Path

import pytest
import torch

from interactive3d.dsl.operations import Box, Drag, DragMode, Edit, Operation, Repair, ShapePart
from interactive3d.dsl.program import GuidanceChoice, InitShape, Program
from interactive3d.dsl.values import Sphere
from interactive3d.runtime.engine.opaque import (
    COVERED,
    SEEN,
    TURNING,
    half_transparent,
    left_out_share,
    opaque_share,
    without_thinning,
)
from interactive3d.runtime.engine.session import Session
from interactive3d.runtime.engine.start import begin
from interactive3d.runtime.engine.state import RunState
from interactive3d.runtime.engine.trainer import Trainer
from interactive3d.runtime.guidance.protocol import Score, ScoreRequest
from interactive3d.runtime.scene.camera import Camera
from interactive3d.runtime.scene.render import render

BACKGROUND = torch.tensor([[1.0, 1.0, 1.0]])
OWN = torch.tensor([0.2, 0.6, 0.2])
"""The object's colour in pictures of one pixel."""


def shown(alpha: float | torch.Tensor, own: torch.Tensor = OWN) -> torch.Tensor:
    """A picture of one pixel in which this much of the object's colour lies over the background."""
    return (alpha * own + (1 - alpha) * BACKGROUND[0]).reshape(1, 1, 1, 3)


NOTHING, SOMETHING = shown(0.0), shown(1.0)


def slope(alpha: float, clean: torch.Tensor | None, own: torch.Tensor = OWN) -> float:
    """By the coverage of a picture of one pixel; negative where the pull is up."""
    at = torch.full((1, 1, 1), alpha, requires_grad=True)
    (found,) = torch.autograd.grad(half_transparent(shown(at, own), at, clean, BACKGROUND), at)
    return float(found)


def test_it_comes_in_while_the_object_has_its_shape() -> None:
    shares = [opaque_share(step, 100) for step in (0, 20, 35, 50, 100)]
    assert shares == pytest.approx([0, 0, 0.5, 1, 1])
    assert opaque_share(0, 0) == 0


def test_what_is_left_out_comes_in_with_the_weight() -> None:
    assert left_out_share(0.0, 1.0, False) == 0.0
    assert left_out_share(0.25, 1.0, False) == pytest.approx(0.5)
    assert left_out_share(0.5, 0.6, False) == left_out_share(5.0, 0.6, False) == 0.6
    assert left_out_share(0.5, 0.6, True) == pytest.approx(0.3)


@pytest.mark.parametrize("clean", [SOMETHING, None], ids=["shown", "unknown"])
def test_more_than_a_third_is_pulled_up_and_less_is_pulled_down(clean: torch.Tensor | None) -> None:
    assert slope(0.2, clean) > 0 > slope(0.5, clean) > slope(0.9, clean)
    assert abs(slope(TURNING, clean)) < 0.05 * slope(0.05, clean)  # the turning point, but for the rounding


def test_what_the_prior_shows_by_less_than_a_half_is_not_pulled_up() -> None:
    assert slope(0.6, NOTHING) == 0
    assert slope(0.2, NOTHING) == slope(0.2, SOMETHING) > 0
    assert slope(0.6, shown(0.9 * COVERED)) == 0 > slope(0.6, shown(1.1 * COVERED))


def test_colours_that_cannot_be_told_from_the_background_are_not_pulled_up() -> None:
    """A white haze would become a white solid before a white wall."""
    near = BACKGROUND[0] - 0.5 * SEEN / 3**0.5
    assert slope(0.6, shown(1.0, near), near) == 0
    far = BACKGROUND[0] - 2 * SEEN / 3**0.5
    assert slope(0.6, shown(1.0, far), far) < 0


@pytest.mark.parametrize("clean", [SOMETHING, None], ids=["shown", "unknown"])
def test_it_can_be_told_to_pull_down_only(clean: torch.Tensor | None) -> None:
    for alpha, falls in ((0.2, True), (0.5, False), (0.9, False)):
        at = torch.full((1, 1, 1), alpha, requires_grad=True)
        (found,) = torch.autograd.grad(half_transparent(shown(at), at, clean, BACKGROUND, up=False), at)
        assert (float(found) > 0) is falls and float(found) >= 0


def test_thin_parts_that_the_prior_shows_can_be_spared() -> None:
    """An antenna of which a field has a fifth would be cut through."""
    for clean, spare, falls in ((SOMETHING, True, False), (SOMETHING, False, True), (NOTHING, True, True)):
        at = torch.full((1, 1, 1), 0.2, requires_grad=True)
        (found,) = torch.autograd.grad(half_transparent(shown(at), at, clean, BACKGROUND, spare=spare), at)
        assert (float(found) > 0) is falls and float(found) >= 0


def test_a_picture_of_any_size_counts_the_same_and_a_picture_may_lie_behind() -> None:
    small, large = (torch.full((2, side, side), 0.5) for side in (16, 48))
    assert float(half_transparent(small[..., None], small, None, BACKGROUND)) == pytest.approx(
        float(half_transparent(large[..., None], large, None, BACKGROUND)), rel=1e-5
    )
    images, clean = shown(0.5).expand(2, 16, 16, 3), SOMETHING.expand(2, 16, 16, 3)
    picture = BACKGROUND[0].expand(2, 16, 16, 3)
    found = [half_transparent(images, small, clean, behind) for behind in (picture, BACKGROUND.expand(2, 3))]
    assert torch.equal(*found) and float(found[0]) > 0


def asked_for(images: torch.Tensor, clean: torch.Tensor, alpha: float, share: float = 1.0) -> torch.Tensor:
    """What is left of a score's gradient at a pixel."""
    score = Score(gradient=images - clean, clean=clean, loss=0.0)
    return without_thinning(score, images, torch.full((1, 1, 1), alpha), BACKGROUND, share)


def test_a_covered_pixel_is_not_greyed_by_a_prior_that_sees_it_half_transparent() -> None:
    solid, thin = shown(1.0), shown(0.7)
    assert float(asked_for(solid, thin, 1.0).abs().max()) < 1e-6
    torch.testing.assert_close(asked_for(solid, thin, 1.0, share=0.4), 0.6 * (solid - thin))
    assert torch.equal(asked_for(thin, solid, 0.7), thin - solid)  # more of the object: kept
    absent = shown(0.3)
    assert torch.equal(asked_for(solid, absent, 1.0), solid - absent)  # less than half: kept


def test_another_colour_is_still_learnt() -> None:
    """Only the part along the way to the background is left out."""
    solid, other = shown(1.0), shown(1.0, torch.tensor([0.6, 0.2, 0.2]))
    left = asked_for(solid, other, 1.0)
    assert float(((solid - other) * left).sum()) > 0.9 * float((solid - other).square().sum())
    unknown = Score(gradient=solid - other, clean=None, loss=0.0)
    assert torch.equal(without_thinning(unknown, solid, torch.ones(1, 1, 1), BACKGROUND, 1.0), solid - other)


class SeesADisc:
    """A prior that is content with every picture, and whose clean picture has a disc in its middle."""

    name, device, preferred = "disc", torch.device("cpu"), ()

    def encode(self, prompt: str, negative: str = "") -> None:
        return None

    def score(self, request: ScoreRequest) -> Score:
        b, side = request.images.shape[:2]
        line = torch.linspace(-1, 1, side)
        disc = line[:, None].square() + line[None, :].square() < 0.5**2
        clean = torch.where(
            disc[None, :, :, None],
            1 - request.background[:, None, None, :].round(),
            request.background[:, None, None, :],
        )
        assert clean.shape == (b, side, side, 3)
        return Score(gradient=torch.zeros_like(request.images), clean=clean, loss=0.0)


def begun(opaque: float, folder: Path) -> tuple[Trainer, RunState]:
    program = Program(
        prompt="a disc",
        steps=120,
        initial=InitShape(count=80, shape=Sphere(center=(0.0, 0.0, 0.0), radius=0.4)),
        guidance=GuidanceChoice(name="disc"),
        settings=(("guidance.size", 24), ("camera.batch", 2), ("guidance.opaque", opaque), ("init.opacity", 0.2)),
        folder=str(folder),
    )
    return begin(program, SeesADisc(), seed=0, device="cpu")


def soft_share(opaque: float, folder: Path) -> float:
    """The share of the covered pixels that is half transparent at the end of a run."""
    trainer, state = begun(opaque, folder)
    for _ in range(trainer.steps):
        state = trainer.step(state)
    alpha = render(state.model, [Camera.orbit(30, 10)], 64, 64).alpha
    return float(((alpha > 0.05) & (alpha < 0.95)).sum() / (alpha > 0.05).sum())


def test_blobs_become_solid(tmp_path: Path, one_thread: None) -> None:
    before, after = soft_share(0.0, tmp_path), soft_share(1.0, tmp_path)
    assert before > 0.9
    assert after < 0.6 * before


def after_one_step(opaque: float, folder: Path, kept: int, operation: Operation | None) -> torch.Tensor:
    """The blobs' opacities after a step late in a run."""
    trainer, state = begun(opaque, folder)
    state = dataclasses.replace(
        state, model=state.model.with_columns({"settled": torch.arange(len(state.model)) < kept}), step=100
    )
    session = Session(trainer, (), state)
    if operation is not None:
        session.submit(operation)
    session.advance(1)
    return session.latest().model.columns["logit_opacity"]


PART = ShapePart(shape=Box(low=(-1.0, 0.0, -1.0), high=(1.0, 1.0, 1.0)))


PULL = Drag(part=PART, source=(0.0, 0.2, 0.0), target=(0.5, 0.2, 0.0), radius=0.3, mode=DragMode.DEFORMABLE, steps=10)


@pytest.mark.parametrize(
    "kept, operation, rests",
    [
        (0, None, False),
        (10, None, True),
        (10, Edit(part=PART, prompt="another disc", steps=10), False),
        (0, PULL, True),
        (0, Repair(part=PART, steps=10, anchor=0.0), True),
    ],
    ids=["all free", "some settled", "edit", "drag", "repair without an anchor"],
)
def test_it_rests_where_free_blobs_would_grow_over_what_is_kept(
    kept: int, operation: Operation | None, rests: bool, tmp_path: Path, one_thread: None
) -> None:
    assert torch.equal(*(after_one_step(opaque, tmp_path, kept, operation) for opaque in (0.0, 1.0))) is rests


def test_under_repairs_it_pulls_down_only(tmp_path: Path, one_thread: None) -> None:
    """A removed cloak would else come back as a solid one."""
    repair = Repair(part=PART, steps=10)
    without, plain = (after_one_step(1.0, tmp_path, 0, operation) for operation in (repair, None))
    free = after_one_step(0.0, tmp_path, 0, repair)
    assert not torch.equal(without, free)
    assert bool((without <= free + 1e-4).all()) and bool((plain > free + 1e-3).any())
