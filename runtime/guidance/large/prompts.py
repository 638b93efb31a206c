"""Prompts that say from where the camera looks, and Perp-Neg's negative ones.

View-dependent prompts are DreamFusion's; Perp-Neg is Armandpour et al. 2023, which keeps of a negative prompt only what is perpendicular
to the positive one, and blends the prompts of neighbouring views.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interactive3d.runtime.scene.camera import Camera
from interactive3d.runtime.scene.render import carried

VIEWS = ("front", "side", "back", "overhead")
OVERHEAD_DEGREES = 60.0
FRONT_DEGREES = 45.0
BACK_DEGREES = 135.0


def camera_angles(camera: Camera) -> tuple[float, float]:
    """Azimuth in -180 .. 180 and elevation in degrees of where a camera stands as seen from its target."""
    x, y, z = (p - t for p, t in zip(camera.position, camera.target, strict=True))
    return math.degrees(math.atan2(x, z)), math.degrees(math.atan2(y, math.hypot(x, z)))


def view_name(azimuth: float, elevation: float) -> str:
    """front, side, back or overhead."""
    if elevation > OVERHEAD_DEGREES:
        return "overhead"
    turned = abs((azimuth + 180) % 360 - 180)
    return "front" if turned < FRONT_DEGREES else "back" if turned > BACK_DEGREES else "side"


def view_prompt(prompt: str, view: str) -> str:
    """The prompt with its view said."""
    return f"{prompt}, {view} view" if prompt.strip() else f"{view} view"


@dataclass(frozen=True)
class Blend:
    """What Perp-Neg asks of one camera: the positive prompt as a mixture of two views, and negative views with weights below 0."""

    views: tuple[str, str]
    share: float
    against: tuple[tuple[str, float], ...]


# Falling exponentials a exp(-b r) + c of the share r of the nearer view, the values of the paper's own implementation.
FRONT_OF_SIDE = (4.0, 0.5, -2.426)
SIDE_OF_FRONT = (4.0, 0.5, -2.426)
SIDE_OF_BACK = (1.0, 0.5, -0.606)
FRONT_OF_BACK = (1.0, 0.5, 0.967)


def _fall(curve: tuple[float, float, float], share: float) -> float:
    a, b, c = curve
    return a * math.exp(-b * share) + c


def blend(azimuth: float, elevation: float) -> Blend:
    """Perp-Neg's prompts for a camera. Overhead views have no neighbours to be told from."""
    if elevation > OVERHEAD_DEGREES:
        return Blend(("overhead", "overhead"), 1.0, (("front", -1.0), ("back", -1.0)))
    turned = abs((azimuth + 180) % 360 - 180)
    if turned < 90:
        share = 1 - turned / 90
        pair = (("front", -_fall(FRONT_OF_SIDE, share)), ("side", -_fall(SIDE_OF_FRONT, 1 - share)))
        return Blend(("front", "side"), share, pair)
    share = 2 - turned / 90
    return Blend(
        ("side", "back"), share, (("side", -_fall(SIDE_OF_BACK, share)), ("front", -_fall(FRONT_OF_BACK, share)))
    )


def guided(told: Float[Tensor, "b ..."], untold: Float[Tensor, "b ..."], scale: float) -> Float[Tensor, "b ..."]:
    """Classifier-free guidance in the project's form: untold + scale (told - untold). At scale 1 that is the prompt alone."""
    return untold + scale * (told - untold)


def perpendicular(of: Float[Tensor, "b ..."], to: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
    """What is left of each row of ``of`` without its share along ``to``."""
    flat, along = of.flatten(1), to.flatten(1)
    length = along.square().sum(1, keepdim=True).clamp(min=1e-12)
    return (flat - (flat * along).sum(1, keepdim=True) / length * along).reshape(of.shape)


def perp_neg_guided(
    told: Float[Tensor, "b ..."],
    untold: Float[Tensor, "b ..."],
    against: list[Float[Tensor, "b ..."]],
    weights: list[Float[Tensor, "b"]],
    scale: float,
) -> Float[Tensor, "b ..."]:
    """untold + scale (d + sum of w_i times what of d_i is perpendicular to d), with d the difference of the positive prompt, d_i of each
    negative one, and w_i at most 0."""
    towards = told - untold
    total = towards
    for other, weight in zip(against, weights, strict=True):
        wide = carried(weight, told.device).to(told.dtype).reshape((-1,) + (1,) * (told.dim() - 1))
        total = total + wide.clamp(max=0.0) * perpendicular(other - untold, towards)
    return untold + scale * total


def mixed(first: Tensor, second: Tensor, share: float) -> Tensor:
    """Embeddings between two: ``share`` of the first."""
    return torch.lerp(second, first, share)
