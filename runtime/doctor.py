"""What this machine offers: versions, devices, kernels and the reason for each, video encoders."""

import importlib.util
import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version

OPTIONAL = (
    "gsplat",
    "numba",
    "diffusers",
    "transformers",
    "tinycudann",
    "segment_anything",
    "moderngl",
    "glfw",
    "imgui_bundle",
    "xatlas",
)


def examine() -> dict[str, dict[str, str]]:
    """Sections of name and finding, for ``interactive3d doctor``. Builds the kernels where that has not been done yet."""
    import torch

    # Kernels register themselves when they are imported.
    from interactive3d.kernels import field_network, hash_grid, hash_refine, splat_raster, volume_render  # noqa: F401
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
        "packages": {name: _version(name) for name in OPTIONAL},
        "video": {f"{e.form} by {e.name}": "works" if e.available else e.reason for e in encoders()},
    }


def _version(name: str) -> str:
    if importlib.util.find_spec(name) is None:
        return "not installed"
    for candidate in (name, name.replace("_", "-")):
        try:
            return version(candidate)
        except PackageNotFoundError:
            continue
    return "installed"
