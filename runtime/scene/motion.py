"""How dragged blobs move (paper 3.1.3): as one rigid piece, or as plasticine that trails behind the moving source.

Plasticine is a smooth flow: about the source everything moves with it, towards the radius less and less, beyond it not at all. A flow of
this kind never tears: what was connected stays connected, only longer. Blobs sample it, so each is stretched by the flow's Jacobian
(covariances too) and split once it has become long.
"""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.scene.growth import split_rows
from interactive3d.runtime.scene.transforms import flow_rows, quaternion_to_matrix

STEEPEST = 1.875
"""Greatest slope of the quintic smoothstep 6t^5 - 15t^4 + 10t^3 on 0 .. 1."""

FOLD_MARGIN = 0.25
"""A flow step may stretch space by this much at the most: at 1 it would fold over itself, and blobs are stretched to first order only."""

COARSE = 0.25
"""A blob near the core's edge may extend this share of the fall-off's width towards the source, one standard deviation."""

NEEDLE = 1.5
"""Times its limit, the length that no blob exceeds, halved or not."""

SPLIT_ROUNDS = 3
"""Halvings of a blob in one call: each makes it 0.71 times as long, and a step stretches by a quarter."""


def rigid_fit(
    start: Float[Tensor, "m 3"], now: Float[Tensor, "m 3"]
) -> tuple[Float[Tensor, "3 3"], Float[Tensor, "3"], Float[Tensor, "3"]]:
    """Rotation R and centroids a, b with now ~ b + R (start - a) in the least-squares sense (Kabsch 1976). float64.

    Where the points leave the rotation open (one point, a line), it is the one nearest to no rotation that the fit allows.
    """
    start, now = start.double(), now.double()
    a, b = start.mean(0), now.mean(0)
    # Nine numbers: a graphics card's solver would take longer than the way to the processor and back.
    spread = ((start - a).T @ (now - b)).cpu()
    # A trace of the identity decides what the points leave open, far below what they do decide.
    scale = float(spread.abs().max())
    u, _, vt = torch.linalg.svd(spread + max(1e-9 * scale, 1e-30) * torch.eye(3, dtype=torch.float64))
    handed = torch.ones(3, dtype=torch.float64)
    handed[2] = torch.linalg.det(vt.T @ u.T).sign()
    return (vt.T @ torch.diag(handed) @ u.T).to(now.device), a, b


def falloff(distance: Float[Tensor, "m"], radius: float, core: float) -> tuple[Float[Tensor, "m"], Float[Tensor, "m"]]:
    """Share of the source's way that a blob at this distance goes, and its derivative by the distance.

    1 up to ``core * radius``, 0 from ``radius`` on, a quintic smoothstep between: two continuous derivatives, so no creases.
    """
    inner = core * radius
    width = max(radius - inner, 1e-12)
    t = ((distance - inner) / width).clamp(0.0, 1.0)
    share = 1.0 - t**3 * (t * (6.0 * t - 15.0) + 10.0)
    slope = -(30.0 * t**2 * (t - 1.0) ** 2) / width
    return share, slope


def plasticine_step(
    model: GaussianModel,
    allowed: Bool[Tensor, "n"],
    ahead: Bool[Tensor, "n"],
    source: Float[Tensor, "3"],
    caught_up: Float[Tensor, "3"],
    step: Float[Tensor, "3"],
    radius: float,
    core: float,
) -> GaussianModel:
    """One step of the flow: the source goes from ``source`` by ``step``.

    ``caught_up`` is how far the optimizer has carried the source there since the last step. The blobs that made up the source (``ahead``)
    have gone that way already; the others make it up now, so that the optimizer's pull does not tear the rim from the core.
    """
    whole = caught_up + step
    width = max(radius * (1.0 - core), 1e-12)
    count = max(1, math.ceil(float(whole.norm()) * STEEPEST / (FOLD_MARGIN * width)))
    origin = source - caught_up
    for part in range(count):
        at = origin + whole * (part / count)
        model = _flow(model, allowed & ~ahead, at, whole / count, radius, core)
    if bool(ahead.any()):
        index = (ahead & allowed).nonzero().squeeze(1)
        mean = model.columns["mean"].clone()
        mean[index] = (mean[index].double() + step).float()
        model = model.with_columns({"mean": mean})
    return model


def _flow(model: GaussianModel, allowed: Tensor, at: Tensor, step: Tensor, radius: float, core: float) -> GaussianModel:
    relative = model.mean.double() - at
    distance = relative.norm(dim=-1)
    mask = allowed & (distance < radius)
    if not bool(mask.any()):
        return model
    relative, distance = relative[mask], distance[mask]
    share, slope = falloff(distance, radius, core)
    direction = relative / distance.clamp(min=1e-12)[:, None]
    # Displacement u = share(|x - at|) step has the gradient step (x) grad(share).
    gradient = step[None, :, None] * (slope[:, None] * direction)[:, None, :]
    return flow_rows(model, mask, share[:, None] * step, gradient)


def split_long(
    model: GaussianModel, mask: Bool[Tensor, "n"], limit: Float[Tensor, "n"], pinned: Mapping[str, str], cap: int
) -> GaussianModel:
    """Blobs of ``mask`` whose longest axis exceeds their ``limit`` (scene units) are halved along it, as opaque as they are.

    ``pinned`` names columns, and the parameter whose change by a split each shares (where a blob's drag began moves with its mean). Never beyond ``cap``
    blobs in all. The longest, relative to their limits, come first.
    """
    for _ in range(SPLIT_ROUNDS):
        rows = mask.nonzero().squeeze(1)
        longest, axis = model.scale[rows].max(-1)
        model, origin = _halved(model, rows, longest / limit[rows], axis, pinned, cap)
        if origin is None:
            break
        mask, limit = mask[origin], limit[origin]
    return _not_longer(model, mask, NEEDLE * limit, pinned)


def _not_longer(model: GaussianModel, mask: Tensor, limit: Tensor, pinned: Mapping[str, str]) -> GaussianModel:
    """Where the cap forbids to halve them, long blobs at least do not become needles that stick out of the object."""
    size = model.columns["log_scale"]
    cut = torch.where(mask[:, None], (size - limit.log()[:, None]).clamp(min=0.0), torch.zeros_like(size))
    if not bool(cut.any()):
        return model
    names = ["log_scale", *(pin for pin, name in pinned.items() if name == "log_scale")]
    return model.with_columns({name: model.columns[name] - cut for name in names})


def split_coarse(
    model: GaussianModel,
    mask: Bool[Tensor, "n"],
    source: Float[Tensor, "3"],
    step: Float[Tensor, "3"],
    radius: float,
    core: float,
    pinned: Mapping[str, str],
    cap: int,
) -> GaussianModel:
    """Blobs beside the source that are large, across its way, against the width of the fall-off are halved across.

    A blob follows the flow at its centre. What the core drags farthest is the matter right beside its edge, so a blob that spans the
    edge must be two, or the wake would be torn open wherever none happened to be centred there. ``pinned`` and ``cap`` as in
    ``split_long``.
    """
    width = max(radius * (1.0 - core), 1e-12)
    way = step / step.norm().clamp(min=1e-12)
    for _ in range(SPLIT_ROUNDS):
        rows = (mask & ((model.mean.double() - source).norm(dim=-1) < radius)).nonzero().squeeze(1)
        relative = model.mean[rows].double() - source
        across = relative - (relative @ way)[:, None] * way
        lateral = across.norm(dim=-1)
        axes = quaternion_to_matrix(model.columns["rotation"][rows].double()) * model.scale[rows].double()[:, None, :]
        extent, axis = torch.einsum("ni,nij->nj", across / lateral.clamp(min=1e-12)[:, None], axes).abs().max(-1)
        beside = (lateral - core * radius).abs() < 2.0 * extent + COARSE * width
        excess = torch.where(beside, extent / (COARSE * width), torch.zeros_like(extent))
        model, origin = _halved(model, rows, excess, axis, pinned, cap)
        if origin is None:
            return model
        mask = mask[origin]
    return model


def _halved(
    model: GaussianModel, rows: Tensor, excess: Tensor, axis: Tensor, pinned: Mapping[str, str], cap: int
) -> tuple[GaussianModel, Tensor | None]:
    """Split those of ``rows`` with an excess over 1; and which old row each new row comes from, None where nothing was split."""
    room = min(int((excess > 1.0).sum()), max(cap - len(model), 0))
    if room == 0:
        return model, None
    chosen = torch.argsort(excess, descending=True, stable=True)[:room].sort().values
    before = model
    model = split_rows(before, rows[chosen], depth=1.0, axis=axis[chosen])
    origin = torch.cat([torch.arange(len(before), device=model.device), rows[chosen]])
    shift = {name: model.columns[name] - before.columns[name][origin] for name in set(pinned.values())}
    return model.with_columns({pin: model.columns[pin] + shift[name] for pin, name in pinned.items()}), origin
