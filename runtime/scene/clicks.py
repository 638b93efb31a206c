"""Parts made of clicks: segmented in every view, then intersected over the views (paper 3.1.1).

A single view leaves open how deep a part goes, so it is given a second one, turned about the object until the clicked place is seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interactive3d.dsl.values import Click, ClickPart, OrbitView, SegmentPart
from interactive3d.runtime.scene.camera import DEFAULT_DISTANCE, DEFAULT_FOV, Camera, turntable
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.scene.parts import PartError
from interactive3d.runtime.scene.render import render
from interactive3d.runtime.scene.segmenter import COVERED, Segmenter, View, segmenter, segmenter_of_text

DEFAULT_SIZE = 512
"""Side in pixels of the picture that clicks count in where the script names none: that of `snapshot`."""
WORKING_SIDE = 256
"""Pictures are segmented at this side; the paper renders at it."""
SECOND_TURNS = (45.0, -45.0, 25.0, -25.0, 70.0, -70.0)
"""Degrees by which the second view is turned, tried in this order."""
TEXT_VIEWS, TEXT_ELEVATION = 6, 15.0
"""A text is looked for from around the object."""
SEEN_BEHIND = 0.06
"""Depth in scene units behind the picture's own at which a blob's centre still counts as seen, besides its size."""


@dataclass(frozen=True)
class Seen:
    """A view as it was segmented: its camera, its picture, and the mask of its clicks."""

    camera: Camera
    view: View
    mask: Bool[np.ndarray, "h w"]


def camera_of_view(view: OrbitView) -> Camera:
    """The camera that a view of the language means."""
    return Camera.orbit(
        view.azimuth,
        view.elevation,
        DEFAULT_DISTANCE if view.distance is None else view.distance,
        DEFAULT_FOV if view.fov is None else view.fov,
        (0.0, 0.0, 0.0) if view.target is None else view.target,
    )


def clicked(part: ClickPart, model: GaussianModel) -> Bool[Tensor, "n"]:
    """Rows of the blobs that the clicks pick out.

    Raises:
        PartError: a click hits nothing, or the segmenter that was chosen cannot be loaded.
    """
    if len(model) == 0:
        return torch.zeros(0, dtype=torch.bool, device=model.device)
    try:
        answering = segmenter()
    except ValueError as error:
        raise PartError(str(error)) from error
    return blobs_in(seen_views(part, model, answering), model)


def seen_views(part: ClickPart, model: GaussianModel, answering: Segmenter | None = None) -> list[Seen]:
    """The views of a part's clicks with their masks, and a second one where there is but one."""
    answering = answering or segmenter()
    grouped: dict[OrbitView, list[Click]] = {}
    for click in part.clicks:
        grouped.setdefault(click.view, []).append(click)
    shrink = WORKING_SIDE / (part.size or DEFAULT_SIZE)
    found = []
    for view, clicks in grouped.items():
        camera = camera_of_view(view)
        pixels = [(c.x * shrink, c.y * shrink) for c in clicks]
        picture = picture_of(camera, model)
        for click, pixel in zip(clicks, pixels, strict=True):
            _check_hit(click, pixel, picture, part)
        found.append(Seen(camera, picture, answering.mask(picture, pixels)))
        if len(grouped) == 1:
            second = _second_view(view, np.stack([_lifted(camera, picture, p) for p in pixels]), model, answering)
            if second is not None:
                found.append(second)
    return found


def named_by(part: SegmentPart, model: GaussianModel) -> Bool[Tensor, "n"]:
    """Rows of the blobs that a text names: seen within its mask in more than half of the views that see them at all, from around the
    object; hidden ones go with their nearest seen blob.

    Raises:
        PartError: no text-prompted segmenter was chosen, or it cannot be loaded.
    """
    try:
        answering = segmenter_of_text(part.text)
    except ValueError as error:
        raise PartError(str(error)) from error
    if len(model) == 0:
        return torch.zeros(0, dtype=torch.bool, device=model.device)
    behind = _reach(model)
    seen, within = np.zeros(len(model)), np.zeros(len(model))
    for camera in turntable(TEXT_VIEWS, elevation=TEXT_ELEVATION):
        picture = picture_of(camera, model)
        xy, depth = _projected(camera, model.mean)
        visible = _seen(picture, xy, depth, behind)
        seen += visible
        within += visible & _at(answering.mask_of(picture, part.text), xy)[0]
    chosen = within * 2 > seen
    return torch.from_numpy(_with_hidden(chosen, seen > 0, np.ones(len(model), dtype=bool), model)).to(model.device)


def picture_of(camera: Camera, model: GaussianModel) -> View:
    """What the segmenter sees from a camera."""
    raster = render(model, [camera], WORKING_SIDE)
    coverage = raster.alpha[0].cpu().double().numpy()
    depth = raster.depth[0].cpu().double().numpy() / np.maximum(coverage, 1e-6)
    return View(raster.color[0].clamp(0, 1).cpu().double().numpy(), coverage, depth)


def _check_hit(click: Click, pixel: tuple[float, float], picture: View, part: ClickPart) -> None:
    column, row = (int(v) for v in pixel)
    side = part.size or DEFAULT_SIZE
    inside = 0 <= column < WORKING_SIDE and 0 <= row < WORKING_SIDE
    if inside and picture.coverage[row, column] > COVERED:
        return
    name = click.view.name or f"azimuth {click.view.azimuth:g} elevation {click.view.elevation:g}"
    rows, columns = np.nonzero(picture.coverage > COVERED)
    told = f"the click ({click.x:g}, {click.y:g}) hits nothing in view {name}, a picture of {side} x {side} pixels"
    if len(rows) == 0:
        raise PartError(f"{told}; nothing is seen there at all")
    nearest = int(np.argmin((columns - pixel[0]) ** 2 + (rows - pixel[1]) ** 2))
    grow = side / WORKING_SIDE
    raise PartError(
        f"{told}; the object's nearest pixel is ({(columns[nearest] + 0.5) * grow:.0f}, {(rows[nearest] + 0.5) * grow:.0f}); "
        f"`snapshot … from {name}` shows what is where"
    )


def _second_view(
    view: OrbitView, places: Float[np.ndarray, "k 3"], model: GaussianModel, answering: Segmenter
) -> Seen | None:
    """The first turned view that sees all the clicked places; None where none does."""
    for turn in SECOND_TURNS:
        turned = camera_of_view(
            OrbitView(
                azimuth=view.azimuth + turn,
                elevation=view.elevation,
                distance=view.distance,
                fov=view.fov,
                target=view.target,
            )
        )
        other = picture_of(turned, model)
        xy, depth = _projected(turned, torch.from_numpy(places))
        if not _seen(other, xy, depth, np.full(len(places), SEEN_BEHIND)).all():
            continue
        clicks = [(float(x), float(y)) for x, y in xy]
        return Seen(turned, other, answering.mask(other, clicks))
    return None


def _lifted(camera: Camera, picture: View, pixel: tuple[float, float]) -> Float[np.ndarray, "3"]:
    """The place in the scene that a pixel shows."""
    fx, fy, cx, cy = camera.intrinsics(WORKING_SIDE, WORKING_SIDE).double().numpy()
    x, y = int(pixel[0]) + 0.5, int(pixel[1]) + 0.5
    depth = picture.depth[int(pixel[1]), int(pixel[0])]
    matrix = camera.view_matrix().double().numpy()
    local = np.array([(x - cx) / fx * depth, (y - cy) / fy * depth, depth])
    return matrix[:3, :3].T @ (local - matrix[:3, 3])


def _projected(camera: Camera, points: Float[Tensor, "n 3"]) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n"]]:
    """Pixels and depths of points."""
    matrix = camera.view_matrix().double()
    local = points.detach().cpu().double() @ matrix[:3, :3].T + matrix[:3, 3]
    fx, fy, cx, cy = camera.intrinsics(WORKING_SIDE, WORKING_SIDE).double()
    depth = local[:, 2]
    safe = depth.clamp(min=1e-6)
    xy = torch.stack((local[:, 0] / safe * fx + cx, local[:, 1] / safe * fy + cy), dim=1)
    return xy.numpy(), depth.numpy()


def _at(plane: np.ndarray, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values at pixels, and which of the pixels lie within the picture."""
    columns, rows = np.floor(xy[:, 0]).astype(int), np.floor(xy[:, 1]).astype(int)
    inside = (columns >= 0) & (columns < plane.shape[1]) & (rows >= 0) & (rows < plane.shape[0])
    return plane[np.clip(rows, 0, plane.shape[0] - 1), np.clip(columns, 0, plane.shape[1] - 1)], inside


def _seen(view: View, xy: np.ndarray, depth: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """Which points are in front of, or little behind, what the picture shows."""
    surface, inside = _at(view.depth, xy)
    covered, _ = _at(view.coverage, xy)
    return inside & (depth > 0) & (covered > COVERED) & (depth <= surface + behind)


def blobs_in(seen: Sequence[Seen], model: GaussianModel) -> Bool[Tensor, "n"]:
    """Blobs whose centre projects into the masks of all views.

    Those that are seen in one of the views come first (depth tested); of the hidden ones only those go with them whose nearest seen blob
    belongs to the part, so that its inside comes along and what merely lies behind it does not.
    """
    inside = np.ones(len(model), dtype=bool)
    visible = np.zeros(len(model), dtype=bool)
    behind = _reach(model)
    for one in seen:
        xy, depth = _projected(one.camera, model.mean)
        belongs, within = _at(one.mask, xy)
        inside &= belongs & within & (depth > 0)
        visible |= _seen(one.view, xy, depth, behind)
    return torch.from_numpy(_with_hidden(inside & visible, visible, inside, model)).to(model.device)


def _reach(model: GaussianModel) -> Float[np.ndarray, "n"]:
    """How far behind the picture's depth each blob's centre may be and still be seen."""
    return SEEN_BEHIND + model.scale.detach().max(dim=1).values.cpu().double().numpy()


def _with_hidden(chosen: np.ndarray, visible: np.ndarray, candidates: np.ndarray, model: GaussianModel) -> np.ndarray:
    """The chosen ones and those hidden candidates whose nearest seen blob is chosen."""
    from scipy.spatial import cKDTree

    found, hidden = chosen.copy(), np.nonzero(candidates & ~visible)[0]
    if chosen.any() and len(hidden):
        centres = model.mean.detach().cpu().double().numpy()
        rows = np.nonzero(visible)[0]
        _, nearest = cKDTree(centres[rows]).query(centres[hidden])
        found[hidden] = chosen[rows[nearest]]
    return found
