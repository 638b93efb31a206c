"""Scenes for the tests of the splat rasterizer."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from interactive3d.kernels.splat_raster import Raster, rasterize


@dataclass(frozen=True)
class Scene:
    """Arguments of `rasterize`; the first five tensors are the blobs."""

    means: Tensor
    scales: Tensor
    rotations: Tensor
    colors: Tensor
    opacities: Tensor
    viewmats: Tensor
    intrinsics: Tensor
    width: int
    height: int

    @property
    def blobs(self) -> tuple[Tensor, ...]:
        return self.means, self.scales, self.rotations, self.colors, self.opacities

    def render(self, background: Tensor | None = None, **options: object) -> Raster:
        return rasterize(*self.blobs, self.viewmats, self.intrinsics, self.width, self.height, background, **options)

    def with_gradients(self) -> "Scene":
        blobs = ("means", "scales", "rotations", "colors", "opacities")
        return replace(self, **{name: getattr(self, name).detach().clone().requires_grad_() for name in blobs})

    def with_blobs(self, **tensors: Tensor) -> "Scene":
        return replace(self, **tensors)


def orbit_viewmat(azimuth: float, elevation: float, distance: float) -> Tensor:
    """World to camera for an eye on an orbit around the origin; degrees."""
    a, e = math.radians(azimuth), math.radians(elevation)
    eye = distance * torch.tensor([math.sin(a) * math.cos(e), math.sin(e), math.cos(a) * math.cos(e)]).double()
    forward = -eye / eye.norm()
    right = torch.linalg.cross(forward, torch.tensor([0.0, 1.0, 0.0]).double())
    right = right / right.norm()
    rotation = torch.stack([right, torch.linalg.cross(forward, right), forward])
    view = torch.eye(4).double()
    view[:3, :3], view[:3, 3] = rotation, -rotation @ eye
    return view


def random_scene(
    count: int,
    cameras: int,
    width: int,
    height: int,
    *,
    scale: float = 0.06,
    opacity: float = 0.8,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Scene:
    """Blobs of all shapes in a cube, seen from an orbit; opacities from 0.1 to 0.1 + `opacity`."""
    g = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=g, dtype=torch.float64)

    means = (uniform(count, 3) - 0.5) * 1.4
    scales = scale * (0.3 + 1.4 * uniform(count, 3))
    rotations = torch.randn(count, 4, generator=g, dtype=torch.float64)
    colors, opacities = uniform(count, 3), 0.1 + opacity * uniform(count)
    views = [orbit_viewmat(17.0 + 360.0 * k / cameras, 20.0 - 9.0 * k, 2.5) for k in range(cameras)]
    focal = height / 2 / math.tan(math.radians(20.0))
    intrinsics = torch.tensor([[focal, focal * 1.1, width * 0.48, height * 0.53]] * cameras).double()
    tensors = [means, scales, rotations, colors, opacities, torch.stack(views), intrinsics]
    return Scene(*[tensor.to(dtype) for tensor in tensors], width, height)
