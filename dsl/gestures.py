"""Gestures: declaring them, and opening up their calls."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from interactive3d.dsl import nodes as n
from interactive3d.dsl.arithmetic import as_part
from interactive3d.dsl.evaluate import near
from interactive3d.dsl.functions import FUNCTIONS
from interactive3d.dsl.reporter import CallSite
from interactive3d.dsl.scope import ARTICLES, BAD, Bound, Gesture, Scope, type_of
from interactive3d.dsl.values import AT_START, NamedPart, When

if TYPE_CHECKING:
    from interactive3d.dsl.checker import Checker

# What a formal's type is called -> the type of its value.
TYPES = {
    "number": "number",
    "count": "number",
    "angle": "angle",
    "vector": "vector",
    "color": "vector",
    "text": "text",
    "part": "part",
    "view": "view",
    "switch": "truth",
    "list": "list",
    "tag": "part",
}


@dataclass(slots=True)
class _Given:
    node: Any
    start: int
    end: int


class Gestures:
    def __init__(self, checker: "Checker") -> None:
        self.checker = checker
        self.reporter = checker.reporter
        self.report = checker.reporter.report

    def declare(self, node: n.GestureDecl) -> None:
        checker = self.checker
        if not checker.declarations.at_top:
            self.report("E0519", node.start, node.name.end, what="gesture")
            return
        if node.name.text in FUNCTIONS:
            self.report("E0215", node.name.start, node.name.end, name=node.name.text)
            return
        gesture = Gesture(node, self.reporter.source, checker.frame.scope)
        checker.declarations.declare(node.name, "gesture", gesture)
        self._formals(node)
        # Once without values, so that what is wrong in it is found even when nobody calls it.
        scope = Scope(outer=checker.frame.scope)
        for formal in node.formals:
            scope.names[formal.name.text] = self._bound(formal, BAD)
        gesture.running = True
        frame = replace(
            checker.frame,
            scope=scope,
            tags=scope,
            labels={},
            when=AT_START,
            clock=AT_START,
            depth=1,
            library=None,
            dry=True,
        )
        checker.run(node.body.statements, frame)
        gesture.running = False
        if not node.body.statements:
            self.report("W0808", node.body.start, node.body.end)
        for bound in scope.names.values():
            if bound.kind == "argument" and not bound.used:
                self.report("W0802", bound.start, bound.end, kind="argument", name=bound.name)

    def _formals(self, node: n.GestureDecl) -> None:
        seen: dict[str, n.Formal] = {}
        optional = False
        for formal in node.formals:
            self.checker.declarations.may_name(formal.name)
            if formal.name.text in seen:
                where = self.reporter.source.span(seen[formal.name.text].start, seen[formal.name.text].end)
                self.report(
                    "E0204", formal.name.start, formal.name.end, name=formal.name.text, related=((where, "first here"),)
                )
            seen[formal.name.text] = formal
            if formal.type.text not in TYPES:
                guess = near(formal.type.text, TYPES)
                help_ = f"did you mean `{guess}`?" if guess else "the types are " + ", ".join(TYPES)
                self.report(
                    "E0216", formal.type.start, formal.type.end, name=formal.type.text, help=help_, replace=guess
                )
            elif formal.default is not None:
                self._value(formal, formal.default)
            if formal.default is None and optional:
                self.report("E0520", formal.start, formal.end, name=formal.name.text)
            optional = optional or formal.default is not None

    def _bound(self, formal: n.Formal, value: Any) -> Bound:
        return Bound(formal.name.text, "argument", value, self.reporter.source, formal.name.start, formal.name.end)

    def _value(self, formal: n.Formal, node: Any) -> Any:
        """The value of an argument in the scope at hand, checked against the formal's type and range."""
        checker = self.checker
        kind = formal.type.text
        if kind == "tag":
            if type(node) is not n.Name:
                self.report("E0321", node.start, node.end, name=formal.name.text)
                return BAD
            name = checker._declare_tag(node)
            return BAD if name is BAD else NamedPart(name=name)
        if kind == "part":
            return checker.moments.clauses.read_part(node)
        if kind == "view":
            return checker.evaluate.view(node)
        if kind == "color":
            return checker.evaluate.color(node)
        value = checker.evaluate(node)
        if value is BAD or kind not in TYPES:
            return BAD
        if type_of(value) != TYPES[kind]:
            expected = {"count": "a whole number"}.get(kind, ARTICLES[TYPES[kind]])
            self.report("E0301", node.start, node.end, expected=expected, found=ARTICLES[type_of(value)])
            return BAD
        if kind == "count":
            if value != int(value):
                self.report("E0303", node.start, node.end, found=f"{value:g}")
                return BAD
            if value < 0:
                self.report("E0402", node.start, node.end, what="a count", found=f"{value:g}")
                return BAD
        return as_part(value)

    def call(self, node: n.Call, when: When) -> None:
        gesture = self._find(node.name)
        if gesture is None:
            for argument in node.arguments:
                if argument.name is None and not isinstance(argument.value, n.Name):
                    self.checker.evaluate(argument.value)
            return
        name = node.name.text
        if gesture.running:
            self.report("E0513", node.start, node.end, name=name)
            return
        given = self._match(node, gesture)
        if given is None:
            return
        values = {}
        for formal in gesture.node.formals:
            if formal.name.text in given:
                values[formal.name.text] = self._argument(formal, given[formal.name.text], gesture)
        if len(values) < len(given):
            return
        self._open(node, gesture, values, when)

    def _find(self, node: n.Name) -> Gesture | None:
        """The gesture that a call means; an unknown one is reported."""
        scope = self.checker.frame.scope
        head, _, rest = node.text.partition(".")
        bound = scope.find(head)
        names: Any = [b.name for b in scope.visible() if b.kind == "gesture"]
        if bound is not None and rest and bound.kind == "module":
            self.reporter.use(bound, node.start, node.start + len(head))
            names = [b.name for b in bound.value.names.values() if b.kind == "gesture"]
            bound = bound.value.names.get(rest)
            if bound is None:
                guess = near(rest, names)
                help_ = (
                    f"did you mean `{head}.{guess}`?"
                    if guess
                    else f"its gestures are {', '.join(names)}"
                    if names
                    else None
                )
                self.report("E0213", node.start, node.end, space=head, name=rest, help=help_)
                return None
        elif bound is not None and bound.value is BAD:
            return None
        elif rest:
            bound = None
        if bound is None or bound.kind != "gesture":
            below = self.reporter.declared_below(node.text, node.start)
            if bound is None and below is not None:
                related = ((below, "declared here"),)
                self.report("E0214", node.start, node.end, name=node.text, line=below.line, related=related)
                return None
            guess = near(node.text, names)
            help_ = f"did you mean `{guess}`?" if guess else None
            if node.text in FUNCTIONS:
                help_ = f"`{node.text}` is a function: it gives a value and does nothing by itself"
            self.report("E0208", node.start, node.end, name=node.text, help=help_, replace=guess)
            return None
        self.reporter.use(bound, node.end - len(rest or head), node.end)
        gesture: Gesture = bound.value
        return gesture

    def _match(self, node: n.Call, gesture: Gesture) -> dict[str, n.Argument] | None:
        """Arguments by the name of their formal; None when their order is broken."""
        formals = gesture.node.formals
        given: dict[str, n.Argument] = {}
        known = [formal.name.text for formal in formals]
        usage = self.usage(gesture)
        named = False
        for i, argument in enumerate(node.arguments):
            if argument.name is None:
                if named:
                    self.report("E0322", argument.start, argument.end)
                    return None
                if i >= len(formals):
                    self.report(
                        "E0306",
                        argument.start,
                        argument.end,
                        name=node.name.text,
                        given=f"{len(node.arguments)} arguments",
                        help=usage,
                    )
                    break
                given[known[i]] = argument
                continue
            named = True
            name = argument.name.text
            if name not in known:
                guess = near(name, known)
                help_ = f"did you mean `{guess}`?" if guess else usage
                self.report(
                    "E0307",
                    argument.name.start,
                    argument.name.end,
                    name=name,
                    callee=node.name.text,
                    help=help_,
                    replace=guess,
                )
            elif name in given:
                self.report("E0308", argument.start, argument.end, name=name)
            else:
                declared = formals[known.index(name)].name
                bound = Bound(name, "argument", BAD, gesture.source, declared.start, declared.end)
                self.reporter.use(bound, argument.name.start, argument.name.end)
                given[name] = argument
        for formal in formals:
            if formal.name.text not in given and formal.default is None:
                self.report("E0309", node.start, node.end, callee=node.name.text, name=formal.name.text, help=usage)
        return given

    @staticmethod
    def usage(gesture: Gesture) -> str:
        text = gesture.source.text
        formals = ", ".join(text[formal.start : formal.end] for formal in gesture.node.formals)
        return f"{gesture.node.name.text}({formals})"

    def _argument(self, formal: n.Formal, argument: n.Argument, gesture: Gesture) -> Any:
        value = self._value(formal, argument.value)
        if formal.range is None or type(value) is not float:
            return value
        with self.reporter.reading(gesture.source):
            low, high = self.checker.declarations.limits(formal.range)
        if BAD in (low, high) or low <= value <= high:
            return value
        node = argument.value
        self.report(
            "E0401",
            node.start,
            node.end,
            what=f"`{formal.name.text}`",
            low=f"{low:g}",
            high=f"{high:g}",
            found=f"{value:g}",
        )
        return BAD

    def _open(self, node: n.Call, gesture: Gesture, values: dict[str, Any], when: When) -> None:
        """Runs the body with its arguments, its clock starting at the moment of the call."""
        checker, frame = self.checker, self.checker.frame
        scope = Scope(outer=gesture.scope)
        site = CallSite(self.reporter.source, node.start, node.end, node.name.text)
        before = checker.evaluate.scope
        gesture.running = True
        self.reporter.calls.append(site)
        try:
            with self.reporter.reading(gesture.source):
                checker.evaluate.scope = scope
                for formal in gesture.node.formals:
                    name = formal.name.text
                    if name not in values:
                        values[name] = BAD if formal.default is None else self._value(formal, formal.default)
                    bound = self._bound(formal, values[name])
                    bound.used = True
                    scope.names[name] = bound
                dry = frame.dry or any(value is BAD for value in values.values())
                inner = frame.inner(scope=scope, tags=scope, labels={}, when=when, clock=when, dry=dry)
                checker.run(gesture.node.body.statements, inner)
        finally:
            checker.evaluate.scope = before
            self.reporter.calls.pop()
            gesture.running = False
