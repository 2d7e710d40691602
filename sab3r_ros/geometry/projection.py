"""Pinhole projection between pixels, depth images and pointmaps; pixel (0, 0) is the top-left pixel's centre."""

import numpy as np


def known_rays(shape, intrinsics):
    """Viewing rays (H,W,3) with z = 1 of a picture of `shape` (H,W)."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(intrinsics).T


def backproject(depth, intrinsics):
    """Depth (H,W) along z to camera-frame points (H,W,3) in the depth's unit."""
    return known_rays(depth.shape, intrinsics) * depth[..., None]


def transform(pose, points):
    """Apply a rigid or similarity pose (4,4) to points (...,3)."""
    return points @ pose[:3, :3].T + pose[:3, 3]


def project(points, intrinsics):
    """Camera-frame points (...,3) to pixels (...,2); NaN where a point is not in front of the camera."""
    z = points[..., 2:]
    uv = points @ intrinsics.T
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(z > 1e-6, uv[..., :2] / z, np.nan)


def scaled_intrinsics(intrinsics, size, resized, crop_offset):
    """Follow an image through a resize and a crop.

    intrinsics (3,3) for `size` (W,H); `resized` (W1,H1); `crop_offset` (left, top) in resized pixels.
    """
    scale = np.array([resized[0] / size[0], resized[1] / size[1]])
    out = np.array(intrinsics, float)
    out[0, 0] *= scale[0]
    out[1, 1] *= scale[1]
    out[:2, 2] = (out[:2, 2] + 0.5) * scale - 0.5 - np.asarray(crop_offset, float)
    return out


def reciprocal_pixels(points1, points2, intrinsics1, intrinsics2, pose1, pose2, valid1, valid2):
    """Pixels of two views that see the same surface (MASt3R's ground-truth correspondences).

    points1, points2 (H,W,3): world points per pixel; poses camera-to-world. A pixel of view 1 is kept when the
    point at its (rounded) projection in view 2 projects back onto it. Returns two (M,2) integer (x, y) arrays.
    """

    def landing(points, valid, intrinsics, pose, shape):
        uv = np.round(project(transform(np.linalg.inv(pose), points), intrinsics))
        ok = valid & np.isfinite(uv).all(-1)
        ok &= (uv >= 0).all(-1) & (uv[..., 0] < shape[1]) & (uv[..., 1] < shape[0])
        return np.where(ok[..., None], uv, 0).astype(int), ok

    to2, ok1 = landing(points1, valid1, intrinsics2, pose2, points2.shape)
    to1, ok2 = landing(points2, valid2, intrinsics1, pose1, points1.shape)
    y, x = np.nonzero(ok1)
    x2, y2 = to2[y, x].T
    back = to1[y2, x2]
    same = ok2[y2, x2] & (back[:, 0] == x) & (back[:, 1] == y)
    return np.stack([x, y], 1)[same], np.stack([x2, y2], 1)[same]
