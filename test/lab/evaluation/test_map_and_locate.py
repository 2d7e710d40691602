"""Map and Locate: counting, aligning by one view, and the household figures."""

from types import SimpleNamespace

import numpy as np
import pytest

from sab3r_ros.config import Settings
from sab3r_ros.lab.evaluation.household import SYNONYMS, evaluate_household
from sab3r_ros.lab.evaluation.map_and_locate import (
    VOID,
    CompletenessScore,
    LabelScore,
    align_by_first_view,
    nearest_labels,
    score_map,
    true_points,
)
from sab3r_ros.lab.evaluation.poses import relative_pose_hits
from sab3r_ros.lab.evaluation.stream import GroundTruthView
from sab3r_ros.lab.synthetic.cameras import intrinsics, look_at
from sab3r_ros.lab.synthetic.objects import LABELS
from sab3r_ros.mapping.stream import Run
from sab3r_ros.models.backends import load_backend
from sab3r_ros.models.preprocess import framing
from sab3r_ros.query.map_query import query_for

GEOMETRY = SimpleNamespace(image_size=32, patch=16, square_ok=False)


def test_scores_count_labels_points_and_nothing_predicted():
    score = LabelScore(3)
    score.add(np.array([0, 0, 0, 1, 1, VOID]), np.array([0, 0, 1, 1, 65535, 2]))
    assert score.iou()[:2].tolist() == [2 / 3, 1 / 3]
    assert np.isnan(score.iou()[2])
    assert score.metrics() == {"miou": pytest.approx(50.0), "acc": pytest.approx(60.0)}
    score.add(np.array([0]), np.array([2]))  # a label that never occurs in truth counts once it is predicted
    assert score.metrics()["miou"] == pytest.approx(100 * (2 / 4 + 1 / 3 + 0) / 3)
    assert np.isnan(LabelScore(2).metrics()["acc"])


def view(position, size=(32, 24)):
    matrix = intrinsics(*size, 1.0)
    return GroundTruthView(np.full(size[::-1], 2.0, np.float32), look_at(np.array(position), [0, 0, 0]), matrix)


def test_one_view_gives_scale_and_place():
    truth = [view([2.0, 0, 1]), view([0, 2.0, 1])]
    plan = framing(32, 24, 32)
    depth = plan.apply_nearest(truth[0].depth) / 4  # the map is four times too small
    to_map = np.diag([0.25, 0.25, 0.25, 1]) @ np.linalg.inv(truth[0].cam2world)
    pose = np.eye(4)
    run = Run([None, SimpleNamespace(pose=pose, depth=depth)], 1.0)
    world = align_by_first_view(Run([run.results[1], None], 1.0), truth, GEOMETRY)
    point = np.array([0.3, 0.2, 0.1, 1])
    assert np.allclose(world @ to_map @ point, point)
    assert np.allclose(align_by_first_view(run, truth, GEOMETRY)[:3, 3], truth[1].cam2world[:3, 3])
    assert align_by_first_view(Run([None, None], 1.0), truth, GEOMETRY) is None


def test_true_points_leave_out_void_and_missing_depth():
    truth = view([2.0, 0, 1])
    labels = np.zeros((24, 32), int)
    labels[:12] = VOID
    points, names = true_points([truth], [labels], step=4)
    assert len(points) == len(names) == 24
    truth.depth[12:] = 0
    assert len(true_points([truth], [labels], step=4)[0]) == 0


def scored(truth, labels, predicted, scale=1.0, names=4):
    """Scores of a map that holds the true points, times `scale`, with the labels `predicted`."""
    points, _ = true_points(truth, labels, step=1)
    to_map = np.diag([scale, scale, scale, 1]) @ np.linalg.inv(truth[0].cam2world)
    snapshot = SimpleNamespace(points=points @ to_map[:3, :3].T + to_map[:3, 3])
    mapper = SimpleNamespace(geometry=GEOMETRY, snapshot=lambda: snapshot)
    query = SimpleNamespace(classify=lambda _: (predicted, None))
    results = []
    for view_ in truth:
        pose = to_map @ view_.cam2world
        pose[:3, :3] /= scale
        depth = framing(32, 24, 32).apply_nearest(view_.depth) * scale
        results.append(SimpleNamespace(pose=pose, depth=depth))
    score, completeness = LabelScore(names), CompletenessScore()
    score_map(score, mapper, query, Run(results), truth, labels, 1, completeness)
    return score.metrics() | completeness.metrics()


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_a_perfect_predictor_is_perfect_in_any_unit(scale):
    truth = [view([2.0, 0, 1]), view([0, 2.0, 1])]
    labels = [np.arange(24 * 32).reshape(24, 32) // 200 % 4, np.full((24, 32), 2)]
    labels[1][:5] = VOID
    _, right = true_points(truth, labels, step=1)
    figures = scored(truth, labels, right, scale)
    assert figures == pytest.approx({"miou": 100, "acc": 100, "mcomp": 0, "mdcomp": 0, "near": 100}, abs=1e-6)


def test_shuffled_labels_are_at_chance():
    rng = np.random.default_rng(0)
    truth = [view([2.0, 0, 1]), view([0, 2.0, 1]), view([1.0, 1.5, 1])]
    labels = [rng.integers(0, 4, (24, 32)) for _ in truth]
    _, right = true_points(truth, labels, step=1)
    figures = scored(truth, labels, rng.permutation(right))
    assert figures["acc"] == pytest.approx(25, abs=3)
    assert figures["miou"] == pytest.approx(100 / 7, abs=2)  # a quarter hits, of two shares that are a quarter each


def test_completeness_by_brute_force():
    rng = np.random.default_rng(1)
    truth, points = rng.random((60, 3)), rng.random((80, 3))
    true, labels = rng.integers(-1, 3, 60), rng.integers(-1, 5, 80)
    score = CompletenessScore()
    score.add(truth, true, points, labels)
    means, medians, near = [], [], []
    for label in range(3):
        distances = [min(np.linalg.norm(p - t) for t in truth[true == label]) for p in points[labels == label]]
        means.append(np.mean(distances))
        medians.append(np.median(distances))
        near.append(np.mean(np.array(distances) <= 0.1))
    expected = {"mcomp": np.mean(means), "mdcomp": np.mean(medians), "near": 100 * np.mean(near)}
    assert score.metrics() == pytest.approx(expected)
    assert np.isnan(CompletenessScore().metrics()["mcomp"])


def test_nearest_labels_of_an_empty_map_are_void():
    points = np.eye(3)
    assert (nearest_labels(points, np.zeros((0, 3)), np.zeros(0)) == VOID).all()
    assert nearest_labels(points, points[::-1] + 0.01, np.array([7, 8, 9])).tolist() == [9, 8, 7]


def test_pairs_with_a_lost_view_count_as_wrong():
    poses = [look_at(np.array(p), [0, 0, 0]) for p in ([2.0, 0, 1], [0, 2.0, 1], [1.0, 1.0, 1])]
    hits = relative_pose_hits([poses[0], None, poses[2]], poses, [(0, 1), (0, 2)])
    assert hits == ([False, True], [False, True])


@pytest.mark.slow
def test_household_figures_have_every_key():
    backend = load_backend(Settings().model)
    query = query_for(backend.features, Settings().query)
    figures = evaluate_household(Settings(), backend, query, groups=3)
    assert {"rra15", "rta15", "abs_rel", "miou", "acc", "synonym_top1", "seeds", "seconds"} <= set(figures)
    assert figures["seeds"] == 3
    assert 0 < figures["abs_rel"] < 2
    assert figures["synonym_top1"] >= 80
    assert not set(SYNONYMS) & set(LABELS)
