"""Scripts checked against what this engine has: its settings, its priors, the words they know, the files that exist."""

import os
from pathlib import Path

from interactive3d.dsl import Loaded, load
from interactive3d.dsl.program import CheckContext
from interactive3d.runtime.settings import SPECS

GUIDANCES = ("embedded", "reference", "diffusers")
LIBRARY = Path(__file__).resolve().parents[2] / "scripts"


def near_words(guidance: str, word: str) -> tuple[str, ...] | None:
    """None when the prior knows the word or reads any word, else near words that it knows."""
    if guidance != "embedded":
        return None
    from interactive3d.runtime.guidance.objects.words import unknown_words

    unknown = unknown_words(word)
    return tuple(near for _, nears in unknown for near in nears) if unknown else None


def model_trouble(guidance: str, name: str, folder: Path) -> str | None:
    """Why a name cannot be that of a guidance's model; None when it may be one. Loads nothing, and asks no network."""
    if guidance != "diffusers":
        return None
    from interactive3d.runtime.guidance.names import trouble

    return trouble(name, folder)


def check_context(overrides: tuple[tuple[str, str], ...] = ()) -> CheckContext:
    """What the checker may ask of this engine."""
    return CheckContext(
        settings=tuple(SPECS.values()),
        guidances=GUIDANCES,
        near_words=near_words,
        file_exists=os.path.isfile,
        model_trouble=model_trouble,
        library=LIBRARY,
        overrides=overrides,
    )


def load_script(path: Path, overrides: tuple[tuple[str, str], ...] = ()) -> Loaded:
    """Parse and check a script with this engine's context."""
    return load(path, check_context(overrides))
