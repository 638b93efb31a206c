"""The values that operations are made of: positions in a text, shapes, parts, views and moments.

Everything here is frozen, keyword-only and holds primitives or other values of this module, so that an operation can
be compared,
hashed, pickled and printed. Lengths are in scene units, angles in degrees, y is up, the object's front faces +z,
right-handed.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

Vec3: TypeAlias = tuple[float, float, float]

ORIGIN: Vec3 = (0.0, 0.0, 0.0)
X_AXIS: Vec3 = (1.0, 0.0, 0.0)
Y_AXIS: Vec3 = (0.0, 1.0, 0.0)
Z_AXIS: Vec3 = (0.0, 0.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of a script: lines and columns count from 1, columns in characters, the end is exclusive; offsets count
    from 0.
    """

    file: str
    line: int
    column: int
    end_line: int
    end_column: int
    start: int
    end: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisAngle:
    """A rotation by `degrees` about `axis` (any non-zero length), right-handed: +90 about y takes +z to +x."""

    axis: Vec3
    degrees: float


# Shapes. Each is a solid: a blob belongs to it when its mean lies inside or on it.


@dataclass(frozen=True, slots=True, kw_only=True)
class Sphere:
    """`sphere at CENTER radius R`."""

    center: Vec3
    radius: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """`box LOW .. HIGH`, axis-aligned; low is below high on every axis."""

    low: Vec3
    high: Vec3


@dataclass(frozen=True, slots=True, kw_only=True)
class Ellipsoid:
    """`ellipsoid at CENTER radii V [rotate A deg about AXIS]`: radii are half lengths along x, y, z before the
    rotation.
    """

    center: Vec3
    radii: Vec3
    rotation: AxisAngle | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Capsule:
    """`capsule from A to B radius R`: everything within R of the segment."""

    a: Vec3
    b: Vec3
    radius: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cylinder:
    """`cylinder from A to B radius R`, with flat ends."""

    a: Vec3
    b: Vec3
    radius: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cone:
    """`cone from A to B radius R`: the base of radius R is at A, the tip at B."""

    a: Vec3
    b: Vec3
    radius: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Torus:
    """`torus at CENTER radius R thickness T about AXIS`: R to the middle of the tube, whose own radius is T."""

    center: Vec3
    radius: float
    thickness: float
    axis: Vec3 = Y_AXIS


Shape: TypeAlias = Sphere | Box | Ellipsoid | Capsule | Cylinder | Cone | Torus
SHAPE_KINDS: tuple[type, ...] = (Sphere, Box, Ellipsoid, Capsule, Cylinder, Cone, Torus)


# Views.


@dataclass(frozen=True, slots=True, kw_only=True)
class OrbitView:
    """A camera on an orbit: azimuth 0 sees the front from +z, azimuth 90 looks from +x. None means the engine's
    default.

    `distance` is in scene units, `fov` is vertical and in degrees, `target` is the point looked at. A `name` is set
    when the script
    declared the view; it prints as that name.
    """

    azimuth: float
    elevation: float
    distance: float | None = None
    fov: float | None = None
    target: Vec3 | None = None
    name: str | None = None


View: TypeAlias = OrbitView


# Parts: queries that an operation evaluates when it begins.


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapePart:
    """All blobs inside a shape."""

    shape: Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedPart:
    """A tag: the blobs added, duplicated or mirrored `as NAME`, wherever they are now."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AllPart:
    """`all`: every blob."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColorPart:
    """`color C [within T]`: blobs whose colour is at most T (Euclidean, each channel 0 .. 1) from C."""

    color: Vec3
    tolerance: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Click:
    """A pixel (x to the right, y down, from the upper left corner) in a view."""

    x: float
    y: float
    view: View


@dataclass(frozen=True, slots=True, kw_only=True)
class ClickPart:
    """`click (X, Y) in VIEW, … [size PIXELS]`: segmented in every view named, then intersected over the views (paper
    3.1.1).

    `size` is the side of the square picture that the pixels count in; None means the engine's default.
    """

    clicks: tuple[Click, ...]
    size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentPart:
    """`segment "wings"`: what a text-prompted segmenter finds from around the object; needs one that is installed."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnionPart:
    """`LEFT + RIGHT`."""

    left: "PartExpression"
    right: "PartExpression"


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferencePart:
    """`LEFT - RIGHT`."""

    left: "PartExpression"
    right: "PartExpression"


@dataclass(frozen=True, slots=True, kw_only=True)
class IntersectionPart:
    """`LEFT & RIGHT`."""

    left: "PartExpression"
    right: "PartExpression"


@dataclass(frozen=True, slots=True, kw_only=True)
class NotPart:
    """`not PART`: every blob that is not in it."""

    part: "PartExpression"


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowPart:
    """`PART grow R`: the part and everything within R of its blobs; a negative R shrinks."""

    part: "PartExpression"
    by: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredPart:
    """A part that the script declared under a name: behaves as `part`, is called `name` in messages, labels and print."""

    name: str
    part: "PartExpression"


PartExpression: TypeAlias = (
    ShapePart
    | NamedPart
    | AllPart
    | ColorPart
    | ClickPart
    | SegmentPart
    | UnionPart
    | DifferencePart
    | IntersectionPart
    | NotPart
    | GrowPart
    | DeclaredPart
)
PART_KINDS: tuple[type, ...] = (
    ShapePart,
    NamedPart,
    AllPart,
    ColorPart,
    ClickPart,
    SegmentPart,
    UnionPart,
    DifferencePart,
    IntersectionPart,
    NotPart,
    GrowPart,
    DeclaredPart,
)


# Moments.


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """No moment given: the next step boundary. Only what is typed or done while a run goes on has it, never a script."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AtStep:
    """`at step N`; `at start` is step 0. The operation applies before that step is taken."""

    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AtEnd:
    """`at end`: after the last step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FromTo:
    """`from step START to END`."""

    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Every:
    """`every N steps [from START to END]`: at START, START + N, … up to and including END. Without START, first at step
    N.
    """

    n: int
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class After:
    """`after LABEL [+ N steps]`: once the labelled operation is over, N steps later.

    `step` is that step where it is known before the run, None where it hangs on a metric or on a default that the
    checker was not given.
    """

    label: str
    plus: int = 0
    step: int | None = field(default=None, compare=False)


class Comparison(Enum):
    BELOW = "<"
    ABOVE = ">"


@dataclass(frozen=True, slots=True, kw_only=True)
class WhenMetric:
    """`when METRIC < VALUE [for N steps]`: fires once, when the metric has stayed there for N steps in a row (1 when
    None).
    """

    metric: str
    comparison: Comparison
    value: float
    for_steps: int | None = None


When: TypeAlias = Now | AtStep | AtEnd | FromTo | Every | After | WhenMetric
WHEN_KINDS: tuple[type, ...] = (Now, AtStep, AtEnd, FromTo, Every, After, WhenMetric)
NOW = Now()
AT_START = AtStep(step=0)
