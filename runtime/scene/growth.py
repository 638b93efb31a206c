"""Growing and pruning: more blobs where the picture wants to change, fewer where they are not seen (paper 3.1.3, after 3DGS).

Children inherit tags, frozen flags and whatever operations pinned to their parent, for every row change goes through
``GaussianModel.rows``. Frozen blobs are left alone. Which blobs grow, and where their children lie, depends on the model, the settings
and the generator only.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.scene.transforms import quaternion_to_matrix
from interactive3d.runtime.settings import DensifySettings

SPLIT_OFFSET = 0.7
"""Children of a split lie this many standard deviations from their parent's centre, along its longest axis."""

SPLIT_WIDTH = (1.0 - SPLIT_OFFSET**2) ** 0.5
"""What remains of the longest axis, so that the two children together have their parent's covariance."""

SPLIT_DEPTH = 0.57
"""Optical depth of each child of a split as a share of its parent's: least change of the picture, measured over random blobs and views."""

CLONE_SPREAD = 0.5
"""A clone is drawn from its parent's own Gaussian, narrowed by this."""

KEPT_AT_LEAST = 16
"""Pruning never goes below this many blobs: an empty scene takes no gradient and could not recover."""


@dataclass(frozen=True, kw_only=True)
class GrowthCount:
    """How many blobs were cloned and split; each adds one blob."""

    cloned: int = 0
    split: int = 0

    @property
    def total(self) -> int:
        return self.cloned + self.split


def mean_screen_gradient(model: GaussianModel) -> Float[Tensor, "n"]:
    """Accumulated screen-space gradient of each blob divided by the number of pictures it was seen in."""
    return model.columns["grown_gradient"] / model.columns["grown_count"].clamp(min=1.0)


def densify(
    model: GaussianModel,
    settings: DensifySettings,
    generator: torch.Generator,
    mask: Bool[Tensor, "n"] | None = None,
    *,
    threshold: float | None = None,
) -> tuple[GaussianModel, GrowthCount]:
    """Clone the small and split the large among the blobs with the steepest screen gradient.

    At most ``settings.share`` of the blobs asked about grow, never beyond ``settings.cap`` in all. ``threshold`` stands in for
    ``settings.gradient``; with a threshold of 0 a scene without statistics grows its largest blobs. The statistics of the blobs
    asked about start anew.
    """
    limit = settings.gradient if threshold is None else threshold
    asked = torch.ones(len(model), dtype=torch.bool, device=model.device) if mask is None else mask
    free = asked & ~model.columns["frozen"]
    steep = mean_screen_gradient(model)
    if limit <= 0.0 and not bool((steep[free] > 0).any()):
        steep = model.scale.amax(-1)
    wanted = free & (steep > limit)
    room = min(int(wanted.sum()), int(settings.share * int(free.sum()) + 0.5), max(settings.cap - len(model), 0))
    rank = torch.where(wanted, steep, torch.full_like(steep, -1.0))
    chosen = torch.argsort(rank, descending=True, stable=True)[:room].sort().values
    zero = dict.fromkeys(("grown_gradient", "grown_count"), torch.zeros_like)
    model = model.map_rows(asked, zero)
    if room == 0:
        return model, GrowthCount()
    large = model.scale[chosen].amax(-1) > settings.split_scale
    splits, clones = chosen[large], chosen[~large]
    model = clone_rows(split_rows(model, splits), clones, generator)
    return model, GrowthCount(cloned=clones.numel(), split=splits.numel())


def split_rows(
    model: GaussianModel, rows: Int[Tensor, "k"], depth: float = SPLIT_DEPTH, axis: Int[Tensor, "k"] | None = None
) -> GaussianModel:
    """Each of these blobs becomes two along its longest axis (or ``axis``, 0 to 2): one in its place, one appended at the end, in the
    order of ``rows``.

    Together the two have their parent's mean and covariance; each has ``depth`` times its optical depth. Both start with a fresh
    optimizer state.
    """
    if rows.numel() == 0:
        return model
    count, born = len(model), rows.numel()
    model = _with_newborn(model, rows)
    longest = model.columns["log_scale"][rows].argmax(-1) if axis is None else axis
    axes = quaternion_to_matrix(model.columns["rotation"][rows].double())
    picked = torch.arange(born, device=model.device)
    step = SPLIT_OFFSET * model.scale[rows, longest].double()[:, None] * axes[picked, :, longest]
    mean, log_scale = model.columns["mean"].clone(), model.columns["log_scale"].clone()
    children = torch.arange(count, count + born, device=model.device)
    center = mean[rows].double()
    mean[rows], mean[children] = (center + step).float(), (center - step).float()
    log_scale[rows, longest] += math.log(SPLIT_WIDTH)
    log_scale[children, longest] += math.log(SPLIT_WIDTH)
    opacity = model.columns["logit_opacity"].clone()
    thinned = _scaled_depth(opacity[rows], depth)
    opacity[rows], opacity[children] = thinned, thinned
    return model.with_columns({"mean": mean, "log_scale": log_scale, "logit_opacity": opacity})


def _scaled_depth(logit: Float[Tensor, "k"], share: float) -> Float[Tensor, "k"]:
    """Logit of 1 - (1 - o)^share, exact for opaque blobs too: 1 - o = exp(-softplus(logit))."""
    if share == 1.0:
        return logit
    log_clear = -share * torch.nn.functional.softplus(logit.double())
    return (torch.log(-torch.expm1(log_clear)) - log_clear).float()


def clone_rows(model: GaussianModel, rows: Int[Tensor, "k"], generator: torch.Generator) -> GaussianModel:
    """Each of these blobs gets a copy next to it, appended at the end; both are as opaque as lets the pair look like the one.

    Over each other, two layers of opacity 1 - sqrt(1 - o) are one of opacity o.
    """
    if rows.numel() == 0:
        return model
    count, born = len(model), rows.numel()
    noise = CLONE_SPREAD * torch.randn(born, 3, generator=generator, dtype=torch.float64).to(model.device)
    axes = quaternion_to_matrix(model.columns["rotation"][rows].double())
    offset = (axes @ (model.scale[rows].double() * noise)[..., None]).squeeze(-1)
    halved = _scaled_depth(model.columns["logit_opacity"][rows], 0.5)
    model = _with_newborn(model, rows, parents_fresh=False)
    children = torch.arange(count, count + born, device=model.device)
    mean, opacity = model.columns["mean"].clone(), model.columns["logit_opacity"].clone()
    mean[children] = (mean[children].double() + offset).float()
    opacity[rows], opacity[children] = halved, halved
    return model.with_columns({"mean": mean, "logit_opacity": opacity})


def _with_newborn(model: GaussianModel, rows: Tensor, *, parents_fresh: bool = True) -> GaussianModel:
    count = len(model)
    index = torch.cat([torch.arange(count, device=model.device), rows])
    fresh = torch.zeros(index.numel(), dtype=torch.bool, device=model.device)
    fresh[count:] = True
    if parents_fresh:
        fresh[rows] = True
    return model.rows(index, fresh)


def prune(
    model: GaussianModel,
    settings: DensifySettings,
    mask: Bool[Tensor, "n"] | None = None,
    *,
    below: float | None = None,
) -> tuple[GaussianModel, int]:
    """Drop blobs that are nearly clear or, on schedule (``below`` not given), far too large. Returns how many went.

    At least ``KEPT_AT_LEAST`` blobs of the scene stay, the most opaque ones.
    """
    opacity = model.opacity
    doomed = opacity < (settings.prune_opacity if below is None else below)
    if below is None:
        doomed = doomed | (model.scale.amax(-1) > settings.prune_scale)
    doomed = doomed & ~model.columns["frozen"]
    if mask is not None:
        doomed = doomed & mask
    if len(model) - int(doomed.sum()) < KEPT_AT_LEAST:
        doomed = doomed.clone()
        doomed[torch.argsort(opacity, descending=True, stable=True)[:KEPT_AT_LEAST]] = False
    removed = int(doomed.sum())
    return (model, 0) if removed == 0 else (model.rows((~doomed).nonzero().squeeze(1)), removed)
