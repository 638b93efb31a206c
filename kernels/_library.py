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
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from interactive3d.kernels import _build
from interactive3d.kernels._build import BuildError

Implementation = Literal["native", "reference", "package"]

FORCE_VARIABLE = "INTERACTIVE3D_KERNELS"
"""Forces an implementation wherever there is such: reference, native (our own code) or package (gsplat, tinycudann); shown by status()."""
RACES = 3  # calls of which the quickest counts, after one that warms up

_registry = torch.library.Library("i3d", "FRAGMENT")
_lock = threading.RLock()
_kernels: dict[str, "NativeKernel"] = {}
_loaded: dict[tuple[str, str], "KernelStatus"] = {}
_externals: dict[tuple[str, str], "KernelStatus | None"] = {}
_races: dict[tuple[str, str], "Race"] = {}
_forced: contextvars.ContextVar[Implementation | None] = contextvars.ContextVar("i3d_implementation", default=None)


@dataclass(frozen=True)
class External:
    """A package that can serve a kernel on CUDA where it is installed. `load` returns what serves, or raises BuildError; `prepare` makes the
    work that is timed to find out whether the package or our own code is quicker on this card.
    """

    package: str
    load: Callable[[], str]
    prepare: Callable[[], Callable[[], Any]]


@dataclass(frozen=True)
class Race:
    """Milliseconds of our own code and of a package at the same work, once a process; and whether the package is quicker."""

    package_wins: bool
    text: str


@dataclass(frozen=True)
class NativeKernel:
    """The sources of one native library per device, relative to `csrc`. Headers are found by themselves.

    Where there is none for a device `instead` serves, in words for the user.
    """

    name: str
    cpu: tuple[str, ...]
    cuda: tuple[str, ...] = ()
    external: External | None = None
    instead: str = "the slow reference"

    def made_for(self, device: str) -> bool:
        """Whether there is native code for a device at all."""
        return bool({"cpu": self.cpu, "cuda": self.cuda}.get(device, ()))


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
    if reference_is_wanted():
        return getattr(torch.ops.i3d, f"reference_{name}")
    status = ensure(kernel, device.type)
    if forced == "native" and status.implementation != "native":
        raise BuildError(f"the native kernel '{kernel.name}' is not available on {device.type}: {status.reason}")
    return getattr(torch.ops.i3d, name)


def external(kernel: NativeKernel, device: str) -> KernelStatus | None:
    """The status of the external package that serves the kernel on a device type; None where none does.

    Where our own code is there too, the quicker of the two serves, unless one is forced.
    """
    if device != "cuda" or kernel.external is None or _wanted() in ("native", "reference"):
        return None
    found = _package(kernel, kernel.external, device)
    if found is None or _wanted() == "package":
        return found
    return found if _race(kernel, kernel.external, device).package_wins else None


def _package(kernel: NativeKernel, package: External, device: str) -> KernelStatus | None:
    """The package, loaded; None where it is missing or does not load."""
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


def _race(kernel: NativeKernel, package: External, device: str) -> Race:
    """Who is quicker, found out once. Who fails has lost, the package where both do."""
    key = (kernel.name, device)
    if key not in _races:
        with _lock:
            if key not in _races:
                _races[key] = _raced(kernel, package, device)
    return _races[key]


def _raced(kernel: NativeKernel, package: External, device: str) -> Race:
    if ensure(kernel, device).implementation != "native":
        return Race(True, f"our own code is not available on {device}")
    found: dict[Implementation, float] = {}
    with torch.enable_grad():
        work = package.prepare()
    for which in ("native", "package"):
        try:
            with use_implementation(which), torch.enable_grad():
                found[which] = _quickest(work)
        except Exception as error:  # a card's libraries refuse in many ways
            found[which] = float("inf")
            _build.say(f"{package.package if which == 'package' else 'our own code'} failed when it was timed: {error}")
    text = f"{package.package} takes {found['package']:.2f} ms where our own code takes {found['native']:.2f} ms"
    return Race(found["package"] < found["native"], text)


def _quickest(work: Callable[[], Any]) -> float:
    times = []
    for _ in range(1 + RACES):
        # This stream alone: another thread may be recording a graph.
        torch.cuda.current_stream().synchronize()
        started = time.perf_counter()
        work()
        torch.cuda.current_stream().synchronize()
        times.append(1000 * (time.perf_counter() - started))
    return min(times[1:])


def reference_is_wanted() -> bool:
    """Whether the reference is forced."""
    return _wanted() == "reference"


def _wanted() -> str | None:
    """What is forced: for the calls made inside `use_implementation`, else for all."""
    return _forced.get() or os.environ.get(FORCE_VARIABLE) or None


@contextlib.contextmanager
def use_implementation(which: Implementation) -> Iterator[None]:
    """Forces one implementation for the calls made inside; "native" raises BuildError where there is none. For tests and timings."""
    if which not in ("native", "reference", "package"):
        raise ValueError(f"implementation: expected 'native', 'reference' or 'package', got {which!r}")
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
        for device in filter(kernel.made_for, devices):
            if reference_is_wanted():
                out.append(KernelStatus(kernel.name, device, "reference", f"{FORCE_VARIABLE}=reference is set"))
            elif (build or (kernel.name, device) in _externals) and (served := external(kernel, device)):
                out.append(_with_race(served))
            elif build or (kernel.name, device) in _loaded:
                out.append(_with_race(ensure(kernel, device)))
            else:
                out.append(_forecast(kernel, device))
    return out


def _with_race(found: KernelStatus) -> KernelStatus:
    race = _races.get((found.name, found.device))
    return found if race is None else replace(found, reason=f"{found.reason}; {race.text}")


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
                if kernel.made_for(device):
                    _build.say(
                        f"the native kernel '{kernel.name}' is not available on {device}; {kernel.instead} serves. {error}"
                    )
        return _loaded[key]


def prebuild(folder: Path = _build.PREBUILT) -> list[Path]:
    """Builds portable CPU libraries of all kernels known so far, for a package that needs no compiler."""
    return [_build.prebuild(kernel.name, kernel.cpu, folder) for kernel in _kernels.values() if kernel.cpu]


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
    if not kernel.made_for(device):
        raise BuildError(f"there is no native code for {device}; {kernel.instead} serves")
    return {"cpu": kernel.cpu, "cuda": kernel.cuda}[device]


def has_module(name: str) -> bool:
    """Whether a Python package is installed, without importing it."""
    return importlib.util.find_spec(name) is not None
