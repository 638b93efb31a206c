"""The first blobs: evenly through a shape, or on given points (paper 5.1)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from interactive3d.dsl.values import Shape, Vec3
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.scene.selection import nearest_neighbours
from interactive3d.runtime.scene.shapes import sample_in_shape
from interactive3d.runtime.settings import InitSettings

POINT_OPACITY = 0.8
"""Opacity of blobs on points that lie on a surface (authors' stage I configuration)."""

SCALE_PER_SPACING = 0.6
"""Standard deviation per distance between neighbours: blobs in a row at this size close it (their sum ripples by under 1 %)."""

COLOR_MIDDLE, COLOR_SPREAD = 0.5, 0.1
"""First colours where nothing is known: greys with a little noise, which a prior moves faster than exact equals."""


def round_blobs(
    mean: Float[Tensor, "n 3"],
    color: Float[Tensor, "n 3"],
    scale: float | Float[Tensor, "n"],
    opacity: float,
) -> GaussianModel:
    """Blobs with the same extent on every axis. Scale in scene units, opacity in 0 .. 1, exclusive."""
    count = mean.shape[0]
    sizes = torch.as_tensor(scale, dtype=torch.float64).expand(count)
    return GaussianModel.create(
        mean=mean,
        log_scale=sizes.clamp(min=1e-6).log()[:, None].expand(count, 3),
        rotation=torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(count, 4),
        color=color,
        logit_opacity=torch.full((count,), math.log(opacity / (1.0 - opacity))),
    )


def blobs_in_shape(
    shape: Shape,
    count: int,
    settings: InitSettings,
    generator: torch.Generator,
    color: Vec3 | None = None,
) -> GaussianModel:
    """``count`` blobs spread evenly through a shape's volume, in one colour or in noisy grey.

    Raises:
        ValueError: a count below 1.
    """
    mean = sample_in_shape(shape, count, generator)
    if color is None:
        noise = torch.randn(count, 3, generator=generator, dtype=torch.float64)
        colors = COLOR_MIDDLE + COLOR_SPREAD * noise
    else:
        colors = torch.tensor(color, dtype=torch.float64).expand(count, 3)
    return round_blobs(mean, colors, settings.scale, settings.opacity)


def solid_in_shape(shape: Shape, count: int, color: Vec3, generator: torch.Generator) -> GaussianModel:
    """``count`` opaque blobs that fill a shape in one colour: a thing that is there at once, as `add sphere …` wants it.

    Their size follows from how near they lie to each other, so that few blobs fill the shape as well as many.
    """
    mean = sample_in_shape(shape, count, generator)
    colors = torch.tensor(color, dtype=torch.float64).expand(count, 3)
    return blobs_on_points(mean, colors, opacity=0.9)


def blobs_on_points(
    positions: Float[Tensor, "n 3"],
    colors: Float[Tensor, "n 3"],
    spacing: float | None = None,
    *,
    opacity: float = POINT_OPACITY,
) -> GaussianModel:
    """A blob on every point; its size follows from ``spacing``, or from its nearest neighbours where that is not known.

    Raises:
        ValueError: no points, or points and colours do not agree.
    """
    count = positions.shape[0]
    if count == 0 or colors.shape != positions.shape:
        raise ValueError(
            f"points: expected as many colours as positions and at least one, got {tuple(positions.shape)} and {tuple(colors.shape)}"
        )
    if spacing is not None and spacing > 0.0:
        return round_blobs(positions, colors, SCALE_PER_SPACING * spacing, opacity)
    lengths, _ = nearest_neighbours(positions.double(), 3)
    sizes = lengths.mean(dim=1) if lengths.shape[1] else torch.full((count,), 0.05, dtype=torch.float64)
    # Points drawn at random come in clumps and gaps; half the median is the least that a clump's blobs get.
    sizes = sizes.clamp(min=0.5 * float(sizes.median()), max=3.0 * float(sizes.median()))
    return round_blobs(positions, colors, SCALE_PER_SPACING * sizes, opacity)
