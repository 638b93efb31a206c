"""A CUDA device that is not there: tensors that say they lie on it, while their numbers are computed on the CPU.

What cannot be seen without a card is how fast it is and how it rounds. What can: whether code mixes tensors of two devices, hands
numpy or a CPU generator to the card, or makes the processor wait for it. Here such mixing raises what torch raises on a card, and
every wait is written down with the line that caused it. As the numbers are the CPU's own, a whole run must end with the CPU's bits.

torch's own FakeTensorMode has no numbers, so the first `if tensor.any()` stops it; a step of this project has several.
"""

import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

from interactive3d.kernels import _library, hash_grid, splat_raster
from interactive3d.runtime.view.latest import Latest

CUDA = torch.device("cuda", 0)
CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]
OURS = tuple(str(ROOT / folder) for folder in ("runtime", "kernels"))

READS = {"_local_scalar_dense", "equal", "is_nonzero"}
"""A number goes to the processor."""
COUNTS = {"nonzero", "masked_select", "unique", "_unique2", "unique_dim", "bincount", "multinomial"}
"""The size of the result, or a check of the input, is read by the processor."""
CHECKED = {"_linalg_svd", "_linalg_eigh", "linalg_inv_ex", "_linalg_det", "linalg_lu_factor_ex", "_linalg_solve_ex"}
"""cuSOLVER's calls, whose status is read."""
COUNTED_KERNELS = {"splat_raster_forward", "march_rays"}
"""Our own kernels that read a count from the device (csrc/cuda)."""
SPLIT_DEVICES = {"copy_", "_to_copy", "set_"}
FILLING = {"fill_", "masked_fill", "masked_fill_", "index_fill", "where"}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}


doing: list[str] = []
"""What the pretence does by itself at this moment: `made`, what a card would fill where it lies, and `carried`, a copy between devices."""


@contextlib.contextmanager
def _doing(what: str) -> Iterator[None]:
    doing.append(what)
    try:
        yield
    finally:
        doing.pop()


@dataclass(frozen=True)
class Wait:
    """The processor waited for the card: for what, and the innermost line of ours that asked."""

    what: str
    where: str


class PretendTensor(Tensor):
    """A tensor that says it is on CUDA. ``numbers`` are its numbers, on the CPU."""

    numbers: Tensor

    @staticmethod
    def __new__(cls, real: Tensor) -> "PretendTensor":
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            real.size(),
            strides=real.stride(),
            storage_offset=real.storage_offset(),
            dtype=real.dtype,
            device=CPU,  # autograd's engine has no thread for a device that is not linked
        )
        made.numbers = real
        return made

    device = property(lambda self: CUDA)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]

    def __repr__(self) -> str:  # type: ignore[override]
        return f"PretendTensor({self.numbers!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        _check(func, args, kwargs)
        real_args, real_kwargs = tree_map_only(PretendTensor, lambda t: t.numbers, (args, kwargs))
        name = func.overloadpacket.__name__
        if name == "copy_" and not isinstance(args[0], PretendTensor):
            func(*real_args, **real_kwargs)
            return args[0]
        found = tree_map_only(Tensor, PretendTensor, func(*real_args, **real_kwargs))
        return return_and_correct_aliasing(func, args, kwargs, found)


class _Move(torch.autograd.Function):
    """From one device to the other, and the gradient back."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, to_cuda: bool) -> Tensor:
        ctx.back = isinstance(tensor, PretendTensor)
        real = tensor.numbers if isinstance(tensor, PretendTensor) else tensor.detach()
        with _doing("carried"):
            return PretendTensor(real.clone()) if to_cuda else real.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # type: ignore[override]
        here = isinstance(gradient, PretendTensor)
        real = gradient.numbers if here else gradient
        with _doing("carried"):
            return (PretendTensor(real.clone()) if ctx.back else real.clone()), None


class PretendCuda(TorchFunctionMode):
    """While it lasts, `cuda` is a device that tensors can be moved to. ``waits`` are those of the processor for it."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[Wait] = []

    def __enter__(self) -> "PretendCuda":
        _active.append(self)
        # Parameters are exchanged when their module moves, for a pretended tensor has no memory that could be written into.
        self._restore = contextlib.ExitStack()
        self._restore.enter_context(_inference_is_no_grad())
        for name, stands_in in (
            ("Stream", PretendStream),
            ("stream", _using),
            ("default_stream", lambda device=None: DEFAULT_STREAM),
        ):
            self._restore.enter_context(mock.patch.object(torch.cuda, name, stands_in))
        self._overwrote = torch.__future__.get_overwrite_module_params_on_conversion()
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        return super().__enter__()

    def __exit__(self, *exception: Any) -> None:
        _active.remove(self)
        self._restore.close()
        torch.__future__.set_overwrite_module_params_on_conversion(self._overwrote)
        super().__exit__(*exception)

    def counted(self) -> Counter[Wait]:
        """How often each line waited for what."""
        return Counter(self.waits)

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name in ("to", "cpu", "cuda") and args and isinstance(args[0], Tensor):
            return _moved(name, *args, **kwargs)
        if name in ("numpy", "__array__") and isinstance(args[0], PretendTensor):
            raise TypeError(
                "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first."
            )
        if name == "tolist" and isinstance(args[0], PretendTensor):
            _wait("tolist")
            return args[0].numbers.tolist()
        if name == "data_ptr" and isinstance(args[0], PretendTensor):
            raise RuntimeError("a pretended tensor has no address")
        if name == "pin_memory":
            return args[0]
        kwargs.pop("pin_memory", None)
        wanted = kwargs.get("device")
        if wanted is None or not (_is_cuda(wanted) or torch.device(wanted).type == "cpu"):
            return func(*args, **kwargs)
        to_cuda = _is_cuda(wanted)
        del kwargs["device"]
        generator = kwargs.get("generator")
        if to_cuda and isinstance(generator, torch.Generator):
            raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
        given = name in ("tensor", "as_tensor", "asarray")
        with contextlib.nullcontext() if given else _doing("made"):
            found = func(*args, **kwargs)
            if not isinstance(found, Tensor) or isinstance(found, PretendTensor) == to_cuda:
                return found
            if given:
                _wait("copied to the device")
            wants_gradient = found.requires_grad and found.is_leaf
            moved = _Move.apply(found.detach() if wants_gradient else found, to_cuda)
        return moved.requires_grad_() if wants_gradient else moved


class PretendStream:
    """A stream: nothing runs in it, for everything has been done when it was asked. ``waits_for`` are the streams it was told to wait for."""

    def __init__(self, device: Any = None, priority: int = 0) -> None:
        self.device, self.priority = torch.device(device), priority
        self.waits_for: list[Any] = []
        streams.append(self)

    def wait_stream(self, other: Any) -> None:
        self.waits_for.append(other)

    def synchronize(self) -> None:
        _wait("all of a stream")


streams: list[PretendStream] = []
"""Those that were made, the default one not among them."""
DEFAULT_STREAM = "the default stream"
in_use: list[PretendStream] = []


@contextlib.contextmanager
def _using(stream: PretendStream) -> Iterator[None]:
    in_use.append(stream)
    try:
        yield
    finally:
        in_use.pop()


class AtOnce(Latest):
    """Does its work in the caller's thread: the pretence ends where another one begins."""

    def request(self, job: Any) -> None:
        try:
            self._result = self.work(job)
        except Exception as problem:
            self._error = problem


_active: list[PretendCuda] = []


@contextlib.contextmanager
def _inference_is_no_grad() -> Iterator[None]:
    """Wrapped tensors cannot be views in inference mode (`Cannot set version_counter for inference tensor`)."""
    kept = torch.inference_mode.__enter__, torch.inference_mode.__exit__

    def enter(self: Any) -> None:
        self._instead = torch.set_grad_enabled(not self.mode and torch.is_grad_enabled())
        self._instead.__enter__()

    torch.inference_mode.__enter__ = enter  # type: ignore[method-assign]
    torch.inference_mode.__exit__ = lambda self, *e: self._instead.__exit__(*e)  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.inference_mode.__enter__, torch.inference_mode.__exit__ = kept  # type: ignore[method-assign]


@contextlib.contextmanager
def pretended_kernels() -> Iterator[None]:
    """Our operators serve the pretended device as if their CUDA half had been loaded; no external package does."""
    kept = dict(_library._loaded), dict(_library._externals)
    for kernel in (splat_raster.KERNEL, hash_grid.KERNEL):
        here = _library.ensure(kernel, "cpu")
        _library._loaded[kernel.name, "cuda"] = _library.KernelStatus(
            kernel.name, "cuda", here.implementation, "pretended"
        )
        _library._externals[kernel.name, "cuda"] = None
    try:
        yield
    finally:
        for held, before in zip((_library._loaded, _library._externals), kept, strict=True):
            held.clear()
            held.update(before)  # type: ignore[arg-type]


def on_cuda(tensor: Tensor) -> PretendTensor:
    """A copy on the pretended device."""
    return PretendTensor(tensor.detach().clone())


def _is_cuda(device: Any) -> bool:
    if isinstance(device, int):
        return True
    return torch.device(device).type == "cuda"


def _moved(name: str, tensor: Tensor, *args: Any, device: Any = None, dtype: Any = None, **more: Any) -> Tensor:
    """`Tensor.to`, `.cpu` and `.cuda` with the rules of a machine that has both devices."""
    other = more.pop("other", None)
    non_blocking, copy = more.pop("non_blocking", False), more.pop("copy", False)
    if name == "cpu":
        device, args = CPU, ()
    elif name == "cuda":
        device, args = CUDA, ()
    left = list(args)
    if left and isinstance(left[0], Tensor):
        other = left.pop(0)
    elif left and not isinstance(left[0], torch.dtype):
        device = left.pop(0)
    if left and (left[0] is None or isinstance(left[0], torch.dtype)):
        dtype = left.pop(0)
    non_blocking, copy = (*left, *(non_blocking, copy)[len(left) :])[:2]
    if other is not None:
        device, dtype = other.device, other.dtype
    if tensor.device.type == "meta" or (
        device is not None and not isinstance(device, int) and torch.device(device).type == "meta"
    ):
        return torch.Tensor.to(tensor, device or tensor.device, dtype or tensor.dtype, copy=bool(copy), **more)
    here = isinstance(tensor, PretendTensor)
    there = here if device is None else _is_cuda(device)
    if there != here:
        if not there:
            _wait("copied to the processor")
        elif not non_blocking:
            _wait("copied to the device")
        tensor, copy = _Move.apply(tensor, there), False
    return torch.Tensor.to(tensor, tensor.dtype if dtype is None else dtype, copy=bool(copy), **more)


def _check(func: Any, args: Any, kwargs: Any) -> None:
    """Raises where torch would on a card, and writes down where it would wait."""
    name = func.overloadpacket.__name__
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    foreign = [t for t in tensors if not isinstance(t, PretendTensor)]
    if name in READS:
        _wait("read")
    elif name in COUNTS or name in CHECKED or name in COUNTED_KERNELS:
        _wait(name)
    elif name in INDEXING:
        _check_index(name, args, foreign)
        return
    elif name == "repeat_interleave":
        _wait(name)
    if not foreign:
        return
    if name == "copy_":
        blocking = not (len(args) > 2 and args[2]) and not kwargs.get("non_blocking", False)
        if not isinstance(args[0], PretendTensor):
            _wait("copied to the processor")
        elif blocking:
            _wait("copied to the device")
        return
    if name in SPLIT_DEVICES or _autograds_own_zeros(name, foreign):
        return
    # A number in a CPU tensor may meet a card's tensor in what is done element by element.
    if all(t.dim() == 0 for t in foreign) and (torch.Tag.pointwise in func.tags or name in FILLING):
        return
    raise RuntimeError(
        f"Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! ({func})"
    )


def _autograds_own_zeros(name: str, foreign: list[Tensor]) -> bool:
    """What the engine fills up gradients with: on a card it makes it where the forward pass was, here on the CPU."""
    inside = torch._C._current_autograd_node() is not None
    return inside and name in ("cat", "add", "add_", "where") and not any(bool(t.any()) for t in foreign)


def _check_index(name: str, args: Any, foreign: list[Tensor]) -> None:
    target, indices = args[0], [t for t in args[1] if t is not None]
    if not isinstance(target, PretendTensor):
        raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
    value = args[2] if len(args) > 2 else None
    if value is not None and not isinstance(value, PretendTensor) and value.dim() > 0:
        raise RuntimeError("expected value to be on the same device as the indexed tensor (cuda:0)")
    if any(not isinstance(t, PretendTensor) for t in indices):
        _wait("an index copied to the device")
    masks = [t for t in indices if t.dtype in (torch.bool, torch.uint8)]
    filled = value is not None and value.numel() == 1 and len(indices) == 1  # torch fills by the mask
    if masks and not filled:
        _wait("a mask as index")


def _wait(what: str) -> None:
    if not _active:
        return
    frame: FrameType | None = sys._getframe(1)
    chosen = None
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(OURS):
            chosen = frame
            break
        if chosen is None and file != __file__:  # a package of others, or the test itself
            chosen = frame
        frame = frame.f_back
    assert chosen is not None
    path = Path(chosen.f_code.co_filename)
    shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else Path(*path.parts[-3:])
    _active[-1].waits.append(Wait(what, f"{shown}:{chosen.f_lineno} {chosen.f_code.co_name}"))
