"""Stage II in a run: distil, refine, edit; resume, undo and export; what is refused."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import trimesh

from interactive3d.dsl.operations import (
    AllPart,
    AtStep,
    Box,
    DeclaredPart,
    Distill,
    Edit,
    Export,
    ExportKind,
    Operation,
    OrbitView,
    Paint,
    Refine,
    Remove,
    ShapePart,
    SnapshotImage,
    Sphere,
)
from interactive3d.runtime.engine.outputs import write_output
from interactive3d.runtime.engine.session import Session
from interactive3d.runtime.engine.snapshots import digest, load_state, save_state
from interactive3d.runtime.engine.stage2 import regions_of, scene_of
from interactive3d.runtime.engine.state import RunState
from interactive3d.runtime.engine.trainer import Trainer
from interactive3d.runtime.field import HashGridField, load_field
from interactive3d.runtime.field.rendering import render_field
from interactive3d.runtime.guidance.protocol import Score, ScoreRequest
from interactive3d.runtime.guidance.reference import ReferenceGuidance
from interactive3d.runtime.operations.base import OperationRefused
from interactive3d.runtime.output.run_folder import RunFolder
from interactive3d.runtime.scene.camera import Camera
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.settings import Settings

STEPS = 10
TINY = {
    "distill.rays": 256,
    "distill.size": 64,
    "field.levels": 5,
    "field.capacity": 4096,
    "field.step": 0.04,
    "guidance.size": 16,
    "camera.batch": 1,
    "refine.levels": 3,
    "refine.capacity": 1024,
    "refine.refresh": 2,
    "mesh.resolution": 24,
    "mesh.texture": 64,
}
BALL = ShapePart(shape=Sphere(center=(0.0, 0.0, 0.5), radius=0.25))
SLAB = ShapePart(shape=Box(low=(-0.3, -0.7, -0.7), high=(0.3, 0.0, 0.7)))
FIRST = "refine sphere at (0, 0, 0.5) radius 0.25"
SCRIPT: tuple[Operation, ...] = (
    Distill(when=AtStep(step=0), steps=5, label="made"),
    Refine(when=AtStep(step=5), part=BALL, steps=3),
    Edit(when=AtStep(step=6), part=SLAB, prompt="ball", steps=3),
)


class Listening(ReferenceGuidance):
    """Notes the noise ranges that it is asked for."""

    def score(self, request: ScoreRequest) -> Score:
        self.asked.append(request.noise)
        return super().score(request)


def blobs(count: int = 400) -> GaussianModel:
    mean = torch.nn.functional.normalize(torch.randn(count, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    return GaussianModel.create(
        mean=mean * 0.5,
        log_scale=torch.full((count, 3), -2.8),
        rotation=torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(count, 1),
        color=mean * 0.5 + 0.5,
        logit_opacity=torch.full((count,), 2.0),
    )


def session(operations: tuple[Operation, ...] = SCRIPT, state: RunState | None = None) -> Session:
    settings = Settings()
    for path, value in TINY.items():
        settings = settings.set(path, value)
    model = blobs()
    trainer = Trainer(
        guidance=ReferenceGuidance([("ball", model)], "cpu"),
        prompt="ball",
        negative="",
        seed=3,
        steps=STEPS,
        folder=Path(),
        load_blobs=None,
    )
    return Session(trainer, operations, state or RunState(step=0, model=model, settings=settings))


@pytest.fixture(scope="module")
def whole() -> Session:
    run = session()
    run.advance()
    return run


def test_a_script_goes_through_both_stages(whole: Session) -> None:
    state = whole.latest()
    assert state.step == STEPS and not state.terms and state.finished == {"made": 5}
    assert state.field is not None and not state.field.moments and state.field.candidates is None
    assert [region.name for region in state.field.field.regions] == [
        FIRST,
        "edit box (-0.3, -0.7, -0.7) .. (0.3, 0, 0.7)",
    ]
    said = " | ".join(effect.message for effect in whole.events())
    assert "dB against the splats on 3 unseen views" in said
    assert "parameters" in said and "MB while refining" in said  # told before it starts
    assert isinstance(scene_of(state), HashGridField)


def test_guidance_opaque_acts_on_refined_regions(whole: Session) -> None:
    """By the pictures that the prior has just judged; where it is off, the bits are those without it."""
    settings = session().latest().settings.set("guidance.opaque", 1.0)
    pulled = session(state=replace(session().latest(), settings=settings))
    pulled.advance()
    before, after = (run.latest().field for run in (whole, pulled))
    assert before is not None and after is not None
    assert torch.equal(before.field.params, after.field.params)  # the distilled base follows the blobs
    camera, soft = Camera(position=(2.5, 0.0, 0.5), target=(0.0, 0.0, 0.5), fov=14.0), []
    for held in (before, after):
        alpha = render_field(held.field, [camera], 48).alpha
        soft.append(float((alpha * (1 - alpha)).mean()))
    assert soft[1] < soft[0]


@pytest.mark.parametrize("step", [3, 7, 9])
def test_resuming_gives_the_same_bits(whole: Session, tmp_path: Path, step: int) -> None:
    first = session()
    first.advance(step)
    save_state(tmp_path / "s.safetensors", first.latest(), "p", {})
    state, _, _ = load_state(tmp_path / "s.safetensors")
    second = session(state=state)
    second.advance()
    assert digest(second.latest()) == digest(whole.latest())


def test_undo_and_seek_give_back_every_bit() -> None:
    run = session(SCRIPT[:1])
    run.advance(6)
    before = digest(run.latest())
    run.submit(Refine(part=BALL, steps=2))
    run.advance(3)
    assert digest(run.latest()) != before
    assert run.undo()
    assert digest(run.latest()) == before


def test_the_digest_sees_the_field(whole: Session) -> None:
    state = whole.latest()
    assert state.field is not None
    hidden = replace(state.field, field=state.field.field.toggled(FIRST, False))
    assert digest(replace(state, field=hidden)) != digest(state)


def test_splats_operations_are_refused_once_there_is_a_field(whole: Session) -> None:
    run = session(SCRIPT[:1])
    run.advance(6)
    field = run.latest().field
    run.submit(Paint(part=AllPart(), color=(1.0, 0.0, 0.0)))
    run.submit(Distill(steps=2))
    run.submit(Refine(part=ShapePart(shape=Sphere(center=(0.9, 0.9, 0.9), radius=0.05)), steps=2))
    run.advance(1)
    refused = [effect.message for effect in run.events() if effect.refused]
    assert len(refused) == 3
    assert "works on splats" in refused[0]
    assert "a field already" in refused[1]
    assert "holds nothing of the object" in refused[2]
    assert run.latest().field is field


def test_refining_without_a_field_is_refused() -> None:
    with pytest.raises(OperationRefused, match="there is no field yet"):
        session((Refine(when=AtStep(step=0), part=BALL, steps=2),)).advance(1)


def test_exports_and_pictures_show_the_field(whole: Session, tmp_path: Path) -> None:
    state, folder = whole.latest(), RunFolder.create(tmp_path / "run")
    write_output(Export(kind=ExportKind.FIELD, path="x.safetensors"), state, folder, print)
    assert state.field is not None
    back = load_field(folder.path / "x.safetensors")
    assert torch.equal(back.params, state.field.field.params) and len(back.regions) == 2
    write_output(SnapshotImage(path="x.png", view=OrbitView(azimuth=0, elevation=0), width=32), state, folder, print)
    assert (folder.path / "x.png").exists()
    said = write_output(Export(kind=ExportKind.MESH, path="x.glb", threshold=0.5), state, folder, print)
    assert "faces" in said
    assert len(trimesh.load(folder.path / "x.glb", force="mesh").faces) > 100
    before = session(())
    with pytest.raises(OperationRefused, match="no field to export yet"):
        write_output(Export(kind=ExportKind.FIELD, path="y.safetensors"), before.latest(), folder, print)


def test_a_refined_part_is_taken_back_and_undone_like_any_operation() -> None:
    head = DeclaredPart(name="head", part=BALL)
    plain = session(SCRIPT[:1])
    plain.advance(9)
    run = session(
        (SCRIPT[0], Refine(when=AtStep(step=5), part=head, steps=2), Refine(when=AtStep(step=7), part=head, steps=1))
    )
    run.advance(8)
    assert [region.name for region in regions_of(run.latest())] == ["refine head", "refine head (2)"]
    run.submit(Remove(part=BALL))
    run.submit(Remove(part=head))
    run.advance(1)
    refused, done = run.latest().effects[-2:]
    assert refused.refused and "refined parts: head" in refused.message
    assert "took back refine head and refine head (2)" in done.message
    assert not regions_of(run.latest())
    field, base = run.latest().field, plain.latest().field
    assert field is not None and base is not None
    assert torch.equal(field.field.params, base.field.params) and torch.equal(field.field.mask, base.field.mask)
    assert run.undo() and len(regions_of(run.latest())) == 2


def test_a_part_that_is_being_refined_is_not_taken_back() -> None:
    run = session((SCRIPT[0], Refine(when=AtStep(step=5), part=BALL, steps=4)))
    run.advance(6)
    run.submit(Remove(part=BALL))
    run.advance(1)
    assert "still going on" in run.latest().effects[-1].message and len(regions_of(run.latest())) == 1


def test_pictures_hide_regions_without_changing_the_run(whole: Session) -> None:
    state = whole.latest()
    before = digest(state)
    hidden = scene_of(state, [FIRST])
    assert isinstance(hidden, HashGridField) and [region.enabled for region in hidden.regions] == [False, True]
    assert digest(state) == before
    with pytest.raises(KeyError, match="no region is called"):
        scene_of(state, ["tail"])


@pytest.mark.parametrize(
    ("prompt", "noise", "expected"),
    [(None, None, (0.02, 0.4)), ("ball", None, (0.02, 0.6)), ("ball", (0.1, 0.3), (0.1, 0.3))],
)
def test_a_refinement_with_words_looks_as_far_as_an_edit(prompt, noise, expected) -> None:
    """At the levels that polish, a red head that is asked to be yellow came out as neither."""
    refine = Refine(when=AtStep(step=1), part=BALL, prompt=prompt, steps=1, noise=noise)
    run = session((Distill(when=AtStep(step=0), steps=1), refine))
    guidance = Listening([("ball", blobs())], "cpu")
    guidance.asked = []
    run.trainer = replace(run.trainer, guidance=guidance)
    run.advance(3)
    assert guidance.asked == [expected]
