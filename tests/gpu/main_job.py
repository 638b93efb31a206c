"""The main job, step by step: splats under a latent diffusion model, and how much of a step is not that model."""

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from interactive3d.dsl.program import GuidanceChoice, InitShape, Program
from interactive3d.dsl.values import Sphere
from interactive3d.runtime.engine.start import begin
from interactive3d.runtime.guidance.protocol import Guidance, Score, ScoreRequest


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Milliseconds of a step, the share of it outside the prior's score, peak gigabytes on the device."""

    step_ms: float
    outside: float
    peak_gb: float


def stable_diffusion_2_1(tokenizer: Any, device: str, dtype: torch.dtype, widths: tuple[int, ...] | None = None) -> Any:
    """Stable Diffusion 2.1's architecture (stable-diffusion-2-1-base: 512 pixels, noise prediction) with random weights.

    ``widths`` makes it narrower, for tests of this code on a CPU.
    """
    from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    cross = 1024 if widths is None else 32
    blocks = widths or (320, 640, 1280, 1280)
    torch.manual_seed(0)
    with torch.device(device):
        unet = UNet2DConditionModel(
            sample_size=64,
            block_out_channels=blocks,
            attention_head_dim=(5, 10, 20, 20) if widths is None else 2,
            cross_attention_dim=cross,
            use_linear_projection=True,
            norm_num_groups=32 if widths is None else 4,
        ).to(dtype)
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512) if widths is None else widths,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            latent_channels=4,
            norm_num_groups=32 if widths is None else 4,
        ).to(dtype)
        text = CLIPTextModel(
            CLIPTextConfig(
                hidden_size=cross,
                intermediate_size=4 * cross,
                num_attention_heads=16,
                num_hidden_layers=23 if widths is None else 2,
                hidden_act="gelu",
                vocab_size=49408,
                max_position_embeddings=tokenizer.model_max_length,
            )
        ).to(dtype)
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDPMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


class Timed:
    """A guidance whose scores are timed; everything else is its own."""

    def __init__(self, guidance: Guidance) -> None:
        self.guidance, self.seconds = guidance, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.guidance, name)

    def score(self, request: ScoreRequest) -> Score:
        """The score, waited for."""
        _wait()
        started = time.perf_counter()
        found = self.guidance.score(request)
        _wait()
        self.seconds += time.perf_counter() - started
        return found


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def measure(guidance: Guidance, device: str, *, blobs: int, side: int, batch: int, steps: int, warm: int) -> Measured:
    """The job of docs/large_models.md: ``blobs`` splats rendered at ``side``, ``batch`` pictures a step.

    Steps are timed as they run, then again with every score waited for, which gives the share outside of it.
    """
    program = Program(
        prompt="a red fox",
        steps=10_000,
        guidance=GuidanceChoice(name="diffusers"),
        initial=InitShape(count=blobs, shape=Sphere(center=(0.0, 0.0, 0.0), radius=0.5)),
        settings=(("guidance.size", side), ("camera.batch", batch)),
        folder=str(Path()),
    )
    trainer, state = begin(program, guidance, seed=0, device=device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for _ in range(warm):
        state = trainer.step(state)
    _wait()
    started = time.perf_counter()
    for _ in range(steps):
        state = trainer.step(state)
    _wait()
    step = (time.perf_counter() - started) / steps
    timed = Timed(guidance)
    watched = dataclasses.replace(trainer, guidance=timed)  # type: ignore[arg-type]
    started = time.perf_counter()
    for _ in range(steps):
        state = watched.step(state)
    _wait()
    whole = time.perf_counter() - started
    peak = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else 0.0
    return Measured(step_ms=1000 * step, outside=1 - timed.seconds / whole, peak_gb=peak)
