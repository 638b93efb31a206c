"""Batches to train on: from the project's generated objects, or from coloured ellipsoids made on the spot (for tests)."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interactive3d.runtime.guidance.embedded.conditioning import render_volume
from interactive3d.runtime.guidance.embedded.corrupt import cell_centres

PICTURE_SIZE = 64
GATE_SHARE = 40  # one object in this many is kept from training, for the gate
WHITE_SHARE = 0.45


@dataclass(frozen=True)
class VolumeBatch:
    """Captions (normalised words) and the volumes they tell in full."""

    captions: list[list[str]]
    volumes: Float[Tensor, "n 4 r r r"]


@dataclass(frozen=True)
class PictureBatch:
    """Pictures of objects in -1..1; `owner` is the row of a picture's object in `captions` and `volumes`."""

    pictures: Float[Tensor, "b 3 64 64"]
    viewmats: Float[Tensor, "b 4 4"]
    fovs: Float[Tensor, " b"]
    background: Float[Tensor, "b 3"]
    owner: Int[Tensor, " b"]
    captions: list[list[str]]
    volumes: Float[Tensor, "n 4 r r r"]


class Source(Protocol):
    """Where batches come from. The same seed gives the same batch."""

    def words(self) -> list[str]: ...

    def colours(self) -> dict[str, tuple[float, float, float]]: ...

    def volume_batch(self, seed: int, count: int) -> VolumeBatch: ...

    def picture_batch(self, seed: int, objects: int, views: int) -> PictureBatch: ...

    def gate_batch(self, seed: int, count: int, deformed: bool) -> PictureBatch: ...


def draw_backgrounds(count: int, generator: torch.Generator) -> Float[Tensor, "count 3"]:
    """White most often, then greys, then any colour; 0..1."""
    kind = torch.rand(count, 1, generator=generator)
    grey = torch.rand(count, 1, generator=generator).expand(-1, 3)
    colour = torch.rand(count, 3, generator=generator)
    rest = torch.where(kind < WHITE_SHARE + 0.35, grey, colour)
    return torch.where(kind < WHITE_SHARE, torch.ones(count, 3), rest)


class ObjectSource:
    """The generated dataset (`interactive3d.runtime.guidance.objects`), recoloured and captioned at every draw."""

    def __init__(self, folder: Path, gate_share: int = GATE_SHARE):
        """One object in `gate_share` is kept for `gate_batch`."""
        from interactive3d.runtime.guidance.objects import words
        from interactive3d.runtime.guidance.objects.dataset import Dataset

        self._words = words
        self.data = Dataset(folder)
        finished = np.asarray(self.data.object_ids)
        deformed = np.asarray(self.data.deformed)[finished] > 0
        kept = finished % gate_share == 0
        self._whole = finished[~deformed & ~kept]
        self._any = finished[~kept]
        self._gate = {flag: finished[kept & (deformed == flag)] for flag in (False, True)}

    def __len__(self) -> int:
        """Objects to train on."""
        return len(self._any)

    def words(self) -> list[str]:
        return list(dict.fromkeys(w for group in self._words.vocabulary().values() for w in group))

    def colours(self) -> dict[str, tuple[float, float, float]]:
        return dict(self._words.COLOURS)

    def _looks(self, objects: np.ndarray, seed: int) -> tuple[list, list[list[str]]]:
        rng = random.Random(seed)
        looks = [self.data.draw_look(int(i), rng) for i in objects]
        return looks, [self._words.normalise(look.caption) for look in looks]

    def volume_batch(self, seed: int, count: int) -> VolumeBatch:
        rng = np.random.default_rng(seed)
        objects = rng.choice(self._whole, count, replace=False)
        looks, captions = self._looks(objects, seed)
        return VolumeBatch(captions, self.data.voxels(objects, looks))

    def _pictures_of(self, objects: np.ndarray, rows: list[np.ndarray], seed: int, white: bool) -> PictureBatch:
        looks, captions = self._looks(objects, seed)
        owner = np.repeat(np.arange(len(objects)), [len(r) for r in rows])
        ids = np.concatenate(rows)
        generator = torch.Generator().manual_seed(seed)
        background = torch.ones(len(ids), 3) if white else draw_backgrounds(len(ids), generator)
        drawn = self.data.images(ids, [looks[i] for i in owner], background, size=PICTURE_SIZE)
        return PictureBatch(
            pictures=drawn.images,
            viewmats=torch.from_numpy(np.array(self.data.viewmats[ids], dtype=np.float32)),
            fovs=torch.from_numpy(np.array(self.data.fovs[ids], dtype=np.float32)),
            background=background,
            owner=torch.from_numpy(owner),
            captions=captions,
            volumes=self.data.voxels(objects, looks),
        )

    def picture_batch(self, seed: int, objects: int, views: int) -> PictureBatch:
        rng = np.random.default_rng(seed)
        chosen = rng.choice(self._any, objects, replace=False)
        rows = [rng.permutation(self._rows(i))[:views] for i in chosen]
        return self._pictures_of(chosen, rows, seed, white=False)

    def gate_batch(self, seed: int, count: int, deformed: bool) -> PictureBatch:
        """Objects never trained on, from cameras that see the whole of them, on white."""
        rng = np.random.default_rng(seed)
        rows, chosen = [], []
        for i in rng.permutation(self._gate[deformed]):
            whole = [r for r in self._rows(i) if self._sees_all(r)]
            if whole:
                chosen.append(i)
                rows.append(np.array(whole))
        keep = np.searchsorted(np.cumsum([len(r) for r in rows]), count) + 1
        batch = self._pictures_of(np.array(chosen[:keep]), rows[:keep], seed, white=True)
        return trimmed(batch, count)

    def _rows(self, object_id: int) -> np.ndarray:
        """Row numbers of an object's pictures."""
        return object_id * self.data.views + np.arange(self.data.views)

    def _sees_all(self, row: int) -> bool:
        """Whether the camera looks at the origin with the object's bounding sphere of radius 0.8 in view."""
        view = np.asarray(self.data.viewmats[row])
        off_axis = np.hypot(view[0, 3], view[1, 3])
        half = np.tan(np.radians(self.data.fovs[row]) / 2)
        return bool(off_axis < 0.05 and view[2, 3] * half > 0.75)


def trimmed(batch: PictureBatch, count: int) -> PictureBatch:
    """The first `count` pictures."""
    return PictureBatch(
        batch.pictures[:count],
        batch.viewmats[:count],
        batch.fovs[:count],
        batch.background[:count],
        batch.owner[:count],
        batch.captions,
        batch.volumes,
    )


class JointSource:
    """Several datasets as one: a batch comes from one of them, in proportion to their objects; the gate from the largest."""

    def __init__(self, folders: Sequence[Path]):
        self.sources = [ObjectSource(folder) for folder in folders]
        self._weights = [len(source) for source in self.sources]

    def words(self) -> list[str]:
        return self.sources[0].words()

    def colours(self) -> dict[str, tuple[float, float, float]]:
        return self.sources[0].colours()

    def _one(self, seed: int) -> ObjectSource:
        return random.Random(seed ^ 0x5EED).choices(self.sources, self._weights)[0]

    def volume_batch(self, seed: int, count: int) -> VolumeBatch:
        return self._one(seed).volume_batch(seed, count)

    def picture_batch(self, seed: int, objects: int, views: int) -> PictureBatch:
        return self._one(seed).picture_batch(seed, objects, views)

    def gate_batch(self, seed: int, count: int, deformed: bool) -> PictureBatch:
        return max(self.sources, key=len).gate_batch(seed, count, deformed)


class EllipsoidSource:
    """Coloured ellipsoids, "a <colour> <egg|disc|rod>": needs no files, learns in seconds, used by the tests."""

    COLOURS: ClassVar = {
        "red": (0.9, 0.1, 0.1),
        "green": (0.1, 0.7, 0.2),
        "blue": (0.1, 0.3, 0.9),
        "yellow": (0.95, 0.85, 0.1),
    }
    SHAPES: ClassVar = {
        "egg": (0.5, 0.6, 0.5),
        "disc": (0.7, 0.2, 0.7),
        "rod": (0.2, 0.75, 0.2),
        "bar": (0.75, 0.25, 0.25),
    }

    def __init__(self, resolution: int = 32):
        self.resolution = resolution

    def words(self) -> list[str]:
        return ["a", *self.COLOURS, *self.SHAPES]

    def colours(self) -> dict[str, tuple[float, float, float]]:
        return self.COLOURS

    def volume_batch(self, seed: int, count: int) -> VolumeBatch:
        rng = random.Random(seed)
        grid = cell_centres(self.resolution)
        captions, volumes = [], []
        for _ in range(count):
            colour, shape = rng.choice(list(self.COLOURS)), rng.choice(list(self.SHAPES))
            radii = torch.tensor(self.SHAPES[shape]) * rng.uniform(0.9, 1.1)
            alpha = ((1 - (grid / radii).norm(dim=-1)) * radii.min() * self.resolution / 2 + 0.5).clamp(0, 1)
            rgb = torch.where(alpha > 0, torch.tensor(self.COLOURS[colour])[:, None, None, None], 0.5)
            captions.append(["a", colour, shape])
            volumes.append(torch.cat((rgb, alpha[None])))
        return VolumeBatch(captions, torch.stack(volumes))

    def picture_batch(self, seed: int, objects: int, views: int) -> PictureBatch:
        from interactive3d.runtime.guidance.embedded.gate import orbit_viewmats

        batch = self.volume_batch(seed, objects)
        generator = torch.Generator().manual_seed(seed)
        b = objects * views
        owner = torch.arange(objects).repeat_interleave(views)
        viewmats = orbit_viewmats(360 * torch.rand(b, generator=generator), torch.full((b,), 15.0))
        fovs = torch.full((b,), 40.0)
        background = draw_backgrounds(b, generator)
        view = render_volume(batch.volumes[owner], viewmats, fovs, size=PICTURE_SIZE)
        pictures = view[:, :3] + (1 - view[:, 3:4]) * background[:, :, None, None]
        return PictureBatch(pictures * 2 - 1, viewmats, fovs, background, owner, batch.captions, batch.volumes)

    def gate_batch(self, seed: int, count: int, deformed: bool) -> PictureBatch:
        return self.picture_batch(seed + 10**6, count, 1)
