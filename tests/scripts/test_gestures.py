"""What each gesture of the library does to a jointed figure of coloured pieces: directions, distances and colours are measured.

No prior is asked, nothing is rendered: the guidance has no weight, so blobs move by the operations alone.
"""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from interactive3d.dsl import loads
from interactive3d.dsl.operations import Edit
from interactive3d.dsl.program import Program
from interactive3d.dsl.values import Box, Capsule, Cylinder, Shape, Sphere
from interactive3d.runtime.engine.script import check_context
from interactive3d.runtime.engine.session import Session
from interactive3d.runtime.engine.start import first_settings
from interactive3d.runtime.engine.state import RunState
from interactive3d.runtime.engine.trainer import Trainer
from interactive3d.runtime.guidance.reference import ReferenceGuidance
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.scene.initial import solid_in_shape
from interactive3d.scripts.library import read_library

NEAR = 0.02
"""Scene units. Pieces are measured by the means of some hundred random blobs, and the library's slices leave steps of about this size."""
DEGREES = 2.0
"""Directions between such means are this exact."""

PIECES: dict[str, tuple[Shape, tuple[float, float, float]]] = {
    "body": (Box(low=(-0.2, -0.4, -0.15), high=(0.2, 0.2, 0.15)), (0.5, 0.5, 0.5)),
    "head": (Sphere(center=(0.0, 0.38, 0.0), radius=0.15), (0.9, 0.7, 0.5)),
    "nose": (Sphere(center=(0.0, 0.42, 0.2), radius=0.04), (1.0, 0.0, 0.0)),
    "chin": (Sphere(center=(0.0, 0.3, 0.2), radius=0.04), (1.0, 0.0, 1.0)),
    "left_arm": (Capsule(a=(0.27, 0.15, 0.0), b=(0.27, -0.35, 0.0), radius=0.04), (0.0, 0.0, 1.0)),
    "right_arm": (Capsule(a=(-0.27, 0.15, 0.0), b=(-0.27, -0.35, 0.0), radius=0.04), (0.0, 1.0, 1.0)),
    "left_leg": (Cylinder(a=(0.1, -0.4, 0.0), b=(0.1, -0.8, 0.0), radius=0.05), (0.0, 0.4, 0.0)),
    "right_leg": (Cylinder(a=(-0.1, -0.4, 0.0), b=(-0.1, -0.8, 0.0), radius=0.05), (0.0, 1.0, 0.0)),
    "tail": (Capsule(a=(0.0, -0.35, -0.2), b=(0.0, -0.35, -0.6), radius=0.04), (1.0, 0.5, 0.0)),
}
PARTS = """
part head  = box (-0.2, 0.21, -0.2) .. (0.2, 0.6, 0.3)
part left  = box (0.22, -0.45, -0.1) .. (0.4, 0.25, 0.1)
part right = box (-0.4, -0.45, -0.1) .. (-0.22, 0.25, 0.1)
part tail  = box (-0.1, -0.45, -0.7) .. (0.1, -0.25, -0.16)
part leg   = box (0.02, -0.9, -0.1) .. (0.2, -0.41, 0.1)
part other = box (-0.2, -0.9, -0.1) .. (-0.02, -0.41, 0.1)
let _here  = (0, 0, 0)
"""


def figure() -> GaussianModel:
    """The pieces, 150 blobs each; their colours tell them apart."""
    generator = torch.Generator().manual_seed(3)
    models = [solid_in_shape(shape, 150, color, generator) for shape, color in PIECES.values()]
    whole = models[0]
    for model in models[1:]:
        whole = whole.append(model)
    return whole


def program_of(call: str, steps: int = 200) -> Program:
    """A script that does one thing at step 10."""
    used = "".join(f'use "lib/{file}.sculpt"\n' for file in ("heads", "limbs", "bodies", "scenes", "colours"))
    settings = "repair off\nset guidance.weight 0\nset lr.weight_decay 0\nset densify.start 1000\n"
    text = f'prompt "a grey robot"\nsteps {steps}\n{settings}{used}{PARTS}at step 10 {call}\n'
    loaded = loads(text, check_context())
    assert loaded.program is not None, [d.message for d in loaded.errors]
    return loaded.program


def performed(call: str, until: int = 11, model: GaussianModel | None = None) -> GaussianModel:
    """The figure after a call, at the boundary of a step."""
    program = program_of(call)
    model = figure() if model is None else model
    trainer = Trainer(
        guidance=ReferenceGuidance([("figure", model)]),
        prompt="",
        negative="",
        seed=0,
        steps=200,
        folder=Path(),
        load_blobs=None,
    )
    start = RunState(step=9, model=model, settings=first_settings(program.settings))
    return Session(trainer, program.operations, start, policy=program.repair).advance(until - 9).model


def piece(model: GaussianModel, name: str) -> Tensor:
    """Positions of a piece, known by its colour, (n, 3) float64."""
    color = torch.tensor(PIECES[name][1])
    found = model.mean[(model.color - color).norm(dim=-1) < 1e-3].double()
    assert len(found), name
    return found


def center(model: GaussianModel, name: str) -> Tensor:
    return piece(model, name).mean(0)


def turned(before: Tensor, after: Tensor, pivot: tuple[float, float, float], plane: tuple[int, int]) -> float:
    """Degrees from one place to the other about the pivot, in the plane of two axes, positive from the first to the second."""
    a, b = before - torch.tensor(pivot), after - torch.tensor(pivot)
    angle = math.atan2(float(b[plane[1]]), float(b[plane[0]])) - math.atan2(float(a[plane[1]]), float(a[plane[0]]))
    return (math.degrees(angle) + 180.0) % 360.0 - 180.0


XY, YZ, ZX = (0, 1), (1, 2), (2, 0)


# -- heads --------------------------------------------------------------------------------------------------------------
def test_turn() -> None:
    after = performed("heads.turn(head, (0, 0.2, 0), angle = 40 deg)")
    assert turned(center(figure(), "nose"), center(after, "nose"), (0, 0.2, 0), ZX) == pytest.approx(40, abs=DEGREES)
    assert float(center(after, "nose")[0]) > 0.1, "to the object's left"
    assert torch.allclose(piece(after, "body"), piece(figure(), "body"))


def test_nod() -> None:
    call = "heads.nod(head, (0, 0.2, 0), angle = 30 deg, times = 2, beat = 10)"
    down, up, end = (performed(call, step) for step in (11, 21, 60))
    first = center(figure(), "nose")
    assert turned(first, center(down, "nose"), (0, 0.2, 0), YZ) == pytest.approx(30, abs=DEGREES)
    assert float(center(down, "nose")[1]) < float(first[1]) - 0.05
    assert torch.allclose(center(up, "nose"), first, atol=NEAR)
    assert torch.allclose(center(end, "nose"), first, atol=NEAR)
    assert len(end) == len(figure())


def test_tilt() -> None:
    after = performed("heads.tilt(head, (0, 0.2, 0), angle = 20 deg)")
    assert turned(center(figure(), "head"), center(after, "head"), (0, 0.2, 0), XY) == pytest.approx(20, abs=DEGREES)
    assert float(center(after, "head")[0]) < 0, "to the object's right"


def test_open_mouth() -> None:
    call = "heads.open_mouth(head, (0, 0.36, 0.05), angle = 40 deg, share = 0.25, lip = 0.03, inside = black)"
    after = performed(call)
    hinge = (0.0, 0.36, 0.05)
    jaw = turned(center(figure(), "chin"), center(after, "chin"), hinge, YZ)
    snout = turned(center(figure(), "nose"), center(after, "nose"), hinge, YZ)
    assert jaw == pytest.approx(30, abs=DEGREES) and snout == pytest.approx(-10, abs=DEGREES)
    assert float((center(after, "nose") - center(after, "chin"))[1]) > 0.17
    painted = figure().mean[after.color.norm(dim=-1) < 0.1]
    assert len(painted) and float((painted[:, 1] - 0.36).abs().max()) <= 0.031
    assert float(painted[:, 2].min()) >= 0.05


def test_stretch_neck() -> None:
    call = "heads.stretch_neck(box (-0.2, 0, -0.2) .. (0.2, 0.21, 0.2), head, (0, 0, 0), (0, 0.2, 0.1), factor = 2)"
    after = performed(call)
    lift = center(after, "nose") - center(figure(), "nose")
    assert 1.7 < float((lift + torch.tensor([0, 0.2, 0.1])).norm()) / math.hypot(0.2, 0.1) <= 2, "about twice as long"
    neck = piece(figure(), "body")[:, 1] > 0
    lengthened = piece(after, "body")[neck]
    assert float(lengthened[:, 1].max()) == pytest.approx(0.2 + float(lift[1]), abs=NEAR), "the head sits on the neck"
    assert torch.allclose(piece(after, "body")[~neck], piece(figure(), "body")[~neck])


def test_grow_horn() -> None:
    after = performed("heads.grow_horn((0, 0.5, 0), horn, tall = 0.3, lean = (0, 0, 0.1), tint = gold, blobs = 200)")
    horn = after.mean[after.tagged("horn")]
    assert len(horn) == 200
    assert float(figure().mean[:, 1].max()) < 0.55 < float(horn[:, 1].max()) <= 0.8
    upper = horn[horn[:, 1] > 0.65]
    assert float(upper[:, 2].mean()) > 0.04, "it leans forward"
    assert float(horn[horn[:, 1] < 0.6][:, 0].std()) > float(upper[:, 0].std()), "it is pointed"


# -- limbs --------------------------------------------------------------------------------------------------------------
def test_flap() -> None:
    call = "limbs.flap(left, right, (0.27, 0.15, 0), angle = 30 deg, beat = 10)"
    up, down, end = (performed(call, step) for step in (12, 22, 40))
    for name, side in (("left_arm", 1), ("right_arm", -1)):
        pivot = (0.27 * side, 0.15, 0.0)
        first = center(figure(), name)
        assert turned(first, center(up, name), pivot, XY) == pytest.approx(30 * side, abs=DEGREES)
        assert turned(first, center(down, name), pivot, XY) == pytest.approx(-30 * side, abs=DEGREES)
        assert torch.allclose(center(end, name), first, atol=NEAR)
    assert len(end) == len(figure())


def test_spread() -> None:
    after = performed("limbs.spread(left, right, (0.27, 0.15, 0), angle = 90 deg)")
    assert float(piece(after, "left_arm")[:, 0].max()) > 0.7
    assert float(piece(after, "right_arm")[:, 0].min()) < -0.7


def test_raise_arm() -> None:
    after = performed("limbs.raise_arm(left, (0.27, 0.15, 0), angle = 150 deg)")
    assert float(piece(after, "left_arm")[:, 1].max()) > 0.5
    front = performed("limbs.raise_arm(left, (0.27, 0.15, 0), angle = -90 deg, axis = x)")
    assert float(piece(front, "left_arm")[:, 2].max()) > 0.4


def test_wave() -> None:
    call = "limbs.wave(left, (0.27, 0.15, 0), up = 120 deg, swing = 20 deg, times = 1, beat = 10)"
    shoulder, first = (0.27, 0.15, 0.0), center(figure(), "left_arm")
    angles = [turned(first, center(performed(call, s), "left_arm"), shoulder, XY) for s in (12, 22, 32, 60)]
    assert angles == pytest.approx([140, 100, 140, 120], abs=DEGREES)


def test_kick() -> None:
    call = "limbs.kick(leg, (0.1, -0.4, 0), angle = 70 deg, hold = 20)"
    up, end = performed(call, 12), performed(call, 40)
    assert turned(center(figure(), "left_leg"), center(up, "left_leg"), (0.1, -0.4, 0), YZ) == pytest.approx(
        -70, abs=DEGREES
    )
    assert float(piece(up, "left_leg")[:, 2].max()) > 0.3, "to the front"
    assert torch.allclose(center(end, "left_leg"), center(figure(), "left_leg"), atol=NEAR)
    assert torch.allclose(piece(end, "right_leg"), piece(figure(), "right_leg"))


def test_stride() -> None:
    after = performed("limbs.stride(leg, other, (0.1, -0.4, 0), angle = 30 deg)")
    assert float(center(after, "left_leg")[2]) == pytest.approx(0.1, abs=NEAR)
    assert float(center(after, "right_leg")[2]) == pytest.approx(-0.1, abs=NEAR)


def test_wag() -> None:
    call = "limbs.wag(tail, (0, -0.35, -0.2), angle = 30 deg, times = 2, beat = 10)"
    tips = [float(center(performed(call, step), "tail")[0]) for step in (12, 22, 32, 42, 60)]
    assert tips == pytest.approx([-0.1, 0.1, -0.1, 0.1, 0.0], abs=NEAR)


# -- bodies -------------------------------------------------------------------------------------------------------------
def extent(model: GaussianModel, axis: int) -> float:
    return float(model.mean[:, axis].max() - model.mean[:, axis].min())


def test_squash() -> None:
    before, after = figure(), performed("bodies.squash(all, (0, -0.8, 0), factor = 0.5)")
    assert extent(after, 1) == pytest.approx(0.5 * extent(before, 1), rel=0.01)
    assert extent(after, 0) == pytest.approx(math.sqrt(2) * extent(before, 0), rel=0.01)
    assert float(after.mean[:, 1].min()) == pytest.approx(-0.8, abs=NEAR)
    volumes = [float(m.columns["log_scale"].sum(-1).mean()) for m in (before, after)]
    assert volumes[0] == pytest.approx(volumes[1], abs=1e-3)


def test_twist() -> None:
    after = performed("bodies.twist(all, (0, -0.7, 0), height = 0.8, angle = 80 deg, slices = 8)")
    assert turned(center(figure(), "nose"), center(after, "nose"), (0, 0, 0), ZX) == pytest.approx(80, abs=DEGREES)
    middle = [m.mean[(figure().mean[:, 1] + 0.3).abs() < 0.04] for m in (figure(), after)]
    arm = middle[0][:, 0] > 0.22
    angle = turned(middle[0][arm].double().mean(0), middle[1][arm].double().mean(0), (0, 0, 0), ZX)
    assert angle == pytest.approx(40, abs=7), "half way up, half the angle, to a slice"
    low = figure().mean[:, 1] < -0.7
    assert torch.equal(after.mean[low], figure().mean[low])


def test_bend() -> None:
    after = performed("bodies.bend(all, (0, -0.4, 0), height = 0.6, angle = 60 deg, slices = 6)")
    # The direction from the neck to the head was up.
    way = center(after, "head") - after.mean[(figure().mean - torch.tensor([0, 0.2, 0])).norm(dim=-1).argmin()].double()
    assert math.degrees(math.atan2(-float(way[0]), float(way[1]))) == pytest.approx(60, abs=15)
    assert torch.equal(piece(after, "left_leg"), piece(figure(), "left_leg"))


def test_bow() -> None:
    after = performed("bodies.bow((0, -0.2, 0), angle = 45 deg)")
    assert turned(center(figure(), "head"), center(after, "head"), (0, -0.2, 0), YZ) == pytest.approx(45, abs=DEGREES)
    assert torch.equal(piece(after, "right_leg"), piece(figure(), "right_leg"))


def test_swell() -> None:
    after = performed("bodies.swell(head, (0, 0.38, 0), factor = 1.5)")
    spread = [float((piece(m, "head") - center(m, "head")).norm(dim=-1).mean()) for m in (figure(), after)]
    assert spread[1] == pytest.approx(1.5 * spread[0], rel=0.02)


def test_grow_up() -> None:
    call = "bodies.grow_up((0, -0.81, 0), (0, 0.2, 0), factor = 1.5, times = 2, beat = 10)"
    half, end = performed(call, 12), performed(call, 40)
    lift = [float((center(m, "nose") - center(figure(), "nose"))[1]) for m in (half, end)]
    assert lift == pytest.approx([0.2525, 0.505], abs=NEAR)
    assert float(end.mean[:, 1].min()) == pytest.approx(-0.8, abs=NEAR)
    assert float(center(end, "body")[1] + 0.81) == pytest.approx(
        1.5 * float(center(figure(), "body")[1] + 0.81), abs=NEAR
    )


def test_pull() -> None:
    after = performed("bodies.pull((0.27, -0.35, 0), (0.3, 0, 0), reach = 0.2, for_steps = 30)", 60)
    assert float(piece(after, "left_arm")[:, 0].max()) > 0.5
    far = figure().mean[:, 0] < 0
    assert torch.allclose(after.mean[after.mean[:, 0] < 0], figure().mean[far], atol=1e-4)


def test_jump() -> None:
    call = "bodies.jump(all, height = 0.3, times = 2, beat = 10)"
    heights = [float(center(performed(call, step), "body")[1]) + 0.1 for step in (12, 22, 32, 60)]
    assert heights == pytest.approx([0.3, 0, 0.3, 0], abs=NEAR)


# -- scenes -------------------------------------------------------------------------------------------------------------
def test_split_apart() -> None:
    after = performed("scenes.split_apart(all, gap = 0.5)")
    assert not bool(((after.mean[:, 0] > -0.24) & (after.mean[:, 0] < 0.24)).any()), "nothing is left between"
    left = figure().mean[:, 0] >= 0
    assert torch.allclose(after.mean[left][:, 0], figure().mean[left][:, 0] + 0.25)
    assert torch.allclose(after.mean[~left][:, 0], figure().mean[~left][:, 0] - 0.25)


def test_lift_off() -> None:
    after = performed("scenes.lift_off(all, height = 0.21, gap = 0.4)")
    assert float((center(after, "head") - center(figure(), "head"))[1]) == pytest.approx(0.4, abs=1e-4)
    assert torch.equal(piece(after, "body"), piece(figure(), "body"))


def test_mirror_pose() -> None:
    after = performed("scenes.mirror_pose(all)")
    assert torch.allclose(piece(after, "left_arm")[:, 0], -piece(figure(), "left_arm")[:, 0])
    assert float(center(after, "left_arm")[0]) < -0.2


def test_make_symmetric() -> None:
    raised = performed("limbs.raise_arm(left, (0.27, 0.15, 0), angle = 150 deg)")
    after = performed("scenes.make_symmetric(other_side)", model=raised)
    ours, theirs = after.mean[~after.tagged("other_side")], after.mean[after.tagged("other_side")]
    assert torch.allclose(ours * torch.tensor([-1, 1, 1]), theirs, atol=1e-5)
    assert float(theirs[:, 1].max()) == pytest.approx(float(raised.mean[:, 1].max()), abs=1e-5)


def test_twin() -> None:
    after = performed("scenes.twin(small, all, beside = (1, 0, 0), size_of_it = 0.5)")
    twin = after.mean[after.tagged("small")]
    assert len(twin) == len(figure())
    spread = [float(m.std(0).norm()) for m in (figure().mean, twin)]
    assert spread[1] == pytest.approx(0.5 * spread[0], rel=0.01)
    assert float(twin[:, 0].mean()) == pytest.approx(1, abs=0.05)


def test_row() -> None:
    after = performed("scenes.row(all, way = (0, 0, 1), copies = 3)")
    assert len(after) == 4 * len(figure())
    noses = piece(after, "nose")[:, 2].round(decimals=0)
    assert noses.unique().tolist() == [0, 1, 2, 3]


def test_face() -> None:
    after = performed("scenes.face(all, angle = 90 deg)")
    assert float(center(after, "nose")[0]) == pytest.approx(0.2, abs=NEAR)
    assert float(center(after, "tail")[0]) == pytest.approx(-0.4, abs=NEAR)


def test_ring() -> None:
    after = performed("scenes.ring(halo, (0, 0.7, 0), wide = 0.2, thick = 0.02, tint = gold)")
    halo = after.mean[after.tagged("halo")] - torch.tensor([0, 0.7, 0])
    away = halo[:, [0, 2]].norm(dim=-1)
    assert float(away.min()) > 0.17 and float(away.max()) < 0.23 and float(halo[:, 1].abs().max()) < 0.03


# -- colours ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("along", "axis"), [("y", 1), ("x", 0)])
def test_stripes(along: str, axis: int) -> None:
    call = f"colours.stripes(all, -0.2, 0.2, count_of_them = 4, first = white, second = black, along = {along})"
    after = performed(call)
    for band in range(4):
        low = -0.2 + 0.1 * band
        rows = (after.mean[:, axis] > low + 1e-3) & (after.mean[:, axis] < low + 0.099)
        assert bool(
            (after.color[rows].mean(-1) < 0.1).all() if band % 2 else (after.color[rows].mean(-1) > 0.9).all()
        ), band
    outside = after.mean[:, axis].abs() > 0.201
    assert torch.equal(after.color[outside], figure().color[outside])


def test_fade() -> None:
    after = performed("colours.fade(all, -0.8, 0.6, first = black, second = white, bands = 7)")
    height, shade = after.mean[:, 1], after.color.mean(-1)
    assert float(torch.corrcoef(torch.stack([height, shade]))[0, 1]) > 0.98
    assert float(shade.min()) < 0.1 and float(shade.max()) > 0.9


def test_dip() -> None:
    after = performed("colours.dip(all, -0.3, tint = blue)")
    low = after.mean[:, 1] < -0.3
    assert len(after.color[low].unique(dim=0)) == 1
    assert torch.equal(after.color[~low], figure().color[~low])


def test_swap() -> None:
    after = performed("colours.swap(#ff8000, #8000ff)")
    tail = (figure().color - torch.tensor([1.0, 0.5, 0.0])).norm(dim=-1) < 1e-3
    assert bool((after.color[tail] - torch.tensor([0.5, 0.0, 1.0])).norm(dim=-1).lt(0.01).all())
    head = (figure().color - torch.tensor([0.9, 0.7, 0.5])).norm(dim=-1) < 1e-3
    assert torch.equal(after.color[head], figure().color[head])


def test_eyes() -> None:
    after = performed("colours.eyes(both, (0, 0.4, 0.15), apart = 0.2, size_of_them = 0.05)")
    new = after.mean[len(figure()) :]
    assert float(new[:, 0].max()) == pytest.approx(0.15, abs=NEAR)
    assert float(new[:, 0].min()) == pytest.approx(-0.15, abs=NEAR)
    dark = after.color[len(figure()) :].norm(dim=-1) < 0.1
    assert float(new[dark][:, 2].mean()) > float(new[~dark][:, 2].mean()) + 0.02, "pupils look forward"


def test_set_on_fire() -> None:
    call = 'colours.set_on_fire(tail, "a grey robot with orange arms", for_steps = 5)'
    edits = [op for op in program_of(call).operations if isinstance(op, Edit)]
    assert [(e.prompt, e.steps) for e in edits] == [("a grey robot with orange arms", 5)]
    after = performed(call, 12)
    tail = (figure().color - torch.tensor([1.0, 0.5, 0.0])).norm(dim=-1) < 1e-3
    assert bool((after.color[tail] - torch.tensor([0.878, 0.251, 0.102])).norm(dim=-1).lt(0.01).all())
    assert torch.equal(after.color[~tail], figure().color[~tail])


# -- all of them --------------------------------------------------------------------------------------------------------
def test_every_gesture_has_a_test_and_a_picture() -> None:
    tests = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    pictures = Path(__file__).resolve().parents[2] / "docs" / "pictures" / "gestures"
    for gesture in read_library():
        assert gesture.name in tests, gesture.called
        assert (pictures / f"{gesture.called}.png").is_file(), gesture.called
    assert {p.stem for p in pictures.glob("*.png")} == {g.called for g in read_library()}


@pytest.mark.parametrize(
    "wrong", ["heads.turn(head)", "limbs.kick(leg, (0, 0, 0), angle = 3)", "bodies.squash(factor = 9)"]
)
def test_wrong_arguments_are_told_before_the_run(wrong: str) -> None:
    with pytest.raises(AssertionError, match=r"needs its argument|an angle|lies in"):
        program_of(wrong)
