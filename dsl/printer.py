"""Values to Sculpt: operations, parts, views, moments and whole programs, each in its one way of being written."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from interactive3d.dsl import operations as o
from interactive3d.dsl import values as v
from interactive3d.dsl.distinct import named_apart
from interactive3d.dsl.program import InitMesh, InitShape, InitSplats, InitText, Program


def number(value: float) -> str:
    """The shortest decimal that reads back as the same float."""
    if not math.isfinite(value):
        raise ValueError(f"printer: expected a finite number, got {value}; a script cannot hold it")
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return repr(float(value))


def vector(value: v.Vec3) -> str:
    return "(" + ", ".join(number(component) for component in value) + ")"


def text(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'


def color(value: v.Vec3) -> str:
    """`#rrggbb` where that is exact, a vector elsewhere."""
    digits = [round(channel * 255) for channel in value]
    if all(0 <= d <= 255 for d in digits) and tuple(d / 255 for d in digits) == tuple(value):
        return "#" + "".join(f"{d:02x}" for d in digits)
    return vector(value)


def axis(value: v.Vec3) -> str:
    return {v.X_AXIS: "x", v.Y_AXIS: "y", v.Z_AXIS: "z"}.get(value) or vector(value)


def turn(value: v.AxisAngle) -> str:
    return f"rotate {number(value.degrees)} deg about {axis(value.axis)}"


def shape(value: v.Shape) -> str:
    match value:
        case v.Sphere():
            return f"sphere at {vector(value.center)} radius {number(value.radius)}"
        case v.Box():
            return f"box {vector(value.low)} .. {vector(value.high)}"
        case v.Ellipsoid():
            turned = f" {turn(value.rotation)}" if value.rotation else ""
            return f"ellipsoid at {vector(value.center)} radii {vector(value.radii)}{turned}"
        case v.Torus():
            about = "" if value.axis == v.Y_AXIS else f" about {axis(value.axis)}"
            ring = f"radius {number(value.radius)} thickness {number(value.thickness)}"
            return f"torus at {vector(value.center)} {ring}{about}"
        case v.Capsule() | v.Cylinder() | v.Cone():
            kind = type(value).__name__.lower()
            return f"{kind} from {vector(value.a)} to {vector(value.b)} radius {number(value.radius)}"


def view(value: v.OrbitView) -> str:
    return _name(value.name) if value.name else orbit(value)


def orbit(value: v.OrbitView) -> str:
    words = [f"orbit azimuth {number(value.azimuth)} elevation {number(value.elevation)}"]
    if value.distance is not None:
        words.append(f"distance {number(value.distance)}")
    if value.fov is not None:
        words.append(f"fov {number(value.fov)}")
    if value.target is not None:
        words.append(f"target {vector(value.target)}")
    return " ".join(words)


def _name(name: str) -> str:
    """Names of used files carry the file's name and a dot; printed, they are names of their own."""
    return name.replace(".", "_")


# Binding strengths of part expressions; an operand that binds less tightly is put in brackets.
_LOOSE, _SUM, _MEET, _TIGHT, _ATOM = range(5)


def part(value: v.PartExpression, needs: int = _LOOSE) -> str:
    written, strength = _part(value)
    return written if strength >= needs else f"({written})"


def _part(value: v.PartExpression) -> tuple[str, int]:
    match value:
        case v.DeclaredPart():
            return _name(value.name), _ATOM
        case v.NamedPart():
            return value.name, _ATOM
        case v.AllPart():
            return "all", _ATOM
        case v.ShapePart():
            return shape(value.shape), _LOOSE
        case v.ColorPart():
            within = "" if value.tolerance is None else f" within {number(value.tolerance)}"
            return f"color {color(value.color)}{within}", _LOOSE
        case v.ClickPart():
            clicks = ", ".join(f"({number(c.x)}, {number(c.y)}) in {view(c.view)}" for c in value.clicks)
            size = "" if value.size is None else f" size {value.size}"
            return f"click {clicks}{size}", _LOOSE
        case v.SegmentPart():
            return f"segment {text(value.text)}", _LOOSE
        case v.UnionPart():
            return f"{part(value.left, _SUM)} + {part(value.right, _MEET)}", _SUM
        case v.DifferencePart():
            return f"{part(value.left, _SUM)} - {part(value.right, _MEET)}", _SUM
        case v.IntersectionPart():
            return f"{part(value.left, _MEET)} & {part(value.right, _TIGHT)}", _MEET
        case v.NotPart():
            return f"not {part(value.part, _ATOM)}", _TIGHT
        case v.GrowPart():
            return f"{part(value.part, _ATOM)} grow {number(value.by)}", _TIGHT


def moment(when: v.When) -> str:
    """With a space behind it; empty for Now."""
    match when:
        case v.Now():
            return ""
        case v.AtStep(step=0):
            return "at start "
        case v.AtStep(step=step):
            return f"at step {step} "
        case v.AtEnd():
            return "at end "
        case v.FromTo(start=start, end=end):
            return f"from step {start} to {end} "
        case v.Every(n=n, start=start, end=end):
            if start is None and end is None:
                return f"every {n} steps "
            # A first step without a last one (an event of a gesture, say) needs a last step that no run reaches.
            return f"every {n} steps from {n if start is None else start} to {NO_END if end is None else end} "
        case v.After(label=label, plus=plus):
            return f"after {label} + {plus} steps " if plus else f"after {label} "
        case v.WhenMetric():
            held = "" if when.for_steps is None else f" for {when.for_steps} steps"
            return f"when {when.metric} {when.comparison.value} {number(when.value)}{held} "


# `every N steps from A to …` without an end.
NO_END = 10**9


def _clause(word: str, value: Any, write: Callable[[Any], str] = number, after: str = "") -> str:
    return "" if value is None else f" {word} {write(value)}{after}"


def _noise(value: tuple[float, float] | None) -> str:
    return "" if value is None else f" noise {number(value[0])} .. {number(value[1])}"


def _steps(word: str, value: int | None) -> str:
    return _clause(word, value, after=" steps")


def _size(width: int | None, height: int | None) -> str:
    return "" if width is None else f" size {width}" + ("" if height is None else f" x {height}")


def _setting(value: o.SettingValue) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, str):
        return text(value)
    return number(value)


def _by(value: v.Vec3) -> str:
    return number(value[0]) if value[0] == value[1] == value[2] else vector(value)


def _optional_part(value: v.PartExpression | None) -> str:
    return "" if value is None else f" {part(value)}"


def action(op: o.Operation) -> str:
    """An operation without its label and moment."""
    match op:
        case o.AddFile():
            member = _clause("part", op.part, str)
            turned = "" if op.rotation is None else f" {turn(op.rotation)}"
            return f"add {text(op.path)}{member}{_clause('at', op.position, vector)}{_clause('scale', op.scale)}{turned} as {op.name}"
        case o.AddShape():
            return f"add {shape(op.shape)} count {op.count} color {color(op.color)} as {op.name}"
        case o.Remove() | o.Keep() | o.Freeze() | o.Thaw():
            return f"{op.keyword} {part(op.part)}"
        case o.Duplicate():
            return f"duplicate {part(op.part)}{_clause('by', op.by, vector)} as {op.name}"
        case o.Mirror():
            named = _clause("as", op.name, str)
            return f"mirror {part(op.part)} across {op.axis.value}{_clause('through', op.through, vector)}{named}"
        case o.Move():
            return f"move {part(op.part)}{_clause('by', op.by, vector)}{_clause('to', op.to, vector)}"
        case o.Rotate():
            through = _clause("through", op.through, vector)
            return f"rotate {part(op.part)} by {number(op.degrees)} deg about {axis(op.axis)}{through}"
        case o.Stretch():
            return f"stretch {part(op.part)} by {_by(op.by)}{_clause('about', op.about, vector)}"
        case o.Paint():
            return f"paint {part(op.part)} {color(op.color)}"
        case o.Densify():
            return f"densify{_optional_part(op.part)}"
        case o.Prune():
            return f"prune{_optional_part(op.part)}{_clause('below', op.below)}"
        case o.SetValue():
            return f"set {op.path} {_setting(op.value)}"
        case o.Ramp():
            return f"ramp {op.path} {number(op.start)} -> {number(op.end)}"
        case o.Checkpoint():
            return "checkpoint" + ("" if op.name is None else f" {text(op.name)}")
        case o.Pause():
            return "pause"
        case o.Print():
            return f"print {text(op.text)}"
        case o.TermOperation():
            return _term(op)
        case o.OutputOperation():
            return _output(op)
    raise TypeError(f"format_operation: expected an operation, got {op!r}; see OPERATION_KINDS")


def _term(op: o.TermOperation) -> str:
    match op:
        case o.Drag():
            form = "" if op.form is None else f" form {op.form.value}"
            ends = f"from {vector(op.source)} to {vector(op.target)}{_clause('radius', op.radius)}"
            weights = f"{_clause('step', op.alpha)}{_clause('motion', op.motion)}{_clause('rigidity', op.rigidity)}"
            return f"drag{_optional_part(op.part)} {ends} {op.mode.value}{form}{_steps('over', op.steps)}{weights}"
        case o.Edit():
            focus = f"{_clause('zoom', op.zoom)}{_clause('scale', op.scale)}"
            return f"edit {part(op.part)} with {text(op.prompt)}{_steps('for', op.steps)}{_noise(op.noise)}{focus}"
        case o.Repair():
            return f"repair{_optional_part(op.part)}{_steps('for', op.steps)}{_noise(op.noise)}{_clause('anchor', op.anchor)}"
        case o.Distill():
            return f"distill{_steps('over', op.steps)}{_size(op.size, None)}"
        case o.Refine():
            table = f"{_clause('levels', op.levels)}{_clause('features', op.features)}{_clause('capacity', op.capacity, _power)}"
            prompt = _clause("with", op.prompt, text)
            return f"refine {part(op.part)}{prompt}{table}{_steps('for', op.steps)}{_noise(op.noise)}"
    raise TypeError(f"format_operation: expected an operation, got {op!r}; see OPERATION_KINDS")


def _power(value: int) -> str:
    return f"2^{value.bit_length() - 1}" if value > 1 and not value & (value - 1) else str(value)


def _output(op: o.OutputOperation) -> str:
    match op:
        case o.SnapshotImage():
            return f"snapshot {text(op.path)} from {view(op.view)}{_size(op.width, op.height)}"
        case o.Export():
            threshold = op.threshold
            at = (
                ""
                if threshold is None
                else " threshold " + (threshold if isinstance(threshold, str) else number(threshold))
            )
            grid = f"{_clause('resolution', op.resolution)}{_clause('texture', op.texture)}{_clause('faces', op.faces)}"
            return f"export {op.kind.value} {text(op.path)}{grid}{at}"
        case o.RecordTurntable():
            film = f"{_clause('seconds', op.seconds)}{_clause('fps', op.fps)}{_size(op.width, op.height)}"
            return f"record turntable {text(op.path)}{film}{_clause('elevation', op.elevation)}{_clause('from', op.view, view)}"
        case o.RecordTimelapse():
            return f"record timelapse {text(op.path)} every {op.every} steps{_clause('from', op.view, view)}"
    raise TypeError(f"format_operation: expected an operation, got {op!r}; see OPERATION_KINDS")


def format_operation(op: o.Operation) -> str:
    """One event line; `parse_operation` reads it back as an equal operation, given the parts and views that it names."""
    label = "" if op.label is None else f"{op.label}: "
    return f"{label}{moment(op.when)}{action(op)}"


def _parts_of(value: Any) -> Iterator[v.DeclaredPart]:
    """Declared parts inside a value, inner ones first."""
    if isinstance(value, tuple):
        for item in value:
            yield from _parts_of(item)
        return
    for slot in getattr(value, "__dataclass_fields__", ()):
        yield from _parts_of(getattr(value, slot))
    if isinstance(value, v.DeclaredPart):
        yield value


def _views_of(value: Any) -> Iterator[v.OrbitView]:
    if isinstance(value, tuple):
        for item in value:
            yield from _views_of(item)
    elif isinstance(value, v.OrbitView):
        if value.name:
            yield value
    else:
        for slot in getattr(value, "__dataclass_fields__", ()):
            yield from _views_of(getattr(value, slot))


def _head(program: Program) -> Iterator[str]:
    if program.prompt is not None:
        yield f"prompt {text(program.prompt)}"
    if program.avoid is not None:
        yield f"avoid {text(program.avoid)}"
    if program.seed is not None:
        yield f"seed {program.seed}"
    if program.steps is not None:
        yield f"steps {program.steps}"
    if program.guidance is not None:
        models = ", ".join(text(model) for model in program.guidance.models)
        yield f"guidance {program.guidance.name} {models}".rstrip()
    match program.initial:
        case InitShape(count=count, shape=inside):
            yield f"splats {count} in {shape(inside)}"
        case InitText(count=count):
            yield f"splats {count} from text"
        case InitMesh(count=count, path=path):
            yield f"splats {count} from {text(path)}"
        case InitSplats(path=path):
            yield f"splats from {text(path)}"
    if program.repair is not None:
        policy = program.repair
        rest = f"{_steps('for', policy.steps)}{_noise(policy.noise)}{_clause('anchor', policy.anchor)}"
        yield "repair off" if not policy.enabled else f"repair{rest or ' on'}"
    for path, value in program.settings:
        yield f"set {path} {_setting(value)}"


def _settled(op: o.Operation, keeps_label: bool) -> o.Operation:
    """With a known step in place of a label that is waited for, and without a label that nobody needs."""
    if isinstance(op.when, v.After) and op.when.step is not None:
        op = replace(op, when=v.AtStep(step=op.when.step))
    return op if keeps_label else replace(op, label=None)


def _labelled(operations: tuple[o.Operation, ...]) -> set[int]:
    """Indices of the operations that keep their label: of each label that something waits for without a known step, the one that lasts longest."""
    needed = {op.when.label for op in operations if isinstance(op.when, v.After) and op.when.step is None}
    longest: dict[str, tuple[float, int]] = {}
    for i, op in enumerate(operations):
        if op.label in needed:
            steps = getattr(op, "steps", None)
            length = float(steps or (math.inf if op.steps_setting else 0))
            longest[op.label] = max(longest.get(op.label, (-1.0, 0)), (length, i))
    return {i for _, i in longest.values()}


def format_program(program: Program) -> str:
    """A whole script that means the same: gestures, loops, params and used files are opened up, known moments are steps.

    A part or view that is another than the one of its name, since it was edited or comes from a used file, has a name of its own.
    """
    program = named_apart(program)
    sections = ["\n".join(_head(program))]
    views = {view.name: view for view in (*program.views, *_views_of(program.operations), *_views_of(program.parts))}
    sections.append("\n".join(f"view {_name(str(name))} = {orbit(value)}" for name, value in views.items()))
    parts = {p.name: p for p in (*_parts_of(program.parts), *_parts_of(program.operations))}
    sections.append("\n".join(f"part {_name(name)} = {part(p.part)}" for name, p in parts.items()))
    keep = _labelled(program.operations)
    sections.append("\n".join(format_operation(_settled(op, i in keep)) for i, op in enumerate(program.operations)))
    return "\n\n".join(section for section in sections if section) + "\n"
