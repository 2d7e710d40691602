"""Objects' points made ready: the answer depends on the object, not on how its points are stored."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sab3r_ros.affordance import clouds
from sab3r_ros.affordance.clouds import check_size, evenly, one_per_cell, prepare
from sab3r_ros.affordance.pipeline import RegionRequest, affordance_regions
from sab3r_ros.affordance.segmenter import AffordanceSegmenter
from sab3r_ros.lab.synthetic.clouds import object_cloud

MUG = object_cloud("mug", 1, 3000).points.astype(np.float64)


@pytest.fixture(scope="module")
def segmenter():
    return AffordanceSegmenter()


def summary(answer):
    return [
        (len(r.grasps), r.score, *r.centroid, *(r.grasps[0].pose[:3, 3] if r.grasps else ())) for r in answer.regions
    ]


@pytest.mark.slow
@settings(max_examples=8)
@given(st.integers(0, 10**6), st.sampled_from(["order", "doubles", "shift", "strays", "unset", "missing"]))
def test_the_answer_does_not_change(segmenter, seed, change):
    rng = np.random.default_rng(seed)
    offset, points = np.zeros(3), MUG.copy()
    if change == "order":
        points = rng.permutation(points)
    elif change == "doubles":
        points = np.concatenate([points, points[rng.random(len(points)) < 0.7]])
    elif change == "shift":
        offset = rng.uniform(-1e6, 1e6, 3)
        points = points + offset
    elif change == "strays":
        points = np.concatenate([points, rng.uniform(5, 9, (3, 3))])
    elif change == "unset":
        points = np.concatenate([np.zeros((50, 3)), points])
    else:
        points = np.concatenate([np.full((20, 3), np.nan), points])
    request = RegionRequest(max_grasps=1)
    wanted, got = (affordance_regions(segmenter, p, "grasp", request) for p in (MUG, points))
    assert len(got.regions) == len(wanted.regions) > 0
    for a, b in zip(wanted.regions, got.regions, strict=True):
        assert b.centroid - offset == pytest.approx(a.centroid, abs=1e-4)
        assert b.score == pytest.approx(a.score, abs=1e-3)
        assert len(b.grasps) == len(a.grasps)
    assert len(got.points) == len(got.scores) == len(points)
    best = next(r for r in got.regions if not r.fallback)
    assert got.scores[best.rows].min() >= 0.4
    assert np.isfinite(points[best.rows]).all()


def test_what_was_done_is_said():
    rng = np.random.default_rng(0)
    points = np.concatenate([MUG, np.full((4, 3), np.nan), np.zeros((3, 3)), MUG[:10], [[9.0, 9, 9]]])
    cloud = prepare(points[rng.permutation(len(points))])
    said = " ".join(cloud.notes)
    for text in ("4 points are not finite", "3 points at exactly", "1 stray", "10 points lie where another one does"):
        assert text in said
    assert np.abs(cloud.points + cloud.origin - MUG.mean(0)).max() < 0.2
    assert prepare(MUG).notes == []


@pytest.mark.slow
def test_a_million_points_are_thinned_and_everyone_has_a_representative():
    rng = np.random.default_rng(1)
    points = MUG[rng.integers(0, len(MUG), 10**6)] + rng.normal(0, 0.002, (10**6, 3))
    cloud = prepare(points)
    assert 10_000 < len(cloud.points) <= 20_000
    assert (cloud.rows >= 0).all()
    assert np.linalg.norm(cloud.points[cloud.rows] + cloud.origin - points, axis=1).max() < 0.02
    assert "thinned" in cloud.notes[-1]


def test_uneven_sampling_becomes_even():
    rng = np.random.default_rng(2)
    dense = rng.uniform(0, 1, (100_000, 3)) * [0.1, 0.1, 0]
    sparse = rng.uniform(0, 1, (1000, 3)) * [0.1, 0.1, 0] + [0.1, 0, 0]
    kept = prepare(np.concatenate([dense, sparse]))
    share = (kept.points[:, 0] + kept.origin[0] < 0.1).mean()
    assert share < 0.96  # 0.99 of the points lie there


@pytest.mark.parametrize(
    ("points", "why"),
    [
        (MUG * 1000, "millimetres"),
        (MUG * 1e6, "points must be in metres"),
        (MUG, ""),
        (MUG + 1e6, ""),
        (np.empty((0, 3)), ""),
    ],
)
def test_sizes_that_no_object_has(points, why):
    assert (why in check_size(points)) if why else check_size(points) == ""


@pytest.mark.parametrize("points", [np.empty((0, 3)), np.full((5, 3), np.nan), np.zeros((9, 3)), np.ones((1, 3))])
def test_clouds_of_nothing(points):
    assert len(prepare(points).points) <= 1


@settings(max_examples=60)
@given(st.integers(1, 400), st.integers(0, 10**6), st.sampled_from([0.003, 0.05, 0.3, 2.0]), st.booleans())
def test_cells_are_counted_as_they_are_cut(count, seed, cell, on_a_grid):
    points = np.random.default_rng(seed).uniform(-1, 1, (count, 3)) * [1, 0.5, 0.1]
    points = np.round(points, 1) if on_a_grid else points
    cut = one_per_cell(points, np.arange(count), cell)
    assert clouds._occupied(points - points.min(0), cell) == len(cut)
    most = max(1, count // 3)
    kept = evenly(points, most)
    assert len(kept) <= most
    assert (np.diff(kept) > 0).all()
