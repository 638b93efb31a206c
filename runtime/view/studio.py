"""What the window works on: the run, the hand that holds it, and what is looked at. Panels read it and ask it for things.

Nothing here draws. A gesture ends in ``submit``, which prints, remembers and sends one operation; the scene itself changes in the
optimizer's thread at the next step boundary.
"""

import dataclasses
import time
from collections import deque
from pathlib import Path

import numpy as np

from interactive3d.dsl import format_operation, format_program
from interactive3d.dsl.operations import (
    ColorPart,
    NamedPart,
    Operation,
    PartExpression,
    SettingValue,
    SetValue,
    TermOperation,
    UnionPart,
)
from interactive3d.dsl.tidy import tidy_operation
from interactive3d.runtime.engine.state import RunState
from interactive3d.runtime.output.atomic import write_text
from interactive3d.runtime.scene.parts import part_mask
from interactive3d.runtime.view.camera_keys import CameraKeys
from interactive3d.runtime.view.gestures import Gizmo, Pull, Tool, gizmo_operation
from interactive3d.runtime.view.history import History, Marked, Marks, Operated
from interactive3d.runtime.view.keymap import default_keymap
from interactive3d.runtime.view.latest import Latest
from interactive3d.runtime.view.looking import Looking
from interactive3d.runtime.view.mesh_preview import PreviewJob
from interactive3d.runtime.view.orbit import Projection
from interactive3d.runtime.view.part_masks import smallest_part
from interactive3d.runtime.view.project import DragChoice, Notice, Project, event_steps
from interactive3d.runtime.view.regions import Region, RegionKind
from interactive3d.runtime.view.scene_view import Ball, Hit, Scene, SceneJob, front_depth, make_scene
from interactive3d.runtime.view.segmenting import mark_at
from interactive3d.runtime.view.selecting import (
    Combine,
    ball,
    combined,
    grown,
    inverted,
    lasso,
    stroke,
    transformed,
    up_to_depth,
)
from interactive3d.runtime.view.worker import Worker

GROW_BY = 0.03
NOTICE_SECONDS = 6.0
CURVE_POINTS = 20_000
FRONT_MARGIN = 0.03
REST_FACTOR = 4.0
"""While the optimizer runs, evaluating what is selected rests this many times as long as it took."""


class Studio(Looking):
    """See the module's docstring."""

    def __init__(self, worker: Worker, project: Project) -> None:
        super().__init__(make_scene(SceneJob(state=worker.latest())), self.complain)
        self.worker = worker
        self.project = project
        self.tool = Tool.ORBIT
        self.gizmo = Gizmo.NONE
        self.drag = DragChoice()
        self.pull: Pull | None = None
        self.brush_pixels = 28.0
        self.front_only = False
        self.selection: PartExpression | None = None
        self.hidden: PartExpression | None = None
        self.region: Region | None = None
        self.path = CameraKeys()
        self.color_tolerance = 0.2
        self.keymap = default_keymap()
        self.history = History(worker.undo, worker.redo)
        self.log: deque[tuple[int, str, str]] = deque(maxlen=2000)
        self.notices: list[Notice] = []
        self.failures: list[tuple[str, str]] = []
        self.curves: deque[tuple[int, float, int, float]] = deque(maxlen=CURVE_POINTS)
        self.frame_seconds: deque[float] = deque(maxlen=600)
        self.window_share = 0.0
        """What the window takes of the whole machine, 0 .. 1."""
        self._scenes: Latest[SceneJob, Scene] = Latest(make_scene, "scene")
        self._asked: SceneJob | None = None
        self._rest_until = 0.0
        self.focus(everything=True)

    # -- every frame ----------------------------------------------------------------------------------------------------
    def refresh(self) -> None:
        """Take over what the threads have done and ask them for what is new."""
        state = self.past or self.worker.latest()
        job = SceneJob(state=state, selection=self.selection, hidden=self.hidden)
        asked = self._asked
        marked = asked is None or asked.selection != job.selection or asked.hidden != job.hidden
        if marked or (asked is not None and asked.state is not state and not self._resting):
            self._asked = job
            self._scenes.request(job)
        done = None
        try:
            self.segmenting.refresh()
            self._take_preview()
            done = self._scenes.take()
        except Exception as error:
            self.fail(str(error), repr(error))
        if done is not None:
            self.scene = done
            self._rest_until = time.monotonic() + REST_FACTOR * self._scenes.seconds
            if done.problem is not None:
                self.selection = self.hidden = None
                self.say(done.problem, error=True)
        for problem in self.worker.problems():
            self.fail(problem.text, problem.details)
        self._draw_curves()
        now = time.monotonic()
        self.notices = [n for n in self.notices if n.until > now]

    def _draw_curves(self) -> None:
        """Every step taken since the last frame; what was gone back over is drawn anew."""
        while self.worker.samples:
            row = self.worker.samples.popleft()
            while self.curves and self.curves[-1][0] >= row[0]:
                self.curves.pop()
            self.curves.append(row)
        reached = self.worker.latest().step
        while self.curves and self.curves[-1][0] > reached:
            self.curves.pop()

    @property
    def _resting(self) -> bool:
        """Whether a new state may wait: a selection of clicks is segmented anew for each, and the optimizer needs the machine."""
        return self.worker.running and self.past is None and time.monotonic() < self._rest_until

    @property
    def current(self) -> bool:
        """Whether the scene shown answers what was asked last."""
        return self.scene.job is self._asked

    @property
    def thread_ids(self) -> list[int]:
        """Of the threads that work for the window beside it."""
        return [
            self._scenes.thread_id,
            *self.segmenting.thread_ids,
            *self.part_masks.thread_ids,
            *self.mesh_preview.thread_ids,
        ]

    @property
    def has_news(self) -> bool:
        """Whether there is a state that has not been asked for yet, or one that has been got ready."""
        newer = self.past is None and self._asked is not None and self.worker.latest() is not self._asked.state
        counted = self.part_masks.ready and not self.worker.running
        return (
            self._scenes.ready
            or self.segmenting.ready
            or self.mesh_preview.ready
            or counted
            or (newer and not self._resting)
        )

    # -- saying ---------------------------------------------------------------------------------------------------------
    def say(self, text: str, error: bool = False) -> None:
        """Show a line over the viewport for a while, and keep it in the log."""
        seconds = NOTICE_SECONDS * (2 if error else 1)
        self.notices = [n for n in self.notices if n.text != text]
        self.notices.append(Notice(text=text, error=error, until=time.monotonic() + seconds))
        self.log.append((self.worker.latest().step, "error" if error else "note", text))

    def complain(self, text: str) -> None:
        """Say what went wrong."""
        self.say(text, error=True)

    def fail(self, text: str, details: str) -> None:
        """An error that is shown until it is closed."""
        self.failures.append((text, details))
        self.log.append((self.worker.latest().step, "error", text))

    # -- doing ----------------------------------------------------------------------------------------------------------
    def submit(self, operation: Operation) -> bool:
        """Send one operation; False, with a reason, where it cannot be done."""
        return self.submit_and_select(operation, self.selection)

    def submit_and_select(self, operation: Operation, after: PartExpression | None) -> bool:
        """The same, with the selection that is to be there afterwards."""
        if self.past is not None:
            self.say(
                "this is a look at the past; go back to now, or go on from here, before changing anything", error=True
            )
            return False
        if isinstance(operation, TermOperation) and not self.project.optimizes:
            self.say(
                f"{operation.keyword}: takes steps of the optimizer, and this file is only viewed; open a script instead",
                error=True,
            )
            return False
        if isinstance(operation, TermOperation) and self.worker.session.finished:
            self.say(
                f"{operation.keyword}: the run is at its last step, and this takes steps; go back in the timeline, or give the script more steps",
                error=True,
            )
            return False
        operation = tidy_operation(operation)
        text = format_operation(operation)
        marks = dataclasses.replace(self.marks, selection=after)
        self.history.note(Operated(before=self.marks, after=marks, text=text))
        self.selection = after
        self.log.append((self.worker.latest().step, "did", text))
        self.worker.submit(operation)
        return True

    def change(self, path: str, value: SettingValue) -> None:
        """A setting, as an operation."""
        if self.worker.latest().settings.get(path) != value:
            self.submit(SetValue(path=path, value=value))

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
        return ball(hit.point, self.brush_pixels * hit.depth / projection.focal)

    def select_color(self, hit: Hit | None, how: Combine) -> None:
        """Every blob whose colour is about that of the one that was clicked."""
        if hit is None:
            self.select_more(None, how)
            return
        color = self.scene.model.color[hit.row].clamp(0, 1).tolist()
        r, g, b = (round(float(c), 3) for c in color)
        self.select_more(ColorPart(color=(r, g, b), tolerance=round(self.color_tolerance, 3)), how)

    def segment(self, projection: Projection, x: float, y: float, how: Combine) -> None:
        """A click of the segment tool: its masks are made beside the window and wait to be accepted."""
        if how is Combine.INTERSECT:
            self.say("shift adds a click to the masks, ctrl takes away")
            return
        self.segmenting.click(mark_at(projection, self.camera, x, y, how is Combine.SUBTRACT), more=how is Combine.ADD)

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

    def let_go(self, pivot: tuple[float, float, float], matrix: np.ndarray) -> None:
        """A gizmo was let go: the operation, and the selection that follows what it moved."""
        self.moved = None
        if self.selection is None:
            return
        made = gizmo_operation(self.gizmo, self.selection, pivot, matrix)
        if made is None:
            return
        operation, linear, offset = made
        after = transformed(self.selection, linear, offset)
        if self.submit_and_select(operation, after) and after is None:
            self.say("the selection could not follow; select anew")

    def end_pull(self, projection: Projection) -> None:
        """The drag tool was let go."""
        pull, self.pull = self.pull, None
        if pull is None:
            return
        part = self.selection if self.drag.only_selected else None
        operation = pull.operation(projection, self.drag.mode, self.drag.radius, self.drag.steps, part)
        if operation is not None and self.submit(operation) and not self.worker.running:
            self.say("the drag begins with the next step: press space")

    def undo(self) -> None:
        """Take back the newest gesture."""
        marks = self.history.undo()
        if marks is None:
            self.say("nothing to undo")
        else:
            self._show_marks(marks)

    def redo(self) -> None:
        """Bring back what was taken back."""
        marks = self.history.redo()
        if marks is None:
            self.say("nothing to redo")
        else:
            self._show_marks(marks)

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

    def toggle_mesh(self) -> None:
        """Show the surface that an export would write, as soon as it is made; or the field again."""
        state, field = self.scene.state, self.field
        if self.mesh_preview.shown is not None or self.mesh_preview.waiting:
            self.mesh_preview.drop()
            self.mesh = None
        elif self.mesh is not None:
            self.show_mesh = not self.show_mesh
        elif field is None:
            self.say("a mesh is made of the field: add `distill` to the script", error=True)
        else:
            self.say("making the mesh ...")
            self.mesh_preview.ask(PreviewJob(field=field, step=state.step, settings=state.settings.mesh))

    def _take_preview(self) -> None:
        done = self.mesh_preview.take()
        if done is not None and done.problem is not None:
            self.say(done.problem, error=True)
        elif done is not None and done.mesh is not None:
            self.mesh, self.show_mesh = done.mesh, True
            self.say(f"mesh of step {done.job.step}: {done.mesh.triangles} triangles")

    # -- the run --------------------------------------------------------------------------------------------------------
    def toggle_run(self) -> None:
        """Start or pause."""
        if not self.project.optimizes:
            self.say("this file is only viewed; there is nothing to optimize")
        elif self.worker.running:
            self.worker.pause()
        else:
            self.past = None
            self.worker.run()

    def run_to_next_event(self) -> None:
        """Take steps to the next operation of the script that stands at a known step."""
        now = self.worker.latest().step
        later = [s for s in event_steps(self.project.program) if s > now]
        self.past = None
        self.worker.run(min(later) if later else None)

    # -- the script -----------------------------------------------------------------------------------------------------
    def session_script(self) -> str:
        """Everything that has been done, as a script that replays to the same object without the window."""
        state = self.worker.latest()
        if self.project.program is None:
            return "".join(format_operation(op) + "\n" for op in state.journal)
        program = self.project.program
        return format_program(dataclasses.replace(program, operations=program.operations + state.journal))

    def save_session(self, path: Path) -> None:
        """Write ``session_script``.

        Raises:
            OSError: the file cannot be written.
        """
        write_text(path, self.session_script())
        self.say(f"saved {path}")

    def close(self) -> RunState:
        """End the threads; the state reached."""
        state = self.worker.close()
        self._scenes.close()
        self.segmenting.close()
        self.part_masks.close()
        self.mesh_preview.close()
        return state
