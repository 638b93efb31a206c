"""`interactive3d convert`: splats to a mesh or a field in one command (paper section 3.2.1), fields to meshes, splats to splats."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from interactive3d.runtime.verbs.bars import step_bar
from interactive3d.runtime.verbs.common import Failure, mendable

if TYPE_CHECKING:
    from interactive3d.runtime.field import HashGridField
    from interactive3d.runtime.field.convert import Placement
    from interactive3d.runtime.scene.gaussians import GaussianModel
    from interactive3d.runtime.settings import Settings

MESHES, SPLATS, FIELDS = (".glb", ".obj", ".ply"), (".ply", ".splat"), (".safetensors",)
AXES = click.Choice(["x", "-x", "y", "-y", "z", "-z"])


@click.command()
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--as", "kind", type=click.Choice(["mesh", "splats", "field"]), help="Where OUT's suffix is not enough.")
@click.option("--steps", type=click.IntRange(1), help="Steps of the distillation.")
@click.option("--resolution", type=click.IntRange(16, 768), help="Cells a side of the marching grid.")
@click.option("--threshold", default="auto", show_default=True, help="Density at which the surface lies, or auto.")
@click.option("--faces", type=click.IntRange(0), help="Limit of the mesh's faces; 0 keeps all.")
@click.option("--texture", type=click.IntRange(64, 8192), help="Side of the texture in pixels.")
@click.option("--blobs", type=click.IntRange(1), help="Blobs that are laid on a mesh IN.")
@click.option("--up", type=AXES, help="Which axis of IN points up.")
@click.option("--up-out", type=AXES, help="Which axis shall point up in a splat OUT.  [default: -y, as usual]")
@click.option("--without", multiple=True, metavar="REGION", help="Leave out a refined region of a field.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Change a setting, e.g. distill.size=512.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option("--quiet", is_flag=True, help="Only errors.")
@mendable
def convert(
    source: Path,
    target: Path,
    kind: str | None,
    steps: int | None,
    resolution: int | None,
    threshold: str,
    faces: int | None,
    texture: int | None,
    blobs: int | None,
    up: str | None,
    up_out: str | None,
    without: tuple[str, ...],
    settings: tuple[str, ...],
    seed: int,
    quiet: bool,
) -> None:
    """Convert IN to OUT.

    \b
    splats (.ply .splat) or a mesh  ->  a textured mesh (.glb .obj .ply), by way of a field
    splats or a mesh                ->  a field (.safetensors)
    a field or a checkpoint         ->  a textured mesh
    splats or a mesh                ->  splats (.ply .splat)
    """
    from interactive3d.runtime.field import HashGridField, save_field
    from interactive3d.runtime.field.convert import Placement, field_to_mesh, mesh_settings
    from interactive3d.runtime.verbs.scenes import read_scene

    def tell(text: str) -> None:
        if not quiet:
            click.echo(text, err=True)

    _check_places(source, target)
    given = mesh_settings(_settings(settings), resolution=resolution, texture=texture, faces=faces)
    level = _level(threshold)
    scene = read_scene(source, up=up, blobs=blobs, without=without, tell=tell)
    made = _kind(target, kind, isinstance(scene, HashGridField))
    place = Placement()
    if made == "splats":
        if isinstance(scene, HashGridField):
            raise Failure(f"{source}: a field does not become splats; write a mesh (.glb, .obj or .ply)")
        _write_splats(scene, target, up_out)
    else:
        if not isinstance(scene, HashGridField):
            scene, place = _distilled(source, scene, given, steps, seed, quiet)
        if made == "field":
            save_field(target, scene)
            if place != Placement():
                tell(
                    f"{target}: the object was moved by -{place.center} and scaled by {place.scale:.4g} to fit the scene"
                )
        else:
            tell("looking for the surface")
            try:
                field_to_mesh(scene, target, given, threshold=level, tell=tell, place=place)
            except ValueError as error:
                raise Failure(str(error)) from None
    click.echo(str(target))


def _check_places(source: Path, target: Path) -> None:
    """Finds out before minutes of work that the result could not be written."""
    if not target.parent.is_dir():
        raise Failure(f"{target}: there is no folder {target.parent}; make it first")
    if target.is_dir():
        raise Failure(f"{target}: is a folder; name a file in it")
    if target.exists() and source.exists() and target.samefile(source):
        raise Failure(f"{target}: IN and OUT are the same file; name another OUT")
    if target.suffix.lower() not in MESHES + SPLATS + FIELDS:
        known = ", ".join(dict.fromkeys(MESHES + SPLATS + FIELDS))
        raise Failure(f"{target}: {target.suffix or 'no suffix'} is no format that is written; use {known}")


def _kind(target: Path, asked: str | None, from_field: bool) -> str:
    suffix = target.suffix.lower()
    fitting = {
        name for name, suffixes in (("mesh", MESHES), ("splats", SPLATS), ("field", FIELDS)) if suffix in suffixes
    }
    if asked is not None and asked not in fitting:
        raise click.BadParameter(f"{suffix} holds {' or '.join(sorted(fitting))}, not a {asked}", param_hint="--as")
    if asked is not None:
        return asked
    # A PLY may hold either; splats stay splats, a field can only become a mesh.
    return fitting.pop() if len(fitting) == 1 else ("mesh" if from_field else "splats")


def _settings(pairs: tuple[str, ...]) -> "Settings":
    from interactive3d.runtime.settings import Settings

    found = Settings()
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise click.BadParameter(f"expected NAME=VALUE, e.g. distill.size=512, got {pair!r}", param_hint="--set")
        try:
            found = found.set(name.strip(), value.strip())
        except (KeyError, ValueError) as error:
            raise click.BadParameter(str(error.args[0]), param_hint="--set") from None
    return found


def _level(threshold: str) -> float | None:
    if threshold == "auto":
        return None
    try:
        return float(threshold)
    except ValueError:
        raise click.BadParameter(
            f"expected auto or a density such as 20, got {threshold!r}", param_hint="--threshold"
        ) from None


def _write_splats(model: "GaussianModel", target: Path, up: str | None) -> None:
    from interactive3d.runtime.output.splat_files import WILD_UP, write_splats

    write_splats(model, target, up=up or WILD_UP)


def _distilled(
    source: Path, model: "GaussianModel", settings: "Settings", steps: int | None, seed: int, quiet: bool
) -> "tuple[HashGridField, Placement]":
    from interactive3d.runtime.field.convert import distill, fitted
    from interactive3d.runtime.operations.base import seeded_generator

    said: list[str] = []
    try:
        model, place, strays = fitted(model)
        if strays and not quiet:
            click.echo(f"{source}: {strays} blobs lie far from the object and are left out", err=True)
        with step_bar("distilling", steps or settings.distill.steps, quiet) as bar:
            field = distill(
                model,
                settings,
                lambda step, purpose: seeded_generator(seed, step, purpose),
                steps,
                said.append,
                lambda done, loss: bar(done, f"loss {loss:.4f}"),
            )
    except ValueError as error:
        raise Failure(f"{source}: {error}") from None
    if not quiet:
        click.echo("\n".join(said), err=True)
    return field, place
