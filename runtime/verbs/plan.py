"""`interactive3d plan`: the timeline of a script as a table, with predicted blobs, memory and time, without running it."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from interactive3d.runtime.verbs.common import Failure, mendable, overrides_of, show_diagnostics

if TYPE_CHECKING:
    from interactive3d.runtime.engine.forecast import Forecast


@click.command()
@click.argument("script", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--json", "as_json", is_flag=True, help="As JSON on standard output.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Set a param of the script or a setting, as for a run.",
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Overrides the script's seed.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@mendable
def plan(script: Path, as_json: bool, settings: tuple[str, ...], seed: int | None, device: str) -> None:
    """Say what SCRIPT would do, step by step, with the blobs, the memory and the time that it would take, without running it.

    A few steps of each kind are timed on this machine first, and thrown away.
    """
    from interactive3d.runtime.engine.forecast import forecast
    from interactive3d.runtime.engine.script import load_script
    from interactive3d.runtime.engine.start import DEFAULT_SEED, begin, checked_device, first_settings, make_guidance

    loaded = load_script(script, overrides_of(settings))
    show_diagnostics(loaded)
    program = loaded.program
    if program is None:
        raise Failure(f"{script}: not planned; mend the errors above first")
    place = checked_device(device)
    guidance = make_guidance(program.guidance, Path(program.folder), place, first_settings(program.settings))
    chosen = seed if seed is not None else program.seed if program.seed is not None else DEFAULT_SEED
    trainer, start = begin(program, guidance, seed=chosen, device=place)
    found = forecast(program, trainer, start)
    if as_json:
        click.echo(json.dumps({"script": str(script), **found.as_json()}, indent=2))
        return
    _show(script, found)


def _show(script: Path, found: "Forecast") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, right in (
        ("steps", True),
        ("line", True),
        ("operation", False),
        ("touches", True),
        ("blobs", True),
        ("memory", True),
        ("takes", True),
        ("at", True),
    ):
        table.add_column(name, justify="right" if right else "left", no_wrap=name != "operation", overflow="fold")
    for row in found.rows:
        steps = f"{row.step}" if row.end == row.step else f"{row.step}-{row.end}"
        times = f" (x{row.times})" if row.times > 1 else ""
        does = f"  [{row.does}]" if row.does else ""
        table.add_row(
            steps,
            "" if row.line is None else str(row.line),
            _escaped(f"{row.text}{times}{does}"),
            "" if row.touches is None else f"{row.touches:,}",
            f"{row.blobs:,}",
            _megabytes(row.memory),
            _duration(row.seconds) if row.seconds > 0.05 else "",
            _duration(row.clock),
        )
    # Wide where standard output is no terminal, so that no line of a file is cut.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    console.print(table)
    costs = ", ".join(f"{kind} {seconds * 1000:.0f} ms" for kind, seconds in found.costs.seconds.items())
    click.echo(
        f"{script}: {found.steps} steps, {found.blobs:,} blobs at the end, {_megabytes(found.peak_memory)} at most, "
        f"about {_duration(found.seconds)} (a step: {costs})"
    )
    for note in found.notes:
        click.echo(f"note: {note}")


def _escaped(text: str) -> str:
    return text.replace("[", "\\[")


def _megabytes(size: int) -> str:
    return f"{size / 2**20:,.0f} MB"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
