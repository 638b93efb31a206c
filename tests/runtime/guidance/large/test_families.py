"""Each family's score against a formula written out by hand from the pipeline's own parts."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from interactive3d.runtime.guidance.large import LargeModelProblem
from interactive3d.runtime.guidance.large.families import to_latents
from interactive3d.runtime.guidance.large.pictures import seen
from interactive3d.runtime.guidance.protocol import REFERENCE_SIDE, StepAgain

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

FAMILIES = ("sd15", "sd2v", "sdxl", "if", "sd3", "flux-dev", "flux-schnell")
SAME_ARITHMETIC = 2e-4
"""Relative; the formula runs prompts one by one, the guidance in one batch."""
TEXTS = ("a red fox, front view", "a red fox, side view")
SCALE = 7.0


def drawn(seed: int, channels: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    share = 0.1 + 0.8 * torch.rand(2, generator=generator)
    return share, torch.randn(2, channels, side, side, generator=generator)


def latents(pipe: Any, x: torch.Tensor) -> torch.Tensor:
    small = F.interpolate(x, (16, 16), mode="area") * 2 - 1
    return (
        pipe.vae.encode(small).latent_dist.mode() - (pipe.vae.config.shift_factor or 0)
    ) * pipe.vae.config.scaling_factor


def column(values: torch.Tensor) -> torch.Tensor:
    return values[:, None, None, None]


def by_hand(name: str, pipe: Any, images: torch.Tensor, seed: int) -> torch.Tensor:
    """w(t) (e_hat - e) through encoder and averaging, for pictures of 24 x 24 that the model sees at 16 x 16 (IF: 8 x 8)."""
    x = images.permute(0, 3, 1, 2).clone().requires_grad_(True)
    if name == "if":
        z = F.interpolate(x, (8, 8), mode="area") * 2 - 1
        factor = 0.25 * REFERENCE_SIDE**2 / (8 * 8 * 2)
    else:
        z = latents(pipe, x)
        factor = 0.0625 * 3 / 4 * REFERENCE_SIDE**2 / (8 * 8 * 2)
    share, noise = drawn(seed, z.shape[1], 8)
    with torch.no_grad():
        residual = HAND[name](pipe, z.detach(), share, noise)
    (z * residual * factor).sum().backward()
    assert x.grad is not None
    return x.grad.permute(0, 2, 3, 1)


def discrete(pipe: Any, share: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    t = (share * 999).round().long()
    return t, column(pipe.scheduler.alphas_cumprod[t])


def unet_outputs(pipe: Any, noisy: torch.Tensor, t: torch.Tensor, encode: Callable, more: Callable) -> torch.Tensor:
    outputs = []
    for i, text in enumerate(TEXTS):
        told, untold = (
            pipe.unet(noisy[i : i + 1], t[i], encoder_hidden_states=encode(s), **more(s)).sample for s in (text, "blur")
        )
        outputs.append(untold + SCALE * (told - untold))
    return torch.cat(outputs)


def sd15(pipe: Any, z: torch.Tensor, share: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    t, kept = discrete(pipe, share)
    noisy = pipe.scheduler.add_noise(z, noise, t)
    encode = lambda s: pipe.encode_prompt(s, "cpu", 1, False)[0]  # noqa: E731
    return (1 - kept) * (unet_outputs(pipe, noisy, t, encode, lambda s: {}) - noise)


def sd2v(pipe: Any, z: torch.Tensor, share: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    t, kept = discrete(pipe, share)
    noisy = pipe.scheduler.add_noise(z, noise, t)
    encode = lambda s: pipe.encode_prompt(s, "cpu", 1, False)[0]  # noqa: E731
    velocity = unet_outputs(pipe, noisy, t, encode, lambda s: {})
    # e_hat - e = a (v_hat - v), with v = a e - s z.
    wanted = pipe.scheduler.get_velocity(z, noise, t)
    return (1 - kept) * kept.sqrt() * (velocity - wanted)


def sdxl(pipe: Any, z: torch.Tensor, share: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    t, kept = discrete(pipe, share)
    noisy = pipe.scheduler.add_noise(z, noise, t)
    both = lambda s: pipe.encode_prompt(s, device="cpu", do_classifier_free_guidance=False)  # noqa: E731
    ids = pipe._get_add_time_ids((16, 16), (0, 0), (16, 16), torch.float32, 8)
    more = lambda s: {"added_cond_kwargs": {"text_embeds": both(s)[2], "time_ids": ids}}  # noqa: E731
    return (1 - kept) * (unet_outputs(pipe, noisy, t, lambda s: both(s)[0], more) - noise)


def deepfloyd(pipe: Any, z: torch.Tensor, share: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    t, kept = discrete(pipe, share)
    noisy = pipe.scheduler.add_noise(z, noise, t)
    encode = lambda s: pipe.encode_prompt(s, False, device="cpu")[0]  # noqa: E731
    return (1 - kept) * (unet_outputs(pipe, noisy, t, encode, lambda s: {})[:, :3] - noise)


def sd3(pipe: Any, z: torch.Tensor, share: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    sigma = 3 * share / (1 + 2 * share)
    noisy = column(1 - sigma) * z + column(sigma) * noise
    outputs = []
    for i, text in enumerate(TEXTS):
        found = []
        for s in (text, "blur"):
            words, _, pooled, _ = pipe.encode_prompt(s, s, s, device="cpu", do_classifier_free_guidance=False)
            found.append(pipe.transformer(noisy[i : i + 1], words, pooled, sigma[i : i + 1] * 1000).sample)
        outputs.append(found[1] + SCALE * (found[0] - found[1]))
    # e_hat - e = a (v_hat - v) with v = e - z and a = 1 - sigma.
    return column(sigma.square() * (1 - sigma)) * (torch.cat(outputs) - (noise - z))


def flux(pipe: Any, z: torch.Tensor, share: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    mu = 0.5 + (1.15 - 0.5) * (16 - 256) / (4096 - 256)
    sigma = math.exp(mu) / (math.exp(mu) + 1 / share - 1)
    noisy = column(1 - sigma) * z + column(sigma) * noise
    ids = pipe._prepare_latent_image_ids(1, 4, 4, "cpu", torch.float32)
    distilled = pipe.transformer.config.guidance_embeds
    outputs = []
    for i, text in enumerate(TEXTS):
        found = []
        for s in (text,) if distilled else (text, "blur"):
            # Schnell reads half as many of its tokens.
            words, pooled, text_ids = pipe.encode_prompt(
                s, s, device="cpu", max_sequence_length=512 if distilled else 256
            )
            packed = pipe._pack_latents(noisy[i : i + 1], 1, 4, 8, 8)
            output = pipe.transformer(
                packed,
                words,
                pooled,
                sigma[i : i + 1],
                img_ids=ids,
                txt_ids=text_ids,
                guidance=torch.tensor([SCALE]) if distilled else None,
            ).sample
            found.append(pipe._unpack_latents(output, 16, 16, 2))
        outputs.append(found[0] if distilled else found[1] + SCALE * (found[0] - found[1]))
    return column(sigma.square() * (1 - sigma)) * (torch.cat(outputs) - (noise - z))


HAND: dict[str, Callable[..., torch.Tensor]] = {
    "sd15": sd15,
    "sd2v": sd2v,
    "sdxl": sdxl,
    "if": deepfloyd,
    "sd3": sd3,
    "flux-dev": flux,
    "flux-schnell": flux,
}


@pytest.mark.parametrize("name", FAMILIES)
def test_the_score_is_the_formula_written_out(name: str, make_guidance: Callable, make_request: Callable) -> None:
    guidance = make_guidance(name)
    request = make_request(guidance, seed=5, scale=SCALE)
    found = guidance.score(request).gradient
    wanted = by_hand(name, guidance.pipeline, request.images, 5)
    assert float(wanted.abs().max()) > 0
    assert float((found - wanted).abs().max()) <= SAME_ARITHMETIC * float(wanted.abs().max())


@pytest.mark.parametrize("name", FAMILIES)
def test_a_denoiser_that_knows_the_picture_pulls_towards_it(
    name: str, make_guidance: Callable, make_request: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the weighting `clean` the score is the gradient of half the squared distance; compared with finite differences."""
    guidance = make_guidance(name)
    request = make_request(guidance, weighting="clean")
    goal = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        target = seen(goal, guidance.side, guidance.vae)

    def oracle(noisy: torch.Tensor, level: Any, asked: Any) -> torch.Tensor:
        a, s = level.wide(noisy)
        noise = (noisy - a * target) / s
        return {"epsilon": noise, "v_prediction": a * noise - s * target, "flow": noise - target}[
            guidance.path.prediction
        ]

    monkeypatch.setattr(guidance, "guided_output", oracle)
    score = guidance.score(request)

    def distance(images: torch.Tensor) -> float:
        with torch.no_grad():
            gap = seen(images.permute(0, 3, 1, 2), guidance.side, guidance.vae) - target
        energy = 0.25 if name == "if" else 0.0625 * 3 / 4
        return 0.5 * energy * float(gap.double().square().sum()) * REFERENCE_SIDE**2 / (8 * 8 * 2)

    way = torch.randn(request.images.shape, generator=torch.Generator().manual_seed(2))
    # Central differences in float32; the encoder is nearly linear over this step.
    step = 1e-2
    slope = (distance(request.images + step * way) - distance(request.images - step * way)) / (2 * step)
    along = float((score.gradient * way).sum())
    assert along == pytest.approx(slope, rel=0.03)
    moved = request.images - 0.05 * score.gradient / score.gradient.abs().max()
    assert distance(moved) < distance(request.images)


def test_the_pipeline_says_what_it_is(make_guidance: Callable) -> None:
    told: list[str] = []
    found = {name: make_guidance(name, told.append).describe() for name in ("sd2v", "if", "flux-dev")}
    assert [(d["family"], d["prediction"]) for d in found.values()] == [
        ("Stable Diffusion", "v_prediction"),
        ("DeepFloyd IF", "epsilon"),
        ("FLUX", "flow"),
    ]
    assert any("Stable Diffusion, v_prediction, 16 pixels, float32" in line for line in told)


@pytest.mark.parametrize("name", ["sd15", "sd3"])
def test_a_seed_gives_the_same_bits(name: str, make_guidance: Callable, make_request: Callable) -> None:
    guidance = make_guidance(name)
    first, again, other = (guidance.score(make_request(guidance, seed=s)).gradient for s in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_scale_one_is_the_prompt_alone_and_zero_the_negative_one(
    make_guidance: Callable, make_request: Callable
) -> None:
    """uncond + s (text - uncond); in the other form in use, text + s (text - uncond), scale 0 would be the prompt alone."""
    guidance = make_guidance("sd15")
    level = guidance.path.level(torch.tensor([0.5, 0.5]))
    noisy = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    alone, negative, tripled = (
        guidance.guided_output(noisy, level, make_request(guidance, scale=s)) for s in (1.0, 0.0, 3.0)
    )
    told = guidance._predict(noisy, level, [guidance.texts.positive(make_request(guidance))], 1.0)[0]
    untold = guidance._predict(noisy, level, [guidance.texts.untold(make_request(guidance), "blur")], 1.0)[0]
    close = {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(alone, told, **close)
    torch.testing.assert_close(negative, untold, **close)
    torch.testing.assert_close(tripled, untold + 3 * (told - untold), **close)


def test_embeddings_are_made_once_for_each_text(
    make_guidance: Callable, make_request: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    guidance = make_guidance("sd15")
    read: list[str] = []
    encode = guidance.family.encode
    monkeypatch.setattr(guidance.family, "encode", lambda text, device: read.append(text) or encode(text, device))
    for _ in range(3):
        guidance.score(make_request(guidance))
    assert sorted(read) == ["a red fox, front view", "a red fox, side view", "blur"]
    guidance.score(make_request(guidance, views=False))
    assert read[-1] == "a red fox"
    assert len(read) == 4


def test_half_precision_loads_and_scores(make_guidance: Callable, make_request: Callable) -> None:
    exact = make_guidance("sd15")
    half = make_guidance("sd15", large_precision="bfloat16")
    assert half.dtype_name == "bfloat16"
    a, b = (g.score(make_request(g)).gradient.flatten() for g in (exact, half))
    # Eight bits of mantissa through a dozen layers.
    assert float(F.cosine_similarity(a, b, dim=0)) > 0.97


def test_the_vae_that_overflows_in_half_stays_in_single(make_guidance: Callable, make_request: Callable) -> None:
    guidance = make_guidance("sdxl", large_precision="float16")
    assert next(guidance.pipeline.vae.parameters()).dtype == torch.float32
    assert guidance.dtype_name == "float16"
    with torch.no_grad():
        found = to_latents(guidance.pipeline.vae, torch.zeros(1, 3, 16, 16))
    assert found.dtype == torch.float32


def test_a_vae_that_overflows_goes_on_in_single_precision(
    make_guidance: Callable, make_request: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said once, for the same noise; what single precision cannot hold either is an error with advice, not blobs without numbers."""
    import dataclasses

    told: list[str] = []
    guidance = make_guidance("sd15", told.append, large_precision="float16")
    vae = guidance.pipeline.vae.to(torch.float16)
    encode = vae.encode

    def overflowing(pictures: torch.Tensor) -> Any:
        found = encode(pictures)
        if pictures.dtype == torch.float16:
            found.latent_dist.mean = found.latent_dist.mean * 1e6
        return found

    monkeypatch.setattr(vae, "encode", overflowing)
    score = guidance.score(make_request(guidance))
    assert bool(score.gradient.isfinite().all())
    assert vae.dtype == torch.float32
    assert told[-1].endswith("the VAE overflowed in float16; going on with the VAE in float32")
    assert torch.equal(guidance.score(make_request(guidance)).gradient, score.gradient)
    # Nothing is left to widen.
    monkeypatch.setattr(guidance.family, "predict", lambda noisy, *rest: noisy * torch.nan)
    with pytest.raises(LargeModelProblem, match=r"gives what is no number in float16; set large.precision to bfloat16"):
        guidance.score(make_request(guidance))
    spoilt = dataclasses.replace(make_request(guidance), images=torch.full((2, 24, 24, 3), torch.nan))
    with pytest.raises(LargeModelProblem, match="the blobs' pictures are not finite"):
        guidance.score(spoilt)


def test_a_vae_that_overflows_after_its_score_was_used(
    make_guidance: Callable, make_request: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the loss is read later the step is to be taken again, with the VAE in single precision; the first score is read at once."""
    import dataclasses

    told: list[str] = []
    guidance = make_guidance("sd15", told.append, large_precision="float16")
    guidance.pipeline.vae.to(torch.float16)
    monkeypatch.setattr(guidance, "_settle", lambda automatic: None)
    request = dataclasses.replace(make_request(guidance), later=True)
    read = guidance.score(request)
    assert read.read is None and math.isfinite(read.loss)
    numbers = torch.tensor([4.0, 1.0])
    assert guidance._read(numbers, 0.5, request) == 1.0
    with pytest.raises(StepAgain):
        guidance._read(torch.tensor([math.nan, 0.0]), 0.5, request)
    assert guidance.pipeline.vae.dtype == torch.float32 and "overflowed" in told[-1]
    with pytest.raises(LargeModelProblem, match="gives what is no number in float16"):
        guidance._read(torch.tensor([math.nan, 0.0]), 0.5, request)


def test_pictures_must_be_square(make_guidance: Callable, make_request: Callable) -> None:
    import dataclasses

    guidance = make_guidance("sd15")
    request = dataclasses.replace(make_request(guidance), images=torch.rand(2, 8, 12, 3))
    with pytest.raises(ValueError, match=r"square pictures, got \(8, 12\)"):
        guidance.score(request)
