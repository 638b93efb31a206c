"""Keys pressed more quickly than frames come, against ImGui's own queue of events; neither display nor renderer is needed."""

from collections.abc import Iterator

import pytest

pytest.importorskip("imgui_bundle", reason="the window's packages are not installed: pip install '.[window]'")

from imgui_bundle import imgui

from interactive3d.runtime.view.app import KEYS, held_modifiers


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
