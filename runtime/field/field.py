"""The hash-grid field: a frozen base with a list of regional residuals (paper section 3.2).

Scene units, the cube [-1, 1]^3. The base is tables and one small network; it speaks where its mask, a 32^3 grid, is set. A region has
tables in its own box and a network of its own; it speaks in its shape and its mask, and is added before the activations. Density is
exp(raw), per scene unit, colour sigmoid(raw); where nothing speaks the density is zero.

A field is a value: its tensors are never written in place, so snapshots, undo and a viewer may hold one while another is made.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from interactive3d.kernels.field_network import EMPTY, SCENE_BOX, GridBatch, field_network
from interactive3d.kernels.hash_grid import GridLayout
from interactive3d.kernels.hash_refine import hash_refine
from interactive3d.kernels.reference_field import NOTHING, activate
from interactive3d.runtime.scene.render import carried

OCCUPANCY_SIDE = 32  # paper section 3.2.2
REGION_SIDE = 64
"""Cells a side of a region's mask, in the region's own box."""
MOMENTS = 2  # that AdamW keeps for each parameter
NORMAL_STEP = 0.004
"""Scene units between a point and those that its finite-difference normal looks at: about half a pixel of a 256 pixel view."""
CHUNK = 1 << 18
"""Points that are evaluated at a time where a whole volume is asked for; bounds the memory."""

_CORNERS = ((1.0, 1.0, 1.0), (1.0, -1.0, -1.0), (-1.0, 1.0, -1.0), (-1.0, -1.0, 1.0))


@dataclass(frozen=True, kw_only=True)
class Region:
    """A refined region: where (equation 8, cut with occupancy) and what it adds (equation 9).

    ``box`` is the cube's low corner and side, then centre and radius of a sphere (radius 0: none). ``shape`` marks the cells of the part
    itself, ``mask`` those of them that are occupied; both are indexed z, y, x in the box.
    """

    name: str
    layout: GridLayout
    params: Float[Tensor, " p"]
    box: Float[Tensor, "8"]
    shape: UInt8[Tensor, "m m m"]
    mask: UInt8[Tensor, "m m m"]
    enabled: bool = True

    @property
    def bytes(self) -> int:
        """Memory of the parameters."""
        return self.params.numel() * self.params.element_size()

    @property
    def focus(self) -> tuple[tuple[float, float, float], float]:
        """Centre and radius of a ball about the region, for cameras."""
        low, side = self.box[:3].tolist(), float(self.box[3])
        if float(self.box[7]) > 0:
            x, y, z = self.box[4:7].tolist()
            return (x, y, z), float(self.box[7])
        cells = self.shape.nonzero().float()
        if len(cells) == 0:
            x, y, z = (v + side / 2 for v in low)
            return (x, y, z), side / 2
        first, last = cells.amin(0).flip(0), cells.amax(0).flip(0) + 1
        unit = side / self.shape.shape[0]
        x, y, z = (value + float(c) * unit for value, c in zip(low, (first + last) / 2, strict=True))
        return (x, y, z), float((last - first).norm()) * unit / 2


@dataclass(frozen=True, kw_only=True)
class HashGridField:
    """See the module's docstring. ``step`` is the distance between samples on a ray, in scene units."""

    layout: GridLayout
    params: Float[Tensor, " p"]
    mask: UInt8[Tensor, "g g g"]
    regions: tuple[Region, ...] = ()
    step: float = 0.01

    def __post_init__(self) -> None:
        if tuple(self.params.shape) != (self.layout.size,):
            raise ValueError(
                f"field: expected {self.layout.size} parameters as the layout says, got {tuple(self.params.shape)}"
            )
        if self.mask.dtype != torch.uint8 or self.mask.dim() != 3:
            raise ValueError(f"field: expected a cube of uint8 as mask, got {tuple(self.mask.shape)} {self.mask.dtype}")
        names = [region.name for region in self.regions]
        if len(set(names)) != len(names):
            raise ValueError(f"field: expected regions of different names, got {names}")

    @property
    def device(self) -> torch.device:
        return self.params.device

    @property
    def bytes(self) -> int:
        """Memory of all parameters, regions included."""
        return self.params.numel() * self.params.element_size() + sum(region.bytes for region in self.regions)

    # -- what the kernels take ------------------------------------------------------------------------------------------
    def base_grid(self, params: Tensor | None = None) -> GridBatch:
        """The base, optionally with other parameters (a leaf that takes gradients)."""
        box = carried(torch.tensor([SCENE_BOX], dtype=self.params.dtype), self.device)
        return GridBatch(self.params if params is None else params, self.mask[None], box, (self.layout,))

    def region_grids(self, params: dict[str, Tensor] | None = None) -> GridBatch | None:
        """The enabled regions in order, some optionally with other parameters; None when there are none."""
        active = [region for region in self.regions if region.enabled]
        return grids_of(active, params or {})

    def occupancy(self) -> UInt8[Tensor, "g g g"]:
        """Cells (z, y, x) of the scene's cube in which anything speaks."""
        cells = self.mask
        for region in self.regions:
            if region.enabled:
                cells = cells | cells_touched(region.mask, region.box, self.mask.shape[0])
        return cells

    # -- values at points -----------------------------------------------------------------------------------------------
    def raw(
        self,
        positions: Float[Tensor, "n 3"],
        base: Tensor | None = None,
        regions: dict[str, Tensor] | None = None,
    ) -> Float[Tensor, "n 4"]:
        """Raw density and colour; differentiable in positions and in the given parameters.

        Where nothing speaks the raw density is so low that the density is exactly zero.
        """
        raw, speaks = self._raw(positions, base, regions or {})
        density = torch.where(speaks, raw[:, 0], torch.full_like(raw[:, 0], NOTHING))
        return torch.cat([density[:, None], raw[:, 1:]], dim=-1)

    def _raw(self, positions: Tensor, base: Tensor | None, regions: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        raw, encoding, speaks = field_network(positions, self.base_grid(base), EMPTY)
        total, spoken = raw, speaks.bool()
        active = [region for region in self.regions if region.enabled]
        # What is frozen goes through in one call of its own, so that no gradient is computed for it.
        moving = [region for region in active if region.name in regions]
        still = [region for region in active if region.name not in regions]
        for group in (still, moving):
            grids = grids_of(group, regions)
            if grids is not None:
                residual, more = hash_refine(positions, encoding, raw, grids)
                total, spoken = total + residual, spoken | more.bool()
        return total, spoken

    @torch.no_grad()
    def density_color(self, positions: Float[Tensor, "n 3"]) -> tuple[Float[Tensor, " n"], Float[Tensor, "n 3"]]:
        """Density per scene unit and colour in 0 .. 1."""
        parts = [activate(self.raw(chunk)) for chunk in positions.split(CHUNK)]
        return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])

    def slope(
        self,
        positions: Float[Tensor, "n 3"],
        base: Tensor | None = None,
        regions: dict[str, Tensor] | None = None,
    ) -> Float[Tensor, "n 3"]:
        """Finite-difference gradient of the raw density, from four points around each; differentiable in the parameters."""
        corners = carried(torch.tensor(_CORNERS, dtype=positions.dtype), positions.device)
        around = (positions[:, None] + NORMAL_STEP * corners).reshape(-1, 3)
        raw = self._raw(around, base, regions or {})[0][:, 0].reshape(-1, 4)
        return raw @ corners / (4.0 * NORMAL_STEP)

    def normals(self, positions: Float[Tensor, "n 3"], **parameters: Tensor) -> Float[Tensor, "n 3"]:
        """Unit normals: the way in which density falls fastest."""
        return torch.nn.functional.normalize(-self.slope(positions, **parameters), dim=-1, eps=1e-9)  # type: ignore[arg-type]

    # -- changed copies -------------------------------------------------------------------------------------------------
    def region(self, name: str) -> Region:
        """Raises KeyError with the names that there are."""
        for region in self.regions:
            if region.name == name:
                return region
        known = ", ".join(region.name for region in self.regions) or "none yet"
        raise KeyError(f"no region is called {name!r}; regions of the field: {known}")

    def with_base(self, params: Tensor) -> "HashGridField":
        return replace(self, params=params)

    def with_region(self, region: Region) -> "HashGridField":
        """The region in place of the one of its name, else as the last."""
        names = [r.name for r in self.regions]
        if region.name in names:
            return replace(self, regions=tuple(region if r.name == region.name else r for r in self.regions))
        return replace(self, regions=(*self.regions, region))

    def without_region(self, name: str) -> "HashGridField":
        """The field as if the region had never been refined. Raises KeyError for an unknown name."""
        self.region(name)
        return replace(self, regions=tuple(r for r in self.regions if r.name != name))

    def toggled(self, name: str, enabled: bool) -> "HashGridField":
        """With a region shown or hidden, for comparing. Raises KeyError for an unknown name."""
        return self.with_region(replace(self.region(name), enabled=enabled))

    def to(self, device: torch.device | str) -> "HashGridField":
        """The same field on another device."""
        regions = tuple(
            replace(
                r, params=r.params.to(device), box=r.box.to(device), shape=r.shape.to(device), mask=r.mask.to(device)
            )
            for r in self.regions
        )
        return replace(self, params=self.params.to(device), mask=self.mask.to(device), regions=regions)


def grids_of(regions: Sequence[Region], params: dict[str, Tensor]) -> GridBatch | None:
    """Regions as the kernels take them, with some parameters exchanged; None for no regions."""
    if not regions:
        return None
    chosen = [params.get(region.name, region.params) for region in regions]
    return GridBatch(
        chosen[0] if len(chosen) == 1 else torch.cat(chosen),
        torch.stack([region.mask for region in regions]),
        torch.stack([region.box for region in regions]),
        tuple(region.layout for region in regions),
    )


def cell_centers(box: Float[Tensor, "8"], side: int) -> Float[Tensor, "m m m 3"]:
    """Centres (x, y, z) of a box's cells, indexed z, y, x."""
    axis = (torch.arange(side, device=box.device, dtype=box.dtype) + 0.5) / side
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    return torch.stack([x, y, z], dim=-1) * box[3] + box[:3]


def cells_touched(mask: UInt8[Tensor, "m m m"], box: Float[Tensor, "8"], side: int) -> UInt8[Tensor, "g g g"]:
    """Scene cells that any set cell of a region's mask reaches into."""
    edges = torch.arange(mask.shape[0] + 1, device=mask.device, dtype=box.dtype) * (box[3] / mask.shape[0])
    cells = torch.arange(side, device=mask.device, dtype=box.dtype)[:, None]
    shrink = 1e-4 * box[3] / mask.shape[0]  # a cell that ends on a scene cell's border does not reach into the next
    found = mask.float()
    for axis in range(3):
        # Along each axis a cell covers an interval, so one product per axis tells which intervals meet.
        first = (box[axis] + edges[:-1] + shrink + 1) * (0.5 * side)
        last = (box[axis] + edges[1:] - shrink + 1) * (0.5 * side)
        meet = ((first < cells + 1) & (last > cells)).float()
        found = torch.movedim(torch.tensordot(meet, found, ([1], [2 - axis])), 0, 2 - axis)
    return (found > 0).to(torch.uint8)


def dilated(mask: UInt8[Tensor, "m m m"], cells: int = 1) -> UInt8[Tensor, "m m m"]:
    """A mask grown by whole cells in all directions."""
    grown = mask[None, None].float()
    for axis in range(3):
        # A cube is grown axis by axis: three narrow passes instead of one over all neighbours.
        reach = [cells if i == axis else 0 for i in range(3)]
        grown = torch.nn.functional.max_pool3d(grown, tuple(2 * r + 1 for r in reach), 1, tuple(reach))
    return grown[0, 0].to(torch.uint8)
