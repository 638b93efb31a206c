"""The tutorial's scripts check as it says, the mistake it shows is shown so, and (slow) all of it runs and verifies."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from interactive3d.dsl import loads
from interactive3d.dsl.render import render_terminal
from interactive3d.runtime.engine.script import check_context

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tutorial() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tutorial_pictures", ROOT / "docs" / "tutorial_pictures.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["rabbit", "ears", "edited", "tilted"])
def test_its_scripts_check_clean(tutorial: ModuleType, name: str) -> None:
    loaded = loads(tutorial.followed()[name], check_context())
    assert loaded.program is not None and loaded.diagnostics == (), loaded.diagnostics


def test_the_mistake_looks_as_it_says(tutorial: ModuleType) -> None:
    loaded = loads(tutorial.followed()["misspelt"], check_context(), name="mine.sculpt")
    shown = render_terminal(loaded.errors, loaded.sources, color=False)
    page = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    assert shown.split("\n\n")[0].strip() in page


def test_its_pictures_are_there() -> None:
    for name in ("tutorial-rabbit.png", "tutorial-ears.png"):
        assert 5_000 < (ROOT / "docs" / "pictures" / name).stat().st_size < 250_000


@pytest.mark.slow
def test_a_reader_who_follows_it_gets_there(tutorial: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "mine.sculpt").write_text(tutorial.followed()["tilted"], encoding="utf-8")
    for arguments in (("check", "mine.sculpt"), ("run", "mine.sculpt", "--headless"), ("verify", "out/mine")):
        command = [sys.executable, "-m", "interactive3d.runtime.cli", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1200)
        assert done.returncode == 0, done.stdout + done.stderr
    for name in ("contact.png", "turntable.mp4", "splats.ply", "run.json", "metrics.csv", "script/mine.sculpt"):
        assert (tmp_path / "out" / "mine" / name).stat().st_size > 0, name
