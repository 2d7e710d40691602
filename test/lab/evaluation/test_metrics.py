"""Pose, depth and locating measures on small cases worked out by hand."""

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sab3r_ros.lab.evaluation.depth import abs_rel
from sab3r_ros.lab.evaluation.flatness import distances_to_plane
from sab3r_ros.lab.evaluation.poses import (
    absolute_trajectory_error,
    align_poses,
    relative_pose_accuracy,
    rotation_angle,
    wide_baseline_pairs,
)
from sab3r_ros.lab.evaluation.stream import GroundTruthView

K = np.array([[60.0, 0, 31.5], [0, 60.0, 23.5], [0, 0, 1]])


def pose(yaw=0.0, t=(0, 0, 0)):
    out = np.eye(4)
    out[:3, :3] = Rotation.from_euler("y", yaw, degrees=True).as_matrix()
    out[:3, 3] = t
    return out


def test_rotation_angles_in_degrees():
    assert rotation_angle(pose(10)[:3, :3], pose(35)[:3, :3]) == pytest.approx(25)


def test_rra_counts_rotations_and_rta_directions():
    truth = [pose(), pose(20, (1, 0, 0)), pose(40, (2, 0, 0))]
    turned = [pose(), pose(30, (1, 0, 0)), pose(60, (2, 0, 0))]  # 10, 20 and 10 degrees off
    pairs = [(0, 1), (0, 2), (1, 2)]
    assert relative_pose_accuracy(truth, truth, pairs) == (100.0, 100.0)
    rra, rta = relative_pose_accuracy(turned, truth, pairs)
    assert rra == pytest.approx(200 / 3)
    assert rta == 100.0
    sideways = [pose(), pose(20, (0, 1, 0)), pose(40, (0, 2, 0))]
    assert relative_pose_accuracy(sideways, truth, pairs) == (100.0, 0.0)


def test_lost_views_count_as_wrong():
    truth = [pose(), pose(20, (1, 0, 0)), pose(40, (2, 0, 0))]
    rra, rta = relative_pose_accuracy([truth[0], None, truth[2]], truth, [(0, 1), (0, 2), (1, 2)])
    assert rra == pytest.approx(100 / 3)
    assert rta == pytest.approx(100 / 3)


def test_pure_rotations_have_no_direction():
    truth = [pose(), pose(30)]
    rra, rta = relative_pose_accuracy(truth, truth, [(0, 1)])
    assert rra == 100.0
    assert math.isnan(rta)
    assert all(math.isnan(v) for v in relative_pose_accuracy(truth, truth, []))


def test_ate_is_free_of_frame_and_scale():
    truth = [pose(0, (np.cos(a), np.sin(a), 0.1 * a)) for a in np.linspace(0, 3, 12)]
    moved = pose(50, (3, 2, 1))
    found = []
    for t in truth:
        p = moved @ t
        p[:3, 3] *= 0.5
        found.append(p)
    ate, scale = absolute_trajectory_error(found, truth)
    assert ate < 1e-9
    assert scale == pytest.approx(2)
    found[3] = None
    assert absolute_trajectory_error(found, truth)[0] < 1e-9
    assert math.isnan(absolute_trajectory_error(found[:2], truth[:2])[0])


def test_cameras_on_a_straight_line_are_aligned_by_their_rotations_too():
    truth = [pose(10 * k, (k, 0, 0)) for k in range(4)]
    moved = pose(50, (3, 2, 1))
    found = [moved @ t for t in truth]
    for p in found:
        p[:3, 3] *= 0.5
    similarity = align_poses(found, truth)
    expected = np.linalg.inv(moved)
    assert np.allclose(similarity[:3, :3], 2 * expected[:3, :3])
    assert all(
        np.allclose(similarity[:3, :3] @ p[:3, 3] + similarity[:3, 3], t[:3, 3])
        for p, t in zip(found, truth, strict=True)
    )
    with pytest.raises(ValueError, match="at one place"):
        align_poses([truth[0]] * 3, [truth[0]] * 3)


def test_wide_pairs_need_distance_and_overlap():
    wall = np.full((48, 64), 3.0)
    views = [GroundTruthView(wall, pose(*p), K) for p in ((0,), (5,), (20,), (0, (0.3, 0, 0)), (120,))]
    pairs = wide_baseline_pairs(views)
    assert (0, 1) not in pairs  # too near
    assert (0, 3) in pairs  # 0.3 m apart
    assert all(4 not in pair for pair in pairs)  # looks away
    far = [
        GroundTruthView(np.full((48, 64), 3.0), pose(), K),
        GroundTruthView(np.full((48, 64), 3.0), pose(0, (0.5, 0, 0)), K),
    ]
    assert wide_baseline_pairs(far) == [(0, 1)]


def test_abs_rel_with_and_without_alignment():
    truth = np.array([[1.0, 2.0], [4.0, 0.0]])
    assert abs_rel(truth * 3, truth) == pytest.approx(0)
    assert abs_rel(truth * 1.1, truth, align=False) == pytest.approx(0.1)
    assert abs_rel(np.array([[1.0, 2.0], [8.0, 9.0]]), truth) == pytest.approx(1 / 3)
    assert abs_rel(truth, truth, max_depth=0.5) != abs_rel(truth, truth, max_depth=0.5)  # nan: nothing to compare
    assert abs_rel(np.full((2, 2), np.nan), truth) != 0


def test_distances_to_a_plane_forgive_what_stands_before_it():
    rng = np.random.default_rng(0)
    flat = np.stack([rng.uniform(-2, 2, 3000), rng.normal(0, 0.02, 3000), rng.uniform(0, 2.5, 3000)], 1)
    flat[:300, 1] += 0.5  # a cupboard
    turn = Rotation.from_rotvec([0.3, 0.2, -0.5]).as_matrix()
    off = distances_to_plane(flat @ turn.T + [1.0, 2.0, 3.0])
    assert np.allclose(off[300:], np.abs(flat[300:, 1]), atol=0.01)
    assert np.median(off[300:]) == pytest.approx(0.6745 * 0.02, rel=0.1)
    assert off[:300].mean() == pytest.approx(0.5, abs=0.02)
