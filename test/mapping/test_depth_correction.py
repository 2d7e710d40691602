"""Depth is corrected towards what matched keypoints triangulate, and left alone where they say nothing."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from sab3r_ros.geometry.projection import pinhole
from sab3r_ros.geometry.ray_refinement import RayMatches
from sab3r_ros.geometry.sim3 import make_sim3, transform_points
from sab3r_ros.mapping.depth_correction import _field, depth_correction, triangulated

WIDTH, HEIGHT = 128, 96
INTRINSICS = pinhole(110.0, WIDTH, HEIGHT)


def scene(seed, wrong, baseline=0.3, count=200, noise=0.0):
    """A room's corner before and behind a box, seen by a camera at a known pose and by an older one beside it.

    wrong: factors (h,w) of the new view's depth, or a function of the true depth that gives them. Returns the pose, the depth
    as the network has it, the true depth, and matches of `count` pixels.
    """
    rng = np.random.default_rng(seed)
    pose = make_sim3(
        1.0,
        torch.from_numpy(Rotation.from_rotvec(rng.normal(0, 0.3, 3)).as_matrix()),
        torch.from_numpy(rng.normal(0, 1, 3)),
    )
    row, column = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    true = 2.5 + 0.01 * column.double()
    true[30:80, 40:80] = 1.2
    depth = true * wrong(true)
    pixels = torch.from_numpy(rng.integers(0, [WIDTH, HEIGHT], (count, 2)))
    rays = torch.from_numpy(np.c_[pixels.numpy(), np.ones(count)] @ np.linalg.inv(INTRINSICS).T)
    at = true[pixels[:, 1], pixels[:, 0]][:, None]
    points = transform_points(pose, rays * at)
    centre = pose[:3, 3] + baseline * pose[:3, 0]
    seen = (
        points
        - centre
        + noise * torch.from_numpy(rng.normal(size=(count, 3))) * (points - centre).norm(dim=-1, keepdim=True)
    )
    lifted = rays * depth[pixels[:, 1], pixels[:, 0]][:, None]
    distances = lifted.norm(dim=-1)
    # How far the older view takes its points to be does not matter: only its directions are used.
    targets = centre + seen * torch.from_numpy(rng.uniform(0.7, 1.4, (count, 1)))
    matches = RayMatches(
        lifted / distances[:, None],
        distances,
        targets,
        centre.expand(count, 3),
        torch.full((count,), 0.002, dtype=torch.float64),
    )
    return pose, depth, true, matches


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.floats(0.6, 1.6))
def test_triangulation_of_exact_rays_gives_the_true_distance(seed, factor):
    pose, _, _, matches = scene(seed, lambda true: factor)
    ratio, error = triangulated(matches, pose)
    assert torch.allclose(ratio, torch.full_like(ratio, -np.log(factor)), atol=1e-6)
    assert torch.isfinite(error).all()


@settings(max_examples=10)
@given(st.integers(0, 10**6))
def test_depth_that_is_wrong_smoothly_or_by_object_becomes_right(seed):
    def by_object(true):
        return torch.where(true < 2, 1.25, 0.85)

    def smoothly(true):
        return torch.linspace(0.8, 1.3, HEIGHT)[:, None].double().expand(HEIGHT, WIDTH)

    for wrong in (by_object, smoothly):
        pose, depth, true, matches = scene(seed, wrong, noise=0.002)
        factors = depth_correction(matches, torch.ones(len(matches)), pose, depth, INTRINSICS)
        before, after = (((d / true).log().abs()).mean() for d in (depth, depth * factors))
        assert after < 0.35 * before


def test_it_is_left_alone_without_parallax_or_without_matches_that_agree():
    pose, depth, _, matches = scene(0, lambda true: 1.3, baseline=0.005)
    assert depth_correction(matches, torch.ones(len(matches)), pose, depth, INTRINSICS) is None
    pose, depth, _, matches = scene(0, lambda true: 1.3)
    assert depth_correction(matches, torch.zeros(len(matches)), pose, depth, INTRINSICS) is None


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_wrong_matches_that_seem_to_agree_do_little_harm(share):
    pose, depth, true, matches = scene(1, lambda true: 1.0)
    wrong = int(share * len(matches))
    matches.targets[:wrong] = matches.targets[torch.randperm(wrong, generator=torch.Generator().manual_seed(0))]
    factors = depth_correction(matches, torch.ones(len(matches)), pose, depth, INTRINSICS)
    assert float(factors.log().abs().mean()) < 0.15
    assert float(factors.log().abs().max()) < 0.7


@settings(max_examples=10)
@given(st.integers(0, 10**6), st.booleans())
def test_the_table_is_read_as_the_formula_says(seed, with_far_pixel):
    """The Gaussian process worked out pixel by pixel, with a pixel that would stretch the table a hundredfold, or without."""
    _, depth, _, _ = scene(seed, lambda true: 1.0)
    rng = np.random.default_rng(seed)
    if with_far_pixel:
        depth[0, 0] = 1e3
    known = torch.from_numpy(rng.uniform([0, 0, 0.5], [6, 5, 4], (60, 3)))
    weights = torch.from_numpy(rng.normal(0, 0.3, 60))
    row, column = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    places = torch.stack([column / (0.15 * WIDTH), row / (0.15 * WIDTH), depth.log() / 0.25], -1).reshape(-1, 1, 3)
    wanted = (weights * torch.exp(-0.5 * (places - known).square().sum(-1))).sum(-1).reshape(depth.shape)
    assert torch.allclose(_field(weights, known, depth).double(), wanted, atol=0.012 * float(weights.abs().sum()))
    assert float((_field(weights, known, depth) - wanted).abs().max()) < 0.03
