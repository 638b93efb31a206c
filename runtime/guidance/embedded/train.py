"""Training of the embedded prior as a command: data, text to volume, then the U-Net; resumable, on a CPU or a GPU.

`interactive3d train-prior` calls `main`. The run folder holds the log, one checkpoint per stage and the newest export.
"""

import argparse
import os
import shutil
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
import torch.multiprocessing as mp
from torch import nn

from interactive3d.runtime.guidance.embedded.data import EllipsoidSource, JointSource, Source
from interactive3d.runtime.guidance.embedded.gate import GateTable, gate
from interactive3d.runtime.guidance.embedded.loop import Group, Hooks, Stage, StageConfig, mixed_seed, run_stage
from interactive3d.runtime.guidance.embedded.stages import DrawConfig, StageLoss, unet_stage, volume_stage
from interactive3d.runtime.guidance.embedded.text import TextConfig, WordTokenizer
from interactive3d.runtime.guidance.embedded.unet import UNetConfig
from interactive3d.runtime.guidance.embedded.volume import VolumeConfig
from interactive3d.runtime.guidance.embedded.weights import Networks, build_networks, save_networks

OBJECTS = 9000
VIEWS = 4


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run. Without `datasets` it trains on ellipsoids (a trial of the machinery)."""

    run: Path
    datasets: tuple[Path, ...] = ()
    export: Path | None = None
    seed: int = 1
    device: str = "cpu"
    workers: int = 2
    volume: StageConfig = field(default_factory=lambda: StageConfig(steps=8000, batch=12, rate=1e-3))
    unet: StageConfig = field(default_factory=lambda: StageConfig(steps=10400, batch=16))
    draw: DrawConfig = field(default_factory=DrawConfig)
    unet_channels: tuple[int, int, int] = (40, 80, 128)
    volume_width: int = 192
    watch_minutes: float = 10.0
    save_seconds: float = 180.0
    gate_pictures: int = 96


def make_networks(config: TrainConfig, source: Source) -> Networks:
    """Fresh networks; colour words start at their colours."""
    torch.manual_seed(config.seed)
    tokenizer = WordTokenizer(source.words())
    size = len(tokenizer)
    networks = build_networks(
        tokenizer,
        TextConfig(vocabulary=size),
        VolumeConfig(vocabulary=size, width=config.volume_width),
        UNetConfig(channels=config.unet_channels),
    )
    with torch.no_grad():
        for word, rgb in source.colours().items():
            networks.volume.word_colour.weight[tokenizer.number(word)] = torch.tensor(rgb)
    return networks.to(config.device)


def make_source(config: TrainConfig) -> Source:
    return JointSource(config.datasets) if config.datasets else EllipsoidSource()


def build_dataset(folder: Path, seed: int = 0, objects: int = OBJECTS) -> None:
    """Make the generated objects where they are missing; goes on where an earlier build stopped."""
    from interactive3d.runtime.guidance.objects.building import build

    if not (folder / "meta.json").exists():
        print(f"making {objects} objects in {folder}", flush=True)
        build(folder, objects, VIEWS, seed, workers=os.cpu_count() or 1)


class Reporter:
    """Worker 0's log, gate and exports."""

    def __init__(self, config: TrainConfig, networks: Networks, source: Source):
        self.config = config
        self.networks = networks
        self.began = time.monotonic()
        self.next = 60 * config.watch_minutes
        self.path = config.run / "log.txt"
        seed = mixed_seed(config.seed, 77)
        self.batches = [source.gate_batch(seed, config.gate_pictures, deformed) for deformed in (False, True)]

    def log(self, line: str) -> None:
        stamped = f"{time.strftime('%H:%M:%S')} {line}"
        print(stamped, flush=True)
        with self.path.open("a") as file:
            file.write(stamped + "\n")

    def watch(self, stage: Stage) -> None:
        """Now and then: the gate on the averaged weights, and an export."""
        if time.monotonic() - self.began >= self.next:
            self.next = time.monotonic() - self.began + 60 * self.config.watch_minutes
            self.report(stage)

    def report(self, stage: Stage) -> GateTable:
        stage.average.swap(stage.parameters)
        try:
            whole, deformed = self.batches
            table = gate(self.networks.to("cpu"), whole, deformed)
            info = {"stage": stage.name, "step": stage.step, "seen": stage.step * stage.config.batch}
            info |= {"minutes": round(stage.elapsed / 60, 1), "gate": asdict(table), "settings": _plain(self.config)}
            folder = self.config.run / "export"
            save_networks(self.networks, folder, info)
        finally:
            self.networks.to(self.config.device)
            stage.average.swap(stage.parameters)
        self.log(f"gate after {stage.name} step {stage.step}: {table.line()}; exported to {folder}")
        return table


def _plain(config: TrainConfig) -> dict:
    """The settings that decide the weights, for the record."""
    return {
        "seed": config.seed,
        "workers": config.workers,
        **{n: asdict(getattr(config, n)) for n in ("volume", "unet", "draw")},
    }


def _worker(rank: int, config: TrainConfig, group: Group) -> None:
    group = replace(group, rank=rank)
    torch.set_flush_denormal(True)  # Adam's second moments of rare words are denormal, and slow, otherwise
    if config.device == "cpu":
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // group.size))
    source = make_source(config)
    networks = make_networks(config, source)
    reporter = Reporter(config, networks, source) if rank == 0 else None
    log = reporter.log if reporter else print
    stages: tuple[tuple[str, list[nn.Module], StageConfig, StageLoss], ...] = (
        ("volume", [networks.text, networks.volume], config.volume, volume_stage),
        ("unet", [networks.unet], config.unet, unet_stage),
    )
    for number, (name, trained, stage_config, loss) in enumerate(stages):
        path = config.run / f"{name}.pt"
        stage = Stage(name, trained, stage_config, mixed_seed(config.seed, number))
        if path.exists():
            stage.load(torch.load(path, map_location=config.device, weights_only=True))
            log(f"{name}: resumed at step {stage.step}")
        group.wait()
        began = stage.step
        if reporter:
            reporter.began = time.monotonic()
            reporter.next = 60 * config.watch_minutes
        watch = reporter.watch if reporter and name == "unet" else None
        hooks = Hooks(log, path, config.save_seconds, watch=watch)
        run_stage(stage, group, loss(networks, source, config.draw, config.device), hooks, config.device)
        # Every worker takes the averages that worker 0 kept, so that all hold the same networks.
        stage.load(torch.load(path, map_location=config.device, weights_only=True))
        if reporter and stage.step > began:
            reporter.report(stage)
        stage.average.swap(stage.parameters)
        for module in trained:
            module.eval().requires_grad_(False)
    if reporter and config.export is not None:
        shutil.copytree(config.run / "export", config.export, dirs_exist_ok=True)


def train(config: TrainConfig) -> None:
    """Run or resume a training to its end. Raises ValueError for a batch that the workers cannot share."""
    for stage in (config.volume, config.unet):
        if stage.batch % config.workers:
            raise ValueError(f"batch: expected a multiple of workers = {config.workers}, got {stage.batch}")
    config.run.mkdir(parents=True, exist_ok=True)
    for number, folder in enumerate(config.datasets):
        build_dataset(folder, number)
    if config.workers == 1:
        threads = torch.get_num_threads()
        try:
            _worker(0, config, Group())
        finally:
            torch.set_num_threads(threads)
        return
    count = sum(
        p.numel() for m in make_networks(config, make_source(config)).modules().values() for p in m.parameters()
    )
    context = mp.get_context("spawn")
    board = torch.zeros(config.workers, count).share_memory_()
    progress = torch.zeros(1, dtype=torch.float64).share_memory_()
    group = Group(0, config.workers, board, context.Barrier(config.workers), progress)
    mp.spawn(_worker, args=(config, group), nprocs=config.workers, join=True)


def main(argv: list[str] | None = None) -> None:
    """The command line of `interactive3d train-prior`."""
    parser = argparse.ArgumentParser(prog="interactive3d train-prior", description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("out/prior"), help="folder for log, checkpoints and exports")
    parser.add_argument(
        "--dataset", type=Path, action="append", help="folder of generated objects, made where missing [out/objects]"
    )
    parser.add_argument("--export", type=Path, default=None, help="folder for the final weights")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--workers", type=int, default=None, help="processes with averaged gradients [2 on a CPU]")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batch", type=int, default=16, help="pictures a step, over all workers")
    parser.add_argument("--volume-steps", type=int, default=8000)
    parser.add_argument("--volume-minutes", type=float, default=None, help="ends the stage by time instead of steps")
    parser.add_argument("--unet-steps", type=int, default=10400)
    parser.add_argument("--unet-minutes", type=float, default=None)
    parser.add_argument("--watch-minutes", type=float, default=10.0, help="minutes between gates")
    a = parser.parse_args(argv)
    workers = a.workers or (2 if a.device == "cpu" and (os.cpu_count() or 1) > 1 else 1)
    train(
        TrainConfig(
            run=a.run,
            datasets=tuple(a.dataset or [Path("out/objects")]),
            export=a.export,
            seed=a.seed,
            device=a.device,
            workers=workers,
            volume=StageConfig(steps=a.volume_steps, minutes=a.volume_minutes, batch=12, rate=1e-3),
            unet=StageConfig(steps=a.unet_steps, minutes=a.unet_minutes, batch=a.batch),
            watch_minutes=a.watch_minutes,
        )
    )


if __name__ == "__main__":
    main()
