"""Euclidean clusters, and directions perpendicular to a given one."""

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree


def euclidean_clusters(points: np.ndarray, rows: np.ndarray, radius: float, min_points: int) -> list[np.ndarray]:
    """Split `rows` of points (N,3) into clusters whose members are linked by steps of at most `radius`.

    Clusters of fewer than `min_points` are left out.
    """
    if len(rows) < min_points:
        return []
    pairs = cKDTree(points[rows]).query_pairs(radius, output_type="ndarray")
    graph = coo_matrix((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(len(rows), len(rows)))
    _, member = connected_components(graph, directed=False)
    order = np.argsort(member, kind="stable")
    clusters = np.split(rows[order], np.flatnonzero(np.diff(member[order])) + 1)
    return [cluster for cluster in clusters if len(cluster) >= min_points]


def perpendicular(direction: np.ndarray) -> np.ndarray:
    """A unit vector (3,) across a unit vector (3,); always the same one."""
    side = np.cross(direction, [0, 0, 1.0] if abs(direction[2]) < 0.9 else [1.0, 0, 0])
    return side / np.linalg.norm(side)
