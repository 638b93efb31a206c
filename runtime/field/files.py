"""Field files: one safetensors file with the tensors and a JSON header. Nothing in a file is run, every number is checked."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from interactive3d.kernels.hash_grid import GridLayout
from interactive3d.runtime.field.field import HashGridField, Region
from interactive3d.runtime.output.atomic import write_bytes
from interactive3d.runtime.output.problems import FileProblem, open_file, size_text

FORMAT = "interactive3d-field"
VERSION = 1
MAX_BYTES = 8 * 2**30
MAX_HEADER = 16 * 2**20
MAX_REGIONS = 256
LENGTH_BYTES = 8  # before the header: its length
AGAIN = "export it again"
FOREIGN = "name a file that `export field` wrote"


def field_to_parts(field: HashGridField) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The field as named tensors and plain JSON; ``field_from_parts`` gives it back bit for bit."""
    tensors = {"base/params": field.params, "base/mask": field.mask}
    regions = []
    for i, region in enumerate(field.regions):
        for name in ("params", "box", "shape", "mask"):
            tensors[f"region/{i}/{name}"] = getattr(region, name)
        regions.append({"name": region.name, "enabled": region.enabled, "layout": asdict(region.layout)})
    meta = {"layout": asdict(field.layout), "step": field.step, "regions": regions}
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, meta


def field_from_parts(tensors: dict[str, Tensor], meta: dict[str, Any]) -> HashGridField:
    """The field that ``field_to_parts`` took apart.

    Raises:
        KeyError, TypeError, ValueError: something is missing, has the wrong shape or type, or holds NaN or infinity.
    """
    regions = []
    for i, entry in enumerate(meta["regions"]):
        shape, mask = tensors[f"region/{i}/shape"], tensors[f"region/{i}/mask"]
        layout = _layout(entry["layout"])
        params = _numbers(tensors[f"region/{i}/params"], (layout.size,), f"region/{i}/params")
        for name, cube in (("shape", shape), ("mask", mask)):
            _cube(cube, f"region/{i}/{name}")
        if shape.shape != mask.shape:
            raise ValueError(f"region {i}: shape and mask differ in size, {tuple(shape.shape)} and {tuple(mask.shape)}")
        box = _numbers(tensors[f"region/{i}/box"], (8,), f"region/{i}/box")
        if float(box[3]) <= 0:
            raise ValueError(f"region {i}: expected a box with a positive side, got {float(box[3])}")
        regions.append(
            Region(
                name=str(entry["name"]),
                layout=layout,
                params=params,
                box=box,
                shape=shape,
                mask=mask,
                enabled=bool(entry["enabled"]),
            )
        )
    layout = _layout(meta["layout"])
    step = float(meta["step"])
    if not 1e-5 <= step <= 1.0:
        raise ValueError(f"step: expected 1e-5 to 1 scene unit, got {step}")
    mask = tensors["base/mask"]
    _cube(mask, "base/mask")
    params = _numbers(tensors["base/params"], (layout.size,), "base/params")
    return HashGridField(layout=layout, params=params, mask=mask, regions=tuple(regions), step=step)


def save_field(path: str | Path, field: HashGridField) -> Path:
    """Write a field atomically. Raises FileProblem when the file cannot be written."""
    tensors, meta = field_to_parts(field)
    header = {"format": FORMAT, "version": str(VERSION), "field": json.dumps(meta)}
    write_bytes(path, safetensors.torch.save(tensors, header))
    return Path(path)


def load_field(path: str | Path, device: str = "cpu") -> HashGridField:
    """Read a field.

    Raises:
        FileProblem: not a field file, damaged, or of another version; says where and what to do.
    """
    path = Path(path)
    with open_file(path, at_most=MAX_BYTES) as (stream, size):
        start, meta = _read_header(path, stream, size)
        content = start + stream.read(size - len(start))
    try:
        tensors = safetensors.torch.load(content)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise FileProblem(path, f"is not a whole safetensors file ({error})", AGAIN) from None
    try:
        return field_from_parts(tensors, meta).to(device)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise FileProblem(path, f"does not hold a field that this version can read ({error})", AGAIN) from None


def is_field_file(path: str | Path) -> bool:
    """Whether the file says that it is a field; only its header is read. Raises FileProblem where it cannot be read at all."""
    with open_file(path) as (stream, size):
        length = int.from_bytes(stream.read(LENGTH_BYTES), "little")
        if not 2 <= length <= min(size - LENGTH_BYTES, MAX_HEADER):
            return False
        try:
            header = json.loads(stream.read(length))
            return header["__metadata__"]["format"] == FORMAT
        except (ValueError, RecursionError, KeyError, TypeError):
            return False


def describe_field(path: str | Path) -> dict[str, Any]:
    """A field file in numbers, for `info`. The file is read and checked whole. Raises FileProblem as ``load_field`` does."""
    field = load_field(path)
    layout, tables = field.layout, "levels of up to"
    return {
        "kind": "field",
        "parameters": field.params.numel() + sum(region.params.numel() for region in field.regions),
        "memory": size_text(field.bytes),
        "memory_bytes": field.bytes,
        "base": f"{len(layout.resolutions)} {tables} {max(layout.entries):,} entries, finest cell {2 / layout.resolutions[-1]:.4g}",
        "occupied_cells": f"{int(field.mask.sum())} of {field.mask.numel()}",
        "step": float(f"{field.step:.6g}"),
        "regions": [
            f"{region.name}: {region.params.numel():,} parameters, {size_text(region.bytes)}, finest cell "
            f"{float(region.box[3]) / region.layout.resolutions[-1]:.4g}{'' if region.enabled else ', hidden'}"
            for region in field.regions
        ],
    }


def _read_header(path: Path, stream: BinaryIO, size: int) -> tuple[bytes, dict[str, Any]]:
    """What has been read, and the field's own header, checked before anything large is read."""
    start = stream.read(LENGTH_BYTES)
    length = int.from_bytes(start, "little")
    if len(start) < LENGTH_BYTES or not 2 <= length <= MAX_HEADER:
        raise FileProblem(path, "is no field file: it does not begin with a safetensors header", FOREIGN)
    start += stream.read(length)
    try:
        header = json.loads(start[LENGTH_BYTES:])
        metadata = header.pop("__metadata__", None) or {}
        ends = [entry["data_offsets"][1] for entry in header.values()]
        whole = len(start) + max([int(end) for end in ends], default=0)
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError, IndexError):
        cut = size < LENGTH_BYTES + length
        what = "is cut short within its header" if cut else "is damaged: its header is no safetensors header"
        raise FileProblem(path, what, AGAIN) from None
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise FileProblem(path, "holds tensors, but no field", FOREIGN)
    if metadata.get("version") != str(VERSION):
        version = str(metadata.get("version"))[:20]
        raise FileProblem(path, f"holds a field of version {version}, this program reads {VERSION}", AGAIN)
    if whole != size:
        what = (
            f"is cut short: {size_text(size)} of {size_text(whole)}"
            if size < whole
            else "has more bytes than its header says"
        )
        raise FileProblem(path, what, AGAIN)
    try:
        meta = json.loads(metadata["field"])
        if not isinstance(meta["regions"], list) or len(meta["regions"]) > MAX_REGIONS:
            raise ValueError(f"expected up to {MAX_REGIONS} regions")
        _layout(meta["layout"])
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise FileProblem(path, f"does not hold a field that this version can read ({error})", AGAIN) from None
    return start, meta


def _layout(data: dict[str, Any]) -> GridLayout:
    fields = {name: int(data[name]) for name in ("features", "hidden", "extra")}
    resolutions = tuple(int(v) for v in data["resolutions"])
    entries = tuple(int(v) for v in data["entries"])
    if len(resolutions) != len(entries):
        raise ValueError("layout: resolutions and entries differ in number")
    layout = GridLayout(resolutions=resolutions, entries=entries, **fields)
    layout.check()
    return layout


def _numbers(tensor: Tensor, shape: tuple[int, ...], name: str) -> Tensor:
    if tensor.dtype != torch.float32 or tuple(tensor.shape) != shape:
        raise ValueError(f"{name}: expected float32 of shape {shape}, got {tensor.dtype} {tuple(tensor.shape)}")
    if not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"{name}: holds NaN or infinity")
    return tensor


def _cube(tensor: Tensor, name: str) -> None:
    side = tensor.shape[0] if tensor.dim() else 0
    if tensor.dtype != torch.uint8 or tuple(tensor.shape) != (side, side, side) or side == 0:
        raise ValueError(f"{name}: expected a cube of uint8, got {tensor.dtype} {tuple(tensor.shape)}")
