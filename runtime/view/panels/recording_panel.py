"""Films and pictures: what, how large, how long, on what; the run goes on meanwhile."""

from collections.abc import Callable
from enum import Enum
from pathlib import Path

from imgui_bundle import ImVec2, icons_fontawesome_6, imgui

from interactive3d.runtime.output.pictures import save_picture
from interactive3d.runtime.scene.camera import Camera, turntable
from interactive3d.runtime.view.clipboard import ClipboardProblem, copy_png
from interactive3d.runtime.view.panels.widgets import slide_float, slide_int
from interactive3d.runtime.view.recording import Recording, Rgb, Subject, Timelapse, film, picture
from interactive3d.runtime.view.studio import Studio
from interactive3d.runtime.view.theme import MUTED, px

fa = icons_fontawesome_6
FORMATS = (".mp4", ".webm", ".gif", " (PNG frames)")
SIDES = (64, 4096)


class Film(Enum):
    """What is filmed."""

    TURNTABLE = "Turntable"
    PATH = "Camera path"
    TIMELAPSE = "Timelapse"


BACKGROUNDS: dict[str, Rgb] = {
    "white": (1.0, 1.0, 1.0),
    "black": (0.0, 0.0, 0.0),
    "grey": (0.5, 0.5, 0.5),
    "dark": (0.13, 0.14, 0.16),
}


class RecordingPanel:
    """See the module's docstring."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.film = Film.TURNTABLE
        self.name = "turntable"
        self.format = 0
        self.width, self.height = 512, 512
        self.fps = 30
        self.seconds = 4.0
        self.path_seconds: float | None = None
        """Of a film along the camera path; None for as long as the path takes."""
        self.elevation = 15.0
        self.every = 5
        self.along_path = False
        self.background = "white"
        self.recording: Recording | None = None
        self.timelapse: Timelapse | None = None
        self._ending = False

    def draw(self) -> None:
        """One frame."""
        imgui.separator_text("Film")
        for kind in Film:
            if imgui.radio_button(kind.value, self.film is kind):
                self.choose(kind)
            imgui.same_line()
        imgui.new_line()
        imgui.set_next_item_width(px(-130))
        _, self.name = imgui.input_text("##name", self.name)
        imgui.same_line()
        imgui.set_next_item_width(-1)
        _, self.format = imgui.combo("##format", self.format, list(FORMATS))
        self._row("size", self._size)
        self._row("fps", self._fps)
        if self.film is Film.TIMELAPSE:
            self._row("every", self._every)
            self._row("from", self._from)
        elif self.film is Film.PATH:
            self._row("seconds", self._path_seconds)
        else:
            self._row("seconds", self._seconds)
            self._row("elevation", self._elevation)
        self._row("background", self._background)
        self._button()
        imgui.separator_text("Picture")
        half = ImVec2(0.5 * (imgui.get_content_region_avail().x - px(8)), 0)
        if imgui.button(f"{fa.ICON_FA_CAMERA}  Save this view###screenshot", half):
            self.screenshot()
        imgui.same_line()
        if imgui.button(f"{fa.ICON_FA_CLIPBOARD}  Copy###copy picture", half):
            self.copy_picture()

    def choose(self, kind: Film) -> None:
        """Film something else; the name follows where nobody has given one."""
        if self.name in [k.value.lower().replace(" ", "_") for k in Film]:
            self.name = kind.value.lower().replace(" ", "_")
        self.film = kind

    def _row(self, label: str, widget: Callable[[], None]) -> None:
        imgui.align_text_to_frame_padding()
        imgui.text(label)
        imgui.same_line(px(100))
        imgui.set_next_item_width(-1)
        widget()

    def _size(self) -> None:
        _, sides = imgui.input_int2("##size", [self.width, self.height])
        low, high = SIDES
        # Encoders take even sides only.
        self.width, self.height = (min(max(int(side), low), high) // 2 * 2 for side in sides)

    def _fps(self) -> None:
        _, self.fps = slide_int("##fps", self.fps, 5, 60, "%d a second", least=1, most=240)

    def _seconds(self) -> None:
        _, self.seconds = slide_float("##seconds", self.seconds, 0.5, 30.0, "%.1f s", least=0.1, most=600.0)

    def _path_seconds(self) -> None:
        own = self.studio.path.seconds
        shown = own if self.path_seconds is None else self.path_seconds
        changed, seconds = slide_float(
            "##path seconds", shown, 0.5, max(30.0, own), "%.1f s", least=0.1, most=max(600.0, own)
        )
        if changed:
            self.path_seconds = None if abs(seconds - own) < 0.05 else seconds
        imgui.set_item_tooltip("as long as the path takes in Cameras, or quicker or slower")

    def _elevation(self) -> None:
        _, self.elevation = slide_float("##elevation", self.elevation, -80.0, 80.0, "%.0f deg", least=-89.0, most=89.0)

    def _every(self) -> None:
        _, self.every = slide_int("##every", self.every, 1, 100, "%d steps", most=100_000)

    def _from(self) -> None:
        _, self.along_path = imgui.checkbox("along the camera path", self.along_path)

    def _background(self) -> None:
        names = list(BACKGROUNDS)
        _, number = imgui.combo("##background", names.index(self.background), names)
        self.background = names[number]

    def _button(self) -> None:
        going = self.recording
        if going is None:
            if imgui.button(f"{fa.ICON_FA_VIDEO}  Record###record", ImVec2(-1, 0)):
                self.start()
            return
        said = f"{going.done} of {going.total}" if going.total else f"{going.done} frames"
        imgui.progress_bar(going.share, ImVec2(px(-130), 0), said)
        imgui.same_line()
        if self.timelapse is not None:
            if imgui.button("Finish", ImVec2(px(60), 0)):
                self.timelapse.end()
            imgui.set_item_tooltip("write the film with the frames that are there")
            imgui.same_line()
        if imgui.button("Stop", ImVec2(-1, 0)):
            going.stop()
        imgui.set_item_tooltip("give it up; nothing is written")
        if self.timelapse is not None:
            imgui.text_colored(MUTED, "a frame every few steps, until Finish or the end of the run")

    def settle(self) -> None:
        """Every frame, whether the panel is shown or not: end a timelapse with the run, and tell of what has been finished."""
        worker = self.studio.worker
        if self.timelapse is not None and not self._ending and worker.session.finished:
            # In the optimizer's thread, which then has handed over the last state.
            self._ending = True
            worker.command(self.timelapse.end)
        if self.recording is not None and self.recording.finished:
            self.studio.say(self.recording.message, error=self.recording.failed)
            self.recording = None
            if self.timelapse is not None:
                worker.listeners.remove(self.timelapse.take)
                self.timelapse = None

    def cameras(self) -> list[Camera]:
        """One camera a frame.

        Raises:
            ValueError: a camera path without keyframes.
        """
        camera = self.studio.camera
        if self.film is Film.PATH or (self.film is Film.TIMELAPSE and self.along_path):
            return self.studio.path.frames(self.fps, self.path_seconds)
        if self.film is Film.TIMELAPSE:
            return [camera.camera()]
        count = max(2, round(self.seconds * self.fps))
        way = turntable(count, elevation=self.elevation, distance=camera.distance, fov=camera.fov, start=camera.azimuth)
        # Around the point that the window turns about.
        x, y, z = camera.target
        return [
            Camera(
                position=(c.position[0] + x, c.position[1] + y, c.position[2] + z),
                target=(c.target[0] + x, c.target[1] + y, c.target[2] + z),
                fov=c.fov,
            )
            for c in way
        ]

    def start(self) -> None:
        """Film the state that is shown, or those to come."""
        studio = self.studio
        if self.recording is not None:
            studio.say("a film is being made already; finish or stop it first")
            return
        name = self.name.strip()
        if not name:
            studio.say("give the film a name", error=True)
            return
        if self.film is Film.TIMELAPSE and not self._can_follow():
            return
        try:
            cameras = self.cameras()
        except ValueError as error:
            studio.say(str(error), error=True)
            return
        suffix = FORMATS[self.format] if FORMATS[self.format].startswith(".") else ""
        path = free_place(studio.project.folder / (name.removesuffix(suffix) + suffix))
        subject = Subject.of(studio.scene.state, studio.scene.hidden)
        size = (self.width, self.height)
        self.recording = film(subject, cameras, path, size, self.fps, BACKGROUNDS[self.background])
        if self.film is Film.TIMELAPSE:
            self.recording.total = None
            self._ending = False
            self.timelapse = Timelapse(self.recording, cameras, self.every)
            self.recording = self.timelapse.recording
            studio.worker.listeners.append(self.timelapse.take)
            if not studio.worker.running:
                studio.say("the timelapse films the steps to come: press space")
        self.recording.start()

    def _can_follow(self) -> bool:
        """Whether there are steps to come; says why not."""
        if not self.studio.project.optimizes:
            self.studio.say("a timelapse films a run, and this file is only viewed", error=True)
            return False
        if self.studio.worker.session.finished:
            self.studio.say(
                "a timelapse films the steps to come, and the run is at its last one; go back in the timeline first",
                error=True,
            )
            return False
        return True

    def screenshot(self, size: tuple[int, int] = (1024, 1024)) -> Path | None:
        """Save the object as it is seen, by the optimizer's own renderers."""
        studio = self.studio
        number = 1
        while (path := studio.project.folder / f"view_{number:03d}.png").exists():
            number += 1
        try:
            subject = Subject.of(studio.scene.state, studio.scene.hidden)
            save_picture(path, picture(subject, studio.camera.camera(), *size, BACKGROUNDS[self.background]))
        except (OSError, ValueError) as error:
            studio.fail(f"{path} was not saved: {error}", repr(error))
            return None
        studio.say(f"saved {path}")
        return path

    def copy_picture(self) -> None:
        """The same picture, onto the clipboard; the file is kept, for some clipboards only point at it."""
        path = self.screenshot()
        if path is None:
            return
        try:
            copy_png(path)
        except ClipboardProblem as problem:
            self.studio.say(f"{path.name} is saved, but not on the clipboard: {problem}", error=True)
            return
        self.studio.say(f"{path.name} is saved, and on the clipboard")

    def close(self) -> None:
        """Finish a timelapse with the frames that are there, for its time does not come again; stop any other film."""
        if self.recording is not None:
            if self.timelapse is not None:
                self.timelapse.end()
            else:
                self.recording.stop()
            self.recording.join()


def free_place(path: Path) -> Path:
    """The path itself, or with the first number that no file or folder has yet: a film is never written over another."""
    place, number = path, 2
    while place.exists():
        place = path.with_name(f"{path.stem}_{number:03d}{path.suffix}")
        number += 1
    return place
