"""Where the kernels come from: a prebuilt library, a build cached from an earlier run, a fresh build, or the reference.

Every operator lives in torch's namespace `i3d`. Its schema is defined once, in Python (`define`); the plain-torch reference
is registered for every device at once, and native code, where it can be had, fills the dispatch keys CPU or CUDA in front
of it. Nothing is compiled or probed when this module is imported: the first call on a device does it (`ensure`).

For tests there is a second operator `reference_<name>` beside each `<name>`, which native code never fills, and
`use_implementation` to choose between the two.
"""

import contextlib
import contextvars
import importlib.util
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from interactive3d.kernels import _build
from interactive3d.kernels._build import BuildError

Implementation = Literal["native", "reference"]

FORCE_VARIABLE = "INTERACTIVE3D_KERNELS"  # "reference" forces the reference everywhere; shown by status()

_registry = torch.library.Library("i3d", "FRAGMENT")
_lock = threading.RLock()
_kernels: dict[str, "NativeKernel"] = {}
_loaded: dict[tuple[str, str], "KernelStatus"] = {}
_externals: dict[tuple[str, str], "KernelStatus | None"] = {}
_forced: contextvars.ContextVar[Implementation | None] = contextvars.ContextVar("i3d_implementation", default=None)


@dataclass(frozen=True)
class External:
    """A package that serves a kernel on CUDA where it is installed. `load` returns what serves, or raises BuildError."""

    package: str
    load: Callable[[], str]


@dataclass(frozen=True)
class NativeKernel:
    """The sources of one native library per device, relative to `csrc`. Headers are found by themselves."""

    name: str
    cpu: tuple[str, ...]
    cuda: tuple[str, ...] = ()
    external: External | None = None


@dataclass(frozen=True)
class KernelStatus:
    """Which implementation serves a kernel on a device ("native", "reference" or an external package), and why."""

    name: str
    device: str
    implementation: str
    reason: str


def define(name: str, schema: str, reference: Callable[..., Any], fake: Callable[..., Any]) -> None:
    """Defines `i3d::<name>` and `i3d::reference_<name>` with their reference and their fake implementation."""
    for full in (name, f"reference_{name}"):
        _registry.define(full + schema)
        _registry.impl(full, reference, "CompositeExplicitAutograd")
        torch.library.register_fake(f"i3d::{full}", fake, lib=_registry)


def define_autograd(name: str, setup: Callable[..., None], backward: Callable[..., Any]) -> None:
    """Registers the backward pass of both operators; `backward` gets the operator prefix ("" or "reference_") first."""
    for prefix in ("", "reference_"):

        def formula(ctx: Any, *grads: Any, _prefix: str = prefix) -> Any:
            return backward(_prefix, ctx, *grads)

        torch.library.register_autograd(f"i3d::{prefix}{name}", formula, setup_context=setup, lib=_registry)


def operator(name: str, kernel: NativeKernel, device: torch.device) -> Callable[..., Any]:
    """The operator to call for tensors on a device, after making sure that what can be loaded for it is loaded."""
    forced = _forced.get()
    if forced == "reference" or (forced is None and _reference_is_forced()):
        return getattr(torch.ops.i3d, f"reference_{name}")
    status = ensure(kernel, device.type)
    if forced == "native" and status.implementation != "native":
        raise BuildError(f"the native kernel '{kernel.name}' is not available on {device.type}: {status.reason}")
    return getattr(torch.ops.i3d, name)


def external(kernel: NativeKernel, device: str) -> KernelStatus | None:
    """The status of the external package that serves the kernel on a device type; None where none does or one is forced."""
    package = kernel.external
    if device != "cuda" or package is None or _forced.get() is not None or _reference_is_forced():
        return None
    key = (kernel.name, device)
    if key not in _externals:
        with _lock:
            if key not in _externals and not has_module(package.package):
                _externals[key] = None
            if key not in _externals:
                try:
                    _externals[key] = KernelStatus(kernel.name, device, package.package, package.load())
                except BuildError as error:
                    _externals[key] = None
                    _build.say(str(error))
    return _externals[key]


def _reference_is_forced() -> bool:
    return os.environ.get(FORCE_VARIABLE) == "reference"


@contextlib.contextmanager
def use_implementation(which: Implementation) -> Iterator[None]:
    """Forces one implementation for the calls made inside; "native" raises BuildError where there is none. For tests."""
    if which not in ("native", "reference"):
        raise ValueError(f"implementation: expected 'native' or 'reference', got {which!r}")
    token = _forced.set(which)
    try:
        yield
    finally:
        _forced.reset(token)


def register(kernel: NativeKernel) -> NativeKernel:
    """Makes a kernel known to `status`."""
    _kernels[kernel.name] = kernel
    return kernel


def status(build: bool = False) -> list[KernelStatus]:
    """What serves each kernel on the CPU and, where there is one, on the CUDA device. Builds nothing unless told to."""
    devices = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
    out = []
    for kernel in _kernels.values():
        for device in devices:
            if _reference_is_forced():
                out.append(KernelStatus(kernel.name, device, "reference", f"{FORCE_VARIABLE}=reference is set"))
            elif (build or (kernel.name, device) in _externals) and (served := external(kernel, device)):
                out.append(served)
            elif build or (kernel.name, device) in _loaded:
                out.append(ensure(kernel, device))
            else:
                out.append(_forecast(kernel, device))
    return out


def ensure(kernel: NativeKernel, device: str) -> KernelStatus:
    """Loads the kernel's native library for a device type, building it if needed; remembers and reports a failure once."""
    key = (kernel.name, device)
    found = _loaded.get(key)
    if found is not None:
        return found
    with _lock:
        if key not in _loaded:
            try:
                reason = _load(kernel, device)
                _loaded[key] = KernelStatus(kernel.name, device, "native", reason)
            except BuildError as error:
                _loaded[key] = KernelStatus(kernel.name, device, "reference", str(error))
                _build.say(
                    f"the native kernel '{kernel.name}' is not available on {device}; the slow reference serves. {error}"
                )
        return _loaded[key]


def prebuild(folder: Path = _build.PREBUILT) -> list[Path]:
    """Builds portable CPU libraries of all kernels known so far, for a package that needs no compiler."""
    return [_build.prebuild(kernel.name, kernel.cpu, folder) for kernel in _kernels.values()]


def _load(kernel: NativeKernel, device: str) -> str:
    """Loads what is there, else builds it; says what it loaded."""
    sources = _sources(kernel, device)
    found = _build.find(kernel.name, sources, device)
    if found is not None:
        try:
            torch.ops.load_library(str(found[0]))
            return found[1]
        except OSError as error:  # damaged on the disk, or its libraries have gone: built anew
            _build.say(f"{found[0]} does not load: {error}")
            with contextlib.suppress(OSError):
                found[0].unlink()
    path, reason = _build.build(kernel.name, sources, device)
    try:
        torch.ops.load_library(str(path))
    except OSError as error:
        raise BuildError(f"{path} does not load: {error}") from error
    return reason


def _forecast(kernel: NativeKernel, device: str) -> KernelStatus:
    package = kernel.external
    if device == "cuda" and package is not None and has_module(package.package):
        return KernelStatus(kernel.name, device, package.package, "installed; loaded on first use")
    try:
        reason = _build.forecast(kernel.name, _sources(kernel, device), device)
    except BuildError as error:
        return KernelStatus(kernel.name, device, "reference", str(error))
    return KernelStatus(kernel.name, device, "native", reason)


def _sources(kernel: NativeKernel, device: str) -> tuple[str, ...]:
    sources = {"cpu": kernel.cpu, "cuda": kernel.cuda}.get(device, ())
    if not sources:
        raise BuildError(f"there is no native code for {device}")
    return sources


def has_module(name: str) -> bool:
    """Whether a Python package is installed, without importing it."""
    return importlib.util.find_spec(name) is not None
