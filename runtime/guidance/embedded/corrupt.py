"""Random damage while training: volumes as a user's half-made splats give them, and pictures that disagree with the text."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Volume = Float[Tensor, "4 r r r"]


def _uniform(generator: torch.Generator, low: float = 0.0, high: float = 1.0) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def _smooth(generator: torch.Generator, channels: int, coarse: int, size: int) -> Float[Tensor, "c r r r"]:
    """Gaussian noise on a coarse grid, interpolated to cells."""
    noise = torch.randn(1, channels, coarse, coarse, coarse, generator=generator)
    return F.interpolate(noise, size=(size, size, size), mode="trilinear", align_corners=False)[0]


def _balls(generator: torch.Generator, count: int, radius: tuple[float, float], grid: Tensor) -> Tensor:
    """True inside any of some random balls."""
    inside = torch.zeros(grid.shape[:-1], dtype=torch.bool)
    for _ in range(count):
        centre = torch.rand(3, generator=generator) * 1.6 - 0.8
        inside |= (grid - centre).square().sum(-1) < _uniform(generator, *radius) ** 2
    return inside


def cell_centres(size: int) -> Float[Tensor, "size size size 3"]:
    """Centres (x, y, z) of the cells of a volume (z, y, x) on [-1, 1]^3."""
    line = (torch.arange(size) + 0.5) / size * 2 - 1
    z, y, x = torch.meshgrid(line, line, line, indexing="ij")
    return torch.stack((x, y, z), dim=-1)


def damage_volume(volume: Volume, trust: float, generator: torch.Generator) -> Volume:
    """The object's own volume, worse the lower `trust` (0..1): blurred, hollow, with holes, debris and wrong colours.

    Even at full trust it is lightly blurred, hollow or littered at times, as voxelised splats are.
    """
    doubt = 1 - trust
    size = volume.shape[-1]
    alpha = volume[3]
    colour = volume[:3]
    grid = cell_centres(size)
    if _uniform(generator) < 0.3:  # splats are often shells
        inner = -F.max_pool3d(-alpha[None, None], 5, stride=1, padding=2)[0, 0]
        alpha = alpha * (1 - inner)
    alpha = alpha.clamp(0, 1) ** _uniform(generator, 0.6, 1.6)
    if doubt > 0.3:
        alpha = alpha * ~_balls(generator, int(3 * _uniform(generator) * doubt), (0.1, 0.45), grid)
        if _uniform(generator) < 0.5 * doubt:
            grey = _uniform(generator, 0.3, 1.0)
            flat = torch.rand(3, 1, 1, 1, generator=generator)
            colour = colour + grey * (flat - colour)
    if _uniform(generator) < 0.3:
        litter = _balls(generator, 1 + int(6 * _uniform(generator)), (0.03, 0.1), grid)
        alpha = torch.maximum(alpha, litter * _uniform(generator, 0.2, 1.0))
        colour = torch.where(litter, torch.rand(3, 1, 1, 1, generator=generator), colour)
    noise = (0.05 + 0.6 * doubt) * _uniform(generator)
    alpha = alpha * (1 + noise * _smooth(generator, 1, 8, size)[0])
    drop = (0.05 + 0.25 * doubt) * _uniform(generator)
    alpha = alpha * (torch.rand(alpha.shape, generator=generator) >= drop)
    strength = (0.04 + 0.2 * doubt) * _uniform(generator)
    colour = colour + strength * (_smooth(generator, 3, 8, size) + 0.5 * torch.randn(colour.shape, generator=generator))
    alpha, colour = alpha.clamp(0, 1), colour.clamp(0, 1)
    passes = int(_uniform(generator, 0, 1.6 + 2.5 * doubt))
    soft = torch.cat((colour * alpha, alpha[None]))
    for _ in range(passes):
        soft = F.avg_pool3d(F.pad(soft[None], (1,) * 6), 3, stride=1)[0]
    alpha = soft[3]
    return torch.cat((torch.where(alpha > 1e-3, soft[:3] / alpha.clamp(min=1e-3), 0.5), alpha[None]))


def warp_pictures(
    pictures: Float[Tensor, "b 3 h w"], strength: Float[Tensor, " b"], generator: torch.Generator
) -> Float[Tensor, "b 3 h w"]:
    """Displaced smoothly and at random by about `strength` of the picture's edge."""
    b, _, h, w = pictures.shape
    coarse = torch.randn(b, 2, 4, 4, generator=generator) * (2 * strength)[:, None, None, None]
    shift = F.interpolate(coarse, size=(h, w), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    flat = torch.eye(2, 3).expand(b, -1, -1)
    grid = F.affine_grid(flat, [b, 3, h, w], align_corners=False) + shift
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
