"""A field that is known in closed form: a ball whose colour follows the position, held by a table without any training."""

import torch

from interactive3d.kernels.hash_grid import GridLayout
from interactive3d.runtime.field.field import HashGridField
from interactive3d.runtime.scene.gaussians import GaussianModel

RADIUS = 0.55
STEEP = 120.0  # raw density per scene unit of depth
COLOR = 2.0  # raw colour per scene unit
SIDE = 48
HORN_RADIUS = 0.08


def ball_field(radius: float = RADIUS, step: float = 0.01, horn: float = 0.0) -> HashGridField:
    """Raw density STEEP * (radius - r) + 3, cut well inside and outside; raw colour COLOR * position.

    A ``horn`` of this length, 0.08 thick, stands on top along y.
    """
    layout = GridLayout.create(levels=1, features=4, capacity=1 << 17, base_resolution=SIDE, growth=1.0, hidden=32)
    params = torch.zeros(layout.size)
    table, first, _, second, second_bias = layout.split(params)
    axis = torch.arange(SIDE + 1.0) / SIDE * 2 - 1
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    points = torch.stack([x, y, z], -1).reshape(-1, 3)
    depth = (radius - points.norm(dim=-1)).clamp(-0.25, 0.25)
    axis_point = torch.stack(
        [torch.zeros(len(points)), points[:, 1].clamp(0, radius + horn), torch.zeros(len(points))], -1
    )
    horn_depth = (HORN_RADIUS - (points - axis_point).norm(dim=-1)).clamp(-0.25, 0.25)
    if horn > 0:
        depth = torch.maximum(depth, horn_depth)
    table.copy_(torch.cat([depth[:, None], points], -1))
    for i, scale in enumerate((STEEP, COLOR, COLOR, COLOR)):
        # relu(v) - relu(-v) is v: two hidden units carry one number through.
        first[2 * i, i], first[2 * i + 1, i] = 1.0, -1.0
        second[i, 2 * i], second[i, 2 * i + 1] = scale, -scale
    second_bias[0] = 3.0
    centers = (torch.arange(32) + 0.5) / 16 - 1
    cz, cy, cx = torch.meshgrid(centers, centers, centers, indexing="ij")
    near = torch.stack([cx, cy, cz], -1).norm(dim=-1) < radius + 0.12
    if horn > 0:
        near |= (cx.square() + cz.square() < 0.03) & (cy > 0) & (cy < radius + horn + 0.15)
    return HashGridField(layout=layout, params=params, mask=near.to(torch.uint8), step=step)


def ball_blobs(count: int = 600, radius: float = 0.5) -> GaussianModel:
    """Blobs on a sphere whose colours follow their positions."""
    generator = torch.Generator().manual_seed(0)
    mean = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1) * radius
    return GaussianModel.create(
        mean=mean,
        log_scale=torch.full((count, 3), -3.0),
        rotation=torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(count, 1),
        color=mean + 0.5,
        logit_opacity=torch.full((count,), 2.0),
    )
