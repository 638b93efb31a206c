"""Geometry of blobs under affine maps: positions, covariances and the optimizer's memory of them (paper 3.1.2, equation 2).

A blob's covariance is R S S R^T with S = diag(scale) and R from its quaternion (wxyz). Under x -> c + A (x - c) + t the mean moves
with the map and the covariance becomes A R S S R^T A^T exactly. Arithmetic is in float64, results are float32. Only masked rows change.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interactive3d.runtime.scene.gaussians import GaussianModel, first_moment, second_moment

JACOBI_SWEEPS = 12
"""One-sided Jacobi converges quadratically; 3 x 3 matrices need 4 to 6 sweeps in float64."""

JACOBI_TOLERANCE = 1e-12
"""Cosine between two axes under which they count as orthogonal: far below what float32 keeps of them."""

CONFORMAL_TOLERANCE = 1e-9
"""A^T A this close to a multiple of the identity (relative) counts as a rotation, reflection or even scaling."""


def axis_rotation(axis: Sequence[float], degrees: float) -> Float[Tensor, "3 3"]:
    """Right-handed rotation about an axis of any length: +90 about y takes +z to +x. float64.

    Raises:
        ValueError: the axis has no length.
    """
    a = torch.tensor(list(axis), dtype=torch.float64)
    length = float(a.norm())
    if not math.isfinite(length) or length < 1e-12:
        raise ValueError(f"rotation axis: expected a vector with a length, got {tuple(axis)}")
    x, y, z = (a / length).tolist()
    cross = torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]], dtype=torch.float64)
    angle = math.radians(degrees)
    return torch.eye(3, dtype=torch.float64) + math.sin(angle) * cross + (1.0 - math.cos(angle)) * (cross @ cross)


def reflection(axis: int) -> Float[Tensor, "3 3"]:
    """Reflection that negates coordinate ``axis`` (0 x, 1 y, 2 z). float64."""
    matrix = torch.eye(3, dtype=torch.float64)
    matrix[axis, axis] = -1.0
    return matrix


def quaternion_to_matrix(quaternion: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b 3 3"]:
    """Rotation matrices of quaternions (wxyz, any length)."""
    w, x, y, z = torch.nn.functional.normalize(quaternion, dim=-1).unbind(-1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], -1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], -1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1),
    ]
    return torch.stack(rows, -2)


def matrix_to_quaternion(matrix: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 4"]:
    """Unit quaternions (wxyz, w >= 0) of rotation matrices; the best conditioned of the four textbook formulas for each."""
    m = matrix
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    yz, zx, xy = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    sxy, sxz, syz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    # Row k is 4 q_k times the quaternion; the row with the largest q_k divides by the least small number.
    rows = torch.stack(
        [
            torch.stack([1 + xx + yy + zz, yz, zx, xy], -1),
            torch.stack([yz, 1 + xx - yy - zz, sxy, sxz], -1),
            torch.stack([zx, sxy, 1 - xx + yy - zz, syz], -1),
            torch.stack([xy, sxz, syz, 1 - xx - yy + zz], -1),
        ],
        -2,
    )
    best = rows.diagonal(dim1=-2, dim2=-1).argmax(-1)
    chosen = torch.gather(rows, -2, best[..., None, None].expand(*best.shape, 1, 4)).squeeze(-2)
    unit = torch.nn.functional.normalize(chosen, dim=-1)
    return torch.where(unit[..., :1] < 0, -unit, unit)


def covariances(model: GaussianModel) -> Float[Tensor, "n 3 3"]:
    """R S S R^T of every blob, float64."""
    half = _half_covariance(model.columns["log_scale"], model.columns["rotation"])
    return half @ half.mT


def _half_covariance(log_scale: Float[Tensor, "m 3"], rotation: Float[Tensor, "m 4"]) -> Float[Tensor, "m 3 3"]:
    return quaternion_to_matrix(rotation.double()) * log_scale.double().exp()[:, None, :]


def orthogonalise_columns(matrix: Float[Tensor, "m 3 3"]) -> tuple[Float[Tensor, "m 3 3"], Float[Tensor, "m 3"]]:
    """``(Q, s)`` with M M^T = Q diag(s^2) Q^T: orthonormal columns (determinant +1) and their lengths, by one-sided Jacobi rotations.

    Unlike a library's SVD it gives the same result everywhere, and its columns stay next to those they came from: they are neither
    sorted nor flipped, so a blob that hardly changes keeps its axes.
    """
    columns = [matrix[..., i] for i in range(3)]
    for _ in range(JACOBI_SWEEPS):
        turned = False
        for p, q in ((0, 1), (0, 2), (1, 2)):
            a, b = columns[p], columns[q]
            alpha, beta, gamma = (a * a).sum(-1), (b * b).sum(-1), (a * b).sum(-1)
            apart = gamma.abs() > JACOBI_TOLERANCE * (alpha * beta).sqrt()
            if not bool(apart.any()):
                continue
            turned = True
            zeta = (beta - alpha) / (2.0 * torch.where(apart, gamma, torch.ones_like(gamma)))
            sign = torch.where(zeta < 0, -torch.ones_like(zeta), torch.ones_like(zeta))
            t = torch.where(apart, sign / (zeta.abs() + (1.0 + zeta * zeta).sqrt()), torch.zeros_like(zeta))
            c = (1.0 / (1.0 + t * t).sqrt())[..., None]
            s = c * t[..., None]
            columns[p], columns[q] = c * a - s * b, s * a + c * b
        if not turned:
            break
    m = torch.stack(columns, -1)
    length = m.norm(dim=-2)
    q = m / length.clamp(min=1e-300)[..., None, :]
    # A reflection leaves left-handed axes; turning all three round keeps the covariance and makes them a rotation.
    handed = torch.linalg.det(q)
    return torch.where((handed < 0)[..., None, None], -q, q), length


def transform_rows(
    model: GaussianModel,
    mask: Bool[Tensor, "n"],
    *,
    linear: Float[Tensor, "3 3"] | None = None,
    about: Sequence[float] = (0.0, 0.0, 0.0),
    offset: Sequence[float] = (0.0, 0.0, 0.0),
) -> GaussianModel:
    """Blobs of ``mask`` under x -> about + linear (x - about) + offset, covariances transformed exactly.

    A translation keeps the optimizer's moments as they are; rotations, reflections and even scalings carry them along as gradients are
    carried (by the inverse transpose); a general map starts the touched rows afresh, for their axes are new ones.

    Raises:
        ValueError: the map flattens blobs (its determinant is next to zero) or is not finite.
    """
    device = model.device
    shift = torch.tensor(list(offset), dtype=torch.float64, device=device)
    if linear is None:
        return model.map_rows(mask, {"mean": lambda x: (x.double() + shift).float()})
    a = linear.to(device=device, dtype=torch.float64)
    determinant = float(torch.linalg.det(a))
    if not math.isfinite(determinant) or abs(determinant) < 1e-12:
        raise ValueError(
            f"transform: the map has determinant {determinant:g} and would flatten blobs; use factors other than 0"
        )
    center = torch.tensor(list(about), dtype=torch.float64, device=device)
    changes = {"mean": lambda x: (center + (x.double() - center) @ a.T + shift).float()}
    factor = abs(determinant) ** (1.0 / 3.0)
    eye = torch.eye(3, dtype=torch.float64, device=device)
    if float((a.T @ a / factor**2 - eye).abs().max()) < CONFORMAL_TOLERANCE:
        turn = matrix_to_quaternion(a / factor * (1.0 if determinant > 0 else -1.0))
        changes |= _conformal_changes(a, turn, factor)
        return model.map_rows(mask, changes)
    half = a @ _half_covariance(model.columns["log_scale"][mask], model.columns["rotation"][mask])
    axes, lengths = orthogonalise_columns(half)
    columns = {"log_scale": lengths.clamp(min=1e-30).log(), "rotation": matrix_to_quaternion(axes)}
    model = model.map_rows(mask, changes | {k: (lambda _, v=v: v.float()) for k, v in columns.items()})
    return forget_moments(model, mask)


def _conformal_changes(a: Tensor, turn: Tensor, factor: float) -> dict:
    """How rows change under a rotation or reflection times an even scaling: no decomposition, the moments turn along."""
    left = _left_product(turn)
    back = torch.linalg.inv(a).T
    log_factor = math.log(factor)
    return {
        "log_scale": (lambda s: s) if log_factor == 0.0 else lambda s: (s.double() + log_factor).float(),
        "rotation": lambda q: (q.double() @ left.T).float(),
        first_moment("mean"): lambda m: (m.double() @ back.T).float(),
        # Second moments are variances of gradients; off the diagonal nothing is known of them.
        second_moment("mean"): lambda v: (v.double() @ (back * back).T).float(),
        first_moment("rotation"): lambda m: (m.double() @ left.T).float(),
        second_moment("rotation"): lambda v: (v.double() @ (left * left).T).float(),
    }


def _left_product(q: Float[Tensor, "4"]) -> Float[Tensor, "4 4"]:
    """Matrix of p -> q p (Hamilton product, wxyz)."""
    w, x, y, z = q.unbind()
    return torch.stack(
        [
            torch.stack([w, -x, -y, -z]),
            torch.stack([x, w, -z, y]),
            torch.stack([y, z, w, -x]),
            torch.stack([z, -y, x, w]),
        ]
    )


def forget_moments(model: GaussianModel, mask: Bool[Tensor, "n"]) -> GaussianModel:
    """The same blobs; the optimizer starts the masked rows afresh (moments and update counts are zero)."""
    names = [n for n in model.columns if n.startswith(("first.", "second."))]
    return model.map_rows(mask, dict.fromkeys((*names, "updates"), torch.zeros_like))


def flow_rows(
    model: GaussianModel,
    mask: Bool[Tensor, "n"],
    step: Float[Tensor, "m 3"],
    gradient: Float[Tensor, "m 3 3"],
) -> GaussianModel:
    """Blobs of ``mask`` (m of them) carried by a displacement field: means by ``step``, covariances by its Jacobian 1 + ``gradient``.

    Rows whose Jacobian is the identity keep scale, rotation and everything else bit for bit.
    """
    index = mask.nonzero().squeeze(1)
    mean = model.columns["mean"].clone()
    mean[index] = (mean[index].double() + step.double()).float()
    bent = gradient.abs().amax((1, 2)) > 0
    columns = {"mean": mean}
    if bool(bent.any()):
        rows = index[bent]
        jacobian = torch.eye(3, dtype=torch.float64, device=model.device) + gradient[bent].double()
        half = _half_covariance(model.columns["log_scale"][rows], model.columns["rotation"][rows])
        axes, lengths = orthogonalise_columns(jacobian @ half)
        for name, value in (("log_scale", lengths.clamp(min=1e-30).log()), ("rotation", matrix_to_quaternion(axes))):
            column = model.columns[name].clone()
            column[rows] = value.float()
            columns[name] = column
    return model.with_columns(columns)
