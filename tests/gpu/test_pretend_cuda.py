"""Whole runs on a CUDA device that is not there (`pretend_cuda`): no tensors of two devices meet, the bits are the CPU's, and the
processor waits for the card no oftener than is written here. Needs no GPU.
"""

import runpy
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from interactive3d.dsl.program import GuidanceChoice, InitShape, Program
from interactive3d.dsl.values import Sphere
from interactive3d.kernels import hash_grid, reference, reference_field, splat_raster
from interactive3d.kernels._library import NativeKernel
from interactive3d.kernels.hash_grid import hash_encode
from interactive3d.kernels.volume_render import STOP
from interactive3d.runtime.engine.start import begin
from interactive3d.runtime.scene.camera import Camera
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.settings import Settings
from interactive3d.runtime.view.packing import pack, pack_on_device, to_host
from tests.gpu import pretend_cuda
from tests.gpu.pretend_cuda import DEFAULT_STREAM, PretendCuda, PretendTensor, Wait, on_cuda, pretended_kernels
from tests.gpu.scripts import FIELD, SPLATS
from tests.kernels import field_cases as cases
from tests.kernels.splat_cases import random_scene

ROOT = Path(__file__).parents[2]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def card() -> Iterator[PretendCuda]:
    with pretended_kernels(), PretendCuda() as pretended:
        yield pretended


# -- the pretence itself -----------------------------------------------------------------------------------------------


def test_tensors_of_two_devices_do_not_meet(card: PretendCuda) -> None:
    here, there = torch.ones(3), torch.ones(3, device="cuda")
    for meet in (
        lambda: here + there,
        lambda: there.add_(here),
        lambda: torch.cat([here, there]),
        lambda: torch.where(there > 0, here, there),
        lambda: here[there.long()],
        lambda: torch.stack([there.sum(), torch.tensor(1.0)]),
        lambda: torch.rand(3, device="cuda", generator=torch.Generator()),
    ):
        with pytest.raises(RuntimeError, match=r"device|indices"):
            meet()
    with pytest.raises(TypeError, match="numpy"):
        np.asarray(there)
    with pytest.raises(TypeError, match="numpy"):
        there.numpy()


def test_what_may_meet(card: PretendCuda) -> None:
    there = torch.arange(4.0, device="cuda")
    assert there.device.type == "cuda" and there.is_cuda and isinstance(there, PretendTensor)
    assert (there + torch.tensor(1.0)).cpu().tolist() == [1, 2, 3, 4]
    assert there[torch.tensor([2, 0])].cpu().tolist() == [2, 0]
    there[1:3] = torch.tensor([7.0, 8.0])
    assert there.tolist() == [0, 7, 8, 3]
    leaf = torch.ones(2, requires_grad=True)
    (2 * leaf.to("cuda") * there[:2]).sum().backward()
    assert leaf.grad is not None and leaf.grad.tolist() == [0, 14]


def test_waits_are_written_down(card: PretendCuda) -> None:
    there = torch.ones(3, device="cuda")
    assert not card.waits
    bool((there > 0).all()), there.nonzero(), there[there > 0], there.cpu(), torch.ones(2).to("cuda"), there.tolist()
    kinds = ["read", "nonzero", "a mask as index", "copied to the processor", "copied to the device", "tolist"]
    assert [wait.what for wait in card.waits] == kinds
    card.waits.clear()
    torch.ones(2).to("cuda", non_blocking=True)
    there[there > 0] = 0.0
    assert not card.waits


# -- kernels -----------------------------------------------------------------------------------------------------------


def on(move: Callable[[torch.Tensor], torch.Tensor], *tensors: Any) -> list[Any]:
    return [move(t) if isinstance(t, torch.Tensor) else t for t in tensors]


def test_references_work_where_the_tensors_lie(card: PretendCuda) -> None:
    """They serve on a card where there is no compiler for it."""
    scene = random_scene(20, 2, 12, 9).with_gradients()
    settings = reference.SplatSettings(12, 9, 0.01, 1e6, 0.3, 1 / 255, 1e-4)
    behind = torch.full((2, 3), 0.5)
    grads = (torch.ones(2, 9, 12, 3), None, torch.ones(2, 9, 12))
    blobs = [t.detach() for t in scene.blobs]
    found = []
    for move in (torch.clone, on_cuda):
        given = on(move, *blobs, scene.viewmats, scene.intrinsics, behind)
        forward = reference.splat_forward(*given, None, settings)
        back = reference.splat_backward(
            tuple(on(move, *grads)), tuple(given[:5]), given[5], given[6], given[7], None, settings
        )
        found.append([t.cpu() for t in (*forward, *back[0])])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))

    base, regions = cases.base_grid(), cases.region_grids()
    origins, directions = cases.rays(40)
    cells = cases.mask(6, torch.Generator().manual_seed(5))
    found = []
    for move in (torch.clone, on_cuda):
        o, d, c, *grid = on(move, origins, directions, cells, base.params, base.masks[0], base.boxes[0])
        refined = on(move, regions.params, regions.masks, regions.boxes)
        times, positions, offsets = reference_field.march_rays(o, d, None, c, None, 0.05, 0.01)
        raw, encoding, speaks = reference_field.field_network(positions, *grid, base.numbers, -4.0)
        residual, more = reference_field.hash_refine(positions, encoding, raw, *refined, regions.numbers)
        pixels = reference_field.composite(raw + residual, times, offsets, 0.05, STOP)
        found.append([t.cpu() for t in (times, raw, encoding, speaks, residual, more, *pixels)])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_the_encoding_alone(card: PretendCuda) -> None:
    grid = cases.base_grid()
    table = grid.layouts[0].split(grid.params)[0].contiguous()
    points = torch.rand(50, 3, generator=torch.Generator().manual_seed(1))
    expected = hash_encode(points, table, grid.layouts[0])
    assert torch.equal(hash_encode(on_cuda(points), on_cuda(table), grid.layouts[0]).cpu(), expected)


# -- whole runs --------------------------------------------------------------------------------------------------------


def digests(script: str, folder: Path, card: PretendCuda) -> tuple[str, str]:
    """Of a script's run on the CPU and on the pretended card."""
    from interactive3d.runtime.engine.run import Run
    from interactive3d.runtime.engine.script import load_script

    path = folder / "all.sculpt"
    path.write_text(script)
    shutil.copy(ROOT / "scripts" / "objects" / "knight.splat", folder)
    loaded = load_script(path)
    assert loaded.program is not None, loaded.diagnostics
    found = []
    for device in ("cpu", "cuda"):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="One of the clusters is empty", category=UserWarning)
            found.append(Run(loaded.program, path, folder / device, device=device).go().digest)
    return found[0], found[1]


def test_every_operation_on_splats(card: PretendCuda, tmp_path: Path) -> None:
    on_cpu, on_card = digests(SPLATS, tmp_path, card)
    assert on_cpu == on_card
    assert card.waits


def test_the_field(card: PretendCuda, tmp_path: Path) -> None:
    on_cpu, on_card = digests(FIELD, tmp_path, card)
    assert on_cpu == on_card


@pytest.mark.slow
@pytest.mark.parametrize("script, stop", [(SPLATS, 15), (FIELD, 11)], ids=["splats", "field"])
def test_a_run_goes_on_and_is_verified(script: str, stop: int, card: PretendCuda, tmp_path: Path) -> None:
    """Checkpoints, which lie on the processor's side, come back onto the card; so does a replay."""
    from interactive3d.runtime.engine.record import Report
    from interactive3d.runtime.engine.replay import read_record, replay_digest
    from interactive3d.runtime.engine.run import Run
    from interactive3d.runtime.engine.script import load_script

    path = tmp_path / "all.sculpt"
    path.write_text(script)
    shutil.copy(ROOT / "scripts" / "objects" / "knight.splat", tmp_path)
    program = load_script(path).program
    assert program is not None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="One of the clusters is empty", category=UserWarning)
        whole = Run(program, path, tmp_path / "whole", device="cuda").go().digest
        Run(program, path, tmp_path / "halves", device="cuda").go(drive=lambda session: bool(session.advance(stop)))
        second = Run(program, path, tmp_path / "halves", device="cuda", resume=True)
        assert second.session.latest().step == stop
        assert second.go().digest == whole
        assert replay_digest(tmp_path / "whole", program, read_record(tmp_path / "whole"), Report()) == whole


def test_the_judge(card: PretendCuda) -> None:
    from interactive3d.runtime.guidance.judge.judge import Judge

    pictures = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(5))
    prompts = ["a green dragon", "a red fox"]
    found = Judge.load(device="cuda").score(pictures.to("cuda"), prompts)
    assert torch.equal(found.cpu(), Judge.load().score(pictures, prompts))


@pytest.mark.parametrize("kernel", [splat_raster.KERNEL, hash_grid.KERNEL], ids=lambda kernel: kernel.name)
@pytest.mark.usefixtures("card")
def test_what_packages_are_raced_at(kernel: NativeKernel) -> None:
    """The same work each time, with gradients that are not zero."""
    assert kernel.external is not None
    work = kernel.external.prepare()
    first, second = work(), work()
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(t.device.type == "cuda" and float(t.abs().max()) > 0 for t in first)


# -- what the processor waits for in a step ----------------------------------------------------------------------------

STEP = {
    "kernels/splat_raster.py rasterize": 1,  # how many pairs of blob and tile there are
    "runtime/engine/trainer.py _step": 1,  # how far the blobs have moved: the step's end
}
"""What a step of stage I waits for outside its prior. Whether any blob is frozen was asked at the first step."""
SCORE = {"runtime/guidance/large/guidance.py _score": 1}
"""What a score of a large model waits for: its loss, at its end. Noise, levels and weights are carried without a wait."""
READ_LATER = {"runtime/guidance/large/guidance.py _read": 1}
"""What a step waits for in place of it, once a score has been finite."""


def places(waits: list[Wait], *, without: str = "/guidance/") -> Counter[str]:
    """Files and functions that waited, and how often."""
    found = Counter(f"{w.where.split(':')[0]} {w.where.split()[-1]}" for w in waits)
    return Counter({place: count for place, count in found.items() if without not in place})


def steps_of(guidance: Any, folder: Path, count: int = 3) -> Any:
    program = Program(
        prompt="a green dragon",
        steps=1000,
        initial=InitShape(count=60, shape=Sphere(center=(0.0, 0.0, 0.0), radius=0.4)),
        guidance=GuidanceChoice(name=guidance.name),
        settings=(("guidance.size", 24), ("camera.batch", 2)),
        folder=str(folder),
    )
    trainer, state = begin(program, guidance, seed=0, device=str(guidance.device))
    for _ in range(count):
        before, state = state, trainer.step(state)
    return trainer, before, state


def test_waits_of_a_step_under_the_embedded_prior(card: PretendCuda, tmp_path: Path) -> None:
    from interactive3d.runtime.guidance.embedded import EmbeddedPrior

    trainer, state, _ = steps_of(EmbeddedPrior.load("cuda"), tmp_path)
    card.waits.clear()
    trainer.step(state)
    assert places(card.waits) == STEP
    assert sum(places(card.waits, without="(nothing)").values()) == sum(STEP.values()) + 1  # and the prior's loss


FAMILIES = ("sd15", "flux-dev", *(pytest.param(n, marks=pytest.mark.slow) for n in ("sd2v", "sdxl", "if", "sd3")))


@pytest.fixture(autouse=True)
def as_on_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The attention that suits a card rounds otherwise on the processor, which does the card's work here."""
    memory = "interactive3d.runtime.guidance.large.memory"
    monkeypatch.setattr(f"{memory}.attend", lambda pipeline, plainly: None)


@pytest.fixture(scope="module")
def makers() -> dict[str, Callable[[], Any]]:
    pytest.importorskip("diffusers")
    pytest.importorskip("transformers")
    return runpy.run_path(str(ROOT / "tests" / "runtime" / "guidance" / "large" / "conftest.py"))["MAKERS"]


def large(maker: Callable[[], Any], device: str, **values: Any) -> Any:
    from interactive3d.runtime.guidance.large import DiffusersGuidance

    torch.manual_seed(7)
    pipeline = maker()
    pipeline.set_progress_bar_config(disable=True)
    for module in pipeline.components.values():
        if isinstance(module, torch.nn.Module):
            module.requires_grad_(False).eval()
    settings = Settings().set("camera.batch", 2).set("large.size", 16)
    for name, value in values.items():
        settings = settings.set(f"large.{name}", value)
    return DiffusersGuidance(pipeline, device, settings=settings, model="tiny", free_memory=lambda place: 10**12)


def state_bits(state: Any) -> list[torch.Tensor]:
    return [column.cpu() for column in state.model.columns.values()]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_step_under_a_large_model(
    name: str, makers: dict[str, Callable[[], Any]], card: PretendCuda, tmp_path: Path
) -> None:
    _, _, expected = steps_of(large(makers[name], "cpu"), tmp_path)
    trainer, before, found = steps_of(large(makers[name], "cuda"), tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(state_bits(expected), state_bits(found), strict=True))
    card.waits.clear()
    trainer.step(before)
    assert places(card.waits, without="(nothing)") == STEP | READ_LATER


@pytest.mark.slow
@pytest.mark.parametrize(
    "values",
    [{"perp_neg": True}, {"estimator": "interval"}, {"memory": "sliced"}, {"memory": "lean"}],
    ids=["perp-neg", "interval", "sliced", "lean"],
)
def test_other_ways_to_ask_a_large_model(
    values: dict[str, Any], makers: dict[str, Callable[[], Any]], card: PretendCuda, tmp_path: Path
) -> None:
    from interactive3d.runtime.guidance.protocol import ScoreRequest

    settings = Settings()
    for name, value in values.items():
        settings = settings.set(f"large.{name}", value)
    found = []
    for device in ("cpu", "cuda"):
        guidance = large(makers["sdxl"], device, **values)
        images = torch.rand(2, 24, 24, 3, generator=torch.Generator().manual_seed(11))
        request = ScoreRequest(
            images=images.to(device),
            cameras=[Camera.orbit(0, 10), Camera.orbit(90, 10)],
            condition=guidance.encode("a red fox", "blur"),
            noise=(0.1, 0.9),
            guidance_scale=7.0,
            generator=torch.Generator().manual_seed(3),
            background=torch.ones(2, 3).to(device),
            large=settings.large,
        )
        score = guidance.score(request)
        assert score.gradient.device.type == device
        card.waits.clear()
        guidance.score(request)  # its texts have been read
        assert places(card.waits, without="(nothing)") == (SCORE if device == "cuda" else {})
        found.append((score.gradient.cpu(), score.loss))
    assert torch.equal(found[0][0], found[1][0]) and found[0][1] == found[1][1]


# -- the window --------------------------------------------------------------------------------------------------------


def test_what_the_window_takes(card: PretendCuda, make_ball: Callable[..., GaussianModel]) -> None:
    ball = make_ball()
    expected = pack(ball)
    there = ball.to("cuda")
    card.waits.clear()
    packed = pack(there)
    assert isinstance(packed, np.ndarray)
    assert [wait.what for wait in card.waits] == ["copied to the processor"]
    assert np.allclose(packed, expected, atol=1e-6)
    assert np.array_equal(packed, to_host(pack_on_device(ball), pinned=False))


LOOKS = {
    "plain": {},
    "tinted and hidden": {"selected": True, "hidden": True},
    "moved": {"selected": True, "moved": True},
    "dots": {"dots": True},
}


@pytest.mark.parametrize("name", list(LOOKS))
def test_the_painters_picture(name: str, card: PretendCuda, make_ball: Callable[..., GaussianModel]) -> None:
    """Eight bits are made of it on the card, and it comes in one piece, in a stream that is the painter's own."""
    painter = pytest.importorskip("interactive3d.runtime.view.painter")
    from interactive3d.runtime.view.streams import OwnStream

    ball, wanted = make_ball(), dict(LOOKS[name])
    for mask in ("selected", "hidden"):
        if mask in wanted:
            wanted[mask] = ball.mean.numpy()[:, int(mask == "hidden")] > 0.1
    if "moved" in wanted:
        wanted["moved"] = np.diag([1.0, 1.2, 1.0, 1.0])
    look = painter.Look(**wanted)
    fixed = {"key": (1,), "camera": Camera.orbit(20.0, 10.0), "width": 61, "height": 40, "look": look}
    expected = painter.paint(painter.PaintJob(model=ball, **fixed))
    there = ball.to("cuda")
    job = painter.PaintJob(model=there, finished=True, **fixed)
    pretend_cuda.streams.clear()
    card.waits.clear()
    stream = OwnStream()
    done = painter.paint(job, stream=stream)
    waits = [wait.what for wait in card.waits]
    assert np.array_equal(done.picture, expected.picture) and done.picture[..., 3].any() and done.box == expected.box
    assert waits.count("copied to the processor") == 1 and waits[-1] == "all of a stream"
    if name != "moved":  # whose geometry asks whether it is done
        assert [what for what in waits if what != "splat_raster_forward"] == waits[-2:]
    painter.paint(job, stream=stream)
    (own,) = pretend_cuda.streams
    assert own.priority < 0 and own.waits_for == []
    painter.paint(painter.PaintJob(model=there, **fixed), stream=stream)
    assert own.waits_for == [DEFAULT_STREAM]


def test_the_painters_work_runs_in_its_stream(card: PretendCuda, make_ball: Callable[..., GaussianModel]) -> None:
    painter = pytest.importorskip("interactive3d.runtime.view.painter")
    used = []
    with pytest.MonkeyPatch.context() as patched:
        for name in ("rasterize", "to_host"):
            work = getattr(painter, name)
            patched.setattr(painter, name, lambda *a, work=work: (used.append(len(pretend_cuda.in_use)), work(*a))[1])
        there = make_ball().to("cuda")
        painter.paint(
            painter.PaintJob(key=(1,), model=there, camera=Camera.orbit(0, 0), width=40, height=40, look=painter.Look())
        )
    assert used == [1, 1] and not pretend_cuda.in_use
