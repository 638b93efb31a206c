"""The picture of one model in the window: by whichever engine, refreshed beside the window."""

import math
import time
from dataclasses import replace

import moderngl

from interactive3d.runtime.scene.camera import Camera
from interactive3d.runtime.view.engines import Engine, EngineChoice, Trial, need_kernel
from interactive3d.runtime.view.latest import Latest
from interactive3d.runtime.view.meshes import MeshRenderer
from interactive3d.runtime.view.painter import (
    PREVIEW_BESIDE_RUN_SECONDS,
    PREVIEW_SECONDS,
    WHOLE,
    Overtaken,
    Pace,
    Painted,
    PaintJob,
    Sorted,
    Sorter,
    paint,
)
from interactive3d.runtime.view.programs import Programs
from interactive3d.runtime.view.splats import SplatRenderer
from interactive3d.runtime.view.streams import OwnStream

DOT_PIXELS = 2.5

REST_FACTOR = 4.0
"""After a picture of a new state the painter rests this many times as long as it worked, so that the optimizer keeps its cores, or its card."""


class Layer:
    """See the module's docstring. Where it is ``measured`` the engines are timed with its pictures, if there is a choice."""

    def __init__(
        self, context: moderngl.Context, programs: Programs, choice: EngineChoice, *, measured: bool = False
    ) -> None:
        self.context = context
        self.choice = choice
        self.measured = measured
        self.key: tuple | None = None
        self.share = 0.0
        self._box = WHOLE
        self.texture = context.texture((8, 8), 4, bytes(8 * 8 * 4))
        self.frame: moderngl.Framebuffer | None = None
        self.pace = Pace()
        self._paced = (False, False)
        self.splats = SplatRenderer(context, programs)
        self.meshes = MeshRenderer(context, programs)
        self.painter: Latest[PaintJob, Painted | None] = Latest(self._paint, "painter")
        self.sorter: Latest[PaintJob, Sorted] = Latest(Sorter(), "sorter")
        self._asked: tuple | None = None
        self._sorted_for: tuple | None = None
        self._ordered = False
        self._rest_until = 0.0
        self.shown_camera: Camera | None = None
        self._job: PaintJob | None = None
        self._draw = False
        self._stream = OwnStream()
        self._trial = Trial.NOTHING
        self._wanted: tuple | None = None
        self._following = False

    def refresh(self, job: PaintJob, generation: int, *, moving: bool, following: bool) -> bool:
        """Bring the texture nearer to the job; True when it has changed. ``generation`` is that of the shaders, the rest as in ``Frame``."""
        self._wanted, self._following = job.key, following
        before, self._trial = self._trial, Trial.NOTHING
        if job.mesh is not None:
            return self._refresh_mesh(job, generation)
        if job.field is not None or self.choice.engine(job.model) is Engine.RASTERIZER:
            kind = (job.field is not None, job.on_card)
            if self._paced != kind:
                self._paced, self.pace = kind, Pace.of(job)
            return self._refresh_painted(job, moving)
        if self.measured:
            self._trial = self.choice.consider(job.model, job.width * job.height)
        if self._trial is Trial.PAINTING:
            self._time_painter(job, begun=before is Trial.PAINTING)
            if self.choice.alone:
                return False
        return self._refresh_drawn(replace(job, key=(*job.key, generation)))

    def _paint(self, job: PaintJob) -> Painted | None:
        """In the painter's thread; None where the job was overtaken."""
        if job.on_card and self.choice.automatic:
            need_kernel()
        try:
            return paint(job, lambda: not job.preview and self.painter.overtaken, self._stream)
        except Overtaken:
            return None

    def _time_painter(self, job: PaintJob, begun: bool) -> None:
        """Whole pictures that nobody sees, one after another beside the window. It draws on while the first one waits for the kernel's build."""
        try:
            done = self.painter.take()
        except Exception as problem:  # said by whoever asks why
            self.choice.give_up(problem)
            return
        if begun and done is not None and done.job.on_card:
            self.choice.took(self.painter.seconds)
        if self.choice.trial is Trial.PAINTING and self.painter.idle:
            if self.choice.alone:
                self.context.finish()
            self.painter.request(replace(job, preview=True))

    def _refresh_painted(self, job: PaintJob, moving: bool) -> bool:
        self._ordered = False
        try:
            done = self.painter.take()
        except Exception as problem:
            if job.field is not None or not self.choice.give_up(problem):
                raise
            return False
        if done is not None:
            self._take(done)
        self._want(job, moving)
        return done is not None

    def _take(self, done: Painted) -> None:
        height, width = done.picture.shape[:2]
        self.pace.learn(width * height, self.painter.seconds)
        self._fit((width, height), "f1")
        self.texture.write(done.picture)
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
            beside = self._following and job.field is None
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
            self._draw = self._ordered = True
        sorting = (job.key[0], job.camera, job.key[4])
        if self._sorted_for != sorting:
            self._sorted_for = sorting
            self.sorter.request(job)
        timed = self._trial is Trial.DRAWING and self.splats.ordered == len(job.model)
        if not self._ordered or (self.key == job.key and not self._draw and not timed):
            return False
        # Until the new order is there the old one serves: a camera moves little in one frame.
        size = (job.width, job.height)
        self._fit(size, "f2")
        assert self.frame is not None
        self.frame.use()
        self.frame.clear(0.0, 0.0, 0.0, 0.0)
        dots = DOT_PIXELS if job.look.dots else 0.0
        if timed:
            self.context.finish()
        started = time.perf_counter()
        self.splats.draw(job.camera, size, moved=job.look.moved, tint=job.look.tint, dot_radius=dots)
        if timed:
            # Commands are taken long before they are carried out.
            self.context.finish()
            self.choice.took(time.perf_counter() - started)
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
        """Whether something has been made that is not shown yet, or is timed frame by frame."""
        return self.painter.ready or self.sorter.ready or self._trial is Trial.DRAWING

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
        return (self.painter.idle or self._trial is Trial.PAINTING) and self.sorter.idle

    def close(self) -> None:
        self.painter.close()
        self.sorter.close()
