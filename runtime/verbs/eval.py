"""`interactive3d eval`: objects of a list of prompts, judged."""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from interactive3d.runtime.verbs.common import Failure, mendable

JUDGES = "embedded, clip:ID_OR_FOLDER (a CLIP of transformers) or open_clip:ID_OR_FOLDER (open_clip's own layout)"


@click.command("eval")
@click.argument("prompts", type=click.Path(path_type=Path))
@click.option("--judge", default="embedded", show_default=True, metavar="JUDGE", help=f"Who judges: {JUDGES}.")
@click.option(
    "--script",
    type=click.Path(path_type=Path, dir_okay=False),
    help="How each object is made; its prompt is replaced. Without: 4096 splats from text by the embedded prior.",
)
@click.option("--steps", type=click.IntRange(1), help="Steps of each object.  [default: the script's, else 600]")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Set a setting, e.g. guidance.scale=3.")
@click.option("--seed", type=click.IntRange(0, 2**31), default=0, show_default=True, help="Object i has seed + i.")
@click.option("--first", type=click.IntRange(1), help="Make only the first ones; all prompts stay candidates.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder  [default: out/eval-NAME]")
@mendable
def evaluate(
    prompts: Path,
    judge: str,
    script: Path | None,
    steps: int | None,
    settings: tuple[str, ...],
    seed: int,
    first: int | None,
    device: str,
    out: Path | None,
) -> None:
    """Make an object of every line of PROMPTS and judge how well each is recognised: R-Precision, time, memory.

    Objects that the folder holds are not made again, so an interrupted evaluation is gone on with by the same command. Writes
    results.csv, results.json and sheet.png.
    """
    from interactive3d.runtime.engine.evaluation import Evaluation, read_prompts
    from interactive3d.runtime.engine.start import checked_device, first_settings, make_guidance
    from interactive3d.runtime.progress import Progress

    texts = read_prompts(prompts)
    program = _program(script, steps, settings)
    folder = out or Path("out") / f"eval-{prompts.stem}"
    chosen = checked_device(device)
    evaluation = Evaluation(folder, program, texts, seed=seed, device=chosen)
    count = min(first or len(texts), len(texts))
    # What cannot judge, or was made otherwise, is said before anything is made.
    judging, name = _judge(judge, chosen, texts)
    done = [i for i in range(count) if evaluation.made(i) is not None]
    if done:
        click.echo(f"{folder}: {len(done)} of {count} objects are there already", err=True)
    guidance = make_guidance(
        program.guidance,
        Path(program.folder),
        chosen,
        first_settings(program.settings),
        lambda t: click.echo(t, err=True),
    )
    rows = []
    shown = Progress(quiet=False)
    with shown.interruptible(evaluation.stop), _bar(shown.console, count - len(done)) as moved:
        clock = Clock(len(done), count)
        for index in range(count):
            new = index not in done
            made = evaluation.make(index, guidance, lambda s, n: moved(clock.made + s.step / n))
            if made is None:
                break
            row = evaluation.judged(index, made, judging)
            rows.append(row)
            left = clock.told(new)
            outcome = "right" if row.rank == 1 else f"rank {row.rank}, judged: {row.judged}"
            shown.report.message(f"{index + 1}/{count}  {made.seconds:.0f} s  {row.text}: {outcome}{left}")
    if not rows:
        raise Failure("stopped before the first object was made; nothing is judged")
    summary = evaluation.write(rows, name, guidance.describe())
    click.echo(
        f"{folder}: R-Precision {summary['r_precision']:.3f} (1 of {len(texts)}, {len(rows)} objects), by single views "
        f"{summary['r_precision_of_single_views']:.3f}, median {summary['seconds_median']:.0f} s and at most "
        f"{summary['memory_gb_highest']:.2f} GB an object"
    )
    if len(rows) < count:
        raise Failure(f"stopped after {len(rows)} of {count} objects; the same command goes on")


@contextlib.contextmanager
def _bar(console: Any, objects: int) -> Iterator[Callable[[float], None]]:
    """A bar over the objects that are still to be made, in a terminal; what is yielded wants to be told how many are, in fractions."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("object {task.completed:.1f} of {task.total}"), BarColumn(None), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal or not objects) as bar:
        task = bar.add_task("objects", total=objects)
        yield lambda done: bar.update(task, completed=done)


@dataclasses.dataclass
class Clock:
    """Time left, from the objects made now."""

    done: int
    count: int
    made: int = 0
    started: float = dataclasses.field(default_factory=time.monotonic)

    def told(self, new: bool) -> str:
        """What to say after an object."""
        if not new:
            return ""
        self.made += 1
        left = self.count - self.done - self.made
        seconds = (time.monotonic() - self.started) / self.made * left
        return f"; {left} to go, about {seconds / 60:.0f} min" if left else ""


def _program(script: Path | None, steps: int | None, settings: tuple[str, ...]) -> Any:
    from interactive3d.dsl.program import GuidanceChoice, InitText, Program
    from interactive3d.dsl.render import render_terminal
    from interactive3d.runtime.engine.script import load_script
    from interactive3d.runtime.engine.start import DEFAULT_BLOBS, DEFAULT_STEPS
    from interactive3d.runtime.settings import check_value, spec

    pairs = []
    for value in settings:
        path, equals, text = value.partition("=")
        if not equals:
            raise click.BadParameter(f"expected NAME=VALUE, got {value!r}", param_hint="--set")
        pairs.append((path.strip(), text.strip()))
    if script is None:
        values = []
        for path, text in pairs:
            try:
                values.append((path, check_value(spec(path), text)))
            except (KeyError, ValueError) as error:
                raise click.BadParameter(str(error.args[0]), param_hint="--set") from None
        return Program(
            steps=steps or DEFAULT_STEPS,
            guidance=GuidanceChoice(name="embedded"),
            initial=InitText(count=DEFAULT_BLOBS),
            settings=tuple(values),
        )
    loaded = load_script(script, tuple(pairs))
    if loaded.program is None:
        click.echo(render_terminal(loaded.diagnostics, loaded.sources, color=sys.stderr.isatty()), err=True, nl=False)
        raise Failure(f"{script}: not run; mend the errors above first")
    return loaded.program if steps is None else dataclasses.replace(loaded.program, steps=steps)


def _judge(name: str, device: str, texts: list[str]) -> tuple[Any, str]:
    kind, _, model = name.partition(":")
    if name == "embedded":
        from interactive3d.runtime.guidance.judge import Judge

        try:
            return Judge.load(device=device), "embedded judge"
        except ValueError as error:
            raise Failure(f"the embedded judge: {error}") from None
    if kind == "clip" and model:
        from interactive3d.runtime.guidance.large.clip_judge import ClipJudge

        found = ClipJudge.load(model, Path(), device)
        for text in texts:
            if (missed := found.unread(text)) is not None:
                click.echo(missed.told(f"judge {name}: the prompt {text!r}"), err=True)
        return found, found.name
    if kind == "open_clip" and model:
        from interactive3d.runtime.guidance.large.open_clip_judge import OpenClipJudge

        other = OpenClipJudge.load(model, Path(), device)
        return other, other.name
    raise click.BadParameter(f"expected {JUDGES}, got {name!r}", param_hint="--judge")
