"""The command line as a person meets it: exit codes, where messages go, and no traceback for a user's mistake."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from interactive3d.runtime.cli import main
from interactive3d.runtime.output.splat_files import write_splats
from interactive3d.runtime.scene.gaussians import GaussianModel

SCRIPT = """prompt "goal"
steps 3
guidance reference "goal.ply"
set guidance.size 24
set camera.batch 1
splats 60 in sphere at (0, 0, 0) radius 0.4
"""


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def script(tmp_path: Path, make_ball: Callable[..., GaussianModel]) -> Path:
    write_splats(make_ball(1), tmp_path / "goal.ply")
    path = tmp_path / "small.sculpt"
    path.write_text(SCRIPT)
    return path


def test_help_and_version() -> None:
    assert call("--version").output.startswith("interactive3d, version ")
    help_text = call("--help")
    assert help_text.exit_code == 0
    for verb in ("run", "check", "render", "info", "verify", "doctor", "words", "settings", "explain", "fmt"):
        assert verb in help_text.stdout
        assert call(verb, "--help").exit_code == 0


def test_run_then_verify_then_info(script: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = call("run", str(script), "--out", str(out), "--headless", "--set", "lr.color=0.02", "--seed", "9")
    assert ran.exit_code == 0, ran.output
    record = json.loads((out / "run.json").read_text())
    assert record["seed"] == 9 and record["settings"]["lr.color"] == 0.02
    assert record["state_digest"][:16] in ran.stdout
    assert call("verify", str(out)).exit_code == 0
    described = json.loads(call("info", str(out / "splats.ply"), "--json").stdout)
    assert 60 in described.values()


def test_verify_fails_when_the_record_tells_of_another_object(script: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    call("run", str(script), "--out", str(out))
    record = json.loads((out / "run.json").read_text())
    record["state_digest"] = "0" * 64
    (out / "run.json").write_text(json.dumps(record))
    result = call("verify", str(out))
    assert result.exit_code == 1 and "not the same" in result.stderr


def test_a_script_with_errors_is_not_run(script: Path, tmp_path: Path) -> None:
    script.write_text(SCRIPT + "at step 1 remove hed\n")
    result = call("run", str(script), "--out", str(tmp_path / "out"))
    assert result.exit_code == 1
    assert "hed" in result.stderr and "^^^" in result.stderr
    assert not (tmp_path / "out").exists()


def test_check_says_everything_at_once_and_json_is_json(script: Path) -> None:
    script.write_text(SCRIPT + "at step 1 remove hed\nset lr.positon 1\n")
    result = call("check", str(script), "--json")
    assert result.exit_code == 1
    assert len(json.loads(result.stdout)) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run"], 2, "Missing argument"),
        (["run", "nowhere.sculpt"], 1, "nowhere.sculpt"),
        (["run", "{script}", "--set", "lift"], 2, "expected NAME=VALUE"),
        (["run", "{script}", "--set", "lr.positon=1"], 1, "lr.position"),
        (["run", "{script}", "--device", "cuda"], 1, "no CUDA device"),
        (["render", "{script}"], 2, "--turntable OUT.mp4 or --image OUT.png"),
        (["render", "{script}", "--image", "x.png"], 1, "small.sculpt"),
        (["render", "{splats}", "--image", "x.png", "--size", "9"], 2, "16 to 8192"),
        (["info", "nowhere.ply"], 1, "nowhere.ply"),
        (["verify", "nowhere"], 1, "nowhere"),
        (["explain", "E9999"], 1, "E9999"),
        (["fmt", "nowhere.sculpt"], 1, "nowhere.sculpt"),
    ],
)
def test_mistakes_get_a_message_and_the_right_code(arguments: list[str], code: int, message: str, script: Path) -> None:
    import torch

    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device, so asking for it is no mistake")
    places = {"{script}": str(script), "{splats}": str(script.with_name("goal.ply"))}
    result = call(*(places.get(a, a) for a in arguments))
    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "more"),
    [
        (["info", "{}"], ["a camera path (.json)", "a picture (.png, ", "a film (.mp4, ", "the folder of a run"]),
        (["render", "{}", "--image", "x.png"], []),
        (["convert", "{}", "x.ply"], []),
        (["view", "{}"], ["the folder of a run"]),
    ],
)
def test_a_file_of_another_kind_is_told_all_that_is_read(
    arguments: list[str], more: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As where there is a display: the file is read before the window opens.
    monkeypatch.setattr("interactive3d.runtime.view.open.why_not", lambda: None)
    (tmp_path / "notes.txt").write_text("something")
    result = call(*(a.format(tmp_path / "notes.txt") for a in arguments))
    assert result.exit_code == 1 and "is of no kind that is read here; expected splats (.ply, .splat)" in result.stderr
    for what in ("a mesh (.glb, .gltf, .obj, .stl, .off, .ply)", "a field or a checkpoint (.safetensors)", *more):
        assert what in result.stderr


def test_render_takes_a_picture_of_a_splat_file(script: Path, tmp_path: Path) -> None:
    result = call("render", str(script.with_name("goal.ply")), "--image", str(tmp_path / "x.png"), "--size", "64x48")
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.size == (64, 48)
        red, green, _ = picture.convert("RGB").getpixel((32, 24))
        assert red > 150 > green


def test_render_films_a_turntable(script: Path, tmp_path: Path) -> None:
    import av

    film = tmp_path / "x.mp4"
    result = call(
        "render", str(script.with_name("goal.ply")), "--turntable", str(film), "--size", "64", "--seconds", "0.2"
    )
    assert result.exit_code == 0, result.output
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.codec_context.pix_fmt) == (64, 64, "yuv420p")
        assert sum(1 for _ in container.decode(stream)) == 6


def test_the_saved_session_is_a_script_that_runs_to_the_same_digest(script: Path, tmp_path: Path) -> None:
    saved = tmp_path / "elsewhere" / "saved.sculpt"
    first, second = tmp_path / "first", tmp_path / "second"
    ran = call("run", str(script), "--out", str(first), "--headless", "--seed", "4", "--save-session", str(saved))
    assert ran.exit_code == 0, ran.output
    assert call("run", str(saved), "--out", str(second), "--headless").exit_code == 0
    digests = {json.loads((folder / "run.json").read_text())["state_digest"] for folder in (first, second)}
    assert len(digests) == 1


def test_without_a_display_there_is_a_message_and_the_run_goes_on(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    result = call("run", str(script), "--out", str(tmp_path / "out"))
    assert result.exit_code == 0 and "no window" in result.stderr
    viewed = call("view", str(tmp_path / "out" / "splats.ply"))
    assert viewed.exit_code == 1 and "no window" in viewed.stderr


def test_words_and_settings_are_listed() -> None:
    assert "dragon" in call("words").stdout
    assert "gren: not known; near: green" in call("words", "a gren dragon").stdout
    assert "lr.position" in call("settings").stdout


def test_fmt_formats_in_place_and_check_fails_before(script: Path) -> None:
    script.write_text('prompt   "goal"   # mine\nsteps 3\n')
    assert call("fmt", "--check", str(script)).exit_code == 1
    assert call("fmt", str(script)).exit_code == 0
    assert script.read_text().startswith('prompt "goal"') and "# mine" in script.read_text()
    assert call("fmt", "--check", str(script)).exit_code == 0
