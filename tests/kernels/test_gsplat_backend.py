"""What gsplat's rasterizer is told, without a GPU: its real functions' signatures, with its own torch reference behind them.

gsplat's compositing has no reference that runs here; the stand-in follows csrc/RasterizeToPixels3DGSFwd.cu.
"""

import importlib.metadata
import inspect
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from interactive3d.kernels import _build, gsplat_backend, splat_raster
from interactive3d.kernels.reference import SplatSettings
from tests.kernels.splat_cases import Scene, random_scene

wrapper: Any = pytest.importorskip("gsplat.cuda._wrapper", reason="gsplat is not installed", exc_type=ImportError)
reference: Any = pytest.importorskip("gsplat.cuda._torch_impl", reason="gsplat is not installed", exc_type=ImportError)

AGREES = 2e-4
"""Of the largest value; the projections are rounded differently, and blobs at the limit of 1/255 fall on either side of it."""


def project(
    means: Tensor,
    covars: None,
    quats: Tensor,
    scales: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    eps2d: float,
    near_plane: float,
    far_plane: float,
    **defaults: Any,
) -> tuple[Any, ...]:
    covariances, _ = reference._quat_scale_to_covar_preci(quats, scales, True, False)
    radii, centers, depths, conics, _ = reference._fully_fused_projection(
        means, covariances, viewmats, Ks, width, height, eps2d, near_plane, far_plane
    )
    # The kernel leaves the rows of blobs that are not drawn as the memory was.
    drawn = (radii > 0).all(-1)
    unset = [torch.where(drawn[..., None], t, t.new_tensor(float("nan"))) for t in (centers, conics)]
    depths = torch.where(drawn, depths, depths.new_tensor(float("nan")))
    return radii, unset[0], depths, unset[1], None


def composite(
    means2d: Tensor,
    conics: Tensor,
    colors: Tensor,
    opacities: Tensor,
    image_width: int,
    image_height: int,
    tile_size: int,
    isect_offsets: Tensor,
    flatten_ids: Tensor,
    **defaults: Any,
) -> tuple[Tensor, Tensor]:
    images, count = means2d.shape[:2]
    assert colors.shape == (images, count, 4) and opacities.shape == (images, count) and conics.shape[-1] == 3
    assert isect_offsets.shape == (images, -(-image_height // tile_size), -(-image_width // tile_size))
    means2d, conics, colors, opacities = (t.flatten(0, 1) for t in (means2d, conics, colors, opacities))
    offsets = [*isect_offsets.flatten().tolist(), len(flatten_ids)]
    rows, columns = isect_offsets.shape[1:]
    pictures = colors.new_zeros(images, image_height, image_width, 4)
    clear = colors.new_ones(images, image_height, image_width)
    for tile in range(len(offsets) - 1):
        image, row, column = tile // (rows * columns), tile // columns % rows, tile % columns
        for y in range(row * tile_size, min((row + 1) * tile_size, image_height)):
            for x in range(column * tile_size, min((column + 1) * tile_size, image_width)):
                through, color = colors.new_ones(()), colors.new_zeros(4)
                for g in flatten_ids[offsets[tile] : offsets[tile + 1]].tolist():
                    dx, dy = means2d[g, 0] - (x + 0.5), means2d[g, 1] - (y + 0.5)
                    a, b, c = conics[g]
                    sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
                    alpha = (opacities[g] * torch.exp(-sigma)).clamp(max=0.999)
                    if sigma < 0 or alpha < 1 / 255:
                        continue
                    if through * (1 - alpha) <= 1e-4:
                        break
                    color = color + colors[g] * (alpha * through)
                    through = through * (1 - alpha)
                pictures[image, y, x], clear[image, y, x] = color, through
    return pictures, 1 - clear[..., None]


@pytest.fixture
def stood_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """gsplat's functions, called as the real ones may be called."""

    def like(name: str, stand_in: Callable[..., Any]) -> None:
        signature = inspect.signature(getattr(wrapper, name))

        def called(*args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(*args, **kwargs)
            return stand_in(**bound.arguments)

        monkeypatch.setattr(wrapper, name, called)

    like("fully_fused_projection", project)
    like("isect_tiles", lambda **given: reference._isect_tiles(*(getattr(v, "data", v) for v in given.values())))
    like("isect_offset_encode", lambda **given: reference._isect_offset_encode(*given.values()))
    like("rasterize_to_pixels", composite)


def everything(render: Callable[..., Any], scene: Scene, background: Tensor) -> list[Tensor]:
    """Outputs and gradients of a fixed linear function of them."""
    scene, background = scene.with_gradients(), background.clone().requires_grad_()
    probe = torch.zeros(scene.viewmats.shape[0], len(scene.means), 2, requires_grad=True)
    outputs = render(scene, background, probe)
    g = torch.Generator().manual_seed(2)
    torch.autograd.backward(outputs, [torch.randn(o.shape, generator=g) for o in outputs])
    return [t.detach() for t in (*outputs, *(leaf.grad for leaf in (*scene.blobs, background, probe)))]


@pytest.mark.parametrize("kind", ["colours", "pictures"])
def test_gsplat_is_asked_for_our_pictures(kind: str, stood_in: None) -> None:
    width, height = 21, 18
    scene = random_scene(12, 2, width, height, scale=0.2)
    # One behind the cameras, one out of sight, one that is not finite.
    means = scene.means.clone()
    means[0, 2], means[1], means[2, 0] = 50.0, torch.tensor([9.0, 0.0, 0.0]), float("nan")
    scene = scene.with_blobs(means=means)
    shape = (2, 3) if kind == "colours" else (2, height, width, 3)
    background = torch.rand(shape, generator=torch.Generator().manual_seed(4))
    settings = SplatSettings(width, height, 0.01, 1e6, 0.3, gsplat_backend.ALPHA_MIN, gsplat_backend.TRANSMITTANCE_MIN)

    def theirs(scene: Scene, behind: Tensor, probe: Tensor) -> tuple[Tensor, ...]:
        return gsplat_backend.rasterize(*scene.blobs, scene.viewmats, scene.intrinsics, behind, probe, settings)

    def ours(scene: Scene, behind: Tensor, probe: Tensor) -> tuple[Tensor, ...]:
        raster = scene.render(behind, screen_probe=probe)
        return raster.color, raster.alpha, raster.depth

    found, expected = everything(theirs, scene, background), everything(ours, scene, background)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert float((a - b).abs().max() / b.abs().max()) < AGREES


def test_a_failure_to_compile_is_remembered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(_build.CACHE_VARIABLE, str(tmp_path))
    monkeypatch.delitem(sys.modules, "gsplat.cuda._backend", raising=False)
    tries = []

    class Compiling:
        def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
            if name == "gsplat.cuda._backend":
                tries.append(name)
                raise RuntimeError("ninja: build stopped")

    monkeypatch.setattr(sys, "meta_path", [Compiling(), *sys.meta_path])
    for _ in range(2):
        with pytest.raises(_build.BuildError, match="ninja: build stopped"):
            gsplat_backend.load()
    assert len(tries) == 1
    with pytest.raises(_build.BuildError, match="remembered; delete"):
        gsplat_backend.load()


def test_gsplat_that_loads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(_build.CACHE_VARIABLE, str(tmp_path))
    for code, works in ((object(), True), (None, False)):
        backend = types.ModuleType("gsplat.cuda._backend")
        backend._C = code  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "gsplat.cuda._backend", backend)
        monkeypatch.setattr(sys.modules["gsplat.cuda"], "_backend", backend, raising=False)
        if works:
            assert gsplat_backend.load() == f"gsplat {importlib.metadata.version('gsplat')}"
        else:
            with pytest.raises(_build.BuildError, match="without its CUDA code"):
                gsplat_backend.load()
    assert not list(tmp_path.rglob("*.failed"))
    assert splat_raster.KERNEL.external is not None
