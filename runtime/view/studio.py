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
    EditOperation,
    Operation,
    PartExpression,
    SettingValue,
    SetValue,
    TermOperation,
)
from interactive3d.dsl.tidy import tidy_operation
from interactive3d.runtime.engine.session_script import session_program, told_from
from interactive3d.runtime.engine.state import RunState
from interactive3d.runtime.output.atomic import write_text
from interactive3d.runtime.view.choosing import Choosing
from interactive3d.runtime.view.gestures import Gizmo, Pull, Tool, gizmo_operation
from interactive3d.runtime.view.history import Operated
from interactive3d.runtime.view.keymap import default_keymap
from interactive3d.runtime.view.latest import Latest
from interactive3d.runtime.view.mesh_preview import PreviewJob
from interactive3d.runtime.view.naming import given_names, names_taken, naming_problem
from interactive3d.runtime.view.orbit import Projection
from interactive3d.runtime.view.project import DragChoice, Notice, Project, event_steps
from interactive3d.runtime.view.scene_view import Scene, SceneJob, make_scene
from interactive3d.runtime.view.selecting import (
    transformed,
)
from interactive3d.runtime.view.worker import Worker

NOTICE_SECONDS = 6.0
CURVE_POINTS = 20_000
REST_FACTOR = 4.0
"""While the optimizer runs, evaluating what is selected rests this many times as long as it took."""


class Studio(Choosing):
    """See the module's docstring."""

    def __init__(self, worker: Worker, project: Project) -> None:
        super().__init__(make_scene(SceneJob(state=worker.latest())), worker, project)
        self.tool = Tool.ORBIT
        self.drag = DragChoice()
        self.pull: Pull | None = None
        self.keymap = default_keymap()
        self.notices: list[Notice] = []
        self.failures: list[tuple[str, str]] = []
        self.curves: deque[tuple[int, float, int, float]] = deque(maxlen=CURVE_POINTS)
        self.frame_seconds: deque[float] = deque(maxlen=600)
        self.window_share = 0.0
        """What the window takes of the whole machine, 0 .. 1."""
        self._scenes: Latest[SceneJob, Scene] = Latest(make_scene, "scene")
        self._asked: SceneJob | None = None
        self._rest_until = 0.0
        self._effects_told = len(worker.latest().effects)
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
                self._show_marks(dataclasses.replace(self.marks, selection=None, hidden=None))
                self.say(done.problem, error=True)
        for problem in self.worker.problems():
            self.fail(problem.text, problem.details)
        self._tell_refusals()
        self._draw_curves()
        now = time.monotonic()
        self.notices = [n for n in self.notices if n.until > now]

    def _tell_refusals(self) -> None:
        """What the scene did not let the hand do: there is nothing to undo of it, and what it was done to is selected again.

        The log has it from the run itself.
        """
        effects = self.worker.latest().effects
        for effect in effects[min(self._effects_told, len(effects)) :]:
            if effect.refused:
                self._notice(effect.message, error=True)
                marks = self.history.forget(effect.text)
                if marks is not None:
                    self._show_marks(marks)
        self._effects_told = len(effects)

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
        self._notice(text, error)
        self.log.append((self.worker.latest().step, "error" if error else "note", text))

    def _notice(self, text: str, error: bool) -> None:
        seconds = NOTICE_SECONDS * (2 if error else 1)
        self.notices = [n for n in self.notices if n.text != text]
        self.notices.append(Notice(text=text, error=error, until=time.monotonic() + seconds))

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
        problem = self._naming_problem(operation)
        if problem is not None:
            self.say(problem, error=True)
            return False
        operation = tidy_operation(operation)
        text = format_operation(operation)
        marks = dataclasses.replace(self.marks, selection=after)
        self.history.note(Operated(before=self.marks, after=marks, text=text))
        self._show_marks(marks)
        self.log.append((self.worker.latest().step, "did", text))
        self.worker.submit(operation)
        if isinstance(operation, EditOperation):
            self.leave_mesh()
        return True

    def leave_mesh(self) -> None:
        """Show the blobs that were made of a mesh, where it hides them: they are what the hand changes."""
        if self.mesh is not None and self.show_mesh and not self.previewing:
            self.show_own_mesh(False)
            self.say("the mesh's blobs are shown now, for they are what changes (View, The mesh itself)")

    def _naming_problem(self, operation: Operation) -> str | None:
        """Why the name that an operation gives cannot be given; None where it can, or where none is given."""
        names = given_names((operation,))
        return naming_problem(names[0], names_taken(self.project, self.worker.latest())) if names else None

    def change(self, path: str, value: SettingValue) -> None:
        """A setting, as an operation."""
        if self.worker.latest().settings.get(path) != value:
            self.submit(SetValue(path=path, value=value))

    def take_tool(self, tool: Tool) -> None:
        """What the left button does from now on."""
        self.tool = tool
        if tool is not Tool.ORBIT:
            self.gizmo = Gizmo.NONE

    def take_gizmo(self, kind: Gizmo) -> None:
        """Show a gizmo, or take it away where it is shown; says where it stands when that is not what one might think."""
        self.gizmo = Gizmo.NONE if self.gizmo is kind else kind
        turns, region = kind is Gizmo.ROTATE, self.region is not None
        if self.gizmo is Gizmo.NONE:
            return
        if self.selection is None and not region:
            self.say("the gizmo stands on the selection: select something first")
        elif self.selection is None and turns:
            self.say("a region does not turn; move it (1) or scale it (3)")
        elif self.selection is not None and region and not turns:
            self.say("the gizmo stands on the region; take that away to move or scale the selection")

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

    def toggle_mesh(self) -> None:
        """Show the surface that an export would write, as soon as it is made; or the field again."""
        state, field = self.scene.state, self.field
        if self.mesh_preview.shown is not None or self.mesh_preview.waiting:
            self.mesh_preview.drop()
            self.mesh = None
        elif self.mesh is not None:
            self.show_own_mesh(not self.show_mesh)
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
            self.mesh = done.mesh
            self.show_own_mesh(True)
            self.say(f"mesh of step {done.job.step}: {done.mesh.triangles} triangles")

    # -- the run --------------------------------------------------------------------------------------------------------
    def toggle_run(self) -> None:
        """Start or pause."""
        if self.worker.running:
            self.worker.pause()
        elif self._can_go_on():
            self.past = None
            self.worker.run()

    def step(self) -> None:
        """Take one step."""
        if self._can_go_on():
            self.past = None
            self.worker.step()

    def run_to_next_event(self) -> None:
        """Take steps to the next operation of the script that stands at a known step."""
        if self._can_go_on():
            now = self.worker.latest().step
            later = [s for s in event_steps(self.project.program) if s > now]
            self.past = None
            self.worker.run(min(later) if later else None)

    def _can_go_on(self) -> bool:
        """Whether there are steps to take; says why not."""
        if not self.project.optimizes:
            self.say("this file is only viewed; there is nothing to optimize")
            return False
        if self.worker.session.finished:
            again = "`Go on from here`" if self.past is not None else "click in the timeline to go back"
            self.say(f"the run is at its last step: {again}, or give the script more steps")
            return False
        return True

    # -- the script -----------------------------------------------------------------------------------------------------
    def session_script(self, folder: Path | None = None) -> str:
        """Everything that has been done, as a script that replays to the same object without the window.

        The files that it reads are named from ``folder``, or from where the run's own script, or what is viewed, lies.

        Raises:
            ValueError: no script begins with what is viewed.
        """
        state, trainer = self.worker.latest(), self.worker.session.trainer  # type: ignore[attr-defined]
        begun = self.project.program or self.project.viewed
        if begun is None:
            raise ValueError(
                f"no script begins with {self.project.title}; File > Export splats writes splats: view these, and do it there"
            )
        program = session_program(begun, state, seed=trainer.seed, steps=trainer.steps)
        return format_program(program if folder is None else told_from(program, folder))

    def save_session(self, path: Path) -> None:
        """Write ``session_script``; what goes wrong is said."""
        try:
            write_text(path, self.session_script(path.parent))
        except (OSError, ValueError) as problem:
            self.fail(f"{path} was not saved: {problem}", repr(problem))
            return
        self.say(f"saved {path}")

    def close(self) -> RunState:
        """End the threads; the state reached."""
        state = self.worker.close()
        self._scenes.close()
        self.segmenting.close()
        self.part_masks.close()
        self.mesh_preview.close()
        return state
