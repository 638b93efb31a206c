"""Segment Anything: transformers' class with tiny random weights, and a stand-in with the interface of segment-anything's predictor
(the package itself needs torchvision, which the suite does without)."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from interactive3d.runtime.engine import segmenters
from interactive3d.runtime.engine.segmenters import VARIABLE, segmenter_presence, settle_segmenter
from interactive3d.runtime.guidance.large import LargeModelProblem, problems
from interactive3d.runtime.guidance.large.segment_anything import load_segmenter
from interactive3d.runtime.scene.segmenter import EmbeddedSegmenter, View, segmenter, use_segmenter

pytest.importorskip("transformers")

VIEW = View(np.random.default_rng(0).random((32, 32, 3)), np.ones((32, 32)), np.full((32, 32), 2.0))


@pytest.fixture(scope="module")
def tiny_sam(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import SamConfig, SamModel

    vision = {
        "hidden_size": 8,
        "output_channels": 8,
        "num_pos_feats": 4,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 16,
        "mlp_dim": 16,
        "window_size": 2,
        "global_attn_indexes": [0],
    }
    prompts = {"hidden_size": 8, "image_size": 64, "patch_size": 16, "mask_input_channels": 4}
    decoder = {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "mlp_dim": 16,
        "iou_head_hidden_dim": 8,
        "attention_downsample_rate": 1,
    }
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("sam") / "tiny"
    SamModel(
        SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)
    ).save_pretrained(place)
    return place


@pytest.fixture(autouse=True)
def embedded_again() -> Iterator[None]:
    yield
    use_segmenter(None)


def test_the_hub_s_model_gives_its_best_mask_in_the_picture_s_size(tiny_sam: Path) -> None:
    found = load_segmenter(f"sam:{tiny_sam}", Path(), "cpu")
    mask = found.mask(VIEW, [(5.0, 6.0), (20.0, 10.0)])
    assert (mask.shape, mask.dtype) == ((32, 32), bool)
    # By hand: clicks in the model's own pixels, the highest of its three scores.
    model: Any = found.model  # type: ignore[attr-defined]
    picture = torch.from_numpy(VIEW.color).float().permute(2, 0, 1)[None]
    large = torch.nn.functional.interpolate(picture, (64, 64), mode="bilinear", antialias=True)
    mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        out = model(
            pixel_values=(large - mean) / deviation, input_points=torch.tensor([[[[10.0, 12.0], [40.0, 20.0]]]])
        )
    best = out.pred_masks[0, 0, int(out.iou_scores[0, 0].argmax())]
    wanted = torch.nn.functional.interpolate(best[None, None], (32, 32), mode="bilinear")[0, 0] > 0
    assert (torch.from_numpy(mask) == wanted).float().mean() > 0.99


def test_what_is_no_sam_is_explained(tmp_path: Path) -> None:
    with pytest.raises(LargeModelProblem, match=r"segmenter sam: there is no folder"):
        load_segmenter("sam:./nothing", tmp_path, "cpu")
    with pytest.raises(LargeModelProblem, match=r"expected embedded, sam:CHECKPOINT.pth"):
        load_segmenter("magic", tmp_path, "cpu")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "sam"}')
    with pytest.raises(LargeModelProblem, match=r"cannot be loaded from .*facebook/sam-vit-base"):
        load_segmenter("sam:model", tmp_path, "cpu")


class Predictor:
    """The interface of segment_anything.SamPredictor: three masks, of which the second has the best score."""

    def __init__(self, network: torch.nn.Module) -> None:
        self.network = network

    def set_image(self, image: np.ndarray) -> None:
        assert image.dtype == np.uint8
        self.image = image

    def predict(
        self, point_coords: np.ndarray, point_labels: np.ndarray, multimask_output: bool
    ) -> tuple[np.ndarray, np.ndarray, None]:
        assert multimask_output
        assert point_labels.tolist() == [1] * len(point_coords)
        masks = np.zeros((3, *self.image.shape[:2]), dtype=bool)
        x, y = point_coords[0].astype(int)
        masks[1, y - 2 : y + 3, x - 2 : x + 3] = True
        return masks, np.array([0.1, 0.9, 0.5]), None


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace(sam_model_registry={"vit_b": lambda: torch.nn.Linear(2, 2)}, SamPredictor=Predictor)
    true_import = problems.import_module
    monkeypatch.setattr(problems, "import_module", lambda n: module if n == "segment_anything" else true_import(n))


def test_the_package_s_predictor_is_asked_as_it_wants_to_be(package: None, tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "sam_vit_b_01ec64.pth")
    found = load_segmenter("sam:sam_vit_b_01ec64.pth", tmp_path, "cpu")
    mask = found.mask(VIEW, [(10.0, 20.0)])
    assert mask.sum() == 25
    assert mask[20, 10]


def test_checkpoints_that_cannot_be_read_are_explained(package: None, tmp_path: Path) -> None:
    with pytest.raises(LargeModelProblem, match=r"there is no checkpoint .*sam_vit_b.pth"):
        load_segmenter("sam:sam_vit_b.pth", tmp_path, "cpu")
    (tmp_path / "mine.pth").write_bytes(b"")
    with pytest.raises(LargeModelProblem, match=r"does not say which model it is of; keep one of vit_h"):
        load_segmenter("sam:mine.pth", tmp_path, "cpu")
    # A pickle that would run code is not run: only tensors are read.
    torch.save({"weight": Predictor}, tmp_path / "sam_vit_b.pth")
    with pytest.raises(LargeModelProblem, match=r"is no whole checkpoint of vit_b"):
        load_segmenter("sam:sam_vit_b.pth", tmp_path, "cpu")


def test_without_the_package_the_way_to_get_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(problems, "import_module", missing)
    with pytest.raises(
        LargeModelProblem, match=r"needs segment_anything, which is not installed; pip install segment-anything"
    ):
        load_segmenter("sam:sam_vit_b.pth", tmp_path, "cpu")


def test_the_environment_chooses(tiny_sam: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle_segmenter(Path(), "cpu")
    assert isinstance(segmenter(), EmbeddedSegmenter)
    assert "no weights" in segmenter_presence().text
    monkeypatch.setenv(VARIABLE, f"sam:{tiny_sam}")
    settle_segmenter(Path(), "cpu")
    assert segmenter().name == f"Segment Anything, {tiny_sam}"
    assert segmenter_presence().text == f"sam:{tiny_sam} ({VARIABLE}): weights in {tiny_sam}"
    monkeypatch.setenv(VARIABLE, "embedded")
    settle_segmenter(Path(), "cpu")
    assert isinstance(segmenter(), EmbeddedSegmenter)


def test_doctor_says_what_stands_in_the_way_of_a_segmenter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    find_spec, sam = importlib.util.find_spec, ("segment_anything", "torchvision")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in sam else find_spec(name))
    said = {
        "magic": f"magic ({VARIABLE}) is not known: expected embedded, sam:CHECKPOINT.pth",
        "sam:a.pth": f"sam:a.pth ({VARIABLE}): segment_anything and torchvision not installed; pip install segment-anything",
        "sam:./a": f"sam:./a ({VARIABLE}): there is no folder {tmp_path / 'a'}, and",
        "sam:facebook/sam-vit-base": f"sam:facebook/sam-vit-base ({VARIABLE}): not in the cache {tmp_path / 'cache'}; fetched",
    }
    for choice, line in said.items():
        monkeypatch.setenv(VARIABLE, choice)
        assert segmenter_presence().text.startswith(line)
        assert segmenter_presence().enough == choice.startswith("sam:facebook")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: find_spec("json"))
    monkeypatch.setenv(VARIABLE, "sam:/nowhere/a.pth")
    assert f"({VARIABLE}): there is no checkpoint /nowhere/a.pth; a script's own" in segmenter_presence().text
    monkeypatch.setenv(VARIABLE, "sam:vit_b.pth")
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "vit_b.pth").write_bytes(b"x")
    assert not segmenter_presence().enough and segmenter_presence(tmp_path / "beside").enough
    monkeypatch.setenv(segmenters.TEXT_VARIABLE, "./seg")
    assert ": there is no folder " in segmenters.text_segmenter_presence().text
