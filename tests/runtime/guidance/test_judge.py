"""The judge: what ships with the package, and its training on a very small scale."""

from pathlib import Path

import pytest
import torch

from interactive3d.runtime.guidance.judge.judge import WEIGHTS, Judge
from interactive3d.runtime.guidance.judge.network import UNKNOWN, JudgeConfig, JudgeNetwork
from interactive3d.runtime.guidance.objects.captions import PROMPTS_50
from interactive3d.runtime.guidance.objects.words import COLOURS, KINDS

LARGEST_BYTES = 8_000_000
"""What the package may carry for the judge."""
CHOSEN = tuple(range(0, 50, 5))
"""Ten of the fifty prompts, to be quick."""


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge.load()


def test_the_shipped_judge_is_small_and_knows_the_words_of_today(judge: Judge) -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir()) < LARGEST_BYTES
    assert judge.kinds == KINDS
    assert judge.colours == tuple(COLOURS)
    assert judge.network.config == JudgeConfig.of_objects()


def test_scores_and_probabilities_have_their_shapes(judge: Judge) -> None:
    images = torch.rand(3, 3, 80, 96, generator=torch.Generator().manual_seed(0))
    assert judge.score(images, ["a red dragon", "a cat"]).shape == (3, 2)
    found = judge.attributes(images)
    assert torch.allclose(found.kind.sum(1), torch.ones(3))
    assert torch.allclose(found.colour.sum(1), torch.ones(3))
    part = judge.part_colour(images, "dragon", "wings")
    assert part.shape == (3, len(COLOURS))
    assert (part >= 0).all()
    assert (part.sum(1) <= 1 + 1e-5).all()  # the rest: it does not show
    assert sorted(judge.rank(images, ["a cat", "a car", "a tree"]).tolist()) == [0, 1, 2]


def test_wrong_arguments_are_refused(judge: Judge, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a car has wheels"):
        judge.part_colour(torch.rand(1, 3, 64, 64), "car", "wings")
    with pytest.raises(ValueError, match=r"images: expected \(B, 3, H, W\)"):
        judge.score(torch.rand(3, 64, 64), ["a car"])
    with pytest.raises(ValueError, match=r"config\.json"):
        Judge.load(tmp_path)


def test_words_are_numbered_and_unknown_ones_have_a_number() -> None:
    network = JudgeNetwork(JudgeConfig.of_objects())
    tokens = network.tokens(["a crimson bunny", "a red rabbit", "a zzz"])
    assert tokens[0].tolist() == tokens[1].tolist()
    assert tokens[2, 1] == UNKNOWN


@pytest.mark.parametrize(("degrade_share", "least"), [(0.0, 0.9), (1.0, 0.8)])
def test_true_renders_of_held_out_prompts_are_recognised(judge: Judge, degrade_share: float, least: float) -> None:
    pytest.importorskip("numba", reason="the pictures are rendered with numba (the train extra)")
    from interactive3d.runtime.guidance.judge.measuring import precision_of_prompts

    together, _ = precision_of_prompts(judge, degrade_share, chosen=CHOSEN)
    assert together >= least


def test_parts_colours_are_told_from_eight_views(judge: Judge) -> None:
    pytest.importorskip("numba", reason="the pictures are rendered with numba (the train extra)")
    from interactive3d.runtime.guidance.judge.measuring import prompt_renders
    from interactive3d.runtime.guidance.judge.pictures import coloured

    generator = torch.Generator().manual_seed(3)
    right = []
    for index, renders in zip(CHOSEN, prompt_renders(chosen=CHOSEN), strict=True):
        wanted = PROMPTS_50[index].description
        images = coloured(renders, list(range(8)), [wanted] * 8, generator, 0.0)
        for part, name in wanted.part_colours:
            told = judge.part_colour(images, wanted.kind, part).sum(0)
            right.append(judge.colours[int(told.argmax())] == name)
    assert len(right) >= 8
    assert sum(right) >= 0.8 * len(right)


def test_a_picture_of_another_size_scores_alike(judge: Judge) -> None:
    picture = torch.ones(1, 3, 64, 64)
    picture[:, :, 20:44, 16:48] = torch.tensor(COLOURS["red"]).reshape(1, 3, 1, 1)
    larger = torch.nn.functional.interpolate(picture, scale_factor=4)
    prompts = [text for _, text in PROMPTS_50]
    near, far = judge.score(picture, prompts), judge.score(larger, prompts)
    assert (near - far).abs().max() < 0.05 * near.std()


def test_training_learns_goes_on_and_writes_what_loads(tmp_path: Path) -> None:
    pytest.importorskip("numba", reason="the pictures are rendered with numba (the train extra)")
    from interactive3d.runtime.guidance.judge.training import Training, train

    told: list[str] = []
    settings = Training(minutes=5, steps=2, batch=8, objects=26)
    train(tmp_path / "weights", settings, tmp_path / "work", told.append)
    state = torch.load(tmp_path / "work" / "state.pt", weights_only=True)
    assert state["step"] == 2
    train(tmp_path / "weights", Training(minutes=5, steps=3, batch=8, objects=26), tmp_path / "work", told.append)
    later = torch.load(tmp_path / "work" / "state.pt", weights_only=True)
    assert later["step"] == 3
    name = "text.embed.weight"
    assert not torch.equal(state["network"][name], later["network"][name])
    again = Judge.load(tmp_path / "weights")
    assert torch.allclose(again.network.text.embed.weight, later["network"][name], atol=2e-3)
