"""Settings that stand without a moment: what the run begins with."""

from typing import TYPE_CHECKING, Any

from interactive3d.dsl import nodes as n
from interactive3d.dsl.arithmetic import as_shape
from interactive3d.dsl.clauses import Clauses
from interactive3d.dsl.compile_operations import repair_fields
from interactive3d.dsl.evaluate import near
from interactive3d.dsl.frame import Frame
from interactive3d.dsl.program import GuidanceChoice, InitMesh, InitShape, InitSplats, InitText, RepairPolicy
from interactive3d.dsl.scope import ARTICLES, BAD, type_of

if TYPE_CHECKING:
    from interactive3d.dsl.checker import Checker

SETTING_KEYWORDS = frozenset(
    {"prompt", "avoid", "seed", "steps", "guidance", "splats_in", "splats_from", "splats_file"}
)
_SOLID_SUFFIXES = (".glb", ".gltf", ".obj", ".off", ".ply", ".stl", ".png", ".jpg", ".jpeg", ".webp")
_SPLAT_SUFFIXES = (".ply", ".splat")
_OBJECT_SUFFIXES = (".glb", ".gltf", ".obj", ".off", ".ply", ".splat", ".stl")
MAX_STEPS = 1_000_000


class SettingStatements:
    """`values` holds what was set: prompt, avoid, seed, steps, guidance, initial, repair."""

    def __init__(self, checker: "Checker") -> None:
        self.checker = checker
        self.report = checker.reporter.report
        self.values: dict[str, Any] = {}
        self.places: dict[str, tuple[int, int]] = {}

    @staticmethod
    def is_setting(op: n.Op, frame: Frame) -> bool:
        if frame.when is not None:
            return False
        if op.keyword in SETTING_KEYWORDS or op.keyword == "set":
            return True
        if op.keyword != "repair":
            return False
        part = next((clause for clause in op.clauses if clause.name == "part"), None)
        return part is None or (isinstance(part.values[0], n.Name) and part.values[0].text in ("on", "off"))

    def read(self, op: n.Op) -> None:
        clauses = Clauses(self.checker.evaluate, op)
        name = "initial" if op.keyword.startswith("splats") else op.keyword
        if name == "set":
            self._set(clauses)
            return
        if name in self.places:
            where = self.checker.reporter.source.span(*self.places[name])
            self.report("E0502", op.start, op.end, what=clauses.statement, related=((where, "first here"),))
            return
        self.places[name] = (op.start, op.end)
        value = self._value(op, clauses)
        if value is not BAD and not self.checker.frame.dry:
            self.values[name] = value

    def _value(self, op: n.Op, c: Clauses) -> Any:
        match op.keyword:
            case "prompt":
                return c.text("value")
            case "avoid":
                return c.text("value", empty=True)
            case "seed":
                return c.whole("value", "the seed", 0, 2**31 - 1)
            case "steps":
                return c.whole("value", "the number of steps", 0, MAX_STEPS)
            case "guidance":
                return self._guidance(op, c)
            case "repair":
                return self._repair(c)
            case "splats_in":
                return self._shape(op, c)
            case "splats_from":
                return self._source(c)
            case _:
                path = c.text("value")
                path = self.checker.operations.input_path(c, c.node("value"), path, _SPLAT_SUFFIXES)
                return BAD if path is BAD else InitSplats(path=path)

    def _guidance(self, op: n.Op, c: Clauses) -> Any:
        name = op.clauses[0]
        known = self.checker.context.guidances
        assert isinstance(name, n.Name)
        if known and name.text not in known:
            guess = near(name.text, known)
            help_ = f"did you mean `{guess}`?" if guess else "the guidances are " + ", ".join(known)
            self.report("E0217", name.start, name.end, name=name.text, help=help_, replace=guess)
            return BAD
        nodes = c.given["models"].values if c.has("models") else ()
        models = [self._model(c, name.text, node) for node in nodes]
        return BAD if BAD in models else GuidanceChoice(name=name.text, models=tuple(models))

    def _model(self, c: Clauses, guidance: str, node: Any) -> Any:
        """What a guidance is given: an object's file for `reference`, the name of a model for others."""
        value = c.read_text(node)
        if value is BAD:
            return BAD
        if guidance == "reference":
            # Kept where it is not there: the guidance is this one all the same, and its words are not another's to judge.
            self.checker.operations.input_path(c, node, value, _OBJECT_SUFFIXES)
            return value
        ask = self.checker.context.model_trouble
        why = ask(guidance, value, self.checker.folder) if ask is not None else None
        if why is not None:
            self.report("W0809", node.start, node.end, name=value, help=why)
        return value

    def _repair(self, c: Clauses) -> Any:
        node = c.node("part")
        fields = repair_fields(c)
        if BAD in fields.values():
            return BAD
        if node is None:
            return RepairPolicy(**fields)
        if node.text == "off" and any(value is not None for value in fields.values()):
            self.report(
                "E0506", c.op.start, c.op.end, clause="off", other="for`, `noise` or `anchor", statement="repair"
            )
            return BAD
        return RepairPolicy(enabled=node.text == "on", **fields)

    def _count(self, c: Clauses) -> Any:
        return c.whole("value", "the count", 1, 10_000_000)

    def _shape(self, op: n.Op, c: Clauses) -> Any:
        count = self._count(c)
        node = op.clauses[1]
        value = c.evaluate(node)
        shape = as_shape(value)
        if shape is None and value is not BAD:
            self.report("E0301", node.start, node.end, expected="a shape", found=ARTICLES[type_of(value)])
        return BAD if shape is None or count is BAD else InitShape(count=count, shape=shape)

    def _source(self, c: Clauses) -> Any:
        count = self._count(c)
        node = c.node("source")
        if isinstance(node, n.Name) and node.text == "text":
            return BAD if count is BAD else InitText(count=count)
        path = self.checker.operations.input_path(c, node, c.read_text(node), _SOLID_SUFFIXES)
        return BAD if path is BAD or count is BAD else InitMesh(count=count, path=path)

    def _set(self, c: Clauses) -> None:
        path = c.node("path")
        value = self.checker.settings.value(c, path, c.node("value"))
        place = f"set {path.text}"
        if place in self.places:
            where = self.checker.reporter.source.span(*self.places[place])
            self.report("E0502", path.start, path.end, what=place, related=((where, "first here"),))
            return
        self.places[place] = (path.start, path.end)
        if value is not BAD and not self.checker.frame.dry:
            self.checker.settings.chosen[path.text] = value
