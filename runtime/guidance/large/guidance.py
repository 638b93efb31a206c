"""Score distillation by a large diffusion model: one class that asks the pipeline what it is.

Scores follow the project's form of classifier-free guidance, uncond + s (text - uncond). The gradient goes back through the VAE's
encoder to the pictures. Latents are weighted so that a unit of their variance counts as much as the variance of a picture, which
brings the loss into the scale that ``protocol.Score`` states; absolute scales mean little to AdamW, but terms are weighed against it.
"""

import functools
import gc
from collections.abc import Callable
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interactive3d.runtime.guidance.large import estimators, memory, norms
from interactive3d.runtime.guidance.large.compiling import Compiling
from interactive3d.runtime.guidance.large.families import Family, TextEmbedding, family_of, stacked
from interactive3d.runtime.guidance.large.graphs import Graphs
from interactive3d.runtime.guidance.large.loading import DEFAULT_MODEL, load_pipeline
from interactive3d.runtime.guidance.large.paths import Level, drawn_shares, path_of
from interactive3d.runtime.guidance.large.pictures import protocol_scale, pulled_back, seen
from interactive3d.runtime.guidance.large.problems import LargeModelProblem, OutOfMemory
from interactive3d.runtime.guidance.large.prompts import guided, perp_neg_guided
from interactive3d.runtime.guidance.large.shap_e import DEFAULT_SHAPE_MODEL, IMAGE_SHAPE_MODEL, shape_points
from interactive3d.runtime.guidance.large.texts import Condition, Texts
from interactive3d.runtime.guidance.protocol import Score, ScoreRequest, SeedPoints, StepAgain
from interactive3d.runtime.scene.render import carried
from interactive3d.runtime.settings import LargeSettings, Settings, SettingValue

DEFAULTS = Settings()
SPLATS_SIDE = 256  # paper 5.1: render size while training
LEAST_SPLATS_SIDE = 16  # of the setting guidance.size
PATCH = 2
"""Latents come in patches of 2 x 2 in the transformers, and have even sides in the U-Nets."""


@dataclass(frozen=True)
class Draw:
    """Everything random of one score, drawn before anything can run out of memory."""

    level: Level
    shares: Float[Tensor, "b"]
    noise: Float[Tensor, "b c h w"]


class NotFinite(ArithmeticError):
    """A score with infinities in it, or with what is no number."""


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
        reload: Callable[[str], Any] | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.model = model or str(getattr(pipeline.config, "_name_or_path", ""))
        self.shape_model = shape_model
        self.folder = folder
        self.tell = tell
        self.seed_steps = settings.large.seed_steps
        self._free_memory, self._reload = free_memory, reload
        self._told: set[str] = set()
        self._sound: set[torch.dtype | None] = set()
        """The VAE's formats in which a score has been finite; until then it is read at once."""
        self._branches = 4 if settings.large.perp_neg else 2
        self.compiling = Compiling(self.device, tell)
        self.graphs = Graphs(self.device, tell)
        self._adopt(pipeline, settings.large, settings.camera.batch)

    def _adopt(self, pipeline: Any, options: LargeSettings, batch: int) -> None:
        """Everything that follows from the pipeline and from the settings that it is used with."""
        self.graphs.forget()
        self._sound.clear()
        self.pipeline = pipeline
        self.options = options
        self.family: Family = family_of(pipeline)
        self.texts = Texts(pipeline, self.family, self.device, self._tell_once)
        self.vae = getattr(pipeline, "vae", None)
        self.in_pixels = self.vae is None
        self.factor = 1 if self.in_pixels else 2 ** (len(pipeline.vae.config.block_out_channels) - 1)
        self.side = self._fitting_side(options.size or self.family.own_side())
        self.path = path_of(pipeline.scheduler, (self.side // self.factor // PATCH) ** 2)
        self.denoiser = getattr(pipeline, self.family.denoiser)
        self.needs = memory.measure_needs(
            pipeline, self.family.texts, self.family.denoiser, self.side, self.side // self.factor
        )
        branches = 1 if self.family.distilled else self._branches
        free = self._free_memory(self.device)
        if free is not None and self.device.type != "cpu":
            # What lies there already will lie there again.
            free += memory.held_on(pipeline, self.device)
        choice = memory.choose(options.memory, self.needs, free, self.device, batch, branches)
        self.rung = choice.rung
        self.tell(f"{self.model}: {self.family.name}, {self.path.prediction}, {self.side} pixels, {self.dtype_name}")
        self.tell(choice.text)
        self._settle(options.memory == "auto")

    def _follow(self, options: LargeSettings, batch: int) -> None:
        """What was turned on the way: the pictures' size and the rung at once, the number format by loading the model again."""
        before = self.options
        self.options = options
        if (options.precision, options.size, options.memory) == (before.precision, before.size, before.memory):
            return
        self.compiling.undo()
        self.graphs.forget()
        self._release()
        pipeline = self.pipeline
        if options.precision != before.precision:
            if self._reload is None:
                raise LargeModelProblem(
                    "large.precision: this model was not loaded by name, so it cannot be loaded again"
                )
            # Both would not fit.
            self.pipeline.remove_all_hooks()
            norms.use_torch(self.pipeline)
            self.pipeline = self.denoiser = self.vae = pipeline = None
            self.family = self.texts = None  # type: ignore[assignment]
            self._release()
            pipeline = self._reload(options.precision)
        self._adopt(pipeline, options, batch)

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

        def read(precision: str) -> Any:
            return load_pipeline(asked, folder, place, precision)[0]

        return cls(
            read(settings.large.precision),
            place,
            settings=settings,
            model=asked,
            shape_model=models[1] if len(models) > 1 else None,
            folder=folder,
            tell=tell,
            reload=read,
        )

    # -- what it is -----------------------------------------------------------------------------------------------------
    @property
    def dtype_name(self) -> str:
        """float32, float16 or bfloat16."""
        return str(next(self.denoiser.parameters()).dtype).removeprefix("torch.")

    @property
    def preferred(self) -> tuple[tuple[str, SettingValue], ...]:
        """Settings whose defaults suit this model better than the embedded prior's; a script's own values come on top."""
        scale = self.family.scale
        side = max(LEAST_SPLATS_SIDE, min(SPLATS_SIDE, self.side))
        return (("guidance.scale", scale), ("repair.scale", scale), ("guidance.size", side))

    def describe(self) -> dict[str, str]:
        """Model, family, number format, rung, what is compiled and what is recorded, for the run's record."""
        return {
            "name": self.name,
            "model": self.model,
            "family": self.family.name,
            "prediction": self.path.prediction,
            "precision": self.dtype_name,
            "memory": self.rung,
            "compiled": self.compiling.described(),
            "graphs": self.graphs.described(),
        }

    def unknown_words(self, prompt: str) -> list[tuple[str, list[str]]]:
        """Nothing: these models read any word."""
        return []

    def _fitting_side(self, wanted: int) -> int:
        grain = self.factor * (1 if self.in_pixels else PATCH)
        return max(grain, wanted // grain * grain)

    # -- memory ---------------------------------------------------------------------------------------------------------
    def smaller_side(self) -> int | None:
        """Half the side of the pictures that the model sees, where it can see such; a value for large.size."""
        smaller = self._fitting_side(self.side // 2)
        return smaller if smaller < self.side else None

    def _settle(self, automatic: bool) -> None:
        """Puts the models where the rung wants them; steps down while that runs out of memory."""
        while True:
            try:
                memory.climb_to(self.pipeline, self.rung, self.device, self.family.texts, self.side // self.factor)
                self.texts.taking_turns = self.rung == "lean"
                return
            except (RuntimeError, MemoryError) as error:
                if not memory.ran_out(error):
                    raise
            self._step_down(automatic)

    def _step_down(self, automatic: bool) -> None:
        """To the next rung, once the error is gone that held what was under way."""
        self.rung = self._lower(automatic)
        self.compiling.undo()
        self.graphs.forget()
        self._release()

    def _release(self) -> None:
        if self.device.type == "cuda":
            gc.collect()  # modules that compute in a way of ours hold themselves
            torch.cuda.empty_cache()

    def _lower(self, automatic: bool) -> str:
        """The next rung, said aloud.

        Raises:
            OutOfMemory: there is none, or the user chose this one.
        """
        lower = memory.below(self.rung, self.device) if automatic else None
        if lower is None:
            free = memory.free_memory(self.device)
            told = "" if free is None else f", {free / memory.GIGABYTE:.1f} GB free"
            why = "even on the last rung of the memory ladder" if automatic else f"with large.memory {self.rung}"
            todo = "a smaller camera.batch or large.size" + ("" if automatic else ", or large.memory auto")
            raise OutOfMemory(
                f"out of memory on {self.device} {why}{told}; give it {todo} by --set, or use a smaller model"
            )
        self.tell(f"out of memory on {self.device} with {self.rung}; going on with {lower}: {memory.MEANING[lower]}")
        return lower

    def _tell_once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self.tell(text)

    # -- texts ----------------------------------------------------------------------------------------------------------
    def encode(self, prompt: str, negative: str = "") -> Condition:
        """The condition; its embeddings are made when a view first needs them, and kept."""
        return Condition(prompt, negative)

    # -- the denoiser ---------------------------------------------------------------------------------------------------
    def _predict(self, noisy: Tensor, level: Level, texts: list[TextEmbedding], scale: float) -> list[Tensor]:
        """The denoiser's outputs for each of several batches of texts: at once, or one after the other where memory is short."""
        dtype = next(self.denoiser.parameters()).dtype
        timestep = level.timestep.to(self.device)
        if self.rung == "full" and len(texts) > 1:
            many = len(texts)
            wide = noisy.to(dtype).repeat(many, 1, 1, 1)
            output = self._denoised(wide, timestep.repeat(many), stacked(texts), scale)
            return list(output.float().chunk(many))
        return [self._denoised(noisy.to(dtype), timestep, text, scale).float() for text in texts]

    def _denoised(self, noisy: Tensor, timestep: Tensor, text: TextEmbedding, scale: float) -> Tensor:
        """The family's own output, by a recorded graph where there is one."""
        if text.pooled is not None:
            return self.family.predict(noisy, timestep, text, scale)

        def work(noisy: Tensor, timestep: Tensor, words: Tensor) -> Tensor:
            return self.family.predict(noisy, timestep, TextEmbedding(words, None), scale)

        return self.graphs.predict(work, noisy, timestep, text.words)

    def guided_output(self, noisy: Tensor, level: Level, request: ScoreRequest) -> Tensor:
        """The denoiser's output under guidance: uncond + s (text - uncond), or Perp-Neg's form of it."""
        told, scale = self.texts.positive(request), request.guidance_scale
        if self.family.distilled:
            return self._predict(noisy, level, [told], scale)[0]
        untold = self.texts.untold(request, request.condition.negative)
        if not (request.large.perp_neg and request.large.views):
            with_text, without = self._predict(noisy, level, [told, untold], scale)
            return guided(with_text, without, scale)
        against = self.texts.against(request)
        outputs = self._predict(noisy, level, [told, untold, *(text for text, _ in against)], scale)
        return perp_neg_guided(outputs[0], outputs[1], outputs[2:], [weight for _, weight in against], scale)

    def plain_output(self, noisy: Tensor, level: Level, request: ScoreRequest) -> Tensor:
        """The denoiser's output without a text."""
        return self._predict(noisy, level, [self.texts.untold(request, "")], 1.0)[0]

    # -- scores ---------------------------------------------------------------------------------------------------------
    def score(self, request: ScoreRequest) -> Score:
        """The gradient of score distillation or of interval score matching for these pictures.

        Raises:
            ValueError: pictures that are not square.
            OutOfMemory: at the foot of the ladder.
            LargeModelProblem: the number format does not hold the model's numbers.
        """
        images = request.images
        if images.shape[1] != images.shape[2]:
            raise ValueError(
                f"images: expected square pictures, got {tuple(images.shape[1:3])}; render with equal width and height"
            )
        self._follow(request.large, len(images))
        self.texts.check(request.condition, request.large)
        # Once, whatever has to be tried again.
        draw = functools.cache(lambda: self._draw(request))
        automatic = request.large.memory == "auto"
        while True:
            recorded = self.graphs.wanted(request.large.graphs, self.rung, self.family)
            self.compiling.prepare(
                self.pipeline, self.family, request.large.compile, self.rung, request.steps, recorded
            )
            models = (self.compiling.changes, self._vae_dtype())
            self.graphs.prepare(request.large.graphs, self.rung, self.family, models)
            narrow = uncompiled = False
            try:
                with self.compiling.watched((len(images), request.large.perp_neg, request.large.estimator)):
                    return self._score(request, draw)
            except NotFinite:
                narrow = True
            except Exception as error:
                uncompiled = self.compiling.gives_up(error)
                if not uncompiled and not memory.ran_out(error):
                    raise
            if uncompiled:
                self._release()
                continue
            if not narrow and self.graphs.any:
                # They hold what a score needs for good; without them the same rung may do.
                self.graphs.give_up("memory ran out")
                self._release()
                continue
            if narrow:
                self._widen_vae(images)
            else:
                self._step_down(automatic)
            self._settle(automatic)

    def _widen_vae(self, images: Tensor) -> None:
        """A VAE that overflowed in float16 goes on in float32, for the same step.

        Raises:
            LargeModelProblem: that is not the reason.
        """
        if not bool(images.isfinite().all()):
            raise LargeModelProblem(
                "the blobs' pictures are not finite, so no model can score them; take lower rates (lr.…)"
            )
        vae = self.vae
        if vae is None or next(vae.parameters()).dtype != torch.float16:
            raise LargeModelProblem(
                f"{self.model} gives what is no number in {self.dtype_name}; set large.precision to bfloat16 or float32"
            )
        self.pipeline.remove_all_hooks()
        self.compiling.undo()
        self.graphs.forget()
        vae.to(torch.float32)
        self.tell(f"{self.model}: the VAE overflowed in float16; going on with the VAE in float32")

    def _draw(self, request: ScoreRequest) -> Draw:
        batch = len(request.images)
        shares = drawn_shares(request.noise, batch, request.generator)
        channels = 3 if self.in_pixels else int(self.pipeline.vae.config.latent_channels)
        side = self.side // self.factor
        noise = torch.randn(batch, channels, side, side, generator=request.generator)
        return Draw(self.path.level(shares), shares, noise)

    def _vae_dtype(self) -> torch.dtype | None:
        return None if self.vae is None else next(self.vae.parameters()).dtype

    def _score(self, request: ScoreRequest, draw: Callable[[], Draw]) -> Score:
        given = request.images.detach().to(self.device, torch.float32).permute(0, 3, 1, 2).contiguous()
        # One pass where memory allows; else the encoder runs again, picture by picture, for its gradient.
        at_once = self.rung == "full" or self.in_pixels
        if at_once:
            space, back = self.graphs.encode(lambda pictures: seen(pictures, self.side, self.vae), given)
        else:
            with torch.no_grad():
                space = torch.cat([seen(picture[None], self.side, self.vae) for picture in given])
        with torch.no_grad():
            # Drawn here: the device has the encoder to work on meanwhile.
            drawn = draw()
            there = Draw(drawn.level.to(self.device), drawn.shares, carried(drawn.noise, self.device))
            residual = self._residual(space.detach(), there, request)
        factor = protocol_scale(residual, self.in_pixels)
        loss, residual = residual.square().sum(), residual * factor
        if at_once:
            gradient = pulled_back(back, residual)
        else:
            gradient = torch.cat([self._back(p[None], r[None]) for p, r in zip(given, residual, strict=True)])
        # Read last: a number on the host waits for the device, which meanwhile has more to work on.
        numbers = torch.stack((loss, gradient.isfinite().all().to(loss)))
        found = gradient.permute(0, 2, 3, 1).to(request.images)
        if request.later and self.device.type == "cuda" and self._vae_dtype() in self._sound:
            return Score(gradient=found, clean=None, loss=nan, read=lambda: self._read(numbers, factor, request))
        square, finite = numbers.tolist()
        if not finite:
            raise NotFinite
        self._sound.add(self._vae_dtype())
        return Score(gradient=found, clean=None, loss=0.5 * factor * square)

    def _read(self, numbers: Tensor, factor: float, request: ScoreRequest) -> float:
        """The loss of a score, from its sum of squares and whether it is finite.

        Raises:
            StepAgain: it was not, and the VAE goes on in a wider format.
            LargeModelProblem: the number format does not hold the model's numbers.
        """
        square, finite = numbers.tolist()
        if finite:
            return 0.5 * factor * square
        self._widen_vae(request.images)
        self._settle(request.large.memory == "auto")
        raise StepAgain

    def _back(self, picture: Tensor, residual: Tensor) -> Tensor:
        picture = picture.detach().requires_grad_(True)
        with torch.enable_grad():
            space = seen(picture, self.side, self.vae)
        return pulled_back(lambda grad: torch.autograd.grad(space, picture, grad)[0], residual)

    def _residual(self, space: Tensor, draw: Draw, request: ScoreRequest) -> Tensor:
        estimator = estimators.interval if request.large.estimator == "interval" else estimators.distillation
        return estimator(self, space, draw.level, draw.shares, draw.noise, request)

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
