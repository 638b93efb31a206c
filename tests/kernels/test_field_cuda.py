"""The CUDA half of stage II: emulated on the CPU it computes what the CPU's own kernels do; on a GPU it agrees with them."""

import dataclasses
import math
import shutil
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest
import torch

from interactive3d.kernels import _library, tinycudann_backend
from interactive3d.kernels._library import use_implementation
from interactive3d.kernels.field_network import EMPTY, SCENE_BOX, GridBatch, field_network
from interactive3d.kernels.hash_grid import KERNEL, GridLayout, hash_encode
from interactive3d.kernels.hash_refine import hash_refine
from interactive3d.kernels.volume_render import composite, march_rays, render_rays
from tests.kernels import cuda_emulation
from tests.kernels import field_cases as cases

EMULATED = {
    torch.float64: 1e-12,
    torch.float32: 2e-5,
}  # sums in another order; relative to a tensor's largest number, or to one
CUDA_32, CUDA_64 = 1e-4, 1e-10  # gradients are summed by atomic additions, in any order
TINYCUDANN, TINYCUDANN_GPU = 2e-5, 1e-3  # positions are shifted by half a cell in float32
STEP, NEAR, STOP = 0.05, 0.01, 1e-3

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> cuda_emulation.Emulated:
    if shutil.which("c++") is None and shutil.which("g++") is None:
        pytest.skip("no C++ compiler")
    return cuda_emulation.build("field", KERNEL.cuda, tmp_path_factory.mktemp("emulated"))


def same(found: Any, expected: Any) -> None:
    found, expected = ((x,) if isinstance(x, torch.Tensor) else x for x in (found, expected))
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        if b.numel():
            bound = EMULATED.get(b.dtype, 0.0) * b.double().abs().max().clamp(min=1)
            assert (a.double() - b.double()).abs().max() <= bound


def calls(dtype: torch.dtype) -> list[tuple[str, tuple[Any, ...]]]:
    """Every operator of the field with arguments that exercise it."""
    base, regions = cases.base_grid(dtype), cases.region_grids(dtype)
    positions, n = cases.points(203, dtype), 203
    generator = torch.Generator().manual_seed(5)
    one = (base.masks[0], base.boxes[0])
    raw, encoding, _ = torch.ops.i3d.field_network(positions, base.params, *one, base.numbers, EMPTY)
    weight = torch.randn(n, 4, generator=generator, dtype=dtype)
    weight_encoding = torch.randn(encoding.shape, generator=generator, dtype=dtype)
    origins, directions = cases.rays(70, dtype)
    shifts = torch.rand(70, generator=generator, dtype=dtype)
    limits = torch.randint(0, 30, (70,), generator=generator, dtype=torch.int32)
    cells = cases.mask(6, generator)
    times, _, offsets = torch.ops.i3d.march_rays(origins, directions, shifts, cells, None, STEP, NEAR)
    shown = torch.randn(len(times), 4, generator=generator, dtype=dtype) * 2
    gradients = [torch.randn(s, generator=generator, dtype=dtype) for s in ((70, 3), (70,), (70,))]
    table = base.layouts[0].split(base.params)[0].contiguous()
    units = (positions + 1) / 2
    refined = (regions.params, regions.masks, regions.boxes, regions.numbers)
    view = (origins, directions, shifts, cells, base.params, *one, base.numbers)
    return [
        ("hash_encode", (units, table, base.numbers)),
        ("hash_encode_backward", (weight_encoding, units, table, base.numbers, True, True)),
        ("field_network", (positions, base.params, *one, base.numbers, EMPTY)),
        (
            "field_network_backward",
            (weight, weight_encoding, positions, base.params, *one, encoding, base.numbers, True, True),
        ),
        ("hash_refine", (positions, encoding, raw, *refined)),
        ("hash_refine_backward", (weight, positions, encoding, raw, *refined, True, True, True)),
        ("march_rays", (origins, directions, shifts, cells, None, STEP, NEAR)),
        ("march_rays", (origins, directions, None, cells, limits, STEP, NEAR)),
        ("composite", (shown, times, offsets, STEP, STOP)),
        ("composite_backward", (*gradients, shown, times, offsets, STEP, STOP)),
        ("composite_backward", (gradients[0], None, None, shown, times, offsets, STEP, STOP)),
        ("render_rays", (*view, *refined, STEP, NEAR, EMPTY, STOP)),
        ("render_rays", (*view, *(t[:0] for t in refined[:3]), [], STEP, NEAR, EMPTY, STOP)),
    ]


@pytest.mark.skipif(not cases.has_native(), reason="no native kernel could be built here")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])
def test_emulated_kernels_agree_with_the_cpu(dtype: torch.dtype, emulated: cuda_emulation.Emulated) -> None:
    for turn, (name, arguments) in enumerate(calls(dtype)):
        emulated.set_order(turn)
        same(getattr(emulated.operators, name)(*arguments), getattr(torch.ops.i3d, name)(*arguments))


@pytest.mark.skipif(not cases.has_native(), reason="no native kernel could be built here")
@pytest.mark.parametrize("features, levels", [(1, 3), (2, 20), (4, 3), (8, 2)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])
def test_emulated_kernels_for_all_layouts(
    features: int, levels: int, dtype: torch.dtype, emulated: cuda_emulation.Emulated
) -> None:
    """Also: parameters that begin anywhere in memory, gradients that are not there, and no points at all."""
    layout = GridLayout.create(levels=levels, features=features, capacity=64, base_resolution=2, growth=1.2, hidden=64)
    generator = torch.Generator().manual_seed(3)
    params = torch.randn(layout.size + 1, generator=generator, dtype=dtype)[1:] * 0.4
    grid = (params, cases.mask(4, generator), torch.tensor([*SCENE_BOX], dtype=dtype), layout.numbers)
    for n in (300, 0):
        positions = cases.points(n, dtype)
        weight = torch.randn(n, 4, generator=generator, dtype=dtype)
        weight[:140] = 0  # whole blocks of samples without a gradient
        expected = torch.ops.i3d.field_network(positions, *grid, EMPTY)
        found = emulated.operators.field_network(positions, *grid, EMPTY)
        same(found, expected)
        weights = torch.randn(expected[1].shape, generator=generator, dtype=dtype)
        for grads in ((weight, None), (None, weights), (weight, weights)):
            for wanted in ((True, True), (False, True), (True, False)):
                given = (*grads, positions, *grid[:3])
                of_cpu = torch.ops.i3d.field_network_backward(*given, expected[1], layout.numbers, *wanted)
                of_cuda = emulated.operators.field_network_backward(*given, found[1], layout.numbers, *wanted)
                same(of_cuda, of_cpu)


def everything(move: Callable[[torch.Tensor], torch.Tensor], dtype: torch.dtype) -> list[torch.Tensor]:
    """Outputs and gradients of the whole field, on the device that ``move`` moves to."""

    def moved(grid: GridBatch) -> GridBatch:
        params, masks, boxes = move(grid.params).requires_grad_(), move(grid.masks), move(grid.boxes)
        return dataclasses.replace(grid, params=params, masks=masks, boxes=boxes)

    base, regions = moved(cases.base_grid(dtype)), moved(cases.region_grids(dtype))
    origins, directions = (move(t) for t in cases.rays(300, dtype))
    cells = move(cases.mask(6, torch.Generator().manual_seed(5)))
    samples = march_rays(origins, directions, cells, STEP)
    positions = samples.positions.requires_grad_()
    raw, encoding, _ = field_network(positions, base)
    pixels = composite(raw + hash_refine(positions, encoding, raw, regions)[0], samples.times, samples.offsets, STEP)
    (pixels.color.sum() + (pixels.alpha * pixels.depth).sum()).backward()
    view = render_rays(origins, directions, cells, base, regions, STEP)
    found = [*pixels[:3], base.params.grad, regions.params.grad, positions.grad, *view[:3]]
    return [t.detach().cpu() for t in found if t is not None]


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])
def test_native_agrees_with_cpu_on_a_gpu(dtype: torch.dtype) -> None:
    expected = everything(lambda t: t, dtype)
    with _library.use_implementation("native"):
        found = everything(lambda t: t.cuda(), dtype)
    tolerance = CUDA_64 if dtype == torch.float64 else CUDA_32
    for a, b in zip(found, expected, strict=True):
        assert float((a - b).abs().max() / b.abs().max().clamp(min=1e-30)) <= tolerance


class FakeGrid(torch.nn.Module):
    """One level of tiny-cuda-nn as its documentation defines it (grid.h): for the arithmetic around it, without a GPU."""

    def __init__(self, dimensions: int, config: dict[str, Any], dtype: torch.dtype) -> None:
        super().__init__()
        assert dimensions == 3 and config["n_levels"] == 1 and dtype == torch.float32
        self.features = config["n_features_per_level"]
        self.scale = float(config["base_resolution"] - 1)
        self.side = math.ceil(self.scale) + 1
        self.size = min(-(-(self.side**3) // 8) * 8, 1 << config["log2_hashmap_size"])
        self.params = torch.nn.Parameter(torch.zeros(self.size * self.features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert self.params.shape == (self.size * self.features,)
        table = self.params.reshape(self.size, self.features)
        position = x * self.scale + 0.5
        cell = position.floor()
        within, cell = position - cell, cell.long()
        out = torch.zeros(len(x), self.features)
        for corner in range(8):
            bits = torch.tensor([corner & 1, (corner >> 1) & 1, corner >> 2])
            weight = torch.where(bits.bool(), within, 1 - within).prod(-1)
            i, j, k = (cell + bits).unbind(-1)
            dense = i + self.side * (j + self.side * k)
            hashed = i ^ ((j * 2654435761) & 0xFFFFFFFF) ^ ((k * 805459861) & 0xFFFFFFFF)
            entry = (dense if self.side**3 <= self.size else hashed) % self.size
            out = out + weight[:, None] * table[entry]
        return torch.nn.functional.pad(out, (0, 3), value=1.0)  # rows may be padded


def test_tinycudann_is_told_of_our_grids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tinycudann", types.SimpleNamespace(Encoding=FakeGrid, __version__="9"))
    tinycudann_backend._grid.cache_clear()
    assert tinycudann_backend.load() == "tinycudann 9"
    base, positions = cases.base_grid(), cases.points(500)
    params = base.params.requires_grad_()
    ours = field_network(positions, base)
    theirs = tinycudann_backend.field_network(positions, params, base.masks[0], base.boxes[0], base.numbers, EMPTY)
    tinycudann_backend._grid.cache_clear()
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, atol=TINYCUDANN)
    slopes = [
        torch.autograd.grad((raw.sin().sum() + encoding.square().sum()), params)[0]
        for raw, encoding, _ in (ours, theirs)
    ]
    assert torch.allclose(*slopes, atol=TINYCUDANN * float(slopes[0].abs().max()))
    assert tinycudann_backend.serves(positions) and not tinycudann_backend.serves(positions.double())


@pytest.mark.parametrize("capacity", [4, 8, 64, 1 << 15])
def test_tables_have_the_size_that_tinycudann_gives_them(capacity: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It refuses parameters of any other size. Dense and hashed levels, also of fewer entries than it pads to."""
    monkeypatch.setitem(sys.modules, "tinycudann", types.SimpleNamespace(Encoding=FakeGrid))
    tinycudann_backend._grid.cache_clear()
    layout = GridLayout.create(levels=4, features=2, capacity=capacity, base_resolution=1, growth=2.0)
    for resolution, entries in zip(layout.resolutions, layout.entries, strict=True):
        grid = FakeGrid(3, tinycudann_backend.grid_config(resolution, layout.features, entries), torch.float32)
        assert grid.size == tinycudann_backend.padded(entries) >= entries
    table = layout.split(layout.initial(torch.Generator().manual_seed(0)))[0].contiguous()
    points = cases.points(60) * 0.5 + 0.5
    assert torch.allclose(
        tinycudann_backend.encode(points, table, layout.numbers), hash_encode(points, table, layout), atol=TINYCUDANN
    )
    tinycudann_backend._grid.cache_clear()


@pytest.mark.gpu
@needs_gpu
def test_tinycudann_agrees_with_cpu_on_a_gpu() -> None:
    pytest.importorskip("tinycudann", reason="tinycudann is not installed")
    expected = everything(lambda t: t, torch.float32)
    with use_implementation("package"):
        assert _library.external(KERNEL, "cuda") is not None
        found = everything(lambda t: t.cuda(), torch.float32)
    for a, b in zip(found, expected, strict=True):
        assert float((a - b).abs().max() / b.abs().max().clamp(min=1e-30)) <= TINYCUDANN_GPU
