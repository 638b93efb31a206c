"""The Gaussian model: every array that has a row per blob, moved together.

A model is a value. Its columns are never written in place: a change makes a new model that shares what did not change. So a
snapshot is a reference, undo is exact, and a viewer may read a model while the optimizer makes the next one.

Raw storage: ``mean`` (n 3), ``log_scale`` (n 3), ``rotation`` (n 4, wxyz, any length), ``color`` (n 3, display values), ``logit_opacity`` (n).
Beside them ride the optimizer's moments (``first.X``, ``second.X``), ``updates`` (how often a row was optimized), ``tags`` (a bit per
name), ``frozen``, ``settled`` (a person has changed it), and whatever an operation pins to rows while it lasts (``term.…``).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

PARAMETERS = ("mean", "log_scale", "rotation", "color", "logit_opacity")
PARAMETER_WIDTH = {"mean": 3, "log_scale": 3, "rotation": 4, "color": 3, "logit_opacity": 0}
MAX_TAGS = 62


def first_moment(name: str) -> str:
    """Column that holds AdamW's first moment of parameter ``name``."""
    return f"first.{name}"


def second_moment(name: str) -> str:
    """Column that holds AdamW's second moment of parameter ``name``."""
    return f"second.{name}"


STATE_COLUMNS = (
    *(first_moment(p) for p in PARAMETERS),
    *(second_moment(p) for p in PARAMETERS),
    "updates",
    "tags",
    "frozen",
    "settled",
    "grown_gradient",
    "grown_count",
)


def _fresh_state(count: int, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    device = parameters["mean"].device
    state: dict[str, Tensor] = {}
    for name in PARAMETERS:
        state[first_moment(name)] = torch.zeros_like(parameters[name])
        state[second_moment(name)] = torch.zeros_like(parameters[name])
    state["updates"] = torch.zeros(count, dtype=torch.int32, device=device)
    state["tags"] = torch.zeros(count, dtype=torch.int64, device=device)
    state["frozen"] = torch.zeros(count, dtype=torch.bool, device=device)
    state["settled"] = torch.zeros(count, dtype=torch.bool, device=device)
    # Accumulated screen-space gradient and the number of pictures it was seen in, since the last densification.
    state["grown_gradient"] = torch.zeros(count, device=device)
    state["grown_count"] = torch.zeros(count, device=device)
    return state


@dataclass(frozen=True)
class GaussianModel:
    """Blobs and all that is pinned to them. See the module's docstring for the columns."""

    columns: Mapping[str, Tensor]
    tag_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        missing = [name for name in (*PARAMETERS, *STATE_COLUMNS) if name not in self.columns]
        if missing:
            raise ValueError(f"GaussianModel: columns {missing} are missing; build it with GaussianModel.create")
        count = self.columns["mean"].shape[0]
        for name, column in self.columns.items():
            if column.shape[0] != count:
                raise ValueError(f"GaussianModel: column {name!r} has {column.shape[0]} rows, expected {count}")
        object.__setattr__(self, "columns", MappingProxyType(dict(self.columns)))

    # -- making ---------------------------------------------------------------------------------------------------------
    @classmethod
    def create(
        cls,
        *,
        mean: Float[Tensor, "n 3"],
        log_scale: Float[Tensor, "n 3"],
        rotation: Float[Tensor, "n 4"],
        color: Float[Tensor, "n 3"],
        logit_opacity: Float[Tensor, "n"],
    ) -> "GaussianModel":
        """New blobs with a fresh optimizer state, no tags, nothing frozen or settled. Colours are clamped to 0 .. 1.

        Raises:
            ValueError: shapes do not agree, or a value is not finite.
        """
        parameters = {
            "mean": mean,
            "log_scale": log_scale,
            "rotation": rotation,
            "color": color,
            "logit_opacity": logit_opacity,
        }
        count = mean.shape[0]
        for name, value in parameters.items():
            width = PARAMETER_WIDTH[name]
            expected = (count, width) if width else (count,)
            if tuple(value.shape) != expected:
                raise ValueError(f"{name}: expected shape {expected}, got {tuple(value.shape)}")
            if not bool(torch.isfinite(value).all()):
                bad = int((~torch.isfinite(value)).reshape(count, -1).any(-1).sum())
                raise ValueError(f"{name}: {bad} of {count} blobs hold NaN or infinity; drop them first")
        # Copies, so that nobody who holds the arguments can write into a model (nor hand it tensors of inference mode).
        parameters = {name: value.detach().to(torch.float32).contiguous().clone() for name, value in parameters.items()}
        parameters["color"] = parameters["color"].clamp(0.0, 1.0)
        return cls({**parameters, **_fresh_state(count, parameters)})

    # -- reading --------------------------------------------------------------------------------------------------------
    def __len__(self) -> int:
        return self.columns["mean"].shape[0]

    @property
    def device(self) -> torch.device:
        return self.columns["mean"].device

    @property
    def mean(self) -> Float[Tensor, "n 3"]:
        return self.columns["mean"]

    @property
    def scale(self) -> Float[Tensor, "n 3"]:
        """Standard deviations along the blob's own axes, scene units."""
        return self.columns["log_scale"].exp()

    @property
    def rotation(self) -> Float[Tensor, "n 4"]:
        """Unit quaternions, wxyz."""
        return torch.nn.functional.normalize(self.columns["rotation"], dim=-1)

    @property
    def color(self) -> Float[Tensor, "n 3"]:
        """Display colours in 0 .. 1."""
        return self.columns["color"]

    @property
    def opacity(self) -> Float[Tensor, "n"]:
        return torch.sigmoid(self.columns["logit_opacity"])

    def parameters(self) -> dict[str, Tensor]:
        """The raw optimized columns by name (shared, not copied)."""
        return {name: self.columns[name] for name in PARAMETERS}

    # -- changing -------------------------------------------------------------------------------------------------------
    def with_columns(self, columns: Mapping[str, Tensor]) -> "GaussianModel":
        """The same rows with these columns exchanged or added."""
        return GaussianModel({**self.columns, **columns}, self.tag_names)

    def without_columns(self, prefix: str) -> "GaussianModel":
        """The same rows without the extra columns whose name starts with ``prefix``."""
        kept = {
            k: v for k, v in self.columns.items() if not k.startswith(prefix) or k in PARAMETERS or k in STATE_COLUMNS
        }
        return GaussianModel(kept, self.tag_names)

    def rows(self, index: Int[Tensor, "m"], fresh: Bool[Tensor, "m"] | None = None) -> "GaussianModel":
        """THE row surgery: keep, drop, reorder and repeat rows; every column moves along (architecture law 3).

        Rows marked ``fresh`` (newborn copies) start with zero moments, update counts and growth statistics but keep their tags,
        their frozen and settled flags and what operations pinned to them.
        """
        columns = {name: column[index] for name, column in self.columns.items()}
        if fresh is not None:
            for name in STATE_COLUMNS:
                if name in ("tags", "frozen", "settled"):
                    continue
                column = columns[name]
                mask = fresh.reshape(-1, *([1] * (column.dim() - 1)))
                columns[name] = torch.where(mask, torch.zeros_like(column), column)
        return GaussianModel(columns, self.tag_names)

    def append(self, other: "GaussianModel") -> "GaussianModel":
        """Both sets of blobs in one model (paper 3.1.1: concatenation). Tags are matched by name; columns that only one side has are
        filled with zeros on the other."""
        names = list(self.tag_names)
        moved = torch.zeros_like(other.columns["tags"])
        for bit, name in enumerate(other.tag_names):
            if name not in names:
                names.append(name)
            moved |= ((other.columns["tags"] >> bit) & 1) << names.index(name)
        _check_tag_count(names)
        right = {**other.columns, "tags": moved}
        columns: dict[str, Tensor] = {}
        for name in {**self.columns, **right}:
            a, b = self.columns.get(name), right.get(name)
            if a is None:
                assert b is not None
                a = torch.zeros(len(self), *b.shape[1:], dtype=b.dtype, device=self.device)
            if b is None:
                b = torch.zeros(len(other), *a.shape[1:], dtype=a.dtype)
            columns[name] = torch.cat([a, b.to(a.device, a.dtype)])
        return GaussianModel(columns, tuple(names))

    def tagged(self, name: str) -> Bool[Tensor, "n"]:
        """Rows that carry the tag; all False for an unknown name."""
        if name not in self.tag_names:
            return torch.zeros(len(self), dtype=torch.bool, device=self.device)
        return ((self.columns["tags"] >> self.tag_names.index(name)) & 1).bool()

    def with_tag(self, name: str, mask: Bool[Tensor, "n"]) -> "GaussianModel":
        """The same rows, with ``name`` meaning exactly the rows of ``mask`` from now on."""
        names = self.tag_names if name in self.tag_names else (*self.tag_names, name)
        _check_tag_count(names)
        bit = 1 << names.index(name)
        tags = torch.where(mask, self.columns["tags"] | bit, self.columns["tags"] & ~bit)
        return GaussianModel({**self.columns, "tags": tags}, tuple(names))

    def to(self, device: torch.device | str) -> "GaussianModel":
        """The same model on another device."""
        return GaussianModel({k: v.to(device) for k, v in self.columns.items()}, self.tag_names)

    def map_rows(self, mask: Bool[Tensor, "n"], changes: Mapping[str, Callable[[Tensor], Tensor]]) -> "GaussianModel":
        """Apply a function to some columns of the masked rows only; every other row stays bit-identical."""
        columns = dict(self.columns)
        for name, change in changes.items():
            column = columns[name].clone()
            column[mask] = change(column[mask])
            columns[name] = column
        return GaussianModel(columns, self.tag_names)


def _check_tag_count(names: "tuple[str, ...] | list[str]") -> None:
    if len(names) > MAX_TAGS:
        raise ValueError(f"a scene holds at most {MAX_TAGS} named sets, got {len(names)}; reuse a name")
