"""The card of the segment tool: both views with their masks, and accept or cancel; and the mask over the picture that was clicked."""

import moderngl
import numpy as np
from imgui_bundle import ImVec2, icons_fontawesome_6, imgui

from interactive3d.runtime.scene.segmenter import segmenter
from interactive3d.runtime.view.orbit import OrbitCamera, Projection
from interactive3d.runtime.view.panels.parts_panel import PartsPanel
from interactive3d.runtime.view.segmenting import Proposal, mask_layer, placed, with_mask
from interactive3d.runtime.view.selecting import Combine
from interactive3d.runtime.view.studio import Studio
from interactive3d.runtime.view.theme import px

fa = icons_fontawesome_6
SIDE_SHARE, SMALLEST_SIDE, LARGEST_SIDE = 0.16, 96.0, 200.0
"""Of a view's picture on the card: a share of the viewport's width, within so many pixels."""

MARGIN = 10.0


class SegmentCard:
    """See the module's docstring. Owns textures, so all methods are for the thread that has the OpenGL context."""

    def __init__(self, studio: Studio, context: moderngl.Context, parts: PartsPanel) -> None:
        self.studio = studio
        self.context = context
        self.parts = parts
        self._shown: Proposal | None = None
        self._pictures: list[moderngl.Texture] = []
        self._mask: moderngl.Texture | None = None
        self._side = SMALLEST_SIDE
        self._size = (2 * self._side + 22.0, self._side + 120.0)

    def _upload(self) -> None:
        """Textures for what is proposed now; those of what was proposed before are given back."""
        found = self.studio.segmenting.proposal
        if found is self._shown:
            return
        for texture in (*self._pictures, *([self._mask] if self._mask else [])):
            texture.release()
        self._shown, self._pictures, self._mask = found, [], None
        if found is None:
            return
        self._pictures = [self._texture(with_mask(view)) for view in found.views]
        if found.views:
            self._mask = self._texture(mask_layer(found.views[0].mask))

    def _texture(self, pixels: np.ndarray) -> moderngl.Texture:
        height, width, channels = pixels.shape
        texture = self.context.texture((width, height), channels, np.ascontiguousarray(pixels).tobytes(), alignment=1)
        texture.filter = (moderngl.LINEAR, moderngl.LINEAR)
        return texture

    def overlay(self, paint: imgui.ImDrawList, projection: Projection, origin: tuple[float, float]) -> None:
        """The mask over the picture, as long as it is seen from where it was clicked."""
        self._upload()
        if self._shown is None or self._mask is None:
            return
        place = placed(self._shown.views[0].camera, projection)
        if place is None:
            return
        x, y, side = place
        low = ImVec2(origin[0] + x, origin[1] + y)
        paint.push_clip_rect(ImVec2(*origin), ImVec2(origin[0] + projection.width, origin[1] + projection.height), True)
        paint.add_image(imgui.ImTextureRef(self._mask.glo), low, ImVec2(low.x + side, low.y + side))
        paint.pop_clip_rect()

    def draw(self, origin: tuple[float, float], size: tuple[int, int]) -> None:
        """The card, in the lower right corner of the viewport."""
        segmenting = self.studio.segmenting
        if not segmenting.active:
            return
        self._side = min(max(SIDE_SHARE * size[0], px(SMALLEST_SIDE)), px(LARGEST_SIDE))
        x = origin[0] + size[0] - self._size[0] - px(MARGIN)
        y = origin[1] + size[1] - self._size[1] - px(MARGIN)
        imgui.set_cursor_screen_pos(ImVec2(max(x, origin[0]), max(y, origin[1])))
        imgui.push_style_color(imgui.Col_.child_bg, (0.09, 0.095, 0.11, 0.94))
        imgui.push_style_var(imgui.StyleVar_.window_padding, ImVec2(px(8), px(8)))
        flags = imgui.ChildFlags_
        fits = flags.auto_resize_x | flags.auto_resize_y | flags.always_use_window_padding
        imgui.begin_child("masks", ImVec2(0, 0), fits, imgui.WindowFlags_.no_scrollbar)
        self._content()
        self._size = (imgui.get_window_width(), imgui.get_window_height())
        imgui.end_child()
        imgui.pop_style_var()
        imgui.pop_style_color()

    def _content(self) -> None:
        studio, found = self.studio, self._shown
        if found is None:
            imgui.text(f"{fa.ICON_FA_HOURGLASS_HALF}  segmenting ...")
            if imgui.button("Cancel###cancel masks"):
                studio.segmenting.cancel()
            return
        for number, (view, texture) in enumerate(zip(found.views, self._pictures, strict=True)):
            if number:
                imgui.same_line()
            imgui.begin_group()
            imgui.image(imgui.ImTextureRef(texture.glo), ImVec2(self._side, self._side))
            if imgui.is_item_hovered():
                imgui.set_tooltip("click to look from here")
            if imgui.is_item_clicked():
                studio.camera = OrbitCamera.seen_by(view.camera)
            eye = OrbitCamera.seen_by(view.camera)
            imgui.text_disabled(f"azimuth {eye.azimuth:.0f}°")
            imgui.end_group()
        waiting = studio.segmenting.waiting
        told = "segmenting ..." if waiting else f"{found.count} of {len(found.job.model)} blobs"
        if len(found.views) == 1:
            told += "; no second view sees it"
        imgui.text(told)
        if imgui.is_item_hovered():
            imgui.set_tooltip(f"{studio.segmenting.text}\n\nsegmenter: {segmenter().name}")
        self._buttons(waiting or not found.count)

    def _buttons(self, wait: bool) -> None:
        studio = self.studio
        imgui.begin_disabled(wait)
        if imgui.button(f"{fa.ICON_FA_CHECK}  Accept###accept masks"):
            io = imgui.get_io()
            studio.accept_masks(Combine.ADD if io.key_shift else Combine.REPLACE)
        imgui.set_item_tooltip("becomes the selection  (enter); shift adds to it")
        imgui.end_disabled()
        imgui.same_line()
        if imgui.button("Cancel###cancel masks"):
            studio.segmenting.cancel()
        imgui.begin_disabled(wait)
        imgui.set_next_item_width(self._side)
        _, self.parts.part_name = imgui.input_text("##masks name", self.parts.part_name)
        imgui.same_line()
        imgui.begin_disabled(self.parts.script.path is None)
        if imgui.button("Make a part###masks part"):
            part = studio.accept_masks()
            if part is not None:
                self.parts.declare(part)
        imgui.end_disabled()
        imgui.end_disabled()
