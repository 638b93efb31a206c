"""Diagnostics for people (as rustc prints them), for one line each, and for programs (JSON)."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from interactive3d.dsl.diagnostics import Diagnostic, Severity
from interactive3d.dsl.source import Source
from interactive3d.dsl.values import Span

_COLORS = {"error": "\x1b[1;31m", "warning": "\x1b[1;33m", "frame": "\x1b[1;34m", "bold": "\x1b[1m", "off": "\x1b[0m"}
_PLAIN = dict.fromkeys(_COLORS, "")
# Lines longer than this are cut around the caret.
_WIDTH = 160


def _excerpt(
    span: Span, source: Source | None, mark: str, label: str, gutter: int, paint: Mapping[str, str], tone: str
) -> list[str]:
    """`-->`, the line, the caret."""
    blue, off = paint["frame"], paint["off"]
    lines = [f"{' ' * gutter}{blue}-->{off} {span}"]
    if source is None:
        return lines
    text = source.line_text(min(span.line, len(source.line_starts)))
    # A control character would upset the terminal.
    text = "".join(char if char.isprintable() or char == "\t" else "\N{REPLACEMENT CHARACTER}" for char in text)
    first = span.column - 1
    last = span.end_column - 1 if span.end_line == span.line else len(text)
    shift = max(0, first - _WIDTH // 2) if len(text) > _WIDTH else 0
    cut = text[shift : shift + _WIDTH]
    under = mark * max(1, min(last - first, shift + _WIDTH - first))
    # Tabs before the caret stay tabs, so that it stands right at any tab width.
    before = "".join("\t" if char == "\t" else " " for char in text[shift:first]).ljust(first - shift)
    bar = f"{blue}{' ' * gutter} |{off}"
    return [
        *lines,
        bar,
        f"{blue}{span.line:>{gutter}} |{off} {cut}".rstrip(),
        f"{bar} {before}{paint[tone]}{under}{' ' + label if label else ''}{off}",
    ]


def render_terminal(diagnostics: Iterable[Diagnostic], sources: Iterable[Source], color: bool = False) -> str:
    """All diagnostics with their lines and carets, and a summary at the end."""
    paint = _COLORS if color else _PLAIN
    by_name = {source.name: source for source in sources}
    blocks = []
    counts = {Severity.ERROR: 0, Severity.WARNING: 0}
    for diagnostic in diagnostics:
        counts[diagnostic.severity] += 1
        blocks.append(_block(diagnostic, by_name, paint))
    if not blocks:
        return ""
    words = [f"{count} {kind.value}{'s' if count > 1 else ''}" for kind, count in counts.items() if count]
    return "\n".join(blocks) + "\n" + ", ".join(words) + "\n"


def _block(diagnostic: Diagnostic, sources: Mapping[str, Source], paint: Mapping[str, str]) -> str:
    tone = diagnostic.severity.value
    spans = [diagnostic.span, *(related.span for related in diagnostic.related)]
    gutter = len(str(max(span.line for span in spans)))
    head = f"{paint[tone]}{tone}[{diagnostic.code}]{paint['off']}{paint['bold']}: {diagnostic.message}{paint['off']}"
    source = sources.get(diagnostic.span.file)
    lines = [head, *_excerpt(diagnostic.span, source, "^", diagnostic.label, gutter, paint, tone)]
    for related in diagnostic.related:
        lines += _excerpt(related.span, sources.get(related.span.file), "-", related.text, gutter, paint, "frame")
    if diagnostic.help:
        lines += [f"{paint['frame']}{' ' * gutter} ={paint['off']} help: {diagnostic.help}"]
    return "\n".join(lines) + "\n"


def render_plain(diagnostics: Iterable[Diagnostic]) -> str:
    """One line each: file:line:column: error[CODE]: message; help."""
    lines = [f"{d}{'; ' + d.help if d.help else ''}" for d in diagnostics]
    return "\n".join(lines) + ("\n" if lines else "")


def _span(span: Span) -> dict[str, Any]:
    return {
        "file": span.file,
        "line": span.line,
        "column": span.column,
        "end_line": span.end_line,
        "end_column": span.end_column,
    }


def as_dict(diagnostic: Diagnostic) -> dict[str, Any]:
    """JSON types only; stable keys."""
    fix = diagnostic.fix
    return {
        "code": diagnostic.code,
        "severity": diagnostic.severity.value,
        "message": diagnostic.message,
        "label": diagnostic.label,
        "help": diagnostic.help,
        "span": _span(diagnostic.span),
        "fix": None if fix is None else {"span": _span(fix.span), "replacement": fix.replacement},
        "related": [{"span": _span(r.span), "text": r.text} for r in diagnostic.related],
    }


def render_json(diagnostics: Iterable[Diagnostic]) -> str:
    return json.dumps([as_dict(diagnostic) for diagnostic in diagnostics], indent=2, ensure_ascii=False) + "\n"
