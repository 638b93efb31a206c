"""A person's session with the window, driven by the Dear ImGui Test Engine in a process of its own; what happened goes to a JSON file.

Run as ``python driver.py FOLDER SCENE [SECONDS]``; the tests beside it start it under Xvfb and read what it wrote.
"""

import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from imgui_bundle import ImVec2, hello_imgui, imgui
from PIL import Image

from interactive3d.dsl import format_operation
from interactive3d.dsl.operations import Capsule, Ellipsoid, Shape
from interactive3d.runtime.engine.run import Run
from interactive3d.runtime.engine.script import load_script
from interactive3d.runtime.engine.session import Session
from interactive3d.runtime.engine.snapshots import digest
from interactive3d.runtime.engine.state import RunState
from interactive3d.runtime.engine.trainer import Trainer
from interactive3d.runtime.guidance.reference import ReferenceGuidance
from interactive3d.runtime.output.splat_files import write_splats
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.scene.initial import blobs_in_shape
from interactive3d.runtime.settings import InitSettings, Settings
from interactive3d.runtime.view.app import Window
from interactive3d.runtime.view.project import Project
from interactive3d.runtime.view.regions import RegionKind
from interactive3d.runtime.view.studio import Studio
from interactive3d.runtime.view.worker import Worker

sys.path.insert(0, str(Path(__file__).parent))
from scenes import PANELS, closing, features, panels, smoke
from scenes_more import high_dpi, layout, refining, script, segmenting, sizes, step_cameras

SCRIPT = """prompt "a blue mushroom"
seed 7
steps 24
splats 100 in sphere at (0, 0, 0) radius 0.5

part cap = sphere at (0, 0.25, 0) radius 0.45

at step 2 rotate cap by 10 deg about y
at step 20 paint cap red
"""
FIELD_SCRIPT = """prompt "a blue mushroom"
seed 7
steps 60
splats 100 in sphere at (0, 0, 0) radius 0.5
set distill.rays 512
set distill.size 64
set field.levels 5
set field.capacity 4096
set field.step 0.03
set refine.levels 3
set refine.capacity 4096
set refine.table_rate 0.2
set refine.network_rate 0.05

part cap = sphere at (0, 0.25, 0) radius 0.45

at step 1 distill over 40 steps
"""
"""Stage II as small as a field can be that still looks like something."""

PATIENCE = 120.0
SIZE = (1000, 640)
PANELS_SIZE = (1280, 900)
SMALL_SIZE = (780, 490)
"""As many points as fit the display where each has two pixels a side."""


def blobs(shape: Shape, count: int, color: tuple[float, float, float], seed: int) -> GaussianModel:
    generator = torch.Generator().manual_seed(seed)
    model = blobs_in_shape(shape, count, InitSettings(scale=0.02, opacity=0.9), generator)
    return model.with_columns({"color": torch.tensor(color).expand(count, 3).contiguous()})


def mushroom(count: int = 900) -> GaussianModel:
    cap = blobs(Ellipsoid(center=(0.0, 0.25, 0.0), radii=(0.5, 0.28, 0.5)), 2 * count // 3, (0.15, 0.35, 0.85), 0)
    return cap.append(blobs(Capsule(a=(0, -0.5, 0), b=(0, 0.1, 0), radius=0.14), count // 3, (0.9, 0.85, 0.75), 1))


def make_session(script: Path) -> tuple[Session, object]:
    """The session that the window and its replay without a window both start from."""
    program = load_script(script).program
    assert program is not None
    settings = Settings().set("guidance.size", 24).set("camera.batch", 1).set("repair.steps", 2)
    for path, value in program.settings:
        settings = settings.set(path, value)
    trainer = Trainer(
        guidance=ReferenceGuidance([("goal", mushroom(300))]),
        prompt=program.prompt or "",
        negative="",
        seed=7,
        steps=program.steps or 24,
        folder=script.parent,
        load_blobs=lambda path: mushroom(60),
    )
    return Session(trainer, program.operations, RunState(step=0, model=mushroom(), settings=settings)), program


class Person:
    """What a person can do, in the words of a test."""

    def __init__(self, window: Window, context: imgui.test_engine.TestContext) -> None:
        self.window, self.context = window, context
        self.studio = window.studio

    def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited in vain: {what}")
            self.context.yield_()

    def settle(self) -> None:
        self.context.yield_(2)
        self.until(lambda: self.studio.current and not self.studio.worker.stepping, "the scene")
        self.until(lambda: self.window.viewport.settled, "the picture")
        self.context.yield_(2)

    def at(self, x: float, y: float) -> ImVec2:
        """A place in the viewport, as shares of its size."""
        view = self.window.view
        return ImVec2(view.origin[0] + x * view.size[0], view.origin[1] + y * view.size[1])

    def drag(self, *places: tuple[float, float], button: int = 0) -> None:
        self.context.mouse_move_to_pos(self.at(*places[0]))
        self.context.mouse_down(button)
        for place in places[1:]:
            self.context.mouse_move_to_pos(self.at(*place))
            self.context.yield_()
        self.context.mouse_up(button)
        self.context.yield_(2)

    def press(self, chord: int) -> None:
        self.context.key_press(chord)
        self.context.yield_(2)


def persons_session(window: Window, context: imgui.test_engine.TestContext, told: dict) -> None:
    person, studio, key = Person(window, context), window.studio, imgui.Key
    person.settle()
    told["renderer"] = window.viewport.renderer

    # Look around.
    start = studio.camera
    person.drag((0.5, 0.5), (0.6, 0.45), (0.7, 0.4))
    told["turned"] = studio.camera.azimuth - start.azimuth, studio.camera.elevation - start.elevation
    context.mouse_wheel_y(2.0)
    context.yield_(2)
    told["zoomed"] = studio.camera.distance / start.distance
    person.press(key.mod_shift | key.f)
    told["reset"] = studio.camera == start or abs(studio.camera.azimuth - 25.0) < 1e-6

    # Take four steps, one at a time.
    context.mouse_move_to_pos(person.at(0.05, 0.9))
    for number in range(1, 5):
        person.press(key.period)
        person.until(lambda number=number: studio.worker.latest().step >= number, "a step")
    person.until(lambda: not studio.worker.running and not studio.worker.stepping, "the pause")
    told["script_effects"] = [e.text for e in studio.worker.latest().effects]

    # Select the cap by a lasso, take the stem off with ctrl.
    person.press(key.l)
    told["tool"] = studio.tool.value
    person.drag((0.2, 0.15), (0.5, 0.05), (0.8, 0.15), (0.85, 0.5), (0.5, 0.62), (0.15, 0.5))
    person.settle()
    told["lasso_count"] = studio.scene.selected_count
    told["blobs"] = len(studio.scene.model)
    selected = studio.scene.mean[studio.scene.selected]
    told["lasso_lowest"] = float(selected[:, 1].min())

    # Undo and redo the selection.
    person.press(key.mod_ctrl | key.z)
    told["undone_selection"] = studio.selection is None
    person.press(key.mod_ctrl | key.y)
    person.settle()
    told["redone_count"] = studio.scene.selected_count

    # Move it with the gizmo: pull the arrow that points up.
    before = digest(studio.worker.latest())
    person.press(key._1)
    person.settle()
    pivot = studio.scene.selected_ball.center
    projection = window.view.projection
    x, y = projection.pixels(np.array([[pivot[0], pivot[1], pivot[2]]]))[0][0] / (projection.width, projection.height)
    # The arrow is as long as a gizmo is large in clip space.
    tip = 0.7 * 0.16 * projection.width / 2 / projection.height
    mean_before = studio.scene.mean[studio.scene.selected].mean(axis=0)
    count_before = studio.scene.selected_count
    context.mouse_move_to_pos(person.at(x, y - tip))
    context.yield_(2)
    person.drag((x, y - tip), (x, y - tip - 0.05), (x, y - tip - 0.1))
    person.until(lambda: bool(studio.worker.latest().journal), "the move in the journal")
    person.settle()
    told["gizmo_moved"] = (studio.scene.mean[studio.scene.selected].mean(axis=0) - mean_before).tolist()
    told["gizmo_followed"] = studio.scene.selected_count / count_before
    told["gizmo_text"] = [format_operation(op) for op in studio.worker.latest().journal]
    person.press(key.mod_ctrl | key.z)
    person.until(lambda: digest(studio.worker.latest()) == before, "the exact undo of the move")
    told["undo_exact"] = True
    person.press(key.escape)

    # Drag rigidly with the drag tool.
    person.press(key.x)
    studio.drag.steps = 4
    person.settle()
    person.drag((0.5, 0.35), (0.58, 0.3), (0.66, 0.28))
    person.until(lambda: len(studio.worker.latest().journal) == 1, "the drag in the journal")
    told["drag_text"] = [format_operation(op) for op in studio.worker.latest().journal]
    step = studio.worker.latest().step
    studio.worker.step(8)
    person.until(lambda: studio.worker.latest().step == step + 8, "eight steps")
    told["drag_effects"] = [(e.text, e.refused) for e in studio.worker.latest().effects]

    # Change a learning rate in the panel.
    context.set_ref("Settings")
    context.item_input_value("**/lr.position/##value", 0.002)
    person.until(lambda: studio.worker.latest().settings.lr.position == 0.002, "the setting")
    told["rate"] = studio.worker.latest().settings.lr.position

    # Edit the script on disk: another colour at step 50.
    script = studio.project.script
    script.write_text(SCRIPT.replace("paint cap red", "paint cap green"))
    person.until(lambda: "green" in window.script.editor.get_text(), "the changed script")
    person.until(lambda: any(" kept" in text for _, _, text in studio.log), "the new plan")
    told["step_after_edit"] = studio.worker.latest().step
    script.write_text(SCRIPT.replace("paint cap", "pant cap"))
    person.until(lambda: bool(window.script.diagnostics), "the diagnostics")
    told["diagnostics"] = [d.message for d in window.script.diagnostics]
    told["program_kept"] = any("paint" in format_operation(op) for op in studio.worker.session.operations)
    script.write_text(SCRIPT.replace("paint cap red", "paint cap green"))
    person.until(lambda: not window.script.diagnostics, "the mended script")

    person.until(lambda: not studio.worker.running and not studio.worker.stepping, "the replay")

    # Record a turntable while the run goes on to its end.
    window.recording.seconds, window.recording.width, window.recording.height = 0.5, 64, 48
    window.recording.format, window.recording.fps = 2, 20
    window.recording.start()
    person.press(key.space)
    person.until(lambda: studio.worker.session.finished, "the end of the run")
    person.until(lambda: window.recording.recording is None, "the turntable")
    told["turntable"] = [p.name for p in studio.project.folder.glob("turntable*")]
    person.press(key.f2)
    told["pictures"] = [p.name for p in studio.project.folder.glob("view_*.png")]
    person.press(key.f1)
    context.yield_(3)
    # From the root: a bare name would be looked for inside the panel that the last reference was set to.
    told["keys_window"] = context.window_info("//Keys").id_ != 0
    person.press(key.f1)
    window.actions.save_session()
    told["session"] = (studio.project.folder / "session.sculpt").read_text()
    told["digest"] = digest(studio.worker.latest())
    told["effects"] = [(e.text, e.refused) for e in studio.worker.latest().effects]
    person.settle()


def memory() -> int:
    """Bytes of this process that lie in memory; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    except OSError:
        return 0


def soak(window: Window, context: imgui.test_engine.TestContext, told: dict, seconds: float) -> None:
    """Anything a hand may do, at random; only what a mouse and a keyboard can do."""
    person, random_ = Person(window, context), random.Random(5)
    studio, key = window.studio, imgui.Key
    keys = [key.v, key.c, key.r, key.l, key.b, key.k, key.x, key._1, key._2, key._3, key.f, key.g, key.escape, key.h]
    keys += [key.tab, key.p, key.period, key.m, key.m, key.enter, key.t, key.o]
    chords = [
        key.mod_ctrl | key.z,
        key.mod_ctrl | key.y,
        key.mod_ctrl | key.i,
        key.mod_ctrl | key.a,
        key.mod_shift | key.g,
        key.mod_shift | key.h,
    ]
    begun, deeds = time.monotonic(), 0
    weights: list[tuple[float, int]] = []
    studio.worker.run()
    while time.monotonic() < begun + seconds:
        deed = random_.random()
        if deed < 0.35:
            places = [(random_.uniform(0.1, 0.9), random_.uniform(0.1, 0.9)) for _ in range(random_.randint(2, 5))]
            person.drag(*places, button=random_.choice([0, 0, 0, 1]))
        elif deed < 0.80:
            person.press(random_.choice(keys + chords))
        elif deed < 0.85:
            window.show_panel(random_.choice(PANELS[1:]))
            context.yield_(2)
        elif deed < 0.88:
            context.mouse_move_to_pos(person.at(random_.uniform(0.2, 0.8), random_.uniform(0.2, 0.8)))
            context.mouse_click(0)
        elif deed < 0.92:
            context.mouse_move_to_pos(person.at(0.5, 0.5))
            context.mouse_wheel_y(random_.uniform(-3, 3))
        elif deed < 0.93:
            studio.new_region(random_.choice(list(RegionKind)))
        else:
            person.press(key.space)
        if studio.worker.session.finished or len(studio.worker.latest().model) < 50:
            studio.worker.go_to(random_.randint(0, 10))
        deeds += 1
        if deeds % 20 == 0:
            weights.append((time.monotonic() - begun, memory()))
        context.yield_()
    told["deeds"] = deeds
    told["memory"] = weights


SCENES = {
    "session": persons_session,
    "features": features,
    "panels": panels,
    "closing": closing,
    "smoke": smoke,
    "segmenting": segmenting,
    "layout": layout,
    "refining": refining,
    "script": script,
    "high_dpi": high_dpi,
    "step_cameras": step_cameras,
    "sizes": sizes,
    "sizes_large": sizes,
}


def show(studio: Studio, scene: str, told: dict, seconds: float) -> Window:
    """The window with a scene played in it; it closes itself at the scene's end."""

    def tests(window: Window) -> None:
        engine = hello_imgui.get_imgui_test_engine()
        test = imgui.test_engine.register_test(engine, "window", scene)

        def run(context: imgui.test_engine.TestContext) -> None:
            try:
                if scene == "soak":
                    soak(window, context, told, seconds)
                elif scene == "session":
                    persons_session(window, context, told)
                else:
                    SCENES[scene](window, context, told, Person(window, context))
                told["done"] = True
            except BaseException as error:
                told["error"] = repr(error)
                raise
            finally:
                window.params.app_shall_exit = True

        test.test_func = run
        imgui.test_engine.get_io(engine).config_run_speed = imgui.test_engine.TestRunSpeed.fast
        imgui.test_engine.get_io(engine).config_verbose_level = imgui.test_engine.TestVerboseLevel.error
        imgui.test_engine.queue_test(engine, test)

    window = Window(
        studio, config=studio.project.folder / "config", size=PANELS_SIZE if scene == "panels" else SIZE, tests=tests
    )
    if scene in ("high_dpi", "sizes", "sizes_large"):
        window.params.app_window_params.window_geometry.size = SMALL_SIZE
    if scene in ("high_dpi", "sizes_large"):
        window.params.dpi_aware_params.dpi_window_size_factor = 2.0
    if scene in ("sizes", "sizes_large"):
        window.params.app_window_params.restore_previous_geometry = True
    errors: set[str] = set()

    def look() -> None:
        # In the window's thread, which alone has the OpenGL context.
        if window.viewport is not None:
            errors.add(window.viewport.context.error)

    window.each_frame = look
    window.run()
    told["gl_errors"] = sorted(errors)
    frames = 1000 * np.array(studio.frame_seconds)
    told["frames"] = {"count": len(frames), "median": float(np.median(frames)), "p99": float(np.percentile(frames, 99))}
    told["failures"] = studio.failures
    return window


def close_in_mid_step(folder: Path, told: dict) -> None:
    """A whole run whose window is closed while a step is under way, then gone on with to its end without a window."""
    write_splats(mushroom(300), folder / "goal.ply")
    script = folder / "mushroom.sculpt"
    script.write_text(SCRIPT + 'guidance reference "goal.ply"\nset guidance.size 24\nset camera.batch 1\n')
    program = load_script(script).program
    assert program is not None

    def drive(session: Session) -> object:
        studio = Studio(
            Worker(session), Project(title="mushroom", folder=folder / "out", program=program, script=script)
        )
        show(studio, "closing", told, 0.0)
        studio.close()
        return program

    stopped = Run(program, script, folder / "out").go(drive)
    told["reached"], told["complete"], told["digest"] = stopped.state.step, stopped.complete, stopped.digest
    resumed = Run(program, script, folder / "out", resume=True)
    told["resumed_at"], told["resumed_digest"] = resumed.session.latest().step, digest(resumed.session.latest())
    told["resumed_journal"] = [format_operation(op) for op in resumed.session.latest().journal]
    told["ended"] = resumed.go().complete


def main(folder: Path, scene: str, seconds: float) -> None:
    told: dict = {"done": False}
    if scene == "closing":
        close_in_mid_step(folder, told)
    else:
        script = folder / "mushroom.sculpt"
        script.write_text(FIELD_SCRIPT if scene == "refining" else SCRIPT)
        session, program = make_session(script)
        studio = Studio(Worker(session), Project(title="mushroom", folder=folder, program=program, script=script))
        show(studio, scene, told, seconds)
        Image.fromarray(hello_imgui.final_app_window_screenshot()).save(folder / "last.png")
        studio.close()
    (folder / "told.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]) if len(sys.argv) > 3 else 0.0)
