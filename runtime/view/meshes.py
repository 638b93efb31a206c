"""A mesh as the window shows it: the file's own triangles and colours, cut finely enough that a texture survives as colours of corners.

Drawn by OpenGL with a depth buffer, lit from the camera. It stands where blobs made from the same file would stand.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import moderngl
import numpy as np
from jaxtyping import Float

from interactive3d.runtime.output.meshes import OBJECT_RADIUS, load_mesh
from interactive3d.runtime.output.problems import FileProblem
from interactive3d.runtime.scene.camera import Camera
from interactive3d.runtime.view.orbit import Projection
from interactive3d.runtime.view.programs import Programs, set_uniforms

MOST_CORNERS = 1_500_000
FINEST = 0.006
"""Pieces of a textured triangle are about as long as this, scene units; plain ones stay whole."""

MOST_CUTS = 48
SAMPLES = 4


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """Three rows a triangle: place, normal, colour. ``triangles`` counts those of the file."""

    corners: Float[np.ndarray, "n 9"]
    triangles: int
    path: Path


def read_mesh(path: Path, up: str = "y") -> Mesh:
    """A mesh file, moved and scaled as ``mesh_to_blobs`` does.

    Raises:
        FileProblem: missing, malformed, not a mesh or empty.
    """
    file = load_mesh(path, up)
    triangles = np.asarray(file.triangles, np.float64)
    if not len(triangles):
        raise FileProblem(path, "has no triangles", "export it again")
    flat = triangles.reshape(-1, 3)
    center = 0.5 * (flat.min(axis=0) + flat.max(axis=0))
    extent = float(np.linalg.norm(flat - center, axis=1).max())
    triangles = (triangles - center) * (OBJECT_RADIUS / extent if extent > 0 else 1.0)
    cross = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    normals = cross / np.maximum(np.linalg.norm(cross, axis=1, keepdims=True), 1e-12)
    blocks = []
    for cuts, faces in _by_cuts(triangles, bool(file.textures)):
        weights = _pieces(cuts)
        many = len(weights)
        rows = np.repeat(faces, many)
        bary = np.tile(weights, (len(faces), 1))
        block = np.empty((len(rows), 9), np.float32)
        block[:, :3] = (triangles[rows] * bary[:, :, None]).sum(axis=1)
        block[:, 3:6] = normals[rows]
        block[:, 6:] = np.clip(file.paint.colors(rows, bary)[:, :3], 0.0, 1.0)
        blocks.append(block)
    return Mesh(corners=np.concatenate(blocks), triangles=len(triangles), path=path)


def _by_cuts(triangles: Float[np.ndarray, "f 3 3"], textured: bool) -> list[tuple[int, np.ndarray]]:
    """Faces grouped by how many pieces their sides are cut into; coarser where there would be too many."""
    longest = np.linalg.norm(triangles - np.roll(triangles, 1, axis=1), axis=2).max(axis=1)
    finest = FINEST
    while True:
        cuts = np.clip(np.ceil(longest / finest), 1, MOST_CUTS).astype(int) if textured else np.ones(len(longest), int)
        if 3 * int((cuts**2).sum()) <= MOST_CORNERS or cuts.max() == 1:
            return [(int(c), np.flatnonzero(cuts == c)) for c in np.unique(cuts)]
        finest *= 1.5


def _pieces(cuts: int) -> Float[np.ndarray, "m 3"]:
    """Barycentric corners of the ``cuts``² triangles that a triangle is cut into, three rows each."""
    out = []
    for i in range(cuts):
        for j in range(cuts - i):
            a, b, c = (i, j), (i + 1, j), (i, j + 1)
            out += [a, b, c]
            if i + j < cuts - 1:
                out += [b, (i + 1, j + 1), c]
    uv = np.array(out, np.float64) / cuts
    return np.column_stack([1.0 - uv.sum(axis=1), uv])


class MeshRenderer:
    """Draws one mesh into a texture, premultiplied, first row at the top."""

    def __init__(self, context: moderngl.Context, programs: Programs) -> None:
        self.context = context
        self.programs = programs
        self._mesh: Mesh | None = None
        self._buffer: moderngl.Buffer | None = None
        self._array: moderngl.VertexArray | None = None
        self._made_with = -1
        self._many: moderngl.Framebuffer | None = None

    def draw(self, mesh: Mesh, camera: Camera, target: moderngl.Framebuffer) -> None:
        """Draw over everything in ``target``, which has colour only."""
        program = self.programs.get("mesh")
        if self._mesh is not mesh or self._buffer is None:
            if self._buffer is not None:
                self._buffer.release()
            self._buffer = self.context.buffer(np.ascontiguousarray(mesh.corners).tobytes())
            self._mesh, self._made_with = mesh, -1
        if self._array is None or self._made_with != self.programs.generation:
            self._array = self.context.vertex_array(
                program, [(self._buffer, "3f 3f 3f", "place", "normal", "hue")], skip_errors=True
            )
            self._made_with = self.programs.generation
        width, height = target.size
        frame = self._room(width, height)
        frame.use()
        frame.clear(0.0, 0.0, 0.0, 0.0, depth=1.0)
        self.context.disable(moderngl.BLEND | moderngl.CULL_FACE)
        self.context.enable(moderngl.DEPTH_TEST)
        projection = Projection(camera=camera, width=width, height=height)
        reach = max(math.dist(camera.position, camera.target), 0.05)
        clip = projection.world_to_clip(near=0.01 * reach, far=reach + 20.0)
        set_uniforms(program, world_to_clip=tuple(clip.T.reshape(-1)), eye=tuple(float(v) for v in camera.position))
        self._array.render(moderngl.TRIANGLES, vertices=len(mesh.corners))
        self.context.disable(moderngl.DEPTH_TEST)
        self.context.copy_framebuffer(target, frame)

    def _room(self, width: int, height: int) -> moderngl.Framebuffer:
        """A framebuffer with depth, several samples a pixel where the driver has them."""
        if self._many is None or self._many.size != (width, height):
            if self._many is not None:
                self._many.release()
            samples = min(SAMPLES, self.context.max_samples)
            samples = samples if samples > 1 else 0
            self._many = self.context.framebuffer(
                [self.context.renderbuffer((width, height), 4, samples=samples)],
                self.context.depth_renderbuffer((width, height), samples=samples),
            )
        return self._many
