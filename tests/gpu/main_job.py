"""The main job, step by step: splats under a latent diffusion model, and how much of a step is not that model."""

import dataclasses
import time
from collections.abc import Callable
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
    """Milliseconds of a step, the share of it outside the prior's score, peak gigabytes on the device.

    ``first_s`` is the first step, in which models may be compiled. ``denoiser_ms`` and ``encoder_ms`` are the denoiser's share of a score
    and what is left of it, the VAE's encoder there and back for the most part; both waited for, so that they do not overlap.
    """

    step_ms: float
    outside: float
    peak_gb: float
    first_s: float
    denoiser_ms: float
    encoder_ms: float


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
    """A guidance whose scores are timed, and the denoiser in them; everything else is its own."""

    def __init__(self, guidance: Any) -> None:
        self.guidance, self.seconds, self.denoiser_seconds = guidance, 0.0, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.guidance, name)

    def score(self, request: ScoreRequest) -> Score:
        """The score, waited for."""
        # Where its outputs are taken, whether the network runs or a recorded graph of it.
        self.guidance._predict = self._timed(type(self.guidance)._predict)
        try:
            _wait()
            started = time.perf_counter()
            found = self.guidance.score(request)
            _wait()
        finally:
            del self.guidance._predict
        self.seconds += time.perf_counter() - started
        return found

    def _timed(self, predict: Callable[..., list[torch.Tensor]]) -> Callable[..., list[torch.Tensor]]:
        def timed(*inputs: Any) -> list[torch.Tensor]:
            _wait()
            started = time.perf_counter()
            found = predict(self.guidance, *inputs)
            _wait()
            self.denoiser_seconds += time.perf_counter() - started
            return found

        return timed


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def measure(
    guidance: Guidance,
    device: str,
    *,
    blobs: int,
    side: int,
    batch: int,
    steps: int,
    warm: int,
    compile: str = "off",
    graphs: str = "auto",
) -> Measured:
    """The job of docs/large_models.md: ``blobs`` splats rendered at ``side``, ``batch`` pictures a step, ``compile`` as large.compile and
    ``graphs`` as large.graphs.

    Steps are timed as they run, then again with every score waited for, which gives the share outside of it.
    """
    program = Program(
        prompt="a red fox",
        steps=10_000,
        guidance=GuidanceChoice(name="diffusers"),
        initial=InitShape(count=blobs, shape=Sphere(center=(0.0, 0.0, 0.0), radius=0.5)),
        settings=(
            ("guidance.size", side),
            ("camera.batch", batch),
            ("large.size", guidance.side),  # type: ignore[attr-defined]
            ("large.compile", compile),
            ("large.graphs", graphs),
        ),
        folder=str(Path()),
    )
    trainer, state = begin(program, guidance, seed=0, device=device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    state = trainer.step(state)
    _wait()
    first = time.perf_counter() - started
    for _ in range(warm - 1):
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
    return Measured(
        step_ms=1000 * step,
        outside=1 - timed.seconds / whole,
        peak_gb=peak,
        first_s=first,
        denoiser_ms=1000 * timed.denoiser_seconds / steps,
        encoder_ms=1000 * (timed.seconds - timed.denoiser_seconds) / steps,
    )
