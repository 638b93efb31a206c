"""`python -m interactive3d.runtime.guidance.objects sheet OUT.png` and `... build FOLDER --objects N --views V --seed S`."""

import argparse
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m interactive3d.runtime.guidance.objects")
    commands = parser.add_subparsers(dest="command", required=True)
    sheet = commands.add_parser("sheet", help="write a contact sheet of all kinds")
    sheet.add_argument("path", type=Path)
    sheet.add_argument("--seed", type=int, default=0)
    sheet.add_argument("--size", type=int, default=144)
    sheet.add_argument("--kinds", default="", help="comma-separated; all by default")
    sheet.add_argument("--deformed", action="store_true", help="show edited objects")
    sheet.add_argument("--plain", action="store_true", help="own colours, default options")
    build = commands.add_parser("build", help="write a data set")
    build.add_argument("folder", type=Path)
    build.add_argument("--objects", type=int, default=1000)
    build.add_argument("--views", type=int, default=4)
    build.add_argument("--seed", type=int, default=0)
    build.add_argument("--size", type=int, default=128)
    build.add_argument("--deformed-fraction", type=float, default=0.35)
    build.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args(arguments)
    if chosen.command == "sheet":
        from interactive3d.runtime.guidance.objects.sheet import contact_sheet
        from interactive3d.runtime.guidance.objects.words import KINDS

        kinds = tuple(chosen.kinds.split(",")) if chosen.kinds else KINDS
        contact_sheet(
            chosen.path, kinds, size=chosen.size, seed=chosen.seed, deformed=chosen.deformed, plain=chosen.plain
        )
        return 0
    from interactive3d.runtime.guidance.objects.building import build as build_dataset

    build_dataset(
        chosen.folder, chosen.objects, chosen.views, chosen.seed, chosen.size, chosen.deformed_fraction,
        progress=lambda done, total: print(f"{done} of {total} objects", flush=True), workers=chosen.workers,
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
