"""The camera path: keyframes to keep, order, time and try out; read and written as a file that other tools share."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from imgui_bundle import ImVec2, icons_fontawesome_6, imgui

from interactive3d.runtime.engine.outputs import camera_of
from interactive3d.runtime.output.problems import FileProblem
from interactive3d.runtime.view.camera_keys import LEAST_SECONDS, CameraKeys
from interactive3d.runtime.view.orbit import OrbitCamera
from interactive3d.runtime.view.panels.widgets import slide_float
from interactive3d.runtime.view.studio import Studio
from interactive3d.runtime.view.theme import px

fa = icons_fontawesome_6
FPS = 30.0
MOST_SECONDS = 600.0


class CameraPanel:
    """See the module's docstring. Every change is one step of undo."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.file = "camera_path.json"
        self.chosen = -1
        self.moment = 0.0
        self.playing = False
        self._played = 0.0
        self._shown: OrbitCamera | None = None
        self._held: CameraKeys | None = None

    def draw(self) -> None:
        """One frame."""
        studio = self.studio
        path = self._held or studio.path
        half = ImVec2(0.5 * (imgui.get_content_region_avail().x - px(8)), 0)
        if imgui.button(f"{fa.ICON_FA_PLUS}  Add this view###add view", half):
            studio.set_path(path.with_key(studio.camera, self.chosen if self.chosen >= 0 else None))
            self.chosen = self.chosen + 1 if self.chosen >= 0 else -1
        imgui.set_item_tooltip("after the one that is chosen, or at the end  (p)")
        imgui.same_line()
        imgui.begin_disabled(not path.keys)
        if imgui.button("Clear###clear path", half):
            studio.set_path(CameraKeys(loop=path.loop, tension=path.tension))
            self.chosen = -1
        imgui.end_disabled()
        self._list(path)
        self._shape(path)
        self._try(path)
        self._files()
        self._declared()

    def _list(self, path: CameraKeys) -> None:
        studio = self.studio
        if not path.keys:
            imgui.text_disabled("no keyframes; go to a view and add it (p)")
            return
        for number, key in enumerate(path.keys):
            imgui.push_id(number)
            camera = key.camera
            text = f"{number + 1}   azimuth {camera.azimuth:.0f}, elevation {camera.elevation:.0f}, distance {camera.distance:.2f}"
            if imgui.selectable(f"{text}##key", self.chosen == number)[0]:
                self.chosen = number
                self.playing = False
                studio.camera = camera
            imgui.pop_id()
        if not 0 <= self.chosen < len(path.keys):
            return
        number, key = self.chosen, path.keys[self.chosen]
        if imgui.button("Replace"):
            studio.set_path(path.changed(number, replace(key, camera=studio.camera)))
        imgui.set_item_tooltip("put the view that is shown in its place")
        imgui.same_line()
        if imgui.button("Delete"):
            studio.set_path(path.without(number))
            self.chosen = -1
        imgui.same_line()
        if imgui.button(f"{fa.ICON_FA_ARROW_UP}###earlier"):
            studio.set_path(path.swapped(number, number - 1))
            self.chosen = max(number - 1, 0)
        imgui.set_item_tooltip("earlier")
        imgui.same_line()
        if imgui.button(f"{fa.ICON_FA_ARROW_DOWN}###later"):
            studio.set_path(path.swapped(number, number + 1))
            self.chosen = min(number + 1, len(path.keys) - 1)
        imgui.set_item_tooltip("later")
        imgui.same_line()
        imgui.set_next_item_width(-1)
        ends = number == len(path.keys) - 1 and not path.loop
        imgui.begin_disabled(ends)
        said = "the path ends here" if ends else "%.1f s to the next" if number < len(path.keys) - 1 else "%.1f s back"
        changed, seconds = slide_float("##key seconds", key.seconds, LEAST_SECONDS, 10.0, said, most=MOST_SECONDS)
        if changed:
            self._held = path.changed(number, replace(key, seconds=round(seconds, 2)))
        self._let_go()
        imgui.end_disabled()

    def _shape(self, path: CameraKeys) -> None:
        changed, loop = imgui.checkbox("closed", path.loop)
        if changed:
            self.studio.set_path(replace(path, loop=loop))
        imgui.set_item_tooltip("from the last keyframe back to the first")
        imgui.same_line()
        imgui.set_next_item_width(-1)
        changed, tension = slide_float("##tension", path.tension, -1.0, 1.0, "tension %.2f")
        if changed:
            self._held = replace(path, tension=round(tension, 2))
        self._let_go()
        imgui.set_item_tooltip("0 goes smoothly through the keyframes, 1 rests at each, -1 swings about them")

    def _let_go(self) -> None:
        """What a slider has changed becomes one step of undo when it is let go."""
        if imgui.is_item_deactivated_after_edit() and self._held is not None:
            self.studio.set_path(self._held)
            self._held = None

    def _try(self, path: CameraKeys) -> None:
        if len(path.keys) < 2:
            return
        icon = fa.ICON_FA_PAUSE if self.playing else fa.ICON_FA_PLAY
        if imgui.button(f"{icon}###play"):
            self.play()
        imgui.same_line()
        imgui.set_next_item_width(-1)
        moved, self.moment = slide_float("##moment", self.moment, 0.0, path.seconds, f"%.1f of {path.seconds:.1f} s")
        if moved:
            self.playing = False
            self._show(path)

    def play(self) -> None:
        """Start and stop the way along the path, from where it was left."""
        if len(self.studio.path.keys) < 2:
            self.studio.say("a path needs two keyframes: go to a view and add it (p), then another")
            return
        self.playing, self._played, self._shown = not self.playing, time.monotonic(), self.studio.camera

    def advance(self) -> None:
        """Every frame, whether the panel is shown or not: go on along the path, until the hand takes the camera."""
        path = self._held or self.studio.path
        if not self.playing:
            return
        if len(path.keys) < 2 or self.studio.camera != self._shown:
            self.playing = False
            return
        now = time.monotonic()
        self.moment, self._played = (self.moment + now - self._played) % path.seconds, now
        self._show(path)

    def _show(self, path: CameraKeys) -> None:
        self._shown = self.studio.camera = OrbitCamera.seen_by(path.at(np.array([self.moment]))[0])

    def _files(self) -> None:
        studio = self.studio
        imgui.set_next_item_width(px(-130))
        _, self.file = imgui.input_text("##path file", self.file)
        place = studio.project.folder / Path(self.file.strip() or "camera_path.json")
        imgui.same_line()
        if imgui.button("Save###save path"):
            self.save(place)
        imgui.same_line()
        if imgui.button("Load###load path"):
            self.load(place)

    def save(self, place: Path) -> None:
        """Write the path; what goes wrong is said."""
        try:
            self.studio.path.save(place, FPS, 512, 512)
        except (FileProblem, ValueError, OSError) as problem:
            self.studio.say(str(problem), error=True)
            return
        self.studio.say(f"saved {place}")

    def load(self, place: Path) -> None:
        """Read a path, undoably; what goes wrong is said."""
        try:
            path = CameraKeys.load(place)
        except (FileProblem, ValueError, OSError) as problem:
            self.studio.say(str(problem), error=True)
            return
        self.studio.set_path(path)
        self.studio.say(f"{len(path.keys)} keyframes from {place.name}")

    def _declared(self) -> None:
        """The views of the script, to look through."""
        program = self.studio.project.program
        if program is None or not program.views:
            return
        imgui.separator_text("Views of the script")
        for view in program.views:
            if imgui.selectable(f"{view.name}##view", False)[0]:
                self.studio.camera = OrbitCamera.seen_by(camera_of(view))
