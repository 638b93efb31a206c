"""Blobs sorted into the cells of a grid, so that what lies near a ray is found without asking each of a million."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

SIDE = 40
"""Cells along an axis: all of them together are numbered in 16 bits, which are sorted in a tenth of the time."""

WORTH = 50_000
"""Fewer blobs are asked one by one in less time than a grid saves."""

SLACK = 1e-3
"""Share of a cell by which a blob may lie outside of the one that it was counted to."""


@dataclass(frozen=True, kw_only=True)
class BlobGrid:
    """``rows`` by cell; a cell's are ``rows[starts[i] : starts[i + 1]]``. ``loose`` are rows outside of the grid.

    ``centers`` are those of the cells that hold blobs, ``radius`` reaches from there to a cell's corners, ``reach`` is the largest of a
    cell's blobs.
    """

    rows: Int[np.ndarray, "m"]
    starts: Int[np.ndarray, "cells_and_1"]
    centers: Float[np.ndarray, "cells 3"]
    radius: float
    reach: Float[np.ndarray, "cells"]
    loose: Int[np.ndarray, "k"]

    def among(self, cells: Bool[np.ndarray, "cells"]) -> Int[np.ndarray, "j"]:
        """Rows of some cells and the loose ones, in their order."""
        found = [self.rows[self.starts[i] : self.starts[i + 1]] for i in np.flatnonzero(cells)]
        return np.sort(np.concatenate([*found, self.loose]))


def blob_grid(
    mean: Float[np.ndarray, "n 3"], reach: Float[np.ndarray, "n"], center: np.ndarray, radius: float
) -> BlobGrid | None:
    """The grid over a cube about the object, whose ``radius`` nearly all blobs keep; None where it is not worth while."""
    if len(mean) < WORTH or not radius > 0.0:
        return None
    side = np.float32(2.0 * radius / SIDE)
    low = (np.asarray(center) - radius).astype(np.float32)
    inside = np.ones(len(mean), bool)
    cell = np.zeros(len(mean), np.uint16)
    with np.errstate(invalid="ignore"):
        for axis in range(3):
            place = mean[:, axis] - low[axis]
            place /= side
            # Neither what lies outside nor what is not a number; those get some number, and are left out below.
            inside &= (place >= 0) & (place < SIDE)
            cell *= np.uint16(SIDE)
            cell += place.astype(np.uint16)
    order = np.argsort(cell, kind="stable")
    rows = order[inside[order]]
    cell = cell[rows]
    starts = np.flatnonzero(np.concatenate([[True], cell[1:] != cell[:-1]])) if len(rows) else np.zeros(0, int)
    numbers = cell[starts].astype(int)
    places = np.stack([numbers // (SIDE * SIDE), numbers // SIDE % SIDE, numbers % SIDE], axis=1)
    return BlobGrid(
        rows=rows,
        starts=np.append(starts, len(rows)),
        centers=low + (places + 0.5) * float(side),
        radius=float(side) * (0.5 * np.sqrt(3.0) + SLACK),
        reach=np.maximum.reduceat(reach[rows], starts) if len(starts) else np.zeros(0, np.float32),
        loose=np.flatnonzero(~inside),
    )
