"""Names of large models: which cannot be one, told by looking at the disk alone."""

from pathlib import Path

import pytest

from interactive3d.runtime.guidance import names


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A script's folder, which is not where the program runs."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    place = tmp_path / "beside"
    for name in ("model", "empty", "owner/model", "owner/empty"):
        (place / name).mkdir(parents=True)
    for name in ("model", "owner/model"):
        (place / name / names.PIPELINE).write_text("{}")
    (place / "single.ckpt").write_bytes(b"x")
    return place


@pytest.mark.parametrize("name", ["model", "./model", "owner/model", "acme/fox", "openai/shap-e"])
def test_folders_and_ids_may_be_models(name: str, folder: Path) -> None:
    assert names.trouble(name, folder) is None


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("./missing", "there is no folder {beside}/missing nor {elsewhere}/missing, and './missing' is not the id"),
        ("no/such/folder", "there is no folder {beside}/no/such/folder nor "),
        ("one-word", "there is no folder {beside}/one-word nor "),
        ("/no/where", "there is no folder /no/where, and"),
        ("~/sd", "there is no folder {home}/sd, and"),
        ("~nobody-of-this-name/sd", "there is no folder "),
        ("x" * 300, "there is no folder "),
        ("a\\b/c", "there is no folder "),
        ("empty", "the folder {beside}/empty holds no model_index.json (it holds nothing)"),
        ("owner/empty", "the folder {beside}/owner/empty holds no model_index.json"),
        (".", "the folder {beside} holds no model_index.json (it holds empty, model, owner, single.ckpt)"),
        ("single.ckpt", "{beside}/single.ckpt is a single file"),
        ("acme/fox.safetensors", "there is no folder "),
    ],
)
def test_what_cannot_be_a_model_is_told_with_where_it_was_looked_for(name: str, told: str, folder: Path) -> None:
    root = folder.parent
    places = {"beside": folder, "elsewhere": root / "elsewhere", "home": root / "home"}
    assert told.format(**places) in str(names.trouble(name, folder))


def test_where_the_program_runs_is_looked_in_too(folder: Path) -> None:
    place = folder.parent / "elsewhere" / "far"
    place.mkdir()
    (place / names.PIPELINE).write_text("{}")
    assert names.trouble("./far", folder) is None and names.local_folder("./far", folder) == place
    assert names.trouble("./far", folder, names.NETWORK) is not None


def test_a_folder_with_very_many_files_is_not_read_to_its_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "LOOKED_AT", 8)
    for i in range(20):
        (folder / "empty" / f"{i}.txt").write_text("x")
    assert str(names.trouble("empty", folder)).count(".txt") == names.SHOWN
