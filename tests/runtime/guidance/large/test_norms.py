"""Networks whose norms and convolutions go through our own kernels: the same scores, and the way back."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from interactive3d.kernels import _library, group_norm
from interactive3d.kernels._library import KernelStatus
from interactive3d.runtime.guidance.large import memory, norms

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

SAME = 2e-5
"""Relative: sums in another order."""
CHANGED = {
    "sd15": {"GroupNorm", "Conv2d", "ResnetBlock2D", "GEGLU", "Transformer2DModel"},
    "sdxl": {"GroupNorm", "Conv2d", "ResnetBlock2D", "GEGLU", "Transformer2DModel"},
    "if": {"GroupNorm", "Conv2d", "ResnetBlock2D", "GEGLU", "Transformer2DModel"},
    "sd3": {"GroupNorm", "Conv2d", "ResnetBlock2D"},
    "flux-dev": {"GroupNorm", "Conv2d", "ResnetBlock2D"},
}


@pytest.fixture
def in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels take float32 as they take half precision on a card, and are said to be there; their reference computes."""
    monkeypatch.setattr(norms, "HALVES", (torch.float32,))
    monkeypatch.setattr(
        _library, "ensure", lambda kernel, device: KernelStatus(kernel.name, device, "native", "for a test")
    )


def changed(pipeline: Any) -> set[str]:
    modules = (m for _, model in norms._models(pipeline) for m in model.modules())
    return {type(m).__name__ for m in modules if any(name in m.__dict__ for name in norms.WAYS.values())}


def channels_last(model: nn.Module) -> bool:
    wide = [p for p in model.parameters() if p.dim() == 4 and min(p.shape) > 1]
    return all(p.is_contiguous(memory_format=torch.channels_last) for p in wide)


@pytest.mark.usefixtures("in_float32")
@pytest.mark.parametrize("name", CHANGED)
def test_scores_stay_the_same(name: str, make_guidance: Callable, make_request: Callable) -> None:
    guidance = make_guidance(name)
    expected = guidance.score(make_request(guidance))
    count = norms.use_own(guidance.pipeline)
    assert changed(guidance.pipeline) == CHANGED[name] and count > len(CHANGED[name])
    found = guidance.score(make_request(guidance))
    assert float((found.gradient - expected.gradient).norm() / expected.gradient.norm()) < SAME
    assert found.loss == pytest.approx(expected.loss, rel=SAME)
    assert not torch.equal(found.gradient, expected.gradient), "nothing was computed in another way"
    assert all(channels_last(model) for _, model in norms._models(guidance.pipeline))
    norms.use_torch(guidance.pipeline)
    assert not changed(guidance.pipeline)
    assert not any(channels_last(model) for _, model in norms._models(guidance.pipeline))
    assert torch.equal(guidance.score(make_request(guidance)).gradient, expected.gradient)


@pytest.mark.usefixtures("in_float32")
def test_pictures_stay_channels_last(make_guidance: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the modules of a network none is turned."""
    guidance = make_guidance("sd15")
    norms.use_own(guidance.pipeline)
    seen: list[bool] = []
    plain = norms.normalized
    monkeypatch.setattr(
        norms,
        "normalized",
        lambda op, x, *more: (seen.append(x.movedim(1, -1).is_contiguous()), plain(op, x, *more))[1],
    )
    for latents in (torch.rand(1, 4, 8, 8), torch.rand(1, 4, 8, 8).to(memory_format=torch.channels_last)):
        guidance.pipeline.unet(latents, 3, encoder_hidden_states=torch.rand(1, 7, 8))
    guidance.pipeline.vae.encode(torch.rand(1, 3, 16, 16))
    assert len(seen) > 20 and all(seen)


@pytest.mark.usefixtures("in_float32")
def test_a_model_with_a_norm_that_does_not_fit_stays_torch_s(make_guidance: Callable) -> None:
    """It would answer channels first, and every convolution after it turn its picture."""
    pipeline = make_guidance("sd15").pipeline
    pipeline.unet.conv_norm_out = nn.GroupNorm(2, 8, affine=False)
    norms.use_own(pipeline)
    assert not channels_last(pipeline.unet) and channels_last(pipeline.vae)
    assert "Transformer2DModel" not in changed(pipeline) and "ResnetBlock2D" in changed(pipeline)


@pytest.mark.usefixtures("in_float32")
def test_what_is_not_plain_is_left_alone(make_guidance: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = make_guidance("sd15").pipeline
    block = next(m for m in pipeline.unet.modules() if type(m).__name__ == "ResnetBlock2D")
    assert norms._way_of(block) is norms._residual
    for name, other in (
        ("time_embedding_norm", "scale_shift"),
        ("nonlinearity", nn.GELU()),
        ("downsample", nn.Identity()),
        ("norm2", nn.GroupNorm(2, 6)),
        ("conv1", nn.Conv2d(8, 8, 3, padding=1, bias=False)),
        ("dropout", nn.Dropout(0.1)),
    ):
        kept = getattr(block, name)
        setattr(block, name, other)
        block.train(name == "dropout")
        assert norms._way_of(block) is None, name
        setattr(block, name, kept)
    monkeypatch.setattr(type(block), "forward", lambda self, hidden_states, time: hidden_states)
    assert norms._way_of(block) is None, "another version of diffusers"
    assert norms._way_of(nn.Conv2d(4, 6, 1)) is None
    assert norms._way_of(nn.Conv2d(4, 8, 1, padding_mode="reflect")) is None
    assert norms._way_of(nn.GroupNorm(2, 8, affine=False)) is None
    assert norms._way_of(nn.GroupNorm(2, 8).half()) is None


def test_without_the_kernel_torch_s_own_serves(
    make_guidance: Callable, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(norms, "HALVES", (torch.float32,))
    monkeypatch.setattr(_library, "_loaded", {})
    pipeline = make_guidance("sd15").pipeline
    if not torch.cuda.is_available():
        assert norms.use_own(pipeline) == 0 and not changed(pipeline)
        said = capsys.readouterr().err
        assert "'group_norm' is not available on cuda; torch's own serves" in said and "no CUDA device" in said
    assert _library.ensure(group_norm.KERNEL, "cpu").implementation == "reference"
    assert "cpu" not in capsys.readouterr().err, "nobody misses it there"


@pytest.mark.parametrize(("rung", "used"), [("full", True), ("sliced", False), ("lean", False)])
def test_only_the_first_rung_uses_them(
    rung: str, used: bool, make_guidance: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lower ones slice, move and hook modules."""
    calls: list[str] = []
    monkeypatch.setattr(norms, "use_own", lambda pipeline: calls.append("own"))
    monkeypatch.setattr(norms, "use_torch", lambda pipeline: calls.append("torch"))
    monkeypatch.setattr(nn.Module, "to", lambda self, *a, **k: self)
    pipeline = make_guidance("sd15").pipeline
    calls.clear()
    memory.climb_to(pipeline, rung, torch.device("cuda"), ("text_encoder",), 8)
    assert calls == (["torch", "own"] if used else ["torch"])


@pytest.mark.usefixtures("in_float32")
def test_torch_s_compiler_follows_them(make_guidance: Callable) -> None:
    """In one graph, as large.compile asks for."""
    torch.compiler.reset()
    unet = make_guidance("sd15").pipeline.unet
    inputs: dict[str, Any] = {"timestep": 3, "encoder_hidden_states": torch.rand(1, 7, 8)}
    latents = torch.rand(1, 4, 8, 8)
    with torch.no_grad():
        expected = unet(latents, **inputs).sample
        for module in unet.modules():
            way = norms._way_of(module)
            if way is not None:
                setattr(module, norms.WAYS[way], way.__get__(module))
        traced = torch.compile(unet, backend="eager", fullgraph=True)
        found = traced(latents, **inputs).sample
    assert float((found - expected).norm() / expected.norm()) < SAME
    torch.compiler.reset()
