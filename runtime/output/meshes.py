"""Points and blobs on the surface of a mesh file (GLB, glTF, OBJ, PLY, STL, OFF), with the mesh's own colours.

Meshes stand y up with the front to +z, as glTF says; other axes are an option. Scenes are merged with their transforms. Colours come from
the texture, the vertices, the faces or the material, as display values; glTF's factors and vertex colours are linear and converted.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interactive3d.runtime.output.axes import Turn
from interactive3d.runtime.output.mesh_guard import AGAIN, FolderResolver, MeshClaim, claim_of
from interactive3d.runtime.output.mesh_paint import Paint, paint_of
from interactive3d.runtime.output.problems import FileProblem, Note, open_file
from interactive3d.runtime.output.scatter import even_subset
from interactive3d.runtime.scene.gaussians import GaussianModel

OBJECT_RADIUS = 0.8
MAX_POINTS = 5_000_000
MAX_TRIANGLES = 20_000_000
# Candidates per point that is kept; more makes the spread more even, and slower.
CANDIDATES = 4
# Standard deviations of a surface blob in units of the spacing, along the surface and across it, and its opacity: chosen so that a
# wall of them lets 3 % through on average (tests/runtime/output/test_meshes.py) and stays as sharp as that allows.
BLOB_ALONG = 0.7
BLOB_ACROSS = 0.1
BLOB_OPACITY = 0.9


@dataclass(frozen=True, kw_only=True)
class SurfaceSample:
    """Points on a surface. ``normals`` have length 1; ``spacing`` is the distance between neighbours, sqrt(area / count)."""

    positions: Float[Tensor, "n 3"]
    colors: Float[Tensor, "n 3"]
    normals: Float[Tensor, "n 3"]
    spacing: float
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, kw_only=True)
class MeshFile:
    """A mesh file as triangles in our axes and file units; ``paint`` gives colours, ``counts`` what the file holds."""

    triangles: Float[np.ndarray, "f 3 3"]
    paint: Paint
    vertices: int
    pieces: int
    textures: tuple[tuple[int, int], ...]
    notes: tuple[Note, ...]


def sample_mesh(
    path: str | Path,
    count: int,
    seed: int | torch.Generator = 0,
    *,
    normalize: bool = True,
    radius: float = OBJECT_RADIUS,
    up: str = "y",
) -> SurfaceSample:
    """``count`` points spread evenly over a mesh, with colours and normals.

    Args:
        seed: a number, or a generator that one is drawn from.
        normalize: move the mesh's box to the origin and scale it to a bounding sphere of ``radius``; else file units are kept.
        up: axis that points up in the file.

    Raises:
        FileProblem: missing, malformed, not a mesh, empty or without area.
        ValueError: ``count`` or ``radius`` out of range.
    """
    path = Path(path)
    if not 1 <= count <= MAX_POINTS:
        raise ValueError(f"count: expected 1 to {MAX_POINTS}, got {count}")
    if not 0.0 < radius < 1e6:
        raise ValueError(f"radius: expected a positive length, got {radius}")
    mesh = load_mesh(path, up)
    triangles = mesh.triangles
    if normalize:
        corners = triangles.reshape(-1, 3)
        center = 0.5 * (corners.min(axis=0) + corners.max(axis=0))
        triangles = triangles - center
        extent = float(np.linalg.norm(triangles.reshape(-1, 3), axis=-1).max())
        triangles *= radius / extent if extent > 0.0 else 1.0
    cross = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    double = np.linalg.norm(cross, axis=-1)
    area = 0.5 * float(double.sum())
    if not 0.0 < area < np.inf:
        raise FileProblem(path, "has no surface: all its triangles are points or lines", AGAIN)
    if isinstance(seed, torch.Generator):
        seed = int(torch.randint(2**62, (), generator=seed))
    faces, bary, rgba, share = _candidates(path, mesh, double, CANDIDATES * count, np.random.default_rng(seed))
    spacing = float(np.sqrt(area * share / count))
    positions = (triangles[faces] * bary[..., None]).sum(axis=1)
    normals = cross[faces] / double[faces][:, None]
    chosen = even_subset(positions, normals, count, spacing)
    if len(chosen) < count:
        chosen = np.resize(chosen, count)
    return SurfaceSample(
        positions=torch.from_numpy(positions[chosen]).float(),
        colors=torch.from_numpy(rgba[chosen, :3]).float(),
        normals=torch.from_numpy(normals[chosen]).float(),
        spacing=spacing,
        notes=mesh.notes,
    )


def mesh_to_blobs(
    path: str | Path,
    count: int,
    seed: int | torch.Generator = 0,
    *,
    normalize: bool = True,
    radius: float = OBJECT_RADIUS,
    up: str = "y",
    opacity: float = BLOB_OPACITY,
    notes: list[Note] | None = None,
) -> GaussianModel:
    """Flat blobs that lie on the surface of a mesh and cover it. Arguments as :func:`sample_mesh`.

    Raises:
        FileProblem: missing, malformed, not a mesh, empty or without area.
        ValueError: an argument out of range.
    """
    if not 0.0 < opacity < 1.0:
        raise ValueError(f"opacity: expected a value between 0 and 1, got {opacity}")
    sample = sample_mesh(path, count, seed, normalize=normalize, radius=radius, up=up)
    if notes is not None:
        notes.extend(sample.notes)
    scale = torch.tensor([BLOB_ALONG, BLOB_ALONG, BLOB_ACROSS]) * sample.spacing
    return GaussianModel.create(
        mean=sample.positions,
        log_scale=scale.clamp(min=1e-12).log().expand(count, 3),
        rotation=_facing(sample.normals),
        color=sample.colors,
        logit_opacity=torch.full((count,), opacity).logit(),
    )


def load_mesh(path: str | Path, up: str = "y") -> MeshFile:
    """All triangles of a mesh file, in our axes.

    Raises:
        FileProblem: missing, malformed, not a mesh or empty.
    """
    path = Path(path)
    turn = Turn.from_up(up).matrix().numpy()
    claim = claim_of(path)
    resolver = FolderResolver(path.resolve().parent)
    try:
        with warnings.catch_warnings():
            # trimesh and numpy warn of malformed text; what follows from it is judged below.
            warnings.simplefilter("ignore")
            pieces = _pieces(path, claim, resolver)
    except FileProblem:
        raise
    except Exception as error:
        # A foreign parser on foreign data: whatever it raises means that the file is not what it says.
        raise FileProblem(
            path, f"cannot be read as {claim.type}: {str(error)[:200] or type(error).__name__}", AGAIN
        ) from error
    triangles = np.concatenate([p[0] for p in pieces]) @ turn.T
    paint = Paint.join([p[1] for p in pieces])
    good = np.isfinite(triangles).all(axis=(1, 2)) & (np.abs(triangles).max(axis=(1, 2)) < 1e9)
    notes = []
    if not good.all():
        bad = int((~good).sum())
        if bad == len(good):
            raise FileProblem(path, f"all its {bad} triangles hold NaN, infinite or absurdly large positions", AGAIN)
        notes.append(
            Note(
                code="triangles-dropped",
                count=bad,
                text=f"{bad} of {len(good)} triangles hold NaN, infinite or absurdly large positions and were dropped",
            )
        )
        triangles, paint = triangles[good], paint.keep(good)
    for name in dict.fromkeys(resolver.missing):
        notes.append(
            Note(
                code="side-file-missing", count=1, text=f"{name} was not found beside the mesh; its colours are missing"
            )
        )
    if (claim.textured or resolver.pictures) and not paint.texture_sizes():
        text = "the colour texture could not be decoded or is too large, so the material's plain colour is used"
        notes.append(Note(code="texture-unreadable", count=1, text=text))
    return MeshFile(
        triangles=triangles,
        paint=paint,
        vertices=sum(p[2] for p in pieces),
        pieces=len(pieces),
        textures=paint.texture_sizes(),
        notes=tuple(notes),
    )


def _pieces(path: Path, claim: MeshClaim, resolver: FolderResolver) -> list[tuple[np.ndarray, Paint, int]]:
    """Triangles in the scene's frame, paint and vertex count of every mesh that the scene shows."""
    import trimesh

    with open_file(path) as (stream, _):
        scene = trimesh.load_scene(stream, file_type=claim.type, resolver=resolver, process=False)  # type: ignore[arg-type]
    # Exporters through trimesh store display values where glTF wants linear ones.
    linear = claim.type in ("glb", "gltf") and "trimesh" not in claim.generator.lower()
    shown = []
    for node in scene.graph.nodes_geometry:
        matrix, name = scene.graph[node]
        geometry = scene.geometry[name]
        if isinstance(geometry, trimesh.Trimesh) and len(geometry.faces):
            shown.append((matrix, geometry))
    total = sum(len(geometry.faces) for _, geometry in shown)
    if total == 0:
        kinds = {type(g).__name__ for g in scene.geometry.values()}
        what = "holds a point cloud, no faces" if "PointCloud" in kinds else "holds no triangles"
        raise FileProblem(path, what, AGAIN)
    if total > MAX_TRIANGLES:
        raise FileProblem(path, f"has {total} triangles, the limit is {MAX_TRIANGLES}", "simplify it first")
    pieces = []
    for matrix, geometry in shown:
        faces = np.asarray(geometry.faces)
        if faces.min() < 0 or faces.max() >= len(geometry.vertices):
            raise FileProblem(
                path, f"a face names vertex {int(faces.max())}, there are {len(geometry.vertices)}", AGAIN
            )
        vertices = np.asarray(geometry.vertices, dtype=np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
        triangles = vertices[faces]
        if np.linalg.det(matrix[:3, :3]) < 0:
            # A mirroring transform turns the faces inside out; so does swapping two corners, which the paint must follow.
            triangles, faces = triangles[:, ::-1], faces[:, ::-1]
        pieces.append((triangles, paint_of(path, geometry, faces, linear), len(vertices)))
    return pieces


def _candidates(
    path: Path, mesh: MeshFile, weight: np.ndarray, wanted: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Random points by area, in random order: faces, barycentric coordinates, colours, and which share of the area is not cut away.

    Faces are drawn by systematic sampling, so that each gets its due to within one point.
    """
    cumulative = np.cumsum(weight)
    last = int(np.flatnonzero(weight)[-1])
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    kept = drawn = 0
    for _ in range(6):
        need = wanted if not drawn else min(4 * wanted, int((wanted - kept) * drawn / max(kept, 1)) + 16)
        steps = (np.arange(need) + rng.random()) / need * cumulative[-1]
        faces = np.minimum(np.searchsorted(cumulative, steps, side="right"), last)
        a, b = np.sqrt(rng.random(need)), rng.random(need)
        bary = np.stack([1.0 - a, a * (1.0 - b), a * b], axis=-1)
        rgba = mesh.paint.colors(faces, bary)
        seen = rgba[:, 3] >= 0.5
        parts.append((faces[seen], bary[seen], rgba[seen]))
        drawn, kept = drawn + need, kept + int(seen.sum())
        if kept >= wanted:
            break
    if kept == 0:
        raise FileProblem(path, "is wholly transparent", AGAIN)
    faces, bary, rgba = (np.concatenate(p) for p in zip(*parts, strict=True))
    order = rng.permutation(kept)
    return faces[order], bary[order], rgba[order], kept / drawn


def _facing(normals: Float[Tensor, "n 3"]) -> Float[Tensor, "n 4"]:
    """Quaternions wxyz that turn a blob's third axis to the normal, by the shortest arc."""
    x, y, z = normals.double().unbind(-1)
    # Straight backwards any half turn does: about x.
    behind = z < -1.0 + 1e-9
    arc = torch.stack([1.0 + z, -y, x, torch.zeros_like(x)], dim=-1)
    half = torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=torch.float64).expand_as(arc)
    return torch.nn.functional.normalize(torch.where(behind[:, None], half, arc), dim=-1).float()
