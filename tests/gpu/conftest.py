"""The table that `make test-gpu` prints at its end. Each line is on the disk as soon as it is known, whatever happens to the next test."""

import importlib.metadata
import os
import platform
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from interactive3d.kernels import _build, _library

ROWS = pytest.StashKey[list[tuple[str, str, str]]]()
TARGET = Path("out") / "gpu.md"
PACKAGES = ("diffusers", "transformers", "accelerate", "gsplat", "tinycudann", "moderngl")
LAST = ("gsplat", "tinycudann", "compiled")
"""Tests of what compiles for minutes the first time, or that may break the device for what follows."""


def pytest_configure(config: pytest.Config) -> None:
    config.stash.setdefault(ROWS, [])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("gpu"):
            # Newer versions of what is installed there warn of other things; that is no reason to lose a measurement.
            item.add_marker(pytest.mark.filterwarnings("default"))
    items.sort(key=lambda item: any(name in item.name for name in LAST) and item.get_closest_marker("gpu") is not None)


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Callable[[str, str, str], None]:
    """Adds a line to the table: what was measured, the figure, the bar it is held against."""

    def add(what: str, figure: str, bar: str = "") -> None:
        rows = request.config.stash[ROWS]
        rows.append((what, figure, bar))
        TARGET.parent.mkdir(exist_ok=True)
        TARGET.write_text(table(rows) + "\n")

    return add


def versions() -> str:
    """What the figures depend on, in a line."""
    found = [f"torch {torch.__version__}", f"Python {platform.python_version()}", f"{os.cpu_count()} cores"]
    try:
        found.append(f"nvcc {_build.version_of(_build.find_nvcc(), last=True)}")
    except _build.BuildError:
        found.append("no nvcc")
    for package in PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"no {package}")
    return ", ".join(found)


def table(rows: list[tuple[str, str, str]]) -> str:
    """The rows as Markdown; above them the device, what else the figures depend on, and which kernels have been in use."""
    device = "no CUDA device"
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        device = f"{properties.name}, {properties.total_memory / 2**30:.0f} GB, sm_{properties.major}{properties.minor}"
    served = [f"{s.name}: {s.implementation} ({s.reason.splitlines()[0][:160]})" for s in used()]
    served += [f"{name}: {race.text}" for (name, _), race in _library._races.items()]
    lines = [device, versions(), *served, "", "| what | measured | bar |", "| --- | --- | --- |"]
    return "\n".join(lines + [f"| {' | '.join(r)} |" for r in rows])


def used() -> list[_library.KernelStatus]:
    """The kernels that have been asked for on the card so far, and the packages in their place."""
    held = [*_library._loaded.values(), *_library._externals.values()]
    return [status for status in held if status is not None and status.device == "cuda"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = terminalreporter.config.stash.get(ROWS, [])
    if rows:
        terminalreporter.write_sep("=", "measured on the GPU")
        terminalreporter.write_line(table(rows))
        terminalreporter.write_line(f"also in {TARGET}; commit it as benchmarks/gpu.md")
