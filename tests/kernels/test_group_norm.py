"""Group normalization that keeps pictures channels last: the reference is torch's own, and the CUDA kernels compute what it does."""

import itertools
import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from interactive3d.kernels import group_norm as norms
from interactive3d.kernels._library import use_implementation
from tests.kernels import cuda_emulation

EMULATED = {torch.float64: 1e-12, torch.float32: 2e-5}
HALF = {torch.float16: 2e-3, torch.bfloat16: 2e-2}
"""On a card, relative to a tensor's largest number: one rounding of the result, in float16 and bfloat16."""
SHAPES = [(2, 8, 5, 7), (1, 24, 9, 3), (3, 40, 1, 1), (2, 12, 33)]
GROUPS = 4
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


def case(shape: tuple[int, ...], dtype: torch.dtype, far: float = 0.0) -> dict[str, Tensor]:
    """Pictures about ``far``, channels last, and what a norm has besides."""
    generator = torch.Generator().manual_seed(len(shape) + shape[1])
    draw = lambda *size: torch.randn(*size, generator=generator, dtype=torch.float64)  # noqa: E731
    n, c, *space = shape
    x = (draw(n, *space, c) * 2 + far).movedim(-1, 1)
    found = {"x": x, "shift": draw(n, c), "weight": draw(c), "bias": draw(c), "grad": draw(n, *space, c).movedim(-1, 1)}
    return {name: t.to(dtype) for name, t in found.items()}


def plainly(given: dict[str, Tensor], shifted: bool, silu: bool) -> list[Tensor]:
    """torch's own norm and its gradient, in float64."""
    x, shift, weight, bias, grad = (given[n].double() for n in ("x", "shift", "weight", "bias", "grad"))
    x = x.clone().requires_grad_()
    moved = x + shift.reshape(*shift.shape, *(1 for _ in x.shape[2:])) if shifted else x
    y = F.group_norm(moved, GROUPS, weight, bias, 1e-5)
    y = F.silu(y) if silu else y
    return [y.detach(), *torch.autograd.grad(y, x, grad)]


def ours(given: dict[str, Tensor], shifted: bool, silu: bool) -> list[Tensor]:
    x = given["x"].clone().requires_grad_()
    shift = given["shift"] if shifted else None
    y = norms.group_norm(x, given["weight"], given["bias"], GROUPS, 1e-5, shift=shift, silu=silu)
    assert y.movedim(1, -1).is_contiguous()
    return [y.detach(), *torch.autograd.grad(y, x, given["grad"])]


def agree(found: list[Tensor], expected: list[Tensor], bound: float) -> None:
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert float((a.cpu().double() - b.cpu().double()).abs().max() / b.abs().max().clamp(min=1e-30)) < bound


ways = pytest.mark.parametrize("shifted, silu", [*itertools.product((False, True), (False, True))])


@ways
@pytest.mark.parametrize("shape", SHAPES)
def test_the_reference_is_torch_s_own(shape: tuple[int, ...], shifted: bool, silu: bool) -> None:
    given = case(shape, torch.float64)
    agree(ours(given, shifted, silu), plainly(given, shifted, silu), 1e-10)


def test_adding_a_bias() -> None:
    given = case((2, 8, 3, 5), torch.float64)
    x, other = (given[n].clone().requires_grad_() for n in ("x", "grad"))
    bias = given["bias"].reshape(1, -1, 1, 1)
    assert torch.equal(norms.add_bias(x, given["bias"]), x + bias)
    both = norms.add_bias(x, given["bias"], other)
    assert torch.allclose(both, x + bias + other, rtol=0, atol=1e-14)
    for grad in torch.autograd.grad(both.square().sum(), (x, other)):
        assert torch.equal(grad, 2 * both)


@pytest.mark.parametrize(
    "change, error, what",
    [
        ({"groups": 3}, ValueError, "groups: expected a divisor of 8 channels, got 3"),
        ({"weight": torch.ones(7)}, ValueError, "weight: expected (8,), got (7,)"),
        ({"bias": torch.ones(8, dtype=torch.float64)}, TypeError, "bias: expected torch.float32"),
        ({"weight": torch.ones(8, requires_grad=True)}, TypeError, "weight: has no gradient here"),
        ({"x": torch.ones(2, 8)}, ValueError, "x: expected (n, c, ...), got (2, 8)"),
    ],
)
def test_what_it_refuses(change: dict[str, Any], error: type[Exception], what: str) -> None:
    given: dict[str, Any] = {
        "x": torch.ones(2, 8, 3, 3),
        "weight": torch.ones(8),
        "bias": torch.ones(8),
        "groups": 4,
        "eps": 1e-5,
    }
    with pytest.raises(error) as caught:
        norms.group_norm(**given | change)
    assert what in str(caught.value)


def test_what_fits() -> None:
    assert norms.fits(320, 32, torch.float16) and norms.fits(4, 2, torch.float32)
    assert not norms.fits(4, 2, torch.float16) and not norms.fits(2592, 32, torch.float16)
    assert not norms.fits(320, 32, torch.float64) and not norms.fits(320, 30, torch.float16)


# -- the CUDA kernels, on the CPU ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> cuda_emulation.Emulated:
    if shutil.which("c++") is None and shutil.which("g++") is None:
        pytest.skip("no C++ compiler")
    return cuda_emulation.build("group_norm", norms.KERNEL.cuda, tmp_path_factory.mktemp("emulated"))


def rows(x: Tensor) -> Tensor:
    return x.movedim(1, -1).reshape(x.shape[0], -1, x.shape[1]).contiguous()


@ways
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])
@pytest.mark.parametrize("shape", [*SHAPES, (1, 1024, 3, 3)])
def test_the_cuda_kernels_compute_what_the_reference_does(
    emulated: cuda_emulation.Emulated, shape: tuple[int, ...], dtype: torch.dtype, shifted: bool, silu: bool
) -> None:
    given = case(shape, dtype)
    x, shift = rows(given["x"]), given["shift"] if shifted else None
    common = (x, shift, given["weight"], given["bias"])
    for order in range(2):
        emulated.set_order(order)
        y, moments = emulated.operators.group_norm(*common, GROUPS, 1e-5, silu)
        back = emulated.operators.group_norm_backward(rows(given["grad"]), *common, moments, GROUPS, silu)
        expected, means = torch.ops.i3d.reference_group_norm(*common, GROUPS, 1e-5, silu)
        of_x = torch.ops.i3d.reference_group_norm_backward(rows(given["grad"]), *common, means, GROUPS, silu)
        if x.shape[1] * shape[1] // GROUPS > 1:
            agree([y, back], [expected, of_x], EMULATED[dtype])
        agree([moments], [means], EMULATED[dtype])


def test_numbers_far_from_zero_keep_their_spread(emulated: cuda_emulation.Emulated) -> None:
    """The mean of squares less the square of the mean would leave nothing of it in float32."""
    given = case((1, 8, 40, 40), torch.float32, far=3000.0)
    y, _ = emulated.operators.group_norm(rows(given["x"]), None, given["weight"], given["bias"], GROUPS, 1e-5, False)
    agree([y], [rows(plainly(given, False, False)[0])], 1e-3)


def test_sums_with_a_bias_on_the_card_s_code(emulated: cuda_emulation.Emulated) -> None:
    given = case((2, 8, 9, 11), torch.float32)
    x, other = rows(given["x"]), rows(given["grad"])
    for more in (None, other):
        expected = torch.ops.i3d.reference_add_bias(x, given["bias"], more)
        assert torch.equal(emulated.operators.add_bias(x, given["bias"], more), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])
def test_gated_gelu(emulated: cuda_emulation.Emulated, dtype: torch.dtype) -> None:
    x = torch.randn(3, 17, 24, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    expected = x[..., :12] * F.gelu(x[..., 12:])
    assert torch.allclose(norms.gated_gelu(x), expected, rtol=0, atol=1e-14)
    agree([emulated.operators.gated_gelu(x.to(dtype))], [expected], EMULATED[dtype])
    with pytest.raises(ValueError, match="even last axis"):
        norms.gated_gelu(torch.ones(2, 3))


def test_what_the_kernels_do_not_take(emulated: cuda_emulation.Emulated) -> None:
    """They refuse it, and the functions leave it to the reference."""
    ones = torch.ones(1, 3, 6)
    with pytest.raises(RuntimeError, match="up to 2560 channels, a multiple of 4"):
        emulated.operators.group_norm(ones, None, torch.ones(6), torch.ones(6), 2, 1e-5, False)
    with pytest.raises(RuntimeError, match="a multiple of 8 channels, got 6"):
        emulated.operators.gated_gelu(torch.ones(2, 6))
    y, moments = emulated.operators.group_norm(torch.ones(0, 3, 8), None, torch.ones(8), torch.ones(8), 2, 1e-5, False)
    assert y.shape == (0, 3, 8) and moments.shape == (0, 2, 2)
    with use_implementation("reference"):
        expected = norms.group_norm(torch.rand(1, 6, 3), torch.ones(6), torch.zeros(6), 2, 1e-5)
    assert expected.shape == (1, 6, 3)
    assert norms._operator("group_norm", ones, False) is torch.ops.i3d.reference_group_norm


def test_a_picture_that_is_not_aligned_is_read_all_the_same(emulated: cuda_emulation.Emulated) -> None:
    given = case((1, 8, 4, 4), torch.float32)
    dense = rows(given["x"])
    shifted = torch.empty(dense.numel() + 1)[1:].view(dense.shape).copy_(dense)
    assert shifted.data_ptr() % norms.VECTOR
    common = (None, given["weight"], given["bias"], GROUPS, 1e-5, True)
    for a, b in zip(
        emulated.operators.group_norm(shifted, *common), emulated.operators.group_norm(dense, *common), strict=True
    ):
        assert torch.equal(a, b)


# -- on a card -----------------------------------------------------------------------------------------------------------


def on_gpu(given: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: t.to("cuda", dtype) for name, t in given.items()}


@pytest.mark.gpu
@needs_gpu
@ways
@pytest.mark.parametrize("dtype", [*HALF, torch.float32], ids=["f16", "bf16", "f32"])
def test_native_agrees_with_torch(dtype: torch.dtype, shifted: bool, silu: bool) -> None:
    for shape in ((2, 320, 16, 16), (4, 128, 65, 33), (2, 2560, 8, 8), (1, 512, 4096)):
        given = on_gpu(case(shape, torch.float32), dtype)
        with use_implementation("native"):
            found, again = ours(given, shifted, silu), ours(given, shifted, silu)
        assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))
        agree(found, plainly(given, shifted, silu), HALF.get(dtype, 2e-5))


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("dtype", HALF, ids=["f16", "bf16"])
def test_native_sums_and_gates_agree_with_the_reference(dtype: torch.dtype) -> None:
    given = on_gpu(case((2, 320, 16, 16), torch.float32), dtype)
    x, other = rows(given["x"]), rows(given["grad"])
    with use_implementation("native"):
        found = [norms.add_bias(given["x"], given["bias"], given["grad"]), norms.gated_gelu(x)]
    expected = [torch.ops.i3d.reference_add_bias(x, given["bias"], other), torch.ops.i3d.reference_gated_gelu(x)]
    agree([rows(found[0]), found[1]], expected, HALF[dtype])


def seconds(work: Callable[[], Any], repeats: int = 20) -> float:
    """Of one call, on the card."""
    work()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
    events[0].record()
    for _ in range(repeats):
        work()
    events[1].record()
    torch.cuda.synchronize()
    return events[0].elapsed_time(events[1]) / 1000 / repeats
