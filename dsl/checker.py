"""Walks the statements of a script and of what it uses, reports every fault, and collects the operations with their moments."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from interactive3d.dsl import nodes as n
from interactive3d.dsl.clauses import Clauses
from interactive3d.dsl.compile_operations import OperationCompiler
from interactive3d.dsl.declarations import Declarations
from interactive3d.dsl.evaluate import Evaluator, meant
from interactive3d.dsl.frame import Frame, Label, Place, Placed, describe, first_step
from interactive3d.dsl.gestures import Gestures
from interactive3d.dsl.moments import MomentReader
from interactive3d.dsl.operations import (
    Export,
    Operation,
    Ramp,
    RecordTimelapse,
    RecordTurntable,
    SetValue,
    SnapshotImage,
)
from interactive3d.dsl.parser import parse
from interactive3d.dsl.program import CheckContext
from interactive3d.dsl.reporter import Reporter
from interactive3d.dsl.scope import BAD, Bound, Items, Scope, type_of
from interactive3d.dsl.settings_check import Settings
from interactive3d.dsl.settings_statements import SETTING_KEYWORDS, SettingStatements
from interactive3d.dsl.source import Source
from interactive3d.dsl.tidy import tidy_operation
from interactive3d.dsl.values import AtEnd, AtStep, Every, FromTo, NamedPart, When, WhenMetric

# How many statements a script may become once its loops and gestures are opened up.
MAX_STATEMENTS = 100_000


class Checker:
    """One per check. `placed` and `settings` are what a program is made from when no error was reported."""

    def __init__(self, context: CheckContext, source: Source, path: Path | None) -> None:
        self.context = context
        self.reporter = Reporter(context, source)
        self.report = self.reporter.report
        self.path = path
        self.folder = path.parent if path is not None else Path()
        self.settings = Settings(context)
        self.scope = Scope()
        self.evaluate = Evaluator(self.reporter, self.scope)
        self.operations = OperationCompiler(
            self.settings, self._declare_tag, self._exists if context.file_exists else None
        )
        self.placed: list[Placed] = []
        self.tag_names: dict[str, Bound] = {}
        self.statements = 0
        # The moment of an event without one; only where a single line is read.
        self.now: When | None = None
        self.frame = Frame(scope=self.scope, tags=self.scope, labels={})
        self.declarations = Declarations(self)
        self.gestures = Gestures(self)
        self.setting_statements = SettingStatements(self)
        empty = Clauses(self.evaluate, n.Op(0, 0, "", ()))
        self.moments = MomentReader(empty, context.metrics)

    def _exists(self, path: str) -> bool:
        assert self.context.file_exists is not None
        return self.context.file_exists(self.folder / path)

    # Blocks.

    def run(self, statements: tuple[Any, ...], frame: Frame) -> None:
        """Checks statements in a frame; the frame and scope before are back afterwards."""
        before, before_scope = self.frame, self.evaluate.scope
        self.frame, self.evaluate.scope = frame, frame.scope
        try:
            for statement in statements:
                self.statement(statement)
        finally:
            self.frame, self.evaluate.scope = before, before_scope

    def statement(self, node: Any) -> None:
        if self._full(node.start, node.end):
            return
        kind = type(node)
        if kind is n.Event:
            self.event(node)
        elif kind is n.Binding:
            self.declarations.binding(node)
        elif kind is n.ForEach:
            self.for_each(node)
        elif kind is n.IfThen:
            self.if_then(node)
        elif kind is n.ParamDecl:
            self.declarations.param(node)
        elif kind is n.GestureDecl:
            self.gestures.declare(node)
        elif kind is n.Use:
            self.declarations.use(node)

    def _full(self, start: int, end: int) -> bool:
        """Counts a statement, or a turn of a loop; true, and reported once, when there are too many."""
        self.statements += 1
        if self.statements == MAX_STATEMENTS + 1:
            self.report("E0414", start, end, limit=MAX_STATEMENTS)
        return self.statements > MAX_STATEMENTS

    def for_each(self, node: n.ForEach) -> None:
        values = self._domain(node.domain)
        if not self.declarations.may_name(node.name):
            return
        body = node.body.statements
        if values is None:
            values = (BAD,)
        for value in values:
            if self._full(node.start, node.name.end):
                return
            scope = Scope(outer=self.frame.scope)
            scope.names[node.name.text] = Bound(
                node.name.text, "loop", value, self.reporter.source, node.name.start, node.name.end, used=True
            )
            dry = self.frame.dry or value is BAD
            self.run(body, self.frame.inner(scope=scope, tags=scope, dry=dry))

    def _domain(self, domain: Any) -> tuple[Any, ...] | None:
        if type(domain) is n.Range:
            empty = self.moments.clauses
            low = empty.read_whole(domain.low, "the first number", low=-(10**9))
            high = empty.read_whole(domain.high, "the last number", low=-(10**9))
            if type(low) is not int or type(high) is not int:
                return None
            if low > high:
                self.report("E0403", domain.start, domain.end, what="the range", low=low, high=high)
                return None
            if high - low >= MAX_STATEMENTS:
                self.report("E0414", domain.start, domain.end, limit=MAX_STATEMENTS)
                return None
            return tuple(float(i) for i in range(low, high + 1))
        value = self.evaluate(domain)
        if isinstance(value, Items):
            return value.values
        if value is not BAD:
            self.report("E0311", domain.start, domain.end)
        return None

    def if_then(self, node: n.IfThen) -> None:
        value = self.evaluate(node.condition)
        if value is not BAD and type(value) is not bool:
            self.report("E0310", node.condition.start, node.condition.end, found=self.article(value))
            value = BAD
        # What is not taken is checked too, without effect.
        self._branch(node.then, value is True, value is BAD)
        if isinstance(node.otherwise, n.IfThen):
            frame = self.frame if value is False else replace(self.frame, dry=True)
            self.run((node.otherwise,), frame)
        elif node.otherwise is not None:
            self._branch(node.otherwise, value is False, value is BAD)

    def _branch(self, block: n.Block, taken: bool, unknown: bool) -> None:
        scope = Scope(outer=self.frame.scope)
        tags = self.frame.tags if taken else Scope(outer=self.frame.tags)
        labels = self.frame.labels if taken else dict(self.frame.labels)
        frame = self.frame.inner(scope=scope, tags=tags, labels=labels, dry=self.frame.dry or not taken)
        self.run(block.statements, frame)

    @staticmethod
    def article(value: Any) -> str:
        from interactive3d.dsl.scope import ARTICLES

        return ARTICLES[type_of(value)]

    # Events.

    def event(self, node: n.Event) -> None:
        frame, action = self.frame, node.action
        if frame.library is not None:
            what = "setting" if type(action) is n.Op and action.keyword in SETTING_KEYWORDS else "event"
            self.report("E0512", node.start, node.end, what=what)
            return
        if self.now is None and self._is_setting(node, frame):
            assert isinstance(action, n.Op)
            self.setting_statements.read(action)
            return
        when, frame = self._moment(node, frame)
        moment = frame.moment if node.moment is None else (self.reporter.source, node.moment.start, node.moment.end)
        if node.label is None and isinstance(action, n.Op):
            self.operation(action, when, frame, moment)
        else:
            self._group(node, when, frame, moment)

    def _is_setting(self, node: n.Event, frame: Frame) -> bool:
        action = node.action
        plain = node.moment is None and node.label is None
        return plain and isinstance(action, n.Op) and self.setting_statements.is_setting(action, frame)

    def _moment(self, node: n.Event, frame: Frame) -> tuple[When, Frame]:
        """When an event happens. Where that is faulty, a moment that fits anything, and a frame in which nothing happens."""
        when = frame.when
        if node.moment is not None:
            if frame.when is not None and frame.clock is None:
                self.report("E0507", node.moment.start, node.moment.end)
                when = None
            else:
                when = self.moments.read(node.moment, frame)
        elif when is None and self.now is not None:
            when = self.now
        elif when is None:
            if isinstance(node.action, n.Op) and node.action.keyword in SETTING_KEYWORDS:
                self.setting_statements.read(node.action)
            else:
                self.report("E0501", node.action.start, self._head_end(node.action))
        return (AtEnd(), replace(frame, dry=True)) if when is None else (when, frame)

    def _group(self, node: n.Event, when: When, frame: Frame, moment: Place | None) -> None:
        """An event with a label, the call of a gesture, or a block."""
        action = node.action
        label = self._label(node.label, frame) if node.label is not None else None
        own: list[Placed] = []
        members = frame.members if label is None else (*frame.members, own)
        name = frame.label if label is None else label.name
        inner = frame.inner(when=when, label=name, members=members, moment=moment)
        before = self.frame
        self.frame = inner
        try:
            if isinstance(action, n.Op):
                self.operation(action, when, inner, moment)
            elif isinstance(action, n.Call):
                self.gestures.call(action, when)
            else:
                if not action.statements:
                    self.report("W0808", action.start, action.end)
                self.run(action.statements, inner.inner(scope=Scope(outer=frame.scope)))
        finally:
            self.frame = before
        if label is not None:
            self._close(label, own)

    def _head_end(self, action: Any) -> int:
        if type(action) is n.Op:
            return min(action.end, action.start + len(action.keyword))
        return int(action.name.end if type(action) is n.Call else action.start + 1)

    def _label(self, node: n.Name, frame: Frame) -> Label:
        earlier = frame.labels.get(node.text)
        if earlier is not None:
            where = earlier.source.span(earlier.start, earlier.end)
            self.report("E0210", node.start, node.end, name=node.text, related=((where, "first here"),))
        if "." in node.text or node.text in self.declarations.reserved:
            self.declarations.may_name(node)
        name = node.text
        if frame.clock is not None:
            name = f"{node.text}_{self.statements}"
        label = Label(name, self.reporter.source, node.start, node.end)
        frame.labels[node.text] = label
        return label

    @staticmethod
    def _close(label: Label, own: list[Placed]) -> None:
        """Once all that stands under a label is known: when it is over."""
        label.never = any(
            p.operation.when == AtEnd() or (type(p.operation.when) is Every and p.operation.when.end is None)
            for p in own
        )
        ends = [placed.ends for placed in own]
        if ends and all(end is not None for end in ends):
            label.over = max(end for end in ends if end is not None)

    def operation(self, node: n.Op, when: When, frame: Frame, moment: Place | None) -> None:
        keyword = node.keyword
        if keyword in SETTING_KEYWORDS:
            self.report("E0511", node.start, self._head_end(node), keyword=Clauses(self.evaluate, node).statement)
            return
        clauses = Clauses(self.evaluate, node)
        made = self.operations.compile(clauses)
        if keyword in ("set", "ramp"):
            self.settings.check_live(clauses, clauses.node("path"))
        if not self._fits(node, clauses, keyword, when, frame):
            return
        if made is None or frame.dry:
            return
        kind, fields = made
        source = self.reporter.source
        operation = kind(when=when, label=frame.label, span=source.span(node.start, node.end), **fields)
        self.place(operation, node, frame, moment)

    def _fits(self, node: n.Op, clauses: Clauses, keyword: str, when: When, frame: Frame) -> bool:
        """Whether an operation can stand at such a moment."""
        if type(when) is AtStep:
            if keyword == "ramp":
                self.report("E0509", node.start, self._head_end(node))
            return keyword != "ramp"
        if frame.dry and when == AtEnd():
            return True
        if keyword == "ramp" and not isinstance(when, FromTo):
            self.report("E0509", node.start, self._head_end(node))
            return False
        if isinstance(when, FromTo) and keyword not in ("ramp", "timelapse"):
            self.report("E0510", node.start, self._head_end(node), statement=clauses.statement)
            return False
        if keyword == "timelapse" and isinstance(when, Every | AtEnd):
            self.report("E0518", node.start, self._head_end(node), statement=clauses.statement, moment=describe(when))
            return False
        if keyword in ("distill", "add", "duplicate") and isinstance(when, Every):
            self.report("E0518", node.start, self._head_end(node), statement=clauses.statement, moment=describe(when))
            return False
        if keyword in ("drag", "edit", "repair", "distill", "refine") and isinstance(when, AtEnd):
            self.report("E0518", node.start, self._head_end(node), statement=clauses.statement, moment=describe(when))
            return False
        writes = keyword in ("snapshot", "export", "turntable")
        if writes and isinstance(when, Every):
            path = clauses.node("value")
            value = self.evaluate(path)
            if isinstance(value, str) and "{step}" not in value:
                self.report("E0612", path.start, path.end, path=value)
                return False
        return True

    def place(self, operation: Operation, node: n.Op, frame: Frame, moment: Place | None) -> None:
        if self.reporter.computed:
            operation = tidy_operation(operation)
            self.reporter.computed = False
        begins = first_step(operation.when)
        over: int | None = begins
        when = operation.when
        if isinstance(when, FromTo | Every):
            over = when.end
        elif isinstance(when, WhenMetric | AtEnd):
            over = None
        elif operation.steps_setting is not None and begins is not None:
            length = self.length(operation)
            over = None if length is None else begins + length
        placed = Placed(operation, self.reporter.source, node.start, node.end, begins, over, len(self.placed), moment)
        self.placed.append(placed)
        for members in frame.members:
            members.append(placed)

    def length(self, operation: Operation) -> int | None:
        """How many steps an operation lasts; None when that hangs on a default that the engine did not tell."""
        if operation.steps_setting is None:
            return 0
        given = getattr(operation, "steps", None)
        if given is not None:
            return int(given)
        default = self.settings.default(operation.steps_setting)
        return int(default) if isinstance(default, (int, float)) else None

    def apply_overrides(self) -> None:
        """Takes over what was set outside the script: settings by path, and the settings that have statements of their own."""
        values = self.setting_statements.values
        for path, text in self.context.overrides:
            if path in self.declarations.overridden:
                continue
            spec = self.settings.specs.get(path)
            if spec is not None or (not self.settings.specs and "." in path):
                value = self._outside(path, text)
            elif path in ("prompt", "avoid", "seed", "steps"):
                value = self._statement_outside(path, text)
                if value is not BAD:
                    values[path] = value
                continue
            else:
                known = [
                    *self.settings.specs,
                    *(param.name for param in self.declarations.params),
                    "prompt",
                    "avoid",
                    "seed",
                    "steps",
                ]
                self.report("E0218", 0, 0, name=path, help=meant(path, known))
                continue
            if value is not BAD:
                self.settings.chosen[path] = value

    def _outside(self, path: str, text: str) -> Any:
        """The value of `--set PATH=VALUE`, checked as `set PATH VALUE` would be."""
        spec = self.settings.specs.get(path)
        written = f"set {path} {text}"
        if spec is not None and spec.kind == "str" and not text.startswith('"'):
            return text
        return self._read_outside(
            path, text, written, lambda c: self.settings.value(c, c.node("path"), c.node("value"))
        )

    def _statement_outside(self, keyword: str, text: str) -> Any:
        if keyword in ("prompt", "avoid"):
            return text
        written = f"{keyword} {text}"
        return self._read_outside(keyword, text, written, lambda c: self.setting_statements._value(c.op, c))

    def _read_outside(self, path: str, text: str, written: str, read: Any) -> Any:
        source = Source(name="<--set>", text=written)
        with self.reporter.reading(source):
            faults = len(self.reporter.diagnostics)
            body = parse(written, self.report)
            event = body.statements[0] if len(body.statements) == 1 else None
            if not isinstance(event, n.Event) or not isinstance(event.action, n.Op):
                if len(self.reporter.diagnostics) == faults:
                    self.report("E0320", 0, len(written), name=path, text=text, expected="a value")
                return BAD
            return read(Clauses(self.evaluate, event.action))

    # Tags.

    def _declare_tag(self, node: n.Name) -> Any:
        """`as NAME`: the name of a new tag in the program, or BAD."""
        bound = self.frame.scope.find(node.text)
        if (
            bound is not None
            and bound.kind == "argument"
            and type_of(bound.value) == "part"
            and isinstance(bound.value, NamedPart)
        ):
            self.reporter.use(bound, node.start, node.end)
            return bound.value.name
        if bound is not None and bound.value is BAD:
            self.reporter.use(bound, node.start, node.end)
            return BAD
        if not self.declarations.may_name(node):
            return BAD
        local = self.frame.tags is not self.scope
        earlier = self.frame.tags.names.get(node.text) if local else bound
        if earlier is not None:
            where = earlier.source.span(earlier.start, earlier.end)
            self.report("E0610", node.start, node.end, name=node.text, related=((where, "first here"),))
            return BAD
        name = node.text
        count = 1
        while name in self.tag_names:
            count += 1
            name = f"{node.text}_{count}"
        tag = Bound(node.text, "tag", NamedPart(name=name), self.reporter.source, node.start, node.end, used=True)
        if not self.frame.dry:
            self.tag_names[name] = tag
        self.frame.tags.names[node.text] = tag
        return name


def outputs(operation: Operation) -> str | None:
    """The file that an operation writes."""
    if isinstance(operation, SnapshotImage | Export | RecordTurntable | RecordTimelapse):
        return operation.path
    return None


def path_of(operation: Operation) -> str | None:
    return operation.path if isinstance(operation, Ramp | SetValue) else None
