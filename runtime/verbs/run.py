"""`interactive3d run`: a script to its end, into a folder; with a window where there is a display."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from interactive3d.runtime.verbs.common import Failure, mendable, overrides_of, show_diagnostics

if TYPE_CHECKING:
    from interactive3d.dsl.program import Program
    from interactive3d.runtime.engine.hooks import Given
    from interactive3d.runtime.engine.resume import Earlier, Past, Resuming


@click.command()
@click.argument("script", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "-o", "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder of the run  [default: out/NAME]"
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Set a param of the script or a setting, e.g. lr.position=0.005.",
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Overrides the script's seed.")
@click.option("--headless", is_flag=True, help="Never open a window; one is opened where there is a display.")
@click.option(
    "--save-session",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the run as a script, with everything that was done in the window.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on from the newest whole checkpoint in the folder; --set of a setting holds from there on.",
)
@click.option(
    "--keep-past",
    is_flag=True,
    help="With --resume: go on although SCRIPT differs in what lies behind; the past stays as it was.",
)
@click.option(
    "--watch",
    is_flag=True,
    help="Follow SCRIPT and the files it uses: what lies ahead is planned anew when one is saved.",
)
@click.option(
    "--rewind",
    is_flag=True,
    help="With --watch (which it implies): an edit of the past goes back to before it and replays. With --resume too.",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--dry-run", is_flag=True, help="Check everything and say what would be done, but take no step.")
@click.option("--log-level", type=click.Choice(["quiet", "normal", "debug"]), default="normal", show_default=True)
@mendable
def run(
    script: Path,
    out: Path | None,
    settings: tuple[str, ...],
    seed: int | None,
    headless: bool,
    save_session: Path | None,
    resume: bool,
    keep_past: bool,
    watch: bool,
    rewind: bool,
    device: str,
    dry_run: bool,
    log_level: str,
) -> None:
    """Run SCRIPT to the end and leave its results in a folder."""
    from interactive3d.runtime.engine.hooks import Given
    from interactive3d.runtime.engine.resume import Past, earlier_run
    from interactive3d.runtime.engine.run import Run
    from interactive3d.runtime.engine.start import checked_device
    from interactive3d.runtime.progress import Progress

    if keep_past and (rewind or not resume):
        raise click.UsageError("--keep-past goes with --resume, and not with --rewind, which replays the past")
    past = Past.KEPT if keep_past else Past.REPLAYED if rewind else Past.REFUSED
    folder = out or Path("out") / script.stem
    asked = Given(seed=seed, overrides=overrides_of(settings))
    place = checked_device(device)
    progress = Progress(quiet=log_level == "quiet", debug=log_level == "debug")
    progress.report.diagnostics = show_diagnostics
    earlier = earlier_run(folder, place, progress.report.message) if resume else None
    program, given, resuming = _loaded(script, asked, earlier, past, progress.report.message)
    if dry_run:
        _dry_run(script, folder, program, given, resuming)
        return
    with progress:
        going = Run(
            program,
            script,
            folder,
            seed=given.seed,
            device=place,
            resume=resuming or False,
            report=progress.report,
            overrides=given.overrides,
        )
        drive = None if headless else _window(going, script, progress.report.message)
        with progress.interruptible(going.stop):
            result = going.go(drive, watch=watch or rewind, rewind=rewind)
    if save_session is not None:
        from interactive3d.runtime.output.atomic import write_text

        write_text(save_session, going.as_script(save_session.parent))
    if not result.complete:
        raise Failure(
            f"stopped at step {result.state.step}; everything is in {folder}. Go on with: {going.resume_command()}"
        )
    click.echo(
        f"{result.folder}: {result.state.step} steps in {result.seconds:.0f} s, {len(result.state.model)} blobs, state {result.digest[:16]}"
    )


def _loaded(
    script: Path, asked: "Given", earlier: "Earlier | None", past: "Past", tell: Callable[[str], None]
) -> "tuple[Program, Given, Resuming | None]":
    """The checked script, what the run is given, and how it goes on from an earlier stretch."""
    from interactive3d.runtime.engine.resume import Resuming, load_to_resume
    from interactive3d.runtime.engine.script import load_script

    if earlier is not None:
        loaded, given, turned = load_to_resume(script, asked, earlier, tell)
    else:
        loaded, given, turned = load_script(script, asked.overrides), asked, ()
    show_diagnostics(loaded)
    if loaded.program is None:
        raise Failure(f"{script}: not run; mend the errors above first")
    resuming = Resuming(earlier=earlier, past=past, turned=turned) if earlier is not None else None
    return loaded.program, given, resuming


def _dry_run(script: Path, folder: Path, program: "Program", given: "Given", resuming: "Resuming | None") -> None:
    """What would be done, and what is here of all that it needs, on standard output."""
    from interactive3d.runtime.engine.needs import needs
    from interactive3d.runtime.engine.resume import changes
    from interactive3d.runtime.engine.start import seed_of, steps_of

    click.echo(f"{script}: {steps_of(program)} steps, {len(program.operations)} operations, into {folder}")
    wanted = needs(program, first_blobs=resuming is None)
    for need in wanted:
        click.echo(f"  {need}")
    if resuming is not None:
        changed = changes(resuming, program, seed_of(program, given.seed))
        step, path = resuming.earlier.state.step, resuming.earlier.path
        click.echo(f"going on from step {step}, {path}" + ("" if changed is None else f": {changed.headline()}"))
        for line in changed.edit_lines() if changed is not None else ():
            click.echo(line)
        for operation in resuming.turned:
            click.echo(f"  --set: {operation.path} {operation.value}, from step {step} on")
    missing = [need.what for need in wanted if not need.found.enough]
    if missing:
        raise Failure(f"{script}: a run would stop for want of: {', '.join(missing)}")


def _window(going: Any, script: Path, tell: Callable[[str], None]) -> Callable[[Any], bool] | None:
    """What drives a run through a window, or None where none can be opened."""
    from interactive3d.runtime.view.open import NoWindow, open_session, why_not

    reason = why_not()
    if reason is not None:
        tell(f"{reason}; running without")
        return None

    def drive(session: Any) -> bool:
        try:
            open_session(
                session,
                title=script.stem,
                folder=going.folder.path,
                program=going.program,
                script=script.resolve(),
                closing=lambda: going.stopping,
            )
        except NoWindow as problem:
            tell(f"{problem}; running without")
            return False
        return True

    return drive
