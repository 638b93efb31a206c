"""Who draws the blobs: what is timed, what follows from it, and that the window shows the same whoever draws."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

moderngl = pytest.importorskip("moderngl", reason="the window's packages are not installed: pip install '.[window]'")

from interactive3d.runtime.scene.camera import Camera  # noqa: E402
from interactive3d.runtime.scene.gaussians import GaussianModel  # noqa: E402
from interactive3d.runtime.view import engines, layer, painter, viewport  # noqa: E402
from interactive3d.runtime.view.engines import TIMED, Engine, EngineChoice, Trial  # noqa: E402
from interactive3d.runtime.view.viewport import Frame, Viewport  # noqa: E402
from tests.gpu.pretend_cuda import AtOnce, PretendCuda, pretended_kernels  # noqa: E402

PIXELS = 1280 * 720
SETTLE_FRAMES, SETTLE_SECONDS = 60, 30.0


class Blobs:
    """What a choice asks of a model."""

    def __init__(self, count: int, device: str = "cuda") -> None:
        self.count, self.device = count, torch.device(device)

    def __len__(self) -> int:
        return self.count


def timed(choice: EngineChoice, blobs: Any, drawing: float, painting: float | None, pixels: int = PIXELS) -> Engine:
    """A trial, with times that it is told; None where nothing should be painted."""
    assert choice.consider(blobs, pixels) is Trial.DRAWING
    for _ in range(TIMED):
        choice.took(drawing)
    assert (choice.consider(blobs, pixels) is Trial.PAINTING) is (painting is not None)
    for _ in range(TIMED if painting is not None else 0):
        choice.took(painting)
    assert choice.consider(blobs, pixels) is Trial.NOTHING
    return choice.engine(blobs)


@pytest.mark.parametrize(
    ("drawing", "painting", "engine", "said"),
    [
        (0.004, None, Engine.OPENGL, "1,000,000 blobs: 4.0 ms by OpenGL, and a frame has 16.7 ms"),
        (0.0503, 0.006, Engine.RASTERIZER, "1,000,000 blobs: 50.3 ms by OpenGL, 6.0 ms by the rasterizer"),
        (0.0503, 0.090, Engine.OPENGL, "1,000,000 blobs: 50.3 ms by OpenGL, 90.0 ms by the rasterizer"),
    ],
)
def test_the_quicker_engine_is_kept_and_the_reason_said(drawing, painting, engine, said):
    choice, blobs = EngineChoice(None, software=False), Blobs(1_000_000)
    assert choice.engine(blobs) is Engine.OPENGL
    assert timed(choice, blobs, drawing, painting) is engine and choice.why == said
    # What lies on the processor, and few blobs, are OpenGL's.
    assert choice.engine(Blobs(1_000_000, "cpu")) is choice.engine(Blobs(5000)) is choice.engine() is Engine.OPENGL


def test_pictures_that_build_and_load_do_not_count():
    choice, blobs = EngineChoice(None, software=False), Blobs(200_000)
    for seconds in (30.0, 0.03, 0.05, 80.0, 0.3, 0.02):
        choice.consider(blobs, PIXELS)
        choice.took(seconds)
    assert choice.engine(blobs) is Engine.RASTERIZER and "30.0 ms by OpenGL, 20.0 ms" in choice.why


@pytest.mark.parametrize(
    ("chosen", "software", "blobs", "engine"),
    [
        (Engine.OPENGL, False, Blobs(1_000_000), Engine.OPENGL),
        (Engine.RASTERIZER, False, Blobs(1_000_000), Engine.RASTERIZER),
        (Engine.OPENGL, True, Blobs(1_000_000), Engine.OPENGL),
        (None, True, Blobs(1_000_000), Engine.RASTERIZER),
        (None, False, Blobs(99_999), Engine.OPENGL),
        (None, False, Blobs(1_000_000, "cpu"), Engine.OPENGL),
    ],
)
def test_where_there_is_nothing_to_choose_nothing_is_timed(chosen, software, blobs, engine):
    choice = EngineChoice(chosen, software)
    assert choice.consider(blobs, PIXELS) is Trial.NOTHING and choice.engine(blobs) is engine and choice.why


def test_opengl_is_timed_again_when_there_is_twice_as_much_to_draw():
    choice = EngineChoice(None, software=False)
    timed(choice, Blobs(100_000), 0.005, None)
    assert choice.consider(Blobs(199_999), PIXELS) is Trial.NOTHING
    timed(choice, Blobs(200_000), 0.01, None)
    assert choice.consider(Blobs(200_000), PIXELS + 1) is Trial.NOTHING
    assert timed(choice, Blobs(200_000), 0.02, 0.004, pixels=2 * PIXELS) is Engine.RASTERIZER


def test_a_persons_choice_wins_and_can_be_given_back():
    choice, blobs = EngineChoice(None, software=False), Blobs(1_000_000)
    timed(choice, blobs, 0.05, 0.006)
    choice.choose(Engine.OPENGL)
    assert choice.engine(blobs) is Engine.OPENGL and choice.why == "as chosen"
    choice.choose(None)
    assert timed(choice, blobs, 0.05, 0.006) is Engine.RASTERIZER


def test_after_a_failure_opengl_goes_on():
    choice, blobs = EngineChoice(None, software=False), Blobs(1_000_000)
    timed(choice, blobs, 0.05, 0.006)
    assert choice.give_up(RuntimeError("CUDA out of memory\nand more")) and choice.engine(blobs) is Engine.OPENGL
    assert choice.why == "the rasterizer failed on the card: CUDA out of memory"
    assert choice.consider(blobs, PIXELS) is Trial.NOTHING
    assert not EngineChoice(Engine.RASTERIZER, software=False).give_up(RuntimeError())


# -- the window, on a card that is pretended ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def context() -> Iterator[Any]:
    try:
        made = moderngl.create_context(standalone=True, backend="egl")
    except Exception as error:
        pytest.skip(f"no OpenGL without a display: {error}")
    yield made
    made.release()


@pytest.fixture
def shown(context: Any, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> Iterator[Viewport]:
    """A window whose OpenGL says that it has a card."""
    monkeypatch.setattr(viewport, "SOFTWARE", ())
    monkeypatch.setattr(engines, "SHARED_FROM", 50)
    monkeypatch.setattr(layer, "Latest", AtOnce)
    with pretended_kernels(), PretendCuda():
        made = Viewport(context)
        told = made.choice.took
        times = {Trial.DRAWING: 0.05, Trial.PAINTING: 0.006}
        monkeypatch.setattr(made.choice, "took", lambda seconds: told(times[made.choice.trial]))
        yield made
        made.close()


@pytest.fixture
def frame(make_ball: Callable[..., GaussianModel]) -> Frame:
    return Frame(model=make_ball(), camera=Camera.orbit(20.0, 10.0), width=96, height=64, finished=True)


def settle(shown: Viewport, frame: Frame) -> None:
    """As the window's loop: a frame for as long as there are news or the picture is not whole. Nothing moves meanwhile."""
    for _ in range(SETTLE_FRAMES):
        shown.show(frame)
        if shown.settled and not shown.has_news:
            return
    pytest.fail(f"the window never comes to rest: {shown.drawn}")


def test_a_card_whose_opengl_is_slow_is_found_out_at_rest(shown: Viewport, frame: Frame) -> None:
    settle(shown, replace(frame, model=frame.model.to("cuda")))
    assert shown.engine is Engine.RASTERIZER and not shown.choosing
    assert shown.drawn.endswith("50.0 ms by OpenGL, 6.0 ms by the rasterizer)")
    painted = shown.read().astype(float)
    shown.set_engine(Engine.OPENGL)
    settle(shown, replace(frame, model=frame.model.to("cuda")))
    assert shown.drawn == "OpenGL (as chosen)"
    assert painted.max() > 128 and np.abs(shown.read() - painted).max() <= 3


def test_the_rasterizer_is_timed_with_the_card_for_itself(
    shown: Viewport, frame: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On an H200 it took 107 ms beside OpenGL's drawing, and 2 ms alone."""
    draws: list[int] = []
    draw = shown._layer.splats.draw
    monkeypatch.setattr(
        shown._layer.splats, "draw", lambda *a, **k: (draws.append(len(shown.choice._seconds)), draw(*a, **k))[1]
    )
    frame = replace(frame, model=frame.model.to("cuda"), moving=True)
    before: dict[int, int] = {}
    for turn in range(40):
        shown.show(replace(frame, camera=Camera.orbit(3.0 * turn, 10.0)))
        if shown.choice.trial is Trial.PAINTING:
            before.setdefault(len(shown.choice._seconds), len(draws))
    assert shown.engine is Engine.RASTERIZER and len(before) == 3
    assert before[2] == before[1], "OpenGL drew while the rasterizer was timed"


def test_under_a_hand_pictures_on_the_card_are_whole(shown: Viewport, frame: Frame) -> None:
    shown.set_engine(Engine.RASTERIZER)
    shown._layer.painter.seconds = 1.0  # however long they take
    frame = replace(frame, model=frame.model.to("cuda"), moving=True, following=True)
    for turn in range(5):
        shown.show(replace(frame, camera=Camera.orbit(10.0 * turn, 10.0)))
    assert shown._layer.shown_camera == Camera.orbit(30.0, 10.0)  # what was asked a frame ago
    assert shown._layer.texture.size == (frame.width, frame.height)


@pytest.mark.parametrize("when", ["in the trial", "later"])
def test_where_the_card_cannot_paint_opengl_draws(
    when: str, shown: Viewport, frame: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("CUDA out of memory")

    frame = replace(frame, model=frame.model.to("cuda"))
    if when == "later":
        settle(shown, frame)
        assert shown.engine is Engine.RASTERIZER
        frame = replace(frame, camera=Camera.orbit(50.0, 10.0))
    monkeypatch.setattr(painter, "rasterize", fails)
    settle(shown, frame)
    settle(shown, frame)
    assert shown.drawn == "OpenGL (the rasterizer failed on the card: CUDA out of memory)"
    assert shown.read().max() > 128
    # Who asks for it is told.
    shown.set_engine(Engine.RASTERIZER)
    with pytest.raises(RuntimeError, match="out of memory"):
        settle(shown, replace(frame, camera=Camera.orbit(70.0, 10.0)))


def test_the_slow_reference_is_no_choice(shown: Viewport, frame: Frame, monkeypatch: pytest.MonkeyPatch) -> None:
    status = engines._library.KernelStatus("splat_raster", "cuda", "reference", "there is no nvcc")
    monkeypatch.setitem(engines._library._loaded, ("splat_raster", "cuda"), status)
    settle(shown, replace(frame, model=frame.model.to("cuda")))
    assert shown.drawn == "OpenGL (the rasterizer failed on the card: there is no nvcc)"


def test_a_trial_that_is_left_keeps_nobody_awake(shown: Viewport, frame: Frame) -> None:
    shown.show(replace(frame, model=frame.model.to("cuda")))
    assert shown.choosing and shown.has_news
    settle(shown, frame)
    assert not shown.has_news and shown.engine is Engine.OPENGL


def test_while_opengl_is_timed_no_frame_waits_for_a_painter(
    context: Any, make_ball: Callable[..., GaussianModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel may be compiled for minutes: the window draws on, and then takes what is quicker."""
    monkeypatch.setattr(viewport, "SOFTWARE", ())
    monkeypatch.setattr(engines, "_many", lambda model: True)
    monkeypatch.setattr(engines, "FRAME_SECONDS", 0.0)
    built = threading.Event()
    monkeypatch.setattr(layer, "need_kernel", lambda: built.wait(SETTLE_SECONDS))
    monkeypatch.setattr(painter.PaintJob, "on_card", True)
    made = Viewport(context)
    frame = Frame(model=make_ball(), camera=Camera.orbit(0.0, 0.0), width=96, height=64)
    deadline, turn = time.monotonic() + SETTLE_SECONDS, 0
    while (made.choosing or turn == 0) and time.monotonic() < deadline:
        camera = Camera.orbit(float(turn), 0.0)
        made.show(replace(frame, camera=camera))
        if made.choice.trial is Trial.PAINTING and not made.choice.alone:
            assert made.shown_camera == camera
            turn += 1
        if turn == 20 and not built.is_set():
            assert made.choosing
            built.set()
        time.sleep(0.002)
    made.close()
    assert turn >= 20 and built.is_set() and not made.choosing
