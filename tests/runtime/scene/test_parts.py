"""Part expressions on blobs, and what is said when a part holds none."""

import pytest
import torch

from interactive3d.dsl.values import (
    PART_KINDS,
    AllPart,
    Box,
    Click,
    ClickPart,
    ColorPart,
    DeclaredPart,
    DifferencePart,
    GrowPart,
    IntersectionPart,
    NamedPart,
    NotPart,
    OrbitView,
    SegmentPart,
    ShapePart,
    Sphere,
    UnionPart,
)
from interactive3d.runtime.scene.initial import round_blobs
from interactive3d.runtime.scene.parts import PartError, describe_part, part_mask, select

CLICK = ClickPart(clicks=(Click(x=3.0, y=4.0, view=OrbitView(azimuth=0.0, elevation=0.0)),))


def row_of_blobs():
    """Eleven blobs along x from 0 to 1, red to blue, the first three called `start`."""
    x = torch.linspace(0, 1, 11)
    mean = torch.stack([x, torch.zeros(11), torch.zeros(11)], -1)
    color = torch.stack([1 - x, torch.zeros(11), x], -1)
    return round_blobs(mean, color, 0.02, 0.8).with_tag("start", torch.arange(11) < 3)


def ball(x: float, radius: float) -> ShapePart:
    return ShapePart(shape=Sphere(center=(x, 0.0, 0.0), radius=radius))


CASES = [
    (ball(0.0, 0.25), [0, 1, 2]),
    (ShapePart(shape=Box(low=(0.45, -1.0, -1.0), high=(0.75, 1.0, 1.0))), [5, 6, 7]),
    (NamedPart(name="start"), [0, 1, 2]),
    (AllPart(), list(range(11))),
    (ColorPart(color=(1.0, 0.0, 0.0), tolerance=0.2), [0, 1]),
    (UnionPart(left=ball(0.0, 0.05), right=ball(1.0, 0.05)), [0, 10]),
    (DifferencePart(left=AllPart(), right=NamedPart(name="start")), list(range(3, 11))),
    (IntersectionPart(left=ball(0.3, 0.15), right=NamedPart(name="start")), [2]),
    (NotPart(part=ball(1.0, 0.85)), [0, 1]),
    (GrowPart(part=ball(0.0, 0.05), by=0.25), [0, 1, 2]),
    (GrowPart(part=ball(0.5, 0.25), by=-0.15), [4, 5, 6]),
    (DeclaredPart(name="tip", part=ball(1.0, 0.05)), [10]),
]


@pytest.mark.parametrize(("part", "rows"), CASES, ids=lambda v: type(v).__name__)
def test_members(part, rows):
    assert part_mask(part, row_of_blobs()).nonzero().squeeze(1).tolist() == rows


def test_every_kind_of_part_has_a_case():
    assert {type(p) for p, _ in CASES} | {ClickPart, SegmentPart} == set(PART_KINDS)


@pytest.mark.parametrize(
    "part", [p for p, _ in CASES] + [CLICK, SegmentPart(text="wings")], ids=lambda p: type(p).__name__
)
def test_every_kind_can_be_described(part):
    assert describe_part(part)


def test_unknown_names_list_the_known_ones():
    with pytest.raises(PartError, match=r"'wing'; names in the scene: start"):
        part_mask(NamedPart(name="wing"), row_of_blobs())


def test_an_empty_part_names_the_nearest_blobs():
    part = DeclaredPart(name="head", part=ball(2.0, 0.5))
    with pytest.raises(PartError) as error:
        select(part, row_of_blobs())
    assert str(error.value) == (
        "part head holds none of the 11 blobs; the nearest are at (1, 0, 0), 0.5 away; (0.9, 0, 0), 0.6 away; (0.8, 0, 0), 0.7 away"
    )


def test_an_empty_colour_says_how_wide_it_would_have_to_be():
    with pytest.raises(PartError, match="the nearest colour is"):
        select(ColorPart(color=(0.0, 1.0, 0.0), tolerance=0.1), row_of_blobs())


def test_an_empty_intersection_says_what_each_side_holds():
    part = IntersectionPart(left=ball(1.0, 0.05), right=NamedPart(name="start"))
    with pytest.raises(PartError, match=r"radius 0.05 holds 1, 'start' holds 3"):
        select(part, row_of_blobs())


def test_an_empty_scene_says_so():
    model = row_of_blobs().rows(torch.zeros(0, dtype=torch.int64))
    with pytest.raises(PartError, match="no blobs at all"):
        select(AllPart(), model)
