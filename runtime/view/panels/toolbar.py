"""What floats over the object: tools, what the tool in hand can be told, notices."""

import time
from collections.abc import Callable

from imgui_bundle import ImVec2, icons_fontawesome_6, imgui

from interactive3d.dsl.operations import DragMode
from interactive3d.runtime.engine.segmenters import has_text_segmenter
from interactive3d.runtime.view.choosing import GROW_BY
from interactive3d.runtime.view.gestures import Gizmo, Tool
from interactive3d.runtime.view.panels.widgets import slide_float, slide_int
from interactive3d.runtime.view.project import Compare, field_of
from interactive3d.runtime.view.selecting import Combine
from interactive3d.runtime.view.studio import Studio
from interactive3d.runtime.view.theme import ACCENT, BAD, px, rgba

fa = icons_fontawesome_6

MORE = "\nshift adds to the selection, ctrl subtracts, alt intersects"
TOOLS: tuple[tuple[Tool, str, str, str], ...] = (
    (Tool.ORBIT, fa.ICON_FA_ARROWS_SPIN, "tool_look", "drag to look around"),
    (
        Tool.CLICK,
        fa.ICON_FA_ARROW_POINTER,
        "tool_select",
        f"click on a part, on what was added, or anywhere for a ball{MORE}",
    ),
    (Tool.RECTANGLE, fa.ICON_FA_VECTOR_SQUARE, "tool_rectangle", f"pull a rectangle about what to select{MORE}"),
    (Tool.LASSO, fa.ICON_FA_DRAW_POLYGON, "tool_lasso", f"draw around what to select{MORE}"),
    (Tool.BRUSH, fa.ICON_FA_PAINTBRUSH, "tool_brush", f"paint over what to select{MORE}"),
    (Tool.COLOR, fa.ICON_FA_EYE_DROPPER, "tool_color", f"click on a colour to select all that is like it{MORE}"),
    (
        Tool.SEGMENT,
        fa.ICON_FA_WAND_MAGIC_SPARKLES,
        "tool_segment",
        "click, and a segmenter finds what belongs to it\nshift adds a click, ctrl takes away, enter accepts",
    ),
    (
        Tool.DRAG,
        fa.ICON_FA_HAND_FIST,
        "tool_drag",
        "press on the object and pull: the optimizer brings it there in some steps\nthe wheel pulls nearer and farther",
    ),
)
GIZMOS: tuple[tuple[Gizmo, str, str, str], ...] = (
    (Gizmo.MOVE, fa.ICON_FA_UP_DOWN_LEFT_RIGHT, "gizmo_move", "the selection, or the region, at once"),
    (Gizmo.ROTATE, fa.ICON_FA_ROTATE, "gizmo_rotate", "the selection, at once"),
    (
        Gizmo.STRETCH,
        fa.ICON_FA_UP_RIGHT_AND_DOWN_LEFT_FROM_CENTER,
        "gizmo_stretch",
        "the selection, or the region, at once",
    ),
)
BAR_ALPHA = 0.88
TOOL_GAP, COLUMN_GAP, TOOLBAR_REST, LEAST_BUTTON = 5.0, 6.0, 50.0, 18.0
"""Pixels: between two tools above and beside each other, what the toolbar needs besides them, and the least side of a tool."""

MOST_COLUMNS = 4


def tool_button(icon: str, name: str, hint: str, on: bool, side: float) -> bool:
    """A square button with an icon; ``name`` is what tests and screen readers call it."""
    if on:
        imgui.push_style_color(imgui.Col_.button, ImGuiAccent())
        imgui.push_style_color(imgui.Col_.button_hovered, ImGuiAccent())
        imgui.push_style_color(imgui.Col_.text, (0.08, 0.08, 0.09, 1.0))
    imgui.push_style_var(imgui.StyleVar_.frame_padding, ImVec2(1, 1))
    pressed = imgui.button(f"{icon}##{name}", ImVec2(side, side))
    imgui.pop_style_var()
    if on:
        imgui.pop_style_color(3)
    if imgui.is_item_hovered(imgui.HoveredFlags_.delay_short):
        imgui.set_tooltip(hint)
    return pressed


def ImGuiAccent() -> tuple[float, float, float, float]:
    """The accent as a plain tuple."""
    return ACCENT.x, ACCENT.y, ACCENT.z, 1.0


def draw_toolbar(studio: Studio, origin: tuple[float, float], size: tuple[int, int]) -> None:
    """The tools, upper left, and beside them what the one in hand can be told."""
    side, columns = arrangement(size[1], imgui.get_frame_height() * 1.25, px(1.0))
    _floating("tools", origin[0] + px(10), origin[1] + px(10), lambda: _tools(studio, side, columns))
    wide = px(66) + (columns - 1) * (side + px(COLUMN_GAP))
    _floating("options", origin[0] + wide, origin[1] + px(10), lambda: _options(studio))


def arrangement(tall: float, usual: float, pixel: float) -> tuple[float, int]:
    """The side of a tool's button, as large as is good to hit, and in how many columns they stand.

    In a low viewport they become smaller, down to what can still be hit; then there are more columns. All in pixels; ``pixel`` is one of a
    plain screen.
    """
    count = len(TOOLS) + len(GIZMOS) + 2
    for columns in range(1, MOST_COLUMNS + 1):
        room = (tall - pixel * TOOLBAR_REST) / -(-count // columns) - pixel * TOOL_GAP
        if room >= pixel * LEAST_BUTTON:
            return min(usual, room), columns
    return pixel * LEAST_BUTTON, MOST_COLUMNS


def _floating(name: str, x: float, y: float, content: Callable[[], None]) -> None:
    imgui.set_cursor_screen_pos(ImVec2(x, y))
    imgui.push_style_color(imgui.Col_.child_bg, (0.09, 0.095, 0.11, BAR_ALPHA))
    imgui.push_style_var(imgui.StyleVar_.window_padding, ImVec2(px(6), px(6)))
    flags = (
        imgui.ChildFlags_.auto_resize_x | imgui.ChildFlags_.auto_resize_y | imgui.ChildFlags_.always_use_window_padding
    )
    imgui.begin_child(name, ImVec2(0, 0), flags, imgui.WindowFlags_.no_scrollbar)
    imgui.push_style_var(imgui.StyleVar_.item_spacing, ImVec2(px(6), px(TOOL_GAP)))
    content()
    imgui.pop_style_var()
    imgui.end_child()
    imgui.pop_style_var()
    imgui.pop_style_color()


def _tools(studio: Studio, side: float, columns: int) -> None:
    keys, placed = studio.keymap, 0

    def button(icon: str, name: str, hint: str, on: bool) -> bool:
        nonlocal placed
        if placed % columns:
            imgui.same_line(0, px(COLUMN_GAP))
        placed += 1
        return tool_button(icon, name, hint, on, side)

    def part() -> None:
        if columns == 1:
            imgui.separator()

    for tool, icon, action, does in TOOLS:
        if button(icon, tool.value, f"{tool.value}  ({', '.join(keys[action])})\n{does}", studio.tool is tool):
            studio.take_tool(tool)
    part()
    for kind, icon, action, what in GIZMOS:
        if button(icon, kind.value, f"{kind.value}  ({', '.join(keys[action])})\n{what}", studio.gizmo is kind):
            studio.take_gizmo(kind)
    part()
    if button(
        fa.ICON_FA_CROSSHAIRS, "Focus", f"frame the selection, or everything  ({', '.join(keys['focus'])})", False
    ):
        studio.focus()
    if button(fa.ICON_FA_BORDER_ALL, "Grid", f"show the floor  ({', '.join(keys['grid'])})", studio.grid):
        studio.grid = not studio.grid


def _options(studio: Studio) -> None:
    imgui.align_text_to_frame_padding()
    count = studio.scene.selected_count
    if studio.tool is Tool.DRAG:
        _drag_options(studio)
    elif studio.tool is Tool.SEGMENT and (studio.segmenting.active or studio.selection is None):
        imgui.text_disabled("click on a part; shift adds a click, ctrl takes away")
    elif studio.selection is not None:
        imgui.text(f"{count} selected")
        imgui.same_line()
        if imgui.button("Grow"):
            studio.grow(GROW_BY)
        imgui.same_line()
        if imgui.button("Shrink"):
            studio.grow(-GROW_BY)
        imgui.same_line()
        if imgui.button("Invert"):
            studio.invert()
        imgui.same_line()
        if imgui.button("Clear"):
            studio.select(None)
    else:
        imgui.text_disabled(studio.tool.value)
    if studio.tool in (Tool.RECTANGLE, Tool.LASSO):
        imgui.same_line()
        _, studio.front_only = imgui.checkbox("visible side only", studio.front_only)
    elif studio.tool in (Tool.BRUSH, Tool.CLICK):
        imgui.same_line()
        imgui.set_next_item_width(px(110))
        _, studio.brush_pixels = slide_float(
            "##brush", studio.brush_pixels, 4.0, 160.0, "radius %.0f px", least=1.0, most=1000.0
        )
    elif studio.tool is Tool.COLOR:
        _color_options(studio)
    elif studio.tool is Tool.SEGMENT and has_text_segmenter():
        imgui.same_line()
        imgui.set_next_item_width(px(130))
        entered, studio.words = imgui.input_text_with_hint(
            "##words", 'words: "left wing"', studio.words, imgui.InputTextFlags_.enter_returns_true
        )
        if entered:
            studio.segment_words(studio.words, Combine.REPLACE)


def _color_options(studio: Studio) -> None:
    imgui.same_line()
    imgui.set_next_item_width(px(130))
    _, studio.color_tolerance = slide_float("##within", studio.color_tolerance, 0.02, 1.0, "within %.2f")
    if imgui.is_item_deactivated_after_edit():
        studio.widen_color()


def _drag_options(studio: Studio) -> None:
    choice = studio.drag
    for mode in (DragMode.RIGID, DragMode.DEFORMABLE):
        if imgui.radio_button(mode.value, choice.mode is mode):
            choice.mode = mode
        imgui.same_line()
    imgui.set_next_item_width(px(120))
    _, choice.radius = slide_float("##radius", choice.radius, 0.02, 0.6, "radius %.2f", least=0.001, most=2.0)
    imgui.same_line()
    imgui.set_next_item_width(px(110))
    _, choice.steps = slide_int("##steps", choice.steps, 5, 400, "%d steps", least=1, most=1_000_000)
    imgui.same_line()
    imgui.begin_disabled(studio.selection is None)
    _, choice.only_selected = imgui.checkbox("selection only", choice.only_selected)
    imgui.end_disabled()


def draw_notices(studio: Studio, paint: imgui.ImDrawList, origin: tuple[float, float], size: tuple[int, int]) -> None:
    """Lines that fade, at the bottom of the picture."""
    now = time.monotonic()
    y = origin[1] + size[1] - px(14)
    for notice in reversed(studio.notices[-4:]):
        left = min(1.0, (notice.until - now) / 0.6)
        wide = min(size[0] - px(60), px(900))
        text_size = imgui.calc_text_size(notice.text, False, wide)
        y -= text_size.y + px(16)
        x = origin[0] + 0.5 * (size[0] - text_size.x)
        low, high = ImVec2(x - px(12), y - px(6)), ImVec2(x + text_size.x + px(12), y + text_size.y + px(6))
        paint.add_rect_filled(low, high, imgui.get_color_u32((0.07, 0.075, 0.09, 0.92 * left)), 6.0)
        if notice.error:
            paint.add_rect(low, high, rgba(BAD, left), 6.0)
        color = imgui.get_color_u32((0.95, 0.95, 0.96, left))
        paint.add_text(imgui.get_font(), imgui.get_font_size(), ImVec2(x, y), color, notice.text, wide)


def draw_hints(studio: Studio, paint: imgui.ImDrawList, origin: tuple[float, float], size: tuple[int, int]) -> None:
    """What the picture is: a look at the past, before and after."""
    x, y = origin[0] + size[0] - px(14), origin[1] + px(12)
    lines = []
    if studio.past is not None:
        lines.append(f"looking at step {studio.past.step}; the run is at {studio.worker.latest().step}")
    right = (
        "mesh" if studio.mesh is not None and studio.show_mesh else "field" if field_of(studio.scene.state) else "blobs"
    )
    if studio.compare is Compare.PINNED and studio.pinned is not None:
        lines.append(f"left: step {studio.pinned.step}, right: step {studio.scene.state.step}")
    elif studio.compare is Compare.BLOBS:
        lines.append(f"left: {'field' if studio.previewing else 'blobs'}, right: {right}")
    elif studio.compare is Compare.UNREFINED and studio.left is not None:
        lines.append(f"left: without {' and '.join(sorted(studio.compared_regions)) or 'refinement'}, right: with")
    preview = studio.mesh_preview.shown
    if preview is not None and studio.previewing:
        lines.append(f"mesh of step {preview.job.step}")
    hidden = sorted(studio.hidden_regions & set(studio.region_names))
    if hidden:
        lines.append(f"hidden: {', '.join(hidden)}")
    if studio.scene.hidden is not None:
        lines.append(
            f"{int(studio.scene.hidden.sum())} blobs hidden; {', '.join(studio.keymap['show_all'])} shows them"
        )
    for line in lines:
        wide = imgui.calc_text_size(line)
        paint.add_rect_filled(
            ImVec2(x - wide.x - px(10), y - px(4)), ImVec2(x + px(4), y + wide.y + px(4)), rgba(ACCENT, 0.9), 4.0
        )
        paint.add_text(ImVec2(x - wide.x - px(3), y), imgui.get_color_u32((0.08, 0.08, 0.09, 1.0)), line)
        y += wide.y + px(14)
