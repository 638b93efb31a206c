"""Tiny models of the real classes with random weights, saved in the hub's folder layout."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

WORDS = 16
LATENT = 8


def clip_tokenizer(length: int = WORDS) -> Any:
    """A CLIP tokenizer that spells every text in single letters."""
    from transformers import CLIPTokenizer

    letters = [chr(c) for c in range(33, 127)]
    tokens = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={t: i for i, t in enumerate(tokens)}, merges=[], model_max_length=length)


def t5_tokenizer() -> Any:
    """A T5 tokenizer that spells every text in single letters."""
    from transformers import T5Tokenizer

    letters = [("▁", -2.0), *((chr(c), -3.0) for c in range(33, 127))]
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    return T5Tokenizer(vocab=[*special, *letters], extra_ids=0, model_max_length=WORDS)


def clip_text(projection: int | None = None, width: int = 8) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        hidden_size=width,
        intermediate_size=12,
        num_attention_heads=2,
        num_hidden_layers=3,
        vocab_size=190,
        max_position_embeddings=WORDS,
        projection_dim=projection or width,
        bos_token_id=188,
        eos_token_id=189,
        pad_token_id=189,
    )
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config)


def t5_text(width: int = 8) -> Any:
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(
        T5Config(vocab_size=98, d_model=width, d_kv=4, d_ff=12, num_layers=1, num_heads=2, tie_word_embeddings=True)
    )


def vae(channels: int = 4, **more: Any) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        block_out_channels=(8, 8),
        layers_per_block=1,
        latent_channels=channels,
        norm_num_groups=2,
        sample_size=2 * LATENT,
        **more,
    )


def unet(channels: int = 4, out: int | None = None, cross: int = 8, **more: Any) -> Any:
    from diffusers import UNet2DConditionModel

    defaults: dict[str, Any] = {
        "block_out_channels": (8, 8),
        "layers_per_block": 1,
        "sample_size": LATENT,
        "in_channels": channels,
        "out_channels": out or channels,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": cross,
        "attention_head_dim": 4,
        "norm_num_groups": 2,
    }
    return UNet2DConditionModel(**(defaults | more))


def schedule(prediction: str = "epsilon") -> Any:
    from diffusers import DDPMScheduler

    return DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=prediction,
        clip_sample=False,
        steps_offset=1,
    )


def stable_diffusion(prediction: str = "epsilon") -> Any:
    from diffusers import StableDiffusionPipeline

    return StableDiffusionPipeline(
        vae=vae(),
        text_encoder=clip_text(),
        tokenizer=clip_tokenizer(),
        unet=unet(),
        scheduler=schedule(prediction),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def stable_diffusion_xl() -> Any:
    from diffusers import StableDiffusionXLPipeline

    return StableDiffusionXLPipeline(
        vae=vae(force_upcast=True),
        text_encoder=clip_text(),
        text_encoder_2=clip_text(projection=8),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        unet=unet(
            cross=16,
            addition_embed_type="text_time",
            addition_time_embed_dim=4,
            projection_class_embeddings_input_dim=32,
            use_linear_projection=True,
        ),
        scheduler=schedule(),
        add_watermarker=False,
    )


def deepfloyd() -> Any:
    from diffusers import IFPipeline

    return IFPipeline(
        tokenizer=t5_tokenizer(),
        text_encoder=t5_text(),
        unet=unet(channels=3, out=6, encoder_hid_dim=8, encoder_hid_dim_type="text_proj"),
        scheduler=schedule(),
        safety_checker=None,
        feature_extractor=None,
        watermarker=None,
        requires_safety_checker=False,
    )


def stable_diffusion_3() -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

    return StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=LATENT,
            patch_size=2,
            in_channels=4,
            num_layers=1,
            attention_head_dim=4,
            num_attention_heads=2,
            caption_projection_dim=8,
            joint_attention_dim=16,
            pooled_projection_dim=16,
            out_channels=4,
            pos_embed_max_size=LATENT,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(shift_factor=0.06, scaling_factor=1.5),
        text_encoder=clip_text(projection=8),
        tokenizer=clip_tokenizer(),
        text_encoder_2=clip_text(projection=8),
        tokenizer_2=clip_tokenizer(),
        text_encoder_3=t5_text(16),
        tokenizer_3=t5_tokenizer(),
    )


def flux(distilled: bool = True) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0),
        vae=vae(shift_factor=0.1, scaling_factor=0.4),
        text_encoder=clip_text(),
        tokenizer=clip_tokenizer(),
        text_encoder_2=t5_text(),
        tokenizer_2=t5_tokenizer(),
        transformer=FluxTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=8,
            pooled_projection_dim=8,
            guidance_embeds=distilled,
            axes_dims_rope=(2, 2, 4),
        ),
    )


MAKERS: dict[str, Callable[[], Any]] = {
    "sd15": stable_diffusion,
    "sd2v": lambda: stable_diffusion("v_prediction"),
    "sdxl": stable_diffusion_xl,
    "if": deepfloyd,
    "sd3": stable_diffusion_3,
    "flux-dev": flux,
    "flux-schnell": lambda: flux(distilled=False),
}


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a family's tiny model, made when it is first asked for."""
    pytest.importorskip("diffusers")
    pytest.importorskip("transformers")
    root = tmp_path_factory.mktemp("models")

    def folder(name: str) -> Path:
        place = root / name
        if not place.exists():
            torch.manual_seed(7)
            MAKERS[name]().save_pretrained(place, safe_serialization=True)
            assert json.loads((place / "model_index.json").read_text())["_class_name"]
        return place

    return folder


@pytest.fixture(autouse=True)
def tiny_models_take_one_thread(one_thread: None) -> None:
    """For every test of this folder."""


@pytest.fixture
def make_guidance(models: Callable[[str], Path]) -> Callable[..., Any]:
    """A guidance on a family's tiny model; settings as `large_size=8`."""
    from interactive3d.runtime.guidance.large import DiffusersGuidance
    from interactive3d.runtime.settings import Settings

    def make(name: str, tell: Callable[[str], None] = lambda text: None, **values: Any) -> DiffusersGuidance:
        settings = Settings().set("camera.batch", 2).set("large.size", 2 * LATENT if "flux" in name else 0)
        for key, value in values.items():
            settings = settings.set(key.replace("_", ".", 1), value)
        return DiffusersGuidance.load((str(models(name)),), Path(), "cpu", settings, tell)

    return make


@pytest.fixture
def make_request() -> Callable[..., Any]:
    """A request of two pictures, one of the front and one of the left side."""
    from interactive3d.runtime.guidance.protocol import ScoreRequest
    from interactive3d.runtime.scene.camera import Camera
    from interactive3d.runtime.settings import Settings

    def make(guidance: Any, *, seed: int = 3, side: int = 24, scale: float = 7.0, **values: Any) -> ScoreRequest:
        settings = Settings(large=guidance.options)
        for key, value in values.items():
            settings = settings.set(f"large.{key}", value)
        return ScoreRequest(
            images=torch.rand(2, side, side, 3, generator=torch.Generator().manual_seed(11)),
            cameras=[Camera.orbit(0, 10), Camera.orbit(90, 10)],
            condition=guidance.encode("a red fox", "blur"),
            noise=(0.1, 0.9),
            guidance_scale=scale,
            generator=torch.Generator().manual_seed(seed),
            background=torch.ones(2, 3),
            large=settings.large,
        )

    return make
