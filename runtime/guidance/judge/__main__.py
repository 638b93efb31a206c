"""`python -m interactive3d.runtime.guidance.judge train --out FOLDER --minutes N` and `... measure`."""

import argparse
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m interactive3d.runtime.guidance.judge")
    commands = parser.add_subparsers(dest="command", required=True)
    trainer = commands.add_parser("train", help="train, or go on training")
    trainer.add_argument("--out", type=Path, required=True, help="folder for config.json and model.safetensors")
    trainer.add_argument("--work", type=Path, default=None, help="folder for renders and the state to resume from")
    trainer.add_argument("--minutes", type=float, default=12.0)
    trainer.add_argument("--steps", type=int, default=4500)
    trainer.add_argument("--objects", type=int, default=1040)
    trainer.add_argument("--threads", type=int, default=1)
    measurer = commands.add_parser("measure", help="accuracy on unseen renders, clean and degraded")
    measurer.add_argument("--weights", type=Path, default=None)
    measurer.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args(arguments)
    import torch

    torch.set_num_threads(chosen.threads)
    torch.set_flush_denormal(True)  # the moments of rare words become denormal, and slow
    if chosen.command == "train":
        from interactive3d.runtime.guidance.judge.training import Training, train

        settings = Training(minutes=chosen.minutes, steps=chosen.steps, objects=chosen.objects)
        train(chosen.out, settings, chosen.work, progress=lambda line: print(line, flush=True))
        return 0
    from interactive3d.runtime.guidance.judge.judge import WEIGHTS, Judge
    from interactive3d.runtime.guidance.judge.measuring import measure

    for line in measure(Judge.load(chosen.weights or WEIGHTS)):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
