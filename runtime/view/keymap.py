"""Keys as data: which key does what, read from the user's file over the defaults, with a check for conflicts.

A binding is written ``ctrl+shift+z``. Only letters, digits and the names in ``NAMED`` can be bound.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MODIFIERS = ("ctrl", "shift", "alt")
NAMED = ("space", "tab", "delete", "escape", "f1", "f2", "f5", "home", "enter", "slash", "comma", "period")


@dataclass(frozen=True, kw_only=True)
class Action:
    """Something a key can do: its name in the file, what the help says, its group there, and its keys unless changed."""

    name: str
    help: str
    group: str
    keys: tuple[str, ...]


ACTIONS: tuple[Action, ...] = (
    Action(name="run", help="start and pause the optimizer", group="Run", keys=("space",)),
    Action(name="step", help="take one step", group="Run", keys=("period",)),
    Action(name="next_event", help="run to the next event", group="Run", keys=("shift+period",)),
    Action(name="undo", help="undo", group="Run", keys=("ctrl+z",)),
    Action(name="redo", help="redo", group="Run", keys=("ctrl+shift+z", "ctrl+y")),
    Action(name="save", help="save the script", group="Run", keys=("ctrl+s",)),
    Action(name="save_session", help="save the session as a script", group="Run", keys=()),
    Action(name="export_splats", help="export the splats that are shown", group="Run", keys=()),
    Action(name="select_all", help="select all", group="Select", keys=("ctrl+a",)),
    Action(name="invert", help="invert the selection", group="Select", keys=("ctrl+i",)),
    Action(name="deselect", help="select nothing, leave a tool", group="Select", keys=("escape",)),
    Action(name="grow", help="grow the selection", group="Select", keys=("shift+g",)),
    Action(name="shrink", help="shrink the selection", group="Select", keys=("ctrl+g",)),
    Action(name="hide", help="hide the selection", group="Select", keys=("h",)),
    Action(name="show_all", help="show everything again", group="Select", keys=("shift+h",)),
    Action(name="remove", help="remove the selected blobs", group="Select", keys=("delete",)),
    Action(name="tool_look", help="look around", group="Tools", keys=("v",)),
    Action(name="tool_select", help="select by clicking", group="Tools", keys=("c",)),
    Action(name="tool_rectangle", help="select by rectangle", group="Tools", keys=("r",)),
    Action(name="tool_lasso", help="select by lasso", group="Tools", keys=("l",)),
    Action(name="tool_brush", help="select by brush", group="Tools", keys=("b",)),
    Action(name="tool_color", help="select by colour", group="Tools", keys=("k",)),
    Action(name="tool_segment", help="segment: click, see the masks, accept", group="Tools", keys=("m",)),
    Action(name="tool_drag", help="drag the object", group="Tools", keys=("x",)),
    Action(name="gizmo_move", help="gizmo: move", group="Tools", keys=("1",)),
    Action(name="gizmo_rotate", help="gizmo: rotate", group="Tools", keys=("2",)),
    Action(name="gizmo_stretch", help="gizmo: scale", group="Tools", keys=("3",)),
    Action(
        name="semantic_edit", help="accept the masks; edit the selection with words", group="Tools", keys=("enter",)
    ),
    Action(name="focus", help="frame the selection, or everything", group="View", keys=("f",)),
    Action(name="reset_view", help="reset the view", group="View", keys=("shift+f",)),
    Action(name="grid", help="show the floor", group="View", keys=("g",)),
    Action(name="mesh_preview", help="show the field's mesh", group="View", keys=("n",)),
    Action(name="regions", help="hide and show what was refined", group="View", keys=("t",)),
    Action(name="step_cameras", help="show the cameras of the newest step", group="View", keys=("o",)),
    Action(name="panels", help="hide the panels", group="View", keys=("tab",)),
    Action(name="screenshot", help="save a screenshot", group="View", keys=("f2",)),
    Action(name="copy_picture", help="copy a picture of this view", group="View", keys=("shift+f2",)),
    Action(name="add_view", help="add this view to the camera path", group="View", keys=("p",)),
    Action(name="play_path", help="play the camera path, or stop", group="View", keys=("shift+p",)),
    Action(name="palette", help="command palette", group="View", keys=("ctrl+p",)),
    Action(name="keys", help="show the keys", group="View", keys=("f1", "shift+slash")),
)

FLYING: Mapping[str, tuple[float, float, float]] = {
    "w": (0.0, 0.0, 1.0),
    "s": (0.0, 0.0, -1.0),
    "a": (-1.0, 0.0, 0.0),
    "d": (1.0, 0.0, 0.0),
    "q": (0.0, -1.0, 0.0),
    "e": (0.0, 1.0, 0.0),
}
"""Held keys that move the camera: right, up, forward. Shift hurries, so they take part in the check for conflicts with and without it."""


class KeymapProblem(ValueError):
    """A keymap that cannot be used. The message names the file's entry and what was expected."""


def default_keymap() -> dict[str, tuple[str, ...]]:
    """Action names and their keys."""
    return {action.name: action.keys for action in ACTIONS}


def normalized(binding: str) -> str:
    """One spelling for a binding: modifiers in order, lower case.

    Raises:
        KeymapProblem: no such key.
    """
    *modifiers, key = (word.strip().lower() for word in binding.split("+"))
    unknown = [m for m in modifiers if m not in MODIFIERS]
    if unknown or not (key in NAMED or (len(key) == 1 and key.isascii() and key.isalnum())):
        raise KeymapProblem(
            f"key {binding!r}: expected a letter, a digit or one of {', '.join(NAMED)}, after any of {', '.join(MODIFIERS)} and +"
        )
    return "+".join([*(m for m in MODIFIERS if m in modifiers), key])


def conflicts(keymap: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Keys that would do two things, in words; empty when there are none."""
    users: dict[str, list[str]] = {}
    for name, keys in keymap.items():
        for key in keys:
            users.setdefault(normalized(key), []).append(name)
    for key in FLYING:
        for binding in (key, f"shift+{key}"):
            users.setdefault(binding, []).append("flying")
    return [
        f"{key} would do {' and '.join(names)}"
        for key, names in users.items()
        if len(names) > 1 and len(set(names)) > 1
    ]


def read_keymap(path: Path) -> dict[str, tuple[str, ...]]:
    """The defaults with the user's file over them; the defaults where there is no file.

    Raises:
        KeymapProblem: the file is damaged, names an unknown action or key, or two actions share a key.
    """
    keymap = default_keymap()
    if not path.is_file():
        return keymap
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise KeymapProblem(f"{path}: cannot be read ({error}); mend or remove it") from error
    if not isinstance(told, dict):
        raise KeymapProblem(f'{path}: expected an object such as {{"undo": ["ctrl+z"]}}, got {type(told).__name__}')
    for name, keys in told.items():
        if name not in keymap:
            raise KeymapProblem(f"{path}: no action is called {name!r}; there are {', '.join(keymap)}")
        if isinstance(keys, str):
            keys = [keys]
        if not isinstance(keys, list) or not all(isinstance(k, str) for k in keys):
            raise KeymapProblem(f"{path}: {name}: expected a key or a list of keys, got {keys!r}")
        keymap[name] = tuple(normalized(k) for k in keys)
    found = conflicts(keymap)
    if found:
        raise KeymapProblem(f"{path}: {'; '.join(found)}; give one of them another key")
    return keymap


def help_groups(keymap: Mapping[str, tuple[str, ...]]) -> dict[str, list[tuple[str, str]]]:
    """For the help window: group to rows of keys and what they do."""
    groups: dict[str, list[tuple[str, str]]] = {
        "Mouse": [
            ("left drag", "look around (with the Look tool), or use the tool"),
            ("ctrl + right drag", "look around with any tool"),
            ("right or middle drag", "pan"),
            ("wheel", "zoom; while dragging the object: nearer and farther"),
            ("shift, ctrl, alt", "add to, subtract from, intersect with the selection"),
            ("double click", "turn about that point"),
        ]
    }
    for action in ACTIONS:
        keys = ", ".join(keymap[action.name]) or "in the palette"
        groups.setdefault(action.group, []).append((keys, action.help))
    groups["View"].append(("w a s d q e", "fly; shift hurries"))
    return groups
