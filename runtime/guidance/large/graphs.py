"""CUDA graphs of what a score computes: the encoder there and back, and the denoiser.

A step starts some 1500 kernels, most of which take less time than the processor needs to start them: on an H200 a third of a step was
spent waiting for it (docs/large_models.md). A graph is recorded once and then started as a whole. It reads and writes the same memory
each time, so inputs are copied in and outputs out of it.
"""

import contextlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from interactive3d.runtime.guidance.large.families import Family
from interactive3d.runtime.guidance.large.loading import first_line

MOST_FORMS = {"denoiser": 4, "encoder": 2}
"""Kinds of inputs of which graphs are kept, each with memory of its own; for another the one that was used longest ago is forgotten."""

Work = Callable[..., Tensor]


def against(asked: str, device: torch.device, rung: str, family: Family) -> str | None:
    """Why nothing is recorded; None where it is."""
    if asked == "off":
        return "large.graphs is off"
    if device.type != "cuda":
        return "graphs are CUDA's"
    if rung != "full":
        return f"the rung {rung} of the memory ladder slices or moves the models"
    if not family.recordable:
        return f"{family.name} makes tensors on the processor while it predicts"
    return None


def form_of(inputs: tuple[Tensor, ...]) -> Hashable:
    """What a graph depends on but for the numbers."""
    return tuple((tuple(t.shape), t.dtype, t.stride()) for t in inputs)


@dataclass
class Recorded:
    """A graph, the memory that it reads and what it writes; and the graph of the gradient where there is one."""

    graph: Any
    inputs: tuple[Tensor, ...]
    output: Tensor
    back: Any = None
    grad: Tensor | None = None
    found: Tensor | None = None

    def run(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """The output for other numbers."""
        with torch.no_grad():
            for kept, given in zip(self.inputs, inputs, strict=True):
                kept.copy_(given)
        self.graph.replay()
        # What it gives is written over when it is started again.
        return self.output.detach().clone()


@dataclass
class _Form:
    """Of inputs of one kind: how often they have come, and their graph once it is recorded."""

    seen: int = 0
    recorded: Recorded | None = None


@dataclass
class Graphs:
    """The graphs of one guidance. Inputs of a kind run as they are the first time, which lets libraries choose their kernels, and are
    recorded the second time. Whatever goes wrong then is one message, and everything runs as it is from there on.
    """

    device: torch.device
    tell: Callable[[str], None]
    reason: str | None = "no score was asked for"
    """Why nothing is recorded; None where it is."""
    _failed: tuple[Hashable, str] | None = None
    _forms: dict[Hashable, _Form] = field(default_factory=dict)
    _prepared: Hashable = None

    def prepare(self, asked: str, rung: str, family: Family, models: Hashable) -> None:
        """Forgets what was recorded of other ``models``, or where the setting or the rung has changed."""
        prepared = (asked, rung, models)
        if prepared == self._prepared:
            return
        self.forget()
        self._prepared = prepared
        failed = self._failed is not None and self._failed[0] == prepared
        self.reason = self._failed[1] if failed and self._failed else against(asked, self.device, rung, family)

    def wanted(self, asked: str, rung: str, family: Family) -> bool:
        """Whether scores are to be recorded, also where that has failed: who is short of memory is not to be compiled in its place."""
        return against(asked, self.device, rung, family) is None

    def forget(self) -> None:
        """Lets the graphs and their memory go."""
        self._forms.clear()
        self._prepared = None

    @property
    def any(self) -> bool:
        """Whether there are graphs, which hold memory."""
        return any(form.recorded is not None for form in self._forms.values())

    def described(self) -> str:
        """For the run's record: what is recorded, or why not."""
        if self.reason is not None:
            return f"no: {self.reason}"
        names = sorted({str(key[0]) for key, form in self._forms.items() if form.recorded})  # type: ignore[index]
        return ", ".join(names) or "no: too few scores"

    def predict(self, work: Work, *inputs: Tensor) -> Tensor:
        """``work(*inputs)``, without gradient."""
        form = self._form("denoiser", inputs)
        if form is None:
            return work(*inputs)
        if form.recorded is None:
            form.recorded = self._record(work, inputs)
        return work(*inputs) if form.recorded is None else form.recorded.run(inputs)

    def encode(self, work: Work, given: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """``work(given)``, and what brings a gradient of it back to one of ``given``."""
        form = self._form("encoder", (given,))
        if form is not None and form.recorded is None:
            form.recorded = self._record(work, (given,), both_ways=True)
        if form is None or form.recorded is None:
            leaf = given.detach().requires_grad_(True)
            with torch.enable_grad():
                output = work(leaf)
            return output.detach(), lambda grad: torch.autograd.grad(output, leaf, grad)[0]
        recorded = form.recorded

        def back(grad: Tensor) -> Tensor:
            assert recorded.grad is not None and recorded.found is not None
            recorded.grad.copy_(grad)
            recorded.back.replay()
            return recorded.found.clone()

        return recorded.run((given,)), back

    def _form(self, name: str, inputs: tuple[Tensor, ...]) -> _Form | None:
        """Where a graph of such inputs is or is to be kept; None where they run as they are this time."""
        if self.reason is not None:
            return None
        key = (name, form_of(inputs))
        form = self._forms.pop(key, None) or _Form()
        of_name = [k for k in self._forms if k[0] == name]  # type: ignore[index]
        for oldest in of_name[: max(0, len(of_name) + 1 - MOST_FORMS[name])]:
            del self._forms[oldest]
        self._forms[key] = form
        form.seen += 1
        return form if form.seen > 1 else None

    def _record(self, work: Work, inputs: tuple[Tensor, ...], both_ways: bool = False) -> Recorded | None:
        try:
            return record(work, inputs, both_ways)
        except Exception as error:  # drivers, libraries and networks refuse in as many ways as there are of them
            said = first_line(error)
        # Only now that the error is gone, which held what was under way.
        self.give_up(f"recording failed: {said}")
        return None

    def give_up(self, reason: str) -> None:
        """Everything runs as it is from now on, which is said; until other models or settings come."""
        self._forms.clear()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.reason, self._failed = reason, (self._prepared, reason)
        self.tell(f"CUDA graphs: {reason}; going on without (large.graphs off keeps it from being tried)")


def record(work: Work, inputs: tuple[Tensor, ...], both_ways: bool) -> Recorded:
    """Records ``work`` on copies of its inputs, and its gradient with respect to the first of them."""
    kept = tuple(t.detach().clone(memory_format=torch.preserve_format) for t in inputs)
    if not both_ways:
        with torch.no_grad():
            graph, output = _captured(lambda: work(*kept))
        return Recorded(graph, kept, output)
    kept[0].requires_grad_(True)
    with torch.enable_grad():
        graph, output = _captured(lambda: work(*kept))
    grad = torch.zeros_like(output)
    # What is kept for the gradient has to stay where it is, so the graph of autograd is not let go.
    back, found = _captured(lambda: torch.autograd.grad(output, kept[0], grad, retain_graph=True)[0])
    return Recorded(graph, kept, output, back, grad, found)


def _captured(work: Callable[[], Tensor]) -> tuple[Any, Tensor]:
    graph, pool, before = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle(), torch.cuda.current_stream()
    try:
        # Other threads may use the card meanwhile: the window's painter.
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            found = work()
    except BaseException:
        # A recording that the driver has broken off leaves torch on the stream, and the memory, that it was made on.
        torch.cuda.set_stream(before)
        with contextlib.suppress(Exception):
            torch._C._cuda_endAllocateToPool(before.device_index, pool)
        raise
    return graph, found
