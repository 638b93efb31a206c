"""What is looked at, and how: the camera, what is shown and hidden, what stands out, what is compared."""

from collections.abc import Callable

import numpy as np

from interactive3d.runtime.engine.state import RunState
from interactive3d.runtime.field import HashGridField
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.view.mesh_preview import MeshPreview
from interactive3d.runtime.view.meshes import Mesh
from interactive3d.runtime.view.orbit import OrbitCamera
from interactive3d.runtime.view.part_masks import PartMasks
from interactive3d.runtime.view.project import Compare, FieldViews, field_of
from interactive3d.runtime.view.scene_view import Scene
from interactive3d.runtime.view.segmenting import MASK_TINT, Segmenting
from interactive3d.runtime.view.splats import TINT
from interactive3d.runtime.view.viewport import Backdrop

PART_TINT = (0.55, 0.75, 1.0, 0.45)
"""Colour of the blobs of a part that is pointed at, and its strength."""


class Looking:
    """The studio as far as it is only looked at. ``complain`` tells the user what went wrong."""

    def __init__(self, scene: Scene, complain: Callable[[str], None]) -> None:
        self.scene = scene
        self.camera = OrbitCamera()
        self.moved: np.ndarray | None = None
        self.backdrop = Backdrop.DARK
        self.grid = True
        self.dots = False
        self.show_parts = True
        self.show_regions = True
        self.show_drags = True
        self.show_cameras = True
        self.show_step_cameras = False
        self.hidden_regions: frozenset[str] = frozenset()
        self.compared_regions: frozenset[str] = frozenset()
        self._fields = FieldViews()
        self.mesh: Mesh | None = None
        self.show_mesh = True
        self.mesh_preview = MeshPreview()
        self.compare = Compare.NOTHING
        self.pinned: RunState | None = None
        self.split = 0.5
        self.past: RunState | None = None
        self.part_masks = PartMasks()
        self.pointed_part: str | None = None
        self.words = ""
        self.segmenting = Segmenting(lambda: self.scene.model, complain)

    @property
    def marked(self) -> tuple[np.ndarray | None, tuple[float, float, float, float]]:
        """The blobs that stand out and their colour: what masks pick out, a part that is pointed at in the panel, or the selection."""
        found, model = self.segmenting.proposal, self.scene.model
        if self.moved is None:
            if found is not None and found.job.model is model and found.rows is not None:
                return found.rows, MASK_TINT
            pointed = self.part_masks.masks(model).get(self.pointed_part) if self.pointed_part else None
            if pointed is not None:
                return pointed, PART_TINT
        return self.scene.selected, TINT

    @property
    def left(self) -> tuple[GaussianModel, HashGridField | None] | None:
        """What is shown left of the dividing line; None where nothing is compared."""
        if self.compare is Compare.PINNED and self.pinned is not None:
            return self.pinned.model, field_of(self.pinned)
        if self.compare is Compare.BLOBS:
            return self.scene.model, self.field if self.previewing else None
        if self.compare is Compare.UNREFINED and self.region_names:
            without = self.compared_regions or frozenset(self.region_names)
            return self.scene.model, self._fields(self.scene.state, without | self.hidden_regions)
        return None

    def show_own_mesh(self, shown: bool) -> None:
        """A mesh in place of what was made of it, or that."""
        self.show_mesh = shown

    @property
    def previewing(self) -> bool:
        """Whether the mesh that is shown is a preview of the field's."""
        return self.mesh_preview.shown is not None and self.show_mesh

    @property
    def field(self) -> HashGridField | None:
        """The field as it is shown, without the regions that are hidden; None in stage I."""
        return self._fields(self.scene.state, self.hidden_regions)

    @property
    def region_names(self) -> tuple[str, ...]:
        """Of what has been refined or edited in the field that is shown."""
        field = field_of(self.scene.state)
        return () if field is None else tuple(region.name for region in field.regions)

    def compare_regions(self, *names: str) -> None:
        """Beside each other: left without these regions (without any, where none is named), right as it is shown."""
        self.compare, self.compared_regions = Compare.UNREFINED, frozenset(names)

    def keep_moment(self) -> None:
        """Compare what comes with what is shown now."""
        self.pinned, self.compare = self.scene.state, Compare.PINNED

    def focus(self, everything: bool = False) -> None:
        """Frame the selection, or everything."""
        target = None if everything else self.scene.selected_ball
        target = target or self.scene.ball
        self.camera = self.camera.focused(target.center, target.radius)

    def reset_view(self) -> None:
        """The first view again."""
        self.camera = OrbitCamera()
        self.focus(everything=True)
