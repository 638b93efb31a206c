"""AdamW for one grid's flat parameters, as a function from values to values (authors' stage II configuration)."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from interactive3d.kernels.hash_grid import GridLayout

BETAS = (0.9, 0.99)
EPSILON = 1e-15


@dataclass(frozen=True, kw_only=True)
class Moments:
    """AdamW's two moments and how many updates they have seen."""

    first: Float[Tensor, " p"]
    second: Float[Tensor, " p"]
    count: int = 0

    @classmethod
    def fresh(cls, params: Tensor) -> "Moments":
        return cls(first=torch.zeros_like(params), second=torch.zeros_like(params))


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Step sizes of tables and network, and the network's weight decay (decayed tables would forget unseen places).

    ``levels`` are factors of the tables' step size, one for each level, coarsest first; none: 1 for all.
    """

    table: float = 0.01
    network: float = 0.001
    weight_decay: float = 0.0
    levels: tuple[float, ...] = ()

    def scaled(self, factor: float) -> "Rates":
        return replace(self, table=self.table * factor, network=self.network * factor)


@torch.no_grad()
def adam_step(
    params: Float[Tensor, " p"], gradient: Float[Tensor, " p"], moments: Moments, layout: GridLayout, rates: Rates
) -> tuple[Float[Tensor, " p"], Moments]:
    """One update. A gradient that is not finite changes nothing, for one bad picture must not ruin a run."""
    if not bool(torch.isfinite(gradient.sum())):
        return params, moments
    count = moments.count + 1
    first = torch.lerp(moments.first, gradient, 1 - BETAS[0])
    second = (moments.second * BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
    correction = (1 - BETAS[1] ** count) ** 0.5
    update = (second.sqrt() / correction).add_(EPSILON)
    torch.div(first, update, out=update)
    update /= 1 - BETAS[0] ** count
    cut = layout.table_size
    new = params.clone()
    first_row = 0
    for rows, factor in zip(layout.entries, rates.levels or (1.0,) * len(layout.entries), strict=True):
        level = slice(first_row * layout.features, (first_row + rows) * layout.features)
        new[level].sub_(update[level], alpha=rates.table * factor)
        first_row += rows
    new[cut:].mul_(1 - rates.network * rates.weight_decay).sub_(update[cut:], alpha=rates.network)
    return new, Moments(first=first, second=second, count=count)
