"""The map's unit from odometry: found, kept, and doubted where it does not fit."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from oracle import oracle

from sab3r_ros.config import settings_from_dotted
from sab3r_ros.lab.evaluation.poses import absolute_trajectory_error
from sab3r_ros.lab.synthetic.sequence import render_sequence
from sab3r_ros.mapping.graph import KeyframeGraph
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.mapping.odometry import Odometry
from sab3r_ros.mapping.session import load_map, save_map
from sab3r_ros.mapping.stream import map_stream
from sab3r_ros.types import Frame, Keyframe, ScaleSource, Tracking

SETTINGS = {"window.keyframe_overlap": 0.9, "tracking.max_keypoints": 0, "camera.find_up": False}


def at(x, y=0.0):
    pose = torch.eye(4, dtype=torch.float64)
    pose[0, 3], pose[1, 3] = x, y
    return pose


def graph_of(places):
    graph = KeyframeGraph(3)
    for number, place in enumerate(places):
        points = torch.zeros(2, 2, 3)
        graph.add(
            Keyframe(number, number, at(*place), points, points[..., 0], np.zeros((2, 2, 3), np.uint8), torch.zeros(1))
        )
    return graph


def measured(places, odometry):
    scale = Odometry()
    for number, pose in enumerate(odometry):
        scale.add(number, np.asarray(pose))
    return scale, scale.measure(graph_of(places))


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.3])
def test_the_unit_is_the_ratio_of_the_ways(factor):
    places = [(0.15 * k, 0.1 * np.sin(k)) for k in range(20)]
    turned = np.array([[0, -1.0], [1, 0]])  # odometry has axes and an origin of its own
    odometry = [at(*(factor * turned @ p + [5, -3])) for p in np.array(places)]
    _, found = measured(places, odometry)
    assert found.metres == pytest.approx(factor, rel=1e-6)
    assert found.stddev == pytest.approx(0.01)
    assert found.pairs >= 4


def test_a_jump_of_odometry_does_not_count():
    places = [(0.15 * k, 0.0) for k in range(24)]
    odometry = [at(0.15 * k + (3.0 if k >= 12 else 0.0)) for k in range(24)]
    _, found = measured(places, odometry)
    assert found.metres == pytest.approx(1.0, rel=0.02)


def test_a_short_way_and_a_camera_that_stands_tell_nothing():
    assert measured([(0.1 * k, 0) for k in range(6)], [at(0.1 * k) for k in range(6)])[1] is None
    scale, found = measured([(0.0, 0) for k in range(20)], [at(0.2 * k) for k in range(20)])
    assert found is None


def test_odometry_that_does_not_fit_is_doubted():
    rng = np.random.default_rng(0)
    places = np.cumsum(rng.uniform(0.05, 0.3, 30))
    odometry = np.cumsum(rng.uniform(0.02, 0.9, 30) ** 2)
    scale, found = measured([(x, 0.0) for x in places], [at(x) for x in odometry])
    assert found is None
    assert "disagree" in scale.doubt


def test_motions_between_keyframes_come_in_the_maps_unit_once_it_is_measured():
    places = [(0.15 * k, 0.1 * np.sin(k)) for k in range(20)]
    odometry, _ = measured(places, [])
    odometry.add(0, np.eye(4))
    odometry.add(1, np.eye(4))
    assert odometry.motion(0, 1) is None
    odometry, found = measured(places, [at(*(2 * np.array(p))) for p in places])
    motion = odometry.motion(3, 4)
    assert np.allclose(motion.pose[:2, 3], np.subtract(places[4], places[3]))
    assert 0.001 < motion.std[0] < 0.01
    assert 0.003 < motion.std[1] < 0.03
    assert odometry.motion(3, 40) is None
    odometry.add(4, at(50.0).numpy())
    assert odometry.motion(3, 4) is None  # it was set back
    odometry.add(4, at(*(2 * np.array(places[4]))).numpy())
    copy = odometry.copy()
    odometry.doubt = "wheels slip"
    assert odometry.motion(3, 4) is None
    assert copy.motion(3, 4) is not None


@pytest.fixture(scope="module")
def long_walk():
    """Views 2.5 m apart from first to last, so that odometry has something to say."""
    walk = render_sequence(900_060_147, 16, 128, 96, 1.6)
    path = np.linalg.norm(np.diff([v.cam2world[:3, 3] for v in walk.views], axis=0), axis=1).sum()
    assert path > 1.6
    return walk


def frames(walk, odometry=True, later=0, factor=1.0):
    """Odometry is the true pose in axes of its own, with lengths `factor` times too long."""
    out = []
    for k, view in enumerate(walk.views):
        pose = view.cam2world.copy()
        pose[:3, 3] *= factor
        out.append(Frame(view.rgb, round((later + k) * 1e8), odometry=pose if odometry else None))
    return out


def scale_of(mapper, walk):
    truth = [walk.views[round(stamp / 1e8) % 100].cam2world for stamp, _ in mapper.trajectory]
    error, to_truth = absolute_trajectory_error([pose for _, pose in mapper.trajectory], truth)
    return error, 1 / to_truth  # of the map's lengths over the true ones


def test_a_network_that_errs_in_metres_is_set_right_by_odometry(long_walk):
    without, with_it = (Mapper(settings_from_dotted(SETTINGS), oracle(long_walk.views, unit=0.7)) for _ in range(2))
    map_stream(without, frames(long_walk, odometry=False))
    run = map_stream(with_it, frames(long_walk))
    assert scale_of(without, long_walk)[1] == pytest.approx(0.7, rel=0.03)
    error, scale = scale_of(with_it, long_walk)
    assert scale == pytest.approx(1.0, rel=0.04)
    assert error < 0.03
    status = with_it.status()
    assert status.scale.source == ScaleSource.MEASURED
    assert status.scale.stddev < 0.1
    assert with_it.state.lagging() == []
    # What a frame tells of its own pose, after the unit was changed, is in the new unit.
    newest, live = with_it.trajectory[-1][1], run.live[-1]
    assert np.linalg.norm(newest[:3, 3] - live[:3, 3]) < 0.05


def test_a_map_in_measured_metres_keeps_its_unit_when_it_is_loaded(long_walk, tmp_path):
    mapper = Mapper(settings_from_dotted(SETTINGS), oracle(long_walk.views, unit=0.7))
    map_stream(mapper, frames(long_walk))
    save_map(mapper, tmp_path / "map")
    again = Mapper(settings_from_dotted(SETTINGS), oracle(long_walk.views, unit=0.7))
    load_map(again, tmp_path / "map")
    assert again.state.expected_scale == pytest.approx(mapper.state.expected_scale)
    result = again.register(Frame(long_walk.views[3].rgb, 10**12))
    assert result.tracking == Tracking.OK
    assert np.allclose(result.pose, mapper.trajectory[3][1], atol=0.03)


def test_a_map_measured_by_depth_is_tracked_in_after_loading(long_walk, tmp_path):
    mapper = Mapper(settings_from_dotted(SETTINGS), oracle(long_walk.views, unit=0.7))
    with_depth = [
        replace(f, depth=v.depth.astype(np.float32))
        for f, v in zip(frames(long_walk, odometry=False), long_walk.views, strict=True)
    ]
    map_stream(mapper, with_depth)
    assert mapper.status().scale.source == ScaleSource.MEASURED
    save_map(mapper, tmp_path / "map")
    again = Mapper(settings_from_dotted(SETTINGS), oracle(long_walk.views, unit=0.7))
    load_map(again, tmp_path / "map")
    result = again.register(Frame(long_walk.views[3].rgb, 10**12))
    assert np.allclose(result.pose, mapper.trajectory[3][1], atol=0.03)
