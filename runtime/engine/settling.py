"""What an interaction leaves behind when it ends: the finished model, the rows that are settled, the repair that the script asks for."""

from jaxtyping import Bool
from torch import Tensor

from interactive3d.dsl.program import RepairPolicy
from interactive3d.runtime.operations.base import Environment, Term
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.settings import Settings

TOUCHED = "session.touched"


def close_term(
    term: Term, model: GaussianModel, environment: Environment
) -> tuple[GaussianModel, Bool[Tensor, "n"] | None]:
    """The model after a term's last touches, and the rows that the term was about, newborn ones included.

    The rows ride along as a pinned column, for finishing may add and drop rows.
    """
    rows = term.trainable(model, environment)
    if rows is None:
        return term.finish(model, environment), None
    ended = term.finish(model.with_columns({TOUCHED: rows}), environment)
    return ended.without_columns(TOUCHED), ended.columns[TOUCHED]


def settle(model: GaussianModel, rows: Bool[Tensor, "n"] | None) -> GaussianModel:
    """These rows are as a person wants them: the run's own prompt leaves them alone from now on (`guidance.settled`).

    What concerned every blob settles none, or nothing would be left to optimize.
    """
    if rows is None or not bool(rows.any()) or bool(rows.all()):
        return model
    return model.with_columns({"settled": model.columns["settled"] | rows})


def follow_policy(settings: Settings, policy: RepairPolicy | None) -> Settings:
    """The script's `repair …` setting is made of the same numbers as the `repair.` settings."""
    if policy is None:
        return settings
    changes: dict[str, object] = {"repair.enabled": policy.enabled}
    if policy.steps is not None:
        changes["repair.steps"] = policy.steps
    if policy.noise is not None:
        changes["repair.noise_min"], changes["repair.noise_max"] = policy.noise
    if policy.anchor is not None:
        changes["repair.anchor"] = policy.anchor
    for path, value in changes.items():
        settings = settings.set(path, value)  # type: ignore[arg-type]
    return settings
