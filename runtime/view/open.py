"""From a run or a file to a window: what the command line's ``run`` and ``view`` call.

Nothing of the window's packages is imported before one is opened; where there is no display or a package lacks, ``why_not`` says so and
the caller goes on without.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from interactive3d.dsl.program import Program
    from interactive3d.runtime.engine.session import Session
    from interactive3d.runtime.engine.state import RunState
    from interactive3d.runtime.field import HashGridField
    from interactive3d.runtime.scene.gaussians import GaussianModel
    from interactive3d.runtime.view.app import Window
    from interactive3d.runtime.view.meshes import Mesh

PACKAGES = ("moderngl", "imgui_bundle", "glfw")


class NoWindow(RuntimeError):
    """A window cannot be opened here. The message says why and what to do."""


def why_not() -> str | None:
    """Why no window can be opened here, in one line; None where one can be tried."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        return f"no window: {', '.join(missing)} not installed (pip install 'interactive3d[window]')"
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "no window: there is no display"
    import warnings

    from imgui_bundle.glfw_utils import glfw

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not glfw.init():
            return f"no window: the display {os.environ.get('DISPLAY', '')} cannot be opened".replace("  ", " ")
    return None


def config_folder() -> Path:
    """Where the window keeps its layout and the user's keys."""
    if "INTERACTIVE3D_CONFIG" in os.environ:
        return Path(os.environ["INTERACTIVE3D_CONFIG"])
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA", Path.home())) / "interactive3d"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "interactive3d"
    return Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config")) / "interactive3d"


@dataclass(frozen=True, kw_only=True)
class Closed:
    """How a window was closed: the state reached, whether the run was at its end, and the script as it was last taken over."""

    state: "RunState"
    finished: bool
    program: "Program | None"


def open_session(
    session: "Session",
    *,
    title: str,
    folder: Path,
    program: "Program | None" = None,
    script: Path | None = None,
    running: bool = True,
    mesh: "Mesh | None" = None,
    viewed: "Program | None" = None,
    closing: Callable[[], bool] = lambda: False,
) -> Closed:
    """Open a window on a session and return when it is closed, or when ``closing`` says so; the step under way is finished first.

    The caller saves what was reached: ``state`` is whole. Without a program the session is only looked at and edited, never advanced.

    Raises:
        NoWindow: no display, packages missing, or no OpenGL 3.3.
    """
    reason = why_not()
    if reason is not None:
        raise NoWindow(reason)
    from interactive3d.runtime.view.app import Window
    from interactive3d.runtime.view.project import Project
    from interactive3d.runtime.view.studio import Studio
    from interactive3d.runtime.view.worker import Worker

    worker = Worker(session, running=running and program is not None)
    studio = Studio(worker, Project(title=title, folder=folder, program=program, script=script, viewed=viewed))
    studio.mesh = mesh
    try:
        _show(Window(studio, config=config_folder(), closing=closing))
    finally:
        state = studio.close()
    return Closed(state=state, finished=session.finished, program=studio.project.program)


def _show(window: "Window") -> None:
    """Run the window; what the graphics library says when it cannot begin becomes one line."""
    try:
        window.run()
    except NoWindow:
        raise
    except Exception as error:
        if window.viewport is None:
            raise NoWindow(f"no window: {error}; run with --headless") from error
        raise


def open_file(path: Path, *, device: str = "cpu") -> Closed:
    """Look at a splat file, a mesh, a checkpoint or a finished run's folder, without optimizing.

    Edits that take effect at once work, and can be exported; what takes optimizer steps is refused with a reason.

    Raises:
        NoWindow: see ``open_session``.
        FileProblem: the file cannot be read.
    """
    reason = why_not()
    if reason is not None:
        raise NoWindow(reason)
    session = still_session(path, device)
    folder = path if path.is_dir() else path.parent
    return open_session(
        session,
        title=path.name,
        folder=folder.resolve(),
        running=False,
        mesh=mesh_of(path),
        viewed=viewed_program(path),
    )


def viewed_program(path: Path) -> "Program | None":
    """The program without steps that begins with what ``still_session`` shows of a file; None where no script begins so."""
    from interactive3d.dsl.program import InitMesh, InitSplats, Program
    from interactive3d.runtime.engine.start import REFERENCE_BLOBS, holds_mesh

    if path.is_dir() or path.suffix.lower() == ".safetensors":
        return None
    # As ``load_blobs`` reads it.
    mesh = holds_mesh(path)
    initial = InitMesh(count=REFERENCE_BLOBS, path=path.name) if mesh else InitSplats(path=path.name)
    return Program(seed=0, steps=0, initial=initial, folder=str(path.parent.resolve()))


def mesh_of(path: Path) -> "Mesh | None":
    """The mesh of a file that holds one; None for splats, checkpoints and folders.

    Raises:
        FileProblem: a mesh that cannot be read.
    """
    from interactive3d.runtime.engine.start import holds_mesh

    if path.is_dir() or not holds_mesh(path):
        return None
    from interactive3d.runtime.view.meshes import read_mesh

    return read_mesh(path)


def still_session(path: Path, device: str = "cpu") -> "Session":
    """A session that has no steps to take, on what a file holds."""
    from interactive3d.runtime.engine.segmenters import settle_segmenter
    from interactive3d.runtime.engine.session import Session
    from interactive3d.runtime.engine.snapshots import load_state
    from interactive3d.runtime.engine.stage2 import FieldState
    from interactive3d.runtime.engine.start import MESHES, load_blobs
    from interactive3d.runtime.engine.state import RunState
    from interactive3d.runtime.engine.trainer import Trainer
    from interactive3d.runtime.field.files import is_field_file, load_field
    from interactive3d.runtime.output.checkpoints import TENSORS
    from interactive3d.runtime.output.problems import UnknownKind
    from interactive3d.runtime.output.splat_files import SPLATS
    from interactive3d.runtime.settings import Settings

    found = _scene_file(path)
    settle_segmenter(found.parent, device)
    field, step = None, 0
    if found.suffix == ".safetensors" and is_field_file(found):
        field = FieldState(field=load_field(found, device))
        model = cell_blobs(field.field)
    elif found.suffix == ".safetensors":
        # A checkpoint of stage II holds the field too.
        seen = load_state(found, device)[0]
        model, field, step = seen.model, seen.field, seen.step
    else:
        try:
            model = load_blobs(found).to(device)
        except UnknownKind:
            raise UnknownKind(path, SPLATS, MESHES, TENSORS, "the folder of a run") from None
    # No steps, so the guidance is never asked.
    trainer = Trainer(
        guidance=None,  # type: ignore[arg-type]
        prompt="",
        negative="",
        seed=0,
        steps=step,
        folder=found.parent,
        load_blobs=load_blobs,
    )
    return Session(trainer, (), RunState(step=step, model=model, settings=Settings(), field=field))


def cell_blobs(field: "HashGridField") -> "GaussianModel":
    """A blob for each occupied cell, so that a field without blobs can be framed, picked and compared."""
    import torch

    from interactive3d.runtime.field.field import cell_centers
    from interactive3d.runtime.scene.gaussians import GaussianModel

    side = field.occupancy().shape[0]
    box = torch.tensor([-1.0, -1.0, -1.0, 2.0, 0.0, 0.0, 0.0, 0.0], device=field.device)
    centers = cell_centers(box, side).reshape(-1, 3)[field.occupancy().reshape(-1).bool()]
    density, color = field.density_color(centers)
    solid = density > 1.0
    centers, color = centers[solid], color[solid]
    return GaussianModel.create(
        mean=centers,
        log_scale=torch.full_like(centers, 1.0 / side).log(),
        rotation=torch.tensor([1.0, 0.0, 0.0, 0.0], device=field.device).expand(len(centers), 4).contiguous(),
        color=color.clamp(0, 1),
        logit_opacity=torch.full((len(centers),), 2.0, device=field.device),
    )


def _scene_file(path: Path) -> Path:
    """The file itself, or what a run's folder holds: its newest checkpoint, which knows the field and what is named, else its splats."""
    if not path.is_dir():
        return path
    from interactive3d.runtime.output.checkpoints import newest_whole
    from interactive3d.runtime.output.problems import FileProblem

    newest = newest_whole(path / "checkpoints").path
    splats = path / "splats.ply"
    if newest is None and not splats.is_file():
        raise FileProblem(
            path, "holds neither splats.ply nor a checkpoint", "give a splat file, a mesh or a run's folder"
        )
    return splats if newest is None else newest
