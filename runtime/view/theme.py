"""Colours and spacing of the window."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import imgui_bundle
from imgui_bundle import ImVec2, ImVec4, hello_imgui, imgui

ACCENT = ImVec4(0.98, 0.62, 0.17, 1.0)
MUTED = ImVec4(0.60, 0.62, 0.66, 1.0)
GOOD = ImVec4(0.45, 0.80, 0.45, 1.0)
BAD = ImVec4(0.95, 0.42, 0.38, 1.0)


CODE_FONT = Path(imgui_bundle.__file__).parent / "assets" / "fonts" / "Inconsolata-Medium.ttf"
CODE_SIZE = 15.0


class Fonts:
    """Fonts beside the window's own; None until they are loaded, or where the file is not there."""

    code: imgui.ImFont | None = None


def load_fonts() -> None:
    """The window's own font with its icons, and one of even width for the script."""
    hello_imgui.imgui_default_settings.load_default_font_with_font_awesome_icons()
    if CODE_FONT.is_file():
        params = hello_imgui.FontLoadingParams(inside_assets=False)
        Fonts.code = hello_imgui.load_font(str(CODE_FONT), CODE_SIZE, params)


def _shade(value: float, alpha: float = 1.0, blue: float = 0.02) -> ImVec4:
    return ImVec4(value, value + blue * 0.35, value + blue, alpha)


GROUND = _shade(0.105)
"""What the frame is cleared to, and the ground of every window."""

DOCK = "MainDockSpace"


def _accent(alpha: float) -> ImVec4:
    return ImVec4(ACCENT.x, ACCENT.y, ACCENT.z, alpha)


def in_main_dock() -> bool:
    """Whether the window that is being drawn has its place among the others, and does not float."""
    return bool(imgui.internal.get_current_window().root_window_dock_tree.name.startswith(DOCK))


def clear_ground() -> None:
    """The ground of the window that is being drawn, where it floats.

    Docked windows have none: what the frame is cleared to shows through. ImGui would paint it twice over, once for the dock and once for the
    window, which cost a software renderer almost half of a frame.
    """
    if in_main_dock():
        return
    inner = imgui.internal.get_current_window().inner_rect
    imgui.get_window_draw_list().add_rect_filled(inner.min, inner.max, rgba(GROUND))


@contextlib.contextmanager
def grounded() -> Iterator[None]:
    """For windows of our own, which never dock: they begin with a ground."""
    imgui.push_style_color(imgui.Col_.window_bg, GROUND)
    try:
        yield
    finally:
        imgui.pop_style_color()


def apply_theme() -> None:
    """Dark and quiet, so that the object is the brightest thing on the screen; one accent, the colour of the selection."""
    imgui.style_colors_dark()
    style = imgui.get_style()
    style.window_rounding = style.child_rounding = style.popup_rounding = 6.0
    style.frame_rounding = style.grab_rounding = style.tab_rounding = 4.0
    style.scrollbar_rounding = 8.0
    style.window_border_size = style.frame_border_size = 0.0
    style.popup_border_size = 1.0
    style.window_padding = ImVec2(10, 8)
    style.frame_padding = ImVec2(8, 4)
    style.item_spacing = ImVec2(8, 6)
    style.scrollbar_size = 11.0
    style.grab_min_size = 10.0
    style.docking_separator_size = 2.0
    style.separator_text_border_size = 1.0
    colors = {
        imgui.Col_.text: ImVec4(0.90, 0.91, 0.93, 1.0),
        imgui.Col_.text_disabled: MUTED,
        imgui.Col_.window_bg: ImVec4(0.0, 0.0, 0.0, 0.0),
        imgui.Col_.child_bg: _shade(0.0, 0.0),
        imgui.Col_.popup_bg: _shade(0.13, 0.98),
        imgui.Col_.border: _shade(0.24),
        imgui.Col_.frame_bg: _shade(0.165),
        imgui.Col_.frame_bg_hovered: _shade(0.21),
        imgui.Col_.frame_bg_active: _shade(0.25),
        imgui.Col_.title_bg: _shade(0.075),
        imgui.Col_.title_bg_active: _shade(0.075),
        imgui.Col_.menu_bar_bg: _shade(0.075),
        imgui.Col_.scrollbar_bg: _shade(0.0, 0.0),
        imgui.Col_.scrollbar_grab: _shade(0.26),
        imgui.Col_.check_mark: ACCENT,
        imgui.Col_.slider_grab: _accent(0.85),
        imgui.Col_.slider_grab_active: ACCENT,
        imgui.Col_.button: _shade(0.19),
        imgui.Col_.button_hovered: _shade(0.27),
        imgui.Col_.button_active: _accent(0.75),
        imgui.Col_.header: _shade(0.19),
        imgui.Col_.header_hovered: _shade(0.25),
        imgui.Col_.header_active: _accent(0.45),
        imgui.Col_.separator: _shade(0.20),
        imgui.Col_.separator_hovered: _accent(0.6),
        imgui.Col_.resize_grip: _shade(0.2),
        imgui.Col_.resize_grip_hovered: _accent(0.6),
        imgui.Col_.tab: _shade(0.075),
        imgui.Col_.tab_hovered: _shade(0.22),
        imgui.Col_.tab_selected: _shade(0.105),
        imgui.Col_.tab_selected_overline: ACCENT,
        imgui.Col_.tab_dimmed: _shade(0.075),
        imgui.Col_.tab_dimmed_selected: _shade(0.105),
        imgui.Col_.tab_dimmed_selected_overline: _accent(0.4),
        imgui.Col_.docking_preview: _accent(0.4),
        imgui.Col_.docking_empty_bg: _shade(0.08),
        imgui.Col_.plot_lines: ACCENT,
        imgui.Col_.plot_histogram: ACCENT,
        imgui.Col_.text_selected_bg: _accent(0.35),
        imgui.Col_.nav_cursor: _accent(0.7),
        imgui.Col_.table_header_bg: _shade(0.15),
        imgui.Col_.table_border_strong: _shade(0.2),
        imgui.Col_.table_border_light: _shade(0.16),
    }
    for where, color in colors.items():
        style.set_color_(where, color)


def px(length: float) -> float:
    """A length in pixels of a plain screen, on this one: twice as long where everything is drawn twice as large."""
    return length * imgui.get_style().font_scale_dpi


def rgba(color: ImVec4, alpha: float = 1.0) -> int:
    """A colour for a draw list."""
    return imgui.get_color_u32(ImVec4(color.x, color.y, color.z, color.w * alpha))
