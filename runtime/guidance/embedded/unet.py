"""The U-Net: predicts the velocity of a noised 64 x 64 picture, given the text and a coarse view of a volume.

The picture is folded to 32 x 32 with 12 channels; beside it go the volume as seen by the same camera, the background and
what kind of volume it is. So the network need not learn geometry: it learns to turn a coarse view into a sharp picture, as a
correction to the best linear guess from that view and the noised picture.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from interactive3d.runtime.guidance.embedded.layers import Attention, ChannelNorm, sinusoids
from interactive3d.runtime.guidance.embedded.schedule import signal_and_noise

HINT_VARIANCE = 0.1
"""Mean square difference assumed between a picture (-1..1) and the volume's view of it."""


def linear_guess(
    noisy: Float[Tensor, "b 3 size size"], t: Float[Tensor, " b"], view: Float[Tensor, "b 3 half half"]
) -> Float[Tensor, "b 3 size size"]:
    """The velocity that goes with the Wiener mixture of the noised picture and the volume's view."""
    alpha, sigma = signal_and_noise(t)
    coarse = F.interpolate(view, noisy.shape[-2:], mode="bilinear", align_corners=False)
    gain = HINT_VARIANCE * alpha / (HINT_VARIANCE * alpha.square() + sigma.square())
    clean = coarse + gain * (noisy - alpha * coarse)
    return (alpha * noisy - clean) / sigma


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """Sizes of the U-Net; `channels`, `down` and `up` (blocks) are those at 1/2, 1/4 and 1/8 of the picture."""

    size: int = 64
    channels: tuple[int, int, int] = (40, 80, 128)
    down: tuple[int, int, int] = (1, 2, 2)
    up: tuple[int, int, int] = (2, 2, 1)
    heads: int = 4
    text_width: int = 160
    embedding: int = 192
    hint_channels: int = 10
    camera_features: int = 7


def _silence(convolution: nn.Conv2d) -> None:
    """Weights and biases to zero: the branch that ends here adds nothing at first."""
    nn.init.zeros_(convolution.weight)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)


class ResBlock(nn.Module):
    """Norm, SiLU and 3 x 3 convolution, twice; the embedding scales and shifts the second norm."""

    def __init__(self, channels: int, embedding: int):
        super().__init__()
        self.norm1 = ChannelNorm(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.film = nn.Linear(embedding, 2 * channels)
        self.norm2 = ChannelNorm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        _silence(self.conv2)

    def forward(self, x: Float[Tensor, "b c h w"], emb: Float[Tensor, "b e"]) -> Float[Tensor, "b c h w"]:
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.film(emb)[:, :, None, None].chunk(2, dim=1)
        h = torch.addcmul(shift, self.norm2(h), 1 + scale)
        return x + self.conv2(F.silu(h))


class TextBlock(nn.Module):
    """Cross-attention of the pixels to the words; at the coarsest level self-attention first."""

    def __init__(self, channels: int, heads: int, text_width: int, look_around: bool):
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.cross = Attention(channels, heads, text_width)
        self.self_norm = nn.LayerNorm(channels) if look_around else None
        self.self_attention = Attention(channels, heads) if look_around else None

    def forward(
        self, x: Float[Tensor, "b c h w"], words: Float[Tensor, "b m d"], mask: Bool[Tensor, "b m"]
    ) -> Float[Tensor, "b c h w"]:
        b, c, h, w = x.shape
        rows = x.permute(0, 2, 3, 1).reshape(b, h * w, c)
        if self.self_attention is not None and self.self_norm is not None:
            rows = rows + self.self_attention(self.self_norm(rows))
        rows = rows + self.cross(self.norm(rows), words, mask)
        return rows.view(b, h, w, c).permute(0, 3, 1, 2)


class Stage(nn.Module):
    """Residual blocks at one resolution, each followed by a text block where the level has them."""

    def __init__(self, config: UNetConfig, level: int, count: int):
        super().__init__()
        c = config.channels[level]
        self.blocks = nn.ModuleList(ResBlock(c, config.embedding) for _ in range(count))
        self.texts = nn.ModuleList(
            TextBlock(c, config.heads, config.text_width, look_around=level == 2) for _ in range(count) if level
        )

    def forward(self, x: Tensor, emb: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        for i, block in enumerate(self.blocks):
            x = block(x, emb)
            if len(self.texts):
                x = self.texts[i](x, words, mask)
        return x


class UNet(nn.Module):
    """Velocity of the noised picture. See `UNetConfig` for sizes."""

    def __init__(self, config: UNetConfig):
        super().__init__()
        self.config = config
        c, e = config.channels, config.embedding
        self.time = nn.Sequential(nn.Linear(128, e), nn.SiLU(), nn.Linear(e, e))
        self.camera = nn.Sequential(nn.Linear(config.camera_features, 64), nn.SiLU(), nn.Linear(64, e))
        self.pooled = nn.Linear(config.text_width, e)
        self.first = nn.Conv2d(12 + config.hint_channels, c[0], 3, padding=1)
        self.down = nn.ModuleList()
        self.shrink = nn.ModuleList()
        for level in range(3):
            self.down.append(Stage(config, level, config.down[level]))
            if level < 2:
                self.shrink.append(nn.Conv2d(c[level], c[level + 1], 2, stride=2))
        self.up = nn.ModuleList()
        self.grow = nn.ModuleList()
        for level in (2, 1, 0):
            self.up.append(Stage(config, level, config.up[level]))
            if level:
                self.grow.append(nn.Conv2d(c[level], 4 * c[level - 1], 1))
        self.last_norm = ChannelNorm(c[0])
        self.last = nn.Conv2d(c[0], 12, 3, padding=1)
        _silence(self.last)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's annotations lack this one

    def forward(
        self,
        noisy: Float[Tensor, "b 3 size size"],
        t: Float[Tensor, " b"],
        hint: Float[Tensor, "b hint half half"],
        camera: Float[Tensor, "b camera"],
        words: Float[Tensor, "b m d"],
        mask: Bool[Tensor, "b m"],
        pooled: Float[Tensor, "b d"],
    ) -> Float[Tensor, "b 3 size size"]:
        """`noisy` in about -1..1 plus noise, `t` in 0..999, `hint` from `conditioning.hint`."""
        emb = F.silu(self.time(sinusoids(t, 128)) + self.camera(camera) + self.pooled(pooled))
        x = torch.cat((F.pixel_unshuffle(noisy, 2), hint), dim=1).contiguous(memory_format=torch.channels_last)
        x = self.first(x)
        kept = []
        for level in range(3):
            x = self.down[level](x, emb, words, mask)
            if level < 2:
                kept.append(x)
                x = self.shrink[level](x)
        for i, level in enumerate((2, 1, 0)):
            x = self.up[i](x if level == 2 else x + kept[level], emb, words, mask)
            if level:
                x = F.pixel_shuffle(self.grow[i](x), 2).contiguous(memory_format=torch.channels_last)
        return linear_guess(noisy, t, hint[:, :3]) + F.pixel_shuffle(self.last(F.silu(self.last_norm(x))), 2)
