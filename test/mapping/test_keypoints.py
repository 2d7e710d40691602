"""Keypoints: where they lie in the network's picture, and what their matches say of the motion."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sab3r_ros.geometry.projection import backproject, project, transform
from sab3r_ros.lab.evaluation.poses import rotation_angle
from sab3r_ros.mapping.keypoints import (
    detect_keypoints,
    guided_match,
    in_epipolar_bands,
    match_keypoints,
    relative_rotation,
)
from sab3r_ros.models.preprocess import framing


@settings(max_examples=15)
@given(st.integers(0, 60), st.integers(0, 60), st.sampled_from([(320, 240), (640, 480), (322, 261), (240, 320)]))
def test_keypoints_lie_where_the_network_sees_them(left, top, size):
    scene = _scene()
    whole = detect_keypoints(scene, framing(*scene.shape[1::-1], 128), 1000)
    part = scene[top : top + size[1], left : left + size[0]]
    plan = framing(*size, 128)
    match = match_keypoints(detect_keypoints(part, plan, 1000), whole)
    assert match is not None
    shrunk = np.array(plan.resized) / np.array(plan.size)
    there = _in_picture(match.keyframe, framing(*scene.shape[1::-1], 128)) - [left, top]
    wanted = (there + 0.5) * shrunk - 0.5 - plan.crop_offset
    assert np.median(np.abs(match.frame - wanted).max(1)) < 0.4  # of the network's pixels, which are 2 to 5 of these


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
    right, total, angles = 0, 0, []
    for i in range(0, 18, 2):
        new, old = walk.views[i + 1], walk.views[i]
        match = match_keypoints(*_detected(new, old))
        if match is None:
            continue
        right += int(_right(match, new, old).sum())
        total += len(match)
        rotation = relative_rotation(match, new.intrinsics)
        if rotation is not None:
            true = np.linalg.inv(old.cam2world) @ new.cam2world
            angles.append(rotation_angle(rotation, true[:3, :3]))
    assert total > 300
    assert right > 0.7 * total
    assert len(angles) >= 5
    assert np.median(angles) < 4


def test_more_match_once_it_is_known_where_to_look(walk):
    right, wrong, by_looks = 0, 0, 0
    for i in range(15):
        new, old = walk.views[i + 3], walk.views[i]
        mine, its = _detected(new, old)
        near, far = (_seen_in(old, new, mine.pixels, share) for share in (1 / 1.5, 1.5))
        match, unguided = guided_match(mine, its, near, far, 4.0), match_keypoints(mine, its)
        by_looks += int(_right(unguided, new, old).sum()) if unguided else 0
        if match is not None:
            agrees = _right(match, new, old)
            right += int(agrees.sum())
            wrong += int((~agrees).sum())
    assert right > 1.3 * by_looks
    assert right > 0.6 * (right + wrong)


def test_nothing_matches_where_it_cannot_be(walk):
    mine, its = _detected(walk.views[1], walk.views[0])
    behind = np.full((len(mine), 2), np.nan)
    aside = np.full((len(mine), 2), -500.0)
    assert guided_match(mine, its, behind, behind, 4.0) is None
    assert guided_match(mine, its, aside, aside, 4.0) is None


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_points_beside_a_line_are_those_near_it(seed):
    random = np.random.default_rng(seed)
    points, starts, ends = (random.uniform(0, 100, (n, 2)) for n in (5, 7, 7))
    ends[0] = starts[0]
    starts[1, 0] = np.nan
    steps = np.linspace(0, 1, 2001)[:, None, None]
    on_line = starts + steps * (ends - starts)
    nearest = np.linalg.norm(on_line[:, :, None] - points, axis=-1).min(0)
    inside = in_epipolar_bands(points, starts, ends, 20.0).numpy()
    assert inside[nearest < 19.9].all()
    assert not inside[nearest > 20.1 * np.sqrt(2)].any()  # a rectangle's corners lie so far off
    assert not inside[1].any()


def _detected(*views):
    plan = framing(128, 96, 128)
    return [detect_keypoints(view.rgb, plan, 1000) for view in views]


def _seen_in(old, new, pixels, share=1.0):
    """Where the older view has pixels (N,2) of the new one, were they at this share of their depth."""
    points = backproject(new.depth.astype(float), new.intrinsics) * share
    column, row = np.round(pixels).astype(int).T
    return project(transform(np.linalg.inv(old.cam2world) @ new.cam2world, points[row, column]), old.intrinsics)


def _right(match, new, old):
    return np.linalg.norm(_seen_in(old, new, match.frame) - match.keyframe, axis=1) < 3
