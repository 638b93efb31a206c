"""Against diffusers' own pipelines: what they hand to their scheduler in a step must be what the guidance makes of the same latents."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch

from interactive3d.runtime.guidance.large import DiffusersGuidance
from interactive3d.runtime.guidance.large.families import to_latents
from interactive3d.runtime.guidance.large.paths import Level
from interactive3d.runtime.guidance.protocol import ScoreRequest

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

FAMILIES = ("sd15", "sd2v", "sdxl", "if", "sd3", "flux-dev", "flux-schnell")
SAME_ARITHMETIC = 2e-5
"""Relative: the same sums in batches of another size."""
PROMPT, NEGATIVE, SCALE = "a fox", "blur", 6.0


class Stop(Exception):
    """Ends a pipeline where it has shown what was asked for."""


def own_steps(
    guidance: Any, monkeypatch: pytest.MonkeyPatch, steps: int = 4, negative: str | None = NEGATIVE
) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Guided output, timestep and latents of each of a pipeline's own steps, as its scheduler gets them."""
    pipe = guidance.pipeline
    seen = []
    step = pipe.scheduler.step

    def watched(output: torch.Tensor, timestep: torch.Tensor, sample: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        seen.append((output.clone(), torch.as_tensor(timestep).clone(), sample.clone()))
        return step(output, timestep, sample, *args, **kwargs)

    watched.__signature__ = inspect.signature(step)  # type: ignore[attr-defined]
    monkeypatch.setattr(pipe.scheduler, "step", watched)
    size = {} if guidance.family.name == "DeepFloyd IF" else {"height": guidance.side, "width": guidance.side}
    last = "pt" if guidance.in_pixels else "latent"
    texts = {"prompt": PROMPT} | (
        {} if guidance.family.distilled or negative is None else {"negative_prompt": negative}
    )
    if guidance.family.name == "FLUX" and not guidance.family.distilled:
        texts |= {"true_cfg_scale": SCALE, "max_sequence_length": 256}
    generator = torch.Generator().manual_seed(0)
    pipe(**texts, **size, num_inference_steps=steps, guidance_scale=SCALE, output_type=last, generator=generator)
    assert len(seen) == steps
    return seen


def asked(guidance: Any, make_request: Callable, negative: str = NEGATIVE) -> ScoreRequest:
    """One picture under the prompt alone."""
    request = make_request(guidance, scale=SCALE, views=False)
    return dataclasses.replace(
        request, condition=guidance.encode(PROMPT, negative), images=request.images[:1], cameras=request.cameras[:1]
    )


def compare(
    guidance: Any, request: ScoreRequest, output: torch.Tensor, timestep: torch.Tensor, sample: torch.Tensor
) -> None:
    """The guidance's output for the pipeline's latents is the pipeline's."""
    noisy = unpacked(guidance, sample)
    # DeepFloyd's carries its variance along.
    wanted = unpacked(guidance, output)[:, : noisy.shape[1]]
    with torch.no_grad():
        found = guidance.guided_output(noisy, Level(timestep.reshape(1), torch.ones(1), torch.ones(1)), request)
    assert float(wanted.abs().max()) > 0
    assert float((found - wanted).abs().max()) <= SAME_ARITHMETIC * float(wanted.abs().max())


def unpacked(guidance: Any, latents: torch.Tensor) -> torch.Tensor:
    """FLUX's patches as pictures."""
    if guidance.family.name != "FLUX":
        return latents
    return guidance.pipeline._unpack_latents(latents, guidance.side, guidance.side, guidance.factor)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_guided_output_is_the_pipeline_s_own(
    name: str, make_guidance: Callable, make_request: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    guidance = make_guidance(name)
    request = asked(guidance, make_request)
    for step in own_steps(guidance, monkeypatch):
        compare(guidance, request, *step)


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_without_a_negative_prompt_too(
    name: str, make_guidance: Callable, make_request: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XL was trained to see zeros where no text is given, which its pipeline tells from an empty one."""
    guidance = make_guidance(name)
    compare(guidance, asked(guidance, make_request, ""), *own_steps(guidance, monkeypatch, negative=None)[1])


@pytest.mark.parametrize("name", ["sd15", "sd2v", "sdxl", "if"])
def test_what_an_output_stands_for_is_the_scheduler_s_own_clean_picture(name: str, make_guidance: Callable) -> None:
    guidance = make_guidance(name)
    scheduler, path = guidance.pipeline.scheduler, guidance.path
    scheduler.set_timesteps(10)
    generator = torch.Generator().manual_seed(0)
    noisy, output = (torch.randn(1, 4, 4, 4, generator=generator) for _ in range(2))
    for t in scheduler.timesteps[:-1]:
        wanted = scheduler.step(output, t, noisy, generator=generator).pred_original_sample
        level = path.level(t.reshape(1) / (len(path.alphas_cumprod) - 1))
        assert int(level.timestep) == int(t)
        found, noise = path.split(noisy, output, level)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(level.mix(found, noise), noisy, rtol=1e-4, atol=1e-4)
        mixed = scheduler.add_noise(found, noise, t.reshape(1))
        torch.testing.assert_close(level.mix(found, noise), mixed, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["sd3", "flux-dev", "flux-schnell"])
def test_flow_levels_are_those_of_the_pipeline_s_schedule(
    name: str, make_guidance: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pipelines divide the shares of the schedule evenly; sigmas and timesteps are then what their shift makes of them."""
    guidance = make_guidance(name)
    steps = 4
    own_steps(guidance, monkeypatch, steps)
    scheduler = guidance.pipeline.scheduler
    if guidance.family.name == "FLUX":
        shares = torch.linspace(1, 1 / steps, steps)
    else:
        # Evenly between the ends of the shifted schedule, then shifted once more, as this scheduler has it.
        shares = torch.linspace(1, float(guidance.path.level(torch.tensor([1e-3])).noise), steps)
    level = guidance.path.level(shares)
    torch.testing.assert_close(level.noise, scheduler.sigmas[:-1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(level.timestep, scheduler.timesteps, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("name", ["sd15", "sdxl", "sdxl by channel", "sd3", "flux-dev"])
def test_latents_are_scaled_as_the_pipeline_decodes_them(
    name: str, make_guidance: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Encoded, scaled, and handed to the pipeline as its last latents: its decoder gets the encoder's own numbers back."""
    guidance = make_guidance(name.split()[0])
    pipe = guidance.pipeline
    if name.endswith("by channel"):
        pipe.vae.register_to_config(latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[2.0, 1.0, 0.5, 3.0])
    pictures = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        raw = pipe.vae.encode(pictures).latent_dist.mode()
        latents = to_latents(pipe.vae, pictures)
    given = latents
    if guidance.family.name == "FLUX":
        given = pipe._pack_latents(latents, *latents.shape)
    decoded = []

    def stop(z: torch.Tensor, **kwargs: Any) -> None:
        decoded.append(z)
        raise Stop

    monkeypatch.setattr(pipe.vae, "decode", stop)
    monkeypatch.setattr(pipe.scheduler, "step", lambda *args, **kwargs: (given,))
    with pytest.raises(Stop):
        pipe(PROMPT, height=16, width=16, num_inference_steps=1)
    torch.testing.assert_close(decoded[0], raw, rtol=1e-4, atol=1e-5)
    assert float((latents - raw).abs().max()) > 0


def test_stable_diffusion_3_without_t5(
    models: Callable, make_request: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is left out where memory is short; what it would say is zeros, as in the pipeline."""
    diffusers = pytest.importorskip("diffusers")
    pipe = diffusers.StableDiffusion3Pipeline.from_pretrained(models("sd3"), text_encoder_3=None, tokenizer_3=None)
    pipe.set_progress_bar_config(disable=True)
    guidance = DiffusersGuidance(pipe)
    output, timestep, sample = own_steps(guidance, monkeypatch)[0]
    compare(guidance, asked(guidance, make_request), output, timestep, sample)
