"""Meshes from a field that is known in closed form: closed, in place, coloured, readable."""

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from scipy import ndimage
from scipy.spatial import cKDTree

from interactive3d.runtime.field import render_field
from interactive3d.runtime.field.baking import bake, cover, mesh_picture, padded, write_mesh
from interactive3d.runtime.field.convert import UNSEEN, distill
from interactive3d.runtime.field.meshing import (
    THIN_SHARE,
    NoSurface,
    TriangleMesh,
    Volume,
    auto_threshold,
    compacted,
    extract_mesh,
    filled,
    march_volume,
    sample_volume,
    simplified,
    with_thin_parts,
    without_floaters,
)
from interactive3d.runtime.operations.base import seeded_generator
from interactive3d.runtime.output.meshes import mesh_to_blobs
from interactive3d.runtime.output.problems import FileProblem
from interactive3d.runtime.scene.camera import Camera
from interactive3d.runtime.settings import Settings
from tests.runtime.field.known import COLOR, RADIUS, ball_field

RESOLUTION = 40
CHAMFER_SHARE = 0.01
CHAMFER = CHAMFER_SHARE * 2 * RADIUS  # one hundredth of the object's size
COLOR_ERROR = 0.06  # of a display value: the colour changes by this over a few samples behind the surface
PICTURE = 25.0  # dB
HOLLOW = 3  # cells


@pytest.fixture(scope="module")
def mesh() -> TriangleMesh:
    return extract_mesh(ball_field(), resolution=RESOLUTION)


def test_the_surface_is_closed_turned_outwards_and_in_place(mesh: TriangleMesh) -> None:
    solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    assert solid.is_watertight and solid.is_winding_consistent and solid.volume > 0
    # Both ways of the Chamfer distance are distances to the sphere, for the vertices lie all over it.
    assert np.abs(np.linalg.norm(mesh.vertices, axis=1) - RADIUS).mean() < CHAMFER
    outward = mesh.vertices / np.linalg.norm(mesh.vertices, axis=1, keepdims=True)
    assert ((mesh.normals * outward).sum(1) > 0.98).all()


def test_the_threshold_is_found_and_honoured() -> None:
    found = auto_threshold(ball_field())
    assert 1.0 <= found <= 400.0
    loose = extract_mesh(ball_field(), resolution=24, threshold=1.0)
    tight = extract_mesh(ball_field(), resolution=24, threshold=200.0)
    assert np.linalg.norm(loose.vertices, axis=1).mean() > np.linalg.norm(tight.vertices, axis=1).mean()
    with pytest.raises(NoSurface, match="density above 0"):
        extract_mesh(ball_field(), resolution=24, threshold=-1.0)
    with pytest.raises(NoSurface, match="no surface at this threshold"):
        extract_mesh(ball_field(), resolution=24, threshold=1e30)


def test_slabs_are_welded_and_cavities_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = sample_volume(ball_field(), 24, 20.0)
    hollow = volume.values.copy()
    middle = tuple(s // 2 for s in hollow.shape)
    hollow[tuple(slice(m - HOLLOW, m + HOLLOW) for m in middle)] = -4
    pierced = hollow.copy()
    pierced[middle[0], middle[1], middle[2] :] = -4  # a pinhole from the cavity to the outside
    closed = filled(type(volume)(values=pierced, origin=volume.origin, cell=volume.cell)).values
    assert (
        closed[middle[0] - 1 : middle[0] + 1, middle[1] - 1 : middle[1] + 1, middle[2] - 1 : middle[2] + 1] > 0
    ).all()
    whole, _ = march_volume(volume)
    again, faces = march_volume(filled(type(volume)(values=hollow, origin=volume.origin, cell=volume.cell)))
    assert len(whole) == len(again)
    monkeypatch.setattr("interactive3d.runtime.field.meshing.SLAB", 5)
    slabs, slab_faces = march_volume(volume)
    assert len(slabs) == len(whole) and len(slab_faces) == len(faces)
    assert trimesh.Trimesh(slabs, slab_faces, process=False).is_watertight


def test_a_faint_antenna_comes_out_with_its_bulb_and_the_solid_does_not_swell() -> None:
    z, y, x = np.meshgrid(*(np.arange(40, dtype=float),) * 3, indexing="ij")
    aside = np.maximum(abs(z - 20), abs(x - 20))
    solid = np.clip(8 - np.sqrt((z - 20) ** 2 + (y - 12) ** 2 + (x - 20) ** 2), -4, 4)
    stem = np.where((aside < 1.5) & (y > 18) & (y < 32), 0.7 * np.log(THIN_SHARE), -4.0)
    bulb = np.where((aside < 2.5) & (abs(y - 33) < 2.5), 2.0, -4.0)
    values = np.maximum(np.maximum(solid, stem), bulb).astype(np.float16)
    volume = Volume(values=values, origin=np.zeros(3), cell=1.0)
    missed, whole = ndimage.label(values > 0)[1], ndimage.label(with_thin_parts(volume).values > 0)[1]
    assert (missed, whole) == (2, 1)
    added = (with_thin_parts(volume).values > 0) & (values <= 0)
    assert added.any() and aside[added].max() < 6  # the stem, and the root that it stands on
    only = Volume(values=solid.astype(np.float16), origin=np.zeros(3), cell=1.0)
    assert np.array_equal(with_thin_parts(only).values, only.values)


def test_floaters_go_and_simplification_keeps_to_its_limit(mesh: TriangleMesh) -> None:
    small = trimesh.creation.icosphere(1, 0.02)
    vertices = np.concatenate([mesh.vertices, small.vertices + 0.9])
    faces = np.concatenate([mesh.faces, small.faces + len(mesh.vertices)])
    kept, kept_faces = without_floaters(vertices, faces, 0.02)
    assert len(kept) == len(mesh.vertices) and len(kept_faces) == len(mesh.faces)
    few, few_faces = simplified(mesh.vertices, mesh.faces, 500)
    assert len(few_faces) <= 500
    assert np.abs(np.linalg.norm(few, axis=1) - RADIUS).mean() < 2 * CHAMFER
    assert compacted(vertices, mesh.faces)[0].shape == mesh.vertices.shape


def test_cover_finds_each_pixel_of_a_square_once() -> None:
    square = np.array([[[1.0, 1], [6, 1], [6, 6]], [[1, 1], [6, 6], [1, 6]]])
    face, flat, weight = cover(square, 8, 8)
    assert set(flat) == {y * 8 + x for y in range(1, 6) for x in range(1, 6)}
    assert np.allclose(weight.sum(1), 1)
    assert set(face) == {0, 1}


def test_padding_carries_colours_over_the_seam() -> None:
    texture = np.zeros((16, 16, 3))
    covered = np.zeros((16, 16), dtype=bool)
    texture[4:8, 4:8], covered[4:8, 4:8] = (1.0, 0.5, 0.0), True
    out = padded(texture, covered, 3)
    assert (out == np.array([1.0, 0.5, 0.0])).all()


@pytest.fixture(scope="module")
def files(mesh: TriangleMesh, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mesh")
    few = extract_mesh(ball_field(), resolution=24, faces=1200)
    for suffix in (".glb", ".obj", ".ply"):
        write_mesh(folder / f"ball{suffix}", ball_field(), few, 128)
    return folder


@pytest.mark.parametrize("suffix", [".glb", ".obj"])
def test_textured_files_come_back_with_their_texture(files: Path, suffix: str) -> None:
    back = trimesh.load(files / f"ball{suffix}", force="mesh")
    material = back.visual.material
    image = material.baseColorTexture if suffix == ".glb" else material.image
    assert image is not None and image.size == (128, 128)
    centers = back.triangles_center
    uv = back.visual.uv[back.faces].mean(1)
    pixels = np.asarray(image.convert("RGB"), dtype=float) / 255
    side = pixels.shape[0]
    rows = ((1 - uv[:, 1]) * side).astype(int).clip(0, side - 1)
    shown = pixels[rows, (uv[:, 0] * side).astype(int).clip(0, side - 1)]
    expected = 1 / (1 + np.exp(-COLOR * centers))
    assert np.abs(shown - expected).mean() < COLOR_ERROR
    assert np.abs(np.linalg.norm(back.vertices, axis=1) - RADIUS).mean() < 2 * CHAMFER  # same axes, same units


def test_ply_comes_back_with_vertex_colours(files: Path) -> None:
    back = trimesh.load(files / "ball.ply")
    expected = 1 / (1 + np.exp(-COLOR * back.vertices))
    assert np.abs(back.visual.vertex_colors[:, :3] / 255 - expected).mean() < COLOR_ERROR


def test_other_suffixes_are_refused(tmp_path: Path, mesh: TriangleMesh) -> None:
    with pytest.raises(FileProblem, match=r"use \.glb, \.obj, \.ply"):
        write_mesh(tmp_path / "x.stl", ball_field(), mesh, 64)


def test_the_textured_mesh_looks_like_the_field(mesh: TriangleMesh) -> None:
    field, camera, side = ball_field(), Camera.orbit(30.0, 20.0), 48
    textured = bake(field, extract_mesh(field, resolution=24), 256)
    picture = mesh_picture(textured, camera, side)
    expected = render_field(field, [camera], side).color[0].numpy()
    psnr = -10 * np.log10(np.square(picture - expected).mean())
    assert psnr >= PICTURE


@pytest.mark.slow
def test_a_mesh_comes_back_from_splats_and_field_where_it_was(tmp_path: Path) -> None:
    """Issue 5's bars: closed, Chamfer distance under a hundredth of the size, pictures of mesh and field alike."""
    source = trimesh.creation.capsule(height=0.6, radius=0.3, count=[24, 24])
    source.apply_translation(-source.centroid)
    source.visual.vertex_colors = (np.sin(5 * source.vertices) * 100 + 127).astype(np.uint8)
    source.export(tmp_path / "source.ply")
    model = mesh_to_blobs(tmp_path / "source.ply", 6000, normalize=False)
    field = distill(model, Settings(), lambda step, purpose: seeded_generator(0, step, purpose))
    surface = extract_mesh(field, resolution=128)
    found = trimesh.Trimesh(surface.vertices, surface.faces, process=False)
    assert found.is_watertight
    assert chamfer(source, found) < CHAMFER_SHARE * float(np.linalg.norm(source.extents))
    textured = bake(field, surface, 512)
    for camera in UNSEEN:
        expected = render_field(field, [camera], 96).color[0].numpy()
        assert -10 * np.log10(np.square(mesh_picture(textured, camera, 96) - expected).mean()) >= PICTURE


def chamfer(a: trimesh.Trimesh, b: trimesh.Trimesh, count: int = 20_000) -> float:
    """Mean distance from points on each surface to the nearest point of the other's, averaged over both ways."""
    one, other = (trimesh.sample.sample_surface(mesh, count, seed=0)[0] for mesh in (a, b))
    there, back = cKDTree(other).query(one)[0], cKDTree(one).query(other)[0]
    return float(there.mean() + back.mean()) / 2


def test_fog_has_no_surface() -> None:
    field = ball_field()
    thin = field.params.clone()
    thin[-4] = -40.0  # the raw density's bias
    with pytest.raises(NoSurface, match="too thin"):
        auto_threshold(field.with_base(thin))
    assert torch.isfinite(thin).all()
