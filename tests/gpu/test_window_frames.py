"""The window with a million blobs on a GPU: how they come to OpenGL, how long a picture takes, and what the window's thread does in a frame.

`make test-gpu` runs these with the others, in a table with theirs (`test_main_job`).
"""

import time
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.view.packing import pack, pack_on_device, to_host
from tests.gpu.test_main_job import ON_CARD, Row, needs_gpu, seconds_of

A_FRAME = FRAME_MS = 1000 / 60
"""Milliseconds from a frame to the next, and the bar for what the window does in one."""
FRAMES, SETTLING = 240, 30
WINDOW = (1280, 720)
FIRST_SECONDS = 600.0
"""The rasterizer may have to be compiled before the first picture."""


def opengl(row: Row, what: str, bar: str) -> Any:
    """OpenGL without a display; where there is none the row says so, and the test is skipped."""
    import moderngl

    try:
        return moderngl.create_context(standalone=True, backend="egl")
    except Exception as error:
        row(what, f"no OpenGL here: {str(error)[:100]}", bar)
        pytest.skip(f"no OpenGL here: {error}")


def many_blobs(count: int, device: str) -> GaussianModel:
    generator = torch.Generator().manual_seed(0)
    columns = {
        "mean": torch.randn(count, 3, generator=generator),
        "log_scale": torch.full((count, 3), -5.0),
        "rotation": torch.randn(count, 4, generator=generator),
        "color": torch.rand(count, 3, generator=generator),
        "logit_opacity": torch.zeros(count),
    }
    return GaussianModel.create(**{name: column.to(device) for name, column in columns.items()})


@pytest.mark.gpu
@needs_gpu
def test_the_way_of_the_blobs_to_the_window(row: Row) -> None:
    """A million blobs from the device to where OpenGL takes them: packed by the processor, or there and carried once."""
    packed = pack_on_device(many_blobs(1_000_000, ON_CARD))
    times = {}
    for name, pinned in (("pageable", False), ("page-locked", True)):
        times[name] = seconds_of(lambda pinned=pinned: to_host(packed, pinned), 10)  # type: ignore[misc]
        row(f"a million packed blobs to the host, {name}", f"{1000 * times[name]:.1f} ms", "noted")
    assert times["page-locked"] < 2 * times["pageable"]


@pytest.mark.gpu
@needs_gpu
def test_the_two_ways_of_the_blobs_into_opengl(row: Row) -> None:
    """A million blobs into OpenGL's texture: from CUDA on the card, or through page-locked memory. The window chooses in the same way."""
    pytest.importorskip("moderngl", reason="moderngl is not installed")
    import numpy as np

    from interactive3d.runtime.view.programs import Programs
    from interactive3d.runtime.view.splats import SplatRenderer

    context = opengl(row, "a million blobs into OpenGL", "the quicker way")
    blobs = many_blobs(1_000_000, ON_CARD)
    whole = seconds_of(lambda: pack(blobs), 3)
    packed = pack(blobs)
    renderer = SplatRenderer(context, Programs(context))
    renderer.upload(packed, np.zeros(len(packed), np.float32))
    row("a million blobs packed and on the host", f"{1000 * whole:.1f} ms", "noted")
    row(f"and into OpenGL ({context.info['GL_RENDERER']})", f"quicker {renderer.carried}", "the quicker way")
    shown = np.frombuffer(renderer._blobs.read(), np.float32).reshape(-1, 16)[: len(packed)]  # type: ignore[union-attr]
    assert np.allclose(shown, packed, atol=1e-6)
    renderer.release()
    context.release()


@dataclass(frozen=True, kw_only=True)
class Turned:
    """An object turned under a hand for ``FRAMES`` frames: milliseconds of the window's thread, of the card's OpenGL too, and from asking for
    a view until its whole picture is shown; and how many pictures a second were shown.
    """

    frames: list[float]
    waits: list[float]
    rate: float

    @staticmethod
    def told(times: list[float]) -> str:
        rising = sorted(times)
        return f"{rising[len(rising) // 2]:.1f} ms, 99th percentile {rising[int(0.99 * len(rising))]:.1f} ms"

    @property
    def median(self) -> float:
        return sorted(self.frames)[len(self.frames) // 2]


def turned(viewport: Any, states: list[GaussianModel]) -> Turned:
    """The optimizer makes eight states a second meanwhile. Nothing is counted before the window has chosen and its pictures are coming."""
    from interactive3d.runtime.scene.camera import Camera
    from interactive3d.runtime.view.viewport import Frame

    asked: dict[Camera, float] = {}
    frames, waits, begun, number, deadline = [], [], 0.0, 0, time.monotonic() + FIRST_SECONDS
    while len(frames) < FRAMES:
        camera = Camera.orbit(1.5 * number, 15.0 + 0.001 * number)
        frame = Frame(
            model=states[number // 8 % 2],
            camera=camera,
            width=WINDOW[0],
            height=WINDOW[1],
            moving=True,
            following=True,
        )
        before, started = viewport.shown_camera, time.perf_counter()
        asked[camera] = started
        viewport.show(frame)
        viewport.context.finish()
        ended = time.perf_counter()
        fresh = viewport.shown_camera is not before and viewport.shown_camera in asked
        if begun:
            frames.append(1000 * (ended - started))
            if fresh:
                waits.append(1000 * (ended - asked[viewport.shown_camera]))
        elif fresh and not viewport.choosing and number >= SETTLING:
            begun = ended
        assert begun or time.monotonic() < deadline, f"no picture came: {viewport.drawn}"
        number += 1
        time.sleep(max(0.0, A_FRAME / 1000 - (ended - started)))
    return Turned(frames=frames, waits=waits, rate=len(waits) / (time.perf_counter() - begun))


def draw_alone(context: Any, blobs: GaussianModel, camera: Any) -> float:
    """Seconds of OpenGL for the blobs that lie there sorted."""
    import numpy as np

    from interactive3d.runtime.view.packing import depth_order
    from interactive3d.runtime.view.programs import Programs
    from interactive3d.runtime.view.splats import SplatRenderer

    packed, renderer = pack(blobs), SplatRenderer(context, Programs(context))
    renderer.upload(packed, np.zeros(len(packed), np.float32))
    renderer.set_order(depth_order(packed[:, :3], camera))
    target = context.framebuffer([context.texture(WINDOW, 4, dtype="f2")])
    target.use()

    def draw() -> None:
        renderer.draw(camera, WINDOW)
        context.finish()

    seconds = seconds_of(draw, 5)
    renderer.release()
    return seconds


@pytest.mark.gpu
@needs_gpu
def test_the_rasterizers_picture_of_a_million_blobs(row: Row) -> None:
    """What the painter beside the window does for one picture, and its parts."""
    from interactive3d.runtime.scene.camera import Camera
    from interactive3d.runtime.view import painter
    from interactive3d.runtime.view.streams import OwnStream

    model, camera, stream = many_blobs(1_000_000, ON_CARD), Camera.orbit(0.0, 15.0), OwnStream()
    model = model.with_columns({"mean": 0.25 * model.mean})
    look = painter.Look()
    job = painter.PaintJob(key=(0,), model=model, camera=camera, width=WINDOW[0], height=WINDOW[1], look=look)
    done = painter.paint(job, stream=stream)
    assert done.picture.shape == (WINDOW[1], WINDOW[0], 4) and done.picture.any()
    picture = painter._blobs_picture(model, look, camera, *WINDOW)
    with torch.no_grad():
        times = {
            "in all": seconds_of(lambda: painter.paint(job, stream=stream), 20),
            "on the card": seconds_of(lambda: painter._blobs_picture(model, look, camera, *WINDOW), 20),
            "to the host": seconds_of(lambda: painter._painted(job, picture), 20),
        }
    row(
        "the rasterizer's picture of a million blobs, 1280 x 720",
        "; ".join(f"{part} {1000 * seconds:.2f} ms" for part, seconds in times.items()),
        "noted",
    )


@pytest.mark.gpu
@needs_gpu
def test_a_frame_of_the_window_with_a_million_blobs(row: Row) -> None:
    """What the window's thread does in a frame, with each engine and with the one that the window chooses.

    Without a display, so that it can be measured where there is none; ImGui's panels come on top (`python benchmarks/window.py --gpu`).
    """
    pytest.importorskip("moderngl", reason="moderngl is not installed")
    from interactive3d.runtime.scene.camera import Camera
    from interactive3d.runtime.view.viewport import Engine, Viewport

    context = opengl(row, "a frame with a million blobs", "16.7 ms")
    blobs = many_blobs(1_000_000, ON_CARD)
    states = [blobs.with_columns({"mean": size * blobs.mean}) for size in (0.24, 0.25)]
    alone = draw_alone(context, states[1], Camera.orbit(0.0, 15.0))
    row("OpenGL's drawing alone, a million blobs, 1280 x 720", f"{1000 * alone:.1f} ms", "noted")
    # The window's own choice is the last one: the kernel has been loaded by then.
    for engine in (*Engine, None):
        viewport = Viewport(context, engine)
        found = turned(viewport, states)
        drawn, carried, software = viewport.drawn, viewport.carried, viewport.software
        viewport.close()
        name = "the window's own choice" if engine is None else engine.value
        bar = "noted" if engine is not None else "16.7 ms (60 fps)"
        row(f"a frame with a million blobs, {name}", Turned.told(found.frames), bar)
        row(
            f"{name}: from asking to the whole picture",
            f"{Turned.told(found.waits)}; {found.rate:.0f} pictures a second",
            "noted",
        )
        row(f"{name}: drawn by", drawn if carried is None else f"{drawn}; blobs {carried}")
    row("on", str(context.info["GL_RENDERER"]))
    context.release()
    if not software:
        assert found.median < FRAME_MS
