"""Stage II measured: kernel speed against the plain-torch reference, distillation, preview, and the paper's figure 4 a, b, c.

    python benchmarks/field.py kernels|distill|preview|mesh|figure4 [--steps N] [--blobs N] [--holes]
    python benchmarks/field.py figure4 --cells 0.6 --refine-steps 100 300 [--rate 0.1 0.01]

`preview` distils first, and so prints `distill`'s table as well.

Each part prints one Markdown table; the results with their protocol are in benchmarks/field.md. Times of kernels are CPU
seconds divided by the threads, so that other work on the machine does not count; elsewhere wall seconds stand beside them.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
import trimesh
from scipy.spatial import cKDTree

from interactive3d.kernels import _library
from interactive3d.kernels.field_network import SCENE_BOX, GridBatch, field_network
from interactive3d.kernels.hash_grid import GridLayout
from interactive3d.kernels.volume_render import render_rays
from interactive3d.runtime.field.baking import bake, mesh_picture
from interactive3d.runtime.field.convert import UNSEEN, distill
from interactive3d.runtime.field.distill import psnr_against_splats
from interactive3d.runtime.field.field import REGION_SIDE, HashGridField, Region, cell_centers
from interactive3d.runtime.field.meshing import extract_mesh
from interactive3d.runtime.field.optimizer import Moments, Rates, adam_step
from interactive3d.runtime.field.refine import begin_refinement, looked_up, make_region, refine_step, sphere_box
from interactive3d.runtime.field.rendering import VIEW_STOP, camera_rays, render_field, render_trainable
from interactive3d.runtime.operations.base import seeded_generator
from interactive3d.runtime.output.meshes import mesh_to_blobs
from interactive3d.runtime.scene.camera import Camera
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.scene.render import render
from interactive3d.runtime.settings import RefineSettings, Settings

CENTER, BALL = (0.0, 0.1, 0.5), 0.22
DENSER = 160  # times as many blobs in the patterned region
RATES = (
    (0.03, 0.005),
    (0.1, 0.01),
    (0.3, 0.03),
)  # step sizes of tables and networks that each variant of figure 4 may choose from
PATCH = 48  # side of the pictures that figure 4 is refined on
DISTANCE = 2.5  # of the cameras from the region's centre
VARIANTS = ("a: base field alone", "b: the same tables, addressed in the scene's box", "c: part-specific tables")
PIXELS = 4.0  # across a check: the pictures show the pattern clearly
FLOPS_PER_INPUT = 2  # a multiplication and an addition


def object_blobs(count: int, *, check: float | None = None, holes: bool = False) -> GaussianModel:
    """A bumpy coloured ball; with ``check``, squares of that side in the refined region, made of many more and smaller blobs there.

    Its blobs lie evenly; with ``holes`` at random, so that ragged holes show the far side: a much harder object.
    """
    generator = torch.Generator().manual_seed(0)
    if holes:
        way = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    else:
        index = torch.arange(count, dtype=torch.float64) + 0.5
        height, turn = 1 - 2 * index / count, index * torch.pi * (1 + 5**0.5)
        ring = (1 - height.square()).sqrt()
        way = torch.stack([ring * turn.cos(), height, ring * turn.sin()], -1).float()
    radius = 0.55 + 0.06 * torch.sin(8 * way[:, 0]) * torch.cos(7 * way[:, 1])
    mean = way * radius[:, None]
    color = 0.5 + 0.4 * torch.stack([torch.sin(9 * mean[:, i] + i) for i in range(3)], -1)
    size = torch.full((count,), 1.1 * float(radius.mean()) * (4 * torch.pi / count) ** 0.5 / 2)
    if check is not None:
        near = (mean - torch.tensor(CENTER)).norm(dim=-1) < BALL
        dense = object_blobs(count * DENSER)
        inside = ((dense.mean - torch.tensor(CENTER)).norm(dim=-1) < BALL).nonzero().squeeze(1)
        extra = dense.mean[inside]
        checks = ((extra[:, 0] / check).floor() + (extra[:, 1] / check).floor()).remainder(2)
        mean = torch.cat([mean[~near], extra])
        color = torch.cat([color[~near], checks[:, None] * torch.tensor([0.9, 0.8, 0.1]) + 0.05])
        size = torch.cat([size[~near], dense.scale[inside, 0]])
    return GaussianModel.create(
        mean=mean,
        log_scale=size.log()[:, None].expand(-1, 3),
        rotation=torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(len(mean), 1),
        color=color,
        logit_opacity=torch.full((len(mean),), 2.5),
    )


class Clock:
    """CPU seconds (all threads) and wall seconds of a stretch."""

    def __enter__(self) -> "Clock":
        self.cpu, self.wall = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu, self.wall = time.process_time() - self.cpu, time.perf_counter() - self.wall


def kernels(points: int) -> None:
    """Encoding and network, forward and backward, native and reference, on points along rays through a shell."""
    from rasterizer import peak_gflops  # a script beside this one

    peak = peak_gflops()
    print("| grid | implementation | forward | backward | million points/s | times the reference |")
    print("| --- | --- | --- | --- | --- | --- |")
    for label, layout in (
        ("10 levels, 2^16 (default)", GridLayout.create(levels=10, features=2, capacity=1 << 16)),
        ("16 levels, 2^19 (paper)", GridLayout.create(levels=16, features=2, capacity=1 << 19)),
    ):
        found = {}
        for which in ("native", "reference"):
            with _library.use_implementation(which):  # type: ignore[arg-type]
                found[which] = _kernel_times(layout, points, 5 if which == "native" else 1)
        for which, (forward, backward) in found.items():
            ratio = sum(found["reference"]) / (forward + backward)
            speed = points / (forward + backward) / 1e6
            print(
                f"| {label} | {which} | {forward * 1e3:.1f} ms | {backward * 1e3:.1f} ms | {speed:.2f} | {ratio:.0f} |",
                flush=True,
            )
        # Forward once, backward twice and the hidden layer anew; eight corners of each level there and back.
        per_point = (
            4 * FLOPS_PER_INPUT * layout.hidden * (layout.encoded + 4) + 2 * 8 * FLOPS_PER_INPUT * layout.encoded
        )
        speed = per_point * points / sum(found["native"]) / 1e9 / torch.get_num_threads()
        print(
            f"\n{speed:.1f} GFLOP/s a core of {peak:.1f} that chains of multiply-adds reached: {speed / peak:.0%} of peak\n"
        )


def _kernel_times(layout: GridLayout, points: int, repeats: int) -> tuple[float, float]:
    generator = torch.Generator().manual_seed(0)
    way = torch.nn.functional.normalize(torch.randn(points // 20, 3, generator=generator), dim=-1)
    positions = (way[:, None] * torch.linspace(0.5, 0.7, 20)[None, :, None]).reshape(-1, 3).contiguous()
    params = layout.initial(generator).requires_grad_()
    everywhere = torch.ones(1, 32, 32, 32, dtype=torch.uint8)
    grid = GridBatch(params, everywhere, torch.tensor([SCENE_BOX]), (layout,))
    weight = torch.randn(len(positions), 4, generator=generator)
    best = [float("inf"), float("inf")]
    for _ in range(repeats):
        with Clock() as forward:
            raw = field_network(positions, grid)[0]
        with Clock() as backward:
            torch.autograd.grad(raw, params, weight)
        threads = torch.get_num_threads()
        best = [min(best[0], forward.cpu / threads), min(best[1], backward.cpu / threads)]
    return best[0], best[1]


def distillation(blobs: int, steps: int | None, holes: bool) -> HashGridField:
    """Equation 7 on an object of this many blobs, judged on unseen views."""
    model, settings = object_blobs(blobs, holes=holes), Settings()
    with Clock() as clock:
        field = distill(model, settings, lambda step, purpose: seeded_generator(0, step, purpose), steps)
    psnr = psnr_against_splats(field, model, list(UNSEEN), 256)
    print("| object | blobs | steps | CPU seconds | wall seconds | PSNR on unseen views, 256 x 256 | occupied cells |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    cells = f"{int(field.mask.sum())} of {field.mask.numel()}"
    print(
        f"| {'with holes' if holes else 'even'} | {blobs} | {steps or settings.distill.steps} | {clock.cpu:.0f} | {clock.wall:.0f} "
        f"| {psnr:.1f} dB | {cells} |\n",
        flush=True,
    )
    return field


def preview(field: HashGridField) -> HashGridField:
    """Views of a distilled field."""
    print("| side | samples | CPU milliseconds | CPU over threads | wall milliseconds, best of 7 |")
    print("| --- | --- | --- | --- | --- |")
    for side in (256, 192, 128, 96):
        origins, directions = camera_rays(UNSEEN[:1], side, side)
        found = render_rays(origins, directions, field.occupancy(), field.base_grid(), None, field.step, stop=VIEW_STOP)
        cpu = wall = float("inf")
        for _ in range(7):
            with Clock() as clock:
                render_field(field, list(UNSEEN[:1]), side)
            cpu, wall = min(cpu, clock.cpu * 1e3), min(wall, clock.wall * 1e3)
        share = cpu / torch.get_num_threads()
        print(f"| {side} | {int(found.used.sum()):,} | {cpu:.0f} | {share:.0f} | {wall:.0f} |", flush=True)
    print(flush=True)
    return field


def mesh(blobs: int, steps: int) -> None:
    """A known mesh turned into blobs, distilled, extracted: closed, where it was, looking like the field."""
    source = trimesh.creation.capsule(height=0.6, radius=0.3, count=[48, 48])
    source.apply_translation(-source.centroid)
    source.visual.vertex_colors = (np.sin(5 * source.vertices) * 100 + 127).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        source.export(f"{folder}/source.ply")
        model = mesh_to_blobs(f"{folder}/source.ply", blobs, normalize=False)
    field = distill(model, Settings(), lambda step, purpose: seeded_generator(0, step, purpose), steps)
    with Clock() as clock:
        surface = extract_mesh(field, resolution=128)
        textured = bake(field, surface, 1024)
    found = trimesh.Trimesh(surface.vertices, surface.faces, process=False)
    here, there = (trimesh.sample.sample_surface(m, 100_000, seed=i)[0] for i, m in enumerate((source, found)))
    distance = (cKDTree(here).query(there)[0].mean() + cKDTree(there).query(here)[0].mean()) / 2
    errors = []
    for camera in UNSEEN:
        expected = render_field(field, [camera], 192).color[0].numpy()
        errors.append(np.square(mesh_picture(textured, camera, 192) - expected).mean())
    print(
        "| blobs | steps | faces | closed | Chamfer distance, share of the size | textured mesh against the field | CPU seconds of the mesh |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    print(
        f"| {blobs} | {steps} | {len(surface.faces):,} | {'yes' if found.is_watertight else 'no'} "
        f"| {distance / float(np.linalg.norm(source.extents)):.2%} | {-10 * np.log10(np.mean(errors)):.1f} dB | {clock.cpu:.0f} |",
        flush=True,
    )


def figure4(blobs: int, steps: int, marks: Sequence[int], cells: float, rates: Sequence[tuple[float, float]]) -> None:
    """The same steps with the base field alone (a), finer tables over the whole scene (b), and part-specific ones (c)."""
    settings = Settings().set("distill.size", 128).set("distill.rays", 2048)
    base = distill(object_blobs(blobs), settings, lambda step, purpose: seeded_generator(0, step, purpose), steps)
    check = cells * 2.0 / base.layout.resolutions[-1]
    fine = object_blobs(blobs, check=check)
    extent = PATCH * check / PIXELS
    print(
        f"checks of {check:.4f} scene units, {cells:g} base cells; before: {_patch_psnr(base, fine, extent):.1f} dB\n"
    )
    print(
        "| variant | parameters trained | steps of tables, network | " + " | ".join(f"{n} steps" for n in marks) + " |"
    )
    print("| --- | --- | --- |" + " --- |" * len(marks))
    for variant in VARIANTS:
        for rate in rates:
            parameters, reached = _refined(variant, base, fine, extent, marks, rate)
            shown = " | ".join(f"{psnr:.1f} dB" for psnr in reached)
            print(f"| {variant} | {parameters:,} | {rate[0]:g}, {rate[1]:g} | {shown} |", flush=True)


def _refined(
    variant: str,
    base: HashGridField,
    fine: GaussianModel,
    extent: float,
    marks: Sequence[int],
    rate: tuple[float, float],
) -> tuple[int, list[float]]:
    """Parameters, and the PSNR in the region after runs of so many steps each."""
    chosen = replace(RefineSettings(), table_rate=rate[0], network_rate=rate[1])
    reached, parameters = [], base.layout.size
    for steps in marks:
        field, moments, state = base, Moments.fresh(base.params), None
        if variant != VARIANTS[0]:
            state = begin_refinement(base, _region(base, chosen, whole=variant == VARIANTS[1]))
            parameters = state.field.region("r").layout.size
        for i in range(steps):
            generator = seeded_generator(1, i, "refine")
            cameras = _patch_cameras(1, extent, generator)
            target = render(fine, cameras, PATCH).color.clamp(0, 1)
            if state is None:
                field, moments = _base_step(field, moments, target, cameras, i / steps, rate, generator)
            else:
                loss, behind = _Towards(target), torch.ones(len(cameras), 3)
                state, _ = refine_step(state, loss, cameras, PATCH, behind, i + 1, chosen, generator, i / steps)
        reached.append(_patch_psnr(field if state is None else state.field, fine, extent))
    return parameters, reached


def _region(base: HashGridField, chosen: RefineSettings, *, whole: bool) -> Region:
    """The refined ball's tables; with ``whole`` the same numbers of cells, entries and parameters, but addressed in the scene's box."""
    region = make_region(base, "r", sphere_box(CENTER, BALL), None, chosen, torch.Generator().manual_seed(1))
    if not whole:
        return region
    scene = torch.tensor([-1.0, -1.0, -1.0, 2.0, 0.0, 0.0, 0.0, 0.0])
    shape = looked_up(base.occupancy(), cell_centers(scene, REGION_SIDE))
    return replace(region, box=scene, shape=shape, mask=shape)


class _Towards:
    """Half the squared distance to given pictures, as a refinement's loss."""

    def __init__(self, target: torch.Tensor) -> None:
        self.target = target

    def __call__(self, images: torch.Tensor, cameras: Sequence[Camera]) -> tuple[torch.Tensor, float]:
        difference = images - self.target
        return difference / difference.numel(), float(difference.square().mean())


def _base_step(
    field: HashGridField,
    moments: Moments,
    target: torch.Tensor,
    cameras: list[Camera],
    progress: float,
    rate: tuple[float, float],
    generator: torch.Generator,
) -> tuple[HashGridField, Moments]:
    leaf = field.params.clone().requires_grad_()
    origins, directions = camera_rays(cameras, PATCH, PATCH)
    shifts = torch.rand(len(origins), generator=generator)
    pixels = render_trainable(field, origins, directions, base=leaf, shifts=shifts)
    color = pixels.color + (1 - pixels.alpha)[:, None]
    (0.5 * (color - target.reshape(-1, 3)).square().mean()).backward()
    rates = Rates(table=rate[0], network=rate[1]).scaled(0.1**progress)
    params, moments = adam_step(field.params, leaf.grad, moments, field.layout, rates)
    return field.with_base(params), moments


def _patch_cameras(count: int, extent: float, generator: torch.Generator) -> list[Camera]:
    """Cameras around the region's middle whose pictures show so many scene units."""
    turn = torch.rand(count, 2, generator=generator)
    fov = 2 * math.degrees(math.atan(extent / 2 / DISTANCE))
    return [Camera.orbit(float(u) * 20 - 10, float(v) * 20, DISTANCE, fov, CENTER) for u, v in turn]


def _patch_psnr(field: HashGridField, model: GaussianModel, extent: float) -> float:
    cameras = _patch_cameras(3, extent, torch.Generator().manual_seed(99))
    error = (
        (render_field(field, cameras, PATCH).color - render(model, cameras, PATCH).color.clamp(0, 1)).square().mean()
    )
    return float(-10 * torch.log10(error))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("kernels", "distill", "preview", "mesh", "figure4"))
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--holes", action="store_true", help="blobs at random places, with holes between them")
    parser.add_argument("--blobs", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument(
        "--refine-steps", type=int, nargs="+", default=[100], help="figure4: lengths of the refinements"
    )
    parser.add_argument("--cells", type=float, default=1.0, help="figure4: side of a check in cells of the base field")
    parser.add_argument("--rate", type=float, nargs=2, help="figure4: these step sizes only, of tables and network")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    parts: dict[str, Callable[[], object]] = {
        "kernels": lambda: kernels(given.points),
        "distill": lambda: distillation(given.blobs, given.steps, given.holes),
        "preview": lambda: preview(distillation(given.blobs, given.steps, given.holes)),
        "mesh": lambda: mesh(given.blobs, given.steps or 300),
        "figure4": lambda: figure4(
            given.blobs,
            given.steps or 150,
            given.refine_steps,
            given.cells,
            RATES if given.rate is None else [tuple(given.rate)],
        ),
    }
    parts[given.part]()


if __name__ == "__main__":
    main()
