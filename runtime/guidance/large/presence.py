"""What is here of a large model: a folder, files in the hub's cache, packages. Nothing is loaded, and no network is asked."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from interactive3d.runtime.guidance.large.loading import PIPELINES, WEIGHTED, WHAT_FOR, check_weights, index_of
from interactive3d.runtime.guidance.large.problems import INSTALL, LargeModelProblem
from interactive3d.runtime.guidance.names import NETWORK, PIPELINE, local_folder, trouble

LIBRARIES = ("diffusers", "transformers", "huggingface_hub")
SHAPE_PARTS = ("text_encoder", "prior", "shap_e_renderer")


@dataclass(frozen=True)
class Presence:
    """What is here, in words, and whether that is enough to begin."""

    text: str
    enough: bool


def missing_packages(*names: str, install: str = INSTALL) -> Presence | None:
    """What is said of packages that are not installed; None where all are. They are looked for, not imported."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    return Presence(f"{' and '.join(missing)} not installed; {install}", False) if missing else None


def pipeline_presence(
    asked: str, folder: Path, kinds: tuple[str, ...] = PIPELINES, parts: tuple[str, ...] = WEIGHTED
) -> Presence:
    """Of a pipeline by folder or id; ``kinds`` are the classes that will do, ``parts`` what the names of parts with weights begin with."""
    if (why := trouble(asked, folder)) is not None:
        return Presence(why, False)
    place = local_folder(asked, folder)
    if place is None:
        return _in_cache(asked, PIPELINE, lambda snapshot: _whole(snapshot, kinds, parts))
    try:
        return Presence(f"{_whole(place, kinds, parts)} in {place}", True)
    except LargeModelProblem as problem:
        return Presence(str(problem).removeprefix(f"{WHAT_FOR}: "), False)


def network_presence(asked: str, folder: Path) -> Presence:
    """Of a single network of transformers by folder or id."""
    if (why := trouble(asked, folder, NETWORK)) is not None:
        return Presence(why, False)
    place = local_folder(asked, folder)
    if place is None:
        return _in_cache(asked, NETWORK, _weights)
    try:
        return Presence(f"{_weights(place)} in {place}", True)
    except LargeModelProblem as problem:
        return Presence(str(problem), False)


def _whole(place: Path, kinds: tuple[str, ...], parts: tuple[str, ...]) -> str:
    """The class of a pipeline whose weights are all here. Raises LargeModelProblem."""
    index = index_of(place / PIPELINE)
    name = str(index["_class_name"])
    if name not in kinds:
        raise _OfAnotherKind(f"{WHAT_FOR}: {place} holds a {name}; what will do is {', '.join(kinds)}")
    check_weights(place, index, parts=parts)
    return name


class _OfAnotherKind(LargeModelProblem):
    """Which fetching the rest of the files does not mend."""


def _weights(place: Path) -> str:
    if not any(place.glob("*.safetensors")):
        raise LargeModelProblem(f"{place} holds no weights (*.safetensors); download the model again, whole")
    return "weights"


def _in_cache(asked: str, marker: str, whole: Callable[[Path], str]) -> Presence:
    """Of an id: what the hub's cache holds."""
    from huggingface_hub import constants, errors, try_to_load_from_cache

    cache, offline = constants.HF_HUB_CACHE, constants.HF_HUB_OFFLINE
    try:
        found = try_to_load_from_cache(asked, marker, cache_dir=cache)
    except errors.HFValidationError:
        return Presence("is neither a folder here nor the id of a model, which looks like owner/name", False)
    fetched = "; HF_HUB_OFFLINE is set, so it is not fetched" if offline else "; fetched when first used"
    if not isinstance(found, str):
        return Presence(f"not in the cache {cache}{fetched}", not offline)
    try:
        return Presence(f"{whole(Path(found).parent)}, in the cache {cache}", True)
    except _OfAnotherKind as problem:
        return Presence(str(problem).removeprefix(f"{WHAT_FOR}: "), False)
    except LargeModelProblem:
        return Presence(f"partly in the cache {cache}{fetched}", not offline)
