"""What is checked before trimesh sees a mesh file: claims that its size cannot hold, and files it must not pull in.

A glTF accessor without a buffer is a licence to allocate; a material may name a device or a file anywhere. Both are refused here.
"""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote

from interactive3d.runtime.output.ply_header import read_ply_header
from interactive3d.runtime.output.problems import FileProblem, open_file, read_file, size_text

MAX_MESH_FILE = 1 << 30
# Text takes many times its size while it is parsed.
MAX_TEXT_FILE = 256 << 20
MAX_SIDE_FILE = 512 << 20
# Decoded arrays may be somewhat larger than the file (shared views), never by much.
DECODED_PER_BYTE = 4
DECODED_FREE = 16 << 20
AGAIN = "export it again, for example from Blender"

_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tga", ".tif", ".tiff", ".gif")
_COMPONENT = {5120: 1, 5121: 1, 5122: 2, 5123: 2, 5125: 4, 5126: 4}
_WIDTH = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_UNREADABLE = {
    "KHR_draco_mesh_compression": "Draco compression",
    "EXT_meshopt_compression": "meshopt compression",
    "KHR_texture_basisu": "Basis textures",
    "KHR_gaussian_splatting": "Gaussian splats",
}


@dataclass(frozen=True)
class MeshClaim:
    """What a file says it is: trimesh's name of its type and, of glTF, who wrote it and whether it names colour textures."""

    type: str
    generator: str = ""
    textured: bool = False


@dataclass
class FolderResolver:
    """What trimesh asks for side files (buffers, materials, textures): those beside the mesh or below it, regular and of bounded size."""

    folder: Path
    missing: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)

    def get(self, key: str) -> bytes:
        """The content of a side file. Raises FileNotFoundError, remembered in ``missing``."""
        try:
            target = (self.folder / unquote(key.strip()).replace("\\", "/")).resolve()
            if not target.is_relative_to(self.folder.resolve()):
                raise FileNotFoundError(f"{key[:100]!r} lies outside the mesh's folder")
            content = read_file(target, at_most=MAX_SIDE_FILE)
        except (OSError, ValueError) as error:
            self.missing.append(os.path.basename(key)[:100])
            raise FileNotFoundError(str(error)) from error
        if target.suffix.lower() in _PICTURES:
            self.pictures.append(target.name)
        return content

    def __getitem__(self, key: str) -> bytes:
        return self.get(key)


def claim_of(path: Path) -> MeshClaim:
    """Checks the file as far as its format allows before parsing, and says what it is.

    Raises:
        FileProblem: unknown format, or claims that the file's size cannot hold.
    """
    suffix = path.suffix.lower()
    limit = MAX_TEXT_FILE if suffix in (".obj", ".off", ".gltf") else MAX_MESH_FILE
    with open_file(path, at_most=limit) as (stream, size):
        start = stream.read(4)
        if start == b"glTF" or suffix == ".glb":
            return _check_glb(path, stream, size)
        if start[:3] == b"ply" or suffix == ".ply":
            return _check_ply(path, stream, size)
        if suffix == ".gltf":
            stream.seek(0)
            return _check_gltf(path, stream.read(size), size, "gltf")
    if suffix in (".obj", ".stl", ".off"):
        return MeshClaim(suffix[1:])
    raise FileProblem(
        path,
        f"{suffix or 'a file without suffix'} is no mesh format that is read",
        "expected .glb, .gltf, .obj, .ply, .stl or .off",
    )


def _check_ply(path: Path, stream: BinaryIO, size: int) -> MeshClaim:
    header = read_ply_header(path, stream, size)
    vertex, face = header.element("vertex"), header.element("face")
    if vertex is not None and {"opacity", "rot_0"} <= vertex.names():
        raise FileProblem(path, "holds splats, not a mesh", 'use them as they are: splats from "…"')
    if face is None or face.count == 0:
        raise FileProblem(path, "has no faces: it is a point cloud, not a mesh", "mesh it first")
    return MeshClaim("ply")


def _check_glb(path: Path, stream: BinaryIO, size: int) -> MeshClaim:
    stream.seek(0)
    head = stream.read(20)
    if len(head) < 20 or head[:4] != b"glTF":
        raise FileProblem(path, "is not a GLB file or cut short", AGAIN)
    version, total, length = (int.from_bytes(head[i : i + 4], "little") for i in (4, 8, 12))
    if version != 2:
        raise FileProblem(path, f"is glTF version {version}, expected 2", AGAIN)
    if head[16:] != b"JSON":
        raise FileProblem(path, "does not begin with its JSON chunk", AGAIN)
    if total > size or length > size - 20:
        raise FileProblem(
            path,
            f"says it has {size_text(max(total, length + 20))}, but has {size_text(size)}",
            f"it is cut short; {AGAIN}",
        )
    return _check_gltf(path, stream.read(length), size, "glb")


def _check_gltf(path: Path, text: bytes, size: int, type: str) -> MeshClaim:
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileProblem(path, f"its JSON cannot be read: {error}", AGAIN) from error
    if not isinstance(tree, dict):
        raise FileProblem(path, f"its JSON is a {type_name(tree)}, expected an object", AGAIN)
    for key in (
        "accessors",
        "bufferViews",
        "buffers",
        "meshes",
        "nodes",
        "materials",
        "images",
        "textures",
        "extensionsRequired",
    ):
        if not isinstance(tree.get(key, []), list):
            raise FileProblem(path, f"its {key!r} is a {type_name(tree[key])}, expected a list", AGAIN)
    for extension in tree.get("extensionsRequired", []):
        if extension in _UNREADABLE:
            raise FileProblem(
                path, f"needs {_UNREADABLE[extension]} ({extension}), which is not read", "export it without"
            )
    room = size + _side_bytes(path, tree)
    limit = DECODED_PER_BYTE * room + DECODED_FREE
    decoded = sum(_accessor_bytes(path, a, i) for i, a in enumerate(tree.get("accessors", [])))
    views = sum(_number(path, v, "byteLength", f"bufferView {i}") for i, v in enumerate(tree.get("bufferViews", [])))
    if decoded > limit or views > limit:
        raise FileProblem(
            path, f"says it holds {size_text(max(decoded, views))} of geometry in {size_text(room)} of data", AGAIN
        )
    asset = tree.get("asset")
    generator = str(asset.get("generator", "")) if isinstance(asset, dict) else ""
    textured = any("baseColorTexture" in str(m) for m in tree.get("materials", []))
    return MeshClaim(type, generator, textured)


def _side_bytes(path: Path, tree: dict[str, Any]) -> int:
    """Bytes of the files that a .gltf keeps its buffers in."""
    total = 0
    for buffer in tree.get("buffers", []):
        uri = buffer.get("uri") if isinstance(buffer, dict) else None
        if isinstance(uri, str) and not uri.startswith("data:"):
            try:
                with open_file(path.parent / unquote(uri), at_most=MAX_SIDE_FILE) as (_, size):
                    total += size
            except FileProblem as problem:
                raise FileProblem(
                    path,
                    f"keeps its geometry in {uri[:100]!r}, which cannot be read: {problem.what}",
                    "put it beside the mesh, or export a single .glb",
                ) from problem
    return total


def _accessor_bytes(path: Path, accessor: object, index: int) -> int:
    where = f"accessor {index}"
    count = _number(path, accessor, "count", where)
    assert isinstance(accessor, dict)
    component, kind = accessor.get("componentType"), accessor.get("type")
    if component not in _COMPONENT or not isinstance(kind, str) or kind not in _WIDTH:
        raise FileProblem(path, f"has values of the unknown type {kind!r} / {component!r}", AGAIN, where=where)
    return count * _COMPONENT[component] * _WIDTH[kind]


def _number(path: Path, item: object, key: str, where: str) -> int:
    value = item.get(key) if isinstance(item, dict) else None
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise FileProblem(path, f"has {key} {str(value)[:40]}, expected a whole number", AGAIN, where=where)
    return value


def type_name(value: object) -> str:
    """JSON's name of a value's type."""
    names = {
        dict: "object",
        list: "list",
        str: "text",
        bool: "truth value",
        int: "number",
        float: "number",
        type(None): "null",
    }
    return names.get(type(value), type(value).__name__)
