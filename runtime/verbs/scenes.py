"""What the verbs that show or convert things read: splats, meshes, fields and checkpoints, told apart by content."""

from collections.abc import Callable
from pathlib import Path

import click

from interactive3d.runtime.field import HashGridField, load_field
from interactive3d.runtime.field.files import is_field_file
from interactive3d.runtime.output.checkpoints import FORMAT as SNAPSHOT
from interactive3d.runtime.output.checkpoints import TENSORS
from interactive3d.runtime.output.problems import FileProblem
from interactive3d.runtime.scene.gaussians import GaussianModel

Scene = GaussianModel | HashGridField


def read_scene(
    path: Path,
    *,
    up: str | None = None,
    blobs: int | None = None,
    without: tuple[str, ...] = (),
    only: tuple[str, ...] = (),
    tell: Callable[[str], None] = lambda text: None,
) -> Scene:
    """What a file holds, as something that can be rendered. A mesh becomes blobs on its surface.

    ``without`` hides regions of a field, ``only`` hides all others.

    Raises:
        FileProblem: the file cannot be read.
        BadParameter: an option that this kind of file has no use for, or a region that the field has not.
    """
    if path.is_dir():
        raise FileProblem(path, "is a folder", "name a file in it, e.g. its splats.ply or a checkpoint")
    if path.suffix.lower() == ".safetensors":
        return with_regions(_field_or_state(path), without, only)
    if without or only:
        raise click.BadParameter(f"{path} is no field, so it has no refined regions", param_hint="--without, --only")
    return _blobs(path, up, blobs, tell)


def with_regions(scene: Scene, without: tuple[str, ...], only: tuple[str, ...]) -> Scene:
    """The scene with regions of its field hidden. Raises BadParameter for a name that it has not."""
    if not without and not only:
        return scene
    names = [region.name for region in scene.regions] if isinstance(scene, HashGridField) else []
    for name in (*without, *only):
        if name not in names:
            known = ", ".join(names) if names else "none"
            raise click.BadParameter(f"no region is called {name!r}; regions: {known}", param_hint="--without, --only")
    assert isinstance(scene, HashGridField)
    for name in names:
        if name in without or (only and name not in only):
            scene = scene.toggled(name, False)
    return scene


def _field_or_state(path: Path) -> Scene:
    from interactive3d.runtime.engine.snapshots import load_state
    from interactive3d.runtime.engine.stage2 import scene_of

    if is_field_file(path):
        return load_field(path)
    try:
        return scene_of(load_state(path)[0])
    except FileProblem as problem:
        raise FileProblem(
            path, f"is neither a field nor a whole checkpoint ({SNAPSHOT}): {problem.what}", problem.todo
        ) from None


def _blobs(path: Path, up: str | None, blobs: int | None, tell: Callable[[str], None]) -> GaussianModel:
    from interactive3d.runtime.engine.start import MESHES, holds_mesh
    from interactive3d.runtime.output.meshes import mesh_to_blobs
    from interactive3d.runtime.output.problems import Note, UnknownKind
    from interactive3d.runtime.output.splat_files import SPLATS, read_splats

    notes: list[Note] = []
    if holds_mesh(path):
        model = mesh_to_blobs(path, blobs or MESH_BLOBS, normalize=False, up=up or "y", notes=notes)
    else:
        try:
            model = read_splats(path, up=up, notes=notes)
        except UnknownKind:
            raise UnknownKind(path, SPLATS, MESHES, TENSORS) from None
    for note in notes:
        tell(f"{path}: {note}")
    return model


MESH_BLOBS = 50_000  # laid on the surface of a mesh that names no number
