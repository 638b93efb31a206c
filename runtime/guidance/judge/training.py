"""Trains the judge: `python -m interactive3d.runtime.guidance.judge train`. Needs numba (the `train` extra)."""

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from interactive3d.runtime.guidance.judge.network import JudgeConfig, JudgeNetwork
from interactive3d.runtime.guidance.judge.pictures import Batch, draw_batch, load_renders, make_renders, save_renders


@dataclass(frozen=True)
class Training:
    """How a judge is trained. `minutes` counts this call only; `steps` is where the learning rate reaches zero."""

    minutes: float = 12.0
    steps: int = 4500
    batch: int = 64
    objects: int = 1040
    rate: float = 2e-3
    seed: int = 4


def losses(network: JudgeNetwork, batch: Batch) -> dict[str, Tensor]:
    """Contrastive loss against all texts of the batch, right and wrong, and cross-entropies of the attribute heads."""
    seen = network.picture(batch.images)
    texts = network.text(network.tokens([*batch.texts, *batch.wrong]))
    logits = network.log_scale.exp() * seen.embedding @ texts.T
    target = torch.arange(len(batch.texts))
    found = {
        "match": functional.cross_entropy(logits, target)
        + 0.5 * functional.cross_entropy(logits[:, : len(target)].T, target),
        "kind": functional.cross_entropy(network.kind_head(seen.features), batch.kinds),
        "colour": functional.cross_entropy(network.colour_head(seen.features), batch.colours),
    }
    rows, parts = torch.nonzero(batch.parts >= 0, as_tuple=True)
    places = network.part_head.look(seen.maps)
    told = network.part_head(places, rows, parts)
    found["part"] = functional.cross_entropy(told, batch.parts[rows, parts])
    share = batch.covers / batch.covers.sum(1, keepdim=True).clamp(min=1e-6)
    found["place"] = -(share * network.part_head.attention(places, *batch.sights)).sum(1).mean()
    return found


def train(
    out: Path, settings: Training, work: Path | None = None, progress: Callable[[str], None] = print
) -> JudgeNetwork:
    """Trains, or goes on from `work/state.pt`, and writes the weights to `out` (config.json, model.safetensors in half precision).

    `work` keeps the renders and the state; by default `out` with the suffix ".training".
    """
    work = work or out.with_suffix(".training")
    work.mkdir(parents=True, exist_ok=True)
    store = work / f"renders-{settings.objects}.npz"
    if not store.exists():
        save_renders(
            store, make_renders(settings.objects, progress=lambda a, b: progress(f"{a} of {b} objects rendered"))
        )
    renders = load_renders(store)
    torch.manual_seed(settings.seed)
    network = JudgeNetwork(JudgeConfig.of_objects())
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's annotations lack this one
    optimizer = torch.optim.AdamW(network.parameters(), settings.rate, weight_decay=0.02)
    step, state = 0, work / "state.pt"
    if state.exists():
        saved = torch.load(state, weights_only=True)
        network.load_state_dict(saved["network"])
        optimizer.load_state_dict(saved["optimizer"])
        step = saved["step"]
    started, network_mode = time.monotonic(), network.train()
    shown = dict.fromkeys(("match", "kind", "colour", "part", "place"), 0.0)
    while step < settings.steps and time.monotonic() - started < settings.minutes * 60:
        rng, generator = random.Random(settings.seed * 1_000_003 + step), torch.Generator().manual_seed(step)
        share = 0.2 + 0.6 * step / settings.steps  # easy pictures first: kinds are learned several times as fast
        batch = draw_batch(renders, settings.batch, network.config.parts, rng, generator, share)
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, settings)
        found = losses(network_mode, batch)
        optimizer.zero_grad(set_to_none=True)
        sum(found.values(), start=torch.zeros(())).backward()
        optimizer.step()
        with torch.no_grad():
            network.log_scale.clamp_(max=4.0)
        step += 1
        shown = {name: 0.95 * shown[name] + 0.05 * float(value.detach()) for name, value in found.items()}
        if step % 100 == 0:
            told = ", ".join(f"{name} {value:.3f}" for name, value in shown.items())
            progress(f"step {step} of {settings.steps}: {told}; {(time.monotonic() - started):.0f} s")
            torch.save({"network": network.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, state)
    torch.save({"network": network.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, state)
    save(network, out)
    return network.eval()


def rate_at(step: int, settings: Training) -> float:
    """Learning rate: a short warm-up, then linear to nothing."""
    warm = min(1.0, (step + 1) / 100)
    return settings.rate * warm * max(0.02, 1 - step / settings.steps)


def save(network: JudgeNetwork, folder: Path) -> None:
    """Writes config.json and model.safetensors (float16)."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(network.config.to_json(), indent=1) + "\n")
