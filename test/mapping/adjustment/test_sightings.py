"""Frames between keyframes are placed by the points they saw."""

import numpy as np
from made_up_walks import LENS, disturbed, walk

from sab3r_ros.mapping.adjustment.sightings import placed, sightings_of
from sab3r_ros.mapping.keypoints import Keypoints
from sab3r_ros.types import Edge


def test_a_frame_is_placed_in_spite_of_wrong_matches():
    made = walk(21)
    start = disturbed(made.poses, 21)[5]
    pixels = made.pixels[5].copy()
    wrong = np.random.default_rng(0).random(len(pixels)) < 0.2
    pixels[wrong] = np.random.default_rng(1).uniform(0, 240, (wrong.sum(), 2))
    pose = placed(start, made.points[made.seen[5]], pixels, LENS, 0.3)
    assert np.linalg.norm(pose[:3, 3] - made.poses[5, :3, 3]) < 0.01
    assert np.abs(pose[:3, :3] - made.poses[5, :3, :3]).max() < 0.005


def test_few_points_place_nothing():
    made = walk(22)
    assert placed(made.poses[3], made.points[made.seen[3]][:10], made.pixels[3][:10], LENS, 0.3) is None


def test_sightings_name_the_keypoints_they_were_matched_with():
    made = walk(23)
    theirs = Keypoints(made.pixels[0], np.zeros((len(made.pixels[0]), 128), np.float32), 0.3)
    chosen = np.arange(0, len(theirs), 3)
    weights = np.where(np.arange(len(chosen)) % 4 == 0, 0.1, 0.9)
    own = np.full((len(chosen), 2), 7.0)
    edge = Edge(None, 4, "keypoints", own, theirs.pixels[chosen], 0.3, weights, np.eye(4))
    seen = sightings_of([edge], {4: theirs})
    assert seen.keypoint.tolist() == chosen[weights > 0.5].tolist()
    assert set(seen.keyframe.tolist()) == {4}
    assert sightings_of([edge], {}) is None


def test_descriptors_of_the_network_name_no_keypoints():
    edge = Edge(None, 0, "descriptors", np.zeros((50, 2)), np.zeros((50, 2)), 1.0, np.ones(50), np.eye(4))
    assert sightings_of([edge], {0: Keypoints(np.zeros((50, 2)), np.zeros((50, 128), np.float32), 0.3)}) is None
