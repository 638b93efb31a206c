"""UV atlas, baked base colour and mesh files: GLB, OBJ with MTL and PNG, PLY with vertex colours."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8

from interactive3d.runtime.field.field import HashGridField
from interactive3d.runtime.field.meshing import TriangleMesh, surface_colors
from interactive3d.runtime.output.atomic import write_bytes
from interactive3d.runtime.output.problems import FileProblem
from interactive3d.runtime.scene.camera import Camera

SUFFIXES = (".glb", ".obj", ".ply")
PAD = 8  # pixels by which colours run over a chart's seams, so that filtering finds no background
DEPTH_CELLS = 3.0  # steps in front of the surface from which its colour is looked at
BATCH = 1 << 22  # pixel candidates that are tested at a time


@dataclass(frozen=True)
class TexturedMesh:
    """Triangles with a texture. A vertex on a seam stands once for each chart; v runs upwards as in OBJ."""

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    normals: Float[np.ndarray, "v 3"]
    uvs: Float[np.ndarray, "v 2"]
    texture: UInt8[np.ndarray, "t t 3"]


Mesh = TypeVar("Mesh", TriangleMesh, TexturedMesh)


def cover(
    corners: Float[np.ndarray, "f 3 2"], width: int, height: int
) -> tuple[Int[np.ndarray, "p"], Int[np.ndarray, "p"], Float[np.ndarray, "p 3"]]:
    """Pixels whose centre lies in a triangle: face, flat pixel index and barycentric weights; corners are in pixels.

    Triangles of similar size are tested together, each against the square of pixels that holds it.
    """
    low = np.floor(corners.min(1)).astype(int).clip(0, [width - 1, height - 1])
    high = np.ceil(corners.max(1)).astype(int).clip(0, [width, height])
    extent = (high - low).max(1).clip(1)
    sizes = 2 ** np.ceil(np.log2(extent)).astype(int)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for size in np.unique(sizes):
        members = np.flatnonzero(sizes == size)
        grid = np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1).reshape(-1, 2)
        each = max(1, BATCH // len(grid))
        for start in range(0, len(members), each):
            rows = members[start : start + each]
            pixels = low[rows][:, None] + grid
            a, b, c = (corners[rows, i][:, None] for i in range(3))
            p = pixels + 0.5
            area = _cross(b - a, c - a)
            with np.errstate(divide="ignore", invalid="ignore"):
                u = _cross(c - b, p - b) / area
                v = _cross(a - c, p - c) / area
            w = 1 - u - v
            inside = (u >= -1e-9) & (v >= -1e-9) & (w >= -1e-9) & np.isfinite(u)
            inside &= (pixels[..., 0] < width) & (pixels[..., 1] < height)
            which, cell = np.nonzero(inside)
            flat = pixels[which, cell, 1] * width + pixels[which, cell, 0]
            found.append((rows[which], flat, np.stack([u, v, w], -1)[which, cell]))
    if not found:
        return np.zeros(0, int), np.zeros(0, int), np.zeros((0, 3))
    face, flat, weight = (np.concatenate(part) for part in zip(*found, strict=True))
    return face, flat, weight


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def unwrap(mesh: TriangleMesh, side: int) -> tuple[TriangleMesh, Float[np.ndarray, "v 2"]]:
    """The mesh with seams opened, and a place in the texture (0 .. 1, v upwards) for every vertex."""
    import xatlas

    atlas = xatlas.Atlas()
    atlas.add_mesh(mesh.vertices.astype(np.float32), mesh.faces.astype(np.uint32))
    charts = xatlas.ChartOptions()
    charts.max_iterations = 1
    pack = xatlas.PackOptions()
    pack.resolution = side
    pack.padding = 2
    pack.bilinear = True
    atlas.generate(charts, pack)
    mapping, faces, uvs = atlas[0]
    opened = TriangleMesh(mesh.vertices[mapping], faces.astype(np.int64), mesh.normals[mapping])
    return opened, uvs.astype(np.float64)


def bake(field: HashGridField, mesh: TriangleMesh, side: int) -> TexturedMesh:
    """A texture of the colours that pictures of the field show, with the seams padded."""
    opened, uvs = unwrap(mesh, side)
    corners = np.stack([uvs[:, 0], 1 - uvs[:, 1]], -1)[opened.faces] * side
    face, flat, weight = cover(corners, side, side)
    points = (opened.vertices[opened.faces[face]] * weight[..., None]).sum(1)
    normals = (opened.normals[opened.faces[face]] * weight[..., None]).sum(1)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-12)
    texture = np.full((side * side, 3), 0.5)
    texture[flat] = _colors(field, points, normals)
    covered = np.zeros(side * side, dtype=bool)
    covered[flat] = True
    padded_texture = padded(texture.reshape(side, side, 3), covered.reshape(side, side))
    return TexturedMesh(
        opened.vertices, opened.faces, opened.normals, uvs, (padded_texture * 255 + 0.5).astype(np.uint8)
    )


def _colors(field: HashGridField, points: np.ndarray, normals: np.ndarray) -> Float[np.ndarray, "n 3"]:
    with torch.no_grad():
        p, n = (torch.from_numpy(values).float().to(field.device) for values in (points, normals))
        return surface_colors(field, p, n, DEPTH_CELLS * field.step).cpu().numpy()


def padded(
    texture: Float[np.ndarray, "t t 3"], covered: Bool[np.ndarray, "t t"], pixels: int = PAD
) -> Float[np.ndarray, "t t 3"]:
    """Colours carried over from the nearest covered pixel; what is farther than ``pixels`` gets the mean colour."""
    from scipy import ndimage

    if not covered.any():
        return texture
    distance, nearest = ndimage.distance_transform_edt(~covered, return_indices=True)
    spread = texture[nearest[0], nearest[1]]
    return np.where((distance <= pixels)[..., None], spread, texture[covered].mean(0))


def mesh_picture(mesh: TexturedMesh, camera: Camera, side: int, supersampling: int = 3) -> Float[np.ndarray, "s s 3"]:
    """What a viewer without lights shows of a mesh, on white, for comparing with pictures of the field.

    A mesh's edge is hard: the average over ``supersampling`` squared gives the share of a pixel that it covers.
    """
    fine = supersampling * side
    view, (fx, fy, cx, cy) = camera.view_matrix().double().numpy(), camera.intrinsics(fine, fine).tolist()
    local = mesh.vertices @ view[:3, :3].T + view[:3, 3]
    pixels = local[:, :2] / local[:, 2:] * [fx, fy] + [cx, cy]
    face, flat, weight = cover(pixels[mesh.faces], fine, fine)
    depth = 1 / (weight / local[mesh.faces[face], 2]).sum(1)
    uv = (mesh.uvs[mesh.faces[face]] * weight[..., None]).sum(1)
    size = mesh.texture.shape[0]
    at = (np.stack([1 - uv[:, 1], uv[:, 0]], -1) * size).astype(int).clip(0, size - 1)
    # Sorted by pixel, then by depth: the first of each pixel is seen.
    order = np.lexsort((depth, flat))
    seen, first = np.unique(flat[order], return_index=True)
    picture = np.ones((fine * fine, 3))
    nearest = order[first]
    picture[seen] = mesh.texture[at[nearest, 0], at[nearest, 1]] / 255
    return picture.reshape(side, supersampling, side, supersampling, 3).mean((1, 3))


def vertex_colors(field: HashGridField, mesh: TriangleMesh) -> UInt8[np.ndarray, "v 3"]:
    """The field's colour at every vertex."""
    return (_colors(field, mesh.vertices, mesh.normals) * 255 + 0.5).astype(np.uint8)


def write_mesh(
    path: str | Path,
    field: HashGridField,
    mesh: TriangleMesh,
    texture: int,
    center: tuple[float, float, float] = (0.0, 0.0, 0.0),
    scale: float = 1.0,
) -> Path:
    """Write the mesh in the format that the suffix names; OBJ writes an MTL and a PNG beside it.

    A point p of the scene is written as ``center + p / scale``.

    Raises:
        FileProblem: an unknown suffix, or the file cannot be written.
    """
    path = Path(path)

    def placed(mesh: Mesh) -> Mesh:
        return replace(mesh, vertices=mesh.vertices / scale + np.array(center))

    match path.suffix.lower():
        case ".ply":
            write_bytes(path, _ply(placed(mesh), vertex_colors(field, mesh)))
        case ".glb":
            write_bytes(path, _glb(placed(bake(field, mesh, texture))))
        case ".obj":
            _write_obj(path, placed(bake(field, mesh, texture)))
        case suffix:
            raise FileProblem(
                path, f"cannot be written as a mesh: {suffix or 'no suffix'}", f"use {', '.join(SUFFIXES)}"
            )
    return path


def _ply(mesh: TriangleMesh, colors: UInt8[np.ndarray, "v 3"]) -> bytes:
    import trimesh

    out = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_normals=mesh.normals, vertex_colors=colors, process=False)
    written = out.export(file_type="ply", vertex_normal=True)
    if not isinstance(written, bytes):
        raise TypeError(f"trimesh: expected a PLY file as bytes, got {type(written).__name__}")
    return written


def _glb(mesh: TexturedMesh) -> bytes:
    import trimesh
    from PIL import Image

    material = trimesh.visual.material.PBRMaterial(
        baseColorTexture=Image.fromarray(mesh.texture), metallicFactor=0.0, roughnessFactor=0.9, name="field"
    )
    visual = trimesh.visual.TextureVisuals(uv=mesh.uvs, material=material)
    out = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_normals=mesh.normals, visual=visual, process=False)
    return trimesh.exchange.gltf.export_glb(trimesh.Scene(out), include_normals=True)


def _write_obj(path: Path, mesh: TexturedMesh) -> None:
    import io

    from PIL import Image

    stem = path.stem
    lines = [f"mtllib {stem}.mtl", "usemtl field"]
    lines += [f"v {x:.7g} {y:.7g} {z:.7g}" for x, y, z in mesh.vertices.tolist()]
    lines += [f"vt {u:.7g} {v:.7g}" for u, v in mesh.uvs.tolist()]
    lines += [f"vn {x:.5g} {y:.5g} {z:.5g}" for x, y, z in mesh.normals.tolist()]
    lines += ["f " + " ".join(f"{i}/{i}/{i}" for i in face) for face in (mesh.faces + 1).tolist()]
    picture = io.BytesIO()
    Image.fromarray(mesh.texture).save(picture, "PNG")
    material = f"newmtl field\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {stem}.png\n"
    # The OBJ comes last: it names the other two, so that a reader never meets it without them.
    write_bytes(path.with_suffix(".png"), picture.getvalue())
    write_bytes(path.with_suffix(".mtl"), material.encode())
    write_bytes(path, ("\n".join(lines) + "\n").encode())
