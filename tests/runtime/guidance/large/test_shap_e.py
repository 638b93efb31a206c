"""First points from texts and pictures by a tiny Shap-E."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from interactive3d.dsl.program import InitMesh, Program
from interactive3d.runtime.cli import main
from interactive3d.runtime.engine.start import StartProblem, first_model
from interactive3d.runtime.guidance.large import LargeModelProblem
from interactive3d.runtime.guidance.large.shap_e import _picture, display_values, points_on_mesh
from interactive3d.runtime.settings import Settings

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

# The library's scheduler, under the newest numpy.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

GRID = 12


def shap_e(conftest: Any, image: bool) -> Any:
    """Random weights; the table of marching cubes, which comes with the weights, knows one triangle for every mixed cube."""
    from diffusers import HeunDiscreteScheduler, PriorTransformer, ShapEImg2ImgPipeline, ShapEPipeline
    from diffusers.pipelines.shap_e import ShapERenderer
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

    prior = PriorTransformer(
        num_attention_heads=2,
        attention_head_dim=4,
        embedding_dim=8,
        num_embeddings=16,
        embedding_proj_dim=8,
        time_embed_dim=16,
        num_layers=1,
        clip_embed_dim=16,
        additional_embeddings=0,
        time_embed_act_fn="gelu",
        norm_in_type="layer" if not image else None,
        encoder_hid_proj_type=None,
        embedding_proj_norm_type="layer" if image else None,
        added_emb_type=None,
    )
    renderer = ShapERenderer(param_shapes=((4, 93), (4, 4), (4, 4), (4, 4)), d_latent=8, d_hidden=4, n_output=12)
    crossing = torch.tensor([0, 1, 2])
    renderer.mesh_decoder.cases[1:255, 0] = crossing
    renderer.mesh_decoder.masks[1:255, 0] = True
    scheduler = HeunDiscreteScheduler(
        beta_schedule="exp", num_train_timesteps=64, prediction_type="sample", use_karras_sigmas=True, clip_sample=True
    )
    if image:
        vision = CLIPVisionModel(
            CLIPVisionConfig(
                hidden_size=8,
                intermediate_size=8,
                num_hidden_layers=1,
                num_attention_heads=2,
                image_size=16,
                patch_size=8,
            )
        )
        return ShapEImg2ImgPipeline(
            prior=prior,
            image_encoder=vision,
            image_processor=CLIPImageProcessor(size=16, crop_size=16),
            scheduler=scheduler,
            shap_e_renderer=renderer,
        )
    return ShapEPipeline(
        prior=prior,
        text_encoder=conftest["clip_text"](projection=8),
        tokenizer=conftest["clip_tokenizer"](),
        scheduler=scheduler,
        shap_e_renderer=renderer,
    )


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import runpy

    conftest = runpy.run_path(str(Path(__file__).with_name("conftest.py")))
    root = tmp_path_factory.mktemp("shapes")
    for name, image in (("text", False), ("picture", True)):
        torch.manual_seed(1)
        shap_e(conftest, image).save_pretrained(root / name)
    return root


@pytest.fixture(autouse=True)
def coarse_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """The field is read on a coarse grid, and shifted so that its surface runs through the middle whatever the weights."""
    from diffusers.pipelines.shap_e import ShapERenderer
    from diffusers.pipelines.shap_e.renderer import MeshDecoder

    whole, march = ShapERenderer.decode_to_mesh, MeshDecoder.forward
    monkeypatch.setattr(ShapERenderer, "decode_to_mesh", lambda self, z, device: whole(self, z, device, grid_size=GRID))
    monkeypatch.setattr(
        MeshDecoder, "forward", lambda self, field, low, size: march(self, field - field.median(), low, size)
    )


SCRIPT = """\
prompt "a red fox"
seed 3
steps 1
guidance diffusers "{model}", "{shape}"
splats 50 from {source}
set guidance.size 16
set camera.batch 2
set large.seed_steps 2
"""


def run(folder: Path, script: str) -> tuple[int, str]:
    (folder / "fox.sculpt").write_text(script)
    result = CliRunner().invoke(main, ["run", str(folder / "fox.sculpt"), "--headless", "--out", str(folder / "out")])
    return result.exit_code, result.stderr


def test_splats_from_text(models: Callable[[str], Path], shapes: Path, tmp_path: Path) -> None:
    status, said = run(tmp_path, SCRIPT.format(model=models("sd15"), shape=shapes / "text", source="text"))
    assert status == 0, said
    assert "first points: a mesh of " in said
    assert (tmp_path / "out" / "splats.ply").stat().st_size > 0


def test_splats_from_a_picture(models: Callable[[str], Path], shapes: Path, tmp_path: Path) -> None:
    Image.new("RGBA", (20, 16), (200, 30, 30, 128)).save(tmp_path / "fox.png")
    status, said = run(tmp_path, SCRIPT.format(model=models("sd15"), shape=shapes / "picture", source='"fox.png"'))
    assert status == 0, said
    assert "first points: a mesh of " in said


def test_points_are_the_seed_s(make_guidance: Callable, shapes: Path) -> None:
    guidance = make_guidance("sd15", large_seed_steps=2)
    guidance.shape_model = str(shapes / "text")
    condition = guidance.encode("a red fox")
    first, again, other = (
        guidance.seed_points(condition, 30, torch.Generator().manual_seed(s)).positions for s in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert float(first.norm(dim=1).max()) <= 0.8 + 1e-5


def test_a_missing_shape_model_says_what_else_there_is(make_guidance: Callable, shapes: Path) -> None:
    guidance = make_guidance("sd15")
    guidance.shape_model = "./nowhere"
    with pytest.raises(LargeModelProblem, match=r"splats from text: there is no folder"):
        guidance.seed_points(guidance.encode("a fox"), 10, torch.Generator())
    guidance.shape_model = str(shapes / "picture")
    with pytest.raises(LargeModelProblem, match=r"cannot be loaded as a ShapEPipeline.*splats 4096 in sphere"):
        guidance.seed_points(guidance.encode("a fox"), 10, torch.Generator())


def test_what_is_no_picture_is_named(make_guidance: Callable, tmp_path: Path) -> None:
    guidance = make_guidance("sd15")
    with pytest.raises(LargeModelProblem, match=r"there is no file .*fox.png"):
        guidance.seed_points_of_picture(tmp_path / "fox.png", 10, torch.Generator())
    (tmp_path / "fox.png").write_text("fox")
    with pytest.raises(LargeModelProblem, match=r"fox.png is no picture"):
        guidance.seed_points_of_picture(tmp_path / "fox.png", 10, torch.Generator())


def test_other_priors_make_no_points_of_pictures(make_ball: Callable, tmp_path: Path) -> None:
    from interactive3d.runtime.guidance.reference import ReferenceGuidance

    program = Program(prompt="x", initial=InitMesh(count=10, path="fox.png"), folder=str(tmp_path))
    with pytest.raises(StartProblem, match=r"only `guidance diffusers` makes points of a picture, this is reference"):
        first_model(program, Settings(), ReferenceGuidance([("ball", make_ball())]), 0)


def test_axes_colours_and_size() -> None:
    """Shap-E's top (+z) becomes +y, its front (-y) becomes +z; the object fills the ball of radius 0.8."""
    vertices = np.array([[-1, -1, 0], [1, -1, 0], [0, -1, 4], [0, 1, 0.0]])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    colors = np.array([[1.0, 0, 0], [1, 0, 0], [1, 0, 0], [0, 0, 1]])
    found = points_on_mesh(vertices, faces, colors, 4000, torch.Generator().manual_seed(0))
    top = found.positions[:, 1].argmax()
    assert float(found.positions[top, 1]) == pytest.approx(float(found.positions[:, 1].max()))
    assert float(found.positions.norm(dim=1).max()) == pytest.approx(0.8, abs=0.02)
    blue = found.colors[:, 2] > 0.5
    assert float(found.positions[blue, 2].mean()) < float(found.positions[~blue, 2].mean())
    # Red at the front's corners only.
    front = found.positions[:, 2] > found.positions[:, 2].max() - 1e-6
    assert torch.allclose(found.colors[front], torch.tensor([1.0, 0, 0]), atol=1e-5)
    area = 0.5 * 2 * 4 + 0.5 * float(np.linalg.norm(np.cross([1, 0, 4], [1, 2, 0])))
    scale = 0.8 / float(np.linalg.norm([1, 2, 1]))
    assert found.spacing == pytest.approx((area * scale**2 / 4000) ** 0.5, rel=1e-5)


def test_points_lie_on_the_mesh_that_the_pipeline_makes_in_the_colours_of_its_network(
    make_guidance: Callable, shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library's mesh, turned as its documentation turns it, and display values: its colours are linear light."""
    from diffusers.pipelines.shap_e import ShapERenderer
    from scipy.spatial import cKDTree

    seen: dict[str, Any] = {}
    decode = ShapERenderer.decode_to_mesh

    def watched(self: Any, z: Any, device: Any) -> Any:
        mesh = decode(self, z, device)
        with torch.no_grad():
            asked = self.mlp(
                position=mesh.verts[None], direction=None, ts=None, nerf_level="fine", rendering_mode="stf"
            )
        seen.update(mesh=mesh, shades=asked.channels[0].double().numpy())
        return mesh

    monkeypatch.setattr(ShapERenderer, "decode_to_mesh", watched)
    guidance = make_guidance("sd15", large_seed_steps=2)
    guidance.shape_model = str(shapes / "text")
    points = guidance.seed_points(guidance.encode("a red fox"), 400, torch.Generator().manual_seed(1))
    mesh, shades = seen["mesh"], seen["shades"]
    linear = np.stack([mesh.vertex_channels[c].numpy() for c in "RGB"], axis=1)
    # The tiny model's table of marching cubes makes some corners of nothing.
    whole = np.isfinite(mesh.verts.numpy()).all(1)
    assert float(np.abs(linear - shades)[whole].max()) > 0.05
    np.testing.assert_allclose(display_values(linear.astype(float))[whole], shades[whole], atol=1e-5)
    # A quarter turn about x brings z up.
    turned = mesh.verts.double().nan_to_num().numpy() @ np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]]).astype(float)
    faces = mesh.faces.numpy()
    faces = faces[whole[faces].all(1)]
    corners, used = turned[faces], turned[np.unique(faces)]
    centre = (used.max(0) + used.min(0)) / 2
    scale = 0.8 / np.linalg.norm(used - centre, axis=1).max()
    dense = np.random.default_rng(0).dirichlet((1, 1, 1), size=(len(corners), 40))
    surface = np.einsum("fkc,fcd->fkd", dense, (corners - centre) * scale).reshape(-1, 3)
    tones = np.einsum("fkc,fcd->fkd", dense, shades[faces]).reshape(-1, 3)
    distance, nearest = cKDTree(surface).query(points.positions.double().numpy())
    # As fine as the sample of the surface is on its many small triangles.
    near = distance < 0.02
    assert near.mean() > 0.8
    assert float(np.abs(points.colors.numpy() - tones[nearest])[near].mean()) < 0.02


def test_pictures_are_made_square_and_a_background_is_mentioned(tmp_path: Path) -> None:
    told: list[str] = []
    photo = Image.new("RGB", (20, 10), (90, 120, 60))
    photo.save(tmp_path / "photo.jpg")
    found = _picture(tmp_path / "photo.jpg", told.append)
    assert found.size == (20, 20)
    assert found.getpixel((10, 0)) == (255, 255, 255)
    assert told == [
        "splats from a picture: photo.jpg has a background, which counts as a part of the object; cut the object out (a PNG with transparency)"
    ]
    # Cut out, on white, and lying on its side as cameras save them: nothing to say.
    cut = Image.new("RGBA", (10, 20), (0, 0, 0, 0))
    cut.paste((200, 30, 30, 255), (3, 5, 7, 15))
    cut.save(tmp_path / "cut.png")
    turned = Image.new("RGB", (20, 10), "white")
    turned.paste((200, 30, 30), (1, 4, 5, 6))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    assert _picture(tmp_path / "cut.png", told.append).getpixel((10, 10)) == (200, 30, 30)
    upright = _picture(tmp_path / "turned.png", told.append)
    # What was at the left is on top now.
    assert upright.getpixel((10, 2)) == (200, 30, 30)
    assert len(told) == 1
