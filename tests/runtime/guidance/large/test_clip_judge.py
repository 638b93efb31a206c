"""CLIP as a judge, on a tiny CLIP of the real class."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from interactive3d.runtime.guidance.large import LargeModelProblem
from interactive3d.runtime.guidance.large.clip_judge import DEVIATION, MEAN, ClipJudge

pytest.importorskip("transformers")

SIDE = 16


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import runpy

    from transformers import CLIPConfig, CLIPModel

    made: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("conftest.py")))
    torch.manual_seed(0)
    text = made["clip_text"]().config.to_dict()
    vision = {
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": 8,
    }
    place = tmp_path_factory.mktemp("clip") / "tiny"
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(place)
    made["clip_tokenizer"]().save_pretrained(place)
    (place / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.25]}')
    return place


def test_scores_are_the_model_s_own(clip: Path) -> None:
    judge = ClipJudge.load(str(clip))
    images = torch.rand(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    prompts = ["a red fox", "a tree", "a somewhat longer text"]
    found = judge.score(images, prompts)
    pixels = (images - 0.5) / torch.tensor([0.5, 0.5, 0.25])[:, None, None]
    one_by_one = []
    for prompt in prompts:
        tokens = judge.tokenizer([prompt], return_tensors="pt", truncation=True)
        with torch.no_grad():
            text = judge.model(**tokens, pixel_values=pixels)
        picture, word = text.image_embeds, text.text_embeds
        one_by_one.append(judge.model.logit_scale.exp() * (picture @ word.T)[:, 0])
    torch.testing.assert_close(found, torch.stack(one_by_one, 1), rtol=1e-4, atol=1e-4)
    # All at once as the class itself has it; the texts are read once.
    tokens = judge.tokenizer(prompts, padding=True, return_tensors="pt", truncation=True)
    with torch.no_grad():
        whole = judge.model(**tokens, pixel_values=pixels).logits_per_image
    torch.testing.assert_close(found, whole, rtol=1e-5, atol=1e-5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judge.model.text_model, "forward", None)
        assert torch.equal(judge.score(images, prompts), found)
    # Larger pictures are averaged down, not cut.
    large = judge.score(images.repeat_interleave(4, 2).repeat_interleave(4, 3), prompts)
    assert float((large - found).abs().max()) < 0.05 * float(found.abs().max())


def test_what_is_no_clip_is_refused(clip: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(clip, tmp_path / "other"))
    (other / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(LargeModelProblem, match="is a bert model; name a CLIP of transformers"):
        ClipJudge.load(str(other))
    with pytest.raises(LargeModelProblem, match=r"judge clip: there is no folder"):
        ClipJudge.load("./nothing")
    (other / "config.json").unlink()
    with pytest.raises(LargeModelProblem, match=r"holds no config.json"):
        ClipJudge.load(str(other))


def test_pickled_weights_are_not_read(clip: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(clip, tmp_path / "other"))
    (other / "model.safetensors").rename(other / "pytorch_model.bin")
    with pytest.raises(LargeModelProblem, match=r"cannot be loaded .* with safetensors"):
        ClipJudge.load(str(other))


def test_a_model_that_is_not_there_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(LargeModelProblem) as caught:
        ClipJudge.load("acme/clip")
    assert "'acme/clip'" in str(caught.value)


def test_without_its_own_numbers_clip_s_are_used(clip: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(clip, tmp_path / "other"))
    (other / "preprocessor_config.json").unlink()
    judge = ClipJudge.load(str(other))
    assert (judge.mean, judge.deviation) == (MEAN, DEVIATION)


def test_open_clip_s_own_layout_is_sent_to_its_own_judge(tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_text("{}")
    with pytest.raises(LargeModelProblem, match=r"is in open_clip's own layout; name it as open_clip:"):
        ClipJudge.load(str(tmp_path))


def test_what_is_not_read_of_a_prompt_is_known(clip: Path) -> None:
    judge = ClipJudge.load(str(clip))
    assert judge.unread("a fox") is None
    missed = judge.unread("a fox on a stone in the rain")
    assert missed is not None
    assert (missed.tokens, missed.limit) == (23, 16)


def test_the_verb_takes_a_clip(clip: Path, tmp_path: Path, make_ball: Callable) -> None:
    from click.testing import CliRunner

    from interactive3d.runtime.cli import main
    from interactive3d.runtime.output.splat_files import write_splats

    write_splats(make_ball(), tmp_path / "ball.ply")
    (tmp_path / "prompts.txt").write_text("a ball\na tree that stands at the lake\n")
    (tmp_path / "b.sculpt").write_text(
        'steps 2\nguidance reference "ball.ply"\nsplats 30 in sphere at (0,0,0) radius 0.4\nset guidance.size 16\n'
    )
    arguments = ["eval", "prompts.txt", "--script", "b.sculpt", "--judge", f"clip:{clip}", "--out", "out"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.stderr
    assert (
        f"judge clip:{clip}: the prompt 'a tree that stands at the lake' is too long for the model: it has"
        in result.stderr
    )
    assert f"clip:{clip}" in (tmp_path / "out" / "results.json").read_text()
