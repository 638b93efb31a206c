"""Links the folders under .typing/interactive3d, where static checkers can follow the package mapping of pyproject.toml."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    mapping = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-dir"]
    target = ROOT / ".typing" / "interactive3d"
    target.mkdir(parents=True, exist_ok=True)
    # Below a root without this file mypy takes a folder before the module of the same name, so `weights/` hid `weights.py`.
    (target / "__init__.py").touch()
    for package, folder in mapping.items():
        link = target / package.removeprefix("interactive3d.")
        if not link.is_symlink():
            link.symlink_to(ROOT / folder, target_is_directory=True)


if __name__ == "__main__":
    main()
