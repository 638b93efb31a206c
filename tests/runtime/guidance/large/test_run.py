"""Scripts led by a large model, from the text of the script to the files of the run."""

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from interactive3d.runtime.cli import main

pytest.importorskip("diffusers")

SCRIPT = """\
prompt "a red fox"
avoid "blur"
seed 3
steps 4
guidance diffusers "{model}"
splats 40 in sphere at (0, 0, 0) radius 0.4
set guidance.size 16
set camera.batch 2
"""


def run(folder: Path, script: str, *more: str) -> tuple[int, str]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fox.sculpt").write_text(script)
    result = CliRunner().invoke(
        main, ["run", str(folder / "fox.sculpt"), "--headless", "--out", str(folder / "out"), *more]
    )
    return result.exit_code, result.stderr


@pytest.mark.parametrize("name", ["sd15", "sd3"])
def test_a_script_runs_and_its_record_names_the_model(name: str, models: Callable[[str], Path], tmp_path: Path) -> None:
    status, said = run(tmp_path / "a", SCRIPT.format(model=models(name)))
    assert status == 0, said
    assert "memory: " in said
    record = json.loads((tmp_path / "a" / "out" / "run.json").read_text())
    assert record["guidance"]["model"] == str(models(name))
    # The family's own scale, unless the script says another.
    assert record["settings"]["guidance.scale"] == {"sd15": 100.0, "sd3": 20.0}[name]
    status, said = run(tmp_path / "b", SCRIPT.format(model=models(name)))
    again = json.loads((tmp_path / "b" / "out" / "run.json").read_text())
    assert again["state_digest"] == record["state_digest"]


def test_the_script_s_own_scale_counts(models: Callable[[str], Path], tmp_path: Path) -> None:
    script = SCRIPT.format(model=models("sd15")) + 'set guidance.scale 7.5\nset large.estimator "interval"\n'
    status, said = run(tmp_path, script.replace('"interval"', "interval"))
    assert status == 0, said
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["settings"]["guidance.scale"] == 7.5
    assert record["settings"]["large.estimator"] == "interval"


def test_a_missing_model_is_one_message(tmp_path: Path) -> None:
    status, said = run(tmp_path, SCRIPT.format(model="./no-such-model"))
    assert status == 1
    # The check has shown the place in the script; then it is one message, and no run.
    warned, _, error = said.partition("Error: ")
    assert "warning[W0809]" in warned and "1 warning" in warned
    assert error.startswith("guidance diffusers: there is no folder ") and error.count("\n") == 1


def test_any_word_may_be_used(models: Callable[[str], Path], tmp_path: Path) -> None:
    """The embedded prior's vocabulary does not bind the others."""
    (tmp_path / "fox.sculpt").write_text(SCRIPT.format(model="acme/x").replace("a red fox", "a zyzzyva quaffing ichor"))
    result = CliRunner().invoke(main, ["check", "--deny-warnings", str(tmp_path / "fox.sculpt")])
    assert result.exit_code == 0, result.stderr


def test_edits_and_stage_two_are_led_too_and_verify_finds_the_same(
    models: Callable[[str], Path], tmp_path: Path
) -> None:
    script = SCRIPT.replace("steps 4", "steps 12").format(model=models("sd15")) + (
        "repair on for 1 steps\n"
        "part head = sphere at (0, 0.2, 0) radius 0.3\n"
        'at step 1 edit head with "a blue head" for 2 steps\n'
        "at step 6 distill over 2 steps\n"
        'at step 9 refine head with "a golden head" for 2 steps\n'
    )
    status, said = run(tmp_path, script)
    assert status == 0, said
    assert 'refine head with "a golden head" for 2 steps' in said
    found = CliRunner().invoke(main, ["verify", str(tmp_path / "out")])
    assert found.exit_code == 0, found.stderr
    assert "the same, state" in found.stdout


@pytest.mark.parametrize("beside", ["scripts", "."])
def test_verify_finds_a_model_folder_from_anywhere(
    beside: str, models: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named beside the script, or where the program ran; and when the project has moved."""
    home, away = tmp_path / "home", tmp_path / "away"
    shutil.copytree(models("sd15"), home / beside / "models" / "tiny")
    (home / "scripts").mkdir(exist_ok=True)
    away.mkdir()
    (home / "scripts" / "fox.sculpt").write_text(SCRIPT.format(model="models/tiny"))
    monkeypatch.chdir(home)
    ran = CliRunner().invoke(main, ["run", "scripts/fox.sculpt", "--headless"])
    assert ran.exit_code == 0, ran.stderr
    monkeypatch.chdir(away)
    for place in (home, tmp_path / "moved"):
        if place != home:
            home.rename(place)
        found = CliRunner().invoke(main, ["verify", str(place / "out" / "fox")])
        assert found.exit_code == 0, found.stderr
        assert "the same, state" in found.stdout and "warning" not in found.stderr


def test_stopped_and_gone_on_with_under_settings_turned_on_the_way(
    models: Callable[[str], Path], tmp_path: Path
) -> None:
    """The same digest as in one go, though the model is loaded anew with what the script says at its start."""
    from interactive3d.runtime.engine.run import Run
    from interactive3d.runtime.engine.script import load_script

    script = SCRIPT.replace("steps 4", "steps 9").format(model=models("sd15")) + (
        "at step 2 set large.estimator interval\nat step 3 set large.memory lean\nat step 4 set large.precision bfloat16\n"
    )
    status, said = run(tmp_path / "whole", script)
    assert status == 0, said
    wanted = json.loads((tmp_path / "whole" / "out" / "run.json").read_text())
    assert (wanted["guidance"]["memory"], wanted["guidance"]["precision"]) == ("lean", "bfloat16")
    path = tmp_path / "fox.sculpt"
    path.write_text(script)
    program = load_script(path).program
    assert program is not None
    first = Run(program, path, tmp_path / "out")
    first.report.stepped = lambda state, steps, seconds: first.stop() if state.step == 6 else None
    stopped = first.go()
    assert (stopped.complete, stopped.state.step) == (False, 6)
    found = Run(program, path, tmp_path / "out", resume=True).go()
    assert found.complete
    assert found.digest == wanted["state_digest"]


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Memory that is enough for a few pictures at once only: when asked to, from a number of predictions on."""
    import torch

    from interactive3d.runtime.guidance.large.families import StableDiffusion

    predict = StableDiffusion.predict
    count = 0

    def begin(pictures: int, after: int = 0, side: int = 10**6) -> None:
        nonlocal count
        count = 0

        def greedy(family: StableDiffusion, noisy: torch.Tensor, *rest: object) -> torch.Tensor:
            nonlocal count
            count += 1
            if count > after and (len(noisy) > pictures or noisy.shape[-1] > side):
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return predict(family, noisy, *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(StableDiffusion, "predict", greedy)

    return begin


def test_running_out_of_memory_at_the_last_rung_is_one_message(
    models: Callable[[str], Path], tmp_path: Path, little_memory: Callable[..., None]
) -> None:
    little_memory(0)
    status, said = run(tmp_path, SCRIPT.format(model=models("sd15")))
    assert status == 1
    assert "out of memory on cpu with full; going on with sliced" in said
    assert "out of memory on cpu with sliced; going on with lean" in said
    assert "Error: out of memory on cpu even on the last rung of the memory ladder" in said
    assert "Traceback" not in said


def test_the_advised_settings_are_enough_to_go_on(
    models: Callable[[str], Path], tmp_path: Path, little_memory: Callable[..., None]
) -> None:
    """First fewer pictures, then smaller ones, as each message says, on the command line; the same object is made again."""
    little_memory(1, after=2, side=4)
    status, said = run(tmp_path, SCRIPT.replace("batch 2", "batch 4").format(model=models("sd15")))
    assert status == 1 and "what was reached, step 2, is in" in said
    advised = []
    while status == 1 and len(advised) < 9:
        command = said[said.index("interactive3d run") :].splitlines()[0]
        advised.append(command.partition("--resume ")[2])
        result = CliRunner().invoke(main, [*shlex.split(command)[1:], "--headless"])
        status, said = result.exit_code, result.stderr
    assert status == 0, said
    assert advised == [
        "--set camera.batch=2",
        "--set camera.batch=1",
        "--set camera.batch=1 --set large.size=8",
    ]
    settings = json.loads((tmp_path / "out" / "run.json").read_text())["settings"]
    assert settings["camera.batch"] == 1 and settings["large.size"] == 8
    little_memory(1, after=2, side=4)
    verified = CliRunner().invoke(main, ["verify", str(tmp_path / "out")])
    assert verified.exit_code == 0, verified.stderr


def test_a_rung_that_was_asked_for_is_advised_to_be_given_up(
    models: Callable[[str], Path], tmp_path: Path, little_memory: Callable[..., None]
) -> None:
    little_memory(2, after=1)
    script = SCRIPT.format(model=models("sd15")) + "set large.memory full\n"
    status, said = run(tmp_path, script)
    assert status == 1 and "--resume --set large.memory=auto" in said
    result = CliRunner().invoke(
        main,
        [
            "run",
            str(tmp_path / "fox.sculpt"),
            "--headless",
            "--out",
            str(tmp_path / "out"),
            "--resume",
            "--set",
            "large.memory=auto",
        ],
    )
    assert result.exit_code == 0, result.stderr
    # Taken up with what holds now: the model is put onto no rung that it would only leave again.
    assert "as large.memory says" not in result.stderr


@pytest.mark.slow
def test_compiled_models_are_stopped_gone_on_with_and_verified(models: Callable[[str], Path], tmp_path: Path) -> None:
    """By torch's compiler for the CPU, from a step on and with another number of pictures later: the same digest each time."""
    from interactive3d.runtime.engine.run import Run
    from interactive3d.runtime.engine.script import load_script

    script = SCRIPT.replace("steps 4", "steps 9").format(model=models("sd3"))
    path = tmp_path / "fox.sculpt"
    path.write_text(script + "at step 2 set large.compile on\nat step 4 set camera.batch 3\n")
    status, said = run(tmp_path / "whole", path.read_text())
    assert status == 0, said
    assert said.count("compiling") == 2 and "compiled: the step took" in said
    wanted = json.loads((tmp_path / "whole" / "out" / "run.json").read_text())
    assert wanted["guidance"]["compiled"] == "transformer, vae.encoder"
    program = load_script(path).program
    assert program is not None
    for stop in (3, 6):
        first = Run(program, path, tmp_path / f"out{stop}")
        first.report.stepped = lambda state, steps, seconds, first=first, stop=stop: (  # type: ignore[misc]
            first.stop() if state.step == stop else None
        )
        assert first.go().state.step == stop
        assert Run(program, path, tmp_path / f"out{stop}", resume=True).go().digest == wanted["state_digest"]
    found = CliRunner().invoke(main, ["verify", str(tmp_path / "whole" / "out")])
    assert found.exit_code == 0, found.stderr
    assert "the same, state" in found.stdout
