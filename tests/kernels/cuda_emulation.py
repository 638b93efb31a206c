"""CUDA sources compiled for the CPU, thread after thread, so that their arithmetic and their binding can be tested without a GPU.

Launches become loops, atomic additions plain ones, and sums over a warp are left to the additions. What it cannot show: races,
launch limits, speed.
"""

import re
import subprocess
from pathlib import Path

import torch

from interactive3d.kernels import _build

NAMESPACE = "i3d_emulated"

_RUNTIME = """
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#define __global__
#define __device__
#define __host__
struct Place3 { unsigned x = 0, y = 0, z = 0; };
inline Place3 blockIdx, blockDim, threadIdx;
using cudaStream_t = void*;
enum { cudaMemcpyHostToDevice };
inline int cudaMemcpyAsync(void* to, const void* from, size_t bytes, int, cudaStream_t) {
    if (bytes) std::memcpy(to, from, bytes);
    return 0;
}
template <class T> void atomicAdd(T* to, T value) { *to += value; }
template <class T> T __shfl_down_sync(unsigned, T, int) { return T(0); }
inline bool __any_sync(unsigned, bool) { return true; }
template <class Kernel> auto emulated(int blocks, int threads, Kernel kernel) {
    return [=](auto... arguments) {
        blockDim.x = threads;
        for (int block = 0; block < blocks; ++block)
            for (int thread = 0; thread < threads; ++thread) {
                blockIdx.x = block, threadIdx.x = thread;
                kernel(arguments...);
            }
    };
}
"""
_HEADERS = {
    "cuda_runtime.h": _RUNTIME,
    "c10/cuda/CUDAException.h": "#define C10_CUDA_CHECK(call) (call)\n#define C10_CUDA_KERNEL_LAUNCH_CHECK()\n",
    "c10/cuda/CUDAGuard.h": "namespace c10::cuda { struct CUDAGuard { template <class T> explicit CUDAGuard(T) {} }; }\n",
    "c10/cuda/CUDAStream.h": (
        "#include <cuda_runtime.h>\nnamespace c10::cuda { struct CUDAStream { cudaStream_t stream() const { return nullptr; } };\n"
        "inline CUDAStream getCurrentCUDAStream(int) { return {}; } }\n"
    ),
}


def build(sources: tuple[str, ...], folder: Path) -> None:
    """Compile the sources of a CUDA kernel and load their operators into torch's namespace `i3d_emulated`.

    Raises:
        BuildError: the compiler refuses; the message says why.
    """
    for name, text in _HEADERS.items():
        path = folder / "fake" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    torch_folder = Path(torch.__file__).parent
    includes = [folder / "fake", _build.SOURCES, _build.SOURCES / "cuda", torch_folder / "include"]
    files = []
    for source in sources:
        path = folder / (Path(source).stem + "_emulated.cpp")
        path.write_text(_for_cpu((_build.SOURCES / source).read_text()))
        files.append(str(path))
    command = [_build.find_compiler(), "-O1", "-std=c++20", "-fPIC", "-shared", "-fpermissive", "-w", "-march=native"]
    command += [f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"]
    command += [part for path in includes for part in ("-I", str(path))]
    library = folder / "emulated.so"
    command += [*files, f"-L{torch_folder / 'lib'}", "-ltorch", "-ltorch_cpu", "-lc10", "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise _build.BuildError(done.stderr[-3000:])
    torch.ops.load_library(str(library))


def _for_cpu(text: str) -> str:
    text = re.sub(
        r"(\w+)<<<(.+?), (\w+), 0, stream>>>\(",
        r"emulated(\2, \3, [](auto... arguments) { \1(arguments...); })(",
        text,
    )
    text = text.replace("threadIdx.x % 32 == 0 && value != 0", "value != 0")
    text = re.sub(r"TORCH_LIBRARY_IMPL\(i3d, CUDA, m\)", f"TORCH_LIBRARY({NAMESPACE}, m)", text)
    return re.sub(r"m\.impl\(", "m.def(", text)
