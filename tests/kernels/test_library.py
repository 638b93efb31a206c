"""Where kernels come from: builds, their cache, failures, and the choice of an implementation."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from interactive3d.kernels import _build, _library, splat_raster
from interactive3d.kernels._library import BuildError, NativeKernel, use_implementation
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
    with pytest.raises(ValueError, match="expected 'native' or 'reference', got 'fast'"), use_implementation("fast"):
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
