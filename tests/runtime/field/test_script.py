"""The script of stage II, whole: scripts/robot_head.sculpt."""

import re
import time
from pathlib import Path

import numpy as np
import pytest
import trimesh

from interactive3d.runtime.engine.run import Run
from interactive3d.runtime.engine.script import load_script
from interactive3d.runtime.field import load_field, render_field
from interactive3d.runtime.scene.camera import Camera

SCRIPT = Path(__file__).parents[3] / "scripts" / "robot_head.sculpt"
SECONDS = 1200.0  # of processor time: so many, whatever else the machine does
LEAST_PSNR = 30.0


@pytest.mark.slow
def test_a_robot_gets_a_yellow_head_and_becomes_a_mesh(tmp_path: Path) -> None:
    program = load_script(SCRIPT, ()).program
    assert program is not None
    run, begun = Run(program, SCRIPT, tmp_path / "run"), time.process_time()
    result = run.go(None)
    assert result.complete and time.process_time() - begun < SECONDS
    said = " | ".join(effect.message for effect in result.state.effects)
    found = re.search(r"([\d.]+) dB against the splats", said)
    assert found is not None and float(found[1]) >= LEAST_PSNR
    mesh = trimesh.load(tmp_path / "run" / "robot.glb", force="mesh")
    assert len(mesh.faces) > 1000 and mesh.visual.material.baseColorTexture.size == (1024, 1024)
    assert np.abs(mesh.vertices).max() < 1.0
    field = load_field(tmp_path / "run" / "robot.safetensors")
    assert [region.name for region in field.regions] == ["refine head", "edit head"]
    camera = Camera(position=(0.0, 0.5, 1.5), target=(0.0, 0.45, 0.0), fov=20.0)

    def middle(shown: object) -> np.ndarray:
        return render_field(shown, [camera], 64).color[0, 24:40, 24:40].reshape(-1, 3).numpy().mean(0)  # type: ignore[arg-type]

    before, after = middle(field.toggled("edit head", False)), middle(field)
    plain = middle(field.toggled("edit head", False).toggled("refine head", False))
    assert before[0] > before[1] + 0.2 and np.abs(before - plain).max() < 0.25  # red, and a refinement leaves it so
    assert after[1] > before[1] + 0.15 and after[2] < after[1]  # on its way to yellow
    outside = render_field(field, [Camera.orbit(0.0, 0.0)], 48).color[0, 26:]
    hidden = render_field(field.toggled("edit head", False), [Camera.orbit(0.0, 0.0)], 48).color[0, 26:]
    assert bool((outside == hidden).all())
