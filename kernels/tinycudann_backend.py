"""The base field's hash encoding by tiny-cuda-nn, for CUDA tensors where tinycudann is installed. Imported only then.

Each level is a tiny-cuda-nn grid of its own. Its cells begin half a cell off ours and its tables are padded to a multiple of eight, so
positions are shifted and tables padded; then hash, order of the corners and interpolation are the same. The network behind it has biases,
which tiny-cuda-nn's have not, and is torch's.
"""

import functools
import math
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from interactive3d.kernels import reference_field
from interactive3d.kernels._library import BuildError

PADDED = 8  # entries; tiny-cuda-nn's tables are multiples of it
HEAD = 4  # of a layout's numbers: features, hidden, extra, levels


def load() -> str:
    """Imports tiny-cuda-nn; returns what serves, or raises BuildError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its import, which are no concern of ours
            import tinycudann
    except Exception as error:  # its import looks for the device and its libraries, and fails in many ways
        raise BuildError(f"tinycudann is installed but does not load: {error}") from error
    return f"tinycudann {getattr(tinycudann, '__version__', '')}".strip()


def serves(positions: Tensor) -> bool:
    """tiny-cuda-nn knows float32 positions alone, and no empty batches."""
    return positions.dtype == torch.float32 and positions.shape[0] > 0


def field_network(
    positions: Tensor, params: Tensor, mask: Tensor, box: Tensor, layout: Sequence[int], empty: float
) -> tuple[Tensor, Tensor, Tensor]:
    """As `field_network.field_network`; differentiable in positions and parameters."""
    return reference_field.field_network(positions, params, mask, box, layout, empty, encode=encode)


def encode(units: Tensor, table: Tensor, layout: Sequence[int]) -> Tensor:
    """Features of points in the unit cube, level after level, as `hash_grid.hash_encode`."""
    if len(units) == 0:
        return units.new_zeros(0, layout[0] * layout[3])
    features, offset, found = layout[0], 0, []
    for level in range(layout[3]):
        resolution, entries = layout[HEAD + 2 * level], layout[HEAD + 2 * level + 1]
        rows = table[offset : offset + entries]
        offset += entries
        flat = torch.nn.functional.pad(rows, (0, 0, 0, padded(entries) - entries)).reshape(-1)
        # tiny-cuda-nn looks at x * resolution + 1/2.
        shifted = units.clamp(0, 1) - 0.5 / resolution
        # Its outputs may be padded to a wider row.
        found.append(_evaluate(_grid(resolution, features, entries), shifted, flat)[:, :features])
    return torch.cat(found, dim=-1)


def padded(entries: int) -> int:
    """How many entries tiny-cuda-nn's table has for one of ours: a multiple of eight, but no more than its limit for hashed ones."""
    return min(-(-entries // PADDED) * PADDED, 1 << _power(entries))


def _power(entries: int) -> int:
    """The power of two that holds a table: the limit that tiny-cuda-nn is told."""
    return math.ceil(math.log2(entries))


def grid_config(resolution: int, features: int, entries: int) -> dict[str, Any]:
    """One level of ours as tiny-cuda-nn is told of it: its scale is the base resolution less one."""
    return {
        "otype": "Grid",
        "type": "Hash",
        "n_levels": 1,
        "n_features_per_level": features,
        "log2_hashmap_size": _power(entries),
        "base_resolution": resolution + 1,
        "per_level_scale": 1.0,
        "interpolation": "Linear",
    }


@functools.lru_cache(maxsize=256)
def _grid(resolution: int, features: int, entries: int) -> Any:
    import tinycudann

    grid = tinycudann.Encoding(3, grid_config(resolution, features, entries), dtype=torch.float32)
    # Ours are used in place of its own parameters, which would double the tables' memory.
    grid.params = torch.nn.Parameter(grid.params.detach()[:0].clone())
    return grid


def _evaluate(grid: Any, positions: Tensor, params: Tensor) -> Tensor:
    """The encoding with parameters of ours in place of the module's own."""
    found = torch.func.functional_call(grid, {"params": params}, (positions,))
    return found.to(positions.dtype)
