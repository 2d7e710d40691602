"""Pinhole projection between pixels, depth images and pointmaps; pixel (0, 0) is the top-left pixel's centre."""

import numpy as np


def pinhole(focal, width, height):
    """The matrix (3,3) of a camera with square pixels that looks through the middle of its image; focal in pixels."""
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])


def known_rays(shape, intrinsics):
    """Viewing rays (H,W,3) with z = 1 of an image of `shape` (H,W)."""
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


def overlap(a, b, stride: int = 4, tolerance: float = 0.05) -> float:
    """Share of view a's pixels whose 3D point is visible in view b.

    Views have depth (H,W) with 0 = none, intrinsics (3,3) and cam2world (4,4); tolerance is relative to depth.
    """
    h, w = a.depth.shape
    y, x = np.mgrid[stride // 2 : h : stride, stride // 2 : w : stride]
    z = np.nan_to_num(a.depth[y, x].astype(np.float64))
    rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(a.intrinsics).T
    points = (rays * z[..., None]).reshape(-1, 3)[z.reshape(-1) > 0]
    if len(points) == 0:
        return 0.0
    b_from_a = np.linalg.inv(b.cam2world) @ a.cam2world
    points = points @ b_from_a[:3, :3].T + b_from_a[:3, 3]
    front = points[:, 2] > 1e-3
    pixel = points @ b.intrinsics.T
    u, v = (np.round(pixel[:, k] / np.where(front, pixel[:, 2], 1)).astype(int) for k in (0, 1))
    hb, wb = b.depth.shape
    inside = front & (u >= 0) & (u < wb) & (v >= 0) & (v < hb)
    surface = b.depth[v.clip(0, hb - 1), u.clip(0, wb - 1)]
    visible = inside & (np.abs(surface - points[:, 2]) < tolerance * points[:, 2] + 0.02)
    return float(visible.sum() / ((z > 0).sum()))
