"""Shape expressions to shapes."""

from typing import TYPE_CHECKING, Any

from interactive3d.dsl import nodes as n
from interactive3d.dsl.scope import ARTICLES, BAD, Angle, type_of
from interactive3d.dsl.values import (
    X_AXIS,
    Y_AXIS,
    Z_AXIS,
    AxisAngle,
    Box,
    Capsule,
    Cone,
    Cylinder,
    Ellipsoid,
    Sphere,
    Torus,
)

if TYPE_CHECKING:
    from interactive3d.dsl.evaluate import Evaluator

AXES = {"x": X_AXIS, "y": Y_AXIS, "z": Z_AXIS}


def read_axis(evaluate: "Evaluator", node: Any) -> Any:
    """`x`, `y`, `z` or a vector that is not zero."""
    if type(node) is n.Name and node.text in AXES:
        return AXES[node.text]
    value = read_point(evaluate, node, "vector")
    if value == (0.0, 0.0, 0.0):
        evaluate.report("E0408", node.start, node.end)
        return BAD
    return value


def read_point(evaluate: "Evaluator", node: Any, what: str = "point") -> Any:
    value = evaluate(node)
    if type(value) is tuple or value is BAD:
        return value
    evaluate.report("E0301", node.start, node.end, expected=ARTICLES[what], found=ARTICLES[type_of(value)])
    return BAD


def read_angle(evaluate: "Evaluator", node: Any) -> Any:
    """Degrees; a bare number is refused, since it could be radians."""
    value = evaluate(node)
    if type(value) is Angle:
        return value.degrees
    if type(value) is float:
        evaluate.report("E0304", node.start, node.end, found=f"{value:g}")
    elif value is not BAD:
        evaluate.report("E0301", node.start, node.end, expected="an angle", found=ARTICLES[type_of(value)])
    return BAD


def read_length(evaluate: "Evaluator", node: Any, what: str) -> Any:
    """A number above zero."""
    value = evaluate.number(node)
    if isinstance(value, float) and value <= 0:
        evaluate.report("E0402", node.start, node.end, what=what, found=f"{value:g}")
        return BAD
    return value


def build_shape(evaluate: "Evaluator", node: n.ShapeOf) -> Any:
    operands = node.operands
    kind = node.kind
    if kind == "box":
        values = [read_point(evaluate, operands[0]), read_point(evaluate, operands[1])]
        if BAD in values:
            return BAD
        for low, high, axis in zip(values[0], values[1], "xyz", strict=True):
            if low >= high:
                evaluate.report(
                    "E0403", node.start, node.end, what=f"the box along {axis}", low=f"{low:g}", high=f"{high:g}"
                )
                return BAD
        return Box(low=values[0], high=values[1])
    if kind in ("capsule", "cylinder", "cone"):
        values = [
            *(read_point(evaluate, operand) for operand in operands[:2]),
            read_length(evaluate, operands[2], "the radius"),
        ]
        if BAD in values:
            return BAD
        if values[0] == values[1]:
            evaluate.report("E0409", node.start, node.end, kind=kind)
            return BAD
        return {"capsule": Capsule, "cylinder": Cylinder, "cone": Cone}[kind](
            a=values[0], b=values[1], radius=values[2]
        )
    center = read_point(evaluate, operands[0])
    if kind == "ellipsoid":
        return _ellipsoid(evaluate, center, operands)
    radius = read_length(evaluate, operands[1], "the radius")
    if kind == "sphere":
        return BAD if BAD in (center, radius) else Sphere(center=center, radius=radius)
    thickness = read_length(evaluate, operands[2], "the thickness")
    about = read_axis(evaluate, operands[3]) if len(operands) > 3 else Y_AXIS
    if BAD in (center, radius, thickness, about):
        return BAD
    return Torus(center=center, radius=radius, thickness=thickness, axis=about)


def _ellipsoid(evaluate: "Evaluator", center: Any, operands: tuple[Any, ...]) -> Any:
    radii = read_point(evaluate, operands[1], "vector")
    if radii is not BAD and min(radii) <= 0:
        evaluate.report("E0402", operands[1].start, operands[1].end, what="each radius", found=f"{min(radii):g}")
        radii = BAD
    rotation = None
    if len(operands) > 2:
        degrees, axis = read_angle(evaluate, operands[2]), read_axis(evaluate, operands[3])
        if BAD in (degrees, axis):
            return BAD
        rotation = AxisAngle(axis=axis, degrees=degrees)
    if BAD in (center, radii):
        return BAD
    return Ellipsoid(center=center, radii=radii, rotation=rotation)
