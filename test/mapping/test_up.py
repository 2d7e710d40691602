"""Which way is up: found from what a map shows, and the map turned once."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracle import oracle
from scipy.spatial.transform import Rotation

from sab3r_ros.config import settings_from_dotted
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.mapping.session import load_map, save_map
from sab3r_ros.mapping.stream import map_stream
from sab3r_ros.mapping.up import find_up, rotation_to_z
from sab3r_ros.types import Frame

SETTINGS = {"tracking.use_intrinsics": False, "tracking.max_keypoints": 0, "window.keyframe_overlap": 0.9}


def lean(mapper, views):
    """Degrees between the map's z axis and the true one."""
    poses = [p for _, p in mapper.trajectory]
    turns = [p[:3, :3] @ v.cam2world[:3, :3].T for p, v in zip(poses, views, strict=True)]
    true_up = Rotation.from_matrix(np.stack(turns)).mean().as_matrix()[:, 2]
    return np.degrees(np.arccos(true_up[2].clip(-1, 1)))


def mapped(views, **more):
    mapper = Mapper(settings_from_dotted(SETTINGS | more), oracle(views))
    map_stream(mapper, [Frame(v.rgb, round(k * 1e8)) for k, v in enumerate(views)])
    return mapper


def test_a_map_whose_first_camera_looked_down_is_turned_upright(walk, tmp_path):
    leaning, upright = mapped(walk.views, **{"camera.find_up": False}), mapped(walk.views)
    assert lean(leaning, walk.views) > 10
    assert lean(upright, walk.views) < 3
    assert upright.revision > leaning.revision
    # The voxels were moved, not lost.
    points = [m.snapshot().points for m in (leaning, upright)]
    assert len(points[1]) == pytest.approx(len(points[0]), rel=0.15)
    before = [p.copy() for _, p in upright.trajectory]
    assert upright.turn_upright() == 0.0  # once
    save_map(upright, tmp_path / "map")
    again = Mapper(upright.settings, oracle(walk.views))
    load_map(again, tmp_path / "map")
    assert again.turn_upright() == 0.0  # a map on disk stays as it is
    assert np.allclose(before, [p for _, p in again.trajectory], atol=1e-5)


def test_who_says_how_the_camera_is_mounted_is_believed(walk):
    mapper = mapped(walk.views, **{"camera.pitch": 0.1})
    assert np.allclose(mapper.trajectory[0][1], mapper.first_pose)


def test_too_little_is_not_enough(walk):
    mapper = mapped(walk.views[:3], **{"camera.find_up": False})
    assert find_up(mapper.state.graph.keyframes) is None
    rubbish = [
        replace(k, points=torch.randn(k.points.shape, generator=torch.Generator().manual_seed(k.id)) + 3)
        for k in mapped(walk.views, **{"camera.find_up": False}).state.graph.keyframes
    ]
    assert find_up(rubbish) is None


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=3).filter(lambda v: np.linalg.norm(v) > 0.1))
def test_the_rotation_brings_up_to_z_and_turns_no_further(vector):
    up = np.array(vector) / np.linalg.norm(vector)
    turn = rotation_to_z(up)
    assert np.allclose(turn @ up, [0, 0, 1], atol=1e-3)
    assert np.allclose(turn @ turn.T, np.eye(3), atol=1e-6)
    angle = np.degrees(np.arccos(((np.trace(turn) - 1) / 2).clip(-1, 1)))
    assert angle == pytest.approx(np.degrees(np.arccos(up[2].clip(-1, 1))), abs=1.0)
