"""From a CUDA tensor into an OpenGL buffer without the way through the processor's memory: CUDA's interoperability with OpenGL, in the
CUDA runtime that torch has loaded.

OpenGL's context must be current in the calling thread, and be on the very card of the tensor: registering fails where it is not (a
second card draws the desktop, a software renderer), and then the blobs go the other way.
"""

import contextlib
import ctypes
from collections.abc import Iterator
from typing import Any

import moderngl
import torch
from torch import Tensor

WRITE_DISCARD = 2  # cudaGraphicsRegisterFlagsWriteDiscard: what was in the buffer is of no interest
DEVICE_TO_DEVICE = 3  # cudaMemcpyDeviceToDevice

_P, _PP, _I = ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p), ctypes.c_int
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cudaGraphicsGLRegisterBuffer": (_PP, ctypes.c_uint, ctypes.c_uint),
    "cudaGraphicsUnregisterResource": (_P,),
    "cudaGraphicsMapResources": (_I, _PP, _P),
    "cudaGraphicsUnmapResources": (_I, _PP, _P),
    "cudaGraphicsResourceGetMappedPointer": (_PP, ctypes.POINTER(ctypes.c_size_t), _P),
    "cudaMemcpyAsync": (_P, _P, ctypes.c_size_t, _I, _P),
    "cudaGetLastError": (),
}


class InteropProblem(RuntimeError):
    """CUDA and OpenGL do not work together here; the message says what did not."""


def cuda_runtime() -> Any:
    """libcudart, as torch has loaded it into this process.

    Raises:
        InteropProblem: there is none.
    """
    try:
        with open("/proc/self/maps") as maps:
            path = next((line.split()[-1] for line in maps if "/libcudart" in line), None)
    except OSError:
        path = None
    if path is None:
        raise InteropProblem("no CUDA runtime is loaded as a library of its own")
    library = ctypes.CDLL(path)
    for name, arguments in _SIGNATURES.items():
        if not hasattr(library, name):
            raise InteropProblem(f"the CUDA runtime has no {name}")
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, ctypes.c_int
    library.cudaGetErrorString.argtypes, library.cudaGetErrorString.restype = (_I,), ctypes.c_char_p
    return library


class SharedBuffer:
    """An OpenGL buffer that CUDA may write."""

    def __init__(self, context: moderngl.Context, size: int, device: torch.device, library: Any = None) -> None:
        """``size`` in bytes. Raises InteropProblem where CUDA cannot have it."""
        self._library = cuda_runtime() if library is None else library
        self._device = device
        self._resource = ctypes.c_void_p()
        self.size = size
        self.buffer = context.buffer(reserve=size)
        try:
            with self._on_device():
                self._call("cudaGraphicsGLRegisterBuffer", ctypes.byref(self._resource), self.buffer.glo, WRITE_DISCARD)
        except InteropProblem:
            self.buffer.release()
            raise
        # Not torch's own stream, which the optimizer fills: the window would wait for a whole step.
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    @contextlib.contextmanager
    def ordered(self, source: Tensor) -> Iterator[None]:
        """What torch does inside is done before what is written after it, and waits for nothing else. ``source`` is read there; its memory
        is not given to others before."""
        if self._stream is not None:
            source.record_stream(self._stream)
        with contextlib.nullcontext() if self._stream is None else torch.cuda.stream(self._stream):
            yield

    def write(self, tensor: Tensor) -> None:
        """A copy of the tensor at the buffer's beginning. The tensor is one that was made inside of ``ordered``.

        Raises:
            InteropProblem: CUDA refuses; the buffer is as it was, or undefined.
        """
        count = tensor.numel() * tensor.element_size()
        if count > self.size or not tensor.is_contiguous():
            raise ValueError(f"tensor: expected up to {self.size} bytes in one piece, got {count}")
        stream = ctypes.c_void_p(self._stream.cuda_stream if self._stream is not None else None)
        at, size = ctypes.c_void_p(), ctypes.c_size_t()
        with self._on_device():
            self._call("cudaGraphicsMapResources", 1, ctypes.byref(self._resource), stream)
            try:
                self._call("cudaGraphicsResourceGetMappedPointer", ctypes.byref(at), ctypes.byref(size), self._resource)
                if size.value < count:
                    raise InteropProblem(f"the mapped buffer has {size.value} bytes, {count} are needed")
                self._call("cudaMemcpyAsync", at, tensor.data_ptr(), count, DEVICE_TO_DEVICE, stream)
            finally:
                # OpenGL's next command waits on the card until the stream is through.
                self._call("cudaGraphicsUnmapResources", 1, ctypes.byref(self._resource), stream)

    def release(self) -> None:
        """Give the buffer back to OpenGL, and free it."""
        if self._resource.value:
            with contextlib.suppress(InteropProblem), self._on_device():
                self._call("cudaGraphicsUnregisterResource", self._resource)
            self._resource = ctypes.c_void_p()
        self.buffer.release()

    def _on_device(self) -> Any:
        return torch.cuda.device(self._device) if self._device.type == "cuda" else contextlib.nullcontext()

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status:
            # Else torch's next launch in this thread would find the error and take it for its own.
            self._library.cudaGetLastError()
            said = self._library.cudaGetErrorString(status)
            raise InteropProblem(f"{name}: {said.decode(errors='replace') if said else status}")
