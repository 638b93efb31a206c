"""Pictures of every gesture's example, and docs/gestures.md: ``python -m interactive3d.scripts.gestures [NAME …]``.

Each example is run as it stands in the library's comment: the embedded prior makes the object, the gesture happens, the repair follows.
Shown is the object before, after each step at which something happened, and after the repair. With names (``heads`` or
``heads.turn``) only those pictures are made; without, all and the page. ``--page`` makes the page alone. ``--keep FOLDER`` keeps the
objects before the gestures there, and takes them from there.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from interactive3d.dsl import loads
from interactive3d.dsl.operations import AtStep, Operation
from interactive3d.dsl.program import Program
from interactive3d.runtime.engine.outputs import picture
from interactive3d.runtime.engine.script import check_context
from interactive3d.runtime.engine.session import Session
from interactive3d.runtime.engine.start import begin, make_guidance
from interactive3d.runtime.engine.state import RunState
from interactive3d.runtime.guidance.protocol import Guidance
from interactive3d.runtime.operations.repair import REPAIRED
from interactive3d.runtime.output.splat_files import read_splats, write_splats
from interactive3d.runtime.scene.camera import Camera
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.scripts.library import BASE_STEP, LibraryGesture, file_heading, read_library

DOCS = Path(__file__).resolve().parents[1] / "docs"
PICTURES = DOCS / "pictures" / "gestures"
SIDE = 220
COLOURS = 240
MOST_PANELS = 5
SETTINGS = "set camera.batch 2\nrepair for 20 steps\nfrom step 0 to 79 ramp guidance.noise_max 0.98 -> 0.4\n"
VIEWS: dict[str, tuple[float, float]] = {
    "bodies.bow": (70, 10),
    "colours.eyes": (20, 5),
    "colours.set_on_fire": (160, 15),
    "heads.nod": (80, 10),
    "heads.open_mouth": (75, 5),
    "heads.stretch_neck": (80, 10),
    "heads.tilt": (10, 10),
    "limbs.flap": (160, 15),
    "limbs.kick": (60, 5),
    "limbs.raise_arm": (-20, 10),
    "limbs.spread": (10, 10),
    "limbs.stride": (65, 10),
    "limbs.wag": (150, 30),
    "limbs.wave": (15, 10),
    "scenes.make_symmetric": (10, 10),
    "scenes.mirror_pose": (10, 10),
}
VIEW = (30.0, 12.0)
CLOSE: dict[str, tuple[float, tuple[float, float, float]]] = {
    "bodies.jump": (2.9, (0.0, 0.05, 0.0)),
    "bodies.squash": (2.8, (0.0, 0.0, 0.0)),
    "bodies.swell": (2.8, (0.0, 0.1, 0.0)),
    "bodies.grow_up": (2.9, (0.0, 0.1, 0.0)),
    "heads.open_mouth": (1.7, (0.0, 0.15, 0.2)),
    "heads.stretch_neck": (2.9, (0.0, 0.1, 0.0)),
    "heads.turn": (2.0, (0.0, -0.1, 0.1)),
    "limbs.spread": (2.9, (0.0, 0.0, 0.0)),
    "scenes.lift_off": (2.9, (0.0, 0.15, 0.0)),
    "scenes.ring": (2.9, (0.0, 0.1, 0.0)),
    "scenes.row": (4.2, (0.6, 0.0, 0.1)),
    "scenes.split_apart": (2.9, (0.0, 0.0, 0.0)),
    "scenes.twin": (2.8, (0.25, 0.0, 0.0)),
}
"""Distance and target of views that are not of the whole object from the usual place."""


def program_of(gesture: LibraryGesture) -> Program:
    """The example, just long enough for its last repair."""
    far = _loaded(gesture.script(settings=SETTINGS))
    last = max(_begin(op) + _length(op) for op in far.operations if _begin(op) >= BASE_STEP)
    return _loaded(gesture.script(steps=last + 21, settings=SETTINGS))


def _loaded(text: str) -> Program:
    with tempfile.TemporaryDirectory() as folder:
        loaded = loads(text, check_context(), path=Path(folder) / "example.sculpt")
    if loaded.program is None:
        raise ValueError("\n".join(d.message for d in loaded.diagnostics))
    return loaded.program


def _begin(operation: Operation) -> int:
    return operation.when.step if isinstance(operation.when, AtStep) else 0


def _length(operation: Operation) -> int:
    return int(getattr(operation, "steps", None) or 0) if operation.keyword in ("edit", "drag") else 0


def base_of(gesture: LibraryGesture, guidance: Guidance, folder: Path) -> GaussianModel:
    """The object before the gesture; kept in the folder, for several gestures share one."""
    kept = folder / f"{gesture.prompt.replace(' ', '_')}.ply"
    if not kept.exists():
        program = program_of(gesture)
        trainer, state = begin(program, guidance, seed=1, device="cpu")
        ramp = tuple(op for op in program.operations if _begin(op) < BASE_STEP)
        write_splats(Session(trainer, ramp, state).advance(BASE_STEP).model, kept)
    return read_splats(kept)


def panels_of(gesture: LibraryGesture, guidance: Guidance, folder: Path) -> list[tuple[str, Image.Image]]:
    """Captioned pictures: before, after each step at which something happened, repaired."""
    program = program_of(gesture)
    trainer, state = begin(program, guidance, seed=1, device="cpu")
    settings = state.settings.set("guidance.noise_max", 0.4)
    state = RunState(step=BASE_STEP, model=base_of(gesture, guidance, folder), settings=settings)
    happenings = tuple(op for op in program.operations if _begin(op) >= BASE_STEP)
    panels = [("before", _shot(gesture, state.model))]
    session = Session(trainer, happenings, state, policy=program.repair)
    moments = sorted({_begin(op) for op in happenings} | {_begin(op) + _length(op) for op in happenings})
    if any(_length(op) for op in happenings):
        moments = moments[1:]
    for moment in moments:
        state = session.advance(moment - session.latest().step)
        panels.append(("after" if len(moments) == 1 else f"step {moment}", _shot(gesture, state.model)))
    panels = panels[:MOST_PANELS]
    last = "repaired" if any(isinstance(op, REPAIRED) for op in happenings) else "20 steps later"
    panels.append((last, _shot(gesture, session.advance().model)))
    return panels


def _shot(gesture: LibraryGesture, model: GaussianModel) -> Image.Image:
    distance, target = CLOSE.get(gesture.called, (2.6, (0.0, 0.0, 0.0)))
    camera = Camera.orbit(*VIEWS.get(gesture.called, VIEW), distance=distance, target=target)
    fine = picture(model, camera, 2 * SIDE, 2 * SIDE)
    return Image.fromarray(np.asarray(fine)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def strip(panels: list[tuple[str, Image.Image]]) -> Image.Image:
    """Pictures side by side with their captions above."""
    font = ImageFont.load_default(14)
    canvas = Image.new("RGB", (len(panels) * SIDE, SIDE + 20), "white")
    draw = ImageDraw.Draw(canvas)
    for i, (caption, image) in enumerate(panels):
        canvas.paste(image, (i * SIDE, 20))
        draw.text((i * SIDE + (SIDE - font.getlength(caption)) / 2, 2), caption, fill=(90, 90, 90), font=font)
    return canvas.quantize(COLOURS, dither=Image.Dither.NONE)


def make_pictures(names: list[str], folder: Path) -> None:
    """The pictures of the gestures that are named, by themselves or by their file; all when none is."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    guidance = make_guidance(None, Path(), "cpu")
    for gesture in read_library():
        if names and not {gesture.called, gesture.file} & set(names):
            continue
        path = PICTURES / f"{gesture.called}.png"
        strip(panels_of(gesture, guidance, folder)).save(path, optimize=True)
        print(path.name, f"{path.stat().st_size / 1000:.0f} kB", flush=True)


def page() -> str:
    """docs/gestures.md."""
    parts = [INTRODUCTION]
    gestures = read_library()
    for file in dict.fromkeys(g.file for g in gestures):
        links = ", ".join(f"[{g.name}](#{file}{g.name})" for g in gestures if g.file == file)
        parts.append(f"- `{file}`: {links}\n")
    for file in dict.fromkeys(g.file for g in gestures):
        parts.append(f"\n## {file}\n\n{file_heading(file)}\n")
        parts += [section(g) for g in gestures if g.file == file]
    return "".join(parts)


INTRODUCTION = """# Gestures to reuse

`use "lib/heads.sculpt"` works in every script, wherever it lies: what is not found beside the script is looked for in the library that
comes with the tool (`scripts/lib/`). Gestures are called at a step, and their own steps count from there. They are plain Sculpt; copy one
and change it, if it does not do what you want.

Each example below is a whole script but for its first lines (`seed 1`, `splats 3000 from text`, `use "lib/….sculpt"`), and each
picture was made by running it: before, after, and when the repair is over. The page and its pictures are made by `python -m
interactive3d.scripts.gestures`.

"""


def section(gesture: LibraryGesture) -> str:
    """One gesture: what it does, its picture, its example, its arguments."""
    rows = "".join(
        f"| `{a.name}` | {a.type}{f' in {a.range}' if a.range else ''} | {f'`{a.default}`' if a.default else ''} | {a.help} |\n"
        for a in gesture.arguments
    )
    return (
        f"\n### {gesture.called}\n\n{gesture.about}\n\n"
        f"![{gesture.help}](pictures/gestures/{gesture.called}.png)\n\n"
        f'```sculpt\nprompt "{gesture.prompt}"\n{gesture.body}```\n\n'
        f"| argument | type | default | |\n| --- | --- | --- | --- |\n{rows}"
    )


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description="Pictures of the library's gestures, and docs/gestures.md.")
    parser.add_argument("names", nargs="*", help="heads, or heads.turn; all when none is given")
    parser.add_argument("--page", action="store_true", help="make the page alone")
    parser.add_argument("--keep", type=Path, help="where the objects before the gestures are kept")
    given = parser.parse_args()
    if not given.page:
        with tempfile.TemporaryDirectory() as temporary:
            folder = given.keep or Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            make_pictures(given.names, folder)
    if not given.names:
        (DOCS / "gestures.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
