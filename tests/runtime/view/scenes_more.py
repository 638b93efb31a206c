"""Still more that a person does with the window, for ``driver.py``: clicks that are segmented, cameras of the optimizer, refined regions."""

import numpy as np
from imgui_bundle import ImVec2, imgui
from PIL import Image

from interactive3d.dsl import format_operation
from interactive3d.dsl.operations import Paint
from interactive3d.dsl.printer import part as format_part
from interactive3d.runtime.engine.snapshots import digest
from interactive3d.runtime.view.app import Window
from interactive3d.runtime.view.gestures import Tool
from interactive3d.runtime.view.orbit import OrbitCamera


def click_at(context: imgui.test_engine.TestContext, person, x: float, y: float, held: int = 0) -> None:
    """A click on a place of the viewport, with a modifier held."""
    context.mouse_move_to_pos(person.at(x, y))
    if held:
        context.key_down(held)
    context.mouse_click(0)
    if held:
        context.key_up(held)
    context.yield_(2)


def picture(window: Window, context: imgui.test_engine.TestContext, name: str) -> None:
    """Save the whole window as it is seen."""
    path = window.studio.project.folder / f"{name}.png"
    window.capture_to = path
    while window.capture_to is not None:
        context.yield_()
    with Image.open(path) as seen:
        seen.convert("RGB").save(path)


def segmenting(window: Window, context: imgui.test_engine.TestContext, told: dict, person) -> None:
    """Click, see the masks, add and take away, accept, paint, undo, make a part, cancel."""
    studio, key = window.studio, imgui.Key
    clicks = studio.segmenting
    person.settle()
    person.press(key.m)
    told["tool"] = studio.tool.value

    # The stem, then what lies beside the object, then the cap added, then taken away.
    click_at(context, person, 0.5, 0.72)
    told["waited_for_nothing"] = clicks.waiting
    person.until(lambda: clicks.proposal is not None, "the masks of the stem")
    told["views"] = len(clicks.proposal.views)
    told["stem"] = clicks.proposal.count
    red = studio.scene.model.color[clicks.proposal.rows][:, 0]
    told["stem_is_stem"] = float((red > 0.5).float().mean())
    person.settle()
    picture(window, context, "segment")
    click_at(context, person, 0.93, 0.2, key.mod_shift)
    person.until(lambda: not clicks.waiting, "the click beside the object")
    told["missed"] = studio.notices[-1].text
    told["kept_after_miss"] = clicks.proposal.count
    click_at(context, person, 0.42, 0.28, key.mod_shift)
    person.until(lambda: not clicks.waiting, "the masks of both")
    told["both"] = clicks.proposal.count
    click_at(context, person, 0.42, 0.28, key.mod_ctrl)
    person.until(lambda: not clicks.waiting, "the masks without the cap")
    told["less"] = clicks.proposal.count
    told["less_text"] = clicks.text

    # From elsewhere the blobs stay marked and the mask is not drawn where it does not belong.
    person.drag((0.3, 0.6), (0.4, 0.6))
    person.settle()
    picture(window, context, "segment_turned")

    # Cancelled by escape; made anew; accepted by enter; painted; undone in order.
    person.press(key.escape)
    told["cancelled"] = not clicks.active and studio.selection is None
    click_at(context, person, 0.5, 0.72)
    person.until(lambda: clicks.proposal is not None and not clicks.waiting, "the masks of the stem again")
    count = clicks.proposal.count
    context.set_ref("")
    person.press(key.enter)
    person.settle()
    told["accepted"] = studio.scene.selected_count, count
    told["selection"] = format_part(studio.selection)
    told["logged"] = [text for _, _, text in studio.log if text.startswith("selected")]
    studio.submit(Paint(part=studio.selection, color=(1.0, 0.0, 0.0)))
    person.until(lambda: bool(studio.worker.latest().effects), "the paint")
    person.settle()
    told["journal"] = [format_operation(op) for op in studio.worker.latest().journal]
    model = studio.worker.latest().model
    told["painted"] = int(((model.color[:, 0] > 0.6) & (model.color[:, 1:] < 0.2).all(dim=1)).sum())
    told["effects"] = [(e.text, e.message, e.refused) for e in studio.worker.latest().effects]
    told["session"], told["digest"] = studio.session_script(), digest(studio.worker.latest())
    person.press(key.mod_ctrl | key.z)
    person.until(lambda: not studio.worker.latest().journal, "the undo of the paint")
    person.press(key.mod_ctrl | key.z)
    told["undone"] = studio.selection is None

    # A part of the script, from the card.
    click_at(context, person, 0.42, 0.28)
    person.until(lambda: clicks.proposal is not None and not clicks.waiting, "the masks of the cap")
    window.parts.part_name = "hat"
    context.yield_(3)
    context.item_click("//Object/**/###masks part")
    person.until(lambda: any(p.name == "hat" for p in studio.project.program.parts), "the part")
    told["script"] = studio.project.script.read_text()

    # Pointed at in the panel, its blobs stand out.
    studio.select(None)
    context.mouse_move("//Parts/hat##part")
    person.until(lambda: studio.marked[0] is not None, "the part to stand out")
    told["pointed"] = studio.pointed_part, int(studio.marked[0].sum())
    person.settle()
    picture(window, context, "pointed")
    context.mouse_move_to_pos(person.at(0.5, 0.9))
    context.yield_(3)
    told["not_pointed"] = studio.marked[0] is None
    person.press(key.mod_ctrl | key.z)

    # With a selection of clicks the optimizer goes on, and the selection follows.
    step = studio.worker.latest().step
    studio.worker.run(step + 3)
    person.until(lambda: studio.worker.latest().step == step + 3, "three steps")
    person.until(lambda: studio.current and studio.scene.state is studio.worker.latest(), "the newest state")
    told["followed"] = studio.scene.selected_count, int(np.sum(studio.scene.mean[:, 1] > 0.1))


def step_cameras(window: Window, context: imgui.test_engine.TestContext, told: dict, person) -> None:
    """Three steps, and the cameras of the newest one from far away."""
    studio = window.studio
    person.settle()
    person.press(imgui.Key.o)
    studio.camera = OrbitCamera(azimuth=20.0, elevation=30.0, distance=5.0)
    studio.worker.run(3)
    person.until(lambda: studio.worker.latest().step == 3 and not studio.worker.running, "three steps")
    person.settle()
    told["shown"] = studio.show_step_cameras
    picture(window, context, "with_cameras")
    person.press(imgui.Key.o)
    context.mouse_move_to_pos(person.at(0.97, 0.97))
    person.settle()
    told["hidden"] = not studio.show_step_cameras
    picture(window, context, "without_cameras")
    told["digest"] = digest(studio.worker.latest())


def refining(window: Window, context: imgui.test_engine.TestContext, told: dict, person) -> None:
    """Into stage II, a region refined by hand, hidden, compared, taken back, undone."""
    studio, key = window.studio, imgui.Key
    person.settle()
    studio.grid = studio.show_parts = studio.show_regions = False
    person.press(key.t)
    told["nothing_yet"] = studio.notices[-1].text
    studio.worker.run(42)
    person.until(lambda: studio.worker.latest().step == 42 and not studio.worker.running, "the field")
    told["field"] = studio.worker.latest().field is not None

    # A ball in the middle of the object, refined with words.
    context.set_ref("Parts")
    context.item_click("Sphere")
    person.settle()
    window.parts.refine_prompt, window.parts.refine_steps = "a blue mushroom", 8
    context.yield_(2)
    context.item_click("Refine")
    person.until(lambda: bool(studio.worker.latest().journal), "the refinement in the journal")
    told["journal"] = [format_operation(op) for op in studio.worker.latest().journal]
    studio.worker.run(52)
    person.until(lambda: studio.worker.latest().step == 52 and not studio.worker.running, "the refinement")
    before = digest(studio.worker.latest())
    person.settle()
    told["regions"] = list(studio.region_names)
    studio.place_region(None)
    studio.gizmo = type(studio.gizmo).NONE
    context.set_ref("")
    context.mouse_move_to_pos(person.at(0.03, 0.97))

    def shoot(name: str) -> None:
        studio.notices.clear()
        person.settle()
        picture(window, context, name)

    told["box"] = [*window.view.origin, *window.view.size]
    shoot("refined")
    person.press(key.t)
    told["hidden"] = sorted(studio.hidden_regions)
    shoot("unrefined")
    person.press(key.mod_ctrl | key.z)
    told["shown_again"] = not studio.hidden_regions
    context.item_click("//Parts/**/###shown")
    told["hidden_by_panel"] = sorted(studio.hidden_regions)
    context.item_click("//Parts/**/###shown")
    context.item_click("//Timeline/**/Compare without refinement")
    told["compare"] = studio.compare.name
    context.mouse_move_to_pos(person.at(0.03, 0.97))
    shoot("beside")
    context.item_click("//Timeline/**/Stop comparing")
    context.item_click("//Parts/**/###compare")
    told["compared"] = sorted(studio.compared_regions)
    context.item_click("//Timeline/**/Stop comparing")
    told["unchanged"] = digest(studio.worker.latest()) == before

    # The mesh that an export would write, beside the field.
    context.set_ref("")
    person.press(key.n)
    person.until(lambda: studio.mesh is not None, "the mesh")
    told["triangles"] = studio.mesh.triangles
    context.item_click("//Timeline/**/Compare with field")
    context.mouse_move_to_pos(person.at(0.03, 0.97))
    shoot("mesh")
    context.item_click("//Timeline/**/Stop comparing")
    person.press(key.n)
    told["mesh_gone"] = studio.mesh is None and not studio.previewing
    told["still_unchanged"] = digest(studio.worker.latest()) == before

    # Taken back, and undone.
    context.item_click("//Parts/**/###take back")
    person.until(lambda: not studio.worker.latest().field.field.regions, "the region to go")
    told["taken_back"] = [format_operation(op) for op in studio.worker.latest().journal][1:]
    person.settle()
    person.press(key.mod_ctrl | key.z)
    person.until(lambda: digest(studio.worker.latest()) == before, "the region to come back")
    told["undone"] = True


def high_dpi(window: Window, context: imgui.test_engine.TestContext, told: dict, person) -> None:
    """Everything twice as large: panels one by one, and a click that is segmented."""
    studio = window.studio
    imgui.get_io().mouse_draw_cursor = False
    person.settle()
    told["scale"] = imgui.get_style().font_scale_dpi
    studio.tool = Tool.SEGMENT
    click_at(context, person, 0.5, 0.72)
    person.until(lambda: studio.segmenting.proposal is not None, "the masks")
    person.settle()
    told["count"] = studio.segmenting.proposal.count
    picture(window, context, "high_dpi")
    context.item_click("//Object/**/###cancel masks")
    told["cancelled"] = not studio.segmenting.active
    for name in ("Settings", "Record", "Cameras", "Plots"):
        window.show_panel(name)
    person.settle()
    picture(window, context, "high_dpi_panels")
    told["panels"] = sorted(window.failed_panels)


def script(window: Window, context: imgui.test_engine.TestContext, told: dict, person) -> None:
    """The script's words in their colours, scrolled too."""
    imgui.get_io().mouse_draw_cursor = False
    person.settle()
    window.show_panel("Script")
    person.settle()
    place = imgui.internal.find_window_by_name("Script")
    told["box"] = [int(v) for v in (place.pos.x, place.pos.y, place.pos.x + place.size.x, place.pos.y + place.size.y)]
    picture(window, context, "script")
    window.script.editor.set_text("steps 5\n" * 30 + "at step 4 paint all red  # not red\n")
    context.yield_(2)
    window.script.editor.scroll_to_line(30)
    context.yield_(10)
    picture(window, context, "scrolled")
    told["failed"] = sorted(window.failed_panels)


def layout(window: Window, context: imgui.test_engine.TestContext, told: dict, person) -> None:
    """Which panels are there and how wide one is; then a panel is closed and the border beside it is pulled."""

    def panel(name: str) -> imgui.internal.Window:
        return imgui.internal.find_window_by_name(name)

    person.settle()
    known = window.params.docking_params.dockable_windows
    told["visible"] = sorted(one.label for one in known if one.is_visible)
    told["wide"] = panel("Object").size.x
    window.params.docking_params.dockable_window_of_name("Plots").is_visible = False
    place = panel("Object")
    x, y = place.pos.x + place.size.x + 1, place.pos.y + 0.5 * place.size.y
    context.mouse_move_to_pos(ImVec2(x, y))
    context.mouse_down(0)
    context.mouse_move_to_pos(ImVec2(x - 120, y))
    context.mouse_up(0)
    person.settle()
    told["visible_then"] = sorted(one.label for one in known if one.is_visible)
    told["wide_then"] = panel("Object").size.x

    def in_front() -> list[str]:
        nodes = {panel(one.label).dock_node.id_: panel(one.label).dock_node for one in known if one.is_visible}
        return sorted(node.visible_window.name for node in nodes.values())

    for name in ("Record", "Settings"):
        window.show_panel(name)
    context.yield_(4)
    told["front"] = in_front()
    person.press(imgui.Key.tab)
    context.yield_(4)
    told["hidden"] = sorted(one.label for one in known if one.is_visible)
    person.press(imgui.Key.tab)
    context.yield_(8)
    told["visible_again"], told["front_again"] = sorted(one.label for one in known if one.is_visible), in_front()


def sizes(window: Window, context: imgui.test_engine.TestContext, told: dict, person) -> None:
    """How large the panels are, in points."""
    person.settle()
    scale = told["scale"] = imgui.get_style().font_scale_dpi
    told["side"] = imgui.internal.find_window_by_name("Parts").size.x / scale
    told["below"] = imgui.internal.find_window_by_name("Timeline").size.y / scale
