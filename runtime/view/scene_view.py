"""What the window knows of one state: which blobs are selected and hidden, where they are, and what lies under a pixel.

Made beside the window, for a selection is a query that is asked anew for every state; the window shows the state it was made for.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from interactive3d.dsl.operations import PartExpression
from interactive3d.runtime.engine.state import RunState
from interactive3d.runtime.scene.camera import Vec3
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.scene.parts import PartError, part_mask
from interactive3d.runtime.view.blob_grid import BlobGrid, blob_grid
from interactive3d.runtime.view.orbit import Projection
from interactive3d.runtime.view.packing import rotation_matrices, view_matrix

LOW_PASS = 0.3
SOLID = 0.5
"""What a pixel shows lies where half of what can be seen has been met."""

SEEN = 0.25
"""Below this coverage a pixel shows the background."""

REACHES, RIM = 3.4, 2.0
"""A blob's picture ends this many standard deviations, and pixels, from its centre."""

ROUNDING = 1e-4
"""Square scene units by which a squared distance in single precision may be off, and more."""

FAINT = 0.05
STRAY_SHARE = 0.98
"""This share of the blobs decides how large the object is; the rest may be strays."""


@dataclass(frozen=True, kw_only=True)
class SceneJob:
    """A state and what is selected and hidden in it."""

    state: RunState
    selection: PartExpression | None = None
    hidden: PartExpression | None = None


@dataclass(frozen=True, kw_only=True)
class Ball:
    """Centre and radius in scene units."""

    center: Vec3
    radius: float


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A state as the window sees it. Masks are None where nothing is selected or hidden.

    ``reach`` is a blob's largest standard deviation, ``square`` the squared length of its mean. Everything is in the processor's memory:
    the window asks nothing of a graphics card, which would answer after the step that it is busy with.
    """

    job: SceneJob
    mean: Float[np.ndarray, "n 3"]
    opacity: Float[np.ndarray, "n"]
    reach: Float[np.ndarray, "n"]
    square: Float[np.ndarray, "n"]
    rotation: Float[np.ndarray, "n 4"]
    log_scale: Float[np.ndarray, "n 3"]
    selected: Bool[np.ndarray, "n"] | None = None
    hidden: Bool[np.ndarray, "n"] | None = None
    ball: Ball = Ball(center=(0.0, 0.0, 0.0), radius=0.8)
    selected_ball: Ball | None = None
    problem: str | None = None
    grid: BlobGrid | None = None
    """Where there are many blobs: which of them lie where."""

    @property
    def state(self) -> RunState:
        """The state it was made for."""
        return self.job.state

    @property
    def model(self) -> GaussianModel:
        """The blobs it was made for."""
        return self.job.state.model

    @property
    def selected_count(self) -> int:
        """How many blobs are selected."""
        return 0 if self.selected is None else int(self.selected.sum())


def make_scene(job: SceneJob) -> Scene:
    """Evaluate the selection and measure the object."""
    model = job.state.model
    mean = model.mean.cpu().numpy()
    scene = Scene(
        job=job,
        mean=mean,
        opacity=model.opacity.cpu().numpy(),
        reach=model.scale.amax(-1).cpu().numpy() if len(model) else np.zeros(0, np.float32),
        square=np.einsum("ni,ni->n", mean, mean),
        rotation=model.columns["rotation"].cpu().numpy(),
        log_scale=model.columns["log_scale"].cpu().numpy(),
    )
    problem = None
    masks: dict[str, np.ndarray | None] = {"selected": None, "hidden": None}
    for name, part in (("selected", job.selection), ("hidden", job.hidden)):
        if part is None:
            continue
        try:
            masks[name] = part_mask(part, model).cpu().numpy()
        except PartError as error:
            problem = str(error)
    selected = masks["selected"]
    whole = _ball(mean[scene.opacity > FAINT]) or Ball(center=(0.0, 0.0, 0.0), radius=0.8)
    return replace(
        scene,
        selected=selected,
        hidden=masks["hidden"],
        ball=whole,
        grid=blob_grid(mean, scene.reach, np.array(whole.center), whole.radius),
        selected_ball=_ball(mean[selected]) if selected is not None else None,
        problem=problem,
    )


def _ball(points: Float[np.ndarray, "n 3"]) -> Ball | None:
    # Along each axis by itself: numpy takes several times as long over an array's short axis.
    finite = np.isfinite(points)
    points = points[finite[:, 0] & finite[:, 1] & finite[:, 2]]
    if not len(points):
        return None
    center = np.array([0.5 * (points[:, axis].min() + points[:, axis].max()) for axis in range(3)])
    far = np.linalg.norm(points - center, axis=1)
    x, y, z = (float(v) for v in center)
    return Ball(center=(x, y, z), radius=float(np.quantile(far, STRAY_SHARE)) + 0.02)


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A point on the object, the blob that shows there most, and its depth along the camera's forward axis."""

    point: Vec3
    row: int
    depth: float


def pick(scene: Scene, projection: Projection, x: float, y: float) -> Hit | None:
    """What lies under a pixel; None for the background."""
    rows = _near_ray(scene, projection, x, y)
    pixels, depth = projection.pixels(scene.mean[rows])
    spread = scene.reach[rows] * projection.focal / np.maximum(depth, 1e-3)
    away = np.hypot(pixels[:, 0] - x, pixels[:, 1] - y)
    near = (depth > 0.01) & (scene.opacity[rows] > 1.0 / 255.0) & (away < REACHES * spread + RIM)
    if scene.hidden is not None:
        near &= ~scene.hidden[rows]
    if not near.any():
        return None
    rows, pixels, depth = rows[near], pixels[near], depth[near]
    alpha = _alphas(scene, projection, rows, pixels, np.array([x, y]))
    order = np.argsort(depth, kind="stable")
    rows, alpha, depth = rows[order], alpha[order], depth[order]
    through = np.cumprod(1.0 - alpha)
    weight = alpha * np.concatenate([[1.0], through[:-1]])
    covered = np.cumsum(weight)
    if covered[-1] < SEEN:
        return None
    middle = int(np.searchsorted(covered, SOLID * covered[-1]))
    at = float(depth[min(middle, len(rows) - 1)])
    a, b, c = (float(v) for v in projection.at_depth(x, y, at))
    return Hit(point=(a, b, c), row=int(rows[int(weight.argmax())]), depth=at)


class Pointed:
    """What lies under the pointer, asked in every frame and looked for where something has changed."""

    def __init__(self) -> None:
        self._asked: tuple[Scene, Projection, float, float] | None = None
        self._found: Hit | None = None

    def __call__(self, scene: Scene, projection: Projection, x: float, y: float) -> Hit | None:
        """See ``pick``."""
        asked = self._asked
        if asked is None or asked[0] is not scene or asked[1:] != (projection, x, y):
            self._asked, self._found = (scene, projection, x, y), pick(scene, projection, x, y)
        return self._found


def _near_ray(scene: Scene, projection: Projection, x: float, y: float) -> Int[np.ndarray, "m"]:
    """Rows of the blobs that may reach a pixel, and some more: of a million, in a millisecond or two.

    A blob whose picture comes near the pixel has a centre near the ray through it: the ray's distance is never larger than the distance in
    the plane of the blob's depth, which the picture shows.
    """
    eye, ray = np.array(projection.camera.position), projection.ray(x, y)
    ray = ray / np.linalg.norm(ray)
    rim, grid = RIM / projection.focal, scene.grid
    rows: slice | Int[np.ndarray, "j"] = slice(None)
    if grid is not None:
        from_eye = grid.centers - eye
        along = from_eye @ ray
        away = np.sqrt(np.maximum((from_eye * from_eye).sum(axis=1) - along * along, 0.0))
        # As below, for the nearest that a blob of the cell can be.
        allowed = 1.02 * (REACHES * grid.reach + rim * np.maximum(along + grid.radius, 0.0)) + np.sqrt(ROUNDING)
        rows = grid.among((along + grid.radius > 0.0) & (away - grid.radius < allowed))
    mean = scene.mean[rows]
    along = (mean @ ray.astype(np.float32)) - np.float32(eye @ ray)
    away = scene.square[rows] - mean @ (2.0 * eye).astype(np.float32) + np.float32(eye @ eye) - along * along
    # A centre beside the ray may lie a little deeper than the ray's own nearest point.
    allowed = 1.02 * (REACHES * scene.reach[rows] + rim * np.maximum(along, 0.0))
    near = np.flatnonzero((along > 0.0) & (away < allowed * allowed + ROUNDING))
    return near if isinstance(rows, slice) else rows[near]


def _alphas(scene: Scene, projection: Projection, rows: np.ndarray, pixels: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Alpha of some blobs at a pixel, EWA as in the rasterizer."""
    turn = view_matrix(projection.camera)[:3, :3]
    local = (scene.mean[rows] - np.array(projection.camera.position)) @ turn.T
    z = local[:, 2]
    jacobian = np.zeros((len(rows), 2, 3))
    jacobian[:, 0, 0] = jacobian[:, 1, 1] = projection.focal / z
    jacobian[:, :, 2] = -projection.focal * local[:, :2] / z[:, None] ** 2
    half = jacobian @ turn @ (rotation_matrices(scene.rotation[rows]) * np.exp(scene.log_scale[rows])[:, None, :])
    covariance = half @ half.transpose(0, 2, 1)
    a, b, c = covariance[:, 0, 0] + LOW_PASS, covariance[:, 0, 1], covariance[:, 1, 1] + LOW_PASS
    across, down = (at - pixels).T
    power = (c * across * across - 2.0 * b * across * down + a * down * down) / (a * c - b * b)
    alpha = np.minimum(scene.opacity[rows] * np.exp(-0.5 * power), 0.999)
    return np.where(alpha >= 1.0 / 255.0, alpha, 0.0)


def front_depth(scene: Scene, projection: Projection, inside: Bool[np.ndarray, "n"]) -> float | None:
    """How far the visible side of some blobs reaches from the camera: the depth that a selection of what is seen ends at.

    A coarse depth picture, whose fields are about as large as a blob, says what is hidden behind what.
    """
    pixels, depth = projection.pixels(scene.mean)
    solid = (depth > 0.01) & (scene.opacity > 0.3)
    if not (solid & inside).any():
        return None
    spread = float(np.median(scene.reach[solid] / depth[solid])) * projection.focal
    cell = min(max(spread, 4.0), 32.0)
    wide, tall = int(projection.width / cell) + 3, int(projection.height / cell) + 3
    column = np.clip(pixels[:, 0] / cell + 1, 0, wide - 1).astype(int)
    line = np.clip(pixels[:, 1] / cell + 1, 0, tall - 1).astype(int)
    nearest = np.full((tall, wide), np.inf)
    np.minimum.at(nearest, (line[solid], column[solid]), depth[solid])
    rim = np.pad(nearest, 1, constant_values=np.inf)
    around = [rim[1 + i : 1 + i + tall, 1 + j : 1 + j + wide] for i in (-1, 0, 1) for j in (-1, 0, 1)]
    # What a neighbouring field shows hides a blob only when it is clearly in front of it.
    hides = np.min(around, axis=0) + 4.0 * cell / projection.focal * depth.mean()
    seen = inside & solid & (depth <= hides[line, column])
    return float(np.quantile(depth[seen], 0.98)) if seen.any() else None
