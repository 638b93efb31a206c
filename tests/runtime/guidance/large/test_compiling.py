"""Compiled models: what `large.compile` does and undoes, what happens when compiling goes wrong, and that the scores stay the same.

The quick tests let torch trace the models and run the graphs as they are; the slow ones compile them with torch's compiler for the CPU.
"""

import dataclasses
import gc
import logging
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from interactive3d.runtime.guidance.large import compiling, memory
from interactive3d.runtime.guidance.large.compiling import LEAST_STEPS, against, missing_tool, regions
from interactive3d.runtime.guidance.protocol import ScoreRequest
from interactive3d.runtime.scene.camera import Camera

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

CUDA, CPU = torch.device("cuda"), torch.device("cpu")
SAME = 1e-4
"""Relative: the compiler sums in another order."""
UNET = "unet, vae.encoder"


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """What one test compiled is none of another's business."""
    yield
    torch.compiler.reset()


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """torch traces the models; the graphs run as they are. They are listed."""
    graphs: list[Any] = []

    def keep(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(compiling, "inductor", keep)
    return graphs


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Nothing is traced: only which modules are asked to be compiled, by the names of their classes."""
    names: list[str] = []

    def compile_(module: nn.Module, *, backend: Any, fullgraph: bool) -> None:
        assert fullgraph
        names.append(type(module).__name__)
        module._compiled_call_impl = lambda *a, **k: (backend(None, None), module._call_impl(*a, **k))[1]

    monkeypatch.setattr(nn.Module, "compile", compile_)
    monkeypatch.setattr(compiling, "inductor", lambda graph, inputs: None)
    return names


def of_batch(request: ScoreRequest, count: int) -> ScoreRequest:
    """The same request with so many pictures, the first of as many as are ever asked for."""
    images = torch.rand(16, 24, 24, 3, generator=torch.Generator().manual_seed(5))[:count]
    cameras = [Camera.orbit(37 * i, 10) for i in range(count)]
    return dataclasses.replace(request, images=images, cameras=cameras, background=torch.ones(count, 3))


def far(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).abs().max() / wanted.abs().max())


# -- whether -----------------------------------------------------------------------------------------------------------


def test_when_the_models_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "find_spec", lambda name: object())
    long = LEAST_STEPS
    assert against("auto", CUDA, "full", long) is None
    assert "4000 steps" in (against("auto", CUDA, "full", long - 1) or "")
    assert "4000 steps" in (against("auto", CUDA, "full", None) or "")
    assert "sliced" in (against("auto", CUDA, "sliced", long) or "")
    assert "CUDA only" in (against("auto", CPU, "full", long) or "")
    assert "off" in (against("off", CUDA, "full", long) or "")
    assert "left to CUDA graphs" in (against("auto", CUDA, "full", long, True) or "")
    assert against("on", CUDA, "full", long, True) is None
    assert against("on", CUDA, "full", 1) is None and against("on", CPU, "full", None) is None
    assert "lean" in (against("on", CPU, "lean", long) or "")
    monkeypatch.setattr(compiling, "find_spec", lambda name: None)
    assert against("auto", CUDA, "full", long) == against("on", CUDA, "full", long) == "Triton is not installed"
    assert against("on", CPU, "full", 1) is None


def test_what_is_missing_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.delenv("CXX", raising=False)
    assert missing_tool(CPU) is None
    with monkeypatch.context() as patched:
        patched.setenv("CC", "no-such-compiler")
        assert missing_tool(CPU) == "there is no C compiler"
    with monkeypatch.context() as patched:
        patched.setenv("PATH", str(tmp_path))
        assert compiling.describe_compiling(CPU) == "not possible: there is no C compiler"
    with monkeypatch.context() as patched:
        patched.setattr("sysconfig.get_path", lambda name: str(tmp_path))
        assert "Python.h" in (missing_tool(CPU) or "")
        patched.setattr(compiling, "find_spec", lambda name: object())
        assert "Python.h" in (against("auto", CUDA, "full", LEAST_STEPS) or "")
    assert "auto compiles on CUDA only" in compiling.describe_compiling(CPU)
    monkeypatch.setattr(compiling, "find_spec", lambda name: object())
    monkeypatch.setattr(compiling, "version", lambda name: "3.9")
    assert (
        compiling.describe_compiling(CUDA)
        == "by Triton 3.9, for runs of 4000 steps and more that are not recorded as CUDA graphs (large.compile)"
    )


def test_doctor_says_so() -> None:
    from interactive3d.runtime.doctor import large_models

    assert large_models()["compiled models"] == compiling.describe_compiling(CUDA if torch.cuda.is_available() else CPU)


def test_a_processor_compiles_nothing_by_itself(make_guidance: Callable, make_request: Callable, marked: list) -> None:
    told: list[str] = []
    guidance = make_guidance("sd15", told.append)
    guidance.score(dataclasses.replace(make_request(guidance), steps=10**6))
    assert not marked and not any("compil" in line for line in told)
    assert guidance.describe()["compiled"] == "no: large.compile auto compiles on CUDA only"


@pytest.mark.parametrize(("steps", "compiled"), [(LEAST_STEPS, True), (LEAST_STEPS - 1, False)])
def test_a_long_run_on_a_card_does(
    steps: int,
    compiled: bool,
    make_guidance: Callable,
    make_request: Callable,
    marked: list,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The card is one in name only. The decision of the first step stays."""
    monkeypatch.setattr(compiling, "missing_tool", lambda device: None)
    told: list[str] = []
    guidance = make_guidance("sd15", told.append)
    guidance.compiling.device = CUDA
    for asked in (steps, 10, 10**6):
        guidance.score(dataclasses.replace(make_request(guidance), steps=asked))
        assert (guidance.describe()["compiled"] == UNET) == compiled
    told = [line for line in told if "compil" in line]
    assert marked == ["UNet2DConditionModel", "Encoder"] * compiled
    if not compiled:
        assert told == ["the models are not compiled: large.compile auto compiles for runs of 4000 steps and more"]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("sd15", {"unet": {"UNet2DConditionModel"}, "vae.encoder": {"Encoder"}}),
        ("sdxl", {"unet": {"ResnetBlock2D", "BasicTransformerBlock"}, "vae.encoder": {"Encoder"}}),
        ("if", {"unet": {"UNet2DConditionModel"}}),
        ("sd3", {"transformer": {"JointTransformerBlock"}, "vae.encoder": {"Encoder"}}),
        (
            "flux-dev",
            {"transformer": {"FluxTransformerBlock", "FluxSingleTransformerBlock"}, "vae.encoder": {"Encoder"}},
        ),
    ],
)
def test_what_is_compiled_of_each_family(name: str, parts: dict[str, set[str]], make_guidance: Callable) -> None:
    guidance = make_guidance(name)
    found = regions(guidance.pipeline, guidance.family)
    assert {n: {type(m).__name__ for m in modules} for n, modules in found.items()} == parts


# -- the setting -------------------------------------------------------------------------------------------------------


def test_the_setting_is_followed_on_the_way(make_guidance: Callable, make_request: Callable, traced: list) -> None:
    """On, off, on: the same score, the same names of weights; nothing is compiled twice for the same."""
    told: list[str] = []
    guidance = make_guidance("sd15", told.append)
    names = set(guidance.denoiser.state_dict())
    wanted = guidance.score(make_request(guidance)).gradient
    for asked, compiled, graphs in (
        ("on", UNET, 2),
        ("on", UNET, 2),
        ("off", "no: large.compile is off", 2),
        ("on", UNET, 4),
    ):
        found = guidance.score(make_request(guidance, compile=asked)).gradient
        assert guidance.describe()["compiled"] == compiled
        assert len(traced) == graphs
        assert far(found, wanted) < SAME
        assert set(guidance.denoiser.state_dict()) == names
    said = [line for line in told if "compil" in line]
    assert said[0] == f"compiling: {UNET}, for cpu; this step takes a minute or more (large.compile)"
    assert said[1].startswith("compiled: the step took ") and len(said) == 4


def test_a_lower_rung_is_not_compiled(make_guidance: Callable, make_request: Callable, marked: list) -> None:
    told: list[str] = []
    guidance = make_guidance("sd15", told.append)
    guidance.score(make_request(guidance, compile="on"))
    assert guidance.describe()["compiled"] == UNET
    guidance.score(make_request(guidance, compile="on", memory="lean"))
    assert guidance.describe()["compiled"].startswith("no: the rung lean")
    assert guidance.denoiser._compiled_call_impl is None
    assert told[-1] == f"large.compile has no effect: {guidance.compiling.reason}"
    guidance.score(make_request(guidance, compile="on", memory="full"))
    assert guidance.describe()["compiled"] == UNET


def test_a_model_that_is_loaded_again_lets_go_of_the_first(
    make_guidance: Callable, make_request: Callable, marked: list
) -> None:
    """Both would not fit into a card's memory."""
    guidance = make_guidance("sd15")
    guidance.score(make_request(guidance, compile="on"))
    first, reload = weakref.ref(guidance.denoiser), guidance._reload

    def loaded(precision: str) -> Any:
        gc.collect()
        assert first() is None
        return reload(precision)

    guidance._reload = loaded
    guidance.score(make_request(guidance, compile="on", precision="bfloat16"))
    assert guidance.describe()["compiled"] == UNET


# -- other numbers of pictures -----------------------------------------------------------------------------------------


def test_changing_batches_are_compiled_a_few_times(
    make_guidance: Callable, make_request: Callable, traced: list
) -> None:
    """Each of the first numbers by itself, then once for any."""
    told: list[str] = []
    guidance = make_guidance("if", told.append)
    graphs = []
    for count in range(2, 9):
        found = guidance.score(of_batch(make_request(guidance, compile="on"), count)).gradient
        graphs.append(len(traced))
        wanted = guidance.score(of_batch(make_request(guidance, compile="on"), count)).gradient
        assert torch.equal(found, wanted) and len(traced) == graphs[-1]
    assert graphs[: compiling.OWN_FORMS] == [1, 2, 3, 4]
    assert graphs[-1] <= compiling.OWN_FORMS + 2
    assert guidance.describe()["compiled"] == "unet"
    assert sum(line.startswith("compiling again") for line in told) == graphs[-1] - 1


def test_too_many_forms_end_compiling(
    make_guidance: Callable,
    make_request: Callable,
    traced: list,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In one message, and none of torch's own."""
    monkeypatch.setattr(compiling, "MOST_GRAPHS", 2)
    told: list[str] = []
    guidance = make_guidance("if", told.append)
    for count in (2, 3, 4, 5):
        guidance.score(of_batch(make_request(guidance, compile="on"), count))
    assert len(traced) == 2
    loud = [r for r in caplog.records if r.levelno >= logging.WARNING and r.name.startswith("torch.")]
    assert not loud
    assert [line for line in told if "failed" in line] == [
        "compiling failed: pictures of more than 2 forms were asked for; going on without (large.compile off keeps it from being tried)"
    ]


# -- what goes wrong ---------------------------------------------------------------------------------------------------


class InTheCompiler(Exception):
    """What a compiler may raise."""


OUT_OF_MEMORY = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.mark.parametrize(
    "error", [InTheCompiler("no such register\nmore of it"), OUT_OF_MEMORY, RuntimeError("")], ids=repr
)
def test_an_error_in_the_compiler_costs_no_step(
    error: Exception, make_guidance: Callable, make_request: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(graph: Any, inputs: Any) -> Any:
        raise error

    monkeypatch.setattr(compiling, "inductor", fails)
    told: list[str] = []
    guidance = make_guidance("sd15", told.append)
    wanted = guidance.score(make_request(guidance)).gradient
    for _ in range(2):
        found = guidance.score(make_request(guidance, compile="on")).gradient
        assert torch.equal(found, wanted)
    line = str(error).split("\n")[0] or "RuntimeError"
    assert guidance.describe()["compiled"] == f"no: compiling failed: {line}"
    assert guidance.rung == "full"
    assert [text for text in told if "failed" in text] == [
        f"compiling failed: {line}; going on without (large.compile off keeps it from being tried)"
    ]
    # Turned again, it is tried again.
    guidance.score(make_request(guidance, compile="off"))
    guidance.score(make_request(guidance, compile="on"))
    assert sum("failed" in text for text in told) == 2


def test_an_error_while_the_way_back_is_compiled_costs_no_step(
    make_guidance: Callable, make_request: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch compiles the encoder's gradient when it is first asked for, after the forward passes."""
    from torch._dynamo.backends.common import aot_autograd

    def fails(graph: Any, inputs: Any) -> Any:
        raise InTheCompiler("no way back")

    forward_only = aot_autograd(fw_compiler=lambda graph, inputs: graph.forward, bw_compiler=fails)
    monkeypatch.setattr(compiling, "inductor", forward_only)
    told: list[str] = []
    guidance = make_guidance("sd15", told.append)
    wanted = guidance.score(make_request(guidance)).gradient
    assert torch.equal(guidance.score(make_request(guidance, compile="on")).gradient, wanted)
    assert guidance.describe()["compiled"] == "no: compiling failed: no way back"


def test_memory_that_runs_out_later_steps_down_the_ladder(
    make_guidance: Callable, make_request: Callable, marked: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    guidance = make_guidance("sd15", told.append)
    wanted = guidance.score(make_request(guidance, compile="on")).gradient
    monkeypatch.setattr(compiling, "inductor", lambda graph, inputs: pytest.fail("compiled again"))
    guidance.compiling._backend = lambda graph, inputs: None
    predict = guidance.family.predict

    def greedy(*args: Any) -> torch.Tensor:
        if guidance.rung == "full":
            raise OUT_OF_MEMORY
        return predict(*args)

    for module in guidance.compiling._modules:
        module._compiled_call_impl = module._call_impl  # compiled long ago
    monkeypatch.setattr(guidance.family, "predict", greedy)
    found = guidance.score(make_request(guidance, compile="on")).gradient
    assert far(found, wanted) < SAME
    assert guidance.rung == "sliced" and guidance.denoiser._compiled_call_impl is None
    assert told[-2] == f"out of memory on cpu with full; going on with sliced: {memory.MEANING['sliced']}"
    assert guidance.describe()["compiled"] == "no: the rung sliced of the memory ladder slices or moves the models"


def test_an_error_that_is_not_the_compiler_s_is_raised(
    make_guidance: Callable, make_request: Callable, marked: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    guidance = make_guidance("sd15")

    def broken(*args: Any) -> torch.Tensor:
        raise RuntimeError("a shape does not fit")

    monkeypatch.setattr(guidance.family, "predict", broken)
    with pytest.raises(RuntimeError, match="a shape does not fit"):
        guidance.score(make_request(guidance, compile="on"))


def test_a_platform_without_a_compiler_costs_no_step(
    make_guidance: Callable, make_request: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(module: nn.Module, **how: Any) -> None:
        raise RuntimeError("torch.compile is not supported on Python 4")

    monkeypatch.setattr(nn.Module, "compile", refuses)
    guidance = make_guidance("sd15")
    guidance.score(make_request(guidance, compile="on"))
    assert guidance.describe()["compiled"] == "no: compiling failed: torch.compile is not supported on Python 4"


def test_a_broken_compiler_is_one_message(
    make_guidance: Callable, make_request: Callable, capfd: pytest.CaptureFixture[str]
) -> None:
    """torch's own compiler this time, which does not find its own; it writes no stack of calls either."""
    from torch._inductor import config

    told: list[str] = []
    guidance = make_guidance("if", told.append)
    with config.patch({"cpp.cxx": (None, "/bin/false"), "force_disable_caches": True}):
        guidance.score(make_request(guidance, compile="on"))
    (line,) = (text for text in told if "failed" in text)
    assert line.startswith("compiling failed: No working C++ compiler found")
    assert "Traceback" not in "".join(capfd.readouterr())


# -- torch's compiler --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sd15", "sdxl", "if", "sd3", "flux-dev"])
def test_compiled_models_give_the_same_score(name: str, make_guidance: Callable, make_request: Callable) -> None:
    """With torch's compiler for the CPU, the encoder's gradient included: whole, in blocks, and with another number of pictures."""
    guidance = make_guidance(name)
    wanted = [guidance.score(of_batch(make_request(guidance), count)).gradient for count in (2, 3)]
    found = [guidance.score(of_batch(make_request(guidance, compile="on"), count)).gradient for count in (2, 3)]
    assert guidance.describe()["compiled"].startswith(guidance.family.denoiser)
    assert all(far(a, b) < SAME for a, b in zip(found, wanted, strict=True))
    # Not the same bits: it was another way of computing.
    assert not all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    again = guidance.score(of_batch(make_request(guidance, compile="on"), 2)).gradient
    assert torch.equal(again, found[0])


@pytest.mark.slow
def test_the_ways_to_ask_are_compiled_too(make_guidance: Callable, make_request: Callable) -> None:
    guidance = make_guidance("sd15")
    for values in ({"perp_neg": True}, {"estimator": "interval"}):
        wanted = guidance.score(make_request(guidance, **values)).gradient
        found = guidance.score(make_request(guidance, compile="on", **values)).gradient
        assert guidance.describe()["compiled"] == UNET
        assert far(found, wanted) < SAME
        guidance.score(make_request(guidance, compile="off"))
