"""Turntables and pictures, made beside the window from the state that is shown; the run goes on meanwhile."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from imgui_bundle import ImVec2, icons_fontawesome_6, imgui
from jaxtyping import UInt8

from interactive3d.runtime.output.pictures import save_picture
from interactive3d.runtime.output.video import write_video
from interactive3d.runtime.scene.camera import Camera, turntable
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.scene.render import render
from interactive3d.runtime.view.studio import Studio

fa = icons_fontawesome_6
FORMATS = (".mp4", ".webm", ".gif", " (PNG frames)")
FPS = 30


class Cancelled(Exception):
    """The user has stopped a recording."""


@dataclass(kw_only=True)
class Recording:
    """A film in the making, in a thread of its own."""

    model: GaussianModel
    path: Path
    cameras: list[Camera]
    size: tuple[int, int]
    fps: int
    done: int = 0
    message: str = ""
    finished: bool = False
    cancelled: bool = False

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name="recording", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait for the end."""
        self._thread.join()

    @property
    def share(self) -> float:
        """How much is done, 0 .. 1."""
        return self.done / max(len(self.cameras), 1)

    def _frames(self) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        for camera in self.cameras:
            if self.cancelled:
                raise Cancelled
            yield picture(self.model, camera, *self.size)
            self.done += 1

    def _run(self) -> None:
        try:
            written = write_video(self.path, self._frames(), self.fps, total=len(self.cameras))
            self.message = f"wrote {written.path}"
        except Cancelled:
            self.message = "recording stopped"
        except Exception as error:  # shown by the panel
            self.message = f"recording failed: {error}"
        self.finished = True


def picture(model: GaussianModel, camera: Camera, width: int, height: int) -> UInt8[np.ndarray, "h w 3"]:
    """One picture on white, eight bits a channel."""
    color = render(model, [camera], width, height).color[0]
    return (color.clamp(0, 1) * 255 + 0.5).to("cpu").byte().numpy()


class RecordingPanel:
    """Size, length and format of a turntable, its progress, and screenshots."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.name = "turntable"
        self.format = 0
        self.size = 512
        self.seconds = 4.0
        self.elevation = 15.0
        self.recording: Recording | None = None

    def draw(self) -> None:
        """One frame."""
        imgui.separator_text("Turntable")
        imgui.set_next_item_width(-130)
        _, self.name = imgui.input_text("##name", self.name)
        imgui.same_line()
        imgui.set_next_item_width(-1)
        _, self.format = imgui.combo("##format", self.format, list(FORMATS))
        for label, attribute, low, high, form in (
            ("size", "size", 64, 1920, "%d px"),
            ("seconds", "seconds", 0.5, 20.0, "%.1f s"),
            ("elevation", "elevation", -80.0, 80.0, "%.0f deg"),
        ):
            imgui.align_text_to_frame_padding()
            imgui.text(label)
            imgui.same_line(90)
            imgui.set_next_item_width(-1)
            if attribute == "size":
                _, self.size = imgui.slider_int(f"##{label}", self.size, int(low), int(high), form)
            else:
                _, value = imgui.slider_float(f"##{label}", getattr(self, attribute), low, high, form)
                setattr(self, attribute, value)
        going = self.recording
        if going is None:
            if imgui.button(f"{fa.ICON_FA_VIDEO}  Record###record", ImVec2(-1, 0)) and self.name.strip():
                self.start()
        else:
            imgui.progress_bar(going.share, ImVec2(-70, 0), f"{going.done} of {len(going.cameras)}")
            imgui.same_line()
            if imgui.button("Stop", ImVec2(-1, 0)):
                going.cancelled = True
            if going.finished:
                self.studio.say(going.message, error="failed" in going.message)
                self.recording = None
        imgui.separator_text("Picture")
        if imgui.button(f"{fa.ICON_FA_CAMERA}  Save this view###screenshot", ImVec2(-1, 0)):
            self.screenshot()

    def start(self) -> None:
        """Film the state that is shown."""
        studio = self.studio
        suffix = FORMATS[self.format]
        path = studio.project.folder / (self.name.strip() + (suffix if suffix.startswith(".") else ""))
        camera = studio.camera
        cameras = turntable(
            max(2, round(self.seconds * FPS)),
            elevation=self.elevation,
            distance=camera.distance,
            fov=camera.fov,
            start=camera.azimuth,
        )
        side = max(16, self.size // 2 * 2)
        self.recording = Recording(model=studio.scene.model, path=path, cameras=cameras, size=(side, side), fps=FPS)
        self.recording.start()

    def screenshot(self, size: tuple[int, int] = (1024, 1024)) -> Path | None:
        """Save the object as it is seen, by the optimizer's own rasterizer, on white."""
        studio = self.studio
        number = 1
        while (path := studio.project.folder / f"view_{number:03d}.png").exists():
            number += 1
        try:
            save_picture(path, picture(studio.scene.model, studio.camera.camera(), *size))
        except (OSError, ValueError) as error:
            studio.fail(f"{path} was not saved: {error}", repr(error))
            return None
        studio.say(f"saved {path}")
        return path

    def close(self) -> None:
        """Stop what is being recorded."""
        if self.recording is not None:
            self.recording.cancelled = True
            self.recording.join()
