"""A picture onto the system's clipboard, by the tool that the system has for it: GLFW itself can only hand over text."""

import shutil
import subprocess
import sys
from pathlib import Path

SECONDS = 10.0
TOOLS: dict[str, tuple[tuple[str, ...], ...]] = {
    "linux": (
        ("wl-copy", "--type", "image/png"),
        ("xclip", "-selection", "clipboard", "-t", "image/png", "-i"),
    ),
    "darwin": (("osascript", "-e", 'set the clipboard to (read (POSIX file "{path}") as «class PNGf»)'),),
    "win32": (
        (
            "powershell",
            "-NoProfile",
            "-Command",
            "Add-Type -AssemblyName System.Windows.Forms,System.Drawing;"
            "[Windows.Forms.Clipboard]::SetImage([Drawing.Image]::FromFile('{path}'))",
        ),
    ),
}
INSTALL = {"linux": "install wl-clipboard (Wayland) or xclip (X11)"}


class ClipboardProblem(RuntimeError):
    """The picture could not be handed over. The message says what is missing."""


def copy_png(path: Path) -> str:
    """Hand a PNG file to the clipboard; the name of the tool that took it.

    Raises:
        ClipboardProblem: no tool is there, or it refused.
    """
    system = "linux" if sys.platform.startswith("linux") else sys.platform
    said = []
    for command in TOOLS.get(system, ()):
        if shutil.which(command[0]) is None:
            continue
        # Tools of X11 and Wayland read the picture from their input and stay alive to hand it on: their output is not waited for.
        place = str(path).replace("'", "''") if system == "win32" else str(path)
        try:
            with path.open("rb") as data:
                subprocess.run(
                    [word.replace("{path}", place) for word in command],
                    stdin=data,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    timeout=SECONDS,
                    check=True,
                )
        except (OSError, subprocess.SubprocessError) as error:
            said.append(f"{command[0]}: {error}")
            continue
        return command[0]
    tools = " or ".join(command[0] for command in TOOLS.get(system, ())) or "no tool known for this system"
    help_ = "; ".join(said) or INSTALL.get(system, "")
    raise ClipboardProblem(f"the clipboard takes pictures through {tools}; {help_}")
