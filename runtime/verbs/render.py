"""`interactive3d render`: pictures and turntables of what a file holds."""

from pathlib import Path

import click

from interactive3d.runtime.verbs.common import mendable


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--turntable",
    type=click.Path(path_type=Path),
    metavar="OUT.mp4",
    help="Film the object from a camera that goes around it.",
)
@click.option("--image", type=click.Path(path_type=Path), metavar="OUT.png", help="Take one picture.")
@click.option(
    "--camera-path",
    type=click.Path(path_type=Path),
    metavar="PATH.json",
    help="With --turntable: film along this path instead.",
)
@click.option(
    "--azimuth", type=float, default=0.0, show_default=True, help="Degrees; 0 is the front, 90 the object's left side."
)
@click.option("--elevation", type=click.FloatRange(-90, 90), default=15.0, show_default=True, help="Degrees.")
@click.option("--distance", type=click.FloatRange(0.05, 100), default=2.5, show_default=True, help="Scene units.")
@click.option(
    "--fov", type=click.FloatRange(1, 150), default=40.0, show_default=True, help="Vertical field of view, degrees."
)
@click.option("--size", default="512", show_default=True, metavar="W[xH]", help="Pixels.")
@click.option("--seconds", type=click.FloatRange(0.1, 600), default=4.0, show_default=True)
@click.option("--fps", type=click.IntRange(1, 120), default=30, show_default=True)
@click.option("--without", multiple=True, metavar="REGION", help="Hide a refined region of a field.")
@click.option("--only", multiple=True, metavar="REGION", help="Hide all other regions of a field.")
@click.option(
    "--compare", metavar="REGION", help="With --image: two pictures side by side, without the region and with it."
)
@click.option("--up", type=click.Choice(["x", "-x", "y", "-y", "z", "-z"]), help="Which axis of the file points up.")
@mendable
def render(
    file: Path,
    turntable: Path | None,
    image: Path | None,
    camera_path: Path | None,
    azimuth: float,
    elevation: float,
    distance: float,
    fov: float,
    size: str,
    seconds: float,
    fps: int,
    without: tuple[str, ...],
    only: tuple[str, ...],
    compare: str | None,
    up: str | None,
) -> None:
    """Render FILE to a video or a picture, without a window: splats, a field, a checkpoint, or a mesh as blobs on its surface."""
    if turntable is None and image is None:
        raise click.UsageError("say what to make: --turntable OUT.mp4 or --image OUT.png")
    if compare is not None and image is None:
        raise click.UsageError("--compare makes a picture: say where with --image OUT.png")
    import numpy as np

    from interactive3d.runtime.engine.outputs import film, picture
    from interactive3d.runtime.output.camera_path import load_camera_path
    from interactive3d.runtime.output.pictures import save_picture
    from interactive3d.runtime.progress import film_progress
    from interactive3d.runtime.scene.camera import Camera
    from interactive3d.runtime.scene.camera import turntable as around
    from interactive3d.runtime.verbs.scenes import read_scene, with_regions

    width, height = _size(size)
    model = read_scene(file, up=up, without=without, only=only, tell=lambda text: click.echo(text, err=True))
    if image is not None:
        camera = Camera.orbit(azimuth, elevation, distance, fov)
        scenes = [model] if compare is None else [with_regions(model, (compare,), ()), model]
        save_picture(image, np.concatenate([picture(scene, camera, width, height) for scene in scenes], axis=1))
        click.echo(str(image))
    if turntable is not None:
        if camera_path is not None:
            path = load_camera_path(camera_path)
            cameras, fps = list(path.cameras), round(path.fps)
            for note in path.notes:
                click.echo(f"{camera_path}: {note}", err=True)
        else:
            cameras = around(
                max(2, round(seconds * fps)), elevation=elevation, distance=distance, fov=fov, start=azimuth
            )
        with film_progress(len(cameras)) as shown:
            tell = lambda text: click.echo(text, err=True)  # noqa: E731
            written = film(model, turntable, cameras, width, height, fps, tell, shown)
        click.echo(str(written))


def _size(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    try:
        numbers = [int(p) for p in parts]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or not all(16 <= n <= 8192 for n in numbers):
        raise click.BadParameter(
            f"expected pixels such as 512 or 1280x720, 16 to 8192, got {text!r}", param_hint="--size"
        )
    return numbers[0], numbers[-1]
