"""Between the blobs' pictures and what a denoiser wants to see: sizes, the scale of the loss, and the gradient's way back."""

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from interactive3d.runtime.guidance.large.families import to_latents
from interactive3d.runtime.guidance.protocol import REFERENCE_SIDE

PICTURE_VARIANCE = 0.25**2
"""Variance of display values 0 .. 1 about their mean, roughly; latents are scaled to have variance 1."""


def seen(images: Float[Tensor, "b 3 h w"], side: int, vae: Any | None) -> Float[Tensor, "b c r r"]:
    """Pictures 0 .. 1 as the denoiser wants them clean: its size, -1 .. 1, latents where it has a VAE. Differentiable."""
    if images.shape[-1] > side:
        images = F.interpolate(images, (side, side), mode="area")
    elif images.shape[-1] < side:
        images = F.interpolate(images, (side, side), mode="bilinear", align_corners=False)
    pictures = images * 2 - 1
    return pictures if vae is None else to_latents(vae, pictures)


def protocol_scale(residual: Float[Tensor, "b c h w"], in_pixels: bool) -> float:
    """What brings a residual into the protocol's scale."""
    batch, channels, height, width = residual.shape
    # Pixels run over -1 .. 1 here, twice the range of a display value.
    energy = 0.25 if in_pixels else PICTURE_VARIANCE * 3 / channels
    return energy * REFERENCE_SIDE**2 / (height * width * batch)


def pulled_back(back: Callable[[Tensor], Tensor], residual: Tensor) -> Tensor:
    """The residual's gradient through the encoder, by its way ``back``. It is brought to size 1 for it, below which float16 would lose it."""
    size = residual.abs().max().clamp(min=1e-20)
    return back(residual / size) * size
