"""What this machine offers: versions, devices, kernels and the reason for each, video encoders."""

import importlib.util
import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

OPTIONAL = (
    "gsplat",
    "numba",
    "diffusers",
    "transformers",
    "accelerate",
    "torchvision",
    "tinycudann",
    "segment_anything",
    "open_clip",
    "moderngl",
    "glfw",
    "imgui_bundle",
    "xatlas",
)


def examine() -> dict[str, dict[str, str]]:
    """Sections of name and finding, for ``interactive3d doctor``. Builds the kernels where that has not been done yet."""
    import torch

    # Kernels register themselves when they are imported.
    from interactive3d.kernels import field_network, group_norm, hash_grid, hash_refine, splat_raster, volume_render  # noqa: F401
    from interactive3d.kernels._library import status
    from interactive3d.runtime.output.video import encoders

    machine = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": str(os.cpu_count()),
        "C++ compiler": shutil.which("c++") or shutil.which("g++") or "none: kernels fall back to the slow reference",
        "torch": f"{torch.__version__}, {torch.get_num_threads()} threads",
        "CUDA": torch.cuda.get_device_name() if torch.cuda.is_available() else "none that torch can use",
        "display": os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or "none",
    }
    kernels = {f"{s.name} on {s.device}": f"{s.implementation} ({s.reason})" for s in status(build=True)}
    return {
        "machine": machine,
        "kernels": kernels,
        "large models": large_models(),
        "packages": {name: _version(name) for name in OPTIONAL},
        "video": {f"{e.form} by {e.name}": "works" if e.available else e.reason for e in encoders()},
    }


def large_models() -> dict[str, str]:
    """What `guidance diffusers`, first points from text, `eval --judge clip:…` and clicks would use here; loads none of it."""
    import torch

    from interactive3d.runtime.engine.segmenters import segmenter_presence, text_segmenter_presence
    from interactive3d.runtime.guidance.large.compiling import describe_compiling
    from interactive3d.runtime.guidance.large.loading import DEFAULT_MODEL
    from interactive3d.runtime.guidance.large.memory import GIGABYTE, free_memory
    from interactive3d.runtime.guidance.large.presence import (
        LIBRARIES,
        SHAPE_PARTS,
        missing_packages,
        pipeline_presence,
    )
    from interactive3d.runtime.guidance.large.shap_e import DEFAULT_SHAPE_MODEL

    missing = missing_packages(*LIBRARIES)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    free = free_memory(device)
    found = {
        "guidance diffusers": missing.text
        if missing is not None
        else f"diffusers {_version('diffusers')}, transformers {_version('transformers')}",
        "memory ladder": "unknown" if free is None else f"{free / GIGABYTE:.1f} GB free on {device}",
        "compiled models": describe_compiling(device),
        "judges": ", ".join(
            [
                "embedded",
                *(() if missing_packages("transformers") else ("clip:ID_OR_FOLDER",)),
                *(() if missing_packages("open_clip") else ("open_clip:ID_OR_FOLDER",)),
            ]
        ),
        "clicks": segmenter_presence().text,
        "segment by text": text_segmenter_presence().text,
        "multi-view prior": "none: no library that loads one without running code from the hub (docs/large_models.md)",
    }
    if missing is None:
        from huggingface_hub import constants

        found["model cache"] = f"{constants.HF_HUB_CACHE}{', offline' if constants.HF_HUB_OFFLINE else ''}"
        shapes = pipeline_presence(DEFAULT_SHAPE_MODEL, Path(), ("ShapEPipeline",), SHAPE_PARTS)
        found["default model"] = f"{DEFAULT_MODEL}, {pipeline_presence(DEFAULT_MODEL, Path()).text}"
        found["first points"] = f"{DEFAULT_SHAPE_MODEL}, {shapes.text}"
    return found


def _version(name: str) -> str:
    if importlib.util.find_spec(name) is None:
        return "not installed"
    for candidate in (name, name.replace("_", "-"), f"{name}_torch"):
        try:
            return version(candidate)
        except PackageNotFoundError:
            continue
    return "installed"
