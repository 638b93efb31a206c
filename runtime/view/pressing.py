"""Which actions the keys pressed in this frame ask for."""

from collections.abc import Mapping

from imgui_bundle import imgui

from interactive3d.runtime.view.keymap import MODIFIERS

KEYS = {
    **{c: getattr(imgui.Key, c) for c in "abcdefghijklmnopqrstuvwxyz"},
    **{str(d): getattr(imgui.Key, f"_{d}") for d in range(10)},
    "space": imgui.Key.space,
    "tab": imgui.Key.tab,
    "delete": imgui.Key.delete,
    "escape": imgui.Key.escape,
    "f1": imgui.Key.f1,
    "f2": imgui.Key.f2,
    "f5": imgui.Key.f5,
    "home": imgui.Key.home,
    "enter": imgui.Key.enter,
    "slash": imgui.Key.slash,
    "comma": imgui.Key.comma,
    "period": imgui.Key.period,
}

SIDES = {m: tuple(getattr(imgui.Key, f"{side}_{m}") for side in ("left", "right")) for m in MODIFIERS}
"""The two keys of each modifier."""

WHILE_TYPING = ("save", "palette")
"""Actions whose chords with ctrl mean nothing to a text field."""


def held_modifiers() -> dict[str, bool]:
    """The modifiers that count for a key pressed in this frame.

    One that was let go in the same frame was held when the key went down: frames are long beside quick fingers.
    """
    io = imgui.get_io()
    return {m: getattr(io, f"key_{m}") or any(imgui.is_key_released(key) for key in SIDES[m]) for m in MODIFIERS}


def pressed_actions(keymap: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Names of actions; while something is typed, only of those whose keys no text field takes."""
    typing, held = imgui.get_io().want_text_input, held_modifiers()
    found = []
    for name, keys in keymap.items():
        for binding in keys:
            *modifiers, key = binding.split("+")
            if typing and not (key in ("f1", "f2", "f5") or (name in WHILE_TYPING and "ctrl" in modifiers)):
                continue
            if all(held[m] == (m in modifiers) for m in MODIFIERS) and imgui.is_key_pressed(KEYS[key], False):
                found.append(name)
    return found


def close_popups() -> bool:
    """Close menus, lists and colour pickers; False where none was open."""
    if not imgui.is_popup_open("", imgui.PopupFlags_.any_popup):
        return False
    imgui.internal.close_popup_to_level(0, True)
    return True
