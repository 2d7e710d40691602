"""The back end on made-up keyframes: what it compares, what it finds, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_up_walks import LENS, WIDTH, disturbed, keyframes, position_errors, walk

from sab3r_ros.config import AdjustmentSettings
from sab3r_ros.mapping.adjustment.back_end import MatchStore, finished, predicted_ranges, prepare
from sab3r_ros.mapping.adjustment.bundle import Lens, solve

pytest.importorskip("gtsam", reason="GTSAM has no wheel for this Python")
SETTINGS = AdjustmentSettings()
GUESSED = Lens(LENS.focal * 1.05, 0.0, LENS.u, LENS.v)


@pytest.fixture(scope="module")
def made():
    return walk(11, views=24)


def test_a_whole_map_is_straightened_and_brought_to_the_networks_metres(made):
    start = disturbed(made.poses, 11)
    start[:, :3, 3] = start[0, :3, 3] + (start[:, :3, 3] - start[0, :3, 3]) * 0.8  # the map's unit is a fifth too small
    frames = keyframes(made, start)
    prepared = prepare(frames, GUESSED, False, MatchStore(), SETTINGS, 1.0)
    found = finished(prepared, solve(prepared.problem), rescale=True)
    poses = np.stack([found.poses[k] for k in range(24)])
    assert position_errors(start, made.poses).max() > 0.04
    assert position_errors(poses, made.poses).max() < 0.01
    length = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1).sum()
    assert length == pytest.approx(np.linalg.norm(np.diff(made.poses[:, :3, 3], axis=0), axis=1).sum(), rel=0.03)
    scales = np.cbrt(np.linalg.det(poses[:, :3, :3]))
    assert np.abs(np.log(scales)).max() < 0.05  # pointmaps were right, whatever unit the poses had
    assert prepared.loops > 0  # the walk comes back to where it began
    assert found.lens.focal == pytest.approx(LENS.focal, rel=0.01)


def test_only_the_window_moves(made):
    start = made.poses.copy()
    start[16:] = disturbed(made.poses, 12)[16:]
    store = MatchStore()
    prepare(keyframes(made, start), LENS, True, store, SETTINGS, 1.0)
    prepared = prepare(keyframes(made, start), LENS, True, store, SETTINGS, 1.0, window=8)
    found = finished(prepared, solve(prepared.problem), rescale=False)
    assert sorted(found.poses) == list(range(16, 24))
    after = np.stack([found.poses[k][:3, 3] for k in range(16, 24)])
    assert np.linalg.norm(after - made.poses[16:, :3, 3], axis=1).max() < 0.01


def test_pairs_are_compared_once(made, monkeypatch):
    from sab3r_ros.mapping.adjustment import back_end

    compared = []
    real = back_end.verified_match
    monkeypatch.setattr(back_end, "verified_match", lambda a, b, least: compared.append(1) or real(a, b, least))
    store = MatchStore()
    for _ in range(2):
        prepare(keyframes(made, made.poses), LENS, True, store, SETTINGS, 1.0)
    assert len(compared) == len(store.found)


def test_places_that_do_not_match_are_left_alone():
    here, there = walk(1, views=2), walk(2, views=2)
    frames = keyframes(here, here.poses, seed=1) + keyframes(there, there.poses, seed=2)
    frames = [replace(k, id=n) for n, k in enumerate(frames)]
    assert prepare(frames, LENS, True, MatchStore(), SETTINGS, 1.0) is None
    assert prepare(frames[:2], LENS, True, MatchStore(), SETTINGS, 1.0) is None


def test_no_range_is_believed_at_an_edge_of_depth(made):
    keyframe = keyframes(made, made.poses)[0]
    points = torch.ones_like(keyframe.points) * 2.0
    points[:, WIDTH // 2 :] = 3.0
    keyframe = replace(keyframe, points=points)
    pixels = np.array([[20.0, 100.0], [WIDTH // 2 + 1.0, 100.0], [300.0, 100.0]])
    ranges = predicted_ranges(keyframe, pixels, LENS)
    assert np.isnan(ranges).tolist() == [False, True, False]
    assert ranges[0] * LENS.rays(pixels)[0, 2] == pytest.approx(2.0)


@pytest.mark.parametrize("measured", [False, True])
def test_corrected_and_measured_depth_keep_the_metre(made, measured):
    """Pointmaps that keypoints corrected by a factor count as the network made them; measured depth counts as it is."""
    frames = keyframes(made, made.poses, scale=1.25)  # pointmaps in units of 1.25 m
    if measured:
        poses = [k.pose.clone() for k in frames]
        for pose in poses:
            pose[:3, :3] *= 1.25
        frames = [replace(k, pose=p, depth_factor=0.7) for k, p in zip(frames, poses, strict=True)]
    else:
        frames = [replace(k, depth_factor=0.8) for k in frames]
    prepared = prepare(frames, LENS, True, MatchStore(), SETTINGS, None if measured else 1.0)
    found = finished(prepared, solve(prepared.problem), rescale=True)
    poses = np.stack([found.poses[k] for k in range(24)])
    length = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1).sum()
    assert length == pytest.approx(np.linalg.norm(np.diff(made.poses[:, :3, 3], axis=0), axis=1).sum(), rel=0.02)
    assert np.cbrt(np.linalg.det(poses[:, :3, :3])) == pytest.approx(1.25, rel=0.02)
