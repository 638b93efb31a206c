"""The timeline and the toolbar where there is little room."""

import pytest

from interactive3d.runtime.view.panels.run_panel import LEAST_ROW, row_height
from interactive3d.runtime.view.panels.toolbar import (
    GIZMOS,
    LEAST_BUTTON,
    MOST_COLUMNS,
    TOOL_GAP,
    TOOLBAR_REST,
    TOOLS,
    arrangement,
)

BUTTONS = len(TOOLS) + len(GIZMOS) + 2


@pytest.mark.parametrize("rows", [1, 4, 5, 12])
def test_every_operation_of_one_step_has_a_row(rows: int):
    """Six gestures at one step once showed four bars, and nothing said so."""
    height, shown = row_height(80.0, rows, 20.0)
    assert shown == rows and height * rows <= 80.0 + 1e-6 and height <= 20.0


def test_rows_do_not_become_too_low_to_hit():
    height, shown = row_height(60.0, 100, 20.0)
    assert height == pytest.approx(LEAST_ROW * 20.0) and shown == 10
    assert row_height(1.0, 3, 20.0)[1] == 1


@pytest.mark.parametrize("pixel", [1.0, 2.0])
@pytest.mark.parametrize("tall", [900.0, 560.0, 300.0, 170.0])
def test_all_tools_have_room(tall: float, pixel: float):
    side, columns = arrangement(tall * pixel, 36.0 * pixel, pixel)
    rows = -(-BUTTONS // columns)
    assert LEAST_BUTTON * pixel <= side <= 36.0 * pixel
    assert rows * (side + TOOL_GAP * pixel) + TOOLBAR_REST * pixel <= tall * pixel + 1e-6
    assert columns == (1 if tall >= 400.0 else 2 if tall == 300.0 else 3)


def test_in_a_tiny_viewport_there_are_as_many_columns_as_can_be():
    assert arrangement(16.0, 36.0, 1.0) == (LEAST_BUTTON, MOST_COLUMNS)
