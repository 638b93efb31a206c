"""What a file holds, in numbers, for ``interactive3d info``: splats, meshes, snapshots, run folders, camera paths, videos and pictures.

Every description is a flat dictionary that JSON can hold: ``kind`` first, lengths in the file's own units, axes ours.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from interactive3d.runtime.output.camera_path import load_camera_path
from interactive3d.runtime.output.checkpoints import FORMAT, TENSORS, load_snapshot, snapshots
from interactive3d.runtime.output.meshes import load_mesh
from interactive3d.runtime.output.ply_header import read_ply_header
from interactive3d.runtime.output.problems import FileProblem, Note, UnknownKind, open_file, size_text, suffixed
from interactive3d.runtime.output.run_folder import RunFolder
from interactive3d.runtime.output.splat_files import SPLATS, read_splat_file
from interactive3d.runtime.output.video import SUFFIXES as VIDEO_SUFFIXES

NEARLY_TRANSPARENT = 0.05
MAX_HEADER = 100_000_000

_MESHES = (".glb", ".gltf", ".obj", ".stl", ".off")
_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
KINDS = (
    SPLATS,
    suffixed("a mesh", (*_MESHES, ".ply")),
    TENSORS,
    suffixed("a camera path", (".json",)),
    suffixed("a picture", _PICTURES),
    suffixed("a film", (suffix for suffix in VIDEO_SUFFIXES if suffix)),
    "the folder of a run",
)


def describe_file(path: str | Path) -> dict[str, Any]:
    """What the file (or run folder) holds; its content is read and checked whole.

    Raises:
        FileProblem: missing, damaged, or of a kind that is not known.
    """
    path = Path(path)
    if path.is_dir():
        return _run_folder(path)
    with open_file(path) as (stream, size):
        start = stream.read(64)
        ply = start[:3] == b"ply"
        splats = False
        if ply:
            vertex = read_ply_header(path, stream, size).element("vertex")
            splats = vertex is not None and bool({"opacity", "packed_position"} & vertex.names())
    suffix = path.suffix.lower()
    if splats or suffix == ".splat":
        found = _splats(path)
    elif ply or suffix in _MESHES or start[:4] == b"glTF":
        found = _mesh(path)
    elif suffix == ".safetensors":
        found = _tensors(path)
    elif suffix == ".json":
        found = _camera_path(path)
    elif suffix in _PICTURES or start[:8] == b"\x89PNG\r\n\x1a\n":
        found = _picture(path)
    elif suffix and suffix in VIDEO_SUFFIXES:
        found = _video(path)
    else:
        # Says what to do about splats of other kinds.
        try:
            found = _splats(path)
        except UnknownKind:
            raise UnknownKind(path, *KINDS) from None
    return {"kind": found.pop("kind"), "file": str(path), "size": size_text(size), "bytes": size, **found}


def _splats(path: Path) -> dict[str, Any]:
    read = read_splat_file(path)
    model, metadata = read.model, read.metadata
    mean_scale = model.columns["log_scale"].mean(-1).exp()
    memory = sum(column.nbytes for column in model.columns.values())
    return {
        "kind": "splats",
        "format": metadata.format,
        "blobs": len(model),
        **_bounds(model.mean),
        "up_in_file": " ".join(f"{v:g}" for v in metadata.up),
        "up_known_from": metadata.up_source,
        "opacity_5_50_95": _spread(model.opacity),
        "scale_5_50_95": _spread(mean_scale),
        "nearly_transparent": int((model.opacity < NEARLY_TRANSPARENT).sum()),
        "mean_color": _rounded(model.color.mean(0)),
        "sh_degree": metadata.sh_degree,
        "render_mode": metadata.render_mode,
        "comments": list(metadata.comments),
        "memory": size_text(memory),
        "memory_bytes": memory,
        "notes": _texts(read.notes),
    }


def _mesh(path: Path) -> dict[str, Any]:
    mesh = load_mesh(path)
    corners = torch.from_numpy(mesh.triangles.reshape(-1, 3))
    edges = mesh.triangles[:, 1:] - mesh.triangles[:, :1]
    areas = 0.5 * np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=-1)
    return {
        "kind": "mesh",
        "vertices": mesh.vertices,
        "faces": len(mesh.triangles),
        "pieces": mesh.pieces,
        **_bounds(corners),
        "area": float(f"{areas.sum():.4g}"),
        "degenerate_faces": int((areas == 0.0).sum()),
        "textures": [f"{width} x {height}" for width, height in mesh.textures],
        "notes": _texts(mesh.notes),
    }


def _tensors(path: Path) -> dict[str, Any]:
    """Snapshots are checked whole; of other safetensors files the header tells."""
    with open_file(path) as (stream, size):
        length = int.from_bytes(stream.read(8), "little")
        if length > min(size - 8, MAX_HEADER):
            raise FileProblem(path, "is cut short or no safetensors file", "use another copy")
        text = stream.read(length)
    try:
        header = json.loads(text)
        metadata = header.pop("__metadata__", None) or {}
        kind, version = str(metadata.get("format", "tensors")), str(metadata.get("version", ""))
        shapes = {str(name): [int(n) for n in entry["shape"]] for name, entry in header.items()}
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise FileProblem(path, f"is damaged: {error}", "use another copy") from error
    if kind != FORMAT:
        return {"kind": kind, "version": version, "tensors": len(shapes), "shapes": shapes}
    tensors, meta = load_snapshot(path)
    model = tensors.get("model/mean")
    facts = {key: value for key, value in meta.items() if isinstance(value, str | int | float | bool)}
    found: dict[str, Any] = {"kind": "snapshot", "version": version, "whole": True}
    if model is not None and model.dim() == 2 and len(model):
        found |= {"blobs": len(model), **_bounds(model)}
    memory = sum(t.nbytes for t in tensors.values())
    return {**found, **facts, "tensors": len(tensors), "memory": size_text(memory), "memory_bytes": memory}


def _run_folder(path: Path) -> dict[str, Any]:
    run = RunFolder.open(path)
    found: dict[str, Any] = {"kind": "run", "file": str(path)}
    if (path / "run.json").exists():
        found |= {k: v for k, v in run.read_record().items() if isinstance(v, str | int | float | bool)}
    found["finished"] = (path / "run.json").exists()
    found["results"] = run.owned()
    found["checkpoints"] = [p.name for p in snapshots(run.checkpoints)]
    return found


def _camera_path(path: Path) -> dict[str, Any]:
    read = load_camera_path(path)
    return {
        "kind": "camera path",
        "frames": len(read.cameras),
        "fps": read.fps,
        "seconds": round(len(read.cameras) / read.fps, 3),
        "loop": read.loop,
        "video_size": f"{read.width} x {read.height}" if read.width and read.height else None,
        **_bounds(torch.tensor([c.position for c in read.cameras])),
        "notes": _texts(read.notes),
    }


def _picture(path: Path) -> dict[str, Any]:
    from PIL import Image

    from interactive3d.runtime.output.pictures import load_picture

    load_picture(path)
    with Image.open(path) as image:
        text = {str(k): str(v) for k, v in getattr(image, "text", {}).items()}
        return {"kind": "picture", "width": image.width, "height": image.height, "mode": image.mode, "comments": text}


def _video(path: Path) -> dict[str, Any]:
    import av

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            frames = sum(1 for packet in container.demux(stream) if packet.size)
            rate = float(stream.average_rate or 0)
            return {
                "kind": "video",
                "codec": stream.codec_context.name,
                "width": stream.width,
                "height": stream.height,
                "frames": frames,
                "fps": round(rate, 3),
                "seconds": round(frames / rate, 3) if rate else None,
            }
    except Exception as error:
        # A foreign parser on foreign data: whatever it raises means that this is no whole video.
        raise FileProblem(path, f"cannot be read as a video: {error}", "record it again") from error


def _bounds(points: Tensor) -> dict[str, Any]:
    low, high = points.min(0).values, points.max(0).values
    radius = (points - 0.5 * (low + high)).norm(dim=-1).max()
    return {"box_from": _rounded(low), "box_to": _rounded(high), "radius_about_center": _rounded(radius[None])[0]}


def _spread(values: Tensor) -> list[float]:
    """5th, 50th and 95th percentile."""
    return [float(f"{v:.4g}") for v in np.percentile(values.numpy(), [5, 50, 95])]


def _rounded(values: Tensor) -> list[float]:
    return [float(f"{v:.4g}") for v in values.tolist()]


def _texts(notes: Sequence[Note]) -> list[str]:
    return [str(note) for note in notes]
