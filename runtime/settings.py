"""Settings: every number a person may turn, declared once.

Each field states its default, range, unit and help here and nowhere else; the language's ``set`` and ``ramp``, the command line's
``--set``, the reference page and the window's panels are all made from this table. Settings are frozen: a change is a new value.
"""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from interactive3d.dsl.operations import SettingValue
from interactive3d.dsl.program import SettingSpec


def _number(default: float, low: float, high: float, help: str, unit: str = "") -> Any:
    kind = "int" if isinstance(default, int) else "float"
    return field(default=default, metadata={"kind": kind, "low": low, "high": high, "unit": unit, "help": help})


def _flag(default: bool, help: str) -> Any:
    return field(default=default, metadata={"kind": "bool", "help": help})


def _choice(default: str, choices: tuple[str, ...], help: str, *, how: bool = False) -> Any:
    return field(default=default, metadata={"kind": "enum", "choices": choices, "help": help, "how": how})


@dataclass(frozen=True, kw_only=True)
class LearningRates:
    """AdamW step sizes of stage I (paper 5.1)."""

    position: float = _number(0.005, 0.0, 0.1, "step size of positions at the first step")
    position_final: float = _number(
        0.0005, 0.0, 0.1, "step size of positions at the last step; the decay between is exponential"
    )
    scale: float = _number(
        0.006, 0.0, 0.1, "step size of log scales; the paper's 0.003 suits 10,000 steps, runs of hundreds want more"
    )
    rotation: float = _number(0.006, 0.0, 0.1, "step size of quaternions; the paper's is 0.003")
    color: float = _number(0.015, 0.0, 0.5, "step size of colours; the paper's is 0.01")
    opacity: float = _number(
        0.03,
        0.0,
        1.0,
        "step size of logit opacities; with the paper's 0.003 a blob of a run of hundreds of steps could never vanish",
    )
    weight_decay: float = _number(
        0.01,
        0.0,
        1.0,
        "AdamW's decoupled weight decay, applied to positions only, for decayed log scales, opacities and colours would drift towards 1, 0.5 and black",
    )


@dataclass(frozen=True, kw_only=True)
class GuidanceSettings:
    """Score distillation (paper 3.1.5)."""

    scale: float = _number(
        2.5,
        0.0,
        200.0,
        "guidance scale s in uncond + s (text - uncond); the embedded prior likes 2 to 3 and saturates above 4, Stable Diffusion likes 100",
    )
    noise_min: float = _number(0.02, 0.0, 1.0, "lowest noise level drawn, as a share of the schedule")
    noise_max: float = _number(0.98, 0.0, 1.0, "highest noise level drawn; 0.98 early, 0.3 to polish (paper 3.1.5)")
    weight: float = _number(1.0, 0.0, 100.0, "weight of the distillation loss")
    opaque: float = _number(
        0.0,
        0.0,
        10.0,
        "pull of coverage to all or nothing, which makes objects solid and their edges sharp; 0.5 with the embedded prior unless set",
    )
    size: int = _number(64, 16, 1024, "side of the pictures that the prior sees", "pixels")
    settled: str = _choice(
        "keep",
        ("keep", "train"),
        "what becomes, between interactions, of blobs that a person has changed: they are kept, or the run's own prompt goes on with them",
    )
    shape: str = _choice(
        "text",
        ("text", "object", "none"),
        "what tells the embedded prior the coarse shape: the text, the object as it stands, or nothing",
    )


@dataclass(frozen=True, kw_only=True)
class LargeSettings:
    """Large diffusion models (`guidance diffusers`); the other priors do not read these."""

    estimator: str = _choice(
        "sds",
        ("sds", "interval"),
        "fresh noise (score distillation), or noise inverted from the picture (interval score matching): wants scale 7.5, three times the time",
    )
    weighting: str = _choice(
        "variance",
        ("variance", "uniform", "clean"),
        "weight of a noise level: its variance on the noise residual (DreamFusion), 1 on the noise residual, or 1 on the residual of the clean picture",
    )
    views: bool = _flag(True, "whether the prompt says front, side, back or overhead view as the camera stands")
    perp_neg: bool = _flag(
        False,
        "Perp-Neg: the other views are negative prompts, of which only the part perpendicular to the prompt counts; twice the time",
    )
    size: int = _number(0, 0, 2048, "side of the pictures that the model sees; 0 means its own", "pixels")
    precision: str = _choice(
        "auto",
        ("auto", "float32", "float16", "bfloat16"),
        "number format of the weights; auto is float32 on the CPU, bfloat16 for flow models on CUDA, else float16",
        how=True,
    )
    memory: str = _choice(
        "auto",
        ("auto", "full", "sliced", "lean", "offload", "sequential"),
        "rung of the memory ladder; auto takes the fastest that the free memory allows, and steps down when memory runs out",
        how=True,
    )
    compile: str = _choice(
        "auto",
        ("auto", "on", "off"),
        "whether the models are compiled, which takes a minute or more at the first step and makes the next ones quicker; "
        "auto compiles on CUDA with Triton, on the rung full, in runs of 4000 steps and more that are not recorded as CUDA graphs",
        how=True,
    )
    graphs: str = _choice(
        "auto",
        ("auto", "off"),
        "whether what a score computes on CUDA is recorded and started as a whole, on the rung full; off runs it kernel by kernel",
        how=True,
    )
    interval: float = _number(0.05, 0.001, 0.5, "interval score matching: distance of its two noise levels")
    stride: float = _number(0.2, 0.01, 1.0, "interval score matching: longest step of the inversion")
    seed_steps: int = _number(64, 1, 1000, "steps of the model that makes the first points from the text", "steps")


@dataclass(frozen=True, kw_only=True)
class CameraSettings:
    """Training cameras: orbits about the object."""

    batch: int = _number(4, 1, 64, "pictures per step")
    distance_min: float = _number(2.3, 0.5, 20.0, "nearest orbit", "scene units")
    distance_max: float = _number(2.7, 0.5, 20.0, "farthest orbit", "scene units")
    elevation_min: float = _number(-10.0, -89.0, 89.0, "lowest elevation", "degrees")
    elevation_max: float = _number(45.0, -89.0, 89.0, "highest elevation", "degrees")
    fov_min: float = _number(38.0, 5.0, 120.0, "narrowest vertical field of view", "degrees")
    fov_max: float = _number(42.0, 5.0, 120.0, "widest vertical field of view", "degrees")
    background: str = _choice(
        "mixed",
        ("mixed", "white", "random", "checker", "grey", "black"),
        "what lies behind the object while training; mixed is white and random colours in turn, so that nothing white can hide",
    )


@dataclass(frozen=True, kw_only=True)
class DensifySettings:
    """Growing and pruning blobs (authors' configuration, scaled to short runs)."""

    start: int = _number(100, 0, 1_000_000, "first step that densifies", "steps")
    every: int = _number(100, 1, 1_000_000, "steps between densifications", "steps")
    stop: int = _number(10_000, 0, 10_000_000, "no densification from this step on", "steps")
    gradient: float = _number(
        0.02,
        0.0,
        100.0,
        "mean screen-space gradient above which a blob is cloned or split, in units of the picture's half side",
    )
    split_scale: float = _number(0.04, 0.0, 1.0, "blobs larger than this are split, smaller ones cloned", "scene units")
    share: float = _number(
        0.1, 0.0, 1.0, "at most this share of the blobs grows at one densification, the steepest first"
    )
    cap: int = _number(20_000, 16, 10_000_000, "the blob count never grows beyond this")
    prune_every: int = _number(100, 1, 1_000_000, "steps between prunings", "steps")
    prune_opacity: float = _number(0.05, 0.0, 1.0, "blobs below this opacity are pruned")
    prune_scale: float = _number(0.5, 0.01, 10.0, "blobs larger than this are pruned", "scene units")


@dataclass(frozen=True, kw_only=True)
class DragSettings:
    """Dragging (paper 3.1.3). Alpha, radius and both weights are published nowhere; benchmarks/drag.md measures these."""

    alpha: float = _number(
        0.0,
        0.0,
        1.0,
        "equation 4's step; 0 means the way divided by the steps that the drag has",
        "scene units per step",
    )
    radius: float = _number(
        0.15, 0.001, 10.0, "equation 3's radius where the script names neither part nor radius", "scene units"
    )
    steps: int = _number(100, 1, 1_000_000, "steps of a drag that names none", "steps")
    motion: float = _number(30.0, 0.0, 10_000.0, "weight of the motion loss, equation 5")
    rigidity: float = _number(100.0, 0.0, 10_000.0, "weight of the rigid loss, equation 6")
    target: str = _choice(
        "offset",
        ("offset", "point"),
        "equation 5's target: each blob's own start plus the drag vector, or the one point as printed",
    )
    pace: str = _choice(
        "even",
        ("even", "pull"),
        "how much of the drag vector that target holds: what is due by now, so that the drag takes the steps it was given, or all of it",
    )
    core: float = _number(
        0.3,
        0.0,
        0.95,
        "share of the radius that goes all the way with the source of a deformable drag; from there to the radius the part trails behind",
    )
    fit: bool = _flag(
        True,
        "whether a rigid drag is fitted back to its first shape after every step; off leaves that to equation 6 alone",
    )
    hold: float = _number(
        1000.0,
        0.0,
        100_000.0,
        "squared pull of what is dragged to its own size, colour and opacity; 0 lets the prior repaint it on the way",
    )
    rest: str = _choice("still", ("still", "free"), "whether the other blobs are optimized during a drag")


@dataclass(frozen=True, kw_only=True)
class EditSettings:
    """Semantic editing with interactive score distillation (paper 3.1.4, 3.1.5)."""

    steps: int = _number(150, 1, 1_000_000, "steps of an edit that names none", "steps")
    noise_min: float = _number(0.02, 0.0, 1.0, "lowest noise level of an edit")
    noise_max: float = _number(0.6, 0.0, 1.0, "highest noise level of an edit")
    zoom: float = _number(1.6, 1.0, 10.0, "the part's box, enlarged by this, fills the picture")
    whole_share: float = _number(
        0.25, 0.0, 1.0, "share of the pictures that show the whole object, so that the part stays part of it"
    )


@dataclass(frozen=True, kw_only=True)
class RepairSettings:
    """The phase that follows every interaction: closes gaps and cleans noise without undoing what the user did."""

    enabled: bool = _flag(True, "whether a repair follows every interaction")
    steps: int = _number(60, 1, 1_000_000, "steps of a repair that names none", "steps")
    noise_min: float = _number(0.02, 0.0, 1.0, "lowest noise level of a repair")
    noise_max: float = _number(0.4, 0.0, 1.0, "highest noise level of a repair")
    anchor: float = _number(
        1000.0,
        0.0,
        100_000.0,
        "squared pull to where the user left position, and more loosely size, colour and opacity; 0 lets the prior have its way",
    )
    scope: str = _choice("part", ("part", "object"), "whether the part alone or the whole object is repaired")
    scale: float = _number(1.5, 0.0, 200.0, "guidance scale of a repair")


@dataclass(frozen=True, kw_only=True)
class FieldSettings:
    """Stage II's hash-grid field. The paper's own is 16 levels of 2^19 entries; these defaults suit two cores."""

    levels: int = _number(10, 1, 20, "levels of the base field's hash grid")
    features: int = _number(2, 1, 8, "features of each entry: 1, 2, 4 or 8")
    capacity: int = _number(65536, 256, 16_777_216, "entries of a level, a power of two; the paper's 2^19 suits a GPU")
    base: int = _number(16, 2, 256, "resolution of the coarsest level")
    growth: float = _number(1.4473, 1.0, 3.0, "ratio of the resolutions of two levels (authors' configuration)")
    hidden: int = _number(64, 32, 256, "hidden units of the field's network, a multiple of 32")
    step: float = _number(0.01, 0.0005, 0.1, "distance between two samples on a ray", "scene units")


@dataclass(frozen=True, kw_only=True)
class DistillSettings:
    """From splats to field (paper 3.2.1, equation 7)."""

    steps: int = _number(600, 1, 1_000_000, "steps of a distillation that names none", "steps")
    size: int = _number(256, 32, 1024, "largest side of the pictures that both are compared on", "pixels")
    rays: int = _number(4096, 64, 1_000_000, "rays per step")
    cameras: int = _number(2, 1, 16, "random cameras per step")
    alpha: float = _number(0.5, 0.0, 100.0, "weight of the coverage's L1 beside the colour's")
    orientation: float = _number(0.01, 0.0, 1000.0, "weight of the orientation loss at the end; it grows from nothing")
    table_rate: float = _number(0.01, 0.0, 1.0, "step size of hash tables (authors' configuration)")
    network_rate: float = _number(
        0.002, 0.0, 1.0, "step size of the field's network; the authors' 0.001 suits longer runs"
    )


@dataclass(frozen=True, kw_only=True)
class RefineSettings:
    """Interactive hash refinement (paper 3.2.2)."""

    steps: int = _number(150, 1, 1_000_000, "steps of a refinement that names none", "steps")
    levels: int = _number(8, 1, 20, "levels of a region's tables (paper 5.1)")
    features: int = _number(2, 1, 8, "features of each entry: 1, 2, 4 or 8 (paper 5.1)")
    capacity: int = _number(524_288, 256, 16_777_216, "entries of a level, a power of two (paper 5.1)")
    hidden: int = _number(32, 32, 256, "hidden units of a region's network, a multiple of 32")
    noise_min: float = _number(0.02, 0.0, 1.0, "lowest noise level of a refinement without words of its own")
    noise_max: float = _number(
        0.4,
        0.0,
        1.0,
        "highest noise level; the paper suggests 0.3 to polish. A refinement with words of its own has an edit's levels",
    )
    zoom: float = _number(1.3, 1.0, 10.0, "the region's ball, enlarged by this, fills the picture")
    whole_share: float = _number(0.25, 0.0, 1.0, "share of the pictures that show the whole object")
    table_rate: float = _number(0.1, 0.0, 1.0, "step size of a region's tables; it falls to a tenth")
    network_rate: float = _number(
        0.001,
        0.0,
        1.0,
        "step size of a region's network; from 0.005 on a prior's noise moves the whole region; known pictures: 0.01",
    )
    refresh: int = _number(25, 1, 100_000, "steps between two looks at where a region is occupied", "steps")


@dataclass(frozen=True, kw_only=True)
class MeshSettings:
    """Meshes taken from the field."""

    resolution: int = _number(192, 16, 768, "cells a side of the marching grid")
    texture: int = _number(1024, 64, 8192, "side of the texture", "pixels")
    faces: int = _number(0, 0, 10_000_000, "limit after simplification; 0 keeps all")
    floaters: float = _number(0.005, 0.0, 1.0, "pieces below this share of the largest piece's area are dropped")


@dataclass(frozen=True, kw_only=True)
class InitSettings:
    """The first blobs (paper 5.1 and the authors' configuration)."""

    scale: float = _number(0.03, 0.0005, 1.0, "standard deviation of a first blob", "scene units")
    opacity: float = _number(
        0.5, 0.01, 0.99, "opacity of a first blob; the authors' 0.8 suits points that lie on the surface"
    )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings, two levels deep: ``settings.lr.position`` is the path ``lr.position``."""

    lr: LearningRates = LearningRates()
    guidance: GuidanceSettings = GuidanceSettings()
    large: LargeSettings = LargeSettings()
    camera: CameraSettings = CameraSettings()
    densify: DensifySettings = DensifySettings()
    drag: DragSettings = DragSettings()
    edit: EditSettings = EditSettings()
    repair: RepairSettings = RepairSettings()
    init: InitSettings = InitSettings()
    field: FieldSettings = FieldSettings()
    distill: DistillSettings = DistillSettings()
    refine: RefineSettings = RefineSettings()
    mesh: MeshSettings = MeshSettings()

    def get(self, path: str) -> SettingValue:
        """The value at ``group.name``. Raises KeyError with near names for an unknown path."""
        spec(path)
        group, name = path.split(".")
        return getattr(getattr(self, group), name)

    def set(self, path: str, value: SettingValue | str) -> "Settings":
        """New settings with one value changed; text is read as the setting's kind.

        Raises:
            KeyError: unknown path, with near names.
            ValueError: wrong kind or out of range, with what was expected.
        """
        checked = check_value(spec(path), value)
        group, name = path.split(".")
        return dataclasses.replace(self, **{group: dataclasses.replace(getattr(self, group), **{name: checked})})

    def differing(self) -> dict[str, SettingValue]:
        """Paths whose value is not the default."""
        return {s.path: self.get(s.path) for s in SPECS.values() if self.get(s.path) != s.default}


def _specs() -> Iterator[SettingSpec]:
    for group in dataclasses.fields(Settings):
        for item in dataclasses.fields(group.default):  # type: ignore[arg-type]
            meta = item.metadata
            yield SettingSpec(
                path=f"{group.name}.{item.name}",
                kind=meta["kind"],
                default=item.default,  # type: ignore[arg-type]
                low=meta.get("low"),
                high=meta.get("high"),
                unit=meta.get("unit", ""),
                choices=meta.get("choices", ()),
                help=meta["help"],
            )


SPECS: dict[str, SettingSpec] = {s.path: s for s in _specs()}
HOW = frozenset(
    f"{group.name}.{item.name}"
    for group in dataclasses.fields(Settings)
    for item in dataclasses.fields(group.default)  # type: ignore[arg-type]
    if item.metadata.get("how")
)
"""Settings that say how a number is computed, not which: another value changes it by rounding only."""
LATER = frozenset({"guidance.opaque", "large.compile", "large.graphs"})
"""Settings that came after digests had been recorded: they count in a digest where they are turned only, so that what was made before still
verifies."""


def spec(path: str) -> SettingSpec:
    """The declaration of a setting. Raises KeyError with near names for an unknown path."""
    if path not in SPECS:
        import difflib

        near = difflib.get_close_matches(path, SPECS, 3, 0.5)
        hint = (
            f"; did you mean {' or '.join(near)}?"
            if near
            else f"; groups are {', '.join(f.name for f in dataclasses.fields(Settings))}"
        )
        raise KeyError(f"no setting is called {path!r}{hint}")
    return SPECS[path]


def check_value(declared: SettingSpec, value: SettingValue | str) -> SettingValue:
    """The value as the setting's own kind. Raises ValueError that says what was expected."""
    if declared.kind == "enum":
        if value not in declared.choices:
            raise ValueError(f"{declared.path}: expected one of {', '.join(declared.choices)}, got {value!r}")
        return value
    if declared.kind == "bool":
        words = {
            "on": True,
            "true": True,
            "yes": True,
            "1": True,
            "off": False,
            "false": False,
            "no": False,
            "0": False,
        }
        if isinstance(value, bool):
            return value
        if str(value).lower() in words:
            return words[str(value).lower()]
        raise ValueError(f"{declared.path}: expected on or off, got {value!r}")
    try:
        number = float(value)
    except ValueError:
        raise ValueError(f"{declared.path}: expected a number, got {value!r}") from None
    assert declared.low is not None and declared.high is not None
    if not math.isfinite(number) or not declared.low <= number <= declared.high:
        unit = f" {declared.unit}" if declared.unit else ""
        raise ValueError(f"{declared.path}: expected {declared.low:g} to {declared.high:g}{unit}, got {value}")
    if declared.kind == "int":
        if number != int(number):
            raise ValueError(f"{declared.path}: expected a whole number, got {value}")
        return int(number)
    return number


def span_text(declared: SettingSpec) -> str:
    """What a setting may be, in words: ``0 .. 1``, ``on | off`` or its choices, with the unit."""
    if declared.choices:
        return " | ".join(declared.choices)
    if declared.kind == "bool":
        return "on | off"
    assert declared.low is not None and declared.high is not None
    return f"{declared.low:g} .. {declared.high:g} {declared.unit or ''}".strip()


def reference_page() -> str:
    """docs/settings.md, made from the declarations above."""
    lines = [
        "# Settings",
        "",
        "Made by `interactive3d settings --markdown` from `runtime/settings.py`; do not edit by hand.",
        "",
        "Any of these can be set in a script (`set lr.position 0.004`), moved while it runs (`from step 0 to 500 ramp guidance.noise_max 0.98 -> 0.4`),",
        "given on the command line (`--set lr.position=0.004`) or turned in the window.",
    ]
    for group in dataclasses.fields(Settings):
        doc = (type(group.default).__doc__ or "").strip().splitlines()[0]
        lines += [
            "",
            f"## {group.name}",
            "",
            doc,
            "",
            "| setting | default | range | what it is |",
            "| --- | --- | --- | --- |",
        ]
        for declared in SPECS.values():
            if declared.path.startswith(group.name + "."):
                value = declared.default
                word = "on" if value else "off"
                shown = word if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
                lines.append(
                    f"| `{declared.path}` | {shown} | {span_text(declared).replace('|', '&#124;')} | {declared.help} |"
                )
    return "\n".join(lines) + "\n"
