"""Keypoints: where they lie in the network's picture, and what their matches say of the motion."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sab3r_ros.evaluation.poses import rotation_angle
from sab3r_ros.geometry.projection import backproject, project, transform
from sab3r_ros.mapping.keypoints import detect_keypoints, match_keypoints, relative_rotation
from sab3r_ros.models.preprocess import framing


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), st.sampled_from([(320, 240), (640, 480), (322, 261), (240, 320)]))
def test_keypoints_lie_where_the_network_sees_them(left, top, size):
    scene = _scene()
    whole = detect_keypoints(scene, framing(*scene.shape[1::-1], 128), 1000)
    part = scene[top : top + size[1], left : left + size[0]]
    plan = framing(*size, 128)
    match = match_keypoints(detect_keypoints(part, plan, 1000), whole)
    assert match is not None
    shrunk = np.array(plan.resized) / np.array(plan.size)
    there = _in_picture(match.there, framing(*scene.shape[1::-1], 128)) - [left, top]
    wanted = (there + 0.5) * shrunk - 0.5 - plan.crop_offset
    assert np.median(np.abs(match.here - wanted).max(1)) < 0.4  # of the network's pixels, which are 2 to 5 of these


def _scene():
    """A picture of 720 x 560 pixels of clouds of two sizes."""
    noise = np.random.default_rng(0).normal(size=(2, 560, 720))
    clouds = [cv2.GaussianBlur(layer, (0, 0), width) for layer, width in zip(noise, (3, 8), strict=True)]
    grey = 120 + sum(30 * cloud / cloud.std() for cloud in clouds)
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, 2)


def _in_picture(pixels, plan):
    """Pixels of the network's picture as those of the camera's."""
    return (pixels + plan.crop_offset + 0.5) * plan.size / plan.resized - 0.5


def test_a_plain_picture_has_none_and_matches_with_nothing(walk):
    plain = detect_keypoints(np.full((96, 128, 3), 90, np.uint8), framing(128, 96, 128), 100)
    assert len(plain) == 0
    textured = detect_keypoints(walk.views[0].rgb, framing(128, 96, 128), 100)
    assert len(textured) > 20
    assert match_keypoints(plain, textured) is None
    assert match_keypoints(textured, plain) is None


@pytest.mark.parametrize("limit", [20, 200])
def test_there_are_no_more_than_asked_for(walk, limit):
    assert (
        len(detect_keypoints(walk.views[0].rgb, framing(128, 96, 128), limit)) <= limit + 1
    )  # ties at the end are kept


def test_matches_are_of_the_same_surface_and_tell_the_rotation(walk):
    plan = framing(128, 96, 128)
    right, total, angles = 0, 0, []
    for i in range(0, 18, 2):
        new, old = walk.views[i + 1], walk.views[i]
        match = match_keypoints(detect_keypoints(new.rgb, plan, 1000), detect_keypoints(old.rgb, plan, 1000))
        if match is None:
            continue
        points = transform(new.cam2world, backproject(new.depth.astype(float), new.intrinsics))
        column, row = np.round(match.here).astype(int).T
        landed = project(transform(np.linalg.inv(old.cam2world), points[row, column]), old.intrinsics)
        right += int((np.linalg.norm(landed - match.there, axis=1) < 3).sum())
        total += len(match)
        rotation = relative_rotation(match, new.intrinsics)
        if rotation is not None:
            true = np.linalg.inv(old.cam2world) @ new.cam2world
            angles.append(rotation_angle(rotation, true[:3, :3]))
    assert total > 300
    assert right > 0.7 * total
    assert len(angles) >= 5
    assert np.median(angles) < 4
