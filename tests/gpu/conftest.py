"""The table that `make test-gpu` prints at its end."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

ROWS = pytest.StashKey[list[tuple[str, str, str]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash.setdefault(ROWS, [])


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Callable[[str, str, str], None]:
    """Adds a line to the table: what was measured, the figure, the bar it is held against."""
    return lambda what, figure, bar="": request.config.stash[ROWS].append((what, figure, bar))


def table(rows: list[tuple[str, str, str]]) -> str:
    """The rows as Markdown, with the device above."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no CUDA device"
    lines = [f"{device}, torch {torch.__version__}", "", "| what | measured | bar |", "| --- | --- | --- |"]
    return "\n".join(lines + [f"| {' | '.join(r)} |" for r in rows])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = terminalreporter.config.stash.get(ROWS, [])
    if rows:
        text = table(rows)
        terminalreporter.write_sep("=", "measured on the GPU")
        terminalreporter.write_line(text)
        target = Path("out") / "gpu.md"
        target.parent.mkdir(exist_ok=True)
        target.write_text(text + "\n")
        terminalreporter.write_line(f"also in {target}; commit it as benchmarks/gpu.md")
