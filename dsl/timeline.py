"""What can be seen to go wrong on the timeline before the run: steps, stages, tags, removals, clashes, outputs."""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from interactive3d.dsl import operations as o
from interactive3d.dsl.frame import Placed
from interactive3d.dsl.regions import common_point
from interactive3d.dsl.values import (
    AtEnd,
    DeclaredPart,
    DifferencePart,
    Every,
    GrowPart,
    IntersectionPart,
    NamedPart,
    NotPart,
    ShapePart,
    Span,
    Sphere,
    UnionPart,
)

if TYPE_CHECKING:
    from interactive3d.dsl.checker import Checker

_WORD = re.compile(r"[A-Za-z]+(?:['-][A-Za-z]+)*")
# They can bring blobs into a region that was emptied.
_BRINGS = (o.AddFile, o.AddShape, o.Duplicate, o.Mirror, o.Move, o.Rotate, o.Stretch, o.Drag, o.Edit, o.Densify)


def names_in(part: Any) -> Iterator[NamedPart | DeclaredPart]:
    """The tags and declared parts that a part (or nothing, or the name of a file's part) speaks of by name."""
    match part:
        case NamedPart():
            yield part
        case DeclaredPart():
            yield part
            yield from names_in(part.part)
        case NotPart() | GrowPart():
            yield from names_in(part.part)
        case UnionPart() | DifferencePart() | IntersectionPart():
            yield from names_in(part.left)
            yield from names_in(part.right)


def part_of(operation: o.Operation) -> Any:
    return getattr(operation, "part", None)


class Timeline:
    """Checks the operations of a whole script; `steps` is the run's length where the script gives it."""

    def __init__(self, checker: "Checker", steps: int | None) -> None:
        self.checker = checker
        self.placed = checker.placed
        self.steps = steps
        self.in_order = sorted(self.placed, key=order_key)

    def report(self, code: str, placed: Placed, **fields: Any) -> None:
        self.checker.reporter.report_at(code, placed.source, placed.start, placed.end, **fields)

    @staticmethod
    def where(placed: Placed) -> Span:
        return placed.source.span(placed.start, placed.end)

    def check(self) -> None:
        self.reach()
        self.stages()
        self.tags()
        self.removals()
        self.drags()
        self.ramps()
        self.files()
        self.thaws()

    def reach(self) -> None:
        """Nothing begins at or lasts beyond the last step."""
        if self.steps is None:
            return
        for placed in self.placed:
            when = placed.operation.when
            begins = placed.begins
            if isinstance(when, Every):
                if begins is not None and begins >= self.steps:
                    self.report("W0807", placed, first=begins, steps=self.steps)
                continue
            if begins is not None and begins >= self.steps:
                place = placed.moment or (placed.source, placed.start, placed.end)
                self.checker.reporter.report_at("E0601", *place, step=begins, steps=self.steps)
            elif placed.ends is not None and placed.ends > self.steps:
                self.report("E0602", placed, until=placed.ends, steps=self.steps, over=placed.ends - self.steps)

    def stages(self) -> None:
        """Splat operations stand before `distill`, field operations after it."""
        distills = [placed for placed in self.in_order if isinstance(placed.operation, o.Distill)]
        for again in distills[1:]:
            self.report("E0606", again, related=((self.where(distills[0]), "the first one"),))
        first = distills[0] if distills else None
        for placed in self.placed:
            operation = placed.operation
            stage = operation.stage
            field_export = isinstance(operation, o.Export) and operation.kind is o.ExportKind.FIELD
            if isinstance(operation, o.Distill) or (stage is o.Stage.BOTH and not field_export):
                continue
            word = "export field" if field_export else operation.keyword
            if first is None:
                if stage is o.Stage.FIELD or field_export:
                    self.report("E0605", placed, statement=word)
                continue
            self._stage(placed, first, word, stage is o.Stage.FIELD or field_export)

    def _stage(self, placed: Placed, distill: Placed, word: str, field: bool) -> None:
        related = ((self.where(distill), "stage II begins after this"),)
        at_end = isinstance(placed.operation.when, AtEnd)
        if placed.begins is None and not at_end:
            return
        if distill.begins is None:
            return
        after = at_end or (placed.begins, placed.order) > (distill.begins, distill.order)
        if field and not after:
            self.report("E0603", placed, statement=word, step=distill.begins, related=related)
        elif (
            field
            and not at_end
            and distill.ends is not None
            and placed.begins is not None
            and placed.begins < distill.ends
        ):
            self.report("E0613", placed, statement=word, until=distill.ends, related=related)
        elif not field and after and not isinstance(placed.operation.when, Every):
            self.report("E0604", placed, statement=word, step=distill.begins, related=related)
        elif (
            not field
            and placed.ends is not None
            and placed.ends > distill.begins
            and not isinstance(placed.operation.when, Every)
        ):
            self.report("E0614", placed, statement=word, until=placed.ends, step=distill.begins, related=related)

    def tags(self) -> None:
        """A tag exists from its `as` on."""
        born: dict[str, Placed] = {}
        for placed in self.placed:
            name = getattr(placed.operation, "name", None)
            if isinstance(placed.operation, o.AddFile | o.AddShape | o.Duplicate | o.Mirror) and name:
                born[name] = placed
        for placed in self.placed if born else ():
            for named in names_in(part_of(placed.operation)):
                birth = born.get(named.name) if isinstance(named, NamedPart) else None
                if birth is None or birth.begins is None or placed.begins is None:
                    continue
                if (placed.begins, placed.order) < (birth.begins, birth.order):
                    related = ((self.where(birth), "added here"),)
                    self.report(
                        "E0609", placed, name=named.name, step=placed.begins, birth=birth.begins, related=related
                    )

    def removals(self) -> None:
        """A part is not used once it was removed, unless something may have come in its place.

        In stage II a removal takes back what was refined in a part, which is still there and may be refined again.
        """
        removed: dict[str, Placed] = {}
        distilled = False
        tags = self.checker.tag_names
        for placed in self.in_order:
            operation = placed.operation
            if placed.begins is None and not isinstance(operation.when, AtEnd):
                continue
            distilled |= isinstance(operation, o.Distill)
            if removed:
                for named in names_in(part_of(operation)):
                    gone = removed.get(named.name)
                    if gone is not None:
                        related = ((self.where(gone), "removed here"),)
                        self.report("E0608", placed, name=named.name, step=gone.begins, related=related)
                        break
            if isinstance(operation, _BRINGS):
                removed = {name: gone for name, gone in removed.items() if name in tags}
            if (
                not distilled
                and isinstance(operation, o.Remove)
                and isinstance(operation.part, NamedPart | DeclaredPart)
            ):
                removed[operation.part.name] = placed

    def drags(self) -> None:
        """Two drags of overlapping regions do not run at once."""
        radius = self.checker.settings.default("drag.radius")
        timed: list[tuple[int, int, Placed, Any]] = []
        for placed in self.placed:
            operation = placed.operation
            if isinstance(operation, o.Drag) and placed.begins is not None:
                ends = placed.ends if placed.ends is not None else placed.begins + 1
                timed.append((placed.begins, ends, placed, _region(operation, radius)))
        timed.sort(key=lambda item: item[:2])
        running: list[tuple[int, int, Placed, Any]] = []
        for drag in timed:
            running = [other for other in running if other[1] > drag[0]]
            for other in running[-8:]:
                if _same_or_common(drag[3], other[3]):
                    related = ((self.where(other[2]), f"from step {other[0]} to {other[1]}"),)
                    self.report("E0607", drag[2], related=related)
                    break
            running.append(drag)

    def ramps(self) -> None:
        """A setting is led by one ramp at a time."""
        by_path: dict[str, list[Placed]] = {}
        for placed in self.in_order:
            if isinstance(placed.operation, o.Ramp):
                by_path.setdefault(placed.operation.path, []).append(placed)
        for path, ramps in by_path.items():
            for before, after in pairwise(ramps):
                if before.ends is not None and after.begins is not None and after.begins < before.ends:
                    related = ((self.where(before), f"until step {before.ends}"),)
                    self.report("E0616", after, path=path, related=related)

    def files(self) -> None:
        """No output overwrites another."""
        written: dict[str, Placed] = {}
        for placed in self.placed:
            operation = placed.operation
            if not isinstance(operation, o.SnapshotImage | o.Export | o.RecordTurntable | o.RecordTimelapse):
                continue
            path = operation.path
            if "{step}" in path and placed.begins is not None and not isinstance(operation.when, Every):
                path = path.replace("{step}", f"{placed.begins:06d}")
            earlier = written.get(path)
            if earlier is not None:
                self.report("E0611", placed, path=path, related=((self.where(earlier), "written here first"),))
            else:
                written[path] = placed

    def thaws(self) -> None:
        anything = False
        for placed in self.in_order:
            operation = placed.operation
            if isinstance(operation, o.Freeze):
                anything = True
            elif isinstance(operation, o.Thaw) and not anything:
                self.report("W0806", placed)

    def prompts(self, guidance: str | None) -> None:
        """Words that the guidance has never seen."""
        near_words = self.checker.context.near_words
        if near_words is None or guidance is None:
            return
        for placed in self.placed:
            if isinstance(placed.operation, o.Edit | o.Refine) and placed.operation.prompt:
                self.words(guidance, placed.operation.prompt, placed.source, placed.start, placed.end)

    def words(self, guidance: str, prompt: str, source: Any, start: int, end: int) -> None:
        near_words = self.checker.context.near_words
        if near_words is None:
            return
        found = _WORD.findall(prompt)
        # Two words may be one to the prior: a t rex.
        pairs = [pair for pair in pairwise(found) if near_words(guidance, " ".join(pair).lower()) is None]
        joined = {word for pair in pairs for word in pair}
        for word in dict.fromkeys(found):
            near = near_words(guidance, word.lower())
            if near is None or word in joined:
                continue
            at = source.text.find(word, start, end)
            place = (at, at + len(word)) if at >= 0 else (start, end)
            help_ = "near words that it knows: " + ", ".join(near) if near else "it knows nothing near it"
            self.checker.reporter.report_at("W0801", source, *place, word=word, guidance=guidance, help=help_)


def order_key(placed: Placed) -> tuple[int, int, int]:
    """By step, then by place in the text; what waits for a metric comes after the steps, the end last."""
    if isinstance(placed.operation.when, AtEnd):
        return (2, 0, placed.order)
    if placed.begins is None:
        return (1, 0, placed.order)
    return (0, placed.begins, placed.order)


def _region(drag: o.Drag, default_radius: Any) -> Any:
    """What a drag selects, as a part; None when its radius is not known."""
    radius = drag.radius
    if radius is None and drag.part is not None:
        return drag.part
    if radius is None:
        if not isinstance(default_radius, (int, float)):
            return None
        radius = float(default_radius)
    ball = ShapePart(shape=Sphere(center=drag.source, radius=radius))
    return ball if drag.part is None else IntersectionPart(left=drag.part, right=ball)


def _same_or_common(a: Any, b: Any) -> bool:
    if a is None or b is None:
        return False
    if a == b:
        return True
    if (
        isinstance(a, ShapePart)
        and isinstance(b, ShapePart)
        and isinstance(a.shape, Sphere)
        and isinstance(b.shape, Sphere)
    ):
        gap = sum((p - q) ** 2 for p, q in zip(a.shape.center, b.shape.center, strict=True)) ** 0.5
        return bool(gap < a.shape.radius + b.shape.radius)
    return common_point(a, b) is not None
