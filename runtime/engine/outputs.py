"""What the output operations of a script write, and the sheet that shows every interaction."""

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from interactive3d.dsl.operations import (
    Export,
    ExportKind,
    OrbitView,
    OutputOperation,
    RecordTimelapse,
    RecordTurntable,
    SnapshotImage,
)
from interactive3d.runtime.engine.hooks import Interaction
from interactive3d.runtime.engine.stage2 import scene_of
from interactive3d.runtime.engine.state import Effect, RunState
from interactive3d.runtime.field import HashGridField, render_field, save_field
from interactive3d.runtime.field.convert import field_to_mesh, mesh_settings, splats_to_mesh
from interactive3d.runtime.operations.base import OperationRefused, seeded_generator
from interactive3d.runtime.output.atomic import write_text
from interactive3d.runtime.output.pictures import SheetRow, contact_sheet, load_picture, save_picture, to_bytes
from interactive3d.runtime.output.problems import FileProblem
from interactive3d.runtime.output.run_folder import RunFolder
from interactive3d.runtime.output.splat_files import write_splats
from interactive3d.runtime.output.video import write_video
from interactive3d.runtime.scene.camera import DEFAULT_DISTANCE, DEFAULT_FOV, Camera, turntable
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.scene.render import render

VIDEO_SIZE = 512
PICTURE_SIZE = 512
TURNTABLE_SECONDS = 4.0  # 120 frames at 30 a second
TURNTABLE_ELEVATION = 15.0
FPS = 30
SHEET_SIZE = 192
SHEET_VIEWS = ((35.0, 15.0), (125.0, 15.0))
END_AZIMUTHS = (0.0, 45.0, 90.0, 180.0, 225.0, 270.0)
WIDEST_PICTURE = 8192


def camera_of(view: OrbitView | None) -> Camera:
    """The camera that a view of the language means; a view that is not given is the front, slightly from above."""
    if view is None:
        return Camera.orbit(0.0, TURNTABLE_ELEVATION)
    return Camera.orbit(
        view.azimuth,
        view.elevation,
        view.distance if view.distance is not None else DEFAULT_DISTANCE,
        view.fov if view.fov is not None else DEFAULT_FOV,
        view.target if view.target is not None else (0.0, 0.0, 0.0),
    )


Note = tuple[str, dict[str, Any]]
"""What the contact sheet keeps of an interaction, under the stem of its files."""

Scene = GaussianModel | HashGridField
"""What a picture shows: splats, or the field that they have become."""


def picture(scene: Scene, camera: Camera, width: int, height: int) -> UInt8[np.ndarray, "h w 3"]:
    """One picture on white, eight bits a channel."""
    draw = render_field if isinstance(scene, HashGridField) else render
    color = draw(scene, [camera], width, height).color[0]  # type: ignore[arg-type]
    return (color.clamp(0, 1) * 255 + 0.5).to("cpu").byte().numpy()


def write_output(
    operation: OutputOperation, state: RunState, folder: RunFolder, tell: Callable[[str], None], seed: int = 0
) -> str:
    """Carry out a snapshot, an export or a turntable; returns what to say about it.

    Raises:
        OperationRefused: nothing to show, or this version cannot write it.
        FileProblem: the file cannot be written.
    """
    if isinstance(operation, RecordTimelapse):
        return f"a frame every {operation.every} steps"
    if len(state.model) == 0:
        raise OperationRefused(f"step {state.step}: there are no blobs to show in {operation.path!r}")  # type: ignore[attr-defined]
    match operation:
        case SnapshotImage():
            path = folder.output(_named(operation.path, state.step))
            width = _side(operation.width or PICTURE_SIZE)
            height = _side(operation.height or operation.width or PICTURE_SIZE)
            save_picture(path, picture(scene_of(state), camera_of(operation.view), width, height))
        case Export(kind=ExportKind.SPLATS):
            path = folder.output(_named(operation.path, state.step))
            write_splats(state.model, path)
        case RecordTurntable():
            path = folder.output(_named(operation.path, state.step))
            path = record_turntable(scene_of(state), path, operation, tell)
        case Export(kind=ExportKind.MESH):
            path = folder.output(_named(operation.path, state.step))
            return f"wrote {path.relative_to(folder.path)}: {_export_mesh(operation, state, path, seed, tell)}"
        case Export(kind=ExportKind.FIELD):
            if state.field is None:
                raise OperationRefused(f"step {state.step}: there is no field to export yet; `distill` makes it")
            path = save_field(folder.output(_named(operation.path, state.step)), state.field.field)
        case _:
            raise OperationRefused(f"step {state.step}: {operation.keyword} is not known to this version")
    return f"wrote {path.relative_to(folder.path)}"


def _export_mesh(operation: Export, state: RunState, path: Path, seed: int, tell: Callable[[str], None]) -> str:
    """The field's surface; splats that have not been distilled are, on the side, without changing the run."""
    scene = scene_of(state)
    try:
        settings = mesh_settings(
            state.settings, resolution=operation.resolution, texture=operation.texture, faces=operation.faces
        )
        threshold = None if operation.threshold in (None, "auto") else float(operation.threshold)
        if isinstance(scene, HashGridField):
            mesh = field_to_mesh(scene, path, settings, threshold=threshold, tell=tell)
        else:

            def randomness(step: int, purpose: str) -> torch.Generator:
                return seeded_generator(seed, state.step, f"export {step} {purpose}")

            mesh = splats_to_mesh(scene, path, settings, randomness, threshold=threshold, tell=tell)
    except FileProblem:
        raise
    except ValueError as error:
        raise OperationRefused(f"step {state.step}: export mesh: {error}") from error
    return f"{len(mesh.vertices)} vertices, {len(mesh.faces)} faces"


def record_turntable(model: Scene, path: Path, operation: RecordTurntable, tell: Callable[[str], None]) -> Path:
    """Film the model from a camera that goes once around; returns the path written, which differs where no encoder is there."""
    width = _side(operation.width or VIDEO_SIZE)
    height = _side(operation.height or operation.width or VIDEO_SIZE)
    fps = operation.fps or FPS
    count = max(2, round((operation.seconds or TURNTABLE_SECONDS) * fps))
    start = camera_of(operation.view)
    view = operation.view
    cameras = turntable(
        count,
        elevation=operation.elevation
        if operation.elevation is not None
        else view.elevation
        if view
        else TURNTABLE_ELEVATION,
        distance=(view.distance if view and view.distance else DEFAULT_DISTANCE),
        fov=start.fov,
        start=view.azimuth if view else 0.0,
    )
    return film(model, path, cameras, width, height, fps, tell)


def film(
    model: Scene,
    path: Path,
    cameras: list[Camera],
    width: int,
    height: int,
    fps: int,
    tell: Callable[[str], None],
    progress: Callable[[int, int | None], None] | None = None,
) -> Path:
    """Film the model along cameras."""
    frames = (picture(model, camera, width, height) for camera in cameras)
    video = write_video(path, frames, fps, total=len(cameras), progress=progress)
    for note in video.notes:
        tell(str(note))
    return video.path


class Timelapses:
    """Frames of running timelapses, kept as PNG files until the last one, so that an interrupted run loses none."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    def forget_after(self, step: int) -> None:
        """Frames of steps that will be taken again go."""
        for frame in (self.folder.path / "frames").glob("*/*.png"):
            if int(frame.stem) > step:
                frame.unlink(missing_ok=True)

    def frame(self, operation: OutputOperation, state: RunState, last: bool) -> None:
        """Take the frame of this boundary; after the last one, make the video."""
        assert isinstance(operation, RecordTimelapse)
        frames = self.folder.output(f"frames/{Path(operation.path).stem}", folder=True)
        if len(state.model):
            save_picture(
                frames / f"{state.step:07d}.png",
                picture(scene_of(state), camera_of(operation.view), VIDEO_SIZE, VIDEO_SIZE),
            )
        if last:
            files = [p for p in sorted(frames.glob("*.png")) if int(p.stem) <= state.step]
            pictures = (to_bytes(load_picture(p)) for p in files)
            write_video(self.folder.output(operation.path), pictures, FPS, total=len(files))


class ContactSheet:
    """Before, after and repaired pictures of every interaction. Kept as files, so that a resumed run shows the earlier ones too."""

    def __init__(self, folder: Path, from_step: int | None) -> None:
        self.folder = folder
        self.count = 0
        if from_step is None or not folder.is_dir():
            return
        for note in sorted(folder.glob("*.json")):
            # Interactions of steps that will be taken again are seen again.
            if json.loads(note.read_text())["seen"] > from_step:
                note.unlink()
                for old in folder.glob(f"{note.stem}_*.png"):
                    old.unlink()
            else:
                self.count = max(self.count, int(note.stem) + 1)

    def add(self, interaction: Interaction) -> None:
        """Render an interaction that is over."""
        states = [("before", interaction.before), ("after", interaction.after)]
        if interaction.repaired is not None:
            states.append(("repaired", interaction.repaired))
        stem = f"{self.count:03d}"
        self.count += 1
        for word, state in states:
            for i, view in enumerate(SHEET_VIEWS):
                save_picture(self.folder / f"{stem}_{word}_{i}.png", _sheet_picture(scene_of(state), *view))
        seen = max(state.step for _, state in states)
        effect = interaction.effect
        note = {
            "step": effect.step,
            "text": effect.text,
            "done": effect.message,
            "states": [w for w, _ in states],
            "seen": seen,
        }
        write_text(self.folder / f"{stem}.json", json.dumps(note))

    def write(self, path: Path, final: RunState, heading: str) -> None:
        """The sheet: a row for each interaction, and the object at the end."""
        rows = [self._row(together) for together in self._grouped(self._notes(final.effects))]
        if len(final.model):
            around = [_sheet_picture(scene_of(final), azimuth, TURNTABLE_ELEVATION) for azimuth in END_AZIMUTHS]
            captions = [f"azimuth {azimuth:.0f}" for azimuth in END_AZIMUTHS]
            subtitle = f"{len(final.model)} blobs"
            rows.append(
                SheetRow(title=f"step {final.step}: the end", subtitle=subtitle, images=around, captions=captions)
            )
        contact_sheet(rows, path, heading=heading, tile=SHEET_SIZE)

    def _notes(self, effects: Sequence[Effect]) -> list[Note]:
        """The interactions that ``effects`` tell of: what was undone has been seen, and is not part of the object."""
        left = Counter((effect.step, effect.text) for effect in effects)
        kept = []
        # Of what was done, undone and done again the last one counts.
        for path in sorted(self.folder.glob("*.json"), reverse=True):
            note = json.loads(path.read_text())
            if left[note["step"], note["text"]]:
                left[note["step"], note["text"]] -= 1
                kept.append((path.stem, note))
        return kept[::-1]

    def _grouped(self, notes: list[Note]) -> list[list[Note]]:
        """Interactions of one kind at one step together: the stripes of a gesture are one thing to see."""
        notes.sort(key=lambda note: (note[1]["step"], note[0]))
        kinds = groupby(notes, key=lambda note: (note[1]["step"], _kind(note[1]["text"]), len(note[1]["states"])))
        return [list(together) for _, together in kinds]

    def _row(self, together: list[Note]) -> SheetRow:
        """From before the first of them to after the last."""
        (first, note), last = together[0], together[-1][0]
        files = [
            (first if word == "before" else last, word, i) for word in note["states"] for i in range(len(SHEET_VIEWS))
        ]
        images = [load_picture(self.folder / f"{stem}_{word}_{i}.png") for stem, word, i in files]
        captions = [word if i == 0 else "" for _, word, i in files]
        title = f"step {note['step']}: {_shortened(note['text'])}"
        others = len(together) - 1
        done = note["done"] + (f"; and {others} more of the kind" if others else "")
        return SheetRow(title=title, subtitle=done, images=images, captions=captions)


def _kind(text: str) -> str:
    """The keyword of an operation's text, behind its moment."""
    words = text.split()
    return next((word for word in words[2:] if not word.isdigit()), words[0]) if words[0] == "at" else words[0]


def _sheet_picture(scene: Scene, azimuth: float, elevation: float) -> UInt8[np.ndarray, "h w 3"]:
    if isinstance(scene, GaussianModel) and len(scene) == 0:
        return np.full((SHEET_SIZE, SHEET_SIZE, 3), 255, np.uint8)
    return picture(scene, Camera.orbit(azimuth, elevation), SHEET_SIZE, SHEET_SIZE)


def _shortened(text: str, most: int = 110) -> str:
    text = text.split(" ", 3)[3] if text.startswith("at step ") else text
    text = re.sub(r"\d+\.\d{4,}", lambda long: f"{float(long[0]):.3g}", text)
    return text if len(text) <= most else text[: most - 1] + "…"


def _named(path: str, step: int) -> str:
    return path.replace("{step}", f"{step:06d}")


def _side(pixels: int) -> int:
    if not 16 <= pixels <= WIDEST_PICTURE:
        raise OperationRefused(f"size {pixels}: expected 16 to {WIDEST_PICTURE} pixels")
    return pixels
