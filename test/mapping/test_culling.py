"""A bound on keyframes: those that see the same are let go, and nothing that they saw is lost."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from oracle import oracle
from scipy.spatial import cKDTree

from sab3r_ros.config import settings_from_dotted
from sab3r_ros.lab.evaluation.poses import absolute_trajectory_error
from sab3r_ros.mapping import culling
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.mapping.session import load_map, save_map
from sab3r_ros.types import Frame, PoseEstimate, Tracking

MOST = 6
SETTINGS = {
    "tracking.max_keypoints": 0, "window.keyframe_overlap": 0.95, "camera.find_up": False, "tracking.use_intrinsics": False,
}  # fmt: skip


def there_and_back(walk, rounds=3):
    """Images of a walk, there and back again, and their true poses."""
    views = [*walk.views, *walk.views[-2:0:-1]] * rounds
    frames = [Frame(v.rgb, round(k * 1e8)) for k, v in enumerate(views)]
    return frames, [v.cam2world for v in views]


@pytest.fixture
def few_newest(monkeypatch):
    monkeypatch.setattr(culling, "_NEWEST", 2)


def mapped(walk, frames, **settings):
    mapper = Mapper(settings_from_dotted({**SETTINGS, **settings}), oracle(walk.views))
    return mapper, [mapper.register(f) for f in frames]


@pytest.mark.slow
def test_a_camera_that_comes_back_again_and_again_has_a_bounded_number_of_keyframes(walk, few_newest):
    frames, truth = there_and_back(walk)
    free, _ = mapped(walk, frames, **{"window.max_keyframes": 0})
    bound, results = mapped(walk, frames, **{"window.max_keyframes": MOST})
    assert len(free.state.graph) > 2 * MOST
    assert len(bound.state.graph) == MOST
    assert all(r.tracking == Tracking.OK for r in results)
    poses = [pose for _, pose in bound.trajectory]
    assert len(poses) == len(frames)
    assert absolute_trajectory_error(poses, truth)[0] < 0.01
    far, _ = cKDTree(bound.snapshot().points).query(free.snapshot().points)
    assert (far < bound.settings.map.voxel_size).mean() > 0.99
    assert {k.id for k in bound.state.graph.keyframes} >= {0, bound.state.graph.next_id - 1}
    ids = {k.id for k in bound.state.graph.keyframes}
    assert set(bound.state.scene.poses()) == ids
    assert all({e.source, e.target} <= ids for e in bound.state.graph.edges)


def test_what_was_let_go_moves_with_the_keyframe_beside_it(walk):
    frames, _ = there_and_back(walk, 1)
    mapper, _ = mapped(walk, frames[:8], **{"window.max_keyframes": 0})
    state = mapper.state
    goes, stays = (k.id for k in state.graph.keyframes[1:3])
    before, trajectory, weight = mapper.snapshot(), mapper.trajectory, mapper.snapshot().column("weight").sum()
    stood = state.graph[goes].pose
    state.absorb(goes, stays)
    assert goes not in state.graph
    assert torch.allclose(state.graph.standing(goes), stood)
    assert np.allclose([p for _, p in mapper.trajectory], [p for _, p in trajectory], atol=1e-6)
    after = mapper.snapshot()
    assert after.column("weight").sum() == pytest.approx(float(weight), rel=1e-3)
    assert abs(len(after) - len(before)) < 0.01 * len(before)
    shift = torch.eye(4, dtype=torch.float64)
    shift[0, 3] = 5.0
    state.move_keyframes({k.id: shift @ k.pose for k in state.graph.keyframes})
    state.move_voxels(state.lagging())
    assert torch.allclose(state.graph.standing(goes), shift @ stood)
    assert np.allclose(mapper.snapshot().points.mean(0), before.points.mean(0) + [5, 0, 0], atol=0.02)


def test_a_frame_in_flight_beside_a_keyframe_that_is_let_go(walk):
    frames, _ = there_and_back(walk, 1)
    mapper, results = mapped(walk, frames[:8], **{"window.max_keyframes": 0})
    state, estimate = mapper.state, results[-1].estimate
    assert isinstance(estimate, PoseEstimate)
    goes, stays = state.graph.keyframes[1], state.graph.keyframes[2]
    state.absorb(goes.id, stays.id)
    assert torch.allclose(state.follow(estimate, [goes]).pose, estimate.pose)
    state.graph.revive(goes)
    assert goes.id not in state.graph
    state.graph.track(10**10, estimate.pose, estimate.edges, beside=goes.id)
    assert state.graph.beside[-1] == stays.id
    started = mapper.start(replace(frames[8], stamp=2 * 10**10))
    assert mapper.look(started).tracking == Tracking.OK


@pytest.mark.slow
def test_a_map_with_let_go_keyframes_is_saved_and_goes_on(walk, few_newest, tmp_path):
    frames, _ = there_and_back(walk)
    mapper, _ = mapped(walk, frames, **{"window.max_keyframes": MOST})
    save_map(mapper, tmp_path / "map")
    again = Mapper(mapper.settings, oracle(walk.views))
    load_map(again, tmp_path / "map")
    assert [k.id for k in again.state.graph.keyframes] == [k.id for k in mapper.state.graph.keyframes]
    assert len(again.trajectory) == len(frames)
    assert again.register(replace(frames[5], stamp=10**11)).tracking == Tracking.OK


def test_nothing_goes_where_all_must_stay(walk):
    frames, _ = there_and_back(walk, 1)
    mapper, _ = mapped(walk, frames[:8], **{"window.max_keyframes": 1})
    assert len(mapper.state.graph) > 1  # they are the newest ones
    assert culling.most_alike(mapper.state) is None
