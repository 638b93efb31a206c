"""The models that a score runs, compiled by torch (`large.compile`), and the way back to running them as they are.

They are compiled in place, so that their weights keep their names and places. A U-Net of Stable Diffusion is compiled whole, for hardly two of
its blocks have the same shape; a transformer block by block, for its blocks are alike and are compiled once. Nothing here may cost a
step: what goes wrong while the models are compiled is said, and the step is taken with the models as they are.
"""

import logging
import os
import shutil
import sysconfig
import time
import warnings
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, nullcontext
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from interactive3d.runtime.guidance.large.families import Family
from interactive3d.runtime.guidance.large.loading import first_line
from interactive3d.runtime.guidance.large.memory import ran_out

LEAST_STEPS = 4000
"""Steps of a run from which on `auto` compiles: two minutes of compiling, as on an H200, against some 30 ms saved a step; of the families that
it compiles none has been timed."""
OWN_FORMS = 4
"""Forms of a score (numbers of pictures and texts) that are compiled each for itself, so that bits do not depend on what was asked before;
what comes then is compiled once for any number."""
MOST_GRAPHS = 128
"""Compiled graphs of one class: a large U-Net has a dozen kinds of blocks, in each of the forms. torch's own limit is 8."""
TOOLS = ("cc", "gcc", "clang", "g++", "c++", "cl")


def inductor(graph: Any, inputs: Any) -> Any:
    """A graph and examples of its inputs, compiled by torch's own compiler."""
    from torch._inductor.compile_fx import compile_fx

    return compile_fx(graph, inputs)


def regions(pipeline: Any, family: Family) -> dict[str, list[nn.Module]]:
    """What is compiled of a pipeline, by name: the denoiser or its repeated blocks, and the VAE's encoder."""
    denoiser = getattr(pipeline, family.denoiser)
    blocks = [module for module in denoiser.modules() if type(module).__name__ in family.blocks]
    found = {family.denoiser: blocks or [denoiser]}
    if hasattr(pipeline, "vae"):
        found["vae.encoder"] = [pipeline.vae.encoder]
    return found


def missing_tool(device: torch.device) -> str | None:
    """What compiling for a device lacks on this machine; None where nothing is known to be missing."""
    if device.type == "cuda" and find_spec("triton") is None:
        return "Triton is not installed"
    chosen = os.environ.get("CC") or os.environ.get("CXX")
    if not any(shutil.which(name) for name in ((chosen,) if chosen else TOOLS)):
        return "there is no C compiler"
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        return "Python's header files are not installed (Python.h)"
    return None


def against(asked: str, device: torch.device, rung: str, steps: int | None, recorded: bool = False) -> str | None:
    """Why the models are not compiled; None where they are. ``steps`` are the run's, None where they are not known; ``recorded`` says
    whether the models are left to CUDA graphs.
    """
    if asked == "off":
        return "large.compile is off"
    if rung != "full":
        return f"the rung {rung} of the memory ladder slices or moves the models"
    if asked == "on":
        return "Triton is not installed" if device.type == "cuda" and find_spec("triton") is None else None
    if device.type != "cuda":
        return "large.compile auto compiles on CUDA only"
    if recorded:
        return "they are left to CUDA graphs (large.graphs)"
    missing = missing_tool(device)
    if missing is not None:
        return missing
    if steps is None or steps < LEAST_STEPS:
        return f"large.compile auto compiles for runs of {LEAST_STEPS} steps and more"
    return None


def describe_compiling(device: torch.device) -> str:
    """Whether the models could be compiled here, for ``doctor``."""
    missing = missing_tool(device)
    if missing is not None:
        return f"not possible: {missing}"
    if device.type != "cuda":
        return "possible on the CPU (set large.compile on); auto compiles on CUDA only"
    try:
        triton = f"Triton {version('triton')}"
    except PackageNotFoundError:  # another build of it
        triton = "Triton"
    return f"by {triton}, for runs of {LEAST_STEPS} steps and more that are not recorded as CUDA graphs (large.compile)"


@contextmanager
def dynamo_settings(any_number: bool) -> Iterator[None]:
    """How torch decides on compiling again: for any number of pictures or for each by itself, and by nothing that an earlier run left."""
    import torch._dynamo as dynamo
    import torch._functorch.config as functorch

    # `cache_size_limit` is the limit's first name, which is still understood.
    wanted = {
        "cache_size_limit": MOST_GRAPHS,
        "automatic_dynamic_shapes": any_number,
        "automatic_dynamic_local_pgo": False,
    }
    known = {name: value for name, value in wanted.items() if hasattr(dynamo.config, name)}
    # The encoder's gradient is recorded on what its forward pass has kept, which must not be written over.
    kept = functorch.patch({"donated_buffer": False}) if hasattr(functorch, "donated_buffer") else nullcontext()
    with dynamo.config.patch(known), kept:
        yield


@contextmanager
def unwarned() -> Iterator[None]:
    """Without the warnings of torch's compiler about its own ways."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Compiling:
    """The compiled models of a guidance, and what is to be said of them.

    ``parts`` names what is compiled now, ``reason`` says why nothing is.
    """

    def __init__(self, device: torch.device, tell: Callable[[str], None]) -> None:
        self.device, self.tell = device, tell
        self.parts: tuple[str, ...] = ()
        self.reason = "no score was asked for"
        self.changes = 0
        """Grows whenever the models come to be run in another way."""
        self._modules: list[nn.Module] = []
        self._prepared: tuple[str, str, bool] | None = None
        self._failed: dict[str, str] = {}
        self._said = False
        self._graphs = self._graphs_before = 0
        self._forms: set[Hashable] = set()
        # One and the same for all modules and for good: torch keeps what is compiled by backend.
        self._backend = self._compile

    def described(self) -> str:
        """For the run's record: what is compiled, or why not."""
        return ", ".join(self.parts) if self.parts else f"no: {self.reason}"

    # -- there and back -------------------------------------------------------------------------------------------------
    def prepare(
        self, pipeline: Any, family: Family, asked: str, rung: str, steps: int | None, recorded: bool = False
    ) -> None:
        """Marks the models to be compiled when they are next run, or takes that back, as the setting and the rung say.

        What has failed is tried again when the setting is turned. A run that becomes longer or shorter on the way changes nothing.
        """
        if (asked, rung, recorded) == self._prepared:
            return
        self.undo()
        self._prepared = (asked, rung, recorded)
        self._failed = {a: why for a, why in self._failed.items() if a == asked}
        reason = self._failed.get(asked) or against(asked, self.device, rung, steps, recorded)
        if reason is not None:
            self._say_why_not(asked, reason, recorded)
            return
        if "TORCH_LOGS" not in os.environ:
            # They print the stacks of errors that are met here.
            for name in ("torch._dynamo", "torch._inductor"):
                logging.getLogger(name).setLevel(logging.CRITICAL)
        torch.compiler.reset()  # what another run in this process has compiled
        found = regions(pipeline, family)
        self.changes += 1
        self.parts = tuple(found)
        self._modules = [module for modules in found.values() for module in modules]
        try:
            for module in self._modules:
                module.compile(backend=self._backend, fullgraph=True)
        except Exception as error:  # a Python or a platform without torch's compiler
            self._give_up(error)

    def undo(self) -> None:
        """The models run as they are, until the next ``prepare``; nothing of them is held here."""
        self._prepared = None
        if not self._modules:
            return
        self.changes += 1
        for module in self._modules:
            module._compiled_call_impl = None  # what Module.compile sets; torch has no way back of its own
        self.parts, self._modules = (), []
        self._graphs = self._graphs_before = 0
        self._forms.clear()
        torch.compiler.reset()

    def _say_why_not(self, asked: str, reason: str, recorded: bool) -> None:
        self.reason = reason
        if asked in self._failed:
            return
        if asked == "on":
            self.tell(f"large.compile has no effect: {reason}")
        elif asked == "auto" and self.device.type == "cuda" and not recorded and not self._said:
            self._said = True
            self.tell(f"the models are not compiled: {reason}")

    # -- a score --------------------------------------------------------------------------------------------------------
    @contextmanager
    def watched(self, form: Hashable) -> Iterator[None]:
        """A score with the models as they are prepared; says how long it took if something was compiled in it.

        ``form`` is what the shapes of the models' inputs follow from.
        """
        if not self.parts:
            yield
            return
        started, self._graphs_before = time.perf_counter(), self._graphs
        new = form not in self._forms
        self._forms.add(form)
        with dynamo_settings(any_number=len(self._forms) > OWN_FORMS), unwarned() if new else nullcontext():
            yield
        if self._graphs > self._graphs_before:
            self.tell(f"compiled: the step took {time.perf_counter() - started:.0f} s; the next ones are quick")

    def gives_up(self, error: Exception) -> bool:
        """Whether an error is taken for one of compiling, so that the same score is worth another try with the models as they are.

        Memory that runs out after the models were compiled is not: that is for the memory ladder.
        """
        if not self.parts or (ran_out(error) and self._graphs == self._graphs_before):
            return False
        self._give_up(error)
        return True

    def _give_up(self, error: Exception) -> None:
        prepared = self._prepared
        self.undo()
        assert prepared is not None
        self._prepared = prepared
        self.reason = self._failed[prepared[0]] = f"compiling failed: {reason_of(error)}"
        self.tell(f"{self.reason}; going on without (large.compile off keeps it from being tried)")

    def _compile(self, graph: Any, inputs: Any) -> Any:
        """torch's compiler, which is called once for every graph; said aloud once a score."""
        if self._graphs == self._graphs_before:
            what = ", ".join(self.parts)
            again = "compiling again, for another number of pictures or texts" if self._graphs else "compiling"
            self.tell(f"{again}: {what}, for {self.device.type}; this step takes a minute or more (large.compile)")
        self._graphs += 1
        return inductor(graph, inputs)


def reason_of(error: Exception) -> str:
    """The first line of what went wrong in the compiler, without its wrapping."""
    inner = getattr(error, "inner_exception", None)
    if isinstance(inner, Exception):
        return reason_of(inner)
    if type(error).__name__ == "FailOnRecompileLimitHit":
        return f"pictures of more than {MOST_GRAPHS} forms were asked for"
    line = first_line(error)
    return line if len(line) <= 200 else line[:199] + "…"
