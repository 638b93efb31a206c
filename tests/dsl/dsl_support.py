"""What the tests of the language share: a context as the engine would give it, and examples made whole."""

from pathlib import Path

from interactive3d.dsl.program import CheckContext, SettingSpec

KNOWN_WORDS = frozenset(
    [
        "a",
        "an",
        "the",
        "green",
        "red",
        "blue",
        "dragon",
        "with",
        "wings",
        "blurry",
        "knight",
        "on",
        "its",
        "head",
        "horns",
    ]
)

SETTINGS = (
    SettingSpec(path="lr.position", kind="float", default=0.005, low=0.0, high=1.0, help="rate of the means"),
    SettingSpec(path="lr.color", kind="float", default=0.01, low=0.0, high=1.0),
    SettingSpec(path="guidance.noise_max", kind="float", default=0.98, low=0.0, high=1.0),
    SettingSpec(path="guidance.name", kind="enum", default="embedded", choices=("embedded", "reference"), live=False),
    SettingSpec(path="background", kind="enum", default="white", choices=("white", "random", "checker")),
    SettingSpec(path="batch", kind="int", default=4, low=1, high=64),
    SettingSpec(path="densify.enabled", kind="bool", default=True),
    SettingSpec(path="camera.fov", kind="float", default=40.0, low=1.0, high=150.0, unit="deg"),
    SettingSpec(path="run.note", kind="str", default=""),
    SettingSpec(path="drag.steps", kind="int", default=100, low=1),
    SettingSpec(path="drag.radius", kind="float", default=0.1, low=0.0),
    SettingSpec(path="edit.steps", kind="int", default=150, low=1),
    SettingSpec(path="repair.steps", kind="int", default=60, low=1),
    SettingSpec(path="refine.steps", kind="int", default=150, low=1),
    SettingSpec(path="distill.steps", kind="int", default=200, low=1),
)


def near_words(guidance: str, word: str) -> tuple[str, ...] | None:
    """A prior of a few words, as the embedded one tells them."""
    if guidance != "embedded" or word in KNOWN_WORDS:
        return None
    return tuple(sorted(KNOWN_WORDS, key=lambda known: (abs(len(known) - len(word)), known))[:2])


def model_trouble(guidance: str, name: str, folder: Path) -> str | None:
    """An engine that knows a path when it sees one."""
    return f"there is no folder {name}" if guidance == "diffusers" and name.startswith(".") else None


def context(folder: Path | None = None, **changes: object) -> CheckContext:
    fields: dict[str, object] = {
        "settings": SETTINGS,
        "guidances": ("embedded", "reference", "diffusers"),
        "near_words": near_words,
        "file_exists": (lambda path: path.is_file()) if folder else None,
        "model_trouble": model_trouble,
    }
    return CheckContext(**{**fields, **changes})  # type: ignore[arg-type]


def whole(script: str, code: str = "") -> str:
    """An example of the reference made a script that can stand alone: a prompt and a number of steps, where it has none."""
    head = []
    if not any(line.lstrip().startswith("prompt") for line in script.split("\n")) and code != "W0804":
        head.append('prompt "a green dragon"')
    if not any(line.startswith("steps") for line in script.split("\n")) and code != "E0503":
        head.append("steps 1200")
    return "\n".join([*head, script]) + "\n"
