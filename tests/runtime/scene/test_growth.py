"""Densify and prune: who grows, what children inherit, how little the picture changes, and who stays untouched."""

import dataclasses

import pytest
import torch

from interactive3d.runtime.scene.camera import Camera
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.scene.growth import KEPT_AT_LEAST, clone_rows, densify, prune, split_rows
from interactive3d.runtime.scene.render import render
from interactive3d.runtime.scene.transforms import covariances
from interactive3d.runtime.settings import DensifySettings

SETTINGS = DensifySettings(gradient=0.5, split_scale=0.05, share=1.0, cap=10_000)
PICTURE_TOLERANCE = 0.03
"""Mean absolute difference of display values where the picture shows the grown blobs; half of all blobs grown at once change 7 of 255 levels at most."""


def blobs(count: int = 60, seed: int = 0) -> GaussianModel:
    g = torch.Generator().manual_seed(seed)
    model = GaussianModel.create(
        mean=torch.rand(count, 3, generator=g) - 0.5,
        log_scale=torch.rand(count, 3, generator=g) * 1.2 - 3.5,
        rotation=torch.randn(count, 4, generator=g),
        color=torch.rand(count, 3, generator=g),
        logit_opacity=torch.randn(count, generator=g) + 1.0,
    )
    columns = {n: torch.rand(c.shape, generator=g) for n, c in model.columns.items() if n[:5] in ("first", "secon")}
    columns |= {
        "updates": torch.full((count,), 9, dtype=torch.int32),
        "grown_gradient": torch.rand(count, generator=g) * 4,
        "grown_count": torch.full((count,), 4.0),
        "term.k.pin": torch.arange(count, dtype=torch.float32),
    }
    return model.with_columns(columns).with_tag("wing", torch.arange(count) % 2 == 0)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def test_only_the_steep_grow_the_large_split_the_small_are_cloned():
    model = blobs()
    steep = model.columns["grown_gradient"] / 4 > SETTINGS.gradient
    large = model.scale.amax(-1) > SETTINGS.split_scale
    new, count = densify(model, SETTINGS, generator())
    assert (count.split, count.cloned) == (int((steep & large).sum()), int((steep & ~large).sum()))
    assert len(new) == len(model) + count.total
    assert count.split > 0 and count.cloned > 0


def test_children_inherit_tags_frozen_and_pins_but_start_afresh():
    model = blobs()
    new, _ = densify(model, SETTINGS, generator())
    born = torch.arange(len(model), len(new))
    parents = new.columns["term.k.pin"][born].long()
    assert torch.equal(new.tagged("wing")[born], model.tagged("wing")[parents])
    for name in new.columns:
        if name.startswith(("first.", "second.")):
            assert float(new.columns[name][born].abs().max()) == 0.0, name
    assert int(new.columns["updates"][born].max()) == 0


def test_rows_that_do_not_grow_keep_every_bit():
    model = blobs()
    mask = torch.arange(len(model)) < 30
    new, count = densify(model, SETTINGS, generator(), mask)
    assert count.total > 0
    for name in model.columns:
        assert torch.equal(new.columns[name][30 : len(model)], model.columns[name][30:]), name


def test_frozen_blobs_neither_grow_nor_go():
    model = blobs()
    model = model.with_columns({"frozen": torch.ones(len(model), dtype=torch.bool)})
    assert densify(model, SETTINGS, generator())[1].total == 0
    assert prune(model, SETTINGS, below=1.0)[1] == 0


def test_share_and_cap_hold_and_the_steepest_come_first():
    model = blobs()
    few = dataclasses.replace(SETTINGS, share=0.1)
    new, count = densify(model, few, generator())
    assert count.total == 6
    steepest = torch.argsort(model.columns["grown_gradient"], descending=True)[:6]
    assert set(new.columns["term.k.pin"][len(model) :].int().tolist()) == set(steepest.tolist())
    capped = dataclasses.replace(SETTINGS, cap=len(model) + 2)
    assert densify(model, capped, generator())[1].total == 2
    assert densify(model, dataclasses.replace(SETTINGS, cap=16), generator())[1].total == 0


def test_statistics_start_anew():
    new, _ = densify(blobs(), SETTINGS, generator())
    assert float(new.columns["grown_gradient"].abs().max()) == 0.0
    assert float(new.columns["grown_count"].abs().max()) == 0.0


def test_same_generator_same_bits():
    a, b = (densify(blobs(), SETTINGS, generator())[0] for _ in range(2))
    for name in a.columns:
        assert torch.equal(a.columns[name], b.columns[name])


def test_the_two_of_a_split_have_their_parents_mean_and_covariance():
    model = blobs()
    rows = torch.tensor([3, 10, 11])
    new = split_rows(model, rows)
    one, two = rows, torch.arange(len(model), len(new))
    a, b = new.mean[one].double(), new.mean[two].double()
    torch.testing.assert_close((a + b) / 2, model.mean[rows].double(), atol=1e-7, rtol=0)
    apart = (a - b) / 2
    inner = (covariances(new)[one] + covariances(new)[two]) / 2
    torch.testing.assert_close(
        inner + apart[:, :, None] * apart[:, None, :], covariances(model)[rows], atol=1e-8, rtol=1e-5
    )


@pytest.mark.parametrize("grow", [lambda m, r: split_rows(m, r), lambda m, r: clone_rows(m, r, generator())])
def test_the_picture_changes_little(grow):
    model = blobs(40)
    cameras = [Camera.orbit(0.0, 10.0), Camera.orbit(100.0, 30.0)]
    before = render(model, cameras, 48)
    after = render(grow(model, torch.arange(20)), cameras, 48)
    seen = before.alpha > 0.05
    assert float((before.color - after.color).abs()[seen].mean()) < PICTURE_TOLERANCE


def test_prune_drops_the_clear_and_the_huge_and_nothing_else():
    model = blobs()
    doomed = model.opacity < SETTINGS.prune_opacity
    clear = model.map_rows(torch.arange(60) < 5, {"logit_opacity": lambda x: torch.full_like(x, -6.0)})
    huge = clear.map_rows(torch.arange(60) == 7, {"log_scale": torch.ones_like})
    new, removed = prune(huge, SETTINGS)
    kept = [i for i in range(60) if i >= 5 and i != 7 and not doomed[i]]
    assert removed == 60 - len(kept)
    assert new.columns["term.k.pin"].int().tolist() == kept
    assert prune(huge, SETTINGS, torch.zeros(60, dtype=torch.bool))[1] == 0


def test_pruning_leaves_something():
    model = blobs()
    new, _ = prune(model, SETTINGS, below=1.0)
    assert len(new) == KEPT_AT_LEAST
    assert float(new.opacity.min()) >= float(model.opacity.sort().values[-KEPT_AT_LEAST])


def test_without_statistics_and_threshold_the_largest_grow():
    model = blobs().with_columns({"grown_gradient": torch.zeros(60), "grown_count": torch.zeros(60)})
    settings = dataclasses.replace(SETTINGS, share=0.05)
    new, count = densify(model, settings, generator(), threshold=0.0)
    assert count.total == 3
    largest = torch.argsort(model.scale.amax(-1), descending=True)[:3]
    assert set(new.columns["term.k.pin"][60:].int().tolist()) == set(largest.tolist())
