"""Hash encoding: native against the reference, gradients, determinism, refusals."""

import pytest
import torch

from interactive3d.kernels import _library
from interactive3d.kernels.hash_grid import KERNEL, GridLayout, hash_encode

SAME = 2e-6  # float32 sums of eight products, taken in another order
SAME_DOUBLE = 1e-13
LAYOUTS = (
    GridLayout.create(levels=3, features=2, capacity=64, base_resolution=2, growth=2.0, hidden=32),
    GridLayout.create(levels=2, features=4, capacity=512, base_resolution=3, growth=1.5, hidden=32),
    GridLayout.create(levels=1, features=1, capacity=128, base_resolution=9, hidden=32),
)

needs_native = pytest.mark.skipif(
    _library.ensure(KERNEL, "cpu").implementation != "native", reason="no native kernel could be built here"
)


def case(layout: GridLayout, dtype: torch.dtype, n: int = 70) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    units = torch.rand(n, 3, generator=generator, dtype=dtype)
    table = torch.randn(sum(layout.entries), layout.features, generator=generator, dtype=dtype)
    return units, table


@needs_native
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_native_agrees_with_the_reference(layout: GridLayout, dtype: torch.dtype) -> None:
    tolerance = SAME if dtype == torch.float32 else SAME_DOUBLE
    found = {}
    for which in ("native", "reference"):
        units, table = (t.requires_grad_() for t in case(layout, dtype))
        with _library.use_implementation(which):
            out = hash_encode(units, table, layout)
            weight = torch.linspace(-1, 1, out.numel(), dtype=dtype).reshape(out.shape)
            (out * weight).sum().backward()
        found[which] = (out.detach(), table.grad, units.grad)
    for native, reference in zip(found["native"], found["reference"], strict=True):
        assert (native - reference).abs().max() <= tolerance * reference.abs().max()


@pytest.mark.parametrize("which", ["native", "reference"])
def test_gradcheck(which: str) -> None:
    if which == "native" and _library.ensure(KERNEL, "cpu").implementation != "native":
        pytest.skip("no native kernel could be built here")
    layout = LAYOUTS[0]
    units, table = (t.requires_grad_() for t in case(layout, torch.float64, 5))
    with _library.use_implementation(which):  # type: ignore[arg-type]
        assert torch.autograd.gradcheck(lambda u, t: hash_encode(u, t, layout), (units, table))


@pytest.mark.parametrize("name", ["hash_encode", "reference_hash_encode"])
def test_opcheck(name: str) -> None:
    _library.ensure(KERNEL, "cpu")
    units, table = (t.requires_grad_() for t in case(LAYOUTS[0], torch.float32, 5))
    torch.library.opcheck(getattr(torch.ops.i3d, name), (units, table, LAYOUTS[0].numbers))


@needs_native
def test_threads_do_not_change_a_bit() -> None:
    layout = GridLayout.create(levels=6, features=2, capacity=256, base_resolution=4, hidden=32)
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            units, table = (t.requires_grad_() for t in case(layout, torch.float32, 5000))
            hash_encode(units, table, layout).square().sum().backward()
            found.append((table.grad.clone(), units.grad.clone()))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_a_linear_function_on_a_dense_level_is_kept() -> None:
    layout = GridLayout.create(levels=1, features=1, capacity=1024, base_resolution=4, hidden=32)
    side = torch.arange(5.0) / 4
    z, y, x = torch.meshgrid(side, side, side, indexing="ij")
    table = (2 * x - 3 * y + 0.5 * z).reshape(-1, 1)
    units = torch.rand(50, 3, generator=torch.Generator().manual_seed(0))
    expected = units @ torch.tensor([2.0, -3.0, 0.5])
    assert (hash_encode(units, table, layout)[:, 0] - expected).abs().max() < 1e-5  # rounding of numbers near 3


def test_points_outside_are_moved_to_the_border() -> None:
    layout = LAYOUTS[0]
    _, table = case(layout, torch.float32)
    outside = torch.tensor([[-1.0, 0.5, 2.0]], requires_grad=True)
    out = hash_encode(outside, table, layout)
    assert torch.equal(out, hash_encode(torch.tensor([[0.0, 0.5, 1.0]]), table, layout))
    out.sum().backward()
    assert outside.grad[0, 0] == 0 and outside.grad[0, 2] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"levels": 0}, "levels: expected 1 to 32, got 0"),
        ({"features": 3}, "features: expected 1, 2, 4 or 8, got 3"),
        ({"capacity": 100}, "capacity: expected a power of two"),
        ({"hidden": 20}, "hidden: expected a multiple of 32"),
    ],
)
def test_layouts_are_checked(change: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GridLayout.create(**{"levels": 2, "features": 2, "capacity": 64, **change})


def test_shapes_and_types_are_checked() -> None:
    layout = LAYOUTS[0]
    units, table = case(layout, torch.float32)
    with pytest.raises(ValueError, match=r"units: expected shape \(n, 3\)"):
        hash_encode(units[:, :2], table, layout)
    with pytest.raises(TypeError, match=r"units: expected torch\.float32"):
        hash_encode(units.double(), table, layout)
    with pytest.raises(ValueError, match="table: expected shape"):
        hash_encode(units, table[:-1], layout)
