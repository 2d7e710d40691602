"""Similarity transforms as (4,4) matrices [sR t; 0 1], and their closed-form, robust estimation."""

import torch
from torch import Tensor


def make_sim3(scale, rotation: Tensor, translation: Tensor) -> Tensor:
    """Compose (4,4) from a scale, a rotation (3,3) and a translation (3,)."""
    out = torch.eye(4, dtype=rotation.dtype, device=rotation.device)
    out[:3, :3] = scale * rotation
    out[:3, 3] = translation
    return out


def split_sim3(pose: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scale (), rotation (3,3) and translation (3,) of a similarity (4,4)."""
    scale = torch.linalg.det(pose[:3, :3]).abs() ** (1 / 3)
    return scale, pose[:3, :3] / scale, pose[:3, 3]


def rigid_part(pose: Tensor) -> Tensor:
    """The pose (4,4) without its scale: where the camera stands in the map."""
    _, rotation, translation = split_sim3(pose)
    return make_sim3(1.0, rotation, translation)


def rotation_angle(rotation: Tensor) -> float:
    """Radians by which a rotation (3,3) turns."""
    return float(((rotation.trace() - 1) / 2).clamp(-1, 1).arccos())


def transform_points(pose: Tensor, points: Tensor) -> Tensor:
    """Apply (4,4) to points (...,3)."""
    return points @ pose[:3, :3].T + pose[:3, 3]


def fit_sim3(source: Tensor, target: Tensor, weights: Tensor, fixed_scale: float | None = None) -> Tensor:
    """The weighted least-squares similarity from source (N,3) to target (N,3) (Umeyama 1991, weighted).

    weights (N,) >= 0; fixed_scale: keep this scale. Returns (4,4) in the inputs' dtype.
    Raises ValueError when fewer than three points carry weight or they all coincide.
    """
    dtype = source.dtype
    x, y, w = source.double(), target.double(), weights.double()
    total = w.sum()
    if (w > 0).sum() < 3 or not torch.isfinite(total):
        raise ValueError("a similarity needs at least three points with positive, finite weight")
    w = w / total
    mean_x, mean_y = w @ x, w @ y
    dx, dy = x - mean_x, y - mean_y
    variance = (w * dx.square().sum(-1)).sum()
    if variance < 1e-18:
        raise ValueError("a similarity cannot be fitted to coinciding points")
    u, s, vt = torch.linalg.svd((dy * w[:, None]).T @ dx)
    sign = torch.ones(3, dtype=torch.float64, device=x.device)
    sign[2] = torch.sign(torch.linalg.det(u) * torch.linalg.det(vt))
    rotation = (u * sign) @ vt
    scale = (s * sign).sum() / variance if fixed_scale is None else fixed_scale
    return make_sim3(scale, rotation, mean_y - scale * (rotation @ mean_x)).to(dtype)


def fit_sim3_robust(
    source: Tensor,
    target: Tensor,
    weights: Tensor,
    sigma: Tensor,
    iterations: int = 8,
    fixed_scale: float | None = None,
    initial: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Iteratively re-weighted `fit_sim3` with Geman-McClure weights.

    sigma (N,): residual in the target's unit at which a point's influence has fallen to a quarter. The kernel
    starts four times as wide and narrows, so that a poor start does not decide. Returns the similarity (4,4)
    and the final robust weights (N,) in [0, 1], which tell inliers from outliers.
    Raises ValueError as `fit_sim3`.
    """  # fmt: skip
    pose = fit_sim3(source, target, weights, fixed_scale) if initial is None else initial
    robust = torch.ones_like(weights)
    for k in range(iterations):
        width = sigma * max(1.0, 4.0 * 0.6**k)
        residual = (transform_points(pose, source) - target).norm(dim=-1)
        robust = (1 + (residual / width).square()).pow(-2)
        pose = fit_sim3(source, target, weights * robust, fixed_scale)
    return pose, robust
