"""Blobs as the splat shader reads them, and their order from back to front. numpy, so that it runs beside the optimizer's torch;
what lies on a graphics card is packed there and carried once.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped, UInt32
from torch import Tensor

from interactive3d.runtime.scene.camera import Camera
from interactive3d.runtime.scene.gaussians import GaussianModel
from interactive3d.runtime.scene.transforms import covariances as device_covariances

BLOBS_A_ROW = 1024
TEXELS_A_BLOB = 4
FLAG_SELECTED = 1.0
FLAG_HIDDEN = 2.0

COARSE_SORT_FROM = 200_000
"""Above this many blobs depths are sorted as 16-bit numbers, by counting: ten times quicker, and finer than a pixel's difference."""


@lru_cache(maxsize=256)
def view_matrix(camera: Camera) -> Float[np.ndarray, "4 4"]:
    """World to camera, OpenCV axes, float64; ``Camera.view_matrix`` without torch, for the window asks many times a frame."""
    eye, target = np.array(camera.position), np.array(camera.target)
    forward = (target - eye) / np.linalg.norm(target - eye)
    # Straight up or down has no horizon: the object's front is the picture's top, as a map does.
    steep = abs(forward[1]) > 0.9999
    up = (0.0, 0.0, -1.0 if forward[1] < 0 else 1.0) if steep else (0.0, 1.0, 0.0)
    right = _cross(forward, up)
    right /= np.linalg.norm(right)
    turn = np.stack([right, _cross(forward, right), forward])
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    matrix[:3, 3] = -turn @ eye
    matrix.flags.writeable = False
    return matrix


def _cross(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray) -> Float[np.ndarray, "3"]:
    # numpy's own is ten times slower for a single pair.
    return np.array([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def focal_length(camera: Camera, height: int) -> float:
    """In pixels."""
    return height / (2.0 * math.tan(math.radians(camera.fov) / 2.0))


def rotation_matrices(quaternions: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 3 3"]:
    """Of wxyz quaternions of any length."""
    length = np.maximum(np.linalg.norm(quaternions, axis=1, keepdims=True), 1e-12)
    w, x, y, z = (quaternions / length).T
    rows = (
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    )  # fmt: skip
    return np.stack(rows, axis=1).reshape(-1, 3, 3)


def covariances(model: GaussianModel) -> Float[np.ndarray, "n 3 3"]:
    """R S S R^T of every blob, float32."""
    half = rotation_matrices(model.columns["rotation"].cpu().numpy()) * model.scale.cpu().numpy()[:, None, :]
    return half @ half.transpose(0, 2, 1)


class Packed(np.ndarray):
    """Packed blobs of a model on a graphics card, and beside them the tensor on the card that they were copied from."""

    there: Tensor | None = None

    @classmethod
    def of(cls, there: Float[Tensor, "n 16"]) -> "Packed":
        """A copy of what lies on the card. When this returns, the tensor is finished."""
        packed = to_host(there).view(cls)
        packed.there = there
        return packed


def pack(model: GaussianModel) -> Float[np.ndarray, "n 16"]:
    """Mean and opacity, covariance, a place for flags, colour. Blobs with a number that is not finite get opacity 0."""
    if model.device.type == "cuda":
        return Packed.of(pack_on_device(model))
    packed = np.zeros((len(model), 4 * TEXELS_A_BLOB), np.float32)
    packed[:, 0:3] = model.mean.cpu().numpy()
    packed[:, 3] = model.opacity.cpu().numpy()
    with np.errstate(invalid="ignore", over="ignore"):
        full = covariances(model)
    packed[:, 4:8] = full[:, (0, 0, 0, 1), (0, 1, 2, 1)]
    packed[:, 8:10] = full[:, (1, 2), (2, 2)]
    packed[:, 12:15] = model.color.cpu().numpy()
    packed[~np.isfinite(packed).all(axis=1)] = 0.0
    return packed


@torch.no_grad()
def pack_on_device(model: GaussianModel) -> Float[Tensor, "n 16"]:
    """As ``pack``, where the model lies."""
    full = device_covariances(model)
    packed = torch.zeros(len(model), 4 * TEXELS_A_BLOB, device=model.device)
    packed[:, 0:3] = model.mean
    packed[:, 3] = model.opacity
    # By slices: lists of indices would each be carried to the device first, and wait for it.
    packed[:, 4:7], packed[:, 7:9], packed[:, 9] = full[:, 0], full[:, 1, 1:], full[:, 2, 2]
    packed[:, 12:15] = model.color
    return torch.where(packed.isfinite().all(dim=1, keepdim=True), packed, 0.0)


def to_host(there: Shaped[Tensor, "*s"], pinned: bool = True) -> Shaped[np.ndarray, "*s"]:
    """Through page-locked memory, which the graphics card writes by itself; ``make test-gpu`` measures both ways. What lies on the host
    already is shared with it.
    """
    if not there.is_cuda:
        return there.numpy()
    here = torch.empty(there.shape, dtype=there.dtype, pin_memory=pinned)
    return here.copy_(there).numpy()


def flags(
    count: int, selected: Bool[np.ndarray, "n"] | None, hidden: Bool[np.ndarray, "n"] | None
) -> Float[np.ndarray, "n"]:
    """What the shader is told about each blob besides its own numbers."""
    out = np.zeros(count, np.float32)
    if selected is not None:
        out += FLAG_SELECTED * selected
    if hidden is not None:
        out += FLAG_HIDDEN * hidden
    return out


def depth_order(mean: Float[np.ndarray, "n 3"], camera: Camera) -> UInt32[np.ndarray, "n"]:
    """Rows from the farthest to the nearest; equals keep their order, last first, so that the first of them ends on top."""
    matrix = view_matrix(camera)
    depth = (mean @ matrix[2, :3].astype(np.float32) + np.float32(matrix[2, 3])).astype(np.float32)
    if len(depth) > COARSE_SORT_FROM:
        low, high = float(depth.min()), float(depth.max())
        depth = ((depth - low) * (65535.0 / max(high - low, 1e-9))).astype(np.uint16)
    return np.argsort(depth, kind="stable")[::-1].astype(np.uint32)
