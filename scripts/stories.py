"""The stories' pictures and their page, docs/stories.md: ``python -m interactive3d.scripts.stories [NAME …]``.

Each story is a script of this folder. It is run into ``out/stories/NAME`` and its contact sheet is scaled down into docs/pictures/stories.
Without names all stories are run; ``--page`` writes the page alone; ``--pictures`` takes the sheets of runs that are there.
"""

import argparse
import re
from pathlib import Path

from PIL import Image

from interactive3d.runtime.engine.run import Run
from interactive3d.runtime.engine.script import load_script

SCRIPTS = Path(__file__).resolve().parent
DOCS = SCRIPTS.parent / "docs"
PICTURES = DOCS / "pictures" / "stories"
OUT = SCRIPTS.parent / "out" / "stories"
STORIES = ("samurai", "t_rex", "castle", "angel", "knight", "flower", "dragon")
WIDEST = 1100
LIMIT = 250_000
"""Bytes of a picture; fewer colours, then fewer pixels, bring it below."""


def heading(name: str) -> str:
    """The first comment of a script: what happens in it."""
    text = (SCRIPTS / f"{name}.sculpt").read_text(encoding="utf-8")
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return " ".join(lines)


def run(name: str, folder: Path) -> Path:
    """Run a story to its end into a folder; returns its contact sheet."""
    script = SCRIPTS / f"{name}.sculpt"
    loaded = load_script(script)
    if loaded.program is None:
        raise ValueError("\n".join(d.message for d in loaded.errors))
    result = Run(loaded.program, script, folder).go()
    print(f"{name}: {result.seconds:.0f} s, {len(result.state.model)} blobs", flush=True)
    return folder / "contact.png"


def scaled_down(sheet: Path, target: Path) -> int:
    """The sheet at a size for the page. Returns its bytes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(sheet) as opened:
        image = opened.convert("RGB")
    width = min(WIDEST, image.width)
    for colours in (256, 160, 96, 64):
        size = (width, round(image.height * width / image.width))
        small = image.resize(size, Image.Resampling.LANCZOS).quantize(colours, dither=Image.Dither.NONE)
        small.save(target, optimize=True)
        if target.stat().st_size <= LIMIT:
            break
        width = round(width * 0.94)
    return target.stat().st_size


def page() -> str:
    """docs/stories.md."""
    return INTRODUCTION + "".join(section(name) for name in STORIES)


INTRODUCTION = """# Stories

Whole scripts that come with the tool. Each takes a minute or two on two cores; all use the [embedded prior](prior.md), most the
[gestures](gestures.md) of the library. `interactive3d run scripts/samurai.sculpt` writes what is shown here, `contact.png`, into
`out/samurai/`, with a film and the splats: a row for each thing that is done, before, after and repaired, each from two sides, and the
object at the end from all around.

`scripts/robot_head.sculpt` tells of the [field](field.md), stage II. The objects that two stories add were made by
`scripts/objects/*.sculpt`. Pictures and page are made by `python -m interactive3d.scripts.stories`.
"""


def section(name: str) -> str:
    """One story: what happens, its picture, the script."""
    text = (SCRIPTS / f"{name}.sculpt").read_text(encoding="utf-8")
    gestures = sorted(set(re.findall(r"\b(?:heads|limbs|bodies|scenes|colours)\.\w+(?=\()", text)))
    links = ", ".join(f"[{g}](gestures.md#{g.replace('.', '')})" for g in gestures)
    used = f"Gestures: {links}.\n\n" if gestures else ""
    return (
        f"\n## {name}\n\n{heading(name)}\n\n![{heading(name)}](pictures/stories/{name}.png)\n\n"
        f"{used}```sculpt\n{text.split(chr(10), 1)[1]}```\n"
    )


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description="The stories' contact sheets, and docs/stories.md.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(STORIES)}; all when none is given")
    parser.add_argument("--page", action="store_true", help="write the page alone")
    parser.add_argument("--pictures", type=Path, help="folder of finished runs to take the sheets from")
    given = parser.parse_args()
    for name in () if given.page else given.names or STORIES:
        sheet = given.pictures / name / "contact.png" if given.pictures else run(name, OUT / name)
        print(name, f"{scaled_down(sheet, PICTURES / f'{name}.png') / 1000:.0f} kB", flush=True)
    if not given.names:
        (DOCS / "stories.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
