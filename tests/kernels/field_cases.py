"""Small grids and rays that the stage II kernel tests share."""

import torch

from interactive3d.kernels import _library
from interactive3d.kernels.field_network import SCENE_BOX, GridBatch
from interactive3d.kernels.hash_grid import KERNEL, GridLayout

BASE = GridLayout.create(levels=3, features=2, capacity=64, base_resolution=2, growth=2.0, hidden=32)
FINE = GridLayout.create(
    levels=2, features=4, capacity=128, base_resolution=3, growth=2.0, hidden=32, extra=BASE.encoded + 4
)
COARSE = GridLayout.create(levels=2, features=1, capacity=64, base_resolution=2, hidden=64, extra=BASE.encoded + 4)
SPHERE = (-0.5, -0.5, -0.5, 1.0, 0.0, 0.0, 0.0, 0.5)
CUBE = (-0.2, -0.4, -0.3, 0.8, 0.0, 0.0, 0.0, 0.0)


def has_native() -> bool:
    return _library.ensure(KERNEL, "cpu").implementation == "native"


def parameters(layout: GridLayout, generator: torch.Generator, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(layout.size, generator=generator, dtype=dtype) * 0.4


def mask(side: int, generator: torch.Generator) -> torch.Tensor:
    return (torch.rand(side, side, side, generator=generator) < 0.7).to(torch.uint8)


def base_grid(dtype: torch.dtype = torch.float32, seed: int = 1) -> GridBatch:
    generator = torch.Generator().manual_seed(seed)
    return GridBatch(
        parameters(BASE, generator, dtype),
        mask(4, generator)[None],
        torch.tensor([SCENE_BOX], dtype=dtype),
        (BASE,),
    )


def region_grids(dtype: torch.dtype = torch.float32, seed: int = 2) -> GridBatch:
    generator = torch.Generator().manual_seed(seed)
    params = torch.cat([parameters(layout, generator, dtype) for layout in (FINE, COARSE)])
    masks = torch.stack([mask(8, generator) for _ in range(2)])
    return GridBatch(params, masks, torch.tensor([SPHERE, CUBE], dtype=dtype), (FINE, COARSE))


def points(n: int, dtype: torch.dtype = torch.float32, spread: float = 1.1) -> torch.Tensor:
    """Points in the scene's cube and a little beyond."""
    return (torch.rand(n, 3, generator=torch.Generator().manual_seed(7), dtype=dtype) * 2 - 1) * spread


def rays(n: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    """Rays from a sphere around the scene to points within it; some miss."""
    generator = torch.Generator().manual_seed(11)
    origins = torch.nn.functional.normalize(torch.randn(n, 3, generator=generator, dtype=dtype), dim=-1) * 2.5
    targets = (torch.rand(n, 3, generator=generator, dtype=dtype) * 2 - 1) * 1.3
    return origins, torch.nn.functional.normalize(targets - origins, dim=-1)
