"""Keys: pressed more quickly than frames come, while typing, with a list open; against ImGui's own queue of events, without a display."""

from collections.abc import Iterator

import pytest

pytest.importorskip("imgui_bundle", reason="the window's packages are not installed: pip install '.[window]'")

from imgui_bundle import imgui

from interactive3d.runtime.view.keymap import default_keymap
from interactive3d.runtime.view.pressing import KEYS, close_popups, held_modifiers, pressed_actions


@pytest.fixture
def frame() -> Iterator[None]:
    context = imgui.create_context()
    io = imgui.get_io()
    io.backend_flags |= imgui.BackendFlags_.renderer_has_textures
    io.display_size = (640, 480)
    io.set_ini_filename("")
    imgui.new_frame()
    imgui.end_frame()
    yield
    imgui.destroy_context(context)


def keys(*events: tuple[imgui.Key, bool]) -> None:
    for key, down in events:
        imgui.get_io().add_key_event(key, down)


def pressed(key: str) -> tuple[bool, dict[str, bool]]:
    imgui.new_frame()
    found = imgui.is_key_pressed(KEYS[key], False), held_modifiers()
    imgui.end_frame()
    return found


def test_a_modifier_let_go_before_the_key_in_the_same_frame_counts(frame):
    key = imgui.Key
    keys((key.mod_ctrl, True), (key.left_ctrl, True))
    imgui.new_frame()
    imgui.end_frame()
    # All of this lay between two frames; ImGui holds back only what would undo something within one of them.
    keys((key.z, True), (key.mod_ctrl, False), (key.left_ctrl, False), (key.z, False))
    assert pressed("z") == (True, {"ctrl": True, "shift": False, "alt": False})
    assert pressed("z") == (False, {"ctrl": False, "shift": False, "alt": False})
    keys((key.z, True))
    assert pressed("z") == (True, {"ctrl": False, "shift": False, "alt": False})


def test_a_chord_within_one_frame_counts(frame):
    key = imgui.Key
    keys((key.mod_shift, True), (key.right_shift, True), (key.z, True))
    assert pressed("z") == (True, {"ctrl": False, "shift": True, "alt": False})


def test_while_something_is_typed_only_chords_that_no_text_takes_count(frame):
    """Saving the script where it is typed is what everybody tries first."""
    key, keymap, text = imgui.Key, default_keymap(), "red"
    found: list[list[str]] = []
    for pressed_keys in ((), (key.mod_ctrl, key.left_ctrl, key.s), (key.f1,), (key.x,), (key.mod_ctrl, key.z)):
        for _ in range(3):
            imgui.new_frame()
            imgui.begin("typing")
            imgui.set_keyboard_focus_here()
            _, text = imgui.input_text("##text", text)
            imgui.end()
            imgui.end_frame()
        keys(*((k, True) for k in pressed_keys))
        imgui.new_frame()
        assert imgui.get_io().want_text_input
        found.append(pressed_actions(keymap))
        imgui.end_frame()
        keys(*((k, False) for k in pressed_keys))
    assert found == [[], ["save"], ["keys"], [], []]


def test_what_has_opened_is_closed_by_a_key(frame):
    def draw() -> bool:
        imgui.new_frame()
        imgui.begin("panel")
        shown = imgui.begin_popup("list")
        if shown:
            imgui.end_popup()
        imgui.end()
        imgui.end_frame()
        return bool(shown)

    imgui.new_frame()
    assert not close_popups()
    imgui.begin("panel")
    imgui.open_popup("list")
    imgui.end()
    imgui.end_frame()
    assert draw() and draw()
    imgui.new_frame()
    assert close_popups()
    imgui.end_frame()
    assert not draw()
