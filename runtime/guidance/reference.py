"""Steer by an example: the exact score of a prior whose pictures are renders of given objects.

For a picture x_t = a x + s e of a prior made of finitely many pictures r_1 … r_k of equal weight, the posterior mean is their mixture
with weights softmax(-|x_t - a r_i|^2 / (2 s^2)). For one object that is its render itself, whatever the noise. Nothing is learned,
so tests of the optimizer are exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from interactive3d.kernels.splat_raster import rasterize
from interactive3d.runtime.guidance.protocol import Score, ScoreRequest, SeedPoints, residual_score
from interactive3d.runtime.scene.camera import intrinsics, view_matrices
from interactive3d.runtime.scene.gaussians import GaussianModel


@dataclass(frozen=True)
class ReferenceCondition:
    """Indices of the objects that a prompt allows."""

    objects: tuple[int, ...]


class ReferenceGuidance:
    """A prior that knows exactly the given objects, each under its file's name.

    A prompt that contains the name of one or more of them allows only those; any other prompt allows all.
    """

    name = "reference"

    def __init__(self, objects: Sequence[tuple[str, GaussianModel]], device: torch.device | str = "cpu") -> None:
        if not objects:
            raise ValueError('guidance reference: expected at least one object, e.g. guidance reference "dragon.ply"')
        self.names = [Path(name).stem for name, _ in objects]
        self.device = torch.device(device)
        self.models = [model.to(self.device) for _, model in objects]

    def encode(self, prompt: str, negative: str = "") -> ReferenceCondition:
        """The objects whose file stem the prompt names, or all of them. ``negative`` takes objects away."""
        named = [i for i, name in enumerate(self.names) if name.lower() in prompt.lower()]
        allowed = named or list(range(len(self.names)))
        avoided = {i for i, name in enumerate(self.names) if negative and name.lower() in negative.lower()}
        kept = [i for i in allowed if i not in avoided]
        return ReferenceCondition(tuple(kept or allowed))

    @torch.no_grad()
    def _render(self, index: int, request: ScoreRequest) -> Float[Tensor, "b h w 3"]:
        model = self.models[index]
        height, width = request.images.shape[1:3]
        return rasterize(
            model.mean,
            model.scale,
            model.rotation,
            model.color,
            model.opacity,
            view_matrices(request.cameras).to(self.device),
            intrinsics(request.cameras, width, height).to(self.device),
            width,
            height,
            request.background,
        ).color

    @torch.no_grad()
    def score(self, request: ScoreRequest) -> Score:
        """The exact posterior-mean residual; see the module's docstring. ``guidance_scale`` has no meaning here and is not used."""
        condition: ReferenceCondition = request.condition
        renders = torch.stack([self._render(i, request) for i in condition.objects])  # k b h w 3
        if len(condition.objects) == 1:
            return residual_score(request.images, renders[0])
        batch = request.images.shape[0]
        low, high = request.noise
        level = low + (high - low) * torch.rand(batch, generator=request.generator, dtype=torch.float64)
        angle = (level.clamp(1e-3, 1 - 1e-3) * torch.pi / 2).to(request.images)
        signal, sigma = angle.cos()[:, None, None, None], angle.sin()[:, None, None, None]
        noise = torch.randn(request.images.shape, generator=request.generator).to(request.images)
        # Diffusion models see pictures in -1 .. 1.
        noisy = signal * (request.images * 2 - 1) + sigma * noise
        distance = ((noisy[None] - signal[None] * (renders * 2 - 1)) ** 2).flatten(2).sum(-1)  # k b
        weights = torch.softmax(-distance / (2 * sigma.flatten() ** 2)[None], dim=0)
        clean = (weights[:, :, None, None, None] * renders).sum(0)
        return residual_score(request.images, clean)

    def unknown_words(self, prompt: str) -> list[tuple[str, list[str]]]:
        """Nothing: the reference prior reads no words but names."""
        return []

    @torch.no_grad()
    def seed_points(self, condition: ReferenceCondition, count: int, generator: torch.Generator) -> SeedPoints:
        """Blob centres of the first allowed object, drawn by opacity."""
        model = self.models[condition.objects[0]]
        index = torch.multinomial(
            model.opacity.cpu().double(), count, replacement=count > len(model), generator=generator
        )
        positions = model.mean.cpu()[index]
        spacing = float(model.scale.mean()) * 2.0
        return SeedPoints(positions=positions, colors=model.color.cpu()[index], spacing=spacing)

    def describe(self) -> dict[str, str]:
        """Names of the objects."""
        return {"guidance": self.name, "model": ", ".join(self.names)}
