"""The object, and the hands on it: looking, selecting, the gizmo, the drag tool."""

import numpy as np
from imgui_bundle import ImVec2, imgui, imguizmo

from interactive3d.runtime.view.gestures import Gizmo, Pull, Tool
from interactive3d.runtime.view.keymap import FLYING
from interactive3d.runtime.view.orbit import Projection
from interactive3d.runtime.view.overlays import lines_of
from interactive3d.runtime.view.painter import Look
from interactive3d.runtime.view.panels.ink import Hand, draw_ink
from interactive3d.runtime.view.panels.parts_panel import PartsPanel
from interactive3d.runtime.view.panels.segment_card import SegmentCard
from interactive3d.runtime.view.panels.toolbar import draw_hints, draw_notices, draw_toolbar
from interactive3d.runtime.view.programs import first_fault
from interactive3d.runtime.view.regions import Region
from interactive3d.runtime.view.scene_view import pick
from interactive3d.runtime.view.selecting import Combine
from interactive3d.runtime.view.studio import Studio
from interactive3d.runtime.view.theme import in_main_dock, px
from interactive3d.runtime.view.viewport import Frame, Viewport

gizmo = imguizmo.im_guizmo

CLICK_PIXELS = 4.0
DAB_SPACING = 0.5
"""Dabs of a brush lie this many radii apart."""

DEPTH_STEP = 0.05
"""A notch of the wheel moves the plane of a drag by this much, in scene units."""

GIZMO_STYLE = {
    name: getattr(gizmo.Style(), name) for name in dir(gizmo.Style()) if name.endswith(("thickness", "size"))
}
"""How thick ImGuizmo draws on a plain screen, in pixels."""

GIZMOS = {
    Gizmo.MOVE: gizmo.OPERATION.translate,
    Gizmo.ROTATE: gizmo.OPERATION.rotate,
    Gizmo.STRETCH: gizmo.OPERATION.scale,
}


class ViewportPanel:
    """Draws the viewport's window and turns what happens in it into calls of the studio."""

    def __init__(self, studio: Studio, viewport: Viewport, parts: PartsPanel) -> None:
        self.studio = studio
        self.viewport = viewport
        self.card = SegmentCard(studio, viewport.context, parts)
        self.hand = Hand()
        self.origin = (0.0, 0.0)
        self.size = (640, 480)
        self.hovered = False
        self.moving = False
        self._behind = False
        self._gizmo_matrix: np.ndarray | None = None
        self._gizmo_has_mouse = False
        self._gizmo_pivot: tuple[float, float, float] = (0.0, 0.0, 0.0)
        self._region_held: Region | None = None
        self._shaders_told: dict[str, str] = {}

    @property
    def projection(self) -> Projection:
        """In the viewport's own pixels."""
        return Projection(camera=self.studio.camera.camera(), width=self.size[0], height=self.size[1])

    def draw(self) -> None:
        """One frame."""
        space = imgui.get_content_region_avail()
        self.size = (max(16, int(space.x)), max(16, int(space.y)))
        corner = imgui.get_cursor_screen_pos()
        self.origin = (corner.x, corner.y)
        self.studio.pixel = px(1.0)
        camera_before = self.studio.camera
        if self._gizmo_has_mouse:
            # ImGuizmo takes the mouse only where no item of the window wants it.
            imgui.dummy(ImVec2(*self.size))
            self.hovered, held = imgui.is_window_hovered(), False
        else:
            imgui.set_next_item_allow_overlap()
            buttons = imgui.ButtonFlags_
            every = buttons.mouse_button_left | buttons.mouse_button_right | buttons.mouse_button_middle
            imgui.invisible_button("##picture", ImVec2(*self.size), every)
            self.hovered, held = imgui.is_item_hovered(), imgui.is_item_active()
        # The gizmo is drawn over the picture, so what it does is seen one frame later.
        if not self._gizmo_has_mouse:
            self._mouse(held)
        if self.hovered or held:
            self._fly()
        self.moving = held or self._gizmo_matrix is not None or self.studio.camera != camera_before
        try:
            texture = self.viewport.show(self._frame())
        finally:
            # Whatever went wrong, the panels are drawn to the screen.
            self.viewport.context.screen.use()
        self._tell_shaders()
        low, high = ImVec2(*self.origin), ImVec2(self.origin[0] + self.size[0], self.origin[1] + self.size[1])
        paint = imgui.get_window_draw_list()
        # Nothing of the other panels lies behind this one where it has its place among them.
        self._behind = self.viewport.software and in_main_dock()
        if not self._behind:
            paint.add_image(imgui.ImTextureRef(texture.glo), low, high)
        self._gizmo_has_mouse = self._gizmo()
        self.card.overlay(paint, self.projection, self.origin)
        draw_ink(self.studio, self.hand, self.projection, paint, self._place(), self.hovered)
        draw_notices(self.studio, paint, self.origin, self.size)
        draw_hints(self.studio, paint, self.origin, self.size)
        draw_toolbar(self.studio, self.origin, self.size)
        self.card.draw(self.origin, self.size)

    def _tell_shaders(self) -> None:
        """Say when a shader that was edited cannot be used, and when it can again."""
        told, self._shaders_told = self._shaders_told, dict(self.viewport.programs.log)
        for stem, problem in self._shaders_told.items():
            if told.get(stem) != problem:
                self.studio.say(f"shader {stem}: {first_fault(problem)}; the last good one is in use", error=True)
        for stem in told.keys() - self._shaders_told.keys():
            self.studio.say(f"shader {stem} is in use again, as it is on disk")

    def draw_behind(self) -> None:
        """Lay the picture on the screen, before ImGui's panels come over it, where ``draw`` has left that to be done."""
        if self._behind:
            self._behind = False
            io = imgui.get_io()
            fine = max(io.display_framebuffer_scale.x, 1.0)
            low = round(fine * io.display_size.y) - round(fine * self.origin[1]) - round(fine * self.size[1])
            self.viewport.lay_on_screen((round(fine * self.origin[0]), low))

    def _place(self) -> tuple[ImVec2, ImVec2]:
        """The picture's corner in the window, and where the pointer is in it."""
        return ImVec2(*self.origin), ImVec2(*self._point())

    # -- the mouse ------------------------------------------------------------------------------------------------------
    def _point(self) -> tuple[float, float]:
        mouse = imgui.get_mouse_pos()
        return mouse.x - self.origin[0], mouse.y - self.origin[1]

    def _mouse(self, held: bool) -> None:
        io, studio, hand = imgui.get_io(), self.studio, self.hand
        if self.hovered and io.mouse_wheel:
            if studio.pull is not None:
                pull = studio.pull
                studio.pull = Pull(
                    source=pull.source, x=pull.x, y=pull.y, deeper=pull.deeper + DEPTH_STEP * io.mouse_wheel
                )
            else:
                studio.camera = studio.camera.zoomed(io.mouse_wheel)
        if self.hovered and imgui.is_mouse_double_clicked(0) and studio.tool in (Tool.ORBIT, Tool.CLICK):
            hit = pick(studio.scene, self.projection, *self._point())
            if hit is not None:
                distance = studio.camera.distance
                studio.camera = studio.camera.focused(hit.point, 0.1)
                studio.camera = type(studio.camera)(
                    azimuth=studio.camera.azimuth,
                    elevation=studio.camera.elevation,
                    distance=distance,
                    target=hit.point,
                )
        if hand.button is None and held:
            # Where frames are slow the item may take hold a frame after the click itself.
            taken = imgui.is_item_activated()
            for button in (0, 1, 2):
                if imgui.is_mouse_clicked(button) or (taken and imgui.is_mouse_down(button)):
                    self._press(button)
                    break
        if hand.button is not None:
            if imgui.is_mouse_down(hand.button):
                self._pull(io.mouse_delta.x, io.mouse_delta.y)
            else:
                self._release()

    def _press(self, button: int) -> None:
        io, studio = imgui.get_io(), self.studio
        point = self._point()
        self.hand = Hand(button=button, start=point, outline=[point], turning=button == 1 and io.key_ctrl)
        if button != 0:
            return
        if studio.tool is Tool.DRAG:
            hit = pick(studio.scene, self.projection, *point)
            if hit is None:
                self.hand.turning = True
            else:
                studio.pull = Pull(source=hit, x=point[0], y=point[1])
        elif studio.tool is Tool.BRUSH:
            self._dab(point)

    def _pull(self, dx: float, dy: float) -> None:
        studio, hand = self.studio, self.hand
        if not dx and not dy:
            return
        if hand.turning or (hand.button == 0 and studio.tool in (Tool.ORBIT, Tool.CLICK, Tool.COLOR, Tool.SEGMENT)):
            studio.camera = studio.camera.orbited(dx / studio.pixel, dy / studio.pixel)
        elif hand.button != 0:
            studio.camera = studio.camera.panned(dx, dy, self.size[1])
        elif studio.pull is not None:
            x, y = self._point()
            studio.pull = Pull(source=studio.pull.source, x=x, y=y, deeper=studio.pull.deeper)
        elif studio.tool is Tool.BRUSH:
            self._dab(self._point())
        else:
            hand.outline.append(self._point())

    def _release(self) -> None:
        studio, hand = self.studio, self.hand
        self.hand = Hand()
        how = combining()
        x, y = self._point()
        clicked = abs(x - hand.start[0]) + abs(y - hand.start[1]) < px(CLICK_PIXELS)
        if hand.button != 0 or hand.turning:
            return
        projection = self.projection
        if studio.pull is not None:
            studio.end_pull(projection)
        elif studio.tool is Tool.CLICK and clicked:
            studio.select_hit(pick(studio.scene, projection, x, y), projection, how)
        elif studio.tool is Tool.COLOR and clicked:
            studio.select_color(pick(studio.scene, projection, x, y), how)
        elif studio.tool is Tool.SEGMENT and clicked:
            studio.segment(projection, x, y, how)
        elif studio.tool is Tool.RECTANGLE and not clicked:
            (a, b), (c, d) = hand.start, (x, y)
            studio.select_outline(projection, [(a, b), (c, b), (c, d), (a, d)], how)
        elif studio.tool is Tool.LASSO and not clicked:
            studio.select_outline(projection, [*hand.outline, (x, y)], how)
        elif studio.tool is Tool.BRUSH:
            studio.select_stroke(hand.dabs, hand.dab_radius, how)
        elif studio.tool in (Tool.RECTANGLE, Tool.LASSO) and clicked and how is Combine.REPLACE:
            studio.select(None)

    def _dab(self, point: tuple[float, float]) -> None:
        hit = pick(self.studio.scene, self.projection, *point)
        if hit is None:
            return
        hand = self.hand
        if not hand.dabs:
            hand.dab_radius = self.studio.brush_radius * hit.depth / self.projection.focal
        far = not hand.dabs or np.linalg.norm(np.subtract(hit.point, hand.dabs[-1])) > DAB_SPACING * hand.dab_radius
        if far:
            hand.dabs.append(hit.point)

    def _fly(self) -> None:
        io = imgui.get_io()
        if io.want_text_input or io.key_ctrl or io.key_alt:
            return
        way = np.zeros(3)
        for name, direction in FLYING.items():
            if imgui.is_key_down(getattr(imgui.Key, name)):
                way += direction
        if way.any():
            hurry = 3.0 if io.key_shift else 1.0
            self.studio.camera = self.studio.camera.flown(
                way[0] * hurry, way[1] * hurry, way[2] * hurry, min(io.delta_time, 0.1)
            )

    # -- the gizmo ------------------------------------------------------------------------------------------------------
    def _gizmo_rests_at(self) -> tuple[float, float, float] | None:
        """Where the gizmo stands when nobody holds it: on the region, else on the selection; None for nowhere."""
        studio = self.studio
        if studio.gizmo is Gizmo.NONE:
            return None
        if studio.region is not None and studio.gizmo is not Gizmo.ROTATE:
            return studio.region.center
        ball = studio.scene.selected_ball
        return (
            ball.center if studio.selection is not None and ball is not None and studio.scene.selected_count else None
        )

    def _gizmo(self) -> bool:
        """Let the gizmo have the mouse; True while it does."""
        studio = self.studio
        rest = self._gizmo_rests_at()
        if rest is None:
            if self._gizmo_matrix is not None:
                self._gizmo_matrix, self._region_held, studio.moved = None, None, None
            return False
        if self._gizmo_matrix is None:
            self._gizmo_pivot = rest
        on_region = studio.region is not None and studio.gizmo is not Gizmo.ROTATE
        matrix = self._gizmo_shape()
        if gizmo.is_using():
            self._gizmo_matrix = matrix
            if on_region and studio.region is not None:
                self._region_held = studio.region.moved(matrix)
            else:
                back = np.eye(4)
                back[:3, 3] = -np.asarray(self._gizmo_pivot)
                studio.moved = matrix @ back
                studio.leave_mesh()
            return True
        if self._gizmo_matrix is not None:
            released, self._gizmo_matrix = self._gizmo_matrix, None
            if on_region:
                held, self._region_held = self._region_held, None
                if held is not None:
                    studio.place_region(held)
            else:
                studio.let_go(self._gizmo_pivot, released)
            return True
        return bool(gizmo.is_over()) and self.hand.button is None

    def _gizmo_shape(self) -> np.ndarray:
        projection = self.projection
        gizmo.begin_frame()
        gizmo.set_orthographic(False)
        gizmo.set_drawlist(imgui.get_window_draw_list())
        gizmo.set_rect(*self.origin, *(float(v) for v in self.size))
        gizmo.set_gizmo_size_clip_space(0.16)
        style = gizmo.get_style()
        for name, thickness in GIZMO_STYLE.items():
            setattr(style, name, px(thickness))
        # ImGuizmo has OpenGL's conventions: y up and -z forward in camera space.
        flip = np.diag([1.0, -1.0, -1.0, 1.0])
        view = flip @ projection.camera.view_matrix().numpy()
        near, far = 0.01, 100.0
        aspect, tangent = projection.width / projection.height, 2.0 * projection.focal / projection.height
        lens = np.zeros((4, 4))
        lens[0, 0], lens[1, 1] = tangent / aspect, tangent
        lens[2, 2], lens[2, 3] = -(far + near) / (far - near), -2.0 * far * near / (far - near)
        lens[3, 2] = -1.0
        start = np.eye(4)
        start[:3, 3] = self._gizmo_pivot
        held = self._gizmo_matrix if self._gizmo_matrix is not None else start
        matrix = gizmo.Matrix16(np.ascontiguousarray(held.T, np.float32).reshape(-1).tolist())
        mode = gizmo.MODE.local if self.studio.gizmo is Gizmo.STRETCH else gizmo.MODE.world
        gizmo.manipulate(
            gizmo.Matrix16(view.T.astype(np.float32).reshape(-1).tolist()),
            gizmo.Matrix16(lens.T.astype(np.float32).reshape(-1).tolist()),
            GIZMOS[self.studio.gizmo],
            mode,
            matrix,
        )
        return np.asarray(matrix.values, np.float64).reshape(4, 4).T

    # -- the picture ----------------------------------------------------------------------------------------------------
    def _frame(self) -> Frame:
        studio, scene = self.studio, self.studio.scene
        projection = self.projection
        moved = studio.moved
        selected, tint = studio.marked
        look = Look(selected=selected, hidden=scene.hidden, moved=moved, dots=studio.dots, tint=tint)
        key = (id(selected), tint, id(scene.hidden), None if moved is None else moved.tobytes(), studio.dots)
        under, over, overlay = lines_of(studio, projection, self._region_held)
        left = studio.left
        # Where the screen has more pixels than the window counts, as on a Mac, the picture gets them all.
        fine = max(imgui.get_io().display_framebuffer_scale.x, 1.0)
        mesh = studio.mesh if studio.show_mesh else None
        return Frame(
            model=scene.model,
            camera=studio.camera.camera(),
            width=round(fine * self.size[0]),
            height=round(fine * self.size[1]),
            line_scale=px(fine),
            look=look,
            look_key=key,
            under=under,
            over=over,
            overlay_key=overlay,
            backdrop=studio.backdrop,
            moving=self.moving,
            following=studio.worker.running and studio.past is None,
            finished=True,  # the scene was made of it
            field=studio.field,
            mesh=mesh,
            other=None if left is None else left[0],
            other_field=None if left is None else left[1],
            split=studio.split if left is not None else 0.0,
        )


def combining() -> Combine:
    """What the modifier keys make of a selection."""
    io = imgui.get_io()
    if io.key_shift:
        return Combine.ADD
    if io.key_ctrl:
        return Combine.SUBTRACT
    if io.key_alt:
        return Combine.INTERSECT
    return Combine.REPLACE
