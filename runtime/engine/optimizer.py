"""AdamW over a Gaussian model's columns, row by row.

torch.optim.AdamW has one step count for a whole tensor and moves every row by decay and old momentum even where the gradient is
zero. Here rows that are not trainable keep every bit, newborn rows start their own bias correction, and the moments live in the
model's columns, so that row surgery and undo need no second bookkeeping.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Bool
from torch import Tensor

from interactive3d.runtime.scene.gaussians import PARAMETERS, GaussianModel, first_moment, second_moment
from interactive3d.runtime.settings import LearningRates

BETAS = (0.9, 0.999)  # paper 5.1
EPSILON = 1e-15  # as 3D Gaussian splatting: gradients of single blobs are far below torch's 1e-8
MIN_LOG_SCALE, MAX_LOG_SCALE = -9.0, 1.0
MAX_LOGIT = 9.0


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
    active = torch.ones(len(model), dtype=torch.bool, device=model.device) if mask is None else mask
    for gradient in gradients.values():
        active = active & torch.isfinite(gradient.reshape(len(model), -1)).all(-1)
    # On a graphics card asking costs more than choosing row by row: the processor would wait for the gradients.
    everything = model.device.type == "cpu" and bool(active.all())
    updates = model.columns["updates"] + active.int()
    count = updates.clamp(min=1).double()
    correction1 = (1 - BETAS[0] ** count).float()
    correction2 = (1 - BETAS[1] ** count).float()
    columns: dict[str, Tensor] = {"updates": updates}
    for name in PARAMETERS:
        value, gradient = model.columns[name], gradients[name]
        first, second = model.columns[first_moment(name)], model.columns[second_moment(name)]
        shape = (-1, *([1] * (value.dim() - 1)))
        new_first = torch.lerp(first, gradient, 1 - BETAS[0])
        new_second = BETAS[1] * second + (1 - BETAS[1]) * gradient * gradient
        denominator = (new_second / correction2.reshape(shape)).sqrt_().add_(EPSILON)
        decay = 1 - rates[name] * weight_decay if name == "mean" else 1.0
        new_value = value * decay - rates[name] * (new_first / correction1.reshape(shape)) / denominator
        if name == "color":
            new_value = new_value.clamp(0.0, 1.0)
        elif name == "log_scale":
            new_value = new_value.clamp(MIN_LOG_SCALE, MAX_LOG_SCALE)
        elif name == "logit_opacity":
            new_value = new_value.clamp(-MAX_LOGIT, MAX_LOGIT)
        if not everything:
            rows = active.reshape(shape)
            new_value = torch.where(rows, new_value, value)
            new_first = torch.where(rows, new_first, first)
            new_second = torch.where(rows, new_second, second)
        columns[name] = new_value
        columns[first_moment(name)] = new_first
        columns[second_moment(name)] = new_second
    return model.with_columns(columns)
