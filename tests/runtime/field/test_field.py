"""The field as a value: locality of regions, pictures, files, costs."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from interactive3d.kernels.hash_grid import GridLayout
from interactive3d.kernels.volume_render import STOP
from interactive3d.runtime.field import HashGridField, load_field, render_field, save_field
from interactive3d.runtime.field.field import Region, cells_touched, dilated
from interactive3d.runtime.field.files import field_to_parts, is_field_file
from interactive3d.runtime.field.refine import cost_of, make_region, region_layout, sphere_box
from interactive3d.runtime.field.rendering import camera_rays, orientation_loss, render_trainable
from interactive3d.runtime.output.problems import FileProblem
from interactive3d.runtime.scene.camera import Camera
from interactive3d.runtime.settings import RefineSettings
from tests.runtime.field.known import RADIUS, STEEP, ball_field

CENTER, BALL = (0.0, 0.0, 0.5), 0.2
SMALL = RefineSettings(levels=3, capacity=1024)
NORMAL_ERROR = 0.05  # of a unit normal: the table holds distances at 48^3 points, linear between them
PICTURES = 1e-5  # float32 sums in another order
MEGABYTE = 1e6
FUZZ_ROUNDS = 120


def loud_region(field: HashGridField, name: str = "a", enabled: bool = True) -> Region:
    """A region that says something everywhere it speaks."""
    region = make_region(field, name, sphere_box(CENTER, BALL), None, SMALL, torch.Generator().manual_seed(1))
    params = torch.randn(region.params.shape, generator=torch.Generator().manual_seed(2)) * 0.3
    return replace(region, params=params, enabled=enabled)


def small_field() -> HashGridField:
    """A field of a few kilobytes, occupied everywhere."""
    layout = GridLayout.create(levels=2, features=2, capacity=256, base_resolution=4, hidden=32)
    params = layout.initial(torch.Generator().manual_seed(0))
    return HashGridField(layout=layout, params=params, mask=torch.ones(8, 8, 8, dtype=torch.uint8))


def everywhere(n: int = 4000) -> torch.Tensor:
    return torch.rand(n, 3, generator=torch.Generator().manual_seed(3)) * 2 - 1


def test_a_region_changes_nothing_outside_and_something_inside() -> None:
    field = ball_field()
    refined = field.with_region(loud_region(field))
    points = everywhere()
    before, after = field.raw(points), refined.raw(points)
    inside = (points - torch.tensor(CENTER)).norm(dim=-1) <= BALL
    assert torch.equal(before[~inside], after[~inside])
    assert (before[inside] != after[inside]).any()
    # Toggled off or removed it is as if it had never been.
    assert torch.equal(refined.toggled("a", False).raw(points), before)
    assert torch.equal(refined.without_region("a").raw(points), before)


def test_a_new_region_is_silent_and_regions_are_summed() -> None:
    field = ball_field()
    fresh = make_region(field, "new", sphere_box(CENTER, BALL), None, SMALL, torch.Generator())
    points = torch.tensor(CENTER) + (everywhere(300) * 0.1)
    silent = field.with_region(fresh)
    assert torch.equal(silent.raw(points), field.raw(points))
    one, two = loud_region(field, "one"), loud_region(field, "two")
    both = field.with_region(one).with_region(two).raw(points)
    single = field.with_region(one).raw(points)
    base = field.raw(points)
    speaking = (single != base).any(-1)
    # The same parameters twice: what is added, is added twice.
    assert speaking.any()
    assert (both - base - 2 * (single - base))[speaking].abs().max() < 1e-3  # float32, numbers up to some hundred


def test_default_region_costs_what_it_may() -> None:
    field = ball_field()
    cost = cost_of(region_layout(field, 0.6, RefineSettings()), 0.6)
    assert cost.bytes < 40 * MEGABYTE
    assert cost.bytes_while_refining < 130 * MEGABYTE
    assert cost.finest_cell < 2.0 / field.layout.resolutions[-1]
    assert f"{cost.parameters:,} parameters" in str(cost)


def test_pictures_agree_with_and_without_gradients_and_with_the_camera() -> None:
    field = ball_field()
    cameras = [Camera.orbit(20.0, 10.0), Camera.orbit(200.0, -30.0)]
    shown = render_field(field, cameras, 24, stop=STOP)
    origins, directions = camera_rays(cameras, 24, 24)
    leaf = field.params.clone().requires_grad_()
    pixels = render_trainable(field, origins, directions, base=leaf)
    white = pixels.color + (1 - pixels.alpha)[:, None]
    assert (white.detach() - shown.color.reshape(-1, 3)).abs().max() < PICTURES
    pixels.color.sum().backward()
    assert leaf.grad.abs().sum() > 0
    # The middle ray meets the ball at its front, within a sample and the softness of the surface.
    depth = render_field(field, cameras[:1], 25).depth[0, 12, 12]
    assert abs(float(depth) - (2.5 - RADIUS)) < 2 * field.step + 1 / STEEP


def test_normals_point_outwards_and_cost_nothing_when_they_face_the_camera() -> None:
    field = ball_field()
    points = torch.nn.functional.normalize(everywhere(200), dim=-1) * RADIUS
    normals = field.normals(points)
    assert (normals - points / RADIUS).norm(dim=-1).max() < NORMAL_ERROR
    origins, directions = camera_rays([Camera.orbit(0.0, 0.0)], 12, 12)
    pixels = render_trainable(field, origins, directions, base=field.params.clone().requires_grad_())
    facing = orientation_loss(field, pixels, torch.Generator().manual_seed(0), 200)
    turned = replace(pixels, directions=-pixels.directions)
    away = orientation_loss(field, turned, torch.Generator().manual_seed(0), 200)
    assert float(facing) < 0.02 < 0.3 < float(away)


def test_occupancy_holds_what_regions_reach_into() -> None:
    field = ball_field()
    empty = replace(field, mask=torch.zeros_like(field.mask))
    region = loud_region(field)
    cells = empty.with_region(region).occupancy()
    points = everywhere()
    speaking = points[empty.with_region(region).raw(points)[:, 0] > -1e3]
    index = ((speaking + 1) * 16).long().clamp(0, 31)
    assert len(speaking) and cells[index[:, 2], index[:, 1], index[:, 0]].all()
    assert not empty.with_region(replace(region, enabled=False)).occupancy().any()
    one = torch.zeros(4, 4, 4, dtype=torch.uint8)
    one[0, 0, 0] = 1
    assert int(cells_touched(one, torch.tensor([-1.0, -1, -1, 2, 0, 0, 0, 0]), 4).sum()) == 1
    assert int(dilated(one).sum()) == 8


def test_files_keep_every_bit(tmp_path: Path) -> None:
    field = ball_field()
    field = field.with_region(loud_region(field)).with_region(loud_region(field, "b", enabled=False))
    back = load_field(save_field(tmp_path / "x.safetensors", field))
    ours, meta = field_to_parts(field)
    theirs, again = field_to_parts(back)
    assert meta == again and ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_bad_files_are_told_apart(tmp_path: Path) -> None:
    good = save_field(tmp_path / "x.safetensors", ball_field())
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(good.read_bytes()[:-100])
    with pytest.raises(FileProblem, match="is cut short"):
        load_field(cut)
    import safetensors.torch

    other = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(1)}, other)
    with pytest.raises(FileProblem, match="no field"):
        load_field(other)
    field = ball_field()
    params = field.params.clone()
    params[5] = float("nan")
    save_field(tmp_path / "nan.safetensors", replace(field, params=params))
    with pytest.raises(FileProblem, match="NaN"):
        load_field(tmp_path / "nan.safetensors")


def test_large_files_that_are_no_fields_are_refused_by_their_first_bytes(tmp_path: Path) -> None:
    huge = tmp_path / "huge.safetensors"
    with huge.open("wb") as stream:
        stream.write((1 << 40).to_bytes(8, "little"))
        stream.truncate(2**32)  # sparse: reading it whole would take seconds and gigabytes
    with pytest.raises(FileProblem, match="no field file"):
        load_field(huge)
    assert not is_field_file(huge)


def test_damaged_files_give_a_field_or_a_file_problem(tmp_path: Path) -> None:
    field = small_field()
    good = save_field(tmp_path / "x.safetensors", field.with_region(loud_region(field))).read_bytes()
    header = 8 + int.from_bytes(good[:8], "little")
    draw = random.Random(0)
    path = tmp_path / "y.safetensors"
    for round in range(FUZZ_ROUNDS):
        data = bytearray(good)
        kind = round % 4
        if kind == 0:
            data = data[: draw.randrange(len(data))]
        elif kind == 1:
            for _ in range(draw.randint(1, 4)):
                data[draw.randrange(header)] = draw.randrange(256)
        elif kind == 2:
            # Digits only: the header stays JSON, but sizes, layouts and offsets lie.
            digits = [i for i in range(8, header) if chr(data[i]).isdigit()]
            for _ in range(draw.randint(1, 3)):
                data[draw.choice(digits)] = ord(draw.choice("0123456789"))
        else:
            for _ in range(draw.randint(1, 40)):
                data[draw.randrange(len(data))] = draw.randrange(256)
        path.write_bytes(data)
        try:
            load_field(path)
        except FileProblem as problem:
            assert str(path) in str(problem) and problem.todo
        is_field_file(path) if data else None


def test_a_part_that_holds_nothing_is_refused() -> None:
    field = ball_field()
    with pytest.raises(ValueError, match="holds nothing of the object"):
        make_region(field, "far", sphere_box((0.9, 0.9, 0.9), 0.05), None, SMALL, torch.Generator())
    with pytest.raises(KeyError, match="no region is called 'x'"):
        field.region("x")
