"""What the hand has marked: the selection, what is hidden, a region, a camera path, and masks that wait to be accepted; all of it undoable."""

import dataclasses
from abc import ABC, abstractmethod
from collections import deque

from interactive3d.dsl.operations import ColorPart, NamedPart, PartExpression, UnionPart
from interactive3d.dsl.printer import part as format_part
from interactive3d.dsl.values import SegmentPart
from interactive3d.runtime.scene.parts import part_mask
from interactive3d.runtime.view.camera_keys import CameraKeys
from interactive3d.runtime.view.gestures import Gizmo
from interactive3d.runtime.view.history import History, Marked, Marks
from interactive3d.runtime.view.looking import Looking
from interactive3d.runtime.view.orbit import Projection
from interactive3d.runtime.view.part_masks import smallest_part
from interactive3d.runtime.view.project import Project
from interactive3d.runtime.view.regions import Region, RegionKind
from interactive3d.runtime.view.scene_view import Ball, Hit, Scene, front_depth
from interactive3d.runtime.view.segmenting import mark_at
from interactive3d.runtime.view.selecting import Combine, ball, combined, grown, inverted, lasso, stroke, up_to_depth
from interactive3d.runtime.view.worker import Worker

GROW_BY = 0.03
FRONT_MARGIN = 0.03


class Choosing(Looking, ABC):
    """The studio as far as things are looked at and marked, and nothing is done to them."""

    def __init__(self, scene: Scene, worker: Worker, project: Project) -> None:
        super().__init__(scene, lambda text: self.say(text, error=True))
        self.worker = worker
        self.project = project
        self.gizmo = Gizmo.NONE
        self.brush_pixels = 28.0
        self.pixel = 1.0
        """How many of the window's pixels are as large as one of a plain screen."""
        self.front_only = False
        self.selection: PartExpression | None = None
        self.hidden: PartExpression | None = None
        self.region: Region | None = None
        self.path = CameraKeys()
        self.color_tolerance = 0.2
        self.history = History(worker.undo, worker.redo)
        self.log: deque[tuple[int, str, str]] = deque(maxlen=2000)

    @abstractmethod
    def say(self, text: str, error: bool = False) -> None:
        """Show a line over the viewport for a while, and keep it in the log."""

    @property
    def marks(self) -> Marks:
        """What is marked now."""
        return Marks(
            selection=self.selection,
            hidden=self.hidden,
            region=self.region,
            path=self.path,
            hidden_regions=self.hidden_regions,
        )

    @property
    def brush_radius(self) -> float:
        """In the window's pixels."""
        return self.brush_pixels * self.pixel

    def mark(self, marks: Marks) -> None:
        """Exchange what is marked, undoably."""
        self.history.note(Marked(before=self.marks, after=marks))
        self._show_marks(marks)

    def _show_marks(self, marks: Marks) -> None:
        self.selection, self.hidden = marks.selection, marks.hidden
        self.region, self.path, self.hidden_regions = marks.region, marks.path, marks.hidden_regions

    def select(self, part: PartExpression | None) -> None:
        """Exchange the selection, undoably."""
        self.mark(dataclasses.replace(self.marks, selection=part))

    def place_region(self, region: Region | None) -> None:
        """Put a region into the scene, move it, or take it away; undoably."""
        self.mark(dataclasses.replace(self.marks, region=region))

    def set_path(self, path: CameraKeys) -> None:
        """Exchange the camera path, undoably."""
        self.mark(dataclasses.replace(self.marks, path=path))

    def add_view(self) -> None:
        """The view that is shown becomes the last keyframe of the camera path."""
        self.set_path(self.path.with_key(self.camera))
        self.say(f"this view is keyframe {len(self.path.keys)} of the camera path")

    def new_region(self, kind: RegionKind) -> None:
        """A region about the selection, or in the middle of the object; the other kind where one stands already."""
        if self.region is not None:
            self.place_region(self.region.turned_into(kind))
            return
        about = self.scene.selected_ball
        if about is None:
            about = Ball(center=self.scene.ball.center, radius=0.5 * self.scene.ball.radius)
        self.place_region(Region.about(kind, about.center, about.radius))
        self.gizmo = Gizmo.MOVE

    def select_more(self, part: PartExpression | None, how: Combine) -> None:
        """Combine a gesture's part with the selection."""
        if part is None:
            if how is Combine.REPLACE:
                self.select(None)
            return
        self.select(combined(self.selection, part, how))

    def select_outline(self, projection: Projection, outline: list[tuple[float, float]], how: Combine) -> None:
        """A rectangle or a lasso, through the object or on its visible side only."""
        part = lasso(projection, outline)
        if part is not None and self.front_only:
            inside = part_mask(part, self.scene.model).cpu().numpy()
            depth = front_depth(self.scene, projection, inside)
            if depth is not None:
                part = up_to_depth(part, projection, depth + FRONT_MARGIN)
        self.select_more(part, how)

    def select_stroke(self, points: list[tuple[float, float, float]], radius: float, how: Combine) -> None:
        """A brush's dabs on the surface."""
        self.select_more(stroke(points, radius), how)

    def select_hit(self, hit: Hit | None, projection: Projection, how: Combine) -> None:
        """A click: the named set or declared part that the blob belongs to, or a ball on the surface."""
        if hit is None:
            self.select_more(None, how)
            return
        self.select_more(self._part_at(hit, projection), how)

    def _part_at(self, hit: Hit, projection: Projection) -> PartExpression:
        model = self.scene.model
        tags = int(model.columns["tags"][hit.row])
        named = [n for bit, n in enumerate(model.tag_names) if tags >> bit & 1]
        if named:
            return NamedPart(name=min(named, key=lambda n: int(model.tagged(n).sum())))
        parts = self.project.program.parts if self.project.program else ()
        found = smallest_part(parts, model, self.part_masks.masks(model), hit.row)
        if found is not None:
            return found
        return ball(hit.point, self.brush_radius * hit.depth / projection.focal)

    def select_color(self, hit: Hit | None, how: Combine) -> None:
        """Every blob whose colour is about that of the one that was clicked."""
        if hit is None:
            self.select_more(None, how)
            return
        color = self.scene.model.color[hit.row].clamp(0, 1).tolist()
        r, g, b = (round(float(c), 3) for c in color)
        self.select_more(ColorPart(color=(r, g, b), tolerance=round(self.color_tolerance, 3)), how)

    def widen_color(self) -> None:
        """What was selected by its colour alone follows the tolerance."""
        if isinstance(self.selection, ColorPart):
            self.select(dataclasses.replace(self.selection, tolerance=round(self.color_tolerance, 3)))

    def segment(self, projection: Projection, x: float, y: float, how: Combine) -> None:
        """A click of the segment tool: its masks are made beside the window and wait to be accepted."""
        if how is Combine.INTERSECT:
            self.say("shift adds a click to the masks, ctrl takes away")
            return
        self.segmenting.click(mark_at(projection, self.camera, x, y, how is Combine.SUBTRACT), more=how is Combine.ADD)

    def segment_words(self, words: str, how: Combine) -> None:
        """Select what a text-prompted segmenter finds; the words are looked for where every selection is evaluated, beside the window."""
        if words.strip():
            part = SegmentPart(text=words.strip())
            self.log.append((self.worker.latest().step, "note", f"selected {format_part(part)}"))
            self.select_more(part, how)

    def accept_masks(self, how: Combine = Combine.REPLACE) -> PartExpression | None:
        """What the masks show becomes the selection, as `click …` of the language; None where they are not there yet."""
        text, part = self.segmenting.text, self.segmenting.take()
        if part is not None:
            self.log.append((self.worker.latest().step, "note", f"selected {text}"))
            self.select_more(part, how)
        return part

    def grow(self, by: float) -> None:
        """Widen the selection; shrink it by a negative distance."""
        if self.selection is not None:
            self.select(grown(self.selection, by))

    def invert(self) -> None:
        """Select what is not selected."""
        self.select(inverted(self.selection))

    def hide(self) -> None:
        """Take the selection out of sight."""
        if self.selection is not None:
            hidden = self.selection if self.hidden is None else UnionPart(left=self.hidden, right=self.selection)
            self.mark(dataclasses.replace(self.marks, hidden=hidden, selection=None))

    def show_all(self) -> None:
        """Bring back what was hidden."""
        self.mark(dataclasses.replace(self.marks, hidden=None))

    def hide_regions(self, names: frozenset[str]) -> None:
        """Show the field without some of its refined regions; undoably, and the run does not change by it."""
        self.mark(dataclasses.replace(self.marks, hidden_regions=names))

    def toggle_regions(self) -> None:
        """Hide everything that was refined, or show it again."""
        names = frozenset(self.region_names)
        if not names:
            self.say("nothing has been refined yet")
        else:
            self.hide_regions(frozenset() if self.hidden_regions & names else names)
