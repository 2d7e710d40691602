"""Poses by the relative poses of pairs that match: a track that broke is put together again, one that did not is left alone."""

from dataclasses import replace

import numpy as np
import pytest

from sab3r_ros.lab.evaluation.poses import absolute_trajectory_error, rotation_angle
from sab3r_ros.mapping.adjustment.bundle import Lens, ViewMotion
from sab3r_ros.mapping.adjustment.pose_graph import MatchedPair, PoseGraph, is_contradicted, solve_pose_graph

pytest.importorskip("gtsam", reason="GTSAM has no wheel for this Python")

LENS = Lens(240.0, 0.0, 159.5, 119.5)
VIEWS = 36  # twice around a room of points, looking outwards
BREAK = 10  # from this view on the track is elsewhere, until the camera has gone round once


def pose(angle, radius=0.5):
    out = np.eye(4)
    forward = np.array([np.cos(angle), np.sin(angle), 0])
    down = np.array([0, 0, -1.0])
    out[:3, :3] = np.stack([np.cross(down, forward), down, forward], 1)
    out[:3, 3] = radius * forward
    return out


def pair_of(first, second, poses, points, rng, pixel=0.5, depth=0.05):
    """Points that both see, as deep as a network says of the first."""
    seen = [(points - p[:3, 3]) @ p[:3, :3] for p in (poses[first], poses[second])]
    pixels = [LENS.project(s) for s in seen]
    inside = np.logical_and.reduce([((p > 0) & (p < [319, 239])).all(1) for p in pixels])
    factor = np.exp(depth * rng.standard_normal() + 0.02 * rng.standard_normal((inside.sum(), 1)))
    noisy = pixels[1][inside] + pixel * rng.standard_normal((inside.sum(), 2))
    return MatchedPair(first, second, seen[0][inside] * factor, noisy)


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(3)
    angle, height = rng.uniform(0, 2 * np.pi, 3000), rng.uniform(-1.5, 1.5, 3000)
    radius = rng.uniform(2, 4, 3000)
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle), height], 1)
    poses = np.stack([pose(4 * np.pi * k / VIEWS) for k in range(VIEWS)])
    pairs = [pair_of(a, b, poses, points, rng) for b in range(VIEWS) for a in range(b)]
    return poses, tuple(p for p in pairs if len(p.points) >= 30)


def broken(poses):
    """The track as it is where it jumped by two metres and a right angle at a blank wall."""
    jump = np.eye(4)
    jump[:2, :2], jump[:3, 3] = [[0, -1], [1, 0]], [2, 0, 0]
    return np.stack([p if k < BREAK else jump @ p for k, p in enumerate(poses)])


def graph(poses, pairs, **options):
    free = np.arange(VIEWS) > 0
    return PoseGraph(**{"poses": poses, "free": free, "pairs": pairs, "motions": (), "lens": LENS, **options})


def without_neighbours(pairs):
    """No pair across the blank wall matches but those of the second round."""
    return tuple(p for p in pairs if not (p.first < BREAK <= p.second < VIEWS // 2))


def test_a_track_that_broke_is_put_together_by_what_is_seen_again(world):
    poses, pairs = world
    seen = without_neighbours(pairs)
    start = graph(broken(poses), seen)
    assert absolute_trajectory_error(list(start.poses), list(poses))[0] > 0.3
    assert is_contradicted(start)
    found = solve_pose_graph(start)
    assert absolute_trajectory_error(list(found), list(poses))[0] < 0.03
    assert max(rotation_angle(a[:3, :3], b[:3, :3]) for a, b in zip(found, poses, strict=True)) < 2
    assert np.allclose(found[0], poses[0], atol=1e-3)


def test_wrong_pairs_are_outvoted(world):
    """A tenth of all pairs claims that the second camera is a metre aside, as a floor of tiles may tell."""
    poses, pairs = world
    seen = without_neighbours(pairs)
    wrong = tuple(replace(p, points=p.points + [1.0, 0, 0]) if k % 10 == 0 else p for k, p in enumerate(seen))
    found = solve_pose_graph(graph(broken(poses), wrong))
    assert absolute_trajectory_error(list(found), list(poses))[0] < 0.04


def test_poses_that_agree_stay_as_they_are(world):
    poses, pairs = world
    rng = np.random.default_rng(0)
    near = poses.copy()
    near[:, :3, 3] += 0.02 * rng.standard_normal((VIEWS, 3))
    assert not is_contradicted(graph(near, pairs))
    assert solve_pose_graph(graph(near, pairs)) is None


def test_pairs_with_few_matches_move_nothing(world):
    poses, pairs = world
    few = tuple(replace(p, points=p.points[:25], pixels=p.pixels[:25]) for p in without_neighbours(pairs))
    assert is_contradicted(graph(broken(poses), few))
    assert solve_pose_graph(graph(broken(poses), few)) is None


def test_views_that_are_held_stay(world):
    poses, pairs = world
    free = np.arange(VIEWS) >= 8
    found = solve_pose_graph(graph(broken(poses), without_neighbours(pairs), free=free))
    assert np.allclose(found[:8], poses[:8], atol=1e-3)
    assert absolute_trajectory_error(list(found), list(poses))[0] < 0.04


def test_odometry_outweighs_a_wrong_pair_in_the_tree(world):
    """Of views on both sides of the wall only one pair matches, and that wrongly; the wheels know how far it was."""
    poses, pairs = world
    parts = tuple(p for p in pairs if p.second < BREAK or p.first >= BREAK)
    bridge = next(p for p in pairs if (p.first, p.second) == (BREAK - 1, BREAK))
    bridge = replace(bridge, points=bridge.points[:32] + [1.5, 0, 0], pixels=bridge.pixels[:32])
    motions = tuple(
        ViewMotion(k, k + 1, np.linalg.inv(poses[k]) @ poses[k + 1], (0.01, 0.01)) for k in range(BREAK - 2, BREAK + 2)
    )
    scattered = broken(poses)
    scattered[20:26] = broken(scattered)[20:26]  # enough for poses to be looked for
    found = solve_pose_graph(graph(scattered, (*parts, bridge), motions=motions))
    assert absolute_trajectory_error(list(found), list(poses))[0] < 0.05
