"""Shapes, renders, volumes and data sets. Needs numba, which the `train` extra brings."""

import random
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba", reason="the generated objects are rendered with numba (the train extra)")

import torch

from interactive3d.runtime.guidance.objects.building import build
from interactive3d.runtime.guidance.objects.cameras import orbit_viewmat
from interactive3d.runtime.guidance.objects.captions import held_out
from interactive3d.runtime.guidance.objects.dataset import Dataset
from interactive3d.runtime.guidance.objects.deform import deform
from interactive3d.runtime.guidance.objects.render import render
from interactive3d.runtime.guidance.objects.shapes import RADIUS, Shape, make_shape
from interactive3d.runtime.guidance.objects.voxels import voxelise
from interactive3d.runtime.guidance.objects.words import KINDS, KINDS_WORDS, MATERIAL_SLOTS

AZIMUTHS = (0.0, 90.0, 200.0)
VIEWS = np.stack([orbit_viewmat(azimuth, 15.0, 2.5) for azimuth in AZIMUTHS])
FOVS = np.full(len(AZIMUTHS), 40.0)
CELLS = 64
"""Finer than a data set's 32, which wings as thin as half a cell cover too little for a silhouette."""
PROJECTED_IOU = 0.85
"""A volume of 64 cells rounds a silhouette by up to half a pixel of the pictures here; swapped or mirrored axes give less than 0.6."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("objects"), objects=26, views=2, seed=9, size=64, workers=1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_shape_is_deterministic_normalised_and_has_its_parts(kind: str) -> None:
    shape, again = make_shape(kind, 5), make_shape(kind, 5)
    assert np.array_equal(shape.primitives, again.primitives)
    assert shape.options == again.options
    assert not np.array_equal(shape.primitives, make_shape(kind, 6, shape.options).primitives)
    reach = np.abs(shape.primitives[shape.primitives[:, 1] == 0][:, 22:25]).max()
    assert reach < RADIUS
    brings = tuple(option for group in KINDS_WORDS[kind].options for option in group[1:] if option.startswith("with "))
    slots = set(make_shape(kind, 1, brings).primitives[:, 2].astype(int))
    named = {part.slot for part in KINDS_WORDS[kind].parts.values()}
    assert named <= slots
    assert slots <= named | {1} | set(MATERIAL_SLOTS.values())


def test_unknown_kinds_and_options_are_refused() -> None:
    with pytest.raises(ValueError, match="kind: expected one of"):
        make_shape("unicorn", 0)
    with pytest.raises(ValueError, match="a cat knows"):
        make_shape("cat", 0, ("with wings",))


def _project(shape: Shape, size: int = 64) -> np.ndarray:
    """Largest coverage along each pixel's ray through the volume, by nearest sampling."""
    alpha = voxelise(shape, CELLS).alpha.astype(np.float32) / 255
    focal = 0.5 * size / np.tan(np.radians(20))
    u = (np.arange(size) + 0.5 - size / 2) / focal
    rays = np.stack(np.broadcast_arrays(u[None, :], u[:, None], 1.0), axis=-1)
    pictures = []
    for view in VIEWS:
        directions = rays @ view[:3, :3]
        points = -view[:3, :3].T @ view[:3, 3] + directions[..., None, :] * np.linspace(1.4, 3.6, 160)[:, None]
        index = np.floor((points + 1) * CELLS / 2).astype(int)
        inside = ((index >= 0) & (index < CELLS)).all(-1)
        index = index.clip(0, CELLS - 1)
        pictures.append(np.where(inside, alpha[index[..., 2], index[..., 1], index[..., 0]], 0).max(-1))
    return np.stack(pictures)


@pytest.mark.parametrize("deformed", [False, True])
@pytest.mark.parametrize("kind", ["dragon", "teapot", "car", "cat", "boat"])
def test_volumes_agree_with_renders(kind: str, deformed: bool) -> None:
    shape = make_shape(kind, 3)
    if deformed:
        shape = deform(shape, 4)
    seen = render(shape, VIEWS, FOVS, 64).labels > 0
    projected = _project(shape) > 0.5
    overlap = (seen & projected).sum() / (seen | projected).sum()
    assert overlap > PROJECTED_IOU


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_stay_inside_the_frame_and_differ_by_side(kind: str) -> None:
    shape = make_shape(kind, 2)
    traced = render(shape, VIEWS, FOVS, 64)
    border = np.concatenate(
        [traced.labels[:, 0], traced.labels[:, -1], traced.labels[:, :, 0], traced.labels[:, :, -1]]
    )
    assert not border.any()
    assert (traced.labels > 0).mean() > 0.05
    assert set(np.unique(traced.labels)) <= set(shape.primitives[:, 2].astype(int)) | {0}
    assert np.array_equal(traced.depth > 0, traced.labels > 0)


def test_a_deformation_is_deterministic_and_changes_the_object() -> None:
    shape = make_shape("horse", 1)
    changed = 0
    for seed in range(8):
        one, two = deform(shape, seed), deform(shape, seed)
        assert np.array_equal(one.primitives, two.primitives)
        assert one.warp == two.warp
        before, after = (render(s, VIEWS[:1], FOVS[:1], 48).labels for s in (shape, one))
        changed += (before != after).mean() > 0.01
        assert one.reach <= 0.951
    assert changed >= 6


def test_a_data_set_is_deterministic_resumable_and_refuses_other_figures(folder: Path, tmp_path: Path) -> None:
    again = Dataset(build(tmp_path / "again", objects=26, views=2, seed=9, size=64, workers=1))
    first = Dataset(folder)
    for name in ("labels", "marks", "shades", "viewmats", "voxel_alpha", "voxel_label", "deformed"):
        assert np.array_equal(getattr(first, name), getattr(again, name)), name
    done = np.load(folder / "done.npy")
    assert done.all()
    build(folder, objects=26, views=2, seed=9, size=64, workers=1)  # finished: nothing to do
    with pytest.raises(ValueError, match="another data set"):
        build(folder, objects=27, views=2, seed=9, size=64, workers=1)


def test_held_out_looks_are_never_drawn(folder: Path) -> None:
    data, rng = Dataset(folder), random.Random(0)
    looks = [data.draw_look(i, rng) for i in data.object_ids for _ in range(60)]
    assert not any(held_out(look.description) for look in looks)
    free = [data.draw_look(i, rng, allow_held_out=True) for i in data.object_ids for _ in range(60)]
    assert any(held_out(look.description) for look in free)


def test_pictures_and_volumes_take_the_colours_of_the_look(folder: Path) -> None:
    data, rng = Dataset(folder), random.Random(2)
    ids = data.image_ids[::2]
    objects = data.object_index[ids]
    looks = [data.draw_look(i, rng) for i in objects]
    white = torch.ones(len(ids), 3)
    pictures = data.images(ids, looks, white, size=32)
    assert pictures.images.shape == (len(ids), 3, 32, 32)
    assert float(pictures.images.min()) >= -1
    assert float(pictures.images.max()) <= 1
    empty = (pictures.alpha == 0).expand(-1, 3, -1, -1)
    assert (pictures.images[empty] == 1).all()
    spread = data.images(ids, looks, torch.zeros(len(ids), 3, 32, 32), size=32)
    assert (spread.images[empty] == -1).all()
    volumes = data.voxels(objects, looks)
    assert volumes.shape == (len(ids), 4, 32, 32, 32)
    nowhere = torch.from_numpy(data.voxel_label[objects] == 0)
    assert (volumes[:, :3].permute(0, 2, 3, 4, 1)[nowhere] == 0.5).all()
    plain = next(i for i, look in enumerate(looks) if look.description.pattern == "plain")
    solid = torch.from_numpy(data.voxel_label[objects[plain]] == 1)
    colour = volumes[plain, :3].permute(1, 2, 3, 0)[solid]
    assert torch.allclose(colour, torch.from_numpy(looks[plain].palette[1]).expand_as(colour))
