"""From a checked script to the first state of a run."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import torch

from interactive3d.dsl.program import GuidanceChoice, InitMesh, InitShape, InitSplats, InitText, Program
from interactive3d.dsl.values import ClickPart, SegmentPart, Sphere
from interactive3d.runtime.engine.script import GUIDANCES
from interactive3d.runtime.engine.segmenters import settle_segmenter
from interactive3d.runtime.engine.state import RunState
from interactive3d.runtime.engine.trainer import Trainer
from interactive3d.runtime.guidance.protocol import Guidance
from interactive3d.runtime.guidance.reference import ReferenceGuidance
from interactive3d.runtime.operations.base import seeded_generator
from interactive3d.runtime.output.meshes import mesh_to_blobs
from interactive3d.runtime.output.ply_header import read_ply_header
from interactive3d.runtime.output.problems import UnknownKind, open_file, suffixed
from interactive3d.runtime.output.splat_files import SPLATS, read_splats
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.scene.initial import blobs_in_shape, blobs_on_points
from interactive3d.runtime.scene.segmenter import segmenter, segmenter_of_text
from interactive3d.runtime.settings import Settings, SettingValue

Kind = TypeVar("Kind")

DEFAULTS = Settings()
DEFAULT_STEPS = 600
DEFAULT_SEED = 0
DEFAULT_BLOBS = 4096  # paper 5.1
REFERENCE_BLOBS = 20_000
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
MESH_SUFFIXES = (".glb", ".gltf", ".obj", ".stl", ".off")
MESHES = suffixed("a mesh", (*MESH_SUFFIXES, ".ply"))


class StartProblem(ValueError):
    """A script that cannot be started. The message says what, where and what to do."""


def steps_of(program: Program) -> int:
    """Steps of a run of a program."""
    return program.steps if program.steps is not None else DEFAULT_STEPS


def seed_of(program: Program, given: int | None) -> int:
    """The seed in force: the one that the run was given, else the script's own."""
    return given if given is not None else program.seed if program.seed is not None else DEFAULT_SEED


def load_blobs(path: Path, seed: int = 0, count: int = REFERENCE_BLOBS) -> GaussianModel:
    """Blobs of a splat file, or blobs laid on the surface of a mesh. A PLY with faces is a mesh.

    Raises:
        UnknownKind: neither.
    """
    try:
        return mesh_to_blobs(path, count, seed) if holds_mesh(path) else read_splats(path)
    except UnknownKind:
        raise UnknownKind(path, SPLATS, MESHES) from None


def holds_mesh(path: Path) -> bool:
    """Whether a file is one of a mesh: by its name, a PLY by what it says of faces."""
    if path.suffix.lower() != ".ply":
        return path.suffix.lower() in MESH_SUFFIXES
    with open_file(path) as (stream, size):
        return read_ply_header(path, stream, size).element("face") is not None


def make_guidance(
    choice: GuidanceChoice | None,
    folder: Path,
    device: str,
    settings: Settings = DEFAULTS,
    tell: Callable[[str], None] = lambda text: None,
) -> Guidance:
    """The prior that a script names; ``embedded`` when it names none. ``tell`` hears what a large model chooses to do.

    Raises:
        StartProblem: unknown name, or files are missing.
        LargeModelProblem: a large model that cannot be used.
    """
    name = choice.name if choice else "embedded"
    if name == "embedded":
        from interactive3d.runtime.guidance.embedded import EmbeddedPrior

        return EmbeddedPrior.load(device)
    if name == "reference":
        assert choice is not None
        if not choice.models:
            raise StartProblem(
                'guidance reference: name at least one splat or mesh file, e.g. guidance reference "dragon.ply"'
            )
        return ReferenceGuidance([(model, load_blobs(folder / model)) for model in choice.models], device)
    if name == "diffusers":
        from interactive3d.runtime.guidance.large import DiffusersGuidance

        assert choice is not None
        return DiffusersGuidance.load(choice.models, folder, device, settings, tell)
    raise StartProblem(f"guidance {name!r} is not known; expected one of {', '.join(GUIDANCES)}")


def first_settings(overrides: tuple[tuple[str, SettingValue], ...]) -> Settings:
    """Defaults with the script's own values and the command line's on top."""
    settings = Settings()
    for path, value in overrides:
        settings = settings.set(path, value)
    return settings


def first_model(program: Program, settings: Settings, guidance: Guidance, seed: int) -> GaussianModel:
    """The first blobs: in a shape, from the prior's own idea of the text, from a mesh or a splat file (paper 5.1).

    Raises:
        StartProblem: the prior cannot tell where the object is.
    """
    generator = seeded_generator(seed, 0, "first blobs")
    folder = Path(program.folder)
    match program.initial:
        case InitShape(count=count, shape=shape):
            return blobs_in_shape(shape, count, settings.init, generator)
        case InitSplats(path=path):
            return read_splats(folder / path)
        case InitMesh(count=count, path=path) if Path(path).suffix.lower() in PICTURE_SUFFIXES:
            if not hasattr(guidance, "seed_points_of_picture"):
                raise StartProblem(
                    f'splats {count} from "{path}": only `guidance diffusers` makes points of a picture, this is {guidance.name}; '
                    f"name a mesh, or use `splats {count} from text`"
                )
            points = guidance.seed_points_of_picture(folder / path, count, generator)
            return blobs_on_points(points.positions, points.colors, points.spacing)
        case InitMesh(count=count, path=path):
            return mesh_to_blobs(folder / path, count, seed)
        case InitText(count=count):
            points = guidance.seed_points(guidance.encode(program.prompt or "", program.avoid or ""), count, generator)
            if points is None:
                raise StartProblem(
                    f"splats {count} from text: the {guidance.name} guidance cannot tell where the object is; use `splats {count} in sphere …`"
                )
            return blobs_on_points(points.positions, points.colors, points.spacing)
        case None:
            return blobs_in_shape(Sphere(center=(0.0, 0.0, 0.0), radius=0.5), DEFAULT_BLOBS, settings.init, generator)
    raise TypeError(f"unknown initial blobs {program.initial!r}")


def begin(
    program: Program,
    guidance: Guidance,
    *,
    seed: int,
    device: str,
    extra_settings: tuple[tuple[str, SettingValue], ...] = (),
    models: Path | None = None,
) -> tuple[Trainer, RunState]:
    """The trainer of a run and its first state. Segmenters are looked for in ``models``; beside the script where that is None.

    Raises:
        StartProblem: the script cannot be started; a segmenter that its clicks or texts need cannot be loaded, for one.
    """
    # What suits the prior better than the defaults, then what the script says.
    settings = first_settings((*getattr(guidance, "preferred", ()), *program.settings, *extra_settings))
    model = first_model(program, settings, guidance, seed).to(device)
    trainer = trainer_of(program, guidance, seed=seed, device=device, models=models)
    return trainer, RunState(step=0, model=model, settings=settings)


def trainer_of(program: Program, guidance: Guidance, *, seed: int, device: str, models: Path | None = None) -> Trainer:
    """What stays the same during a run. Segmenters are looked for in ``models``; beside the script where that is None.

    Raises:
        StartProblem: a segmenter that clicks or texts of the script need cannot be loaded.
    """
    folder = Path(program.folder)
    settle_segmenter(models or folder, device)
    _load_segmenters(program)
    return Trainer(
        guidance=guidance,
        prompt=program.prompt or "",
        negative=program.avoid or "",
        seed=seed,
        steps=steps_of(program),
        folder=folder,
        load_blobs=load_blobs,
    )


def _load_segmenters(program: Program) -> None:
    """What will be asked is loaded now: a wrong path shall not come to light after an hour."""
    try:
        if any(mentioned(program.operations, ClickPart)):
            segmenter()
        for part in mentioned(program.operations, SegmentPart):
            segmenter_of_text(part.text)
    except ValueError as error:
        raise StartProblem(str(error)) from error


def mentioned(value: object, kind: type[Kind]) -> Iterator[Kind]:
    """A value of operations, and everything inside it, as far as it is of a kind."""
    if isinstance(value, kind):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from mentioned(item, kind)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from mentioned(getattr(value, field.name), kind)


def checked_device(name: str) -> str:
    """``cpu`` or ``cuda`` for ``auto``, ``cpu`` or ``cuda``.

    Raises:
        StartProblem: CUDA was asked for and there is none.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise StartProblem("device cuda: this machine has no CUDA device that torch can use; run with --device cpu")
    return name
