"""Views in words, Perp-Neg, noise paths and interval score matching, apart from any model."""

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from interactive3d.runtime.guidance.large import LargeModelProblem, estimators
from interactive3d.runtime.guidance.large.paths import RectifiedFlow, VariancePreserving, path_of
from interactive3d.runtime.guidance.large.prompts import (
    blend,
    camera_angles,
    guided,
    perp_neg_guided,
    perpendicular,
    view_name,
    view_prompt,
)
from interactive3d.runtime.scene.camera import Camera
from interactive3d.runtime.settings import LargeSettings

KEPT = torch.linspace(0.999, 0.005, 1000)
ROUNDING = 1e-4


@pytest.mark.parametrize(
    ("azimuth", "elevation", "view"),
    [
        (0, 10, "front"),
        (350, 0, "front"),
        (44, 0, "front"),
        (46, 0, "side"),
        (90, 20, "side"),
        (270, 20, "side"),
        (134, 0, "side"),
        (136, 0, "back"),
        (180, -10, "back"),
        (200, 59, "back"),
        (20, 61, "overhead"),
        (180, 85, "overhead"),
    ],
)
def test_the_view_is_said_as_the_camera_stands(azimuth: float, elevation: float, view: str) -> None:
    camera = Camera.orbit(azimuth, elevation, 2.0, target=(0.3, 0.1, -0.2))
    assert view_name(*camera_angles(camera)) == view
    assert view_prompt("a fox", view) == f"a fox, {view} view"


def test_perp_neg_blends_go_over_into_each_other() -> None:
    """No jump at 90 degrees, mirror images alike, and weights that only push away."""
    left, right = blend(89.99, 0), blend(90.01, 0)
    assert left.views[1] == right.views[0] == "side"
    assert left.share == pytest.approx(0, abs=1e-3)
    assert right.share == pytest.approx(1, abs=1e-3)
    assert blend(-30, 0) == blend(30, 0)
    assert blend(0, 0).share == 1.0
    assert blend(180, 0).share == 0.0
    # Seen from the side, the front is what must be told from.
    weights = dict(blend(80, 0).against)
    assert weights["front"] < weights["side"]


def test_perp_neg_leaves_the_direction_of_the_prompt_alone() -> None:
    torch.manual_seed(0)
    told, untold, other = (torch.randn(2, 4, 3, 3) for _ in range(3))
    found = perp_neg_guided(told, untold, [other], [torch.tensor([-1.5, -0.5])], 5.0)
    plain = guided(told, untold, 5.0)
    towards = (told - untold).flatten(1)
    changed = (found - plain).flatten(1)
    assert float((changed * towards).sum(1).abs().max()) < ROUNDING * float(changed.norm() * towards.norm())
    # By hand, for the first picture.
    d, e = towards[0], (other - untold).flatten(1)[0]
    wanted = plain.flatten(1)[0] + 5.0 * -1.5 * (e - (e @ d) / (d @ d) * d)
    torch.testing.assert_close(found.flatten(1)[0], wanted, rtol=1e-4, atol=1e-4)
    assert float((perpendicular(told, told)).abs().max()) < ROUNDING
    # A weight above 0 would pull towards a negative prompt.
    torch.testing.assert_close(perp_neg_guided(told, untold, [other], [torch.tensor([1.0, 1.0])], 5.0), plain)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_outputs_stand_for_the_picture_and_the_noise_they_were_made_of(prediction: str) -> None:
    path = VariancePreserving(KEPT, prediction)
    torch.manual_seed(0)
    clean, noise = torch.randn(3, 4, 2, 2), torch.randn(3, 4, 2, 2)
    level = path.level(torch.tensor([0.1, 0.5, 0.9]))
    a, s = level.wide(clean)
    output = {"epsilon": noise, "v_prediction": a * noise - s * clean, "sample": clean}[prediction]
    found = path.split(level.mix(clean, noise), output, level)
    torch.testing.assert_close(found[0], clean, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found[1], noise, rtol=1e-3, atol=1e-4)
    assert level.timestep.tolist() == [100, 500, 899]


def test_flow_levels_are_shifted_towards_noise() -> None:
    path = RectifiedFlow(3.0, 1000)
    level = path.level(torch.tensor([0.0, 0.5, 1.0]))
    assert level.noise.tolist() == [0.0, 0.75, 1.0]
    assert level.timestep.tolist() == [0.0, 750.0, 1000.0]


def test_the_shift_of_a_dynamic_schedule_is_the_scheduler_s_own() -> None:
    """Exponential as FLUX's, or linear; at the two given sizes and between them."""
    diffusers = pytest.importorskip("diffusers")
    for kind in ("exponential", "linear"):
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, time_shift_type=kind)
        for tokens, mu in ((256, 0.5), (4096, 1.15), (2176, 0.825)):
            scheduler.set_timesteps(sigmas=[1.0, 0.7, 0.2], mu=mu)
            level = path_of(scheduler, tokens).level(torch.tensor([1.0, 0.7, 0.2]))
            torch.testing.assert_close(level.noise, scheduler.sigmas[:-1], rtol=1e-5, atol=1e-6)


def test_schedules_without_signal_at_their_end_give_finite_pictures() -> None:
    """`rescale_betas_zero_snr`, as some models of velocity want it."""
    diffusers = pytest.importorskip("diffusers")
    for prediction in ("epsilon", "v_prediction"):
        scheduler = diffusers.DDIMScheduler(
            beta_schedule="scaled_linear", prediction_type=prediction, rescale_betas_zero_snr=True
        )
        path = path_of(scheduler, 16)
        level = path.level(torch.tensor([0.5, 1.0]))
        assert float(level.signal[1]) < 1e-3
        noisy, output = torch.randn(2, 2, 4, 2, 2, generator=torch.Generator().manual_seed(0))
        assert all(bool(found.isfinite().all()) for found in path.split(noisy, output, level))
        wanted = scheduler.alphas_cumprod[level.timestep].sqrt()
        torch.testing.assert_close(level.signal, wanted, rtol=1e-5, atol=1e-6)


def test_a_scheduler_of_another_kind_is_refused() -> None:
    with pytest.raises(LargeModelProblem, match="is a SimpleNamespace; expected a DDPM or a flow-matching one"):
        path_of(SimpleNamespace(config={}), 16)
    odd = SimpleNamespace(config={"prediction_type": "charm"}, alphas_cumprod=KEPT)
    with pytest.raises(LargeModelProblem, match="prediction_type 'charm'; expected epsilon, v_prediction or sample"):
        path_of(odd, 16)


class TwoPictures:
    """A denoiser that believes in one picture with the text and in another without."""

    device = torch.device("cpu")

    def __init__(self, path: Any, told: torch.Tensor, untold: torch.Tensor) -> None:
        self.path, self.told, self.untold, self.asked = path, told, untold, 0

    def _output(self, noisy: torch.Tensor, level: Any, picture: torch.Tensor) -> torch.Tensor:
        a, s = level.wide(noisy)
        noise = (noisy - a * picture) / s.clamp(min=1e-6)
        return noise if self.path.prediction == "epsilon" else noise - picture

    def guided_output(self, noisy: torch.Tensor, level: Any, request: Any) -> torch.Tensor:
        return self._output(noisy, level, self.told)

    def plain_output(self, noisy: torch.Tensor, level: Any, request: Any) -> torch.Tensor:
        self.asked += 1
        return self._output(noisy, level, self.untold)


@pytest.mark.parametrize("path", [VariancePreserving(KEPT, "epsilon"), RectifiedFlow(1.0, 1000)])
def test_interval_score_matching_is_the_text_against_no_text_on_the_inverted_path(path: Any) -> None:
    """Inversion under a point belief keeps its noise, so the residual is a / s (untold - told), whatever the picture's own noise.

    A text that says nothing gives nothing: plain score distillation would give noise.
    """
    torch.manual_seed(0)
    clean, told, untold, noise = (torch.randn(2, 4, 3, 3) for _ in range(4))
    if isinstance(path, RectifiedFlow):
        # At level 0 a flow has no noise, so only the belief's own picture lies on its path.
        clean = untold
    shares = torch.tensor([0.45, 0.8])
    level = path.level(shares)
    request: Any = SimpleNamespace(large=LargeSettings(weighting="uniform", interval=0.05, stride=0.2))
    denoiser = TwoPictures(path, told, untold)
    found = estimators.interval(denoiser, clean, level, shares, noise, request)
    a, s = level.wide(clean)
    torch.testing.assert_close(found, a / s * (untold - told), rtol=2e-3, atol=2e-3)
    # 0.75 of the schedule in steps of at most 0.2: four, and one more look at the end.
    assert denoiser.asked == 5
    silent = estimators.interval(TwoPictures(path, untold, untold), clean, level, shares, noise, request)
    assert float(silent.abs().max()) < 2e-3


def test_weights_of_a_level_are_what_the_setting_says() -> None:
    path = VariancePreserving(KEPT, "epsilon")
    level = path.level(torch.tensor([0.3, 0.7]))
    residual = torch.ones(2, 1, 1, 1)
    a, s = level.signal.tolist(), level.noise.tolist()
    for i, (name, of) in itertools.product(
        range(2), {"variance": lambda a, s: s * s, "uniform": lambda a, s: 1.0, "clean": lambda a, s: s / a}.items()
    ):
        assert float(estimators.weighted(residual, level, name)[i]) == pytest.approx(of(a[i], s[i]), rel=1e-5)
