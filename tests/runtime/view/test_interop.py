"""Blobs from CUDA to OpenGL on the card: with a stand-in for the CUDA runtime that writes into the real OpenGL buffer."""

import ctypes
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.view import interop
from interactive3d.runtime.view.packing import Packed, pack, pack_on_device

moderngl = pytest.importorskip("moderngl")
splats = pytest.importorskip("interactive3d.runtime.view.splats")


@pytest.fixture(scope="module")
def context() -> Iterator[Any]:
    try:
        made = moderngl.create_context(standalone=True, backend="egl")
    except Exception as error:
        pytest.skip(f"no OpenGL here: {error}")
    yield Noting(made)
    made.release()


class Noting:
    """The context, and the buffers that it has made, by OpenGL's numbers."""

    def __init__(self, context: Any) -> None:
        self.context = context
        self.made: dict[int, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.context, name)

    def buffer(self, *args: Any, **kwargs: Any) -> Any:
        made = self.context.buffer(*args, **kwargs)
        self.made[made.glo] = made
        return made


class Runtime:
    """What the CUDA runtime does for OpenGL's buffers, with the memory of this process as the card's."""

    def __init__(self, context: Any, fails: str = "") -> None:
        self.context, self.fails = context, fails
        self.calls: list[str] = []
        self.memory: Any = None
        self.glo = 0

    def _done(self, name: str) -> int:
        self.calls.append(name)
        return 999 if name == self.fails else 0

    def cudaGraphicsGLRegisterBuffer(self, resource: Any, glo: int, flags: int) -> int:
        assert flags == interop.WRITE_DISCARD
        self.glo = glo
        resource._obj.value = 77
        return self._done("register")

    def cudaGraphicsMapResources(self, count: int, resource: Any, stream: Any) -> int:
        assert count == 1 and resource._obj.value == 77
        self.memory = ctypes.create_string_buffer(1 << 20)
        return self._done("map")

    def cudaGraphicsResourceGetMappedPointer(self, at: Any, size: Any, resource: Any) -> int:
        assert resource.value == 77
        at._obj.value, size._obj.value = ctypes.addressof(self.memory), len(self.memory)
        return self._done("pointer")

    def cudaMemcpyAsync(self, to: Any, source: int, count: int, kind: int, stream: Any) -> int:
        assert kind == interop.DEVICE_TO_DEVICE and to.value == ctypes.addressof(self.memory)
        ctypes.memmove(to, source, count)
        return self._done("copy")

    def cudaGraphicsUnmapResources(self, count: int, resource: Any, stream: Any) -> int:
        buffer = self.context.made[self.glo]
        buffer.write(self.memory.raw[: buffer.size])
        return self._done("unmap")

    def cudaGraphicsUnregisterResource(self, resource: Any) -> int:
        return self._done("unregister")

    def cudaGetLastError(self) -> int:
        return self._done("forgotten")

    def cudaGetErrorString(self, status: int) -> bytes:
        return b"unknown error"


@pytest.fixture
def blobs(make_ball: Callable[..., GaussianModel], monkeypatch: pytest.MonkeyPatch) -> Packed:
    """1500 blobs as if they lay on a card: two rows of the texture, the second one not full."""
    monkeypatch.setattr(splats, "SHARED_FROM", 100)
    ball = make_ball(count=1500)
    packed = pack(ball).view(Packed)
    packed.there = pack_on_device(ball)
    return packed


def uploaded(context: Any, packed: np.ndarray, marks: np.ndarray, times: int = 1) -> tuple[np.ndarray, Any]:
    renderer = splats.SplatRenderer(context, SimpleNamespace())
    for _ in range(times):
        renderer.upload(packed, marks)
        renderer._held = None
    texels = np.frombuffer(renderer._blobs.read(), np.float32).reshape(-1, 16)[: len(packed)]
    return texels, renderer


def quicker(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock by which one way is quicker: the first two spans are the card's, the next two the processor's."""
    spans = [1.0, 1.0, 2.0, 2.0] if way == "shared" else [2.0, 2.0, 1.0, 1.0]
    ticks = [t for i, span in enumerate(spans) for t in (10.0 * i, 10.0 * i + span)]
    monkeypatch.setattr(splats.time, "perf_counter", lambda: ticks.pop(0))


@pytest.mark.parametrize("way", ["shared", "carried"])
def test_the_quicker_way_is_kept_and_both_show_the_same(
    way: str, context: Any, blobs: Packed, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks = np.zeros(len(blobs), np.float32)
    marks[::7] = 1.0
    expected, plain = uploaded(context, np.array(blobs), marks)
    assert plain.sharing is None  # what does not lie on a card is no case for it
    runtime = Runtime(context)
    monkeypatch.setattr(interop, "cuda_runtime", lambda: runtime)
    quicker(way, monkeypatch)
    found, renderer = uploaded(context, blobs, marks, times=3)
    assert np.allclose(found, expected, atol=1e-6)
    assert np.array_equal(found[:, 10], marks)
    assert renderer.sharing is (way == "shared")
    assert runtime.calls.count("register") == 1
    assert runtime.calls.count("copy") == (4 if way == "shared" else 2)
    assert ("on the card:" in renderer.carried) == (way == "shared")
    renderer.release()
    assert runtime.calls.count("unregister") == 1
    plain.release()


@pytest.mark.parametrize("call", ["register", "map", "pointer", "copy", "unmap"])
def test_what_cuda_refuses_is_carried(call: str, context: Any, blobs: Packed, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenGL on another card, or a software renderer. No error is left for torch to find."""
    marks = np.zeros(len(blobs), np.float32)
    expected, plain = uploaded(context, np.array(blobs), marks)
    runtime = Runtime(context, fails=call)
    monkeypatch.setattr(interop, "cuda_runtime", lambda: runtime)
    found, renderer = uploaded(context, blobs, marks, times=2)
    assert np.array_equal(found, expected)
    assert renderer.sharing is False and "unknown error" in renderer.carried
    assert runtime.calls.count("register") == 1
    assert "forgotten" in runtime.calls
    plain.release(), renderer.release()


def test_few_blobs_are_carried_without_trying(context: Any, blobs: Packed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splats, "SHARED_FROM", 10_000)
    monkeypatch.setattr(interop, "cuda_runtime", lambda: pytest.fail("not to be asked"))
    _, renderer = uploaded(context, blobs, np.zeros(len(blobs), np.float32))
    assert renderer.sharing is None
    renderer.release()


def test_without_a_cuda_runtime_there_is_one_reason() -> None:
    if torch.version.cuda is not None:
        pytest.skip("this torch has one")
    with pytest.raises(interop.InteropProblem, match="no CUDA runtime"):
        interop.cuda_runtime()


def test_rows_of_packed_blobs_are_plain(blobs: Packed) -> None:
    """Only the whole knows where it came from: what is sliced from it would be other blobs."""
    assert blobs.there is not None
    assert blobs[:10].there is None and (blobs + 0).there is None
