"""Objects made from a list of prompts, and how well each is recognised: R-Precision (paper table 1), time and memory.

R-Precision, 1 of N: the share of objects whose own prompt the judge ranks first among all N prompts of the list, by the mean over the
views of the object; the stricter figure counts single views.
"""

import contextlib
import csv
import dataclasses
import hashlib
import io
import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from interactive3d.dsl.program import Program
from interactive3d.runtime.engine.hooks import Hooks
from interactive3d.runtime.engine.outputs import picture
from interactive3d.runtime.engine.session import Session
from interactive3d.runtime.engine.stage2 import scene_of
from interactive3d.runtime.engine.start import begin
from interactive3d.runtime.engine.state import RunState
from interactive3d.runtime.guidance.protocol import Guidance
from interactive3d.runtime.output.atomic import write_text
from interactive3d.runtime.output.pictures import SheetRow, contact_sheet, load_picture, save_picture
from interactive3d.runtime.output.problems import FileProblem
from interactive3d.runtime.output.splat_files import write_splats
from interactive3d.runtime.scene.camera import turntable

VIEWS = 8
SIDE = 256
ELEVATION = 15.0
SHEET_TILE = 96


class PictureJudge(Protocol):
    """What tells how well texts fit pictures."""

    def score(self, images: Float[Tensor, "b 3 h w"], prompts: list[str]) -> Float[Tensor, "b p"]:
        """Logits of each prompt for each picture."""
        ...


@dataclass(frozen=True, kw_only=True)
class Made:
    """What making one object took."""

    text: str
    seed: int
    steps: int
    seconds: float
    memory_gb: float
    blobs: int
    recipe: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """How an object was judged: the place of its own prompt, what was judged first, and the share of views that rank it first."""

    index: int
    text: str
    rank: int
    judged: str
    views: float
    made: Made


def read_prompts(path: Path) -> list[str]:
    """Prompts of a text file: one a line; empty lines and those that begin with ``#`` are left out.

    Raises:
        FileProblem: missing, not text, without a prompt, or one prompt is there twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise FileProblem(path, "there is no such file", "name a text file with one prompt a line") from None
    except (UnicodeDecodeError, IsADirectoryError):
        raise FileProblem(path, "is not a text file", "name a UTF-8 text file with one prompt a line") from None
    prompts = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    if not prompts:
        raise FileProblem(path, "holds no prompts", "write one prompt a line")
    twice = next((p for i, p in enumerate(prompts) if p in prompts[:i]), None)
    if twice is not None:
        raise FileProblem(path, f"holds the prompt {twice!r} twice, so no rank could tell them apart", "take one out")
    return prompts


def recipe_of(program: Program, side: int) -> str:
    """What must be the same for an object to be the same: everything that the program says but its prompt, and the pictures' size."""
    said = dataclasses.replace(program, prompt=None, sources=(), folder=".", params=())
    return hashlib.sha256(f"{said!r}/{side}".encode()).hexdigest()[:16]


def make_object(
    program: Program,
    guidance: Guidance,
    text: str,
    seed: int,
    device: str,
    stepped: Callable[[RunState, int], None] = lambda state, steps: None,
    started: Callable[[Session], None] = lambda session: None,
) -> tuple[RunState, bool]:
    """One object of a prompt, made as the program says; and whether it was finished (``started`` may keep the session to stop it)."""
    asked = dataclasses.replace(program, prompt=text, seed=seed)
    trainer, state = begin(asked, guidance, seed=seed, device=device)
    hooks = Hooks(
        stepped=lambda s: stepped(s, trainer.steps), output=lambda o, s: "not written", checkpoint=lambda s, n: ""
    )
    session = Session(trainer, asked.operations, state, policy=asked.repair, hooks=hooks)
    started(session)
    state = session.advance()
    return state, session.finished


def views_of(state: RunState, side: int = SIDE, views: int = VIEWS) -> list[UInt8[np.ndarray, "h w 3"]]:
    """Pictures of an object from all around on white."""
    return [picture(scene_of(state), camera, side, side) for camera in turntable(views, elevation=ELEVATION)]


def as_tensor(views: Sequence[UInt8[np.ndarray, "h w 3"]]) -> Float[Tensor, "v 3 h w"]:
    """Pictures as a judge wants them, 0 .. 1."""
    return torch.stack([torch.from_numpy(np.ascontiguousarray(v)).permute(2, 0, 1).float() / 255 for v in views])


def ranked(scores: Float[Tensor, "v p"], index: int) -> tuple[int, int, float]:
    """Place of prompt ``index`` by the mean over views (1 is best), the prompt in front, and the share of views that put it first."""
    order = scores.mean(0).argsort(descending=True).tolist()
    return order.index(index) + 1, order[0], float((scores.argmax(1) == index).float().mean())


class Evaluation:
    """A folder in which objects of a list of prompts are made and judged. What is made is not made again."""

    def __init__(self, folder: Path, program: Program, prompts: list[str], *, seed: int, device: str, side: int = SIDE):
        self.folder, self.program, self.prompts = folder, program, prompts
        self.seed, self.device, self.side = seed, device, side
        self.recipe = recipe_of(program, side)
        self._running: Session | None = None
        self._stopped = False
        folder.mkdir(parents=True, exist_ok=True)

    def stop(self) -> None:
        """Makes ``make`` return at the next step; what is unfinished will be begun anew."""
        self._stopped = True
        if self._running is not None:
            self._running.stop()

    def _place(self, index: int, suffix: str) -> Path:
        return self.folder / "objects" / f"{index:03d}{suffix}"

    def made(self, index: int) -> Made | None:
        """What was made before, or None.

        Raises:
            FileProblem: it was made in another way, or of another prompt.
        """
        note = self._place(index, ".json")
        if not note.exists():
            return None
        try:
            made = Made(**json.loads(note.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise FileProblem(note, f"is damaged ({error})", "delete it; its object is made again") from None
        if (made.text, made.recipe, made.seed) != (self.prompts[index], self.recipe, self.seed + index):
            raise FileProblem(
                note,
                "is of another prompt, script, seed or setting than this evaluation",
                "give another folder with --out, or delete this one",
            )
        return made

    def make(
        self, index: int, guidance: Guidance, stepped: Callable[[RunState, int], None] = lambda state, steps: None
    ) -> Made | None:
        """Makes one object and its pictures, or finds them made; None when it was stopped on the way."""
        found = self.made(index)
        if found is not None:
            return found
        if self._stopped:
            return None
        started = time.monotonic()
        memory = PeakMemory(self.device)
        state, finished = make_object(
            self.program, guidance, self.prompts[index], self.seed + index, self.device, stepped, self._keep
        )
        self._running = None
        if not finished:
            return None
        made = Made(
            text=self.prompts[index],
            seed=self.seed + index,
            steps=state.step,
            seconds=round(time.monotonic() - started, 2),
            memory_gb=round(memory.gigabytes(), 3),
            blobs=len(state.model),
            recipe=self.recipe,
        )
        if len(state.model):
            write_splats(state.model, self._place(index, ".ply"))
        save_picture(self._place(index, ".png"), np.concatenate(views_of(state, self.side), axis=1))
        # The note comes last: where it is, the rest is whole.
        write_text(self._place(index, ".json"), json.dumps(dataclasses.asdict(made), indent=1))
        return made

    def _keep(self, session: Session) -> None:
        self._running = session
        if self._stopped:
            session.stop()

    def views(self, index: int) -> list[UInt8[np.ndarray, "h w 3"]]:
        """The pictures of an object that was made."""
        strip = (load_picture(self._place(index, ".png")) * 255 + 0.5).byte().numpy()
        return [strip[:, i * self.side : (i + 1) * self.side] for i in range(strip.shape[1] // self.side)]

    def judged(self, index: int, made: Made, judge: PictureJudge) -> Row:
        """The object's row in the table."""
        rank, first, views = ranked(judge.score(as_tensor(self.views(index)), self.prompts), index)
        return Row(index=index, text=made.text, rank=rank, judged=self.prompts[first], views=views, made=made)

    def write(self, rows: Sequence[Row], judge: str, guidance: dict[str, str]) -> dict[str, Any]:
        """results.csv, results.json and sheet.png; returns the summary."""
        summary = self.summary(rows, judge, guidance)
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(
            ("prompt", "rank", "judged_as", "views_first", "seconds", "memory_gb", "steps", "blobs", "seed")
        )
        for row in rows:
            made = row.made
            writer.writerow(
                (
                    row.text,
                    row.rank,
                    row.judged,
                    f"{row.views:.3f}",
                    made.seconds,
                    made.memory_gb,
                    made.steps,
                    made.blobs,
                    made.seed,
                )
            )
        write_text(self.folder / "results.csv", table.getvalue())
        whole = {**summary, "objects": [dataclasses.asdict(row) for row in rows]}
        write_text(self.folder / "results.json", json.dumps(whole, indent=1) + "\n")
        contact_sheet(
            [
                SheetRow(
                    title=row.text,
                    subtitle=f"rank {row.rank}" + ("" if row.rank == 1 else f", judged: {row.judged}"),
                    images=self.views(row.index),
                )
                for row in rows
            ],
            self.folder / "sheet.png",
            heading=f"R-Precision {summary['r_precision']:.2f} (1 of {len(self.prompts)}), {judge}",
            tile=SHEET_TILE,
        )
        return summary

    def summary(self, rows: Sequence[Row], judge: str, guidance: dict[str, str]) -> dict[str, Any]:
        """The figures of the whole."""
        seconds = [row.made.seconds for row in rows]
        return {
            "r_precision": sum(row.rank == 1 for row in rows) / len(rows),
            "r_precision_of_single_views": sum(row.views for row in rows) / len(rows),
            "objects_judged": len(rows),
            "prompts": len(self.prompts),
            "judge": judge,
            "guidance": guidance,
            "steps": rows[0].made.steps,
            "seconds_median": statistics.median(seconds),
            "seconds_longest": max(seconds),
            "memory_gb_highest": max(row.made.memory_gb for row in rows),
            "device": self.device,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "platform": platform.platform(),
            "recipe": self.recipe,
        }


class PeakMemory:
    """The highest memory in use since it was made: of the device with CUDA, else of the process."""

    def __init__(self, device: str) -> None:
        self.cuda = device.startswith("cuda")
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
            return
        # Linux forgets the peak when told so; elsewhere it is that of the whole life of the process.
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")

    def gigabytes(self) -> float:
        """In units of 2^30 bytes."""
        if self.cuda:
            return torch.cuda.max_memory_allocated() / 2**30
        status = Path("/proc/self/status")
        if status.exists():
            for line in status.read_text().splitlines():
                if line.startswith("VmHWM"):
                    return int(line.split()[1]) / 2**20
        import resource
        import sys

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**30 if sys.platform == "darwin" else 2**20)
