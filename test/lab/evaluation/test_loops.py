"""Long walks that return, and the oracle that stands in for a network on them."""

import numpy as np
import pytest
import torch

from sab3r_ros.config import Settings
from sab3r_ros.geometry.projection import backproject, transform
from sab3r_ros.lab.evaluation.loops import WalkResult, loop_figures, map_walk
from sab3r_ros.lab.evaluation.oracle import OracleErrors, OracleGeometry
from sab3r_ros.lab.evaluation.poses import rotation_angle
from sab3r_ros.lab.evaluation.stream import GroundTruthView
from sab3r_ros.lab.synthetic.long_walks import long_walk_poses
from sab3r_ros.lab.synthetic.sequence import render_sequence

EXACT = OracleErrors(0, 0, 0, 0, 0, 0, 0, 0, 0)


@pytest.fixture(scope="module")
def walk():
    views = render_sequence(900_060_002, 3, 160, 128, 0.3).views
    return [v.rgb for v in views], [GroundTruthView(v.depth, v.cam2world, v.intrinsics) for v in views]


@pytest.mark.parametrize("seed", range(5))
def test_a_long_walk_is_long_smooth_and_inside(seed):
    rng = np.random.default_rng(seed)
    size = np.array([*rng.uniform(2.8, 6, 2), 2.5])
    poses = long_walk_poses(size, rng, 30.0, 0.15)
    steps = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)
    assert steps.sum() == pytest.approx(30, abs=0.6)
    assert steps.max() < 0.18
    assert max(rotation_angle(a[:3, :3], b[:3, :3]) for a, b in zip(poses, poses[1:], strict=False)) < 13
    assert (poses[:, :2, 3] > 0.3).all()
    assert (poses[:, :2, 3] < size[:2] - 0.3).all()
    distance = np.linalg.norm(poses[:, None, :3, 3] - poses[None, :, :3, 3], axis=-1)
    late = np.arange(len(poses)) >= len(poses) * 2 // 3
    assert (distance[late][:, ~late].min(1) < 0.8).all()  # it is where it was before


def test_an_oracle_without_errors_is_exact(walk):
    images, views = walk
    model = OracleGeometry(images, views, EXACT)
    tokens = [model.encode(image) for image in images]
    found = model.predict_pairs(tokens[2], tokens[:2], symmetric=True, match_step=8)
    for k in range(2):
        relative = np.linalg.inv(views[2].cam2world) @ views[k].cam2world
        points = transform(relative, backproject(views[k].depth, views[k].intrinsics))
        assert np.allclose(found.keyframe_points_in_frame[k], points, atol=1e-4)
        assert np.allclose(found.keyframe_points[k], backproject(views[k].depth, views[k].intrinsics), atol=1e-4)
        match = found.matches[k]
        assert len(match) > 50
        here = found.frame_points[k][match.frame[:, 1], match.frame[:, 0]]
        there = found.keyframe_points_in_frame[k][match.keyframe[:, 1], match.keyframe[:, 0]]
        assert (here - there).norm(dim=-1).median() < 0.03  # half a pixel
    assert np.allclose(found.frame_points[0], backproject(views[2].depth, views[2].intrinsics), atol=1e-4)


def test_an_oracle_errs_as_much_as_it_is_told_and_the_same_way_again(walk):
    images, views = walk
    errors = OracleErrors(mismatched=0.2)
    model = OracleGeometry(images, views, errors, seed=3)
    tokens = [model.encode(image) for image in images]
    first, again = (model.predict_pairs(tokens[1], [tokens[0]], match_step=4) for _ in range(2))
    assert torch.equal(first.frame_points, again.frame_points)
    assert torch.equal(first.matches[0].keyframe, again.matches[0].keyframe)
    logs = []
    for seed in range(30):
        other = OracleGeometry(images, views, errors, seed=seed)
        depth = other.predict_pairs(tokens[1], [tokens[0]]).frame_points[0, ..., 2].numpy()
        logs.append(np.log(depth / views[1].depth))
    logs = np.stack(logs)
    units = np.hypot(errors.view_scale, errors.pair_scale)
    assert np.median(logs, axis=(1, 2)).std() == pytest.approx(units, rel=0.5)
    inside = (logs - np.median(logs, axis=(1, 2), keepdims=True)).std()
    assert inside == pytest.approx(errors.bend, rel=0.35)
    near = np.abs(np.diff(logs, axis=2)).mean()
    assert near < 0.4 * inside  # neighbours err alike


def test_an_unknown_image_is_not_encoded(walk):
    images, views = walk
    with pytest.raises(KeyError):
        OracleGeometry(images, views, EXACT).encode(np.zeros_like(images[0]))


def test_figures_of_walks():
    results = [
        WalkResult(0, 100, 30.0, 100, 100, 0.4, 0.1, 20, 0, 30, 15),
        WalkResult(1, 100, 30.0, 90, 80, 0.2, 0.3, 10, 2, 10, 5),
        WalkResult(2, 100, 30.0, 2, 2, float("nan"), float("nan"), 0, 0, 0, 0),
    ]
    figures = loop_figures(results)
    assert figures["ate_off"] == pytest.approx(0.3)
    assert figures["ate_on"] == pytest.approx(0.2)
    assert figures["worse"] == 2  # a walk that is lost altogether is no success
    assert (figures["wrong_loops"], figures["loops"], figures["walks"]) == (2, 30, 3)
    assert figures["recall"] == 50
    assert figures["path_error_percent"] == pytest.approx(100 * (0.1 + 0.3) / 2 / 30)
    assert figures["tracked_percent"] == pytest.approx(100 * 182 / 300)


@pytest.mark.slow
def test_adjustment_straightens_a_walk_of_the_oracle():
    pytest.importorskip("gtsam", reason="GTSAM has no wheel for this Python")
    threads = torch.get_num_threads()
    try:
        result = map_walk(Settings(), 1, oracle=True, length=6.0)
    finally:
        torch.set_num_threads(threads)
    assert result.tracked_on == result.frames
    assert result.wrong == 0
    assert result.ate_on < 0.9 * result.ate_off  # 0.80 and 0.83 on two processors
    assert result.ate_on < 0.06
