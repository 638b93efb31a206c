"""Reads data sets of rendered objects and colours them while training: every render serves for any look."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interactive3d.runtime.guidance.objects.building import CHUNK, build, option_bits
from interactive3d.runtime.guidance.objects.captions import caption, describe, held_out
from interactive3d.runtime.guidance.objects.looks import SLOTS, Look, look_of
from interactive3d.runtime.guidance.objects.words import KINDS

__all__ = ["Dataset", "Look", "Pictures", "build"]


class Pictures(NamedTuple):
    """images: (B, 3, size, size) in -1..1 over the background; alpha: (B, 1, size, size) in 0..1."""

    images: Tensor
    alpha: Tensor


def look_tables(looks: Sequence[Look]) -> Float[np.ndarray, "b 64 4"]:
    """Colour (rgb, opacity) by label + 16 marks: patterns resolved, the background empty."""
    table = np.zeros((len(looks), 4, SLOTS, 4), np.float32)
    for i, look in enumerate(looks):
        for marks in range(4):
            second = ((look.pattern == 1) & (marks & 1 > 0)) | ((look.pattern == 2) & (marks & 2 > 0))
            table[i, marks, :, :3] = np.where(second[:, None], look.second, look.palette)
    table[..., 3] = 1.0
    table[:, :, 0] = 0.0
    return table.reshape(len(looks), 4 * SLOTS, 4)


class Dataset:
    """A data set written by `build`, opened without reading it.

    Attributes: `labels`, `marks`, `shades` (N, s, s) uint8; `viewmats` (N, 4, 4), `fovs` (N,) degrees; `object_index` (N,);
    `kinds` (M,) numbers into `words.KINDS`, `options` (M,) bit masks (`building.option_bits`), `deformed` (M,);
    `voxel_alpha`, `voxel_label`, `voxel_marks` (M, 32, 32, 32) uint8 [z, y, x]. `object_ids` and `image_ids` are those finished.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        path = self.folder / "meta.json"
        if not path.exists():
            raise ValueError(
                f"folder: expected a data set (made by `build`), got {self.folder}, which has no meta.json"
            )
        self.meta = json.loads(path.read_text())
        if self.meta["kinds"] != list(KINDS)[: len(self.meta["kinds"])]:
            raise ValueError(f"folder: {self.folder} was built with other kinds; build it again")
        self.views: int = self.meta["views"]
        read = lambda name: np.load(self.folder / f"{name}.npy", mmap_mode="r")  # noqa: E731
        self.labels, self.marks, self.shades = read("labels"), read("marks"), read("shades")
        self.viewmats, self.fovs, self.object_index = read("viewmats"), read("fovs"), read("object_index")
        self.kinds, self.options, self.deformed = read("kinds"), read("options"), read("deformed")
        self.voxel_alpha, self.voxel_label, self.voxel_marks = (read(f"voxel_{n}") for n in ("alpha", "label", "marks"))
        done = np.repeat(read("done")[:] > 0, CHUNK)[: self.meta["objects"]]
        self.object_ids = np.flatnonzero(done)
        self.image_ids = (self.object_ids[:, None] * self.views + np.arange(self.views)).reshape(-1)

    def __len__(self) -> int:
        """Finished pictures."""
        return len(self.image_ids)

    def kind(self, object_id: int) -> str:
        return KINDS[self.kinds[object_id]]

    def option_names(self, object_id: int) -> tuple[str, ...]:
        """The object's options other than the defaults."""
        mask = int(self.options[object_id])
        return tuple(option for option, bit in option_bits(self.kind(object_id)).items() if mask & bit)

    def draw_look(self, object_id: int, rng: random.Random, allow_held_out: bool = False) -> Look:
        """A random look with its caption; never one that holds a held-out combination, unless allowed."""
        kind, options = self.kind(object_id), self.option_names(object_id)
        while True:
            description = describe(kind, options, rng)
            if allow_held_out or not held_out(description):
                return look_of(description, caption(description, rng))

    def images(
        self, image_ids: Sequence[int] | np.ndarray, looks: Sequence[Look], background: Tensor, size: int = 64,
        device: torch.device | str = "cpu",
    ) -> Pictures:  # fmt: skip
        """Colours pictures: image_ids (B,), a look for each, background (B, 3) or (B, 3, size, size) in 0..1.

        Averages the stored pixels down to `size`, which must divide them.
        """
        ids = np.asarray(image_ids)
        stored = self.labels.shape[1]
        if len(looks) != len(ids) or stored % size:
            raise ValueError(
                f"looks, size: expected {len(ids)} looks and a divisor of {stored}, got {len(looks)}, {size}"
            )
        code = torch.from_numpy(self.labels[ids] | (self.marks[ids] << 4)).to(device)
        shade = torch.from_numpy(self.shades[ids]).to(device)
        table = torch.from_numpy(look_tables(looks)).to(device)
        return colour(code, shade, table, background.to(device), size)

    def voxels(
        self, object_ids: Sequence[int] | np.ndarray, looks: Sequence[Look], device: torch.device | str = "cpu"
    ) -> Float[Tensor, "b 4 32 32 32"]:
        """RGBA volumes over [-1, 1]^3, (z, y, x): straight colour in 0..1 (grey where nothing is near) and coverage."""
        ids = np.asarray(object_ids)
        alpha = torch.from_numpy(self.voxel_alpha[ids]).to(device)
        code = torch.from_numpy(self.voxel_label[ids] | (self.voxel_marks[ids] << 4)).to(device)
        return colour_volume(alpha, code, torch.from_numpy(look_tables(looks)).to(device))


def _look_up(code: Tensor, table: Tensor) -> Tensor:
    """Colours (B, 3, ...) of codes (B, ...) from a table (B, 64, 4); channel by channel, which is twice as fast as by rows."""
    index = code.reshape(code.shape[0], -1).to(torch.int64)
    channels = [torch.gather(table[:, :, c].contiguous(), 1, index) for c in range(3)]
    return torch.stack(channels, dim=1).reshape(code.shape[0], 3, *code.shape[1:])


def colour(code: Tensor, shade: Tensor, table: Tensor, background: Tensor, size: int) -> Pictures:
    """Coloured, averaged down and laid over the background.

    code: (B, s, s) uint8 label + 16 marks; shade: (B, s, s) uint8; table: (B, 64, 4) from `look_tables`; background as in `images`.
    """
    step = code.shape[1] // size
    rgb = _look_up(code, table).mul_(shade.to(torch.float32).mul_(1 / 255.0).unsqueeze(1))
    alpha = (code & 15).clamp_(max=1).to(torch.float32).unsqueeze(1)
    if step > 1:
        rgb, alpha = average_down(rgb, step), average_down(alpha, step)
    behind = background if background.dim() == 4 else background[:, :, None, None]
    return Pictures((rgb + behind * (1 - alpha)).mul_(2.0).sub_(1.0), alpha)


def average_down(images: Float[Tensor, "b c h w"], step: int) -> Tensor:
    """Means over step x step pixels, by sums of slices: several times as fast as avg_pool2d on a CPU."""
    rows = images[:, :, 0::step].clone()
    for i in range(1, step):
        rows += images[:, :, i::step]
    out = rows[..., 0::step].clone()
    for i in range(1, step):
        out += rows[..., i::step]
    return out.mul_(1 / step**2)


def colour_volume(alpha: Tensor, code: Tensor, table: Tensor) -> Tensor:
    """(B, 4, R, R, R) RGBA from coverage and codes (B, R, R, R) uint8 and a table (B, 64, 4)."""
    grey = table.clone()
    grey[:, ::16, :3] = 0.5
    return torch.cat([_look_up(code, grey), alpha.to(torch.float32).mul_(1 / 255.0).unsqueeze(1)], dim=1)
