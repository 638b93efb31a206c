"""Collects the diagnostics of a check: fills in spans, drops repetitions, remembers where names are declared."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from interactive3d.dsl.diagnostics import Diagnostic, Fix, Related, make
from interactive3d.dsl.program import CheckContext
from interactive3d.dsl.source import Source
from interactive3d.dsl.values import Span

# A file with more faults than this has one fault that repeats.
MAX_DIAGNOSTICS = 500


@dataclass(frozen=True, slots=True)
class CallSite:
    source: Source
    start: int
    end: int
    name: str


class Reporter:
    """One per check; `source` is the file being read now, `calls` the gesture calls that led there."""

    def __init__(self, context: CheckContext, source: Source) -> None:
        self.context = context
        self.source = source
        self.diagnostics: list[Diagnostic] = []
        self.calls: list[CallSite] = []
        self.sources: tuple[Source, ...] = (source,)
        # (file, start, end, what it stands for) of every use of a name; kept for editors alone.
        self.references: list[tuple[Source, int, int, Any]] = []
        self.record = False
        # Whether arithmetic has made a value of the operation that is read now, and of anything so far.
        self.computed = False
        self.ever_computed = False
        # Per file, name -> (start, end) of its declaration at the top level, for "declared below".
        self.declarations: dict[str, dict[str, tuple[int, int]]] = {}
        self._seen: set[tuple[str, str, int, int]] = set()

    def compute(self) -> None:
        """A value is made by arithmetic, or comes from a name: its digits are nobody's literal."""
        self.computed = self.ever_computed = True

    def report(self, code: str, start: int, end: int, **fields: Any) -> None:
        self.report_at(code, self.source, start, end, **fields)

    def report_at(self, code: str, source: Source, start: int, end: int, **fields: Any) -> None:
        """`replace` among the fields makes a fix of the span; `related` takes (Span, text) pairs."""
        key = (code, source.name, start, end)
        if key in self._seen or len(self.diagnostics) >= MAX_DIAGNOSTICS:
            return
        self._seen.add(key)
        span = source.span(start, end)
        replacement = fields.pop("replace", None)
        if replacement is not None:
            fields["fix"] = Fix(span=span, replacement=replacement)
        related = [Related(span=where, text=text) for where, text in fields.pop("related", ())]
        for call in reversed(self.calls[-1:]):
            related.append(Related(span=call.source.span(call.start, call.end), text=f"in this call of `{call.name}`"))
        fields["related"] = tuple(related)
        self.diagnostics.append(make(code, span, fields))

    def use(self, bound: Any, start: int, end: int) -> None:
        """Marks a name as used, here."""
        bound.used = True
        if self.record:
            self.references.append((self.source, start, end, bound))

    def declared_below(self, name: str, offset: int) -> Span | None:
        """Where a name is declared further down in the same file."""
        found = self.declarations.get(self.source.name, {}).get(name)
        if found is None or found[0] <= offset:
            return None
        return self.source.span(*found)

    @contextmanager
    def reading(self, source: Source) -> Iterator[None]:
        before = self.source
        self.source = source
        if source not in self.sources:
            self.sources = (*self.sources, source)
        try:
            yield
        finally:
            self.source = before

    def sorted(self) -> tuple[Diagnostic, ...]:
        """By file (the main one first), then by place."""
        files: dict[str, int] = {}
        for diagnostic in self.diagnostics:
            files.setdefault(diagnostic.span.file, len(files))
        files[self.source.name] = -1
        return tuple(sorted(self.diagnostics, key=lambda d: (files[d.span.file], d.span.start, d.span.end, d.code)))
