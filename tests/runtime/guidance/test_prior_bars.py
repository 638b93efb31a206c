"""The shipped prior against the bars of its gate, on objects of a seed that training never saw (docs/prior.md)."""

from pathlib import Path

import pytest

from interactive3d.runtime.guidance.embedded import EmbeddedPrior
from interactive3d.runtime.guidance.embedded.measure import measure_gate

CAMERA_BAR, TEXT_BAR = 2.2, 6.0
EDIT_IOU = 0.85
"""Of deformed objects at noise step 500; less would pull an edit back to the text."""


@pytest.mark.slow
def test_the_shipped_prior_passes_its_gate(tmp_path: Path) -> None:
    """Noise step 950, 256 renders: a wrong camera or text must cost much more than the right one."""
    table = measure_gate(EmbeddedPrior.load(), tmp_path / "objects")
    assert table.azimuth_90 > CAMERA_BAR * table.right
    assert table.azimuth_180 > CAMERA_BAR * table.right
    assert table.shuffled > TEXT_BAR * table.right
    assert table.edit_iou[500] > EDIT_IOU
