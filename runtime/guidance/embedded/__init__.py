"""The prior that ships with the tool: a small diffusion model trained on the project's own generated objects (docs/prior.md)."""

from interactive3d.runtime.guidance.embedded.prior import Condition, EmbeddedPrior

__all__ = ["Condition", "EmbeddedPrior"]
