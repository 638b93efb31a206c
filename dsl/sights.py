"""Views, clicks in them, and parts of a colour."""

from typing import TYPE_CHECKING, Any

from interactive3d.dsl import nodes as n
from interactive3d.dsl.scope import ARTICLES, BAD, Angle, Bad, type_of
from interactive3d.dsl.values import Click, ClickPart, ColorPart, OrbitView, SegmentPart

if TYPE_CHECKING:
    from interactive3d.dsl.evaluate import Evaluator


def build_color_part(evaluate: "Evaluator", node: n.ColorOf) -> Any:
    color = evaluate.color(node.color)
    tolerance: Any = None
    if node.tolerance is not None:
        tolerance = evaluate.number(node.tolerance)
        if isinstance(tolerance, float) and not 0 < tolerance <= 2:
            limits = {"what": "the tolerance", "low": "0", "high": "2"}
            evaluate.report("E0401", node.tolerance.start, node.tolerance.end, found=f"{tolerance:g}", **limits)
            return BAD
    return BAD if BAD in (color, tolerance) else ColorPart(color=color, tolerance=tolerance)


def build_clicks(evaluate: "Evaluator", node: n.ClickOf) -> Any:
    clicks = []
    size: Any = None
    if node.size is not None:
        size = evaluate.number(node.size)
        if size is not BAD and (size < 1 or size != int(size)):
            evaluate.report("E0303", node.size.start, node.size.end, found=f"{size:g}")
            size = BAD
        if size is BAD:
            return BAD
    for place, eye in node.clicks:
        if type(place) is not n.Tuple or len(place.items) != 2:
            evaluate.report("E0316", place.start, place.end)
            return BAD
        x, y = evaluate.number(place.items[0]), evaluate.number(place.items[1])
        view = evaluate.view(eye)
        if isinstance(x, Bad) or isinstance(y, Bad) or view is BAD:
            return BAD
        if x < 0 or y < 0 or (size is not None and (x > size or y > size)):
            high = f"{size:g}" if size is not None else "the picture's side"
            evaluate.report(
                "E0401", place.start, place.end, what="the pixel", low="0", high=high, found=f"({x:g}, {y:g})"
            )
            return BAD
        clicks.append(Click(x=x, y=y, view=view))
    return ClickPart(clicks=tuple(clicks), size=None if size is None else int(size))


def build_segment(evaluate: "Evaluator", node: n.SegmentOf) -> Any:
    text = evaluate(node.text)
    if text is BAD:
        return BAD
    if not isinstance(text, str) or not text.strip():
        evaluate.report(
            "E0301", node.text.start, node.text.end, expected="a text in quotes", found=ARTICLES[type_of(text)]
        )
        return BAD
    return SegmentPart(text=text)


def build_orbit(evaluate: "Evaluator", node: n.OrbitOf) -> Any:
    given: dict[str, Any] = {}
    for clause in node.clauses:
        if clause.name in given:
            evaluate.report("E0504", clause.start, clause.end, clause=clause.name)
            continue
        operand = clause.values[0]
        value = evaluate(operand)
        if clause.name == "target":
            if value is not BAD and type(value) is not tuple:
                evaluate.report("E0301", operand.start, operand.end, expected="a point", found=ARTICLES[type_of(value)])
                value = BAD
        elif type(value) is Angle and clause.name != "distance":
            value = value.degrees
        elif value is not BAD and type(value) is not float:
            evaluate.report("E0301", operand.start, operand.end, expected="a number", found=ARTICLES[type_of(value)])
            value = BAD
        if type(value) is float:
            value = _in_orbit(evaluate, clause, operand, value)
        given[clause.name] = value
    missing = [name for name in ("azimuth", "elevation") if name not in given]
    if missing:
        evaluate.report("E0505", node.start, node.end, statement="orbit", clause=missing[0], help=None)
        return BAD
    if any(value is BAD for value in given.values()):
        return BAD
    return OrbitView(**given)


def _in_orbit(evaluate: "Evaluator", clause: n.Clause, operand: Any, value: float) -> Any:
    low, high = {"elevation": (-90, 90), "distance": (0.01, 100), "fov": (1, 150)}.get(clause.name, (-3600, 3600))
    if low <= value <= high:
        return value
    evaluate.report(
        "E0401",
        operand.start,
        operand.end,
        what=f"`{clause.name}`",
        low=f"{low:g}",
        high=f"{high:g}",
        found=f"{value:g}",
    )
    return BAD
