"""What the U-Net sees beside the noised picture: a volume from the picture's own camera, background, and camera numbers.

Volumes are (4, z, y, x) on [-1, 1]^3, straight colours and coverage (`volume.VolumeNetwork.rgba`).
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

CUBE_SAMPLES = 36
HINT_CHANNELS = 10


def camera_rays(
    viewmats: Float[Tensor, "b 4 4"], fovs: Float[Tensor, " b"], size: int
) -> tuple[Float[Tensor, "b 3"], Float[Tensor, "b size size 3"]]:
    """Origins and unit directions in the world of a square picture's pixel centres; `fovs` vertical, in degrees."""
    rotation, shift = viewmats[:, :3, :3], viewmats[:, :3, 3]
    origin = -(rotation.transpose(1, 2) @ shift[:, :, None])[:, :, 0]
    steps = (torch.arange(size, device=viewmats.device) + 0.5) / size * 2 - 1
    slope = torch.tan(fovs * (math.pi / 360))
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    flat = torch.stack((x, y), dim=-1) * slope[:, None, None, None]
    local = F.normalize(torch.cat((flat, torch.ones_like(flat[..., :1])), dim=-1), dim=-1)
    return origin, torch.einsum("bhwc,bcd->bhwd", local, rotation)


def render_volume(
    volume: Float[Tensor, "b 4 r r r"],
    viewmats: Float[Tensor, "b 4 4"],
    fovs: Float[Tensor, " b"],
    size: int = 32,
    samples: int = CUBE_SAMPLES,
) -> Float[Tensor, "b 5 size size"]:
    """Premultiplied colour (3), opacity and depth (distance less the camera's from the centre, times opacity)."""
    origin, rays = camera_rays(viewmats, fovs, size)
    far_away = torch.where(rays.abs() < 1e-6, torch.full_like(rays, 1e-6), rays)
    planes = torch.stack((-1 - origin[:, None, None], 1 - origin[:, None, None])) / far_away
    near = planes.amin(0).amax(-1).clamp(min=0)
    far = planes.amax(0).amin(-1)
    length = (far - near).clamp(min=0)
    middle = (torch.arange(samples, device=volume.device) + 0.5) / samples
    depth = near[:, None] + length[:, None] * middle[:, None, None]
    points = origin[:, None, None, None] + rays[:, None] * depth[..., None]
    soft = torch.cat((volume[:, :3] * volume[:, 3:], volume[:, 3:]), dim=1)
    taken = F.grid_sample(soft, points, padding_mode="zeros", align_corners=False)
    coverage = taken[:, 3].clamp(0, 0.995)
    # A cell's coverage is that of a step of its own edge length.
    cells = length[:, None] / samples / (2 / volume.shape[-1])
    clear = torch.log1p(-coverage) * cells
    passed = torch.cumsum(clear, dim=1)
    weight = torch.exp(passed - clear) - torch.exp(passed)
    colour = (taken[:, :3] * (weight / taken[:, 3].clamp(min=1e-4))[:, None]).sum(2)
    opacity = weight.sum(1, keepdim=True)
    away = depth - origin.norm(dim=-1)[:, None, None, None]
    return torch.cat((colour, opacity, (weight * away).sum(1, keepdim=True)), dim=1)


def hint(
    view: Float[Tensor, "b 5 half half"] | None,
    from_text: Float[Tensor, " b"],
    trust: Float[Tensor, " b"],
    background: Float[Tensor, "b 3"],
    size: int = 32,
) -> Float[Tensor, "b 10 half half"]:
    """The U-Net's extra channels; without a view the volume is empty.

    `from_text` is 1 where the volume is the text's, `trust` in 0..1 how far an object's own volume is to be believed, both 0
    for an empty volume. `background` in 0..1.
    """
    b = background.shape[0]
    if view is None:
        view = background.new_zeros(b, 5, size, size)
    size = view.shape[-1]
    over = view[:, :3] + (1 - view[:, 3:4]) * background[:, :, None, None]
    flat = torch.cat((background * 2 - 1, from_text[:, None], trust[:, None]), dim=1)
    flat = flat[:, :, None, None].expand(-1, -1, size, size)
    return torch.cat((over * 2 - 1, view[:, 3:], flat), dim=1)


def camera_features(viewmats: Float[Tensor, "b 4 4"], fovs: Float[Tensor, " b"]) -> Float[Tensor, "b 7"]:
    """Position, viewing direction and field of view as about unit numbers."""
    rotation, shift = viewmats[:, :3, :3], viewmats[:, :3, 3]
    position = -(rotation.transpose(1, 2) @ shift[:, :, None])[:, :, 0] / 2.5
    zoom = torch.log(torch.tan(fovs * (math.pi / 360)) / math.tan(math.radians(20)))
    return torch.cat((position, rotation[:, 2], zoom[:, None]), dim=1)
