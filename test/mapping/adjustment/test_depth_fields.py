"""Depth that agrees with keypoints, with other views, and with itself where it is flat."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from sab3r_ros.mapping.adjustment.bundle import Lens
from sab3r_ros.mapping.adjustment.depth_fields import STEP, DepthProblem, solve_depth
from sab3r_ros.mapping.depth_grid import COLUMNS, ROWS, basis, correction_factors

WIDTH, HEIGHT = 160, 120
LENS = Lens(130.0, 0.0, (WIDTH - 1) / 2, (HEIGHT - 1) / 2)
PIXELS = np.stack(np.meshgrid(np.arange(0, WIDTH, STEP), np.arange(0, HEIGHT, STEP)), -1).reshape(-1, 2).astype(float)
SHAPE = HEIGHT // STEP, WIDTH // STEP


def camera(turn, shift):
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = Rotation.from_rotvec([0, turn, 0]).as_matrix(), [shift, 0, 0]
    return pose


def room_depth(pose):
    """Depth (h,w) of a wall 3 m ahead, one 1.5 m to the right, and a floor 1.2 m below."""
    rays = LENS.rays(PIXELS)
    directions = rays @ pose[:3, :3].T
    planes = [(np.array([0, 0, 1.0]), 3.0), (np.array([1.0, 0, 0]), 1.5), (np.array([0, 1.0, 0]), 1.2)]
    along = [
        (offset - n @ pose[:3, 3]) / np.where(directions @ n > 1e-6, directions @ n, np.nan) for n, offset in planes
    ]
    return (np.nanmin(along, axis=0) * rays[:, 2]).reshape(SHAPE)


def views(errors):
    """The problem of as many views as there are errors (h,w), of the log of each one's depth, and the true depths."""
    poses = np.stack([camera(turn, shift) for turn, shift in np.linspace([-0.2, -0.4], [0.2, 0.4], len(errors))])
    true = np.stack([room_depth(pose) for pose in poses])
    nothing = np.zeros(0)
    return DepthProblem(
        poses, LENS, (WIDTH, HEIGHT), true * np.exp(errors), nothing.astype(int), np.zeros((0, 2)), nothing, nothing
    ), true


def bends(seed, count, size=0.08):
    """Smooth errors (count,h,w) of the log of depth, of another kind in every view."""
    rng = np.random.default_rng(seed)
    nodes = rng.normal(0, size, (count, 3, 4))
    down, across = np.linspace(0, 2, SHAPE[0]), np.linspace(0, 3, SHAPE[1])
    hats = [np.clip(1 - np.abs(x[:, None] - np.arange(n)), 0, None) for x, n in ((down, 3), (across, 4))]
    return np.einsum("ha,vab,wb->vhw", hats[0], nodes, hats[1])


def errors(problem, nodes, true):
    """Of the log of depth (V,h,w), corrected."""
    factors = np.exp(basis(PIXELS, problem.size) @ nodes.reshape(len(nodes), -1).T).T.reshape(true.shape)
    return np.log(problem.depths * factors / true)


def keypoints(problem, true, seed, count=60):
    """The problem with keypoints in every view that know the true depth."""
    rng = np.random.default_rng(seed)
    view = np.repeat(np.arange(len(true)), count)
    number = rng.integers(len(PIXELS), size=len(view))
    ratio = np.log(true.reshape(len(true), -1)[view, number] / problem.depths.reshape(len(true), -1)[view, number])
    return replace(problem, view=view, pixels=PIXELS[number], ratio=ratio, sigma=np.full(len(view), 0.005))


@pytest.mark.parametrize("seed", range(3))
def test_keypoints_views_and_flatness_mend_what_bends(seed):
    problem, true = views(bends(seed, 5))
    before = np.abs(np.log(problem.depths / true)).mean()
    without = np.abs(errors(problem, solve_depth(problem), true)).mean()
    problem = keypoints(problem, true, seed)
    after = np.abs(errors(problem, solve_depth(problem), true)).mean()
    assert before > 0.03
    assert without < 0.8 * before
    assert after < 0.25 * before


def test_views_agree_with_each_other_afterwards():
    shares = np.array([0.1, -0.1, 0.08, -0.08])  # every view is wrong as a whole: none says which
    problem, true = views(shares[:, None, None] * np.ones((4, *SHAPE)))
    left = errors(problem, solve_depth(problem), true).mean((1, 2))
    assert np.ptp(left) < 0.4 * np.ptp(shares)


def test_a_wall_bent_in_one_view_is_straight_again():
    across = np.linspace(-1, 1, SHAPE[1])
    wall = Lens(130.0, 0.0, (WIDTH - 1) / 2, (HEIGHT - 1) / 2)
    depth = np.full((1, *SHAPE), 3.0) * np.exp(0.1 * across**2)
    nothing = np.zeros(0)
    problem = DepthProblem(
        np.eye(4)[None], wall, (WIDTH, HEIGHT), depth, nothing.astype(int), np.zeros((0, 2)), nothing, nothing
    )
    found = depth[0] * np.exp((basis(PIXELS, problem.size) @ solve_depth(problem)[0].ravel()).reshape(SHAPE))
    bend = [np.polyfit(across, (1 / d).mean(0), 2)[0] for d in (depth[0], found)]
    assert abs(bend[1]) < 0.35 * abs(bend[0])


@given(st.integers(0, 10**6))
@settings(max_examples=10)
def test_what_is_right_stays_and_wrong_keypoints_do_little(seed):
    problem, true = views(np.zeros((3, *SHAPE)))
    assert np.abs(errors(problem, solve_depth(problem), true)).mean() < 0.01
    rng = np.random.default_rng(seed)
    problem = keypoints(problem, true, seed)
    wrong = rng.random(len(problem.ratio)) < 0.15
    problem = replace(problem, ratio=np.where(wrong, rng.choice([-0.4, 0.4], len(wrong)), problem.ratio))
    assert np.abs(errors(problem, solve_depth(problem), true)).mean() < 0.02


def test_missing_depth_is_survived():
    problem, true = views(bends(1, 3))
    depths = problem.depths.copy()
    depths[0], depths[1, :10] = np.nan, 0.0
    nodes = solve_depth(replace(problem, depths=depths))
    assert np.isfinite(nodes).all()
    assert nodes.shape == (3, ROWS, COLUMNS)


@given(st.integers(0, 10**6))
def test_factors_are_what_the_basis_says(seed):
    rng = np.random.default_rng(seed)
    correction = rng.normal(0, 0.1, (ROWS, COLUMNS))
    h, w = rng.integers(2, 60, 2)
    pixels = np.stack(np.meshgrid(np.arange(w), np.arange(h)), -1).reshape(-1, 2)
    weights = basis(pixels, (w, h))
    assert np.allclose(weights.sum(1), 1)
    assert np.allclose(correction_factors(correction, (h, w)).ravel(), np.exp(weights @ correction.ravel()), rtol=1e-5)
    beyond = basis(np.array([[-5.0, -5.0], [w + 5, h + 5]]), (w, h)) @ correction.ravel()
    assert np.allclose(beyond, [correction[0, 0], correction[-1, -1]])
