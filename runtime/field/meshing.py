"""From field to triangles: marching cubes on the raw density, closed, cleaned and, where wanted, simplified.

The marching grid covers the occupied part of the scene's cube. Raw densities (logarithms) are interpolated, not densities, for they are
nearly straight across a surface. What no light reaches is filled, so that a shell of density becomes a solid.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interactive3d.kernels.volume_render import march_rays, render_rays
from interactive3d.runtime.field.field import CHUNK, HashGridField
from interactive3d.runtime.field.rendering import camera_rays
from interactive3d.runtime.scene.camera import Camera

CUT = 4.0
"""Raw densities further than this from the threshold are cut: the volume then fits half precision without losing the surface."""
SLAB = 48  # layers of the marching grid that are triangulated at a time
AUTO_VIEWS, AUTO_SIDE = 8, 64
AUTO_SHARE = 0.5  # of the density met where half of the light is gone
AUTO_LIMITS = (1.0, 400.0)  # scene units; outside, the field is fog or was cut
PINHOLE = 2  # cells; a hole up to twice as wide in a wall around a cavity is taken for a flaw
THIN_SHARE, THIN_REACH = 0.26, 2
"""More than this many cells away from the surface, this share of the found threshold counts: what is thin or half transparent there,
an antenna, loses less light than a solid and would be missed. Close to the surface the threshold stays, so that solids do not swell."""
PADDING = 2  # cells around the occupied part, so that every surface closes


class NoSurface(ValueError):
    """The field has no surface at this threshold. The message says what to change."""


@dataclass(frozen=True)
class TriangleMesh:
    """Triangles with the field's normals. Vertices in scene units, faces counter-clockwise seen from outside."""

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    normals: Float[np.ndarray, "v 3"]


@dataclass(frozen=True, kw_only=True)
class Volume:
    """Raw density minus threshold's on grid points, indexed z, y, x; ``origin`` is the first point, ``cell`` the spacing."""

    values: Float[np.ndarray, "d h w"]
    origin: Float[np.ndarray, "3"]
    cell: float


@torch.no_grad()
def auto_threshold(field: HashGridField) -> float:
    """The density of the surface: a share of the median density at the points where half of the light has been absorbed.

    Raises:
        NoSurface: no ray of several views around the object is absorbed by half.
    """
    cameras = [Camera.orbit(360.0 * i / AUTO_VIEWS, (-20.0, 25.0)[i % 2]) for i in range(AUTO_VIEWS)]
    origins, directions = camera_rays(cameras, AUTO_SIDE, AUTO_SIDE, field.device)
    occupancy = field.occupancy()
    rendered = render_rays(
        origins, directions, occupancy, field.base_grid(), field.region_grids(), field.step, stop=0.5
    )
    opaque = rendered.alpha >= 0.5
    if not bool(opaque.any()):
        raise NoSurface("the field is too thin to have a surface: no ray loses half of its light; distill for longer")
    samples = march_rays(
        origins[opaque], directions[opaque], occupancy, field.step, limits=rendered.used[opaque].contiguous()
    )
    density, _ = field.density_color(samples.positions[samples.offsets[1:] - 1])
    low, high = AUTO_LIMITS
    return min(max(AUTO_SHARE * float(density.median()), low), high)


@torch.no_grad()
def sample_volume(field: HashGridField, resolution: int, threshold: float) -> Volume:
    """The marching grid's values in half precision, evaluated a few hundred thousand points at a time.

    Raises:
        NoSurface: nothing is occupied.
    """
    occupied = field.occupancy().cpu().nonzero().flip(-1)
    if len(occupied) == 0:
        raise NoSurface("the field is empty; distill an object first")
    cell = 2.0 / resolution
    side = field.mask.shape[0]
    first = np.floor((occupied.amin(0).numpy() / side) * resolution).astype(int) - PADDING
    last = np.ceil((occupied.amax(0).numpy() + 1) / side * resolution).astype(int) + PADDING
    size = last - first + 1
    origin = first * cell - 1.0
    values = np.full(tuple(size[::-1]), -CUT, dtype=np.float16)
    axes = [torch.from_numpy(origin[a] + cell * np.arange(size[a])).float() for a in range(3)]
    occupancy = field.occupancy()
    layers = max(1, CHUNK // int(size[0] * size[1]))
    for start in range(0, int(size[2]), layers):
        z, y, x = torch.meshgrid(axes[2][start : start + layers], axes[1], axes[0], indexing="ij")
        points = torch.stack([x, y, z], dim=-1).reshape(-1, 3).to(field.device)
        index = ((points + 1) * (0.5 * side)).long().clamp(0, side - 1)
        rows = occupancy[index[:, 2], index[:, 1], index[:, 0]].nonzero().squeeze(1)
        part = torch.full((len(points),), -CUT, device=field.device)
        if len(rows):
            raw = field.raw(points[rows])[:, 0] - math.log(threshold)
            part[rows] = raw.clamp(-CUT, CUT)
        values[start : start + layers] = part.reshape(x.shape).cpu().numpy()
    # The rim must be outside, or a surface that touches the scene's border would stay open.
    for axis in range(3):
        edge: list[slice | int] = [slice(None)] * 3
        for end in (0, -1):
            edge[axis] = end
            values[tuple(edge)] = -CUT
    return Volume(values=values, origin=origin, cell=cell)


def with_thin_parts(volume: Volume) -> Volume:
    """What a lower threshold would find away from the surface, with its roots: thin parts come out whole, solids keep their shape."""
    from scipy import ndimage

    touching = np.ones((3, 3, 3), dtype=bool)
    rise = -math.log(THIN_SHARE)
    solid, faint = volume.values > 0, volume.values > -rise
    near = ndimage.binary_dilation(solid, touching, iterations=THIN_REACH)
    # Grown back to the surface that it stands on.
    thin = ndimage.binary_dilation(faint & ~near, touching, iterations=THIN_REACH + 1) & faint & ~solid
    if not thin.any():
        return volume
    values = volume.values.copy()
    values[thin] += np.float16(rise)
    return replace(volume, values=values)


def filled(volume: Volume) -> Volume:
    """Cavities that cannot be reached from outside become inside: no picture has ever shown what lies there.

    A pinhole in a thin wall does not count as a way in: a cavity is also filled when a ball of PINHOLE cells cannot get out of it.
    """
    from scipy import ndimage

    # Diagonal neighbours connect the outside, so that a gap of one corner still lets it in rather than making a false solid.
    touching = np.ones((3, 3, 3), dtype=bool)
    solid = volume.values > 0
    walls = ndimage.binary_dilation(np.pad(solid, PINHOLE + 1), touching, iterations=PINHOLE)
    rooms, count = ndimage.label(~walls, structure=touching)
    inside = np.zeros_like(solid)
    if count > 1:
        wide = (rooms != 0) & (rooms != rooms[0, 0, 0])
        back = ndimage.binary_dilation(wide, touching, iterations=PINHOLE + 1)
        inside = back[(slice(PINHOLE + 1, -PINHOLE - 1),) * 3] & ~solid
    pieces, count = ndimage.label(~(solid | inside), structure=touching)
    if count > 1:
        inside |= (pieces != 0) & (pieces != pieces[0, 0, 0])
    if not inside.any():
        return volume
    values = volume.values.copy()
    values[inside] = CUT
    return replace(volume, values=values)


def march_volume(volume: Volume) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]:
    """Triangles of the zero level, slab by slab, welded where slabs meet.

    Raises:
        NoSurface: nothing lies above the level.
    """
    from skimage.measure import marching_cubes

    depth = volume.values.shape[0]
    vertices, faces, count = [], [], 0
    for start in range(0, depth - 1, SLAB):
        slab = volume.values[start : min(start + SLAB, depth - 1) + 1].astype(np.float32)
        if not (slab.min() < 0 < slab.max()):
            continue
        v, f, _, _ = marching_cubes(slab, 0.0, gradient_direction="ascent", allow_degenerate=False)
        v = v.astype(np.float64)
        v[:, 0] += start
        vertices.append(v)
        faces.append(f.astype(np.int64) + count)
        count += len(v)
    if not vertices:
        raise NoSurface(
            "no surface at this threshold; give `threshold auto`, or a density between those inside and outside"
        )
    joined, found = np.concatenate(vertices), np.concatenate(faces)
    # Both slabs compute a shared border's crossings from the same numbers; a tenth of a thousandth of a cell covers the rounding.
    keys = np.round(joined * 1e4).astype(np.int64)
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    found = inverse.reshape(-1)[found]
    kept = (found[:, 0] != found[:, 1]) & (found[:, 1] != found[:, 2]) & (found[:, 2] != found[:, 0])
    world = joined[first][:, ::-1] * volume.cell + volume.origin
    return world, found[kept]


def without_floaters(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], share: float
) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]:
    """Drops connected pieces whose area is under a share of the largest one's, and the vertices that nothing uses."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    graph = coo_matrix((np.ones(len(edges), dtype=np.int8), (edges[:, 0], edges[:, 1])), shape=(len(vertices),) * 2)
    _, piece = connected_components(graph, directed=False)
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    area = np.bincount(piece[faces[:, 0]], np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2)
    faces = faces[(area >= share * area.max())[piece[faces[:, 0]]]]
    return compacted(vertices, faces)


def compacted(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]:
    """Without the vertices that no face uses."""
    used, inverse = np.unique(faces, return_inverse=True)
    return vertices[used], inverse.reshape(faces.shape)


def simplified(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], limit: int
) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]:
    """At most ``limit`` faces by quadric collapse; unchanged when there are no more."""
    if limit <= 0 or len(faces) <= limit:
        return vertices, faces
    import fast_simplification

    v, f = fast_simplification.simplify(
        vertices.astype(np.float32), faces.astype(np.int32), target_reduction=1.0 - limit / len(faces)
    )
    return compacted(v.astype(np.float64), f.astype(np.int64))


def outward(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Int[np.ndarray, "f 3"]:
    """Faces turned so that the enclosed volume is positive."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    return faces if float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum()) >= 0 else faces[:, ::-1].copy()


@torch.no_grad()
def field_normals(
    field: HashGridField, vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> Float[np.ndarray, "v 3"]:
    """The field's normals, or the triangles' own where the two disagree by more than a right angle (noise, filled cavities)."""
    points = torch.from_numpy(vertices).float().to(field.device)
    ours = torch.cat([field.normals(chunk) for chunk in points.split(CHUNK // 4)]).cpu().numpy().astype(np.float64)
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    flat = np.cross(b - a, c - a)
    theirs = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(theirs, faces[:, corner], flat)
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True).clip(1e-20)
    return np.where((ours * theirs).sum(1, keepdims=True) > 0, ours, theirs)


def extract_mesh(
    field: HashGridField,
    *,
    resolution: int,
    threshold: float | None = None,
    faces: int = 0,
    floaters: float = 0.005,
) -> TriangleMesh:
    """The field's surface. ``threshold`` is a density per scene unit, None finds one; ``faces`` of 0 keeps all.

    Raises:
        NoSurface: the field is empty, too thin, or has nothing at the threshold.
    """
    level = auto_threshold(field) if threshold is None else threshold
    if not (math.isfinite(level) and level > 0):
        raise NoSurface(f"threshold: expected a density above 0, got {threshold}")
    volume = sample_volume(field, resolution, level)
    if threshold is None:
        volume = with_thin_parts(volume)
    vertices, triangles = march_volume(filled(volume))
    vertices, triangles = without_floaters(vertices, triangles, floaters)
    vertices, triangles = simplified(vertices, triangles, faces)
    triangles = outward(vertices, triangles)
    return TriangleMesh(vertices, triangles, field_normals(field, vertices, triangles))


def surface_colors(field: HashGridField, points: Tensor, normals: Tensor, depth: float) -> Float[Tensor, "n 3"]:
    """What a camera close to the surface sees: a short ray inwards, so that the colour is that of the pictures."""
    colors = []
    for p, n in zip(points.split(CHUNK), normals.split(CHUNK), strict=True):
        seen = render_rays(
            (p + n * depth).contiguous(),
            (-n).contiguous(),
            field.occupancy(),
            field.base_grid(),
            field.region_grids(),
            field.step / 2,
            near=0.0,
            stop=0.02,
        )
        plain = field.density_color(p)[1]
        # Where hardly anything was met, the point's own colour speaks.
        sure = ((seen.alpha - 0.1) / 0.4).clamp(0, 1)[:, None]
        met = seen.color / seen.alpha.clamp(min=1e-3)[:, None]
        colors.append(sure * met + (1 - sure) * plain)
    return torch.cat(colors).clamp(0, 1)
