"""Distillation and refinement: they learn, they are deterministic, they change only what they may."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from interactive3d.kernels.hash_grid import GridLayout
from interactive3d.runtime.field.convert import UNSEEN, distill
from interactive3d.runtime.field.distill import OCCUPIED, picture_side, psnr_against_splats, rate_factor
from interactive3d.runtime.field.field import HashGridField
from interactive3d.runtime.field.optimizer import Moments, Rates, adam_step
from interactive3d.runtime.field.refine import (
    begin_refinement,
    make_region,
    refine_step,
    resolved,
    sphere_box,
    with_refreshed_mask,
)
from interactive3d.runtime.field.rendering import render_field
from interactive3d.runtime.operations.base import seeded_generator
from interactive3d.runtime.scene.camera import Camera
from interactive3d.runtime.settings import RefineSettings, Settings
from tests.runtime.field.known import ball_blobs, ball_field

QUICK = {
    "field.levels": 5,
    "field.capacity": 4096,
    "field.step": 0.03,
    "distill.size": 64,
    "distill.rays": 256,
    "distill.table_rate": 0.03,
    "distill.network_rate": 0.02,
}
LEARNT = 5.0  # dB that a few dozen tiny steps gain over the untrained fog
CENTER, BALL = (0.0, 0.0, 0.55), 0.2
HORN_STEPS = 70
SMALL = RefineSettings(levels=4, capacity=4096, refresh=3)


def quick_settings() -> Settings:
    settings = Settings()
    for path, value in QUICK.items():
        settings = settings.set(path, value)
    return settings


def distilled(steps: int) -> HashGridField:
    return distill(ball_blobs(), quick_settings(), lambda step, purpose: seeded_generator(5, step, purpose), steps)


def test_distillation_learns_and_repeats_to_the_bit() -> None:
    field = distilled(60)
    views = list(UNSEEN)
    untrained = psnr_against_splats(distilled(0), ball_blobs(), views, 32)
    assert psnr_against_splats(field, ball_blobs(), views, 32) > untrained + LEARNT
    again = distilled(4)
    assert torch.equal(again.params, distilled(4).params)
    assert not torch.equal(again.params, field.params)


@pytest.mark.slow
def test_distillation_of_ten_thousand_blobs_reaches_thirty_decibels() -> None:
    model = ball_blobs(10_000)
    field = distill(model, Settings(), lambda step, purpose: seeded_generator(0, step, purpose))
    assert psnr_against_splats(field, model, list(UNSEEN), 256) >= 30.0


def test_blobs_out_of_reach_are_refused() -> None:
    model = ball_blobs()
    far = model.with_columns({"mean": model.mean + 10.0})
    with pytest.raises(ValueError, match="no blobs lie in the cube"):
        distill(far, quick_settings(), lambda step, purpose: seeded_generator(0, step, purpose), 1)


def test_pictures_grow_and_step_sizes_rise_and_fall() -> None:
    assert [picture_side(p, 256) for p in (0.0, 0.3, 0.7, 1.0)] == [64, 128, 256, 256]
    assert rate_factor(0.0) < rate_factor(0.1) == 1.0
    assert rate_factor(0.99) < 0.2


class TowardsRed:
    """A picture loss whose answer is known: everything that is seen becomes red."""

    def __call__(self, images: torch.Tensor, cameras: Sequence[Camera]) -> tuple[torch.Tensor, float]:
        error = images - torch.tensor([1.0, 0.0, 0.0])
        return error / error[..., 0].numel(), float(error.square().mean())


def test_refinement_learns_only_in_its_region() -> None:
    field = ball_field(step=0.02)
    region = make_region(field, "a", sphere_box(CENTER, BALL), None, SMALL, torch.Generator().manual_seed(0))
    state = begin_refinement(field, region)
    camera = Camera(position=(0.0, 0.0, 2.5), target=CENTER, fov=10.0)
    values = []
    for i in range(15):
        state, value = refine_step(
            state, TowardsRed(), [camera], 16, torch.ones(1, 3), i + 1, SMALL, seeded_generator(0, i, "refine")
        )
        values.append(value)
    assert values[-1] < 0.7 * values[0]
    assert state.field.params is field.params  # the base is not even copied
    points = torch.rand(3000, 3, generator=torch.Generator().manual_seed(1)) * 2 - 1
    outside = (points - torch.tensor(CENTER)).norm(dim=-1) > BALL
    assert torch.equal(state.field.raw(points)[outside], field.raw(points)[outside])


def test_a_refinement_follows_a_loss_of_coverage_too() -> None:
    field = ball_field(step=0.02)
    region = make_region(field, "a", sphere_box(CENTER, BALL), None, SMALL, torch.Generator().manual_seed(0))
    state = begin_refinement(field, region)
    camera = Camera(position=(2.5, 0.0, 0.55), target=CENTER, fov=10.0)  # the region on the horizon
    order: list[str] = []

    def content(images: torch.Tensor, cameras: Sequence[Camera]) -> tuple[torch.Tensor, float]:
        order.append("picture")
        return torch.zeros_like(images), 0.0

    def fuller(alpha: torch.Tensor) -> torch.Tensor:
        order.append("coverage")
        assert alpha.shape == (1, 16, 16)
        return -alpha.mean()

    for i in range(30):
        state, value = refine_step(
            state,
            content,
            [camera],
            16,
            torch.ones(1, 3),
            i + 1,
            SMALL,
            seeded_generator(0, i, "refine"),
            coverage=fuller,
        )
        assert value == 0.0
    assert order == ["picture", "coverage"] * 30
    covered = [float(render_field(f, [camera], 16).alpha.mean()) for f in (field, state.field)]
    assert covered[1] > 1.1 * covered[0]


def test_a_region_puts_matter_where_the_base_has_none_and_its_occupancy_follows() -> None:
    field = ball_field(radius=0.3, step=0.02)
    region = make_region(field, "a", sphere_box((0.0, 0.0, 0.35), 0.3), None, SMALL, torch.Generator().manual_seed(0))
    params = region.params.clone()
    params[-4] = 8.0  # the residual raw density's bias
    grown = field.with_region(replace(region, params=params))
    points = torch.stack([torch.zeros(20), torch.zeros(20), torch.arange(20) / 20 * 0.15 + 0.46], -1)
    assert float(field.density_color(points)[0].max()) == 0.0
    assert float(grown.density_color(points)[0].max()) > OCCUPIED
    for _ in range(2):
        before, grown = grown, with_refreshed_mask(grown, "a")
        mask = grown.region("a").mask.bool()
        assert int(mask.sum()) > int(before.region("a").mask.sum())
        assert not (mask & ~region.shape.bool()).any()
    # A region that removes everything still speaks where the base is, or the base would show again.
    params[-4] = -50.0
    emptied = with_refreshed_mask(field.with_region(replace(region, params=params)), "a")
    inside = torch.tensor([[0.0, 0.0, 0.2], [0.0, 0.05, 0.25]])
    assert float(emptied.density_color(inside)[0].max()) < OCCUPIED


@pytest.mark.parametrize(("levels", "features", "hidden"), [(1, 1, 32), (4, 2, 32), (8, 8, 64)])
def test_a_fresh_region_adds_nothing_to_the_bit_yet_its_tables_learn_at_once(
    levels: int, features: int, hidden: int
) -> None:
    field = ball_field()
    chosen = RefineSettings(levels=levels, features=features, capacity=4096, hidden=hidden)
    region = make_region(field, "a", sphere_box(CENTER, BALL), None, chosen, torch.Generator().manual_seed(0))
    points = torch.tensor(CENTER) + (torch.rand(2000, 3, generator=torch.Generator().manual_seed(1)) - 0.5) * BALL
    leaf = region.params.clone().requires_grad_()
    raw = field.with_region(region).raw(points, regions={"a": leaf})
    assert torch.equal(raw.detach(), field.raw(points))
    weight = torch.randn(raw.shape, generator=torch.Generator().manual_seed(2))
    table, first, *_ = region.layout.split(torch.autograd.grad(raw, leaf, weight)[0])
    start = 0
    for rows in region.layout.entries:
        assert float(table[start : start + rows].abs().max()) > 0  # every level
        start += rows
    assert float(first[:, region.layout.encoded :].abs().max()) > 0  # what the base says is listened to as well


def test_cells_that_no_picture_resolves_learn_slowly() -> None:
    field = ball_field()
    chosen = RefineSettings(levels=6, capacity=4096)
    region = make_region(field, "a", sphere_box(CENTER, BALL), None, chosen, torch.Generator().manual_seed(0))
    near, far = Camera.orbit(0.0, 0.0, 1.0, 20.0, CENTER), Camera.orbit(0.0, 0.0, 2.0, 20.0, CENTER)
    cells = [2 * BALL / resolution for resolution in region.layout.resolutions]
    pixel = 2 * 1.0 * math.tan(math.radians(10.0)) / 24
    assert cells[0] > pixel > cells[-1]
    assert resolved(region, [far, near], 24) == pytest.approx([min(1.0, cell / pixel) ** 2 for cell in cells])
    assert resolved(region, [far], 24)[-1] == pytest.approx(0.25 * resolved(region, [near], 24)[-1])
    assert resolved(region, [near], 1 << 16) == (1.0,) * 6


def test_factors_of_levels_scale_their_tables_steps_and_nothing_else() -> None:
    layout = GridLayout.create(levels=3, features=2, capacity=64, base_resolution=2, hidden=32)
    params, gradient = torch.zeros(layout.size), torch.ones(layout.size)
    rates = Rates(table=0.1, network=0.02)
    plain, _ = adam_step(params, gradient, Moments.fresh(params), layout, rates)
    scaled, _ = adam_step(params, gradient, Moments.fresh(params), layout, replace(rates, levels=(1.0, 0.5, 0.0)))
    table, *network = layout.split(scaled / plain)
    expected = torch.tensor([1.0, 0.5, 0.0]).repeat_interleave(torch.tensor(layout.entries))
    assert torch.equal(table, expected[:, None].expand_as(table))
    assert all(torch.equal(part, torch.ones_like(part)) for part in network)


class TowardsField:
    """A picture loss whose answer is known: the pictures of another field."""

    def __init__(self, target: HashGridField, side: int) -> None:
        self.target, self.side = target, side

    def __call__(self, images: torch.Tensor, cameras: Sequence[Camera]) -> tuple[torch.Tensor, float]:
        error = images - render_field(self.target, list(cameras), self.side).color
        return error / error[..., 0].numel(), float(error.square().mean())


def test_a_horn_that_the_base_lacks_is_grown_from_pictures_inside_its_region() -> None:
    side, center, ball = 20, (0.0, 0.5, 0.0), 0.25
    base, target = ball_field(radius=0.3, step=0.03), ball_field(radius=0.3, step=0.03, horn=0.25)
    chosen = RefineSettings(levels=3, capacity=2048, refresh=4, table_rate=0.05, network_rate=0.03)
    region = make_region(base, "horn", sphere_box(center, ball), None, chosen, torch.Generator().manual_seed(0))
    state = begin_refinement(base, region)
    loss = TowardsField(target, side)
    tip = torch.stack([torch.zeros(10), torch.linspace(0.5, 0.55, 10), torch.zeros(10)], -1)
    assert float(base.density_color(tip)[0].max()) == 0.0 < OCCUPIED < float(target.density_color(tip)[0].min())
    values = []
    for i in range(HORN_STEPS):
        cameras = [Camera.orbit(100.0 * i, 10.0, 2.5, 14.0, center)]
        state, value = refine_step(
            state,
            loss,
            cameras,
            side,
            torch.ones(2, 3),
            i + 1,
            chosen,
            seeded_generator(0, i, "refine"),
            i / HORN_STEPS,
        )
        values.append(value)
    assert values[-1] < 0.1 * values[0], values[::10]  # ten decibels
    assert (state.field.density_color(tip)[0] > OCCUPIED).float().mean() > 0.8
    # Where the tip is now, the base was never asked.
    assert int(state.field.occupancy().sum()) > int(base.mask.sum())
    points = torch.rand(3000, 3, generator=torch.Generator().manual_seed(1)) * 2 - 1
    outside = (points - torch.tensor(center)).norm(dim=-1) > ball
    assert torch.equal(state.field.raw(points)[outside], base.raw(points)[outside])
