"""Which blobs belong to the named parts, found beside the window: a part made of clicks is segmented, and that takes its time."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool

from interactive3d.dsl.operations import (
    DeclaredPart,
    DifferencePart,
    GrowPart,
    IntersectionPart,
    NotPart,
    PartExpression,
    UnionPart,
)
from interactive3d.dsl.values import ClickPart, SegmentPart
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.scene.parts import PartError, part_mask
from interactive3d.runtime.view.latest import Latest

REST_FACTOR = 4.0
"""While the optimizer runs, the next look rests this many times as long as the last one took."""

Mask = Bool[np.ndarray, "n"]


@dataclass(frozen=True, kw_only=True)
class MaskJob:
    """Parts by name, and the blobs they are looked up in."""

    model: GaussianModel
    parts: tuple[tuple[str, PartExpression], ...]


@dataclass(frozen=True, kw_only=True)
class Found:
    """Masks by name; those of parts that cannot be evaluated are missing, ``problems`` says why."""

    job: MaskJob
    masks: dict[str, Mask] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


def find(job: MaskJob) -> Found:
    """Evaluate every part."""
    found = Found(job=job)
    for name, part in job.parts:
        try:
            found.masks[name] = part_mask(part, job.model).cpu().numpy()
        except PartError as error:
            found.problems[name] = str(error)
    return found


def asks_a_segmenter(part: PartExpression) -> bool:
    """Whether pictures have to be made and segmented to evaluate a part."""
    match part:
        case ClickPart() | SegmentPart():
            return True
        case UnionPart() | DifferencePart() | IntersectionPart():
            return asks_a_segmenter(part.left) or asks_a_segmenter(part.right)
        case NotPart() | GrowPart() | DeclaredPart():
            return asks_a_segmenter(part.part)
    return False


def smallest_part(
    parts: Sequence[DeclaredPart], model: GaussianModel, known: Mapping[str, Mask], row: int
) -> PartExpression | None:
    """The smallest of the parts that a blob belongs to. Those that ask a segmenter are looked up in what is known, never made."""
    found: list[tuple[int, PartExpression]] = []
    for part in parts:
        mask = known.get(part.name)
        if mask is None and not asks_a_segmenter(part):
            try:
                mask = part_mask(part, model).cpu().numpy()
            except PartError:
                continue
        if mask is not None and mask[row]:
            found.append((int(mask.sum()), part))
    return min(found, key=lambda pair: pair[0])[1] if found else None


class PartMasks:
    """The newest masks there are. Ask every frame; the answer is one of the last moments."""

    def __init__(self) -> None:
        self._worker: Latest[MaskJob, Found] = Latest(find, "parts")
        self._asked: MaskJob | None = None
        self._rest_until = 0.0
        self.found: Found | None = None

    def refresh(self, model: GaussianModel, parts: Sequence[tuple[str, PartExpression]], hurry: bool) -> None:
        """Take over what was found, and ask anew where blobs or parts are others now; without ``hurry`` only now and then."""
        job = MaskJob(model=model, parts=tuple(parts))
        asked = self._asked
        new = asked is None or asked.parts != job.parts
        if new or (asked is not None and asked.model is not model and (hurry or time.monotonic() >= self._rest_until)):
            self._asked = job
            self._worker.request(job)
        done = self._worker.take()
        if done is not None:
            self.found = done
            self._rest_until = time.monotonic() + REST_FACTOR * self._worker.seconds

    def count(self, name: str) -> int | None:
        """How many blobs a part has; None while that is not known."""
        mask = self.found.masks.get(name) if self.found is not None else None
        return None if mask is None else int(mask.sum())

    def problem(self, name: str) -> str | None:
        """Why a part cannot be evaluated; None where it can."""
        return self.found.problems.get(name) if self.found is not None else None

    def masks(self, model: GaussianModel) -> dict[str, Mask]:
        """By name, for just these blobs; empty while they are not known."""
        return self.found.masks if self.found is not None and self.found.job.model is model else {}

    @property
    def ready(self) -> bool:
        """Whether an answer waits to be taken over."""
        return self._worker.ready

    @property
    def waiting(self) -> bool:
        """Whether the newest question is not answered yet."""
        return self._asked is not None and (self.found is None or self.found.job is not self._asked)

    @property
    def thread_ids(self) -> list[int]:
        """Of the thread that looks."""
        return [self._worker.thread_id]

    def close(self) -> None:
        """End the thread."""
        self._worker.close()
