"""Makes the pictures of docs/window.md: ``python docs/window_screenshots.py``.

Opens the real window on a display of its own (Xvfb) with Mesa's software renderer, does what the captions say, and saves what is seen.
"""

import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZE = (1280, 780)
FOLDER = Path(__file__).resolve().parent / "pictures"
SCRIPT = """# A spotted mushroom: turn its cap, pull it up, give it another colour.
prompt "a blue mushroom with white spots"
seed 7
steps 240
splats 100 in sphere at (0, 0, 0) radius 0.5

part cap  = sphere at (0, 0.28, 0) radius 0.42
part stem = capsule from (0, -0.5, 0) to (0, 0, 0) radius 0.16

at step 10 rotate cap by 15 deg about y
at step 30 drag from (0.3, 0.25, 0.2) to (0.5, 0.45, 0.3) radius 0.2 rigid over 60 steps
from step 5 to 150 ramp guidance.noise_max 0.98 -> 0.4
at step 120 edit cap with "a purple mushroom" for 70 steps
at step 205 paint stem gold
every 60 steps checkpoint
"""


def mushroom():
    """Some nine thousand blobs."""
    import torch

    from interactive3d.runtime.scene.gaussians import GaussianModel

    generator = torch.Generator().manual_seed(4)

    def surface(count, radii, center, low, color):
        way = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
        way[:, 1] = way[:, 1] * (1 - low) / 2 + (1 + low) / 2 if low > -1 else way[:, 1]
        way = torch.nn.functional.normalize(way, dim=-1)
        place = way * torch.tensor(radii) + torch.tensor(center)
        light = 0.72 + 0.28 * (way @ torch.nn.functional.normalize(torch.tensor([0.4, 0.8, 0.5]), dim=0)).clamp(-0.6, 1)
        return place, torch.tensor(color) * light[:, None]

    cap, cap_color = surface(6000, (0.52, 0.34, 0.52), (0.0, 0.16, 0.0), -0.2, (0.20, 0.36, 0.88))
    spots = torch.nn.functional.normalize(
        torch.randn(26, 3, generator=generator).abs() * torch.tensor([1.0, 0.8, 1.0]), dim=-1
    )
    spots[::2, 0] *= -1
    spots[::3, 2] *= -1
    way = torch.nn.functional.normalize(
        (cap - torch.tensor([0.0, 0.16, 0.0])) / torch.tensor([0.52, 0.34, 0.52]), dim=-1
    )
    spotted = (way @ spots.T).amax(dim=1) > 0.975
    cap_color[spotted] = torch.tensor([0.97, 0.96, 0.92]) * cap_color[spotted].amax(dim=1, keepdim=True).clamp(min=0.75)
    stem, stem_color = surface(2200, (0.15, 0.62, 0.15), (0.0, -0.12, 0.0), -2.0, (0.93, 0.87, 0.75))
    keep = stem[:, 1] < 0.12
    gills, gills_color = surface(1500, (0.5, 0.07, 0.5), (0.0, 0.09, 0.0), -2.0, (0.88, 0.70, 0.52))
    mean = torch.cat([cap, stem[keep], gills])
    color = torch.cat([cap_color, stem_color[keep], gills_color])
    count = len(mean)
    return GaussianModel.create(
        mean=mean,
        log_scale=torch.log(0.013 + 0.006 * torch.rand(count, 3, generator=generator)),
        rotation=torch.randn(count, 4, generator=generator),
        color=(color + 0.03 * torch.randn(count, 3, generator=generator)).clamp(0, 1),
        logit_opacity=torch.full((count,), 2.5),
    )


def ornament(path: Path) -> Path:
    """A knot with a striped texture, as a mesh file."""
    import numpy as np
    import trimesh
    from PIL import Image

    long, short = 240, 24
    u, v = np.meshgrid(np.linspace(0, 2 * np.pi, long), np.linspace(0, 2 * np.pi, short), indexing="ij")
    middle = np.stack([np.sin(u) + 2 * np.sin(2 * u), np.cos(u) - 2 * np.cos(2 * u), -np.sin(3 * u)], axis=-1)
    along = np.gradient(middle, axis=0)
    along /= np.linalg.norm(along, axis=-1, keepdims=True)
    side = np.cross(along, [0.0, 0.0, 1.0])
    side /= np.linalg.norm(side, axis=-1, keepdims=True)
    points = middle + 0.55 * (np.cos(v)[..., None] * side + np.sin(v)[..., None] * np.cross(along, side))
    row = np.arange(long * short).reshape(long, short)
    a, b, c, d = row[:-1, :-1], row[1:, :-1], row[1:, 1:], row[:-1, 1:]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    mesh = trimesh.Trimesh(points.reshape(-1, 3), faces, process=False)
    x, y = np.meshgrid(np.arange(512), np.arange(64))
    stripes = ((x // 16 + y // 16) % 2)[..., None]
    texture = np.where(stripes, [230, 170, 60], [40, 90, 140]).astype(np.uint8)
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=Image.fromarray(texture), metallicFactor=0.0)
    uv = np.stack([u / (2 * np.pi), v / (2 * np.pi)], axis=-1).reshape(-1, 2)
    mesh.visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    mesh.export(path)
    return path


def main() -> None:
    """Start the display, then ourselves on it."""
    if "I3D_SCREENSHOTS" not in os.environ:
        read, write = os.pipe()
        server = subprocess.Popen(
            ["Xvfb", "-displayfd", str(write), "-screen", "0", "1600x1000x24"],
            pass_fds=[write],
            stderr=subprocess.DEVNULL,
        )
        os.close(write)
        with os.fdopen(read) as answer:
            name = f":{answer.readline().strip()}"
        try:
            subprocess.run(
                [sys.executable, __file__], env={**os.environ, "DISPLAY": name, "I3D_SCREENSHOTS": "1"}, check=True
            )
        finally:
            server.terminate()
        return
    take()


def take() -> None:
    """Open the window and do what the captions say."""
    from imgui_bundle import ImVec2, hello_imgui, imgui
    from PIL import Image

    from interactive3d.runtime.engine.script import load_script
    from interactive3d.runtime.engine.session import Session
    from interactive3d.runtime.engine.state import RunState
    from interactive3d.runtime.engine.trainer import Trainer
    from interactive3d.runtime.guidance.reference import ReferenceGuidance
    from interactive3d.runtime.output.meshes import mesh_to_blobs
    from interactive3d.runtime.settings import Settings
    from interactive3d.runtime.view.app import Window
    from interactive3d.runtime.view.gestures import Gizmo, Tool
    from interactive3d.runtime.view.meshes import read_mesh
    from interactive3d.runtime.view.orbit import OrbitCamera
    from interactive3d.runtime.view.project import Compare, Project
    from interactive3d.runtime.view.regions import Region, RegionKind
    from interactive3d.runtime.view.studio import Studio
    from interactive3d.runtime.view.worker import Worker

    folder = Path(tempfile.mkdtemp())
    script = folder / "mushroom.sculpt"
    script.write_text(SCRIPT)
    program = load_script(script).program
    assert program is not None
    settings = Settings().set("guidance.size", 32).set("camera.batch", 1).set("repair.steps", 2)
    model = mushroom()
    trainer = Trainer(
        guidance=ReferenceGuidance([("goal", model)]),
        prompt=program.prompt or "",
        negative="",
        seed=7,
        steps=240,
        folder=folder,
        load_blobs=None,
    )
    session = Session(trainer, program.operations, RunState(step=0, model=model, settings=settings))
    studio = Studio(Worker(session), Project(title="mushroom", folder=folder, program=program, script=script))
    FOLDER.mkdir(exist_ok=True)

    def tests(window: Window) -> None:
        engine = hello_imgui.get_imgui_test_engine()
        test = imgui.test_engine.register_test(engine, "docs", "pictures")

        def run(context: imgui.test_engine.TestContext) -> None:
            try:
                pictures(window, context)
            finally:
                window.params.app_shall_exit = True

        test.test_func = run
        imgui.test_engine.get_io(engine).config_run_speed = imgui.test_engine.TestRunSpeed.fast
        imgui.test_engine.queue_test(engine, test)

    def pictures(window: Window, context: imgui.test_engine.TestContext) -> None:
        key = imgui.Key
        # The pointer that the test engine draws is not part of the window.
        imgui.get_io().mouse_draw_cursor = False

        def at(x: float, y: float) -> ImVec2:
            view = window.view
            return ImVec2(view.origin[0] + x * view.size[0], view.origin[1] + y * view.size[1])

        def settle() -> None:
            context.yield_(2)
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and (
                not studio.current or studio.worker.stepping or not window.viewport.settled or studio.worker.running
            ):
                context.yield_()
            context.yield_(3)

        def shoot(name: str) -> None:
            path = FOLDER / f"{name}.png"
            window.capture_to = path
            while window.capture_to is not None:
                context.yield_()
            with Image.open(path) as seen:
                seen.convert("RGB").save(path, optimize=True)

        def press(chord: int) -> None:
            context.key_press(chord)
            context.yield_(2)

        studio.worker.step(12)
        settle()
        press(key.l)
        context.mouse_move_to_pos(at(0.2, 0.2))
        context.mouse_down(0)
        for place in ((0.5, 0.03), (0.8, 0.2), (0.8, 0.5), (0.5, 0.57), (0.2, 0.5)):
            context.mouse_move_to_pos(at(*place))
            context.yield_()
        context.mouse_up(0)
        settle()
        press(key._2)
        window.show_panel("Settings")
        context.mouse_move_to_pos(at(0.03, 0.97))
        studio.notices.clear()
        settle()
        shoot("window")

        studio.gizmo = Gizmo.NONE
        studio.select(None)
        for panel in ("Script", "Plots", "Object"):
            window.show_panel(panel)
            context.yield_(2)
        studio.tool = Tool.DRAG
        settle()
        context.mouse_move_to_pos(at(0.62, 0.32))
        context.mouse_down(0)
        for place in ((0.66, 0.28), (0.72, 0.22), (0.76, 0.18)):
            context.mouse_move_to_pos(at(*place))
            context.yield_()
        settle()
        shoot("drag")
        context.mouse_up(0)
        studio.undo()
        settle()

        studio.tool = Tool.SEGMENT
        context.mouse_move_to_pos(at(0.5, 0.74))
        context.mouse_click(0)
        while studio.segmenting.proposal is None:
            studio.notices.clear()
            context.yield_()
        settle()
        shoot("segment")
        studio.segmenting.cancel()

        studio.tool = Tool.ORBIT
        studio.select(None)
        studio.new_region(RegionKind.BOX)
        studio.place_region(Region(kind=RegionKind.BOX, center=(0.0, 0.26, 0.0), half=(0.52, 0.26, 0.52)))
        studio.camera = OrbitCamera(azimuth=25.0, elevation=15.0, distance=2.6)
        window.parts.part_name = "cap_box"
        for panel in ("Parts", "Script"):
            window.show_panel(panel)
            context.yield_(2)
        context.set_ref("Parts")
        context.scroll_to_bottom("")
        context.set_ref("")
        studio.notices.clear()
        context.mouse_move_to_pos(at(0.03, 0.97))
        settle()
        shoot("region")
        studio.place_region(None)
        studio.gizmo = Gizmo.NONE

        for azimuth, elevation, distance in ((-30.0, 12.0, 1.5), (30.0, 30.0, 1.4), (95.0, 8.0, 1.6)):
            view = OrbitCamera(azimuth=azimuth, elevation=elevation, distance=distance)
            studio.set_path(studio.path.with_key(view))
        studio.camera = OrbitCamera(azimuth=25.0, elevation=50.0, distance=7.4)
        window.show_panel("Cameras")
        window.cameras.chosen = 1
        studio.show_step_cameras = True
        studio.notices.clear()
        settle()
        shoot("cameras")
        studio.set_path(type(studio.path)())
        studio.show_step_cameras = False
        studio.reset_view()

        studio.mesh = read_mesh(ornament(folder / "ornament.glb"))
        studio.compare = Compare.BLOBS
        blobs = mesh_to_blobs(folder / "ornament.glb", 6000)
        shown = session.latest()
        # As `view ornament.glb` would open it.
        session._state = dataclasses.replace(shown, model=blobs)
        studio.show_parts = False
        window.show_panel("Record")
        studio.notices.clear()
        settle()
        shoot("mesh")
        studio.mesh, studio.compare, studio.show_parts = None, Compare.NOTHING, True
        session._state = shown

        window.script.editor.set_text(SCRIPT.replace("paint stem gold", "paint stam gold"))
        time.sleep(0.6)
        context.yield_(3)
        time.sleep(0.6)
        for panel in ("Record", "Timeline", "Object"):
            window.show_panel(panel)
            context.yield_(2)
        window.show_keys()
        studio.notices.clear()
        settle()
        shoot("keys")

    Window(studio, config=folder / "config", size=SIZE, tests=tests).run()
    studio.close()


if __name__ == "__main__":
    main()
