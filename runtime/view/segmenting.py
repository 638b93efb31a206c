"""Click, see the masks, accept: the hand's side of `click (X, Y) in VIEW …` (paper 3.1.1).

What is clicked is segmented in a thread of its own, in the view that it was clicked in and in a second one as the language has it; what is
accepted becomes the selection, as the expression that a script would say.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8

from interactive3d.dsl.operations import DifferencePart, PartExpression
from interactive3d.dsl.printer import part as format_part
from interactive3d.dsl.values import Click, ClickPart, OrbitView
from interactive3d.runtime.scene.camera import DEFAULT_DISTANCE, DEFAULT_FOV, Camera
from interactive3d.runtime.scene.clicks import DEFAULT_SIZE, blobs_in, seen_views
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.scene.parts import PartError
from interactive3d.runtime.scene.segmenter import segmenter
from interactive3d.runtime.view.latest import Latest
from interactive3d.runtime.view.orbit import OrbitCamera, Projection

RIM = 0.98
"""Clicks nearer than this to the rim of the square picture, as a share of its half side, are given a wider one."""

WIDENED = 1.08
SAME_PLACE = 1e-3
"""Cameras that are nearer to each other than this share of their distance look the same way; what is written is rounded."""

MASK_COLOR = (96, 232, 150)
MASK_TINT = (96 / 255, 232 / 255, 150 / 255, 0.45)
"""Colour of the blobs that masks pick out, and its strength."""

MASK_SHARE = 0.45
"""How strongly a mask covers what it lies on; its rim covers it wholly."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A click: the camera it was made with, where (to the right and down, at depth 1), and whether it takes away."""

    camera: OrbitCamera
    x: float
    y: float
    takes_away: bool = False


@dataclass(frozen=True, kw_only=True)
class MaskedView:
    """A view as it was segmented."""

    camera: Camera
    picture: UInt8[np.ndarray, "h w 3"]
    mask: Bool[np.ndarray, "h w"]


@dataclass(frozen=True, kw_only=True)
class SegmentJob:
    """Clicks, and the blobs that they are made on."""

    marks: tuple[Mark, ...]
    model: GaussianModel


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """What clicks pick out, to be accepted or not. ``problem`` says why they pick out nothing."""

    job: SegmentJob
    part: PartExpression
    views: tuple[MaskedView, ...] = ()
    rows: Bool[np.ndarray, "n"] | None = None
    problem: str | None = None

    @property
    def count(self) -> int:
        """Blobs picked out."""
        return 0 if self.rows is None else int(self.rows.sum())


def mark_at(projection: Projection, camera: OrbitCamera, x: float, y: float, takes_away: bool) -> Mark:
    """A click on a pixel of the viewport. The camera is rounded as it will be written."""
    dx, dy = (x - projection.width / 2.0) / projection.focal, (y - projection.height / 2.0) / projection.focal
    tx, ty, tz = (round(float(v), 4) + 0.0 for v in camera.target)
    written = OrbitCamera(
        azimuth=round(camera.azimuth, 2),
        elevation=round(camera.elevation, 2),
        distance=round(camera.distance, 4),
        target=(tx, ty, tz),
        fov=round(camera.fov, 2),
    )
    return Mark(camera=written, x=dx, y=dy, takes_away=takes_away)


def part_of(marks: Sequence[Mark]) -> PartExpression:
    """What the clicks say in the language: those that add, less those that take away.

    Clicks with one camera are joined, and what several cameras see is intersected, as the language has it.
    """
    kept = _click_part([m for m in marks if not m.takes_away])
    lost = [m for m in marks if m.takes_away]
    return DifferencePart(left=kept, right=_click_part(lost)) if lost else kept


def _click_part(marks: Sequence[Mark]) -> ClickPart:
    clicks = []
    for camera in dict.fromkeys(m.camera for m in marks):
        ours = [m for m in marks if m.camera == camera]
        view, half = _view(camera, max(max(abs(m.x), abs(m.y)) for m in ours))
        focal = 0.5 * DEFAULT_SIZE / half
        for m in ours:
            x, y = (round(0.5 * DEFAULT_SIZE + focal * v, 1) for v in (m.x, m.y))
            clicks.append(Click(x=x, y=y, view=view))
    return ClickPart(clicks=tuple(clicks))


def _view(camera: OrbitCamera, reach: float) -> tuple[OrbitView, float]:
    """The view of a square picture that holds clicks up to ``reach`` from its middle, and half its side, both at depth 1."""
    half = math.tan(math.radians(camera.fov) / 2.0)
    fov = camera.fov
    if reach > RIM * half:
        fov = round(math.degrees(2.0 * math.atan(WIDENED * reach)), 2)
        half = math.tan(math.radians(fov) / 2.0)
    view = OrbitView(
        azimuth=camera.azimuth,
        elevation=camera.elevation,
        distance=None if camera.distance == DEFAULT_DISTANCE else camera.distance,
        fov=None if fov == DEFAULT_FOV else fov,
        target=None if camera.target == (0.0, 0.0, 0.0) else camera.target,
    )
    return view, half


def propose(job: SegmentJob) -> Proposal:
    """Segment the views; takes a third of a second with the embedded segmenter, and longer with a large one."""
    part = part_of(job.marks)
    kept, lost = (part.left, part.right) if isinstance(part, DifferencePart) else (part, None)
    assert isinstance(kept, ClickPart)
    try:
        answering = segmenter()
        seen = seen_views(kept, job.model, answering)
        rows = blobs_in(seen, job.model)
        against = []
        if isinstance(lost, ClickPart):
            against = seen_views(lost, job.model, answering)
            rows = rows & ~blobs_in(against, job.model)
    except (PartError, ValueError) as error:
        return Proposal(job=job, part=part, problem=str(error))
    views = []
    for one in seen:
        mask = one.mask.copy()
        for other in against:
            if other.camera == one.camera:
                mask &= ~other.mask
        picture = (one.view.color.clip(0, 1) * 255 + 0.5).astype(np.uint8)
        views.append(MaskedView(camera=one.camera, picture=picture, mask=mask))
    return Proposal(job=job, part=part, views=tuple(views), rows=rows.cpu().numpy())


def mask_layer(mask: Bool[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 4"]:
    """A mask as a layer to lay over a picture: its inside half transparent, its rim not."""
    inner = mask.copy()
    for axis in (0, 1):
        for shift in (1, -1):
            inner &= np.roll(mask, shift, axis)
    layer = np.zeros((*mask.shape, 4), np.uint8)
    layer[..., :3] = MASK_COLOR
    layer[..., 3] = np.where(inner, round(255 * MASK_SHARE), np.where(mask, 255, 0))
    return layer


def with_mask(view: MaskedView) -> UInt8[np.ndarray, "h w 3"]:
    """A view's picture with its mask over it."""
    layer = mask_layer(view.mask).astype(np.float64)
    share = layer[..., 3:] / 255.0
    return (view.picture * (1 - share) + layer[..., :3] * share + 0.5).astype(np.uint8)


def placed(camera: Camera, projection: Projection) -> tuple[float, float, float] | None:
    """Where a square picture lies in the viewport that looks the same way: left, top and side in pixels; None where it does not."""
    eye = projection.camera
    apart = np.linalg.norm(np.subtract(camera.position, eye.position)) + np.linalg.norm(
        np.subtract(camera.target, eye.target)
    )
    if apart > SAME_PLACE * np.linalg.norm(np.subtract(camera.position, camera.target)):
        return None
    side = 2.0 * projection.focal * math.tan(math.radians(camera.fov) / 2.0)
    return 0.5 * (projection.width - side), 0.5 * (projection.height - side), side


class Segmenting:
    """The clicks made so far and what they pick out. ``proposal`` is the newest answer, until it is accepted or cancelled."""

    def __init__(self, model: Callable[[], GaussianModel], say: Callable[[str], None]) -> None:
        self._model, self._say = model, say
        self._worker: Latest[SegmentJob, Proposal] = Latest(propose, "segmenter")
        self._asked: SegmentJob | None = None
        self.proposal: Proposal | None = None

    @property
    def waiting(self) -> bool:
        """Whether clicks have been made that are not answered yet."""
        return self._asked is not None and (self.proposal is None or self.proposal.job is not self._asked)

    @property
    def active(self) -> bool:
        """Whether there is something to accept or cancel."""
        return self._asked is not None

    def click(self, mark: Mark, more: bool) -> None:
        """Ask what a click picks out; ``more`` adds it to the clicks made so far."""
        before = self._asked.marks if self._asked is not None and (more or mark.takes_away) else ()
        if mark.takes_away and not before:
            self._say("click first on what belongs to it; then ctrl takes away")
            return
        self._asked = SegmentJob(marks=(*before, mark), model=self._model())
        self._worker.request(self._asked)

    def refresh(self) -> None:
        """Take over what has been found. Clicks that hit nothing are said and forgotten. Raises what the segmenter raised."""
        try:
            done = self._worker.take()
        except Exception:
            self.cancel()
            raise
        if done is None or done.job is not self._asked:
            return
        if done.problem is not None:
            missed, _, _ = done.problem.partition("; the object's nearest pixel")
            self._say(missed)  # what follows there is for those who write clicks by hand
            self._asked = None if self.proposal is None else self.proposal.job
            return
        self.proposal = done

    def take(self) -> PartExpression | None:
        """The expression of what is shown, which is over with that; None where nothing is."""
        found = self.proposal
        if found is None or self.waiting:
            return None
        self.cancel()
        return found.part

    def cancel(self) -> None:
        """Forget the clicks."""
        self._asked = self.proposal = None

    @property
    def text(self) -> str:
        """What would be accepted, as Sculpt."""
        return "" if self.proposal is None else format_part(self.proposal.part)

    @property
    def ready(self) -> bool:
        """Whether an answer waits to be taken over."""
        return self._worker.ready

    @property
    def thread_ids(self) -> list[int]:
        """Of the thread that segments."""
        return [self._worker.thread_id]

    def close(self) -> None:
        """End the thread."""
        self._worker.close()
