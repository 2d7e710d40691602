"""Connected regions of points that afford an action."""

from dataclasses import dataclass, field

import numpy as np
from scipy.spatial import cKDTree

from sab3r_ros.affordance.grasps import Grasp
from sab3r_ros.affordance.surface import spacing
from sab3r_ros.geometry.groups import euclidean_clusters, perpendicular

_LINK = 3.0  # points within this many spacings of each other belong together
_SURE = 0.8  # of the highest score: the points that say where a region is


@dataclass
class AffordanceRegion:
    """A part of an object's surface that affords an action.

    score: mean over its points, in [0, 1]; peak_score. centroid (3,): the one of its surest points (at least 0.8 of the
    peak) that is nearest to their mean, so that it lies on the surface; contact (3,): its best-scoring surface point,
    normal (3,): unit, outward, there. pose (4,4): at the centroid, z along the mean normal, x along the region's longest
    side; size (3,): extent along these axes in metres, middle (3,): of the box with these sides. rows (N,): the points it
    is made of. fallback: it does not afford what was asked, but the object can be held there.
    """

    score: float
    peak_score: float
    centroid: np.ndarray
    contact: np.ndarray
    normal: np.ndarray
    pose: np.ndarray
    size: np.ndarray
    middle: np.ndarray
    rows: np.ndarray
    grasps: list[Grasp] = field(default_factory=list)
    fallback: bool = False


def find_regions(
    points: np.ndarray,
    normals: np.ndarray,
    scores: np.ndarray,
    min_score: float = 0.4,
    min_points: int = 8,
    max_regions: int = 0,
) -> list[AffordanceRegion]:
    """Regions of points (N,3) with a score of at least `min_score`, best first.

    normals (N,3) unit, outward; scores (N,) in [0, 1]; max_regions: 0 = no limit. Regions of fewer than `min_points`
    points are noise. Among similar scores the larger region comes first.
    Raises ValueError for a min_score out of [0, 1].
    """
    if not 0 <= min_score <= 1:
        raise ValueError(f"min_score must lie in [0, 1], got {min_score}")
    rows = np.flatnonzero(scores >= min_score)
    groups = euclidean_clusters(points, rows, _LINK * max(spacing(points), 1e-4), min_points)
    regions = [region_of(points, normals, scores, group) for group in groups]
    regions.sort(key=lambda r: -r.score * len(r.rows) / (len(r.rows) + 2 * min_points))
    return regions[:max_regions] if max_regions else regions


def region_of(points: np.ndarray, normals: np.ndarray, scores: np.ndarray, rows: np.ndarray) -> AffordanceRegion:
    """The region of some rows of points (N,3), with their normals (N,3) and scores (N,)."""
    own, weight = points[rows], scores[rows] / max(float(scores[rows].sum()), 1e-9)
    sure = own[scores[rows] >= _SURE * scores[rows].max()]
    centroid = sure[np.linalg.norm(sure - sure.mean(0), axis=1).argmin()]
    best = rows[np.argmax(_smoothed(own, scores[rows]))]
    pose = surface_frame(own, (normals[rows] * weight[:, None]).sum(0), normals[best])
    local = (own - centroid) @ pose[:3, :3]
    pose[:3, 3] = centroid
    return AffordanceRegion(
        float(scores[rows].mean()),
        float(scores[rows].max()),
        centroid,
        points[best],
        normals[best],
        pose,
        np.ptp(local, axis=0),
        centroid + pose[:3, :3] @ (local.min(0) + local.max(0)) / 2,
        rows,
    )


def _smoothed(points, scores):
    """Scores averaged over eight neighbours: the contact is the middle of a good place, not its luckiest point."""
    near = cKDTree(points).query(points, k=min(8, len(points)))[1]
    return scores[near.reshape(len(points), -1)].mean(1)


def surface_frame(points: np.ndarray, normal: np.ndarray, fallback: np.ndarray) -> np.ndarray:
    """A rotation as (4,4): z along `normal` (or `fallback` where opposite normals cancel), x along the longest side."""
    z = normal if np.linalg.norm(normal) > 0.2 else fallback
    z = z / np.linalg.norm(z)
    flat = points - points.mean(0)
    flat = flat - np.outer(flat @ z, z)
    x = np.linalg.svd(flat, full_matrices=False)[2][0]
    x = x - (x @ z) * z
    if np.linalg.norm(x) < 1e-6:
        x = perpendicular(z)
    x /= np.linalg.norm(x)
    out = np.eye(4)
    out[:3, :3] = np.stack([x, np.cross(z, x), z], 1)
    return out
