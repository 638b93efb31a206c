"""Where the kernels come from: a prebuilt library, a build cached from an earlier run, a fresh build, or the reference.

Every operator lives in torch's namespace `i3d`. Its schema is defined once, in Python (`define`); the plain-torch reference
is registered for every device at once, and native code, where it can be had, fills the dispatch keys CPU or CUDA in front
of it. Nothing is compiled or probed when this module is imported: the first call on a device does it (`ensure`).

For tests there is a second operator `reference_<name>` beside each `<name>`, which native code never fills, and
`use_implementation` to choose between the two.
"""

import concurrent.futures
import contextlib
import contextvars
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

Implementation = Literal["native", "reference"]

SOURCES = Path(__file__).parent / "csrc"
PREBUILT = Path(__file__).parent / "prebuilt"
FORCE_VARIABLE = "INTERACTIVE3D_KERNELS"  # "reference" forces the reference everywhere; shown by status()
CACHE_VARIABLE = "INTERACTIVE3D_CACHE"
BUILD_SECONDS = 600  # a build that takes longer is given up

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


class BuildError(RuntimeError):
    """A native library could not be built or loaded; the message says why."""


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
                    _say(str(error))
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
                _say(
                    f"the native kernel '{kernel.name}' is not available on {device}; the slow reference serves. {error}"
                )
        return _loaded[key]


def cache_folder() -> Path:
    """Where builds are kept: $INTERACTIVE3D_CACHE/kernels, else ~/.cache/interactive3d/kernels (or $XDG_CACHE_HOME)."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen) / "kernels"
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "interactive3d" / "kernels"


def _load(kernel: NativeKernel, device: str) -> str:
    sources = {"cpu": kernel.cpu, "cuda": kernel.cuda}.get(device, ())
    if not sources:
        raise BuildError(f"there is no native code for {device}")
    recipe = _recipe(sources, device)
    for folder, reason in ((PREBUILT, "prebuilt"), (cache_folder(), "cached build")):
        path = folder / f"{kernel.name}-{device}-{recipe.key}.so"
        if path.exists():
            _open(path)
            return f"{reason} {path}"
    path = _build(kernel.name, device, recipe)
    _open(path)
    return f"built with {recipe.version}, kept as {path}"


def _open(path: Path) -> None:
    try:
        torch.ops.load_library(str(path))
    except OSError as error:
        raise BuildError(f"{path} does not load: {error}") from error


@dataclass(frozen=True)
class _Recipe:
    """How to build: the command in front of each source, the link command's tail, and the key of everything that counts."""

    compilers: tuple[tuple[str, tuple[str, ...]], ...]  # (source, command without source and output)
    link: tuple[str, ...]
    version: str
    key: str


def _recipe(sources: tuple[str, ...], device: str) -> _Recipe:
    compiler = _find_compiler()
    torch_folder = Path(torch.__file__).parent
    flags = [
        "-O3",
        "-std=c++20",
        "-fPIC",
        "-fno-math-errno",
        "-fno-trapping-math",
        "-fvisibility=hidden",
        "-I",
        str(SOURCES),
    ]
    flags += _machine_flags()
    torch_flags = [f"-I{torch_folder / 'include'}", f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"]
    link = [
        "-shared",
        f"-L{torch_folder / 'lib'}",
        "-ltorch",
        "-ltorch_cpu",
        "-lc10",
        f"-Wl,-rpath,{torch_folder / 'lib'}",
    ]
    if sys.platform == "darwin":
        link += ["-undefined", "dynamic_lookup"]
    commands = []
    for source in sources:
        binding = source.endswith("_torch.cpp")
        if source.endswith(".cu"):
            commands.append((source, (_find_nvcc(), *_cuda_flags())))
        elif binding:
            # Torch's headers take seconds to optimise and gain nothing by it; the arithmetic is in the other sources.
            extra = list(torch_flags)
            if device == "cuda":
                extra += [f"-I{_cuda_home() / 'include'}"]
            commands.append((source, (compiler, *["-O1" if f == "-O3" else f for f in flags], *extra)))
        else:
            commands.append((source, (compiler, *flags)))
    if device == "cuda":
        link += ["-lc10_cuda", f"-L{_cuda_home() / 'lib64'}", "-lcudart"]
    version = _version(compiler) + (f", {_version(_find_nvcc(), last=True)}" if device == "cuda" else "")
    digest = hashlib.sha256()
    for part in (version, torch.__version__, platform.python_version(), platform.machine(), _machine_features()):
        digest.update(part.encode() + b"\0")
    for _, command in commands:
        digest.update(" ".join(command[1:]).encode() + b"\0")
    for path in _with_headers(sources):
        digest.update(path.name.encode() + path.read_bytes() + b"\0")
    return _Recipe(tuple(commands), (compiler, *link), version, digest.hexdigest()[:20])


def _with_headers(sources: tuple[str, ...]) -> list[Path]:
    """The sources and every header of ours that they include, directly or not."""
    found: dict[Path, None] = {}
    waiting = [SOURCES / source for source in sources]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found[path] = None
        try:
            text = path.read_text()
        except OSError as error:
            raise BuildError(f"a source is missing: {error}") from error
        for name in re.findall(r'^\s*#\s*include\s+"([^"]+)"', text, flags=re.MULTILINE):
            waiting += [base / name for base in (path.parent, SOURCES) if (base / name).exists()][:1]
    return sorted(found)


def _build(name: str, device: str, recipe: _Recipe) -> Path:
    from filelock import FileLock

    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{device}-{recipe.key}.so"
    failure = path.with_suffix(".failed")
    with FileLock(str(path.with_suffix(".lock"))):
        if path.exists():  # another process built it while this one waited
            return path
        if failure.exists():
            raise BuildError(failure.read_text() + f"\n(remembered; delete {failure} to try again)")
        start = time.perf_counter()
        _say(f"building the kernel '{name}' for {device} with {recipe.version} (once; under a minute) ...")
        work = folder / f"{name}-{device}-{recipe.key}.{os.getpid()}.tmp"
        work.mkdir()
        try:
            _compile(recipe, work)
            os.replace(work / "library.so", path)
        except BuildError as error:
            failure.write_text(str(error))
            raise
        finally:
            shutil.rmtree(work, ignore_errors=True)
        _say(f"built '{name}' for {device} in {time.perf_counter() - start:.0f} s: {path}")
    return path


def _compile(recipe: _Recipe, work: Path) -> None:
    objects = []
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        jobs = []
        for number, (source, command) in enumerate(recipe.compilers):
            objects.append(str(work / f"{number}.o"))
            jobs.append(pool.submit(_run, [*command, "-c", str(SOURCES / source), "-o", objects[-1]]))
        for done, job in enumerate(concurrent.futures.as_completed(jobs), start=1):
            job.result()
            _say(f"  {done} of {len(jobs)} files compiled")
    compiler, *rest = recipe.link
    _run([compiler, *objects, *rest, "-o", str(work / "library.so")])


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        raise BuildError(f"{' '.join(command)}\n{done.stderr.strip()[-2000:]}")


def _find_compiler() -> str:
    for candidate in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        found = shutil.which(candidate) if candidate else None
        if found:
            return found
    raise BuildError("no C++ compiler was found (c++, g++ or clang++); install one, or set CXX to it")


def _version(compiler: str, last: bool = False) -> str:
    try:
        text = subprocess.run([compiler, "--version"], capture_output=True, text=True, timeout=30, check=False).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{compiler} does not run: {error}") from error
    return text.splitlines()[-1 if last else 0] if text else compiler


def _machine_flags() -> list[str]:
    if platform.machine().lower() in ("x86_64", "amd64", "i386", "i686"):
        return ["-march=native"]
    return ["-mcpu=native"]


def _machine_features() -> str:
    """What -march=native stands for here: a cache folder may be shared by different machines."""
    try:
        with open("/proc/cpuinfo") as file:
            return next((line for line in file if line.startswith(("flags", "Features"))), "")
    except OSError:
        return platform.processor()


def _cuda_home() -> Path:
    """The folder with CUDA's `include` and `lib64`. nvcc may be a link or a script, so it is asked where it looks itself."""
    nvcc = _find_nvcc()
    folder = Path(nvcc).resolve().parent.parent
    if not (folder / "include" / "cuda_runtime.h").exists():
        asked = subprocess.run(
            [nvcc, "--dryrun", "-x", "cu", "-c", os.devnull], capture_output=True, text=True, check=False
        )
        top = re.search(r"TOP=(\S+)", asked.stderr)
        if top is None:
            raise BuildError(f"{nvcc} does not say where CUDA is installed; set CUDA_HOME to it")
        folder = Path(top[1]).resolve()
    return folder


def _find_nvcc() -> str:
    root = os.environ.get("CUDA_HOME")
    found = shutil.which("nvcc", path=str(Path(root) / "bin")) if root else shutil.which("nvcc")
    if not found:
        raise BuildError("no CUDA compiler was found (nvcc); install the CUDA toolkit, or set CUDA_HOME to it")
    return found


def _cuda_flags() -> tuple[str, ...]:
    major, minor = torch.cuda.get_device_capability()
    architecture = f"-gencode=arch=compute_{major}{minor},code=sm_{major}{minor}"
    return ("-O3", "-std=c++17", "-Xcompiler", "-fPIC", "-I", str(SOURCES), architecture)


def _forecast(kernel: NativeKernel, device: str) -> KernelStatus:
    package = kernel.external
    if device == "cuda" and package is not None and has_module(package.package):
        return KernelStatus(kernel.name, device, package.package, "installed; loaded on first use")
    sources = {"cpu": kernel.cpu, "cuda": kernel.cuda}.get(device, ())
    if not sources:
        return KernelStatus(kernel.name, device, "reference", f"there is no native code for {device}")
    try:
        recipe = _recipe(sources, device)
    except BuildError as error:
        return KernelStatus(kernel.name, device, "reference", str(error))
    name = f"{kernel.name}-{device}-{recipe.key}"
    for folder, reason in ((PREBUILT, "prebuilt"), (cache_folder(), "cached build")):
        if (folder / f"{name}.so").exists():
            return KernelStatus(kernel.name, device, "native", f"{reason} {folder / name}.so")
    failure = cache_folder() / f"{name}.failed"
    if failure.exists():
        return KernelStatus(kernel.name, device, "reference", failure.read_text())
    return KernelStatus(kernel.name, device, "native", f"will be built on first use with {recipe.version}")


def has_module(name: str) -> bool:
    """Whether a Python package is installed, without importing it."""
    return importlib.util.find_spec(name) is not None


def _say(text: str) -> None:
    print(f"interactive3d: {text}", file=sys.stderr, flush=True)
