"""Multiresolution hash encoding (Müller et al. 2022, instant-ngp), and the layout that all grids of stage II share.

A grid covers a cube. Coarse levels whose corners all fit the capacity are dense tables; finer ones are hashed, collisions
are left to training. A point's features are interpolated trilinearly on each level and put side by side. Forward and
backward, for tables and positions; on the CPU each level's gradient is summed by one task in the order of the points, so
results do not depend on the number of threads.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interactive3d.kernels import _library, reference_field
from interactive3d.kernels.reference_field import OUTPUTS

__all__ = ["KERNEL", "GridLayout", "hash_encode"]

FEATURES = (1, 2, 4, 8)
HIDDEN_STEP = 32  # the native kernels work on whole registers
MAX_LEVELS = 32
MAX_CAPACITY = 1 << 24
MAX_RESOLUTION = 1 << 16
MAX_EXTRA = 1024
MAX_POINTS = (1 << 31) - 1


def _load_tinycudann() -> str:
    from interactive3d.kernels import tinycudann_backend

    return tinycudann_backend.load()


def _timed_work() -> Callable[[], Any]:
    """What tiny-cuda-nn and our own code are timed at on CUDA: encoding and network of some points, there and back."""
    from interactive3d.kernels.field_network import SCENE_BOX, GridBatch, field_network

    layout = GridLayout.create(levels=12, features=2, capacity=1 << 17)
    generator = torch.Generator().manual_seed(0)
    positions = (torch.rand(1 << 17, 3, generator=generator) * 2 - 1).to("cuda")
    params = layout.initial(generator).to("cuda").requires_grad_()
    everywhere = torch.ones(1, 32, 32, 32, dtype=torch.uint8, device="cuda")
    grid = GridBatch(params, everywhere, torch.tensor([SCENE_BOX], device="cuda"), (layout,))
    return lambda: torch.autograd.grad(field_network(positions, grid)[0].square().sum(), params)


KERNEL = _library.register(
    _library.NativeKernel(
        "field",
        cpu=("cpu/field_torch.cpp", "cpu/field_network.cpp", "cpu/volume_render.cpp"),
        cuda=(
            "cuda/field_torch.cpp",
            "cuda/hash_grid.cu",
            "cuda/field_network.cu",
            "cuda/field_rays.cu",
            "cuda/volume_render.cu",
        ),
        external=_library.External("tinycudann", _load_tinycudann, _timed_work),
    )
)


@dataclass(frozen=True)
class GridLayout:
    """The shape of one grid: its tables and the small network behind them.

    ``resolutions`` are cells a side, ``entries`` rows of each level's table, ``extra`` the network's inputs besides the
    encoding. Parameters are one flat tensor: tables, first layer, its bias, second layer, its bias.
    """

    features: int
    hidden: int
    extra: int
    resolutions: tuple[int, ...]
    entries: tuple[int, ...]

    @classmethod
    def create(
        cls,
        *,
        levels: int,
        features: int,
        capacity: int,
        base_resolution: int = 16,
        growth: float = 1.4473,
        hidden: int = 64,
        extra: int = 0,
    ) -> "GridLayout":
        """A grid whose levels grow geometrically from ``base_resolution``; ``capacity`` bounds a level's entries.

        Raises:
            ValueError: a number that is out of range, with what was expected.
        """
        _check(1 <= levels <= MAX_LEVELS, "levels", f"1 to {MAX_LEVELS}", levels)
        powers = capacity > 0 and capacity & (capacity - 1) == 0
        _check(powers and capacity <= MAX_CAPACITY, "capacity", f"a power of two up to {MAX_CAPACITY}", capacity)
        _check(base_resolution >= 1, "base_resolution", "at least 1", base_resolution)
        _check(growth >= 1.0, "growth", "at least 1", growth)
        resolutions = tuple(int(base_resolution * growth**level) for level in range(levels))
        _check(resolutions[-1] <= MAX_RESOLUTION, "growth", f"a finest level of at most {MAX_RESOLUTION} cells", growth)
        entries = tuple(min((r + 1) ** 3, capacity) for r in resolutions)
        layout = cls(features, hidden, extra, resolutions, entries)
        layout.check()
        return layout

    def check(self) -> None:
        """Whether the native kernels can work on it; files are checked by this.

        Raises:
            ValueError: a number that is out of range, with what was expected.
        """
        _check(self.features in FEATURES, "features", "1, 2, 4 or 8", self.features)
        whole = self.hidden > 0 and self.hidden % HIDDEN_STEP == 0 and self.hidden <= 256
        _check(whole, "hidden", f"a multiple of {HIDDEN_STEP} up to 256", self.hidden)
        _check(0 <= self.extra <= MAX_EXTRA, "extra", f"0 to {MAX_EXTRA}", self.extra)
        _check(1 <= len(self.resolutions) <= MAX_LEVELS, "levels", f"1 to {MAX_LEVELS}", len(self.resolutions))
        for resolution, entries in zip(self.resolutions, self.entries, strict=True):
            _check(1 <= resolution <= MAX_RESOLUTION, "resolution", f"1 to {MAX_RESOLUTION}", resolution)
            dense = entries == (resolution + 1) ** 3
            hashed = 0 < entries <= MAX_CAPACITY and entries & (entries - 1) == 0
            _check(dense or hashed, "entries", f"{(resolution + 1) ** 3} or a power of two", entries)
            _check(entries <= MAX_CAPACITY, "entries", f"at most {MAX_CAPACITY}", entries)

    @property
    def numbers(self) -> list[int]:
        """The layout as the operators take it."""
        pairs = [n for pair in zip(self.resolutions, self.entries, strict=True) for n in pair]
        return [self.features, self.hidden, self.extra, len(self.resolutions), *pairs]

    @property
    def encoded(self) -> int:
        """Width of the encoding."""
        return self.features * len(self.resolutions)

    @property
    def table_size(self) -> int:
        """Numbers in the tables, which come first in the flat parameters."""
        return sum(self.entries) * self.features

    @property
    def size(self) -> int:
        """Numbers in all."""
        return self.table_size + self.hidden * (self.encoded + self.extra + 1 + OUTPUTS) + OUTPUTS

    def split(self, params: Float[Tensor, " p"]) -> list[Tensor]:
        """Views: table, first layer, its bias, second layer, its bias."""
        return next(reference_field.unpack(self.numbers)).split(params)

    def initial(self, generator: torch.Generator) -> Float[Tensor, " p"]:
        """First parameters: tables uniform within 1e-4, layers as torch's Linear would."""
        params = torch.zeros(self.size)
        table, first, _, second, _ = self.split(params)
        table.copy_((torch.rand(table.shape, generator=generator) * 2 - 1) * 1e-4)
        for layer in (first, second):
            bound = (6.0 / layer.shape[1]) ** 0.5 if layer is first else layer.shape[1] ** -0.5
            layer.copy_((torch.rand(layer.shape, generator=generator) * 2 - 1) * bound)
        return params


def _check(good: bool, name: str, expected: str, got: float) -> None:
    if not good:
        raise ValueError(f"{name}: expected {expected}, got {got}")


def check_points(name: str, points: Tensor, params: Tensor) -> None:
    """Raises TypeError or ValueError unless ``points`` is (n, 3) and agrees with ``params`` in dtype and device."""
    for label, tensor in ((name, points), ("params", params)):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{label}: expected a tensor, got {type(tensor).__name__}")
    if points.dim() != 2 or points.shape[1] != 3:
        raise ValueError(f"{name}: expected shape (n, 3), got {tuple(points.shape)}")
    if points.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"{name}: expected float32 or float64, got {points.dtype}")
    if points.dtype != params.dtype or points.device != params.device:
        raise TypeError(
            f"{name}: expected {params.dtype} on {params.device} as the parameters are, got {points.dtype} on {points.device}"
        )
    if points.shape[0] > MAX_POINTS:
        raise ValueError(f"{name}: expected at most {MAX_POINTS} points, got {points.shape[0]}; split the call")


def hash_encode(units: Float[Tensor, "n 3"], table: Float[Tensor, "t f"], layout: GridLayout) -> Float[Tensor, "n e"]:
    """Features of points in the unit cube, level after level; differentiable in points and table.

    Points outside are moved to the border and have no gradient.

    Raises:
        TypeError, ValueError: shapes, dtypes or devices do not agree.
    """
    check_points("units", units, table)
    expected = (sum(layout.entries), layout.features)
    if tuple(table.shape) != expected:
        raise ValueError(f"table: expected shape {expected} as the layout says, got {tuple(table.shape)}")
    return _library.operator("hash_encode", KERNEL, units.device)(units, table, layout.numbers)


def _fake(units: Tensor, table: Tensor, layout: Sequence[int]) -> Tensor:
    return units.new_empty(units.shape[0], layout[0] * layout[3])


def _backward_reference(
    grad: Tensor, units: Tensor, table: Tensor, layout: Sequence[int], want_units: bool, want_table: bool
) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        leaves = (units.detach().requires_grad_(want_units), table.detach().requires_grad_(want_table))
        out = reference_field.encode(*leaves, layout)
    of_units, of_table = gradients(out, grad, leaves, (want_units, want_table))
    return of_units, of_table


def gradients(out: Tensor, grad: Tensor, leaves: Sequence[Tensor], wanted: Sequence[bool]) -> tuple[Tensor, ...]:
    """Torch's own gradients of the wanted leaves; empty tensors for the others. Used by all references."""
    asked = [leaf for leaf, want in zip(leaves, wanted, strict=True) if want]
    found = iter(torch.autograd.grad(out, asked, grad, allow_unused=True) if asked and out.requires_grad else ())
    result = []
    for leaf, want in zip(leaves, wanted, strict=True):
        part = next(found, None) if want else None
        if want:
            result.append(torch.zeros_like(leaf) if part is None else part)
        else:
            result.append(leaf.new_zeros((0, *leaf.shape[1:])))
    return tuple(result)


def _backward_fake(
    grad: Tensor, units: Tensor, table: Tensor, layout: Sequence[int], want_units: bool, want_table: bool
) -> tuple[Tensor, Tensor]:
    return (
        units.new_empty(units.shape[0] if want_units else 0, 3),
        table.new_empty(table.shape[0] if want_table else 0, table.shape[1]),
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    units, table, ctx.layout = inputs
    ctx.save_for_backward(units, table)


def _backward(prefix: str, ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    units, table = ctx.saved_tensors
    wanted = ctx.needs_input_grad[:2]
    op = getattr(torch.ops.i3d, prefix + "hash_encode_backward")
    found = op(grad, units, table, ctx.layout, *wanted)
    return (*(part if want else None for part, want in zip(found, wanted, strict=True)), None)


_library.define("hash_encode", "(Tensor units, Tensor table, int[] layout) -> Tensor", reference_field.encode, _fake)
_library.define(
    "hash_encode_backward",
    "(Tensor grad, Tensor units, Tensor table, int[] layout, bool want_units, bool want_table) -> (Tensor, Tensor)",
    _backward_reference,
    _backward_fake,
)
_library.define_autograd("hash_encode", _setup, _backward)
