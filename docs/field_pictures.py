"""Runs scripts/robot_head.sculpt and keeps docs/field.md's picture: ``python docs/field_pictures.py [FOLDER]``.

FOLDER may hold a finished run of the script; else it is run into it. From left to right: the blobs, the distilled field, the refined head,
the edited head, and the exported mesh as read back from the file.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import trimesh

from interactive3d.runtime.engine.outputs import picture
from interactive3d.runtime.field import load_field
from interactive3d.runtime.field.baking import TexturedMesh, mesh_picture
from interactive3d.runtime.output.pictures import save_picture
from interactive3d.runtime.output.splat_files import read_splats
from interactive3d.runtime.scene.camera import Camera

DOCS = Path(__file__).resolve().parent
SCRIPT = DOCS.parent / "scripts" / "robot_head.sculpt"
CAMERA, SIDE = Camera.orbit(25.0, 15.0), 224


def textured(path: Path) -> TexturedMesh:
    """A mesh file with its texture, as trimesh reads it."""
    read = trimesh.load(path, force="mesh")
    image = read.visual.material.baseColorTexture.convert("RGB")
    return TexturedMesh(
        np.asarray(read.vertices),
        np.asarray(read.faces),
        np.asarray(read.vertex_normals),
        np.asarray(read.visual.uv),
        np.asarray(image),
    )


def sheet(run: Path) -> np.ndarray:
    """The script's stages side by side."""
    field = load_field(run / "robot.safetensors")
    names = [region.name for region in field.regions]
    distilled = field
    for name in names:
        distilled = distilled.toggled(name, False)
    scenes = [read_splats(run / "splats.ply"), distilled, field.toggled(names[-1], False), field]
    shown = [picture(scene, CAMERA, SIDE, SIDE) for scene in scenes]
    mesh = mesh_picture(textured(run / "robot.glb"), CAMERA, SIDE)
    return np.concatenate([*shown, (mesh * 255 + 0.5).astype(np.uint8)], axis=1)


def main() -> None:
    """See the module's docstring."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(temporary) / "robot"
        if not (folder / "robot.glb").exists():
            command = [sys.executable, "-m", "interactive3d.runtime.cli", "run", str(SCRIPT), "--headless"]
            subprocess.run([*command, "--out", str(folder)], check=True)
        save_picture(DOCS / "pictures" / "field-robot.png", sheet(folder))


if __name__ == "__main__":
    main()
