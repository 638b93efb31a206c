"""Which segmenter answers clicks: the embedded one, unless the environment names another."""

import os
from pathlib import Path

from interactive3d.runtime.scene.segmenter import EmbeddedSegmenter, Segmenter, use_segmenter

VARIABLE = "INTERACTIVE3D_SEGMENTER"
"""``embedded``, ``sam:CHECKPOINT.pth`` or ``sam:ID_OR_FOLDER``."""


def chosen_segmenter() -> str:
    """What the environment names."""
    return os.environ.get(VARIABLE, "").strip() or "embedded"


def settle_segmenter(folder: Path, device: str) -> None:
    """Lets the segmenter that the environment names answer clicks; it is loaded at the first click."""
    choice = chosen_segmenter()
    if choice == "embedded":
        use_segmenter(None)
        return

    def load() -> Segmenter:
        from interactive3d.runtime.guidance.large.segment_anything import load_segmenter

        return load_segmenter(choice, folder, device)

    use_segmenter(load)


def describe_segmenter() -> str:
    """One line for ``doctor``."""
    choice = chosen_segmenter()
    return EmbeddedSegmenter.name if choice == "embedded" else f"{choice} ({VARIABLE})"
