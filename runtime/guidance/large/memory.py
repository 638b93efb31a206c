"""The memory ladder: from everything on the device at once down to one layer at a time, chosen by the memory that is free."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from interactive3d.runtime.guidance.large import norms
from interactive3d.runtime.guidance.large.problems import OutOfMemory, need

RUNGS = ("full", "sliced", "lean", "offload", "sequential")
MEANING = {
    "full": "everything on the device, all pictures at once",
    "sliced": "attention and VAE in slices, prompts and the VAE's gradient one after the other",
    "lean": "as sliced, VAE in tiles, text encoders on the device only while they read",
    "offload": "as lean, each model on the device only while it works",
    "sequential": "as lean, each layer on the device only while it works: slow",
}
HEADROOM = 1.15
"""What allocators and libraries take on top."""
ENCODER_TENSORS = 12
"""Tensors that a layer of two residual convolutions of the VAE keeps for its gradient."""
DENOISER_TENSORS = 64
"""Tensors, of the first block's channels, alive at once in a denoiser without gradient, attention included."""
PLAIN_TOKENS = 64**2
"""Of a VAE's latents, pictures of 512 pixels: up to here the scores of its attention are kept whole, where all else is."""
GIGABYTE = 2**30
OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "_STATUS_ALLOC_FAILED")
"""What the CPU's allocator says on Linux and on Windows, and cuBLAS and cuDNN."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Bytes: weights by component, and what one picture takes in the VAE's encoder (with gradient) and in the denoiser."""

    weights: Mapping[str, int]
    texts: tuple[str, ...]
    encoder_picture: int
    denoiser_picture: int

    def of(self, rung: str, batch: int, branches: int = 2) -> int:
        """Bytes that a rung takes on the device for ``batch`` pictures with ``branches`` prompts each."""
        whole = sum(self.weights.values())
        texts = sum(self.weights[name] for name in self.texts)
        largest = max(self.weights.values(), default=0)
        once = max(self.encoder_picture, batch * self.denoiser_picture)
        match rung:
            case "full":
                need = whole + batch * (self.encoder_picture + branches * self.denoiser_picture)
            case "sliced":
                need = whole + once
            case "lean":
                need = max(whole - texts + once, texts)
            case "offload":
                need = largest + once
            case _:
                need = largest // 8 + once
        return int(need * HEADROOM)


def module_bytes(module: nn.Module) -> int:
    """Bytes of a module's parameters and buffers."""
    return sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))


def measure_needs(pipeline: Any, texts: tuple[str, ...], denoiser: str, side: int, latent_side: int) -> Needs:
    """What a loaded pipeline takes. Weights are counted, activations estimated from the widths of its blocks."""
    modules: dict[str, Any] = {n: m for n, m in pipeline.components.items() if isinstance(m, nn.Module)}
    size = next(modules[denoiser].parameters()).element_size()
    encoder = 0
    if "vae" in modules:
        config = modules["vae"].config
        widths = config.get("block_out_channels", (128,))
        layers = config.get("layers_per_block", 2)
        item = next(modules["vae"].parameters()).element_size()
        encoder = sum(
            width * (side >> level) ** 2 * layers * ENCODER_TENSORS // 2 * item for level, width in enumerate(widths)
        )
    config = modules[denoiser].config
    heads = config.get("num_attention_heads")
    plain = heads if isinstance(heads, int) else 8
    width = (config.get("block_out_channels") or (plain * (config.get("attention_head_dim") or 64) // 4,))[0]
    return Needs(
        weights={name: module_bytes(module) for name, module in modules.items()},
        texts=tuple(name for name in texts if name in modules),
        encoder_picture=encoder,
        denoiser_picture=DENOISER_TENSORS * width * latent_side**2 * size,
    )


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out: torch's own on CUDA, plain ones of its libraries and of the CPU's allocator, and ours."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError | OutOfMemory):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in OUT_OF_MEMORY)


def held_on(pipeline: Any, device: torch.device) -> int:
    """Bytes of a pipeline's models that lie on the device now."""
    modules = [m for m in pipeline.components.values() if isinstance(m, nn.Module)]
    tensors = [t for m in modules for t in (*m.parameters(), *m.buffers()) if t.device.type == device.type]
    return sum(t.numel() * t.element_size() for t in tensors)


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free on the device; None where that cannot be told."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return None
    found = [line for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable")]
    return int(found[0].split()[1]) * 1024 if found else None


@dataclass(frozen=True)
class Choice:
    """A rung and why it was taken, in words for the user."""

    rung: str
    text: str


def choose(wanted: str, needs: Needs, free: int | None, device: torch.device, batch: int, branches: int = 2) -> Choice:
    """The rung asked for, or with ``auto`` the first that fits into ``free`` bytes.

    On the CPU the weights lie in memory already and there is nowhere to offload them to, so only their activations count.
    """
    # The CPU has no rungs below `lean`.
    rungs = RUNGS if device.type != "cpu" else RUNGS[:3]
    loaded = sum(needs.weights.values()) if device.type == "cpu" else 0
    needed = {rung: max(needs.of(rung, batch, branches) - loaded, 0) for rung in rungs}
    told = "free memory unknown" if free is None else f"{free / GIGABYTE:.1f} GB free on {device}"
    if wanted != "auto":
        rung = wanted if wanted in rungs else rungs[-1]
        instead = "" if rung == wanted else f" ({wanted} needs a GPU)"
        return Choice(rung, f"memory: {told}; {rung}{instead}, as large.memory says: {MEANING[rung]}")
    fitting = [rung for rung in rungs if free is None or needed[rung] <= free]
    rung = fitting[0] if fitting else rungs[-1]
    text = f"memory: {told}, about {needed[rungs[0]] / GIGABYTE:.1f} GB wanted for {rungs[0]}; {rung}: {MEANING[rung]}"
    if not fitting:
        text += f"; even that is estimated at {needed[rung] / GIGABYTE:.1f} GB, so it may run out"
    return Choice(rung, text + ("" if rung == rungs[0] else "; large.memory chooses another rung"))


def below(rung: str, device: torch.device) -> str | None:
    """The next rung down, or None at the foot of the ladder."""
    rungs = RUNGS if device.type != "cpu" else RUNGS[:3]
    place = rungs.index(rung) + 1
    return rungs[place] if place < len(rungs) else None


def climb_to(pipeline: Any, rung: str, device: torch.device, texts: tuple[str, ...], latent_side: int) -> None:
    """Puts a pipeline's modules where a rung wants them, and slices what it slices."""
    pipeline.remove_all_hooks()
    norms.use_torch(pipeline)
    _unslice(pipeline)
    if rung != "full":
        _slice(pipeline, tiles=rung != "sliced")
    if rung == "offload":
        need("accelerate", "large.memory offload")
        pipeline.enable_model_cpu_offload(device=device)
    elif rung == "sequential":
        need("accelerate", "large.memory sequential")
        pipeline.enable_sequential_cpu_offload(device=device)
    else:
        for name, module in pipeline.components.items():
            if isinstance(module, nn.Module):
                module.to("cpu" if rung == "lean" and name in texts else device)
    if device.type == "cuda":
        if rung == "full":
            norms.use_own(pipeline)
        attend(pipeline, plainly=rung == "full" and latent_side**2 <= PLAIN_TOKENS)


def attend(pipeline: Any, *, plainly: bool) -> None:
    """How the VAE's attention is computed, one head as wide as its network: 512.

    Flash attention and cuDNN's end at heads of 256; the kernel that is left to so wide a head holds it in no registers: with it the encoder
    took 39 ms on an H200 for 24 with products of whole matrices (benchmarks/gpu.md). Their scores are small beside what the encoder keeps
    as long as the pictures are. Only in float16, whose scores are as good as its products; bfloat16 would round them to two digits.
    """
    vae = getattr(pipeline, "vae", None)
    if vae is None:
        return
    from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0

    plainly = plainly and next(vae.parameters()).dtype == torch.float16
    vae.set_attn_processor(AttnProcessor() if plainly else AttnProcessor2_0())
    for attention in vae.modules():
        if isinstance(attention, Attention):
            # Scores that are rounded already gain nothing in float32 but two more passes: softmax adds up in it anyway.
            attention.upcast_softmax = not plainly


def _unslice(pipeline: Any) -> None:
    """What a lower rung sliced is whole again."""
    if hasattr(getattr(pipeline, "unet", None), "set_attention_slice"):
        pipeline.disable_attention_slicing()
    vae = getattr(pipeline, "vae", None)
    if vae is not None:
        vae.disable_slicing()
        vae.disable_tiling()


def _slice(pipeline: Any, tiles: bool) -> None:
    # Transformers have no sliced attention; their fused attention keeps no full score matrix anyway.
    if hasattr(getattr(pipeline, "unet", None), "set_attention_slice"):
        pipeline.enable_attention_slicing()
    vae = getattr(pipeline, "vae", None)
    if vae is not None:
        vae.enable_slicing()
        if tiles:
            vae.enable_tiling()
