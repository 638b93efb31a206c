"""open_clip's own layout as a judge: a stand-in with the package's interface, and the package itself where it is installed (its
torchvision does not load beside a CPU build of torch, so a stand-in of that takes its place)."""

import importlib.machinery
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from interactive3d.runtime.guidance.large import LargeModelProblem, problems
from interactive3d.runtime.guidance.large.open_clip_judge import CONFIG, WEIGHTS, OpenClipJudge

hub = pytest.importorskip("huggingface_hub")
safetensors = pytest.importorskip("safetensors.torch")

SIDE = 16
SAME = 1e-5


class Model(torch.nn.Module):
    """The interface of open_clip's models."""

    def __init__(self, preprocess: dict[str, Any]) -> None:
        super().__init__()
        self.visual = torch.nn.Linear(3, 4)
        self.visual.image_size = (SIDE, SIDE)  # type: ignore[assignment]
        self.visual.preprocess_cfg = preprocess  # type: ignore[assignment]
        self.words = torch.nn.Embedding(100, 4)
        self.logit_scale = torch.nn.Parameter(torch.tensor(2.0))
        self.logit_bias = torch.nn.Parameter(torch.tensor(-0.5))
        self.read = 0

    def encode_image(self, images: torch.Tensor, normalize: bool) -> torch.Tensor:
        assert images.shape[2:] == (SIDE, SIDE)
        return F.normalize(self.visual(images.mean((2, 3))), dim=-1) if normalize else images

    def encode_text(self, tokens: torch.Tensor, normalize: bool) -> torch.Tensor:
        self.read += 1
        return F.normalize(self.words(tokens).mean(1), dim=-1) if normalize else tokens


def package() -> Any:
    """open_clip as far as it is asked for anything."""

    def create_model(name: str, load_weights: bool, pretrained_text: bool) -> Model:
        assert not load_weights and not pretrained_text
        schema, _, place = name.partition(":")
        assert schema == "local-dir"
        return Model(json.loads((Path(place) / CONFIG).read_text())["preprocess_cfg"])

    def load_checkpoint(model: Model, path: str, weights_only: bool) -> None:
        assert weights_only and path.endswith(".safetensors")
        model.load_state_dict(safetensors.load_file(path))

    def tokenizer(texts: list[str]) -> torch.Tensor:
        return torch.tensor([[ord(c) % 100 for c in text[:8].ljust(8)] for text in texts])

    return SimpleNamespace(
        create_model=create_model, load_checkpoint=load_checkpoint, get_tokenizer=lambda name: tokenizer
    )


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    true_import = problems.import_module
    made = package()
    monkeypatch.setattr(problems, "import_module", lambda n: made if n == "open_clip" else true_import(n))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "model"
    place.mkdir()
    preprocess = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.25], "interpolation": "bicubic", "size": [SIDE, SIDE]}
    (place / CONFIG).write_text(json.dumps({"model_cfg": {}, "preprocess_cfg": preprocess}))
    torch.manual_seed(0)
    safetensors.save_file(Model({}).state_dict(), place / WEIGHTS)
    return place


def test_scores_are_the_model_s_own(stand_in: None, folder: Path) -> None:
    judge = OpenClipJudge.load(str(folder))
    assert judge.name == f"open_clip:{folder}"
    images = torch.rand(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    prompts = ["a red fox", "a tree"]
    found = judge.score(images, prompts)
    pixels = (images - 0.5) / torch.tensor([0.5, 0.5, 0.25])[:, None, None]
    with torch.no_grad():
        model = judge.model
        wanted = (
            model.logit_scale.exp()
            * model.encode_image(pixels, True)
            @ model.encode_text(judge.tokenizer(prompts), True).T
        )
    torch.testing.assert_close(found, wanted - 0.5, rtol=SAME, atol=SAME)
    # The same list is not read again, another one is.
    before = judge.model.read
    judge.score(images, prompts)
    assert judge.model.read == before
    judge.score(images, ["a house"])
    assert judge.model.read == before + 1


def test_only_safetensors_are_read(stand_in: None, folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    with pytest.raises(
        LargeModelProblem,
        match=r"judge open_clip: .* has no weights; name a model whose folder or page lists open_clip_model",
    ):
        OpenClipJudge.load(str(folder))
    (folder / "open_clip_pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(LargeModelProblem, match=r"has only a pickle \(open_clip_pytorch_model.bin\)"):
        OpenClipJudge.load(str(folder))
    (folder / WEIGHTS).write_bytes(b"x")
    with pytest.raises(
        LargeModelProblem, match=r"cannot be loaded from .*; name the id or the folder of a model of open_clip"
    ):
        OpenClipJudge.load(str(folder))


def test_another_layout_or_nothing_is_explained(stand_in: None, folder: Path, tmp_path: Path) -> None:
    (folder / CONFIG).unlink()
    with pytest.raises(LargeModelProblem, match=r"holds no open_clip_config.json"):
        OpenClipJudge.load(str(folder))
    with pytest.raises(LargeModelProblem, match=r"judge open_clip: there is no folder"):
        OpenClipJudge.load("./nothing", tmp_path)


def test_a_model_in_the_hub_s_cache(
    stand_in: None, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def fetched(name: str, allow_patterns: list[str]) -> str:
        asked.append((name, allow_patterns))
        return str(folder)

    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda name, file: str(folder / file))
    monkeypatch.setattr(hub, "snapshot_download", fetched)
    assert OpenClipJudge.load("acme/clip").name == "open_clip:acme/clip"
    ((name, patterns),) = asked
    assert name == "acme/clip" and WEIGHTS in patterns
    assert not any(pattern.endswith((".bin", ".pt", "*")) for pattern in patterns)


def test_without_the_package_the_way_to_get_it_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(problems, "import_module", missing)
    with pytest.raises(
        LargeModelProblem, match=r"needs open_clip, which is not installed; pip install 'interactive3d\[open-clip\]'"
    ):
        OpenClipJudge.load(str(folder))


def test_the_verb_takes_it(stand_in: None, folder: Path, tmp_path: Path, make_ball: Callable) -> None:
    from click.testing import CliRunner

    from interactive3d.runtime.cli import main
    from interactive3d.runtime.output.splat_files import write_splats

    write_splats(make_ball(), tmp_path / "ball.ply")
    (tmp_path / "prompts.txt").write_text("a ball\na tree\n")
    (tmp_path / "b.sculpt").write_text(
        'steps 2\nguidance reference "ball.ply"\nsplats 30 in sphere at (0,0,0) radius 0.4\nset guidance.size 16\n'
    )
    arguments = ["eval", "prompts.txt", "--script", "b.sculpt", "--judge", f"open_clip:{folder}", "--out", "out"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.stderr
        assert f"open_clip:{folder}" in (tmp_path / "out" / "results.json").read_text()
        result = CliRunner().invoke(main, [*arguments[:4], "--judge", "openclip:x"])
    assert result.exit_code == 2
    assert "open_clip:ID_OR_FOLDER" in result.stderr


# -- the package itself ----------------------------------------------------------------------------------------------------


class Stub(ModuleType):
    """Modules of torchvision in which every name is a class that does nothing."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (torch.nn.Module,), {"BICUBIC": "bicubic", "BILINEAR": "bilinear"})


TORCHVISION = (
    "",
    ".transforms",
    ".transforms.functional",
    ".ops",
    ".ops.misc",
    ".models",
    ".models.feature_extraction",
)


@pytest.fixture
def real() -> Iterator[Any]:
    if importlib.util.find_spec("open_clip") is None:
        pytest.skip("open_clip is not installed: pip install --no-deps open_clip_torch timm ftfy wcwidth")
    from transformers.utils import is_torchvision_available

    before = set(sys.modules)
    # Asked once, before the stand-in is there.
    if not is_torchvision_available():
        for tail in TORCHVISION:
            name = f"torchvision{tail}"
            sys.modules[name] = Stub(name)
            parent, _, child = name.rpartition(".")
            if parent:
                setattr(sys.modules[parent], child, sys.modules[name])
    import open_clip

    yield open_clip
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("torchvision", "open_clip", "timm"):
            del sys.modules[name]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_the_package_s_own_tiny_model(kind: str, real: Any, tmp_path: Path) -> None:
    """A random model in open_clip's layout, loaded, and its scores against the model's own forward pass."""
    model_cfg: dict[str, Any] = {
        "embed_dim": 8,
        "vision_cfg": {"image_size": SIDE, "layers": 1, "width": 16, "patch_size": 8, "head_width": 8},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    if kind == "siglip":
        model_cfg |= {"custom_text": True, "init_logit_bias": -10.0}
    preprocess = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bicubic", "resize_mode": "squash"}
    (tmp_path / CONFIG).write_text(json.dumps({"model_cfg": model_cfg, "preprocess_cfg": preprocess}))
    torch.manual_seed(0)
    first = real.create_model(f"local-dir:{tmp_path}", load_weights=False, pretrained_text=False)
    safetensors.save_file({n: t.clone() for n, t in first.state_dict().items()}, tmp_path / WEIGHTS)
    judge = OpenClipJudge.load(str(tmp_path))
    assert (judge.size, judge.mean) == ((SIDE, SIDE), (0.5, 0.5, 0.5))
    images = torch.rand(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    prompts = ["a red fox", "a tree that is longer than what the model reads of a text " * 3]
    found = judge.score(images, prompts)
    with torch.no_grad():
        pictures, texts, scale, *bias = first.eval()(
            (images - 0.5) / 0.5, real.get_tokenizer(f"local-dir:{tmp_path}")(prompts)
        )
    wanted = scale * pictures @ texts.T + (bias[0] if bias else 0.0)
    torch.testing.assert_close(found, wanted, rtol=SAME, atol=SAME)
    assert bool(bias) == (kind == "siglip")
