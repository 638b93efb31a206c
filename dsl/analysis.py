"""What an editor asks about a script: what stands at a place, what could stand there, where it is declared and used.

Pure functions over a text; offsets count characters from 0. server.py speaks the language server protocol on top.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interactive3d.dsl import nodes as n
from interactive3d.dsl.api import check
from interactive3d.dsl.checker import Checker
from interactive3d.dsl.functions import FUNCTIONS
from interactive3d.dsl.gestures import TYPES
from interactive3d.dsl.help import HELP, STATEMENTS
from interactive3d.dsl.lexer import Tokens, tokenize
from interactive3d.dsl.parser import parse_tokens
from interactive3d.dsl.printer import number, orbit, part, text, vector
from interactive3d.dsl.program import CheckContext, SettingSpec
from interactive3d.dsl.scope import Bound, Gesture, type_of
from interactive3d.dsl.source import Source
from interactive3d.dsl.syntax_faults import accepted_after
from interactive3d.dsl.tables import END, tables
from interactive3d.dsl.values import DeclaredPart

_WORD = re.compile(r"[A-Za-z_][\w.]*")
# They stand without a moment and begin a line.
_SETTINGS = frozenset({"prompt", "avoid", "seed", "steps", "guidance", "splats"})


@dataclass(frozen=True, slots=True)
class Completion:
    """`kind` is keyword, name, gesture, function, color, setting, type, choice or label."""

    text: str
    kind: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Site:
    """A stretch of a file."""

    file: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Symbol:
    name: str
    kind: str
    start: int
    end: int


class Analysis:
    """One check of one text, kept for many questions."""

    def __init__(self, content: str, context: CheckContext, path: Path | None, name: str) -> None:
        self.source = Source(name=name, text=content)
        self.context = context
        self.checker: Checker = check(self.source, context, path, record=True)
        self.diagnostics = self.checker.reporter.sorted()
        self.tokens = tokenize(content, _quiet, fused=False)
        self.body = parse_tokens(tokenize(content, _quiet), _quiet)

    # Names.

    def _places(self) -> Iterator[tuple[Site, Bound]]:
        """Every place of this and used files that speaks of a name, declarations included."""
        for source, start, end, bound in self.checker.reporter.references:
            yield Site(source.name, start, end), bound
            yield Site(bound.source.name, bound.start, bound.end), bound

    def bound_at(self, offset: int) -> Bound | None:
        """What the name at a place stands for."""
        for site, bound in self._places():
            if site.file == self.source.name and site.start <= offset <= site.end:
                return bound
        for bound in self.checker.scope.names.values():
            if bound.source is self.source and bound.start <= offset <= bound.end:
                return bound
        return None

    def definition(self, offset: int) -> Site | None:
        bound = self.bound_at(offset)
        return None if bound is None else Site(bound.source.name, bound.start, bound.end)

    def uses(self, offset: int) -> tuple[Site, ...]:
        """The declaration of the name at a place and everything that speaks of it, in order."""
        bound = self.bound_at(offset)
        if bound is None:
            return ()
        key = (bound.source.name, bound.start, bound.end)
        found = {Site(*key)}
        found |= {site for site, other in self._places() if (other.source.name, other.start, other.end) == key}
        return tuple(sorted(found, key=lambda site: (site.file, site.start)))

    def rename(self, offset: int, name: str) -> tuple[Site, ...]:
        """The places to be rewritten. ValueError when the new name cannot be one, or the old one is not a name of this file."""
        bound = self.bound_at(offset)
        if bound is None:
            raise ValueError(
                "rename: expected a name, found none at this place; put the cursor on a name that the script declares"
            )
        if not re.fullmatch(r"[A-Za-z_]\w*", name) or name in self.checker.declarations.reserved:
            raise ValueError(f"rename: expected a name, got {name!r}; words of the language and signs cannot be names")
        if self.checker.scope.names.get(name) is not None:
            raise ValueError(f"rename: expected a new name, got {name!r}, which is declared already; choose another")
        return tuple(self._last_part(site) for site in self.uses(offset))

    def _last_part(self, site: Site) -> Site:
        """Of `lib.head` and `back.x`, the part that is the name itself."""
        source = next((s for s in self.checker.reporter.sources if s.name == site.file), self.source)
        written = source.text[site.start : site.end]
        bound = self.bound_at(site.start) if site.file == self.source.name else None
        if bound is not None and "." in written:
            head, _, rest = written.partition(".")
            if head == bound.name:
                return Site(site.file, site.start, site.start + len(head))
            return Site(site.file, site.end - len(rest), site.end)
        return site

    # Hover.

    def word_at(self, offset: int) -> tuple[str, int, int] | None:
        line_start = self.source.text.rfind("\n", 0, offset) + 1
        line_end = self.source.text.find("\n", offset)
        line = self.source.text[line_start : line_end if line_end >= 0 else len(self.source.text)]
        for match in _WORD.finditer(line):
            if match.start() <= offset - line_start <= match.end():
                return match.group(0), line_start + match.start(), line_start + match.end()
        return None

    def hover(self, offset: int) -> str | None:
        """Markdown for what stands at a place."""
        found = self.word_at(offset)
        if found is None or any(start <= offset < end for start, end in self.tokens.comments):
            return None
        word, start, end = found
        bound = self.bound_at(offset)
        if bound is not None and (bound.start, bound.end) != (0, 0):
            return describe(bound, self.checker)
        kind = self._token_type(start)
        if kind == "STRING":
            return None
        spec = self.checker.settings.specs.get(word)
        if spec is not None:
            return setting_help(spec)
        if word in FUNCTIONS and self.source.text[end : end + 1] == "(":
            return f"```sculpt\n{FUNCTIONS[word][2]}\n```"
        entry = HELP.get(word)
        if entry is not None:
            return f"```sculpt\n{entry.form}\n```\n{entry.text}"
        color = self.context.colors.get(word)
        return None if color is None else f"`{word}` is {vector(color)}"

    def _token_type(self, offset: int) -> str | None:
        for kind, start, end in zip(self.tokens.types, self.tokens.starts, self.tokens.ends, strict=True):
            if start <= offset < end:
                return kind
        return None

    # Completion.

    def complete(self, offset: int) -> tuple[Completion, ...]:
        """What could be typed at a place: words that the grammar accepts there, and names in scope."""
        written = self.source.text[:offset]
        partial = re.search(r"[\w.]*$", written)
        prefix = partial.group(0) if partial else ""
        tokens = tokenize(written[: offset - len(prefix)], _quiet, fused=False)
        if self._inside_text_or_comment(offset):
            return ()
        before = _last_statement(tokens)
        can = accepted_after([kind for kind, _ in before])
        offered = list(self._fixed(before, can, offset)) if before else []
        if not offered:
            words = [word for word in self._words(can) if not before or word not in _SETTINGS]
            offered = [Completion(text=word, kind="keyword", detail=_form(word)) for word in words]
            if "NAME" in can or "CALL" in can:
                offered += self._names(offset, prefix, "NUMBER" in can, "CALL" in can)
        unique = {item.text: item for item in reversed(offered)}
        return tuple(
            sorted((i for i in unique.values() if i.text.startswith(prefix)), key=lambda i: (i.kind == "color", i.text))
        )

    def _inside_text_or_comment(self, offset: int) -> bool:
        if any(start < offset <= end for start, end in self.tokens.comments):
            return True
        strings = zip(self.tokens.types, self.tokens.starts, self.tokens.ends, strict=True)
        return any(kind == "STRING" and start < offset < end for kind, start, end in strings)

    @staticmethod
    def _words(can: set[str]) -> list[str]:
        table = tables()
        return sorted(word for word, terminal in table.words.items() if terminal in can and word != "x")

    def _fixed(self, before: list[tuple[str, str]], can: set[str], offset: int) -> Iterator[Completion]:
        """Where one kind of name alone makes sense."""
        if "NAME" not in can:
            return
        last = before[-1][1]
        settings = self.checker.settings.specs
        if last in ("set", "ramp"):
            yield from (Completion(path, "setting", setting_detail(spec)) for path, spec in settings.items())
        elif last == "guidance":
            yield from (Completion(name, "choice") for name in self.context.guidances)
        elif last == "across":
            yield from (Completion(axis, "choice") for axis in "xyz")
        elif last == "when":
            yield from (Completion(name, "choice") for name in self.context.metrics)
        elif last == "after":
            yield from (Completion(name, "label") for name in self.checker.frame.labels)
        elif last == ":":
            yield from (Completion(name, "type") for name in TYPES)
        elif len(before) > 1 and before[-2][1] == "set" and last in settings:
            spec = settings[last]
            choices = ("on", "off") if spec.kind == "bool" else spec.choices
            yield from (Completion(choice, "choice") for choice in choices)

    def _names(self, offset: int, prefix: str, values: bool, gestures: bool) -> Iterator[Completion]:
        head = prefix.rpartition(".")[0]
        scope = self.checker.scope
        if head:
            module = scope.names.get(head)
            inner = module.value.names.values() if module is not None and module.kind == "module" else ()
            yield from (Completion(f"{head}.{bound.name}", _kind(bound), _short(bound)) for bound in inner)
            if not inner:
                yield from (Completion(f"{head}.{axis}", "name", "component") for axis in "xyz")
            return
        for bound in scope.visible():
            if bound.source is not self.source or bound.start > offset:
                continue
            if (bound.kind == "gesture" and gestures) or (bound.kind != "gesture" and values) or bound.kind == "module":
                yield Completion(bound.name, _kind(bound), _short(bound))
        for formal in self._arguments(offset):
            yield Completion(formal.name.text, "name", f"{formal.type.text} (argument)")
        if values:
            yield from (Completion(name, "function", usage) for name, (_, _, usage) in FUNCTIONS.items())
            yield from (Completion(name, "name") for name in ("all", "on", "off"))
            yield from (Completion(name, "color", vector(color)) for name, color in self.context.colors.items())
        elif not gestures:
            views = (bound for bound in scope.visible() if bound.kind == "view" and bound.start <= offset)
            yield from (Completion(bound.name, "name", _short(bound)) for bound in views)

    def _arguments(self, offset: int) -> tuple[n.Formal, ...]:
        """The arguments of the gesture whose body a place is in."""
        for statement in self.body.statements:
            if isinstance(statement, n.GestureDecl) and statement.body.start <= offset <= statement.body.end:
                return statement.formals
        return ()

    # Structure.

    def folds(self) -> tuple[tuple[int, int], ...]:
        """First and last lines, from 1, of blocks, of brackets over several lines and of runs of comments."""
        found: set[tuple[int, int]] = set()
        opened: list[int] = []
        position = self.source.position
        for text_, start in zip(self.tokens.texts, self.tokens.starts, strict=True):
            if text_ in ("{", "[", "(") or (text_ and self._is_call(start)):
                opened.append(start)
            elif text_ in ("}", "]", ")") and opened:
                first, last = position(opened.pop())[0], position(start)[0]
                if last - first > 1:
                    found.add((first, last - 1 if text_ == "}" else last))
        lines = [position(start)[0] for start, _ in self.tokens.comments if self._own_line(start)]
        run: list[int] = []
        for line in [*lines, -1]:
            if run and line != run[-1] + 1:
                if len(run) > 1:
                    found.add((run[0], run[-1]))
                run = []
            run.append(line)
        return tuple(sorted(found))

    def _is_call(self, start: int) -> bool:
        return self._calls.get(start, False)

    @property
    def _calls(self) -> dict[int, bool]:
        pairs = zip(self.tokens.types, self.tokens.starts, strict=True)
        return {start: True for kind, start in pairs if kind == "CALL"}

    def _own_line(self, start: int) -> bool:
        line_start = self.source.text.rfind("\n", 0, start) + 1
        return not self.source.text[line_start:start].strip()

    def colors(self) -> tuple[tuple[int, int, tuple[float, float, float]], ...]:
        """Colours written in the text, with where they stand."""
        found = []
        scope = self.checker.scope
        items = zip(self.tokens.types, self.tokens.texts, self.tokens.starts, self.tokens.ends, strict=True)
        for kind, written, start, end in items:
            if kind == "HEX":
                red, green, blue = (int(written[i : i + 2], 16) / 255 for i in (1, 3, 5))
                found.append((start, end, (red, green, blue)))
            elif kind == "NAME" and written in self.context.colors and scope.find(written) is None:
                found.append((start, end, self.context.colors[written]))
        return tuple(found)

    def symbols(self) -> tuple[Symbol, ...]:
        """Declarations and labels of the file."""
        found = []
        for statement in self.body.statements:
            if isinstance(statement, n.Binding):
                found.append(Symbol(statement.name.text, statement.kind, statement.start, statement.end))
            elif isinstance(statement, n.ParamDecl):
                found.append(Symbol(statement.name.text, "param", statement.start, statement.end))
            elif isinstance(statement, n.GestureDecl):
                found.append(Symbol(statement.name.text, "gesture", statement.start, statement.end))
            elif isinstance(statement, n.Event) and statement.label is not None:
                found.append(Symbol(statement.label.text, "label", statement.start, statement.end))
        return tuple(found)


def _quiet(*_: Any, **__: Any) -> None:
    """Faults are reported by the check itself."""


def _last_statement(tokens: Tokens) -> list[tuple[str, str]]:
    """Types and texts of the statement that a text ends in, without the brackets that the lexer closes at the end."""
    last = tokens.ends[-1]
    pairs = [
        (kind, written)
        for kind, written, start, end in zip(tokens.types, tokens.texts, tokens.starts, tokens.ends, strict=True)
        if kind != END and not (start == end == last)
    ]
    begin = len(pairs)
    while begin and pairs[begin - 1][0] not in ("_NL", "LBRACE", "RBRACE"):
        begin -= 1
    return pairs[begin:]


def _form(word: str) -> str:
    entry = HELP.get(word)
    return entry.form if entry else ""


def _kind(bound: Bound) -> str:
    return "gesture" if bound.kind == "gesture" else "name"


def _short(bound: Bound) -> str:
    return bound.kind if bound.kind != "gesture" else _usage(bound.value)


def _usage(gesture: Gesture) -> str:
    formals = ", ".join(gesture.source.text[formal.start : formal.end] for formal in gesture.node.formals)
    return f"{gesture.node.name.text}({formals})"


def value_text(value: Any) -> str:
    """A value as it would be written."""
    match type_of(value):
        case "number":
            return number(value)
        case "angle":
            return f"{number(value.degrees)} deg"
        case "vector":
            return vector(value)
        case "text":
            return text(value)
        case "truth":
            return "on" if value else "off"
        case "part":
            return part(value.part if isinstance(value, DeclaredPart) else value)
        case "view":
            return orbit(value)
        case "list":
            return "[" + ", ".join(value_text(item) for item in value.values) + "]"
    return "…"


def describe(bound: Bound, checker: Checker) -> str:
    """Markdown for a name."""
    if bound.kind == "gesture":
        help_ = bound.value.node.help
        return f"```sculpt\ngesture {_usage(bound.value)}\n```" + (f"\n{help_.value}" if help_ else "")
    if bound.kind == "module":
        return f"```sculpt\nuse … as {bound.name}\n```\n" + ", ".join(f"`{name}`" for name in bound.value.names)
    if bound.kind == "label":
        return f"the label `{bound.name}`"
    if bound.kind == "tag":
        return f"`{bound.name}` is a tag: what was added under this name"
    written = f"```sculpt\n{bound.kind} {bound.name} = {value_text(bound.value)}\n```"
    param = next((p for p in checker.declarations.params if p.name == bound.name and bound.kind == "param"), None)
    if param is None:
        return written
    limits = "" if param.low is None else f"\n{param.low:g} .. {param.high:g}"
    return written + limits + (f"\n{param.help}" if param.help else "")


def setting_detail(spec: SettingSpec) -> str:
    if spec.choices:
        return " | ".join(spec.choices)
    limits = (
        ""
        if spec.low is None and spec.high is None
        else f" in {spec.low:g} .. {spec.high:g}"
        if spec.low is not None and spec.high is not None
        else ""
    )
    return f"{spec.kind}{limits}{' ' + spec.unit if spec.unit else ''}"


def setting_help(spec: SettingSpec) -> str:
    default = "" if spec.default is None else f", {value_text(spec.default)} unless set"
    live = "" if spec.live else "; fixed when the run begins"
    return f"```sculpt\nset {spec.path} …\n```\n{setting_detail(spec)}{default}{live}\n\n{spec.help}".rstrip()


__all__ = ["STATEMENTS", "Analysis", "Completion", "Site", "Symbol", "describe", "setting_help", "value_text"]
