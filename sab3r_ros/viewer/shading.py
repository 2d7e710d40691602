"""Points as a shaded image: a z-buffer of discs, lit by their normals and by how hollow their surroundings are."""

import cv2
import numpy as np
from scipy.spatial import cKDTree

_NEIGHBOURS = 12
_LIGHT = np.array([0.3, -0.5, 0.8]) / np.linalg.norm([0.3, -0.5, 0.8])


def look_at(eye: np.ndarray, target: np.ndarray) -> np.ndarray:
    """World-to-camera (4,4) of a camera at `eye` (3,) that looks at `target` (3,), z up in the world."""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward])
    pose[:3, 3] = -pose[:3, :3] @ eye
    return pose


def surface_normals(points: np.ndarray, eye: np.ndarray) -> np.ndarray:
    """Unit normals (N,3) of points (N,3) from their neighbours, towards `eye` (3,)."""
    count = min(_NEIGHBOURS, len(points))
    near = points[cKDTree(points).query(points, count)[1].reshape(len(points), count)]
    centred = near - near.mean(1, keepdims=True)
    normals = np.linalg.eigh(np.einsum("nki,nkj->nij", centred, centred))[1][:, :, 0]
    return np.where(((eye - points) * normals).sum(1, keepdims=True) < 0, -normals, normals)


def shaded(points: np.ndarray, colours: np.ndarray, eye: np.ndarray) -> np.ndarray:
    """Colours (N,3) in [0, 255] as a light from above shows them."""
    lit = np.clip(surface_normals(points, eye) @ _LIGHT, 0, 1)[:, None]
    return np.clip(colours * (0.72 + 0.45 * lit), 0, 255)


def project_points(
    points: np.ndarray, camera_from_world: np.ndarray, focal: float, size: tuple[int, int]
) -> np.ndarray:
    """Pixels and depth (N,3) as (x, y, z) of points (N,3); size (W,H)."""
    seen = points @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
    z = np.maximum(seen[:, 2], 1e-6)
    return np.column_stack([seen[:, 0] / z * focal + size[0] / 2, seen[:, 1] / z * focal + size[1] / 2, seen[:, 2]])


def render_points(
    points: np.ndarray, colours: np.ndarray, radius: float, camera_from_world: np.ndarray, focal: float, size: tuple[int, int],
    background: int = 255,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """An image (H,W,3) uint8 and its depth (H,W), inf where nothing is, of points (N,3) as squares of `radius` metres."""
    width, height = size
    image = np.full((height, width, 3), background, np.uint8)
    depth = np.full((height, width), np.inf)
    projected = project_points(points, camera_from_world, focal, size)
    ahead = np.flatnonzero(projected[:, 2] > 0.05)
    reach = np.clip(np.ceil(focal * radius / projected[ahead, 2]), 1, 14).astype(int)
    for half in np.unique(reach):
        chosen = ahead[reach == half]
        x, y = np.round(projected[chosen, :2]).astype(int).T
        for dy in range(-half, half + 1):
            for dx in range(-half, half + 1):
                if dx * dx + dy * dy > half * half + 1:
                    continue
                splat(image, depth, x + dx, y + dy, projected[chosen, 2], colours[chosen])
    return _with_edges(image, depth), depth


def splat(image, depth, x, y, z, colours) -> None:
    """Write points at pixels x, y (N,) and depth z (N,) into an image (H,W,3) and its depth (H,W), where they are nearer than what is
    there."""
    inside = (x >= 0) & (x < image.shape[1]) & (y >= 0) & (y < image.shape[0])
    x, y, z, colours = x[inside], y[inside], z[inside], colours[inside]
    order = np.argsort(-z, kind="stable")  # the nearest is written last
    x, y, z, colours = x[order], y[order], z[order], colours[order]
    nearer = z < depth[y, x]
    x, y, z, colours = x[nearer], y[nearer], z[nearer], colours[nearer]
    depth[y, x] = z
    image[y, x] = colours


def _with_edges(image: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Darker where the surroundings are nearer (eye-dome lighting): shapes stand out without any texture."""
    log = np.log2(
        np.where(np.isfinite(depth), depth, np.nanmax(np.where(np.isfinite(depth), depth, 1.0)) * 1.5)
    ).astype(np.float32)
    blurred = [cv2.blur(log, (k, k)) for k in (5, 15)]
    hollow = sum(np.maximum(log - b, 0) for b in blurred)
    shade = np.exp(-1.6 * hollow)[..., None]
    return np.where(np.isfinite(depth)[..., None], image * shade, image).astype(np.uint8)
