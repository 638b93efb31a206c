"""Follows docs/tutorial.md and keeps its pictures: ``python docs/tutorial_pictures.py [FOLDER]``.

Takes the scripts out of the page as they stand there, checks and runs them with the installed tool in a fresh folder (or FOLDER), verifies
the last run, and scales the contact sheets down into docs/pictures.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from interactive3d.scripts.stories import scaled_down

DOCS = Path(__file__).resolve().parent
PICTURES = DOCS / "pictures"


def blocks() -> list[str]:
    """The page's scripts: the rabbit, the rabbit with ears, the line for the edit, the lines for a gesture."""
    text = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    return re.findall(r"^```sculpt\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def followed() -> dict[str, str]:
    """The scripts that a reader has in front of them, one after the other."""
    rabbit, ears, edit, gesture = blocks()
    stretch = next(line for line in ears.splitlines() if "stretch" in line)
    edited = ears.replace("steps  240", "steps  320").replace(stretch, f"{stretch}\n{edit.rstrip()}")
    use, call = gesture.rstrip().splitlines()
    tilted = edited.replace("part ears", f"{use}\npart ears").replace(stretch, f"{stretch}\n{call}")
    misspelt = ears.replace("stretch ears", "stretch ers")
    return {"rabbit": rabbit, "ears": ears, "misspelt": misspelt, "edited": edited, "tilted": tilted}


def tool(folder: Path, *arguments: str) -> str:
    """What the tool says; it must succeed."""
    command = [sys.executable, "-m", "interactive3d.runtime.cli", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    print("$ interactive3d", *arguments, f"-> {done.returncode}", flush=True)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return done.stdout


def main() -> None:
    """See the module's docstring."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        tool(folder, "words")
        print(tool(folder, "words", "a scarlet dragon with golden wings"))
        for name, picture in (("rabbit", "tutorial-rabbit.png"), ("edited", "tutorial-ears.png")):
            (folder / "mine.sculpt").write_text(followed()[name], encoding="utf-8")
            tool(folder, "check", "mine.sculpt")
            tool(folder, "run", "mine.sculpt", "--headless")
            scaled_down(folder / "out" / "mine" / "contact.png", PICTURES / picture)
        print(tool(folder, "verify", "out/mine"))


if __name__ == "__main__":
    main()
