"""What can be wrong with a large model, said so that a person can act on it."""

from importlib import import_module
from types import ModuleType

INSTALL = "pip install 'interactive3d[large]'"


class LargeModelProblem(ValueError):
    """A large model that cannot be used: what was asked for, where it was looked for, what to do."""


class OutOfMemory(LargeModelProblem):
    """A large model that wants more memory than there is, whatever it was spared."""


def need(package: str, what_for: str, install: str = INSTALL) -> ModuleType:
    """The module, imported.

    Raises:
        LargeModelProblem: it is not installed, or cannot be imported here.
    """
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if error.name == package.partition(".")[0]:
            raise LargeModelProblem(f"{what_for} needs {package}, which is not installed; {install}") from None
        raise LargeModelProblem(
            f"{what_for} needs {package}, which lacks {error.name}; {install} puts all of it in place"
        ) from error
    except (ImportError, RuntimeError) as error:
        raise LargeModelProblem(
            f"{what_for} needs {package}, which is installed but does not load: {error}; install versions that fit together: {install}"
        ) from error


def hub_problem(error: Exception, asked: str, what_for: str) -> LargeModelProblem | None:
    """The hub's error in words: missing, gated, offline, no such file; None for what is none of the hub's errors."""
    from huggingface_hub import constants
    from huggingface_hub import errors as hub

    cache = constants.HF_HUB_CACHE
    page = f"{constants.ENDPOINT}/{asked}"
    offline = (
        f"without a network: copy the model's folder from a machine that has it and name the folder, or download it there with "
        f"`hf download {asked}` and copy its cache to {cache}"
    )
    match error:
        case hub.GatedRepoError():
            return LargeModelProblem(
                f"{what_for}: the model {asked!r} is gated; accept its terms at {page}, then `hf auth login` "
                f"(or set HF_TOKEN) with the same account and run again"
            )
        case hub.RepositoryNotFoundError():
            return LargeModelProblem(
                f"{what_for}: there is no model {asked!r} at {constants.ENDPOINT}, or it is private and you are not logged in, "
                f"and no folder of that name; check the spelling at {page}, name a local folder, or `hf auth login`"
            )
        case hub.OfflineModeIsEnabled() | hub.LocalEntryNotFoundError():
            return LargeModelProblem(
                f"{what_for}: the model {asked!r} is neither a folder here nor in the cache {cache}, and the hub {constants.ENDPOINT} "
                f"cannot be reached (offline, or HF_HUB_OFFLINE is set); {offline}"
            )
        case hub.EntryNotFoundError():
            return LargeModelProblem(
                f"{what_for}: the model {asked!r} has no file {_file_of(error)}, so it is not in the layout of diffusers; "
                f"pick one whose page {page} lists a model_index.json"
            )
        case hub.HFValidationError():
            return LargeModelProblem(
                f"{what_for}: {asked!r} is neither a folder here nor the id of a model, which looks like owner/name"
            )
        case hub.HfHubHTTPError():
            status = getattr(error.response, "status_code", "?")
            return LargeModelProblem(
                f"{what_for}: asking {constants.ENDPOINT} for {asked!r} failed with status {status}; try again later, or {offline}"
            )
    return None


def _file_of(error: Exception) -> str:
    return "model_index.json" if "model_index" in str(error) else "that was asked for"
