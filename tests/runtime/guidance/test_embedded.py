"""The embedded prior behind the guidance protocol, and the folder it is kept in."""

import time
from pathlib import Path

import pytest
import torch

from interactive3d.runtime.guidance.embedded import schedule
from interactive3d.runtime.guidance.embedded.conditioning import camera_rays, render_volume
from interactive3d.runtime.guidance.embedded.gate import orbit_viewmats
from interactive3d.runtime.guidance.embedded.prior import EmbeddedPrior, merge_volumes
from interactive3d.runtime.guidance.embedded.text import TextConfig, WordTokenizer
from interactive3d.runtime.guidance.embedded.unet import UNetConfig
from interactive3d.runtime.guidance.embedded.volume import VolumeConfig
from interactive3d.runtime.guidance.embedded.weights import (
    DEFAULT_FOLDER,
    Networks,
    build_networks,
    load_networks,
    save_networks,
)
from interactive3d.runtime.guidance.objects.words import vocabulary
from interactive3d.runtime.guidance.protocol import Guidance, ScoreRequest
from interactive3d.runtime.scene.camera import Camera, turntable, view_matrices

CELLS = 16
MEGABYTE = 10**6
HALF_PRECISION = 2e-3  # relative step of float16 is 5e-4; weights here are of order one
ROUND_OFF = 1e-5  # float32 arithmetic on values of order one
GRADIENT_ROUND_OFF = 1e-3  # relative; central difference of a float32 sum over 12 288 values


pytestmark = pytest.mark.usefixtures("one_thread")


def tiny_networks() -> Networks:
    torch.manual_seed(0)
    words = dict.fromkeys(w for group in vocabulary().values() for w in group)
    tokenizer = WordTokenizer(words)
    networks = build_networks(
        tokenizer,
        TextConfig(vocabulary=len(tokenizer), width=32, layers=1, heads=2),
        VolumeConfig(
            vocabulary=len(tokenizer), width=32, resolution=CELLS, layers=1, heads=2, text_width=32, unfold=16, query=4
        ),
        UNetConfig(channels=(8, 16, 16), down=(1, 1, 1), up=(1, 1, 1), heads=2, text_width=32, embedding=32),
    )
    for p in networks.unet.last.parameters():  # starts at zero, where text and camera would not matter
        torch.nn.init.normal_(p, std=0.1)
    return networks


@pytest.fixture(scope="module")
def prior() -> EmbeddedPrior:
    return EmbeddedPrior(tiny_networks())


def request(prior: EmbeddedPrior, size: int = 64, seed: int = 3, **changes) -> ScoreRequest:
    values = {
        "images": torch.rand(2, size, size, 3, generator=torch.Generator().manual_seed(1)),
        "cameras": turntable(2),
        "condition": prior.encode("a red dragon with blue wings"),
        "noise": (0.02, 0.98),
        "guidance_scale": 3.0,
        "generator": torch.Generator().manual_seed(seed),
        "background": torch.ones(2, 3),
    }
    return ScoreRequest(**(values | changes))


def test_it_is_a_guidance(prior):
    assert isinstance(prior, Guidance)


@pytest.mark.parametrize("size", [48, 64, 100, 128])
def test_gradient_has_the_size_of_the_pictures(prior, size):
    score = prior.score(request(prior, size))
    assert score.gradient.shape == score.clean.shape == (2, size, size, 3)
    assert torch.isfinite(score.gradient).all()
    assert score.gradient.abs().max() > 0


def test_gradient_is_that_of_half_the_squared_distance(prior):
    asked = request(prior, 64)
    score = prior.score(asked)
    expected = (asked.images - score.clean) / 2  # mean over two pictures
    torch.testing.assert_close(score.gradient, expected, atol=ROUND_OFF, rtol=ROUND_OFF)
    loss = 0.5 * (asked.images - score.clean).square().sum() / 2
    assert score.loss == pytest.approx(float(loss), rel=GRADIENT_ROUND_OFF)


def test_same_generator_same_gradient_other_generator_another(prior):
    first, again, other = (prior.score(request(prior, seed=s)).gradient for s in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_score_leaves_the_global_generator_alone(prior):
    before = torch.get_rng_state()
    prior.score(request(prior))
    assert torch.equal(before, torch.get_rng_state())


def test_empty_prompt_and_negative_prompt(prior):
    plain = prior.score(request(prior, condition=prior.encode("")))
    assert torch.isfinite(plain.gradient).all()
    away = prior.score(request(prior, condition=prior.encode("a red dragon with blue wings", "a cat")))
    assert not torch.equal(away.gradient, prior.score(request(prior)).gradient)


def test_text_and_volume_are_listened_to(prior):
    told = prior.score(request(prior)).gradient
    assert not torch.equal(told, prior.score(request(prior, condition=prior.encode("a blue car"))).gradient)
    volume = torch.rand(4, CELLS, CELLS, CELLS)
    grads = [
        prior.score(request(prior, shape=s, object_volume=volume)).gradient for s in ("text", "object", "both", "none")
    ]
    for i, a in enumerate(grads):
        assert all(not torch.equal(a, b) for b in grads[i + 1 :])


def test_wrong_requests_say_what_is_wrong(prior):
    with pytest.raises(ValueError, match="square"):
        prior.score(request(prior, images=torch.rand(2, 64, 32, 3)))
    with pytest.raises(ValueError, match="object_volume"):
        prior.score(request(prior, shape="object"))
    with pytest.raises(ValueError, match="shape"):
        prior.score(request(prior, shape="sphere"))


def test_encode_is_cached(prior):
    assert prior.encode("a cat") is prior.encode("a cat")


def test_unknown_words_have_near_ones(prior):
    assert prior.unknown_words("a red dragn") == [("dragn", prior.unknown_words("dragn")[0][1])]
    assert "dragon" in prior.unknown_words("dragn")[0][1]


def test_seed_points_lie_in_the_cube_and_repeat(prior):
    condition = prior.encode("a red dragon")
    first, again = (prior.seed_points(condition, 200, torch.Generator().manual_seed(5)) for _ in range(2))
    assert first.positions.shape == first.colors.shape == (200, 3)
    assert first.positions.abs().max() <= 1
    assert torch.equal(first.positions, again.positions)


def test_sample_gives_pictures_in_range(prior):
    pictures = prior.sample(
        "a cat",
        view_matrices(turntable(2)),
        torch.full((2,), 40.0),
        steps=2,
        generator=torch.Generator().manual_seed(0),
    )
    assert pictures.shape == (2, 3, 64, 64)
    assert pictures.min() >= 0 and pictures.max() <= 1


def test_folder_round_trip(tmp_path):
    networks = tiny_networks()
    save_networks(networks, tmp_path, {"seen": 7})
    loaded = EmbeddedPrior.load(folder=tmp_path)
    assert loaded.info["seen"] == 7
    for name, module in networks.modules().items():
        read = loaded.networks.modules()[name].state_dict()
        for key, value in module.state_dict().items():
            torch.testing.assert_close(read[key], value, atol=HALF_PRECISION, rtol=HALF_PRECISION)


def test_missing_and_foreign_folders_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="train-prior"):
        load_networks(tmp_path)
    save_networks(tiny_networks(), tmp_path)
    index = tmp_path / "model_index.json"
    index.write_text(index.read_text().replace('"format": 1', '"format": 99'))
    with pytest.raises(ValueError, match="format"):
        load_networks(tmp_path)


def test_a_cell_is_seen_where_the_camera_convention_puts_it():
    volume = torch.zeros(1, 4, 32, 32, 32)
    volume[0, :, 16, 24, 26] = 1  # x = +0.66, y = +0.53: the object's left, above
    front = render_volume(volume, orbit_viewmats(torch.zeros(1), torch.zeros(1)), torch.full((1,), 40.0), size=32)
    row, column = divmod(int(front[0, 3].argmax()), 32)
    assert row < 14 and column > 18
    side = render_volume(volume, orbit_viewmats(torch.tensor([90.0]), torch.zeros(1)), torch.full((1,), 40.0), size=32)
    row, column = divmod(int(side[0, 3].argmax()), 32)
    assert row < 14 and 13 <= column <= 18


def test_orbit_agrees_with_the_scene_camera():
    camera = Camera.orbit(37.0, 20.0)
    mine = orbit_viewmats(torch.tensor([37.0]), torch.tensor([20.0]))
    torch.testing.assert_close(mine[0], camera.view_matrix(), atol=ROUND_OFF, rtol=ROUND_OFF)
    origin, rays = camera_rays(mine, torch.tensor([40.0]), 2)
    torch.testing.assert_close(origin[0], torch.tensor(camera.position), atol=ROUND_OFF, rtol=ROUND_OFF)
    torch.testing.assert_close(rays.norm(dim=-1), torch.ones(1, 2, 2))


def test_a_full_cube_is_opaque_and_an_empty_one_clear():
    views = orbit_viewmats(torch.tensor([30.0]), torch.tensor([10.0]))
    full = torch.ones(1, 4, 32, 32, 32)
    seen = render_volume(full, views, torch.full((1,), 20.0))
    assert seen[0, 3].min() > 0.99 and seen[0, :3].min() > 0.98
    assert render_volume(full * 0, views, torch.full((1,), 20.0)).abs().max() == 0


def test_schedule_inverts():
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 4, 3, 8, 8, generator=generator).unbind(0)
    t = torch.tensor([0.0, 100.0, 700.0, 999.0])
    noisy = schedule.noised(clean, noise, t)
    back = schedule.clean_of(noisy, schedule.velocity(clean, noise, t), t)
    torch.testing.assert_close(back, clean, atol=ROUND_OFF, rtol=ROUND_OFF)


def test_merged_volume_keeps_what_is_there():
    mine, other = torch.rand(4, 4, 4, 4), torch.rand(4, 4, 4, 4)
    assert torch.equal(merge_volumes(mine, other, 0.0)[3], mine[3])
    assert (merge_volumes(mine, other, 1.0)[3] >= mine[3]).all()
    solid = mine.clone()
    solid[3] = 1
    torch.testing.assert_close(merge_volumes(solid, other, 1.0), solid)


@pytest.mark.skipif(not (DEFAULT_FOLDER / "model_index.json").exists(), reason="no weights in this checkout")
class TestShippedWeights:
    def test_small_and_quick_to_load(self):
        size = sum(f.stat().st_size for f in Path(DEFAULT_FOLDER).rglob("*") if f.is_file())
        assert size <= 20 * MEGABYTE
        began = time.perf_counter()
        EmbeddedPrior.load()
        assert time.perf_counter() - began < 2

    def test_the_volume_of_a_red_mushroom_is_red_above(self):
        prior = EmbeddedPrior.load()
        volume = prior.volume(prior.encode("a red mushroom"))
        alpha = volume[3]
        assert 0.01 < float(alpha.mean()) < 0.3
        top = alpha.clone()
        top[:, :16] = 0
        red, green, blue = ((volume[c] * top).sum() / top.sum() for c in range(3))
        assert red > 0.5 > max(green, blue)
