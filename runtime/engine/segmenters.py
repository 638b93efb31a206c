"""Which segmenter answers clicks: the embedded one, unless the environment names another."""

import importlib.util
import os
from pathlib import Path

from interactive3d.runtime.scene.segmenter import (
    EmbeddedSegmenter,
    Segmenter,
    TextSegmenter,
    use_segmenter,
    use_text_segmenter,
)

EXPECTED = "embedded, sam:CHECKPOINT.pth (segment-anything) or sam:ID_OR_FOLDER (transformers)"
CHECKPOINTS = (".pth", ".pt")
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
    if not model:
        return f"none: {TEXT_VARIABLE} names a CLIPSeg model"
    return f"{model} ({TEXT_VARIABLE}){_trouble(model, 'transformers')}"


def describe_segmenter() -> str:
    """One line for ``doctor``: who answers clicks, and what would stand in the way."""
    choice = chosen_segmenter()
    if choice == "embedded":
        return EmbeddedSegmenter.name
    kind, _, model = choice.partition(":")
    if kind != "sam" or not model:
        trouble = f"; not known: expected {EXPECTED}"
    else:
        trouble = _trouble(model, "segment_anything" if model.endswith(CHECKPOINTS) else "transformers")
    return f"{choice} ({VARIABLE}){trouble}"


def _trouble(model: str, package: str) -> str:
    """What can be told without loading anything: a package that is not there, a path to nothing."""
    if importlib.util.find_spec(package) is None:
        return f"; {package} is not installed"
    path = Path(model).expanduser()
    wants_path = model.endswith(CHECKPOINTS) or model.startswith((".", "/", "~")) or model.count("/") != 1
    if wants_path and not path.exists():
        return f"; there is no {path.absolute()}" + ("" if path.is_absolute() else ", unless it lies beside the script")
    return ""
