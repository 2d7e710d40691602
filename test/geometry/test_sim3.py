"""Similarities: closed form and robust, on generated problems."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from sab3r_ros.geometry.sim3 import (
    fit_sim3,
    fit_sim3_robust,
    make_sim3,
    rigid_part,
    split_sim3,
    transform_points,
)

seeds = st.integers(0, 2**31 - 1)


def problem(seed, count=60):
    rng = np.random.default_rng(seed)
    rotation = torch.from_numpy(Rotation.random(random_state=rng).as_matrix())
    pose = make_sim3(float(rng.uniform(0.2, 5)), rotation, torch.from_numpy(rng.normal(size=3)))
    points = torch.from_numpy(rng.normal(size=(count, 3)) * rng.uniform(0.5, 3))
    return pose, points, rng


@given(seeds)
def test_closed_form_recovers_the_similarity(seed):
    pose, points, rng = problem(seed)
    weights = torch.from_numpy(rng.uniform(0.1, 1, len(points)))
    assert torch.allclose(fit_sim3(points, transform_points(pose, points), weights), pose, atol=1e-8)


@given(seeds)
def test_a_given_scale_is_kept(seed):
    pose, points, _ = problem(seed)
    fitted = fit_sim3(points, transform_points(pose, points), torch.ones(len(points)), fixed_scale=1.5)
    scale, rotation, _ = split_sim3(fitted)
    assert float(scale) == pytest.approx(1.5)
    assert torch.allclose(rotation, split_sim3(pose)[1], atol=1e-7)


@given(seeds)
def test_a_third_of_outliers_does_not_matter(seed):
    pose, points, rng = problem(seed, 150)
    target = transform_points(pose, points)
    target[:50] += torch.from_numpy(rng.normal(size=(50, 3)) * 3)
    spread = torch.full((150,), 0.02 * float(split_sim3(pose)[0]), dtype=torch.float64)
    fitted, robust = fit_sim3_robust(points, target, torch.ones(150, dtype=torch.float64), spread, iterations=40)
    assert torch.allclose(fitted, pose, atol=0.05 * float(split_sim3(pose)[0]))
    assert robust[50:].mean() > 0.9
    assert robust[:50].mean() < 0.2


@given(seeds)
def test_split_is_the_inverse_of_make(seed):
    pose, _, _ = problem(seed)
    assert torch.allclose(make_sim3(*split_sim3(pose)), pose)
    assert float(torch.linalg.det(rigid_part(pose)[:3, :3])) == pytest.approx(1)


def test_mirrored_points_still_give_a_rotation():
    points = torch.randn(30, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    fitted = fit_sim3(points, points * torch.tensor([1.0, 1.0, -1.0]), torch.ones(30))
    assert float(torch.linalg.det(fitted[:3, :3])) > 0


@pytest.mark.parametrize("weights", [torch.zeros(5), torch.full((5,), float("nan")), torch.tensor([1.0, 1, 0, 0, 0])])
def test_too_few_weights_are_an_error(weights):
    with pytest.raises(ValueError, match="at least three"):
        fit_sim3(torch.randn(5, 3), torch.randn(5, 3), weights)


def test_coinciding_points_are_an_error():
    with pytest.raises(ValueError, match="coinciding"):
        fit_sim3(torch.ones(5, 3), torch.randn(5, 3), torch.ones(5))
