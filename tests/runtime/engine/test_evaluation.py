"""Evaluation: making, judging, going on, and the files that it leaves."""

import csv
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from interactive3d.runtime.cli import main
from interactive3d.runtime.engine.evaluation import Evaluation, PeakMemory, ranked, read_prompts
from interactive3d.runtime.output.pictures import load_picture
from interactive3d.runtime.output.problems import FileProblem
from interactive3d.runtime.output.splat_files import write_splats

PROMPTS = "# three balls\nred ball\n\nblue ball\ngreen ball\n"
SCRIPT = """\
seed 1
steps {steps}
guidance reference "red ball.ply", "blue ball.ply", "green ball.ply"
splats 60 in sphere at (0, 0, 0) radius 0.4
set guidance.size 24
set camera.batch 2
"""
COLORS = {"red ball": (0.9, 0.1, 0.1), "blue ball": (0.1, 0.1, 0.9), "green ball": (0.1, 0.9, 0.1)}


class ColorJudge:
    """Knows which colour is most of a picture."""

    def score(self, images: torch.Tensor, prompts: list[str]) -> torch.Tensor:
        object_color = (images * (1 - images.min(1, keepdim=True).values)).mean((2, 3))
        return torch.stack([object_color @ torch.tensor(COLORS[p]) for p in prompts], 1)


@pytest.fixture
def folder(tmp_path: Path, make_ball: Callable[..., Any]) -> Path:
    for i, (name, color) in enumerate(COLORS.items()):
        write_splats(make_ball(i, color=color), tmp_path / f"{name}.ply")
    (tmp_path / "prompts.txt").write_text(PROMPTS)
    (tmp_path / "ball.sculpt").write_text(SCRIPT.format(steps=25))
    return tmp_path


@pytest.fixture(autouse=True)
def judge_by_color(monkeypatch: pytest.MonkeyPatch) -> None:
    from interactive3d.runtime.guidance import judge

    monkeypatch.setattr(judge.Judge, "load", staticmethod(lambda **more: ColorJudge()))


def evaluate(folder: Path, *more: str) -> Any:
    return CliRunner().invoke(
        main,
        [
            "eval",
            str(folder / "prompts.txt"),
            "--script",
            str(folder / "ball.sculpt"),
            "--out",
            str(folder / "out"),
            *more,
        ],
    )


def test_a_list_of_prompts_becomes_objects_a_table_and_a_sheet(folder: Path) -> None:
    result = evaluate(folder)
    assert result.exit_code == 0, result.stderr
    assert "R-Precision 1.000 (1 of 3, 3 objects)" in result.stdout
    rows = list(csv.DictReader((folder / "out" / "results.csv").read_text().splitlines()))
    assert [row["prompt"] for row in rows] == ["red ball", "blue ball", "green ball"]
    assert [row["rank"] for row in rows] == ["1", "1", "1"]
    assert all(float(row["seconds"]) > 0 and float(row["memory_gb"]) > 0 for row in rows)
    whole = json.loads((folder / "out" / "results.json").read_text())
    assert whole["r_precision"] == 1.0
    assert whole["judge"] == "embedded judge"
    assert len(whole["objects"]) == 3
    assert load_picture(folder / "out" / "sheet.png").shape[0] > 3 * 90
    assert (folder / "out" / "objects" / "002.ply").exists()
    assert "2 to go, about " in result.stderr


def test_what_is_there_is_not_made_again(folder: Path) -> None:
    assert evaluate(folder, "--first", "1").exit_code == 0
    note = folder / "out" / "objects" / "000.json"
    before = note.stat().st_mtime_ns
    result = evaluate(folder)
    assert result.exit_code == 0, result.stderr
    assert "1 of 3 objects are there already" in result.stderr
    assert note.stat().st_mtime_ns == before
    other = evaluate(folder, "--steps", "7")
    assert other.exit_code == 1
    assert "another prompt, script, seed or setting" in other.stderr


def test_the_first_ones_are_ranked_among_all(folder: Path) -> None:
    result = evaluate(folder, "--first", "1", "--steps", "2")
    assert "(1 of 3, 1 objects)" in result.stdout


def test_stopping_keeps_what_is_made(folder: Path) -> None:
    from interactive3d.runtime.engine.script import load_script
    from interactive3d.runtime.engine.start import make_guidance

    program = load_script(folder / "ball.sculpt").program
    assert program is not None
    guidance = make_guidance(program.guidance, folder, "cpu")
    evaluation = Evaluation(
        folder / "out", program, read_prompts(folder / "prompts.txt"), seed=0, device="cpu", side=48
    )
    assert evaluation.make(0, guidance) is not None
    assert evaluation.make(1, guidance, lambda s, n: evaluation.stop() if s.step == 5 else None) is None
    assert evaluation.made(0) is not None
    assert evaluation.made(1) is None
    assert evaluation.make(2, guidance) is None
    again = Evaluation(folder / "out", program, read_prompts(folder / "prompts.txt"), seed=0, device="cpu", side=48)
    made = again.make(1, guidance)
    assert made is not None
    assert made.steps == 25
    assert again.judged(1, made, ColorJudge()).rank == 1


@pytest.mark.slow
def test_control_c_stops_at_a_step_with_a_table_and_the_way_to_go_on(folder: Path) -> None:
    (folder / "ball.sculpt").write_text(SCRIPT.format(steps=400))
    command = [sys.executable, "-m", "interactive3d.runtime.cli", "eval", "prompts.txt", "--script", "ball.sculpt"]
    going = subprocess.Popen(
        [*command, "--out", "out"], cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        waited = time.monotonic()
        while not (folder / "out" / "objects" / "000.json").exists() and time.monotonic() - waited < 100:
            time.sleep(0.05)
        going.send_signal(signal.SIGINT)
        _, said = going.communicate(timeout=60)
    finally:
        going.kill()
    assert going.returncode == 1
    assert "Traceback" not in said
    assert "the same command goes on" in said
    assert (folder / "out" / "results.csv").exists()


def test_prompts_that_cannot_be_read_are_explained(tmp_path: Path) -> None:
    with pytest.raises(FileProblem, match="no such file"):
        read_prompts(tmp_path / "none.txt")
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(FileProblem, match="holds no prompts"):
        read_prompts(tmp_path / "empty.txt")
    (tmp_path / "twice.txt").write_text("a\nb\na\n")
    with pytest.raises(FileProblem, match="holds the prompt 'a' twice"):
        read_prompts(tmp_path / "twice.txt")


def test_judges_are_named_when_another_is_asked_for(folder: Path) -> None:
    result = evaluate(folder, "--judge", "oracle")
    assert result.exit_code == 2
    assert "expected embedded, clip:ID_OR_FOLDER" in result.stderr


def test_ranks_by_hand() -> None:
    scores = torch.tensor([[3.0, 2.0, 0.0], [0.0, 2.0, 1.0], [1.0, 0.0, 0.0]])
    # Means 4/3, 4/3, 1/3: the two views for prompt 0 count, ties go to the first.
    assert ranked(scores, 2) == (3, 0, 0.0)
    place, first, views = ranked(scores + torch.tensor([0.1, 0.0, 0.0]), 0)
    assert (place, first) == (1, 0)
    assert views == pytest.approx(2 / 3)


def test_peak_memory_sees_what_was_held_for_a_while() -> None:
    idle = PeakMemory("cpu").gigabytes()
    memory = PeakMemory("cpu")
    block = torch.ones(48 << 20, dtype=torch.float32)
    del block
    # 192 MB were held; other things of the process may have gone meanwhile.
    assert memory.gigabytes() > idle + 0.1
