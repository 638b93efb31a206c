"""Marching, compositing and fused rendering: native against the reference, gradients, early stop, refusals."""

import dataclasses

import pytest
import torch

from interactive3d.kernels import _library
from interactive3d.kernels.field_network import field_network
from interactive3d.kernels.hash_refine import hash_refine
from interactive3d.kernels.reference_field import field_raw
from interactive3d.kernels.volume_render import composite, march_rays, render_rays
from tests.kernels import field_cases as cases

SAME = 2e-5  # float32, through a network, an exponential and some hundred samples
SAME_DOUBLE = 1e-11
ON_A_BORDER = 0.01  # share of rays whose samples may fall to another cell, for the compilers round differently
STEP = 0.02
IMPLEMENTATIONS = ("native", "reference")

needs_native = pytest.mark.skipif(not cases.has_native(), reason="no native kernel could be built here")


def occupancy() -> torch.Tensor:
    return cases.mask(8, torch.Generator().manual_seed(5))


def skip_without_native(which: str) -> None:
    if which == "native" and not cases.has_native():
        pytest.skip("no native kernel could be built here")


@needs_native
@pytest.mark.parametrize("shifted", [False, True])
def test_marching_finds_the_samples_that_looking_at_all_finds(shifted: bool) -> None:
    origins, directions = cases.rays(400, torch.float64)
    shifts = torch.rand(400, generator=torch.Generator().manual_seed(0), dtype=torch.float64) if shifted else None
    with _library.use_implementation("native"):
        native = march_rays(origins, directions, occupancy(), STEP, shifts=shifts)
    with _library.use_implementation("reference"):
        reference = march_rays(origins, directions, occupancy(), STEP, shifts=shifts)
    assert torch.equal(native.offsets, reference.offsets)
    assert (native.times - reference.times).abs().max() < SAME_DOUBLE
    assert (native.positions - reference.positions).abs().max() < SAME_DOUBLE


@pytest.mark.parametrize("which", IMPLEMENTATIONS)
def test_marching_stays_in_set_cells_and_honours_limits(which: str) -> None:
    skip_without_native(which)
    origins, directions = cases.rays(100)
    cells = occupancy()
    limits = torch.arange(100, dtype=torch.int32) % 7
    with _library.use_implementation(which):  # type: ignore[arg-type]
        samples = march_rays(origins, directions, cells, STEP, limits=limits)
        free = march_rays(origins, directions, cells, STEP)
    index = ((samples.positions + 1) * 4).long().clamp(0, 7)
    assert cells[index[:, 2], index[:, 1], index[:, 0]].all()
    counts, all_counts = samples.offsets.diff(), free.offsets.diff()
    assert torch.equal(counts, torch.minimum(all_counts, limits.long()))
    assert (free.offsets.diff() == 0).any()  # some rays miss


def test_rays_along_an_axis() -> None:
    origins = torch.tensor([[0.01, 0.01, 3.0], [-3.0, 0.99, 0.3], [0.0, 2.0, 0.0]])
    directions = torch.tensor([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    full = torch.ones(4, 4, 4, dtype=torch.uint8)
    counts = march_rays(origins, directions, full, 0.1).offsets.diff()
    assert counts.tolist() == [20, 20, 0]


def composite_case(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    counts = torch.tensor([0, 5, 1, 0, 9, 40])
    offsets = torch.cat([torch.zeros(1, dtype=torch.long), counts.cumsum(0)])
    raw = torch.randn(int(offsets[-1]), 4, generator=generator, dtype=dtype) * 2
    raw[20:, 0] += 3  # the last ray ends early
    times = torch.rand(raw.shape[0], generator=generator, dtype=dtype) + 1
    return raw, times, offsets


@needs_native
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_native_composition_agrees_with_the_reference(dtype: torch.dtype) -> None:
    found = {}
    for which in IMPLEMENTATIONS:
        raw, times, offsets = composite_case(dtype)
        raw.requires_grad_()
        with _library.use_implementation(which):  # type: ignore[arg-type]
            out = composite(raw, times, offsets, 0.1)
            (out.color.sum() + 2 * out.alpha.sum() - (out.depth * torch.arange(6)).sum()).backward()
        found[which] = (*(part.detach() for part in out), raw.grad)
    for native, reference in zip(found["native"], found["reference"], strict=True):
        assert (native - reference).abs().max() <= (SAME if dtype == torch.float32 else SAME_DOUBLE)
    assert (found["native"][3][-5:] == 0).all()  # the early stop has been met


@pytest.mark.parametrize("which", IMPLEMENTATIONS)
def test_gradcheck_from_positions_and_parameters_to_pixels(which: str) -> None:
    """Encoding, network, residuals and composition in one."""
    skip_without_native(which)
    base, regions = cases.base_grid(torch.float64), cases.region_grids(torch.float64)
    positions = cases.points(8, torch.float64, 0.45).requires_grad_()
    offsets = torch.tensor([0, 3, 3, 8])
    times = torch.linspace(1, 2, 8, dtype=torch.float64)

    def pixels(p: torch.Tensor, b: torch.Tensor, r: torch.Tensor) -> tuple[torch.Tensor, ...]:
        raw, encoding, _ = field_network(p, dataclasses.replace(base, params=b))
        residual, _ = hash_refine(p, encoding, raw, dataclasses.replace(regions, params=r))
        return composite(raw + residual, times, offsets, 0.3)[:3]

    with _library.use_implementation(which):  # type: ignore[arg-type]
        leaves = (positions, base.params.requires_grad_(), regions.params.requires_grad_())
        assert torch.autograd.gradcheck(pixels, leaves, fast_mode=True)


@pytest.mark.parametrize("prefix", ["", "reference_"])
def test_opcheck(prefix: str) -> None:
    cases.has_native()
    raw, times, offsets = composite_case(torch.float32)
    ops = torch.ops.i3d
    torch.library.opcheck(getattr(ops, prefix + "composite"), (raw.requires_grad_(), times, offsets, 0.1, 1e-3))
    origins, directions = cases.rays(6)
    torch.library.opcheck(
        getattr(ops, prefix + "march_rays"), (origins, directions, None, occupancy(), None, STEP, 0.01)
    )
    base, regions = cases.base_grid(), cases.region_grids()
    grids = (base.params, base.masks[0], base.boxes[0], base.numbers)
    more = (regions.params, regions.masks, regions.boxes, regions.numbers)
    torch.library.opcheck(
        getattr(ops, prefix + "render_rays"),
        (origins, directions, None, occupancy(), *grids, *more, STEP, 0.01, -4.0, 1e-3),
    )


@needs_native
@pytest.mark.parametrize("refined", [False, True])
def test_fused_rendering_agrees_with_the_reference(refined: bool) -> None:
    base = cases.base_grid(torch.float64)
    regions = cases.region_grids(torch.float64) if refined else None
    origins, directions = cases.rays(150, torch.float64)
    found = []
    for which in IMPLEMENTATIONS:
        with _library.use_implementation(which):  # type: ignore[arg-type]
            found.append(render_rays(origins, directions, occupancy(), base, regions, STEP, stop=0.05))
    native, reference = found
    assert torch.equal(native.used, reference.used)
    for name in ("color", "alpha", "depth"):
        assert (getattr(native, name) - getattr(reference, name)).abs().max() < SAME_DOUBLE, name
    assert (native.alpha > 0.9).any() and (native.alpha == 0).any()


@needs_native
def test_training_path_gives_the_fused_picture() -> None:
    base, regions = cases.base_grid(), cases.region_grids()
    origins, directions = cases.rays(200)
    whole = render_rays(origins, directions, occupancy(), base, regions, STEP, stop=0.05)
    samples = march_rays(origins, directions, occupancy(), STEP, limits=whole.used)
    assert torch.equal(samples.offsets.diff().int(), whole.used)
    raw = field_raw(
        samples.positions,
        (base.params, base.masks[0], base.boxes[0], base.numbers),
        (regions.params, regions.masks, regions.boxes, regions.numbers),
        -4.0,
    )
    pixels = composite(raw, samples.times, samples.offsets, STEP, stop=0.05)
    assert ((pixels.color - whole.color).abs().amax(-1) > SAME).float().mean() < ON_A_BORDER


def test_inputs_are_checked() -> None:
    origins, directions = cases.rays(4)
    with pytest.raises(ValueError, match="step: expected 1e-5 to 1"):
        march_rays(origins, directions, occupancy(), 0.0)
    with pytest.raises(ValueError, match="occupancy: expected a cube of uint8"):
        march_rays(origins, directions, occupancy().float(), 0.1)
    raw, times, offsets = composite_case(torch.float32)
    with pytest.raises(ValueError, match="raw, times"):
        composite(raw, times[:-1], offsets, 0.1)
    with pytest.raises(TypeError, match="offsets: expected int64"):
        composite(raw, times, offsets.int(), 0.1)
