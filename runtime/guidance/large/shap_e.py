"""First points from a text or a picture by Shap-E (paper 5.1)."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from interactive3d.runtime.guidance.large.loading import first_line, quiet_libraries, resolve
from interactive3d.runtime.guidance.large.problems import LargeModelProblem, hub_problem
from interactive3d.runtime.guidance.protocol import SeedPoints

DEFAULT_SHAPE_MODEL = "openai/shap-e"
IMAGE_SHAPE_MODEL = "openai/shap-e-img2img"
WHAT_FOR = "splats from text"
FROM_IMAGE = "splats from a picture"
TEXT_SCALE = 15.0  # the models' own defaults
IMAGE_SCALE = 3.0
NEARLY_WHITE = 16  # of 255
RADIUS = 0.8  # the project's size of generated objects


def load_shape_pipeline(asked: str, folder: Path, what_for: str = WHAT_FOR, image: bool = False) -> Any:
    """Shap-E from a hub id or a folder.

    Raises:
        LargeModelProblem: not installed, missing, gated, offline, or another kind of model.
    """
    diffusers = quiet_libraries(what_for)
    source = resolve(asked, folder, what_for)
    kind = diffusers.ShapEImg2ImgPipeline if image else diffusers.ShapEPipeline
    try:
        pipeline = kind.from_pretrained(source, use_safetensors=True)
    except Exception as error:
        problem = hub_problem(error, asked, what_for)
        raise problem or LargeModelProblem(
            f"{what_for}: {asked!r} cannot be loaded as a {kind.__name__}: {first_line(error)}; name a Shap-E model as the second "
            f'name after `guidance diffusers "…", "…"`, or use `splats 4096 in sphere radius 0.5`'
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def shape_points(
    asked: str,
    folder: Path,
    prompt: str | Path,
    count: int,
    generator: torch.Generator,
    device: torch.device,
    tell: Callable[[str], None],
    *,
    steps: int,
) -> SeedPoints:
    """Points on the surface of the mesh that Shap-E makes of ``prompt``, a text or a picture's path, in the project's axes and size.

    Raises:
        LargeModelProblem: see ``load_shape_pipeline``; or the mesh came out empty.
    """
    image = isinstance(prompt, Path)
    what_for = FROM_IMAGE if image else WHAT_FOR
    asked_for = _picture(prompt, tell) if isinstance(prompt, Path) else prompt
    pipeline = load_shape_pipeline(asked, folder, what_for, image)
    try:
        pipeline.to(device)
        # A CPU generator on every device, so that a seed means the same everywhere.
        own = torch.Generator().manual_seed(int(torch.randint(2**31, (), generator=generator)))
        with torch.no_grad(), _quiet():
            mesh = pipeline(
                asked_for,
                num_inference_steps=steps,
                guidance_scale=IMAGE_SCALE if image else TEXT_SCALE,
                generator=own,
                output_type="mesh",
            ).images[0]
    finally:
        pipeline.to("cpu")
        if device.type == "cuda":
            torch.cuda.empty_cache()
    vertices = mesh.verts.detach().cpu().double().numpy()
    faces = mesh.faces.detach().cpu().long().numpy()
    faces = faces[np.isfinite(vertices).all(1)[faces].all(1)]
    if len(faces) == 0:
        raise LargeModelProblem(
            f"{what_for}: {asked!r} made an empty mesh of {str(prompt)!r}; use other words, another seed, or `splats {count} in sphere radius 0.5`"
        )
    colors = display_values(
        torch.stack([mesh.vertex_channels[c].detach().cpu() for c in "RGB"], dim=1).double().numpy()
    )
    points = points_on_mesh(vertices, faces, colors, count, generator)
    tell(f"first points: a mesh of {len(faces)} triangles, {count} points on it")
    return points


def display_values(linear: np.ndarray) -> np.ndarray:
    """sRGB of linear light: the mesh's colours are made for a renderer that lights them and converts afterwards."""
    light = np.clip(linear, 0.0, 1.0)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def points_on_mesh(
    vertices: np.ndarray, faces: np.ndarray, colors: np.ndarray, count: int, generator: torch.Generator
) -> SeedPoints:
    """Points drawn evenly by area, with colours. Shap-E's z points up and its front looks along -y; ours are y up, front +z."""
    placed = vertices[:, [0, 2, 1]] * np.array([1.0, 1.0, -1.0])
    used = placed[np.unique(faces)]
    centre = (used.max(0) + used.min(0)) / 2
    radius = np.linalg.norm(used - centre, axis=1).max()
    placed = (placed - centre) * (RADIUS / max(radius, 1e-9))
    corners = torch.from_numpy(placed[faces])
    areas = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=1) / 2
    chosen = torch.multinomial(areas.clamp(min=1e-12), count, replacement=True, generator=generator)
    u = torch.rand(count, 2, generator=generator, dtype=torch.float64)
    root = u[:, :1].sqrt()
    weights = torch.cat((1 - root, root * (1 - u[:, 1:]), root * u[:, 1:]), 1)[:, :, None]
    positions = (corners[chosen] * weights).sum(1)
    shades = (torch.from_numpy(colors[faces])[chosen] * weights).sum(1).clamp(0, 1)
    spacing = float((areas.sum() / count).sqrt())
    return SeedPoints(positions=positions.float(), colors=shades.float(), spacing=spacing)


def _picture(path: Path, tell: Callable[[str], None]) -> Any:
    """The picture upright on a white square, so that the model's own cut to a square takes nothing away.

    Raises:
        LargeModelProblem: it cannot be read.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            rgba = ImageOps.exif_transpose(opened).convert("RGBA")
    except FileNotFoundError:
        raise LargeModelProblem(f"{FROM_IMAGE}: there is no file {path}; name a picture beside the script") from None
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise LargeModelProblem(f"{FROM_IMAGE}: {path} is no picture: {error}; save it again as PNG") from error
    if not _has_plain_border(rgba):
        tell(
            f"{FROM_IMAGE}: {path.name} has a background, which counts as a part of the object; cut the object out (a PNG with transparency)"
        )
    side = max(rgba.size)
    white = Image.new("RGBA", (side, side), "white")
    white.alpha_composite(rgba, ((side - rgba.width) // 2, (side - rgba.height) // 2))
    return white.convert("RGB")


def _has_plain_border(rgba: Any) -> bool:
    """Whether most of a picture's rim is transparent or white."""
    pixels = np.asarray(rgba).astype(int)
    rim = np.concatenate((pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]))
    empty = (rim[:, 3] < 128) | (rim[:, :3] > 255 - NEARLY_WHITE).all(1)
    return bool(empty.mean() > 0.5)


@contextlib.contextmanager
def _quiet() -> Any:
    import warnings

    with warnings.catch_warnings():
        # The library's renderer divides by empty cells and says so.
        warnings.simplefilter("ignore")
        yield
