"""Numbers that are typed into sliders, against ImGui's own events; neither display nor renderer is needed."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("imgui_bundle", reason="the window's packages are not installed: pip install '.[window]'")

from imgui_bundle import ImVec2, imgui

from interactive3d.runtime import view
from interactive3d.runtime.view.panels.widgets import slide_float, slide_int


def typed(text: str, draw: Callable[[float], tuple[bool, float]], value: float) -> float:
    """What a slider holds after ctrl+click, the text, and enter."""
    context = imgui.create_context()
    io = imgui.get_io()
    io.backend_flags |= imgui.BackendFlags_.renderer_has_textures
    io.display_size = (640, 480)
    io.set_ini_filename("")
    key, middle = imgui.Key, ImVec2()

    def frame() -> None:
        nonlocal value
        imgui.new_frame()
        imgui.set_next_window_pos(ImVec2(0, 0))
        imgui.begin("panel")
        _, value = draw(value)
        low, high = imgui.get_item_rect_min(), imgui.get_item_rect_max()
        middle.x, middle.y = 0.5 * (low.x + high.x), 0.5 * (low.y + high.y)
        imgui.end()
        imgui.end_frame()

    frame()
    frame()
    io.add_mouse_pos_event(middle.x, middle.y)
    io.add_key_event(key.mod_ctrl, True)
    frame()
    for down in (True, False):
        io.add_mouse_button_event(0, down)
        frame()
    io.add_key_event(key.mod_ctrl, False)
    frame()
    io.add_input_characters_utf8(text)
    frame()
    io.add_key_event(key.enter, True)
    frame()
    io.add_key_event(key.enter, False)
    frame()
    imgui.destroy_context(context)
    return value


@pytest.mark.parametrize(
    ("text", "found"), [("3.5", 3.5), ("0", 0.1), ("-4", 0.1), ("1e9", 600.0), ("nan", 2.0), ("x", 2.0)]
)
def test_a_typed_number_is_one_that_can_be_used(text: str, found: float):
    """Zero seconds between two keyframes once left the picture black."""
    value = typed(text, lambda v: slide_float("##s", v, 0.1, 10.0, "%.1f s", most=600.0), 2.0)
    assert value == pytest.approx(found)


@pytest.mark.parametrize(("text", "found"), [("800", 800), ("3", 3), ("-5", 1), ("99999999", 1000)])
def test_a_typed_count_may_lie_beyond_the_slider_and_not_beyond_reason(text: str, found: int):
    assert typed(text, lambda v: slide_int("##n", int(v), 10, 500, "%d", least=1, most=1000), 100) == found


def test_every_slider_is_one_of_these():
    """The settings' own know their hard limits."""
    folder = Path(view.__file__).parent
    direct = {p.name for p in folder.rglob("*.py") if re.search(r"imgui\.(slider|drag)_(int|float)", p.read_text())}
    assert direct == {"widgets.py", "settings_panel.py"}
