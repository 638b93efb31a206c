"""Text to tokens. One regular expression, four parallel lists: tokens are many, and objects are dear.

A line end is a token (`_NL`) outside ( ) and [ ]. What cannot be a token is reported and skipped, so that the parser sees the rest.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from interactive3d.dsl.tables import END, tables

MAX_NESTING = 64

# Called with a diagnostic code, the offsets of the fault, and what the message needs.
Report = Callable[..., None]

_NUMBER = r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
_COMPONENT = rf"[ \t]*-?{_NUMBER}[ \t]*"
_PATTERN = r"""[ \t\r\f]*(?:
      (?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)(?P<call>\()?
    | (?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)(?!\w|\.(?!\.))
    | (?P<newline>\n)
    VECTORS    | (?P<hex>\#[0-9a-fA-F]{6}(?!\w))
    | (?P<comment>\#[^\n]*)
    | (?P<string>"(?:[^"\\\n]|\\[^\n])*")
    | (?P<sign>->|<=|>=|==|!=|\.\.(?!\.)|[-+*/^&=<>:,{}()\[\]])
    | (?P<badnumber>\.?\d(?:[eE][+-]|\w|\.(?!\.))*)
    | (?P<badstring>"[^\n]*)
    | (?P<quoted>[“”„«»‘’'`][^“”„«»‘’'`\n]*[“”„«»‘’'`]?)
    | (?P<end>\Z)
    | (?P<other>.)
    )"""
_PLAIN = re.compile(_PATTERN.replace("VECTORS", ""), re.VERBOSE)
_FUSED = re.compile(
    _PATTERN.replace("VECTORS", rf"| (?P<vector>\({_COMPONENT},{_COMPONENT},{_COMPONENT}\))"), re.VERBOSE
)
_OPENERS = {"(": ")", "[": "]", "{": "}"}
# A line that begins with one of these cannot go on inside brackets, so the bracket was never closed.
_STARTS_STATEMENT = re.compile(
    r"[ \t\r]*(?:(?:let|param|part|view|gesture)[ \t]+\w+\s*[=(]|(?:prompt|use|avoid)[ \t]+\"|at[ \t]+(?:step|start|end)\b)"
)


@dataclass(slots=True)
class Tokens:
    """Parallel lists; the last token is END. `comments` holds (start, end) of each, `#` included."""

    types: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    comments: list[tuple[int, int]] = field(default_factory=list)

    def add(self, kind: str, text: str, start: int, end: int) -> None:
        self.types.append(kind)
        self.texts.append(text)
        self.starts.append(start)
        self.ends.append(end)


class _Brackets:
    """Which brackets are open, and what to do when they do not match."""

    def __init__(self, text: str, tokens: Tokens, report: Report) -> None:
        self.text = text
        self.tokens = tokens
        self.report = report
        self.open: list[tuple[str, int]] = []
        self.round_depth = 0

    def push(self, sign: str, at: int) -> bool:
        """Whether there is room for one more."""
        if len(self.open) >= MAX_NESTING:
            self.report("E0112", at, at + 1, limit=MAX_NESTING)
            return False
        self.open.append((sign, at))
        self.round_depth += sign != "{"
        return True

    def pop(self, sign: str, at: int) -> bool:
        """Whether the closing sign is to be kept; brackets inside it that are still open are reported."""
        if self.open and _OPENERS[self.open[-1][0]] == sign:
            opener, _ = self.open.pop()
            self.round_depth -= opener != "{"
            return True
        wanted = next((i for i in reversed(range(len(self.open))) if _OPENERS[self.open[i][0]] == sign), None)
        if wanted is None:
            self.report("E0107", at, at + 1, sign=sign)
            return False
        if sign != "}" and any(opener == "{" for opener, _ in self.open[wanted + 1 :]):
            self.report("E0107", at, at + 1, sign=sign)
            return False
        while len(self.open) > wanted + 1:
            self.drop(at)
        opener, _ = self.open.pop()
        self.round_depth -= opener != "{"
        return True

    def drop(self, at: int) -> None:
        """Reports the innermost open bracket and closes it for the parser."""
        opener, start = self.open.pop()
        closer = _OPENERS[opener]
        self.report("E0106" if opener == "{" else "E0105", start, start + 1, opener=opener, closer=closer)
        self.round_depth -= opener != "{"
        self.tokens.add(tables().signs[closer], closer, at, at)

    def line_end(self, at: int) -> None:
        """At a line's end inside ( ) or [ ]: gives up on brackets that the next line cannot belong to."""
        if _STARTS_STATEMENT.match(self.text, at + 1):
            while self.open and self.open[-1][0] != "{":
                self.drop(at)

    def finish(self, at: int) -> None:
        while self.open:
            self.drop(at)


def tokenize(text: str, report: Report, fused: bool = True) -> Tokens:
    """All tokens of a text. Faults are reported by code with their offsets; the tokens are always well bracketed.

    `fused` makes one token of a vector of three plain numbers.
    """
    table = tables()
    words, signs = table.words, table.signs
    tokens = Tokens()
    types, texts, starts, ends = tokens.types, tokens.texts, tokens.starts, tokens.ends
    brackets = _Brackets(text, tokens, report)
    for match in (_FUSED if fused else _PLAIN).finditer(text):
        group = match.lastgroup
        end = match.end()
        if group == "name":
            start = match.start("name")
            word = text[start:end]
            types.append(words.get(word, "NAME"))
            texts.append(word)
            starts.append(start)
            ends.append(end)
        elif group == "number":
            start = match.start("number")
            types.append("NUMBER")
            texts.append(text[start:end])
            starts.append(start)
            ends.append(end)
        elif group == "sign":
            start = match.start("sign")
            sign = text[start:end]
            if sign in "([{":
                if not brackets.push(sign, start):
                    return _nothing(text, tokens.comments)
            elif sign in ")]}" and not brackets.pop(sign, start):
                continue
            types.append(signs[sign])
            texts.append(sign)
            starts.append(start)
            ends.append(end)
        elif group == "newline":
            if brackets.round_depth:
                brackets.line_end(end - 1)
            if not brackets.round_depth:
                tokens.add("_NL", "\n", end - 1, end)
        elif group == "call":
            start = match.start("name")
            if not brackets.push("(", end - 1):
                return _nothing(text, tokens.comments)
            word = text[start : end - 1]
            if word in words:
                tokens.add(words[word], word, start, end - 1)
                tokens.add(signs["("], "(", end - 1, end)
            else:
                tokens.add("CALL", word, start, end)
        elif group == "vector" or group == "string" or group == "hex":
            start = match.start(group)
            tokens.add(group.upper(), text[start:end], start, end)
        elif group == "comment":
            tokens.comments.append((match.start("comment"), end))
        elif group != "end":
            _fault(match, text, tokens, report)
    length = len(text)
    brackets.finish(length)
    tokens.add(END, "", length, length)
    return tokens


def _nothing(text: str, comments: list[tuple[int, int]]) -> Tokens:
    """No tokens at all: what is nested too deeply is not read any further."""
    tokens = Tokens(comments=comments)
    tokens.add(END, "", len(text), len(text))
    return tokens


def _fault(match: re.Match[str], text: str, tokens: Tokens, report: Report) -> None:
    group = match.lastgroup or "other"
    start, end = match.span(group)
    found = text[start:end]
    if group == "badnumber":
        report("E0104", start, end, text=found)
        tokens.add("NUMBER", "0", start, end)
    elif group == "badstring":
        report("E0102", start, end)
        tokens.add("STRING", found.rstrip("\\") + '"', start, end)
    elif group == "quoted":
        report("E0102", start, end)
        tokens.add("STRING", '"' + found[1:-1].replace("\\", "").replace('"', "") + '"', start, end)
    else:
        report("E0101", start, end, char=found)
