"""Euclidean clusters against all pairs of points."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

from sab3r_ros.geometry import groups
from sab3r_ros.geometry.groups import euclidean_clusters, perpendicular


def by_all_pairs(points, radius, least):
    """Sets of rows that are linked by steps of at most `radius`."""
    _, member = connected_components(coo_matrix(cdist(points, points) <= radius), directed=False)
    found = [np.flatnonzero(member == k) for k in range(member.max() + 1)]
    return {frozenset(f.tolist()) for f in found if len(f) >= least}


@given(
    seed=st.integers(0, 10**6), count=st.integers(1, 150), size=st.floats(0.5, 6.0), least=st.integers(1, 4), on_grid=st.booleans()
)  # fmt: skip
def test_clusters_are_those_of_all_pairs(seed, count, size, least, on_grid):
    points = np.random.default_rng(seed).uniform(0, size, (count, 3)).astype(np.float32)
    if on_grid:  # distances that are just the radius
        points = np.round(points * 2) / 2
    found = euclidean_clusters(points, np.arange(count), 0.5, least)
    assert {frozenset(c.tolist()) for c in found} == (
        by_all_pairs(points.astype(float), 0.5, least) if count >= least else set()
    )


@pytest.mark.parametrize("limit", ["_MANY", "_MANY_PAIRS"])
def test_many_groups_are_clustered_all_the_same(limit, monkeypatch):
    points = np.random.default_rng(1).uniform(0, 3, (200, 3))
    wanted = by_all_pairs(points, 0.4, 2)
    monkeypatch.setattr(groups, limit, 1)
    assert {frozenset(c.tolist()) for c in euclidean_clusters(points, np.arange(200), 0.4, 2)} == wanted


def test_rows_are_those_of_the_whole_cloud():
    points = np.array([[0.0, 0, 0], [9, 9, 9], [0.1, 0, 0], [5, 5, 5], [0.2, 0, 0]])
    found = euclidean_clusters(points, np.array([4, 0, 2, 3]), 0.11, 2)
    assert [sorted(c.tolist()) for c in found] == [[0, 2, 4]]


def test_a_perpendicular_direction():
    for direction in np.eye(3):
        assert perpendicular(direction) @ direction == pytest.approx(0)
        assert np.linalg.norm(perpendicular(direction)) == pytest.approx(1)
