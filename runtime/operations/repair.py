"""Repair: the phase after an interaction that closes gaps and cleans noise without undoing what the user did.

Only the part (or, where asked, the whole object) takes gradients, at low noise levels; the prior is shown the object as it stands, and
an anchor pulls positions, sizes, colours and opacities to where the user left them, newborn blobs to where they were born.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interactive3d.dsl.operations import (
    AddFile,
    AddShape,
    AtStep,
    Drag,
    Duplicate,
    Keep,
    Mirror,
    Move,
    Operation,
    Remove,
    Repair,
    Rotate,
    Stretch,
)
from interactive3d.runtime.operations.base import Environment, Focus, GuidanceWish, Term
from interactive3d.runtime.operations.common import refusal, selected_or_all, squared_pull, term_steps
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.scene.growth import densify, prune
from interactive3d.runtime.scene.selection import visible_ball
from interactive3d.runtime.scene.voxels import voxelise

REPAIRED = (AddFile, AddShape, Remove, Keep, Duplicate, Mirror, Move, Rotate, Stretch, Drag)
"""Interactions that a repair follows by default: those that put, take or move matter. Not `edit`, which is optimized under its own
prompt while it lasts, and which a repair under the run's prompt would undo; nor `paint`, `freeze`, `thaw`, `densify`, `prune`, which tear
nothing."""

WHOLE_SHARE = 0.5
"""Share of whole-object pictures while a part is repaired: what joins it to the rest is seen in those."""

GROW_AFTER = 0.34
"""Densify once, after this share of the repair: by then the screen gradients show where the gaps are, and time is left to fill them."""

GROW_GRADIENT = 0.1
"""Share of `densify.gradient` that a repair grows at: what it mends are a few pixels, and its pictures are few."""

NEWBORN_FIRMNESS = 0.1
"""How firmly a child is anchored to where it was born, against its elders: it is there to fill a gap, not to keep a place."""

ANCHORED = ("mean", "log_scale", "color", "logit_opacity")
"""Opacities loosely, as sizes: what a repair cleans away fades, but outlines do not thin out. While they were free, 200 steps took 8 to 13 %
of the covered area of three edited objects."""


@dataclass(frozen=True, kw_only=True)
class RepairTerm(Term):
    """Pinned columns: ``member``, ``anchor.X`` for the anchored parameters, and ``firm``, how firmly. Tensor ``volume``: the object when
    the repair began. State: ``part`` tells whether a part only is repaired.
    """

    @property
    def repair(self) -> Repair:
        assert isinstance(self.operation, Repair)
        return self.operation

    def before_step(self, model: GaussianModel, environment: Environment) -> tuple[Term, GaussianModel]:
        """Growth where the repair's own pictures found gaps; children are anchored to where they are born."""
        if environment.step - self.start != max(1, round(GROW_AFTER * self.steps)):
            return self, model
        count, settings = len(model), environment.settings.densify
        grown, _ = densify(
            model,
            settings,
            environment.generator(f"repair {self.key} densify"),
            self.trainable(model, environment),
            threshold=GROW_GRADIENT * settings.gradient,
        )
        if len(grown) == count:
            return self, grown
        # Parents and children of splits have new places and sizes by growth, not by drifting.
        grew = torch.ones(len(grown), dtype=torch.bool, device=grown.device)
        grew[:count] = (grown.mean[:count] != model.mean).any(-1)
        columns = {}
        for name in ("mean", "log_scale", "logit_opacity"):
            pinned = grown.columns[self.column(f"anchor.{name}")]
            columns[self.column(f"anchor.{name}")] = torch.where(
                grew if pinned.dim() == 1 else grew[:, None], grown.columns[name], pinned
            )
        firm = grown.columns[self.column("firm")].clone()
        firm[count:] = NEWBORN_FIRMNESS
        return self, grown.with_columns(columns | {self.column("firm"): firm})

    def loss(
        self, parameters: Mapping[str, Float[Tensor, "n ..."]], model: GaussianModel, environment: Environment
    ) -> Tensor | None:
        """The anchor: weight times the squared distances to where the user left position and, more loosely, size, opacity and colour."""
        weight = self._weight(environment)
        rows = self.trainable(model, environment).nonzero().squeeze(1)
        if weight <= 0.0 or rows.numel() == 0:
            return None
        anchors = {name: self.column(f"anchor.{name}") for name in ANCHORED}
        return weight * squared_pull(parameters, model, anchors, rows, model.columns[self.column("firm")][rows])

    def trainable(self, model: GaussianModel, environment: Environment) -> Bool[Tensor, "n"]:
        return model.columns[self.column("member")]

    def focus(self, model: GaussianModel, environment: Environment) -> Focus | None:
        rows = self.trainable(model, environment)
        if not self.state["part"] or not bool(rows.any()):
            return None
        center, radius = visible_ball(model, rows)
        return Focus(center=center, radius=radius * environment.settings.edit.zoom, whole_share=WHOLE_SHARE)

    def wish(self, model: GaussianModel, environment: Environment) -> GuidanceWish:
        settings = environment.settings.repair
        noise = self.repair.noise or (min(settings.noise_min, settings.noise_max), settings.noise_max)
        return GuidanceWish(
            noise=noise,
            scale=settings.scale,
            shape="object",
            object_volume=self.tensors["volume"],
            # Solid edges would grow soft rims. Pulled up as well, what was cut off would come back as a solid; without an anchor, the
            # prior, to whom edges are soft, and the pull would wear the object away together.
            opaque="down" if self._weight(environment) > 0 else "rests",
        )

    def _weight(self, environment: Environment) -> float:
        given = self.repair.anchor
        return environment.settings.repair.anchor if given is None else given

    def finish(self, model: GaussianModel, environment: Environment) -> GaussianModel:
        model = prune(model, environment.settings.densify, self.trainable(model, environment))[0]
        return super().finish(model, environment)


def start_repair(
    operation: Repair,
    key: str,
    model: GaussianModel,
    environment: Environment,
    touched: Bool[Tensor, "n"] | None = None,
) -> tuple[Term, GaussianModel]:
    """Pin the part and its anchor, and look at the object as it stands.

    ``touched`` are the rows that an interaction has just changed; a part named by the operation goes before them, and
    `repair.scope object` beyond them.

    Raises:
        OperationRefused: the part holds no blob, or all of them are frozen.
    """
    rows = selected_or_all(operation.part, operation, model, environment)
    partial = operation.part is not None
    if touched is not None and not partial and environment.settings.repair.scope == "part":
        rows, partial = touched, True
    rows = rows & ~model.columns["frozen"]
    if not bool(rows.any()):
        raise refusal(operation, environment, "every blob there is frozen, or there is none; nothing to repair")
    term = RepairTerm(
        key=key,
        operation=operation,
        start=environment.step,
        steps=term_steps(operation, environment),
        tensors={"volume": voxelise(model).to(model.device)},
        state={"part": partial},
    )
    pins = {term.column(f"anchor.{name}"): model.columns[name] for name in ANCHORED}
    pins |= {term.column("member"): rows, term.column("firm"): torch.ones(len(model), device=model.device)}
    fresh = {
        "grown_gradient": torch.where(rows, 0.0, model.columns["grown_gradient"]),
        "grown_count": torch.where(rows, 0.0, model.columns["grown_count"]),
    }
    return term, model.with_columns(pins | fresh)


def repair_after(
    operation: Operation, touched: Bool[Tensor, "n"] | None, model: GaussianModel, environment: Environment
) -> Repair | None:
    """The repair that follows an interaction by default, or None where there is nothing to repair. Its numbers are the settings'."""
    if not isinstance(operation, REPAIRED) or not environment.settings.repair.enabled or len(model) == 0:
        return None
    rows = ~model.columns["frozen"] if touched is None else touched & ~model.columns["frozen"]
    if not bool(rows.any()):
        return None
    return Repair(when=AtStep(step=environment.step))
