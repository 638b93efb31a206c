"""What the families of pipelines have of their own: how they read texts, and how their denoiser wants to be called."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from interactive3d.runtime.guidance.large.problems import LargeModelProblem
from interactive3d.runtime.guidance.large.reading import Reader
from interactive3d.runtime.scene.render import carried


@dataclass(frozen=True)
class TextEmbedding:
    """A text as a denoiser wants it: words (1, l, d) and, for some families, one vector for the whole text (1, p)."""

    words: Tensor
    pooled: Tensor | None

    def to(self, device: torch.device) -> "TextEmbedding":
        """The same on another device."""
        return TextEmbedding(self.words.to(device), None if self.pooled is None else self.pooled.to(device))


def stacked(embeddings: list[TextEmbedding]) -> TextEmbedding:
    """One batch of several texts."""
    pooled = [e.pooled for e in embeddings if e.pooled is not None]
    return TextEmbedding(torch.cat([e.words for e in embeddings]), torch.cat(pooled) if pooled else None)


class Family(Protocol):
    """A family of pipelines. ``scale`` is the guidance scale that score distillation wants of it; ``blocks`` are the classes of the
    denoiser's repeated blocks, which are compiled one by one, none where it is compiled whole. ``recordable`` says whether ``predict`` reads
    nothing but its tensors, so that a CUDA graph can stand for it.
    """

    name: str
    denoiser: str
    texts: tuple[str, ...]
    scale: float
    distilled: bool
    blocks: tuple[str, ...]
    recordable: bool

    def own_side(self) -> int:
        """Side in pixels of the pictures that the model was trained on."""
        ...

    def encode(self, text: str, device: torch.device) -> TextEmbedding:
        """The text as the denoiser wants it."""
        ...

    def readers(self) -> list[Reader]:
        """Tokenizers, and how many tokens are read of what each makes of a text."""
        ...

    def predict(self, noisy: Tensor, timestep: Tensor, text: TextEmbedding, scale: float) -> Tensor:
        """The denoiser's output for pictures (b, c, h, w)."""
        ...


DEEPFLOYD_TOKENS = 77
SD3_TOKENS = 256
FLUX_TOKENS = 512
FLUX_SCHNELL_TOKENS = 256
"""Tokens of T5 that the pipelines read by default; of FLUX schnell those that its publishers name."""


def _vae_factor(pipeline: Any) -> int:
    return 2 ** (len(pipeline.vae.config.block_out_channels) - 1)


def _readers(pipeline: Any, *tokenizers: str) -> list[Reader]:
    found = [getattr(pipeline, name, None) for name in tokenizers]
    return [Reader(tokenizer, int(tokenizer.model_max_length)) for tokenizer in found if tokenizer is not None]


class StableDiffusion:
    """Stable Diffusion 1 and 2: latents, cross-attention to one text."""

    name = "Stable Diffusion"
    denoiser = "unet"
    texts: tuple[str, ...] = ("text_encoder",)
    scale = 100.0  # authors' configuration, after DreamFusion
    distilled = False
    blocks: tuple[str, ...] = ()
    recordable = True

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline

    def own_side(self) -> int:
        """The U-Net's own latents, in pixels."""
        return int(self.pipeline.unet.config.sample_size) * _vae_factor(self.pipeline)

    def encode(self, text: str, device: torch.device) -> TextEmbedding:
        """Hidden states of the text encoder."""
        return TextEmbedding(self.pipeline.encode_prompt(text, device, 1, False)[0], None)

    def readers(self) -> list[Reader]:
        """CLIP's 77 tokens."""
        return _readers(self.pipeline, "tokenizer")

    def predict(self, noisy: Tensor, timestep: Tensor, text: TextEmbedding, scale: float) -> Tensor:
        """Noise or velocity, as the scheduler says."""
        return self.pipeline.unet(noisy, timestep, encoder_hidden_states=text.words, return_dict=False)[0]


class StableDiffusionXL(StableDiffusion):
    """Stable Diffusion XL: two text encoders, their pooled vector, and the picture's size as a condition."""

    name = "Stable Diffusion XL"
    texts: tuple[str, ...] = ("text_encoder", "text_encoder_2")
    blocks: tuple[str, ...] = ("ResnetBlock2D", "BasicTransformerBlock")
    recordable = False

    def encode(self, text: str, device: torch.device) -> TextEmbedding:
        """Hidden states of both encoders, and the pooled vector of the second."""
        words, _, pooled, _ = self.pipeline.encode_prompt(text, device=device, do_classifier_free_guidance=False)
        if not text and self.pipeline.config.get("force_zeros_for_empty_prompt", False):
            # What the model was trained to see where there is no text.
            return TextEmbedding(torch.zeros_like(words), torch.zeros_like(pooled))
        return TextEmbedding(words, pooled)

    def readers(self) -> list[Reader]:
        """77 tokens of both encoders."""
        return _readers(self.pipeline, "tokenizer", "tokenizer_2")

    def predict(self, noisy: Tensor, timestep: Tensor, text: TextEmbedding, scale: float) -> Tensor:
        """As Stable Diffusion; the size told is the picture's own, uncropped."""
        factor = _vae_factor(self.pipeline)
        height, width = noisy.shape[-2] * factor, noisy.shape[-1] * factor
        sizes = carried(torch.tensor([[height, width, 0, 0, height, width]], dtype=noisy.dtype), noisy.device)
        added = {"text_embeds": text.pooled, "time_ids": sizes.expand(len(noisy), -1)}
        return self.pipeline.unet(
            noisy, timestep, encoder_hidden_states=text.words, added_cond_kwargs=added, return_dict=False
        )[0]


class DeepFloyd:
    """DeepFloyd IF, first stage: pixels, a T5 encoder; the network also predicts a variance, which nobody asks for."""

    name = "DeepFloyd IF"
    denoiser = "unet"
    texts: tuple[str, ...] = ("text_encoder",)
    scale = 20.0
    distilled = False
    blocks: tuple[str, ...] = ()
    recordable = True

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline

    def own_side(self) -> int:
        """The U-Net's own pictures."""
        return int(self.pipeline.unet.config.sample_size)

    def encode(self, text: str, device: torch.device) -> TextEmbedding:
        """Hidden states of the T5 encoder."""
        return TextEmbedding(
            self.pipeline.encode_prompt(text, do_classifier_free_guidance=False, device=device)[0], None
        )

    def readers(self) -> list[Reader]:
        """The tokens that the pipeline gives T5."""
        return [Reader(self.pipeline.tokenizer, DEEPFLOYD_TOKENS)]

    def predict(self, noisy: Tensor, timestep: Tensor, text: TextEmbedding, scale: float) -> Tensor:
        """The noise without the variance."""
        output = self.pipeline.unet(noisy, timestep, encoder_hidden_states=text.words, return_dict=False)[0]
        return output[:, : noisy.shape[1]]


class StableDiffusion3:
    """Stable Diffusion 3: rectified flow, a transformer, two or three text encoders."""

    name = "Stable Diffusion 3"
    denoiser = "transformer"
    texts: tuple[str, ...] = ("text_encoder", "text_encoder_2", "text_encoder_3")
    scale = 20.0
    distilled = False
    blocks: tuple[str, ...] = ("JointTransformerBlock",)
    recordable = False

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline

    def own_side(self) -> int:
        """The transformer's own latents, in pixels."""
        return int(self.pipeline.transformer.config.sample_size) * _vae_factor(self.pipeline)

    def encode(self, text: str, device: torch.device) -> TextEmbedding:
        """Hidden states of all encoders, and the pooled vectors of the two CLIP ones."""
        words, _, pooled, _ = self.pipeline.encode_prompt(
            text, None, None, device=device, do_classifier_free_guidance=False, max_sequence_length=SD3_TOKENS
        )
        return TextEmbedding(words, pooled)

    def readers(self) -> list[Reader]:
        """77 tokens of the CLIP encoders, more of T5 where there is one."""
        readers = _readers(self.pipeline, "tokenizer", "tokenizer_2")
        t5 = self.pipeline.tokenizer_3 if self.pipeline.text_encoder_3 is not None else None
        return readers if t5 is None else [*readers, Reader(t5, SD3_TOKENS)]

    def predict(self, noisy: Tensor, timestep: Tensor, text: TextEmbedding, scale: float) -> Tensor:
        """The velocity."""
        return self.pipeline.transformer(
            hidden_states=noisy,
            timestep=timestep,
            encoder_hidden_states=text.words,
            pooled_projections=text.pooled,
            return_dict=False,
        )[0]


class Flux:
    """FLUX.1: rectified flow on 2 x 2 patches of latents. Where guidance was distilled into the network, the scale is an input."""

    name = "FLUX"
    denoiser = "transformer"
    texts: tuple[str, ...] = ("text_encoder", "text_encoder_2")
    blocks: tuple[str, ...] = ("FluxTransformerBlock", "FluxSingleTransformerBlock")
    recordable = False

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline
        self.distilled = bool(pipeline.transformer.config.guidance_embeds)
        self.scale = 3.5 if self.distilled else 20.0
        # As they were trained; dev's guidance is an input, schnell has none.
        self.tokens = FLUX_TOKENS if self.distilled else FLUX_SCHNELL_TOKENS

    def own_side(self) -> int:
        """The pipeline's own latents, in pixels."""
        return int(self.pipeline.default_sample_size) * _vae_factor(self.pipeline)

    def encode(self, text: str, device: torch.device) -> TextEmbedding:
        """Hidden states of the T5 encoder, and the pooled vector of the CLIP one."""
        words, pooled, _ = self.pipeline.encode_prompt(text, None, device=device, max_sequence_length=self.tokens)
        return TextEmbedding(words, pooled)

    def readers(self) -> list[Reader]:
        """T5's tokens; CLIP only adds its one vector."""
        return [Reader(self.pipeline.tokenizer_2, self.tokens)]

    def predict(self, noisy: Tensor, timestep: Tensor, text: TextEmbedding, scale: float) -> Tensor:
        """The velocity, in the latents' own layout."""
        b, c, h, w = noisy.shape
        rows, columns = h // 2, w // 2
        patches = noisy.reshape(b, c, rows, 2, columns, 2).permute(0, 2, 4, 1, 3, 5).reshape(b, rows * columns, 4 * c)
        place = torch.zeros(rows, columns, 3, device=noisy.device, dtype=noisy.dtype)
        place[..., 1] += torch.arange(rows, device=noisy.device)[:, None]
        place[..., 2] += torch.arange(columns, device=noisy.device)[None, :]
        strength = torch.full((b,), scale, device=noisy.device, dtype=torch.float32) if self.distilled else None
        output = self.pipeline.transformer(
            hidden_states=patches,
            timestep=timestep.to(noisy.dtype) / 1000,
            guidance=strength,
            pooled_projections=text.pooled,
            encoder_hidden_states=text.words,
            txt_ids=torch.zeros(text.words.shape[1], 3, device=noisy.device, dtype=noisy.dtype),
            img_ids=place.reshape(-1, 3),
            return_dict=False,
        )[0]
        return output.reshape(b, rows, columns, c, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(b, c, h, w)


FAMILIES: dict[str, Callable[[Any], Family]] = {
    "StableDiffusionPipeline": StableDiffusion,
    "StableDiffusionXLPipeline": StableDiffusionXL,
    "IFPipeline": DeepFloyd,
    "StableDiffusion3Pipeline": StableDiffusion3,
    "FluxPipeline": Flux,
}


def family_of(pipeline: Any) -> Family:
    """The family that a pipeline belongs to, by its class.

    Raises:
        LargeModelProblem: a class that cannot guide.
    """
    name = type(pipeline).__name__
    if name not in FAMILIES:
        raise LargeModelProblem(f"guidance diffusers: {name} cannot guide; expected one of {', '.join(FAMILIES)}")
    return FAMILIES[name](pipeline)


@functools.lru_cache(maxsize=16)
def _channels(values: tuple[float, ...], device: torch.device) -> Float[Tensor, "1 c 1 1"]:
    """A number for each channel, brought to the device once: a CUDA graph must not carry anything there."""
    return torch.tensor(values, device=device).view(1, -1, 1, 1)


def to_latents(vae: Any, pictures: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h w"]:
    """Scaled latents of pictures in -1 .. 1: the mean of the encoder's posterior, so that no randomness is in it."""
    latents = vae.encode(pictures.to(next(vae.parameters()).dtype)).latent_dist.mode().float()
    mean, deviation = vae.config.get("latents_mean"), vae.config.get("latents_std")
    if mean is not None and deviation is not None:
        # Some of XL's family say them for each channel.
        mean, deviation = (_channels(tuple(v), latents.device) for v in (mean, deviation))
        return (latents - mean) * vae.config.scaling_factor / deviation
    return (latents - (vae.config.get("shift_factor") or 0.0)) * vae.config.scaling_factor
