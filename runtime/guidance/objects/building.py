"""Writes data sets of rendered objects: memory-mapped arrays, in chunks, resumable, deterministic from the seed."""

import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from interactive3d.runtime.guidance.objects.cameras import draw_cameras
from interactive3d.runtime.guidance.objects.words import KINDS, OPTIONS

CHUNK = 50
"""Objects finished (and marked in `done.npy`) at a time."""
VOXELS = 32
VERSION = 1


def option_bits(kind: str) -> dict[str, int]:
    """Bit of each option of the kind in a data set's bit masks (options that are not defaults)."""
    named = [option for group in OPTIONS[kind] for option in group[1:]]
    return {option: 1 << index for index, option in enumerate(named)}


def layout(objects: int, views: int, size: int) -> dict[str, tuple[tuple[int, ...], str]]:
    """Name, shape and dtype of every array of a data set."""
    images = objects * views
    cube = (objects, VOXELS, VOXELS, VOXELS)
    return {
        "labels": ((images, size, size), "uint8"),
        "marks": ((images, size, size), "uint8"),
        "shades": ((images, size, size), "uint8"),
        "viewmats": ((images, 4, 4), "float32"),
        "fovs": ((images,), "float32"),
        "object_index": ((images,), "int32"),
        "kinds": ((objects,), "uint8"),
        "options": ((objects,), "int32"),
        "deformed": ((objects,), "uint8"),
        "voxel_alpha": (cube, "uint8"),
        "voxel_label": (cube, "uint8"),
        "voxel_marks": (cube, "uint8"),
        "done": ((-(-objects // CHUNK),), "uint8"),
    }


def _open(folder: Path, name: str) -> np.memmap:
    return np.lib.format.open_memmap(folder / f"{name}.npy", mode="r+")


def _make_object(arrays: dict[str, np.memmap], index: int, meta: dict) -> None:
    """Renders and voxelises one object into the arrays; a function of the seed and the index alone."""
    from interactive3d.runtime.guidance.objects.deform import deform
    from interactive3d.runtime.guidance.objects.render import HEMISPHERE, Light, render
    from interactive3d.runtime.guidance.objects.shapes import make_shape
    from interactive3d.runtime.guidance.objects.voxels import voxelise

    light = Light(**meta["light"]) if meta["light"] else HEMISPHERE
    views, seed = meta["views"], meta["seed"]
    rng = np.random.default_rng([seed, index])
    kind = _kind_of(index, seed)
    shape = make_shape(kind, int(rng.integers(2**31)))
    if deformed := bool(rng.random() < meta["deformed_fraction"]):
        shape = deform(shape, int(rng.integers(2**31)))
    cameras = draw_cameras(rng, views, np.array([g.pivot for g in shape.groups[1:]]).reshape(-1, 3))
    traced = render(shape, cameras.viewmats, cameras.fovs, meta["size"], light)
    images = slice(index * views, (index + 1) * views)
    arrays["labels"][images], arrays["marks"][images], arrays["shades"][images] = traced[:3]
    arrays["viewmats"][images], arrays["fovs"][images] = cameras
    arrays["object_index"][images] = index
    bits = option_bits(kind)
    arrays["kinds"][index] = KINDS.index(kind)
    arrays["options"][index] = sum(bits[option] for option in shape.options)
    arrays["deformed"][index] = deformed
    volume = voxelise(shape, VOXELS)
    arrays["voxel_alpha"][index], arrays["voxel_label"][index], arrays["voxel_marks"][index] = volume


def _kind_of(index: int, seed: int) -> str:
    return KINDS[(index + seed) % len(KINDS)]


def _make_chunk(job: tuple[str, int, dict]) -> int:
    """Makes one chunk of objects and marks it as done; gives back its number."""
    folder, chunk, meta = Path(job[0]), job[1], job[2]
    import numba

    numba.set_num_threads(meta["threads"])
    arrays = {name: _open(folder, name) for name in layout(1, 1, 1)}
    for index in range(chunk * CHUNK, min((chunk + 1) * CHUNK, meta["objects"])):
        _make_object(arrays, index, meta)
    arrays["done"][chunk] = 1
    return chunk


def refresh(folder: Path | str, kinds: Sequence[str]) -> int:
    """Makes the finished objects of some kinds again, after their shapes were changed; gives back how many."""
    folder = Path(folder)
    meta = json.loads((folder / "meta.json").read_text())
    arrays = {name: _open(folder, name) for name in layout(1, 1, 1)}
    done = np.repeat(arrays["done"][:] > 0, CHUNK)[: meta["objects"]]
    chosen = [int(i) for i in np.flatnonzero(done) if _kind_of(int(i), meta["seed"]) in kinds]
    for index in chosen:
        _make_object(arrays, index, meta)
    return len(chosen)


def _chunks(jobs: list[tuple[str, int, dict]], workers: int) -> Iterator[int]:
    if workers <= 1:
        yield from map(_make_chunk, jobs)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap_unordered(_make_chunk, jobs)


def build(
    folder: Path | str,
    objects: int,
    views: int,
    seed: int,
    size: int = 128,
    deformed_fraction: float = 0.35,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 2,
    light: dict | None = None,
) -> Path:
    """Writes (or goes on writing) a data set; see `Dataset` for what is in it.

    Args:
        folder: made when missing; a folder with a data set of other figures is refused.
        objects, views: how many objects, and pictures of each.
        seed: settles everything.
        size: pixels a side; `Dataset.images` averages them down.
        deformed_fraction: share of objects that are edited in ways no caption tells.
        progress: called with objects done and objects in all after each chunk.
        workers: processes; 1 stays in this one and uses numba's threads.
        light: fields of `render.Light` other than the defaults, or None.

    Raises:
        ValueError: the folder holds a data set made with other figures.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    meta = {
        "version": VERSION, "objects": objects, "views": views, "seed": seed, "size": size,
        "deformed_fraction": deformed_fraction, "light": light, "kinds": list(KINDS),
    }  # fmt: skip
    path = folder / "meta.json"
    if path.exists():
        if json.loads(path.read_text()) != meta:
            raise ValueError(f"folder: {folder} holds another data set; give the same figures or another folder")
    else:
        for name, (shape, dtype) in layout(objects, views, size).items():
            np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=dtype, shape=shape)
        path.write_text(json.dumps(meta))
    done = _open(folder, "done")
    threads = 1 if workers > 1 else multiprocessing.cpu_count()
    jobs = [(str(folder), chunk, {**meta, "threads": threads}) for chunk in range(len(done)) if not done[chunk]]
    finished = len(done) - len(jobs)
    for _ in _chunks(jobs, workers):
        finished += 1
        if progress:
            progress(min(finished * CHUNK, objects), objects)
    return folder
