"""What a dry run says of the models that a script names: at once, without loading them and without a network."""

import importlib.util
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from interactive3d.runtime.cli import main
from interactive3d.runtime.engine.needs import needs
from interactive3d.runtime.engine.script import load_script
from interactive3d.runtime.guidance.large import DEFAULT_MODEL

pytest.importorskip("diffusers")
hub = pytest.importorskip("huggingface_hub")

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SPLATS = "splats 40 in sphere at (0, 0, 0) radius 0.4"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no way out of this machine."""

    def refuse(*arguments: object, **more: object) -> None:
        raise AssertionError("a dry run asked the network")

    place = tmp_path / "cache"
    place.mkdir()
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(place))
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    return place


def cached(cache: Path, name: str, model: Path) -> Path:
    place = cache / f"models--{name.replace('/', '--')}"
    shutil.copytree(model, place / "snapshots" / COMMIT)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(COMMIT)
    return place / "snapshots" / COMMIT


def dry_run(folder: Path, guidance: str, rest: str = SPLATS) -> tuple[int, list[str], str]:
    """Exit status, the lines on what is needed, and the error."""
    script = folder / "fox.sculpt"
    script.write_text(f'prompt "a red fox"\nsteps 4\nguidance {guidance}\n{rest}\n')
    result = CliRunner().invoke(main, ["run", str(script), "--dry-run", "--out", str(folder / "out")])
    assert not (folder / "out").exists() and (result.exception is None or isinstance(result.exception, SystemExit))
    return result.exit_code, [line[2:] for line in result.stdout.splitlines()[1:]], result.stderr


def test_a_folder_beside_the_script(models: Callable[[str], Path], tmp_path: Path) -> None:
    shutil.copytree(models("sd15"), tmp_path / "fox")
    status, (line,), _ = dry_run(tmp_path, 'diffusers "fox"')
    assert (status, line) == (0, f'guidance diffusers "fox": StableDiffusionPipeline in {tmp_path / "fox"}')
    shutil.rmtree(tmp_path / "fox" / "vae")
    status, (line,), said = dry_run(tmp_path, 'diffusers "fox"')
    assert status == 1 and "lacks the folder vae" in line
    assert 'a run would stop for want of: guidance diffusers "fox"' in said


def test_a_folder_that_is_missing_and_one_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    for name, told in (("./sd-2.1", "there is no folder"), ("./notes", "holds no model_index.json")):
        status, (line,), said = dry_run(tmp_path, f'diffusers "{name}"')
        assert status == 1 and told in line and "warning[W0809]" in said


def test_an_id_in_the_cache_partly_in_it_and_not_in_it(
    models: Callable[[str], Path], tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached(cache, "acme/fox", models("sd15"))
    (cached(cache, "acme/half", models("sd15")) / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    told = {
        "acme/fox": f"StableDiffusionPipeline, in the cache {cache}",
        "acme/half": f"partly in the cache {cache}",
        "acme/none": f"not in the cache {cache}",
    }
    for name, text in told.items():
        later = "" if name == "acme/fox" else "; fetched when first used"
        assert dry_run(tmp_path, f'diffusers "{name}"')[:2] == (0, [f'guidance diffusers "{name}": {text}{later}'])
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    for name, text in told.items():
        status, (line,), _ = dry_run(tmp_path, f'diffusers "{name}"')
        assert text in line and status == (name != "acme/fox")
        assert ("HF_HUB_OFFLINE is set" in line) == (name != "acme/fox")


def test_a_model_of_a_kind_that_cannot_guide(models: Callable[[str], Path], tmp_path: Path, cache: Path) -> None:
    snapshot = cached(cache, "acme/sound", models("sd15"))
    index = json.loads((snapshot / "model_index.json").read_text())
    (snapshot / "model_index.json").write_text(json.dumps(index | {"_class_name": "AudioLDMPipeline"}))
    status, (line,), _ = dry_run(tmp_path, 'diffusers "acme/sound"')
    assert status == 1 and "holds a AudioLDMPipeline; what will do is StableDiffusionPipeline, " in line


def test_first_points_have_a_model_of_their_own(models: Callable[[str], Path], tmp_path: Path) -> None:
    model = models("sd15")
    (tmp_path / "photo.png").write_bytes(b"x")
    for rest, name in (
        ("splats 40 from text", "openai/shap-e"),
        ('splats 40 from "photo.png"', "openai/shap-e-img2img"),
    ):
        _, lines, _ = dry_run(tmp_path, f'diffusers "{model}"', rest)
        assert lines[1].startswith(f'first points "{name}": not in the cache')
    status, lines, said = dry_run(tmp_path, f'diffusers "{model}", "{model}"', "splats 40 from text")
    assert status == 1 and lines[1].endswith("holds a StableDiffusionPipeline; what will do is ShapEPipeline")
    status, lines, said = dry_run(tmp_path, f'diffusers "{model}", "./nowhere"', "splats 40 from text")
    assert status == 1 and "no/where".replace("/", "") in lines[1] and "W0809" in said
    # A second name that makes no first points is asked for nothing.
    assert len(dry_run(tmp_path, f'diffusers "{model}", "./nowhere"')[1]) == 1


def test_without_a_name_it_is_the_default(tmp_path: Path) -> None:
    _, (line,), _ = dry_run(tmp_path, "diffusers")
    assert line.startswith(f'guidance diffusers "{DEFAULT_MODEL}": not in the cache')


def test_packages_that_are_missing_are_named(
    models: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec

    def lacking(*names: str) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in names else find_spec(name))

    guidance = f'diffusers "{models("sd15")}"'
    lacking("accelerate")
    assert dry_run(tmp_path, guidance)[0] == 0
    status, (line,), _ = dry_run(tmp_path, guidance, f"{SPLATS}\nset large.memory offload")
    assert status == 1 and line.startswith("guidance diffusers: accelerate not installed; pip install")
    lacking("diffusers", "transformers")
    status, (line,), _ = dry_run(tmp_path, guidance)
    assert status == 1 and line.startswith("guidance diffusers: diffusers and transformers not installed; pip install")


def test_segmenters_are_asked_for_where_the_script_has_clicks_or_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("INTERACTIVE3D_SEGMENTER", "INTERACTIVE3D_TEXT_SEGMENTER"):
        monkeypatch.delenv(name, raising=False)
    front = "view front = orbit azimuth 0 elevation 10\n"
    clicks = f"{front}at step 2 paint click (25, 25) in front red\n{SPLATS}"
    texts = f'at step 2 paint segment "wings" red\n{SPLATS}'
    assert dry_run(tmp_path, "embedded")[:2] == (0, [])
    assert dry_run(tmp_path, "embedded", clicks)[:2] == (0, ["clicks: embedded: click, colour and depth; no weights"])
    status, (line,), said = dry_run(tmp_path, "embedded", texts)
    assert (
        status == 1 and "INTERACTIVE3D_TEXT_SEGMENTER names a CLIPSeg model" in line and "want of: segment by" in said
    )
    monkeypatch.setenv("INTERACTIVE3D_SEGMENTER", "sam:./sam")
    monkeypatch.setenv("INTERACTIVE3D_TEXT_SEGMENTER", "acme/seg")
    status, (line,), _ = dry_run(tmp_path, "embedded", clicks)
    assert status == 1 and "there is no folder" in line
    (tmp_path / "sam").mkdir()
    (tmp_path / "sam" / "config.json").write_text("{}")
    status, (line,), _ = dry_run(tmp_path, "embedded", clicks)
    assert status == 1 and "holds no weights" in line
    (tmp_path / "sam" / "model.safetensors").write_bytes(b"x")
    assert dry_run(tmp_path, "embedded", clicks)[:2] == (
        0,
        [f"clicks: sam:./sam (INTERACTIVE3D_SEGMENTER): weights in {tmp_path / 'sam'}"],
    )
    status, (line,), _ = dry_run(tmp_path, "embedded", texts)
    assert status == 0 and "acme/seg (INTERACTIVE3D_TEXT_SEGMENTER): not in the cache" in line


def test_a_dry_run_agrees_with_the_run(models: Callable[[str], Path], tmp_path: Path) -> None:
    """What is said to be enough can be loaded, and what is not, cannot."""
    script = tmp_path / "fox.sculpt"
    damaged = Path(shutil.copytree(models("sd15"), tmp_path / "damaged"))
    (damaged / "model_index.json").write_text("[]")
    for model, enough in ((models("sd3"), True), (damaged, False)):
        script.write_text(f'prompt "a fox"\nsteps 1\nguidance diffusers "{model}"\n{SPLATS}\n')
        program = load_script(script).program
        assert program is not None and [need.found.enough for need in needs(program)] == [enough]
        ran = CliRunner().invoke(
            main, ["run", str(script), "--headless", "--out", str(tmp_path / "out"), "--set", "guidance.size=16"]
        )
        assert (ran.exit_code == 0) == enough, ran.stderr


def test_nothing_heavy_is_loaded_to_tell(models: Callable[[str], Path], tmp_path: Path) -> None:
    """A check does without torch, a dry run without the libraries of large models."""
    script = tmp_path / "fox.sculpt"
    script.write_text(f'prompt "a fox"\nsteps 1\nguidance diffusers "{models("sd15")}", "./nowhere"\n{SPLATS}\n')
    code = (
        "import sys\nfrom interactive3d.runtime.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print('loaded', [m for m in ('torch', 'diffusers', 'transformers', 'huggingface_hub') if m in sys.modules])"
    )

    def loaded(*arguments: str) -> str:
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()[-1]

    assert loaded("check", str(script)) == "loaded []"
    assert loaded("run", str(script), "--dry-run") == "loaded ['torch']"
