"""The embedded prior: a small text- and camera-conditioned diffusion model that ships with the tool.

Pictures for the networks are (b, 3, 64, 64) in -1..1; those of a `ScoreRequest` are (b, h, w, 3) in 0..1 of any square size.
"""

from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from interactive3d.runtime.guidance.embedded import schedule
from interactive3d.runtime.guidance.embedded.conditioning import camera_features, hint, render_volume
from interactive3d.runtime.guidance.embedded.corrupt import cell_centres
from interactive3d.runtime.guidance.embedded.text import TextEmbedding
from interactive3d.runtime.guidance.embedded.weights import DEFAULT_FOLDER, Networks, load_networks, weights_info
from interactive3d.runtime.guidance.objects import words
from interactive3d.runtime.guidance.protocol import Score, ScoreRequest, SeedPoints
from interactive3d.runtime.scene.camera import view_matrices
from interactive3d.runtime.scene.render import carried
from interactive3d.runtime.settings import SettingValue

VolumeChoice = Literal["text", "none"] | Float[Tensor, "4 r r r"]
CACHED_PROMPTS = 16


@dataclass(frozen=True)
class Condition:
    """A prompt as the networks see it: embeddings and volume of the prompt, and of what it is guided away from."""

    prompt: str
    negative: str
    text: TextEmbedding
    volume: Float[Tensor, "4 r r r"]
    against: TextEmbedding
    against_volume: Float[Tensor, "4 r r r"] | None


def merge_volumes(
    mine: Float[Tensor, "4 r r r"], other: Float[Tensor, "4 r r r"], weight: float
) -> Float[Tensor, "4 r r r"]:
    """The union of two volumes, `other` thinned by `weight` in 0..1: for a prompt that adds to an object."""
    thin = weight * other[3]
    alpha = torch.maximum(mine[3], thin)
    share = (thin * (1 - mine[3]) / (mine[3] + thin).clamp(min=1e-6)).clamp(0, 1)
    return torch.cat((mine[:3] + share * (other[:3] - mine[:3]), alpha[None]))


class EmbeddedPrior:
    """Score distillation, sampling and seeding with the project's own model. Make one with `load`."""

    name = "embedded"
    size = 64
    preferred: tuple[tuple[str, SettingValue], ...] = (("guidance.opaque", 0.5),)
    """Settings whose defaults suit this prior less well; a script's own values come on top. To 64 pixels soft edges look like sharp ones."""

    def __init__(self, networks: Networks, device: torch.device | str = "cpu", info: dict | None = None):
        self.networks = networks.to(device).eval()
        self.device = torch.device(device)
        self.info = info or {}
        self._conditions: OrderedDict[tuple[str, str], Condition] = OrderedDict()

    @classmethod
    def load(cls, device: torch.device | str = "cpu", folder: Path = DEFAULT_FOLDER) -> "EmbeddedPrior":
        """Read the weights folder (under two seconds). Raises FileNotFoundError where there is none."""
        return cls(load_networks(folder, device), device, weights_info(folder))

    @staticmethod
    def unknown_words(prompt: str) -> list[tuple[str, list[str]]]:
        """Words of the prompt that the prior never saw, each with known ones spelled alike."""
        return words.unknown_words(prompt)

    @torch.inference_mode()
    def encode(self, prompt: str, negative: str = "") -> Condition:
        """Embeddings and volume of a prompt; cached. An empty prompt means any object."""
        key = (prompt, negative)
        if key in self._conditions:
            self._conditions.move_to_end(key)
            return self._conditions[key]
        text, against = (self._embed(t) for t in (prompt, negative))
        volume = self.networks.volume.rgba(text)[0]
        against_volume = self.networks.volume.rgba(against)[0] if words.normalise(negative) else None
        condition = Condition(prompt, negative, text, volume, against, against_volume)
        self._conditions[key] = condition
        if len(self._conditions) > CACHED_PROMPTS:
            self._conditions.popitem(last=False)
        return condition

    def _embed(self, prompt: str) -> TextEmbedding:
        return self.networks.text(self.networks.tokenizer([words.normalise(prompt)]).to(self.device))

    def volume(self, condition: Condition) -> Float[Tensor, "4 r r r"]:
        """The prompt's own coarse volume on [-1, 1]^3: (rgb + alpha, z, y, x)."""
        return condition.volume

    @torch.inference_mode()
    def predict_clean(
        self,
        noisy: Float[Tensor, "b 3 64 64"],
        t: Float[Tensor, " b"],
        condition: Condition,
        viewmats: Float[Tensor, "b 4 4"],
        fovs_deg: Float[Tensor, " b"],
        volume: VolumeChoice = "text",
        background: Float[Tensor, "b 3"] | None = None,
        guidance_scale: float = 1.0,
        trust: float = 1.0,
    ) -> Float[Tensor, "b 3 64 64"]:
        """The clean picture behind `noisy` (-1..1), guided: uncond + scale (text - uncond).

        `volume`: the prompt's own ("text"), "none", or the object's as it stands, believed as far as `trust` (0..1) says.
        `background` in 0..1, white when None. At scale 1 the network runs once, else with and without text.
        """
        b = noisy.shape[0]
        background = torch.ones(b, 3, device=self.device) if background is None else background
        camera = camera_features(viewmats, fovs_deg)
        own = isinstance(volume, Tensor)
        chosen = without = None
        if isinstance(volume, Tensor):
            chosen = without = volume
        elif volume == "text":
            chosen, without = condition.volume, condition.against_volume
        views: dict[int, Tensor] = {}

        def extra(v: Tensor | None) -> Tensor:
            if id(v) not in views:
                view = None if v is None else render_volume(v.expand(b, *v.shape), viewmats, fovs_deg)
                flag = torch.full((b,), float(v is not None), device=self.device)
                views[id(v)] = hint(view, flag * (not own), flag * (trust if own else 0.0), background)
            return views[id(v)]

        if guidance_scale == 1.0:
            return schedule.clean_of(noisy, self._velocity(noisy, t, extra(chosen), camera, condition.text), t)
        hints = torch.cat((extra(chosen), extra(without)))
        v = self._velocity(
            noisy.repeat(2, 1, 1, 1), t.repeat(2), hints, camera.repeat(2, 1), condition.text, condition.against
        )
        told, untold = v.chunk(2)
        return schedule.clean_of(noisy, untold + guidance_scale * (told - untold), t)

    def _velocity(
        self, noisy: Tensor, t: Tensor, extra: Tensor, camera: Tensor, *texts: TextEmbedding
    ) -> Float[Tensor, "b 3 64 64"]:
        """The U-Net on a batch whose halves have the texts given."""
        each = len(noisy) // len(texts)
        longest = max(text.words.shape[1] for text in texts)
        rows, masks = [], []
        for text in texts:
            gap = longest - text.words.shape[1]
            rows.append(F.pad(text.words, (0, 0, 0, gap)).expand(each, -1, -1))
            masks.append(F.pad(text.tokens.mask, (0, gap)).expand(each, -1))
        pooled = torch.cat([text.pooled.expand(each, -1) for text in texts])
        return self.networks.unet(noisy, t, extra, camera, torch.cat(rows), torch.cat(masks), pooled)

    def score(self, request: ScoreRequest) -> Score:
        """Score distillation in pixel space: (x - x0(x_t)) at the 64 x 64 average of the pictures, in the protocol's scale.

        This is SDS with w(t) such that the residual of the clean picture has weight 1. `request.shape` says which volume the network
        sees: "text", "object" (`request.object_volume`), "both" (their union) or "none".

        Raises ValueError for pictures that are not square or an unknown shape.
        """
        images = request.images
        if images.shape[1] != images.shape[2]:
            raise ValueError(
                f"images: expected square pictures, got {tuple(images.shape[1:3])}; render with equal width and height"
            )
        low, high = request.noise
        t = low + (high - low) * torch.rand(len(images), generator=request.generator)
        volume = self._choice(request.shape, request.condition, request.object_volume)
        background = request.background.to(self.device, torch.float32)
        if background.ndim == 4:
            background = background.mean((1, 2))
        given = images.detach().to(self.device).permute(0, 3, 1, 2).requires_grad_(True)
        views = carried(view_matrices(request.cameras), self.device)
        fovs = carried(torch.tensor([camera.fov for camera in request.cameras]), self.device)
        with torch.enable_grad():
            small = F.interpolate(given, (self.size, self.size), mode="area")
            clean = self.denoised(
                small.detach(),
                t * (schedule.STEPS - 1),
                request.condition,
                views,
                fovs,
                volume=volume,
                background=background,
                guidance_scale=request.guidance_scale,
                generator=request.generator,
            )
            loss = 0.5 * (small - clean).square().sum() / len(images)
        (gradient,) = torch.autograd.grad(loss, given)
        shown = F.interpolate(clean, images.shape[1:3], mode="bilinear", align_corners=False)
        return Score(
            gradient=gradient.permute(0, 2, 3, 1).to(images),
            clean=shown.permute(0, 2, 3, 1).to(images),
            loss=float(loss.detach()),
        )

    def _choice(self, shape: str, condition: Condition, own: Tensor | None) -> VolumeChoice:
        if shape == "text":
            return "text"
        if shape == "none":
            return "none"
        if shape not in ("object", "both"):
            raise ValueError(f'shape: expected "text", "object", "both" or "none", got {shape!r}')
        if own is None:
            raise ValueError(f"shape {shape!r}: expected an object_volume, got None; pass the voxelised object")
        own = own.to(self.device, torch.float32)
        return own if shape == "object" else merge_volumes(own, condition.volume, 1.0)

    @torch.no_grad()
    def denoised(
        self,
        images: Float[Tensor, "b 3 64 64"],
        t: Float[Tensor, " b"],
        condition: Condition,
        viewmats: Float[Tensor, "b 4 4"],
        fovs_deg: Float[Tensor, " b"],
        *,
        volume: VolumeChoice,
        background: Float[Tensor, "b 3"],
        guidance_scale: float,
        generator: torch.Generator,
    ) -> Float[Tensor, "b 3 64 64"]:
        """Noise `images` (0..1) to steps `t` (0..999) and predict them clean again, 0..1. Randomness comes from `generator` (CPU)."""
        t = carried(t.float(), self.device)
        noise = carried(torch.randn(images.shape, generator=generator), self.device)
        noisy = schedule.noised(images * 2 - 1, noise, t)
        clean = self.predict_clean(noisy, t, condition, viewmats, fovs_deg, volume, background, guidance_scale)
        return ((clean + 1) / 2).clamp(0, 1).clone()

    def describe(self) -> dict[str, str]:
        """Name, model and version, for a run's record."""
        seen = self.info.get("seen", 0)
        return {"name": self.name, "model": "interactive3d embedded prior", "version": f"{seen} pictures seen"}

    @torch.inference_mode()
    def seed_points(self, condition: Condition, count: int, generator: torch.Generator) -> SeedPoints:
        """`count` points drawn from the prompt's own volume, mostly near its surface, with its colours."""
        volume = condition.volume.cpu()
        alpha = torch.where(volume[3] > 0.15, volume[3], 0.0)
        buried = -F.max_pool3d(-alpha[None, None], 3, stride=1, padding=1)[0, 0]
        chance = (alpha * (1 - 0.75 * buried)).flatten()
        if float(chance.sum()) == 0:
            chance = volume[3].flatten() + 1e-6
        cells = torch.multinomial(chance, count, replacement=True, generator=generator)
        edge = 2 / volume.shape[-1]
        jitter = (torch.rand(count, 3, generator=generator) - 0.5) * edge
        positions = cell_centres(volume.shape[-1]).reshape(-1, 3)[cells] + jitter
        colors = volume[:3].flatten(1).T[cells]
        return SeedPoints(positions=positions.to(self.device), colors=colors.to(self.device), spacing=edge)

    @torch.inference_mode()
    def sample(
        self,
        prompt: str,
        viewmats: Float[Tensor, "b 4 4"],
        fovs_deg: Float[Tensor, " b"],
        *,
        steps: int = 30,
        guidance_scale: float = 3.0,
        generator: torch.Generator,
        negative: str = "",
        volume: VolumeChoice = "text",
        background: Float[Tensor, "b 3"] | None = None,
    ) -> Float[Tensor, "b 3 64 64"]:
        """Pictures of a prompt in 0..1 by deterministic (DDIM) sampling from noise."""
        condition = self.encode(prompt, negative)
        b = viewmats.shape[0]
        viewmats, fovs_deg = viewmats.to(self.device), fovs_deg.to(self.device)
        x = torch.randn(b, 3, self.size, self.size, generator=generator).to(self.device)
        levels = torch.linspace(schedule.STEPS - 1, 0, steps + 1).tolist()
        for now, after in pairwise(levels):
            t = torch.full((b,), now, device=self.device)
            clean = self.predict_clean(x, t, condition, viewmats, fovs_deg, volume, background, guidance_scale).clamp(
                -1, 1
            )
            x = schedule.ddim_step(x, clean, t, torch.full((b,), after, device=self.device))
        return ((clean + 1) / 2).clamp(0, 1)
