"""The splat rasterizer: native and reference against each other, against finite differences and against gsplat."""

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from interactive3d.kernels import _library, splat_raster
from interactive3d.kernels.splat_raster import Raster, rasterize, use_implementation
from tests.kernels.splat_cases import Scene, orbit_viewmat, random_scene

# Both do the same arithmetic in another order; what differs is rounding, carried through a few hundred blobs per pixel
# and, for needles, multiplied by the condition of their covariance.
NATIVE_64 = 1e-11
NATIVE_32 = 2e-4
# A blob whose alpha is within rounding of 1/255 may be drawn by one and skipped by the other: one step of alpha_min.
GSPLAT_32 = 5e-3
GSPLAT_32_MEAN = 1e-6  # which happens to few pixels only
NEEDLES_32 = 1e-5  # rounding of float32; needles lose no more digits than round blobs do
IMPLEMENTATIONS = ("native", "reference")


@pytest.fixture(scope="module", autouse=True)
def native_is_there() -> Iterator[None]:
    status = _library.ensure(splat_raster.KERNEL, "cpu")
    assert status.implementation == "native", status.reason
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the reference's many small steps only lose by more
    yield
    torch.set_num_threads(threads)


def gradients(scene: Scene, background: Tensor | None, implementation: str) -> tuple[Raster, list[Tensor]]:
    """A rasterization and the gradients of a random linear function of all its outputs."""
    scene = scene.with_gradients()
    probe = torch.zeros(scene.viewmats.shape[0], scene.means.shape[0], 2, dtype=scene.means.dtype, requires_grad=True)
    leaves = [*scene.blobs, probe]
    if background is not None:
        background = background.detach().clone().requires_grad_()
        leaves.append(background)
    with use_implementation(implementation):
        raster = scene.render(background, screen_probe=probe)
        g = torch.Generator().manual_seed(5)
        outputs = (raster.color, raster.alpha, raster.depth)
        weights = [torch.randn(o.shape, generator=g, dtype=torch.float64).to(o) for o in outputs]
        torch.autograd.backward(outputs, weights)
    return Raster(*[output.detach() for output in outputs]), [leaf.grad for leaf in leaves]


def worst(a: Tensor, b: Tensor) -> float:
    """The largest difference, relative to the largest number."""
    return float((a - b).abs().max() / b.abs().max().clamp(min=1e-30))


SCENES: dict[str, Callable[[torch.dtype], Scene]] = {
    "many small": lambda dtype: random_scene(900, 1, 67, 40, scale=0.03, dtype=dtype),
    "three cameras, odd sizes": lambda dtype: random_scene(200, 3, 33, 17, dtype=dtype),
    "large, beyond the picture": lambda dtype: random_scene(60, 2, 40, 36, scale=0.5, dtype=dtype),
    "dense and opaque": lambda dtype: random_scene(800, 1, 40, 36, scale=0.1, opacity=0.9, dtype=dtype),
    "one": lambda dtype: random_scene(1, 1, 20, 20, scale=0.2, dtype=dtype),
    "one pixel": lambda dtype: random_scene(30, 1, 1, 1, scale=0.3, dtype=dtype),
    "needles": lambda dtype: needles(dtype),
}


def needles(dtype: torch.dtype) -> Scene:
    """Blobs a hundred times longer than wide, which cross many tiles at all angles."""
    scene = random_scene(60, 1, 80, 70, dtype=dtype)
    return scene.with_blobs(scales=scene.scales * torch.tensor([8.0, 0.08, 0.08], dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])
@pytest.mark.parametrize("name", SCENES)
def test_native_agrees_with_reference(name: str, dtype: torch.dtype) -> None:
    scene = SCENES[name](dtype)
    cameras = scene.viewmats.shape[0]
    g = torch.Generator().manual_seed(3)
    picture = torch.rand(cameras, scene.height, scene.width, 3, generator=g, dtype=dtype)
    color = torch.rand(cameras, 3, generator=g, dtype=dtype)
    tolerance = NATIVE_64 if dtype == torch.float64 else NATIVE_32
    for background in (None, color, picture):
        native, native_grads = gradients(scene, background, "native")
        plain, plain_grads = gradients(scene, background, "reference")
        for field in ("color", "alpha", "depth"):
            assert worst(getattr(native, field), getattr(plain, field)) < tolerance, field
        for index, (a, b) in enumerate(zip(native_grads, plain_grads, strict=True)):
            assert worst(a, b) < tolerance, f"gradient {index}"


def test_capped_alpha() -> None:
    """Where alpha is capped at 0.999 neither shape nor opacity gets a gradient."""
    scene = random_scene(3, 1, 12, 12, scale=0.6, dtype=torch.float64)
    scene = scene.with_blobs(opacities=torch.ones(3, dtype=torch.float64))
    native, native_grads = gradients(scene, None, "native")
    _plain, plain_grads = gradients(scene, None, "reference")
    assert float(native.alpha.max()) >= 0.999
    assert all(worst(a, b) < NATIVE_64 for a, b in zip(native_grads, plain_grads, strict=True))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_gradcheck(implementation: str) -> None:
    """Against float64 finite differences, for every differentiable input."""
    scene = random_scene(7, 2, 9, 7, scale=0.25, seed=4, dtype=torch.float64).with_gradients()
    background = torch.rand(2, 7, 9, 3, dtype=torch.float64, requires_grad=True)
    probe = torch.zeros(2, 7, 2, dtype=torch.float64, requires_grad=True)

    def render(*inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        *blobs, behind, shift = inputs
        with use_implementation(implementation):
            # A threshold under which nothing is skipped: finite differences know nothing of the step it makes.
            raster = rasterize(
                *blobs, scene.viewmats, scene.intrinsics, 9, 7, behind, screen_probe=shift, alpha_min=1e-12
            )
        return raster.color, raster.alpha, raster.depth

    fast = implementation == "reference"  # which is torch's autograd; a random direction suffices
    inputs = (*scene.blobs, background, probe)
    assert torch.autograd.gradcheck(render, inputs, atol=1e-6, rtol=1e-5, fast_mode=fast)


@pytest.mark.parametrize("clamped", [False, True], ids=["in view", "beyond the field of view"])
def test_gradcheck_of_one_background_color(clamped: bool) -> None:
    """One colour per camera; and blobs so far to the side that the Jacobian's centre is clamped."""
    scene = random_scene(3, 1, 6, 6, scale=0.5, seed=2, dtype=torch.float64).with_gradients()
    shift = torch.tensor([1.7, 1.3, 0.0], dtype=torch.float64) if clamped else torch.zeros(3, dtype=torch.float64)
    background = torch.rand(1, 3, dtype=torch.float64, requires_grad=True)

    def render(means: Tensor, scales: Tensor, rotations: Tensor, behind: Tensor) -> Tensor:
        blobs = (means + shift, scales, rotations, scene.colors.detach(), scene.opacities.detach())
        return rasterize(*blobs, scene.viewmats, scene.intrinsics, 6, 6, behind, alpha_min=1e-12).color

    assert torch.autograd.gradcheck(render, (scene.means, scene.scales, scene.rotations, background), atol=1e-6)


def forward_arguments(dtype: torch.dtype) -> tuple[object, ...]:
    scene = random_scene(20, 2, 18, 11, dtype=dtype).with_gradients()
    background = torch.rand(2, 3, dtype=dtype, requires_grad=True)
    probe = torch.zeros(2, 20, 2, dtype=dtype, requires_grad=True)
    limits = (18, 11, 0.01, 1e6, 0.3, 1 / 255, 1e-4)
    return (*scene.blobs, scene.viewmats, scene.intrinsics, background, probe, *limits)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])
@pytest.mark.parametrize("prefix", ["", "reference_"])
def test_opcheck(prefix: str, dtype: torch.dtype) -> None:
    arguments = forward_arguments(dtype)
    forward = getattr(torch.ops.i3d, f"{prefix}splat_raster_forward")
    torch.library.opcheck(forward.default, arguments)

    plain = [a.detach() if isinstance(a, Tensor) else a for a in arguments]
    outputs = forward(*plain)
    grads = [torch.ones_like(output) for output in outputs[:3]]
    backward = getattr(torch.ops.i3d, f"{prefix}splat_raster_backward")
    torch.library.opcheck(backward.default, (*grads, *plain[:9], *outputs[3:], True, *plain[9:]))


def test_threads_do_not_change_a_bit() -> None:
    scene = random_scene(2500, 2, 90, 70, scale=0.04)
    background = torch.rand(2, 3)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            raster, grads = gradients(scene, background, "native")
            results.append([raster.color, raster.alpha, raster.depth, *grads])
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_bands_do_not_change_a_bit() -> None:
    """More pairs of blob and tile than are held at once: the pictures are made in bands, with the same result."""
    count, side, cameras = 12_000, 512, 6
    g = torch.Generator().manual_seed(0)
    depths = 2.0 + torch.rand(count, generator=g)
    scene = random_scene(count, 1, side, side, scale=2.0, opacity=0.5, seed=1).with_blobs(
        means=torch.stack([torch.zeros(count), torch.zeros(count), depths], dim=1),
        viewmats=torch.eye(4)[None],
    )
    # 12,000 blobs over all 128 tiles are 1.5 million pairs, under the limit of 8 (MAX_ENTRIES); six cameras are over it.
    many = scene.with_blobs(
        viewmats=scene.viewmats.repeat(cameras, 1, 1), intrinsics=scene.intrinsics.repeat(cameras, 1)
    )
    one, one_grads = gradients(scene, None, "native")
    assert float(one.alpha.min()) > 0.9  # they do cover everything
    weights = torch.randn(1, side, side, 3, generator=g)
    rendered = many.with_gradients()
    raster = rendered.render()
    (raster.color * weights).sum().backward()
    single = scene.with_gradients()
    (single.render().color * weights).sum().backward()
    for camera in range(cameras):
        assert torch.equal(raster.color[camera], one.color[0])
    assert single.colors.grad is not None
    assert rendered.colors.grad is not None
    assert worst(rendered.colors.grad, cameras * single.colors.grad) < NATIVE_32
    assert one_grads[5].abs().max() > 0


def test_blobs_that_are_not_finite_are_skipped() -> None:
    scene = random_scene(40, 1, 24, 24, dtype=torch.float64)
    bad = {}
    for row, name in enumerate(("means", "scales", "rotations", "colors", "opacities")):
        for column, value in enumerate((math.nan, math.inf)):
            tensor = bad.setdefault(name, getattr(scene, name).clone())
            tensor[2 * row + column].fill_(value)
    broken = scene.with_blobs(**bad)
    clean = scene.with_blobs(**{n: getattr(scene, n)[10:] for n in bad})
    for implementation in IMPLEMENTATIONS:
        raster, grads = gradients(broken, None, implementation)
        with use_implementation(implementation):
            expected = clean.render()
        assert torch.equal(raster.color, expected.color)
        for grad in grads[:5]:
            assert torch.isfinite(grad).all()
            assert (grad[:10] == 0).all()


def test_behind_the_camera_and_beyond_the_limits() -> None:
    scene = random_scene(30, 1, 24, 24)
    for options in ({"near": 3.5}, {"far": 1.2}):
        assert float(scene.render(**options).alpha.max()) == 0.0
    behind = scene.with_blobs(means=scene.means + torch.tensor([0.0, 0.0, 50.0]))
    raster, grads = gradients(behind, torch.full((1, 3), 0.25), "native")
    assert torch.equal(raster.color, torch.full_like(raster.color, 0.25))
    assert all((grad == 0).all() for grad in grads[:6])


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_no_blobs(implementation: str) -> None:
    scene = random_scene(0, 2, 20, 10)
    raster, grads = gradients(scene, torch.full((2, 3), 0.5), implementation)
    assert raster.color.shape == (2, 10, 20, 3)
    assert (raster.color == 0.5).all()
    assert (raster.alpha == 0).all()
    assert grads[0].shape == (0, 3)


def test_depth_order_and_center() -> None:
    """A near red blob hides a far green one; the picture's centre shows it where the camera looks."""
    red, green = torch.tensor([[1.0, 0, 0]]), torch.tensor([[0, 1.0, 0]])
    for order in (1, -1):
        means = torch.tensor([[0.0, 0, 0.5 * order], [0.0, 0, -0.5 * order]])
        colors = torch.cat([red, green] if order == 1 else [green, red])
        scene = random_scene(2, 1, 21, 21).with_blobs(
            means=means,
            scales=torch.full((2, 3), 0.2),
            colors=colors,
            opacities=torch.full((2,), 0.9),
            viewmats=orbit_viewmat(0, 0, 2.5)[None].float(),
            intrinsics=torch.tensor([[30.0, 30.0, 10.5, 10.5]]),
        )
        raster = scene.render()
        assert raster.color[0, 10, 10, 0] > 0.85
        assert raster.color[0, 10, 10, 1] < 0.1
        # Weights 0.9 and 0.09 at camera depths 2 and 3.
        assert math.isclose(float(raster.depth[0, 10, 10]), 0.9 * 2.0 + 0.09 * 3.0, rel_tol=1e-3)


def accumulate_as_nerfacc(weights: Tensor, values: Tensor | None, ray_indices: Tensor, n_rays: int) -> Tensor:
    source = weights[:, None] if values is None else weights[:, None] * values
    return torch.zeros(n_rays, source.shape[1]).index_add_(0, ray_indices, source)


def weights_as_nerfacc(alphas: Tensor, ray_indices: Tensor, n_rays: int) -> tuple[Tensor, Tensor]:
    """Exclusive products of 1 - alpha along each ray; samples of a ray are neighbours and in order."""
    log = torch.log1p(-alphas.double())
    summed = torch.cumsum(log, 0) - log
    first = torch.ones_like(ray_indices, dtype=torch.bool)
    first[1:] = ray_indices[1:] != ray_indices[:-1]
    start = summed[first][torch.cumsum(first, 0) - 1]
    transmittance = torch.exp(summed - start).float()
    return alphas * transmittance, transmittance


def test_forward_agrees_with_gsplat(monkeypatch: pytest.MonkeyPatch) -> None:
    """gsplat's torch reference projects and composites the same blobs to the same picture.

    Its compositing leaves the choice of pairs to a CUDA kernel and the products along rays to nerfacc; here the pairs come
    from a dense table by the documented rule, and nerfacc's two functions are written out above.
    """
    gsplat = pytest.importorskip("gsplat.cuda._torch_impl", reason="gsplat is not installed", exc_type=ImportError)
    import sys
    import types

    nerfacc = types.ModuleType("nerfacc")
    nerfacc.accumulate_along_rays = accumulate_as_nerfacc
    nerfacc.render_weight_from_alpha = weights_as_nerfacc
    monkeypatch.setitem(sys.modules, "nerfacc", nerfacc)

    for seed in range(3):
        scene = random_scene(150, 2, 40, 32, scale=0.08, seed=seed)
        covariances, _ = gsplat._quat_scale_to_covar_preci(scene.rotations, scene.scales, True, False)
        matrices = torch.zeros(2, 3, 3)
        matrices[:, [0, 1, 0, 1], [0, 1, 2, 2]] = scene.intrinsics
        matrices[:, 2, 2] = 1
        radii, means2d, depths, conics, _ = gsplat._fully_fused_projection(
            scene.means, covariances, scene.viewmats, matrices, scene.width, scene.height, near_plane=0.01
        )
        raster = scene.render()
        for camera in range(2):
            gaussian, pixel = pairs_to_draw(scene, radii[camera], means2d[camera], depths[camera], conics[camera])
            color, alpha = gsplat.accumulate(
                means2d[camera][None],
                conics[camera][None],
                scene.opacities[None],
                torch.cat([scene.colors, depths[camera][:, None]], dim=1)[None],
                gaussian,
                pixel,
                torch.zeros_like(gaussian),
                scene.width,
                scene.height,
            )
            ours = torch.cat([raster.color[camera], raster.depth[camera][..., None]], dim=-1)
            difference = (color[0] - ours).abs()
            assert float(difference.max()) < GSPLAT_32
            assert float(difference.mean()) < GSPLAT_32_MEAN
            assert float((alpha[0, ..., 0] - raster.alpha[camera]).abs().max()) < GSPLAT_32


def pairs_to_draw(
    scene: Scene, radii: Tensor, means2d: Tensor, depths: Tensor, conics: Tensor
) -> tuple[Tensor, Tensor]:
    """Blob and pixel of every pair that gsplat's rule draws, by pixel and then nearest first."""
    order = torch.argsort(depths)
    order = order[(radii[order] > 0).all(-1)]
    ys, xs = torch.meshgrid(torch.arange(scene.height) + 0.5, torch.arange(scene.width) + 0.5, indexing="ij")
    delta = torch.stack([xs, ys], -1).reshape(-1, 1, 2) - means2d[order]
    c = conics[order]
    sigma = 0.5 * (c[:, 0] * delta[..., 0] ** 2 + c[:, 2] * delta[..., 1] ** 2) + c[:, 1] * delta.prod(-1)
    alpha = (scene.opacities[order] * torch.exp(-sigma)).clamp(max=0.999)
    alpha = torch.where(alpha >= 1 / 255, alpha, 0)
    drawn = (alpha > 0) & (torch.cumprod(1 - alpha, 1) > 1e-4)
    pixel, rank = drawn.nonzero(as_tuple=True)
    return order[rank], pixel


def test_thin_needles_stay_exact_in_float32() -> None:
    """Blobs much longer than wide, where the usual quadratic form loses its digits: float32 against float64."""
    exact = needles(torch.float64).render()
    single = needles(torch.float32).render()
    assert float((exact.color - single.color).abs().mean()) < NEEDLES_32


BAD_ARGUMENTS: dict[str, tuple[Callable[[Scene], object], type[Exception], str]] = {
    "not a tensor": (lambda s: s.with_blobs(means=[1.0]).render(), TypeError, "means: expected a tensor, got list"),
    "half precision": (
        lambda s: s.with_blobs(means=s.means.half()).render(),
        TypeError,
        "means: expected float32 or float64, got torch.float16",
    ),
    "mixed types": (
        lambda s: s.with_blobs(scales=s.scales.double()).render(),
        TypeError,
        "scales: expected torch.float32 as means has, got torch.float64",
    ),
    "shape": (
        lambda s: s.with_blobs(rotations=s.rotations[:, :3]).render(),
        ValueError,
        r"rotations: expected shape \(5, 4\), got \(5, 3\)",
    ),
    "background": (
        lambda s: s.render(torch.zeros(3)),
        ValueError,
        r"background: expected shape \(1, 3\) or \(1, 8, 8, 3\), got \(3,\)",
    ),
    "probe": (
        lambda s: s.render(screen_probe=torch.zeros(5, 2)),
        ValueError,
        r"screen_probe: expected shape \(1, 5, 2\), got \(5, 2\)",
    ),
    "no cameras": (
        lambda s: s.with_blobs(viewmats=s.viewmats[:0], intrinsics=s.intrinsics[:0]).render(),
        ValueError,
        "viewmats: expected at least one camera, got none",
    ),
    "zero size": (
        lambda s: s.with_blobs(width=0).render(),
        ValueError,
        "width: expected 1 to 16384 pixels, got 0",
    ),
    "huge size": (
        lambda s: s.with_blobs(height=1 << 31).render(),
        ValueError,
        "height: expected 1 to 16384 pixels, got 2147483648",
    ),
    "size not whole": (lambda s: s.with_blobs(width=8.0).render(), TypeError, "width: expected an int, got float"),
    "near": (lambda s: s.render(near=0.0), ValueError, "near, far: expected 0 < near < far, got 0.0 and 1000000.0"),
    "far": (lambda s: s.render(far=math.nan), ValueError, "near, far: expected 0 < near < far"),
    "blur": (lambda s: s.render(blur=-1.0), ValueError, "blur: expected square pixels of at least 0, got -1.0"),
    "alpha_min": (lambda s: s.render(alpha_min=0.0), ValueError, "alpha_min: expected a number between 0 and 1"),
    "transmittance_min": (
        lambda s: s.render(transmittance_min=1.0),
        ValueError,
        "transmittance_min: expected at least 0 and under 1, got 1.0",
    ),
}


@pytest.mark.parametrize("name", BAD_ARGUMENTS)
def test_bad_arguments(name: str) -> None:
    call, kind, message = BAD_ARGUMENTS[name]
    with pytest.raises(kind, match=message):
        call(random_scene(5, 1, 8, 8))
