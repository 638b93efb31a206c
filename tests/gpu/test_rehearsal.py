"""The tests that need a GPU, on one that is pretended and with less to do: so that none of them fails there by a slip of the pen."""

import contextlib
import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch

from interactive3d.kernels import _library, gsplat_backend, splat_raster, tinycudann_backend
from tests.gpu import main_job, test_main_job, test_window_frames
from tests.gpu.conftest import table
from tests.gpu.pretend_cuda import AtOnce, PretendCuda, pretended_kernels
from tests.kernels import test_field_cuda, test_splat_raster_cuda

MODULES: tuple[ModuleType, ...] = (test_main_job, test_window_frames, test_splat_raster_cuda, test_field_cuda)
"""Without test_group_norm's, whose operator has no native half that could be pretended."""
TAKEN_ELSEWHERE = {"test_every_operation_under_the_embedded_prior"}
"""test_pretend_cuda runs these scripts."""


def functions() -> list[Any]:
    """Every test that is marked `gpu`, once for each set of its parameters."""
    found = []
    for module in MODULES:
        for name, function in vars(module).items():
            marks = {mark.name: mark for mark in getattr(function, "pytestmark", ())}
            if "gpu" not in marks or name in TAKEN_ELSEWHERE:
                continue
            values: list[dict[str, Any]] = [{}]
            if "parametrize" in marks:
                names = [n.strip() for n in marks["parametrize"].args[0].split(",")]
                rows = [v if len(names) > 1 else (v,) for v in marks["parametrize"].args[1]]
                values = [dict(zip(names, row, strict=True)) for row in rows]
            slow = [pytest.mark.slow] if "slow" in marks else []
            for v in values:
                found.append(pytest.param(function, v, id="-".join(map(str, (name, *v.values()))), marks=slow))
    return found


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The same work, less of it; the packages that serve on a card are there, and leave the work to ours."""
    m, w = test_main_job, test_window_frames
    raster, encoding, blobs, guidance, measure = (
        m.raster_seconds,
        m.encoding_seconds,
        w.many_blobs,
        m.guidance_on,
        main_job.measure,
    )
    layout = m.GridLayout.create(levels=2, features=2, capacity=64, base_resolution=4)
    monkeypatch.setattr(m, "raster_seconds", lambda device, blobs, side, repeats: raster(device, 20, 16, 1))
    norm = m.norm_seconds
    monkeypatch.setattr(m, "norm_seconds", lambda device, shape, own, repeats: norm("cpu", (1, 32, 2, 2), own, 1))
    monkeypatch.setattr(m, "encoding_seconds", lambda device, points, given, repeats: encoding(device, 50, layout, 1))
    monkeypatch.setattr(w, "many_blobs", lambda count, device: blobs(100, device))
    monkeypatch.setattr(
        m,
        "guidance_on",
        lambda device, dtype, tokenizer, widths=(): guidance(device, torch.float32, tokenizer, (8, 8, 8, 8)),
    )
    monkeypatch.setattr(
        main_job,
        "measure",
        lambda g, device, compile="off", graphs="auto", **_: measure(
            g, device, blobs=60, side=16, batch=1, steps=2, warm=1, compile=compile, graphs=graphs
        ),
    )
    # The models are marked as compiled, and run as they are.
    monkeypatch.setattr("interactive3d.runtime.guidance.large.compiling.missing_tool", lambda device: None)
    monkeypatch.setattr("interactive3d.runtime.guidance.large.compiling.find_spec", lambda name: object())
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module, **how: None)
    monkeypatch.setattr(w, "FRAMES", 20)
    with contextlib.suppress(ImportError):  # the window's packages
        monkeypatch.setattr("interactive3d.runtime.view.layer.Latest", AtOnce)
        # As if OpenGL had a card, and too slow a one.
        monkeypatch.setattr("interactive3d.runtime.view.viewport.SOFTWARE", ())
        monkeypatch.setattr("interactive3d.runtime.view.engines.SHARED_FROM", 50)
        monkeypatch.setattr("interactive3d.runtime.view.engines.FRAME_SECONDS", 0.0)
    monkeypatch.setattr(m, "OUTSIDE", 1.0)
    monkeypatch.setattr(m, "STEP_MS", float("inf"))
    monkeypatch.setattr(w, "FRAME_MS", float("inf"))
    monkeypatch.setattr(pytest, "importorskip", lambda name, **_: None)
    for backend in (gsplat_backend, tinycudann_backend):
        monkeypatch.setattr(backend, "serves", lambda *_: False)
    with pretended_kernels():
        for kernel in (splat_raster.KERNEL, m.field_kernel):
            assert kernel.external is not None
            status = _library.KernelStatus(kernel.name, "cuda", kernel.external.package, "pretended")
            monkeypatch.setitem(_library._externals, (kernel.name, "cuda"), status)
        yield


@pytest.mark.parametrize("function, values", functions())
def test_rehearsal(function: Any, values: dict[str, Any], small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[tuple[str, str, str]] = []
    wanted = inspect.signature(function).parameters
    given = dict(values)
    if "row" in wanted:
        given["row"] = lambda what, figure, bar="": rows.append((what, figure, bar))
    if "tokenizer" in wanted:
        pytest.importorskip("diffusers")
        given["tokenizer"] = test_main_job.tokenizer.__wrapped__()
    if "times" in function.__code__.co_varnames:  # what takes longer is noise here
        for module in (test_main_job, test_window_frames):
            monkeypatch.setattr(module, "seconds_of", lambda work, repeats: (work(), 1.0)[1])
    for name, value in (
        ("get_device_name", "pretended H200"),
        ("max_memory_allocated", 0),
        ("reset_peak_memory_stats", None),
        ("mem_get_info", (10**12, 10**12)),
    ):
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    try:
        with PretendCuda():
            function(**given)
    except AssertionError as error:
        # Bars of times mean nothing here; everything else counts.
        if "< 1.5" not in str(error):
            raise
    assert all(all(isinstance(cell, str) for cell in row) for row in rows)
    assert bool(rows) == ("row" in wanted)
    figures = {what: figure for what, figure, _ in rows}
    assert figures.get("compiled", "unet, vae.encoder") == "unet, vae.encoder"
    assert not [figure for figure in figures.values() if figure.startswith("failed")]
    assert len(table(rows).splitlines()) >= 5 + len(rows)
