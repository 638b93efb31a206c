"""Diagnostics as data: a code, a span, a message, a caret's label, a help, a fix. Rendering is render.py's business.

The words live in the catalogue (catalogue_*.py): one entry per code with its message, its help, and what `explain` says.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib import import_module
from types import MappingProxyType

from interactive3d.dsl.values import Span


class Severity(Enum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix:
    """Replacing the text under `span` by `replacement` cures the fault."""

    span: Span
    replacement: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Related:
    """Another place that the message speaks of."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    code: str
    severity: Severity
    span: Span
    message: str
    label: str = ""
    help: str | None = None
    fix: Fix | None = None
    related: tuple[Related, ...] = ()

    def __str__(self) -> str:
        return f"{self.span}: {self.severity.value}[{self.code}]: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One kind of diagnostic. `message`, `label` and `help` are templates; `why` with `wrong` and `right` is what `explain` prints.

    `files` are further files that the examples need, `wrong_set` and `right_set` what `--set` gives them.
    """

    code: str
    message: str
    label: str = ""
    help: str | None = None
    why: str = ""
    wrong: str = ""
    right: str = ""
    files: tuple[tuple[str, str], ...] = ()
    wrong_set: tuple[tuple[str, str], ...] = ()
    right_set: tuple[tuple[str, str], ...] = ()

    @property
    def severity(self) -> Severity:
        return Severity.WARNING if self.code.startswith("W") else Severity.ERROR


class SculptError(ValueError):
    """Raised where one value is asked for and the text has faults; `diagnostics` tells all of them."""

    def __init__(self, diagnostics: tuple[Diagnostic, ...]) -> None:
        super().__init__("\n".join(str(diagnostic) for diagnostic in diagnostics))
        self.diagnostics = diagnostics


_FAMILIES = ("syntax", "names", "types", "ranges", "structure", "timeline", "files")


@cache
def catalogue() -> Mapping[str, Entry]:
    """All entries by code, in order."""
    entries: dict[str, Entry] = {}
    for family in _FAMILIES:
        for entry in import_module(f"{__package__}.catalogue_{family}").ENTRIES:
            if entry.code in entries:
                raise ValueError(f"catalogue: code {entry.code} stands in it twice")
            entries[entry.code] = entry
    return MappingProxyType(entries)


def make(code: str, span: Span, fields: Mapping[str, object]) -> Diagnostic:
    """Fills in an entry's templates. `help`, `label`, `fix` and `related` among the fields replace the entry's own."""
    entry = catalogue()[code]
    help_ = fields.get("help", entry.help)
    label = fields.get("label", entry.label)
    return Diagnostic(
        code=code,
        severity=entry.severity,
        span=span,
        message=entry.message.format_map(fields),
        label=str(label).format_map(fields) if label is entry.label else str(label),
        help=str(help_).format_map(fields) if help_ is entry.help and help_ is not None else help_,  # type: ignore[arg-type]
        fix=fields.get("fix"),  # type: ignore[arg-type]
        related=tuple(fields.get("related", ())),  # type: ignore[arg-type]
    )


def explain(code: str) -> str:
    """What a code means, with a wrong and a right example. ValueError when there is no such code."""
    entry = catalogue().get(code.strip().upper())
    if entry is None:
        known = ", ".join(catalogue())
        raise ValueError(f"explain: expected a diagnostic code, got {code!r}; the codes are {known}")
    lines = [f"{entry.severity.value}[{entry.code}]: {_plain(entry.message)}", "", entry.why.strip(), ""]
    for name, text in entry.files:
        lines += [f"With {name}:", "", *("    " + line for line in text.strip("\n").split("\n")), ""]
    examples = (("Wrong", entry.wrong, entry.wrong_set), ("Right", entry.right, entry.right_set))
    for title, text, chosen in examples:
        given = "".join(f" --set {path}={value}" for path, value in chosen)
        lines += [
            f"{title}{given and ', with' + given}:",
            "",
            *("    " + line for line in text.strip("\n").split("\n")),
            "",
        ]
    return "\n".join(lines).rstrip() + "\n"


def _plain(template: str) -> str:
    """A template with `…` in place of what is filled in."""
    out, depth = [], 0
    for char in template:
        if char == "{":
            depth += 1
            out.append("…")
        elif char == "}":
            depth -= 1
        elif not depth:
            out.append(char)
    return "".join(out)
