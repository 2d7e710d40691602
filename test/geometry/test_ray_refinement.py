"""The ray-based refinement finds the pose although depths are wrong."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from sab3r_ros.geometry.ray_refinement import RayMatches, position_deviation, refine_by_rays
from sab3r_ros.geometry.sim3 import fit_sim3, make_sim3, split_sim3, transform_points

EYE = torch.eye(4, dtype=torch.float64)


def problem(seed, depth_noise, outliers=0, angle=0.002):
    """300 points seen from a new place, half of them by each of two older cameras; every depth is wrong, and pixels a little."""
    rng = np.random.default_rng(seed)
    true = make_sim3(
        1.0,
        torch.from_numpy(Rotation.from_rotvec(rng.normal(0, 0.2, 3)).as_matrix()),
        torch.from_numpy(rng.normal(0, 0.4, 3)),
    )
    source = torch.from_numpy(rng.uniform([-1.5, -1, 1.5], [1.5, 1, 5], (300, 3)))
    points = transform_points(true, source)
    centres = torch.zeros(300, 3, dtype=torch.float64)
    centres[150:] = torch.from_numpy(rng.normal(0, 0.4, 3))
    wrong = torch.from_numpy(np.exp(rng.normal(0, depth_noise, (2, 300, 1))))
    targets = centres + (points - centres) * wrong[0]
    if outliers:
        targets[:outliers] = targets[torch.from_numpy(rng.permutation(outliers))]
    noisy = source * wrong[1]
    distances = noisy.norm(dim=-1)
    rays = noisy / distances[:, None] + torch.from_numpy(rng.normal(0, angle if depth_noise else 0.0, (300, 3)))
    rays = rays / rays.norm(dim=-1, keepdim=True)
    return true, RayMatches(rays, distances, targets, centres, torch.full((300,), angle, dtype=torch.float64))


def error(pose, true):
    difference = torch.linalg.inv(true) @ pose
    angle = Rotation.from_matrix(split_sim3(difference)[1].numpy()).magnitude()
    return np.degrees(angle), float(difference[:3, 3].norm())


def closed_form(matches):
    weights = torch.ones(len(matches), dtype=torch.float64)
    return fit_sim3(matches.points, matches.targets, weights, fixed_scale=1.0)


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_exact_points_give_the_exact_pose_from_a_rough_start(seed):
    true, matches = problem(seed, 0.0, angle=0.05)
    pose, robust = refine_by_rays(matches, EYE, iterations=60)
    angle, distance = error(pose, true)
    assert angle < 0.01
    assert distance < 1e-3
    assert robust.min() > 0.99


def test_with_wrong_depths_and_outliers_it_beats_the_closed_form_by_far():
    ratios = []
    for seed in range(20):
        true, matches = problem(seed, 0.2, outliers=60)
        start = closed_form(matches)
        pose, robust = refine_by_rays(matches, start)
        before, after = error(start, true), error(pose, true)
        ratios.append((after[0] / before[0], after[1] / before[1]))
        assert after[0] < 1
        assert after[1] < 0.1
        assert robust[60:].mean() > 5 * robust[:60].mean()
    assert np.median(ratios, axis=0).max() < 0.2  # in rotation and in translation


def test_the_scale_of_a_similarity_is_kept():
    true, matches = problem(3, 0.1)
    start = make_sim3(1.7, true[:3, :3], true[:3, 3])
    pose, _ = refine_by_rays(matches, start)
    assert abs(float(split_sim3(pose)[0]) - 1.7) < 1e-6


def test_points_of_another_place_do_not_agree_with_any_pose():
    rng = np.random.default_rng(0)
    _, matches = problem(0, 0.2)
    matches.targets = torch.from_numpy(rng.uniform([-3, -3, 1], [3, 3, 5], (300, 3)))
    _, robust = refine_by_rays(matches, closed_form(matches))
    assert robust.mean() < 0.15


def test_a_pose_that_has_run_away_counts_for_nothing():
    _, matches = problem(0, 0.0)
    far = make_sim3(1.0, EYE[:3, :3], torch.tensor([0.0, 0, -200], dtype=torch.float64))
    _, robust = refine_by_rays(matches, far, iterations=1)
    assert not robust.any()


def test_two_views_from_one_place_give_their_rotation():
    true, matches = problem(5, 0.0)
    matches.targets = matches.targets - true[:3, 3]  # the new camera stands where the older one does
    matches.centres = torch.zeros_like(matches.centres)
    pose, robust = refine_by_rays(matches, EYE, iterations=30)
    assert error(make_sim3(1.0, pose[:3, :3], true[:3, 3]), true)[0] < 0.01
    assert pose[:3, 3].norm() < 1e-3
    assert robust.min() > 0.99


@pytest.mark.parametrize("spread", [1.5, 0.15])
def test_the_told_deviation_is_that_of_many_tries(spread):
    """Points at about 3 metres whose directions are noisy, seen by a camera that is looked for again and again."""
    rng, sigma = np.random.default_rng(4), 0.002
    points = torch.from_numpy(rng.uniform([-spread, -spread, 2.5], [spread, spread, 4], (80, 3)))
    true = make_sim3(1.0, torch.from_numpy(Rotation.from_rotvec([0, 0.1, 0]).as_matrix()), torch.tensor([0.2, 0, 0.1]))
    source = transform_points(torch.linalg.inv(true), points)
    distances, ones = source.norm(dim=-1), torch.ones(80, dtype=torch.float64)
    found = []
    for _ in range(200):
        rays = source / distances[:, None]
        rays = rays + torch.from_numpy(rng.normal(0, sigma, (80, 3)))
        rays = rays / rays.norm(dim=-1, keepdim=True)
        # The points' own camera stands where the new one does: their depth is then certain, as the deviation takes it.
        matches = RayMatches(rays, distances, points, true[:3, 3].expand(80, 3) + 1e-9, sigma * ones)
        found.append(refine_by_rays(matches, true, 3, gnc_start=1.0)[0][:3, 3])
    told = position_deviation(matches, true, ones)
    seen = float((torch.stack(found) - true[:3, 3]).square().sum(1).mean().sqrt())
    assert told == pytest.approx(seen, rel=0.5)
    assert position_deviation(matches, true, 0.25 * ones) == pytest.approx(2 * told)
