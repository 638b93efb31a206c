"""CUDA sources compiled for the CPU, so that they can be run where there is no GPU.

`cuda_on_cpu/` stands in for CUDA's headers, for cub's and for those of torch's CUDA half: barriers, shared memory and exchanges within a warp
work, and threads take turns in an order that is drawn anew, so a missing barrier shows. What it cannot show: races between two barriers
of one warp, launch limits, how the card rounds, speed.
"""

import ctypes
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from interactive3d.kernels import _build

HEADERS = Path(__file__).parent / "cuda_on_cpu"
_NAME = r"\w+(?:<[\w, ]+>)?"
_LAUNCH = re.compile(rf"({_NAME})<<<(.+?), (dim3\([^)]*\)|{_NAME}), 0, stream>>>\(")


@dataclass(frozen=True)
class Emulated:
    """The operators of a CUDA kernel, on CPU tensors."""

    operators: Any
    set_order: Callable[[int], None]
    """Draws the order of the threads anew."""


def build(name: str, sources: tuple[str, ...], folder: Path) -> Emulated:
    """Compile the sources of a CUDA kernel and load their operators into torch's namespace `i3d_emulated_<name>`.

    Raises:
        BuildError: the compiler refuses; the message says why.
    """
    torch_folder = Path(torch.__file__).parent
    includes = [HEADERS, _build.SOURCES, _build.SOURCES / "cuda", torch_folder / "include"]
    command = [_build.find_compiler(), "-O1", "-std=c++20", "-fPIC", "-fpermissive", "-w", "-march=native"]
    # The fibers change stacks, which the checks of longjmp take for an error.
    command += ["-U_FORTIFY_SOURCE", f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"]
    command += [part for path in includes for part in ("-I", str(path))]
    namespace, objects, jobs = f"i3d_emulated_{name}", [], []
    for source in sources:
        path = folder / (Path(source).stem + "_emulated.cpp")
        path.write_text(_for_cpu((_build.SOURCES / source).read_text(), namespace))
        objects.append(str(path.with_suffix(".o")))
        # What only newer cards have is tried too; torch's headers would take the macro for a card's compiler.
        newest = ["-D__CUDA_ARCH__=900"] if source.endswith(".cu") else []
        jobs.append([*command, *newest, "-c", str(path), "-o", objects[-1]])
    library = folder / f"{namespace}.so"
    link = [command[0], "-shared", *objects, f"-L{torch_folder / 'lib'}", "-ltorch", "-ltorch_cpu", "-lc10"]
    for job in (*jobs, [*link, "-o", str(library)]):
        done = subprocess.run(job, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise _build.BuildError(done.stderr[-3000:])
    torch.ops.load_library(str(library))
    return Emulated(getattr(torch.ops, namespace), ctypes.CDLL(str(library)).cuda_on_cpu_set_order)


def _for_cpu(text: str, namespace: str) -> str:
    """Launches become calls that run the grid's blocks one after the other; the operators get a namespace of their own."""
    text = _LAUNCH.sub(
        r"([&](dim3 grid, dim3 block) { return [=](auto... arguments) { "
        r"cuda_on_cpu::launch(grid, block, [=] { \1(arguments...); }); }; })(\2, \3)(",
        text,
    )
    assert "<<<" not in text, "a launch that is written in another way"
    text = re.sub(r"TORCH_LIBRARY_IMPL\(i3d, CUDA, m\)", f"TORCH_LIBRARY({namespace}, m)", text)
    text = re.sub(r"m\.impl\(", "m.def(", text)
    if f"TORCH_LIBRARY({namespace}" in text:
        text += '\nextern "C" void cuda_on_cpu_set_order(uint64_t seed) { cuda_on_cpu::set_order(seed); }\n'
    return text
