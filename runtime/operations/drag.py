"""Dragging (paper 3.1.3): equation 3 selects, 4 moves before every optimizer step, 5 pulls, 6 keeps rigid; growth and pruning follow.

Rigid: the first selection stays, and after every step it is fitted back to its first shape (shape matching), for an optimizer that
gives every blob a step of the same length whatever its gradient would leave distances wrong by several times what equation 6 forgives.
Deformable: the selection is made anew around the moving source; the part's core moves all the way, its rim trails behind as plasticine.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interactive3d.dsl.operations import Drag, DragForm, DragMode, IntersectionPart, ShapePart, Sphere
from interactive3d.runtime.operations.base import Environment, Focus, GuidanceWish, Term
from interactive3d.runtime.operations.common import refusal, selected, squared_pull, term_steps
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.scene.growth import densify, prune
from interactive3d.runtime.scene.motion import plasticine_step, rigid_fit, split_coarse, split_long
from interactive3d.runtime.scene.parts import PartError, select
from interactive3d.runtime.scene.selection import visible_ball
from interactive3d.runtime.scene.transforms import matrix_to_quaternion, quaternion_to_matrix, transform_rows

STRETCH_LIMIT = 1.6
"""A dragged blob is split once it is this many times as long as it was when the drag took hold of it."""

FOCUS_WHOLE_SHARE = 0.5
"""Share of whole-object pictures during a drag: the part leaves its place, so the prior must see where it is going."""

LOOK = ("log_scale", "color", "logit_opacity")

FEWEST = 8
"""A deformable drag's core holds at least this many blobs, the nearest to the source, or nothing would arrive with it."""

WAKE_HOLD = 1.0
"""Weight of the pull that keeps what trails behind where the drag has left it, against that on the core."""

SMALLEST = 1e-12


def _double(values: object, device: torch.device) -> Float[Tensor, "3"]:
    return torch.tensor(values, dtype=torch.float64, device=device)


@dataclass(frozen=True, kw_only=True)
class DragTerm(Term):
    """What both kinds of drag share. Pinned columns: ``member`` (who goes all the way), ``touched`` (who was moved at all),
    ``start`` (where each began), ``look.X`` (how each looked, as the drag has bent it)."""

    def trainable(self, model: GaussianModel, environment: Environment) -> Bool[Tensor, "n"]:
        """The dragged blobs, or every blob where `drag.rest` is free."""
        rows = model.columns[self.column("touched")]
        return torch.ones_like(rows) if environment.settings.drag.rest == "free" else rows

    @property
    def drag(self) -> Drag:
        assert isinstance(self.operation, Drag)
        return self.operation

    def motion_weight(self, environment: Environment) -> float:
        return environment.settings.drag.motion if self.drag.motion is None else self.drag.motion

    def form(self, environment: Environment) -> DragForm:
        return self.drag.form or DragForm(environment.settings.drag.target)

    def alpha(self, environment: Environment) -> float:
        """Equation 4's step in scene units; 0 shares the way out evenly."""
        return environment.settings.drag.alpha if self.drag.alpha is None else self.drag.alpha

    def offset(self, device: torch.device) -> Float[Tensor, "3"]:
        """The drag vector p_t - p_s."""
        return _double(self.drag.target, device) - _double(self.drag.source, device)

    def next_move(self, remaining: Float[Tensor, "3"], environment: Environment) -> Float[Tensor, "3"]:
        """Equation 4: alpha along what remains of the way, never past the target."""
        length = float(remaining.norm())
        alpha = self.alpha(environment)
        if alpha <= 0.0:
            # What remains is measured, so whatever the optimizer added or took is made up for by the last step.
            return remaining / max(self.end - environment.step, 1)
        return remaining * min(1.0, alpha / max(length, SMALLEST))

    def motion_loss(self, mean: Tensor, model: GaussianModel, rows: Tensor, environment: Environment) -> Tensor:
        """Equation 5 over the rows: L1 distance to the common point as printed, or to each blob's own start plus the drag vector, as
        much of it as is due by now (`drag.pace`)."""
        if self.form(environment) is DragForm.POINT:
            goal = torch.tensor(self.drag.target, dtype=mean.dtype, device=mean.device)
        else:
            even = environment.settings.drag.pace == "even"
            way = _double(self.state["way"], mean.device) if even else self.offset(mean.device)
            goal = model.columns[self.column("start")][rows] + way.to(mean.dtype)
        return self.motion_weight(environment) * (mean[rows] - goal).abs().sum()

    def look_loss(
        self, parameters: Mapping[str, Tensor], model: GaussianModel, environment: Environment
    ) -> Float[Tensor, ""]:
        """A squared pull of all that was touched to its own size, colour and opacity: a drag moves matter and shall not let a prior
        that expects none there paint it over."""
        rows = model.columns[self.column("touched")].nonzero().squeeze(1)
        anchors = {name: self.column(f"look.{name}") for name in LOOK}
        return environment.settings.drag.hold * squared_pull(parameters, model, anchors, rows)

    def rigid_loss(self, mean: Tensor, model: GaussianModel, rows: Tensor) -> Tensor:
        """Equation 6 over the rows: how much their distances to the source differ from those at the start.

        The source is no blob; it rides along with the rows' mean.
        """
        start = model.columns[self.column("start")][rows]
        origin = torch.tensor(self.drag.source, dtype=mean.dtype, device=mean.device)
        source = origin + (mean[rows] - start).mean(0)
        now = ((mean[rows] - source).square().sum(-1) + SMALLEST).sqrt()
        then = ((start - origin).square().sum(-1) + SMALLEST).sqrt()
        return (now - then).abs().sum()

    def dragged(self, model: GaussianModel) -> Bool[Tensor, "n"]:
        """Rows that go all the way."""
        return model.columns[self.column("member")]

    def focus(self, model: GaussianModel, environment: Environment) -> Focus | None:
        rows = model.columns[self.column("touched")]
        if not bool(rows.any()):
            return None
        center, radius = visible_ball(model, rows)
        return Focus(center=center, radius=radius * environment.settings.edit.zoom, whole_share=FOCUS_WHOLE_SHARE)

    def wish(self, model: GaussianModel, environment: Environment) -> GuidanceWish:
        """The prior sees the object as it stands and judges at an edit's noise levels, else it would pull the part back home."""
        settings = environment.settings
        noise_max = min(settings.guidance.noise_max, settings.edit.noise_max)
        return GuidanceWish(noise=(min(settings.guidance.noise_min, noise_max), noise_max), shape="object")


@dataclass(frozen=True, kw_only=True)
class RigidDrag(DragTerm):
    """The first selection moves as one piece. State: ``way``, how far equation 4 has brought it, and ``turn``, how far the optimizer has
    turned it meanwhile (wxyz)."""

    def before_step(self, model: GaussianModel, environment: Environment) -> tuple[Term, GaussianModel]:
        rows = self.dragged(model).nonzero().squeeze(1)
        if rows.numel() == 0:
            return self, model
        start = model.columns[self.column("start")][rows]
        rotation, first, now = rigid_fit(start, model.mean[rows])
        step = self.next_move(self.offset(model.device) - (now - first), environment)
        ahead = self.updated(way=(now + step - first).tolist())
        if not environment.settings.drag.fit:
            return ahead, _placed(model, rows, model.mean[rows].double() + step)
        return ahead._fitted(model, rows, start, rotation, first, now + step)

    def _fitted(
        self, model: GaussianModel, rows: Tensor, start: Tensor, rotation: Tensor, first: Tensor, center: Tensor
    ) -> tuple[Term, GaussianModel]:
        """Members put where the fit says; what the fit has turned since the last time, their covariances turn too."""
        before = quaternion_to_matrix(torch.tensor(self.state["turn"], dtype=torch.float64, device=model.device))
        member = self.dragged(model)
        turned = transform_rows(model, member, linear=rotation @ before.T)
        placed = _placed(turned, rows, center + (start.double() - first) @ rotation.T)
        return self.updated(turn=matrix_to_quaternion(rotation).tolist()), placed

    def loss(
        self, parameters: Mapping[str, Float[Tensor, "n ..."]], model: GaussianModel, environment: Environment
    ) -> Tensor | None:
        """Equations 5 and 6 over the members."""
        rows = self.dragged(model).nonzero().squeeze(1)
        if rows.numel() == 0:
            return None
        mean = parameters["mean"]
        loss = self.motion_loss(mean, model, rows, environment) + self.look_loss(parameters, model, environment)
        weight = environment.settings.drag.rigidity if self.drag.rigidity is None else self.drag.rigidity
        return loss + weight * self.rigid_loss(mean, model, rows) if weight > 0.0 else loss

    def finish(self, model: GaussianModel, environment: Environment) -> GaussianModel:
        rows = self.dragged(model).nonzero().squeeze(1)
        if rows.numel():
            start = model.columns[self.column("start")][rows]
            rotation, first, now = rigid_fit(start, model.mean[rows])
            if self.alpha(environment) <= 0.0:
                now = first + self.offset(model.device)
            if environment.settings.drag.fit:
                model = self._fitted(model, rows, start, rotation, first, now)[1]
            # Clones only: halving a blob would move it, and the piece shall stay as it is.
            whole = replace(environment.settings.densify, split_scale=math.inf)
            model = densify(model, whole, environment.generator("drag densify"), self.dragged(model))[0]
            model = prune(model, whole, self.dragged(model))[0]
        return super().finish(model, environment)


@dataclass(frozen=True, kw_only=True)
class DeformableDrag(DragTerm):
    """Plasticine. ``member`` is the core, which moves all the way. Pinned besides: ``allowed`` (the named part, or everything), ``last``
    (where the last move left each), ``goal`` (where its share of the drag has brought each, whatever the optimizer did), ``size`` (how
    long each was when first touched; 0 before). State: ``source``, where the source is now, ``way``, how far that is from where it
    began, and ``radius``.
    """

    def before_step(self, model: GaussianModel, environment: Environment) -> tuple[Term, GaussianModel]:
        source, caught_up = self._tracked(model)
        remaining = _double(self.drag.target, model.device) - source
        return self._moved(model, environment, source, caught_up, self.next_move(remaining, environment))

    def _tracked(self, model: GaussianModel) -> tuple[Tensor, Tensor]:
        """Where the source is, and how far the optimizer carried it since the last move: as far as the core on average."""
        source = _double(self.state["source"], model.device)
        core = self.dragged(model)
        if not bool(core.any()):
            return source, torch.zeros_like(source)
        caught_up = (model.mean[core].double() - model.columns[self.column("last")][core].double()).mean(0)
        return source + caught_up, caught_up

    def _moved(
        self, model: GaussianModel, environment: Environment, source: Tensor, caught_up: Tensor, step: Tensor
    ) -> tuple["DeformableDrag", GaussianModel]:
        radius, share = self.number("radius"), environment.settings.drag.core
        allowed = model.columns[self.column("allowed")] & ~model.columns["frozen"]
        look, cap = self.column("look.log_scale"), environment.settings.densify.cap
        places = {self.column("start"): "mean", self.column("goal"): "mean", look: "log_scale"}
        coarse = allowed & model.columns[self.column("touched")]
        model = split_coarse(model, coarse, source, caught_up + step, radius, share, places, cap)
        allowed = model.columns[self.column("allowed")] & ~model.columns["frozen"]
        before, sizes, core = model.mean, model.columns["log_scale"], self.dragged(model)
        model = plasticine_step(model, allowed, core & allowed, source, caught_up, step, radius, share)
        touched = model.columns[self.column("touched")]
        # The goal of whoever is touched for the first time begins where the blob is.
        goal = torch.where(touched[:, None], model.columns[self.column("goal")], before) + (model.mean - before)
        touched = touched | (model.mean != before).any(-1)
        size = model.columns[self.column("size")]
        size = torch.where(touched & (size == 0), model.scale.amax(-1), size)
        model = model.with_columns(
            {
                self.column("touched"): touched,
                self.column("size"): size,
                self.column("goal"): goal,
                look: model.columns[look] + (model.columns["log_scale"] - sizes),
            }
        )
        limit = STRETCH_LIMIT * torch.where(size > 0, size, torch.full_like(size, math.inf))
        model = split_long(model, touched, limit, places, cap)
        way = source + step - _double(self.drag.source, model.device)
        term = self.updated(source=(source + step).tolist(), way=way.tolist())
        return term, term._reselected(model, share)

    def _reselected(self, model: GaussianModel, share: float) -> GaussianModel:
        """Equation 3 around the source as it is now. Who joins the core is taken to have come along from the beginning."""
        source = _double(self.state["source"], model.device)
        core, touched = self.dragged(model), model.columns[self.column("touched")]
        inside = (model.mean.double() - source).norm(dim=-1) <= share * self.number("radius")
        joined = inside & touched & ~core
        way = (source - _double(self.drag.source, model.device)).float()
        start = torch.where(joined[:, None], model.mean - way, model.columns[self.column("start")])
        # A core blob that the optimizer pushed over the core's edge keeps its place in it: its goal still holds it.
        return model.with_columns(
            {self.column("member"): core | joined, self.column("start"): start, self.column("last"): model.mean}
        )

    def loss(
        self, parameters: Mapping[str, Float[Tensor, "n ..."]], model: GaussianModel, environment: Environment
    ) -> Tensor | None:
        """Equation 5 over the core, and over what trails behind with its own share of the way; in the form as printed (one point) over
        everything within the radius. Equation 6 where the drag gives it a weight."""
        rows = self.dragged(model)
        if self.form(environment) is DragForm.POINT:
            source = _double(self.state["source"], model.device)
            near = (model.mean.double() - source).norm(dim=-1) <= self.number("radius")
            rows = near & model.columns[self.column("touched")]
        index = rows.nonzero().squeeze(1)
        if index.numel() == 0:
            return None
        mean = parameters["mean"]
        loss = self.motion_loss(mean, model, index, environment) + self.look_loss(parameters, model, environment)
        if self.form(environment) is DragForm.OFFSET:
            wake = (model.columns[self.column("touched")] & ~rows).nonzero().squeeze(1)
            goal = model.columns[self.column("goal")][wake]
            loss = loss + WAKE_HOLD * self.motion_weight(environment) * (mean[wake] - goal).abs().sum()
        weight = self.drag.rigidity or 0.0
        return loss + weight * self.rigid_loss(mean, model, index) if weight > 0.0 else loss

    def finish(self, model: GaussianModel, environment: Environment) -> GaussianModel:
        term: DeformableDrag = self
        if self.alpha(environment) <= 0.0:
            source, caught_up = self._tracked(model)
            remaining = _double(self.drag.target, model.device) - source
            term, model = self._moved(model, environment, source, caught_up, remaining)
        settings = environment.settings.densify
        touched = model.columns[self.column("touched")]
        model = densify(model, settings, environment.generator("drag densify"), touched)[0]
        model = prune(model, settings, model.columns[self.column("touched")])[0]
        return Term.finish(term, model, environment)


def _placed(model: GaussianModel, rows: Tensor, positions: Tensor) -> GaussianModel:
    mean = model.columns["mean"].clone()
    mean[rows] = positions.float()
    return model.with_columns({"mean": mean})


def start_drag(operation: Drag, key: str, model: GaussianModel, environment: Environment) -> tuple[Term, GaussianModel]:
    """Equation 3: the blobs within the radius of the source, of the named part where one is named; without a radius, that whole part.

    Raises:
        OperationRefused: no blob is there (the nearest are named), all of them are frozen, or source and target are one point.
    """
    if math.dist(operation.source, operation.target) < 1e-9:
        raise refusal(operation, environment, "source and target are the same point; nothing would move")
    source = _double(operation.source, model.device)
    rows = _selection(operation, model, environment) & ~model.columns["frozen"]
    if not bool(rows.any()):
        raise refusal(operation, environment, "every blob there is frozen; `thaw` it first")
    distance = (model.mean.double() - source).norm(dim=-1)
    start, steps = environment.step, term_steps(operation, environment)
    if operation.mode is DragMode.RIGID:
        still = {"way": [0.0, 0.0, 0.0], "turn": [1.0, 0.0, 0.0, 0.0]}
        rigid = RigidDrag(key=key, operation=operation, start=start, steps=steps, tensors={}, state=still)
        return rigid, model.with_columns({rigid.column(n): v for n, v in _pins(rows, rows, model).items()})
    radius = operation.radius
    if radius is None:
        radius = float(distance[rows].max()) * 1.001 if operation.part is not None else environment.settings.drag.radius
    core = rows & (distance <= environment.settings.drag.core * radius)
    if int(core.sum()) < FEWEST:
        order = torch.argsort(torch.where(rows, distance, torch.full_like(distance, math.inf)), stable=True)
        core = torch.zeros_like(rows)
        core[order[: min(FEWEST, int(rows.sum()))]] = True
    plastic = DeformableDrag(
        key=key,
        operation=operation,
        start=start,
        steps=steps,
        tensors={},
        state={"source": list(operation.source), "way": [0.0, 0.0, 0.0], "radius": radius},
    )
    allowed = (
        torch.ones_like(rows) if operation.part is None else selected(operation.part, operation, model, environment)
    )
    pins = _pins(core, rows, model) | {
        "allowed": allowed,
        "last": model.mean,
        "goal": model.mean,
        "size": torch.where(rows, model.scale.amax(-1), torch.zeros_like(distance).float()),
    }
    return plastic, model.with_columns({plastic.column(n): v for n, v in pins.items()})


def _selection(operation: Drag, model: GaussianModel, environment: Environment) -> Bool[Tensor, "n"]:
    radius = operation.radius
    if radius is None and operation.part is not None:
        return selected(operation.part, operation, model, environment)
    ball = ShapePart(shape=Sphere(center=operation.source, radius=radius or environment.settings.drag.radius))
    whole = ball if operation.part is None else IntersectionPart(left=operation.part, right=ball)
    try:
        return select(whole, model)
    except PartError as error:
        raise refusal(operation, environment, f"{error}; widen the radius or move the source") from error


def _pins(member: Tensor, touched: Tensor, model: GaussianModel) -> dict[str, Tensor]:
    look = {f"look.{name}": model.columns[name] for name in LOOK}
    return {"member": member, "touched": touched, "start": model.mean} | look
