import io
import math
import os
from pathlib import Path

import numpy as np
import plyfile
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interactive3d.runtime.output.problems import FileProblem
from interactive3d.runtime.output.splat_files import SH_C0, read_splat_file, read_splats, write_splats

# Colours go through f_dc = (rgb - 0.5) / C0 and back in float32, quaternions are normalised twice.
FLOAT_TOLERANCE = 1e-6
# A byte per quaternion component (steps of 1/128) and per colour (steps of 1/255).
BYTE_TOLERANCE = 0.008
FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)

BASE = [
    "x",
    "y",
    "z",
    "f_dc_0",
    "f_dc_1",
    "f_dc_2",
    "opacity",
    *(f"scale_{i}" for i in range(3)),
    *(f"rot_{i}" for i in range(4)),
]


def write_ply(
    path: Path,
    names: list[str],
    *,
    rows: int = 5,
    text: bool = False,
    order: str = "<",
    comments=(),
    values=None,
    kind="f4",
) -> np.ndarray:
    """A splat PLY made by plyfile alone, with random columns."""
    rng = np.random.default_rng(3)
    table = np.zeros(rows, dtype=[(n, kind) for n in names])
    for name in names:
        table[name] = rng.normal(size=rows) * 0.3
    for name, column in (values or {}).items():
        table[name] = column
    plyfile.PlyData(
        [plyfile.PlyElement.describe(table, "vertex")], text=text, byte_order=order, comments=list(comments)
    ).write(str(path))
    return table


@pytest.mark.parametrize("up", ["y", "-y", "z", "-z", "x", "-x"])
def test_ply_comes_back_whatever_axis_points_up_in_the_file(blobs, tmp_path, up):
    model = blobs()
    write_splats(model, tmp_path / "a.ply", up=up)
    back = read_splats(tmp_path / "a.ply")
    assert torch.equal(back.mean, model.mean)
    assert torch.equal(back.columns["log_scale"], model.columns["log_scale"])
    assert torch.equal(back.columns["logit_opacity"], model.columns["logit_opacity"])
    assert torch.allclose(back.color, model.color, atol=FLOAT_TOLERANCE)
    same_turn = (back.rotation * model.rotation).sum(-1).abs()
    assert torch.allclose(same_turn, torch.ones(len(model)), atol=FLOAT_TOLERANCE)


def test_our_ply_read_by_plyfile_is_inrias_layout_and_stands_y_down(blobs, tmp_path):
    model = blobs()
    write_splats(model, tmp_path / "a.ply", sh_degree=3, comments=["made by a test\nand more"])
    data = plyfile.PlyData.read(str(tmp_path / "a.ply"))
    assert data.byte_order == "<" and not data.text
    assert "interactive3d axes: up -y" in data.comments and "SplatRenderMode: default" in data.comments
    vertex = data["vertex"]
    rest = [f"f_rest_{i}" for i in range(45)]
    expected = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", *rest, "opacity", *BASE[7:]]
    assert [p.name for p in vertex.properties] == expected
    assert all(p.val_dtype == "f4" for p in vertex.properties)
    assert np.array_equal(vertex["y"], -model.mean[:, 1].numpy())
    assert np.array_equal(vertex["z"], -model.mean[:, 2].numpy())
    assert np.array_equal(vertex["opacity"], model.columns["logit_opacity"].numpy())
    assert np.allclose(vertex["f_dc_1"] * SH_C0 + 0.5, model.color[:, 1].numpy(), atol=FLOAT_TOLERANCE)


def covariances(model):
    w, x, y, z = model.rotation.double().unbind(-1)
    rows = [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)]
    rows += [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)]
    rows += [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]
    turn = torch.stack(rows, -1).reshape(-1, 3, 3)
    return turn @ torch.diag_embed(model.scale.double() ** 2) @ turn.transpose(-1, -2)


@pytest.mark.parametrize(
    ("up", "matrix"),
    [
        ("-y", [[1, 0, 0], [0, -1, 0], [0, 0, -1]]),
        ("z", [[1, 0, 0], [0, 0, 1], [0, -1, 0]]),
        ("-z", [[1, 0, 0], [0, 0, -1], [0, 1, 0]]),
        ("x", [[0, -1, 0], [1, 0, 0], [0, 0, 1]]),
    ],
)
def test_positions_and_covariances_turn_together(blobs, tmp_path, up, matrix):
    write_splats(blobs(), tmp_path / "a.ply", up="y")
    plain, turned = read_splats(tmp_path / "a.ply", up="y"), read_splats(tmp_path / "a.ply", up=up)
    turn = torch.tensor(matrix, dtype=torch.float64)
    assert torch.allclose(turned.mean.double(), plain.mean.double() @ turn.T, atol=FLOAT_TOLERANCE)
    assert torch.allclose(covariances(turned), turn @ covariances(plain) @ turn.T, atol=FLOAT_TOLERANCE)


def test_rotate_turns_about_x_then_y_then_z(tmp_path):
    write_ply(tmp_path / "a.ply", BASE, rows=1, values={"x": 1.0, "y": 0.0, "z": 0.0})
    turned = read_splats(tmp_path / "a.ply", up="y", rotate=(90, 0, 90))
    assert torch.allclose(turned.mean[0], torch.tensor([0.0, 1.0, 0.0]), atol=FLOAT_TOLERANCE)
    turned = read_splats(tmp_path / "a.ply", up="y", rotate=(0, 90, 0))
    assert torch.allclose(turned.mean[0], torch.tensor([0.0, 0.0, -1.0]), atol=FLOAT_TOLERANCE)


@pytest.mark.parametrize(
    ("comment", "expected"),
    [
        (None, (0, -1, 0)),
        ("Vertical axis: y", (0, -1, 0)),
        ("Vertical Axis: z", (0, 0, 1)),
        ("vertical axis: x", (1, 0, 0)),
        ("Vertical axis: 0 1 0", (0, 1, 0)),
        ("Vertical axis: [0.0, 0.0, -2.5]", (0, 0, -1)),
        ("Vertical axis: 0.6 0.8 0", (0.6, 0.8, 0)),
        ("Vertical axis: sideways", (0, -1, 0)),
        ("Vertical axis: nan 0 0", (0, -1, 0)),
        ("interactive3d axes: up", (0, -1, 0)),
    ],
)
def test_what_points_up_in_the_file_points_up_here(tmp_path, comment, expected):
    direction = dict(zip("xyz", expected, strict=True))
    write_ply(tmp_path / "a.ply", BASE, rows=1, comments=[comment] if comment else [], values=direction)
    model = read_splats(tmp_path / "a.ply")
    assert torch.allclose(model.mean[0], torch.tensor([0.0, 1.0, 0.0]), atol=FLOAT_TOLERANCE)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("form", ["little", "big", "ascii"])
def test_any_degree_any_order_no_normals_any_encoding(tmp_path, degree, form):
    names = [*BASE, *(f"f_rest_{i}" for i in range(3 * ((degree + 1) ** 2 - 1)))]
    np.random.default_rng(degree).shuffle(names)
    table = write_ply(tmp_path / "a.ply", names, text=form == "ascii", order=">" if form == "big" else "<")
    found = read_splat_file(tmp_path / "a.ply", up="y")
    assert found.metadata.sh_degree == degree
    assert [n.code for n in found.notes] == (["view-dependence-dropped"] if degree else [])
    for i, axis in enumerate("xyz"):
        assert np.allclose(found.model.mean[:, i].numpy(), table[axis], atol=FLOAT_TOLERANCE)
    assert np.allclose(found.model.color[:, 2].numpy(), 0.5 + SH_C0 * table["f_dc_2"], atol=FLOAT_TOLERANCE)
    assert np.allclose(found.model.columns["rotation"][:, 3].numpy(), table["rot_3"], atol=FLOAT_TOLERANCE)


def test_metadata_is_kept(tmp_path):
    write_ply(tmp_path / "a.ply", BASE, comments=["SplatRenderMode: mip", "Exported from somewhere"])
    metadata = read_splat_file(tmp_path / "a.ply").metadata
    assert metadata.render_mode == "mip"
    assert metadata.comments == ("SplatRenderMode: mip", "Exported from somewhere")
    assert metadata.up == (0.0, -1.0, 0.0) and metadata.up_source == "custom of the format"


def test_comments_outside_ascii_are_read(tmp_path):
    write_ply(tmp_path / "a.ply", BASE, comments=["made by XX"])
    content = (tmp_path / "a.ply").read_bytes().replace(b"by XX", "by \u00fc".encode())
    (tmp_path / "a.ply").write_bytes(content)
    assert len(read_splats(tmp_path / "a.ply")) == 5


def test_double_columns_other_elements_and_lists_are_read(tmp_path):
    table = write_ply(tmp_path / "a.ply", BASE, kind="f8")
    assert np.allclose(read_splats(tmp_path / "a.ply", up="y").mean[:, 0].numpy(), table["x"])
    rows = table.astype([(n, "f4") for n in BASE])
    lists = np.empty(2, dtype=[("ids", object)])
    lists["ids"] = [np.array([1, 2], "i4"), np.array([], "i4")]
    other = plyfile.PlyElement.describe(lists, "groups", len_types={"ids": "u1"}, val_types={"ids": "i4"})
    for elements in (
        [other, plyfile.PlyElement.describe(rows, "vertex")],
        [plyfile.PlyElement.describe(rows, "vertex"), other],
    ):
        plyfile.PlyData(elements, text=False, byte_order="<").write(str(tmp_path / "b.ply"))
        assert np.allclose(read_splats(tmp_path / "b.ply", up="y").mean[:, 0].numpy(), table["x"])


def test_flat_discs_get_a_thickness_and_byte_colours_are_read(tmp_path):
    names = [n for n in BASE if n not in ("scale_2", "f_dc_0", "f_dc_1", "f_dc_2")]
    table = np.zeros(2, dtype=[(n, "f4") for n in names] + [(c, "u1") for c in ("red", "green", "blue")])
    table["rot_0"], table["red"] = 1.0, (255, 51)
    plyfile.PlyData([plyfile.PlyElement.describe(table, "vertex")]).write(str(tmp_path / "a.ply"))
    found = read_splat_file(tmp_path / "a.ply")
    assert found.model.color[:, 0].tolist() == pytest.approx([1.0, 0.2])
    assert (found.model.scale[:, 2] < 0.1 * found.model.scale[:, 0]).all()
    assert [n.code for n in found.notes] == ["flat-blobs"]


def test_broken_rows_are_dropped_and_counted(tmp_path):
    values = {
        "x": [0, math.nan, 0, 0, 0, 0],
        "scale_1": [0, 0, math.inf, 0, 0, -math.inf],
        "opacity": [0, 0, 0, math.inf, math.nan, 0],
    }
    write_ply(tmp_path / "a.ply", BASE, rows=6, values=values)
    notes = []
    model = read_splats(tmp_path / "a.ply", notes=notes)
    assert len(model) == 3
    assert [(n.code, n.count) for n in notes] == [("rows-dropped", 3)]
    assert "3 of 6" in str(notes[0])
    assert float(model.opacity[1]) > 0.999
    write_ply(tmp_path / "b.ply", BASE, values={"x": math.nan})
    with pytest.raises(FileProblem, match="none of its 5 blobs"):
        read_splats(tmp_path / "b.ply")


def test_rotations_of_no_length_are_reset(tmp_path):
    write_ply(tmp_path / "a.ply", BASE, values={f"rot_{i}": [0, 0, 1, 1, 1] for i in range(4)})
    found = read_splat_file(tmp_path / "a.ply", up="y")
    assert [(n.code, n.count) for n in found.notes] == [("rotation-reset", 2)]
    assert found.model.rotation[0].tolist() == [1.0, 0.0, 0.0, 0.0]


def test_splat_bytes_are_the_published_layout_and_come_back(blobs, tmp_path):
    model = blobs()
    write_splats(model, tmp_path / "a.splat")
    content = (tmp_path / "a.splat").read_bytes()
    assert len(content) == 32 * len(model)
    first = np.frombuffer(content, "<f4", 6)
    assert first[:3].tolist() == [float(model.mean[0, 0]), -float(model.mean[0, 1]), -float(model.mean[0, 2])]
    assert np.allclose(first[3:], model.scale[0].numpy())
    assert content[24:27] == bytes((model.color[0] * 255).round().to(torch.uint8).tolist())
    back = read_splats(tmp_path / "a.splat")
    assert torch.equal(back.mean, model.mean)
    assert torch.allclose(back.color, model.color, atol=BYTE_TOLERANCE)
    assert torch.allclose(back.opacity, model.opacity, atol=BYTE_TOLERANCE)
    assert (back.rotation * model.rotation).sum(-1).abs().min() > 1 - BYTE_TOLERANCE


def header(*lines: str) -> bytes:
    return "\n".join(["ply", *lines, "end_header", ""]).encode()


FLOATS = [f"property float {n}" for n in BASE]
LITTLE = "format binary_little_endian 1.0"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"nonsense", "does not begin with the line 'ply'"),
        (b"ply\nformat ascii 1.0\n", "no end_header"),
        (header("element vertex 3", *FLOATS), "no format line"),
        (header("format middle_endian 1.0"), "unknown format"),
        (header(LITTLE, "element vertex -3", *FLOATS), "row count '-3'"),
        (header(LITTLE, "element vertex three", *FLOATS), "row count 'three'"),
        (header(LITTLE, "element vertex 2147483648", *FLOATS), "2147483648 rows of 'vertex'"),
        (header("format ascii 1.0", "element vertex 2147483648", *FLOATS), "2147483648 rows of 'vertex'"),
        (header(LITTLE, "element vertex 99999999999999999999", *FLOATS), "row count"),
        (header(LITTLE, "element nothing 2147483648", "element vertex 1", *FLOATS), "without properties"),
        (header(LITTLE, "element vertex 0", *FLOATS), "holds no blobs"),
        (header(LITTLE, "property float x"), "property before any element"),
        (header(LITTLE, "element vertex 1", "property quad x"), "unknown type 'quad'"),
        (header(LITTLE, "element vertex 1", "property float x", "property float x"), "two properties"),
        (header(LITTLE, "element vertex 1", "element vertex 1"), "two elements"),
        (header(LITTLE, "element vertex 1", "property list float int x"), "lengths of type float"),
        (header(LITTLE, "what is this"), "unknown header line"),
        (header(LITTLE, "element face 0", "property float x"), "no element 'vertex'"),
        (header(LITTLE, "element vertex 0", *FLOATS[:3]), "point cloud"),
        (header(LITTLE, "element vertex 0", "property uint packed_position"), "compressed splat PLY"),
        (header(LITTLE, "element vertex 0", *FLOATS[1:], "property list uchar float x"), "are lists"),
        (header(LITTLE, "element vertex 2", *FLOATS) + bytes(4 * len(BASE)), "2 rows of 'vertex'"),
    ],
)
def test_malformed_ply_says_what_is_wrong(tmp_path, survives, content, message):
    path = tmp_path / "bad.ply"
    path.write_bytes(content)
    problem = survives(lambda: read_splats(path))
    assert problem is not None and message in str(problem)


def test_lying_list_lengths_read_no_further_than_the_file(tmp_path, survives):
    lines = [LITTLE, "element groups 1", "property list uint double ids", "element vertex 1", *FLOATS]
    path = tmp_path / "bad.ply"
    for length in (2**32 - 1, 2**20):
        path.write_bytes(header(*lines) + length.to_bytes(4, "little") + bytes(4 * len(BASE)))
        assert survives(lambda: read_splats(path)) is not None


def test_meshes_and_foreign_formats_are_named(tmp_path):
    (tmp_path / "a.spz").write_bytes(b"x")
    with pytest.raises(FileProblem, match="spz files are not read"):
        read_splats(tmp_path / "a.spz")
    (tmp_path / "a.ply").write_bytes(
        header(LITTLE, "element vertex 1", *FLOATS[:3], "element face 1", "property list uchar int vertex_indices")
        + bytes(64)
    )
    with pytest.raises(FileProblem, match="is a mesh"):
        read_splats(tmp_path / "a.ply")
    (tmp_path / "a.txt").write_bytes(b"x")
    with pytest.raises(FileProblem, match=r"no kind that is read here; expected splats \(\.ply, \.splat\)"):
        read_splats(tmp_path / "a.txt")


def test_places_that_cannot_be_read(tmp_path):
    (tmp_path / "dragon.ply").write_bytes(b"x")
    with pytest.raises(FileProblem, match=r"did you mean dragon.ply\?"):
        read_splats(tmp_path / "dragan.ply")
    with pytest.raises(FileProblem, match="is a folder"):
        read_splats(tmp_path)
    os.mkfifo(tmp_path / "pipe.ply")
    with pytest.raises(FileProblem, match="not a regular file"):
        read_splats(tmp_path / "pipe.ply")
    with pytest.raises(FileProblem, match="cannot be opened"):
        read_splats("a\0b.ply")


def test_wrong_calls(blobs, tmp_path):
    with pytest.raises(ValueError, match="up: expected one of"):
        write_splats(blobs(), tmp_path / "a.ply", up="w")
    with pytest.raises(ValueError, match="sh_degree"):
        write_splats(blobs(), tmp_path / "a.ply", sh_degree=4)
    with pytest.raises(ValueError, match="rotate"):
        write_splats(blobs(), tmp_path / "a.ply", rotate=(1, 2))
    with pytest.raises(FileProblem, match="no blobs"):
        write_splats(blobs().rows(torch.zeros(0, dtype=torch.int64)), tmp_path / "a.ply")
    assert list(tmp_path.iterdir()) == []


def valid_ply() -> bytes:
    out = io.BytesIO()
    table = np.zeros(3, dtype=[(n, "<f4") for n in BASE])
    table["rot_0"] = 1.0
    plyfile.PlyData(
        [plyfile.PlyElement.describe(table, "vertex")], byte_order="<", comments=["Vertical axis: z"]
    ).write(out)
    return out.getvalue()


VALID = valid_ply()


@FUZZ
@given(st.integers(0, len(VALID) - 1))
def test_every_truncation_is_refused(tmp_path, survives, length):
    path = tmp_path / "cut.ply"
    path.write_bytes(VALID[:length])
    assert survives(lambda: read_splats(path)) is not None


@FUZZ
@given(st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_changed_bytes_read_or_are_refused(tmp_path, survives, changes):
    content = bytearray(VALID)
    for place, value in changes:
        content[place] = value
    path = tmp_path / "flipped.ply"
    path.write_bytes(content)
    survives(lambda: read_splats(path))


VOCABULARY = """ply format ascii 1.0 binary_big_endian element vertex face property list float uchar int8 double comment x y z
opacity 2147483648 4294967295 999999999999999999 1 0 -1 nan end_header scale_0 rot_0 f_dc_0 vertex_indices"""
WORDS = st.sampled_from(VOCABULARY.split())


@FUZZ
@given(st.lists(st.lists(WORDS, max_size=5), max_size=12), st.binary(max_size=200))
def test_random_headers_read_or_are_refused(tmp_path, survives, lines, data):
    path = tmp_path / "random.ply"
    text = "\n".join(
        ["ply", "format ascii 1.0", "element vertex 1", *(" ".join(line) for line in lines), "end_header", ""]
    )
    path.write_bytes(text.encode() + data)
    survives(lambda: read_splats(path))


@FUZZ
@given(st.binary(max_size=400), st.booleans())
def test_random_splat_files_read_or_are_refused(tmp_path, survives, content, whole):
    path = tmp_path / "random.splat"
    path.write_bytes(content[: len(content) // 32 * 32] if whole else content)
    survives(lambda: read_splats(path))
