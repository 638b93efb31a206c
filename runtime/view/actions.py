"""What keys, menus and the command palette can ask for, by name."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from interactive3d.dsl.distinct import free_name
from interactive3d.dsl.operations import AddFile, AllPart, Remove
from interactive3d.runtime.output.splat_files import write_splats
from interactive3d.runtime.view.choosing import GROW_BY
from interactive3d.runtime.view.gestures import Gizmo, Tool
from interactive3d.runtime.view.keymap import ACTIONS
from interactive3d.runtime.view.naming import names_taken

if TYPE_CHECKING:
    from interactive3d.runtime.view.app import Window

ADDABLE = (".ply", ".splat", ".glb", ".obj")


class Actions:
    """Names to deeds; every action of the keymap is here."""

    def __init__(self, window: "Window") -> None:
        self.window = window
        self.known = {action.name: action for action in ACTIONS}
        studio = window.studio
        self._deeds: dict[str, Callable[[], object]] = {
            "run": studio.toggle_run,
            "step": studio.step,
            "next_event": studio.run_to_next_event,
            "undo": studio.undo,
            "redo": studio.redo,
            "save": lambda: window.script.save(),
            "save_session": self.save_session,
            "export_splats": self.export_splats,
            "select_all": lambda: studio.select(AllPart()),
            "invert": studio.invert,
            "deselect": self._leave,
            "grow": lambda: studio.grow(GROW_BY),
            "shrink": lambda: studio.grow(-GROW_BY),
            "hide": studio.hide,
            "show_all": studio.show_all,
            "remove": self._remove,
            "tool_look": lambda: studio.take_tool(Tool.ORBIT),
            "tool_select": lambda: studio.take_tool(Tool.CLICK),
            "tool_rectangle": lambda: studio.take_tool(Tool.RECTANGLE),
            "tool_lasso": lambda: studio.take_tool(Tool.LASSO),
            "tool_brush": lambda: studio.take_tool(Tool.BRUSH),
            "tool_color": lambda: studio.take_tool(Tool.COLOR),
            "tool_segment": lambda: studio.take_tool(Tool.SEGMENT),
            "tool_drag": lambda: studio.take_tool(Tool.DRAG),
            "gizmo_move": lambda: studio.take_gizmo(Gizmo.MOVE),
            "gizmo_rotate": lambda: studio.take_gizmo(Gizmo.ROTATE),
            "gizmo_stretch": lambda: studio.take_gizmo(Gizmo.STRETCH),
            "semantic_edit": self._edit,
            "focus": studio.focus,
            "reset_view": studio.reset_view,
            "add_view": studio.add_view,
            "play_path": lambda: window.cameras.play(),
            "copy_picture": lambda: window.recording.copy_picture(),
            "grid": lambda: setattr(studio, "grid", not studio.grid),
            "mesh_preview": studio.toggle_mesh,
            "regions": studio.toggle_regions,
            "step_cameras": lambda: setattr(studio, "show_step_cameras", not studio.show_step_cameras),
            "panels": lambda: window.toggle_panels(),
            "screenshot": lambda: window.recording.screenshot(),
            "palette": lambda: window.palette.open(),
            "keys": lambda: window.show_keys(),
        }

    def do(self, name: str) -> None:
        """Carry out an action; what goes wrong is shown."""
        try:
            self._deeds[name]()
        except Exception as error:  # shown in the window
            self.window.studio.fail(f"{self.known[name].help}: {error}", repr(error))

    def names(self) -> set[str]:
        """Every action that can be done."""
        return set(self._deeds)

    def _leave(self) -> None:
        studio = self.window.studio
        if self.window.close_overlay():
            return
        if studio.pull is not None:
            studio.pull = None
        elif studio.segmenting.active:
            studio.segmenting.cancel()
        elif studio.gizmo is not Gizmo.NONE:
            studio.gizmo = Gizmo.NONE
        elif studio.selection is not None:
            studio.select(None)
        elif studio.region is not None:
            studio.place_region(None)
        else:
            studio.tool = Tool.ORBIT

    def _remove(self) -> None:
        studio = self.window.studio
        if studio.selection is None:
            studio.say("nothing is selected")
        else:
            studio.submit_and_select(Remove(part=studio.selection), None)

    def _edit(self) -> None:
        studio = self.window.studio
        if studio.segmenting.active:
            studio.accept_masks()
            return
        if studio.selection is None:
            studio.say("select what the words are about first")
            return
        self.window.show_panel("Parts")
        self.window.parts.focus_prompt = True

    def save_session(self) -> None:
        """Write everything that was done as a script, next to the run."""
        studio = self.window.studio
        studio.save_session(studio.project.folder / "session.sculpt")

    def export_splats(self) -> None:
        """Write the blobs that are shown."""
        studio = self.window.studio
        path = studio.project.folder / f"splats_{studio.scene.state.step:06d}.ply"
        try:
            write_splats(studio.scene.model, path)
        except (OSError, ValueError) as error:
            studio.fail(f"{path} was not written: {error}", repr(error))
            return
        studio.say(f"wrote {path}")

    def add_file(self, path: Path) -> None:
        """A file dropped on the window is added to the object."""
        studio = self.window.studio
        if path.suffix.lower() not in ADDABLE:
            studio.say(f"{path.name}: expected one of {', '.join(ADDABLE)}", error=True)
            return
        name = "".join(c if c.isalnum() else "_" for c in path.stem.lower()).lstrip("0123456789_") or "added"
        studio.submit(
            AddFile(path=str(path), name=free_name(name, names_taken(studio.project, studio.worker.latest())))
        )
