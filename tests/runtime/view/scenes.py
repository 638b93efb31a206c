"""More that a person does with the window, for ``driver.py``: features one by one, every panel's picture, a window closed in mid-step."""

import time
from collections import deque
from pathlib import Path

import numpy as np
from imgui_bundle import imgui
from PIL import Image

from interactive3d.dsl import format_operation
from interactive3d.dsl.operations import Paint
from interactive3d.runtime.view.app import Window
from interactive3d.runtime.view.gestures import Tool
from interactive3d.runtime.view.orbit import OrbitCamera
from interactive3d.runtime.view.panels.recording_panel import Film
from interactive3d.runtime.view.project import Compare
from interactive3d.runtime.view.viewport import Engine

PANELS = ("Object", "Timeline", "Plots", "Log", "Parts", "Record", "Cameras", "About", "Settings", "Script")
SLOW_SECONDS = 2.0


def smoke(window: Window, context: imgui.test_engine.TestContext, told: dict, person) -> None:
    """Open, show the object, turn it a little, close."""
    person.settle()
    start = window.studio.camera
    person.drag((0.5, 0.5), (0.6, 0.5))
    told["turned"] = window.studio.camera != start


def features(window: Window, context: imgui.test_engine.TestContext, told: dict, person) -> None:
    studio, key = window.studio, imgui.Key
    person.settle()

    # Select the cap by its colour.
    person.press(key.k)
    context.mouse_move_to_pos(person.at(0.5, 0.35))
    context.mouse_click(0)
    context.yield_(2)
    person.settle()
    told["color_count"], told["color_part"] = studio.scene.selected_count, type(studio.selection).__name__
    picked = studio.scene.model.color[studio.scene.selected].mean(0).tolist()
    told["color_blue"] = picked[2] > picked[0] + 0.3
    person.press(key.mod_shift | key.g)
    person.settle()
    told["grown"] = studio.scene.selected_count
    person.press(key.mod_ctrl | key.g)
    person.press(key.mod_ctrl | key.i)
    person.settle()
    told["inverted"] = studio.scene.selected_count
    person.press(key.h)
    person.settle()
    told["hidden"] = int(studio.scene.hidden.sum())
    person.press(key.mod_ctrl | key.z)
    person.settle()
    told["hide_undone"] = studio.hidden is None and studio.selection is not None
    person.press(key.escape)
    person.press(key.escape)

    # A region: placed by a button, pulled upwards by the gizmo, scaled, made a part of the script.
    context.set_ref("Parts")
    context.item_click("Sphere")
    person.settle()
    start = studio.region
    told["region"] = start is not None
    pull(window, context, person, start.center)
    told["region_moved"] = (np.subtract(studio.region.center, start.center)).tolist()
    told["region_radius"] = studio.region.half[0] / start.half[0]
    person.press(key.mod_ctrl | key.z)
    told["region_undone"] = studio.region == start
    person.press(key.mod_ctrl | key.y)
    window.parts.part_name = "bump"
    context.item_click("Make a part")
    person.until(lambda: any(p.name == "bump" for p in studio.project.program.parts), "the part")
    told["script"] = studio.project.script.read_text()
    context.item_click("Refine")
    context.yield_(2)
    told["refine_said"] = studio.notices[-1].text
    context.item_click("Take away")
    told["region_gone"] = studio.region is None
    studio.gizmo = type(studio.gizmo).NONE

    # A camera path: three views added, played, filmed; and a timelapse while the run goes on.
    context.set_ref("")
    for azimuth in (0.0, 40.0, 90.0):
        studio.camera = OrbitCamera(azimuth=azimuth, elevation=10.0, distance=2.5)
        context.yield_()
        person.press(key.p)
    told["keys"] = [k.camera.azimuth for k in studio.path.keys]
    window.show_panel("Cameras")
    context.yield_(3)
    context.set_ref("Cameras")
    context.item_click("**/###play")
    before = studio.camera
    person.until(lambda: studio.camera != before, "the path to be played")
    context.item_click("**/###play")
    told["played"] = True
    window.show_panel("Record")
    context.yield_(3)
    window.recording.choose(Film.PATH)
    window.recording.width, window.recording.height, window.recording.fps = 64, 48, 10
    window.recording.path_seconds, window.recording.format = 0.5, 2
    context.set_ref("Record")
    context.item_click("**/###record")
    person.until(lambda: window.recording.recording is None, "the film along the path")
    window.recording.choose(Film.TIMELAPSE)
    window.recording.every = 2
    context.yield_(2)
    context.item_click("**/###record")
    studio.worker.run(6)
    person.until(lambda: studio.worker.latest().step >= 6, "six steps")
    person.until(lambda: window.recording.recording.done >= 3, "three frames")
    context.item_click("Finish")
    person.until(lambda: window.recording.recording is None, "the timelapse")
    told["films"] = sorted(p.name for p in studio.project.folder.glob("*.gif"))
    with Image.open(studio.project.folder / "timelapse.gif") as film:
        told["timelapse_frames"] = film.n_frames
    context.item_click("**/###copy picture")
    context.yield_(2)
    told["copy_said"] = studio.notices[-1].text

    # Before and after; the other engine.
    context.set_ref("Timeline")
    context.item_click("Compare with now")
    studio.worker.run(9)
    person.until(lambda: studio.worker.latest().step >= 9, "three more steps")
    person.settle()
    told["compared"] = studio.compare is Compare.PINNED and studio.pinned.step < studio.scene.state.step
    context.item_click("Stop comparing")
    window.show_panel("About")
    context.yield_(3)
    context.set_ref("About")
    for engine in (Engine.OPENGL, Engine.RASTERIZER):
        context.item_click(f"draw with {engine.value}")
        person.settle()
    told["engine"] = window.viewport.engine.value
    told["drawn"] = window.viewport.drawn
    context.item_click("draw with the quicker one")
    person.settle()
    told["drawn_again"] = window.viewport.drawn

    # A step of two seconds: keys, camera and frames go on.
    guidance = studio.worker.session.trainer.guidance
    score = guidance.score

    def slowly(request):
        time.sleep(SLOW_SECONDS)
        return score(request)

    object.__setattr__(guidance, "score", slowly)
    context.set_ref("")
    context.mouse_move_to_pos(person.at(0.5, 0.5))
    studio.worker.step(1)
    person.until(lambda: studio.worker.stepping, "the slow step")
    frames, waits = [], []
    grid = studio.grid
    context.yield_()
    while studio.worker.stepping and studio.worker.busy_seconds < SLOW_SECONDS - 0.3:
        started = time.perf_counter()
        studio.camera = studio.camera.orbited(3.0, 0.0)
        camera = studio.camera.camera()
        context.yield_()
        frames.append(time.perf_counter() - started)
        while window.viewport.shown_camera != camera and studio.worker.stepping:
            context.yield_()
        waits.append(time.perf_counter() - started)
    person.press(key.g)
    told["slow_key"] = studio.grid is not grid
    told["slow_frames"] = [1000 * float(v) for v in (np.median(frames), np.max(frames))]
    told["slow_waits"] = [1000 * float(v) for v in (np.median(waits), np.max(waits))]
    object.__setattr__(guidance, "score", score)
    person.until(lambda: not studio.worker.running and not studio.worker.stepping, "the end of the slow step")


def pull(window: Window, context: imgui.test_engine.TestContext, person, pivot) -> None:
    """Pull the gizmo's upward arrow by a tenth of the viewport's height."""
    projection = window.view.projection
    x, y = projection.pixels(np.array([pivot]))[0][0] / (projection.width, projection.height)
    tip = 0.7 * 0.16 * projection.width / 2 / projection.height
    context.mouse_move_to_pos(person.at(x, y - tip))
    context.yield_(2)
    person.drag((x, y - tip), (x, y - tip - 0.05), (x, y - tip - 0.1))
    person.settle()


def panels(window: Window, context: imgui.test_engine.TestContext, told: dict, person) -> None:
    """A picture of each panel in a state that is the same on every machine."""
    studio = window.studio
    imgui.get_io().mouse_draw_cursor = False
    person.settle()
    studio.set_path(studio.path.with_key(studio.camera).with_key(OrbitCamera(azimuth=90.0)))
    studio.select(studio.project.program.parts[0])
    studio.submit(Paint(part=studio.selection, color=(0.1, 0.6, 0.3)))
    person.until(lambda: bool(studio.worker.latest().effects), "the paint")
    studio.say("a word to the user")
    studio._draw_curves = lambda: None
    studio.curves.extend((step, 3.0 / (1 + 0.1 * step), 900 + step, 2.0) for step in range(1, 60))
    window.settings.search = "lr."
    # What differs from one machine or day to the next: the frames' times, and what the machine is.
    studio.frame_seconds = Still([0.02] * 50, maxlen=50)
    table = window.about._table
    window.about._table = lambda name, rows: table(name, dict.fromkeys(rows, "as it is"))
    folder = studio.project.folder / "panels"
    folder.mkdir()
    context.mouse_move_to_pos(person.at(0.97, 0.97))
    for name in PANELS:
        window.show_panel(name)
        context.yield_(4)
        studio.notices.clear()
        person.settle()
        place = imgui.internal.find_window_by_name(name)
        _shoot(window, context, folder / f"{name.lower()}.png", place.pos, place.size)
    window.show_panel("Object")
    for name, show in (("keys", window.show_keys), ("palette", window.palette.open)):
        show()
        context.yield_(4)
        place = imgui.internal.find_window_by_name("Keys" if name == "keys" else "Command palette")
        _shoot(window, context, folder / f"{name}.png", place.pos, place.size)
        if name == "keys":
            window.show_keys()
            context.yield_(2)
    # What comes and goes: masks that wait to be accepted, and something that went wrong.
    window.palette.shown = False
    studio.tool = Tool.SEGMENT
    context.mouse_move_to_pos(person.at(0.5, 0.72))
    context.mouse_click(0)
    person.until(lambda: studio.segmenting.proposal is not None, "the masks")
    context.mouse_move_to_pos(person.at(0.97, 0.97))
    studio.notices.clear()
    person.settle()
    place = imgui.internal.find_window_by_name("Object")
    _shoot(window, context, folder / "masks.png", place.pos, place.size)
    studio.segmenting.cancel()
    studio.fail("lr.position: expected at most 1, got 7", "as Python tells it")
    context.yield_(4)
    place = imgui.internal.find_window_by_name("Something went wrong")
    _shoot(window, context, folder / "failure.png", place.pos, place.size)
    studio.failures.clear()
    told["panels"] = sorted(p.stem for p in folder.glob("*.png"))


class Still(deque):
    """A list of times that nothing is added to."""

    def append(self, value: float) -> None:
        """Leave it as it is."""


def _shoot(window: Window, context: imgui.test_engine.TestContext, path: Path, pos, size) -> None:
    window.capture_to = path
    while window.capture_to is not None:
        context.yield_()
    with Image.open(path) as seen:
        box = (int(pos.x), int(pos.y), int(pos.x + size.x), int(pos.y + size.y))
        seen.convert("RGB").crop(box).save(path, optimize=True)


def closing(window: Window, context: imgui.test_engine.TestContext, told: dict, person) -> None:
    """Change something, and close the window while a step is under way."""
    studio = window.studio
    person.settle()
    studio.worker.run(3)
    person.until(lambda: studio.worker.latest().step >= 3, "three steps")
    studio.select(studio.project.program.parts[0])
    studio.submit(Paint(part=studio.selection, color=(0.0, 1.0, 0.0)))
    person.until(lambda: bool(studio.worker.latest().journal), "the paint")
    guidance = studio.worker.session.trainer.guidance
    score = guidance.score

    def slowly(request):
        time.sleep(SLOW_SECONDS)
        return score(request)

    object.__setattr__(guidance, "score", slowly)
    studio.worker.run()
    person.until(lambda: studio.worker.stepping, "the slow step")
    told["closed_in_step"] = studio.worker.latest().step
    told["journal"] = [format_operation(op) for op in studio.worker.latest().journal]
