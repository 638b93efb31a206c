"""The picture in the middle of the window: backdrop, floor, blobs, overlays, composed into one texture.

It never waits: what is not ready yet is shown as it was last, and a gesture is followed by a smaller picture that is replaced by the
whole one when the hand rests.
"""

import math
import time
from dataclasses import dataclass, field, replace
from enum import Enum

import moderngl
import numpy as np
from jaxtyping import UInt8

from interactive3d.runtime.field import HashGridField
from interactive3d.runtime.scene.camera import Camera
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.view.latest import Latest
from interactive3d.runtime.view.lines import LineBatch, LineRenderer
from interactive3d.runtime.view.meshes import Mesh, MeshRenderer
from interactive3d.runtime.view.orbit import Projection
from interactive3d.runtime.view.painter import (
    FIELD_PER_PIXEL,
    PREVIEW_BESIDE_RUN_SECONDS,
    PREVIEW_SECONDS,
    WHOLE,
    Look,
    Overtaken,
    Pace,
    Painted,
    PaintJob,
    Sorted,
    Sorter,
    paint,
)
from interactive3d.runtime.view.programs import Programs, set_uniforms
from interactive3d.runtime.view.splats import SplatRenderer

SOFTWARE = ("llvmpipe", "softpipe", "swrast", "SwiftShader", "Software")
DOT_PIXELS = 2.5

REST_FACTOR = 4.0
"""After a picture of a new state the painter rests this many times as long as it worked, so that the optimizer keeps its cores."""


class Engine(Enum):
    """Who draws the blobs."""

    OPENGL = "OpenGL"
    RASTERIZER = "rasterizer"


class Backdrop(Enum):
    """What lies behind the object: top, bottom, side of a checker's field in pixels."""

    DARK = ((0.115, 0.125, 0.145), (0.215, 0.225, 0.245), 0.0)
    WHITE = ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), 0.0)
    STUDIO = ((0.98, 0.98, 0.99), (0.80, 0.82, 0.85), 0.0)
    BLACK = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 0.0)
    CHECKER = ((0.42, 0.42, 0.42), (0.52, 0.52, 0.52), 16.0)


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What is to be seen. ``look_key`` changes whenever ``look`` does; ``moving`` while a gesture goes on; ``following`` while the
    optimizer makes one state after another, of which not every one needs a picture.
    """

    model: GaussianModel
    camera: Camera
    width: int
    height: int
    look: Look = field(default_factory=Look)
    look_key: object = None
    under: LineBatch | None = None
    over: LineBatch | None = None
    overlay_key: object = None
    line_scale: float = 1.0
    backdrop: Backdrop = Backdrop.DARK
    moving: bool = False
    following: bool = False
    field: HashGridField | None = None
    mesh: Mesh | None = None
    other: GaussianModel | None = None
    other_field: HashGridField | None = None
    split: float = 0.0

    @property
    def projection(self) -> Projection:
        """From points to pixels and back."""
        return Projection(camera=self.camera, width=self.width, height=self.height)

    def blobs_key(self) -> tuple:
        """Changes whenever the blobs' picture does."""
        return (
            id(self.mesh or self.field or self.model),
            self.camera,
            self.width,
            self.height,
            self.look_key,
        )


class _Layer:
    """The picture of one model: by whichever engine, refreshed beside the window."""

    def __init__(self, context: moderngl.Context, programs: Programs, engine: Engine) -> None:
        self.context = context
        self.engine = engine
        self.key: tuple | None = None
        self.share = 0.0
        self._box = WHOLE
        self.texture = context.texture((8, 8), 4, bytes(8 * 8 * 4))
        self.frame: moderngl.Framebuffer | None = None
        self.pace = Pace()
        self.splats = SplatRenderer(context, programs)
        self.meshes = MeshRenderer(context, programs)
        self.painter: Latest[PaintJob, Painted | None] = Latest(self._paint, "painter")
        self.sorter: Latest[PaintJob, Sorted] = Latest(Sorter(), "sorter")
        self._asked: tuple | None = None
        self._sorted_for: tuple | None = None
        self._rest_until = 0.0
        self.shown_camera: Camera | None = None
        self._job: PaintJob | None = None
        self._draw = False
        self._painted_field = False
        self._wanted: tuple | None = None
        self._following = False

    def refresh(self, job: PaintJob, frame: Frame, generation: int) -> bool:
        """Bring the texture nearer to the job; True when it has changed."""
        self._wanted, self._following = job.key, frame.following
        if job.mesh is not None:
            return self._refresh_mesh(job, generation)
        if self.engine is Engine.RASTERIZER or job.field is not None:
            if self._painted_field is not (job.field is not None):
                self._painted_field = job.field is not None
                self.pace = Pace(FIELD_PER_PIXEL) if self._painted_field else Pace()
            return self._refresh_painted(job, frame.moving)
        return self._refresh_drawn(replace(job, key=(*job.key, generation)))

    def _paint(self, job: PaintJob) -> Painted | None:
        """In the painter's thread; None where the job was overtaken."""
        try:
            return paint(job, lambda: not job.preview and self.painter.overtaken)
        except Overtaken:
            return None

    def _refresh_painted(self, job: PaintJob, moving: bool) -> bool:
        done = self.painter.take()
        if done is not None:
            self._take(done)
        self._want(job, moving)
        return done is not None

    def _take(self, done: Painted) -> None:
        height, width = done.picture.shape[:2]
        self.pace.learn(width * height, self.painter.seconds)
        self._fit((width, height), "f1")
        self.texture.write(np.ascontiguousarray(done.picture))
        self.key, self.share, self.shown_camera = done.job.key, done.job.share, done.job.camera
        self._job, self._box = done.job, done.box
        self._rest_until = time.perf_counter() + REST_FACTOR * self.painter.seconds

    def _want(self, job: PaintJob, moving: bool) -> None:
        """Ask for the picture that is wanted next, if any is."""
        same_view = self.key is not None and self.key[1:] == job.key[1:]
        if same_view and self.key != job.key and self._following:
            # Only the optimizer moved on: a picture that is half sharp is made whole first, and then there is no hurry.
            if self.share < 1.0 and self._job is not None:
                job = replace(self._job, share=1.0, preview=False)
            elif time.perf_counter() < self._rest_until or not self.painter.idle:
                return
        if self.key == job.key and self.share >= 1.0:
            return
        if moving:
            beside = self._following and not self._painted_field
            wanted = self.pace.preview(job, PREVIEW_BESIDE_RUN_SECONDS if beside else PREVIEW_SECONDS)
            if self.key == job.key and self.share >= wanted.share:
                return
        else:
            wanted = self.pace.next(job, self.share if self.key == job.key else 0.0)
        asked = (wanted.key, wanted.share)
        if not self.painter.idle and self._asked == asked:
            return
        self._asked = asked
        self.painter.request(wanted)

    def _refresh_mesh(self, job: PaintJob, generation: int) -> bool:
        assert job.mesh is not None
        key = (*job.key, generation)
        if self.key == key:
            return False
        self._fit((job.width, job.height), "f1")
        assert self.frame is not None
        self.meshes.draw(job.mesh, job.camera, self.frame)
        self.key, self.share, self.shown_camera = key, 1.0, job.camera
        self._box = WHOLE
        return True

    def _refresh_drawn(self, job: PaintJob) -> bool:
        done = self.sorter.take()
        if done is not None:
            self.splats.upload(done.packed, done.flags)
            self.splats.set_order(done.order)
            self._draw = True
        sorting = (job.key[0], job.camera, job.key[4])
        if self._sorted_for != sorting:
            self._sorted_for = sorting
            self.sorter.request(job)
        if self.key == job.key and not self._draw:
            return False
        # Until the new order is there the old one serves: a camera moves little in one frame.
        size = (job.width, job.height)
        self._fit(size, "f2")
        assert self.frame is not None
        self.frame.use()
        self.frame.clear(0.0, 0.0, 0.0, 0.0)
        dots = DOT_PIXELS if job.look.dots else 0.0
        self.splats.draw(job.camera, size, moved=job.look.moved, tint=job.look.tint, dot_radius=dots)
        self.key, self.share, self._draw, self._box = job.key, 1.0, False, WHOLE
        self.shown_camera = job.camera
        return True

    def covers(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of what the picture covers when it is drawn over ``size`` pixels; the rest of it is empty."""
        left, top, right, bottom = self._box
        # A picture that is enlarged runs over its rim by less than one of its own pixels.
        wide, high = size[0] / self.texture.width, size[1] / self.texture.height
        return (
            max(0, math.floor(left * size[0] - wide)),
            max(0, math.floor(top * size[1] - high)),
            min(size[0], math.ceil(right * size[0] + wide)),
            min(size[1], math.ceil(bottom * size[1] + high)),
        )

    def _fit(self, size: tuple[int, int], dtype: str) -> None:
        if self.texture.size != size or self.texture.dtype != dtype:
            self.texture.release()
            self.texture = self.context.texture(size, 4, dtype=dtype)
            self.texture.filter = (moderngl.LINEAR, moderngl.LINEAR)
            self.texture.repeat_x = self.texture.repeat_y = False
            if self.frame is not None:
                self.frame.release()
            self.frame = self.context.framebuffer([self.texture])

    @property
    def has_news(self) -> bool:
        """Whether something has been made that is not shown yet."""
        return self.painter.ready or self.sorter.ready

    @property
    def thread_ids(self) -> list[int]:
        """Of the threads beside the window."""
        return [self.painter.thread_id, self.sorter.thread_id]

    @property
    def settled(self) -> bool:
        """Whether what is wanted is shown, whole; while the optimizer runs, whether some whole picture is."""
        shown = self.key is not None and self._wanted is not None and self.key[: len(self._wanted)] == self._wanted
        return self.idle and self.share >= 1.0 and (shown or self._following)

    @property
    def idle(self) -> bool:
        """Whether the newest job asked for has been done."""
        return self.painter.idle and self.sorter.idle

    def close(self) -> None:
        self.painter.close()
        self.sorter.close()


class Viewport:
    """See the module's docstring. All methods are for the thread that owns the OpenGL context."""

    def __init__(self, context: moderngl.Context, engine: Engine | None = None) -> None:
        self.context = context
        self.renderer = str(context.info["GL_RENDERER"])
        self.software = any(name.lower() in self.renderer.lower() for name in SOFTWARE)
        self.engine = engine or (Engine.RASTERIZER if self.software else Engine.OPENGL)
        self.programs = Programs(context)
        self.lines = LineRenderer(context, self.programs)
        self._layer = _Layer(context, self.programs, self.engine)
        self._other: _Layer | None = None
        self._target: moderngl.Framebuffer | None = None
        self._texture: moderngl.Texture | None = None
        self._ground: moderngl.Framebuffer | None = None
        self._ground_shown: tuple | None = None
        self._array: dict[str, tuple[int, moderngl.VertexArray]] = {}
        self._composed: tuple | None = None
        self._shaders_checked = 0.0
        self._compared = False

    def set_engine(self, engine: Engine) -> None:
        """Let another engine draw."""
        if engine is not self.engine:
            self.close()
            self.engine = engine
            self._layer = _Layer(self.context, self.programs, engine)
            self._other = None

    @property
    def carried(self) -> str | None:
        """How blobs on a graphics card come to OpenGL, and why; None before any has come."""
        return self._layer.splats.carried if self._layer.splats.sharing is not None else None

    @property
    def settled(self) -> bool:
        """Whether the newest frame is shown whole."""
        return self._layer.settled and (self._other is None or not self._compared or self._other.settled)

    @property
    def has_news(self) -> bool:
        """Whether a better picture has been made than the one that is shown."""
        return self._layer.has_news or (self._other is not None and self._other.has_news)

    @property
    def thread_ids(self) -> list[int]:
        """Of the threads that make pictures beside the window."""
        return self._layer.thread_ids + ([] if self._other is None else self._other.thread_ids)

    @property
    def shown_camera(self) -> Camera | None:
        """The camera that the blobs on the screen are seen from; it trails behind the hand while a picture is being made."""
        return self._layer.shown_camera

    def show(self, frame: Frame) -> moderngl.Texture:
        """The newest picture there is for a frame; asks for a better one where there is none yet."""
        if time.monotonic() - self._shaders_checked > 0.5:
            self._shaders_checked = time.monotonic()
            self.programs.reload()
        generation = self.programs.generation
        job = PaintJob(
            key=frame.blobs_key(),
            model=frame.model,
            camera=frame.camera,
            width=frame.width,
            height=frame.height,
            look=frame.look,
            field=frame.field,
            mesh=frame.mesh,
        )
        changed = self._layer.refresh(job, frame, generation)
        self._compared = frame.other is not None and frame.split > 0.0
        if frame.other is not None and self._compared:
            if self._other is None:
                self._other = _Layer(self.context, self.programs, self.engine)
            shown = frame.other_field if frame.other_field is not None else frame.other
            key = (id(shown), *frame.blobs_key()[1:4], "other")
            look = Look(dots=frame.look.dots)
            plain = replace(job, key=key, model=frame.other, field=frame.other_field, mesh=None, look=look)
            changed |= self._other.refresh(plain, frame, generation)
        size = (frame.width, frame.height)
        composed = (size, frame.camera, frame.overlay_key, frame.backdrop, frame.split, frame.other is None, generation)
        if changed or composed != self._composed or self._texture is None:
            self._compose(frame, size)
            self._composed = composed
        assert self._texture is not None
        return self._texture

    def _compose(self, frame: Frame, size: tuple[int, int]) -> None:
        if self._texture is None or self._texture.size != size:
            if self._target is not None and self._texture is not None:
                self._target.release()
                self._texture.release()
            self._texture = self.context.texture(size, 4)
            self._texture.filter = (moderngl.NEAREST, moderngl.NEAREST)  # it is shown pixel by pixel
            self._target = self.context.framebuffer([self._texture])
        assert self._target is not None
        # A copy: the shader would cost a software renderer twenty times as much at every frame.
        self.context.copy_framebuffer(self._target, self._backdrop(frame.backdrop, size))
        self._target.use()
        self.context.viewport = (0, 0, *size)
        if frame.under is not None:
            self.lines.draw(frame.under, frame.projection, frame.line_scale)
        self.context.enable(moderngl.BLEND)
        self.context.blend_func = moderngl.ONE, moderngl.ONE_MINUS_SRC_ALPHA
        shown = [(0, size[0], self._layer)]
        if frame.other is not None and frame.split > 0.0 and self._other is not None:
            line = round(frame.split * size[0])
            shown = [(0, line, self._other), (line, size[0], self._layer)]
        for left, right, layer in shown:
            x, y, x_end, y_end = layer.covers(size)
            x, x_end = max(left, x), min(right, x_end)
            if x_end > x and y_end > y:
                layer.texture.use(0)
                # A scissor, not a choice in the shader: a software renderer would take both pictures apart for every pixel.
                self._target.scissor = (x, y, x_end - x, y_end - y)
                self._cover("screen", picture=0, up=1.0)
        self._target.scissor = None  # type: ignore[assignment]
        if frame.over is not None:
            self.lines.draw(frame.over, frame.projection, frame.line_scale)

    def lay_on_screen(self, corner: tuple[int, int]) -> None:
        """Lay the picture that was shown last on the screen, its lower left pixel at ``corner``.

        A software renderer takes half as long for it as ImGui's way, which blends and tints every pixel.
        """
        assert self._texture is not None
        screen = self.context.screen
        screen.use()
        screen.viewport = (*corner, *self._texture.size)
        self.context.disable(moderngl.BLEND | moderngl.DEPTH_TEST | moderngl.CULL_FACE)
        self._texture.use(0)
        self._cover("screen", picture=0, up=-1.0)

    def _backdrop(self, backdrop: Backdrop, size: tuple[int, int]) -> moderngl.Framebuffer:
        """What lies behind everything, drawn once."""
        wanted = (backdrop, size, self.programs.generation)
        if self._ground is not None and self._ground_shown == wanted:
            return self._ground
        if self._ground is None or self._ground.size != size:
            if self._ground is not None:
                self._ground.release()
            self._ground = self.context.simple_framebuffer(size, 4)
        self._ground.use()
        self.context.disable(moderngl.BLEND | moderngl.DEPTH_TEST | moderngl.CULL_FACE)
        top, bottom, checker = backdrop.value
        self._cover("backdrop", top=top, bottom=bottom, checker=checker, size=(float(size[0]), float(size[1])))
        self._ground_shown = wanted
        return self._ground

    def _cover(self, stem: str, **uniforms: object) -> None:
        program = self.programs.get(stem)
        made, array = self._array.get(stem, (-1, None))
        if array is None or made != self.programs.generation:
            array = self.context.vertex_array(program, [])
            self._array[stem] = (self.programs.generation, array)
        set_uniforms(program, **uniforms)
        array.render(moderngl.TRIANGLES, vertices=3)

    def read(self) -> UInt8[np.ndarray, "h w 3"]:
        """What is shown, first row at the top.

        Raises:
            RuntimeError: nothing has been shown yet.
        """
        if self._target is None or self._texture is None:
            raise RuntimeError("viewport: nothing has been shown yet; call show first")
        width, height = self._texture.size
        return np.frombuffer(self._target.read(components=3), np.uint8).reshape(height, width, 3).copy()

    def close(self) -> None:
        """End the threads."""
        self._layer.close()
        if self._other is not None:
            self._other.close()
