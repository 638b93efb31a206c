"""What a whole script becomes (`Program`), and what the engine tells the checker (`CheckContext`)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeAlias

from interactive3d.dsl.operations import Operation, SettingValue
from interactive3d.dsl.values import DeclaredPart, OrbitView, Shape, Vec3

ParamValue: TypeAlias = float | bool | str | Vec3


@dataclass(frozen=True, slots=True, kw_only=True)
class GuidanceChoice:
    """`guidance NAME ["model id or path", …]`; `reference` may name several files."""

    name: str
    models: tuple[str, ...] = ()

    @property
    def model(self) -> str | None:
        return self.models[0] if self.models else None


@dataclass(frozen=True, slots=True, kw_only=True)
class InitShape:
    """`splats COUNT in SHAPE`."""

    count: int
    shape: Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class InitText:
    """`splats COUNT from text`: where the guidance believes the prompt's object to be."""

    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InitMesh:
    """`splats COUNT from "mesh.glb"`: points sampled on its surface; of a picture, on that of the shape that a model sees in it."""

    count: int
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InitSplats:
    """`splats from "file.ply"`: all blobs of the file."""

    path: str


Initial: TypeAlias = InitShape | InitText | InitMesh | InitSplats


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairPolicy:
    """The setting `repair on|off` or `repair [for N steps] [noise A .. B] [anchor W]`: what follows an interaction by
    default.
    """

    enabled: bool = True
    steps: int | None = None
    noise: tuple[float, float] | None = None
    anchor: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Param:
    """`param NAME = VALUE [in LOW .. HIGH] ["help"]`; `value` is the one in force, `default` the script's own."""

    name: str
    value: ParamValue
    default: ParamValue
    low: float | None = None
    high: float | None = None
    help: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file that the script was made from, and the SHA-256 of its bytes in UTF-8."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A checked script. A field that is None was not given. Operations are ordered by step, then by their place in the
    text.
    """

    prompt: str | None = None
    avoid: str | None = None
    seed: int | None = None
    steps: int | None = None
    guidance: GuidanceChoice | None = None
    initial: Initial | None = None
    settings: tuple[tuple[str, SettingValue], ...] = ()
    repair: RepairPolicy | None = None
    params: tuple[Param, ...] = ()
    views: tuple[OrbitView, ...] = ()
    parts: tuple[DeclaredPart, ...] = ()
    operations: tuple[Operation, ...] = ()
    # What the program was made from takes no part in comparisons.
    sources: tuple[SourceFile, ...] = field(default=(), compare=False)
    folder: str = field(default=".", compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingSpec:
    """One path that `set`, `ramp` and `--set` may name. `live` settings may change while the run goes on."""

    path: str
    kind: Literal["float", "int", "bool", "enum", "str"]
    default: SettingValue | None = None
    low: float | None = None
    high: float | None = None
    unit: str | None = None
    choices: tuple[str, ...] = ()
    help: str = ""
    live: bool = True


# What a colour's name stands for, as display values.
COLORS: Mapping[str, Vec3] = MappingProxyType(
    {
        "black": (0.05, 0.05, 0.05),
        "blue": (0.15, 0.3, 0.85),
        "brown": (0.45, 0.28, 0.14),
        "cyan": (0.1, 0.75, 0.8),
        "gold": (0.9, 0.7, 0.2),
        "gray": (0.5, 0.5, 0.5),
        "green": (0.2, 0.6, 0.25),
        "lime": (0.6, 0.85, 0.2),
        "magenta": (0.85, 0.2, 0.75),
        "navy": (0.08, 0.12, 0.4),
        "orange": (0.95, 0.55, 0.1),
        "pink": (0.95, 0.6, 0.75),
        "purple": (0.5, 0.2, 0.65),
        "red": (0.85, 0.12, 0.1),
        "silver": (0.75, 0.77, 0.8),
        "teal": (0.1, 0.5, 0.5),
        "turquoise": (0.2, 0.8, 0.7),
        "violet": (0.6, 0.4, 0.85),
        "white": (0.95, 0.95, 0.95),
        "yellow": (0.95, 0.85, 0.15),
    }
)

METRICS: tuple[str, ...] = ("loss", "blobs", "motion")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckContext:
    """What a check may ask. Every field has a default, so that `CheckContext()` checks everything that needs no engine.

    - settings: the paths that exist; empty means that paths and their values are not checked;
    - guidances: names for `guidance`; empty means not checked;
    - near_words(guidance, word): None when the guidance knows the word (or has no closed vocabulary), else the near
      words it does know;
    - read_text(path): a file's text (OSError when it cannot be read); None reads the disk. The language server passes
      open buffers;
    - file_exists(path): whether a file named by `add`, `splats from`, `guidance reference` exists; None leaves that
      unchecked;
    - model_trouble(guidance, name, folder): why a name given to a guidance cannot be that of a model, for a script in
      that folder; None when it may be one;
    - library: the folder that `use "lib/…"` falls back to (its own `lib` folder holds the gestures);
    - overrides: values for params and settings from the command line, as text: ("lift", "0.5"), ("lr.position",
      "0.005");
    - metrics: names for `when`;
    - parts, views, tags: names that a single operation typed while a run goes on may use.
    """

    settings: tuple[SettingSpec, ...] = ()
    guidances: tuple[str, ...] = ()
    near_words: Callable[[str, str], tuple[str, ...] | None] | None = None
    read_text: Callable[[Path], str] | None = None
    file_exists: Callable[[Path], bool] | None = None
    model_trouble: Callable[[str, str, Path], str | None] | None = None
    library: Path | None = None
    overrides: tuple[tuple[str, str], ...] = ()
    colors: Mapping[str, Vec3] = field(default_factory=lambda: COLORS)
    metrics: tuple[str, ...] = METRICS
    parts: tuple[DeclaredPart, ...] = ()
    views: tuple[OrbitView, ...] = ()
    tags: tuple[str, ...] = ()
