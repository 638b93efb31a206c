"""Gestures become part expressions that hold exactly what was drawn, survive the text, and follow what is done to them."""

import numpy as np
import pytest
import torch

from interactive3d.dsl import format_operation, parse_operation
from interactive3d.dsl.operations import (
    AllPart,
    Box,
    Capsule,
    DifferencePart,
    Drag,
    DragMode,
    GrowPart,
    IntersectionPart,
    Move,
    NamedPart,
    NotPart,
    Remove,
    Rotate,
    ShapePart,
    Sphere,
    Stretch,
    UnionPart,
)
from interactive3d.runtime.engine.state import RunState
from interactive3d.runtime.scene.camera import Camera
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.scene.parts import part_mask
from interactive3d.runtime.scene.transforms import transform_rows
from interactive3d.runtime.settings import Settings
from interactive3d.runtime.view.gestures import Gizmo, Pull, gizmo_operation
from interactive3d.runtime.view.orbit import Projection
from interactive3d.runtime.view.scene_view import (
    REACHES,
    RIM,
    Hit,
    Scene,
    SceneJob,
    _near_ray,
    front_depth,
    make_scene,
    pick,
)
from interactive3d.runtime.view.selecting import (
    Combine,
    combined,
    grown,
    half_space,
    inverted,
    lasso,
    rectangle,
    simplified,
    stroke,
    transformed,
    turn_of,
    up_to_depth,
)

EDGE_PIXELS = 0.3
"""Coordinates of a selection are rounded to a tenth of a thousandth of a unit: points nearer to its edge than this may fall on either side."""

PROJECTION = Projection(camera=Camera.orbit(35.0, 20.0, 2.2), width=640, height=480)


def cloud(count: int = 3000) -> GaussianModel:
    generator = torch.Generator().manual_seed(1)
    return GaussianModel.create(
        mean=torch.rand(count, 3, generator=generator) * 1.6 - 0.8,
        log_scale=torch.full((count, 3), -4.0),
        rotation=torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(count, 4).contiguous(),
        color=torch.rand(count, 3, generator=generator),
        logit_opacity=torch.full((count,), 3.0),
    )


def scene_of(model: GaussianModel) -> Scene:
    return make_scene(SceneJob(state=RunState(step=0, model=model, settings=Settings())))


def inside_polygon(pixels: np.ndarray, polygon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Even-odd rule, and the distance to the outline."""
    inside = np.zeros(len(pixels), bool)
    distance = np.full(len(pixels), np.inf)
    for a, b in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        crosses = (a[1] > pixels[:, 1]) != (b[1] > pixels[:, 1])
        with np.errstate(divide="ignore", invalid="ignore"):
            x = a[0] + (pixels[:, 1] - a[1]) * (b[0] - a[0]) / (b[1] - a[1])
        inside ^= crosses & (pixels[:, 0] < x)
        along = np.clip(((pixels - a) @ (b - a)) / max(float((b - a) @ (b - a)), 1e-12), 0, 1)
        distance = np.minimum(distance, np.linalg.norm(pixels - a - along[:, None] * (b - a), axis=1))
    return inside, distance


@pytest.mark.parametrize(
    "outline",
    [
        [(200, 100), (420, 130), (400, 380), (180, 300)],
        [(200, 100), (420, 130), (300, 220), (430, 390), (180, 300)],
        [(150, 120), (480, 120), (480, 200), (240, 200), (240, 300), (470, 300), (470, 380), (150, 380)],
    ],
    ids=["convex", "one bay", "a C"],
)
def test_a_lasso_holds_exactly_what_it_surrounds(outline):
    model = cloud()
    part = lasso(PROJECTION, outline)
    found = part_mask(part, model).numpy()
    expected, distance = inside_polygon(PROJECTION.pixels(model.mean.numpy())[0], np.array(outline, float))
    certain = distance > EDGE_PIXELS
    assert (found == expected)[certain].all()
    assert expected.sum() > 100


def test_a_rectangle_may_be_drawn_from_any_corner():
    model = cloud()
    a = part_mask(rectangle(PROJECTION, (200, 150), (400, 330)), model)
    b = part_mask(rectangle(PROJECTION, (400, 150), (200, 330)), model)
    assert torch.equal(a, b) and 0 < int(a.sum()) < len(model)
    assert rectangle(PROJECTION, (200, 150), (200, 151)) is None


def test_nothing_behind_the_camera_is_selected():
    model = cloud(10)
    behind = np.array(PROJECTION.camera.position) - 0.5 * PROJECTION.ray(320, 240)
    model = model.with_columns({"mean": torch.tensor(np.repeat(behind[None], 10, 0), dtype=torch.float32)})
    assert not part_mask(rectangle(PROJECTION, (0, 0), (640, 480)), model).any()


def test_a_depth_cuts_a_selection():
    model = cloud()
    part = up_to_depth(AllPart(), PROJECTION, 2.2)
    depth = PROJECTION.pixels(model.mean.numpy())[1]
    found = part_mask(part, model).numpy()
    certain = np.abs(depth - 2.2) > 1e-3
    assert (found == (depth < 2.2))[certain].all()


def test_the_visible_side_of_a_solid_ends_at_its_rim():
    generator = torch.Generator().manual_seed(0)
    place = torch.nn.functional.normalize(torch.randn(4000, 3, generator=generator), dim=-1) * 0.5
    model = cloud(4000).with_columns({"mean": place, "log_scale": torch.full((4000, 3), -3.2)})
    projection = Projection(camera=Camera.orbit(0.0, 0.0, 3.0), width=400, height=400)
    depth = front_depth(scene_of(model), projection, np.ones(4000, bool))
    # The rim of a ball of radius 0.5 seen from 3: 3 - 0.5^2 / 3.
    assert depth == pytest.approx(3.0 - 0.25 / 3.0, abs=0.12)


def test_selections_combine_as_the_keys_say():
    a, b = ShapePart(shape=Sphere(center=(0, 0, 0), radius=0.5)), NamedPart(name="hat")
    assert combined(a, b, Combine.REPLACE) == b
    assert combined(a, b, Combine.ADD) == UnionPart(left=a, right=b)
    assert combined(a, b, Combine.SUBTRACT) == DifferencePart(left=a, right=b)
    assert combined(a, b, Combine.INTERSECT) == IntersectionPart(left=a, right=b)
    assert combined(None, b, Combine.ADD) == b and combined(None, b, Combine.SUBTRACT) is None
    assert inverted(None) == AllPart() and inverted(AllPart()) is None
    assert inverted(inverted(a)) == a
    assert grown(grown(a, 0.03), -0.03) == a and grown(grown(a, 0.03), 0.03) == GrowPart(part=a, by=0.06)


def test_a_brush_leaves_balls():
    part = stroke([(0.0, 0.0, 0.0), (0.1, 0.0, 0.0)], 0.05)
    model = cloud()
    near = torch.minimum(model.mean.norm(dim=-1), (model.mean - torch.tensor([0.1, 0, 0])).norm(dim=-1))
    assert torch.equal(part_mask(part, model), near <= 0.05)
    assert stroke([], 0.05) is None


def test_a_long_outline_is_simplified_to_few_corners():
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    circle = np.stack([100 * np.cos(angle), 100 * np.sin(angle)], axis=1)
    found = simplified(circle, 14)
    assert len(found) == 14 and np.linalg.norm(found, axis=1).min() > 99.0


@pytest.mark.parametrize(
    "part",
    [
        half_space((0.1, 0.2, 0.0), (0.6, 0.8, 0.0)),
        ShapePart(shape=Sphere(center=(0.1, 0.0, 0.2), radius=0.4)),
        ShapePart(shape=Capsule(a=(0, 0, 0), b=(0.3, 0.2, 0), radius=0.2)),
        NotPart(part=ShapePart(shape=Sphere(center=(0.1, 0.0, 0.2), radius=0.4))),
        lasso(PROJECTION, [(200, 100), (420, 130), (300, 220), (430, 390), (180, 300)]),
    ],
    ids=["half space", "sphere", "capsule", "not", "lasso"],
)
def test_a_selection_follows_what_it_moved(part):
    model = cloud()
    mask = part_mask(part, model)
    turn = torch.linalg.matrix_exp(torch.tensor([[0.0, -0.4, 0.1], [0.4, 0.0, -0.2], [-0.1, 0.2, 0.0]]).double())
    offset = (0.3, -0.1, 0.2)
    everything = torch.ones(len(model), dtype=torch.bool)
    moved = transform_rows(model, everything, linear=1.2 * turn, offset=offset)
    followed = transformed(part, (1.2 * turn).numpy(), offset)
    # Rounding moves edges by less than a thousandth of a unit, which few of 3000 points lie within.
    assert int((part_mask(followed, moved) != mask).sum()) <= 6


def test_a_stretched_ball_is_an_ellipsoid_and_what_has_no_words_is_none():
    factors = np.diag([1.0, 2.0, 0.5])
    ball = ShapePart(shape=Sphere(center=(0.1, 0.1, 0.0), radius=0.2))
    model = cloud()
    stretched = transform_rows(model, torch.ones(len(model), dtype=torch.bool), linear=torch.from_numpy(factors))
    found = part_mask(transformed(ball, factors, (0, 0, 0)), stretched)
    assert int((found != part_mask(ball, model)).sum()) <= 2
    turned = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    assert transformed(ShapePart(shape=Box(low=(0, 0, 0), high=(1, 1, 1))), turned, (0, 0, 0)) is None
    assert transformed(NamedPart(name="hat"), turned, (1, 0, 0)) == NamedPart(name="hat")


@pytest.mark.parametrize("degrees", [0.5, 30.0, 179.9, 180.0])
def test_axis_and_angle_of_a_turn(degrees):
    from interactive3d.runtime.scene.transforms import axis_rotation

    turn = axis_rotation((1.0, 2.0, -0.5), degrees).numpy()
    found = turn_of(turn)
    assert axis_rotation(found.axis, found.degrees).numpy() == pytest.approx(turn, abs=3e-4)


def test_a_gizmo_let_go_is_one_operation_that_does_what_was_shown():
    part = NamedPart(name="hat")
    pivot = (0.2, 0.1, -0.3)
    moved = np.eye(4)
    moved[:3, 3] = (0.5, 0.1, -0.3)
    operation, linear, offset = gizmo_operation(Gizmo.MOVE, part, pivot, moved)
    assert operation == Move(part=part, by=(0.3, 0.0, 0.0)) and (linear == np.eye(3)).all()
    turned = np.eye(4)
    turned[:3, :3] = [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]]
    turned[:3, 3] = pivot
    operation, linear, offset = gizmo_operation(Gizmo.ROTATE, part, pivot, turned)
    assert operation == Rotate(part=part, degrees=90.0, axis=(0.0, 1.0, 0.0), through=pivot)
    assert linear @ np.array(pivot) + offset == pytest.approx(pivot)
    wide = np.diag([1.5, 1.0, 1.0, 1.0])
    wide[:3, 3] = pivot
    operation, *_ = gizmo_operation(Gizmo.STRETCH, part, pivot, wide)
    assert operation == Stretch(part=part, by=(1.5, 1.0, 1.0), about=pivot)
    rest = np.eye(4)
    rest[:3, 3] = pivot
    assert all(gizmo_operation(kind, part, pivot, rest) is None for kind in Gizmo)


def test_a_pull_ends_in_the_plane_of_its_depth_unless_the_wheel_moves_it():
    point = PROJECTION.at_depth(300, 200, 2.0)
    hit = Hit(point=tuple(point), row=0, depth=2.0)
    drag = Pull(source=hit, x=380, y=170).operation(PROJECTION, DragMode.RIGID, 0.2, 50, None)
    assert isinstance(drag, Drag) and drag.steps == 50
    pixel, depth = PROJECTION.pixels(np.array([drag.target]))
    assert pixel[0] == pytest.approx((380, 170), abs=0.1) and depth[0] == pytest.approx(2.0, abs=1e-3)
    farther = Pull(source=hit, x=380, y=170, deeper=0.4).target(PROJECTION)
    assert PROJECTION.pixels(np.array([farther]))[1][0] == pytest.approx(2.4, abs=1e-3)
    assert Pull(source=hit, x=300, y=200).operation(PROJECTION, DragMode.RIGID, 0.2, 50, None) is None


def test_whatever_is_selected_can_be_written_and_read_back():
    part = combined(
        lasso(PROJECTION, [(200, 100), (420, 130), (300, 220), (430, 390), (180, 300)]),
        stroke([(0.1, 0.0, 0.2), (0.2, 0.1, 0.2)], 0.07),
        Combine.SUBTRACT,
    )
    operation = Remove(part=grown(NotPart(part=part), 0.05))
    text = format_operation(operation)
    assert parse_operation(text) == operation


def test_picking_finds_the_surface_and_misses_the_background():
    generator = torch.Generator().manual_seed(0)
    place = torch.nn.functional.normalize(torch.randn(4000, 3, generator=generator), dim=-1) * 0.5
    model = cloud(4000).with_columns({"mean": place, "log_scale": torch.full((4000, 3), -3.2)})
    scene = scene_of(model)
    projection = Projection(camera=Camera.orbit(0.0, 0.0, 3.0), width=400, height=400)
    hit = pick(scene, projection, 200, 200)
    assert (
        hit is not None and hit.point[2] == pytest.approx(0.5, abs=0.05) and hit.depth == pytest.approx(2.5, abs=0.05)
    )
    assert np.linalg.norm(place[hit.row].numpy() - np.array(hit.point)) < 0.15
    assert pick(scene, projection, 5, 5) is None
    assert pick(scene_of(model.rows(torch.zeros(0, dtype=torch.int64))), projection, 200, 200) is None


@pytest.mark.parametrize("distance", [0.5, 2.2, 12.0])
def test_no_blob_that_shows_at_a_pixel_is_passed_over(distance):
    """Blobs are found by their distance from the ray; here against every blob's picture, from within the object to far away."""
    scene = scene_of(cloud())
    projection = Projection(camera=Camera.orbit(35.0, 20.0, distance, 60.0), width=640, height=480)
    generator = np.random.default_rng(2)
    pixels, depth = projection.pixels(scene.mean)
    for x, y in generator.uniform((0, 0), (640, 480), (40, 2)):
        reach = REACHES * scene.reach * projection.focal / np.maximum(depth, 1e-3) + RIM
        shows = (depth > 0.01) & (np.hypot(pixels[:, 0] - x, pixels[:, 1] - y) < reach)
        assert set(np.flatnonzero(shows)) <= set(_near_ray(scene, projection, x, y))
