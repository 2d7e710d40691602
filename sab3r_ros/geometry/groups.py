"""Euclidean clusters, and directions perpendicular to a given one."""

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

_SHORT = 0.5  # of the radius: steps by which most members are linked
_MANY = 300  # groups, above which all pairs of points are looked at
_MANY_PAIRS = 200  # the same of pairs of groups that may touch


def euclidean_clusters(points: np.ndarray, rows: np.ndarray, radius: float, min_points: int) -> list[np.ndarray]:
    """Split `rows` of points (N,3) into clusters whose members are linked by steps of at most `radius`.

    Clusters of fewer than `min_points` are left out.
    """
    if len(rows) < min_points:
        return []
    own = points[rows]
    member = _linked(own, _SHORT * radius)
    # Every point has a dozen times as many others within the radius as within half of it; few of these join groups.
    joined = _joined(own, member, radius) if member.max() < _MANY else None
    member = _linked(own, radius) if joined is None else joined
    order = np.argsort(member, kind="stable")
    clusters = np.split(rows[order], np.flatnonzero(np.diff(member[order])) + 1)
    return [cluster for cluster in clusters if len(cluster) >= min_points]


def _linked(points: np.ndarray, radius: float) -> np.ndarray:
    """The group (N,) of every point (N,3), linked by steps of at most `radius`; numbered in the order of their first members."""
    pairs = cKDTree(points).query_pairs(radius, output_type="ndarray")
    return _components(pairs, len(points))


def _joined(points: np.ndarray, group: np.ndarray, radius: float) -> np.ndarray | None:
    """Groups (N,) of points (N,3) joined where two points of them are at most `radius` apart; None where too many may touch."""
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    low, high = np.minimum.reduceat(points[order], starts), np.maximum.reduceat(points[order], starts)
    near = ((low[:, None] <= high[None] + radius) & (high[:, None] >= low[None] - radius)).all(-1)
    touching = np.argwhere(np.triu(near, 1))
    if len(touching) > _MANY_PAIRS:
        return None
    members = np.split(order, starts[1:])
    links = []
    for a, b in touching.tolist():
        first, second = (
            points[members[k]][_within(points[members[k]], low[other] - radius, high[other] + radius)]
            for k, other in ((a, b), (b, a))
        )
        if len(first) and len(second) and np.isfinite(_nearest(first, second, radius)).any():
            links.append((a, b))
    return _components(np.array(links, int).reshape(-1, 2), len(starts))[group]


def _nearest(points: np.ndarray, others: np.ndarray, radius: float) -> np.ndarray:
    """Distances (N,) of points (N,3) to the nearest of others (M,3), infinite beyond the radius."""
    # A bound is exclusive, a pair at just the radius is linked.
    return cKDTree(others).query(points, distance_upper_bound=np.nextafter(radius, np.inf))[0]


def _within(points: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return np.asarray(((points >= low) & (points <= high)).all(1))


def _components(pairs: np.ndarray, count: int) -> np.ndarray:
    """The component (N,) of each of `count` nodes that pairs (P,2) join."""
    graph = coo_matrix((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def perpendicular(direction: np.ndarray) -> np.ndarray:
    """A unit vector (3,) across a unit vector (3,); always the same one."""
    side = np.cross(direction, [0, 0, 1.0] if abs(direction[2]) < 0.9 else [1.0, 0, 0])
    return side / np.linalg.norm(side)
