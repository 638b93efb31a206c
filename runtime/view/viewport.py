"""The picture in the middle of the window: backdrop, floor, blobs, overlays, composed into one texture.

It never waits: what is not ready yet is shown as it was last, and a gesture is followed by a smaller picture that is replaced by the
whole one when the hand rests.
"""

import time
from dataclasses import dataclass, field, replace
from enum import Enum

import moderngl
import numpy as np
from jaxtyping import UInt8

from interactive3d.runtime.field import HashGridField
from interactive3d.runtime.scene.camera import Camera
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.view.engines import Engine, EngineChoice, Trial
from interactive3d.runtime.view.layer import Layer
from interactive3d.runtime.view.lines import LineBatch, LineRenderer
from interactive3d.runtime.view.meshes import Mesh
from interactive3d.runtime.view.orbit import Projection
from interactive3d.runtime.view.painter import Look, PaintJob
from interactive3d.runtime.view.programs import Programs, set_uniforms

SOFTWARE = ("llvmpipe", "softpipe", "swrast", "SwiftShader", "Software")


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
    optimizer makes one state after another, of which not every one needs a picture; ``finished`` where the model's columns, or the field's,
    have been read already, so that no graphics card is still working at them.
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
    finished: bool = False
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


class Viewport:
    """See the module's docstring. All methods are for the thread that owns the OpenGL context."""

    def __init__(self, context: moderngl.Context, engine: Engine | None = None) -> None:
        self.context = context
        self.renderer = str(context.info["GL_RENDERER"])
        self.software = any(name.lower() in self.renderer.lower() for name in SOFTWARE)
        self.choice = EngineChoice(engine, self.software)
        self.engine = self.choice.engine()
        self.programs = Programs(context)
        self.lines = LineRenderer(context, self.programs)
        self._layer = Layer(context, self.programs, self.choice, measured=True)
        self._other: Layer | None = None
        self._target: moderngl.Framebuffer | None = None
        self._texture: moderngl.Texture | None = None
        self._ground: moderngl.Framebuffer | None = None
        self._ground_shown: tuple | None = None
        self._array: dict[str, tuple[int, moderngl.VertexArray]] = {}
        self._composed: tuple | None = None
        self._shaders_checked = 0.0
        self._compared = False
        self._model: GaussianModel | None = None

    def set_engine(self, engine: Engine | None) -> None:
        """Let an engine draw; None for whichever is quicker."""
        self.choice.choose(engine)
        self.engine = self.choice.engine(self._model)

    @property
    def drawn(self) -> str:
        """Who draws the blobs, and why."""
        return f"{self.engine.value} ({self.choice.why})"

    @property
    def choosing(self) -> bool:
        """Whether the engines are being timed."""
        return self.choice.trial is not Trial.NOTHING

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
            finished=frame.finished,
            field=frame.field,
            mesh=frame.mesh,
        )
        manner = {"moving": frame.moving, "following": frame.following}
        changed = self._layer.refresh(job, generation, **manner)
        self._model, self.engine = frame.model, self.choice.engine(frame.model)
        self._compared = frame.other is not None and frame.split > 0.0
        if frame.other is not None and self._compared:
            if self._other is None:
                self._other = Layer(self.context, self.programs, self.choice)
            shown = frame.other_field if frame.other_field is not None else frame.other
            key = (id(shown), *frame.blobs_key()[1:4], "other")
            look = Look(dots=frame.look.dots)
            left = replace(
                job, key=key, look=look, model=frame.other, field=frame.other_field, mesh=None, finished=False
            )
            changed |= self._other.refresh(left, generation, **manner)
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
