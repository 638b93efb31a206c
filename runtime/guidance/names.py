"""Names of large models, as scripts and the environment give them: folders here, or ids of the hub. Nothing is loaded or fetched."""

import os
from itertools import islice
from pathlib import Path

PIPELINE = "model_index.json"
"""What a pipeline's folder holds; that of a single network holds ``NETWORK``."""
NETWORK = "config.json"
LOOSE_SUFFIXES = (".safetensors", ".ckpt", ".pth", ".bin", ".gguf")
SHOWN = 6
"""So many names of what a folder holds tell which folder it is."""
LOOKED_AT = 1000


def places(asked: str, folder: Path) -> tuple[Path, ...]:
    """Where a name is looked for: beside the script, which lies in ``folder``, then where the program runs."""
    path = os.path.expanduser(asked)
    return tuple(dict.fromkeys((Path(os.path.abspath(folder / path)), Path(os.path.abspath(path)))))


def local_folder(asked: str, folder: Path) -> Path | None:
    """The folder of that name; None where there is none, so that it may be an id."""
    return next((place for place in places(asked, folder) if os.path.isdir(place)), None)


def trouble(asked: str, folder: Path, marker: str = PIPELINE) -> str | None:
    """Why a name cannot be that of a model here; None for a folder with ``marker`` in it and for what may be an id."""
    for place in places(asked, folder):
        if os.path.isdir(place):
            return None if os.path.isfile(place / marker) else _no_model(place, marker)
        if os.path.isfile(place):
            return (
                f"{place} is a single file, a folder in the hub's layout is expected; for a Stable Diffusion checkpoint: "
                f"StableDiffusionPipeline.from_single_file({asked!r}).save_pretrained('folder')"
            )
    if not looks_like_path(asked):
        return None
    looked = " nor ".join(str(place) for place in places(asked, folder))
    return f"there is no folder {looked}, and {asked!r} is not the id of a model, which looks like owner/name"


def looks_like_path(asked: str) -> bool:
    """Whether a name cannot be an id."""
    return asked.startswith((".", "/", "~")) or asked.count("/") != 1 or "\\" in asked or asked.endswith(LOOSE_SUFFIXES)


def _no_model(place: Path, marker: str) -> str:
    try:
        with os.scandir(place) as entries:
            held = [entry.name for entry in islice(entries, LOOKED_AT)]
    except OSError as error:
        return f"the folder {place} cannot be looked into: {error.strerror}"
    listed = ", ".join(sorted(held)[:SHOWN]) + (", …" if len(held) > SHOWN else "") if held else "nothing"
    return (
        f"the folder {place} holds no {marker} (it holds {listed}); name the folder that `save_pretrained` or "
        f"`hf download --local-dir` wrote, the one with {marker} in it"
    )
