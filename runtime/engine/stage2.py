"""Stage II in a run: distilling, refining and editing the field, and what snapshots keep of it (paper section 3.2).

``RunState.field`` is None in stage I. A distillation makes it at its first step; refinements and edits change it region by region. The
splats stay as they were when the field was begun, for named parts are still told by them. Between its terms the field rests.
"""

import dataclasses
import itertools
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from interactive3d.dsl.operations import Distill, Edit, Operation, Refine, Remove, TermOperation
from interactive3d.dsl.printer import part as printed_part
from interactive3d.dsl.values import DeclaredPart, PartExpression
from interactive3d.runtime.engine.opaque import half_transparent
from interactive3d.runtime.engine.views import draw_backgrounds, draw_cameras
from interactive3d.runtime.field.convert import UNSEEN, distill_cameras
from interactive3d.runtime.field.distill import (
    DistillState,
    begin_distillation,
    distill_step,
    psnr_against_splats,
)
from interactive3d.runtime.field.field import HashGridField, Region
from interactive3d.runtime.field.files import field_from_parts, field_to_parts
from interactive3d.runtime.field.optimizer import Moments
from interactive3d.runtime.field.parts import inside_part, part_box
from interactive3d.runtime.field.refine import (
    RefineState,
    begin_refinement,
    cost_of,
    make_region,
    refine_step,
    region_layout,
)
from interactive3d.runtime.guidance.protocol import ScoreRequest
from interactive3d.runtime.operations.base import Focus, OperationRefused, Term
from interactive3d.runtime.scene.camera import Camera
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.scene.parts import PartError
from interactive3d.runtime.scene.voxels import voxelise
from interactive3d.runtime.settings import Settings

if TYPE_CHECKING:
    from interactive3d.runtime.engine.state import RunState
    from interactive3d.runtime.engine.trainer import Trainer

COUNTED = re.compile(r" \(\d+\)$")
"""The same part refined twice has two regions: `refine head` and `refine head (2)`."""
BASE = ""
"""The trainee's name while the base itself is trained."""


@dataclass(frozen=True, kw_only=True)
class FieldState:
    """The field of a run, and the optimizer of what is trained at the moment. A value, as the run's state is.

    ``moments`` go by the trainee's name, "" for the base; ``candidates`` are the cells of a running distillation.
    """

    field: HashGridField
    moments: dict[str, Moments] = dataclasses.field(default_factory=dict)
    candidates: UInt8[Tensor, "g g g"] | None = None

    @property
    def bytes(self) -> int:
        """Memory of all tensors."""
        return sum(t.numel() * t.element_size() for t in self.tensors().values())

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name, for digests and snapshots."""
        return self.parts()[0]

    def parts(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain JSON; ``from_parts`` gives the state back bit for bit."""
        tensors, meta = field_to_parts(self.field)
        for i, (name, moments) in enumerate(sorted(self.moments.items())):
            tensors[f"moments/{i}/first"] = moments.first.detach().cpu()
            tensors[f"moments/{i}/second"] = moments.second.detach().cpu()
            meta.setdefault("moments", []).append({"name": name, "count": moments.count})
        if self.candidates is not None:
            tensors["candidates"] = self.candidates.detach().cpu()
        return tensors, meta

    @classmethod
    def from_parts(cls, tensors: dict[str, Tensor], meta: dict[str, Any], device: str) -> "FieldState":
        """Raises KeyError, TypeError or ValueError where something is missing or does not fit."""
        moments = {
            entry["name"]: Moments(
                first=tensors[f"moments/{i}/first"].to(device),
                second=tensors[f"moments/{i}/second"].to(device),
                count=int(entry["count"]),
            )
            for i, entry in enumerate(meta.get("moments", []))
        }
        candidates = tensors["candidates"].to(device) if "candidates" in tensors else None
        return cls(field=field_from_parts(tensors, meta).to(device), moments=moments, candidates=candidates)


@dataclass(frozen=True, kw_only=True)
class DistillTerm(Term):
    """A distillation while it lasts."""


@dataclass(frozen=True, kw_only=True)
class RegionTerm(Term):
    """A refinement, or an edit in stage II, while it lasts. ``state["region"]`` is the region's name."""

    @property
    def region(self) -> str:
        return str(self.state["region"])


def concerns(operation: Operation, state: "RunState") -> bool:
    """Whether an operation is stage II's at this state."""
    return isinstance(operation, Distill | Refine) or (isinstance(operation, Edit) and state.field is not None)


def scene_of(state: "RunState", hidden: Collection[str] = ()) -> GaussianModel | HashGridField:
    """What a picture of the run shows: the field once it is distilled, the splats before.

    ``hidden`` names regions that the picture shall not show; the run does not change by it. Raises KeyError for an unknown one.
    """
    distilling = any(isinstance(term, DistillTerm) for term in state.terms)
    if state.field is None or distilling:
        return state.model
    field = state.field.field
    for name in hidden:
        field = field.toggled(name, False)
    return field


def regions_of(state: "RunState") -> tuple[Region, ...]:
    """The refined regions of the run's field, oldest first; none in stage I."""
    return () if state.field is None else state.field.field.regions


def remove_region(operation: Remove, state: "RunState") -> tuple["RunState", str]:
    """The state with everything taken back that was refined or edited in just this part, and what to say about it.

    Raises:
        OperationRefused: nothing was, or it is being refined at the moment.
    """
    assert state.field is not None
    stem = _part_name(operation.part)
    parts = {region.name: COUNTED.sub("", region.name.split(" ", 1)[1]) for region in regions_of(state)}
    names = [name for name, part in parts.items() if part == stem]
    if not names:
        known = ", ".join(dict.fromkeys(parts.values())) or "none yet"
        raise OperationRefused(
            f"remove at step {state.step}: nothing was refined in {stem}; refined parts: {known}. "
            "In stage II remove takes back what was refined or edited in a part, named or written as it was then"
        )
    running = {term.region for term in state.terms if isinstance(term, RegionTerm)}
    if busy := running & set(names):
        raise OperationRefused(
            f"remove at step {state.step}: {busy.pop()} is still going on; remove it when it is over"
        )
    field = state.field.field
    before = field.bytes
    for name in names:
        field = field.without_region(name)
    held = dataclasses.replace(state.field, field=field)
    said = f"took back {' and '.join(names)}, {(before - field.bytes) / 1e6:.1f} MB"
    return dataclasses.replace(state, field=held), said


def _part_name(part: PartExpression) -> str:
    return part.name if isinstance(part, DeclaredPart) else printed_part(part)


def _region_name(operation: TermOperation, field: HashGridField) -> str:
    """`refine head`, and with a number where that name is taken; for files, `render --without` and messages."""
    assert isinstance(operation, Refine | Edit)
    stem = f"{operation.keyword} {_part_name(operation.part)}"
    taken = {region.name for region in field.regions}
    return next(name for i in itertools.count(1) if (name := stem if i == 1 else f"{stem} ({i})") not in taken)


def begin(operation: TermOperation, key: str, state: "RunState", trainer: "Trainer") -> tuple[Term, "RunState", str]:
    """The term, the state with what it prepared, and what to say about it.

    Raises:
        OperationRefused: it cannot be carried out; nothing has changed.
    """
    environment = trainer.environment(state)
    steps = getattr(operation, "steps", None) or int(state.settings.get(str(operation.steps_setting)))
    try:
        if isinstance(operation, Distill):
            if state.field is not None:
                raise ValueError("the object is a field already; `refine` adds detail to it")
            begun = begin_distillation(state.model, state.settings, environment.generator("field"))
            held = FieldState(field=begun.field, moments={BASE: begun.moments}, candidates=begun.candidates)
            text = f"field of {begun.field.layout.size:,} parameters, {begun.field.bytes / 1e6:.1f} MB"
            term = DistillTerm(key=key, operation=operation, start=state.step, steps=steps, tensors={}, state={})
            return term, dataclasses.replace(state, field=held), text
        return _begin_region(operation, key, steps, state, environment.generator("region"))
    except (PartError, ValueError) as error:
        raise OperationRefused(f"{operation.keyword} at step {state.step}: {error}") from error


def _begin_region(
    operation: TermOperation, key: str, steps: int, state: "RunState", generator: torch.Generator
) -> tuple[Term, "RunState", str]:
    if state.field is None:
        raise ValueError("there is no field yet; `distill` makes it")
    assert isinstance(operation, Refine | Edit)
    settings = dataclasses.replace(
        state.settings.refine,
        **{
            name: value
            for name in ("levels", "features", "capacity")
            if (value := getattr(operation, name, None)) is not None
        },
    )
    inside = inside_part(operation.part, state.model)
    box = part_box(operation.part, inside)
    field = state.field.field
    name = _region_name(operation, field)
    cost = cost_of(region_layout(field, float(box[3]), settings), float(box[3]))
    region = make_region(field, name, box, inside, settings, generator)
    begun = begin_refinement(field, region)
    held = dataclasses.replace(state.field, field=begun.field, moments={**state.field.moments, name: begun.moments})
    known = {"region": name}
    term = RegionTerm(key=key, operation=operation, start=state.step, steps=steps, tensors={}, state=known)
    return term, dataclasses.replace(state, field=held), f"region of {cost}"


def restore(
    *, key: str, operation: Operation, start: int, steps: int, tensors: dict[str, Tensor], state: dict[str, Any]
) -> Term | None:
    """The stage II term that a snapshot kept, or None where it is none."""
    kind: type[Term]
    if isinstance(operation, Distill):
        kind = DistillTerm
    elif isinstance(operation, Refine | Edit) and "region" in state:
        kind = RegionTerm
    else:
        return None
    return kind(key=key, operation=operation, start=start, steps=steps, tensors=tensors, state=state)


def finish(term: Term, state: "RunState") -> tuple["RunState", str]:
    """Drops what the term needed only while it lasted; says how it went."""
    assert state.field is not None
    trainee = term.region if isinstance(term, RegionTerm) else BASE
    moments = {name: value for name, value in state.field.moments.items() if name != trainee}
    held = dataclasses.replace(state.field, moments=moments)
    said = "over"
    if isinstance(term, DistillTerm):
        held = dataclasses.replace(held, candidates=None)
        psnr = psnr_against_splats(held.field, state.model, list(UNSEEN))
        said = f"{psnr:.1f} dB against the splats on {len(UNSEEN)} unseen views"
    return dataclasses.replace(state, field=held), said


def step(trainer: "Trainer", state: "RunState", seen: list[Camera]) -> tuple["RunState", float]:
    """One step of stage II: every running term of it takes one. Returns the mean loss (NaN when the field rests).

    The cameras that it looked through are added to ``seen``.
    """
    losses = []
    for term in state.terms:
        if isinstance(term, DistillTerm):
            state, loss = _distill(trainer, state, term, seen)
            losses.append(loss)
        elif isinstance(term, RegionTerm):
            state, loss = _refine(trainer, state, term, seen)
            losses.append(loss)
    return state, sum(losses) / len(losses) if losses else float("nan")


def _distill(trainer: "Trainer", state: "RunState", term: DistillTerm, seen: list[Camera]) -> tuple["RunState", float]:
    held = state.field
    assert held is not None and held.candidates is not None and isinstance(term.operation, Distill)
    settings = state.settings
    if term.operation.size is not None:
        settings = settings.set("distill.size", term.operation.size)
    environment = trainer.environment(state)
    cameras = distill_cameras(settings.distill.cameras, environment.generator("distill cameras"))
    seen.extend(cameras)
    number = state.step - term.start
    begun = DistillState(field=held.field, moments=held.moments[BASE], candidates=held.candidates)
    ended, loss = distill_step(
        begun, state.model, cameras, number / term.steps, number, settings, environment.generator("distill")
    )
    held = dataclasses.replace(held, field=ended.field, moments={**held.moments, BASE: ended.moments})
    return dataclasses.replace(state, field=held), loss


def _refine(trainer: "Trainer", state: "RunState", term: RegionTerm, seen: list[Camera]) -> tuple["RunState", float]:
    if state.settings.guidance.shape not in ("text", "none") and state.shape_volume_step < term.start:
        # The splats rest while there is a field: one look at them serves the whole term.
        state = dataclasses.replace(state, shape_volume=voxelise(state.model), shape_volume_step=state.step)
    held, settings, operation = state.field, state.settings, term.operation
    assert held is not None and isinstance(operation, Refine | Edit)
    environment = trainer.environment(state)
    own = settings.edit if isinstance(operation, Edit) else settings.refine
    zoom = getattr(operation, "zoom", None) or own.zoom
    center, radius = held.field.region(term.region).focus
    focus = Focus(center=center, radius=radius * zoom, whole_share=own.whole_share)
    cameras = draw_cameras(settings.camera, focus, environment.generator("cameras"))
    seen.extend(cameras)
    side, kind = settings.guidance.size, settings.camera.background
    behind = draw_backgrounds(kind, len(cameras), side, environment.generator("backgrounds"), held.field.device)
    loss = _GuidanceLoss(trainer, state, term, behind)
    number = state.step - term.start
    begun = RefineState(field=held.field, name=term.region, moments=held.moments[term.region])
    ended, value = refine_step(
        begun,
        loss,
        cameras,
        side,
        behind,
        number + 1,
        settings.refine,
        environment.generator(f"{term.region} samples"),
        number / term.steps,
        loss.coverage if settings.guidance.opaque > 0 else None,
    )
    held = dataclasses.replace(held, field=ended.field, moments={**held.moments, term.region: ended.moments})
    return dataclasses.replace(state, field=held), value


def _noise_range(operation: Refine | Edit, settings: Settings) -> tuple[float, float]:
    """The noise range of a term that names none.

    New words ask for another look, as an edit's do: at the low levels that polish, a prior sees what is there and is torn between both.
    """
    own = settings.refine if isinstance(operation, Refine) and operation.prompt is None else settings.edit
    return min(own.noise_min, own.noise_max), own.noise_max


class _GuidanceLoss:
    """Score distillation of a term's pictures (paper 3.1.5), as a refinement's picture loss."""

    def __init__(self, trainer: "Trainer", state: "RunState", term: Term, background: Tensor) -> None:
        self.trainer, self.state, self.term, self.background = trainer, state, term, background
        self.images: Tensor | None = None
        self.clean: Tensor | None = None

    def __call__(
        self, images: Float[Tensor, "c h w 3"], cameras: Sequence[Camera]
    ) -> tuple[Float[Tensor, "c h w 3"], float]:
        operation, settings = self.term.operation, self.state.settings
        assert isinstance(operation, Refine | Edit)
        prompt = operation.prompt if operation.prompt is not None else self.trainer.prompt
        guidance = self.trainer.guidance
        scale = getattr(operation, "scale", None)
        score = guidance.score(
            ScoreRequest(
                images=images,
                cameras=cameras,
                condition=guidance.encode(prompt, self.trainer.negative),
                noise=operation.noise or _noise_range(operation, settings),
                guidance_scale=settings.guidance.scale if scale is None else scale,
                generator=self.trainer.environment(self.state).generator(f"{self.term.key} noise"),
                background=self.background,
                shape=settings.guidance.shape,
                object_volume=self.state.shape_volume,
                large=settings.large,
                steps=self.trainer.steps,
            )
        )
        self.images, self.clean = images, score.clean
        return settings.guidance.weight * score.gradient, score.loss

    def coverage(self, alpha: Float[Tensor, "c h w"]) -> Tensor:
        """The pull of `guidance.opaque` on the pictures last judged."""
        assert self.images is not None, "the pictures are judged before their coverage"
        background = self.background.to(alpha.device)
        return self.state.settings.guidance.opaque * half_transparent(
            self.images, alpha, self.clean, background, spare=True
        )
