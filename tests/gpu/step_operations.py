"""How many operations a step of the main job starts outside of the diffusion model, and how many bytes they touch.

Counted on a card that is pretended, operation by operation, forwards and backwards; nothing is timed. `python -m tests.gpu.step_operations`
prints the table of docs/large_models.md.
"""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from interactive3d.dsl.program import GuidanceChoice, InitShape, Program
from interactive3d.dsl.values import Sphere
from interactive3d.runtime.engine.start import begin
from interactive3d.runtime.engine.trainer import StepNotes
from tests.gpu import pretend_cuda
from tests.gpu.pretend_cuda import PretendCuda, PretendTensor, pretended_kernels

IDLE = {
    "empty",
    "empty_like",
    "empty_strided",
    "new_empty",
    "new_empty_strided",
    "_unsafe_view",
    "lift_fresh",
    "detach",
}
"""Memory is handed out, or looked at otherwise; nothing is computed."""
LAST = "end"
"""What comes after the trainer's own last phase."""
GROWTH: tuple[tuple[str, float], ...] = (
    ("densify.start", 1),
    ("densify.every", 1),
    ("densify.prune_every", 1),
    ("densify.gradient", 1e-6),
    ("densify.cap", 1_000_000),
)
COLUMNS = ("blobs", "pictures", "tiny", "carried", "host", "bytes")
NARROW = (8, 8, 8, 8)
"""Widths of the models that stand in for the full-size ones: what they do is not counted."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """An operation: its name and phase, where it runs (`card`, `host`, or `carried` between them), over `blobs`, `pictures` or what is
    `tiny`, how many launches it is on a card, and the bytes of all tensors that it reads and writes.
    """

    name: str
    phase: str
    place: str
    over: str
    launches: int
    bytes: int


class Operations(TorchDispatchMode):
    """Writes down every operation while it lasts, without those of the models."""

    def __init__(self, blobs: int, side: int) -> None:
        super().__init__()
        self.blobs, self.side = blobs, side
        self.found: list[Operation] = []
        self._since: list[Operation] = []
        self._in_model = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        # What is made on a card is carried there by the pretence alone.
        if self._in_model or name in IDLE or func.is_view or pretend_cuda.doing == ["made", "carried"]:
            return found
        tensors = [t for t in tree_leaves((args, kwargs, found)) if isinstance(t, Tensor)]
        carried = pretend_cuda.doing == ["carried"]
        here = not pretend_cuda.doing and not any(isinstance(t, PretendTensor) for t in tensors)
        self._since.append(
            Operation(
                name="copy" if carried else name,
                phase="",
                place="carried" if carried else "host" if here else "card",
                over=self._over(tensors),
                launches=launches(name, args),
                bytes=sum(t.numel() * t.element_size() for t in tensors),
            )
        )
        return found

    def _over(self, tensors: list[Tensor]) -> str:
        if any(size >= self.blobs for t in tensors for size in t.shape):  # more of them where they grow
            return "blobs"
        return "pictures" if any(t.numel() >= self.side**2 for t in tensors) else "tiny"

    def phase(self, name: str) -> None:
        """What was written down since the last call belongs to this phase."""
        self.found += [dataclasses.replace(o, phase=name) for o in self._since]
        self._since.clear()

    def enter_model(self, _: Any = None) -> None:
        self._in_model += 1

    def leave_model(self, _: Any = None) -> None:
        self._in_model -= 1


def launches(name: str, args: Any) -> int:
    """One, but for lists of tensors that torch cannot take at once: those of other shapes than what they meet, and those with gaps."""
    if not name.startswith("_foreach_"):
        return 1
    lists = [a for a in args if isinstance(a, list | tuple) and a and isinstance(a[0], Tensor)]
    alike = all(len({t.shape for t in met}) == 1 for met in zip(*lists, strict=True))
    return 1 if alike and all(t.is_contiguous() for one in lists for t in one) else len(lists[0])


@contextmanager
def _models_left_out(operations: Operations, guidance: Any) -> Iterator[None]:
    """Neither what the denoiser and the VAE's encoder do nor the encoder's gradient is written down."""
    predict, encode = guidance.family.predict, guidance.vae.encode

    def predicted(*inputs: Any) -> Tensor:
        operations.enter_model()
        try:
            return predict(*inputs)
        finally:
            operations.leave_model()

    def encoded(pictures: Tensor) -> Any:
        operations.enter_model()
        try:
            found = encode(pictures)
        finally:
            operations.leave_model()
        # Backwards: from where the latents' gradient is known to where the pictures' is.
        found.latent_dist.mode().register_hook(operations.enter_model)
        pictures.register_hook(operations.leave_model)
        return found

    with patch.object(guidance.family, "predict", predicted), patch.object(guidance.vae, "encode", encoded):
        yield


def operations_of_a_step(
    guidance: Any, device: str, *, blobs: int, side: int, batch: int, pictures: int, growing: bool = False
) -> list[Operation]:
    """Those of the third step, for texts are read in the first: ``blobs`` splats, ``batch`` pictures of ``side`` pixels, which the model
    sees with ``pictures`` pixels. ``growing``: blobs are split, cloned and pruned in it.
    """
    program = Program(
        prompt="a red fox",
        steps=10_000,
        guidance=GuidanceChoice(name="diffusers"),
        initial=InitShape(count=blobs, shape=Sphere(center=(0.0, 0.0, 0.0), radius=0.5)),
        settings=(("guidance.size", side), ("camera.batch", batch), ("large.size", pictures), ("large.compile", "off")),
        folder=str(Path()),
    )
    trainer, state = begin(program, guidance, seed=0, device=device)
    for _ in range(2):
        state = trainer.step(state)
    for name, value in GROWTH if growing else ():
        state = dataclasses.replace(state, settings=state.settings.set(name, value))
    operations = Operations(blobs, side)
    done = StepNotes.done

    def noted(notes: StepNotes, what: str) -> None:
        operations.phase(what)
        done(notes, what)

    with patch.object(StepNotes, "done", noted), _models_left_out(operations, guidance), operations:
        trainer.step(state)
    operations.phase(LAST)
    return operations.found


def summed(operations: list[Operation]) -> dict[str, dict[str, int]]:
    """By phase: launches on the card over blobs, over pictures and tiny ones, copies between the devices, operations on the host, and
    bytes on the card.
    """
    table: dict[str, dict[str, int]] = {}
    for o in operations:
        row = table.setdefault(o.phase, dict.fromkeys(COLUMNS, 0))
        if o.place == "card":
            row[o.over] += o.launches
            row["bytes"] += o.bytes
        else:
            row[o.place] += 1
    return table


@contextmanager
def narrow_model(tokenizer: Any) -> Iterator[Any]:
    """A Stable Diffusion of narrow layers on a pretended card, in a number format that is not the pictures', as on a card."""
    from tests.gpu.test_main_job import guidance_on

    with (
        patch.object(torch.cuda, "mem_get_info", lambda *_: (10**12, 10**12)),
        patch.object(torch.cuda, "empty_cache", lambda: None),
        pretended_kernels(),
        PretendCuda(),
    ):
        yield guidance_on("cuda", torch.bfloat16, tokenizer, NARROW)


def main() -> None:
    """Prints the table, at the size of the main job and with 100,000 blobs."""
    from tests.gpu.test_main_job import tokenizer

    torch.set_num_threads(1)
    with narrow_model(tokenizer.__wrapped__()) as guidance:
        for growing in (False, True):
            found = operations_of_a_step(
                guidance, "cuda", blobs=100_000, side=256, batch=4, pictures=512, growing=growing
            )
            print("| phase |", " | ".join(COLUMNS), "|")
            for phase, row in summed(found).items():
                print(
                    "|",
                    phase,
                    "|",
                    " | ".join(f"{row[c] / 1e6:.0f} MB" if c == "bytes" else str(row[c]) for c in COLUMNS),
                    "|",
                )


if __name__ == "__main__":
    main()
