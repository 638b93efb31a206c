"""Pictures of a Gaussian model through the rasterizer."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from interactive3d.kernels.splat_raster import Raster, rasterize
from interactive3d.runtime.scene.camera import Camera, intrinsics, view_matrices
from interactive3d.runtime.scene.gaussians import GaussianModel


def carried(tensor: Tensor, device: torch.device | str) -> Tensor:
    """A CPU tensor on another device. Unlike `to` alone it does not wait until a graphics card has done all that it was given before.

    Nothing may write into the tensor's memory before the card has read it; ordinary memory, which is not page-locked, is copied
    aside before the call returns, and so is free at once.
    """
    return tensor.to(device, non_blocking=True)


def render_parameters(
    parameters: Mapping[str, Tensor],
    cameras: Sequence[Camera],
    width: int,
    height: int,
    background: Float[Tensor, "c 3"] | Float[Tensor, "c h w 3"] | None = None,
    screen_probe: Float[Tensor, "c n 2"] | None = None,
) -> Raster:
    """Differentiable render of raw columns (log scale, logit opacity, unnormalised quaternions).

    Colours are not clamped here, for a clamp would cut their gradient: models and the optimizer keep them in 0 .. 1.
    """
    device = parameters["mean"].device
    return rasterize(
        parameters["mean"],
        parameters["log_scale"].exp(),
        parameters["rotation"],
        parameters["color"],
        torch.sigmoid(parameters["logit_opacity"]),
        carried(view_matrices(cameras), device),
        carried(intrinsics(cameras, width, height), device),
        width,
        height,
        background,
        screen_probe=screen_probe,
    )


@torch.no_grad()
def render(
    model: GaussianModel,
    cameras: Sequence[Camera],
    width: int,
    height: int | None = None,
    background: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> Raster:
    """Picture of the model for a screen, a file or a test; never part of the run's arithmetic."""
    fill = carried(torch.tensor(background), model.device).expand(len(cameras), 3).contiguous()
    return render_parameters(model.parameters(), cameras, width, height or width, fill)
