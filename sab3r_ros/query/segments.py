"""A map cut into things, whatever they are: neighbouring voxels whose features name the same, grown together where they agree."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree

from sab3r_ros.geometry.groups import euclidean_clusters
from sab3r_ros.query.map_query import MapQuery
from sab3r_ros.query.relevancy import unit_length
from sab3r_ros.query.vocabulary import UNLABELLED
from sab3r_ros.types import MapSnapshot

# What things stand on and hang from; it is no thing with an identity.
SURROUNDINGS = ("wall", "floor", "ceiling")
_CLUSTER_RADIUS = 2.5  # voxel edges within which voxels of a label belong together
_TOUCHING = 2.0  # voxel edges between parts that may be one thing
_SAME = 0.92  # cosine of the mean features of two parts that are one thing
_SHARPNESS = 20.0  # of cosines, where hypotheses share 1
_HYPOTHESES = 3


@dataclass(frozen=True)
class Segment:
    """One thing: index (M,) of its voxels in the snapshot, unit feature (F,), and labels with their shares, likeliest first."""

    index: np.ndarray
    feature: np.ndarray
    labels: tuple[tuple[str, float], ...]


def segments_of(
    query: MapQuery, snapshot: MapSnapshot, least_points: int, ignored: Sequence[str] = SURROUNDINGS
) -> list[Segment]:
    """Things of at least `least_points` voxels, largest first; `ignored` labels are none."""
    label = query.nearest_label(snapshot)
    names = query.vocabulary.labels
    skipped = [k for k, name in enumerate(names) if name in ignored]
    radius = _CLUSTER_RADIUS * snapshot.voxel_size
    parts = []
    for k in np.setdiff1d(np.unique(label), [*skipped, UNLABELLED]):
        parts += euclidean_clusters(snapshot.points, np.flatnonzero(label == k), radius, max(least_points // 3, 3))
    if not parts:
        return []
    starts = np.cumsum([0, *map(len, parts[:-1])])
    features = unit_length(snapshot.column("feature")[torch.from_numpy(np.concatenate(parts))])[0].numpy()
    sums = np.add.reduceat(features, starts, axis=0)
    grown = _grown_together(snapshot, parts, _directions(sums))
    out = []
    for members in grown:
        index = np.concatenate([parts[m] for m in members])
        if len(index) < least_points:
            continue
        feature = _directions(sums[members].sum(0))
        out.append(Segment(index, feature, _hypotheses(query, snapshot, feature)))
    return sorted(out, key=lambda s: -len(s.index))


def _directions(vectors: np.ndarray) -> np.ndarray:
    """Vectors (...,F) of length 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)


def _grown_together(snapshot: MapSnapshot, parts: list[np.ndarray], means: np.ndarray) -> list[list[int]]:
    """Groups of parts that touch and agree."""
    owner = np.concatenate([np.full(len(p), k) for k, p in enumerate(parts)])
    points = snapshot.points[np.concatenate(parts)]
    pairs = cKDTree(points).query_pairs(_TOUCHING * snapshot.voxel_size, output_type="ndarray")
    owners = owner[pairs]
    touching = np.unique(np.sort(owners[owners[:, 0] != owners[:, 1]], axis=1), axis=0)  # most pairs lie within a part
    group = list(range(len(parts)))

    def root(k: int) -> int:
        while group[k] != k:
            k = group[k]
        return k

    for a, b in touching:
        if means[a] @ means[b] >= _SAME:
            group[root(int(b))] = root(int(a))
    members: dict[int, list[int]] = {}
    for k in range(len(parts)):
        members.setdefault(root(k), []).append(k)
    return list(members.values())


def _hypotheses(query: MapQuery, snapshot: MapSnapshot, feature: np.ndarray) -> tuple[tuple[str, float], ...]:
    cosines = query.label_cosines(snapshot, feature)
    shares = np.exp(_SHARPNESS * (cosines - cosines.max()))
    shares /= shares.sum()
    best = np.argsort(-shares)[:_HYPOTHESES]
    return tuple((query.vocabulary.labels[k], float(shares[k])) for k in best)
