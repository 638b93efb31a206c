"""The front door: texts and files to programs, one line to one operation."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from interactive3d.dsl import nodes as n
from interactive3d.dsl.checker import Checker
from interactive3d.dsl.diagnostics import Diagnostic, SculptError, Severity, make
from interactive3d.dsl.frame import Frame, Label
from interactive3d.dsl.modules import ReadFault, read_script, source_file, text_fault
from interactive3d.dsl.operations import Operation
from interactive3d.dsl.parser import parse
from interactive3d.dsl.program import CheckContext, Program
from interactive3d.dsl.scope import Bound
from interactive3d.dsl.source import Source
from interactive3d.dsl.tidy import tidy_operation
from interactive3d.dsl.timeline import Timeline, order_key
from interactive3d.dsl.values import NOW, NamedPart


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """`program` is None when there is an error; warnings do not hinder it. `source` is the text that spans count in."""

    program: Program | None
    diagnostics: tuple[Diagnostic, ...]
    sources: tuple[Source, ...] = ()

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        return tuple(d for d in self.diagnostics if d.severity is Severity.ERROR)


@contextmanager
def _no_collection() -> Iterator[None]:
    """A syntax tree is many small objects without cycles: looking for cycles while it grows costs as much as building it."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def load(path: str | Path, context: CheckContext | None = None) -> Loaded:
    """Reads and checks a script. A file that cannot be read is a diagnostic too."""
    context = context or CheckContext()
    path = Path(path)
    try:
        text = read_script(path, context)
    except ReadFault as fault:
        source = Source(name=str(path), text="")
        return Loaded(program=None, diagnostics=(make(fault.code, source.span(0, 0), fault.fields),), sources=(source,))
    return loads(text, context, path=path)


def loads(
    text: str, context: CheckContext | None = None, path: str | Path | None = None, name: str | None = None
) -> Loaded:
    """Checks a text. `path` is where it would lie: what it uses is looked for from there. `name` is what messages call it."""
    context = context or CheckContext()
    where = Path(path) if path is not None else None
    text = text.replace("\r\n", "\n").removeprefix("\ufeff")
    source = Source(name=name or (str(where) if where else "<script>"), text=text)
    fault = text_fault(text)
    if fault is not None:
        at = max(text.find("\0"), 0)
        return Loaded(
            program=None, diagnostics=(make("E0113", source.span(at, at + 1), {"reason": fault}),), sources=(source,)
        )
    with _no_collection():
        checker = check(source, context, where)
        diagnostics = checker.reporter.sorted()
        if any(d.severity is Severity.ERROR for d in diagnostics):
            return Loaded(program=None, diagnostics=diagnostics, sources=checker.reporter.sources)
        return Loaded(program=_program(checker, source), diagnostics=diagnostics, sources=checker.reporter.sources)


def check(source: Source, context: CheckContext, path: Path | None, record: bool = False) -> Checker:
    """Parses and checks a text in full; the checker holds everything that was found, with `record` every use of a name too."""
    checker = Checker(context, source, path)
    reporter = checker.reporter
    reporter.record = record
    try:
        body = parse(source.text, reporter.report)
        checker.declarations.note(body)
        checker.run(body.statements, checker.frame)
        finish(checker)
    except RecursionError:
        reporter.report("E0112", 0, 1, limit="the stack is")
    return checker


def finish(checker: Checker) -> None:
    """What can only be checked once the whole script is known."""
    values = checker.setting_statements.values
    places = checker.setting_statements.places
    checker.apply_overrides()
    steps = values.get("steps")
    source = checker.reporter.source
    end = len(source.text.rstrip())
    if "steps" not in places and checker.placed and steps is None:
        checker.report("E0503", max(end - 1, 0), end)
    if "prompt" not in places and "prompt" not in values and checker.placed and steps != 0:
        guidance = values.get("guidance")
        if guidance is None or guidance.name not in ("reference", "none"):
            checker.report("W0804", 0, min(end, source.text.find("\n") if "\n" in source.text else end))
    timeline = Timeline(checker, steps)
    timeline.check()
    guidance = values.get("guidance")
    name = (
        guidance.name if guidance is not None else (checker.context.guidances[0] if checker.context.guidances else None)
    )
    timeline.prompts(name)
    if name is not None:
        for key in ("prompt", "avoid"):
            if key in places and key in values:
                timeline.words(name, values[key], source, *places[key])
    _unused(checker)


def _unused(checker: Checker) -> None:
    """Names of the main file that nothing speaks of; one that begins with `_` is meant to be so."""
    kinds = {
        "let": "let",
        "part": "part",
        "view": "view",
        "param": "param",
        "gesture": "gesture",
        "module": "namespace",
    }
    names = checker.scope.names.values()
    if any(b.kind == "gesture" for b in names) and not checker.placed and not checker.setting_statements.values:
        # A library: it is other files that use what it declares.
        return
    for bound in names:
        if bound.kind in kinds and not bound.used and not bound.name.startswith("_"):
            checker.reporter.report_at(
                "W0802", bound.source, bound.start, bound.end, kind=kinds[bound.kind], name=bound.name
            )
    for label in checker.frame.labels.values():
        if not label.used:
            checker.reporter.report_at("W0803", label.source, label.start, label.end, name=label.name)


def _program(checker: Checker, source: Source) -> Program:
    values = checker.setting_statements.values
    declared = checker.declarations
    # What was calculated for the head; parts, views and operations were cleaned where they were made.
    tidy = tidy_operation if checker.reporter.ever_computed else lambda value: value
    return Program(
        prompt=values.get("prompt"),
        avoid=values.get("avoid"),
        seed=values.get("seed"),
        steps=values.get("steps"),
        guidance=values.get("guidance"),
        initial=tidy(values.get("initial")),
        settings=tuple((path, tidy(value)) for path, value in checker.settings.chosen.items()),
        repair=tidy(values.get("repair")),
        params=tuple(declared.params),
        views=tuple(declared.views),
        parts=tuple(declared.parts),
        operations=tuple(placed.operation for placed in sorted(checker.placed, key=order_key)),
        sources=(source_file(source.name, source.text), *declared.sources),
        folder=str(checker.folder),
    )


def parse_operation(text: str, context: CheckContext | None = None) -> Operation:
    """One event line, as the console and the window use it; without a moment its `when` is Now.

    The context's parts, views and tags can be named. SculptError when the line is faulty or is not one operation.
    """
    context = context or CheckContext()
    source = Source(name="<line>", text=text)
    checker = Checker(context, source, None)
    for part in context.parts:
        checker.scope.names[part.name] = Bound(part.name, "part", part, source, 0, 0, used=True)
    for view in context.views:
        if view.name:
            checker.scope.names[view.name] = Bound(view.name, "view", view, source, 0, 0, used=True)
    for tag in context.tags:
        checker.scope.names[tag] = Bound(tag, "tag", NamedPart(name=tag), source, 0, 0, used=True)
    body = parse(text, checker.reporter.report)
    for statement in body.statements:
        moment = getattr(statement, "moment", None)
        if isinstance(moment, n.Moment) and moment.kind == "after" and moment.name is not None:
            checker.frame.labels.setdefault(moment.name.text, Label(moment.name.text, source, 0, 0))
    frame = Frame(scope=checker.scope, tags=checker.scope, labels=checker.frame.labels, when=None)
    checker.now = NOW
    checker.run(body.statements, frame)
    diagnostics = tuple(d for d in checker.reporter.sorted() if d.severity is Severity.ERROR)
    if not diagnostics and len(checker.placed) != 1:
        diagnostics = (make("E0521", source.span(0, len(text)), {"count": len(checker.placed)}),)
    if diagnostics:
        raise SculptError(diagnostics)
    return checker.placed[0].operation
