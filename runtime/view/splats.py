"""Splats on the screen: OpenGL 3.3, sorted by depth, EWA-projected, blended; the optimizer's picture to within eight bits.

Pictures are kept with their first row at the top, as images are, and premultiplied.
"""

import moderngl
import numpy as np
from jaxtyping import Float, UInt32

from interactive3d.runtime.scene.camera import Camera
from interactive3d.runtime.view.packing import BLOBS_A_ROW, TEXELS_A_BLOB, focal_length, view_matrix
from interactive3d.runtime.view.programs import Programs, set_uniforms

TINT = (1.0, 0.62, 0.1, 0.35)
"""Colour of the selection and its strength."""

ORDERS_A_ROW = 4096

Matrix4 = Float[np.ndarray, "4 4"]


class SplatRenderer:
    """The blobs of one state on the graphics card, and drawing them from any camera."""

    def __init__(self, context: moderngl.Context, programs: Programs) -> None:
        self.context = context
        self.programs = programs
        self.count = 0
        self._blobs: moderngl.Texture | None = None
        self._order: moderngl.Texture | None = None
        self._corners: moderngl.Buffer | None = None
        self._array: moderngl.VertexArray | None = None
        self._made_with: int | None = None
        self.ordered = 0
        self._held: tuple[np.ndarray, np.ndarray] | None = None

    def upload(self, packed: Float[np.ndarray, "n 16"], flags: Float[np.ndarray, "n"]) -> None:
        """Exchange the blobs; what is there already stays. Their order must be given anew when their number changes.

        A new order comes with every move of the camera, new blobs only with a new state: a million of them are 64 MB to carry.
        """
        if self._held is not None and self._held[0] is packed and np.array_equal(self._held[1], flags):
            return
        self._held = (packed, flags)
        count = len(packed)
        rows = max(1, -(-count // BLOBS_A_ROW))
        data = np.zeros((rows * BLOBS_A_ROW, 4 * TEXELS_A_BLOB), np.float32)
        data[:count] = packed
        data[:count, 10] = flags
        size = (BLOBS_A_ROW * TEXELS_A_BLOB, rows)
        if self._blobs is None or self._blobs.size != size:
            if self._blobs is not None:
                self._blobs.release()
            self._blobs = self.context.texture(size, 4, dtype="f4")
            self._blobs.filter = (moderngl.NEAREST, moderngl.NEAREST)
        self._blobs.write(data)
        if count != self.count:
            self.ordered = 0
        self.count = count

    def set_order(self, order: UInt32[np.ndarray, "m"]) -> None:
        """Exchange the drawing order, farthest first. Rows beyond the uploaded ones are left out."""
        if len(order) and int(order.max()) >= self.count:
            order = order[order < self.count]
        rows = max(1, -(-len(order) // ORDERS_A_ROW))
        data = np.zeros(rows * ORDERS_A_ROW, np.uint32)
        data[: len(order)] = order
        if self._order is None or self._order.size != (ORDERS_A_ROW, rows):
            if self._order is not None:
                self._order.release()
            self._order = self.context.texture((ORDERS_A_ROW, rows), 1, dtype="u4")
            self._order.filter = (moderngl.NEAREST, moderngl.NEAREST)
        self._order.write(data)
        self.ordered = len(order)

    def draw(
        self,
        camera: Camera,
        size: tuple[int, int],
        *,
        first: int = 0,
        last: int | None = None,
        moved: Matrix4 | None = None,
        tint: tuple[float, float, float, float] = TINT,
        dot_radius: float = 0.0,
    ) -> None:
        """Draw the blobs ``first`` to ``last`` of the order into the bound framebuffer of ``size`` pixels.

        ``moved`` is what a gizmo does to the selected ones; above a ``dot_radius`` of 0 blobs are drawn as dots.
        """
        last = self.ordered if last is None else min(last, self.ordered)
        if last <= first or self._blobs is None or self._order is None:
            return
        program = self.programs.get("splat")
        array = self._quads(program)
        width, height = size
        matrix = view_matrix(camera)
        change = np.eye(4) if moved is None else moved
        focal = focal_length(camera, height)
        set_uniforms(
            program,
            blobs=0,
            order=1,
            camera_turn=tuple(matrix[:3, :3].T.reshape(-1)),
            camera_shift=tuple(matrix[:3, 3]),
            focal=(focal, focal),
            centre=(width / 2.0, height / 2.0),
            size=(float(width), float(height)),
            moved_turn=tuple(change[:3, :3].T.reshape(-1)),
            moved_shift=tuple(change[:3, 3]),
            tint=tint,
            dot_radius=dot_radius,
        )
        self._blobs.use(0)
        self._order.use(1)
        context = self.context
        context.disable(moderngl.DEPTH_TEST | moderngl.CULL_FACE)
        context.enable(moderngl.BLEND)
        context.blend_equation = moderngl.FUNC_ADD  # type: ignore[assignment]
        context.blend_func = (moderngl.ONE, moderngl.ONE_MINUS_SRC_ALPHA)
        array.render(moderngl.TRIANGLES, vertices=6 * (last - first), first=6 * first)

    def _quads(self, program: moderngl.Program) -> moderngl.VertexArray:
        """Two triangles for each blob of the order, as indices of the vertices 4 k to 4 k + 3."""
        if self._corners is None or self._corners.size < 24 * self.ordered:
            room = max(1024, 2 * self.ordered)
            corners = 4 * np.arange(room, dtype=np.uint32)[:, None] + np.array([0, 1, 2, 2, 1, 3], np.uint32)
            if self._corners is not None:
                self._corners.release()
            self._corners = self.context.buffer(corners.tobytes())
            self._made_with = None
        if self._array is None or self._made_with != self.programs.generation:
            if self._array is not None:
                self._array.release()
            self._array = self.context.vertex_array(program, [], index_buffer=self._corners)
            self._made_with = self.programs.generation
        return self._array

    def release(self) -> None:
        """Free what lies on the graphics card."""
        for held in (self._array, self._corners, self._order, self._blobs):
            if held is not None:
                held.release()
        self._array = self._corners = self._order = self._blobs = self._held = None
        self.count = self.ordered = 0
