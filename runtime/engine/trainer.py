"""One optimizer step: cameras, render, score, losses of the active terms, AdamW, growth."""

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from interactive3d.runtime.engine import stage2
from interactive3d.runtime.engine.opaque import half_transparent, left_out_share, opaque_share, without_thinning
from interactive3d.runtime.engine.optimizer import adamw_step, learning_rates
from interactive3d.runtime.engine.state import Metrics, RunState
from interactive3d.runtime.engine.views import draw_backgrounds, draw_cameras
from interactive3d.runtime.guidance.protocol import REFERENCE_SIDE, Guidance, Score, ScoreRequest, StepAgain
from interactive3d.runtime.operations.base import Environment, GuidanceWish, Term, seeded_generator
from interactive3d.runtime.scene.camera import Camera
from interactive3d.runtime.scene.gaussians import PARAMETERS, GaussianModel
from interactive3d.runtime.scene.growth import densify, prune
from interactive3d.runtime.scene.render import render_parameters
from interactive3d.runtime.scene.voxels import voxelise

FREE = "trainer.free"
SHAPE_VOLUME_EVERY = 25
"""Steps between two looks at the object as it stands, where guidance.shape is `object`."""


@dataclass(frozen=True, kw_only=True)
class StepNotes:
    """What a step was made of, for whoever wants to know: losses by what they come from, seconds by what was done, its cameras."""

    losses: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    cameras: list[Camera] = field(default_factory=list)
    _since: list[float] = field(default_factory=lambda: [time.perf_counter()])

    def done(self, what: str) -> None:
        """The time since the last call went into this."""
        now = time.perf_counter()
        self.seconds[what] = self.seconds.get(what, 0.0) + now - self._since[0]
        self._since[0] = now


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """What stays the same during a run. ``step`` makes the next state from a state and changes neither itself nor it."""

    guidance: Guidance
    prompt: str
    negative: str
    seed: int
    steps: int
    folder: Path
    load_blobs: Any
    listen: Callable[[StepNotes], None] | None = None
    _asked: list[Any] = field(default_factory=list, repr=False, compare=False)
    """The columns that `_free_of` was last asked about, and its answer."""

    def environment(self, state: RunState) -> Environment:
        """What operations may know at this step."""
        return Environment(
            step=state.step,
            seed=self.seed,
            settings=state.settings,
            folder=self.folder,
            load_blobs=self.load_blobs,
            prompt=self.prompt,
        )

    def step(self, state: RunState) -> RunState:
        """The state after one optimizer step (paper 3.1.3 and 3.1.5); the step count grows by one."""
        while True:
            notes = StepNotes()
            try:
                state = self._step(dataclasses.replace(state, cameras=()), notes)
                break
            except StepAgain:
                continue
        if notes.cameras:
            state = dataclasses.replace(state, cameras=tuple(notes.cameras))
        if self.listen is not None:
            self.listen(notes)
        return state

    def _step(self, state: RunState, notes: StepNotes) -> RunState:
        if state.field is not None:
            state, loss = stage2.step(self, state, notes.cameras)
            notes.losses["field"] = loss
            notes.done("field")
            active = tuple(t.operation.keyword for t in state.terms)
            metrics = Metrics(loss=loss, blobs=len(state.model), active=active)
            return dataclasses.replace(state, step=state.step + 1, metrics=metrics)
        environment = self.environment(state)
        model, terms = state.model, []
        for term in state.terms:
            moved, model = term.before_step(model, environment)
            terms.append(moved)
        state = dataclasses.replace(state, model=model, terms=tuple(terms))
        if len(model) == 0:
            return dataclasses.replace(state, step=state.step + 1, metrics=Metrics(blobs=0))

        mask = self._trainable(state, environment)
        lead = terms[state.step % len(terms)] if terms else None
        wish = lead.wish(model, environment) if lead else GuidanceWish()
        state = self._with_shape_volume(state, wish)
        notes.done("terms")
        if lead is None:
            # Between interactions, blobs that are free would grow over what is kept still and soft.
            wish = dataclasses.replace(wish, opaque="acts" if mask is None else "rests")
        opaque = 0.0 if wish.opaque == "rests" else opaque_share(state.step, self.steps)
        gradients, loss, growth, score = self._gradients(state, lead, wish, environment, notes, opaque)

        settings = state.settings
        updated = adamw_step(
            model.with_columns(growth),
            gradients,
            learning_rates(settings.lr, state.step, self.steps),
            settings.lr.weight_decay,
            mask,
        )
        if score is not None and score.read is not None:
            # Only now: a card works on the score while the processor hands it the gradient and the update.
            notes.losses["guidance"] = score.read()
            loss += notes.losses["guidance"]
        motion = float((updated.mean - model.mean).norm(dim=-1).mean())
        if not terms:
            updated = self._grow(updated, mask, environment)
        notes.done("update")
        metrics = Metrics(
            loss=loss, blobs=len(updated), motion=motion, active=tuple(t.operation.keyword for t in terms)
        )
        return dataclasses.replace(state, step=state.step + 1, model=updated, metrics=metrics)

    def _trainable(self, state: RunState, environment: Environment) -> Bool[Tensor, "n"] | None:
        """The union of what the terms allow, without frozen rows; None means every row.

        Between interactions the run's own prompt does not touch what a person has changed: a prior of dragons would turn an added
        knight into a piece of dragon, and wings that a sentence made red back to green.
        """
        masks = [m for t in state.terms if (m := t.trainable(state.model, environment)) is not None]
        frozen = state.model.columns["frozen"]
        if not masks:
            keep = state.settings.guidance.settled == "keep"
            return self._free_of(frozen, state.model.columns["settled"] if keep else None)
        union = masks[0]
        for mask in masks[1:]:
            union = union | mask
        return union & ~frozen

    def _free_of(self, frozen: Bool[Tensor, "n"], settled: Bool[Tensor, "n"] | None) -> Bool[Tensor, "n"] | None:
        """The rows that are in neither; None where that is every row. The same columns are asked once: an answer waits for the device."""
        if self._asked and self._asked[0] is frozen and self._asked[1] is settled:
            return self._asked[2]
        fixed = frozen if settled is None else frozen | settled
        self._asked[:] = [frozen, settled, ~fixed if bool(fixed.any()) else None]
        return self._asked[2]

    def _with_shape_volume(self, state: RunState, wish: GuidanceWish) -> RunState:
        if (wish.shape or state.settings.guidance.shape) != "object" or wish.object_volume is not None:
            return state
        if state.shape_volume is not None and state.step - state.shape_volume_step < SHAPE_VOLUME_EVERY:
            return state
        return dataclasses.replace(state, shape_volume=voxelise(state.model), shape_volume_step=state.step)

    def _gradients(
        self,
        state: RunState,
        lead: Term | None,
        wish: GuidanceWish,
        environment: Environment,
        notes: StepNotes,
        opaque: float,
    ) -> tuple[dict[str, Tensor], float, dict[str, Tensor], Score | None]:
        """Gradients of the raw columns, the loss as far as it has been read, the growth statistics after this step, and the score.

        ``opaque``: share of guidance.opaque.
        """
        model, settings = state.model, state.settings
        leaves = {name: value.detach().requires_grad_(True) for name, value in model.parameters().items()}
        total: Tensor | None = None
        loss = 0.0
        growth: dict[str, Tensor] = {}
        probe = score = None
        if wish.enabled and settings.guidance.weight > 0:
            generator = seeded_generator(self.seed, state.step, "cameras")
            cameras = draw_cameras(settings.camera, lead.focus(model, environment) if lead else None, generator)
            notes.cameras.extend(cameras)
            side = settings.guidance.size
            background = draw_backgrounds(settings.camera.background, len(cameras), side, generator, model.device)
            probe = torch.zeros(len(cameras), len(model), 2, device=model.device, requires_grad=True)
            raster = render_parameters(leaves, cameras, side, side, background, probe)
            notes.done("render")
            score = self.guidance.score(
                ScoreRequest(
                    images=raster.color.detach(),
                    cameras=cameras,
                    condition=self.guidance.encode(
                        wish.prompt if wish.prompt is not None else self.prompt, self.negative
                    ),
                    noise=wish.noise or (settings.guidance.noise_min, settings.guidance.noise_max),
                    guidance_scale=settings.guidance.scale if wish.scale is None else wish.scale,
                    generator=seeded_generator(self.seed, state.step, "noise"),
                    background=background,
                    shape=wish.shape or settings.guidance.shape,
                    object_volume=wish.object_volume if wish.object_volume is not None else state.shape_volume,
                    large=settings.large,
                    steps=self.steps,
                    later=True,
                )
            )
            gradient, pull, acts = score.gradient, settings.guidance.opaque * opaque, wish.opaque == "acts"
            if pull > 0 and acts:
                share = left_out_share(settings.guidance.opaque, opaque, edited=lead is not None)
                gradient = without_thinning(score, raster.color.detach(), raster.alpha.detach(), background, share)
            total = settings.guidance.weight * (raster.color * gradient).sum()
            if score.read is None:
                loss = score.loss
                notes.losses["guidance"] = loss
            if pull > 0:
                total = total + pull * half_transparent(raster.color, raster.alpha, score.clean, background, up=acts)
            notes.done("guidance")
        for term in state.terms:
            extra = term.loss(leaves, model, environment)
            if extra is not None:
                total = extra if total is None else total + extra
                part = float(extra.detach())
                loss += part
                name = term.operation.keyword
                notes.losses[name] = notes.losses.get(name, 0.0) + part
        if total is None:
            return {name: torch.zeros_like(value) for name, value in model.parameters().items()}, loss, growth, score
        wanted = [*leaves.values(), *([probe] if probe is not None else [])]
        found = torch.autograd.grad(total, wanted, allow_unused=True)
        notes.done("gradient")
        gradients = {
            n: torch.zeros_like(leaves[n]) if g is None else g for n, g in zip(PARAMETERS, found, strict=False)
        }
        if probe is not None and found[-1] is not None:
            growth = _growth_statistics(model, found[-1], settings.guidance.size)
        return gradients, loss, growth, score

    def _grow(self, model: GaussianModel, mask: Bool[Tensor, "n"] | None, environment: Environment) -> GaussianModel:
        """Scheduled densification and pruning of the rows that may change; never while a term lasts, for terms do their own."""
        settings, after = environment.settings.densify, environment.step + 1
        if settings.start <= after and after % settings.prune_every == 0:
            model = model if mask is None else model.with_columns({FREE: mask})
            model = prune(model, settings, mask)[0]
            mask = None if mask is None else model.columns[FREE]
            model = model.without_columns(FREE)
        if settings.start <= after < settings.stop and after % settings.every == 0:
            model = densify(model, settings, environment.generator("densify"), mask)[0]
        return model


def _growth_statistics(model: GaussianModel, probe_gradient: Tensor, side: int) -> dict[str, Tensor]:
    """Accumulated norms of the screen-space gradient in units of the picture's half side, and in how many pictures it was seen.

    The score sums over a batch mean, so the norm is multiplied back to that of one picture.
    """
    batch = probe_gradient.shape[0]
    norm = probe_gradient.norm(dim=-1) * (batch * side / 2) / REFERENCE_SIDE**2
    return {
        "grown_gradient": model.columns["grown_gradient"] + norm.sum(0),
        "grown_count": model.columns["grown_count"] + (norm > 0).sum(0),
    }
