"""AdamW over a Gaussian model's columns, row by row.

torch.optim.AdamW has one step count for a whole tensor and moves every row by decay and old momentum even where the gradient is
zero. Here rows that are not trainable keep every bit, newborn rows start their own bias correction, and the moments live in the
model's columns, so that row surgery and undo need no second bookkeeping.

`torch._foreach_…` are the functions of torch's own optimizers: one launch for all columns on a graphics card, on the CPU a loop over them
with the bits of the single operations.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Bool
from torch import Tensor

from interactive3d.runtime.scene.gaussians import PARAMETERS, GaussianModel, first_moment, second_moment
from interactive3d.runtime.settings import LearningRates

BETAS = (0.9, 0.999)  # paper 5.1
EPSILON = 1e-15  # as 3D Gaussian splatting: gradients of single blobs are far below torch's 1e-8
LIMITS = {"log_scale": (-9.0, 1.0), "color": (0.0, 1.0), "logit_opacity": (-9.0, 9.0)}


def learning_rates(rates: LearningRates, step: int, steps: int) -> dict[str, float]:
    """Step sizes by column; the position's decays exponentially from the first step to the last (authors' stage I configuration)."""
    share = min(max(step / max(steps, 1), 0.0), 1.0)
    if rates.position > 0 and rates.position_final > 0:
        position = rates.position ** (1 - share) * rates.position_final**share
    else:
        position = rates.position * (1 - share) + rates.position_final * share
    return {
        "mean": position,
        "log_scale": rates.scale,
        "rotation": rates.rotation,
        "color": rates.color,
        "logit_opacity": rates.opacity,
    }


def adamw_step(
    model: GaussianModel,
    gradients: Mapping[str, Tensor],
    rates: Mapping[str, float],
    weight_decay: float,
    mask: Bool[Tensor, "n"] | None,
) -> GaussianModel:
    """One step for the rows of ``mask`` (all when None). Rows whose gradient is not finite are left as they are.

    Colours stay in 0 .. 1; log scales and logit opacities in the range that float32 can square.
    """
    values = [model.columns[name] for name in PARAMETERS]
    firsts = [model.columns[first_moment(name)] for name in PARAMETERS]
    seconds = [model.columns[second_moment(name)] for name in PARAMETERS]
    slopes = [gradients[name] for name in PARAMETERS]
    active = torch.cat([slope.reshape(len(model), -1) for slope in slopes], dim=1).isfinite().all(-1)
    if mask is not None:
        active = active & mask
    updates = model.columns["updates"] + active.int()
    count = updates.clamp(min=1).double()
    correction1, correction2 = ((1 - beta**count).float() for beta in BETAS)

    new_firsts = torch._foreach_lerp(firsts, slopes, 1 - BETAS[0])
    squares = torch._foreach_mul(torch._foreach_mul(slopes, 1 - BETAS[1]), slopes)
    new_seconds = torch._foreach_add(torch._foreach_mul(seconds, BETAS[1]), squares)
    deviations = [second / _beside(second, correction2) for second in new_seconds]
    torch._foreach_sqrt_(deviations)
    torch._foreach_add_(deviations, EPSILON)
    moves = [first / _beside(first, correction1) for first in new_firsts]
    torch._foreach_mul_(moves, [rates[name] for name in PARAMETERS])
    torch._foreach_div_(moves, deviations)
    shrunk = torch._foreach_mul(
        values, [1 - rates[name] * weight_decay if name == "mean" else 1.0 for name in PARAMETERS]
    )
    new_values = torch._foreach_sub(shrunk, moves)

    # On a graphics card asking costs more than choosing row by row: the processor would wait for the gradients.
    everything = model.device.type == "cpu" and bool(active.all())
    columns: dict[str, Tensor] = {"updates": updates}
    for i, name in enumerate(PARAMETERS):
        value = new_values[i].clamp(*LIMITS[name]) if name in LIMITS else new_values[i]
        changed = (
            (name, value, values[i]),
            (first_moment(name), new_firsts[i], firsts[i]),
            (second_moment(name), new_seconds[i], seconds[i]),
        )
        for column, new, old in changed:
            columns[column] = new if everything else torch.where(_beside(old, active), new, old)
    return model.with_columns(columns)


def _beside(column: Tensor, row: Tensor) -> Tensor:
    """What is known of each row, shaped to meet a column of any width."""
    return row.reshape(-1, *([1] * (column.dim() - 1)))
