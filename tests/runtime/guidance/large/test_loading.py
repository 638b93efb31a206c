"""Loading from folders and from the hub's cache, and what is said when that cannot be done."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from interactive3d.dsl.program import GuidanceChoice
from interactive3d.runtime.engine.start import make_guidance as start_guidance
from interactive3d.runtime.guidance.large import DEFAULT_MODEL, LargeModelProblem, problems
from interactive3d.runtime.guidance.large.loading import load_pipeline, pick_dtype, resolve

pytest.importorskip("diffusers")
hub = pytest.importorskip("huggingface_hub")

CPU = torch.device("cpu")


def load(asked: str, folder: Path = Path()) -> Any:
    return load_pipeline(asked, folder, CPU, "auto")[0]


@pytest.fixture
def copied(models: Callable[[str], Path], tmp_path: Path) -> Path:
    """A model's folder to be damaged."""
    return Path(shutil.copytree(models("sd15"), tmp_path / "fox"))


def test_a_folder_beside_the_script_is_found_first(copied: Path, tmp_path: Path) -> None:
    assert resolve("fox", tmp_path) == copied
    assert load("fox", tmp_path).unet.config.sample_size == 8


def test_a_model_is_read_from_the_hub_cache_without_a_network(
    models: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    place = tmp_path / "models--acme--tiny-fox"
    shutil.copytree(models("sd15"), place / "snapshots" / commit)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub.file_download.constants, "HF_HUB_CACHE", str(tmp_path))
    from diffusers.pipelines import pipeline_utils

    if hasattr(pipeline_utils, "HF_HUB_CACHE"):
        monkeypatch.setattr(pipeline_utils, "HF_HUB_CACHE", str(tmp_path))
    assert type(load("acme/tiny-fox")).__name__ == "StableDiffusionPipeline"


def test_offline_with_an_empty_cache_says_where_it_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(LargeModelProblem) as caught:
        load("acme/tiny-fox")
    text = str(caught.value)
    assert f"the model 'acme/tiny-fox' is neither a folder here nor in the cache {tmp_path}" in text
    assert "cannot be reached" in text
    assert "`hf download acme/tiny-fox`" in text


def answer(status: int) -> Any:
    """A response as the hub's client gets it."""
    request = SimpleNamespace(url="https://hub.example/acme", method="GET", headers={})
    return SimpleNamespace(status_code=status, headers={}, request=request, url=request.url, text="")


@pytest.mark.parametrize(
    ("error", "parts"),
    [
        ("GatedRepoError", ("'acme/fox' is gated", "accept its terms at", "`hf auth login`")),
        ("RepositoryNotFoundError", ("there is no model 'acme/fox'", "check the spelling", "name a local folder")),
        ("RemoteEntryNotFoundError", ("has no file model_index.json", "not in the layout of diffusers")),
        ("HfHubHTTPError", ("failed with status 503", "try again later")),
    ],
)
def test_the_hub_s_refusals_in_words(error: str, parts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    kind = getattr(hub.errors, error)
    raised = kind("model_index.json", response=answer(503))

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise raised

    monkeypatch.setattr(hub, "get_hf_file_metadata", refuse)
    with pytest.raises(LargeModelProblem) as caught:
        load("acme/fox")
    for part in parts:
        assert part in str(caught.value)


def test_the_default_is_a_living_mirror_and_is_named_when_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str, **more: Any) -> None:
        raise hub.errors.RepositoryNotFoundError(url, response=answer(404))

    monkeypatch.setattr(hub, "get_hf_file_metadata", refuse)
    with pytest.raises(LargeModelProblem, match=DEFAULT_MODEL):
        start_guidance(GuidanceChoice(name="diffusers"), Path(), "cpu")


def test_a_path_to_nothing_names_both_places(tmp_path: Path) -> None:
    with pytest.raises(
        LargeModelProblem, match=r"there is no folder .*missing nor .*missing, and './missing' is not the id"
    ):
        load("./missing", tmp_path)


def test_a_folder_without_a_model_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(LargeModelProblem, match=r"holds no model_index.json \(it holds notes.txt\)"):
        load(str(tmp_path))


def test_a_single_file_is_refused_with_the_way_to_convert_it(tmp_path: Path) -> None:
    (tmp_path / "v1-5.safetensors").write_bytes(b"x")
    with pytest.raises(LargeModelProblem, match=r"is a single file.*from_single_file"):
        load("v1-5.safetensors", tmp_path)


def test_pickles_are_not_read(copied: Path) -> None:
    weights = copied / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(LargeModelProblem, match=r"unet has its weights only as a pickle .*save them as safetensors"):
        load(str(copied))


def test_missing_weights_and_folders_are_named(copied: Path) -> None:
    (copied / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(LargeModelProblem, match=r"vae holds no weights"):
        load(str(copied))
    shutil.rmtree(copied / "vae")
    with pytest.raises(LargeModelProblem, match=r"lacks the folder vae"):
        load(str(copied))


def test_damaged_files_are_named(copied: Path) -> None:
    (copied / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}")
    with pytest.raises(LargeModelProblem, match=r"cannot be loaded from .*Download the model again"):
        load(str(copied))
    (copied / "model_index.json").write_text("{")
    with pytest.raises(LargeModelProblem, match=r"model_index.json is damaged"):
        load(str(copied))


def test_a_pipeline_that_cannot_guide_is_refused_before_it_is_loaded(copied: Path) -> None:
    index = json.loads((copied / "model_index.json").read_text())
    (copied / "model_index.json").write_text(json.dumps(index | {"_class_name": "AudioLDMPipeline"}))
    with pytest.raises(LargeModelProblem, match=r"is a AudioLDMPipeline; what can guide is StableDiffusionPipeline, "):
        load(str(copied))


def test_files_of_half_size_are_taken_where_there_are_some(copied: Path) -> None:
    for file in (*copied.glob("*/diffusion_pytorch_model.safetensors"), *copied.glob("*/model.safetensors")):
        file.rename(file.with_name(file.stem + ".fp16.safetensors"))
    pipeline, _ = load_pipeline(str(copied), Path(), CPU, "float16")
    assert pipeline.unet.dtype == torch.float16


def test_files_of_half_size_are_taken_where_there_are_no_others(copied: Path) -> None:
    """As `hf download --include "*fp16*"` leaves them; on the CPU they are read in single precision."""
    for file in copied.glob("unet/diffusion_pytorch_model.safetensors"):
        file.rename(file.with_name(file.stem + ".fp16.safetensors"))
    assert load(str(copied)).unet.dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "said", "upcast"),
    [("sd15", None, False), ("sd15", True, False), ("sdxl", None, True), ("sdxl", False, False)],
)
def test_only_a_vae_that_overflows_stays_in_single_precision(
    name: str, said: bool | None, upcast: bool, models: Callable[[str], Path], tmp_path: Path
) -> None:
    """As the pipelines themselves do: `force_upcast` is the library's default, so it may stand anywhere, but only XL's asks for it."""
    folder = Path(shutil.copytree(models(name), tmp_path / "fox"))
    path = folder / "vae" / "config.json"
    config = json.loads(path.read_text())
    config.pop("force_upcast")
    path.write_text(json.dumps(config | ({} if said is None else {"force_upcast": said})))
    pipeline, _ = load_pipeline(str(folder), Path(), CPU, "float16")
    assert pipeline.unet.dtype == torch.float16
    assert (pipeline.vae.dtype == torch.float32) == upcast
    assert load_pipeline(str(folder), Path(), CPU, "bfloat16")[0].vae.dtype == torch.bfloat16


def test_without_a_network_one_question_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's own client would ask again and again for half a minute, and say so each time."""
    asked: list[str] = []

    def unreachable(url: str, **more: Any) -> None:
        asked.append(url)
        raise type("ConnectError", (Exception,), {})("Name or service not known")

    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "get_hf_file_metadata", unreachable)
    with pytest.raises(
        LargeModelProblem, match=r"'acme/fox' is neither a folder here nor in the cache .* cannot be reached"
    ):
        load("acme/fox")
    assert len(asked) == 1 and asked[0].endswith("acme/fox/resolve/main/model_index.json")


def test_formats_by_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    cuda = torch.device("cuda")
    latent, flow = {"_class_name": "StableDiffusionPipeline"}, {"_class_name": "FluxPipeline"}
    assert pick_dtype("auto", latent, CPU) == torch.float32
    assert pick_dtype("auto", latent, cuda) == torch.float16
    assert pick_dtype("auto", flow, cuda) == torch.bfloat16
    assert pick_dtype("float32", flow, cuda) == torch.float32


@pytest.mark.parametrize("package", ["diffusers", "transformers"])
def test_without_the_libraries_the_way_to_install_them_is_said(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    true_import = problems.import_module

    def missing(name: str) -> Any:
        if name == package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return true_import(name)

    monkeypatch.setattr(problems, "import_module", missing)
    with pytest.raises(LargeModelProblem, match=rf"needs {package}, which is not installed; pip install"):
        load("acme/fox")


def test_libraries_that_do_not_fit_together_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> Any:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(problems, "import_module", broken)
    with pytest.raises(LargeModelProblem, match=r"installed but does not load: operator torchvision::nms"):
        load("acme/fox")
