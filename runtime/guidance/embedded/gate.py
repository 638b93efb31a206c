"""The gate: does the network use the camera, the text and the object's own volume? Measured before any distillation.

Error of the predicted clean picture, mean square in -1..1 units, at noise step 950 with the right condition, with the camera turned by
90 and 180 degrees, with another picture's text and without text; and at low noise on deformed objects given their own volume.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interactive3d.runtime.guidance.embedded import schedule
from interactive3d.runtime.guidance.embedded.conditioning import camera_features, hint, render_volume
from interactive3d.runtime.guidance.embedded.data import PictureBatch
from interactive3d.runtime.guidance.embedded.text import TextEmbedding, Tokens
from interactive3d.runtime.guidance.embedded.weights import Networks

NOISE_STEP = 950.0
EDIT_STEPS = (20.0, 150.0, 300.0, 500.0)
SILHOUETTE = 0.1  # a pixel this far from white (0..1, largest channel) belongs to the object


def orbit_viewmats(
    azimuth: Float[Tensor, " b"], elevation: Float[Tensor, " b"], distance: float = 2.5
) -> Float[Tensor, "b 4 4"]:
    """World-to-camera matrices (x right, y down, z forward) on an orbit about the origin; degrees."""
    a, e = azimuth * (math.pi / 180), elevation * (math.pi / 180)
    back = torch.stack((a.sin() * e.cos(), e.sin(), a.cos() * e.cos()), dim=-1)
    right = torch.stack((a.cos(), torch.zeros_like(a), -a.sin()), dim=-1)
    down = torch.linalg.cross(-back, right)
    view = torch.eye(4).repeat(len(a), 1, 1)
    view[:, :3, :3] = torch.stack((right, down, -back), dim=1)
    view[:, 2, 3] = distance
    return view


def turned(viewmats: Float[Tensor, "b 4 4"], degrees: float) -> Float[Tensor, "b 4 4"]:
    """The same cameras walked round the y axis."""
    a = math.radians(degrees)
    turn = torch.tensor(
        [[math.cos(a), 0, -math.sin(a), 0], [0, 1, 0, 0], [math.sin(a), 0, math.cos(a), 0], [0, 0, 0, 1.0]]
    )
    return viewmats @ turn


@dataclass(frozen=True)
class GateTable:
    """Mean square errors of the predicted clean picture, and how an edited object fares."""

    right: float
    azimuth_90: float
    azimuth_180: float
    shuffled: float
    no_text: float
    edit_error: dict[int, float]
    edit_iou: dict[int, float]

    def line(self) -> str:
        edits = ", ".join(f"t{t}: {e:.4f}/{self.edit_iou[t]:.3f}" for t, e in self.edit_error.items())
        return (
            f"right {self.right:.4f}, azimuth+90 {self.azimuth_90:.4f} ({self.azimuth_90 / self.right:.1f}x), +180"
            f" {self.azimuth_180:.4f} ({self.azimuth_180 / self.right:.1f}x), shuffled {self.shuffled:.4f}"
            f" ({self.shuffled / self.right:.1f}x), no text {self.no_text:.4f}; edits (error/IoU) {edits}"
        )


@torch.inference_mode()
def predict(
    networks: Networks,
    noisy: Float[Tensor, "b 3 64 64"],
    t: Float[Tensor, " b"],
    text: TextEmbedding,
    volumes: Float[Tensor, "b 4 r r r"] | None,
    batch: PictureBatch,
    viewmats: Float[Tensor, "b 4 4"],
    own: bool = False,
    chunk: int = 32,
) -> Float[Tensor, "b 3 64 64"]:
    """Predicted clean pictures; `own` says that the volumes are the objects' own, not the text's."""
    out = []
    for rows in torch.arange(len(noisy)).split(chunk):
        view = None if volumes is None else render_volume(volumes[rows], viewmats[rows], batch.fovs[rows])
        flag = torch.full((len(rows),), float(volumes is not None))
        extra = hint(view, flag * (not own), flag * own, batch.background[rows])
        words, mask = text.words[rows], text.tokens.mask[rows]
        camera = camera_features(viewmats[rows], batch.fovs[rows])
        v = networks.unet(noisy[rows], t[rows], extra, camera, words, mask, text.pooled[rows])
        out.append(schedule.clean_of(noisy[rows], v, t[rows]))
    return torch.cat(out)


def select(text: TextEmbedding, rows: Tensor) -> TextEmbedding:
    """The embeddings of some captions of a batch."""
    return TextEmbedding(text.words[rows], text.pooled[rows], Tokens(text.tokens.ids[rows], text.tokens.mask[rows]))


@torch.inference_mode()
def gate(networks: Networks, whole: PictureBatch, deformed: PictureBatch, seed: int = 0) -> GateTable:
    """Measure `networks` (on the CPU) on pictures of whole and of deformed objects, on white."""
    generator = torch.Generator().manual_seed(seed)
    n = len(whole.pictures)
    noise = torch.randn(whole.pictures.shape, generator=generator)
    t = torch.full((n,), NOISE_STEP)
    noisy = schedule.noised(whole.pictures, noise, t)
    per_object = networks.text(networks.tokenizer(whole.captions))
    volumes = torch.cat(
        [networks.volume.rgba(select(per_object, r)) for r in torch.arange(len(whole.captions)).split(16)]
    )
    text = select(per_object, whole.owner)
    other = whole.owner[torch.randperm(n, generator=generator)]
    empty = select(networks.text(networks.tokenizer([[]])), torch.zeros(n, dtype=torch.long))

    def error(text: TextEmbedding, volumes: Tensor | None, viewmats: Tensor) -> float:
        return float((predict(networks, noisy, t, text, volumes, whole, viewmats) - whole.pictures).square().mean())

    mine = volumes[whole.owner]
    edits = _edits(networks, deformed, generator)
    return GateTable(
        right=error(text, mine, whole.viewmats),
        azimuth_90=error(text, mine, turned(whole.viewmats, 90)),
        azimuth_180=error(text, mine, turned(whole.viewmats, 180)),
        shuffled=error(select(per_object, other), volumes[other], whole.viewmats),
        no_text=error(empty, None, whole.viewmats),
        edit_error={step: e for step, (e, _) in edits.items()},
        edit_iou={step: iou for step, (_, iou) in edits.items()},
    )


def _edits(networks: Networks, batch: PictureBatch, generator: torch.Generator) -> dict[int, tuple[float, float]]:
    """Per noise step (error, silhouette agreement) on deformed objects with their own volumes."""
    text = select(networks.text(networks.tokenizer(batch.captions)), batch.owner)
    found = {}
    for step in EDIT_STEPS:
        t = torch.full((len(batch.pictures),), step)
        noisy = schedule.noised(batch.pictures, torch.randn(batch.pictures.shape, generator=generator), t)
        clean = predict(networks, noisy, t, text, batch.volumes[batch.owner], batch, batch.viewmats, own=True)
        truth, guess = silhouette(batch.pictures), silhouette(clean)
        iou = (truth & guess).sum((1, 2)) / (truth | guess).sum((1, 2)).clamp(min=1)
        found[int(step)] = (float((clean - batch.pictures).square().mean()), float(iou.mean()))
    return found


def silhouette(pictures: Float[Tensor, "b 3 h w"]) -> Tensor:
    """True where a picture on white (-1..1) is not white."""
    return (1 - pictures).amax(1) / 2 > SILHOUETTE
