"""The judge: a small image-text matcher that scores pictures against prompts, trained apart from the prior."""

from interactive3d.runtime.guidance.judge.judge import Attributes, Judge

__all__ = ["Attributes", "Judge"]
