"""The training loop of one stage: worker processes with averaged gradients, resumable checkpoints, a log with rate and time left.

Randomness is a function of (seed, stage, step, worker), so a resumed run draws what an unbroken one would have drawn. Two
single-thread workers are about a third faster than one worker with two threads on a CPU.
"""

import math
import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn


@dataclass
class Group:
    """Worker processes that share gradients through memory. One worker needs no memory and no barrier."""

    rank: int = 0
    size: int = 1
    board: Float[Tensor, "workers n"] | None = None
    barrier: threading.Barrier | None = None
    progress: Float[Tensor, "1"] = field(default_factory=lambda: torch.zeros(1, dtype=torch.float64))

    def wait(self) -> None:
        if self.barrier is not None:
            self.barrier.wait()

    def average(self, parameters: list[nn.Parameter]) -> None:
        """Replace every gradient by its mean over the workers."""
        if self.size == 1:
            return
        if self.board is None:
            raise ValueError(f"board: expected shared memory for {self.size} workers, got None")
        flat = torch.cat([_gradient(p).flatten() for p in parameters])
        self.board[self.rank, : flat.numel()] = flat
        self.wait()
        mean = self.board[:, : flat.numel()].mean(0)
        for p, g in zip(parameters, mean.split([p.numel() for p in parameters]), strict=True):
            p.grad = g.view_as(p)
        self.wait()


def _gradient(parameter: nn.Parameter) -> Tensor:
    if parameter.grad is None:
        raise ValueError(f"parameter of shape {tuple(parameter.shape)}: expected a gradient, got None")
    return parameter.grad


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """How one stage is trained; it ends after `steps`, or after `minutes` where that is set (then the rate decays by time)."""

    steps: int
    minutes: float | None = None
    rate: float = 8e-4
    warm_up: int = 100
    batch: int = 16
    average: float = 0.998


def mixed_seed(*numbers: int) -> int:
    """A well-mixed 62-bit seed."""
    value = 0x9E3779B97F4A7C15
    for n in numbers:
        value = ((value ^ (n + 0x9E3779B9)) * 0xBF58476D1CE4E5B9) % 2**64
        value ^= value >> 29
    return value % 2**62


class Average:
    """Exponential moving average of parameters."""

    def __init__(self, parameters: list[nn.Parameter], decay: float):
        self.decay = decay
        self.values = [p.detach().clone() for p in parameters]

    @torch.no_grad()
    def update(self, parameters: list[nn.Parameter], step: int) -> None:
        keep = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.values, [p.detach() for p in parameters], 1 - keep)

    @torch.no_grad()
    def swap(self, parameters: list[nn.Parameter]) -> None:
        """Exchange the averaged and the trained values."""
        for mine, p in zip(self.values, parameters, strict=True):
            trained = p.detach().clone()
            p.copy_(mine)
            mine.copy_(trained)


class Stage:
    """One stage of training: what is trained, how a loss is made, and where it stands."""

    def __init__(self, name: str, modules: Iterable[nn.Module], config: StageConfig, seed: int):
        self.name = name
        self.config = config
        self.seed = seed
        named = [(f"{i}.{n}", p) for i, m in enumerate(modules) for n, p in m.named_parameters()]
        self.parameters = [p for _, p in named]
        plain = [p for n, p in named if p.ndim >= 2 and "embed" not in n and "colour" not in n]
        rest = [p for p in self.parameters if not any(p is q for q in plain)]
        groups = [{"params": plain, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=config.rate, betas=(0.9, 0.99), foreach=True)
        self.average = Average(self.parameters, config.average)
        self.step = 0
        self.elapsed = 0.0

    def rate_at(self, progress: float) -> float:
        """Warm-up by steps, then a cosine down to 2 %."""
        warm = min(1.0, (self.step + 1) / self.config.warm_up)
        return self.config.rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))

    def progress(self, began: float) -> float:
        if self.config.minutes is not None:
            return (self.elapsed + time.monotonic() - began) / (60 * self.config.minutes)
        return self.step / self.config.steps

    def state(self) -> dict:
        return {
            "step": self.step,
            "elapsed": self.elapsed,
            "parameters": [p.detach().cpu() for p in self.parameters],
            "average": [v.cpu() for v in self.average.values],
            "optimizer": self.optimizer.state_dict(),
        }

    @torch.no_grad()
    def load(self, state: dict) -> None:
        self.step, self.elapsed = state["step"], state["elapsed"]
        for mine, saved in ((self.parameters, state["parameters"]), (self.average.values, state["average"])):
            for p, value in zip(mine, saved, strict=True):
                p.copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])


def save_atomically(value: object, path: Path) -> None:
    """Write beside and rename, so that a kill never leaves half a checkpoint."""
    beside = path.with_suffix(".new")
    torch.save(value, beside)
    os.replace(beside, path)


@dataclass(frozen=True)
class Hooks:
    """What happens besides steps, on worker 0: log lines, checkpoints, and `watch` (the gate, exports) at its own times."""

    log: Callable[[str], None]
    checkpoint: Path
    save_every: float = 180.0
    log_every: int = 25
    watch: Callable[[Stage], None] | None = None


def run_stage(
    stage: Stage, group: Group, loss_of: Callable[[int, int], dict[str, Tensor]], hooks: Hooks, device: str = "cpu"
) -> dict[str, float]:
    """Train to the end of the stage. `loss_of(seed, count)` gives named losses; "loss" is minimised. Returns their last means."""
    began = saved = time.monotonic()
    first = stage.step
    means: dict[str, float] = {}
    share = stage.config.batch // group.size
    while True:
        if group.rank == 0:
            group.progress[0] = stage.progress(began)
        group.wait()
        progress = float(group.progress[0])
        if progress >= 1:
            break
        for settings in stage.optimizer.param_groups:
            settings["lr"] = stage.rate_at(progress)
        losses = loss_of(mixed_seed(stage.seed, stage.step, group.rank), share)
        stage.optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()
        group.average(stage.parameters)
        nn.utils.clip_grad_norm_(stage.parameters, 1.0)
        stage.optimizer.step()
        stage.step += 1
        for name, value in losses.items():
            number = float(value.detach())
            means[name] = means.get(name, number) * 0.98 + number * 0.02
        if group.rank:
            continue
        stage.average.update(stage.parameters, stage.step)
        now = time.monotonic()
        if stage.step % hooks.log_every == 0:
            hooks.log(
                _line(stage, means, progress, (stage.step - first) * stage.config.batch / (now - began), now - began)
            )
        if now - saved > hooks.save_every:
            saved = now
            stage.elapsed += now - began
            save_atomically(stage.state(), hooks.checkpoint)
            began, first = now, stage.step
        if hooks.watch is not None:
            hooks.watch(stage)
    if group.rank == 0:
        stage.elapsed += time.monotonic() - began
        save_atomically(stage.state(), hooks.checkpoint)
    group.wait()
    return means


def _line(stage: Stage, means: dict[str, float], progress: float, rate: float, seconds: float) -> str:
    spent = stage.elapsed + seconds
    left = spent * (1 - progress) / max(progress, 1e-6)
    values = " ".join(f"{name} {value:.4f}" for name, value in means.items())
    return f"{stage.name} step {stage.step} ({100 * progress:.1f} %) {rate:.1f}/s, {left / 60:.1f} min left: {values}"
