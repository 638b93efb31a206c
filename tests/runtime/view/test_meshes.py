"""Meshes in the window, and pictures that become sharper step by step."""

import dataclasses
import itertools
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

moderngl = pytest.importorskip("moderngl", reason="the window's packages are not installed: pip install '.[window]'")

from interactive3d.runtime.scene.camera import Camera  # noqa: E402
from interactive3d.runtime.scene.gaussians import GaussianModel  # noqa: E402
from interactive3d.runtime.view.lines import LineBatch  # noqa: E402
from interactive3d.runtime.view.meshes import read_mesh  # noqa: E402
from interactive3d.runtime.view.open import mesh_of, still_session  # noqa: E402
from interactive3d.runtime.view.orbit import Projection  # noqa: E402
from interactive3d.runtime.view.overlays import add_frustum  # noqa: E402
from interactive3d.runtime.view.painter import FIELD_PER_PIXEL, Look, Overtaken, Pace, PaintJob, paint  # noqa: E402
from interactive3d.runtime.view.viewport import Backdrop, Engine, Frame, Viewport  # noqa: E402

CLOSE = 0.12
"""Colours are dimmed by the light that falls on them; the front of a surface keeps nearly all."""


@pytest.fixture(scope="module")
def context():
    try:
        made = moderngl.create_context(standalone=True, backend="egl")
    except Exception as error:
        pytest.skip(f"no OpenGL without a display: {error}")
    yield made
    made.release()


def cube_file(folder: Path) -> Path:
    """A cube with a texture: left half red, right half blue."""
    texture = np.zeros((64, 64, 3), np.uint8)
    texture[:, :32, 0], texture[:, 32:, 2] = 255, 255
    vertices = np.array([[-1, -1, 0.5], [1, -1, 0.5], [1, 1, 0.5], [-1, 1, 0.5]], float)
    mesh = trimesh.Trimesh(vertices, [[0, 1, 2], [0, 2, 3]], process=False)
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=Image.fromarray(texture))
    mesh.visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    path = folder / "wall.glb"
    mesh.export(path)
    return path


def blob() -> GaussianModel:
    return GaussianModel.create(
        mean=torch.zeros(1, 3),
        log_scale=torch.full((1, 3), -3.0),
        rotation=torch.tensor([[1.0, 0, 0, 0]]),
        color=torch.ones(1, 3),
        logit_opacity=torch.zeros(1),
    )


def test_a_mesh_shows_its_texture_and_hides_what_is_behind(context, tmp_path: Path):
    path = cube_file(tmp_path)
    mesh = mesh_of(path)
    assert mesh is not None and mesh.triangles == 2 and len(mesh.corners) > 1000
    camera = Camera.orbit(0.0, 0.0)
    viewport = Viewport(context, Engine.RASTERIZER)
    frame = Frame(model=blob(), camera=camera, width=120, height=100, mesh=mesh, backdrop=Backdrop.WHITE)
    viewport.show(frame)
    seen = viewport.read().astype(float) / 255.0
    assert viewport.settled
    projection = Projection(camera=camera, width=120, height=100)
    for x, color in ((-0.25, (1.0, 0.0, 0.0)), (0.25, (0.0, 0.0, 1.0))):
        pixel, _ = projection.pixels(np.array([[x, 0.0, 0.0]]))
        assert np.abs(seen[int(pixel[0, 1]), int(pixel[0, 0])] - color).max() < CLOSE
    assert seen[2, 2].min() == 1.0
    # From behind it is there too.
    viewport.show(dataclasses.replace(frame, camera=Camera.orbit(180.0, 0.0)))
    assert viewport.read()[50, 60].min() < 128
    viewport.close()


def test_what_view_opens_as_a_mesh(tmp_path: Path, red_ball):
    from interactive3d.runtime.output.splat_files import write_splats

    write_splats(red_ball, tmp_path / "ball.ply")
    assert mesh_of(tmp_path / "ball.ply") is None and mesh_of(tmp_path) is None
    sphere = trimesh.creation.icosphere(subdivisions=1)
    sphere.visual.vertex_colors = (20, 200, 40, 255)
    sphere.export(tmp_path / "mesh.ply")
    mesh = read_mesh(tmp_path / "mesh.ply")
    assert len(mesh.corners) == 3 * mesh.triangles
    assert np.linalg.norm(mesh.corners[:, :3], axis=1).max() == pytest.approx(0.8, abs=1e-3)
    assert np.allclose(mesh.corners[:, 6:], np.array([20, 200, 40]) / 255.0, atol=0.01)


def test_a_field_file_is_opened_as_a_field(context, tmp_path: Path, small_field):
    from interactive3d.runtime.field.files import save_field

    session = still_session(save_field(tmp_path / "f.safetensors", small_field))
    state = session.latest()
    assert state.field is not None and state.field.field.params.equal(small_field.params)


def test_a_runs_folder_is_opened_as_it_ended(tmp_path: Path, small_field, red_ball):
    from interactive3d.runtime.engine.snapshots import save_state
    from interactive3d.runtime.engine.stage2 import FieldState
    from interactive3d.runtime.engine.state import RunState
    from interactive3d.runtime.output.splat_files import write_splats
    from interactive3d.runtime.settings import Settings

    write_splats(red_ball, tmp_path / "splats.ply")
    assert still_session(tmp_path).latest().field is None
    (tmp_path / "checkpoints").mkdir()
    state = RunState(step=40, model=red_ball, settings=Settings(), field=FieldState(field=small_field))
    save_state(tmp_path / "checkpoints" / "step-00000040.safetensors", state, "digest", {})
    session = still_session(tmp_path)
    assert session.latest().field is not None and session.latest().step == 40 and session.finished


@pytest.fixture(scope="module")
def small_field():
    from interactive3d.kernels.hash_grid import GridLayout
    from interactive3d.runtime.field import HashGridField

    layout = GridLayout(resolutions=(8, 16), entries=(1 << 10, 1 << 10), features=2, hidden=32, extra=0)
    generator = torch.Generator().manual_seed(0)
    params = 0.5 * torch.randn(layout.size, generator=generator)
    mask = torch.zeros(32, 32, 32, dtype=torch.uint8)
    mask[10:22, 10:22, 10:22] = 1
    return HashGridField(layout=layout, params=params, mask=mask, step=0.05)


def field_job(field, **more) -> PaintJob:
    camera = Camera.orbit(20.0, 10.0)
    return PaintJob(key=(1,), model=blob(), camera=camera, width=640, height=400, look=Look(), field=field, **more)


def test_a_fields_picture_in_bands_is_the_whole_picture(small_field):
    from interactive3d.runtime.field import render_field

    done = paint(field_job(small_field, share=0.5))
    whole = render_field(small_field, [Camera.orbit(20.0, 10.0)], 320, 200, (0.0, 0.0, 0.0))
    expected = torch.cat([whole.color[0], whole.alpha[0][..., None]], dim=-1).clamp(0, 1) * 255
    assert done.picture.shape == (200, 320, 4)
    assert np.abs(done.picture.astype(float) - expected.numpy()).max() <= 1.0


def test_a_fields_picture_is_given_up_for_a_newer_one(small_field):
    asked = []

    def overtaken() -> bool:
        asked.append(1)
        return len(asked) > 2

    with pytest.raises(Overtaken):
        paint(field_job(small_field), overtaken)
    assert len(asked) == 3


def test_slow_pictures_sharpen_step_by_step_and_quick_ones_at_once():
    job = field_job(None)
    slow, quick = Pace(), Pace()
    for _ in range(30):
        slow.learn(640 * 400, 3.0)
        quick.learn(640 * 400, 0.02)
    assert quick.next(job, 0.0).share == 1.0
    shares, shown = [], 0.0
    while shown < 1.0:
        shown = slow.next(job, shown).share
        shares.append(shown)
    assert len(shares) >= 3 and shares[0] < 0.2 and all(b <= 2.1 * a or b == 1.0 for a, b in itertools.pairwise(shares))
    assert Pace(FIELD_PER_PIXEL).next(job, 0.0).share < 0.3
    assert slow.preview(job).preview and not slow.next(job, 0.5).preview


def test_a_field_on_the_screen_becomes_whole(context, small_field):
    viewport = Viewport(context, Engine.OPENGL)
    camera = Camera.orbit(20.0, 10.0)
    frame = Frame(model=blob(), camera=camera, width=160, height=100, field=small_field, backdrop=Backdrop.BLACK)
    moving = dataclasses.replace(frame, moving=True)
    deadline = time.monotonic() + 60.0
    while viewport.shown_camera != camera and time.monotonic() < deadline:
        viewport.show(moving)
        time.sleep(0.002)
    while not viewport.settled and time.monotonic() < deadline:
        viewport.show(frame)
        time.sleep(0.002)
    viewport.show(frame)
    assert viewport.settled and viewport.read().max() > 30
    viewport.close()


def test_two_halves_show_blobs_and_mesh(context, tmp_path: Path, red_ball):
    mesh = read_mesh(cube_file(tmp_path))
    viewport = Viewport(context, Engine.RASTERIZER)
    frame = Frame(
        model=red_ball, camera=Camera.orbit(0.0, 0.0), width=96, height=96, mesh=mesh, other=red_ball, split=0.5,
        backdrop=Backdrop.WHITE,
    )  # fmt: skip
    deadline = time.monotonic() + 30.0
    viewport.show(frame)
    while not viewport.settled and time.monotonic() < deadline:
        time.sleep(0.005)
        viewport.show(frame)
    viewport.show(frame)
    seen = viewport.read().astype(int)
    # Blobs on the left, red; the mesh's blue half on the right.
    assert seen[48, 40, 0] > seen[48, 40, 2] and seen[48, 60, 2] > seen[48, 60, 0]
    viewport.close()


def test_a_camera_is_drawn_as_a_pyramid_about_its_view():
    batch = LineBatch()
    camera = Camera.orbit(40.0, 20.0, fov=60.0)
    add_frustum(batch, camera, (1.0, 1.0, 1.0, 1.0), depth=0.2)
    table = batch.table()
    projection = Projection(camera=camera, width=100, height=100)
    pixels, depth = projection.pixels(table[:4, 3:6])
    assert depth == pytest.approx(np.full(4, 0.2), abs=1e-5)
    assert sorted(map(tuple, np.round(pixels).astype(int).tolist())) == [(0, 0), (0, 100), (100, 0), (100, 100)]
