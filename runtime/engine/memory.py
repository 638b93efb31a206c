"""Memory that ran out: the setting with which a run goes on with less."""

from interactive3d.dsl.operations import SettingValue
from interactive3d.runtime.engine.stage2 import DistillTerm
from interactive3d.runtime.engine.state import RunState
from interactive3d.runtime.guidance.protocol import Guidance
from interactive3d.runtime.settings import spec


def lighter(state: RunState, guidance: Guidance) -> tuple[str, SettingValue] | None:
    """A setting and a value for it with which the next step takes less memory; None where all of them are as low as they go."""
    large = guidance.name == "diffusers"
    if large and state.settings.large.memory != "auto":
        return "large.memory", "auto"
    if any(isinstance(term, DistillTerm) for term in state.terms):
        return _halved(state, "distill.rays")
    smaller = getattr(guidance, "smaller_side", lambda: None)()
    return (
        _halved(state, "camera.batch")
        or (("large.size", smaller) if smaller is not None else None)
        or _halved(state, "guidance.size")
    )


def _halved(state: RunState, path: str) -> tuple[str, SettingValue] | None:
    value, low = state.settings.get(path), spec(path).low
    assert isinstance(value, int) and low is not None
    return (path, max(value // 2, int(low))) if value > low else None
