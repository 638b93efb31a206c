"""How parts look and whether they may change: paint, freeze, thaw."""

import torch

from interactive3d.dsl.operations import Freeze, Paint, Thaw
from interactive3d.runtime.operations.base import Environment
from interactive3d.runtime.operations.common import Applied, counted, nobody, selected
from interactive3d.runtime.scene.gaussians import GaussianModel, first_moment


def paint(operation: Paint, model: GaussianModel, environment: Environment) -> Applied:
    """One colour for the part's blobs. The optimizer forgets where it was taking their old ones."""
    mask = selected(operation.part, operation, model, environment)
    color = torch.tensor(operation.color, device=model.device).clamp(0.0, 1.0)
    painted = model.map_rows(
        mask,
        {
            "color": lambda old: color.expand_as(old),
            # The second moment stays: it only sets the pace, and without it the first steps after painting would be wild ones.
            first_moment("color"): torch.zeros_like,
            "settled": torch.ones_like,
        },
    )
    return painted, nobody(painted), f"painted {counted(int(mask.sum()))}"


def freeze(operation: Freeze, model: GaussianModel, environment: Environment) -> Applied:
    """The part's blobs take no gradient and no drag until they are thawed."""
    mask = selected(operation.part, operation, model, environment)
    frozen = model.map_rows(mask, {"frozen": torch.ones_like})
    return frozen, nobody(frozen), f"froze {counted(int(mask.sum()))}"


def thaw(operation: Thaw, model: GaussianModel, environment: Environment) -> Applied:
    """The part's blobs may change again."""
    mask = selected(operation.part, operation, model, environment)
    thawed = model.map_rows(mask, {"frozen": torch.zeros_like, "settled": torch.zeros_like})
    return thawed, nobody(thawed), f"thawed {counted(int(mask.sum()))}"
