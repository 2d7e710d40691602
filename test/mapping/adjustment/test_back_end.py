"""The back end on made-up keyframes: what it compares, what it finds, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_up_walks import LENS, WIDTH, disturbed, keyframes, position_errors, walk

from sab3r_ros.config import AdjustmentSettings
from sab3r_ros.mapping.adjustment.back_end import MatchStore, finished, pose_graph_of, predicted_ranges, prepare
from sab3r_ros.mapping.adjustment.bundle import Lens, solve
from sab3r_ros.mapping.adjustment.pose_graph import is_contradicted
from sab3r_ros.mapping.odometry import Odometry

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


def test_a_keyframe_that_shares_nothing_goes_with_its_neighbours(made):
    """Between two that match with others stands one before a blank wall."""
    frames = keyframes(made, made.poses)
    blank = frames[9].keypoints
    frames[9] = replace(frames[9], keypoints=replace(blank, descriptors=blank.descriptors[:2], pixels=blank.pixels[:2]))
    moved = [replace(k, pose=torch.diag(torch.tensor([1.3, 1.3, 1.3, 1.0])).double() @ k.pose) for k in frames]
    moved = [
        replace(k, pose=torch.cat([torch.cat([k.pose[:3, :3] / 1.3, k.pose[:3, 3:]], 1), k.pose[3:]])) for k in moved
    ]
    prepared = prepare(moved, GUESSED, False, MatchStore(), SETTINGS, 1.0)
    assert len(prepared.keyframes) == 24
    assert 9 not in prepared.tracks.view
    found = finished(prepared, solve(prepared.problem), rescale=True)
    gap = np.linalg.norm(found.poses[9][:3, 3] - (found.poses[8][:3, 3] + found.poses[10][:3, 3]) / 2)
    assert gap < 0.1


def test_odometry_joins_keyframes_that_follow_each_other(made):
    odometry = Odometry()
    for number, pose in enumerate(made.poses):
        if number != 5:
            odometry.add(number, pose)
    frames = keyframes(made, made.poses)
    assert prepare(frames, LENS, True, MatchStore(), SETTINGS, 1.0, odometry=odometry).problem.motions == ()
    odometry.metres = 2.0
    odometry._measured = True
    problem = prepare(frames, LENS, True, MatchStore(), SETTINGS, 1.0, odometry=odometry).problem
    assert [(m.first, m.second) for m in problem.motions] == [(k, k + 1) for k in range(23) if k not in (4, 5)]
    assert problem.joined.tolist() == [[4, 5], [5, 6]]
    step = np.linalg.inv(made.poses[0]) @ made.poses[1]
    assert np.allclose(problem.motions[0].pose[:3, 3], step[:3, 3] / 2)
    assert np.allclose(problem.motions[0].pose[:3, :3], step[:3, :3])


def test_pairs_that_match_tell_how_their_cameras_stand(made):
    prepared = prepare(keyframes(made, made.poses), LENS, True, MatchStore(), SETTINGS, 1.0)
    graph = pose_graph_of(prepared)
    assert len(graph.pairs) > 0.8 * prepared.pairs
    assert not is_contradicted(graph)
    pair = max(graph.pairs, key=lambda p: len(p.points))
    relative = np.linalg.inv(made.poses[pair.second]) @ made.poses[pair.first]
    seen = LENS.project(pair.points @ relative[:3, :3].T + relative[:3, 3])
    assert np.median(np.linalg.norm(seen - pair.pixels, axis=1)) < 3


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
