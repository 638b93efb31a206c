"""The verbs of the command line. Nothing heavy is imported before a verb needs it.

Data goes to standard output, messages to standard error. Exit status: 0 done, 1 failed or stopped, 2 called wrongly.
"""

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path

import click

from interactive3d.runtime.verbs.common import FAILED, Failure, overrides_of, show_diagnostics
from interactive3d.runtime.verbs.common import mendable as _mendable
from interactive3d.runtime.verbs.convert import convert
from interactive3d.runtime.verbs.eval import evaluate
from interactive3d.runtime.verbs.info import info
from interactive3d.runtime.verbs.plan import plan
from interactive3d.runtime.verbs.render import render
from interactive3d.runtime.verbs.run import run


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("interactive3d"), prog_name="interactive3d")
def main() -> None:
    """Make the 3D object you have in mind: write a prompt, watch it grow, take hold of it."""
    # Read when torch is loaded. Its threads otherwise spin while they wait for each other, which costs a machine that also does
    # something else most of its time; on an idle one no difference was measured (benchmarks/threads.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@_mendable
def view(file: Path) -> None:
    """Look at splats, a mesh, a field, a checkpoint or a finished run in the window, without optimizing."""
    from interactive3d.runtime.view.open import NoWindow, open_file

    try:
        open_file(file)
    except NoWindow as problem:
        raise Failure(str(problem)) from None


@main.command()
@click.argument("scripts", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--json", "as_json", is_flag=True, help="Diagnostics as JSON on standard output.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Set a param or a setting while checking.")
@click.option("--deny-warnings", is_flag=True, help="Warnings fail the check too.")
@_mendable
def check(scripts: tuple[Path, ...], as_json: bool, settings: tuple[str, ...], deny_warnings: bool) -> None:
    """Check SCRIPTS without running them: all problems of each file in one go."""
    from interactive3d.dsl import Severity
    from interactive3d.dsl.render import render_json
    from interactive3d.runtime.engine.script import load_script

    errors = warnings = 0
    found = []
    for script in scripts:
        loaded = load_script(script, overrides_of(settings))
        errors += sum(d.severity is Severity.ERROR for d in loaded.diagnostics)
        warnings += sum(d.severity is Severity.WARNING for d in loaded.diagnostics)
        found += loaded.diagnostics
        if not as_json:
            show_diagnostics(loaded)
    if as_json:
        click.echo(render_json(found), nl=False)
    else:
        click.echo(f"{len(scripts)} checked: {errors} errors, {warnings} warnings", err=True)
    if errors or (deny_warnings and warnings):
        sys.exit(FAILED)


@main.command()
@click.argument("code")
@_mendable
def explain(code: str) -> None:
    """Explain a diagnostic CODE with a wrong and a right example."""
    from interactive3d.dsl import explain as explanation

    try:
        click.echo(explanation(code))
    except ValueError as error:
        raise Failure(str(error)) from None


@main.command()
@click.argument("scripts", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--check", "only_check", is_flag=True, help="Change nothing; fail when a file is not formatted.")
@click.option("--diff", is_flag=True, help="Change nothing; show what would change.")
@_mendable
def fmt(scripts: tuple[Path, ...], only_check: bool, diff: bool) -> None:
    """Format SCRIPTS in place, comments kept."""
    import difflib

    from interactive3d.dsl import format_source
    from interactive3d.runtime.engine.script import load_script
    from interactive3d.runtime.output.atomic import write_text

    wrong = 0
    for script in scripts:
        text = script.read_text(encoding="utf-8")
        formatted = format_source(text)
        if formatted is None:
            show_diagnostics(load_script(script))
            raise Failure(f"{script}: not formatted; mend the errors above first")
        if formatted == text:
            continue
        wrong += 1
        if diff:
            lines = difflib.unified_diff(text.splitlines(True), formatted.splitlines(True), str(script), str(script))
            click.echo("".join(lines), nl=False)
        elif not only_check:
            write_text(script, formatted)
        click.echo(f"{script}: {'would be ' if only_check or diff else ''}formatted", err=True)
    if wrong and (only_check or diff):
        sys.exit(FAILED)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@_mendable
def verify(folder: Path) -> None:
    """Run the script of a finished run in FOLDER again and compare the digests."""
    from interactive3d.dsl import load
    from interactive3d.runtime.engine.replay import origin_of, read_record, replay_digest
    from interactive3d.runtime.engine.script import check_context
    from interactive3d.runtime.progress import Progress

    record = read_record(folder)
    script = f"script/{record['script']}"
    context = check_context(tuple((n, v) for n, v in record["overrides"]))
    loaded = load(folder / script, origin_of(folder, record).context(context, folder / "script"))
    show_diagnostics(loaded)
    if loaded.program is None:
        raise Failure(f"{folder}: {script} does not pass the checks of this version")
    with Progress(quiet=False) as progress:
        found = replay_digest(folder, loaded.program, record, progress.report)
    if found != record["state_digest"]:
        raise Failure(
            f"{folder}: not the same: recorded {record['state_digest'][:16]} (torch {record['versions']['torch']}, {record['device']}), "
            f"found {found[:16]}; versions and devices must be equal for equal bits"
        )
    click.echo(f"{folder}: the same, state {found[:16]}")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@_mendable
def doctor(as_json: bool) -> None:
    """Say what is installed, which kernel serves each device and why, what can encode video."""
    from interactive3d.runtime.doctor import examine

    sections = examine()
    if as_json:
        click.echo(json.dumps(sections, indent=2))
        return
    for title, lines in sections.items():
        click.echo(click.style(title, bold=True))
        for name, value in lines.items():
            click.echo(f"  {name:<28}{value}")


@main.command()
@click.argument("prompt", required=False)
@_mendable
def words(prompt: str | None) -> None:
    """List the words that the embedded prior knows, by kind of word; with PROMPT, the ones of it that it does not know."""
    from interactive3d.runtime.guidance.objects.words import unknown_words, vocabulary

    if prompt is not None:
        unknown = unknown_words(prompt)
        for word, near in unknown:
            click.echo(f"{word}: not known" + (f"; near: {', '.join(near)}" if near else ""))
        if not unknown:
            click.echo("every word is known")
        return
    for category, entries in vocabulary().items():
        click.echo(click.style(category, bold=True) + "\n  " + " ".join(entries))


@main.command()
@_mendable
def lsp() -> None:
    """Serve Sculpt to an editor: the language server protocol on standard input and output."""
    from importlib.util import find_spec

    if find_spec("pygls") is None:
        raise Failure("the language server needs pygls: pip install 'interactive3d[editor]'")
    from interactive3d.dsl.server import serve
    from interactive3d.runtime.engine.script import check_context

    serve(check_context())


@main.command(
    "train-prior", context_settings={"ignore_unknown_options": True, "help_option_names": []}, add_help_option=False
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@_mendable
def train_prior(arguments: tuple[str, ...]) -> None:
    """Train the embedded prior anew or go on training it; --help lists its options."""
    from interactive3d.runtime.guidance.embedded.train import main as train

    train(list(arguments))


@main.command("settings")
@click.option("--markdown", is_flag=True, help="As the reference page docs/settings.md.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_settings(markdown: bool, as_json: bool) -> None:
    """List every setting with its default, range, unit and help."""
    import dataclasses

    from interactive3d.runtime.settings import SPECS, reference_page, span_text

    if markdown:
        click.echo(reference_page(), nl=False)
    elif as_json:
        click.echo(json.dumps([dataclasses.asdict(spec) for spec in SPECS.values()], indent=2))
    else:
        for path, spec in SPECS.items():
            click.echo(f"{path:<26}{spec.default!s:<10}{span_text(spec)}\n{'':<26}{spec.help}")


for _verb in (convert, evaluate, info, plan, render, run):
    main.add_command(_verb)


if __name__ == "__main__":
    main()
