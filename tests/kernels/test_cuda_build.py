"""The CUDA sources compile for the cards that are named, and the libraries are built, linked and loaded for real.

All but the launches can be seen where torch knows CUDA but there is no card. A torch without CUDA cannot; name an interpreter whose torch
can in INTERACTIVE3D_CUDA_PYTHON (it needs jaxtyping besides), and nvcc must be of the same major version.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from interactive3d.kernels import _build, group_norm, hash_grid, splat_raster

SOURCES = (*splat_raster.KERNEL.cuda, *hash_grid.KERNEL.cuda, *group_norm.KERNEL.cuda)
needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")

PYTHON = os.environ.get("INTERACTIVE3D_CUDA_PYTHON", sys.executable)
PROGRAM = """
import sys
import torch
from interactive3d.kernels import _build, group_norm, hash_grid, hash_refine, splat_raster, volume_render

torch.cuda.get_device_capability = lambda *device: (int(sys.argv[1]), 0)
for kernel in (splat_raster.KERNEL, hash_grid.KERNEL, group_norm.KERNEL):
    path, reason = _build.build(kernel.name, kernel.cuda, "cuda")
    torch.ops.load_library(str(path))
names = [n for n in torch._C._dispatch_get_all_op_names() if n.startswith("i3d::") and "reference_" not in n]
assert len(names) == 16, names
missing = [n for n in names if not torch._C._dispatch_has_kernel_for_dispatch_key(n, "CUDA")]
assert not missing, missing
print("all there")
"""


def cuda_of_torch() -> str | None:
    """The CUDA version that the interpreter's torch was built with."""
    asked = [PYTHON, "-c", "import torch; print(torch.version.cuda or '')"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() or None


@pytest.mark.slow
@needs_nvcc
@pytest.mark.parametrize("source", [s for s in SOURCES if s.endswith(".cu")])
def test_compiles_for_ampere_and_hopper(source: str, tmp_path: Path) -> None:
    """Without a warning; and no kernel has more numbers at once than a thread has registers, which would cost it its speed."""
    command = [
        _build.find_nvcc(),
        "-O3",
        "-std=c++17",
        "-I",
        str(_build.SOURCES),
        "-Werror",
        "all-warnings",
        "-Xptxas",
        "-v",
    ]
    command += [f"-gencode=arch=compute_{n},code=sm_{n}" for n in (80, 90)]
    target = tmp_path / "kernel.o"
    made = [*command, "-c", str(_build.SOURCES / source), "-o", str(target)]
    done = subprocess.run(made, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert target.stat().st_size > 0
    spilled = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", done.stderr)
    kernels = re.findall(r"Compiling entry function", done.stderr)
    assert len(spilled) >= len(kernels) > 0
    assert set(spilled) == {("0", "0")}


@pytest.mark.slow
@needs_nvcc
@pytest.mark.parametrize("source", [s for s in SOURCES if s.endswith(".cpp")])
def test_binding_compiles(source: str) -> None:
    """Against torch's own headers, with CUDA's beside them (a torch built without CUDA lacks one generated header)."""
    torch_headers = Path(torch.__file__).parent / "include"
    command = [_build.find_compiler(), "-std=c++20", "-fsyntax-only", "-DC10_USING_CUSTOM_GENERATED_MACROS"]
    command += ["-I", str(_build.SOURCES), "-I", str(torch_headers), "-I", str(_build.cuda_home() / "include")]
    done = subprocess.run([*command, str(_build.SOURCES / source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@needs_nvcc
@pytest.mark.parametrize("major", [8, 9], ids=["sm_80", "sm_90"])
def test_every_operator_gets_its_cuda_half(major: int, tmp_path: Path) -> None:
    version = cuda_of_torch()
    if version is None:
        pytest.skip("torch was built without CUDA; see INTERACTIVE3D_CUDA_PYTHON")
    (tmp_path / "interactive3d").mkdir()
    (tmp_path / "interactive3d" / "kernels").symlink_to(Path(_build.__file__).parent)
    environment = os.environ | {"PYTHONPATH": str(tmp_path), _build.CACHE_VARIABLE: str(tmp_path / "cache")}
    done = subprocess.run(
        [PYTHON, "-W", "ignore", "-c", PROGRAM, str(major)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=tmp_path,
    )
    assert done.returncode == 0, f"torch's CUDA {version}\n{done.stderr[-4000:]}"
    assert done.stdout.strip() == "all there"
