"""`verify` finds from anywhere what a run found, its folder's copies first."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from interactive3d.runtime.cli import main
from interactive3d.runtime.engine.origin import LOOKED_IN
from interactive3d.runtime.engine.segmenters import VARIABLE
from interactive3d.runtime.output.splat_files import write_splats
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.scene.segmenter import segmenter, use_segmenter

SCRIPT = """prompt "goal"
steps 3
guidance reference "../goal.ply"
set guidance.size 24
set camera.batch 1
splats from "../start.ply"
at step 1 add "../goal.ply" as more
at step 2 add "near.ply" as near
"""


def call(*arguments: object) -> Result:
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def project(tmp_path: Path, make_ball: Callable[..., GaussianModel], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a script in another, files above and beside it, and a finished run; the program stands elsewhere afterwards."""
    project = tmp_path / "project"
    (project / "scripts").mkdir(parents=True)
    for number, name in enumerate(("goal.ply", "start.ply", "scripts/near.ply")):
        write_splats(make_ball(number + 1), project / name)
    (project / "scripts" / "a.sculpt").write_text(SCRIPT)
    monkeypatch.chdir(project)
    ran = call("run", "scripts/a.sculpt", "--headless")
    assert ran.exit_code == 0, ran.stderr
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return project


def test_files_outside_of_the_script_s_folder_are_found_from_anywhere(project: Path) -> None:
    assert not (project / "out" / "a" / "goal.ply").exists()
    verified = call("verify", project / "out" / "a")
    assert verified.exit_code == 0, verified.stderr
    assert "the same" in verified.stdout


def test_a_project_moved_as_a_whole_is_understood_where_it_is(project: Path, tmp_path: Path) -> None:
    project.rename(tmp_path / "moved")
    verified = call("verify", tmp_path / "moved" / "out" / "a")
    assert verified.exit_code == 0, verified.stderr


def test_what_the_run_s_folder_keeps_goes_before_what_lies_there_now(project: Path) -> None:
    (project / "scripts" / "near.ply").write_bytes(b"broken since")
    assert call("verify", project / "out" / "a").exit_code == 0


def test_a_file_that_is_gone_is_named(project: Path) -> None:
    (project / "goal.ply").unlink()
    verified = call("verify", project / "out" / "a")
    assert verified.exit_code == 1
    assert "../goal.ply" in verified.stderr and "Traceback" not in verified.output


def test_the_record_of_an_older_version_looks_in_the_run_s_folder(project: Path) -> None:
    run = project / "out" / "a"
    record = json.loads((run / "run.json").read_text())
    assert record.pop(LOOKED_IN) == {"script": "../../scripts", "program": "../.."}
    (run / "run.json").write_text(json.dumps(record))
    assert call("verify", run).exit_code == 1
    for name in ("goal.ply", "start.ply"):
        shutil.copy(project / name, run)
    assert call("verify", run).exit_code == 0


@pytest.fixture
def _settled_again() -> Iterator[None]:
    yield
    use_segmenter(None)


@pytest.mark.usefixtures("_settled_again")
def test_segmenters_are_looked_for_beside_the_script_as_it_lay(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing asks for one in this script: whoever does after `verify` has begun is told where it was looked for."""
    monkeypatch.setenv(VARIABLE, "sam:models/no.pth")
    monkeypatch.setattr("interactive3d.runtime.guidance.large.segment_anything.need", lambda *_: None)
    assert call("verify", project / "out" / "a").exit_code == 0
    with pytest.raises(ValueError, match=r"no\.pth") as refused:
        segmenter()
    assert str(project / "scripts" / "models" / "no.pth") in str(refused.value)
