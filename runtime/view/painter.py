"""Pictures of a state for the window, made beside it.

Where OpenGL runs on a graphics card the shader draws, in the window's thread, and this only packs and sorts. On a software renderer the
optimizer's own rasterizer is some five times quicker than the shader, and it can work beside the window: there it paints. It paints, too, on
cards that are made for computing, where it is quicker than their OpenGL (`engines`): in a stream of its own, and one copy brings the picture.
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
from interactive3d.runtime.scene.render import carried
from interactive3d.runtime.scene.transforms import transform_rows
from interactive3d.runtime.view.meshes import Mesh
from interactive3d.runtime.view.packing import depth_order, flags, pack, to_host
from interactive3d.runtime.view.splats import TINT
from interactive3d.runtime.view.streams import OwnStream

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

BAND_RAYS, BAND_RAYS_ON_CARD = 1 << 14, 1 << 18
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

    A ``preview`` follows a gesture, and is finished whatever is asked meanwhile, or a quick hand would never see one. Where the model is
    ``finished`` no graphics card is still working at its columns.
    """

    key: tuple
    model: GaussianModel
    camera: Camera
    width: int
    height: int
    look: Look
    share: float = 1.0
    preview: bool = False
    finished: bool = False
    field: HashGridField | None = None
    mesh: Mesh | None = None

    @property
    def on_card(self) -> bool:
        """Whether the rasterizer paints its blobs on a graphics card."""
        return self.field is None and self.model.device.type == "cuda"


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
def paint(job: PaintJob, overtaken: Callable[[], bool] = lambda: False, stream: OwnStream | None = None) -> Painted:
    """The picture by the rasterizer of the optimizer, or by its volume renderer where the object has become a field.

    Raises:
        Overtaken: ``overtaken`` said so; only a field's picture takes long enough to ask.
    """
    width = max(8, round(job.width * job.share))
    height = max(8, round(job.height * job.share))
    device = job.model.device if job.field is None else job.field.device
    with (OwnStream() if stream is None else stream).on(device, finished=job.finished):
        if job.field is not None:
            picture = _field_picture(job.field, job.camera, width, height, overtaken)
        else:
            picture = _blobs_picture(job.model, job.look, job.camera, width, height)
        return _painted(job, picture)


def _painted(job: PaintJob, picture: UInt8[Tensor, "h w 4"]) -> Painted:
    """A picture that knows where there is something: mostly an object in the middle of much that is empty."""
    height, width = picture.shape[:2]
    seen = picture[..., 3] > 0
    # In one piece: the processor waits for a graphics card once.
    told = to_host(torch.cat([picture.flatten(), seen.any(dim=0), seen.any(dim=1)]))
    columns = np.flatnonzero(told[picture.numel() :][:width])
    rows = np.flatnonzero(told[picture.numel() + width :])
    box = (0.0, 0.0, 0.0, 0.0)
    if len(columns):
        left, right = int(columns[0]) / width, int(columns[-1] + 1) / width
        top, bottom = int(rows[0]) / height, int(rows[-1] + 1) / height
        box = (left, top, right, bottom)
    return Painted(job=job, picture=told[: picture.numel()].reshape(height, width, 4), box=box)


def _blobs_picture(model: GaussianModel, look: Look, camera: Camera, width: int, height: int) -> UInt8[Tensor, "h w 4"]:
    mean, scale, rotation, color, opacity = _shown(model, look)
    view = carried(camera.view_matrix()[None], model.device)
    lens = carried(camera.intrinsics(width, height)[None], model.device)
    raster = rasterize(mean, scale, rotation, color, opacity, view, lens, width, height)
    return _bytes(raster.color[0], raster.alpha[0])


def _field_picture(
    field: HashGridField, camera: Camera, width: int, height: int, overtaken: Callable[[], bool]
) -> UInt8[Tensor, "h w 4"]:
    """Band by band, so that a hand that takes hold again never waits for a whole picture."""
    origins, directions = camera_rays([camera], width, height, field.device)
    occupancy, base, regions = field.occupancy(), field.base_grid(), field.region_grids()
    rows = max(1, (BAND_RAYS_ON_CARD if field.device.type == "cuda" else BAND_RAYS) // width)
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
    return torch.cat(bands)


def _bytes(color: Float[Tensor, "h w 3"], alpha: Float[Tensor, "h w"]) -> UInt8[Tensor, "h w 4"]:
    picture = torch.cat([color, alpha[..., None]], dim=-1)
    return (picture.clamp(0, 1) * 255 + 0.5).byte()


def _shown(model: GaussianModel, look: Look) -> tuple[Tensor, ...]:
    """Columns with the selection tinted and moved, hidden blobs gone."""
    mask = None if look.selected is None else carried(torch.from_numpy(look.selected), model.device)
    if mask is not None and look.moved is not None and bool(mask.any()):
        turn = torch.from_numpy(np.ascontiguousarray(look.moved[:3, :3]))
        model = transform_rows(model, mask, linear=turn, offset=tuple(look.moved[:3, 3]))
    scale, color, opacity = model.scale, model.color, model.opacity
    if mask is not None:
        tint = carried(torch.tensor(look.tint), model.device)
        color = torch.where(mask[:, None], color + (tint[:3] - color) * tint[3], color)
    if look.dots:
        scale = torch.full_like(scale, DOT_SCALE)
        opacity = torch.ones_like(opacity)
    if look.hidden is not None:
        opacity = torch.where(carried(torch.from_numpy(look.hidden), model.device), torch.zeros_like(opacity), opacity)
    return model.mean, scale, model.columns["rotation"], color, opacity


class Pace:
    """How large a picture may be so that it is there in time, learned from the pictures made so far.

    ``smallest`` is the least share of a picture's side; 1 where a smaller picture is hardly quicker, as of blobs on a graphics card.
    """

    def __init__(self, per_pixel: float = BLOBS_PER_PIXEL, smallest: float = SMALLEST_SHARE) -> None:
        self._base = 0.004
        self._per_pixel = per_pixel
        self._smallest = smallest

    @classmethod
    def of(cls, job: PaintJob) -> "Pace":
        """For pictures like one of which nothing is known yet."""
        if job.field is not None:
            return cls(FIELD_PER_PIXEL)
        return cls(smallest=1.0) if job.on_card else cls()

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
        share = min(1.0, max(self._smallest, (room / max(whole, 1e-9)) ** 0.5))
        return replace(job, share=round(share, 2), preview=True)
