"""Pictures of a state for the window, made beside it.

Where OpenGL runs on a graphics card the shader draws, in the window's thread, and this only packs and sorts. On a software renderer the
optimizer's own rasterizer is some five times quicker than the shader, and it can work beside the window: there it paints.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8, UInt32
from torch import Tensor

from interactive3d.kernels.splat_raster import rasterize
from interactive3d.kernels.volume_render import render_rays
from interactive3d.runtime.field import HashGridField
from interactive3d.runtime.field.rendering import VIEW_STOP, camera_rays
from interactive3d.runtime.scene.camera import Camera
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.scene.transforms import transform_rows
from interactive3d.runtime.view.meshes import Mesh
from interactive3d.runtime.view.packing import depth_order, flags, pack
from interactive3d.runtime.view.splats import TINT

DOT_SCALE = 0.004
PREVIEW_SECONDS = 0.022
"""A picture during a gesture may take this long."""

PREVIEW_BESIDE_RUN_SECONDS = 0.010
"""And this long while the optimizer runs on the same cores: coarser, but each costs it as much."""

QUICK_SECONDS = 0.15
"""What takes no longer is made whole as soon as the hand rests; other pictures become sharper step by step."""

SMALLEST_SHARE = 0.12

BLOBS_PER_PIXEL, FIELD_PER_PIXEL = 6e-8, 1e-5
"""Seconds a pixel that are assumed before the first picture: better a first picture too small than one too late."""

WHOLE = (0.0, 0.0, 1.0, 1.0)
"""All of a picture."""

BAND_RAYS = 1 << 14
"""Rays of a field's picture between two looks at whether it is still wanted."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """How the blobs are shown, besides where from."""

    selected: Bool[np.ndarray, "n"] | None = None
    hidden: Bool[np.ndarray, "n"] | None = None
    moved: Float[np.ndarray, "4 4"] | None = None
    dots: bool = False
    tint: tuple[float, float, float, float] = TINT


@dataclass(frozen=True, kw_only=True)
class PaintJob:
    """A picture that is wanted. ``share`` is the side of the picture made, as a share of the side wanted.

    A ``preview`` follows a gesture, and is finished whatever is asked meanwhile, or a quick hand would never see one.
    """

    key: tuple
    model: GaussianModel
    camera: Camera
    width: int
    height: int
    look: Look
    share: float = 1.0
    preview: bool = False
    field: HashGridField | None = None
    mesh: Mesh | None = None


@dataclass(frozen=True, kw_only=True)
class Painted:
    """A premultiplied picture, first row at the top, and the job it answers. Outside of ``box`` it is empty: left, top, right and bottom
    as shares of its sides.
    """

    job: PaintJob
    picture: UInt8[np.ndarray, "h w 4"]
    box: tuple[float, float, float, float] = WHOLE


@dataclass(frozen=True, kw_only=True)
class Sorted:
    """Packed blobs and their order, and the job they answer."""

    job: PaintJob
    packed: Float[np.ndarray, "n 16"]
    flags: Float[np.ndarray, "n"]
    order: UInt32[np.ndarray, "n"]


class Sorter:
    """Packs a model once and sorts it for each camera."""

    def __init__(self) -> None:
        self._model: GaussianModel | None = None
        self._packed: np.ndarray | None = None

    def __call__(self, job: PaintJob) -> Sorted:
        if self._packed is None or self._model is not job.model:
            self._packed, self._model = pack(job.model), job.model
        marks = flags(len(job.model), job.look.selected, job.look.hidden)
        mean = self._packed[:, :3]
        if job.look.moved is not None and job.look.selected is not None:
            moved = mean @ job.look.moved[:3, :3].T + job.look.moved[:3, 3]
            mean = np.where(job.look.selected[:, None], moved, mean)
        order = depth_order(mean, job.camera)
        return Sorted(job=job, packed=self._packed, flags=marks, order=order)


class Overtaken(Exception):
    """A picture was given up half-way, for a newer one is wanted."""


@torch.no_grad()
def paint(job: PaintJob, overtaken: Callable[[], bool] = lambda: False) -> Painted:
    """The picture by the rasterizer of the optimizer, or by its volume renderer where the object has become a field.

    Raises:
        Overtaken: ``overtaken`` said so; only a field's picture takes long enough to ask.
    """
    width = max(8, round(job.width * job.share))
    height = max(8, round(job.height * job.share))
    if job.field is not None:
        return _painted(job, _field_picture(job.field, job.camera, width, height, overtaken))
    mean, scale, rotation, color, opacity = _shown(job.model, job.look)
    device = job.model.device
    view = job.camera.view_matrix()[None].to(device)
    lens = job.camera.intrinsics(width, height)[None].to(device)
    raster = rasterize(mean, scale, rotation, color, opacity, view, lens, width, height)
    return _painted(job, _bytes(raster.color[0], raster.alpha[0]))


def _painted(job: PaintJob, picture: UInt8[np.ndarray, "h w 4"]) -> Painted:
    """A picture that knows where there is something: mostly an object in the middle of much that is empty."""
    height, width = picture.shape[:2]
    columns = np.flatnonzero(picture[..., 3].any(axis=0))
    rows = np.flatnonzero(picture[..., 3].any(axis=1))
    if not len(columns):
        return Painted(job=job, picture=picture, box=(0.0, 0.0, 0.0, 0.0))
    left, right = int(columns[0]) / width, int(columns[-1] + 1) / width
    top, bottom = int(rows[0]) / height, int(rows[-1] + 1) / height
    return Painted(job=job, picture=picture, box=(left, top, right, bottom))


def _field_picture(
    field: HashGridField, camera: Camera, width: int, height: int, overtaken: Callable[[], bool]
) -> UInt8[np.ndarray, "h w 4"]:
    """Band by band, so that a hand that takes hold again never waits for a whole picture."""
    origins, directions = camera_rays([camera], width, height, field.device)
    occupancy, base, regions = field.occupancy(), field.base_grid(), field.region_grids()
    rows = max(1, BAND_RAYS // width)
    bands = []
    for first in range(0, height, rows):
        if overtaken():
            raise Overtaken
        part = slice(first * width, min(first + rows, height) * width)
        seen = render_rays(
            origins[part].contiguous(),
            directions[part].contiguous(),
            occupancy,
            base,
            regions,
            field.step,
            stop=VIEW_STOP,
        )
        bands.append(_bytes(seen.color.reshape(-1, width, 3), seen.alpha.reshape(-1, width)))
    return np.concatenate(bands)


def _bytes(color: Float[Tensor, "h w 3"], alpha: Float[Tensor, "h w"]) -> UInt8[np.ndarray, "h w 4"]:
    picture = torch.cat([color, alpha[..., None]], dim=-1)
    return (picture.clamp(0, 1) * 255 + 0.5).byte().cpu().numpy()


def _shown(model: GaussianModel, look: Look) -> tuple[Tensor, ...]:
    """Columns with the selection tinted and moved, hidden blobs gone."""
    mask = None if look.selected is None else torch.from_numpy(look.selected).to(model.device)
    if mask is not None and look.moved is not None and bool(mask.any()):
        turn = torch.from_numpy(np.ascontiguousarray(look.moved[:3, :3]))
        model = transform_rows(model, mask, linear=turn, offset=tuple(look.moved[:3, 3]))
    scale, color, opacity = model.scale, model.color, model.opacity
    if mask is not None:
        tint = torch.tensor(look.tint, device=model.device)
        color = torch.where(mask[:, None], color + (tint[:3] - color) * tint[3], color)
    if look.dots:
        scale = torch.full_like(scale, DOT_SCALE)
        opacity = torch.ones_like(opacity)
    if look.hidden is not None:
        opacity = torch.where(torch.from_numpy(look.hidden).to(model.device), torch.zeros_like(opacity), opacity)
    return model.mean, scale, model.columns["rotation"], color, opacity


class Pace:
    """How large a picture may be so that it is there in time, learned from the pictures made so far."""

    def __init__(self, per_pixel: float = BLOBS_PER_PIXEL) -> None:
        self._base = 0.004
        self._per_pixel = per_pixel

    def learn(self, pixels: int, seconds: float) -> None:
        """A picture of so many pixels took so long."""
        per_pixel = max(seconds - self._base, 1e-5) / max(pixels, 1)
        self._per_pixel += 0.3 * (per_pixel - self._per_pixel)

    def seconds(self, job: PaintJob) -> float:
        """What a job is expected to take."""
        return self._base + self._per_pixel * job.width * job.height * job.share**2

    def next(self, job: PaintJob, shown: float) -> PaintJob:
        """The same job, one refinement better than what is shown at a share: whole at once where that is quick."""
        if self.seconds(job) <= QUICK_SECONDS:
            return job
        share = max(2.0 * shown, self.preview(job).share)
        return job if share >= 1.0 / 1.4 else replace(job, share=round(share, 2))

    def preview(self, job: PaintJob, seconds: float = PREVIEW_SECONDS) -> PaintJob:
        """The same job, small enough to follow a gesture."""
        room = max(seconds - self._base, 1e-4)
        whole = self._per_pixel * job.width * job.height
        share = min(1.0, max(SMALLEST_SHARE, (room / max(whole, 1e-9)) ** 0.5))
        return replace(job, share=round(share, 2), preview=True)
