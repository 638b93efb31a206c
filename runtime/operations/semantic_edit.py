"""Semantic editing (paper 3.1.4) with interactive score distillation (3.1.5): the part takes gradients, the camera comes close, the
prompt and the noise range are the event's own. Every other blob keeps every bit."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from interactive3d.dsl.operations import Edit
from interactive3d.runtime.operations.base import Environment, Focus, GuidanceWish, Term
from interactive3d.runtime.operations.common import refusal, selected, term_steps
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.scene.growth import densify, prune
from interactive3d.runtime.scene.selection import visible_ball


@dataclass(frozen=True, kw_only=True)
class EditTerm(Term):
    """Pinned column: ``member``, the part's blobs and all that are born of them."""

    @property
    def edit(self) -> Edit:
        assert isinstance(self.operation, Edit)
        return self.operation

    def before_step(self, model: GaussianModel, environment: Environment) -> tuple[Term, GaussianModel]:
        """Growth of the part on the run's own rhythm, counted from the edit's first step: a new prompt may need more blobs."""
        settings, age = environment.settings.densify, environment.step - self.start
        if age > 0 and age % settings.every == 0:
            generator = environment.generator(f"edit {self.key} densify")
            model = densify(model, settings, generator, self.trainable(model, environment))[0]
        if age > 0 and age % settings.prune_every == 0:
            model = prune(model, settings, self.trainable(model, environment))[0]
        return self, model

    def trainable(self, model: GaussianModel, environment: Environment) -> Bool[Tensor, "n"]:
        return model.columns[self.column("member")]

    def focus(self, model: GaussianModel, environment: Environment) -> Focus | None:
        rows = self.trainable(model, environment)
        if not bool(rows.any()):
            return None
        settings = environment.settings.edit
        center, radius = visible_ball(model, rows)
        zoom = settings.zoom if self.edit.zoom is None else self.edit.zoom
        return Focus(center=center, radius=radius * zoom, whole_share=settings.whole_share)

    def wish(self, model: GaussianModel, environment: Environment) -> GuidanceWish:
        settings = environment.settings.edit
        noise = self.edit.noise or (min(settings.noise_min, settings.noise_max), settings.noise_max)
        return GuidanceWish(prompt=self.edit.prompt, noise=noise, scale=self.edit.scale, opaque="acts")

    def finish(self, model: GaussianModel, environment: Environment) -> GaussianModel:
        model = prune(model, environment.settings.densify, self.trainable(model, environment))[0]
        return super().finish(model, environment)


def start_edit(operation: Edit, key: str, model: GaussianModel, environment: Environment) -> tuple[Term, GaussianModel]:
    """Pin the part. Frozen blobs of it stay as they are.

    Raises:
        OperationRefused: the part holds no blob, or all of them are frozen.
    """
    rows = selected(operation.part, operation, model, environment) & ~model.columns["frozen"]
    if not bool(rows.any()):
        raise refusal(operation, environment, "every blob of the part is frozen; `thaw` it first")
    term = EditTerm(
        key=key,
        operation=operation,
        start=environment.step,
        steps=term_steps(operation, environment),
        tensors={},
        state={},
    )
    fresh = {
        term.column("member"): rows,
        # What was measured of the old prompt's pictures says nothing of where this one needs more blobs.
        "grown_gradient": torch.where(rows, 0.0, model.columns["grown_gradient"]),
        "grown_count": torch.where(rows, 0.0, model.columns["grown_count"]),
    }
    return term, model.with_columns(fresh)
