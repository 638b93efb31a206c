"""Films and pictures, made beside the window: turntables and camera paths of the state that is shown, timelapses of those to come."""

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, UInt8

from interactive3d.runtime.engine.state import RunState
from interactive3d.runtime.field import HashGridField, render_field
from interactive3d.runtime.output.video import write_video
from interactive3d.runtime.scene.camera import Camera
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.scene.render import render
from interactive3d.runtime.view.project import field_of

Rgb = tuple[float, float, float]
WAITING_STATES = 128
"""States of a timelapse that wait for the painter; each is a reference, but holds its tensors."""

UNSEEN = -20.0
"""Logit of an opacity that shows nothing."""


class Cancelled(Exception):
    """The user has stopped a recording."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a picture shows: blobs, without those that are hidden, or the field they have become."""

    model: GaussianModel
    field: HashGridField | None = None
    hidden: Bool[np.ndarray, "n"] | None = None

    @classmethod
    def of(cls, state: RunState, hidden: np.ndarray | None = None) -> "Subject":
        """A state of the run."""
        return cls(model=state.model, field=field_of(state), hidden=hidden)


@torch.no_grad()
def picture(
    subject: Subject, camera: Camera, width: int, height: int, background: Rgb = (1.0, 1.0, 1.0)
) -> UInt8[np.ndarray, "h w 3"]:
    """One picture by the optimizer's own renderers, eight bits a channel."""
    if subject.field is not None:
        color = render_field(subject.field, [camera], width, height, background).color[0]
    else:
        model = subject.model
        if subject.hidden is not None and len(subject.hidden) == len(model):
            away = torch.from_numpy(subject.hidden).to(model.device)
            logits = model.columns["logit_opacity"]
            model = model.with_columns({"logit_opacity": torch.where(away, torch.full_like(logits, UNSEEN), logits)})
        color = render(model, [camera], width, height, background).color[0]
    return (color.clamp(0, 1) * 255 + 0.5).to("cpu").byte().numpy()


@dataclass(kw_only=True)
class Recording:
    """A film in the making, in a thread of its own. ``total`` is None while nobody knows how long it will be."""

    path: Path
    shots: Callable[["Recording"], Iterator[tuple[Subject, Camera]]]
    total: int | None
    size: tuple[int, int]
    fps: float
    background: Rgb = (1.0, 1.0, 1.0)
    done: int = 0
    dropped: int = 0
    message: str = ""
    failed: bool = False
    finished: bool = False
    cancelled: bool = False
    _thread: threading.Thread | None = field(default=None, repr=False)

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name="recording", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait for the end."""
        if self._thread is not None:
            self._thread.join()

    def stop(self) -> None:
        """Give it up; nothing is written."""
        self.cancelled = True

    @property
    def share(self) -> float:
        """How much is done, 0 .. 1; 0 while nobody knows."""
        return self.done / max(self.total, 1) if self.total else 0.0

    def _frames(self) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        for subject, camera in self.shots(self):
            if self.cancelled:
                raise Cancelled
            yield picture(subject, camera, *self.size, self.background)
            self.done += 1

    def _run(self) -> None:
        try:
            written = write_video(self.path, self._frames(), self.fps, total=self.total)
            lost = f"; {self.dropped} frames were left out, for they came too quickly" if self.dropped else ""
            self.message = f"wrote {written.path}: {written.frames} frames{lost}"
            self.message += "".join(f"; {note.text}" for note in written.notes)
        except Cancelled:
            self.message = "recording stopped, nothing was written"
        except Exception as error:  # shown by the panel
            self.message, self.failed = f"recording failed: {error}", True
        self.finished = True


def film(
    subject: Subject, cameras: list[Camera], path: Path, size: tuple[int, int], fps: float, background: Rgb
) -> Recording:
    """One state from many cameras."""
    return Recording(
        path=path,
        shots=lambda recording: ((subject, camera) for camera in cameras),
        total=len(cameras),
        size=size,
        fps=fps,
        background=background,
    )


class Timelapse:
    """The states of a run as they come, from one camera or along a path, until it is ended; then the film is finished."""

    def __init__(self, recording: Recording, cameras: list[Camera], every: int) -> None:
        self.every = every
        self._cameras = cameras
        self._states: queue.Queue[RunState | None] = queue.Queue(maxsize=WAITING_STATES)
        self._ended = False
        self.recording = replace(recording, shots=self._shots)

    def take(self, state: RunState) -> None:
        """A state that the run has reached; called by the optimizer's thread, which is never kept waiting."""
        if state.step % self.every or self._ended or self.recording.finished:
            return
        try:
            self._states.put_nowait(state)
        except queue.Full:
            self.recording.dropped += 1

    def end(self) -> None:
        """No more frames; the film is written with those that are there."""
        if self._ended:
            return
        self._ended = True
        threading.Thread(target=self._states.put, args=(None,), daemon=True).start()

    def _shots(self, recording: Recording) -> Iterator[tuple[Subject, Camera]]:
        number = 0
        while not recording.cancelled:
            try:
                state = self._states.get(timeout=0.2)
            except queue.Empty:
                continue
            if state is None:
                return
            # A path longer than the run is cut, a shorter one begins again.
            yield Subject.of(state), self._cameras[number % len(self._cameras)]
            number += 1
        raise Cancelled
