"""What a script wants to be here before its first step: models, segmenters, packages. Told without loading, and without a network."""

from dataclasses import dataclass
from pathlib import Path

from interactive3d.dsl.program import InitMesh, InitText, Program
from interactive3d.dsl.values import ClickPart, SegmentPart
from interactive3d.runtime.engine.segmenters import segmenter_presence, text_segmenter_presence
from interactive3d.runtime.engine.start import PICTURE_SUFFIXES, first_settings, mentioned
from interactive3d.runtime.guidance.large.loading import DEFAULT_MODEL
from interactive3d.runtime.guidance.large.presence import (
    LIBRARIES,
    SHAPE_PARTS,
    Presence,
    missing_packages,
    pipeline_presence,
)
from interactive3d.runtime.guidance.large.shap_e import DEFAULT_SHAPE_MODEL, IMAGE_SHAPE_MODEL


@dataclass(frozen=True)
class Need:
    """Something that a script wants, and what is here of it."""

    what: str
    found: Presence

    def __str__(self) -> str:
        return f"{self.what}: {self.found.text}"


def needs(program: Program, *, first_blobs: bool = True) -> list[Need]:
    """What is here of all that a run of a program loads; ``first_blobs`` says whether it makes them."""
    folder = Path(program.folder)
    found = _of_guidance(program, folder, first_blobs)
    if any(mentioned(program.operations, ClickPart)):
        found.append(Need("clicks", segmenter_presence(folder)))
    if any(mentioned(program.operations, SegmentPart)):
        found.append(Need("segment by text", text_segmenter_presence(folder)))
    return found


def _of_guidance(program: Program, folder: Path, first_blobs: bool) -> list[Need]:
    choice = program.guidance
    if choice is None or choice.name != "diffusers":
        return []
    wanted: tuple[str, ...] = LIBRARIES
    if first_settings(program.settings).large.memory in ("offload", "sequential"):
        wanted += ("accelerate",)
    if (lacking := missing_packages(*wanted)) is not None:
        return [Need("guidance diffusers", lacking)]
    model = choice.model or DEFAULT_MODEL
    found = [Need(f'guidance diffusers "{model}"', pipeline_presence(model, folder))]
    shape = _shape_model(program) if first_blobs else None
    if shape is not None:
        name, kind = shape
        found.append(Need(f'first points "{name}"', pipeline_presence(name, folder, (kind,), SHAPE_PARTS)))
    return found


def _shape_model(program: Program) -> tuple[str, str] | None:
    """The model that makes the first points, and the class that it has to be of."""
    assert program.guidance is not None
    given = program.guidance.models[1] if len(program.guidance.models) > 1 else None
    match program.initial:
        case InitText():
            return given or DEFAULT_SHAPE_MODEL, "ShapEPipeline"
        case InitMesh(path=path) if Path(path).suffix.lower() in PICTURE_SUFFIXES:
            return given or IMAGE_SHAPE_MODEL, "ShapEImg2ImgPipeline"
    return None
