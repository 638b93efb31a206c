"""`let`, `part`, `view`, `param` and `use`."""

from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from interactive3d.dsl import nodes as n
from interactive3d.dsl.arithmetic import as_part
from interactive3d.dsl.evaluate import CONSTANTS
from interactive3d.dsl.modules import ReadFault, locate, read_script, source_file
from interactive3d.dsl.parser import parse
from interactive3d.dsl.program import Param, SourceFile
from interactive3d.dsl.scope import ARTICLES, BAD, Angle, Bound, Scope, type_of
from interactive3d.dsl.source import Source
from interactive3d.dsl.tables import tables
from interactive3d.dsl.tidy import tidy_operation
from interactive3d.dsl.values import DeclaredPart, OrbitView

if TYPE_CHECKING:
    from interactive3d.dsl.checker import Checker

# Words of the language that may be names all the same.
_SOFT_WORDS = frozenset({"x"})
_NOT_NAMES = frozenset(CONSTANTS) - {"x", "y", "z"}


class Declarations:
    def __init__(self, checker: "Checker") -> None:
        self.checker = checker
        self.reporter = checker.reporter
        self.report = checker.reporter.report
        self.reserved = (frozenset(tables().words) - _SOFT_WORDS) | _NOT_NAMES
        self.params: list[Param] = []
        self.views: list[OrbitView] = []
        self.parts: list[DeclaredPart] = []
        self.overridden: set[str] = set()
        self.sources: list[SourceFile] = []
        self._modules: dict[Path, Scope] = {}
        self._loading: list[Path] = []
        # The file being read and the root that its imports must stay below.
        self.folder = checker.folder
        self.root = checker.folder
        self.prefix = ""

    def may_name(self, node: n.Name) -> bool:
        """Whether a name can be declared; what is wrong with it is reported."""
        if node.text in self.reserved:
            self.report("E0115", node.start, node.end, name=node.text)
            return False
        if "." in node.text:
            self.report("E0121", node.start, node.end, name=node.text)
            return False
        return True

    def declare(self, node: n.Name, kind: str, value: Any) -> Bound | None:
        """Puts a name into the scope; a second declaration in the same scope is reported."""
        if not self.may_name(node):
            return None
        scope = self.checker.frame.scope
        earlier = scope.names.get(node.text)
        if earlier is not None:
            where = earlier.source.span(earlier.start, earlier.end)
            self.report("E0204", node.start, node.end, name=node.text, related=((where, "first here"),))
            return None
        bound = Bound(node.text, kind, value, self.reporter.source, node.start, node.end)
        scope.names[node.text] = bound
        return bound

    @property
    def at_top(self) -> bool:
        return self.checker.frame.depth == 0

    def binding(self, node: n.Binding) -> None:
        checker = self.checker
        if node.kind == "let":
            value = checker.evaluate(node.value)
        elif node.kind == "view":
            value = checker.evaluate.view(node.value)
            if value is not BAD and self.at_top:
                value = replace(self._tidy(value), name=self.prefix + node.name.text)
        else:
            value = checker.moments.clauses.read_part(node.value)
            if value is not BAD and self.at_top:
                value = DeclaredPart(
                    name=self.prefix + node.name.text,
                    part=tidy_operation(as_part(value)) if self.reporter.computed else as_part(value),
                )
        bound = self.declare(node.name, node.kind, value)
        if bound is not None and value is not BAD and self.at_top and not self.prefix:
            if node.kind == "view":
                self.views.append(value)
            elif node.kind == "part":
                self.parts.append(value)

    def _tidy(self, value: Any) -> Any:
        """What arithmetic has made, without its rounding; literals stay as they are."""
        if not self.reporter.computed:
            return value
        self.reporter.computed = False
        return tidy_operation(value)

    # Params.

    def param(self, node: n.ParamDecl) -> None:
        if not self.at_top:
            self.report("E0519", node.start, node.name.end, what="param")
            return
        value = self.checker.evaluate(node.value)
        kind = type_of(value)
        low = high = None
        if kind == "angle":
            self.report("E0318", node.value.start, node.value.end)
            value = BAD
        elif kind not in ("number", "truth", "text", "vector", "bad"):
            self.report(
                "E0301",
                node.value.start,
                node.value.end,
                expected="a number, text, vector, on or off",
                found=ARTICLES[kind],
            )
            value = BAD
        if node.range is not None:
            low, high = self.limits(node.range)
            if kind not in ("number", "angle", "bad"):
                self.report("E0319", node.range.start, node.range.end, found=ARTICLES[kind])
                low = high = BAD
            elif BAD not in (low, high, value) and not low <= value <= high:
                self.report(
                    "E0404",
                    node.value.start,
                    node.value.end,
                    name=node.name.text,
                    low=f"{low:g}",
                    high=f"{high:g}",
                    found=f"{value:g}",
                )
                value = BAD
        name = self.prefix + node.name.text
        chosen = self._override(name, node, value, low, high) if value is not BAD and BAD not in (low, high) else value
        bound = self.declare(node.name, "param", chosen)
        if bound is not None and BAD not in (chosen, low, high):
            help_ = None if node.help is None else node.help.value
            self.params.append(Param(name=name, value=chosen, default=value, low=low, high=high, help=help_))

    def limits(self, node: n.Range) -> tuple[Any, Any]:
        evaluate = self.checker.evaluate
        low, high = evaluate.number(node.low), evaluate.number(node.high)
        if isinstance(low, float) and isinstance(high, float) and low >= high:
            self.report("E0403", node.start, node.end, what="the range", low=f"{low:g}", high=f"{high:g}")
            return BAD, BAD
        return low, high

    def _override(self, name: str, node: n.ParamDecl, default: Any, low: Any, high: Any) -> Any:
        """The value in force: the last of `--set NAME=VALUE`, else the script's own."""
        chosen = default
        for path, text in self.checker.context.overrides:
            if path != name:
                continue
            self.overridden.add(path)
            value = self.read_value(text, default)
            if value is BAD or type_of(value) != type_of(default):
                self.report(
                    "E0320", node.name.start, node.name.end, name=name, text=text, expected=ARTICLES[type_of(default)]
                )
                return BAD
            if low is not None and not low <= value <= high:
                self.report(
                    "E0413", node.name.start, node.name.end, name=name, text=text, low=f"{low:g}", high=f"{high:g}"
                )
                return BAD
            chosen = value
        return chosen

    def read_value(self, text: str, like: Any) -> Any:
        """A value given outside the script, as text."""
        if isinstance(like, str):
            return text
        faults: list[Any] = []
        block = parse(f"let value = {text}", lambda *a, **k: faults.append(a))
        if faults or len(block.statements) != 1 or not isinstance(block.statements[0], n.Binding):
            return BAD
        node = block.statements[0].value
        value = node.value if isinstance(node, n.Number) else self.quiet(node)
        return BAD if isinstance(value, Angle) else value

    def quiet(self, node: Any) -> Any:
        """Evaluates without reporting."""
        kept = len(self.reporter.diagnostics)
        value = self.checker.evaluate(node)
        del self.reporter.diagnostics[kept:]
        return value

    # Use.

    def use(self, node: n.Use) -> None:
        if not self.at_top:
            self.report("E0519", node.start, node.path.end, what="use")
            return
        written = node.path.value
        alias = node.alias or n.Name(node.path.start, node.path.end, PurePosixPath(written).stem)
        if not alias.text.isidentifier():
            self.report("E0711", node.path.start, node.path.end, name=alias.text)
            return
        try:
            found = locate(written, self.folder, self.root, self.checker.context)
            real = found.path.resolve()
            if real in self._loading:
                raise ReadFault("E0705", path=written)
            scope = self._modules.get(real)
            if scope is None:
                text = read_script(found.path, self.checker.context)
                scope = self._load(found.path, found.root, text, alias.text)
                self._modules[real] = scope
        except ReadFault as fault:
            self.report(fault.code, node.path.start, node.path.end, **fault.fields)
            scope = None
        bound = self.declare(alias, "module", scope if scope is not None else BAD)
        if bound is not None and scope is None:
            bound.kind = "let"
            bound.used = True

    def _load(self, path: Path, root: Path, text: str, alias: str) -> Scope:
        """Checks a used file in a scope of its own."""
        checker = self.checker
        source = Source(name=str(path), text=text)
        self.sources.append(source_file(str(path), text))
        scope = Scope()
        before = (self.folder, self.root, self.prefix)
        self.folder, self.root, self.prefix = path.parent, root, f"{self.prefix}{alias}."
        self._loading.append(path.resolve())
        try:
            with self.reporter.reading(source):
                body = parse(text, self.reporter.report)
                self.note(body)
                frame = replace(checker.frame, scope=scope, tags=scope, labels={}, depth=0, library=str(path))
                checker.run(body.statements, frame)
        finally:
            self._loading.pop()
            self.folder, self.root, self.prefix = before
        return scope

    def note(self, body: n.Block) -> None:
        """Remembers where names are declared, for "declared below"."""
        places = self.reporter.declarations.setdefault(self.reporter.source.name, {})
        for statement in body.statements:
            if isinstance(statement, (n.Binding, n.ParamDecl, n.GestureDecl)):
                places.setdefault(statement.name.text, (statement.name.start, statement.name.end))
