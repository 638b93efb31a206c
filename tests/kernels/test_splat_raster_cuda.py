"""The CUDA half of the splat rasterizer: run on the CPU it agrees with the CPU's own; on a GPU it does too, and so does gsplat."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from interactive3d.kernels import _build, _library, gsplat_backend, splat_raster
from interactive3d.kernels.splat_raster import use_implementation
from tests.kernels import cuda_emulation
from tests.kernels.splat_cases import Scene, random_scene

# Sums over tiles are atomic, so their order, and with it their rounding, differs from run to run.
CUDA_32 = 1e-4
CUDA_64 = 1e-10
# The same arithmetic in another order of summing; relative to a tensor's largest number.
EMULATED = {torch.float64: 1e-13, torch.float32: 2e-5}
# gsplat uses the fast exponential and cuts blobs at 3.33 standard deviations.
GSPLAT_CUDA = 5e-3

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


def test_what_gsplat_serves() -> None:
    scene = random_scene(3, 1, 8, 8)
    settings = splat_raster.reference.SplatSettings(
        8, 8, 0.01, 1e6, 0.3, splat_raster.ALPHA_MIN, splat_raster.TRANSMITTANCE_MIN
    )
    assert gsplat_backend.serves(scene.means, settings)
    assert not gsplat_backend.serves(scene.means.double(), settings)
    assert not gsplat_backend.serves(scene.means[:0], settings)
    assert _library.external(splat_raster.KERNEL, "cpu") is None  # nothing external on the CPU


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> cuda_emulation.Emulated:
    if shutil.which("c++") is None and shutil.which("g++") is None:
        pytest.skip("no C++ compiler")
    return cuda_emulation.build("splat_raster", splat_raster.KERNEL.cuda, tmp_path_factory.mktemp("emulated"))


def both_ways(
    operators: Any, scene: Scene, background: torch.Tensor, what: str = "color alpha depth"
) -> list[torch.Tensor]:
    """Pictures and gradients by the operators of a namespace; ``what``: the pictures that have a gradient."""
    settings = splat_raster._values(
        splat_raster.reference.SplatSettings(
            scene.width, scene.height, 0.01, 1e6, 0.3, splat_raster.ALPHA_MIN, splat_raster.TRANSMITTANCE_MIN
        )
    )
    cameras, blobs = scene.viewmats.shape[0], scene.means.shape[0]
    probe = scene.means.new_zeros(cameras, blobs, 2)
    given = (*scene.blobs, scene.viewmats, scene.intrinsics, background, probe)
    out = operators.splat_raster_forward(*given, *settings)
    g = torch.Generator().manual_seed(2)
    weights = [torch.randn(o.shape, generator=g, dtype=torch.float64).to(o) for o in out[:3]]
    asked = [w if name in what else None for name, w in zip(("color", "alpha", "depth"), weights, strict=True)]
    return [*out[:4], *operators.splat_raster_backward(*asked, *given, *out[3:], True, *settings)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])
def test_emulated_agrees_with_the_cpu(dtype: torch.dtype, emulated: cuda_emulation.Emulated) -> None:
    status = _library.ensure(splat_raster.KERNEL, "cpu")
    assert status.implementation == "native", status.reason
    for turn, (scene, background) in enumerate(scenes(dtype)):
        for what in ("color alpha depth", "color"):
            expected = both_ways(torch.ops.i3d, scene, background, what)
            emulated.set_order(turn)
            found = both_ways(emulated.operators, scene, background, what)
            for a, b in zip(found, expected, strict=True):
                assert a.shape == b.shape
                scale = b.abs().max().clamp(min=1e-30) if b.numel() else 1.0
                assert bool(((a - b).abs() / scale <= EMULATED[dtype]).all())


def test_the_emulation_notices_a_missing_barrier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes it worth its name: without the barrier that guards the forward pass's batch the pictures are wrong."""
    sources = tmp_path / "csrc"
    shutil.copytree(_build.SOURCES, sources)
    source = sources / "cuda" / "splat_raster.cu"
    text = source.read_text()
    guard = "        __syncthreads();\n        const int size"
    assert text.count(guard) == 1
    source.write_text(text.replace(guard, "        const int size"))
    monkeypatch.setattr(_build, "SOURCES", sources)
    broken = cuda_emulation.build("broken", splat_raster.KERNEL.cuda, tmp_path)
    scene, background = scenes(torch.float64)[0]
    expected = both_ways(torch.ops.i3d, scene, background)[0]
    assert float((both_ways(broken.operators, scene, background)[0] - expected).abs().max()) > 0.01


def on_gpu(scene: Scene) -> Scene:
    names = ("means", "scales", "rotations", "colors", "opacities", "viewmats", "intrinsics")
    return scene.with_blobs(**{name: getattr(scene, name).cuda() for name in names})


def everything(scene: Scene, background: torch.Tensor) -> list[torch.Tensor]:
    """All outputs and gradients of a fixed linear function of them, on the CPU."""
    scene = scene.with_gradients()
    background = background.detach().clone().to(scene.means).requires_grad_()
    probe = scene.means.new_zeros(scene.viewmats.shape[0], scene.means.shape[0], 2).requires_grad_()
    raster = scene.render(background, screen_probe=probe)
    outputs = (raster.color, raster.alpha, raster.depth)
    g = torch.Generator().manual_seed(2)
    weights = [torch.randn(o.shape, generator=g, dtype=torch.float64).to(o) for o in outputs]
    torch.autograd.backward(outputs, weights)
    grads = [leaf.grad for leaf in (*scene.blobs, background, probe)]
    return [tensor.detach().cpu() for tensor in (*outputs, *grads)]


def faint(scene: Scene) -> Scene:
    return scene.with_blobs(opacities=scene.opacities * 0.02 + 0.004)


def scenes(dtype: torch.dtype) -> list[tuple[Scene, torch.Tensor]]:
    return [
        (random_scene(500, 2, 75, 50, dtype=dtype), torch.rand(2, 3, dtype=dtype)),
        (random_scene(60, 1, 40, 64, scale=0.5, dtype=dtype), torch.rand(1, 64, 40, 3, dtype=dtype)),
        (random_scene(0, 1, 20, 20, dtype=dtype), torch.rand(1, 3, dtype=dtype)),
        # More blobs in a tile than its threads take at a time, and too faint to hide each other.
        (faint(random_scene(700, 1, 20, 18, scale=0.3, dtype=dtype)), torch.rand(1, 3, dtype=dtype)),
    ]


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])
def test_native_agrees_with_cpu(dtype: torch.dtype) -> None:
    for scene, background in scenes(dtype):
        expected = everything(scene, background)
        with use_implementation("native"):
            found = everything(on_gpu(scene), background)
        for a, b in zip(found, expected, strict=True):
            scale = b.abs().max().clamp(min=1e-30) if b.numel() else 1.0
            assert bool(((a - b).abs() / scale <= (CUDA_64 if dtype == torch.float64 else CUDA_32)).all())


@pytest.mark.gpu
@needs_gpu
def test_gsplat_agrees_with_cpu() -> None:
    pytest.importorskip("gsplat", reason="gsplat is not installed")
    scene, background = scenes(torch.float32)[0]
    expected = everything(scene, background)
    with use_implementation("package"):
        assert _library.external(splat_raster.KERNEL, "cuda") is not None
        found = everything(on_gpu(scene), background)
    for a, b in zip(found, expected, strict=True):
        assert float((a - b).abs().mean() / b.abs().max()) < GSPLAT_CUDA
