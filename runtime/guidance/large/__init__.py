"""Large diffusion models by the diffusers library, behind the same protocol as the embedded prior (docs/large_models.md).

Importing this package loads neither diffusers nor transformers; `load` does.
"""

from interactive3d.runtime.guidance.large.guidance import DiffusersGuidance
from interactive3d.runtime.guidance.large.loading import DEFAULT_MODEL
from interactive3d.runtime.guidance.large.problems import LargeModelProblem

__all__ = ["DEFAULT_MODEL", "DiffusersGuidance", "LargeModelProblem"]
