"""Plain-torch reference of every kernel in this folder: slow, obvious, differentiable by torch itself.

Two uses: the tests hold the native kernels to it, and it serves wherever no native kernel could be built. Nothing here is
tuned; what bounds the memory is that the picture is composited one 16 x 16 tile at a time.

Conventions (see also `splat_raster`): cameras are OpenCV's (x right, y down, z forward), `viewmats` are world to camera,
pixel centres lie at +0.5, quaternions are wxyz.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

TILE = 16  # pixels; only bounds the memory of one step
ALPHA_MAX = 0.999  # as in gsplat: keeps 1 - alpha, by which the backward pass divides, away from zero
DETERMINANT_MIN = 1e-10  # pixels^4; blobs whose 2D covariance is flatter than this are skipped
FOV_MARGIN = 0.3  # fraction of the half field of view by which the Jacobian's centre may lie outside the picture


@dataclass(frozen=True)
class SplatSettings:
    """Everything about one rasterization that is not a tensor. Depths in scene units, `blur` in square pixels."""

    width: int
    height: int
    near: float
    far: float
    blur: float
    alpha_min: float
    transmittance_min: float


@dataclass(frozen=True)
class Projected:
    """The blobs that one camera sees, nearest first: m rows, `index` leads back to the n input rows."""

    index: Tensor  # (m,) int64
    means: Tensor  # (m, 2) pixels
    conics: Tensor  # (m, 3) inverse 2D covariance: xx, xy, yy
    depths: Tensor  # (m,) camera-space z
    radii: Tensor  # (m, 2) pixels, beyond which alpha is under alpha_min
    colors: Tensor  # (m, 3)
    opacities: Tensor  # (m,)


def rotation_matrices(rotations: Float[Tensor, "n 4"]) -> Float[Tensor, "n 3 3"]:
    """Rotation matrices of quaternions wxyz, which are normalised first."""
    w, x, y, z = torch.nn.functional.normalize(rotations, dim=-1).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).reshape(-1, 3, 3)


def finite_rows(*tensors: Tensor) -> Bool[Tensor, " n"]:
    """Which rows are finite in every one of the tensors (all of them with n rows)."""
    finite = torch.ones(tensors[0].shape[0], dtype=torch.bool, device=tensors[0].device)
    for tensor in tensors:
        finite &= torch.isfinite(tensor[:, None] if tensor.dim() == 1 else tensor).all(dim=1)
    return finite


def project_means(means: Tensor, viewmat: Tensor, intrinsics: Tensor) -> tuple[Tensor, Tensor]:
    """Camera-space means (n, 3) and their pixels (n, 2)."""
    camera = means @ viewmat[:3, :3].T + viewmat[:3, 3]
    pixels = intrinsics[:2] * camera[:, :2] / camera[:, 2:] + intrinsics[2:]
    return camera, pixels


def project_covariances(
    camera: Tensor, scales: Tensor, rotations: Tensor, viewmat: Tensor, intrinsics: Tensor, settings: SplatSettings
) -> tuple[Tensor, Tensor, Tensor]:
    """EWA splatting (Zwicker et al. 2002): the 2D covariance's xx, xy, yy (n,) in square pixels, low-pass included.

    The Jacobian is taken at a point whose direction is clamped to 1.3 times the field of view, as in gsplat: far outside,
    the linearisation would smear a blob across the whole picture.
    """
    fx, fy, cx, cy = intrinsics.unbind()
    x, y, z = camera.unbind(-1)
    margin_x = FOV_MARGIN * 0.5 * settings.width / fx
    margin_y = FOV_MARGIN * 0.5 * settings.height / fy
    x = z * torch.clamp(x / z, min=-(cx / fx + margin_x), max=(settings.width - cx) / fx + margin_x)
    y = z * torch.clamp(y / z, min=-(cy / fy + margin_y), max=(settings.height - cy) / fy + margin_y)
    zero = torch.zeros_like(z)
    jacobian = torch.stack([fx / z, zero, -fx * x / z**2, zero, fy / z, -fy * y / z**2], dim=-1).reshape(-1, 2, 3)
    half = jacobian @ viewmat[:3, :3] @ (rotation_matrices(rotations) * scales[:, None, :])  # (n, 2, 3)
    covariance = half @ half.transpose(-1, -2)
    return covariance[:, 0, 0] + settings.blur, covariance[:, 0, 1], covariance[:, 1, 1] + settings.blur


def project(
    means: Tensor,
    scales: Tensor,
    rotations: Tensor,
    colors: Tensor,
    opacities: Tensor,
    viewmat: Tensor,
    intrinsics: Tensor,
    probe: Tensor | None,
    settings: SplatSettings,
) -> Projected:
    """Projects, culls and sorts the blobs for one camera. Blobs with a number that is not finite are left out."""
    with torch.no_grad():
        keep = finite_rows(means, scales, rotations, colors, opacities) & (opacities >= settings.alpha_min)
        z = (means @ viewmat[:3, :3].T + viewmat[:3, 3])[:, 2]
        index = (keep & (z > settings.near) & (z < settings.far)).nonzero()[:, 0]
        index = index[torch.sort(z[index], stable=True).indices]

    means, scales, rotations = means[index], scales[index], rotations[index]
    camera, pixels = project_means(means, viewmat, intrinsics)
    if probe is not None:
        pixels = pixels + probe[index]
    xx, xy, yy = project_covariances(camera, scales, rotations, viewmat, intrinsics, settings)
    determinant = xx * yy - xy * xy

    with torch.no_grad():
        extent = torch.sqrt(2 * torch.log(opacities[index] / settings.alpha_min))
        radii = torch.stack([extent * torch.sqrt(xx), extent * torch.sqrt(yy)], dim=-1)
        size = torch.tensor([settings.width, settings.height], device=pixels.device)
        inside = ((pixels + radii > 0) & (pixels - radii < size)).all(dim=-1)
        inside &= determinant > DETERMINANT_MIN
        row = inside.nonzero()[:, 0]

    conics = torch.stack([yy, -xy, xx], dim=-1)[row] / determinant[row, None]
    index = index[row]
    return Projected(index, pixels[row], conics, camera[row, 2], radii[row], colors[index], opacities[index])


def composite(blobs: Projected, pixels: Float[Tensor, "p 2"], settings: SplatSettings) -> tuple[Tensor, Tensor, Tensor]:
    """Front-to-back compositing of all blobs at p pixel centres: colour (p, 3), transmittance (p,), depth (p,).

    A blob is skipped where its alpha is under alpha_min; a pixel is done, without the blob that would do it, once the
    transmittance would fall to transmittance_min.
    """
    delta = pixels[:, None, :] - blobs.means[None, :, :]
    dx, dy = delta.unbind(-1)
    xx, xy, yy = blobs.conics.unbind(-1)
    alpha = blobs.opacities * torch.exp(-0.5 * (xx * dx * dx + yy * dy * dy) - xy * dx * dy)
    alpha = torch.clamp(alpha, max=ALPHA_MAX)
    alpha = torch.where(alpha >= settings.alpha_min, alpha, 0)
    with torch.no_grad():
        kept = torch.cumprod(1 - alpha, dim=1) > settings.transmittance_min
    alpha = torch.where(kept, alpha, 0)
    after = torch.cumprod(1 - alpha, dim=1)
    before = torch.cat([torch.ones_like(after[:, :1]), after[:, :-1]], dim=1)
    weight = alpha * before
    return weight @ blobs.colors, after[:, -1], weight @ blobs.depths


def tiles(settings: SplatSettings, device: torch.device, dtype: torch.dtype) -> list[tuple[int, int, Tensor]]:
    """Every tile's top, left, and pixel centres (h, w, 2)."""
    out = []
    for top in range(0, settings.height, TILE):
        y = torch.arange(top, min(top + TILE, settings.height), device=device, dtype=dtype) + 0.5
        for left in range(0, settings.width, TILE):
            x = torch.arange(left, min(left + TILE, settings.width), device=device, dtype=dtype) + 0.5
            grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
            out.append((top, left, torch.stack([grid_x, grid_y], dim=-1)))
    return out


def touching(blobs: Projected, centres: Float[Tensor, "h w 2"]) -> Projected:
    """The blobs that reach alpha_min somewhere in the box of the pixel centres, in the same order."""
    with torch.no_grad():
        low, high = centres[0, 0], centres[-1, -1]
        near = (blobs.means + blobs.radii >= low) & (blobs.means - blobs.radii <= high)
        row = near.all(dim=-1).nonzero()[:, 0]
    return Projected(
        blobs.index[row],
        blobs.means[row],
        blobs.conics[row],
        blobs.depths[row],
        blobs.radii[row],
        blobs.colors[row],
        blobs.opacities[row],
    )


def render_tile(
    blobs: Projected, centres: Float[Tensor, "h w 2"], background: Tensor | None, settings: SplatSettings
) -> tuple[Tensor, Tensor, Tensor]:
    """One tile's colour (h, w, 3), transmittance (h, w) and depth (h, w). `background` is (3,) or (h, w, 3) or None."""
    near = touching(blobs, centres)
    size = centres.shape[:2]
    if near.index.numel() == 0:
        # Multiplied by an empty sum, so that the results hang on the inputs for autograd as everywhere else.
        nothing = near.means.sum() + near.colors.sum() + near.depths.sum()
        color, depth = nothing + centres.new_zeros(*size, 3), nothing + centres.new_zeros(size)
        transmittance = nothing + centres.new_ones(size)
    else:
        color, transmittance, depth = composite(near, centres.reshape(-1, 2), settings)
        color, transmittance, depth = color.reshape(*size, 3), transmittance.reshape(size), depth.reshape(size)
    if background is not None:
        color = color + transmittance[..., None] * background
    return color, transmittance, depth


def splat_forward(
    means: Float[Tensor, "n 3"],
    scales: Float[Tensor, "n 3"],
    rotations: Float[Tensor, "n 4"],
    colors: Float[Tensor, "n 3"],
    opacities: Float[Tensor, " n"],
    viewmats: Float[Tensor, "c 4 4"],
    intrinsics: Float[Tensor, "c 4"],
    background: Tensor | None,
    probe: Float[Tensor, "c n 2"] | None,
    settings: SplatSettings,
) -> tuple[Float[Tensor, "c h w 3"], Float[Tensor, "c h w"], Float[Tensor, "c h w"]]:
    """Colour, transmittance and depth of every camera; differentiable by torch when called under grad mode."""
    pictures = []
    for camera in range(viewmats.shape[0]):
        blobs = project(
            means,
            scales,
            rotations,
            colors,
            opacities,
            viewmats[camera],
            intrinsics[camera],
            None if probe is None else probe[camera],
            settings,
        )
        rows: dict[int, list[tuple[Tensor, Tensor, Tensor]]] = {}
        for top, left, centres in tiles(settings, means.device, means.dtype):
            behind = _tile_background(background, camera, top, left, centres)
            rows.setdefault(top, []).append(render_tile(blobs, centres, behind, settings))
        pictures.append([torch.cat([torch.cat(part, dim=1) for part in _columns(rows, k)]) for k in range(3)])
    color, transmittance, depth = (torch.stack([p[k] for p in pictures]) for k in range(3))
    return color, transmittance, depth


def splat_backward(
    grads: tuple[Tensor | None, Tensor | None, Tensor | None],
    inputs: tuple[Tensor, ...],
    viewmats: Float[Tensor, "c 4 4"],
    intrinsics: Float[Tensor, "c 4"],
    background: Tensor | None,
    probe: Tensor | None,
    settings: SplatSettings,
) -> tuple[list[Tensor], Tensor | None, Tensor | None]:
    """Gradients of colour, alpha and depth with respect to (means, scales, rotations, colors, opacities), background, probe.

    Torch's autograd, a tile at a time so that only one tile's pairs are held at once.
    """
    out = [torch.zeros_like(tensor) for tensor in inputs]
    background_grad = None if background is None else torch.zeros_like(background)
    probe_grad = None if probe is None else torch.zeros_like(probe)
    grad_color, grad_alpha, grad_depth = grads
    for camera in range(viewmats.shape[0]):
        with torch.enable_grad():
            leaves = [tensor.detach().requires_grad_() for tensor in inputs]
            camera_probe = None if probe is None else probe[camera].detach().requires_grad_()
            means, scales, rotations, colors, opacities = leaves
            view = (viewmats[camera], intrinsics[camera])
            blobs = project(means, scales, rotations, colors, opacities, *view, camera_probe, settings)
            flat = [blobs.means, blobs.conics, blobs.depths, blobs.colors, blobs.opacities]
            cut = [tensor.detach().requires_grad_() for tensor in flat]
            held = Projected(blobs.index, cut[0], cut[1], cut[2], blobs.radii, cut[3], cut[4])
        sums = [torch.zeros_like(tensor) for tensor in cut]
        for top, left, centres in tiles(settings, viewmats.device, viewmats.dtype):
            box = (camera, slice(top, top + centres.shape[0]), slice(left, left + centres.shape[1]))
            with torch.enable_grad():
                behind = _tile_background(background, camera, top, left, centres)
                behind = None if behind is None else behind.detach().requires_grad_()
                color, transmittance, depth = render_tile(held, centres, behind, settings)
                loss = transmittance.new_zeros(())
                if grad_color is not None:
                    loss = loss + (color * grad_color[box]).sum()
                if grad_alpha is not None:
                    loss = loss - (transmittance * grad_alpha[box]).sum()
                if grad_depth is not None:
                    loss = loss + (depth * grad_depth[box]).sum()
                wanted = cut if behind is None else [*cut, behind]
                found = torch.autograd.grad(loss, wanted, allow_unused=True) if loss.requires_grad else [None] * 6
            for total, part in zip(sums, found[:5], strict=True):
                if part is not None:
                    total += part
            if background_grad is not None and found[5] is not None:
                target = background_grad[box] if background_grad.dim() == 4 else background_grad[camera]
                target += found[5]
        wanted = leaves if camera_probe is None else [*leaves, camera_probe]
        pulled = torch.autograd.grad(flat, wanted, sums, allow_unused=True)
        for total, part in zip(out, pulled[:5], strict=True):
            if part is not None:
                total += part
        if probe_grad is not None and pulled[5] is not None:
            probe_grad[camera] = pulled[5]
    return out, background_grad, probe_grad


def _tile_background(background: Tensor | None, camera: int, top: int, left: int, centres: Tensor) -> Tensor | None:
    if background is None:
        return None
    if background.dim() == 2:
        return background[camera]
    return background[camera, top : top + centres.shape[0], left : left + centres.shape[1]]


def _columns(rows: dict[int, list[tuple[Tensor, Tensor, Tensor]]], k: int) -> list[list[Tensor]]:
    return [[tile[k] for tile in row] for row in rows.values()]
