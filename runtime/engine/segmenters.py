"""Which segmenter answers clicks: the embedded one, unless the environment names another."""

import os
from pathlib import Path

from interactive3d.runtime.scene.segmenter import (
    EmbeddedSegmenter,
    Segmenter,
    TextSegmenter,
    use_segmenter,
    use_text_segmenter,
)

VARIABLE = "INTERACTIVE3D_SEGMENTER"
"""``embedded``, ``sam:CHECKPOINT.pth`` or ``sam:ID_OR_FOLDER``."""


TEXT_VARIABLE = "INTERACTIVE3D_TEXT_SEGMENTER"
"""The id or folder of a CLIPSeg model, for ``segment "…"``."""


def chosen_segmenter() -> str:
    """What the environment names."""
    return os.environ.get(VARIABLE, "").strip() or "embedded"


def settle_segmenter(folder: Path, device: str) -> None:
    """Lets the segmenters that the environment names answer clicks and texts; each is loaded when first asked."""
    _settle_text_segmenter(folder, device)
    choice = chosen_segmenter()
    if choice == "embedded":
        use_segmenter(None)
        return

    def load() -> Segmenter:
        from interactive3d.runtime.guidance.large.segment_anything import load_segmenter

        return load_segmenter(choice, folder, device)

    use_segmenter(load)


def _settle_text_segmenter(folder: Path, device: str) -> None:
    model = os.environ.get(TEXT_VARIABLE, "").strip()
    if not model:
        use_text_segmenter(None)
        return

    def load() -> TextSegmenter:
        from interactive3d.runtime.guidance.large.clipseg import ClipSeg

        return ClipSeg(model, folder, device)

    use_text_segmenter(load)


def has_text_segmenter() -> bool:
    """Whether the environment names a segmenter for texts. Loads nothing."""
    return bool(os.environ.get(TEXT_VARIABLE, "").strip())


def describe_text_segmenter() -> str:
    """One line for ``doctor``."""
    model = os.environ.get(TEXT_VARIABLE, "").strip()
    return f"{model} ({TEXT_VARIABLE})" if model else f"none: {TEXT_VARIABLE} names a CLIPSeg model"


def describe_segmenter() -> str:
    """One line for ``doctor``."""
    choice = chosen_segmenter()
    return EmbeddedSegmenter.name if choice == "embedded" else f"{choice} ({VARIABLE})"
