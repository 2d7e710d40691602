"""The ways of a camera over several recordings."""

import numpy as np

from sab3r_ros.geometry.walks import walks


def pose(x):
    out = np.eye(4)
    out[0, 3] = x
    return out


def test_a_way_ends_where_stamps_go_back_or_leap_by_a_minute():
    stamps = [0, 10**8, 2 * 10**8, 0, 10**8, 10**8 + 61 * 10**9]
    found = walks([(stamp, pose(k)) for k, stamp in enumerate(stamps)])
    assert [way[:, 0].tolist() for way in found] == [[0, 1, 2], [3, 4], [5]]


def test_no_poses_are_no_way():
    assert walks([]) == []
