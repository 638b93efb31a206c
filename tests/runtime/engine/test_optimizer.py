"""AdamW by rows against torch's own, and what must not move."""

import pytest
import torch

from interactive3d.runtime.engine.optimizer import BETAS, EPSILON, LIMITS, adamw_step, learning_rates
from interactive3d.runtime.scene.gaussians import PARAMETERS, GaussianModel
from interactive3d.runtime.settings import LearningRates

ROWS = 17
# One step in float32 on numbers near 1: a few units in the last place.
SAME = {"rtol": 2e-6, "atol": 1e-7}


def blobs(seed: int = 0, count: int = ROWS) -> GaussianModel:
    g = torch.Generator().manual_seed(seed)
    return GaussianModel.create(
        mean=torch.randn(count, 3, generator=g) * 0.3,
        log_scale=torch.randn(count, 3, generator=g) * 0.1 - 3,
        rotation=torch.randn(count, 4, generator=g),
        color=torch.rand(count, 3, generator=g) * 0.5 + 0.25,
        logit_opacity=torch.randn(count, generator=g),
    )


def gradients(model: GaussianModel, seed: int) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {name: torch.randn(value.shape, generator=g) for name, value in model.parameters().items()}


def test_agrees_with_torch_adamw() -> None:
    model = blobs()
    rates = learning_rates(LearningRates(), 0, 100)
    ours = {name: value.clone().requires_grad_() for name, value in model.parameters().items()}
    groups = [{"params": [p], "lr": rates[n], "weight_decay": 0.01 if n == "mean" else 0.0} for n, p in ours.items()]
    theirs = torch.optim.AdamW(groups, betas=BETAS, eps=EPSILON)
    for step in range(5):
        found = gradients(model, step)
        model = adamw_step(model, found, rates, 0.01, None)
        for name, parameter in ours.items():
            parameter.grad = found[name].clone()
        theirs.step()
    for name in PARAMETERS:
        torch.testing.assert_close(model.columns[name], ours[name].detach(), **SAME)


def test_all_columns_at_once_have_the_bits_of_one_after_the_other() -> None:
    """What is made on the CPU must not depend on how the columns are gathered for a card."""
    model, rates = blobs(count=1001), learning_rates(LearningRates(), 3, 100)
    for step in range(3):
        found, before = gradients(model, step), model
        model = adamw_step(model, found, rates, 0.01, None)
        correction1, correction2 = ((1 - torch.tensor(b, dtype=torch.float64) ** (step + 1)).float() for b in BETAS)
        for name in PARAMETERS:
            first = torch.lerp(before.columns[f"first.{name}"], found[name], 1 - BETAS[0])
            second = BETAS[1] * before.columns[f"second.{name}"] + (1 - BETAS[1]) * found[name] * found[name]
            decay = 1 - rates[name] * 0.01 if name == "mean" else 1.0
            move = rates[name] * (first / correction1) / ((second / correction2).sqrt() + EPSILON)
            value = before.columns[name] * decay - move
            assert torch.equal(model.columns[name], value.clamp(*LIMITS.get(name, (-9e9, 9e9)))), name
            assert torch.equal(model.columns[f"first.{name}"], first), name
            assert torch.equal(model.columns[f"second.{name}"], second), name


def test_rows_outside_the_mask_keep_every_bit_of_every_column() -> None:
    model = adamw_step(blobs(), gradients(blobs(), 1), learning_rates(LearningRates(), 0, 10), 0.01, None)
    mask = torch.arange(ROWS) % 3 == 0
    after = adamw_step(model, gradients(model, 2), learning_rates(LearningRates(), 0, 10), 0.01, mask)
    for name, column in model.columns.items():
        assert torch.equal(after.columns[name][~mask], column[~mask]), name
    assert not torch.equal(after.mean[mask], model.mean[mask])


def test_newborn_rows_have_their_own_bias_correction() -> None:
    """A fresh row's first step has the length of the rate, however old the others are."""
    model = blobs()
    rates = learning_rates(LearningRates(), 0, 10)
    for step in range(20):
        model = adamw_step(model, gradients(model, step), rates, 0.0, None)
    index = torch.cat([torch.arange(ROWS), torch.tensor([0])])
    fresh = torch.zeros(ROWS + 1, dtype=torch.bool)
    fresh[-1] = True
    grown = model.rows(index, fresh)
    after = adamw_step(grown, gradients(grown, 99), rates, 0.0, None)
    step_length = (after.mean[-1] - grown.mean[-1]).abs()
    torch.testing.assert_close(step_length, torch.full((3,), rates["mean"]), rtol=1e-3, atol=0)


def test_a_gradient_that_is_not_finite_moves_nothing_of_its_row() -> None:
    model = blobs()
    found = gradients(model, 0)
    found["color"][4, 1] = float("nan")
    after = adamw_step(model, found, learning_rates(LearningRates(), 0, 10), 0.01, None)
    assert all(torch.equal(after.columns[n][4], model.columns[n][4]) for n in PARAMETERS)
    assert all(bool(torch.isfinite(c).all()) for c in after.columns.values())


def test_colours_stay_displayable() -> None:
    model = blobs()
    for step in range(200):
        model = adamw_step(
            model,
            {n: torch.ones_like(v) for n, v in model.parameters().items()},
            learning_rates(LearningRates(color=0.5), step, 200),
            0,
            None,
        )
    assert float(model.color.min()) >= 0.0 and float(model.color.max()) <= 1.0


def test_position_rate_decays_exponentially() -> None:
    rates = LearningRates(position=0.1, position_final=0.001)
    assert learning_rates(rates, 0, 100)["mean"] == pytest.approx(0.1)
    assert learning_rates(rates, 50, 100)["mean"] == pytest.approx(0.01)
    assert learning_rates(rates, 100, 100)["mean"] == pytest.approx(0.001)
