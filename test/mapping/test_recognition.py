"""Whether two images show one place, and whether two cameras stand there."""

import numpy as np
import torch

from sab3r_ros.lab.synthetic.sequence import render_sequence
from sab3r_ros.mapping.keypoints import detect_keypoints
from sab3r_ros.mapping.recognition import is_near, shares_a_place
from sab3r_ros.models.preprocess import Framing
from sab3r_ros.types import Keyframe


def keypoints_of(view):
    size = view.rgb.shape[1], view.rgb.shape[0]
    return detect_keypoints(view.rgb, Framing(size, size, (0, 0), size), 800)


def keyframe(view, keypoints):
    points = torch.zeros(*view.rgb.shape[:2], 3)
    return Keyframe(0, 0, torch.eye(4).double(), points, points[..., 0], view.rgb, torch.zeros(4), keypoints)


def test_views_of_one_room_share_a_place_and_views_of_two_do_not():
    rooms = [render_sequence(seed, 4, 256, 192, 0.3).views for seed in (900_060_033, 900_060_035, 900_060_036)]
    found = [[keypoints_of(view) for view in views] for views in rooms]
    for n, (views, mine) in enumerate(zip(rooms, found, strict=True)):
        keyframes = [keyframe(view, k) for view, k in zip(views[:-1], mine[:-1], strict=True)]
        assert shares_a_place(mine[-1], keyframes)
        for other in found[:n] + found[n + 1 :]:
            assert not any(shares_a_place(k, keyframes) for k in other)


def test_without_keypoints_nothing_speaks_against_a_place(walk):
    view = walk.views[0]
    assert shares_a_place(None, [keyframe(view, keypoints_of(view))])
    assert shares_a_place(keypoints_of(view), [keyframe(view, None)])


def test_cameras_are_near_by_place_and_by_direction():
    here, aside, turned = torch.eye(4).double(), torch.eye(4).double(), torch.eye(4).double()
    aside[0, 3] = 0.8
    turned[:3, :3] = torch.from_numpy(np.array([[0, 0, 1.0], [0, 1, 0], [-1, 0, 0]]))
    assert is_near(here, here)
    assert not is_near(here, aside)
    assert not is_near(here, turned)
