"""The verbs for files: convert, and render and info of fields."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from click.testing import CliRunner, Result
from PIL import Image

from interactive3d.runtime.cli import main
from interactive3d.runtime.field import save_field
from interactive3d.runtime.field.convert import OBJECT_RADIUS, Placement, fitted
from interactive3d.runtime.field.refine import make_region, sphere_box
from interactive3d.runtime.output.splat_files import read_splats, write_splats
from interactive3d.runtime.settings import RefineSettings
from tests.runtime.field.known import ball_blobs, ball_field

SHIFT, SIZE = 30.0, 7.0  # of an object that does not stand in the scene's cube
QUICK = ("field.levels=5", "field.capacity=4096", "field.step=0.03", "distill.size=64", "distill.rays=256")
FAST = ("distill.table_rate=0.03", "distill.network_rate=0.02")
ROUGH = 0.25  # of the radius: a field after a few dozen tiny steps


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), catch_exceptions=False)


@pytest.fixture
def splats(tmp_path: Path) -> Path:
    path = tmp_path / "ball.ply"
    write_splats(ball_blobs(400), path)
    return path


def test_splats_in_file_units_become_a_mesh_in_file_units(tmp_path: Path) -> None:
    model = ball_blobs(400)
    far = model.with_columns(
        {"mean": model.mean * SIZE + SHIFT, "log_scale": model.columns["log_scale"] + float(np.log(SIZE))}
    )
    write_splats(far, tmp_path / "far.ply", up="y")
    options = [part for setting in (*QUICK, *FAST) for part in ("--set", setting)]
    out = tmp_path / "far.glb"
    done = call(
        *("convert", str(tmp_path / "far.ply"), str(out), "--steps", "60", "--resolution", "32", "--texture", "64"),
        *("--threshold", "5", "--up", "y", *options),
    )
    assert done.exit_code == 0, done.output
    assert "distilling 60/60" in done.stderr and "unseen views" in done.stderr
    mesh = trimesh.load(out, force="mesh")
    assert np.abs(mesh.vertices.mean(0) - SHIFT).max() < ROUGH * SIZE
    radii = np.linalg.norm(mesh.vertices - SHIFT, axis=1)
    assert abs(np.median(radii) / (0.5 * SIZE) - 1) < ROUGH
    assert mesh.visual.material.baseColorTexture.size == (64, 64)


def test_objects_are_fitted_only_where_they_must() -> None:
    model = ball_blobs()
    same, place, strays = fitted(model)
    assert same is model and place == Placement() and strays == 0
    stray = model.mean.clone()
    stray[0] = 1000.0
    moved = model.with_columns({"mean": stray * 50})
    inside, place, strays = fitted(moved)
    assert strays == 1 and len(inside) == len(model) - 1
    assert OBJECT_RADIUS <= float(inside.mean.abs().max()) < 1.0
    back = inside.mean / place.scale + torch.tensor(place.center)
    assert torch.allclose(back, moved.mean[1:], rtol=1e-4, atol=1e-3)
    with pytest.raises(ValueError, match="no blobs"):
        fitted(model.rows(torch.zeros(0, dtype=torch.int64)))


def test_splats_to_splats_keep_the_blobs(splats: Path, tmp_path: Path) -> None:
    assert call("convert", str(splats), str(tmp_path / "x.splat")).exit_code == 0
    assert call("convert", str(tmp_path / "x.splat"), str(tmp_path / "y.ply")).exit_code == 0
    there, back = read_splats(splats), read_splats(tmp_path / "y.ply")
    assert len(there) == len(back)
    ours, theirs = (model.mean[model.mean[:, 0].argsort()] for model in (there, back))
    assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.fixture
def refined(tmp_path: Path) -> Path:
    """A field with a region that paints its front."""
    field = ball_field(step=0.02)
    region = make_region(
        field,
        "refine head",
        sphere_box((0.0, 0.0, 0.55), 0.3),
        None,
        RefineSettings(levels=2, capacity=256),
        torch.Generator(),
    )
    params = region.params.clone()
    params[-3:] = torch.tensor([-9.0, -9.0, -9.0])  # the residual raw colour's bias
    return save_field(tmp_path / "field.safetensors", field.with_region(replace(region, params=params)))


def test_a_field_becomes_a_mesh_and_says_what_it_holds(refined: Path, tmp_path: Path) -> None:
    done = call("convert", str(refined), str(tmp_path / "x.ply"), "--resolution", "32")
    assert done.exit_code == 0, done.output
    assert trimesh.load(tmp_path / "x.ply").is_watertight
    told = json.loads(call("info", str(refined), "--json").stdout)
    assert told["kind"] == "field" and told["parameters"] > 1000
    assert told["regions"][0].startswith("refine head: ")
    assert "refine head" in call("info", str(refined)).stdout


def test_render_hides_and_compares_regions(refined: Path, tmp_path: Path) -> None:
    def middle(*options: str) -> np.ndarray:
        out = tmp_path / "x.png"
        done = call("render", str(refined), "--image", str(out), "--size", "48", "--elevation", "0", *options)
        assert done.exit_code == 0, done.output
        with Image.open(out) as picture:
            return np.asarray(picture.convert("RGB"), dtype=int)[24]

    shown, hidden = middle(), middle("--without", "refine head")
    assert shown[24].sum() < 100 < hidden[24].sum()
    assert (middle("--only", "refine head") == shown).all()
    side_by_side = middle("--compare", "refine head")
    assert (side_by_side == np.concatenate([hidden, shown])).all()
    wrong = CliRunner().invoke(main, ["render", str(refined), "--image", "x.png", "--without", "tail"])
    assert wrong.exit_code == 2 and "regions: refine head" in wrong.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("there.is.none.ply", "x.glb"), "no such file"),
        (("ball.ply", "x.stl"), "no format that is written"),
        (("ball.ply", "ball.ply"), "same file"),
        (("ball.ply", "nowhere/x.glb"), "no folder"),
        (("ball.ply", "x.glb", "--threshold", "high"), "expected auto or a density"),
        (("ball.ply", "x.glb", "--set", "distill.stepz=3"), "did you mean"),
        (("ball.ply", "x.glb", "--as", "splats"), "holds mesh"),
        (("ball.ply", "x.glb", "--without", "head"), "is no field"),
        (("field.safetensors", "x.splat"), "a field does not become splats"),
        (("other.safetensors", "x.glb"), "neither a field nor a whole checkpoint"),
    ],
)
def test_mistakes_are_told(
    splats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    save_field("field.safetensors", ball_field(step=0.05))
    Path("other.safetensors").write_bytes(Path("field.safetensors").read_bytes().replace(b"-field", b"-thing"))
    done = call("convert", *arguments)
    assert done.exit_code in (1, 2) and message in done.output
    assert not Path("x.glb").exists()


def test_an_interruption_leaves_nothing_half_written(
    splats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("interactive3d.runtime.field.convert.distill_step", stop)
    done = call("convert", str(splats), str(tmp_path / "x.glb"))
    assert done.exit_code == 1 and "stopped" in done.output and "Traceback" not in done.output
    assert [p.name for p in tmp_path.iterdir()] == ["ball.ply"]
