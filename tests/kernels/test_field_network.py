"""The field's network and its regions' residuals: native against the reference, gradients, determinism, locality."""

import dataclasses

import pytest
import torch

from interactive3d.kernels import _library
from interactive3d.kernels.field_network import EMPTY, field_network
from interactive3d.kernels.hash_refine import hash_refine
from tests.kernels import field_cases as cases

SAME = 5e-6  # float32 sums of some sixty products, taken in another order
SAME_DOUBLE = 1e-12
IMPLEMENTATIONS = ("native", "reference")

needs_native = pytest.mark.skipif(not cases.has_native(), reason="no native kernel could be built here")


def evaluate(which: str, dtype: torch.dtype, n: int = 300) -> dict[str, torch.Tensor]:
    """Outputs of base and regions, and every gradient of a weighted sum of both."""
    base, regions = cases.base_grid(dtype), cases.region_grids(dtype)
    positions = cases.points(n, dtype).requires_grad_()
    base = dataclasses.replace(base, params=base.params.requires_grad_())
    regions = dataclasses.replace(regions, params=regions.params.requires_grad_())
    with _library.use_implementation(which):  # type: ignore[arg-type]
        raw, encoding, speaks = field_network(positions, base)
        residual, more = hash_refine(positions, encoding, raw, regions)
        weight = torch.linspace(-1, 1, raw.numel(), dtype=dtype).reshape(raw.shape)
        ((raw + residual) * weight + residual * weight.flip(0)).sum().backward()
    return {
        "raw": raw.detach(),
        "encoding": encoding.detach(),
        "residual": residual.detach(),
        "speaks": speaks.to(dtype),
        "region speaks": more.to(dtype),
        "base gradient": base.params.grad,
        "region gradient": regions.params.grad,
        "position gradient": positions.grad,
    }


@needs_native
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_native_agrees_with_the_reference(dtype: torch.dtype) -> None:
    native, reference = (evaluate(which, dtype) for which in IMPLEMENTATIONS)
    tolerance = SAME if dtype == torch.float32 else SAME_DOUBLE
    for name, expected in reference.items():
        difference = (native[name] - expected).abs().max()
        assert difference <= tolerance * expected.abs().max().clamp(min=1), f"{name}: {difference}"


@pytest.mark.parametrize("which", IMPLEMENTATIONS)
def test_gradcheck(which: str) -> None:
    if which == "native" and not cases.has_native():
        pytest.skip("no native kernel could be built here")
    base, regions = cases.base_grid(torch.float64), cases.region_grids(torch.float64)
    positions = cases.points(4, torch.float64, 0.4).requires_grad_()

    def function(p: torch.Tensor, b: torch.Tensor, r: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        raw, encoding, _ = field_network(p, dataclasses.replace(base, params=b))
        return hash_refine(p, encoding, raw, dataclasses.replace(regions, params=r))[0], raw

    with _library.use_implementation(which):  # type: ignore[arg-type]
        leaves = (positions, base.params.requires_grad_(), regions.params.requires_grad_())
        assert torch.autograd.gradcheck(function, leaves, fast_mode=True)


@pytest.mark.parametrize("prefix", ["", "reference_"])
def test_opcheck(prefix: str) -> None:
    cases.has_native()
    base, regions, positions = cases.base_grid(), cases.region_grids(), cases.points(9).requires_grad_()
    arguments = (base.params.requires_grad_(), base.masks[0], base.boxes[0], base.numbers, EMPTY)
    torch.library.opcheck(getattr(torch.ops.i3d, prefix + "field_network"), (positions, *arguments))
    raw, encoding, _ = (t.detach() for t in field_network(positions, base))
    grids = (regions.params.requires_grad_(), regions.masks, regions.boxes, regions.numbers)
    inputs = (positions, encoding.requires_grad_(), raw.requires_grad_(), *grids)
    torch.library.opcheck(getattr(torch.ops.i3d, prefix + "hash_refine"), inputs)


@needs_native
def test_threads_do_not_change_a_bit() -> None:
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(evaluate("native", torch.float32, 3000))
    finally:
        torch.set_num_threads(threads)
    for name, value in found[0].items():
        assert torch.equal(value, found[1][name]), name


@pytest.mark.parametrize("which", IMPLEMENTATIONS)
def test_residuals_are_zero_outside_and_sums_inside(which: str) -> None:
    if which == "native" and not cases.has_native():
        pytest.skip("no native kernel could be built here")
    base, both, positions = cases.base_grid(), cases.region_grids(), cases.points(500)
    with _library.use_implementation(which):  # type: ignore[arg-type]
        raw, encoding, _ = field_network(positions, base)
        together, speaks = hash_refine(positions, encoding, raw, both)
        sizes = [layout.size for layout in both.layouts]
        alone = torch.zeros_like(together)
        for i, params in enumerate(both.params.split(sizes)):
            one = dataclasses.replace(
                both,
                params=params,
                masks=both.masks[i : i + 1],
                boxes=both.boxes[i : i + 1],
                layouts=both.layouts[i : i + 1],
            )
            alone += hash_refine(positions, encoding, raw, one)[0]
    outside = ~speaks.bool()
    assert outside.any() and speaks.any()
    assert torch.equal(together[outside], torch.zeros_like(together[outside]))
    assert torch.equal(together, alone)
    # The sphere of equation 8, not the cells of a grid: nothing speaks beyond its radius unless the cube does.
    far = positions.norm(dim=-1) > cases.SPHERE[7]
    beyond_cube = (positions > torch.tensor(cases.CUBE[:3]) + cases.CUBE[3]).any(-1)
    assert not speaks[far & beyond_cube].any()


def test_the_base_says_so_where_it_does_not_speak() -> None:
    base, positions = cases.base_grid(), cases.points(200)
    raw, encoding, speaks = field_network(positions, base)
    silent = ~speaks.bool()
    assert silent.any() and (raw[silent] == torch.tensor([EMPTY, 0.0, 0.0, 0.0])).all()
    assert (encoding[silent] == 0).all()


def test_inputs_are_checked() -> None:
    base, regions, positions = cases.base_grid(), cases.region_grids(), cases.points(5)
    with pytest.raises(ValueError, match="grid: expected one, got 2"):
        field_network(positions, regions)
    with pytest.raises(TypeError, match=r"positions: expected torch\.float32"):
        field_network(positions.double(), base)
    raw, encoding, _ = field_network(positions, base)
    with pytest.raises(ValueError, match="base: expected an encoding with 5 rows"):
        hash_refine(positions, encoding, raw[:3], regions)
    with pytest.raises(ValueError, match="params: expected"):
        dataclasses.replace(base, params=base.params[:-1])
