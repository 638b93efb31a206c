"""Compiles native kernels with the machine's own compiler and keeps what it made.

A library's file name carries a key of everything that it depends on: sources and the headers they include, flags, torch,
Python and the compiler, and, because code is made for the very processor, the processor's features. Builds are kept in the
user's cache folder, guarded by a file lock against other processes; a failure is kept there too, so that it costs its time
once. A `prebuilt` folder beside this file may hold portable libraries (`prebuild`), which are looked for first.
"""

import concurrent.futures
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

SOURCES = Path(__file__).parent / "csrc"
PREBUILT = Path(__file__).parent / "prebuilt"
CACHE_VARIABLE = "INTERACTIVE3D_CACHE"
BUILD_SECONDS = 600  # a build that takes longer is given up
KEPT_BUILDS = 12  # of one kernel, the newest; older ones are left from other versions
PORTABLE_X86 = ("-march=x86-64-v3", {"avx2", "fma", "bmi2"})  # what prebuilt libraries need of an x86 processor


class BuildError(RuntimeError):
    """A native library could not be built or loaded; the message says why."""


@dataclass(frozen=True)
class Recipe:
    """How to build a library: each source's command (without source and output), how to link, and the file name."""

    commands: tuple[tuple[str, tuple[str, ...]], ...]
    link: tuple[str, ...]
    version: str
    file: str


def find(name: str, sources: tuple[str, ...], device: str) -> tuple[Path, str] | None:
    """A prebuilt library or an earlier build, and which of the two; None where there is neither."""
    portable = PREBUILT / portable_name(name, sources, device)
    if portable.exists() and _processor_is_portable():
        return portable, f"prebuilt {portable}"
    cached = cache_folder() / recipe(name, sources, device).file
    return (cached, f"cached build {cached}") if cached.exists() else None


def forecast(name: str, sources: tuple[str, ...], device: str) -> str:
    """What would happen on first use; raises BuildError where nothing native would come of it. Builds nothing."""
    found = find(name, sources, device)
    if found is not None:
        return found[1]
    how = recipe(name, sources, device)
    failure = (cache_folder() / how.file).with_suffix(".failed")
    if failure.exists():
        raise BuildError(failure.read_text())
    return f"will be built on first use with {how.version}"


def build(name: str, sources: tuple[str, ...], device: str) -> tuple[Path, str]:
    """Builds the library into the cache folder, unless another process has just done so."""
    from filelock import FileLock

    how = recipe(name, sources, device)
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / how.file
    failure = path.with_suffix(".failed")
    with FileLock(str(path.with_suffix(".lock"))):
        if path.exists():
            return path, f"cached build {path}"
        if failure.exists():
            raise BuildError(failure.read_text() + f"\n(remembered; delete {failure} to try again)")
        start = time.perf_counter()
        say(f"building the kernel '{name}' for {device} with {how.version} (once; under a minute) ...")
        try:
            _compile(how, path)
        except BuildError as error:
            failure.write_text(str(error))
            raise
        say(f"built '{name}' for {device} in {time.perf_counter() - start:.0f} s: {path}")
        _forget_old_builds(folder, name, device)
    return path, f"built with {how.version}, kept as {path}"


def prebuild(name: str, sources: tuple[str, ...], folder: Path) -> Path:
    """Builds a portable CPU library for `PREBUILT`: for any processor of this family of the last ten years."""
    how = recipe(name, sources, "cpu", portable=True)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / how.file
    _compile(how, path)
    return path


def cache_folder() -> Path:
    """Where builds are kept: $INTERACTIVE3D_CACHE/kernels, else ~/.cache/interactive3d/kernels (or $XDG_CACHE_HOME)."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen) / "kernels"
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "interactive3d" / "kernels"


def recipe(name: str, sources: tuple[str, ...], device: str, portable: bool = False) -> Recipe:
    """How the library is built here. Sources that end in `_torch.cpp` see torch's headers, `.cu` go to nvcc."""
    compiler = find_compiler()
    torch_folder = Path(torch.__file__).parent
    plain = ["-std=c++20", "-fPIC", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden"]
    plain += machine_flags(portable)
    binding = [f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"]
    includes = ["-I", str(SOURCES)]
    torch_includes = [*includes, "-I", str(torch_folder / "include")]
    link = ["-shared", "-pthread", "-ltorch", "-ltorch_cpu", "-lc10"]
    folders = [f"-L{torch_folder / 'lib'}", f"-Wl,-rpath,{torch_folder / 'lib'}"]
    if sys.platform == "darwin":
        link += ["-undefined", "dynamic_lookup"]
    version = version_of(compiler)
    if device == "cuda":
        torch_includes += ["-I", str(cuda_home() / "include")]
        link += ["-lc10_cuda", "-lcudart"]
        homes = (cuda_home() / "lib64", cuda_home() / "lib", *cuda_home().glob("targets/*/lib"))
        folders += [f"-L{folder}" for folder in homes if folder.is_dir()]
        version += f", {version_of(find_nvcc(), last=True)}"
    commands = []
    for source in sources:
        if source.endswith(".cu"):
            commands.append((source, (find_nvcc(), *_cuda_flags(), *includes)))
        elif source.endswith("_torch.cpp"):
            # Torch's headers take seconds to optimise and gain nothing by it; the arithmetic is in the other sources.
            commands.append((source, (compiler, "-O1", *plain, *binding, *torch_includes)))
        else:
            commands.append((source, (compiler, "-O3", *plain, *includes)))
    if portable:
        file = portable_name(name, sources, device)
    else:
        flags = [*plain, *binding, *link, *(_cuda_flags() if device == "cuda" else ())]
        file = f"{name}-{device}-{_key(sources, [version, platform.python_version(), _machine_features(), *flags])}.so"
    return Recipe(tuple(commands), (compiler, *folders, *link), version, file)


def portable_name(name: str, sources: tuple[str, ...], device: str) -> str:
    """A portable library's file name, which knows nothing of the compiler that made it."""
    return f"{name}-{device}-portable-{_key(sources, machine_flags(portable=True))}.so"


def _key(sources: tuple[str, ...], parts: list[str]) -> str:
    digest = hashlib.sha256()
    for part in (torch.__version__, sys.platform, platform.machine(), *parts):
        digest.update(part.encode() + b"\0")
    for path in with_headers(sources):
        digest.update(path.name.encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:20]


def with_headers(sources: tuple[str, ...]) -> list[Path]:
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


def _compile(how: Recipe, path: Path) -> None:
    work = path.with_suffix(f".{os.getpid()}.tmp")
    work.mkdir()
    objects = []
    try:
        with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            jobs = []
            for number, (source, command) in enumerate(how.commands):
                objects.append(str(work / f"{number}.o"))
                jobs.append(pool.submit(_run, [*command, "-c", str(SOURCES / source), "-o", objects[-1]]))
            for done, job in enumerate(concurrent.futures.as_completed(jobs), start=1):
                job.result()
                say(f"  {done} of {len(jobs)} files compiled")
        compiler, *rest = how.link
        _run([compiler, *objects, *rest, "-o", str(work / "library.so")])
        os.replace(work / "library.so", path)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _forget_old_builds(folder: Path, name: str, device: str) -> None:
    builds = sorted(folder.glob(f"{name}-{device}-*.so"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in builds[KEPT_BUILDS:]:
        path.unlink(missing_ok=True)
        path.with_suffix(".lock").unlink(missing_ok=True)


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        raise BuildError(f"{' '.join(command)}\n{done.stderr.strip()[-2000:]}")


def find_compiler() -> str:
    """The C++ compiler: $CXX, else c++, g++ or clang++."""
    for candidate in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        found = shutil.which(candidate) if candidate else None
        if found:
            return found
    raise BuildError("no C++ compiler was found (c++, g++ or clang++); install one, or set CXX to it")


def find_nvcc() -> str:
    """The CUDA compiler: in $CUDA_HOME, else on the path."""
    root = os.environ.get("CUDA_HOME")
    found = shutil.which("nvcc", path=str(Path(root) / "bin")) if root else shutil.which("nvcc")
    if not found:
        raise BuildError("no CUDA compiler was found (nvcc); install the CUDA toolkit, or set CUDA_HOME to it")
    return found


def cuda_home() -> Path:
    """The folder with CUDA's `include` and `lib64`. nvcc may be a link or a script, so it is asked where it looks itself."""
    nvcc = find_nvcc()
    folder = Path(nvcc).resolve().parent.parent
    if not (folder / "include" / "cuda_runtime.h").exists():
        dry = [nvcc, "--dryrun", "-x", "cu", "-c", os.devnull]
        top = re.search(r"TOP=(\S+)", subprocess.run(dry, capture_output=True, text=True, check=False).stderr)
        if top is None:
            raise BuildError(f"{nvcc} does not say where CUDA is installed; set CUDA_HOME to it")
        folder = Path(top[1]).resolve()
    return folder


def version_of(compiler: str, last: bool = False) -> str:
    """The first (or last) line that the compiler says about its version."""
    try:
        text = subprocess.run([compiler, "--version"], capture_output=True, text=True, timeout=30, check=False).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{compiler} does not run: {error}") from error
    return text.splitlines()[-1 if last else 0] if text else compiler


def machine_flags(portable: bool = False) -> list[str]:
    """The flags that say for which processor: this very one, or any of its family that `_processor_is_portable`."""
    if platform.machine().lower() in ("x86_64", "amd64"):
        return [PORTABLE_X86[0] if portable else "-march=native"]
    return [] if portable else ["-mcpu=native"]


def _processor_is_portable() -> bool:
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    return PORTABLE_X86[1] <= set(_machine_features().split())


def _machine_features() -> str:
    """What -march=native stands for here: a cache folder may be shared by different machines."""
    try:
        with open("/proc/cpuinfo") as file:
            return next((line for line in file if line.startswith(("flags", "Features"))), "")
    except OSError:
        return platform.processor()


def _cuda_flags() -> tuple[str, ...]:
    try:
        major, minor = torch.cuda.get_device_capability()
    except (AssertionError, RuntimeError) as error:  # a torch that was built without CUDA, or no card
        raise BuildError(f"torch finds no CUDA device: {error}") from error
    architecture = f"-gencode=arch=compute_{major}{minor},code=sm_{major}{minor}"
    return ("-O3", "-std=c++17", "-Xcompiler", "-fPIC", architecture)


def say(text: str) -> None:
    """A message to the user, on standard error."""
    print(f"interactive3d: {text}", file=sys.stderr, flush=True)
