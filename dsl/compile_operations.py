"""One function per kind of statement: its clauses to the fields of its operation, or None when something in them is faulty."""

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

from interactive3d.dsl import nodes as n
from interactive3d.dsl import operations as o
from interactive3d.dsl.arithmetic import as_shape
from interactive3d.dsl.clauses import Clauses
from interactive3d.dsl.evaluate import near
from interactive3d.dsl.scope import ARTICLES, BAD, type_of
from interactive3d.dsl.settings_check import Settings
from interactive3d.dsl.shapes import read_angle, read_axis

# Fields of an operation and its class, before `when`, `label` and `span` are known.
Made = tuple[type[o.Operation], dict[str, Any]] | None

SCENE_SUFFIXES = (".ply", ".splat", ".glb", ".gltf", ".obj")
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_VIDEO_SUFFIXES = (".mp4", ".webm", ".gif")
# `record` also writes a folder of numbered pictures: a path that ends with a slash.
_FOLDER = "/"


class OperationCompiler:
    """What compiling needs besides the clauses: declaring and finding tags, reading settings, checking paths."""

    def __init__(
        self, settings: Settings, tag_name: Callable[[n.Name], Any], file_exists: Callable[[str], bool] | None
    ) -> None:
        self.settings = settings
        self.tag_name = tag_name
        self.file_exists = file_exists

    def compile(self, clauses: Clauses) -> Made:
        made = _COMPILERS[clauses.op.keyword](self, clauses)
        if made is None or any(value is BAD for value in made[1].values()):
            return None
        return made

    # Helpers.

    def input_path(self, c: Clauses, node: Any, value: Any, suffixes: tuple[str, ...]) -> Any:
        """A file that the script reads: of a known kind, and there."""
        if value is BAD:
            return BAD
        if not value.lower().endswith(suffixes):
            self._suffix(c, node, value, suffixes)
            return BAD
        if self.file_exists is not None and not self.file_exists(value):
            c.report("E0707", node.start, node.end, path=value)
            return BAD
        return value

    def _suffix(self, c: Clauses, node: Any, value: str, suffixes: tuple[str, ...]) -> None:
        suffix = PurePosixPath(value).suffix or value
        c.report("E0706", node.start, node.end, suffix=suffix, known=" ".join(suffixes))

    def output_path(self, c: Clauses, suffixes: tuple[str, ...]) -> Any:
        """A file that the run writes: inside the run's folder, of a known kind."""
        node = c.node("value")
        value = c.text("value")
        if value is BAD:
            return BAD
        path = PurePosixPath(value)
        if path.is_absolute() or ".." in path.parts or "\\" in value or ":" in value or value.startswith("~"):
            c.report("E0708", node.start, node.end, path=value)
            return BAD
        if _FOLDER in suffixes and value.endswith(_FOLDER):
            return value
        if not value.lower().endswith(tuple(s for s in suffixes if s != _FOLDER)):
            self._suffix(c, node, value, suffixes)
            return BAD
        return value

    def named(self, c: Clauses) -> Any:
        node = c.node("as")
        return None if node is None else self.tag_name(node)


def _needed(c: Clauses, value: Any, clause: str, help_: str | None = None) -> Any:
    return c.missing(clause, help_) if value is None else value


def _add(self: OperationCompiler, c: Clauses) -> Made:
    node = c.node("part")
    value = c.evaluate(node)
    kind = type_of(value)
    if kind == "text":
        return _add_file(self, c, node, value)
    if kind not in ("shape", "part", "bad") or (kind == "part" and as_shape(value) is None):
        c.report("E0301", node.start, node.end, expected="a shape or a file's name in quotes", found=ARTICLES[kind])
        value = BAD
    for extra in ("member", "at", "scale", "rotate"):
        if c.has(extra):
            clause = c.given[extra]
            c.report(
                "E0508", clause.start, clause.end, clause="part" if extra == "member" else extra, what="adding a shape"
            )
    fields = {
        "shape": as_shape(value) if value is not BAD else BAD,
        "count": _needed(c, c.whole("count", "the count", 1, 10_000_000), "count", "say how many blobs: count 200"),
        "color": _needed(c, c.color(), "color", "say which colour: color red"),
        "name": _needed(c, self.named(c), "as", "what is added gets a name: as ball"),
    }
    return o.AddShape, fields


def _add_file(self: OperationCompiler, c: Clauses, node: Any, path: str) -> Made:
    for extra in ("count", "color"):
        if c.has(extra):
            clause = c.given[extra]
            c.report("E0508", clause.start, clause.end, clause=extra, what="adding a file")
    member = c.node("member")
    fields = {
        "path": self.input_path(c, node, path, SCENE_SUFFIXES),
        "part": None if member is None else member.text,
        "position": c.point("at"),
        "scale": c.number("scale", "the scale", above=0),
        "rotation": c.axis_angle("rotate"),
        "name": _needed(c, self.named(c), "as", "what is added gets a name: as knight"),
    }
    return o.AddFile, fields


def _on_part(kind: type[o.Operation]) -> Callable[[OperationCompiler, Clauses], Made]:
    return lambda self, c: (kind, {"part": c.part()})


def _duplicate(self: OperationCompiler, c: Clauses) -> Made:
    part, by = c.part(), c.point("by", "vector")
    return o.Duplicate, {
        "part": part,
        "by": by,
        "name": _needed(c, self.named(c), "as", "the copy gets a name: as twin"),
    }


def _mirror(self: OperationCompiler, c: Clauses) -> Made:
    node = c.node("across")
    axis: Any = None
    if node is None:
        axis = c.missing("across", "say across which axis: across x")
    elif node.text not in ("x", "y", "z"):
        c.report("E0317", node.start, node.end, found=node.text)
        axis = BAD
    else:
        axis = o.Axis(node.text)
    return o.Mirror, {"part": c.part(), "axis": axis, "through": c.point("through"), "name": self.named(c)}


def _move(self: OperationCompiler, c: Clauses) -> Made:
    part = c.part()
    by, to = c.point("by", "vector"), c.point("to")
    if c.one_of("by", "to") is None:
        return None
    if by == (0.0, 0.0, 0.0):
        _no_effect(c)
    return o.Move, {"part": part, "by": by, "to": to}


def _no_effect(c: Clauses) -> None:
    c.report("W0805", c.op.start, c.op.end, statement=c.statement)


def _rotate(self: OperationCompiler, c: Clauses) -> Made:
    by, about = c.node("by"), c.node("about")
    degrees = c.missing("by", "say how far: by 20 deg") if by is None else read_angle(c.evaluate, by)
    axis = c.missing("about", "say about which axis: about y") if about is None else read_axis(c.evaluate, about)
    if degrees == 0:
        _no_effect(c)
    return o.Rotate, {"part": c.part(), "degrees": degrees, "axis": axis, "through": c.point("through")}


def _stretch(self: OperationCompiler, c: Clauses) -> Made:
    node = c.node("by")
    part, about = c.part(), c.point("about")
    if node is None:
        c.missing("by", "say by how much: by 1.4, or by (1, 1, 1.4)")
        return None
    value = c.evaluate(node)
    if type(value) is float:
        value = (value, value, value)
    elif type(value) is not tuple:
        if value is not BAD:
            c.report("E0301", node.start, node.end, expected="a number or a vector", found=ARTICLES[type_of(value)])
        return None
    if min(value) <= 0:
        c.report("E0402", node.start, node.end, what="a stretch factor", found=f"{min(value):g}")
        return None
    if value == (1.0, 1.0, 1.0):
        _no_effect(c)
    return o.Stretch, {"part": part, "by": value, "about": about}


def _paint(self: OperationCompiler, c: Clauses) -> Made:
    return o.Paint, {"part": c.part(), "color": c.color()}


def _prune(self: OperationCompiler, c: Clauses) -> Made:
    return o.Prune, {"part": c.part(), "below": c.number("below", "the opacity", 0, 1)}


def _drag(self: OperationCompiler, c: Clauses) -> Made:
    mode, form = c.node("mode"), c.node("form")
    fields = {
        "part": c.part(),
        "source": c.point("from"),
        "target": c.point("to"),
        "radius": c.number("radius", "the radius", above=0),
        "mode": c.missing("rigid` or `deformable") if mode is None else o.DragMode(mode.text),
        "form": None if form is None else o.DragForm(form.text),
        "steps": c.steps("over"),
        "alpha": c.number("step", "the step", 0, 1),
        "motion": c.number("motion", "the weight", low=0),
        "rigidity": c.number("rigidity", "the weight", low=0),
    }
    if fields["source"] == fields["target"] and fields["source"] is not BAD:
        _no_effect(c)
    return o.Drag, fields


def _edit(self: OperationCompiler, c: Clauses) -> Made:
    fields = {
        "part": c.part(),
        "prompt": _needed(c, c.text("with"), "with", 'say what it becomes: with "red wings"'),
        "steps": c.steps("for"),
        "noise": c.noise(),
        "zoom": c.number("zoom", "the zoom", 0.1, 100),
        "scale": c.number("scale", "the guidance scale", 0, 1000),
    }
    return o.Edit, fields


def repair_fields(c: Clauses) -> dict[str, Any]:
    return {"steps": c.steps("for"), "noise": c.noise(), "anchor": c.number("anchor", "the anchor's weight", low=0)}


def _repair(self: OperationCompiler, c: Clauses) -> Made:
    return o.Repair, {"part": c.part(), **repair_fields(c)}


def _distill(self: OperationCompiler, c: Clauses) -> Made:
    size = c.size()
    if size is not BAD and size[1] is not None:
        clause = c.given["size"]
        c.report("E0508", clause.values[1].start, clause.end, clause="x", what="distill, whose pictures are square,")
        size = BAD
    return o.Distill, {"steps": c.steps("over"), "size": BAD if size is BAD else size[0]}


def _refine(self: OperationCompiler, c: Clauses) -> Made:
    capacity = c.whole("capacity", "the capacity", 2, 2**28)
    if isinstance(capacity, int) and capacity & (capacity - 1):
        node = c.node("capacity")
        c.report(
            "E0410", node.start, node.end, found=capacity, below=capacity.bit_length() - 1, above=capacity.bit_length()
        )
        capacity = BAD
    fields = {
        "part": c.part(),
        "prompt": c.text("with"),
        "levels": c.whole("levels", "the number of levels", 1, 32),
        "features": c.whole("features", "the number of features", 1, 16),
        "capacity": capacity,
        "steps": c.steps("for"),
        "noise": c.noise(),
    }
    return o.Refine, fields


def _set(self: OperationCompiler, c: Clauses) -> Made:
    path = c.node("path")
    value = self.settings.value(c, path, c.node("value"))
    return o.SetValue, {"path": path.text, "value": value}


def _ramp(self: OperationCompiler, c: Clauses) -> Made:
    path = c.node("path")
    start = self.settings.ramp_value(c, path, c.node("value"))
    end = self.settings.ramp_value(c, path, c.node("to"))
    return o.Ramp, {"path": path.text, "start": start, "end": end}


def _checkpoint(self: OperationCompiler, c: Clauses) -> Made:
    name = c.text("value")
    if isinstance(name, str) and not name.replace("_", "").replace("-", "").isalnum():
        node = c.node("value")
        c.report("E0709", node.start, node.end, name=name)
        name = BAD
    return o.Checkpoint, {"name": name}


def _snapshot(self: OperationCompiler, c: Clauses) -> Made:
    size = c.size()
    fields = {
        "path": self.output_path(c, _IMAGE_SUFFIXES),
        "view": _needed(c, c.view(), "from", "say from where: from front"),
        "width": BAD if size is BAD else size[0],
        "height": BAD if size is BAD else size[1],
    }
    return o.SnapshotImage, fields


def _export(self: OperationCompiler, c: Clauses) -> Made:
    kind = o.ExportKind(c.node("kind").text)
    if kind is o.ExportKind.SPLATS:
        for name in ("resolution", "texture", "faces", "threshold"):
            if c.has(name):
                clause = c.given[name]
                c.report("E0508", clause.start, clause.end, clause=name, what="exporting splats")
    node = c.node("threshold")
    threshold: Any
    if type(node) is n.Name and node.text == "auto":
        threshold = "auto"
    else:
        threshold = c.number("threshold", "the threshold", above=0)
    fields = {
        "kind": kind,
        "path": self.output_path(c, o.EXPORT_SUFFIXES[kind]),
        "resolution": c.whole("resolution", "the resolution", 8, 2048),
        "texture": c.whole("texture", "the texture's side", 16, 16384),
        "faces": c.whole("faces", "the number of faces", 4, 100_000_000),
        "threshold": threshold,
    }
    return o.Export, fields


def _even(c: Clauses, size: Any) -> Any:
    """H.264 in yuv420p has even sides only."""
    if size is BAD:
        return (BAD, BAD)
    for i, side in enumerate(size):
        if side is not None and side % 2:
            node = c.given["size"].values[i]
            c.report("E0412", node.start, node.end, found=side, other=side + 1)
            return (BAD, BAD)
    return size


def _turntable(self: OperationCompiler, c: Clauses) -> Made:
    width, height = _even(c, c.size())
    if c.has("elevation") and c.has("view"):
        c.one_of("elevation", "view")
        return None
    elevation = c.node("elevation")
    fields = {
        "path": self.output_path(c, (*_VIDEO_SUFFIXES, _FOLDER)),
        "seconds": c.number("seconds", "the length", 0.1, 3600),
        "fps": c.whole("fps", "the frame rate", 1, 240),
        "width": width,
        "height": height,
        "elevation": None if elevation is None else _elevation(c, elevation),
        "view": c.view(),
    }
    return o.RecordTurntable, fields


def _elevation(c: Clauses, node: Any) -> Any:
    value = c.evaluate(node)
    degrees = getattr(value, "degrees", value)
    if type(degrees) is not float:
        if degrees is not BAD:
            c.report("E0301", node.start, node.end, expected="a number", found=ARTICLES[type_of(value)])
        return BAD
    if not -90 <= degrees <= 90:
        c.report("E0401", node.start, node.end, what="`elevation`", low="-90", high="90", found=f"{degrees:g}")
        return BAD
    return degrees


def _timelapse(self: OperationCompiler, c: Clauses) -> Made:
    every = _needed(c, c.whole("every", "the number of steps"), "every", "say how often: every 10 steps")
    return o.RecordTimelapse, {
        "path": self.output_path(c, (*_VIDEO_SUFFIXES, _FOLDER)),
        "every": every,
        "view": c.view(),
    }


_COMPILERS: dict[str, Callable[[OperationCompiler, Clauses], Made]] = {
    "add": _add,
    "remove": _on_part(o.Remove),
    "keep": _on_part(o.Keep),
    "duplicate": _duplicate,
    "mirror": _mirror,
    "move": _move,
    "rotate": _rotate,
    "stretch": _stretch,
    "paint": _paint,
    "freeze": _on_part(o.Freeze),
    "thaw": _on_part(o.Thaw),
    "densify": _on_part(o.Densify),
    "prune": _prune,
    "drag": _drag,
    "edit": _edit,
    "repair": _repair,
    "distill": _distill,
    "refine": _refine,
    "set": _set,
    "ramp": _ramp,
    "checkpoint": _checkpoint,
    "pause": lambda self, c: (o.Pause, {}),
    "print": lambda self, c: (o.Print, {"text": c.text("value", empty=True)}),
    "snapshot": _snapshot,
    "export": _export,
    "turntable": _turntable,
    "timelapse": _timelapse,
}

__all__ = ["Made", "OperationCompiler", "near", "repair_fields"]
