import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from interactive3d.runtime.output.mesh_paint import to_display, to_linear
from interactive3d.runtime.output.meshes import BLOB_OPACITY, load_mesh, mesh_to_blobs, sample_mesh
from interactive3d.runtime.output.problems import FileProblem
from interactive3d.runtime.output.scatter import _close_pairs, even_subset
from interactive3d.runtime.scene.camera import Camera
from interactive3d.runtime.scene.render import render

# Colours are stored in bytes.
BYTE = 1.5 / 255
FLOAT_TOLERANCE = 1e-5
FUZZ = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


def colored_sphere() -> trimesh.Trimesh:
    sphere = trimesh.creation.icosphere(3)
    sphere.visual.vertex_colors = ((sphere.vertices * 0.5 + 0.5) * 255).astype(np.uint8)
    return sphere


def textured_quad() -> trimesh.Trimesh:
    """A square in the xy plane whose texture is red, green / blue, white from its top left."""
    image = Image.new("RGB", (64, 64))
    for (x, y), color in {(0, 0): "red", (32, 0): "lime", (0, 32): "blue", (32, 32): "white"}.items():
        image.paste(color, (x, y, x + 32, y + 32))
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=image, baseColorFactor=[255, 255, 255, 255])
    vertices = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], dtype=float)
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=float)
    return trimesh.Trimesh(
        vertices, [[0, 1, 2], [0, 2, 3]], visual=trimesh.visual.TextureVisuals(uv=uv, material=material), process=False
    )


def quadrants(sample) -> dict[tuple[bool, bool], list[float]]:
    """Mean colour right/left and above/below the middle, away from the texture's seams and its rim, where it repeats."""
    p, size = sample.positions, sample.positions[:, :2].abs()
    inner = ((size > 0.1) & (size < 0.5)).all(-1)
    means = {}
    for right in (False, True):
        for above in (False, True):
            here = inner & ((p[:, 0] > 0) == right) & ((p[:, 1] > 0) == above)
            means[right, above] = sample.colors[here].mean(0)
    return means


QUADRANTS = {(False, True): [1, 0, 0], (True, True): [0, 1, 0], (False, False): [0, 0, 1], (True, False): [1, 1, 1]}


@pytest.mark.parametrize("suffix", ["glb", "gltf", "obj"])
def test_texture_colours_are_sampled_the_right_way_up(tmp_path, suffix):
    scene = trimesh.Scene(textured_quad())
    if suffix == "gltf":
        for name, content in scene.export(file_type="gltf").items():
            (tmp_path / name.replace("model.gltf", "quad.gltf")).write_bytes(content)
    else:
        scene.export(tmp_path / f"quad.{suffix}")
    sample = sample_mesh(tmp_path / f"quad.{suffix}", 2000)
    for place, color in quadrants(sample).items():
        assert torch.allclose(color, torch.tensor(QUADRANTS[place], dtype=torch.float32), atol=BYTE), place
    assert load_mesh(tmp_path / f"quad.{suffix}").textures == ((64, 64),)
    assert torch.allclose(sample.normals, torch.tensor([0.0, 0.0, 1.0]).expand(2000, 3), atol=FLOAT_TOLERANCE)


@pytest.mark.parametrize("suffix", ["glb", "ply", "obj"])
def test_vertex_colours_are_interpolated(tmp_path, suffix):
    colored_sphere().export(tmp_path / f"a.{suffix}")
    sample = sample_mesh(tmp_path / f"a.{suffix}", 500)
    assert torch.allclose(sample.colors, sample.positions / 0.8 * 0.5 + 0.5, atol=3 * BYTE)


def test_face_colours_are_kept(tmp_path):
    box = trimesh.creation.box()
    box.visual.face_colors = np.where(box.face_normals[:, :1] > 0.5, [[255, 0, 0, 255]], [[0, 0, 255, 255]]).astype(
        np.uint8
    )
    box.export(tmp_path / "a.ply")
    sample = sample_mesh(tmp_path / "a.ply", 600)
    right = sample.normals[:, 0] > 0.5
    assert 80 <= int(right.sum()) <= 120
    assert (sample.colors[right] == torch.tensor([1.0, 0.0, 0.0])).all() and (
        sample.colors[~right] == torch.tensor([0.0, 0.0, 1.0])
    ).all()


def test_a_mesh_without_colours_is_grey(tmp_path):
    trimesh.creation.box().export(tmp_path / "a.stl")
    assert torch.allclose(sample_mesh(tmp_path / "a.stl", 10).colors, torch.tensor(0.7))


def glb(tree: dict, data: bytes = b"", *, length: int | None = None) -> bytes:
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    data += bytes(-len(data) % 4)
    body = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(data), b"BIN\0") + data
    return struct.pack("<4sII", b"glTF", 2, 12 + len(body) if length is None else length) + body


def triangle_tree(**changes) -> tuple[dict, bytes]:
    data = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4").tobytes()
    tree = {
        "asset": {"version": "2.0", "generator": "somebody"},
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "material": 0}]}],
        "materials": [{"pbrMetallicRoughness": {"baseColorFactor": [0.5, 0.0, 1.0, 1.0]}}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}],
        "bufferViews": [{"buffer": 0, "byteLength": 36}],
        "buffers": [{"byteLength": 36}],
    }
    return tree | changes, data


def test_gltf_factors_are_linear_light(tmp_path):
    (tmp_path / "a.glb").write_bytes(glb(*triangle_tree()))
    color = sample_mesh(tmp_path / "a.glb", 5).colors[0]
    # 0.5 of the light is display value 188 of 255.
    assert torch.allclose(color, torch.tensor([188 / 255, 0.0, 1.0]), atol=BYTE)


def test_display_and_linear_values_invert_each_other():
    values = np.linspace(0, 1, 1001)
    assert np.allclose(to_display(to_linear(values)), values, atol=1e-6)
    assert to_linear(np.array([0.5]))[0] == pytest.approx(0.21404, abs=1e-5)


def test_what_a_texture_cuts_away_gets_no_points(tmp_path):
    quad = textured_quad()
    material = quad.visual.material
    image = material.baseColorTexture.convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 32, 64))
    quad.visual.material = trimesh.visual.material.PBRMaterial(
        baseColorTexture=image, alphaMode="MASK", alphaCutoff=0.5
    )
    quad.export(tmp_path / "a.glb")
    sample = sample_mesh(tmp_path / "a.glb", 400)
    assert len(sample.positions) == 400 and float(sample.positions[:, 0].min()) > -0.02
    whole = sample_mesh_of(textured_quad(), tmp_path, 800)
    assert sample.spacing == pytest.approx(whole.spacing, rel=0.05)


def sample_mesh_of(mesh, folder: Path, count: int, **options):
    mesh.export(folder / "other.glb")
    return sample_mesh(folder / "other.glb", count, **options)


def test_scenes_are_merged_with_their_transforms(tmp_path):
    scene = trimesh.Scene()
    box = trimesh.creation.box((0.2, 0.2, 0.2))
    scene.add_geometry(box, transform=trimesh.transformations.translation_matrix([1, 0, 0]))
    scene.add_geometry(box, transform=trimesh.transformations.scale_and_translate([2, 2, 2], [-1, 0, 0]))
    scene.add_geometry(box, transform=np.diag([1.0, 1.0, -1.0, 1.0]))
    scene.export(tmp_path / "a.glb")
    mesh = load_mesh(tmp_path / "a.glb")
    assert mesh.pieces == 3 and len(mesh.triangles) == 36
    sample = sample_mesh(tmp_path / "a.glb", 1200, normalize=False)
    left = sample.positions[:, 0] < -0.5
    assert int(left.sum()) == pytest.approx(1200 * 4 / 6, abs=15)
    assert float(sample.positions[:, 0].min()) == pytest.approx(-1.2, abs=0.01)
    middle = sample.positions[:, 0].abs() < 0.5
    outward = (sample.normals[middle] * sample.positions[middle]).sum(-1)
    assert (outward > 0).all(), "a mirrored piece is not inside out"


def test_normalizing_fits_the_bounding_sphere_and_up_turns(tmp_path):
    box = trimesh.creation.box((1, 2, 8))
    box.apply_translation([5, 5, 5])
    box.export(tmp_path / "a.stl")
    sample = sample_mesh(tmp_path / "a.stl", 3000, up="z", radius=0.8)
    extent = sample.positions.max(0).values - sample.positions.min(0).values
    assert torch.allclose(extent, torch.tensor([1.0, 8.0, 2.0]) * 1.6 / np.sqrt(69), atol=0.03)
    assert float(sample.positions.norm(dim=-1).max()) <= 0.8 + FLOAT_TOLERANCE
    plain = sample_mesh(tmp_path / "a.stl", 3000, normalize=False)
    assert torch.allclose(plain.positions.mean(0), torch.tensor([5.0, 5.0, 5.0]), atol=0.1)


def test_the_same_seed_gives_the_same_points(tmp_path):
    colored_sphere().export(tmp_path / "a.glb")
    one, two, other = (sample_mesh(tmp_path / "a.glb", 200, seed) for seed in (3, 3, 4))
    assert torch.equal(one.positions, two.positions) and torch.equal(one.colors, two.colors)
    assert not torch.equal(one.positions, other.positions)
    drawn = sample_mesh(tmp_path / "a.glb", 200, torch.Generator().manual_seed(1))
    assert torch.equal(
        drawn.positions, sample_mesh(tmp_path / "a.glb", 200, torch.Generator().manual_seed(1)).positions
    )


def test_points_are_spread_evenly(tmp_path):
    colored_sphere().export(tmp_path / "a.glb")
    sample = sample_mesh(tmp_path / "a.glb", 1000)
    distance = torch.cdist(sample.positions, sample.positions).fill_diagonal_(9.0).min(1).values / sample.spacing
    # Random points have neighbours at any distance, half a spacing on average.
    assert float(distance.min()) > 0.6 and float(distance.mean()) > 0.75
    angles = (
        torch.nn.functional.normalize(torch.randn(3000, 3, generator=torch.Generator().manual_seed(0)), dim=-1) * 0.8
    )
    assert float(torch.cdist(angles, sample.positions).min(1).values.max()) < 1.1 * sample.spacing, "no holes"


def test_close_pairs_are_all_pairs():
    rng = np.random.default_rng(0)
    points, normals = rng.random((400, 3)), rng.normal(size=(400, 3))
    found = _close_pairs(points, normals, 0.15)
    assert found is not None
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    expected = np.argwhere(np.triu((distance < 0.15) & (normals @ normals.T > 0), 1))
    assert sorted(zip(found[0].tolist(), found[1].tolist(), strict=True)) == [tuple(p) for p in expected.tolist()]
    assert len(expected) > 100


def test_crowded_points_cost_no_gigabytes(survives):
    points = np.zeros((10_000, 3))
    points[-1] = 1e6
    normals = np.tile([0.0, 0.0, 1.0], (10_000, 1))
    assert survives(lambda: even_subset(points, normals, 100, 0.1)) is None


def test_blobs_lie_flat_on_the_surface_and_hide_what_is_behind(tmp_path):
    trimesh.creation.box((2, 2, 0.02)).export(tmp_path / "a.stl")
    notes = []
    model = mesh_to_blobs(tmp_path / "a.stl", 4000, 1, normalize=False, notes=notes)
    assert len(model) == 4000 and notes == []
    assert torch.allclose(model.opacity, torch.tensor(BLOB_OPACITY))
    front = model.rows(torch.nonzero(model.mean[:, 2] > 0.009).flatten())
    assert 1900 < len(front) < 2000
    w, x, y, z = front.rotation.unbind(-1)
    normal = torch.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], -1)
    flat = front.scale[:, 2] < 0.2 * front.scale[:, 0]
    assert (normal[:, 2].abs() > 0.99).float().mean() > 0.98 and flat.all()
    alpha = render(front, [Camera.orbit(0, 0, 2.0, fov=20)], 48).alpha
    # One wall of the two, seen from the front.
    assert float(alpha.mean()) > 0.96


# -- what is refused --------------------------------------------------------------------------------------------------------
OBJ = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.glb", b"", "is empty"),
        ("a.glb", b"glTF", "cut short"),
        ("a.glb", struct.pack("<4sIIII", b"glTF", 1, 20, 0, 0), "version 1"),
        ("a.glb", struct.pack("<4sIII4s", b"glTF", 2, 20, 2**31, b"JSON"), "says it has 2.1 GB"),
        ("a.glb", glb({}, length=2**32 - 1), "says it has 4.3 GB"),
        ("a.glb", struct.pack("<4sIII4s", b"glTF", 2, 24, 4, b"JSON") + b"{{{{", "JSON cannot be read"),
        ("a.glb", struct.pack("<4sIII4s", b"glTF", 2, 24, 4, b"JSON") + b"[1] ", "expected an object"),
        ("a.glb", glb({"accessors": 3}), "'accessors' is a number"),
        ("a.glb", glb({}), "no triangles"),
        ("a.glb", glb({"extensionsRequired": ["KHR_draco_mesh_compression"]}), "Draco"),
        ("a.gltf", json.dumps({"buffers": [{"uri": "../../dev/zero"}]}).encode(), "which cannot be read"),
        ("a.obj", b"# nothing\n", "a.obj"),
        ("a.obj", OBJ.replace(b"f 1 2 3", b"f 1 2 9"), "a.obj"),
        ("a.obj", OBJ.replace(b"v 1 0 0", b"v nan 0 0"), "a.obj"),
        ("a.obj", OBJ.replace(b"v 1 0 0", b"v 0 0 0"), "no surface"),
        ("a.stl", b"solid nothing\nendsolid\n", "a.stl"),
        ("a.stl", bytes(80) + struct.pack("<I", 2**31), "a.stl"),
        ("a.off", b"OFF\n2147483648 1 0\n0 0 0\n", "a.off"),
        ("a.ply", b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n0\n", "point cloud"),
        (
            "a.ply",
            b"ply\nformat ascii 1.0\nelement vertex 0\nproperty float opacity\nproperty float rot_0\nend_header\n",
            "holds splats",
        ),
        (
            "a.ply",
            b"ply\nformat binary_little_endian 1.0\nelement vertex 2147483648\nproperty float x\nend_header\n",
            "2147483648 rows",
        ),
        ("a.fbx", b"x", "no mesh format that is read"),
    ],
)
def test_malformed_meshes_say_what_is_wrong(tmp_path, survives, name, content, message):
    (tmp_path / name).write_bytes(content)
    problem = survives(lambda: sample_mesh(tmp_path / name, 10))
    assert problem is not None and message in str(problem)


@pytest.mark.parametrize(
    "changes",
    [
        {"accessors": [{"componentType": 5126, "count": 2**31, "type": "VEC3"}]},
        {"accessors": [{"bufferView": 0, "componentType": 5126, "count": 2**31, "type": "VEC3"}]},
        {"accessors": [{"bufferView": 0, "componentType": 5126, "count": -3, "type": "VEC3"}]},
        {"accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC9"}]},
        {"bufferViews": [{"buffer": 0, "byteLength": 2**40}]},
        {"bufferViews": [{"buffer": 7, "byteLength": 36}]},
        {"bufferViews": [{"buffer": 0, "byteLength": 36, "byteStride": 2**31}]},
        {"nodes": [{"mesh": 5}]},
        {"nodes": [{"mesh": 0, "matrix": [float("nan")] * 16}]},
        {"meshes": [{"primitives": [{"attributes": {"POSITION": 99}}]}]},
        {"meshes": [{}]},
    ],
)
def test_lying_gltf_is_refused(tmp_path, survives, changes):
    (tmp_path / "a.glb").write_bytes(glb(*triangle_tree(**changes)))
    assert survives(lambda: sample_mesh(tmp_path / "a.glb", 10)) is not None


def test_views_that_repeat_a_buffer_cost_no_gigabytes(tmp_path, survives):
    size = 1 << 20
    tree, _ = triangle_tree(bufferViews=[{"buffer": 0, "byteLength": size}] * 500, buffers=[{"byteLength": size}])
    (tmp_path / "a.glb").write_bytes(glb(tree, bytes(size)))
    problem = survives(lambda: sample_mesh(tmp_path / "a.glb", 10))
    assert problem is not None and "524.3 MB of geometry in 1.1 MB" in str(problem)


def test_nodes_in_a_circle_do_not_hang(tmp_path, survives):
    tree, data = triangle_tree(nodes=[{"children": [1]}, {"children": [0], "mesh": 0}])
    (tmp_path / "a.glb").write_bytes(glb(tree, data))
    survives(lambda: sample_mesh(tmp_path / "a.glb", 10))


def test_broken_triangles_are_dropped_and_counted(tmp_path):
    (tmp_path / "a.obj").write_bytes(OBJ + b"v nan 0 0\nf 1 2 4\n")
    sample = sample_mesh(tmp_path / "a.obj", 10)
    assert [(n.code, n.count) for n in sample.notes] == [("triangles-dropped", 1)]
    assert bool(torch.isfinite(sample.positions).all())


def test_a_missing_texture_is_told_and_a_device_is_not_read(tmp_path):
    (tmp_path / "a.obj").write_bytes(b"mtllib a.mtl\nvt 0 0\nusemtl m\n" + OBJ.replace(b"1 2 3", b"1/1 2/1 3/1"))
    (tmp_path / "a.mtl").write_text("newmtl m\nKd 1 0 0\nmap_Kd gone.png\n")
    notes = []
    mesh_to_blobs(tmp_path / "a.obj", 10, notes=notes)
    assert [n.code for n in notes] == ["side-file-missing"] and "gone.png" in str(notes[0])
    for target in ("/dev/zero", "../../../../../../dev/zero", "pipe"):
        if target == "pipe":
            os.mkfifo(tmp_path / "pipe")
        (tmp_path / "a.mtl").write_text(f"newmtl m\nKd 1 0 0\nmap_Kd {target}\n")
        assert len(sample_mesh(tmp_path / "a.obj", 10).positions) == 10


@pytest.mark.parametrize("side", [9_000, 20_000])
def test_an_enormous_texture_in_a_small_file_is_not_decoded(tmp_path, survives, side):
    """The larger one is refused by Pillow inside trimesh, which goes on without; the smaller one by us."""
    Image.new("1", (side, side)).save(tmp_path / "big.png")
    (tmp_path / "a.mtl").write_text("newmtl m\nmap_Kd big.png\n")
    (tmp_path / "a.obj").write_bytes(b"mtllib a.mtl\nvt 0 0\nusemtl m\n" + OBJ.replace(b"1 2 3", b"1/1 2/1 3/1"))
    notes = []
    problem = survives(lambda: mesh_to_blobs(tmp_path / "a.obj", 10, notes=notes))
    assert (problem is not None and "texture of 9000 x 9000" in str(problem)) or [n.code for n in notes] == [
        "texture-unreadable"
    ]


def test_a_damaged_texture_is_told(tmp_path, survives):
    content = bytearray(trimesh.Scene(textured_quad()).export(file_type="glb"))
    place = content.index(b"\x89PNG")
    content[place : place + 4] = b"what"
    (tmp_path / "a.glb").write_bytes(content)
    assert [n.code for n in sample_mesh(tmp_path / "a.glb", 10).notes] == ["texture-unreadable"]
    content[place : place + 4] = b"\x89PNG"
    content[place + 60 : place + 70] = bytes(10)
    (tmp_path / "a.glb").write_bytes(content)
    problem = survives(lambda: sample_mesh(tmp_path / "a.glb", 10))
    assert problem is not None and "cannot be decoded" in str(problem)


def test_wrong_calls(tmp_path):
    trimesh.creation.box().export(tmp_path / "a.stl")
    for call in (
        lambda: sample_mesh(tmp_path / "a.stl", 0),
        lambda: sample_mesh(tmp_path / "a.stl", 10, radius=-1.0),
        lambda: sample_mesh(tmp_path / "a.stl", 10, up="w"),
        lambda: mesh_to_blobs(tmp_path / "a.stl", 10, opacity=1.0),
    ):
        with pytest.raises(ValueError, match="expected"):
            call()
    with pytest.raises(FileProblem, match=r"did you mean a\.stl"):
        sample_mesh(tmp_path / "b.stl", 10)


VALID = {
    "glb": trimesh.Scene(textured_quad()).export(file_type="glb"),
    "ply": trimesh.creation.box().export(file_type="ply"),
    "stl": trimesh.creation.box().export(file_type="stl"),
    "obj": trimesh.creation.box().export(file_type="obj").encode(),
}


@FUZZ
@given(data=st.data(), suffix=st.sampled_from(sorted(VALID)))
def test_damaged_meshes_read_or_are_refused(tmp_path, survives, data, suffix):
    content = bytearray(VALID[suffix])
    for _ in range(data.draw(st.integers(0, 5))):
        content[data.draw(st.integers(0, min(len(content), 2000) - 1))] = data.draw(st.integers(0, 255))
    length = data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    path = tmp_path / f"fuzz.{suffix}"
    path.write_bytes(content[:length])
    survives(lambda: sample_mesh(path, 20))


VALUES = st.one_of(st.integers(-1, 3), st.sampled_from([2**31, 2**40, -(2**31), 1e300, "x", None, [], {}, True]))


@FUZZ
@given(data=st.data())
def test_twisted_gltf_reads_or_is_refused(tmp_path, survives, data):
    tree, content = triangle_tree()
    for _ in range(data.draw(st.integers(1, 3))):
        spot: object = tree
        for _ in range(6):
            keys = list(spot) if isinstance(spot, dict) else list(range(len(spot))) if isinstance(spot, list) else []
            if not keys:
                break
            key = data.draw(st.sampled_from(keys))
            if not isinstance(spot[key], dict | list) or data.draw(st.integers(0, 4)) == 0:
                spot[key] = data.draw(VALUES)
                break
            spot = spot[key]
    path = tmp_path / "fuzz.glb"
    path.write_bytes(glb(tree, content))
    survives(lambda: sample_mesh(path, 20))
