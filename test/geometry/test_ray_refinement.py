"""The ray-based refinement finds the pose although depths are wrong."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from sab3r_ros.geometry.ray_refinement import refine_by_rays
from sab3r_ros.geometry.sim3 import fit_sim3, make_sim3, split_sim3, transform_points


def problem(seed, depth_noise, outliers=0):
    rng = np.random.default_rng(seed)
    true = make_sim3(
        1.0,
        torch.from_numpy(Rotation.from_rotvec(rng.normal(0, 0.2, 3)).as_matrix()),
        torch.from_numpy(rng.normal(0, 0.4, 3)),
    )
    source = torch.from_numpy(rng.uniform([-1.5, -1, 1.5], [1.5, 1, 5], (300, 3)))
    target = transform_points(true, source)
    noisy = source * torch.from_numpy(np.exp(rng.normal(0, depth_noise, (300, 1))))
    if outliers:
        target[:outliers] = target[torch.from_numpy(rng.permutation(outliers))]
    return true, noisy, target, torch.zeros(300, 3, dtype=torch.float64), torch.ones(300, dtype=torch.float64)


def error(pose, true):
    difference = torch.linalg.inv(true) @ pose
    angle = Rotation.from_matrix(split_sim3(difference)[1].numpy()).magnitude()
    return np.degrees(angle), float(difference[:3, 3].norm())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_exact_points_give_the_exact_pose_from_a_rough_start(seed):
    true, source, target, centres, weights = problem(seed, 0.0)
    start = make_sim3(1.0, torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    pose, robust = refine_by_rays(source, target, centres, weights, start, spread=0.3, iterations=60)
    angle, distance = error(pose, true)
    assert angle < 0.01
    assert distance < 1e-3
    assert robust.min() > 0.99


def test_with_wrong_depths_and_outliers_it_beats_the_closed_form():
    better = 0
    for seed in range(20):
        true, source, target, centres, weights = problem(seed, 0.2, outliers=60)
        start = fit_sim3(source, target, weights, fixed_scale=1.0)
        pose, robust = refine_by_rays(source, target, centres, weights, start, spread=0.05)
        before, after = error(start, true), error(pose, true)
        better += after[0] < before[0] and after[1] < before[1]
        assert after[0] < 3
        assert after[1] < 0.15
        assert robust[60:].mean() > 2 * robust[:60].mean()
    assert better >= 15  # in rotation and translation at once
