"""Drags: where the part ends, what becomes of its shape, what else may change, and the equations themselves."""

import dataclasses
import math

import pytest
import torch

from interactive3d.dsl.operations import Drag, DragForm, DragMode, Freeze, NamedPart, ShapePart, Sphere
from interactive3d.runtime.guidance.reference import ReferenceGuidance
from interactive3d.runtime.operations import OperationRefused, apply_edit, repair_after, restore_term, start_term
from interactive3d.runtime.scene.camera import Camera
from interactive3d.runtime.scene.gaussians import PARAMETERS
from interactive3d.runtime.scene.initial import round_blobs
from interactive3d.runtime.scene.motion import falloff, rigid_fit
from interactive3d.runtime.scene.render import render
from interactive3d.runtime.scene.selection import scene_radius
from interactive3d.runtime.scene.transforms import axis_rotation
from interactive3d.runtime.settings import Settings

CENTROID_BAR = 0.01
"""Of the scene's radius: the project's bar for a rigid drag."""
PAIRWISE_BAR = 0.01
"""Relative change of distances within the part: the project's bar."""
REACH_BAR = 0.02
"""Of the scene's radius: the project's bar for a deformable drag."""

SOURCE, TARGET = (0.0, 0.35, 0.25), (0.15, 0.5, 0.3)
BACK, OUT = (0.3, 0.25, 0.0), (0.6, 0.7, 0.0)
HEAD = NamedPart(name="head")
RIGID = Drag(source=SOURCE, target=TARGET, mode=DragMode.RIGID, part=HEAD, steps=40)
PLASTIC = Drag(source=BACK, target=OUT, mode=DragMode.DEFORMABLE, radius=0.15, steps=40)


def ended(term, model, environment, settings):
    return term.finish(model, environment(step=term.end, settings=settings))


def offset(drag: Drag) -> torch.Tensor:
    return torch.tensor(drag.target, dtype=torch.float64) - torch.tensor(drag.source, dtype=torch.float64)


@pytest.mark.parametrize("guided", [False, True], ids=["alone", "guided"])
@pytest.mark.parametrize("part", ["named", "radius"])
def test_a_rigid_drag_arrives_and_keeps_its_shape(creature, environment, play, quick_settings, guided, part):
    drag = RIGID if part == "named" else dataclasses.replace(RIGID, part=None, radius=0.2)
    # The guidance wants the head back where it was: the worst case for a drag.
    guidance = ReferenceGuidance([("creature", creature)]) if guided else None
    term, model = play(drag, creature, quick_settings, guidance)
    member = model.columns[term.column("member")]
    assert int(member.sum()) >= 100
    final = ended(term, model, environment, quick_settings)
    kept = final.columns["row"][: len(creature)]
    assert torch.equal(kept, creature.columns["row"])
    before, after = creature.mean[member].double(), final.mean[: len(creature)][member].double()
    miss = (after.mean(0) - before.mean(0) - offset(drag)).norm()
    assert float(miss) < CENTROID_BAR * scene_radius(creature)
    assert float(((torch.pdist(after) - torch.pdist(before)).abs() / torch.pdist(before)).max()) < PAIRWISE_BAR
    for name in PARAMETERS:
        assert torch.equal(final.columns[name][: len(creature)][~member], creature.columns[name][~member]), name
    assert not any(name.startswith("term.") for name in final.columns)


def test_every_step_of_a_rigid_drag_keeps_the_shape(creature, play, quick_settings):
    guidance = ReferenceGuidance([("creature", creature)])
    _, model = play(RIGID, creature, quick_settings, guidance, until=315)
    head = creature.tagged("head")
    change = (torch.pdist(model.mean[head]) / torch.pdist(creature.mean[head]) - 1).abs()
    # One optimizer step moves a blob by its learning rate, 0.003 here, whatever the gradient; the median distance is 0.2.
    assert float(change.median()) < 0.03


def connected(mask: torch.Tensor, a: tuple[int, int], b: tuple[int, int]) -> bool:
    """Whether two pixels are joined by pixels of the mask."""
    reached = torch.zeros_like(mask)
    reached[a] = mask[a]
    for _ in range(mask.numel()):
        grown = (torch.nn.functional.max_pool2d(reached[None, None].float(), 3, 1, 1)[0, 0] > 0) & mask
        if torch.equal(grown, reached):
            break
        reached = grown
    return bool(reached[b])


def pixel(point, camera: Camera, side: int) -> tuple[int, int]:
    view, k = camera.view_matrix(), camera.intrinsics(side, side)
    x, y, z = (view[:3, :3] @ torch.tensor(point) + view[:3, 3]).tolist()
    return int(float(k[1]) * y / z + float(k[3])), int(float(k[0]) * x / z + float(k[2]))


@pytest.mark.parametrize("guided", [False, True], ids=["alone", "guided"])
def test_a_deformable_drag_arrives_and_stays_connected(creature, environment, play, quick_settings, guided):
    guidance = ReferenceGuidance([("creature", creature)]) if guided else None
    term, model = play(PLASTIC, creature, quick_settings, guidance)
    radius = scene_radius(creature)
    core = model.columns[term.column("member")]
    moved = (model.mean - model.columns[term.column("start")])[core].double().mean(0)
    assert float((moved - offset(PLASTIC)).norm()) < REACH_BAR * radius
    final = ended(term, model, environment, quick_settings)
    nearest = (creature.mean - torch.tensor(BACK)).norm(dim=-1).min()
    assert float((final.mean - torch.tensor(OUT)).norm(dim=-1).min()) < float(nearest) + REACH_BAR * radius
    if not guided:
        # With a guidance that has never seen a wing, opacities fall; closing gaps is then the repair's business.
        for azimuth in range(0, 360, 45):
            camera = Camera.orbit(azimuth, 10.0, 3.5)
            mask = render(final, [camera], 96).alpha[0] > 0.5
            assert connected(mask, pixel(BACK, camera, 96), pixel(OUT, camera, 96)), azimuth


@pytest.mark.parametrize("guided", [False, True], ids=["alone", "guided"])
def test_blobs_that_no_drag_touches_keep_every_bit(creature, environment, play, quick_settings, guided):
    guidance = ReferenceGuidance([("creature", creature)]) if guided else None
    term, model = play(PLASTIC, creature, quick_settings, guidance)
    touched = model.columns[term.column("touched")]
    assert 10 < int(touched[: len(creature)].sum()) < 150
    final = ended(term, model, environment, quick_settings)
    still = model.columns["row"][~touched]
    # The untouched come first, in their old order: nothing before them was pruned away from between them.
    place = {int(r): i for i, r in reversed(list(enumerate(final.columns["row"].tolist())))}
    now = torch.tensor([place[int(r)] for r in still])
    for name in PARAMETERS:
        assert torch.equal(final.columns[name][now], creature.columns[name][still]), name
    # The flow ends at the radius: whoever never came within it was not touched.
    far = torch.tensor([math.dist(p, BACK) > 1.0 for p in creature.mean.tolist()])
    assert not bool(touched[: len(creature)][far].any())


def test_newborn_blobs_join_and_keep_their_names(creature, environment, play):
    drag = dataclasses.replace(PLASTIC, source=(0.0, 0.5, 0.3), target=(0.0, 0.9, 0.4))
    term, model = play(drag, creature)
    assert len(model) > len(creature)
    born = torch.arange(len(model)) >= len(creature)
    assert bool(model.columns[term.column("touched")][born].all())
    red = (model.color[born] - torch.tensor([0.8, 0.2, 0.1])).norm(dim=-1) < 0.05
    assert torch.equal(model.tagged("head")[born], red)


def test_a_deformable_drag_of_a_part_leaves_the_rest_alone(creature, play):
    drag = dataclasses.replace(PLASTIC, source=SOURCE, target=(0.0, 0.6, 0.5), part=HEAD, radius=None)
    term, model = play(drag, creature)
    assert not bool((model.columns[term.column("touched")] & ~model.tagged("head")).any())


@pytest.mark.parametrize("drag", [RIGID, PLASTIC], ids=["rigid", "deformable"])
def test_the_same_drag_gives_the_same_bits(creature, play, quick_settings, drag):
    guidance = ReferenceGuidance([("creature", creature)])
    (_, one), (_, two) = (play(drag, creature, quick_settings, guidance, until=306) for _ in range(2))
    for name in one.columns:
        assert torch.equal(one.columns[name], two.columns[name]), name


@pytest.mark.parametrize("drag", [RIGID, PLASTIC], ids=["rigid", "deformable"])
def test_a_restored_drag_goes_on_as_if_nothing_had_happened(creature, environment, play, drag):
    term, model = play(drag, creature, until=310)
    saved = {"key": term.key, "operation": term.operation, "start": term.start, "steps": term.steps}
    again = restore_term(**saved, tensors=dict(term.tensors), state=dict(term.state))
    assert type(again) is type(term)
    one, two = (t.before_step(model, environment(step=310))[1] for t in (term, again))
    for name in one.columns:
        assert torch.equal(one.columns[name], two.columns[name]), name


@pytest.mark.parametrize("mode", list(DragMode))
def test_an_alpha_is_a_step_and_never_passes_the_target(creature, environment, mode):
    drag = dataclasses.replace(PLASTIC, mode=mode, alpha=0.2, steps=9)
    here = environment()
    term, model = start_term(drag, "0", creature, here)
    way = []
    for step in range(5):
        term, model = term.before_step(model, dataclasses.replace(here, step=300 + step))
        moved = model.mean - model.columns[term.column("start")]
        way.append(float(moved[model.columns[term.column("member")]].double().mean(0).norm()))
    length = float(offset(drag).norm())
    assert way == pytest.approx([0.2, 0.4, length, length, length], abs=1e-5)


def test_one_step_is_enough_for_a_long_way(creature, environment, play):
    drag = dataclasses.replace(PLASTIC, steps=1)
    term, model = play(drag, creature)
    final = ended(term, model, environment, None)
    assert bool(torch.isfinite(final.columns["log_scale"]).all())
    assert float((final.mean - torch.tensor(OUT)).norm(dim=-1).min()) < 0.1
    # Nothing becomes a needle.
    assert float(final.scale.max()) < 4 * float(creature.scale.max())


def test_two_drags_at_once(creature, environment):
    here = environment()
    one, model = start_term(RIGID, "0", creature, here)
    two, model = start_term(PLASTIC, "1", model, here)
    for step in range(3):
        now = dataclasses.replace(here, step=300 + step)
        one, model = one.before_step(model, now)
        two, model = two.before_step(model, now)
    head = model.columns[one.column("member")]
    assert torch.allclose(
        (model.mean - model.columns[one.column("start")])[head], offset(RIGID).float() * 3 / 40, atol=1e-5
    )
    final = two.finish(one.finish(model, here), here)
    assert not any(name.startswith("term.") for name in final.columns)


# Refusals.


def test_a_drag_from_nowhere_names_the_nearest_blobs(creature, environment):
    drag = dataclasses.replace(PLASTIC, source=(2.0, 0.0, 0.0))
    with pytest.raises(OperationRefused, match=r"drag at step 300: .*the nearest are at .* widen the radius"):
        start_term(drag, "0", creature, environment())


def test_a_drag_of_a_part_that_is_out_of_reach_says_what_each_side_holds(creature, environment):
    drag = dataclasses.replace(PLASTIC, part=HEAD)
    with pytest.raises(OperationRefused, match=r"'head' holds 120, sphere at .* holds \d+"):
        start_term(drag, "0", creature, environment())


def test_a_drag_to_itself_and_of_frozen_blobs_is_refused(creature, environment):
    with pytest.raises(OperationRefused, match="same point"):
        start_term(dataclasses.replace(PLASTIC, target=BACK), "0", creature, environment())
    frozen, _, _ = apply_edit(Freeze(part=HEAD), creature, environment())
    with pytest.raises(OperationRefused, match="frozen"):
        start_term(RIGID, "0", frozen, environment())


def test_frozen_blobs_are_not_pulled_along(creature, environment, play):
    near = ShapePart(shape=Sphere(center=BACK, radius=0.1))
    frozen, _, _ = apply_edit(Freeze(part=near), creature, environment())
    _, model = play(PLASTIC, frozen)
    still = frozen.columns["frozen"]
    assert torch.equal(model.mean[: len(creature)][still], creature.mean[still])


# The equations.


def three_blobs():
    mean = torch.tensor([[0.0, 0.0, 0.0], [0.1, 0.0, 0.0], [0.0, 0.1, 0.0]])
    return round_blobs(mean, torch.zeros(3, 3), 0.02, 0.8)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        # sum over i of |mu_i - p_t|_1 with p_t = (0.5, 0, 0): 0.5 + 0.4 + (0.5 + 0.1)
        (DragForm.POINT, 1.5),
        # sum over i of |mu_i - (start_i + v)|_1 with v = (0.5, 0, 0): three times 0.5
        (DragForm.OFFSET, 1.5),
    ],
)
def test_equation_5(environment, form, expected):
    here = environment(settings=Settings().set("drag.pace", "pull"))
    drag = Drag(
        source=(0.0, 0.0, 0.0),
        target=(0.5, 0.0, 0.0),
        mode=DragMode.RIGID,
        radius=1.0,
        form=form,
        motion=2.0,
        rigidity=0.0,
    )
    term, model = start_term(drag, "0", three_blobs(), here)
    mean = model.mean.clone().requires_grad_(True)
    loss = term.loss({**model.parameters(), "mean": mean}, model, here)
    assert float(loss.detach()) == pytest.approx(2.0 * expected, abs=1e-5)
    (slope,) = torch.autograd.grad(loss, mean)
    sideways = [[-2.0, 0.0, 0.0], [-2.0, 0.0, 0.0], [-2.0, 2.0 if form is DragForm.POINT else 0.0, 0.0]]
    torch.testing.assert_close(slope, torch.tensor(sideways))


def test_an_even_pace_asks_for_what_is_due(environment):
    here = environment()
    drag = Drag(
        source=(0.0, 0.0, 0.0),
        target=(0.5, 0.0, 0.0),
        mode=DragMode.RIGID,
        radius=1.0,
        motion=1.0,
        rigidity=0.0,
        steps=5,
    )
    term, model = start_term(drag, "0", three_blobs(), here)
    term, moved = term.before_step(model, here)
    # Equation 4 has brought them a fifth of the way, and there they should be by now.
    assert float(term.loss({**moved.parameters(), "mean": moved.mean}, moved, here)) == pytest.approx(0.0, abs=1e-6)
    assert float(term.loss({**moved.parameters(), "mean": model.mean}, moved, here)) == pytest.approx(3 * 0.1, abs=1e-6)


def test_equation_6_forgives_rotation_and_translation_and_nothing_else(environment):
    here = environment()
    drag = Drag(
        source=(0.0, 0.0, 0.0), target=(0.5, 0.0, 0.0), mode=DragMode.RIGID, radius=1.0, motion=0.0, rigidity=3.0
    )
    term, model = start_term(drag, "0", three_blobs(), here)
    spun = model.mean.double() @ axis_rotation((0.0, 0.0, 1.0), 30.0).T
    spun = (spun - spun.mean(0) + model.mean.double().mean(0) + 0.2).float()
    about_mean = float(term.loss({**model.parameters(), "mean": model.mean + 0.3}, model, here))
    assert about_mean == pytest.approx(0.0, abs=1e-5)
    stretched = model.mean * 2.0
    # The source rides on the mean, which went from (1, 1, 0) / 30 to twice that; distances become 0.047, 0.171 and 0.171.
    s = torch.tensor([1.0, 1.0, 0.0]) / 30.0
    expected = ((stretched - s).norm(dim=-1) - model.mean.norm(dim=-1)).abs().sum() * 3.0
    assert float(term.loss({**model.parameters(), "mean": stretched}, model, here)) == pytest.approx(
        float(expected), abs=1e-5
    )


def test_rigid_fit_finds_the_rotation():
    g = torch.Generator().manual_seed(0)
    start = torch.rand(20, 3, generator=g, dtype=torch.float64)
    turn = axis_rotation((1.0, 2.0, 3.0), 50.0)
    rotation, a, b = rigid_fit(start, start @ turn.T + 0.3)
    torch.testing.assert_close(rotation, turn)
    torch.testing.assert_close(b + (start - a) @ rotation.T, start @ turn.T + 0.3)
    # One point and a line say nothing, or not everything, about the rotation: it must not spin.
    for few in (start[:1], torch.outer(torch.arange(4.0, dtype=torch.float64), start[0])):
        torch.testing.assert_close(rigid_fit(few, few + 0.1)[0], torch.eye(3, dtype=torch.float64), atol=1e-6, rtol=0)


def test_falloff_is_smooth():
    at = torch.linspace(0, 0.3, 301, dtype=torch.float64).requires_grad_(True)
    share, slope = falloff(at, 0.2, 0.3)
    (expected,) = torch.autograd.grad(share.sum(), at)
    torch.testing.assert_close(slope, expected)
    share = share.detach()
    assert float(share[60]) == pytest.approx(1.0)
    assert float(share[200]) == pytest.approx(0.0)
    assert bool((share[1:] <= share[:-1] + 1e-12).all())


def test_a_repair_follows_a_drag(creature, environment, play):
    term, model = play(PLASTIC, creature, until=310)
    here = environment(step=310)
    repair = repair_after(term.operation, term.trainable(model, here), model, here)
    assert repair is not None and repair.when.step == 310


@pytest.mark.parametrize("drag", [RIGID, PLASTIC], ids=["rigid", "deformable"])
def test_a_drag_keeps_its_blobs_looks_against_a_prior_that_expects_none_there(creature, play, quick_settings, drag):
    guidance = ReferenceGuidance([("creature", creature)])
    strayed = []
    for hold in (0.0, 1000.0):
        term, model = play(drag, creature, quick_settings.set("drag.hold", hold), guidance)
        core = model.columns[term.column("member")]
        parents = model.columns["row"][core]
        strayed.append(float((model.color[core] - creature.color[parents]).abs().mean()))
        looks = model.columns[term.column("look.log_scale")]
        assert bool(torch.isfinite(looks).all())
    assert strayed[1] < 0.5 * strayed[0]


def test_the_look_that_is_kept_is_bent_along(creature, play):
    term, model = play(PLASTIC, creature)
    touched = model.columns[term.column("touched")]
    # Nobody pulled at the blobs but the drag itself, so they look exactly as it wants them to.
    for name in ("log_scale", "color", "logit_opacity"):
        kept = model.columns[term.column(f"look.{name}")][touched]
        torch.testing.assert_close(model.columns[name][touched], kept, atol=2e-2, rtol=0)


def test_at_the_cap_nothing_becomes_a_needle(creature, environment, play):
    settings = Settings().set("densify.cap", len(creature))
    _, model = play(PLASTIC, creature, settings)
    assert len(model) == len(creature)
    assert float(model.scale.max()) < 3 * float(creature.scale.max())
    assert float((model.mean - torch.tensor(OUT)).norm(dim=-1).min()) < 0.1
