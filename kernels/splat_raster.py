"""Gaussian splatting: blobs to pictures, forward and backward, many cameras in one call.

Conventions are gsplat's: EWA projection (Zwicker et al. 2002) with a low-pass of `blur` square pixels added to the 2D
covariance, alpha capped at 0.999, blobs skipped where their alpha is under `alpha_min`, a pixel done (without the blob that
would do it) once its transmittance would fall to `transmittance_min`. Cameras are OpenCV's: x right, y down, z forward;
pixel centres lie at +0.5; quaternions are wxyz. A blob with a number that is not finite is skipped and gets zero gradients,
as does one whose centre is not between `near` and `far`.

On the CPU the native kernel (`csrc/`) serves, else the plain-torch reference; on CUDA gsplat where it is installed.
"""

import concurrent.futures
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interactive3d.kernels import _library, reference
from interactive3d.kernels._library import KernelStatus, use_implementation

__all__ = ["KERNEL", "KernelStatus", "Raster", "rasterize", "use_implementation"]

FAR = 1e6
ALPHA_MIN = 1.0 / 255.0
TRANSMITTANCE_MIN = 1e-4
BLUR = 0.3
MAX_SIDE = 16384  # pixels; a larger picture is refused
MAX_BLOBS = 1 << 24  # the native kernel counts blobs in float32
SPLAT_FIELDS = 16  # numbers that the forward pass keeps per camera and blob for the backward pass


def _load_gsplat() -> str:
    from interactive3d.kernels import gsplat_backend

    return gsplat_backend.load()


def _timed_work() -> Callable[[], Any]:
    """What gsplat and our own code are timed at on CUDA: two pictures of some blobs, there and back."""
    blobs, side = 20_000, 256
    generator = torch.Generator().manual_seed(0)
    leaves = tuple(
        t.to("cuda").requires_grad_()
        for t in (
            0.3 * torch.randn(blobs, 3, generator=generator),
            torch.full((blobs, 3), 0.02),
            torch.randn(blobs, 4, generator=generator),
            torch.rand(blobs, 3, generator=generator),
            torch.full((blobs,), 0.5),
        )
    )
    means, scales, rotations, colors, opacities = leaves
    views = torch.eye(4).repeat(2, 1, 1)
    views[:, 2, 3] = torch.tensor([2.5, 3.0])
    views, lens = views.to("cuda"), torch.tensor([[1.5 * side, 1.5 * side, side / 2, side / 2]] * 2).to("cuda")

    def work() -> Any:
        found = rasterize(means, scales, rotations, colors, opacities, views, lens, side, side)
        return torch.autograd.grad(found.color.sum() + found.alpha.sum(), leaves)

    return work


KERNEL = _library.register(
    _library.NativeKernel(
        "splat_raster",
        cpu=("cpu/splat_raster_torch.cpp", "cpu/splat_raster_f32.cpp", "cpu/splat_raster_f64.cpp"),
        cuda=("cuda/splat_raster_torch.cpp", "cuda/splat_raster.cu"),
        external=_library.External("gsplat", _load_gsplat, _timed_work),
    )
)

_SETTINGS_SCHEMA = "int width, int height, float near, float far, float blur, float alpha_min, float transmittance_min"
_INPUTS_SCHEMA = (
    "Tensor means, Tensor scales, Tensor rotations, Tensor colors, Tensor opacities, Tensor viewmats, "
    "Tensor intrinsics, Tensor? background, Tensor? screen_probe"
)


@dataclass(frozen=True)
class Raster:
    """Pictures of c cameras."""

    color: Float[Tensor, "c h w 3"]  # background included
    alpha: Float[Tensor, "c h w"]  # coverage, 1 - transmittance
    depth: Float[Tensor, "c h w"]  # sum over the blobs of weight * camera-space z of the centre; not divided by alpha


def rasterize(
    means: Float[Tensor, "n 3"],
    scales: Float[Tensor, "n 3"],
    rotations: Float[Tensor, "n 4"],
    colors: Float[Tensor, "n 3"],
    opacities: Float[Tensor, " n"],
    viewmats: Float[Tensor, "c 4 4"],
    intrinsics: Float[Tensor, "c 4"],
    width: int,
    height: int,
    background: Float[Tensor, "c 3"] | Float[Tensor, "c h w 3"] | None = None,
    *,
    screen_probe: Float[Tensor, "c n 2"] | None = None,
    near: float = 0.01,
    far: float = FAR,
    blur: float = BLUR,
    alpha_min: float = ALPHA_MIN,
    transmittance_min: float = TRANSMITTANCE_MIN,
) -> Raster:
    """Renders n blobs with c cameras; differentiable in means, scales, rotations, colors, opacities and background.

    Args:
        means: centres, scene units. scales: standard deviations along the blob's axes, scene units, positive.
        rotations: quaternions wxyz, normalised here. colors: any range. opacities: 0..1.
        viewmats: world to camera, OpenCV; not differentiated. intrinsics: fx, fy, cx, cy in pixels; not differentiated.
        width, height: pixels. background: one colour or one picture per camera; None is black.
        screen_probe: zeros; its gradient is that of the blobs' projected centres in pixels (for densification).
        near, far: only blobs with a centre between them are drawn, scene units. blur: square pixels.
        alpha_min: blobs are skipped where their alpha is smaller, above 0. transmittance_min: a pixel's early stop.

    Raises:
        TypeError: something is not a tensor, or dtypes or devices differ, or the dtype is not float32 or float64.
        ValueError: a shape does not fit, or a size or limit is out of range.
    """
    settings = reference.SplatSettings(width, height, near, far, blur, alpha_min, transmittance_min)
    _check_settings(settings)
    blobs = {"means": means, "scales": scales, "rotations": rotations, "colors": colors, "opacities": opacities}
    optional = {"background": background, "screen_probe": screen_probe}
    present = {name: tensor for name, tensor in optional.items() if tensor is not None}
    _check_tensors({**blobs, "viewmats": viewmats, "intrinsics": intrinsics, **present}, width, height)
    if _library.external(KERNEL, means.device.type) is not None:
        from interactive3d.kernels import gsplat_backend

        if gsplat_backend.serves(means, settings):
            cameras = (viewmats, intrinsics, background, screen_probe, settings)
            return Raster(*gsplat_backend.rasterize(means, scales, rotations, colors, opacities, *cameras))
    op = _library.operator("splat_raster_forward", KERNEL, means.device)
    color, alpha, depth, *_ = op(*blobs.values(), viewmats, intrinsics, background, screen_probe, *_values(settings))
    return Raster(color, alpha, depth)


def _values(settings: reference.SplatSettings) -> tuple[int, int, float, float, float, float, float]:
    s = settings
    return s.width, s.height, s.near, s.far, s.blur, s.alpha_min, s.transmittance_min


def _check_settings(s: reference.SplatSettings) -> None:
    for name, size in (("width", s.width), ("height", s.height)):
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError(f"{name}: expected an int, got {type(size).__name__}")
        if not 1 <= size <= MAX_SIDE:
            raise ValueError(f"{name}: expected 1 to {MAX_SIDE} pixels, got {size}")
    if not (0 < s.near < s.far):
        raise ValueError(f"near, far: expected 0 < near < far, got {s.near} and {s.far}")
    if not (0 <= s.blur < math.inf):
        raise ValueError(f"blur: expected square pixels of at least 0, got {s.blur}")
    if not (0 < s.alpha_min < 1):
        raise ValueError(f"alpha_min: expected a number between 0 and 1, both excluded, got {s.alpha_min}")
    if not (0 <= s.transmittance_min < 1):
        raise ValueError(f"transmittance_min: expected at least 0 and under 1, got {s.transmittance_min}")


def _check_tensors(tensors: dict[str, Tensor], width: int, height: int) -> None:
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name}: expected a tensor, got {type(tensor).__name__}")
    means, viewmats = tensors["means"], tensors["viewmats"]
    if means.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"means: expected float32 or float64, got {means.dtype}")
    n = means.shape[0] if means.dim() else 0
    c = viewmats.shape[0] if viewmats.dim() else 0
    shapes: dict[str, list[tuple[int, ...]]] = {
        "means": [(n, 3)],
        "scales": [(n, 3)],
        "rotations": [(n, 4)],
        "colors": [(n, 3)],
        "opacities": [(n,)],
        "viewmats": [(c, 4, 4)],
        "intrinsics": [(c, 4)],
        "background": [(c, 3), (c, height, width, 3)],
        "screen_probe": [(c, n, 2)],
    }
    for name, tensor in tensors.items():
        if tuple(tensor.shape) not in shapes[name]:
            wanted = " or ".join(str(shape) for shape in shapes[name])
            raise ValueError(f"{name}: expected shape {wanted}, got {tuple(tensor.shape)}")
        if tensor.dtype != means.dtype:
            raise TypeError(f"{name}: expected {means.dtype} as means has, got {tensor.dtype}")
        if tensor.device != means.device:
            raise TypeError(f"{name}: expected device {means.device} as means has, got {tensor.device}")
    if c == 0:
        raise ValueError("viewmats: expected at least one camera, got none")
    if n > MAX_BLOBS:
        raise ValueError(f"means: expected at most {MAX_BLOBS} blobs, got {n}")


def _forward_reference(
    means: Tensor,
    scales: Tensor,
    rotations: Tensor,
    colors: Tensor,
    opacities: Tensor,
    viewmats: Tensor,
    intrinsics: Tensor,
    background: Tensor | None,
    screen_probe: Tensor | None,
    *settings: Any,
) -> tuple[Tensor, ...]:
    chosen = reference.SplatSettings(*settings)
    color, transmittance, depth = reference.splat_forward(
        means, scales, rotations, colors, opacities, viewmats, intrinsics, background, screen_probe, chosen
    )
    cameras, blobs = viewmats.shape[0], means.shape[0]
    # What the native kernel keeps for its backward pass; the reference computes everything anew.
    last = torch.zeros(transmittance.shape, dtype=torch.int32, device=means.device)
    splats = means.new_zeros(cameras, blobs, SPLAT_FIELDS)
    order = torch.zeros(cameras, blobs, dtype=torch.int32, device=means.device)
    return color, 1 - transmittance, depth, transmittance, last, splats, order


def _forward_fake(
    means: Tensor,
    scales: Tensor,
    rotations: Tensor,
    colors: Tensor,
    opacities: Tensor,
    viewmats: Tensor,
    intrinsics: Tensor,
    background: Tensor | None,
    screen_probe: Tensor | None,
    width: int,
    height: int,
    *settings: float,
) -> tuple[Tensor, ...]:
    c, n = viewmats.shape[0], means.shape[0]
    picture = [means.new_empty(c, height, width) for _ in range(3)]
    # On CUDA the tiles' lists are kept, which are as long as they turn out to be.
    order = (torch.library.get_ctx().new_dynamic_size(),) if means.is_cuda else (c, n)
    return (
        means.new_empty(c, height, width, 3),
        *picture,
        means.new_empty((c, height, width), dtype=torch.int32),
        means.new_empty(c, n, SPLAT_FIELDS),
        means.new_empty(order, dtype=torch.int32),
    )


def _backward_reference(
    grad_color: Tensor | None,
    grad_alpha: Tensor | None,
    grad_depth: Tensor | None,
    means: Tensor,
    scales: Tensor,
    rotations: Tensor,
    colors: Tensor,
    opacities: Tensor,
    viewmats: Tensor,
    intrinsics: Tensor,
    background: Tensor | None,
    screen_probe: Tensor | None,
    transmittance: Tensor,
    last: Tensor,
    splats: Tensor,
    order: Tensor,
    background_wanted: bool,
    *settings: Any,
) -> tuple[Tensor, ...]:
    # In a thread of its own: inside an operator torch's autograd may be switched off for the calling thread.
    with concurrent.futures.ThreadPoolExecutor(max_workers=1) as fresh:
        grads, background_grad, probe_grad = fresh.submit(
            reference.splat_backward,
            (grad_color, grad_alpha, grad_depth),
            (means, scales, rotations, colors, opacities),
            viewmats,
            intrinsics,
            background,
            screen_probe,
            reference.SplatSettings(*settings),
        ).result()
    empty = means.new_zeros(0)
    return (
        *grads,
        background_grad if background_grad is not None and background_wanted else empty,
        empty.clone() if probe_grad is None else probe_grad,
    )


def _backward_fake(
    grad_color: Tensor | None,
    grad_alpha: Tensor | None,
    grad_depth: Tensor | None,
    means: Tensor,
    scales: Tensor,
    rotations: Tensor,
    colors: Tensor,
    opacities: Tensor,
    viewmats: Tensor,
    intrinsics: Tensor,
    background: Tensor | None,
    screen_probe: Tensor | None,
    transmittance: Tensor,
    last: Tensor,
    splats: Tensor,
    order: Tensor,
    background_wanted: bool,
    *settings: Any,
) -> tuple[Tensor, ...]:
    out = [tensor.new_empty(tensor.shape) for tensor in (means, scales, rotations, colors, opacities)]
    for tensor in (background if background_wanted else None, screen_probe):
        out.append(means.new_empty(0) if tensor is None else tensor.new_empty(tensor.shape))
    return tuple(out)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    tensors, ctx.settings = inputs[:9], inputs[9:]
    kept = output[3:]
    ctx.mark_non_differentiable(*kept)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, *kept)


def _backward(prefix: str, ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
    wanted = ctx.needs_input_grad
    op = getattr(torch.ops.i3d, prefix + "splat_raster_backward")
    found = op(*grads[:3], *ctx.saved_tensors, wanted[7], *ctx.settings)
    out: list[Tensor | None] = [None] * len(wanted)
    out[:5] = found[:5]
    out[7] = found[5] if wanted[7] else None
    out[8] = found[6] if wanted[8] else None
    return tuple(out)


_library.define(
    "splat_raster_forward",
    f"({_INPUTS_SCHEMA}, {_SETTINGS_SCHEMA}) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _forward_reference,
    _forward_fake,
)
_library.define(
    "splat_raster_backward",
    f"(Tensor? grad_color, Tensor? grad_alpha, Tensor? grad_depth, {_INPUTS_SCHEMA}, Tensor transmittance, Tensor last, "
    f"Tensor splats, Tensor order, bool background_wanted, {_SETTINGS_SCHEMA}) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _backward_reference,
    _backward_fake,
)
_library.define_autograd("splat_raster_forward", _setup, _backward)
