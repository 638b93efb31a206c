"""The losses of the two stages: first text to volume, in three dimensions; then the U-Net, the volume network held still."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interactive3d.runtime.guidance.embedded import schedule
from interactive3d.runtime.guidance.embedded.conditioning import camera_features, hint, render_volume
from interactive3d.runtime.guidance.embedded.corrupt import damage_volume, warp_pictures
from interactive3d.runtime.guidance.embedded.data import PictureBatch, Source
from interactive3d.runtime.guidance.embedded.gate import select
from interactive3d.runtime.guidance.embedded.text import TextEmbedding
from interactive3d.runtime.guidance.embedded.volume import volume_loss
from interactive3d.runtime.guidance.embedded.weights import Networks

LossOf = Callable[[int, int], dict[str, Tensor]]


@dataclass(frozen=True, kw_only=True)
class DrawConfig:
    """How conditions are drawn for a picture. What is neither text nor object volume is an empty volume."""

    text_volume: float = 0.45
    object_volume: float = 0.35
    no_text: float = 0.14
    no_volume_with_text: float = 0.5
    full_trust: float = 0.5
    warp: float = 0.2
    warp_strength: float = 0.1
    upper_half: float = 0.4
    views: int = 2
    volume_cells: int = 768
    colour_weight: float = 1.0
    pointer_weight: float = 0.1


StageLoss = Callable[[Networks, Source, DrawConfig, str], LossOf]
"""`volume_stage` and `unet_stage`: networks, data, conditions and device to a loss."""


def volume_stage(networks: Networks, source: Source, draw: DrawConfig, device: str) -> LossOf:
    """Coverage and colour of the volumes that captions tell in full."""

    def loss_of(seed: int, count: int) -> dict[str, Tensor]:
        batch = source.volume_batch(seed, count)
        generator = torch.Generator().manual_seed(seed)
        text = networks.text(networks.tokenizer(batch.captions).to(device))
        fields = networks.volume(text)
        loss = volume_loss(fields, batch.volumes.to(device), draw.volume_cells, generator)
        return {
            "loss": loss.coverage + draw.colour_weight * loss.colour + draw.pointer_weight * loss.pointer,
            "coverage": loss.coverage.detach(),
            "colour": loss.colour.detach(),
            "pointer": loss.pointer.detach(),
        }

    return loss_of


@dataclass(frozen=True)
class Condition:
    """What a batch's pictures are conditioned on, a row per object; flags as `conditioning.hint` takes them."""

    text: TextEmbedding
    volumes: Float[Tensor, "n 4 r r r"]
    from_text: Float[Tensor, " n"]
    trust: Float[Tensor, " n"]


@torch.no_grad()
def draw_condition(
    networks: Networks, batch: PictureBatch, draw: DrawConfig, generator: torch.Generator, device: str
) -> Condition:
    """Text volume, the object's own (damaged) volume, or none; text or none."""
    n = len(batch.captions)
    kind = torch.rand(n, generator=generator)
    silent = torch.rand(n, generator=generator) < draw.no_text
    from_text = kind < draw.text_volume
    own = ~from_text & (kind < draw.text_volume + draw.object_volume)
    told = networks.text(networks.tokenizer(batch.captions).to(device))
    volumes = torch.zeros(n, *batch.volumes.shape[1:], device=device)
    # Without text the volume that came from it mostly goes too: that is the unconditional branch of guidance.
    from_text &= ~(silent & (torch.rand(n, generator=generator) < draw.no_volume_with_text))
    rows = from_text.nonzero()[:, 0]
    if len(rows):
        volumes[rows.to(device)] = networks.volume.rgba(select(told, rows.to(device)))
    trust = torch.rand(n, generator=generator)
    trust = torch.where(torch.rand(n, generator=generator) < draw.full_trust, torch.ones(n), trust) * own
    for row in own.nonzero()[:, 0].tolist():
        volumes[row] = damage_volume(batch.volumes[row], float(trust[row]), generator).to(device)
    captions = [[] if silent[i] else words for i, words in enumerate(batch.captions)]
    text = networks.text(networks.tokenizer(captions).to(device))
    return Condition(text, volumes, from_text.float().to(device), trust.to(device))


def draw_times(count: int, upper_half: float, generator: torch.Generator) -> Float[Tensor, " count"]:
    """Noise steps over the whole range, a share `upper_half` of them from its upper half alone."""
    t = torch.rand(count, generator=generator) * schedule.STEPS
    upper = torch.rand(count, generator=generator) < upper_half
    return torch.where(upper, schedule.STEPS / 2 + t / 2, t).clamp(max=schedule.STEPS - 1)


def unet_stage(networks: Networks, source: Source, draw: DrawConfig, device: str) -> LossOf:
    """Velocity error of noised pictures."""

    def loss_of(seed: int, count: int) -> dict[str, Tensor]:
        batch = source.picture_batch(seed, max(1, count // draw.views), draw.views)
        generator = torch.Generator().manual_seed(seed)
        condition = draw_condition(networks, batch, draw, generator, device)
        b = len(batch.pictures)
        owner = batch.owner.to(device)
        pictures = _warped(batch, condition, draw, generator).to(device)
        t = draw_times(b, draw.upper_half, generator).to(device)
        noise = torch.randn(pictures.shape, generator=generator).to(device)
        viewmats, fovs = batch.viewmats.to(device), batch.fovs.to(device)
        with torch.no_grad():
            view = torch.zeros(b, 5, 32, 32, device=device)
            seen = (condition.from_text + condition.trust > 0)[owner].nonzero()[:, 0]
            if len(seen):
                view[seen] = render_volume(condition.volumes[owner[seen]], viewmats[seen], fovs[seen])
            extra = hint(view, condition.from_text[owner], condition.trust[owner], batch.background.to(device))
            camera = camera_features(viewmats, fovs)
        text = select(condition.text, owner)
        noisy = schedule.noised(pictures, noise, t)
        v = networks.unet(noisy, t, extra, camera, text.words, text.tokens.mask, text.pooled)
        error = (v - schedule.velocity(pictures, noise, t)).square().mean((1, 2, 3))
        high = t > 0.9 * schedule.STEPS
        report = {"loss": error.mean()}
        if high.any():
            report["high"] = error[high].mean().detach()
        return report

    return loss_of


def _warped(batch: PictureBatch, condition: Condition, draw: DrawConfig, generator: torch.Generator) -> Tensor:
    """Some pictures bent in the plane, where no volume of their own tells what they look like."""
    b = len(batch.pictures)
    chosen = (torch.rand(b, generator=generator) < draw.warp) & (condition.trust.cpu()[batch.owner] == 0)
    strength = torch.rand(b, generator=generator) * draw.warp_strength
    rows = chosen.nonzero()[:, 0]
    pictures = batch.pictures.clone()
    if len(rows):
        pictures[rows] = warp_pictures(pictures[rows], strength[rows], generator)
    return pictures
