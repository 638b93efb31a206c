"""Plans: the timeline without the run, and how near it comes to the run."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from interactive3d.runtime.cli import main
from interactive3d.runtime.engine.forecast import Costs, Forecast, forecast
from interactive3d.runtime.engine.script import load_script
from interactive3d.runtime.engine.session import Session
from interactive3d.runtime.engine.start import begin, make_guidance
from interactive3d.runtime.output.splat_files import write_splats
from interactive3d.runtime.scene.gaussians import GaussianModel

GROWTH = 0.2
"""What the optimizer's own growing and pruning may add to the geometry's count."""

COSTS = Costs(seconds={"plain": 0.1, "drag": 0.3, "repair": 0.2}, scaled=0.5, picture=1e-6, blobs=100, resident=10**8)
SCRIPT = """prompt "goal"
seed 5
steps 60
guidance reference "goal.ply"
set guidance.size 24
set camera.batch 1
set repair.steps 4
splats 100 in sphere at (0, 0, 0) radius 0.4
part top = box (-1, 0.1, -1) .. (1, 1, 1)
from step 0 to 9 ramp guidance.noise_max 0.9 -> 0.5
turn: at step 5 rotate top by 30 deg about y
after turn + 5 steps paint top red
every 20 steps checkpoint
at step 30 drag from (0, 0.3, 0) to (0, 0.4, 0) radius 0.3 rigid over 10 steps
at step 45 add sphere at (0, 0.7, 0) radius 0.1 count 50 color red as ball
when loss < 0 pause
at end record turntable "t.mp4" seconds 1 size 64
"""


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def script(tmp_path: Path, make_ball: Callable[..., GaussianModel]) -> Path:
    write_splats(make_ball(1, count=60), tmp_path / "goal.ply")
    path = tmp_path / "small.sculpt"
    path.write_text(SCRIPT)
    return path


def planned(script: Path, costs: Costs | None = COSTS) -> Forecast:
    program = load_script(script).program
    assert program is not None
    guidance = make_guidance(program.guidance, Path(program.folder), "cpu")
    trainer, start = begin(program, guidance, seed=5, device="cpu")
    return forecast(program, trainer, start, costs)


def test_the_timeline_is_the_one_of_the_run(script: Path) -> None:
    found = planned(script)
    rows = {row.text.split(": ")[-1].split()[0]: row for row in found.rows if not row.text.startswith("repair")}
    assert [(r.step, r.end) for r in (rows["ramp"], rows["rotate"], rows["drag"], rows["add"])] == [
        (0, 9),
        (5, 5),
        (30, 40),
        (45, 45),
    ]
    assert rows["paint"].step == 10 and rows["checkpoint"].times == 3
    repairs = [r for r in found.rows if r.text.startswith("repair")]
    assert [(r.step, r.end) for r in repairs] == [(5, 9), (40, 44), (45, 49)]
    assert rows["drag"].touches and rows["add"].blobs == 150 and found.blobs == 150
    assert any("when loss" in note for note in found.notes)
    program = load_script(script).program
    assert program is not None
    guidance = make_guidance(program.guidance, Path(program.folder), "cpu")
    trainer, start = begin(program, guidance, seed=5, device="cpu")
    run = Session(trainer, program.operations, start).advance()
    assert len(run.model) == pytest.approx(found.blobs, rel=GROWTH)
    assert [e.step for e in run.effects] == [5, 10, 20, 30, 40, 45, 60, 60]


def test_seconds_add_up(script: Path) -> None:
    found = planned(script)
    rows = {row.text.split(": ")[-1].split()[0]: row for row in found.rows}
    assert rows["drag"].seconds == pytest.approx(10 * 0.3)
    # 60 steps of 0.1 s; 10 of a drag 0.2 s more, 12 of repairs 0.1 s more; 15 steps with half as many blobs again cost a quarter more.
    late = 0.25 * (15 * 0.1 + 4 * 0.1)
    film = rows["record"].seconds
    assert found.seconds == pytest.approx(60 * 0.1 + 10 * 0.2 + 12 * 0.1 + late + film)
    assert rows["paint"].clock == pytest.approx(10 * 0.1 + 4 * 0.1)
    assert found.peak_memory > COSTS.resident and rows["add"].memory >= rows["rotate"].memory


def test_a_plan_changes_nothing_and_is_json(script: Path) -> None:
    before = {p.name for p in script.parent.iterdir()}
    result = CliRunner().invoke(main, ["plan", str(script), "--json"])
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert data["steps"] == 60 and data["seconds"] > 0 and {"plain", "drag", "repair"} <= set(data["costs"]["seconds"])
    assert {p.name for p in script.parent.iterdir()} == before
    table = CliRunner().invoke(main, ["plan", str(script)])
    assert "drag from (0, 0.3, 0)" in table.stdout and "150 blobs at the end" in table.stdout


def test_what_cannot_be_foreseen_is_said(script: Path) -> None:
    script.write_text(SCRIPT.replace("at end", "at step 50 remove sphere at (5, 5, 5) radius 0.1\nat end"))
    found = planned(script)
    assert any("step 50" in note for note in found.notes)
    script.write_text(SCRIPT + "at step 1 remove hed\n")
    result = CliRunner().invoke(main, ["plan", str(script)])
    assert result.exit_code == 1 and "hed" in result.stderr and "not planned" in result.stderr
