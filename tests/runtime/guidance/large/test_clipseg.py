"""CLIPSeg on a tiny model of the real class."""

import runpy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from interactive3d.runtime.engine.segmenters import TEXT_VARIABLE, settle_segmenter, text_segmenter_presence
from interactive3d.runtime.guidance.large import LargeModelProblem
from interactive3d.runtime.guidance.large.clip_judge import DEVIATION, MEAN
from interactive3d.runtime.guidance.large.clipseg import ClipSeg
from interactive3d.runtime.scene.segmenter import View, text_segmenter, use_text_segmenter

pytest.importorskip("transformers")

VIEW = View(np.random.default_rng(0).random((32, 32, 3)), np.ones((32, 32)), np.full((32, 32), 2.0))


@pytest.fixture(scope="module")
def clipseg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import CLIPSegConfig, CLIPSegForImageSegmentation

    made = runpy.run_path(str(Path(__file__).with_name("conftest.py")))
    text = {k: v for k, v in made["clip_text"]().config.to_dict().items() if k != "model_type"}
    vision = {
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 16,
        "patch_size": 4,
    }
    torch.manual_seed(0)
    config = CLIPSegConfig(
        text_config=text,
        vision_config=vision,
        projection_dim=8,
        reduce_dim=8,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=8,
        extract_layers=[0, 1],
    )
    place = tmp_path_factory.mktemp("clipseg") / "tiny"
    CLIPSegForImageSegmentation(config).save_pretrained(place)
    made["clip_tokenizer"]().save_pretrained(place)
    return place


@pytest.fixture(autouse=True)
def none_again() -> Iterator[None]:
    yield
    use_text_segmenter(None)


def test_the_mask_is_the_model_s_own(clipseg: Path) -> None:
    found = ClipSeg(str(clipseg), Path(), "cpu")
    mask = found.mask_of(VIEW, "wings")
    assert (mask.shape, mask.dtype) == ((32, 32), bool)
    large = torch.nn.functional.interpolate(
        torch.from_numpy(VIEW.color).float().permute(2, 0, 1)[None], (16, 16), mode="bicubic", antialias=True
    ).clamp(0, 1)
    mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, DEVIATION))
    with torch.no_grad():
        logits = found.model(
            **found.tokenizer(["wings"], return_tensors="pt"), pixel_values=(large - mean) / deviation
        ).logits
    wanted = torch.nn.functional.interpolate(logits.reshape(1, 1, 16, 16), (32, 32), mode="bilinear")[0, 0] > 0
    assert np.array_equal(mask, wanted.numpy())


def test_the_environment_chooses(clipseg: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TEXT_VARIABLE, raising=False)
    settle_segmenter(Path(), "cpu")
    assert text_segmenter() is None
    assert text_segmenter_presence().text.startswith("none: ")
    monkeypatch.setenv(TEXT_VARIABLE, str(clipseg))
    settle_segmenter(Path(), "cpu")
    found = text_segmenter()
    assert found is not None
    assert found.name == f"CLIPSeg, {clipseg}"


def test_what_is_not_there_is_explained(tmp_path: Path) -> None:
    with pytest.raises(LargeModelProblem, match=r"segment by text: there is no folder"):
        ClipSeg("./nothing", tmp_path, "cpu")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_text('{"model_type": "clipseg"}')
    with pytest.raises(LargeModelProblem, match=r"cannot be loaded from .*CIDAS/clipseg-rd64-refined"):
        ClipSeg("empty", tmp_path, "cpu")
