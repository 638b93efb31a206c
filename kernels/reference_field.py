"""Plain-torch reference of stage II's kernels: hash encoding, field network, refinement, marching, composition.

Slow and obvious, differentiable by torch itself. The tests hold the native kernels to it, and it serves wherever no native
kernel could be built. A grid's numbers come as `GridLayout.numbers` gives them; see `hash_grid` and `field_network`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

HASH_PRIMES = (1, 2654435761, 805459861)
OUTPUTS = 4  # raw density, then raw red, green, blue
HEAD = 4  # numbers of a layout before its levels: features, hidden, extra, levels
RAW_MAX = 10.0  # raw densities are cut here; exp(10) blocks all light within a thousandth of a scene unit
TINY_DIRECTION = 1e-12
NOTHING = -1e4  # a raw density whose exponential is exactly zero


@dataclass(frozen=True)
class Numbers:
    """One grid's numbers, unpacked."""

    features: int
    hidden: int
    extra: int
    resolutions: tuple[int, ...]
    entries: tuple[int, ...]

    @property
    def encoded(self) -> int:
        return self.features * len(self.resolutions)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Table, first layer, its bias, second layer, its bias, as they follow each other in the flat parameters."""
        inputs = self.encoded + self.extra
        return (
            (sum(self.entries), self.features),
            (self.hidden, inputs),
            (self.hidden,),
            (OUTPUTS, self.hidden),
            (OUTPUTS,),
        )

    @property
    def size(self) -> int:
        return sum(_product(shape) for shape in self.shapes)

    def split(self, params: Float[Tensor, " p"]) -> list[Tensor]:
        """Views of the flat parameters in the order of ``shapes``."""
        parts = params.split([_product(shape) for shape in self.shapes])
        return [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True)]


def unpack(layouts: Sequence[int]) -> Iterator[Numbers]:
    """The grids that a flat list of layouts describes."""
    at = 0
    while at < len(layouts):
        features, hidden, extra, levels = layouts[at : at + HEAD]
        pairs = layouts[at + HEAD : at + HEAD + 2 * levels]
        yield Numbers(features, hidden, extra, tuple(pairs[::2]), tuple(pairs[1::2]))
        at += HEAD + 2 * levels


def _product(shape: tuple[int, ...]) -> int:
    out = 1
    for side in shape:
        out *= side
    return out


def corner_entries(cells: Int[Tensor, "n 3"], resolution: int, entries: int) -> Int[Tensor, " n"]:
    """Rows of a level's table where corners lie: dense where all corners fit, hashed elsewhere (instant-ngp, equation 4)."""
    x, y, z = cells.unbind(-1)
    side = resolution + 1
    if side**3 <= entries:
        return x + side * (y + side * z)
    # Multiplication wraps at 32 bits; in 64 bits its lowest bits, which are all that the mask leaves, are the same.
    return (x ^ (y * HASH_PRIMES[1]) ^ (z * HASH_PRIMES[2])) & (entries - 1)


def encode(units: Float[Tensor, "n 3"], table: Float[Tensor, "t f"], layout: Sequence[int]) -> Float[Tensor, "n e"]:
    """Multiresolution hash encoding of points in 0 .. 1, trilinear, level by level."""
    grid = next(unpack(layout))
    inside = units.clamp(0.0, 1.0)
    parts, offset = [], 0
    for resolution, entries in zip(grid.resolutions, grid.entries, strict=True):
        scaled = inside * resolution
        cells = scaled.detach().long().clamp(max=resolution - 1)
        within = scaled - cells
        total = torch.zeros(1, dtype=table.dtype, device=table.device)
        for corner in range(8):
            bits = torch.tensor([corner & 1, (corner >> 1) & 1, corner >> 2], device=units.device)
            weight = torch.where(bits.bool(), within, 1 - within).prod(-1)
            rows = corner_entries(cells + bits, resolution, entries) + offset
            total = total + weight[:, None] * table[rows]
        parts.append(total)
        offset += entries
    return torch.cat(parts, dim=-1)


def members(
    positions: Float[Tensor, "n 3"], mask: UInt8[Tensor, "m m m"], box: Float[Tensor, "8"]
) -> Bool[Tensor, " n"]:
    """Where a grid speaks: in its box, in its sphere where it has one (equation 8), where its mask is set."""
    units = (positions - box[:3]) / box[3]
    inside = ((units >= 0) & (units <= 1)).all(-1)
    if float(box[7]) > 0:
        inside = inside & ((positions - box[4:7]).square().sum(-1) <= box[7] * box[7])
    side = mask.shape[0]
    # A comparison and a cast only: NaN and far-away points are inside nothing and must not index anything.
    cells = torch.where(inside[:, None], units, torch.zeros_like(units)).mul(side).long().clamp(0, side - 1)
    return inside & mask[cells[:, 2], cells[:, 1], cells[:, 0]].bool()


def network(inputs: Float[Tensor, "n k"], weights: Sequence[Tensor]) -> Float[Tensor, "n 4"]:
    """One hidden layer of rectified units, four outputs."""
    first, first_bias, second, second_bias = weights
    return torch.relu(inputs @ first.T + first_bias) @ second.T + second_bias


def field_network(
    positions: Tensor,
    params: Tensor,
    mask: Tensor,
    box: Tensor,
    layout: Sequence[int],
    empty: float,
    encode: Callable[[Tensor, Tensor, Sequence[int]], Tensor] = encode,
) -> tuple[Tensor, Tensor, Tensor]:
    """The base field: raw outputs, encoding, and where it speaks. Elsewhere raw density `empty`, all else zero."""
    grid = next(unpack(layout))
    table, *weights = grid.split(params)
    speaks = members(positions, mask, box)
    rows = speaks.nonzero().squeeze(1)
    encoding = encode((positions[rows] - box[:3]) / box[3], table, layout)
    raw = torch.zeros(positions.shape[0], OUTPUTS, dtype=positions.dtype, device=positions.device)
    raw[:, 0] = torch.where(speaks, raw[:, 0], torch.full_like(raw[:, 0], empty))
    raw = raw.index_copy(0, rows, network(encoding, weights))
    whole = torch.zeros(positions.shape[0], grid.encoded, dtype=positions.dtype, device=positions.device)
    return raw, whole.index_copy(0, rows, encoding), speaks.to(torch.uint8)


def hash_refine(
    positions: Tensor,
    base_encoding: Tensor,
    base_raw: Tensor,
    params: Tensor,
    masks: Tensor,
    boxes: Tensor,
    layouts: Sequence[int],
) -> tuple[Tensor, Tensor]:
    """The regions' summed residuals (equation 9: zero outside each region), and where any of them speaks."""
    residual = torch.zeros_like(base_raw)
    speaks = torch.zeros(positions.shape[0], dtype=torch.bool, device=positions.device)
    offset = 0
    for index, grid in enumerate(unpack(layouts)):
        table, *weights = grid.split(params[offset : offset + grid.size])
        offset += grid.size
        here = members(positions, masks[index], boxes[index])
        speaks = speaks | here
        rows = here.nonzero().squeeze(1)
        numbers = [grid.features, grid.hidden, grid.extra, len(grid.resolutions)]
        numbers += [n for pair in zip(grid.resolutions, grid.entries, strict=True) for n in pair]
        units = (positions[rows] - boxes[index, :3]) / boxes[index, 3]
        inputs = torch.cat([encode(units, table, numbers), base_encoding[rows], base_raw[rows]], dim=-1)
        residual = residual.index_add(0, rows, network(inputs, weights))
    return residual, speaks.to(torch.uint8)


def march_rays(
    origins: Tensor,
    directions: Tensor,
    shifts: Tensor | None,
    occupancy: Tensor,
    limits: Tensor | None,
    step: float,
    near: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Times, positions and offsets of all samples: every point of every ray's lattice is looked at."""
    n, side = origins.shape[0], occupancy.shape[0]
    huge = torch.full_like(directions, 1.0 / TINY_DIRECTION)
    inverse = torch.where(directions.abs() > TINY_DIRECTION, 1 / directions, huge)
    low, high = (-1 - origins) * inverse, (1 - origins) * inverse
    start = torch.minimum(low, high).amax(-1).clamp(min=near)
    end = torch.maximum(low, high).amin(-1)
    shift = torch.full_like(start, 0.5) if shifts is None else shifts
    most = int(((end - start).clamp(min=0.0).amax() / step).ceil()) + 1 if n else 0
    lattice = torch.arange(most, dtype=origins.dtype, device=origins.device)
    times = start[:, None] + (lattice + shift[:, None]) * step
    positions = origins[:, None] + times[..., None] * directions[:, None]
    units = ((positions + 1) * 0.5).clamp(0.0, 1.0)
    cells = (units * side).long().clamp(max=side - 1)
    keep = (times < end[:, None]) & occupancy[cells[..., 2], cells[..., 1], cells[..., 0]].bool()
    if limits is not None:
        keep = keep & (keep.cumsum(1) <= limits[:, None])
    offsets = torch.cat([torch.zeros(1, dtype=torch.long, device=origins.device), keep.sum(1).cumsum(0)])
    return times[keep], positions[keep], offsets


def activate(raw: Float[Tensor, "n 4"]) -> tuple[Float[Tensor, " n"], Float[Tensor, "n 3"]]:
    """Density (per scene unit) and colour of raw outputs."""
    return raw[:, 0].clamp(max=RAW_MAX).exp(), torch.sigmoid(raw[:, 1:])


def composite(
    raw: Tensor, times: Tensor, offsets: Tensor, step: float, stop: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Colour, alpha, depth and weights: samples front to back until a ray's transmittance is at or under `stop`."""
    n = offsets.shape[0] - 1
    counts = offsets[1:] - offsets[:-1]
    most = int(counts.max()) if n else 0
    place = torch.arange(most, device=raw.device)
    valid = place < counts[:, None]
    index = torch.where(valid, offsets[:-1, None] + place, torch.zeros_like(place))
    if raw.shape[0] == 0:
        zero = raw.sum() * 0
        return zero.expand(n, 3).clone(), zero.expand(n).clone(), zero.expand(n).clone(), raw[:, 0].clone()
    density, color = activate(raw)
    absorbed = torch.where(valid, density[index] * step, torch.zeros((), dtype=raw.dtype, device=raw.device))
    before = (-(absorbed.cumsum(1) - absorbed)).exp()
    weight = torch.where(before > stop, -torch.expm1(-absorbed) * before, torch.zeros_like(before))
    pixel = (weight[..., None] * color[index]).sum(1)
    return pixel, weight.sum(1), (weight * times[index]).sum(1), weight[valid]


def field_raw(
    positions: Tensor,
    base: tuple[Tensor, Tensor, Tensor, Sequence[int]],
    regions: tuple[Tensor, Tensor, Tensor, Sequence[int]],
    empty: float,
) -> Tensor:
    """Raw outputs of a refined field; nothing at all where neither the base nor a region speaks."""
    raw, encoding, speaks = field_network(positions, *base, empty)
    if len(regions[3]):
        residual, more = hash_refine(positions, encoding, raw, *regions)
        raw, speaks = raw + residual, speaks | more
    nothing = torch.full_like(raw[:, 0], NOTHING)
    return torch.cat([torch.where(speaks.bool(), raw[:, 0], nothing)[:, None], raw[:, 1:]], dim=-1)
