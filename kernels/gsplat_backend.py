"""The splat rasterizer by gsplat, for CUDA tensors where gsplat is installed. Imported only then.

gsplat's own stages are called one by one, so that the projected centres can carry the probe's gradient and any background
can be put behind. gsplat's limits are fixed: blobs are skipped under alpha 1/255 and pixels stop at transmittance 1e-4.
"""

import contextlib
import importlib.metadata
import warnings

import torch
from jaxtyping import Float
from torch import Tensor

from interactive3d.kernels import _build
from interactive3d.kernels._library import BuildError
from interactive3d.kernels.reference import SplatSettings, finite_rows

TILE = 16  # pixels; gsplat's default
ALPHA_MIN = 1.0 / 255.0
TRANSMITTANCE_MIN = 1e-4
MESSAGE = 2000  # characters of a compiler's message that are kept, the last ones


def load() -> str:
    """Imports gsplat's CUDA code, which it compiles the first time, for minutes; returns what serves, or raises BuildError.

    A failure is kept beside our own builds: gsplat would compile everything anew in every process.
    """
    version = importlib.metadata.version("gsplat")
    failure = _build.cache_folder() / f"gsplat-{version}-torch-{torch.__version__}.failed"
    if failure.exists():
        raise BuildError(f"{failure.read_text()}\n(remembered; delete {failure} to try again)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its import and of torch's build tools, which are no concern of ours
            from gsplat.cuda import _backend
    except Exception as error:  # its import compiles, and fails in as many ways as compilers do
        said = f"gsplat is installed but does not load: {str(error)[-MESSAGE:]}"
        with contextlib.suppress(OSError):
            failure.parent.mkdir(parents=True, exist_ok=True)
            failure.write_text(said)
        raise BuildError(said) from error
    if _backend._C is None:
        raise BuildError("gsplat is installed, but without its CUDA code, and there is no nvcc to compile it")
    return f"gsplat {version}"


def serves(means: Tensor, settings: SplatSettings) -> bool:
    """gsplat knows float32 alone, no empty scenes, and no other limits than its own."""
    return (
        means.dtype == torch.float32
        and means.shape[0] > 0
        and settings.alpha_min == ALPHA_MIN
        and settings.transmittance_min == TRANSMITTANCE_MIN
    )


def rasterize(
    means: Float[Tensor, "n 3"],
    scales: Float[Tensor, "n 3"],
    rotations: Float[Tensor, "n 4"],
    colors: Float[Tensor, "n 3"],
    opacities: Float[Tensor, " n"],
    viewmats: Float[Tensor, "c 4 4"],
    intrinsics: Float[Tensor, "c 4"],
    background: Tensor | None,
    screen_probe: Float[Tensor, "c n 2"] | None,
    settings: SplatSettings,
) -> tuple[Float[Tensor, "c h w 3"], Float[Tensor, "c h w"], Float[Tensor, "c h w"]]:
    """Colour, alpha and depth, as `splat_raster.rasterize` documents them."""
    from gsplat.cuda._wrapper import fully_fused_projection, isect_offset_encode, isect_tiles, rasterize_to_pixels

    # Blobs that are not finite become invisible ones, whose gradients are zero.
    finite = finite_rows(means, scales, rotations, colors, opacities)
    means, scales, colors = (torch.where(finite[:, None], t, torch.zeros_like(t)) for t in (means, scales, colors))
    rotations = torch.where(finite[:, None], rotations, torch.ones_like(rotations))
    opacities = torch.where(finite, opacities, torch.zeros_like(opacities))

    cameras, (width, height) = viewmats.shape[0], (settings.width, settings.height)
    # By slices: lists of indices would be carried to the device first, and wait for it.
    matrices = torch.zeros(cameras, 3, 3, device=means.device)
    matrices[:, 0, 0], matrices[:, 1, 1], matrices[:, :2, 2] = intrinsics[:, 0], intrinsics[:, 1], intrinsics[:, 2:]
    matrices[:, 2, 2] = 1.0
    radii, centers, depths, conics, _ = fully_fused_projection(
        means,
        None,
        rotations,
        scales,
        viewmats,
        matrices,
        width,
        height,
        eps2d=settings.blur,
        near_plane=settings.near,
        far_plane=settings.far,
    )
    if screen_probe is not None:
        centers = centers + screen_probe
    columns, rows = -(-width // TILE), -(-height // TILE)
    _, pairs, order = isect_tiles(centers, radii, depths, TILE, columns, rows)
    offsets = isect_offset_encode(pairs, cameras, columns, rows)
    picture, alpha = rasterize_to_pixels(
        centers,
        conics,
        torch.cat([colors.expand(cameras, -1, -1), depths[..., None]], dim=-1),
        opacities.expand(cameras, -1),
        width,
        height,
        TILE,
        offsets.reshape(cameras, rows, columns),
        order,
    )
    color = picture[..., :3]
    if background is not None:
        behind = background[:, None, None, :] if background.dim() == 2 else background
        color = color + (1.0 - alpha) * behind
    return color, alpha[..., 0], picture[..., 3]
