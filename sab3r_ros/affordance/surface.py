"""The surface under a cloud of points: its normals, where it is when points scatter, how densely it is sampled."""

import numpy as np
from scipy.spatial import cKDTree

_THINNED = 1024  # points that stand for the whole cloud where only its coarse shape matters
_NEIGHBOURS, _MOST_NEIGHBOURS = 16, 128
# How many times as far a neighbourhood reaches, per standard deviation of the points in distances between them; and from which
# factor on: more neighbours round off thin things.
_REACH_PER_NOISE, _WORTH_WIDENING = 1.25, 1.4
_SAME_SIDE = 0.7  # cosine between normals: neighbours through a thin wall or round an edge are none


def neighbourhoods(points: np.ndarray) -> np.ndarray:
    """Rows (N,K) of the nearest points of every point (N,3), itself first: 16, more where points scatter across the surface by more
    than they lie apart, up to 128; fewer where there are fewer.

    The plane through neighbours that scatter as far as they reach has no direction that means anything.
    """
    tree = cKDTree(points)

    def nearest(count: int) -> np.ndarray:
        count = min(count, len(points))
        return tree.query(points, k=count)[1].reshape(len(points), count)

    near = nearest(_NEIGHBOURS)
    distance = spacing(points)
    if not distance:
        return near
    reach = _REACH_PER_NOISE * roughness(points, estimate_normals(points, near), near) / distance
    return nearest(min(round(_NEIGHBOURS * reach**2), _MOST_NEIGHBOURS)) if reach > _WORTH_WIDENING else near


def estimate_normals(points: np.ndarray, near: np.ndarray, viewpoint: np.ndarray | None = None) -> np.ndarray:
    """Unit normals (N,3) of points (N,3) by PCA of their `neighbourhoods` (N,K).

    They point to the viewpoint (3,) where there is one, else outward: away from the middle of the points around,
    which are the nearest eighth of the cloud (of a thinned one where it is large), so that handles and rims get an
    outside of their own.
    """
    local = points[near] - points[near].mean(1, keepdims=True)
    _, vectors = np.linalg.eigh(np.einsum("nki,nkj->nij", local, local))
    normals = vectors[..., 0]
    if viewpoint is not None:
        outward = viewpoint - points
    else:
        thin = points[:: -(-len(points) // _THINNED)]
        coarse = cKDTree(thin)
        wide = coarse.query(thin, k=min(max(len(thin) // 8, _NEIGHBOURS), len(thin)))[1].reshape(len(thin), -1)
        outward = points - thin[wide].mean(1)[coarse.query(points)[1]]
    sign = np.sign((normals * outward).sum(-1, keepdims=True))
    return normals * np.where(sign == 0, 1, sign)


def smoothed(points: np.ndarray, normals: np.ndarray, near: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the surface is under scattered points, and how surely: points (N,3) and standard errors (N,), metres.

    Points (N,3) move along their normals (N,3) to the mean height of those neighbours (N,K) that are on their side of the
    object. The error is infinite where fewer than three are.
    """
    same_side = np.einsum("nki,ni->nk", normals[near], normals) > _SAME_SIDE
    height = np.einsum("nki,ni->nk", points[near] - points[:, None], normals)
    count = same_side.sum(1)
    mean = (height * same_side).sum(1) / np.maximum(count, 1)
    squared = (np.square(height - mean[:, None]) * same_side).sum(1)
    error = np.where(count < 3, np.inf, np.sqrt(squared / np.maximum(count * (count - 1), 1)))
    return points + normals * mean[:, None], error


def densified(points: np.ndarray, normals: np.ndarray, wanted: float) -> tuple[np.ndarray, np.ndarray]:
    """Points (N,3) and, where they lie farther apart than `wanted` metres, more of them on discs around each: rows (M,) say of
    which. A finger must not pass between two points of one surface."""
    if spacing(points) <= wanted:
        return points, np.arange(len(points))
    # Random samples leave holes of several spacings: a disc reaches to the sixth neighbour.
    reach = cKDTree(points).query(points, k=min(7, len(points)))[0][:, -1:]
    helper = np.where(np.abs(normals[:, [0]]) < 0.9, [[1.0, 0, 0]], [[0, 1.0, 0]])
    first = np.cross(normals, helper)
    first /= np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-9)
    second = np.cross(normals, first)
    discs = [points]
    for share, count in ((0.33, 5), (0.66, 8), (1.0, 12)):
        for angle in 2 * np.pi * np.arange(count) / count:
            discs.append(points + share * reach * (np.cos(angle) * first + np.sin(angle) * second))
    return np.concatenate(discs), np.tile(np.arange(len(points)), len(discs))


def spacing(points: np.ndarray) -> float:
    """Median distance in metres of points (N,3) to their nearest neighbours; 0 for fewer than two."""
    if len(points) < 2:
        return 0.0
    return float(np.median(cKDTree(points).query(points, k=2)[0][:, 1]))


def roughness(points: np.ndarray, normals: np.ndarray, near: np.ndarray) -> float:
    """Standard deviation in metres of points (N,3) about the planes through their neighbours (N,K), robustly."""
    middle = points[near].mean(1)
    off = np.abs(((points - middle) * normals).sum(1))
    return 1.4826 * float(np.median(off)) if len(off) else 0.0
