"""Parts made of clicks, on objects of two colours whose parts are known."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from interactive3d.dsl.values import Click, ClickPart, OrbitView, SegmentPart
from interactive3d.runtime.cli import main
from interactive3d.runtime.output.splat_files import read_splats, write_splats
from interactive3d.runtime.scene.clicks import DEFAULT_SIZE, seen_views
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.scene.parts import PartError, part_mask, select
from interactive3d.runtime.scene.segmenter import EmbeddedSegmenter, View, use_segmenter, use_text_segmenter

FRONT = OrbitView(azimuth=0.0, elevation=10.0, name="front")
LEFT = OrbitView(azimuth=90.0, elevation=10.0, name="left")
GOOD = 0.9
"""Overlap (intersection over union) of what was found with what belongs to the part."""
BORDER = 4
"""Pixels: twice the smoothing."""
BODY, HEAD = 400, 250


@pytest.fixture
def figure(make_ball: Callable[..., GaussianModel]) -> GaussianModel:
    """A red body and a blue head on it; colours vary from blob to blob as they do after a run."""
    body = make_ball(0, count=BODY, radius=0.4, center=(0.0, -0.2, 0.0), color=(0.8, 0.15, 0.1))
    head = make_ball(1, count=HEAD, radius=0.25, center=(0.0, 0.4, 0.0), color=(0.15, 0.2, 0.8))
    model = body.append(head) if hasattr(body, "append") else body
    noise = 0.06 * torch.randn(len(model), 3, generator=torch.Generator().manual_seed(2))
    return model.with_columns({"color": (model.color + noise).clamp(0, 1)})


@pytest.fixture(autouse=True)
def embedded_again() -> Iterator[None]:
    yield
    use_segmenter(None)
    use_text_segmenter(None)


def overlap(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found & wanted).sum()) / float((found | wanted).sum())


def head_of(model: GaussianModel) -> torch.Tensor:
    return torch.arange(len(model)) >= BODY


def click(x: float, y: float, view: OrbitView) -> Click:
    return Click(x=x, y=y, view=view)


# The head's and the body's middle in the default picture of 512 x 512.
HEAD_IN_FRONT, BODY_IN_FRONT = (256, 148), (256, 290)


def test_a_click_on_the_head_finds_the_head_whole(figure: GaussianModel) -> None:
    found = select(ClickPart(clicks=(click(*HEAD_IN_FRONT, FRONT),)), figure)
    assert overlap(found, head_of(figure)) > GOOD


def test_a_click_on_the_body_finds_the_body_inside_and_back_included(figure: GaussianModel) -> None:
    found = select(ClickPart(clicks=(click(*BODY_IN_FRONT, FRONT),)), figure)
    assert overlap(found, ~head_of(figure)) > GOOD
    back = figure.mean[:, 2] < -0.2
    assert bool(found[back & ~head_of(figure)].float().mean() > GOOD)


def test_one_view_is_given_a_second_and_two_stay_two(figure: GaussianModel) -> None:
    one = seen_views(ClickPart(clicks=(click(*HEAD_IN_FRONT, FRONT),)), figure)
    assert [len(one), one[0].camera.position != one[1].camera.position] == [2, True]
    two = ClickPart(clicks=(click(*HEAD_IN_FRONT, FRONT), click(256, 148, LEFT)))
    assert len(seen_views(two, figure)) == 2
    assert overlap(part_mask(two, figure), head_of(figure)) > GOOD


def test_views_are_intersected_and_clicks_in_one_view_joined(figure: GaussianModel) -> None:
    both = ClickPart(clicks=(click(*HEAD_IN_FRONT, FRONT), click(*BODY_IN_FRONT, FRONT)))
    assert float(part_mask(both, figure).float().mean()) > GOOD
    neither = ClickPart(clicks=(click(*HEAD_IN_FRONT, FRONT), click(256, 290, LEFT)))
    assert float(part_mask(neither, figure).float().mean()) < 0.1


def test_pixels_count_in_the_size_that_the_script_names(figure: GaussianModel) -> None:
    small = ClickPart(clicks=(click(HEAD_IN_FRONT[0] / 4, HEAD_IN_FRONT[1] / 4, FRONT),), size=DEFAULT_SIZE // 4)
    large = ClickPart(clicks=(click(*HEAD_IN_FRONT, FRONT),))
    assert torch.equal(part_mask(small, figure), part_mask(large, figure))


def test_what_merely_lies_behind_stays(figure: GaussianModel, make_ball: Callable[..., GaussianModel]) -> None:
    """A blue ball in the head's line of sight, from both views hidden or outside the mask: not part of the head."""
    behind = make_ball(5, count=100, radius=0.15, center=(0.0, 0.55, -1.0), color=(0.15, 0.2, 0.8))
    model = figure.append(behind)
    found = part_mask(ClickPart(clicks=(click(*HEAD_IN_FRONT, FRONT), click(256, 148, LEFT))), model)
    assert not bool(found[len(figure) :].any())
    assert overlap(found[: len(figure)], head_of(figure)) > GOOD


def test_one_object_of_one_colour_is_found_whole(make_ball: Callable[..., GaussianModel]) -> None:
    assert float(part_mask(ClickPart(clicks=(click(256, 256, FRONT),)), make_ball()).float().mean()) > GOOD


def test_a_click_beside_the_object_says_where_it_is(figure: GaussianModel) -> None:
    with pytest.raises(PartError) as caught:
        select(ClickPart(clicks=(click(20, 20, FRONT),)), figure)
    text = str(caught.value)
    assert "the click (20, 20) hits nothing in view front, a picture of 512 x 512 pixels" in text
    assert "the object's nearest pixel is (" in text
    away = OrbitView(azimuth=0.0, elevation=0.0, target=(30.0, 0.0, 0.0))
    with pytest.raises(PartError, match="nothing is seen there at all"):
        select(ClickPart(clicks=(click(256, 256, away),)), figure)


def test_a_segmenter_can_be_put_in_its_place(figure: GaussianModel) -> None:
    class Everything:
        name = "everything"
        clicks: list[Sequence[tuple[float, float]]] = []  # noqa: RUF012

        def mask(self, view: View, clicks: Sequence[tuple[float, float]]) -> np.ndarray:
            self.clicks.append(clicks)
            return np.ones(view.coverage.shape, dtype=bool)

    use_segmenter(Everything)
    assert bool(part_mask(ClickPart(clicks=(click(*HEAD_IN_FRONT, FRONT),)), figure).all())
    assert Everything.clicks[0] == [(128.0, 74.0)]
    # The second view's click is where the first one's place is seen: on the head, above the middle.
    x, y = Everything.clicks[1][0]
    assert 60 < y < 90
    assert 100 < x < 128


def test_flat_pictures_by_hand() -> None:
    """Two halves of a square: the border runs between them, and a jump of depth parts what colour does not."""
    color = np.zeros((32, 32, 3))
    color[:, :16], color[:, 16:] = (0.9, 0.1, 0.1), (0.1, 0.1, 0.9)
    full, flat = np.ones((32, 32)), np.full((32, 32), 2.0)
    found = EmbeddedSegmenter().mask(View(color, full, flat), [(5, 16)])
    assert found[:, : 16 - BORDER].all()
    assert not found[:, 16 + BORDER :].any()
    step = np.where(np.arange(32)[:, None] < 16, 2.0, 2.5) * np.ones((32, 32))
    found = EmbeddedSegmenter().mask(View(np.full((32, 32, 3), 0.5), full, step), [(16, 5)])
    assert found[: 16 - BORDER].all()
    assert not found[16 + BORDER :].any()
    assert not EmbeddedSegmenter().mask(View(color, np.zeros((32, 32)), flat), [(5, 5)]).any()


def test_a_script_with_a_click_runs(figure: GaussianModel, tmp_path: Path) -> None:
    write_splats(figure, tmp_path / "figure.ply")
    (tmp_path / "paint.sculpt").write_text(
        """\
steps 2
guidance reference "figure.ply"
splats from "figure.ply"
repair off
set guidance.size 16
view front = orbit azimuth 0 elevation 10
part head = click (256, 148) in front
at step 1 paint head (0, 1, 0)
"""
    )
    result = CliRunner().invoke(
        main, ["run", str(tmp_path / "paint.sculpt"), "--headless", "--out", str(tmp_path / "out")]
    )
    assert result.exit_code == 0, result.stderr
    made = read_splats(tmp_path / "out" / "splats.ply")
    green = made.color[:, 1] > 0.6
    assert overlap(green, head_of(made)) > GOOD


def test_a_script_with_a_click_on_nothing_says_so(figure: GaussianModel, tmp_path: Path) -> None:
    write_splats(figure, tmp_path / "figure.ply")
    (tmp_path / "paint.sculpt").write_text(
        """\
steps 1
guidance reference "figure.ply"
splats from "figure.ply"
set guidance.size 16
at step 0 remove click (5, 5) in orbit azimuth 0 elevation 0
"""
    )
    result = CliRunner().invoke(
        main, ["run", str(tmp_path / "paint.sculpt"), "--headless", "--out", str(tmp_path / "out")]
    )
    assert result.exit_code == 1
    assert "Error: remove at step 0: the click (5, 5) hits nothing in view azimuth 0 elevation 0" in result.stderr


def test_a_text_needs_a_segmenter_and_finds_what_it_marks(figure: GaussianModel) -> None:
    with pytest.raises(
        PartError, match=r'segment "blue" needs a text-prompted segmenter.*INTERACTIVE3D_TEXT_SEGMENTER'
    ):
        part_mask(SegmentPart(text="blue"), figure)

    class Blue:
        name = "blue"

        def mask_of(self, view: View, text: str) -> np.ndarray:
            assert text == "blue"
            return (view.color[..., 2] > view.color[..., 0]) & (view.coverage > 0.5)

    use_text_segmenter(Blue)
    assert overlap(part_mask(SegmentPart(text="blue"), figure), head_of(figure)) > GOOD


def test_a_segmenter_that_cannot_be_loaded_is_a_part_that_cannot_be_evaluated(figure: GaussianModel) -> None:
    def fails() -> EmbeddedSegmenter:
        raise ValueError("segmenter sam: there is no checkpoint x.pth")

    use_segmenter(fails)
    with pytest.raises(PartError, match="there is no checkpoint"):
        part_mask(ClickPart(clicks=(click(*HEAD_IN_FRONT, FRONT),)), figure)
