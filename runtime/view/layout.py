"""The panels beside the object: hidden all at once, and brought back as they were; as large for the eye as they were when they were saved."""

import contextlib
import re
from pathlib import Path

from imgui_bundle import ImVec2, hello_imgui, imgui

SETTLING_FRAMES = 3
"""Panels that come back take their places among the tabs one after the other; then those that were in front are brought there."""


class Layout:
    """All panels but the first, which is the object's own."""

    def __init__(self, docking: hello_imgui.DockingParams, saved: Path) -> None:
        """``saved`` is the file that the library keeps the layout in; read before the library writes to it."""
        self._docking = docking
        self._saved: SavedSizes | None = saved_sizes(saved)
        self._away: list[str] = []
        self._front: list[str] = []
        self._wait = 0

    @property
    def panels(self) -> list[hello_imgui.DockableWindow]:
        """Those that can be hidden."""
        return list(self._docking.dockable_windows[1:])

    def toggle(self) -> None:
        """Hide the panels that are there, or bring those back that were; all of them where none was."""
        shown = [panel.label for panel in self.panels if panel.is_visible]
        if shown:
            self._away, self._front = shown, [label for label in shown if _in_front(label)]
        for panel in self.panels:
            panel.is_visible = not shown and (panel.label in self._away or not self._away)
        self._wait = 0 if shown else SETTLING_FRAMES

    def settle(self) -> None:
        """Every frame: the tabs that were in front come to the front again. The first one finds the layout that was saved."""
        if self._saved is not None:
            self._saved.apply(hello_imgui.dpi_window_size_factor())
            self._saved = None
        if self._wait:
            self._wait -= 1
            if not self._wait:
                for label in self._front:
                    imgui.set_window_focus(label)


class SavedSizes:
    """Panels of a layout file, and the scale at which their sizes were saved. The library scales the window and not the panels in it."""

    def __init__(self, scale: float, nodes: tuple[int, ...]) -> None:
        self.scale, self.nodes = scale, nodes

    def apply(self, scale: float) -> None:
        """Give the panels as much of the window at this scale as they had at theirs."""
        factor = scale / self.scale
        if factor == 1.0:
            return
        for number in self.nodes:
            node = imgui.internal.dock_builder_get_node(number)
            if node is not None:
                node.size_ref = ImVec2(factor * node.size_ref.x, factor * node.size_ref.y)


def saved_sizes(path: Path) -> SavedSizes | None:
    """What a layout file says of sizes; None where there is none, or none that is understood."""
    text = ""
    with contextlib.suppress(OSError):
        text = path.read_text(encoding="utf-8", errors="replace")
    scale = re.search(r"^DpiWindowSizeFactor=([0-9.]+)$", text, re.MULTILINE)
    nodes = re.findall(r"^\s*DockNode\s+ID=0x([0-9A-Fa-f]+)\b", text, re.MULTILINE)
    if scale is None or not nodes or not (found := float(scale[1])) > 0:
        return None
    return SavedSizes(found, tuple(int(number, 16) for number in nodes))


def _in_front(label: str) -> bool:
    window = imgui.internal.find_window_by_name(label)
    node = None if window is None else window.dock_node
    return node is not None and node.visible_window is not None and node.visible_window.name == label
