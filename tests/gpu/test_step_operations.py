"""What a step of the main job starts outside of the diffusion model stays as little as docs/large_models.md says; needs no GPU."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from interactive3d.runtime.view.packing import pack
from tests.gpu import test_main_job
from tests.gpu.step_operations import Operations, launches, narrow_model, operations_of_a_step, summed
from tests.gpu.test_window_frames import many_blobs

pytestmark = pytest.mark.usefixtures("one_thread")

JOB: dict[str, int] = {"blobs": 997, "side": 16, "batch": 4, "pictures": 32}
"""Small pictures and few blobs: as many operations as for large ones."""

LAUNCHES = {"render": 4, "guidance": 47, "gradient": 6, "update": 67}
"""On the card."""
CARRIED = {"render": 3, "guidance": 4}
"""Matrices, lenses and backgrounds; noise, and its levels."""
HOST = {"render": 34, "guidance": 14}
"""On the processor: cameras and noise are drawn there, so that they are the same on every device."""
GROWTH = 166
"""Launches that come on top in a step that splits, clones and prunes."""
PACKED = 66
"""Launches that a state costs which the window takes."""


@pytest.fixture(scope="module")
def guidance() -> Iterator[Any]:
    pytest.importorskip("diffusers")
    pytest.importorskip("transformers")
    with narrow_model(test_main_job.tokenizer.__wrapped__()) as made:
        yield made


def on_card(row: dict[str, int]) -> int:
    return row["blobs"] + row["pictures"] + row["tiny"]


def test_a_step_outside_of_the_model(guidance: Any) -> None:
    table = summed(operations_of_a_step(guidance, "cuda", **JOB))
    assert set(table) == set(LAUNCHES)
    for phase, row in table.items():
        assert on_card(row) <= LAUNCHES[phase], phase
        assert row["carried"] <= CARRIED.get(phase, 0), phase
        assert row["host"] <= HOST.get(phase, 0), phase


def test_growth_comes_on_top(guidance: Any) -> None:
    found = operations_of_a_step(guidance, "cuda", growing=True, **JOB)
    assert {"sort", "randn", "index"} <= {o.name for o in found}, "no blob was cloned"
    assert on_card(summed(found)["update"]) <= LAUNCHES["update"] + GROWTH


@pytest.mark.usefixtures("guidance")
def test_a_state_for_the_window() -> None:
    blobs = many_blobs(JOB["blobs"], "cuda")
    with Operations(JOB["blobs"], JOB["side"]) as operations:
        pack(blobs)
    operations.phase("window")
    assert on_card(summed(operations.found)["window"]) <= PACKED


@pytest.mark.usefixtures("guidance")
def test_what_is_counted() -> None:
    """Forwards and backwards, without views and memory; what a card fills by itself is not carried there."""
    with Operations(blobs=50, side=8) as operations:
        leaf = torch.zeros(50, 3, device="cuda", requires_grad=True)
        (2 * leaf[:10].exp()).sum().backward()
        torch.ones(9, 9).to("cuda", non_blocking=True)
    operations.phase("all")
    assert [(o.name, o.place, o.over) for o in operations.found] == [
        ("zeros", "card", "blobs"),
        ("exp", "card", "tiny"),
        ("mul", "card", "tiny"),
        ("sum", "card", "tiny"),
        ("ones_like", "card", "tiny"),
        ("mul", "card", "tiny"),
        ("mul", "card", "tiny"),
        ("slice_backward", "card", "blobs"),
        ("ones", "host", "pictures"),
        ("copy", "carried", "pictures"),
    ]
    assert operations.found[1].bytes == 2 * 30 * 4


def test_a_list_of_tensors_is_one_launch_where_they_fit() -> None:
    a, b = [torch.ones(3, 2), torch.ones(3)], [torch.ones(3, 2), torch.ones(3)]
    assert launches("_foreach_mul", (a, b)) == launches("_foreach_mul", (a, 2.0)) == launches("mul", (a[0], 2.0)) == 1
    assert launches("_foreach_div", (a, [torch.ones(3, 1), torch.ones(3)])) == 2
    assert launches("_foreach_sqrt", ([torch.ones(2, 3).T, torch.ones(3)],)) == 2
