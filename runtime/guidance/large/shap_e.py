"""First points from a text or a picture by Shap-E (paper 5.1)."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from interactive3d.runtime.guidance.large.loading import quiet_libraries, resolve
from interactive3d.runtime.guidance.large.problems import LargeModelProblem, hub_problem
from interactive3d.runtime.guidance.protocol import SeedPoints

DEFAULT_SHAPE_MODEL = "openai/shap-e"
IMAGE_SHAPE_MODEL = "openai/shap-e-img2img"
WHAT_FOR = "splats from text"
FROM_IMAGE = "splats from a picture"
TEXT_SCALE = 15.0  # the models' own defaults
IMAGE_SCALE = 3.0
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
            f"{what_for}: {asked!r} cannot be loaded as a {kind.__name__}: {str(error).splitlines()[0]}; name a Shap-E model as the second "
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
    asked_for = _picture(prompt) if isinstance(prompt, Path) else prompt
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
    colors = torch.stack([mesh.vertex_channels[c].detach().cpu() for c in "RGB"], dim=1).double().numpy()
    points = points_on_mesh(vertices, faces, colors, count, generator)
    tell(f"first points: a mesh of {len(faces)} triangles, {count} points on it")
    return points


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


def _picture(path: Path) -> Any:
    """The picture on white.

    Raises:
        LargeModelProblem: it cannot be read.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            rgba = opened.convert("RGBA")
    except FileNotFoundError:
        raise LargeModelProblem(f"{FROM_IMAGE}: there is no file {path}; name a picture beside the script") from None
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise LargeModelProblem(f"{FROM_IMAGE}: {path} is no picture: {error}; save it again as PNG") from error
    white = Image.new("RGBA", rgba.size, "white")
    white.alpha_composite(rgba)
    return white.convert("RGB")


@contextlib.contextmanager
def _quiet() -> Any:
    import warnings

    with warnings.catch_warnings():
        # The library's renderer divides by empty cells and says so.
        warnings.simplefilter("ignore")
        yield
