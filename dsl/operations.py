"""The closed vocabulary of the tool: one frozen dataclass per kind of operation.

Text, mouse, console and replay all make these values, and each prints as Sculpt:
`parse_operation(format_operation(op)) == op`.
A field that is None was not given; its default lives in the engine's settings, not in the language. `span` says where
the operation was
written and takes no part in comparisons. Everything else that a reader of operations needs (shapes, parts, views,
moments, programs) can
be imported from here too.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar, TypeAlias

from interactive3d.dsl.values import (
    AT_START,
    NOW,
    ORIGIN,
    PART_KINDS,
    SHAPE_KINDS,
    WHEN_KINDS,
    X_AXIS,
    Y_AXIS,
    Z_AXIS,
    After,
    AllPart,
    AtEnd,
    AtStep,
    AxisAngle,
    Box,
    Capsule,
    Click,
    ClickPart,
    ColorPart,
    Comparison,
    Cone,
    Cylinder,
    DeclaredPart,
    DifferencePart,
    Ellipsoid,
    Every,
    FromTo,
    GrowPart,
    IntersectionPart,
    NamedPart,
    NotPart,
    Now,
    OrbitView,
    PartExpression,
    SegmentPart,
    Shape,
    ShapePart,
    Span,
    Sphere,
    Torus,
    UnionPart,
    Vec3,
    View,
    When,
    WhenMetric,
)

__all__ = [
    "AT_START",
    "EXPORT_SUFFIXES",
    "NOW",
    "OPERATION_KINDS",
    "ORIGIN",
    "PART_KINDS",
    "SHAPE_KINDS",
    "WHEN_KINDS",
    "X_AXIS",
    "Y_AXIS",
    "Z_AXIS",
    "AddFile",
    "AddShape",
    "After",
    "AllPart",
    "AtEnd",
    "AtStep",
    "Axis",
    "AxisAngle",
    "Box",
    "Capsule",
    "Checkpoint",
    "Click",
    "ClickPart",
    "ColorPart",
    "Comparison",
    "Cone",
    "ControlOperation",
    "Cylinder",
    "DeclaredPart",
    "Densify",
    "DifferencePart",
    "Distill",
    "Drag",
    "DragForm",
    "DragMode",
    "Duplicate",
    "Edit",
    "EditOperation",
    "Ellipsoid",
    "Every",
    "Export",
    "ExportKind",
    "Freeze",
    "FromTo",
    "GrowPart",
    "IntersectionPart",
    "Keep",
    "Mirror",
    "Move",
    "NamedPart",
    "NotPart",
    "Now",
    "Operation",
    "OrbitView",
    "OutputOperation",
    "Paint",
    "PartExpression",
    "Pause",
    "Print",
    "Prune",
    "Ramp",
    "RecordTimelapse",
    "RecordTurntable",
    "Refine",
    "Remove",
    "Repair",
    "Rotate",
    "SegmentPart",
    "SetValue",
    "SettingValue",
    "Shape",
    "ShapePart",
    "SnapshotImage",
    "Span",
    "Sphere",
    "Stage",
    "Stretch",
    "TermOperation",
    "Thaw",
    "Torus",
    "UnionPart",
    "Vec3",
    "View",
    "When",
    "WhenMetric",
]

SettingValue: TypeAlias = bool | int | float | str


class Stage(Enum):
    """Where an operation may stand: before `distill` (splats), after it (field), or in both."""

    SPLATS = "I"
    FIELD = "II"
    BOTH = "I and II"


class Axis(Enum):
    X = "x"
    Y = "y"
    Z = "z"


class DragMode(Enum):
    """Rigid keeps the first selection; deformable selects anew around the moving source before each step (paper 3.1.3)."""

    RIGID = "rigid"
    DEFORMABLE = "deformable"


class DragForm(Enum):
    """What the motion loss pulls each blob to: one common point (equation 5 as printed) or its own start plus the drag
    vector.
    """

    POINT = "point"
    OFFSET = "offset"


class ExportKind(Enum):
    SPLATS = "splats"
    MESH = "mesh"
    FIELD = "field"


EXPORT_SUFFIXES: dict[ExportKind, tuple[str, ...]] = {
    ExportKind.SPLATS: (".ply", ".splat"),
    ExportKind.MESH: (".glb", ".obj", ".ply"),
    ExportKind.FIELD: (".safetensors",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """Base of all kinds. `keyword` is the word a statement of this kind begins with."""

    keyword: ClassVar[str] = ""
    stage: ClassVar[Stage] = Stage.BOTH
    # The setting that holds the default of `steps`, for the kinds that last.
    steps_setting: ClassVar[str | None] = None

    when: When = NOW
    label: str | None = None
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EditOperation(Operation):
    """Changes rows at once, between two steps."""

    stage: ClassVar[Stage] = Stage.SPLATS


@dataclass(frozen=True, slots=True, kw_only=True)
class TermOperation(Operation):
    """Acts over a window of steps: adds a loss, a gradient mask, a camera focus or a changing setting while it lasts."""

    stage: ClassVar[Stage] = Stage.SPLATS


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOperation(Operation):
    """Writes a file into the run's folder and leaves the scene alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlOperation(Operation):
    """Steers the run itself and leaves the scene alone."""


# Edits.


@dataclass(frozen=True, slots=True, kw_only=True)
class AddFile(EditOperation):
    """`add "file" [part NAME] [at P] [scale S] [rotate A deg about AXIS] as NAME` (paper 3.1.1, equation 1)."""

    keyword: ClassVar[str] = "add"

    path: str
    name: str
    part: str | None = None
    position: Vec3 | None = None
    scale: float | None = None
    rotation: AxisAngle | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AddShape(EditOperation):
    """`add SHAPE count N color C as NAME`: N blobs that fill the shape."""

    keyword: ClassVar[str] = "add"

    shape: Shape
    count: int
    color: Vec3
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove(EditOperation):
    """`remove PART`. In stage II it takes back what was refined or edited in just that part."""

    keyword: ClassVar[str] = "remove"
    stage: ClassVar[Stage] = Stage.BOTH

    part: PartExpression


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep(EditOperation):
    """`keep PART`: removes everything else."""

    keyword: ClassVar[str] = "keep"

    part: PartExpression


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate(EditOperation):
    """`duplicate PART [by V] as NAME`: a copy, moved by V."""

    keyword: ClassVar[str] = "duplicate"

    part: PartExpression
    name: str
    by: Vec3 | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror(EditOperation):
    """`mirror PART across x|y|z [through P] [as NAME]`: reflected at the plane through P (the origin) whose normal is
    the axis.

    With a name the part stays and a mirrored copy is added under that name; without one the part itself is reflected.
    """

    keyword: ClassVar[str] = "mirror"

    part: PartExpression
    axis: Axis
    through: Vec3 | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Move(EditOperation):
    """`move PART by V | to P`; `to` brings the centre of the part's box to P. Exactly one of the two is given."""

    keyword: ClassVar[str] = "move"

    part: PartExpression
    by: Vec3 | None = None
    to: Vec3 | None = None

    def __post_init__(self) -> None:
        if (self.by is None) == (self.to is None):
            raise ValueError(f"Move: expected exactly one of by and to, got by={self.by} and to={self.to}; give one")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotate(EditOperation):
    """`rotate PART by A deg about x|y|z|V [through P]`: through the centre of the part's box unless said otherwise
    (equation 2).
    """

    keyword: ClassVar[str] = "rotate"

    part: PartExpression
    degrees: float
    axis: Vec3
    through: Vec3 | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch(EditOperation):
    """`stretch PART by S | V [about P]`: factors along x, y, z, about the centre of the part's box unless said
    otherwise.
    """

    keyword: ClassVar[str] = "stretch"

    part: PartExpression
    by: Vec3
    about: Vec3 | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Paint(EditOperation):
    """`paint PART C`; the colour is red, green, blue in 0 .. 1."""

    keyword: ClassVar[str] = "paint"

    part: PartExpression
    color: Vec3


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze(EditOperation):
    """`freeze PART`: its blobs take no gradient until a `thaw`."""

    keyword: ClassVar[str] = "freeze"

    part: PartExpression


@dataclass(frozen=True, slots=True, kw_only=True)
class Thaw(EditOperation):
    """`thaw PART`."""

    keyword: ClassVar[str] = "thaw"

    part: PartExpression


@dataclass(frozen=True, slots=True, kw_only=True)
class Densify(EditOperation):
    """`densify [PART]`: clones and splits by screen gradient, now; everywhere when no part is given."""

    keyword: ClassVar[str] = "densify"

    part: PartExpression | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prune(EditOperation):
    """`prune [PART] [below OPACITY]`: removes blobs fainter than the opacity (0 .. 1)."""

    keyword: ClassVar[str] = "prune"

    part: PartExpression | None = None
    below: float | None = None


# Terms.


@dataclass(frozen=True, slots=True, kw_only=True)
class Drag(TermOperation):
    """`drag [PART] from P to P [radius R] rigid|deformable [form point|offset] [over N steps] [step ALPHA] [motion W]
    [rigidity W]`.

    Paper 3.1.3: equation 3 selects (within `radius` of the source, and in the part where one is given), 4 moves by
    `alpha`, 5 pulls
    with weight `motion`, 6 keeps rigid with weight `rigidity`.
    """

    keyword: ClassVar[str] = "drag"
    steps_setting: ClassVar[str | None] = "drag.steps"

    source: Vec3
    target: Vec3
    mode: DragMode
    part: PartExpression | None = None
    radius: float | None = None
    form: DragForm | None = None
    steps: int | None = None
    alpha: float | None = None
    motion: float | None = None
    rigidity: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit(TermOperation):
    """`edit PART with "text" [for N steps] [noise A .. B] [zoom Z] [scale G]` (paper 3.1.4 with 3.1.5); G is the
    guidance scale.
    """

    keyword: ClassVar[str] = "edit"
    stage: ClassVar[Stage] = Stage.BOTH
    steps_setting: ClassVar[str | None] = "edit.steps"

    part: PartExpression
    prompt: str
    steps: int | None = None
    noise: tuple[float, float] | None = None
    zoom: float | None = None
    scale: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair(TermOperation):
    """`repair [PART] [for N steps] [noise A .. B] [anchor W]`: closes gaps and cleans noise without undoing the edit."""

    keyword: ClassVar[str] = "repair"
    steps_setting: ClassVar[str | None] = "repair.steps"

    part: PartExpression | None = None
    steps: int | None = None
    noise: tuple[float, float] | None = None
    anchor: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Distill(TermOperation):
    """`distill [over N steps] [size PIXELS]`: splats to hash-grid field; stage II begins when it ends (paper 3.2.1)."""

    keyword: ClassVar[str] = "distill"
    steps_setting: ClassVar[str | None] = "distill.steps"

    steps: int | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refine(TermOperation):
    """`refine PART [with "text"] [levels L] [features F] [capacity 2^K] [for N steps] [noise A .. B]` (paper 3.2.2)."""

    keyword: ClassVar[str] = "refine"
    stage: ClassVar[Stage] = Stage.FIELD
    steps_setting: ClassVar[str | None] = "refine.steps"

    part: PartExpression
    prompt: str | None = None
    levels: int | None = None
    features: int | None = None
    capacity: int | None = None
    steps: int | None = None
    noise: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ramp(TermOperation):
    """`from step A to B ramp PATH START -> END`: a live number moves evenly; its `when` is a FromTo."""

    keyword: ClassVar[str] = "ramp"
    stage: ClassVar[Stage] = Stage.BOTH

    path: str
    start: float
    end: float


# Control.


@dataclass(frozen=True, slots=True, kw_only=True)
class SetValue(ControlOperation):
    """`set PATH VALUE`."""

    keyword: ClassVar[str] = "set"

    path: str
    value: SettingValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint(ControlOperation):
    """`checkpoint ["name"]`."""

    keyword: ClassVar[str] = "checkpoint"

    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause(ControlOperation):
    """`pause`: the window waits for the user; a run without one says so and goes on."""

    keyword: ClassVar[str] = "pause"


@dataclass(frozen=True, slots=True, kw_only=True)
class Print(ControlOperation):
    """`print "text"`; `{step}` in the text stands for the step."""

    keyword: ClassVar[str] = "print"

    text: str


# Output. Paths are relative to the run's folder; `{step}` in one stands for the step, six digits.


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotImage(OutputOperation):
    """`snapshot "x.png" from VIEW [size W [x H]]`."""

    keyword: ClassVar[str] = "snapshot"

    path: str
    view: View
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Export(OutputOperation):
    """`export splats|mesh|field "file" [resolution N] [texture N] [faces N] [threshold T|auto]`.

    Resolution is the marching grid's, texture the side in pixels, faces the limit after simplification, threshold the
    density of the
    surface; a threshold of "auto" asks for a search. A field can be exported in stage II only.
    """

    keyword: ClassVar[str] = "export"

    kind: ExportKind
    path: str
    resolution: int | None = None
    texture: int | None = None
    faces: int | None = None
    threshold: float | str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordTurntable(OutputOperation):
    """`record turntable "file" [seconds S] [fps N] [size W [x H]] [elevation A] [from VIEW]`."""

    keyword: ClassVar[str] = "record"

    path: str
    seconds: float | None = None
    fps: int | None = None
    width: int | None = None
    height: int | None = None
    elevation: float | None = None
    view: View | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordTimelapse(OutputOperation):
    """`record timelapse "file" every N steps [from VIEW]`: begins at its moment and takes one frame every N steps until
    it is over.

    Its `when` is an AtStep (to the end of the run), a FromTo, an After or a WhenMetric.
    """

    keyword: ClassVar[str] = "record"

    path: str
    every: int
    view: View | None = None


OPERATION_KINDS: tuple[type[Operation], ...] = (
    AddFile,
    AddShape,
    Remove,
    Keep,
    Duplicate,
    Mirror,
    Move,
    Rotate,
    Stretch,
    Paint,
    Freeze,
    Thaw,
    Densify,
    Prune,
    Drag,
    Edit,
    Repair,
    Distill,
    Refine,
    Ramp,
    SetValue,
    Checkpoint,
    Pause,
    Print,
    SnapshotImage,
    Export,
    RecordTurntable,
    RecordTimelapse,
)
