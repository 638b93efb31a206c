"""Colours of a mesh at any point of its surface, whichever way the file keeps them."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from interactive3d.runtime.output.problems import FileProblem

if TYPE_CHECKING:
    import trimesh

UNPAINTED = (0.7, 0.7, 0.7)
# A texture of 8192 x 8192; a compressed picture of a few kilobytes may claim far more.
MAX_TEXELS = 1 << 26


@dataclass(frozen=True, kw_only=True)
class _Coat:
    """Paint of one piece: corner colours and, with a texture, where the corners lie in it. All values linear or all display values."""

    corners: Float[np.ndarray, "f 3 4"] | None
    factor: Float[np.ndarray, "4"]
    uv: Float[np.ndarray, "f 3 2"] | None
    texture: np.ndarray | None  # uint8 (h, w, 4), display values
    linear: bool
    cutout: bool
    threshold: float

    def colors(self, faces: Int[np.ndarray, "n"], bary: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 4"]:
        rgba = np.tile(self.factor, (len(faces), 1))
        if self.texture is not None and self.uv is not None:
            texels = _bilinear(self.texture, (self.uv[faces] * bary[..., None]).sum(axis=1))
            texels[:, :3] = to_linear(texels[:, :3]) if self.linear else texels[:, :3]
            rgba *= texels
        if self.corners is not None:
            rgba *= (self.corners[faces] * bary[..., None]).sum(axis=1)
        if self.linear:
            rgba[:, :3] = to_display(rgba[:, :3])
        if self.cutout:
            rgba[:, 3] = np.where(rgba[:, 3] >= self.threshold, 1.0, 0.0)
        else:
            rgba[:, 3] = 1.0
        return np.clip(np.nan_to_num(rgba), 0.0, 1.0)

    def keep(self, good: Bool[np.ndarray, "f"]) -> "_Coat":
        return dataclasses.replace(
            self,
            corners=None if self.corners is None else self.corners[good],
            uv=None if self.uv is None else self.uv[good],
        )


@dataclass(frozen=True)
class Paint:
    """Paint of several pieces whose faces are numbered through; ``starts`` has one entry more than ``coats``."""

    coats: tuple[_Coat, ...]
    starts: Int[np.ndarray, "p"]

    @classmethod
    def join(cls, paints: "list[Paint]") -> "Paint":
        """One paint for the pieces behind one another."""
        sizes = np.concatenate([np.diff(p.starts) for p in paints])
        return cls(tuple(c for p in paints for c in p.coats), np.concatenate([[0], np.cumsum(sizes)]))

    def colors(self, faces: Int[np.ndarray, "n"], bary: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 4"]:
        """Display colours and opacity (0 where a texture cuts the surface away, else 1) at points of faces."""
        found = np.zeros((len(faces), 4))
        piece = np.searchsorted(self.starts, faces, side="right") - 1
        for number in np.unique(piece):
            here = piece == number
            found[here] = self.coats[number].colors(faces[here] - self.starts[number], bary[here])
        return found

    def keep(self, good: Bool[np.ndarray, "f"]) -> "Paint":
        """The paint of some faces only."""
        parts = [good[a:b] for a, b in zip(self.starts[:-1], self.starts[1:], strict=True)]
        coats = tuple(coat.keep(part) for coat, part in zip(self.coats, parts, strict=True))
        return Paint(coats, np.concatenate([[0], np.cumsum([int(p.sum()) for p in parts])]))

    def texture_sizes(self) -> tuple[tuple[int, int], ...]:
        """Width and height of each texture in use."""
        return tuple((c.texture.shape[1], c.texture.shape[0]) for c in self.coats if c.texture is not None)


def paint_of(path: Path, mesh: "trimesh.Trimesh", faces: Int[np.ndarray, "f 3"], linear: bool) -> Paint:
    """The paint of one mesh. ``linear`` says whether its factors and vertex colours are linear, as glTF wants them.

    Raises:
        FileProblem: a texture that is too large or cannot be decoded.
    """
    import trimesh

    visual: Any = mesh.visual
    corners = uv = texture = None
    factor = np.array([*UNPAINTED, 1.0])
    cutout, threshold = False, 0.5
    if isinstance(visual, trimesh.visual.TextureVisuals):
        material = visual.material
        if isinstance(material, trimesh.visual.material.MultiMaterial):
            material = material.materials[0]
        image, factor, cutout, threshold, linear = _material(material, linear)
        if image is not None and visual.uv is not None and len(visual.uv) == len(mesh.vertices):
            texture = _texels(path, image)
            uv = np.asarray(visual.uv, dtype=np.float64)[faces]
        colors = visual.vertex_attributes.get("color") if hasattr(visual, "vertex_attributes") else None
        if colors is not None and len(colors) == len(mesh.vertices):
            corners = _unit(colors)[faces]
    elif visual.kind == "vertex":
        corners, factor = _unit(visual.vertex_colors)[faces], np.ones(4)
    elif visual.kind == "face":
        corners, factor = np.repeat(_unit(visual.face_colors)[:, None], 3, axis=1), np.ones(4)
    else:
        linear = False
    coat = _Coat(
        corners=corners, factor=factor, uv=uv, texture=texture, linear=linear, cutout=cutout, threshold=threshold
    )
    return Paint((coat,), np.array([0, len(faces)]))


def to_linear(display: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """sRGB display values to linear light (IEC 61966-2-1)."""
    return np.where(display <= 0.04045, display / 12.92, ((np.maximum(display, 0.04045) + 0.055) / 1.055) ** 2.4)


def to_display(linear: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Linear light to sRGB display values (IEC 61966-2-1)."""
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055)


def _material(material: Any, linear: bool) -> tuple[Any, np.ndarray, bool, float, bool]:
    """Texture, factor, whether the texture cuts, at which alpha, and whether the factor is linear."""
    import trimesh

    if isinstance(material, trimesh.visual.material.PBRMaterial):
        factor = np.ones(4) if material.baseColorFactor is None else _unit(material.baseColorFactor)
        cutout = material.alphaMode in ("MASK", "BLEND")
        threshold = 0.5 if material.alphaCutoff is None else float(material.alphaCutoff)
        return material.baseColorTexture, factor, cutout, threshold if material.alphaMode == "MASK" else 0.5, linear
    image = getattr(material, "image", None)
    # Exporters often leave the diffuse colour black beside a texture, so the texture stands alone.
    diffuse = np.array([*UNPAINTED, 1.0]) if getattr(material, "diffuse", None) is None else _unit(material.diffuse)
    return image, np.ones(4) if image is not None else diffuse, False, 0.5, False


def _unit(colors: Any) -> Float[np.ndarray, "... 4"]:
    """Colours of any kind as 0 .. 1 with alpha."""
    array = np.asarray(colors)
    scale = np.iinfo(array.dtype).max if array.dtype.kind in "ui" else 1.0
    array = array.astype(np.float64) / scale
    if array.shape[-1] == 3:
        array = np.concatenate([array, np.ones((*array.shape[:-1], 1))], axis=-1)
    return array


def _texels(path: Path, image: Any) -> np.ndarray:
    if image.width * image.height > MAX_TEXELS:
        raise FileProblem(
            path,
            f"has a texture of {image.width} x {image.height} pixels, the limit is {MAX_TEXELS} in all",
            "scale the texture down",
        )
    try:
        return np.asarray(image.convert("RGBA"))
    except Exception as error:
        # A foreign decoder on foreign data: whatever it raises means a damaged picture.
        raise FileProblem(path, f"has a texture that cannot be decoded: {error}", "export it again") from error


def _bilinear(texture: np.ndarray, uv: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 4"]:
    """Texels at texture coordinates (origin bottom left, repeated), texel centres at half integers."""
    height, width = texture.shape[:2]
    uv = np.nan_to_num(uv, nan=0.0, posinf=0.0, neginf=0.0)
    x = (uv[:, 0] % 1.0) * width - 0.5
    y = (1.0 - uv[:, 1] % 1.0) * height - 0.5
    x0, y0 = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    rows, columns = (y0 % height, (y0 + 1) % height), (x0 % width, (x0 + 1) % width)
    top = texture[rows[0], columns[0]] * (1 - fx) + texture[rows[0], columns[1]] * fx
    bottom = texture[rows[1], columns[0]] * (1 - fx) + texture[rows[1], columns[1]] * fx
    return (top * (1 - fy) + bottom * fy) / 255.0
