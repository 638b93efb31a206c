"""What the hand is drawing at the moment: an outline, dabs of the brush, the ball that a drag would take, the line between two pictures."""

from dataclasses import dataclass, field

import numpy as np
from imgui_bundle import ImVec2, imgui

from interactive3d.runtime.view.gestures import Tool
from interactive3d.runtime.view.orbit import Projection
from interactive3d.runtime.view.scene_view import Pointed
from interactive3d.runtime.view.studio import Studio
from interactive3d.runtime.view.theme import ACCENT, px, rgba


@dataclass
class Hand:
    """What the pointer is in the middle of. Pixels of the picture; ``dabs`` and ``dab_radius`` are places and a length of the scene."""

    button: int | None = None
    start: tuple[float, float] = (0.0, 0.0)
    outline: list[tuple[float, float]] = field(default_factory=list)
    dabs: list[tuple[float, float, float]] = field(default_factory=list)
    dab_radius: float = 0.05
    turning: bool = False
    pointed: Pointed = field(default_factory=Pointed)


def draw_ink(
    studio: Studio,
    hand: Hand,
    projection: Projection,
    paint: imgui.ImDrawList,
    place: tuple[ImVec2, ImVec2],
    hovered: bool,
) -> None:
    """Over the picture; ``place`` is its corner in the window, and where the pointer is in it."""
    color, (corner, point) = rgba(ACCENT), place
    if hand.button == 0 and not hand.turning:
        if studio.tool is Tool.RECTANGLE and len(hand.outline) > 1:
            x, y = hand.outline[-1]
            a = ImVec2(corner.x + hand.start[0], corner.y + hand.start[1])
            b = ImVec2(corner.x + x, corner.y + y)
            paint.add_rect_filled(a, b, rgba(ACCENT, 0.12))
            paint.add_rect(a, b, color)
        elif studio.tool is Tool.LASSO and len(hand.outline) > 1:
            points = [ImVec2(corner.x + x, corner.y + y) for x, y in hand.outline]
            paint.add_polyline(points, color, px(1.5), 0)  # type: ignore[arg-type]
            paint.add_line(points[-1], points[0], rgba(ACCENT, 0.4), px(1.0))
        elif studio.tool is Tool.BRUSH:
            for dab in hand.dabs:
                pixel, depth = projection.pixels(np.array([dab]))
                radius = hand.dab_radius * projection.focal / max(float(depth[0]), 1e-3)
                paint.add_circle_filled(
                    ImVec2(corner.x + pixel[0, 0], corner.y + pixel[0, 1]), radius, rgba(ACCENT, 0.15)
                )
    mouse = ImVec2(corner.x + point.x, corner.y + point.y)
    if hovered and studio.tool is Tool.BRUSH:
        paint.add_circle(mouse, studio.brush_radius, color, 0, px(1.5))
    elif hovered and studio.tool is Tool.DRAG and studio.pull is None:
        hit = hand.pointed(studio.scene, projection, point.x, point.y)
        if hit is not None:
            paint.add_circle(mouse, studio.drag.radius * projection.focal / hit.depth, color, 0, px(1.5))
            paint.add_circle_filled(mouse, px(3.0), color)
    if studio.left is not None:
        x = corner.x + studio.split * projection.width
        paint.add_line(ImVec2(x, corner.y), ImVec2(x, corner.y + projection.height), color, px(1.5))
