"""Score distillation by a large diffusion model: one class that asks the pipeline what it is.

Scores follow the project's form of classifier-free guidance, uncond + s (text - uncond). The gradient goes back through the VAE's
encoder to the pictures. Latents are weighted so that a unit of their variance counts as much as the variance of a picture, which
brings the loss into the scale that ``protocol.Score`` states; absolute scales mean little to AdamW, but terms are weighed against it.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from interactive3d.runtime.guidance.large import estimators, memory
from interactive3d.runtime.guidance.large.families import Family, TextEmbedding, family_of, stacked, to_latents
from interactive3d.runtime.guidance.large.loading import DEFAULT_MODEL, load_pipeline
from interactive3d.runtime.guidance.large.paths import Level, drawn_shares, path_of
from interactive3d.runtime.guidance.large.problems import LargeModelProblem
from interactive3d.runtime.guidance.large.prompts import (
    blend,
    camera_angles,
    guided,
    mixed,
    perp_neg_guided,
    view_name,
    view_prompt,
)
from interactive3d.runtime.guidance.large.shap_e import DEFAULT_SHAPE_MODEL, IMAGE_SHAPE_MODEL, shape_points
from interactive3d.runtime.guidance.protocol import REFERENCE_SIDE, Score, ScoreRequest, SeedPoints
from interactive3d.runtime.settings import Settings, SettingValue

DEFAULTS = Settings()
CACHED_TEXTS = 128
PICTURE_VARIANCE = 0.25**2
"""Variance of display values 0 .. 1 about their mean, roughly; latents are scaled to have variance 1."""
SPLATS_SIDE = 256  # paper 5.1: render size while training
PATCH = 2
"""Latents come in patches of 2 x 2 in the transformers, and have even sides in the U-Nets."""


@dataclass(frozen=True)
class Condition:
    """What is asked for and what is guided away from. Embeddings are kept by text, so that views share them."""

    prompt: str
    negative: str


@dataclass(frozen=True)
class Draw:
    """Everything random of one score, drawn before anything can run out of memory."""

    level: Level
    shares: Float[Tensor, "b"]
    noise: Float[Tensor, "b c h w"]


def silent(text: str) -> None:
    """Says nothing."""


class DiffusersGuidance:
    """Stable Diffusion 1.5, 2 and XL, DeepFloyd IF, Stable Diffusion 3 and FLUX as a prior. Make one with ``load``."""

    name = "diffusers"

    def __init__(
        self,
        pipeline: Any,
        device: torch.device | str = "cpu",
        *,
        settings: Settings = DEFAULTS,
        model: str = "",
        shape_model: str | None = None,
        folder: Path = Path(),
        tell: Callable[[str], None] = silent,
        free_memory: Callable[[torch.device], int | None] = memory.free_memory,
    ) -> None:
        self.pipeline = pipeline
        self.family: Family = family_of(pipeline)
        self.device = torch.device(device)
        self.model = model or str(getattr(pipeline.config, "_name_or_path", ""))
        self.shape_model = shape_model
        self.folder = folder
        self.tell = tell
        self.seed_steps = settings.large.seed_steps
        self._texts: OrderedDict[str, TextEmbedding] = OrderedDict()
        options = settings.large
        self.in_pixels = not hasattr(pipeline, "vae")
        self.factor = 1 if self.in_pixels else 2 ** (len(pipeline.vae.config.block_out_channels) - 1)
        self.side = self._fitting_side(options.size or self.family.own_side())
        self.path = path_of(pipeline.scheduler, (self.side // self.factor // PATCH) ** 2)
        self.denoiser = getattr(pipeline, self.family.denoiser)
        self.needs = memory.measure_needs(
            pipeline, self.family.texts, self.family.denoiser, self.side, self.side // self.factor
        )
        branches = 4 if options.perp_neg else 1 if self.family.distilled else 2
        choice = memory.choose(
            options.memory, self.needs, free_memory(self.device), self.device, settings.camera.batch, branches
        )
        self.rung = choice.rung
        tell(f"{self.model}: {self.family.name}, {self.path.prediction}, {self.side} pixels, {self.dtype_name}")
        tell(choice.text)
        self._settle(options.memory == "auto")

    @classmethod
    def load(
        cls,
        models: tuple[str, ...],
        folder: Path,
        device: torch.device | str,
        settings: Settings,
        tell: Callable[[str], None] = silent,
    ) -> "DiffusersGuidance":
        """The model that a script names by hub id or folder (beside the script); a second name is the one that makes first points.

        Raises:
            LargeModelProblem: the model cannot be used; says what was asked for, where it looked, and what to do.
        """
        asked = models[0] if models else DEFAULT_MODEL
        place = torch.device(device)
        pipeline, _ = load_pipeline(asked, folder, place, settings.large.precision)
        shape_model = models[1] if len(models) > 1 else None
        return cls(pipeline, place, settings=settings, model=asked, shape_model=shape_model, folder=folder, tell=tell)

    # -- what it is -----------------------------------------------------------------------------------------------------
    @property
    def dtype_name(self) -> str:
        """float32, float16 or bfloat16."""
        return str(next(self.denoiser.parameters()).dtype).removeprefix("torch.")

    @property
    def preferred(self) -> tuple[tuple[str, SettingValue], ...]:
        """Settings whose defaults suit this model better than the embedded prior's; a script's own values come on top."""
        scale = self.family.scale
        side = min(SPLATS_SIDE, self.side)
        return (("guidance.scale", scale), ("repair.scale", scale), ("guidance.size", side))

    def describe(self) -> dict[str, str]:
        """Model, family, number format and rung, for the run's record."""
        return {
            "name": self.name,
            "model": self.model,
            "family": self.family.name,
            "prediction": self.path.prediction,
            "precision": self.dtype_name,
            "memory": self.rung,
        }

    def unknown_words(self, prompt: str) -> list[tuple[str, list[str]]]:
        """Nothing: these models read any word."""
        return []

    def _fitting_side(self, wanted: int) -> int:
        grain = self.factor * (1 if self.in_pixels else PATCH)
        return max(grain, wanted // grain * grain)

    # -- memory ---------------------------------------------------------------------------------------------------------
    def _settle(self, automatic: bool) -> None:
        """Puts the models where the rung wants them; steps down while that runs out of memory."""
        while True:
            try:
                memory.climb_to(self.pipeline, self.rung, self.device, self.family.texts)
                return
            except torch.cuda.OutOfMemoryError:
                lower = self._lower(automatic)
            self.rung = lower

    def _lower(self, automatic: bool) -> str:
        """The next rung, said aloud.

        Raises:
            LargeModelProblem: there is none, or the user chose this one.
        """
        lower = memory.below(self.rung, self.device) if automatic else None
        if lower is None:
            free = memory.free_memory(self.device)
            told = "" if free is None else f", {free / memory.GIGABYTE:.1f} GB free"
            why = "even on the last rung of the memory ladder" if automatic else f"with large.memory {self.rung}"
            todo = "a smaller camera.batch, large.size or model" + ("" if automatic else ", or large.memory auto")
            raise LargeModelProblem(f"out of memory on {self.device} {why}{told}; use {todo}")
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.tell(f"out of memory on {self.device} with {self.rung}; going on with {lower}: {memory.MEANING[lower]}")
        return lower

    # -- texts ----------------------------------------------------------------------------------------------------------
    def encode(self, prompt: str, negative: str = "") -> Condition:
        """The condition; its embeddings are made when a view first needs them, and kept."""
        return Condition(prompt, negative)

    @torch.no_grad()
    def embedding(self, text: str) -> TextEmbedding:
        """The text's embedding, cached."""
        if text not in self._texts:
            self._texts[text] = self._encoded(text).to(self.device)
            if len(self._texts) > CACHED_TEXTS:
                self._texts.popitem(last=False)
        self._texts.move_to_end(text)
        return self._texts[text]

    def _encoded(self, text: str) -> TextEmbedding:
        if self.rung != "lean":
            return self.family.encode(text, self.device)
        # Encoders and denoiser take turns on the device.
        encoders = [getattr(self.pipeline, name) for name in self.family.texts]
        modules = [module for module in encoders if isinstance(module, nn.Module)]
        self.denoiser.to("cpu")
        for module in modules:
            module.to(self.device)
        try:
            return self.family.encode(text, self.device)
        finally:
            for module in modules:
                module.to("cpu")
            self.denoiser.to(self.device)

    def _positive(self, request: ScoreRequest) -> TextEmbedding:
        """The prompt as each camera sees it."""
        condition: Condition = request.condition
        found = []
        for camera in request.cameras:
            if not request.large.views:
                found.append(self.embedding(condition.prompt))
                continue
            angles = camera_angles(camera)
            if not request.large.perp_neg:
                found.append(self.embedding(view_prompt(condition.prompt, view_name(*angles))))
                continue
            asked = blend(*angles)
            first, second = (self.embedding(view_prompt(condition.prompt, view)) for view in asked.views)
            pooled = (
                None
                if first.pooled is None or second.pooled is None
                else mixed(first.pooled, second.pooled, asked.share)
            )
            found.append(TextEmbedding(mixed(first.words, second.words, asked.share), pooled))
        return stacked(found)

    def _against(self, request: ScoreRequest) -> list[tuple[TextEmbedding, Tensor]]:
        """Perp-Neg's negative prompts and their weights, one for each camera."""
        asked = [blend(*camera_angles(camera)).against for camera in request.cameras]
        prompt = request.condition.prompt
        found = []
        for place in range(len(asked[0])):
            texts = [self.embedding(view_prompt(prompt, row[place][0])) for row in asked]
            found.append((stacked(texts), torch.tensor([row[place][1] for row in asked])))
        return found

    # -- the denoiser ---------------------------------------------------------------------------------------------------
    def _predict(self, noisy: Tensor, level: Level, texts: list[TextEmbedding], scale: float) -> list[Tensor]:
        """The denoiser's outputs for each of several batches of texts: at once, or one after the other where memory is short."""
        dtype = next(self.denoiser.parameters()).dtype
        timestep = level.timestep.to(self.device)
        if self.rung == "full" and len(texts) > 1:
            many = len(texts)
            wide = noisy.to(dtype).repeat(many, 1, 1, 1)
            output = self.family.predict(wide, timestep.repeat(many), stacked(texts), scale)
            return list(output.float().chunk(many))
        return [self.family.predict(noisy.to(dtype), timestep, text, scale).float() for text in texts]

    def _untold(self, request: ScoreRequest, negative: str) -> TextEmbedding:
        return stacked([self.embedding(negative)] * len(request.cameras))

    def guided_output(self, noisy: Tensor, level: Level, request: ScoreRequest) -> Tensor:
        """The denoiser's output under guidance: uncond + s (text - uncond), or Perp-Neg's form of it."""
        told, scale = self._positive(request), request.guidance_scale
        if self.family.distilled:
            return self._predict(noisy, level, [told], scale)[0]
        untold = self._untold(request, request.condition.negative)
        if not (request.large.perp_neg and request.large.views):
            with_text, without = self._predict(noisy, level, [told, untold], scale)
            return guided(with_text, without, scale)
        against = self._against(request)
        outputs = self._predict(noisy, level, [told, untold, *(text for text, _ in against)], scale)
        return perp_neg_guided(outputs[0], outputs[1], outputs[2:], [weight for _, weight in against], scale)

    def plain_output(self, noisy: Tensor, level: Level, request: ScoreRequest) -> Tensor:
        """The denoiser's output without a text."""
        return self._predict(noisy, level, [self._untold(request, "")], 1.0)[0]

    # -- scores ---------------------------------------------------------------------------------------------------------
    def score(self, request: ScoreRequest) -> Score:
        """The gradient of score distillation or of interval score matching for these pictures.

        Raises:
            ValueError: pictures that are not square.
            LargeModelProblem: out of memory at the foot of the ladder.
        """
        images = request.images
        if images.shape[1] != images.shape[2]:
            raise ValueError(
                f"images: expected square pictures, got {tuple(images.shape[1:3])}; render with equal width and height"
            )
        draw = self._draw(request)
        while True:
            try:
                return self._score(request, draw)
            except torch.cuda.OutOfMemoryError:
                lower = self._lower(request.large.memory == "auto")
            self.rung = lower
            self._settle(True)

    def _draw(self, request: ScoreRequest) -> Draw:
        batch = len(request.images)
        shares = drawn_shares(request.noise, batch, request.generator)
        channels = 3 if self.in_pixels else int(self.pipeline.vae.config.latent_channels)
        side = self.side // self.factor
        noise = torch.randn(batch, channels, side, side, generator=request.generator)
        return Draw(self.path.level(shares), shares, noise.to(self.device))

    def _space(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c r r"]:
        """Pictures 0 .. 1 as the denoiser wants them clean: its size, -1 .. 1, latents where it has a VAE. Differentiable."""
        if images.shape[-1] > self.side:
            images = F.interpolate(images, (self.side, self.side), mode="area")
        elif images.shape[-1] < self.side:
            images = F.interpolate(images, (self.side, self.side), mode="bilinear", align_corners=False)
        pictures = images * 2 - 1
        return pictures if self.in_pixels else to_latents(self.pipeline.vae, pictures)

    def _score(self, request: ScoreRequest, draw: Draw) -> Score:
        given = request.images.detach().to(self.device, torch.float32).permute(0, 3, 1, 2).contiguous()
        # One pass where memory allows; else the encoder runs again, picture by picture, for its gradient.
        at_once = self.rung == "full" or self.in_pixels
        if at_once:
            given.requires_grad_(True)
            with torch.enable_grad():
                space = self._space(given)
        else:
            with torch.no_grad():
                space = torch.cat([self._space(picture[None]) for picture in given])
        with torch.no_grad():
            residual = self._residual(space.detach(), draw, request)
        residual, loss = self._scaled(residual)
        if at_once:
            gradient = _pulled_back(space, given, residual)
        else:
            gradient = torch.cat([self._back(p[None], r[None]) for p, r in zip(given, residual, strict=True)])
        return Score(gradient=gradient.permute(0, 2, 3, 1).to(request.images), clean=None, loss=loss)

    def _back(self, picture: Tensor, residual: Tensor) -> Tensor:
        picture = picture.detach().requires_grad_(True)
        with torch.enable_grad():
            return _pulled_back(self._space(picture), picture, residual)

    def _residual(self, space: Tensor, draw: Draw, request: ScoreRequest) -> Tensor:
        estimator = estimators.interval if request.large.estimator == "interval" else estimators.distillation
        return estimator(self, space, draw.level, draw.shares, draw.noise, request)

    def _scaled(self, residual: Tensor) -> tuple[Tensor, float]:
        """The residual in the protocol's scale, and half its weighted square as the number for the plots."""
        batch, channels, height, width = residual.shape
        # Pixels run over -1 .. 1 here, twice the range of a display value.
        energy = 0.25 if self.in_pixels else PICTURE_VARIANCE * 3 / channels
        factor = energy * REFERENCE_SIDE**2 / (height * width * batch)
        return residual * factor, 0.5 * factor * float(residual.square().sum())

    # -- first points ---------------------------------------------------------------------------------------------------
    def seed_points(self, condition: Condition, count: int, generator: torch.Generator) -> SeedPoints:
        """Points on the surface of what Shap-E makes of the text (paper 5.1).

        Raises:
            LargeModelProblem: the model of first points is missing.
        """
        return self._shape_points(self.shape_model or DEFAULT_SHAPE_MODEL, condition.prompt, count, generator)

    def seed_points_of_picture(self, path: Path, count: int, generator: torch.Generator) -> SeedPoints:
        """Points on the surface of what Shap-E makes of a picture of the object.

        Raises:
            LargeModelProblem: the model of first points is missing.
            FileProblem: the picture cannot be read.
        """
        return self._shape_points(self.shape_model or IMAGE_SHAPE_MODEL, path, count, generator)

    def _shape_points(self, model: str, prompt: str | Path, count: int, generator: torch.Generator) -> SeedPoints:
        self.tell(f"first points: {model} on {str(prompt)!r}")
        return shape_points(model, self.folder, prompt, count, generator, self.device, self.tell, steps=self.seed_steps)


def _pulled_back(space: Tensor, given: Tensor, residual: Tensor) -> Tensor:
    """The residual's gradient through the encoder. It is brought to size 1 on the way, below which float16 would lose it."""
    size = residual.abs().max().clamp(min=1e-20)
    (gradient,) = torch.autograd.grad(space, given, residual / size)
    return gradient * size
