"""Which segmenter answers clicks: the embedded one, unless the environment names another."""

import os
from pathlib import Path

from interactive3d.runtime.guidance.large.presence import LIBRARIES, Presence, missing_packages, network_presence
from interactive3d.runtime.guidance.names import places
from interactive3d.runtime.scene.segmenter import (
    EmbeddedSegmenter,
    Segmenter,
    TextSegmenter,
    use_segmenter,
    use_text_segmenter,
)

EXPECTED = "embedded, sam:CHECKPOINT.pth (segment-anything) or sam:ID_OR_FOLDER (transformers)"
CHECKPOINTS = (".pth", ".pt")
INSTALL_SAM = "pip install segment-anything torchvision"
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


def segmenter_presence(folder: Path | None = None) -> Presence:
    """Who answers clicks, and what is here of it, for a script in ``folder`` where there is one. Loads nothing."""
    choice = chosen_segmenter()
    kind, _, model = choice.partition(":")
    if choice == "embedded":
        return Presence(EmbeddedSegmenter.name, True)
    if kind != "sam" or not model:
        return Presence(f"{choice} ({VARIABLE}) is not known: expected {EXPECTED}", False)
    found = _checkpoint if model.endswith(CHECKPOINTS) else _network
    return _named(f"{choice} ({VARIABLE})", found(model, folder or Path()), folder)


def text_segmenter_presence(folder: Path | None = None) -> Presence:
    """Who answers texts, and what is here of it, for a script in ``folder`` where there is one. Loads nothing."""
    model = os.environ.get(TEXT_VARIABLE, "").strip()
    if not model:
        return Presence(f"none: {TEXT_VARIABLE} names a CLIPSeg model, such as CIDAS/clipseg-rd64-refined", False)
    return _named(f"{model} ({TEXT_VARIABLE})", _network(model, folder or Path()), folder)


def _network(model: str, folder: Path) -> Presence:
    return missing_packages(*LIBRARIES) or network_presence(model, folder)


def _checkpoint(model: str, folder: Path) -> Presence:
    lacking = missing_packages("segment_anything", "torchvision", install=INSTALL_SAM)
    if lacking is not None:
        return lacking
    found = next((path for path in places(model, folder) if path.is_file()), None)
    if found is not None:
        return Presence(f"checkpoint {found}", True)
    return Presence(f"there is no checkpoint {' nor '.join(map(str, places(model, folder)))}", False)


def _named(name: str, found: Presence, folder: Path | None) -> Presence:
    elsewhere = "; a script's own folder is looked in too" if folder is None and not found.enough else ""
    return Presence(f"{name}: {found.text}{elsewhere}", found.enough)
