"""The stories: they check clean and are written as the formatter writes them; their pages are up to date; run whole, each tells what
its first line says."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from interactive3d.dsl import format_source
from interactive3d.runtime.engine.script import load_script
from interactive3d.runtime.engine.snapshots import load_state
from interactive3d.runtime.output.checkpoints import newest_whole
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.scripts import gestures, stories

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "scripts").glob("*.sculpt")) + sorted((ROOT / "scripts" / "objects").glob("*.sculpt"))
MINUTES = 12
"""Far more than the minute or two on two free cores: machines that run slow tests are often busy."""


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.stem)
def test_scripts_check_clean_and_format_to_themselves(path: Path) -> None:
    loaded = load_script(path)
    assert loaded.program is not None and loaded.diagnostics == (), loaded.diagnostics
    text = path.read_text(encoding="utf-8")
    assert format_source(text) == text


def test_there_are_six_stories_that_differ() -> None:
    kinds = set()
    for name in stories.STORIES:
        program = load_script(ROOT / "scripts" / f"{name}.sculpt").program
        assert program is not None
        used = {op.keyword for op in program.operations if op.keyword not in ("ramp", "set", "export", "record")}
        assert len(used) >= 3, (name, used)
        assert program.steps is not None and 300 <= program.steps <= 700, name
        kinds |= used
    assert len(stories.STORIES) >= 6
    assert {"add", "remove", "duplicate", "move", "rotate", "stretch", "drag", "edit", "paint"} <= kinds


def test_the_pages_are_those_that_the_scripts_make() -> None:
    docs = ROOT / "docs"
    remedy = "python -m interactive3d.scripts.{} --page"
    assert (docs / "gestures.md").read_text(encoding="utf-8") == gestures.page(), remedy.format("gestures")
    assert (docs / "stories.md").read_text(encoding="utf-8") == stories.page(), remedy.format("stories")


def test_every_story_has_a_picture_of_a_size_for_the_page() -> None:
    for name in stories.STORIES:
        picture = ROOT / "docs" / "pictures" / "stories" / f"{name}.png"
        assert 10_000 < picture.stat().st_size <= stories.LIMIT, name


def redder_than_blue(color: Tensor) -> Tensor:
    return color[:, 0] > color[:, 2] + 0.25


def bluer_than_red(color: Tensor) -> Tensor:
    return color[:, 2] > color[:, 0] + 0.25


def samurai(model: GaussianModel) -> None:
    place, color = model.mean, model.color
    behind = (place[:, 2] < -0.1) & (place[:, 1] < 0.1)
    assert int((bluer_than_red(color) & behind).sum()) < 30, "the cloak is gone"
    sword = model.tagged("sword")
    assert int(sword.sum()) >= 100 and float(place[sword][:, 1].max()) > 0.7, "the sword is up"
    hand = (place[:, 0] < -0.35) & ~sword
    assert float(place[hand][:, 1].mean()) > 0.2, "and so is the arm"


def t_rex(model: GaussianModel) -> None:
    place, color = model.mean, model.color
    horns = model.tagged("left_horn") | model.tagged("right_horn")
    assert float(place[horns][:, 1].max()) > 0.5
    snout = place[place[:, 2] > 0.45]
    assert float(snout[:, 0].mean()) > 0.05, "the head looks to its left"
    legs = place[:, 1] < -0.4
    purple = (color[:, 2] > color[:, 1] + 0.05) & (color[:, 0] > color[:, 1])
    assert float(purple[legs].float().mean()) > 0.4
    assert float(purple[~legs].float().mean()) < 0.2, "and only the legs"


def castle(model: GaussianModel) -> None:
    place, color = model.mean, model.color
    rocket = model.tagged("rocket") | model.tagged("flame")
    halves = place[~rocket][:, 0]
    assert int((halves > 0.15).sum()) > 800 and int((halves < -0.15).sum()) > 800
    assert float((halves.abs() < 0.15).float().mean()) < 0.05, "there is a gap between the halves"
    assert float(place[rocket][:, 0].abs().max()) < 0.5
    roofs = (~rocket) & (place[:, 1] > 0.25)
    assert float(redder_than_blue(color[roofs]).float().mean()) > 0.4
    assert float(bluer_than_red(color[roofs]).float().mean()) < 0.1
    walls = (~rocket) & (place[:, 1] < 0.0)
    assert float(redder_than_blue(color[walls]).float().mean()) < 0.2, "the walls are still grey"
    assert float(place[rocket][:, 1].max()) > 0.65, "it has taken off"


def angel(model: GaussianModel) -> None:
    place, color = model.mean, model.color
    wings = (place[:, 0].abs() > 0.25) & (place[:, 1] > 0.0)
    assert float(redder_than_blue(color[wings]).float().mean()) > 0.5, "the wings burn"
    assert float(bluer_than_red(color).float().mean()) < 0.1
    halo = place[model.tagged("halo")]
    assert float(halo[:, 1].mean()) == pytest.approx(0.74, abs=0.08), "it came along"


def knight(model: GaussianModel) -> None:
    place, color = model.mean, model.color
    rider = model.tagged("knight")
    assert int(rider.sum()) > 800
    horse = place[~rider]
    hooves = [float(horse[rows][:, 1].min()) for rows in (horse[:, 2] > 0.1, horse[:, 2] < -0.2)]
    assert hooves[0] > hooves[1] + 0.1, "the horse rears"
    assert float(place[rider][:, 1].mean()) > float(horse[:, 1].mean()) + 0.2
    flaming = (color[:, 0] > 0.8) & (color[:, 2] < 0.3) & ~rider
    assert int(flaming.sum()) > 40, "its mane is a fire"


def flower(model: GaussianModel) -> None:
    place, color = model.mean, model.color
    young = model.tagged("young")
    assert float(young.float().mean()) > 0.4
    petals = (place[:, 1] > 0.2) & ~young
    assert float(bluer_than_red(color[petals]).float().mean()) > 0.4, "the first one is blue"
    assert float(redder_than_blue(color[young]).float().mean()) > 0.2, "the second one orange"
    assert float(place[petals][:, 0].mean()) < 0.0, "the wind has bent it"
    assert float(place[young][:, 1].max()) < float(place[~young][:, 1].max())


def dragon(model: GaussianModel) -> None:
    place, color = model.mean, model.color
    wings = (place[:, 0].abs() > 0.3) & (place[:, 1] > -0.3)
    assert int(wings.sum()) > 100, "it has wings"
    # The blobs inside them keep a green that nobody sees.
    assert int((redder_than_blue(color) & wings).sum()) > 30, "which are red"
    assert float(place[place[:, 2] > 0.55][:, 0].mean()) > 0.03, "and looks to its left"


TOLD: dict[str, Callable[[GaussianModel], None]] = {
    story.__name__: story for story in (samurai, t_rex, castle, angel, knight, flower, dragon)
}


def test_every_story_is_told() -> None:
    assert set(TOLD) == set(stories.STORIES)


@pytest.mark.slow
@pytest.mark.parametrize("name", stories.STORIES)
def test_run_whole_it_tells_its_story(name: str, tmp_path: Path) -> None:
    script = ROOT / "scripts" / f"{name}.sculpt"
    command = [sys.executable, "-m", "interactive3d.runtime.cli", "run", str(script), "--headless", "-o", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60 * MINUTES)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    out = tmp_path / "out"
    assert (out / "contact.png").stat().st_size > 10_000
    # The splat file knows no names; the last checkpoint does.
    newest = newest_whole(out / "checkpoints").path
    assert newest is not None
    model = load_state(newest)[0].model
    assert torch.isfinite(model.mean).all()
    TOLD[name](model)
