"""The memory ladder: which rung is taken, that all give the same score, and what happens when memory runs out."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch

from interactive3d.runtime.guidance.large import LargeModelProblem, memory
from interactive3d.runtime.guidance.large.memory import GIGABYTE, Needs, below, choose

CUDA, CPU = torch.device("cuda"), torch.device("cpu")
# Stable Diffusion 2.1 in float16, roughly.
NEEDS = Needs(
    weights={
        "unet": int(1.73 * GIGABYTE),
        "vae": int(0.16 * GIGABYTE),
        "text_encoder": int(0.68 * GIGABYTE),
    },
    texts=("text_encoder",),
    encoder_picture=int(1.4 * GIGABYTE),
    denoiser_picture=int(0.17 * GIGABYTE),
)
SAME = 2e-4
"""Relative: slices sum in another order."""
HALF = 1e-3
"""Relative: float16's own digits."""


@pytest.mark.parametrize(
    ("free", "rung"), [(80, "full"), (12, "full"), (9, "sliced"), (4.2, "lean"), (3.7, "offload"), (1, "sequential")]
)
def test_the_fastest_rung_that_fits_is_taken(free: float, rung: str) -> None:
    found = choose("auto", NEEDS, int(free * GIGABYTE), CUDA, 4)
    assert found.rung == rung
    assert found.text.startswith(f"memory: {free:.1f} GB free on cuda")
    assert memory.MEANING[rung] in found.text


def test_what_does_not_fit_at_all_is_said() -> None:
    assert "so it may run out" in choose("auto", NEEDS, GIGABYTE, CUDA, 64).text
    assert "so it may run out" not in choose("auto", NEEDS, 80 * GIGABYTE, CUDA, 4).text


def test_a_rung_can_be_chosen_and_the_cpu_has_none_to_offload_to() -> None:
    assert choose("offload", NEEDS, 80 * GIGABYTE, CUDA, 4).rung == "offload"
    found = choose("offload", NEEDS, 80 * GIGABYTE, CPU, 4)
    assert found.rung == "lean"
    assert "offload needs a GPU" in found.text
    assert choose("auto", NEEDS, None, CUDA, 4).rung == "full"
    assert [below(rung, CUDA) for rung in memory.RUNGS] == ["sliced", "lean", "offload", "sequential", None]
    assert below("lean", CPU) is None


def test_each_rung_needs_less(make_guidance: Callable) -> None:
    guidance = make_guidance("sd15")
    needs = [guidance.needs.of(rung, 4) for rung in memory.RUNGS]
    assert needs == sorted(needs, reverse=True)
    assert guidance.needs.weights["unet"] == 4 * sum(p.numel() for p in guidance.pipeline.unet.parameters())
    assert needs[-1] > 0


def test_this_machine_has_free_memory() -> None:
    assert (memory.free_memory(CPU) or GIGABYTE) > 2**20


@pytest.mark.parametrize("name", ["sd15", "sdxl", "if", "sd3"])
@pytest.mark.parametrize("rung", ["sliced", "lean"])
def test_every_rung_gives_the_same_score(name: str, rung: str, make_guidance: Callable, make_request: Callable) -> None:
    told: list[str] = []
    full, less = make_guidance(name), make_guidance(name, told.append, large_memory=rung)
    assert (full.rung, less.rung) == ("full", rung)
    assert any(f"{rung}, as large.memory says" in line for line in told)
    a, b = (g.score(make_request(g)).gradient for g in (full, less))
    assert float((a - b).abs().max()) <= SAME * float(a.abs().max())


def run_out(guidance: Any, monkeypatch: pytest.MonkeyPatch, until: str | None) -> None:
    """Out of memory on every call until the guidance has stepped down to a rung."""
    predict = guidance.family.predict

    def greedy(*args: Any) -> torch.Tensor:
        if guidance.rung != until:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return predict(*args)

    monkeypatch.setattr(guidance.family, "predict", greedy)


def test_running_out_steps_down_says_so_and_goes_on(
    make_guidance: Callable, make_request: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    guidance = make_guidance("sd15", told.append)
    wanted = guidance.score(make_request(guidance)).gradient
    run_out(guidance, monkeypatch, "lean")
    found = guidance.score(make_request(guidance)).gradient
    assert guidance.rung == "lean"
    assert [line for line in told if line.startswith("out of memory")] == [
        f"out of memory on cpu with {a}; going on with {b}: {memory.MEANING[b]}"
        for a, b in (("full", "sliced"), ("sliced", "lean"))
    ]
    # The noise was drawn before: the same score comes out.
    assert float((found - wanted).abs().max()) <= SAME * float(wanted.abs().max())


def test_the_foot_of_the_ladder_is_an_error_with_advice(
    make_guidance: Callable, make_request: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    guidance = make_guidance("sd15")
    run_out(guidance, monkeypatch, None)
    with pytest.raises(
        LargeModelProblem,
        match=r"on the last rung .*; give it a smaller camera.batch or large.size by --set, or use a smaller model",
    ):
        guidance.score(make_request(guidance))


def test_a_chosen_rung_is_not_left(
    make_guidance: Callable, make_request: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    guidance = make_guidance("sd15", large_memory="full")
    run_out(guidance, monkeypatch, None)
    with pytest.raises(LargeModelProblem, match=r"with large.memory full.*or large.memory auto"):
        guidance.score(make_request(guidance, memory="full"))
    assert guidance.rung == "full"


def test_little_free_memory_starts_lower(models: Callable, make_request: Callable) -> None:
    from interactive3d.runtime.guidance.large import DiffusersGuidance
    from interactive3d.runtime.guidance.large.loading import load_pipeline
    from interactive3d.runtime.settings import Settings

    told: list[str] = []
    pipeline, _ = load_pipeline(str(models("sd15")), models("sd15"), CPU, "auto")
    guidance = DiffusersGuidance(
        pipeline, settings=Settings().set("camera.batch", 64), tell=told.append, free_memory=lambda device: 2**20
    )
    assert guidance.rung == "lean"
    assert "memory: 0.0 GB free on cpu" in told[1]


def test_what_is_turned_on_the_way_is_followed(make_guidance: Callable, make_request: Callable) -> None:
    """Rung, size and number format, there and back; the same scores as of a guidance that began so."""
    told: list[str] = []
    guidance = make_guidance("sd15", told.append)
    first = guidance.score(make_request(guidance)).gradient
    for key, value in (("memory", "lean"), ("size", 8), ("precision", "bfloat16")):
        found = guidance.score(make_request(guidance, **{key: value})).gradient
        wanted = make_guidance("sd15", **{f"large_{key}": value})
        assert torch.equal(found, wanted.score(make_request(wanted)).gradient)
        assert (guidance.rung, guidance.side, guidance.dtype_name) == (wanted.rung, wanted.side, wanted.dtype_name)
        back = make_request(guidance, memory="auto", size=0, precision="auto")
        assert torch.equal(guidance.score(back).gradient, first)
    assert sum("bfloat16" in line for line in told) == 1


def test_whatever_says_that_memory_ran_out_is_understood() -> None:
    """torch's own error, the allocator of the CPU, and the libraries below."""
    assert memory.ran_out(torch.OutOfMemoryError("CUDA out of memory"))
    assert memory.ran_out(
        RuntimeError("[enforce fail at alloc_cpu.cpp:119] . DefaultCPUAllocator: can't allocate memory")
    )
    assert memory.ran_out(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))
    assert not memory.ran_out(RuntimeError("The size of tensor a (8) must match the size of tensor b (16)"))
    assert not memory.ran_out(ValueError("not enough memory"))


def test_other_errors_are_not_taken_for_want_of_memory(
    make_guidance: Callable, make_request: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    guidance = make_guidance("sd15")

    def broken(*args: Any) -> torch.Tensor:
        raise RuntimeError("a shape does not fit")

    monkeypatch.setattr(guidance.family, "predict", broken)
    with pytest.raises(RuntimeError, match="a shape does not fit"):
        guidance.score(make_request(guidance))
    assert guidance.rung == "full"


def test_what_lies_on_the_device_is_counted(make_guidance: Callable) -> None:
    guidance = make_guidance("sd15")
    assert memory.held_on(guidance.pipeline, CPU) == sum(guidance.needs.weights.values())
    assert memory.held_on(guidance.pipeline, CUDA) == 0


# -- what suits a card -------------------------------------------------------------------------------------------------


def processors(pipeline: Any) -> set[str]:
    """How the VAE's attentions are computed."""
    return {type(p).__name__ for p in pipeline.vae.attn_processors.values()}


@pytest.mark.parametrize(
    ("dtype", "rung", "latent_side", "found"),
    [
        (torch.float16, "full", 64, "AttnProcessor"),
        (torch.float16, "full", 128, "AttnProcessor2_0"),
        (torch.float16, "sliced", 64, "AttnProcessor2_0"),
        (torch.bfloat16, "full", 64, "AttnProcessor2_0"),
        (torch.float32, "full", 64, "AttnProcessor2_0"),
    ],
)
def test_on_a_card_the_vae_s_attention_is_computed_plainly_where_that_is_small_and_exact(
    dtype: torch.dtype, rung: str, latent_side: int, found: str, make_guidance: Callable
) -> None:
    from tests.gpu.pretend_cuda import PretendCuda

    guidance = make_guidance("sd15")
    assert processors(guidance.pipeline) == {"AttnProcessor2_0"}
    guidance.pipeline.vae.to(dtype)
    with PretendCuda():
        memory.climb_to(guidance.pipeline, "full", CUDA, guidance.family.texts, 1)
        memory.climb_to(guidance.pipeline, rung, CUDA, guidance.family.texts, latent_side)
    assert processors(guidance.pipeline) == {found}
    attention = [m for m in guidance.pipeline.vae.modules() if hasattr(m, "upcast_softmax")]
    assert attention and all(m.upcast_softmax is (found != "AttnProcessor") for m in attention)


def test_both_ways_give_the_same_latents_and_gradient(make_guidance: Callable) -> None:
    """In float16, beside the fused way in float32."""
    from interactive3d.runtime.guidance.large.families import to_latents

    vae = make_guidance("sd15").pipeline.vae
    pictures = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(2)) * 2 - 1
    found = []
    for dtype, plainly in ((torch.float32, False), (torch.float16, False), (torch.float16, True)):
        vae.to(dtype)
        memory.attend(type("P", (), {"vae": vae}), plainly=plainly)
        given = pictures.clone().requires_grad_()
        latents = to_latents(vae, given)
        (gradient,) = torch.autograd.grad(latents.square().sum(), given)
        found.append((latents.detach(), gradient))
    for wanted, *halves in zip(*found, strict=True):
        errors = [float((half - wanted).abs().max() / wanted.abs().max()) for half in halves]
        assert 0 < errors[1] < 2 * errors[0] + HALF


def test_a_model_that_is_loaded_again_lets_go_of_the_first(make_guidance: Callable, make_request: Callable) -> None:
    """Both would not fit into a card's memory."""
    guidance = make_guidance("sd15")
    guidance.score(make_request(guidance))
    first, reload = weakref.ref(guidance.denoiser), guidance._reload

    def loaded(precision: str) -> Any:
        gc.collect()
        assert first() is None
        return reload(precision)

    guidance._reload = loaded
    guidance.score(make_request(guidance, precision="bfloat16"))
    assert guidance.dtype_name == "bfloat16"
