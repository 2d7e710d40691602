"""Map and Locate: counting, aligning by one view, and the household figures."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from sab3r_ros.config import Settings
from sab3r_ros.lab.evaluation.household import SYNONYMS, evaluate_household
from sab3r_ros.lab.evaluation.map_and_locate import VOID, LabelScore, align_by_first_view, nearest_labels, true_points
from sab3r_ros.lab.evaluation.poses import relative_pose_hits
from sab3r_ros.lab.evaluation.recording import read_labels
from sab3r_ros.lab.evaluation.stream import GroundTruthView
from sab3r_ros.lab.synthetic.cameras import intrinsics, look_at
from sab3r_ros.lab.synthetic.objects import LABELS
from sab3r_ros.mapping.stream import Run
from sab3r_ros.models.backends import load_backend
from sab3r_ros.models.preprocess import framing
from sab3r_ros.query.map_query import query_for
from sab3r_ros.sources.base import SourceError
from sab3r_ros.sources.folders import FolderSource

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


def test_nearest_labels_of_an_empty_map_are_void():
    points = np.eye(3)
    assert (nearest_labels(points, np.zeros((0, 3)), np.zeros(0)) == VOID).all()
    assert nearest_labels(points, points[::-1] + 0.01, np.array([7, 8, 9])).tolist() == [9, 8, 7]


def test_pairs_with_a_lost_view_count_as_wrong():
    poses = [look_at(np.array(p), [0, 0, 0]) for p in ([2.0, 0, 1], [0, 2.0, 1], [1.0, 1.0, 1])]
    hits = relative_pose_hits([poses[0], None, poses[2]], poses, [(0, 1), (0, 2)])
    assert hits == ([False, True], [False, True])


def test_labels_of_a_recording(tmp_path):
    cv2.imwrite(str(tmp_path / "frame-000000.color.png"), np.zeros((4, 6, 3), np.uint8))
    source = FolderSource(tmp_path)
    assert read_labels(source) is None
    (tmp_path / "labels.json").write_text('{"0": "void", "3": "mug", "5": "wall"}')
    cv2.imwrite(str(tmp_path / "frame-000000.label.png"), np.full((4, 6), 5, np.uint8))
    names, images = read_labels(source)
    assert names == ["mug", "wall"]
    assert (images[0] == 1).all()
    cv2.imwrite(str(tmp_path / "frame-000000.label.png"), np.full((4, 6), 9, np.uint8))
    with pytest.raises(SourceError, match="labels that labels.json"):
        read_labels(source)


def test_household_figures_have_every_key():
    backend = load_backend(Settings().model)
    query = query_for(backend.features, Settings().query)
    figures = evaluate_household(Settings(), backend, query, groups=3)
    assert {"rra15", "rta15", "abs_rel", "miou", "acc", "synonym_top1", "seeds", "seconds"} <= set(figures)
    assert figures["seeds"] == 3
    assert 0 < figures["abs_rel"] < 2
    assert figures["synonym_top1"] >= 80
    assert not set(SYNONYMS) & set(LABELS)
