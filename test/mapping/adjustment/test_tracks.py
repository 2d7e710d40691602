"""Matches that are verified, and tracks that are made of them."""

import cv2
import numpy as np
from made_up_walks import disturbed, keyframes, walk

from sab3r_ros.mapping.adjustment.tracks import build_tracks, thinned, verified_match


def test_matches_are_those_of_the_same_points():
    made = walk(0)
    a, b = (k.keypoints for k in keyframes(made, made.poses)[:2])
    match = verified_match(a, b)
    same = made.seen[0][match[:, 0]] == made.seen[1][match[:, 1]]
    assert len(match) > 0.6 * len(np.intersect1d(made.seen[0], made.seen[1]))
    assert same.mean() > 0.99


def test_other_places_do_not_match():
    here, there = walk(1), walk(2)
    a = keyframes(here, here.poses, seed=1)[0].keypoints
    b = keyframes(there, there.poses, seed=2)[0].keypoints
    assert verified_match(a, b) is None


def test_matches_that_the_estimator_gives_up_on_are_none(monkeypatch):
    def gives_up(*arguments):
        raise cv2.error("(-215:Assertion failed) !model.empty() in function 'setModelParameters'")

    made = walk(0)
    a, b = (k.keypoints for k in keyframes(made, made.poses)[:2])
    monkeypatch.setattr(cv2, "findFundamentalMat", gives_up)
    assert verified_match(a, b) is None


def test_a_view_enters_a_track_once():
    matches = {(0, 1): np.array([[0, 0], [1, 1]]), (1, 2): np.array([[0, 0], [1, 1]]), (0, 2): np.array([[2, 0]])}
    tracks = build_tracks([3, 2, 2], matches, least=2)
    # Keypoints 0 and 2 of view 0 are both said to be keypoint 0 of view 2: view 0 is left out of that track.
    assert [tracks.view[tracks.track == t].tolist() for t in range(len(tracks))] == [[1, 2], [0, 1, 2]]
    assert len(build_tracks([3, 2, 2], {})) == 0


def test_thinning_keeps_what_every_view_needs():
    made = walk(3)
    frames = keyframes(made, disturbed(made.poses, 3))
    pairs = [(i, j) for i in range(12) for j in range(i + 1, min(i + 4, 12))]
    matches = {
        (i, j): m for i, j in pairs if (m := verified_match(frames[i].keypoints, frames[j].keypoints)) is not None
    }
    tracks = build_tracks([len(k.keypoints) for k in frames], matches)
    few = tracks.where(thinned(tracks, 12, 40)[tracks.track])
    assert len(few) < 0.6 * len(tracks)
    assert np.bincount(few.view, minlength=12).min() >= min(40, np.bincount(tracks.view, minlength=12).min())
