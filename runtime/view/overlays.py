"""Lines over and under the object: floor and axes, parts, the region, refined regions, cameras, a drag's arrow."""

import math
from functools import lru_cache

import numpy as np

from interactive3d.dsl.operations import Drag, GrowPart, ShapePart, Sphere, UnionPart
from interactive3d.runtime.engine.outputs import camera_of
from interactive3d.runtime.scene.camera import Camera
from interactive3d.runtime.view.gestures import Pull
from interactive3d.runtime.view.lines import LineBatch, Rgba, add_arrow, add_axes, add_grid, add_part, add_shape
from interactive3d.runtime.view.orbit import Projection
from interactive3d.runtime.view.project import field_of
from interactive3d.runtime.view.regions import Region
from interactive3d.runtime.view.studio import Studio
from interactive3d.runtime.view.theme import ACCENT
from interactive3d.runtime.view.viewport import Backdrop

PART_COLOR: Rgba = (0.55, 0.75, 1.0, 0.55)
SELECTION_COLOR: Rgba = (1.0, 0.66, 0.2, 0.8)
SOURCE_COLOR: Rgba = (1.0, 1.0, 1.0, 0.85)
REGION_COLOR: Rgba = (0.95, 0.35, 0.75, 0.95)
REFINED_COLOR: Rgba = (0.45, 0.95, 0.65, 0.7)
CAMERA_COLOR: Rgba = (0.95, 0.85, 0.35, 0.8)
DRAG_COLOR: Rgba = (0.98, 0.78, 0.35, 0.75)
STEP_COLOR: Rgba = (0.85, 0.55, 1.0, 0.9)
VIEW_COLOR: Rgba = (0.6, 0.8, 0.95, 0.7)
PATH_POINTS = 96
FRUSTUM = 0.16
"""Depth of a camera's pyramid in the picture, scene units."""

SIGHT_STRENGTH = 0.25
"""Of the line from a camera of the optimizer to what it looks at."""

MOST_POINTS, POINT_LENGTH, POINT_WIDTH, POINT_STRENGTH = 1500, 0.003, 2.5, 0.75
"""Of blobs that stand out over a field or a mesh: how many are drawn at most, half their length in scene units, pixels, alpha."""

FAINT = 0.3
"""Strength of the ball about a refined region that is hidden."""

MOST_SHAPES = 6
"""A selection of more shapes than this is shown by its tint alone."""


def lines_of(studio: Studio, projection: Projection, held: Region | None) -> tuple[LineBatch, LineBatch, object]:
    """What lies under the object, what lies over it, and a key that changes whenever they do.

    ``held`` is the region as the gizmo has it at the moment, where it has it.
    """
    under, over = LineBatch(), LineBatch()
    scene = studio.scene
    floor = round(scene.ball.center[1] - scene.ball.radius, 1)
    if studio.grid:
        under.rows.append(_floor(floor, studio.backdrop in (Backdrop.DARK, Backdrop.BLACK, Backdrop.CHECKER)))
    program = studio.project.program
    if studio.show_parts and program is not None:
        for part in program.parts:
            add_part(over, part.part, PART_COLOR, 1.0)
    if studio.selection is not None and studio.moved is None:
        inner = studio.selection.part if isinstance(studio.selection, GrowPart) else studio.selection
        if isinstance(inner, ShapePart | UnionPart) and _shapes(inner) <= MOST_SHAPES:
            add_part(over, inner, SELECTION_COLOR, 1.0)
    region = held or studio.region
    if region is not None:
        add_shape(over, region.shape, REGION_COLOR, 2.0)
    field = field_of(scene.state)
    if studio.show_regions and field is not None:
        for refined in field.regions:
            center, radius = refined.focus
            strength = FAINT if refined.name in studio.hidden_regions else 1.0
            color = (*REFINED_COLOR[:3], strength * REFINED_COLOR[3])
            add_shape(over, Sphere(center=center, radius=radius), color, 1.0)
    rows, tint = studio.marked
    solid = field is not None or (studio.mesh is not None and studio.show_mesh)
    if solid and rows is not None:
        _points(over, scene.mean[rows], (*tint[:3], POINT_STRENGTH))
    if studio.show_cameras:
        _cameras(studio, over, projection.camera)
    if studio.show_step_cameras:
        for camera in scene.state.cameras:
            add_frustum(over, camera, STEP_COLOR)
            over.path(np.array([camera.position, camera.target]), (*STEP_COLOR[:3], SIGHT_STRENGTH), 1.0)
    drags = tuple(term.operation for term in scene.state.terms if isinstance(term.operation, Drag))
    for drag in drags if studio.show_drags else ():
        radius = scene.state.settings.drag.radius if drag.radius is None else drag.radius
        add_shape(over, Sphere(center=drag.source, radius=radius), DRAG_COLOR, 1.0)
        add_arrow(over, drag.source, drag.target, projection, DRAG_COLOR)
    target = _pull(studio.pull, studio, over, projection)
    key = (
        *(studio.grid, floor, studio.show_parts, studio.selection, studio.moved is None, target, studio.drag.radius),
        *(region, studio.show_regions, None if field is None else id(field.regions), studio.show_cameras, studio.path),
        None if program is None else id(program.parts),
        studio.hidden_regions,
        drags if studio.show_drags else None,
        (id(rows), tint) if solid else None,
        scene.state.cameras if studio.show_step_cameras else None,
    )
    return under, over, key


@lru_cache(maxsize=8)
def _floor(height: float, dark: bool) -> np.ndarray:
    """The floor and its axes as rows of a batch."""
    batch = LineBatch()
    add_grid(batch, height, (1.0, 1.0, 1.0) if dark else (0.0, 0.0, 0.0))
    add_axes(batch, height)
    return batch.table()


def _points(over: LineBatch, points: np.ndarray, color: Rgba) -> None:
    """Blobs that stand out, as points over a field or a mesh, which hide them."""
    few = points[:: max(1, len(points) // MOST_POINTS)]
    up = np.array([0.0, POINT_LENGTH, 0.0])
    over.segments(few - up, few + up, color, POINT_WIDTH)


def _pull(pull: Pull | None, studio: Studio, over: LineBatch, projection: Projection) -> object:
    if pull is None:
        return None
    target = pull.target(projection)
    source = pull.source.point
    add_shape(over, Sphere(center=source, radius=studio.drag.radius), SOURCE_COLOR, 1.0)
    add_arrow(over, source, target, projection, (ACCENT.x, ACCENT.y, ACCENT.z, 1.0))
    return target


def _cameras(studio: Studio, over: LineBatch, seen_from: Camera) -> None:
    """The path with a pyramid for each keyframe, and the views that the script declares; not the one that is looked through."""
    keys = studio.path.keys
    for key in keys:
        camera = key.camera.camera()
        if math.dist(camera.position, seen_from.position) > FRUSTUM:
            add_frustum(over, camera, CAMERA_COLOR)
    if len(keys) > 1:
        places = [camera.position for camera in studio.path.at(np.linspace(0.0, studio.path.seconds, PATH_POINTS))]
        over.path(np.array(places), CAMERA_COLOR, 1.5)
    program = studio.project.program
    for view in program.views if program is not None else ():
        camera = camera_of(view)
        if math.dist(camera.position, seen_from.position) > FRUSTUM:
            add_frustum(over, camera, VIEW_COLOR)


def add_frustum(batch: LineBatch, camera: Camera, color: Rgba, depth: float = FRUSTUM) -> None:
    """A camera as a pyramid with its tip in the eye, the upper edge marked."""
    turn = camera.view_matrix().double().numpy()[:3, :3]
    right, down, forward = turn
    eye = np.asarray(camera.position)
    half = depth * math.tan(math.radians(camera.fov) / 2.0)
    corners = np.array(
        [eye + depth * forward + half * (x * right + y * down) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    )
    batch.segments(np.repeat(eye[None], 4, 0), corners, color, 1.0)
    batch.path(corners, color, 1.0, closed=True)
    tip = eye + depth * forward - 1.5 * half * down
    batch.path(np.array([corners[0], tip, corners[1]]), color, 1.0)


def _shapes(part: object) -> int:
    match part:
        case UnionPart(left=left, right=right):
            return _shapes(left) + _shapes(right)
    return 1
