"""What several operations share: selecting with a refusal that names the step, tagging, copying, lengths of terms."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool
from torch import Tensor

from interactive3d.dsl.operations import Operation, PartExpression, Vec3
from interactive3d.runtime.operations.base import Environment, OperationRefused
from interactive3d.runtime.scene.gaussians import PARAMETERS, GaussianModel
from interactive3d.runtime.scene.parts import PartError, part_mask, select

Applied = tuple[GaussianModel, Bool[Tensor, "n"] | None, str]
"""An edit's result: the new blobs, the rows of it that a repair should look after (None: all of it; none of them: nothing to
repair), and what was done, in words."""


FIRMNESS = {"mean": 1.0, "log_scale": 0.001, "color": 0.02, "logit_opacity": 0.001}
"""How firmly an anchor holds each parameter, against positions: a blob that is off by its own size (some 0.03 scene units) is as bad as
one that is larger by a factor e, or off by a fifth of the way from black to white."""


def squared_pull(
    parameters: Mapping[str, Tensor],
    model: GaussianModel,
    anchors: Mapping[str, str],
    rows: Tensor,
    firm: Tensor | None = None,
) -> Tensor:
    """Sum over the rows of the squared distances between parameters and the columns that ``anchors`` names for them, each by its
    firmness. ``firm`` weighs the rows."""
    total = parameters["mean"].new_zeros(())
    for name, column in anchors.items():
        off = (parameters[name][rows] - model.columns[column][rows]).square().reshape(rows.numel(), -1).sum(-1)
        total = total + FIRMNESS[name] * (off if firm is None else firm * off).sum()
    return total


def refusal(operation: Operation, environment: Environment, why: object) -> OperationRefused:
    """The refusal of an operation, with its keyword and step before the reason."""
    return OperationRefused(f"{operation.keyword} at step {environment.step}: {why}")


def selected(
    part: PartExpression, operation: Operation, model: GaussianModel, environment: Environment
) -> Bool[Tensor, "n"]:
    """Rows of a part.

    Raises:
        OperationRefused: the part holds no blob (the nearest are named) or cannot be evaluated.
    """
    try:
        return select(part, model)
    except PartError as error:
        raise refusal(operation, environment, error) from error


def selected_or_all(
    part: PartExpression | None, operation: Operation, model: GaussianModel, environment: Environment
) -> Bool[Tensor, "n"]:
    """Rows of a part, or every row where no part is named. Raises as ``selected``."""
    if part is None:
        return torch.ones(len(model), dtype=torch.bool, device=model.device)
    return selected(part, operation, model, environment)


def still_selected(part: PartExpression, model: GaussianModel) -> Bool[Tensor, "n"]:
    """Rows of a part, empty where it holds none; for questions asked again while a term lasts."""
    try:
        return part_mask(part, model)
    except PartError:
        return torch.zeros(len(model), dtype=torch.bool, device=model.device)


def named(
    model: GaussianModel, name: str, mask: Bool[Tensor, "n"], operation: Operation, environment: Environment
) -> GaussianModel:
    """The model with ``name`` meaning the rows of ``mask`` beside those it meant already.

    Raises:
        OperationRefused: the scene holds as many names as it can.
    """
    try:
        return model.with_tag(name, mask | model.tagged(name))
    except ValueError as error:
        raise refusal(operation, environment, error) from error


def copied(model: GaussianModel, mask: Bool[Tensor, "n"]) -> GaussianModel:
    """The parameters of some rows as new blobs: no tags, not frozen, a fresh optimizer state, in no term's care."""
    return GaussianModel.create(**{name: model.columns[name][mask] for name in PARAMETERS})


def appended(model: GaussianModel, other: GaussianModel) -> tuple[GaussianModel, Bool[Tensor, "n"]]:
    """Both in one model, and the rows that came from ``other`` (paper 3.1.1: concatenation)."""
    joined = model.append(other)
    return joined, torch.arange(len(joined), device=joined.device) >= len(model)


def nobody(model: GaussianModel) -> Bool[Tensor, "n"]:
    """No row at all: nothing for a repair to do."""
    return torch.zeros(len(model), dtype=torch.bool, device=model.device)


def counted(count: int, of: int | None = None) -> str:
    """``1 blob``, ``3 of 40 blobs``."""
    total = count if of is None else of
    return f"{count}{'' if of is None else f' of {of}'} blob{'' if total == 1 else 's'}"


def pointed(point: Vec3) -> str:
    """A point or vector for a message."""
    return "(" + ", ".join(f"{v:.3g}" for v in point) + ")"


def term_steps(operation: Operation, environment: Environment) -> int:
    """How long a term lasts: its own number of steps, or that of the setting that its kind names."""
    steps = getattr(operation, "steps", None)
    if steps is None:
        assert operation.steps_setting is not None
        steps = environment.settings.get(operation.steps_setting)
    return max(int(steps), 1)
