"""Densify and prune when the script says so (paper 3.1.3: fill the gaps and eliminate noises)."""

from interactive3d.dsl.operations import Densify, Prune
from interactive3d.runtime.operations.base import Environment
from interactive3d.runtime.operations.common import Applied, counted, nobody, selected_or_all
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.scene.growth import densify, prune


def densify_part(operation: Densify, model: GaussianModel, environment: Environment) -> Applied:
    """The steepest ``densify.share`` of the part's blobs are cloned or split, however steep they are: the user asked for it."""
    mask = selected_or_all(operation.part, operation, model, environment)
    settings = environment.settings.densify
    grown, count = densify(model, settings, environment.generator("densify part"), mask, threshold=0.0)
    message = f"cloned {count.cloned} and split {counted(count.split)}, {len(grown)} in all"
    if count.total == 0 and len(model) >= settings.cap:
        message += f"; densify.cap is {settings.cap}"
    return grown, nobody(grown), message


def prune_part(operation: Prune, model: GaussianModel, environment: Environment) -> Applied:
    """Blobs of the part fainter than the opacity given (``densify.prune_opacity``) are removed."""
    mask = selected_or_all(operation.part, operation, model, environment)
    below = environment.settings.densify.prune_opacity if operation.below is None else operation.below
    pruned, removed = prune(model, environment.settings.densify, mask, below=below)
    return pruned, nobody(pruned), f"removed {counted(removed, len(model))} below opacity {below:g}"
