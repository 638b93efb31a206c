"""Splat files: INRIA's PLY and the 32-byte ``.splat``.

Both are read into, and written from, our axes (y up, front +z). Files in the wild stand y down, as COLMAP leaves them, and viewers expect
that, so we write y down too; a PLY says so in a comment, and reading it back needs no option. Colours are display values without view
dependence: higher spherical harmonics are dropped, with a note.
"""

import contextlib
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from jaxtyping import Float

from interactive3d.runtime.output.atomic import atomic_file
from interactive3d.runtime.output.axes import Turn, checked_up, up_vector
from interactive3d.runtime.output.ply_header import PlyHeader, ply_columns, read_ply_header, sh_degree
from interactive3d.runtime.output.problems import FileProblem, Note, UnknownKind, open_file, suffixed
from interactive3d.runtime.scene.gaussians import GaussianModel

SH_C0 = 0.28209479177387814
MAX_BLOBS = 20_000_000
WILD_UP = "-y"
AXES_COMMENT = "interactive3d axes:"

# Beyond these a float32 covariance overflows or vanishes; such rows come from damaged files.
MAX_POSITION = 1e9
MAX_LOG_SCALE = 20.0
MIN_LOG_SCALE = -20.0
MAX_LOGIT = 15.0

_SPLAT_ROW = np.dtype([("mean", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("rotation", "u1", 4)])
SPLATS = suffixed("splats", (".ply", ".splat"))
_OTHER_FORMATS = (".spz", ".ksplat", ".sog", ".lcc", ".rad")


@dataclass(frozen=True, kw_only=True)
class SplatMetadata:
    """What a splat file says besides its blobs. ``up`` is the axis that pointed up in the file, ``up_source`` how that is known."""

    format: str
    up: tuple[float, float, float]
    up_source: str
    sh_degree: int = 0
    render_mode: str | None = None
    comments: tuple[str, ...] = ()
    properties: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SplatFile:
    """A splat file's blobs in our axes, what else it says, and what had to be changed to read it."""

    model: GaussianModel
    metadata: SplatMetadata
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """Raw columns in the file's axes, before rows are judged."""

    mean: Float[np.ndarray, "n 3"]
    log_scale: Float[np.ndarray, "n 3"]
    rotation: Float[np.ndarray, "n 4"]
    color: Float[np.ndarray, "n 3"]
    logit_opacity: Float[np.ndarray, "n"]


def read_splats(
    path: str | Path,
    up: str | None = None,
    rotate: Sequence[float] | None = None,
    notes: list[Note] | None = None,
) -> GaussianModel:
    """Blobs of a splat PLY or ``.splat`` file, in our axes.

    Args:
        up: axis that points up in the file (``y``, ``-y``, ``z``, …). None takes what the file says, else y down as in the wild.
        rotate: further turn about x, y and z, in this order, degrees.
        notes: list that receives what had to be changed (dropped rows, dropped view dependence).

    Raises:
        FileProblem: the file cannot be read; says what, where and what to do.
    """
    found = read_splat_file(path, up, rotate)
    if notes is not None:
        notes.extend(found.notes)
    return found.model


def read_splat_file(path: str | Path, up: str | None = None, rotate: Sequence[float] | None = None) -> SplatFile:
    """Like :func:`read_splats`, with the file's metadata and notes.

    Raises:
        FileProblem: the file cannot be read; says what, where and what to do.
    """
    path = Path(path)
    if path.suffix.lower() in _OTHER_FORMATS:
        raise FileProblem(
            path,
            f"{path.suffix} files are not read",
            "convert it to PLY or .splat first, for example with splat-transform",
        )
    turn_more = _extra_turn(rotate)
    with open_file(path) as (stream, size):
        if stream.read(4).strip() == b"ply" or path.suffix.lower() == ".ply":
            header = read_ply_header(path, stream, size)
            rows, metadata, notes = _read_ply(path, stream, size, header)
        elif path.suffix.lower() == ".splat":
            rows = _read_splat(path, stream, size)
            metadata = SplatMetadata(format="splat", up=up_vector(WILD_UP), up_source="custom of the format")
            notes = []
        else:
            raise UnknownKind(path, SPLATS)
    if up is not None:
        metadata = dataclasses.replace(metadata, up=up_vector(up), up_source="asked for")
    model = _model(path, rows, notes)
    turn = Turn.from_up_vector(metadata.up).then(turn_more)
    return SplatFile(model=turn.apply_model(model), metadata=metadata, notes=tuple(notes))


def write_splats(
    model: GaussianModel,
    path: str | Path,
    *,
    up: str = WILD_UP,
    rotate: Sequence[float] | None = None,
    sh_degree: int = 0,
    comments: Sequence[str] = (),
) -> None:
    """Writes a splat PLY, or a ``.splat`` when the name ends so; atomic.

    Args:
        up: axis that shall point up in the file.
        rotate: further turn about x, y and z in our axes, in this order, before ``up`` is applied; degrees.
        sh_degree: pads zero ``f_rest`` coefficients for readers that insist on them (0 to 3).
        comments: lines for the PLY header.

    Raises:
        FileProblem: no blobs, or the place cannot be written.
        ValueError: unknown axis or degree.
    """
    path = Path(path)
    if not 0 <= sh_degree <= 3:
        raise ValueError(f"sh_degree: expected 0 to 3, got {sh_degree}")
    if len(model) == 0:
        raise FileProblem(path, "was not written: the model has no blobs", "export before everything is removed")
    turn = _extra_turn(rotate).then(Turn.from_up(up).inverse())
    turned = turn.apply_model(model.to("cpu"))
    with atomic_file(path) as stream:
        if path.suffix.lower() == ".splat":
            stream.write(_splat_bytes(turned))
        else:
            _write_ply(stream, turned, checked_up(up), sh_degree, comments)


# -- PLY ------------------------------------------------------------------------------------------------------------------
def _read_ply(path: Path, stream: BinaryIO, size: int, header: PlyHeader) -> tuple[_Rows, SplatMetadata, list[Note]]:
    names = _check_columns(path, header)
    data = ply_columns(path, stream, size, header, "vertex", _wanted(names))
    notes: list[Note] = []
    count = len(data["x"])

    def stack(*columns: str) -> np.ndarray:
        return np.stack([data[c] for c in columns], axis=-1)

    degree = sh_degree(names)
    if degree:
        notes.append(
            Note(
                code="view-dependence-dropped",
                count=count,
                text=f"view-dependent colour (degree {degree}) is left out; the base colour is kept",
            )
        )
    if "f_dc_0" in names:
        color = 0.5 + SH_C0 * stack("f_dc_0", "f_dc_1", "f_dc_2")
    else:
        color = stack("red", "green", "blue")
        vertex = header.element("vertex")
        if vertex is not None and any(
            p.name == "red" and p.type in ("uchar", "uint8", "u1") for p in vertex.properties
        ):
            color = color / np.float32(255.0)
    if "scale_2" in names:
        log_scale = stack("scale_0", "scale_1", "scale_2")
    else:
        flat = np.minimum(data["scale_0"], data["scale_1"]) - np.float32(4.0)
        log_scale = np.stack([data["scale_0"], data["scale_1"], flat], axis=-1)
        notes.append(
            Note(
                code="flat-blobs", count=count, text="the blobs are flat discs (no scale_2); they got a small thickness"
            )
        )
    rows = _Rows(
        mean=stack("x", "y", "z"),
        log_scale=log_scale,
        rotation=stack("rot_0", "rot_1", "rot_2", "rot_3"),
        color=color.astype(np.float32),
        logit_opacity=data["opacity"],
    )
    up, source = _stated_up(header.comments)
    metadata = SplatMetadata(
        format=f"ply ({header.format})",
        up=up,
        up_source=source,
        sh_degree=degree,
        render_mode=_stated(header.comments, "splatrendermode:"),
        comments=header.comments,
        properties=tuple(p.name for e in header.elements if e.name == "vertex" for p in e.properties),
    )
    return rows, metadata, notes


def _wanted(names: set[str]) -> list[str]:
    wanted = ["x", "y", "z", "opacity", "rot_0", "rot_1", "rot_2", "rot_3", "scale_0", "scale_1"]
    wanted += ["scale_2"] if "scale_2" in names else []
    return wanted + (["f_dc_0", "f_dc_1", "f_dc_2"] if "f_dc_0" in names else ["red", "green", "blue"])


def _check_columns(path: Path, header: PlyHeader) -> set[str]:
    vertex = header.element("vertex")
    if vertex is None:
        kinds = ", ".join(e.name for e in header.elements) or "nothing"
        raise FileProblem(path, f"has no element 'vertex' (it has {kinds})", "name a splat PLY")
    names = vertex.names()
    if "packed_position" in names:
        raise FileProblem(
            path, "is a compressed splat PLY", "export it uncompressed (SuperSplat: 'PLY', not 'Compressed PLY')"
        )
    if header.element("face") is not None and "opacity" not in names:
        raise FileProblem(path, "is a mesh, not splats", 'lay blobs on it with: splats 4096 from "…"')
    missing = [n for n in _wanted(names) if n not in names]
    if missing:
        kind = (
            "looks like a point cloud"
            if {"x", "y", "z"} <= names and "opacity" not in names
            else "is not a whole splat PLY"
        )
        raise FileProblem(
            path, f"{kind}: properties {', '.join(missing)} are missing", "name a file written by a splatting tool"
        )
    lists = [p.name for p in vertex.properties if p.length_type and p.name in _wanted(names)]
    if lists:
        raise FileProblem(path, f"properties {', '.join(lists)} are lists", "expected one number each; export it again")
    if vertex.count == 0:
        raise FileProblem(path, "holds no blobs", "export it again")
    if vertex.count > MAX_BLOBS:
        raise FileProblem(path, f"holds {vertex.count} blobs, the limit is {MAX_BLOBS}", "thin it out first")
    return names


def _stated(comments: Sequence[str], key: str) -> str | None:
    values = [c[len(key) :].strip() for c in comments if c.lower().startswith(key)]
    return values[-1] if values else None


def _stated_up(comments: Sequence[str]) -> tuple[tuple[float, float, float], str]:
    """The up direction that a PLY's comments state.

    A bare ``Vertical axis: y`` is written by tools whose frame stands y down; ``z`` by nerfstudio, whose z points up; three numbers
    are a direction.
    """
    with contextlib.suppress(ValueError, IndexError):
        ours = _stated(comments, AXES_COMMENT)
        if ours is not None:
            return up_vector(ours.split()[1].rstrip(",")), "our own comment"
    stated = _stated(comments, "vertical axis:")
    if stated is not None:
        words = stated.lower().replace(",", " ").strip("[] ").split()
        if words in (["x"], ["y"], ["z"]):
            return up_vector({"x": "x", "y": "-y", "z": "z"}[words[0]]), "comment 'Vertical axis'"
        with contextlib.suppress(ValueError):
            x, y, z = (float(w) for w in words)
            if 1e-6 < math.sqrt(x * x + y * y + z * z) < 1e6:
                return (x, y, z), "comment 'Vertical axis'"
    return up_vector(WILD_UP), "custom of the format"


def _write_ply(stream: BinaryIO, model: GaussianModel, up: str, degree: int, comments: Sequence[str]) -> None:
    import plyfile

    rest = 3 * ((degree + 1) ** 2 - 1)
    names = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", *(f"f_rest_{i}" for i in range(rest))]
    names += ["opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
    table = np.zeros(len(model), dtype=[(n, "<f4") for n in names])

    def put(prefix: Sequence[str], values: torch.Tensor) -> None:
        for name, column in zip(prefix, values.reshape(len(model), -1).unbind(-1), strict=True):
            table[name] = column.numpy()

    put(("x", "y", "z"), model.mean)
    put(("f_dc_0", "f_dc_1", "f_dc_2"), (model.color - 0.5) / SH_C0)
    put(("opacity",), model.columns["logit_opacity"])
    put(("scale_0", "scale_1", "scale_2"), model.columns["log_scale"])
    put(("rot_0", "rot_1", "rot_2", "rot_3"), model.rotation)
    x, y, z = (f"{v:g}" for v in up_vector(up))
    lines = [f"{AXES_COMMENT} up {up}", f"Vertical axis: {x} {y} {z}", "SplatRenderMode: default"]
    lines += [c.encode("ascii", "replace").decode().replace("\n", " ").replace("\r", " ") for c in comments]
    element = plyfile.PlyElement.describe(table, "vertex")
    plyfile.PlyData([element], text=False, byte_order="<", comments=lines).write(stream)


# -- .splat ---------------------------------------------------------------------------------------------------------------
def _read_splat(path: Path, stream: BinaryIO, size: int) -> _Rows:
    count, rest = divmod(size, _SPLAT_ROW.itemsize)
    if rest:
        raise FileProblem(
            path,
            f"has {size} bytes, which is not a multiple of {_SPLAT_ROW.itemsize}: it is cut short or no .splat file",
            "download it again",
        )
    if count > MAX_BLOBS:
        raise FileProblem(path, f"holds {count} blobs, the limit is {MAX_BLOBS}", "thin it out first")
    stream.seek(0)
    table = np.frombuffer(stream.read(size), dtype=_SPLAT_ROW)
    alpha = np.clip(table["rgba"][:, 3].astype(np.float32) / 255.0, 0.5 / 255.0, 254.5 / 255.0)
    with np.errstate(all="ignore"):
        # Zero means flat; a negative scale becomes NaN here and its row is dropped.
        scale = np.where(table["scale"] == 0.0, np.float32(math.exp(MIN_LOG_SCALE)), table["scale"])
        log_scale = np.log(scale)
    return _Rows(
        mean=table["mean"].astype(np.float32),
        log_scale=log_scale.astype(np.float32),
        rotation=(table["rotation"].astype(np.float32) - 128.0) / 128.0,
        color=table["rgba"][:, :3].astype(np.float32) / np.float32(255.0),
        logit_opacity=np.log(alpha / (1.0 - alpha)),
    )


def _splat_bytes(model: GaussianModel) -> bytes:
    table = np.zeros(len(model), dtype=_SPLAT_ROW)
    table["mean"] = model.mean.numpy()
    table["scale"] = model.scale.numpy()
    rgba = torch.cat([model.color, model.opacity[:, None]], dim=-1)
    table["rgba"] = (rgba * 255.0).round().clamp(0, 255).to(torch.uint8).numpy()
    table["rotation"] = (model.rotation * 128.0 + 128.0).round().clamp(0, 255).to(torch.uint8).numpy()
    return table.tobytes()


# -- both -----------------------------------------------------------------------------------------------------------------
def _model(path: Path, rows: _Rows, notes: list[Note]) -> GaussianModel:
    """Judges rows: what cannot be drawn is dropped, what is merely extreme is clamped."""
    # Opacity 1 is stored as an infinite logit by some tools; that is no damage.
    logit = np.clip(rows.logit_opacity, -MAX_LOGIT, MAX_LOGIT)
    good = np.isfinite(logit) & np.isfinite(rows.color).all(-1) & np.isfinite(rows.rotation).all(-1)
    with np.errstate(invalid="ignore"):
        good &= (np.abs(rows.mean) <= MAX_POSITION).all(-1)
        # A scale of minus infinity is a flat blob: clamped, not dropped.
        good &= (rows.log_scale <= MAX_LOG_SCALE).all(-1)
    count, dropped = len(good), int((~good).sum())
    if dropped == count:
        raise FileProblem(
            path,
            f"none of its {count} blobs can be used: all hold NaN, infinite or absurdly large values",
            "export or download it again",
        )
    if dropped:
        notes.append(
            Note(
                code="rows-dropped",
                count=dropped,
                text=f"{dropped} of {count} blobs hold NaN, infinite or absurdly large values and were dropped",
            )
        )
    rotation = rows.rotation[good]
    length = np.linalg.norm(rotation.astype(np.float64), axis=-1)
    broken = ~((length > 1e-12) & (length < 1e12))
    if broken.any():
        rotation = np.where(broken[:, None], np.array([1, 0, 0, 0], np.float32), rotation)
        notes.append(
            Note(
                code="rotation-reset",
                count=int(broken.sum()),
                text=f"{int(broken.sum())} blobs had no rotation and got none",
            )
        )
    return GaussianModel.create(
        mean=torch.from_numpy(rows.mean[good]),
        log_scale=torch.from_numpy(np.clip(rows.log_scale[good], MIN_LOG_SCALE, MAX_LOG_SCALE)),
        rotation=torch.from_numpy(rotation),
        color=torch.from_numpy(np.clip(rows.color[good], 0.0, 1.0)),
        logit_opacity=torch.from_numpy(logit[good]),
    )


def _extra_turn(rotate: Sequence[float] | None) -> Turn:
    if rotate is None:
        return Turn()
    if len(rotate) != 3:
        raise ValueError(f"rotate: expected three angles in degrees, got {tuple(rotate)}")
    return Turn.from_xyz_degrees(*rotate)
