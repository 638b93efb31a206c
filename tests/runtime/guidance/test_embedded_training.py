"""The training machinery on ellipsoids made on the spot: it learns, resumes to the bit, and shares its work."""

import pytest
import torch

from interactive3d.runtime.guidance.embedded.corrupt import damage_volume, warp_pictures
from interactive3d.runtime.guidance.embedded.data import EllipsoidSource, draw_backgrounds
from interactive3d.runtime.guidance.embedded.gate import gate, orbit_viewmats, turned
from interactive3d.runtime.guidance.embedded.loop import Group, Hooks, Stage, StageConfig, mixed_seed, run_stage
from interactive3d.runtime.guidance.embedded.stages import DrawConfig, draw_condition, unet_stage, volume_stage
from interactive3d.runtime.guidance.embedded.text import TextConfig, WordTokenizer
from interactive3d.runtime.guidance.embedded.unet import UNetConfig
from interactive3d.runtime.guidance.embedded.volume import VolumeConfig
from interactive3d.runtime.guidance.embedded.weights import Networks, build_networks

CELLS = 16
ROUND_OFF = 1e-5  # float32 arithmetic on values of order one


pytestmark = pytest.mark.usefixtures("one_thread")


def tiny_networks() -> Networks:
    torch.manual_seed(0)
    tokenizer = WordTokenizer(EllipsoidSource(CELLS).words())
    size = len(tokenizer)
    return build_networks(
        tokenizer,
        TextConfig(vocabulary=size, width=32, layers=1, heads=2),
        VolumeConfig(vocabulary=size, width=32, resolution=CELLS, layers=1, heads=2, text_width=32, unfold=16, query=4),
        UNetConfig(channels=(8, 16, 16), down=(1, 1, 1), up=(1, 1, 1), heads=2, text_width=32, embedding=32),
    )


def run(steps: int, path, stage_name: str = "unet", total: int = 8) -> tuple[Stage, dict[str, float]]:
    """Train tiny networks up to `steps` of `total`, resuming from `path` where it exists."""
    networks = tiny_networks()
    config = StageConfig(steps=total, batch=4, warm_up=2)
    modules = [networks.unet] if stage_name == "unet" else [networks.text, networks.volume]
    stage = Stage(stage_name, modules, config, seed=3)
    if path.exists():
        stage.load(torch.load(path, weights_only=True))
    make = unet_stage if stage_name == "unet" else volume_stage
    loss_of = make(networks, EllipsoidSource(CELLS), DrawConfig(volume_cells=64), "cpu")
    stage.progress = lambda began: 1.0 if stage.step >= steps else stage.step / total
    return stage, run_stage(stage, Group(), loss_of, Hooks(lambda line: None, path))


def test_a_resumed_run_ends_where_an_unbroken_one_does(tmp_path):
    whole, _ = run(4, tmp_path / "whole.pt")
    run(2, tmp_path / "parts.pt")
    parts, _ = run(4, tmp_path / "parts.pt")
    assert parts.step == whole.step == 4
    assert all(torch.equal(a, b) for a, b in zip(parts.parameters, whole.parameters, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(parts.average.values, whole.average.values, strict=True))


def test_the_volume_network_learns(tmp_path):
    networks = tiny_networks()
    stage = Stage(
        "volume", [networks.text, networks.volume], StageConfig(steps=120, batch=4, warm_up=3, rate=4e-3), seed=1
    )
    loss_of = volume_stage(networks, EllipsoidSource(CELLS), DrawConfig(volume_cells=64), "cpu")
    before = loss_of(99, 8)["loss"].item()
    run_stage(stage, Group(), loss_of, Hooks(lambda line: None, tmp_path / "volume.pt"))
    assert loss_of(99, 8)["loss"].item() < 0.8 * before


def test_log_tells_rate_and_time_left(tmp_path):
    lines = []
    networks = tiny_networks()
    stage = Stage("volume", [networks.text, networks.volume], StageConfig(steps=2, batch=2, warm_up=1), seed=1)
    loss_of = volume_stage(networks, EllipsoidSource(CELLS), DrawConfig(volume_cells=16), "cpu")
    run_stage(stage, Group(), loss_of, Hooks(lines.append, tmp_path / "volume.pt", log_every=1))
    assert len(lines) == 2
    assert "/s" in lines[0] and "min left" in lines[0] and "coverage" in lines[0]


def test_swap_exchanges_average_and_parameters(tmp_path):
    stage, _ = run(3, tmp_path / "a.pt")
    trained = [p.detach().clone() for p in stage.parameters]
    kept = [v.clone() for v in stage.average.values]
    stage.average.swap(stage.parameters)
    assert all(torch.equal(p, v) for p, v in zip(stage.parameters, kept, strict=True))
    stage.average.swap(stage.parameters)
    assert all(torch.equal(p, t) for p, t in zip(stage.parameters, trained, strict=True))


def test_seeds_differ_in_every_part():
    seeds = {mixed_seed(a, b, c) for a in range(4) for b in range(40) for c in range(2)}
    assert len(seeds) == 4 * 40 * 2
    assert all(0 <= s < 2**62 for s in seeds)


def test_conditions_are_of_all_kinds_and_repeat():
    networks = tiny_networks()
    batch = EllipsoidSource(CELLS).picture_batch(0, 24, 1)
    first, again = (
        draw_condition(networks, batch, DrawConfig(), torch.Generator().manual_seed(2), "cpu") for _ in range(2)
    )
    assert torch.equal(first.volumes, again.volumes)
    own, told = first.trust > 0, first.from_text > 0
    assert own.any() and told.any() and (~own & ~told).any() and not (own & told).any()
    empty = ~own & ~told
    assert first.volumes[empty].abs().max() == 0


def test_damage_stays_in_range_and_grows_with_doubt():
    volume = EllipsoidSource(CELLS).volume_batch(0, 1).volumes[0]

    def change(trust: float) -> float:
        out = [damage_volume(volume, trust, torch.Generator().manual_seed(s)) for s in range(6)]
        assert all(o.min() >= 0 and o.max() <= 1 + ROUND_OFF for o in out)
        return sum(float((o - volume).abs().mean()) for o in out)

    assert change(0.05) > change(1.0) > 0


def test_warp_of_strength_zero_changes_nothing():
    pictures = torch.rand(2, 3, 16, 16)
    generator = torch.Generator().manual_seed(0)
    torch.testing.assert_close(
        warp_pictures(pictures, torch.zeros(2), generator), pictures, atol=ROUND_OFF, rtol=ROUND_OFF
    )
    assert not torch.allclose(warp_pictures(pictures, torch.full((2,), 0.1), generator), pictures)


def test_backgrounds_are_mostly_white():
    drawn = draw_backgrounds(400, torch.Generator().manual_seed(0))
    assert 0.3 < float((drawn == 1).all(1).float().mean()) < 0.6
    assert drawn.min() >= 0 and drawn.max() <= 1


def test_turning_a_camera_is_walking_round():
    start = orbit_viewmats(torch.tensor([20.0]), torch.tensor([15.0]))
    there = orbit_viewmats(torch.tensor([110.0]), torch.tensor([15.0]))
    torch.testing.assert_close(turned(start, 90), there, atol=ROUND_OFF, rtol=ROUND_OFF)


def test_gate_of_an_untrained_network_is_finite():
    networks = tiny_networks()
    batch = EllipsoidSource(CELLS).gate_batch(1, 4, False)
    table = gate(networks, batch, batch)
    assert table.right > 0 and 0 <= table.edit_iou[150] <= 1
    assert "azimuth" in table.line()
