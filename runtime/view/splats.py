"""Splats on the screen: OpenGL 3.3, sorted by depth, EWA-projected, blended; the optimizer's picture to within eight bits.

Pictures are kept with their first row at the top, as images are, and premultiplied.
"""

import time

import moderngl
import numpy as np
import torch
from jaxtyping import Float, UInt32
from torch import Tensor

from interactive3d.runtime.scene.camera import Camera
from interactive3d.runtime.view.interop import InteropProblem, SharedBuffer
from interactive3d.runtime.view.packing import BLOBS_A_ROW, TEXELS_A_BLOB, focal_length, view_matrix
from interactive3d.runtime.view.programs import Programs, set_uniforms

TINT = (1.0, 0.62, 0.1, 0.35)
"""Colour of the selection and its strength."""

ORDERS_A_ROW = 4096

SHARED_FROM = 100_000
"""Blobs on a graphics card from which on it is tried whether OpenGL takes them there: fewer are carried in well under a frame."""

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
        self._shared: SharedBuffer | None = None
        self.sharing: bool | None = None
        """Whether blobs go from CUDA to OpenGL on the card; None until enough of them have come to see which way is quicker."""
        self.carried = "through page-locked memory"
        """How blobs on a graphics card come to OpenGL, and why, for whoever asks."""

    def upload(self, packed: Float[np.ndarray, "n 16"], flags: Float[np.ndarray, "n"]) -> None:
        """Exchange the blobs; what is there already stays. Their order must be given anew when their number changes.

        A new order comes with every move of the camera, new blobs only with a new state: a million of them are 64 MB to carry.
        """
        if self._held is not None and self._held[0] is packed and np.array_equal(self._held[1], flags):
            return
        self._held = (packed, flags)
        count = len(packed)
        rows = max(1, -(-count // BLOBS_A_ROW))
        size = (BLOBS_A_ROW * TEXELS_A_BLOB, rows)
        if self._blobs is None or self._blobs.size != size:
            if self._blobs is not None:
                self._blobs.release()
            self._blobs = self.context.texture(size, 4, dtype="f4")
            self._blobs.filter = (moderngl.NEAREST, moderngl.NEAREST)
        there = getattr(packed, "there", None)
        if there is None or count < SHARED_FROM or self.sharing is False:
            self._write(self._blobs, packed, flags)
        elif self.sharing:
            self._share_or_write(self._blobs, packed, there, flags)
        else:
            self._try_both(self._blobs, packed, there, flags)
        if count != self.count:
            self.ordered = 0
        self.count = count

    def _write(self, texture: moderngl.Texture, packed: np.ndarray, flags: np.ndarray) -> None:
        data = np.zeros((texture.size[1] * BLOBS_A_ROW, 4 * TEXELS_A_BLOB), np.float32)
        data[: len(packed)] = packed
        data[: len(packed), 10] = flags
        texture.write(data)

    def _share(self, texture: moderngl.Texture, there: Tensor, flags: np.ndarray) -> None:
        """From the card to the card. Raises InteropProblem where that cannot be done."""
        size = 16 * texture.size[0] * texture.size[1]
        if self._shared is None or self._shared.size != size:
            if self._shared is not None:
                self._shared.release()
                self._shared = None
            self._shared = SharedBuffer(self.context, size, there.device)
        with self._shared.ordered(there):
            marked = there.clone()
            marked[:, 10] = torch.from_numpy(flags).to(there.device)
            self._shared.write(marked)
        # Texels behind the last blob are undefined, and no order names them.
        texture.write(self._shared.buffer)

    def _share_or_write(self, texture: moderngl.Texture, packed: np.ndarray, there: Tensor, flags: np.ndarray) -> None:
        try:
            self._share(texture, there, flags)
        except InteropProblem as problem:
            self._give_up_sharing(str(problem))
            self._write(texture, packed, flags)

    def _try_both(self, texture: moderngl.Texture, packed: np.ndarray, there: Tensor, flags: np.ndarray) -> None:
        """The first time: whichever way is quicker from now on. The first of each is not counted: it allocates."""
        took = {}
        try:
            for way in ("shared", "carried"):
                for _ in range(2):
                    self.context.finish()
                    started = time.perf_counter()
                    if way == "shared":
                        self._share(texture, there, flags)
                    else:
                        self._write(texture, packed, flags)
                    self.context.finish()
                    took[way] = time.perf_counter() - started
        except InteropProblem as problem:
            self._give_up_sharing(str(problem))
            self._write(texture, packed, flags)
            return
        shared, carried = 1000 * took["shared"], 1000 * took["carried"]
        if shared < carried:
            self.sharing = True
            self.carried = (
                f"on the card: {shared:.1f} ms for {len(packed):,} blobs, {carried:.1f} ms through page-locked memory"
            )
        else:
            self._give_up_sharing(f"{carried:.1f} ms for {len(packed):,} blobs, {shared:.1f} ms on the card")

    def _give_up_sharing(self, why: str) -> None:
        self.sharing = False
        self.carried = f"through page-locked memory ({why})"
        if self._shared is not None:
            self._shared.release()
            self._shared = None

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
        if self._shared is not None:
            self._shared.release()
        self._array = self._corners = self._order = self._blobs = self._held = self._shared = None
        self.count = self.ordered = 0
