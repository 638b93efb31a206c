"""A sphere or a box that the hand places over the object: it becomes a selection, a part of the script, or a region to refine."""

from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
from jaxtyping import Float

from interactive3d.dsl.operations import Box, PartExpression, Shape, ShapePart, Sphere, Vec3
from interactive3d.dsl.printer import part as format_part
from interactive3d.runtime.view.selecting import rounded

LEAST_HALF = 0.005
"""Half the least side of a region, scene units."""


class RegionKind(Enum):
    """What a region is in Sculpt."""

    SPHERE = "Sphere"
    BOX = "Box"


@dataclass(frozen=True, kw_only=True)
class Region:
    """Centre and half sides; a sphere's half sides are its radius, three times."""

    kind: RegionKind
    center: Vec3
    half: Vec3

    @classmethod
    def about(cls, kind: RegionKind, center: Vec3, radius: float) -> "Region":
        """A region that holds a ball."""
        side = max(radius, LEAST_HALF)
        return cls(kind=kind, center=rounded(center), half=rounded((side, side, side)))

    @property
    def shape(self) -> Shape:
        """The shape that the language has for it."""
        if self.kind is RegionKind.SPHERE:
            return Sphere(center=self.center, radius=self.half[0])
        center, half = np.asarray(self.center), np.asarray(self.half)
        return Box(low=rounded(center - half), high=rounded(center + half))

    @property
    def part(self) -> PartExpression:
        """All blobs in it."""
        return ShapePart(shape=self.shape)

    @property
    def radius(self) -> float:
        """Of the ball about it."""
        return float(self.half[0] if self.kind is RegionKind.SPHERE else np.linalg.norm(self.half))

    def moved(self, matrix: Float[np.ndarray, "4 4"]) -> "Region":
        """After a gizmo that stood at the centre: ``matrix`` holds its place, and its scale along the axes."""
        factors = np.linalg.norm(np.asarray(matrix)[:3, :3], axis=0)
        if self.kind is RegionKind.SPHERE:
            # The handle that was pulled farthest says how the ball is scaled.
            factors = np.full(3, factors[int(np.abs(np.log(np.maximum(factors, 1e-6))).argmax())])
        half = np.maximum(np.asarray(self.half) * factors, LEAST_HALF)
        return replace(self, center=rounded(np.asarray(matrix)[:3, 3]), half=rounded(half))

    def turned_into(self, kind: RegionKind) -> "Region":
        """The other kind, about as large."""
        side = float(np.mean(self.half))
        return replace(self, kind=kind, half=rounded((side, side, side)))


def with_part(text: str, name: str, part: PartExpression) -> str:
    """A script's text with one more declaration: after the last part, or before the first statement that has a moment.

    Raises:
        ValueError: the name is no name, or is taken.
    """
    if not (name.isidentifier() and name == name.lower()):
        raise ValueError(f"part name: expected lower-case letters, digits and _, got {name!r}")
    lines = text.splitlines()
    words = [line.split("#", 1)[0].split() for line in lines]
    if any(w[:2] == ["part", name] for w in words):
        raise ValueError(f"the script has a part {name} already; choose another name")
    declared = [i for i, w in enumerate(words) if w[:1] == ["part"]]
    timed = [
        i for i, w in enumerate(words) if w[:1] and w[0] in ("at", "from", "every", "after", "when", "repeat", "for")
    ]
    where = declared[-1] + 1 if declared else timed[0] if timed else len(lines)
    lines.insert(where, f"part {name} = {format_part(part)}")
    if not declared and timed:
        lines.insert(where + 1, "")
    return "\n".join(lines) + "\n"
