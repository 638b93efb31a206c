"""The picture on the screen against the optimizer's own, without a display (EGL)."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

moderngl = pytest.importorskip("moderngl", reason="the window's packages are not installed: pip install '.[window]'")

from interactive3d.dsl.operations import ShapePart, Sphere  # noqa: E402
from interactive3d.runtime.scene.camera import Camera  # noqa: E402
from interactive3d.runtime.scene.gaussians import GaussianModel  # noqa: E402
from interactive3d.runtime.scene.render import render  # noqa: E402
from interactive3d.runtime.scene.transforms import transform_rows  # noqa: E402
from interactive3d.runtime.view import programs as programs_module  # noqa: E402
from interactive3d.runtime.view.lines import LineBatch, LineRenderer, add_grid, add_part  # noqa: E402
from interactive3d.runtime.view.orbit import OrbitCamera, Projection  # noqa: E402
from interactive3d.runtime.view.packing import depth_order, pack, pack_on_device, to_host, view_matrix  # noqa: E402
from interactive3d.runtime.view.painter import Look, Pace  # noqa: E402
from interactive3d.runtime.view.programs import Programs, first_fault  # noqa: E402
from interactive3d.runtime.view.splats import SplatRenderer  # noqa: E402
from interactive3d.runtime.view.viewport import Backdrop, Engine, Frame, Viewport  # noqa: E402
from interactive3d.shaders import shader_names, shader_paths  # noqa: E402

LEAST_PSNR = 40.0
"""Decibels, the project's bar; sixteen-bit blending reaches some 60, the eight bits of the composed picture leave about 55."""

SETTLE_SECONDS = 20.0
"""How long a picture may take on a busy machine before the test gives up."""


@pytest.fixture(scope="module")
def context():
    try:
        made = moderngl.create_context(standalone=True, backend="egl")
    except Exception as error:
        pytest.skip(f"no OpenGL without a display: {error}")
    yield made
    made.release()


def ball(count: int = 1500) -> GaussianModel:
    generator = torch.Generator().manual_seed(3)
    place = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1) * 0.5
    return GaussianModel.create(
        mean=place,
        log_scale=torch.log(torch.rand(count, 3, generator=generator) * 0.05 + 0.004),
        rotation=torch.randn(count, 4, generator=generator),
        color=torch.rand(count, 3, generator=generator),
        logit_opacity=torch.randn(count, generator=generator) * 2.0,
    )


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10.0 * np.log10(((a.astype(np.float64) - b) ** 2).mean()))


def shown(context, frame: Frame, engine: Engine) -> np.ndarray:
    viewport = Viewport(context, engine)
    try:
        deadline = time.monotonic() + SETTLE_SECONDS
        viewport.show(frame)
        while not viewport.settled and time.monotonic() < deadline:
            time.sleep(0.005)
            viewport.show(frame)
        viewport.show(frame)
        assert viewport.settled
        return viewport.read().astype(np.float32) / 255.0
    finally:
        viewport.close()


@pytest.mark.parametrize("engine", list(Engine))
@pytest.mark.parametrize(
    "camera",
    [Camera.orbit(30.0, 20.0), Camera.orbit(200.0, -60.0, 1.1, 70.0, (0.1, 0.2, 0.0)), Camera.orbit(0.0, 90.0, 3.0)],
    ids=["front", "near", "above"],
)
def test_matches_the_optimizers_picture(context, engine, camera):
    model = ball()
    found = shown(context, Frame(model=model, camera=camera, width=203, height=151, backdrop=Backdrop.WHITE), engine)
    expected = render(model, [camera], 203, 151).color[0].clamp(0, 1).numpy()
    assert psnr(found, expected) > LEAST_PSNR


@pytest.mark.parametrize("engine", list(Engine))
def test_a_gizmos_preview_is_what_the_operation_will_give(context, engine):
    model = ball()
    camera = Camera.orbit(20.0, 10.0)
    selected = model.mean.numpy()[:, 0] > 0.1
    change = np.eye(4)
    change[:3, :3] = np.array([[0.0, -1.0, 0.0], [1.2, 0.0, 0.0], [0.0, 0.0, 0.8]])
    change[:3, 3] = (0.2, -0.1, 0.0)
    look = Look(selected=selected, moved=change, tint=(0.0, 0.0, 0.0, 0.0))
    frame = Frame(model=model, camera=camera, width=160, height=120, look=look, backdrop=Backdrop.WHITE)
    done = transform_rows(
        model, torch.from_numpy(selected), linear=torch.from_numpy(change[:3, :3].copy()), offset=(0.2, -0.1, 0.0)
    )
    expected = render(done, [camera], 160, 120).color[0].clamp(0, 1).numpy()
    assert psnr(shown(context, frame, engine), expected) > LEAST_PSNR


@pytest.mark.parametrize("engine", list(Engine))
def test_hidden_and_selected_blobs(context, engine):
    model = ball(400)
    camera = Camera.orbit(0.0, 0.0)
    everything = np.ones(400, bool)
    plain = Frame(model=model, camera=camera, width=96, height=96, backdrop=Backdrop.BLACK)
    hidden = Frame(
        model=model, camera=camera, width=96, height=96, backdrop=Backdrop.BLACK, look=Look(hidden=everything)
    )
    red = Look(selected=everything, tint=(1.0, 0.0, 0.0, 1.0))
    tinted = Frame(model=model, camera=camera, width=96, height=96, backdrop=Backdrop.BLACK, look=red)
    assert shown(context, plain, engine).max() > 0.5
    assert shown(context, hidden, engine).max() == 0.0
    picture = shown(context, tinted, engine)
    assert picture[..., 0].max() > 0.8 and picture[..., 1:].max() == 0.0


def test_blobs_with_numbers_that_are_not_finite_are_left_out(context):
    model = ball(300)
    columns = {"mean": model.mean.clone(), "log_scale": model.columns["log_scale"].clone()}
    columns["mean"][7] = float("nan")
    columns["log_scale"][9] = float("inf")
    broken = model.with_columns(columns)
    packed = pack(broken)
    assert np.isfinite(packed).all() and packed[7, 3] == 0.0 and packed[9, 3] == 0.0
    frame = Frame(model=broken, camera=Camera.orbit(0, 0), width=64, height=64)
    assert np.isfinite(shown(context, frame, Engine.OPENGL)).all()


def test_packed_by_torch_as_by_numpy():
    model = ball()
    spoiled = model.mean.clone()
    spoiled[5, 1] = float("nan")
    model = model.with_columns({"mean": spoiled})
    found = to_host(pack_on_device(model), pinned=False)
    assert not found[5].any()
    np.testing.assert_allclose(found, pack(model), rtol=1e-5, atol=1e-7)  # the order of float32 sums differs


def test_a_new_order_does_not_carry_the_blobs_again(context):
    """A million blobs are 64 MB, and a new order comes with every move of the camera."""
    renderer = SplatRenderer(context, Programs(context))
    packed = pack(ball())
    carried = []

    class Counted:
        def __init__(self, texture):
            self.texture, self.size = texture, texture.size

        def write(self, data):
            carried.append(data)
            self.texture.write(data)

    renderer.upload(packed, np.zeros(len(packed), np.float32))
    renderer._blobs = Counted(renderer._blobs)
    renderer.upload(packed, np.zeros(len(packed), np.float32))
    assert not carried
    marked = np.ones(len(packed), np.float32)
    renderer.upload(packed, marked)
    assert len(carried) == 1
    renderer.upload(packed.copy(), marked)
    assert len(carried) == 2
    renderer._blobs = renderer._blobs.texture
    renderer.release()


def test_order_is_farthest_first_and_counting_agrees_with_exact_sorting():
    generator = np.random.default_rng(0)
    mean = generator.uniform(-1, 1, (250_000, 3)).astype(np.float32)
    camera = Camera.orbit(33.0, 21.0)
    depth = Projection(camera=camera, width=10, height=10).pixels(mean)[1]
    exact = depth_order(mean[:1000], camera)
    assert (np.diff(depth[:1000][exact]) <= 1e-6).all()
    coarse = depth[depth_order(mean, camera)]
    # Sixteen bits over a depth range of at most 2 sqrt 3.
    assert np.diff(coarse).max() < 2 * 3.5 / 65535


def test_lines_cover_what_they_outline(context):
    batch = LineBatch()
    add_part(batch, ShapePart(shape=Sphere(center=(0.0, 0.0, 0.0), radius=0.4)), (1.0, 0.0, 0.0, 1.0), width=3.0)
    camera = Camera.orbit(0.0, 0.0)
    frame = Frame(
        model=ball(1),
        camera=camera,
        width=200,
        height=200,
        over=batch,
        backdrop=Backdrop.BLACK,
        look=Look(hidden=np.ones(1, bool)),
    )
    picture = shown(context, frame, Engine.OPENGL)
    projection = frame.projection
    for point in ((0.4, 0.0, 0.0), (0.0, 0.4, 0.0), (-0.4, 0.0, 0.0)):
        (x, y), _ = (v[0] for v in projection.pixels(np.array([point])))
        assert picture[int(y), int(x), 0] > 0.5
    assert picture[80, 80].max() == 0.0


def test_floor_fades_towards_its_rim():
    batch = LineBatch()
    add_grid(batch, -0.8, (1.0, 1.0, 1.0))
    table = batch.table()
    distance = np.hypot(*(0.5 * (table[:, [0, 2]] + table[:, [3, 5]])).T)
    assert table[distance > 1.5, 9].max() < table[distance < 0.5, 9].max() / 2


def test_lines_are_as_wide_where_pixels_are_small(context):
    batch = LineBatch()
    batch.segments(np.array([[-0.5, 0.0, 0.0]]), np.array([[0.5, 0.0, 0.0]]), (1.0, 0.0, 0.0, 1.0), 2.0)
    shares = []
    for fine in (1, 2):
        frame = Frame(
            model=ball(1),
            look=Look(hidden=np.ones(1, bool)),
            camera=Camera.orbit(0.0, 0.0),
            width=100 * fine,
            height=100 * fine,
            line_scale=float(fine),
            over=batch,
            backdrop=Backdrop.BLACK,
        )
        shares.append(float((shown(context, frame, Engine.OPENGL)[..., 0] > 0.5).mean()))
    assert shares[0] > 0.0 and abs(shares[1] - shares[0]) < 0.25 * shares[0]


def test_every_shader_compiles(context):
    programs = Programs(context)
    for stem in shader_names():
        programs.get(stem)
    with pytest.raises(KeyError, match="there are backdrop"):
        shader_paths("nothing")


def test_a_broken_shader_keeps_the_last_good_one_and_a_mended_one_replaces_it(context, tmp_path: Path, monkeypatch):
    files = []
    for path in shader_paths("backdrop"):
        files.append(tmp_path / path.name)
        files[-1].write_text(path.read_text())
    monkeypatch.setattr(programs_module, "shader_paths", lambda stem: tuple(files))
    programs = Programs(context)
    good = programs.get("backdrop")
    text = files[1].read_text()
    files[1].write_text(text.replace("void main", "void mian"))
    assert not programs.reload()
    assert programs.get("backdrop") is good and "main" in programs.log["backdrop"]
    files[1].write_text(text + "\n// mended\n")
    assert programs.reload()
    assert programs.get("backdrop") is not good and not programs.log


def shader_files(stem: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A copy of a program's files, which ``Programs`` reads instead of the real ones."""
    files = tuple(folder / path.name for path in shader_paths(stem))
    for file, path in zip(files, shader_paths(stem), strict=True):
        file.write_text(path.read_text())

    def found(asked: str) -> tuple[Path, ...]:
        if not all(file.is_file() for file in files):
            raise KeyError(asked)
        return files

    monkeypatch.setattr(programs_module, "shader_paths", found)
    return files


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"width": "breadth"}, "nothing is given for the input `breadth`; the window gives from, hue, size, to, width"),
        (
            {"uniform vec2 size;": "uniform vec3 size;", "* size": "* size.xy", "/ size": "/ size.xy"},
            "`size` is declared as vec3, and the window gives vec2",
        ),
    ],
)
def test_a_shader_that_compiles_and_does_not_fit_is_not_taken(context, tmp_path: Path, monkeypatch, changes, said):
    vertex, _ = shader_files("line", tmp_path, monkeypatch)
    programs = Programs(context)
    lines, target = LineRenderer(context, programs), context.simple_framebuffer((32, 32))
    batch = LineBatch()
    batch.segments(np.array([[-0.5, 0.0, 0.0]]), np.array([[0.5, 0.0, 0.0]]), (1.0, 0.0, 0.0, 1.0), 2.0)
    projection = Projection(camera=Camera.orbit(0.0, 0.0), width=32, height=32)
    good, text = programs.get("line"), vertex.read_text()
    changed = text
    for old, new in changes.items():
        changed = changed.replace(old, new)
    vertex.write_text(changed)
    assert not programs.reload() and programs.get("line") is good
    assert said in programs.log["line"]
    vertex.write_text(text + "\n// mended\n")
    assert programs.reload() and not programs.log
    target.use()
    lines.draw(batch, projection)
    assert max(target.read()) == 255


def test_an_input_that_a_shader_reads_no_more_is_left_out(context, tmp_path: Path, monkeypatch):
    vertex, _ = shader_files("line", tmp_path, monkeypatch)
    programs = Programs(context)
    lines, target = LineRenderer(context, programs), context.simple_framebuffer((32, 32))
    programs.get("line")
    vertex.write_text(vertex.read_text().replace("in vec4 hue;", "const vec4 hue = vec4(0.0, 1.0, 0.0, 1.0);"))
    assert programs.reload(), programs.log
    batch = LineBatch()
    batch.segments(np.array([[-0.5, 0.0, 0.0]]), np.array([[0.5, 0.0, 0.0]]), (1.0, 0.0, 0.0, 1.0), 2.0)
    target.use()
    lines.draw(batch, Projection(camera=Camera.orbit(0.0, 0.0), width=32, height=32))
    seen = np.frombuffer(target.read(), np.uint8).reshape(-1, 3)
    assert seen[:, 1].max() > 200 and seen[:, 0].max() == 0


def test_a_shader_file_that_is_away_for_a_moment_harms_nothing(context, tmp_path: Path, monkeypatch):
    """Some editors rename the old file and then write the new one."""
    _, fragment = shader_files("backdrop", tmp_path, monkeypatch)
    programs = Programs(context)
    good = programs.get("backdrop")
    fragment.rename(tmp_path / "kept")
    assert not programs.reload() and programs.get("backdrop") is good and "missing" in programs.log["backdrop"]
    (tmp_path / "kept").rename(fragment)
    assert programs.reload() and not programs.log
    fragment.write_bytes(b"\xff\xfe not a text")
    assert not programs.reload() and programs.log


def test_the_line_that_says_what_is_wrong_is_found():
    said = "GLSL Compiler failed\n\nfragment_shader\n=====\n0:21(1): error: illegal use of reserved word `this'\n"
    assert first_fault(said).startswith("0:21(1): error")
    assert first_fault("a file of it is missing") == "a file of it is missing"


def test_orbiting_panning_zooming_and_focusing():
    start = OrbitCamera(azimuth=0.0, elevation=0.0)
    assert start.orbited(-100.0, 0.0).azimuth == pytest.approx(35.0)
    assert start.orbited(0.0, 10_000.0).elevation < 90.0
    assert start.zoomed(3.0).distance < start.distance < start.zoomed(-3.0).distance
    projection = Projection(camera=start.camera(), width=400, height=300)
    moved = start.panned(50.0, -20.0, 300)
    after = Projection(camera=moved.camera(), width=400, height=300)
    pixel = after.pixels(np.zeros((1, 3)))[0][0]
    assert pixel == pytest.approx(projection.pixels(np.zeros((1, 3)))[0][0] + (50.0, -20.0))
    near = start.focused((0.3, 0.0, 0.0), 0.1)
    picture = Projection(camera=near.camera(), width=300, height=300)
    edge = picture.pixels(np.array([[0.3, 0.1, 0.0]]))[0][0]
    assert near.target == (0.3, 0.0, 0.0) and 15.0 < edge[1] < 60.0


@pytest.mark.parametrize(
    ("azimuth", "elevation"), [(0.0, 0.0), (33.0, -20.0), (190.0, 90.0), (10.0, -90.0), (5.0, 89.5)]
)
def test_the_windows_view_matrix_is_the_cameras(azimuth, elevation):
    camera = Camera.orbit(azimuth, elevation, 1.7, 50.0, (0.1, -0.2, 0.3))
    assert np.abs(view_matrix(camera) - camera.view_matrix().numpy()).max() < 1e-6


def test_a_pixel_and_its_ray_are_inverse():
    projection = Projection(camera=Camera.orbit(40.0, 25.0, 2.0), width=320, height=200)
    point = projection.at_depth(77.0, 130.0, 1.7)
    pixel, depth = projection.pixels(point[None])
    assert pixel[0] == pytest.approx((77.0, 130.0)) and depth[0] == pytest.approx(1.7)


def test_after_a_gesture_the_newest_state_is_shown_whole_while_the_optimizer_goes_on(context):
    """A coarse picture that a gesture left behind once stayed on the screen for as long as the run went on."""
    viewport = Viewport(context, Engine.RASTERIZER)
    camera = Camera.orbit(0.0, 0.0)
    black, white = (ball(200).with_columns({"color": torch.full((200, 3), shade)}) for shade in (0.0, 1.0))
    frame = Frame(model=black, camera=camera, width=160, height=120, backdrop=Backdrop.BLACK, following=True)
    viewport._layer.pace.learn(1, 1.0)  # so slow that a gesture is followed by small pictures
    deadline = time.monotonic() + SETTLE_SECONDS
    while viewport.shown_camera != camera and time.monotonic() < deadline:
        viewport.show(replace(frame, moving=True))
        time.sleep(0.002)
    assert viewport._layer.share < 1.0
    viewport._layer.pace = Pace()
    while (not viewport.settled or viewport.read().max() < 200) and time.monotonic() < deadline:
        # Every state is another object.
        viewport.show(replace(frame, model=white.with_columns({"color": white.color.clone()})))
        time.sleep(0.002)
    assert viewport.settled and viewport.read().max() > 200
    viewport.close()
