"""What a pointmap tells of its camera: focal length, pose, canonical view (DUSt3R 3.3; MASt3R-SfM 4.2)."""

import math

import cv2
import numpy as np
import torch
from torch import Tensor


def focal_from_pointmap(
    points: Tensor, method: str = "weiszfeld", clip: tuple[float, float] | None = None, step: int = 1
) -> float:
    """Focal length in pixels of a pointmap (H,W,3) in its own camera, principal point in the middle.

    method: "weiszfeld" (robust mean direction, 10 rounds) or "median". clip: bounds in units of the focal
    length of a 60-degree camera. step: pixels between those that are asked. Raises ValueError for an unknown method.
    """
    h, w = points.shape[:2]
    rows, columns = (torch.arange(step // 2, n, step, device=points.device) for n in (h, w))
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    pixels = torch.stack([x - w / 2, y - h / 2], -1).reshape(-1, 2).to(points.dtype)
    flat = points[step // 2 :: step, step // 2 :: step].reshape(-1, 3)
    if method == "median":
        votes = (pixels * flat[:, 2:] / flat[:, :2]).flatten()
        focal = votes[~votes.isnan()].median()
    elif method == "weiszfeld":
        ray = torch.nan_to_num(flat[:, :2] / flat[:, 2:], posinf=0, neginf=0)
        along, square = (pixels * ray).sum(-1), ray.square().sum(-1)
        focal = along.sum() / square.sum()
        for _ in range(10):
            weight = 1 / (pixels - focal * ray).norm(dim=-1).clamp(min=1e-8)
            focal = (weight * along).sum() / (weight * square).sum()
    else:
        raise ValueError(f"unknown method {method!r}")
    if clip is not None:
        base = max(h, w) / (2 * math.tan(math.radians(30)))
        focal = focal.clamp(clip[0] * base, clip[1] * base)
    return float(focal)


def pose_from_pnp(
    points, pixels, focal: float, centre: tuple[float, float], iterations: int = 100, threshold: float = 5.0
):
    """Camera-to-points pose (4,4) by PnP with RANSAC (SQPNP), or None when it fails.

    points (N,3) in another frame; pixels (N,2); threshold in pixels.
    """
    matrix = np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1]], np.float64)
    if len(points) < 4:
        return None
    try:
        ok, rotation, translation, _ = cv2.solvePnPRansac(
            np.asarray(points, np.float64), np.asarray(pixels, np.float64), matrix, None,
            iterationsCount=iterations, reprojectionError=threshold, flags=cv2.SOLVEPNP_SQPNP,
        )  # fmt: skip
    except cv2.error:  # a sample of points that lie together
        return None
    if not ok or not np.isfinite(rotation).all() or not np.isfinite(translation).all():
        return None
    world2cam = np.eye(4)
    world2cam[:3, :3] = cv2.Rodrigues(rotation)[0]
    world2cam[:3, 3] = translation[:, 0]
    return np.linalg.inv(world2cam)


def robust_power(x: Tensor, gamma: float) -> Tensor:
    """(x + o)^gamma - o^gamma with unit slope at zero; gamma 1 is the identity (MASt3R-SfM eq. 6)."""
    if gamma == 1:
        return x
    offset = (1 / gamma) ** (1 / (gamma - 1))
    return (x + offset) ** gamma - offset**gamma


def weighted_mean_pointmap(pointmaps: Tensor, confidences: Tensor) -> Tensor:
    """Confidence-weighted mean (H,W,3) of pointmaps (K,H,W,3) of one view; confidences (K,H,W) > 1."""
    weight = (confidences - 0.999)[..., None]
    return (weight * pointmaps).sum(0) / weight.sum(0)


def canonical_view(pointmaps: Tensor, confidences: Tensor, block: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    """One pointmap from K predictions of the same view.

    pointmaps (K,H,W,3), confidences (K,H,W) > 1. Returns the weighted mean (H,W,3), every pixel's depth
    relative to its block's centre (H,W), averaged as angles, and a confidence (H,W).
    """
    k, h, w, _ = pointmaps.shape
    weight = confidences - 0.999
    total = weight.sum(0)
    canon = weighted_mean_pointmap(pointmaps, confidences)
    half = block // 2
    y = (torch.arange(h, device=canon.device) // block * block + half).clamp(max=h - 1)
    x = (torch.arange(w, device=canon.device) // block * block + half).clamp(max=w - 1)
    centres = pointmaps[:, y][:, :, x]
    radius = (pointmaps[..., :2] - centres[..., :2]).norm(dim=-1).clamp(min=1e-8)
    angle = torch.atan((pointmaps[..., 2] - centres[..., 2]) / radius)
    mean_angle = (weight * angle).sum(0) / total
    relative = 1 + radius.mean(0) * mean_angle.tan() / canon[y][:, x][..., 2]
    return canon, relative, weight.square().sum(0) / total


def block_anchors(relative_depth: Tensor, pixels: Tensor, block: int = 8) -> tuple[Tensor, Tensor]:
    """For pixels (N,2) as (x, y): the number of their block (N,) and depth relative to its centre (N,)."""
    h, w = relative_depth.shape
    x, y = pixels.unbind(-1)
    columns = -(-w // block)
    cy = (y // block * block + block // 2).clamp(max=h - 1)
    cx = (x // block * block + block // 2).clamp(max=w - 1)
    return y // block * columns + x // block, relative_depth[y, x] / relative_depth[cy, cx]


def share_in_view(
    points: Tensor, size: tuple[int, int], focal: float | tuple[float, float], offset: tuple[float, float] = (0.0, 0.0)
) -> float:
    """Share of points (...,3), given in a camera, that fall inside its image of `size` (width, height).

    focal in pixels, one or by axis; offset: of the principal point from the image's middle, pixels.
    """
    z = points[..., 2]
    pixel = points[..., :2] / z.clamp(min=1e-3)[..., None] * points.new_tensor(focal) + points.new_tensor(offset)
    inside = (z > 0) & (pixel[..., 0].abs() < size[0] / 2) & (pixel[..., 1].abs() < size[1] / 2)
    return float(inside.float().mean())
