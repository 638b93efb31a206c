"""Source to source: the one way of writing a script. Comments, names and the order of statements stay; spacing, indentation, the form of
numbers and the order of clauses become uniform. Formatting what is formatted changes nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from interactive3d.dsl import nodes as n
from interactive3d.dsl.diagnostics import Diagnostic, SculptError, make
from interactive3d.dsl.lexer import Tokens, tokenize
from interactive3d.dsl.parser import parse_tokens
from interactive3d.dsl.printer import number
from interactive3d.dsl.settings_statements import SETTING_KEYWORDS
from interactive3d.dsl.source import Source
from interactive3d.dsl.tables import END

INDENT = "  "
_COMMENT_GAP = "  "
# The order in which optional clauses are written, per statement; the printer's order.
_CLAUSES = {
    "add": ("member", "at", "scale", "rotate", "count", "color", "as"),
    "duplicate": ("by", "as"),
    "mirror": ("across", "through", "as"),
    "move": ("by", "to"),
    "rotate": ("by", "about", "through"),
    "stretch": ("by", "about"),
    "drag": ("radius", "mode", "form", "over", "step", "motion", "rigidity"),
    "edit": ("with", "for", "noise", "zoom", "scale"),
    "repair": ("for", "noise", "anchor"),
    "distill": ("over", "size"),
    "refine": ("with", "levels", "features", "capacity", "for", "noise"),
    "snapshot": ("view", "size"),
    "export": ("resolution", "texture", "faces", "threshold"),
    "turntable": ("seconds", "fps", "size", "elevation", "view"),
    "timelapse": ("every", "view"),
}
_MOMENTS = frozenset({"at_step", "from_to", "every", "after", "when_below", "when_above"})
_ORBIT = ("azimuth", "elevation", "distance", "fov", "target")
_TIGHT_AFTER = frozenset({"(", "["})
_TIGHT_BEFORE = frozenset({")", "]", ",", ":"})


@dataclass(slots=True)
class _Facts:
    """What the spacing of tokens needs from the tree, by offset."""

    unary: set[int] = field(default_factory=set)
    # Where the second column of a line begins -> which lines it is lined up with.
    columns: dict[int, str] = field(default_factory=dict)
    # Runs of clauses to be put in order: (first, last offset of each, in the order to be).
    orders: list[list[tuple[int, int]]] = field(default_factory=list)


@dataclass(slots=True)
class _Line:
    depth: int
    text: str = ""
    comment: str = ""
    # Where the padding of the second column goes, and which lines share it.
    column: int = 0
    group: str = ""
    blank_before: bool = False


def _walk(node: Any) -> Iterator[Any]:
    stack = [node]
    while stack:
        item = stack.pop()
        if isinstance(item, tuple):
            stack.extend(item)
        elif isinstance(item, n.Node):
            yield item
            stack.extend(
                getattr(item, name) for name in type(item).__dataclass_fields__ if name not in ("start", "end")
            )


def _facts(body: n.Block, source: str) -> _Facts:
    facts = _Facts()
    for node in _walk(body):
        if (isinstance(node, n.Unary) and node.op == "-") or (isinstance(node, n.Number) and source[node.start] == "-"):
            facts.unary.add(node.start)
        elif isinstance(node, n.Op) and node.keyword in _CLAUSES:
            _ordered(facts, node.clauses, _CLAUSES[node.keyword])
        elif isinstance(node, n.OrbitOf):
            _ordered(facts, node.clauses, _ORBIT)
        elif isinstance(node, n.Event):
            if node.moment is not None and node.label is None and node.moment.kind in _MOMENTS:
                facts.columns[node.action.start] = node.moment.kind
            elif node.moment is None and isinstance(node.action, n.Op) and node.action.keyword in SETTING_KEYWORDS:
                facts.columns[node.action.start] = "setting"
        elif isinstance(node, n.Binding | n.ParamDecl):
            facts.columns[node.start] = node.kind if isinstance(node, n.Binding) else "param"
    return facts


def _ordered(facts: _Facts, clauses: tuple[Any, ...], order: tuple[str, ...]) -> None:
    optional = [c for c in clauses if isinstance(c, n.Clause) and c.name in order]
    rank = {name: i for i, name in enumerate(order)}
    wanted = sorted(optional, key=lambda clause: rank[clause.name])
    if wanted != optional:
        facts.orders.append([(c.start, c.end) for c in wanted])


class _Formatter:
    def __init__(self, text: str, tokens: Tokens, facts: _Facts) -> None:
        self.text = text
        self.facts = facts
        self.lines: list[_Line] = []
        self.depth = 0
        self.line = _Line(0)
        self.tokens = self._items(tokens)

    def _items(self, tokens: Tokens) -> list[tuple[str, str, int, int]]:
        """Tokens and comments in the order to be written: (type, text, start, end)."""
        items = list(zip(tokens.types, tokens.texts, tokens.starts, tokens.ends, strict=True))
        items += [("#", self.text[start:end], start, end) for start, end in tokens.comments]
        items.sort(key=lambda item: (item[2], item[3], item[0] == END))
        for order in self.facts.orders:
            self._reorder(items, order)
        return items

    def _reorder(self, items: list[tuple[str, str, int, int]], order: list[tuple[int, int]]) -> None:
        """Puts the clauses of one statement in order, unless a comment or a line's end stands between them."""
        low, high = min(start for start, _ in order), max(end for _, end in order)
        if "\n" in self.text[low:high]:
            return
        inside = [i for i, item in enumerate(items) if low <= item[2] < item[3] <= high]
        wanted = [items[i] for start, end in order for i in inside if start <= items[i][2] and items[i][3] <= end]
        if len(wanted) == len(inside):
            for i, item in zip(inside, wanted, strict=True):
                items[i] = item

    def run(self) -> str:
        brackets = 0
        previous: tuple[str, str, int, int] | None = None
        for item in self.tokens:
            kind, text, start, _ = item
            gap = self.text[previous[3] : start].count("\n") if previous and previous[3] <= start else 0
            if kind == "#":
                self._comment(item, previous, gap, brackets)
            elif kind in ("_NL", END):
                self._break()
            else:
                if text == "}":
                    self._break()
                    self.depth -= 1
                    self.line.depth = self.depth
                elif brackets and gap and previous and previous[0] != "#":
                    self._break(brackets)
                self._blank(previous, start)
                self._token(item, previous)
                if text in ("(", "[") or kind == "CALL":
                    brackets += 1
                elif text in (")", "]"):
                    brackets -= 1
                elif text == "{":
                    self.depth += 1
                    self._wait_for_comment(item)
            previous = item
        self._break()
        return self._write()

    def _wait_for_comment(self, brace: tuple[str, str, int, int]) -> None:
        """After `{`: a comment on the same line stays there, anything else goes to the next."""
        end = self.text.find("\n", brace[3])
        rest = self.text[brace[3] : end if end >= 0 else len(self.text)]
        if not rest.lstrip().startswith("#") or self._is_hex(rest.lstrip()):
            self._break()

    @staticmethod
    def _is_hex(rest: str) -> bool:
        return len(rest) >= 7 and all(c in "0123456789abcdefABCDEF" for c in rest[1:7]) and not rest[7:8].isalnum()

    def _blank(self, previous: tuple[str, str, int, int] | None, start: int) -> None:
        """One empty line stays where there were some, except at the ends of blocks."""
        if self.line.text or previous is None or not self.lines:
            return
        before = self.text[:start].rstrip(" \t")
        if before.endswith("\n\n") or before.replace(" ", "").replace("\t", "").endswith("\n\n"):
            opened = self.lines[-1].text.endswith("{")
            closing = self.text[start] == "}"
            self.line.blank_before = not opened and not closing

    def _comment(self, item: tuple[str, str, int, int], previous: Any, gap: int, brackets: int) -> None:
        body = item[1].rstrip()
        if len(body) > 1 and body[1] not in " #!":
            body = f"# {body[1:]}"
        fresh = not self.line.text and not self.line.comment
        own_line = previous is None or gap > 0 or previous[0] == "_NL"
        if not own_line and self.line.text:
            self.line.comment = body
            if brackets:
                self._break(brackets)
            return
        if not own_line and self.lines and fresh and previous[1] == "{":
            self.lines[-1].comment = body
            return
        if self.line.text:
            self._break(brackets)
        self._blank(previous, item[2])
        self.line.comment = body
        self._break(brackets)

    def _token(self, item: tuple[str, str, int, int], previous: Any) -> None:
        kind, text, start, _ = item
        line = self.line
        if kind == "NUMBER":
            text = number(float(text))
        elif kind == "HEX":
            text = text.lower()
        elif kind == "CALL":
            text += "("
        if line.text and self._spaced(item, previous):
            line.text += " "
        group = self.facts.columns.get(start)
        if group in _MOMENTS:
            line.column, line.group = len(line.text), group
        elif group is not None:
            line.group = group
        elif (line.group == "setting" and not line.column) or (
            line.group in ("let", "part", "view", "param") and text == "=" and not line.column
        ):
            line.column = len(line.text)
        line.text += text

    def _spaced(self, item: tuple[str, str, int, int], previous: Any) -> bool:
        text, before = item[1], previous[1]
        if text in _TIGHT_BEFORE and item[0] != "STRING":
            return False
        if previous[0] == "CALL" or (before in _TIGHT_AFTER and previous[0] not in ("STRING", "#")):
            return False
        if before == "-" and previous[2] in self.facts.unary:
            return False
        return not (item[0] == "CIRCUMFLEX" or previous[0] == "CIRCUMFLEX")

    def _break(self, brackets: int = 0) -> None:
        """Ends the line. Inside brackets the next one is indented further and takes part in no column."""
        if self.line.text or self.line.comment:
            if brackets or self.line.text.endswith("{"):
                self.line.group = ""
            self.lines.append(self.line)
        self.line = _Line(self.depth + (1 if brackets else 0))

    # Columns.

    def _write(self) -> str:
        self._align_groups()
        self._align_comments()
        out = []
        for i, line in enumerate(self.lines):
            if line.blank_before and i:
                out.append("")
            written = line.text
            if line.comment:
                written += line.comment
            out.append((INDENT * line.depth + written).rstrip())
        return "\n".join(out) + ("\n" if out else "")

    def _runs(self, key: Any) -> Iterator[list[_Line]]:
        """Neighbouring lines, with nothing between them, for which the key is the same and not empty."""
        run: list[_Line] = []
        for line in self.lines:
            if run and (line.blank_before or key(line) != key(run[-1])):
                yield run
                run = []
            if key(line):
                run.append(line)
        if run:
            yield run

    def _align_groups(self) -> None:
        for run in self._runs(lambda line: line.group and line.column and (line.depth, line.group)):
            width = max(line.column for line in run)
            for line in run:
                line.text = line.text[: line.column].rstrip(" ").ljust(width) + line.text[line.column :]

    def _align_comments(self) -> None:
        for run in self._runs(lambda line: line.text and line.comment and (line.depth,)):
            width = max(len(line.text) for line in run)
            for line in run:
                line.text = line.text.ljust(width) + _COMMENT_GAP


def format_source(text: str, name: str = "<script>") -> str:
    """The text in its one way of being written. SculptError when it cannot be read: a broken text is left alone."""
    text = text.replace("\r\n", "\n").removeprefix("\ufeff")
    source = Source(name=name, text=text)
    faults: list[Diagnostic] = []

    def report(code: str, start: int, end: int, **fields: Any) -> None:
        fields.pop("replace", None)
        faults.append(make(code, source.span(start, end), fields))

    tokens = tokenize(text, report, fused=False)
    body = parse_tokens(tokens, report)
    if faults:
        raise SculptError(tuple(faults))
    return _Formatter(text, tokens, _facts(body, text)).run()
