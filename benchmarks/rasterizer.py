"""How fast the splat rasterizer is on the CPU: forward and backward, against the plain-torch reference, and its memory.

    python benchmarks/rasterizer.py [--repeats N] [--reference-repeats N] [--output benchmarks/rasterizer.md]

Writes a Markdown page with the machine, the date, the command and all figures. Pairs are counted as tile-less rasterizers
evaluate them: pixels in the box of three standard deviations around each blob. Two times are given: the best wall time of
a forward plus a backward pass, and the processor time it took, which on a busy machine says more.
"""

import argparse
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch
from torch import Tensor

from interactive3d.kernels import _build, _library, splat_raster
from interactive3d.kernels.splat_raster import rasterize, use_implementation

BAR_NS = 5.0  # nanoseconds per pair, issue "main job"
BAR_RATIO = 50.0
BAR_MEMORY = 2.0  # GB
# Counted in splat_tile.h: an operation each for add, multiply, compare, select; two for a multiply-add; one for a division.
FLOPS_FORWARD = 43
FLOPS_BACKWARD = 78


@dataclass(frozen=True)
class Case:
    """Blobs in a cube of side 1.4, seen from an orbit at distance 2.5 with a vertical field of view of 40 degrees."""

    name: str
    blobs: int
    cameras: int
    side: int
    scale: float  # mean standard deviation, scene units
    opacity: tuple[float, float]


ISSUE = Case("one view, 10k blobs", 10_000, 1, 256, 0.01195, (0.1, 0.9))
CASES = (
    ISSUE,
    Case("four small views", 4096, 4, 64, 0.02, (0.6, 0.9)),
    Case("four views", 4096, 4, 128, 0.02, (0.6, 0.9)),
    Case("one small view", 4096, 1, 64, 0.02, (0.6, 0.9)),
    Case("one view, 200k blobs", 200_000, 1, 512, 0.006, (0.1, 0.9)),
)


def scene(case: Case) -> tuple[list[Tensor], Tensor, Tensor]:
    """Blobs (requiring gradients), viewmats, intrinsics."""
    g = torch.Generator().manual_seed(0)
    means = (torch.rand(case.blobs, 3, generator=g) - 0.5) * 1.4
    scales = case.scale * (0.5 + torch.rand(case.blobs, 3, generator=g))
    rotations = torch.randn(case.blobs, 4, generator=g)
    colors = torch.rand(case.blobs, 3, generator=g)
    low, high = case.opacity
    opacities = low + (high - low) * torch.rand(case.blobs, generator=g)
    views = []
    for k in range(case.cameras):
        angle = 2 * math.pi * k / case.cameras + 0.3
        eye = 2.5 * torch.tensor([math.sin(angle) * 0.98, 0.2, math.cos(angle) * 0.98])
        forward = -eye / eye.norm()
        right = torch.linalg.cross(forward, torch.tensor([0.0, 1.0, 0.0]))
        right = right / right.norm()
        view = torch.eye(4)
        view[:3, :3] = torch.stack([right, torch.linalg.cross(forward, right), forward])
        view[:3, 3] = -view[:3, :3] @ eye
        views.append(view)
    focal = case.side / 2 / math.tan(math.radians(20))
    intrinsics = torch.tensor([[focal, focal, case.side / 2, case.side / 2]]).repeat(case.cameras, 1)
    blobs = [tensor.requires_grad_() for tensor in (means, scales, rotations, colors, opacities)]
    return blobs, torch.stack(views), intrinsics


def count_pairs(case: Case) -> tuple[int, int]:
    """Pairs of blob and pixel: in boxes of three standard deviations, and in the ellipses where alpha reaches 1/255."""
    blobs, views, intrinsics = scene(case)
    limits = (case.side, case.side, 0.01, 1e6, 0.3, 1 / 255, 1e-4)
    with torch.no_grad():
        output = torch.ops.i3d.splat_raster_forward(*blobs, views, intrinsics, None, None, *limits)
    s = output[5].reshape(-1, splat_raster.SPLAT_FIELDS).double()
    mean_x, mean_y, k, q, radius_x, radius_y, alpha = (s[s[:, 11] > 0][:, i] for i in (0, 1, 3, 4, 11, 12, 14))
    extent = torch.sqrt(2 * torch.log(alpha * 255))
    boxes = torch.ones_like(extent)
    for mean, radius in ((mean_x, radius_x), (mean_y, radius_y)):
        reach = 3 * radius / extent
        first = (mean - reach - 0.5).ceil().clamp(min=0)
        last = (mean + reach - 0.5).floor().clamp(max=case.side - 1)
        boxes *= (last - first + 1).clamp(min=0)
    area = math.pi * extent**2 * 0.5 / math.log(2) / torch.sqrt(k * q)
    return int(boxes.sum()), int(area.sum())


@dataclass(frozen=True)
class Timing:
    """Milliseconds of a forward, a backward, and both: best wall, median wall of both, best processor time of both."""

    forward: float
    backward: float
    median: float
    processor: float

    @property
    def both(self) -> float:
        return self.forward + self.backward


def measure(case: Case, implementation: str, repeats: int) -> Timing:
    blobs, views, intrinsics = scene(case)
    background = torch.full((case.cameras, 3), 0.5)
    probe = torch.zeros(case.cameras, case.blobs, 2, requires_grad=True)
    weights = torch.randn(case.cameras, case.side, case.side, 3, generator=torch.Generator().manual_seed(1))
    forward, backward, processor = [], [], []
    for _ in range(repeats):
        for leaf in (*blobs, probe):
            leaf.grad = None
        start, start_processor = time.perf_counter(), time.process_time()
        with use_implementation(implementation):
            raster = rasterize(*blobs, views, intrinsics, case.side, case.side, background, screen_probe=probe)
        middle = time.perf_counter()
        raster.color.backward(weights)
        forward.append(1e3 * (middle - start))
        backward.append(1e3 * (time.perf_counter() - middle))
        processor.append(1e3 * (time.process_time() - start_processor))
    both = [a + b for a, b in zip(forward, backward, strict=True)]
    return Timing(min(forward), min(backward), statistics.median(both), min(processor))


def peak_gflops() -> float:
    """Measured multiply-adds of one thread, with the kernels' own registers and flags."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "peak"
        source = Path(__file__).with_name("rasterizer_peak.cpp")
        flags = ["-O2", "-std=c++20", *_build.machine_flags(), "-I", str(_build.SOURCES)]
        subprocess.run([_build.find_compiler(), *flags, str(source), "-o", str(program)], check=True)
        return float(subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout)


def memory() -> float:
    """Gigabytes that a process needs at most for the 200k blob case, forward and backward, all of Python and torch included."""
    script = (
        "import sys, resource; sys.path.insert(0, sys.argv[1]); import rasterizer as r; "
        "r.measure(r.CASES[-1], 'native', 2); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    command = [sys.executable, "-c", script, str(Path(__file__).parent)]
    kilobytes = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return kilobytes * 1024 / 1e9


def processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    table = {key.strip(): value.strip() for key, value in fields.items()}
    flags = table.get("flags", "")
    simd = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "neither AVX2 nor AVX-512"
    return f"{table.get('model name', platform.processor())}, {table.get('cpu MHz', '?')} MHz, {simd}"


def report(repeats: int, reference_repeats: int, command: str) -> str:
    status = _library.ensure(splat_raster.KERNEL, "cpu")
    if status.implementation != "native":
        raise SystemExit(f"there is no native kernel to measure: {status.reason}")
    threads = torch.get_num_threads()
    load = os.getloadavg()[0]
    peak = peak_gflops()
    rows, first = [], None
    for case in CASES:
        boxes, _ = count_pairs(case)
        timing = measure(case, "native", max(3, repeats if case.blobs < 100_000 else repeats // 8))
        first = first or timing
        rows.append(
            f"| {case.name} | {case.blobs} | {case.cameras} x {case.side}² | {boxes / 1e6:.2f} | {timing.forward:.2f} | "
            f"{timing.backward:.2f} | {timing.both:.2f} | {timing.median:.2f} | {timing.processor:.2f} | "
            f"{1e6 * timing.both / boxes:.2f} |"
        )
        print(rows[-1], file=sys.stderr)
    reference = measure(ISSUE, "reference", reference_repeats)
    ratio, ratio_processor = reference.both / first.both, reference.processor / first.processor
    boxes, ellipses = count_pairs(ISSUE)
    flops = (FLOPS_FORWARD + FLOPS_BACKWARD) * ellipses
    ideal = 1e3 * flops / (peak * 1e9)
    gigabytes = memory()
    share = 100 * ideal / first.processor
    return f"""# The splat rasterizer, measured

`{command}`, {date.today()}. {processor_name()}; {threads} threads; torch {torch.__version__};
{_build.version_of(_build.find_compiler())}; load average at the start {load:.1f}. Where other work keeps the machine busy (a load above
{threads}), wall times are too long, and processor times still suffer from shared caches.

## Native, float32, forward and backward

Milliseconds. Pairs in millions: pixels in the boxes of three standard deviations. Forward, backward and both: best wall time of the
repeats; then the median of both; then the best processor time of both, all threads together. Nanoseconds a pair are of the best wall time.

| case | blobs | views | pairs | forward | backward | both | median | processor | ns/pair |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

The first case is the one that OpenSplat's rasterizer (scalar, one thread) took 62 ms for, 50 ns a pair. The bar is
{BAR_NS:.0f} ns of wall time a pair on two cores with AVX-512; here it took **{1e6 * first.both / boxes:.2f} ns**.

## Against the plain-torch reference, in the same run

| first case | forward | backward | both | processor |
| --- | --- | --- | --- | --- |
| native | {first.forward:.1f} ms | {first.backward:.1f} ms | {first.both:.1f} ms | {first.processor:.1f} ms |
| reference | {reference.forward:.0f} ms | {reference.backward:.0f} ms | {reference.both:.0f} ms | {reference.processor:.0f} ms |
| ratio | | | **{ratio:.0f}** | **{ratio_processor:.0f}** |

The bar is {BAR_RATIO:.0f} times. The reference composites tile by tile too; it does not evaluate all blobs at all pixels.

## What the machine would allow

Independent chains of multiply-adds reached {peak:.1f} GFLOP/s on one thread at the time. The first case has {ellipses / 1e6:.2f} million pairs
inside the blobs' ellipses, {FLOPS_FORWARD} operations each forward and {FLOPS_BACKWARD} backward: {flops / 1e6:.0f} MFLOP, {ideal:.1f} ms of one thread at that peak.
The kernels used {first.processor:.1f} ms of processor time for everything, with projection, sorting, binning and torch's own part: {share:.0f} % of
peak. The rest: lanes of a 4 x 2 block that lie outside the ellipse, the search for the blocks, and reading and writing pictures.

## Memory

200k blobs at 512 x 512, forward and backward, twice: the whole process needed {gigabytes:.2f} GB at most (bar: {BAR_MEMORY:.0f} GB).
"""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--reference-repeats", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".md"))
    chosen = parser.parse_args(arguments)
    command = (
        f"python benchmarks/rasterizer.py --repeats {chosen.repeats} --reference-repeats {chosen.reference_repeats}"
    )
    page = report(chosen.repeats, chosen.reference_repeats, command)
    chosen.output.write_text(page)
    print(page)


if __name__ == "__main__":
    main()
