"""The house's laws that can be read off the files: who imports whom, what importing a module does, how it is packaged."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PREFIX = "interactive3d."
# Rooms, each with the rooms it may import (docs/architecture.md).
VALUES = {"dsl.operations", "dsl.program", "dsl.values"}
ALLOWED: dict[str, set[str]] = {
    "dsl": set(),
    "kernels": set(),
    "shaders": set(),
    "runtime.settings": VALUES,
    "runtime.scene": {"kernels", "runtime.settings", *VALUES},
    "runtime.guidance": {"kernels", "runtime.scene", "runtime.settings"},
    "runtime.output": {"kernels", "runtime.scene", "runtime.settings"},
    "runtime.operations": {"kernels", "runtime.scene", "runtime.settings", *VALUES},
    "runtime.field": {
        "kernels",
        "runtime.scene",
        "runtime.settings",
        "runtime.guidance",
        "runtime.operations",
        "runtime.output",
        *VALUES,
    },
    "runtime.engine": {
        "runtime.field",
        "dsl",
        "kernels",
        "runtime.scene",
        "runtime.settings",
        "runtime.guidance",
        "runtime.output",
        "runtime.operations",
    },
    "runtime.view": {
        "runtime.doctor",
        "runtime.field",
        "dsl",
        "shaders",
        "kernels",
        "runtime.scene",
        "runtime.settings",
        "runtime.engine",
        "runtime.output",
        "runtime.guidance",
        "runtime.operations",
    },
    # The command line and what it shows.
    "runtime.cli": {"dsl", "kernels", "runtime"},
    "runtime.verbs": {"dsl", "kernels", "runtime"},
    "runtime.progress": {"runtime.engine", "runtime.scene"},
    "runtime.doctor": {"kernels", "runtime.engine", "runtime.guidance", "runtime.output"},
}
FOLDERS = ("dsl", "kernels", "runtime", "shaders")


def sources() -> list[Path]:
    return sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str | None:
    matches = [room for room in ALLOWED if module == room or module.startswith(room + ".")]
    return max(matches, key=len) if matches else None


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import on line {node.lineno}; imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.removeprefix(PREFIX) for name in found if name.startswith(PREFIX)}


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    here = module_name(path)
    room = room_of(here)
    if room is None:
        assert not imports(path), f"{here} belongs to no room and may import nothing of ours"
        return
    for target in imports(path):
        inside = target == room or target.startswith(room + ".")
        allowed = any(target == r or target.startswith(r + ".") for r in ALLOWED[room])
        assert inside or allowed, f"{here} imports {target}, which room {room} may not know"


def test_nobody_imports_the_view() -> None:
    for path in sources():
        if not module_name(path).startswith(("runtime.view", "runtime.cli", "runtime.verbs.run")):
            assert not any(name.startswith("runtime.view") for name in imports(path)), path


def test_kernels_is_not_a_regular_package() -> None:
    # A top-level package named kernels in the working folder would hide Hugging Face's from transformers.
    assert not (ROOT / "kernels" / "__init__.py").exists()


def test_no_conftest_at_the_root() -> None:
    assert not (ROOT / "conftest.py").exists()


def test_package_list_matches_the_folders() -> None:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    listed = set(tool["packages"])
    on_disk = {
        PREFIX + module_name(p) for folder in (*FOLDERS, "scripts") for p in (ROOT / folder).rglob("__init__.py")
    }
    if any((ROOT / "kernels").glob("*.py")):
        on_disk.add(PREFIX + "kernels")
    assert listed == on_disk
    top = {name.split(".")[1] for name in listed}
    assert tool["package-dir"] == {PREFIX + name: name for name in top}


def test_the_command_line_tells_waiting_threads_not_to_spin_before_torch_is_loaded() -> None:
    """OpenMP reads the policy when it is loaded, with torch; later would be too late."""
    code = (
        "import os, sys; os.environ.pop('OMP_WAIT_POLICY', None)\n"
        "from interactive3d.runtime.cli import main\n"
        "try: main(['words', '--help'])\n"
        "finally: print(os.environ.get('OMP_WAIT_POLICY'), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "PASSIVE False"


def test_importing_the_command_line_loads_nothing_heavy() -> None:
    """No display library, no compiler run, no GPU probe, and not even torch before a verb needs it."""
    code = "import sys, interactive3d.runtime.cli; print([m for m in ('torch','glfw','moderngl','imgui_bundle','numba','diffusers') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
