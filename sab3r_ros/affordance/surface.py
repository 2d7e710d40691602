"""Normals of point clouds."""

import numpy as np
from scipy.spatial import cKDTree

_THINNED = 4096  # points: an eighth of a million for each of a million would not fit any memory

_SAME_SIDE = 0.7  # cosine between normals: neighbours through a thin wall or round an edge are none


def estimate_normals(points: np.ndarray, viewpoint: np.ndarray | None = None, neighbours: int = 16) -> np.ndarray:
    """Unit normals (N,3) of points (N,3) by local PCA.

    They point to the viewpoint (3,) where there is one, else outward: away from the middle of the points around,
    which are the nearest eighth of the cloud (of a thinned one where it is large), so that handles and rims get an
    outside of their own.
    """
    count = len(points)
    tree = cKDTree(points)
    _, near = tree.query(points, k=min(neighbours, count))
    local = points[near] - points[near].mean(1, keepdims=True)
    _, vectors = np.linalg.eigh(np.einsum("nki,nkj->nij", local, local))
    normals = vectors[..., 0]
    if viewpoint is not None:
        outward = viewpoint - points
    else:
        thin = points[:: -(-count // _THINNED)]
        coarse = cKDTree(thin)
        _, wide = coarse.query(thin, k=min(max(len(thin) // 8, neighbours), len(thin)))
        outward = points - thin[wide].mean(1)[coarse.query(points)[1]]
    sign = np.sign((normals * outward).sum(-1, keepdims=True))
    return normals * np.where(sign == 0, 1, sign)


def smoothed(points: np.ndarray, normals: np.ndarray, neighbours: int = 16) -> np.ndarray:
    """Points (N,3) moved along their normals (N,3) to the mean height of their neighbours on the same side of the object."""
    near = cKDTree(points).query(points, k=min(neighbours, len(points)))[1].reshape(len(points), -1)
    same_side = np.einsum("nki,ni->nk", normals[near], normals) > _SAME_SIDE
    height = np.einsum("nki,ni->nk", points[near] - points[:, None], normals)
    return points + normals * ((height * same_side).sum(1) / np.maximum(same_side.sum(1), 1))[:, None]


def spacing(points: np.ndarray) -> float:
    """Median distance in metres of points (N,3) to their nearest neighbours; 0 for fewer than two."""
    if len(points) < 2:
        return 0.0
    return float(np.median(cKDTree(points).query(points, k=2)[0][:, 1]))
