"""`interactive3d info`: what a file holds."""

import json
from pathlib import Path

import click

from interactive3d.runtime.verbs.common import mendable


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@mendable
def info(file: Path, as_json: bool) -> None:
    """Say what FILE holds: splats, a mesh, a field, a picture, a checkpoint or a run."""
    from interactive3d.runtime.field.files import describe_field, is_field_file
    from interactive3d.runtime.output.info import describe_file
    from interactive3d.runtime.output.problems import size_text

    if file.suffix.lower() == ".safetensors" and not file.is_dir() and is_field_file(file):
        found, size = describe_field(file), file.stat().st_size
        described = {"kind": found.pop("kind"), "file": str(file), "size": size_text(size), "bytes": size, **found}
    else:
        described = describe_file(file)
    if as_json:
        click.echo(json.dumps(described, indent=2))
        return
    for name, value in described.items():
        lines = value if isinstance(value, list) and value and isinstance(value[0], str) else [value]
        for i, line in enumerate(lines):
            click.echo(f"{name + ':' if i == 0 else '':<18}{line}")
