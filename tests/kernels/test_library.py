"""Where kernels come from: builds, their cache, failures, and the choice of an implementation."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from interactive3d.kernels import _build, _library, splat_raster
from interactive3d.kernels._library import (
    BuildError,
    External,
    KernelStatus,
    NativeKernel,
    external,
    use_implementation,
)
from tests.kernels.splat_cases import random_scene


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and sources of its own."""
    monkeypatch.setenv("INTERACTIVE3D_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(_build, "SOURCES", tmp_path)
    monkeypatch.setattr(_build, "PREBUILT", tmp_path / "prebuilt")
    monkeypatch.setattr(_library, "_loaded", {})
    return tmp_path


def test_import_neither_builds_nor_probes() -> None:
    script = (
        "import sys, subprocess\n"
        "def refuse(*a, **k): raise SystemExit('a process was started')\n"
        "subprocess.Popen = refuse\n"
        "import interactive3d.kernels.splat_raster as s, torch\n"
        "assert not s._library._loaded\n"
        "assert not torch.cuda.is_initialized()\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_build_and_cache(own_cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (own_cache / "empty.cpp").write_text('#include "answer.h"\nextern "C" int answer() { return ANSWER; }\n')
    (own_cache / "answer.h").write_text("#define ANSWER 42\n")
    kernel = NativeKernel("empty", cpu=("empty.cpp",))

    first = _library.ensure(kernel, "cpu")
    assert first.implementation == "native", first.reason
    assert "building the kernel 'empty'" in capfd.readouterr().err

    _library._loaded.clear()
    again = _library.ensure(kernel, "cpu")
    assert again.reason.startswith("cached build")
    assert capfd.readouterr().err == ""

    _library._loaded.clear()
    (own_cache / "answer.h").write_text("#define ANSWER 43\n")  # a header counts as a source does
    assert _library._forecast(kernel, "cpu").reason.startswith("will be built on first use")


def test_damaged_build_is_made_anew(own_cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (own_cache / "fine.cpp").write_text('extern "C" int fine() { return 1; }\n')
    kernel = NativeKernel("fine", cpu=("fine.cpp",))
    path = _build.cache_folder() / _build.recipe("fine", kernel.cpu, "cpu").file
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not a library")
    assert _library.ensure(kernel, "cpu").reason.startswith("built with")
    assert "does not load" in capfd.readouterr().err


def test_prebuilt_comes_first(own_cache: Path) -> None:
    (own_cache / "early.cpp").write_text('extern "C" int early() { return 1; }\n')
    kernel = NativeKernel("early", cpu=("early.cpp",))
    path = _build.prebuild("early", kernel.cpu, own_cache / "prebuilt")
    assert _library.ensure(kernel, "cpu").reason == f"prebuilt {path}"
    assert not _build.cache_folder().exists()


def test_old_builds_are_forgotten(own_cache: Path) -> None:
    folder = _build.cache_folder()
    folder.mkdir(parents=True)
    for number in range(30):
        (folder / f"many-cpu-{number}.so").touch()
    _build._forget_old_builds(folder, "many", "cpu")
    assert len(list(folder.glob("*.so"))) == _build.KEPT_BUILDS


def test_failure_is_remembered_and_said_once(own_cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (own_cache / "broken.cpp").write_text("this is not C++\n")
    kernel = NativeKernel("broken", cpu=("broken.cpp",))
    for _ in range(2):
        status = _library.ensure(kernel, "cpu")
        assert status.implementation == "reference"
        assert "broken.cpp" in status.reason
    assert capfd.readouterr().err.count("is not available on cpu; the slow reference serves") == 1

    _library._loaded.clear()  # another process: it does not try again, and says why
    assert "remembered; delete" in _library.ensure(kernel, "cpu").reason
    assert "building" not in capfd.readouterr().err


def test_no_compiler(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own_cache / "fine.cpp").write_text("int fine;\n")
    monkeypatch.setenv("PATH", str(own_cache))
    monkeypatch.delenv("CXX", raising=False)
    status = _library.ensure(NativeKernel("fine", cpu=("fine.cpp",)), "cpu")
    assert status.implementation == "reference"
    assert "no C++ compiler was found" in status.reason


def test_missing_source(own_cache: Path) -> None:
    status = _library.ensure(NativeKernel("gone", cpu=("gone.cpp",)), "cpu")
    assert status.implementation == "reference"
    assert "gone.cpp" in status.reason


def test_status_names_every_kernel() -> None:
    statuses = _library.status()
    assert {"splat_raster"} <= {status.name for status in statuses if status.device == "cpu"}
    assert all(status.reason and status.implementation in ("native", "reference", "gsplat") for status in statuses)


def test_forcing_the_reference_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERACTIVE3D_KERNELS", "reference")
    assert all(status.implementation == "reference" for status in _library.status())
    operator = _library.operator("splat_raster_forward", splat_raster.KERNEL, torch.device("cpu"))
    assert "reference_splat_raster_forward" in str(operator)


def test_forcing_native_where_there_is_none() -> None:
    kernel = NativeKernel("none", cpu=())
    with use_implementation("native"), pytest.raises(BuildError, match="'none' is not available on cpu"):
        _library.operator("splat_raster_forward", kernel, torch.device("cpu"))
    with pytest.raises(ValueError, match="'native', 'reference' or 'package', got 'fast'"), use_implementation("fast"):
        pass


def test_two_callers_at_once() -> None:
    """A second thread neither waits for the first one's kernel nor disturbs it."""
    import threading

    scene = random_scene(2000, 2, 64, 64)
    expected = scene.render().color
    wrong: list[int] = []

    def work() -> None:
        for _ in range(20):
            if not torch.equal(scene.render().color, expected):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# -- packages in our kernels' place ----------------------------------------------------------------------------------------


@pytest.fixture
def raced(monkeypatch: pytest.MonkeyPatch) -> Callable[..., NativeKernel]:
    """A kernel on a card that a package can serve too, each of them so many milliseconds slow."""
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: SimpleNamespace(synchronize=lambda: None))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for name in ("_loaded", "_externals", "_races", "_kernels"):
        monkeypatch.setattr(_library, name, {})

    def make(ours: float | Exception, theirs: float | Exception, available: bool = True) -> NativeKernel:
        clock = [0.0]
        monkeypatch.setattr(_library.time, "perf_counter", lambda: clock[0])

        def prepare() -> Callable[[], None]:
            clock[0] += 100.0  # making the inputs does not count
            return work

        def work() -> None:
            cost = ours if _library._forced.get() == "native" else theirs
            if isinstance(cost, Exception):
                raise cost
            clock[0] += cost / 1000

        kernel = NativeKernel("raced", cpu=(), cuda=("x.cu",), external=External("json", lambda: "json 1.0", prepare))
        implementation = "native" if available else "reference"
        _library._loaded["raced", "cuda"] = KernelStatus("raced", "cuda", implementation, "built")
        return _library.register(kernel)

    return make


@pytest.mark.parametrize(("ours", "theirs", "serves"), [(1.0, 2.0, "native"), (2.0, 1.0, "json"), (1.0, 1.0, "native")])
def test_the_quicker_one_serves_on_a_card(ours: float, theirs: float, serves: str, raced: Callable) -> None:
    kernel = raced(ours, theirs)
    found = external(kernel, "cuda")
    assert ("native" if found is None else found.implementation) == serves
    (shown,) = _library.status(build=True)
    assert shown.implementation == serves
    assert shown.reason.endswith(f"; json takes {theirs:.2f} ms where our own code takes {ours:.2f} ms")


@pytest.mark.parametrize(("forced", "serves"), [("package", "json"), ("native", None), ("reference", None)])
def test_either_can_be_forced(
    forced: str, serves: str | None, raced: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = raced(1.0, 2.0)
    with use_implementation(forced):  # type: ignore[arg-type]
        found = external(kernel, "cuda")
    assert (found and found.implementation) == serves
    monkeypatch.setenv(_library.FORCE_VARIABLE, forced)
    found = external(kernel, "cuda")
    assert (found and found.implementation) == serves
    assert not _library._races, "nothing was timed for that"


@pytest.mark.parametrize(
    ("ours", "theirs", "available", "serves"),
    [(1.0, RuntimeError("no"), True, None), (RuntimeError("no"), 1.0, True, "json"), (1.0, 2.0, False, "json")],
)
def test_who_fails_has_lost(ours: Any, theirs: Any, available: bool, serves: str | None, raced: Callable) -> None:
    found = external(raced(ours, theirs, available), "cuda")
    assert (found and found.implementation) == serves


def test_a_kernel_made_for_cards_alone_is_not_missed_on_the_cpu(
    raced: Callable, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = raced(1.0, 2.0)
    assert _library.ensure(kernel, "cpu").implementation == "reference"
    assert capsys.readouterr().err == ""
    assert [status.device for status in _library.status()] == ["cuda"]
    assert _library.prebuild() == []
