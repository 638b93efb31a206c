"""The panels beside the object: hidden all at once, and brought back as they were."""

from imgui_bundle import hello_imgui, imgui

SETTLING_FRAMES = 3
"""Panels that come back take their places among the tabs one after the other; then those that were in front are brought there."""


class Layout:
    """All panels but the first, which is the object's own."""

    def __init__(self, docking: hello_imgui.DockingParams) -> None:
        self._docking = docking
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
        """Every frame: the tabs that were in front come to the front again."""
        if self._wait:
            self._wait -= 1
            if not self._wait:
                for label in self._front:
                    imgui.set_window_focus(label)


def _in_front(label: str) -> bool:
    window = imgui.internal.find_window_by_name(label)
    node = None if window is None else window.dock_node
    return node is not None and node.visible_window is not None and node.visible_window.name == label
