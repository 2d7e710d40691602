"""Where odometry tells a camera's pose: blank walls, and what becomes of it when wheels slip, odometry jumps or somebody lifts the robot."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from estimates import at, estimate
from oracle import oracle

from sab3r_ros.config import settings_from_dotted
from sab3r_ros.lab.evaluation.poses import absolute_trajectory_error, rotation_angle
from sab3r_ros.lab.evaluation.wheels import OdometryErrors, odometry_of
from sab3r_ros.lab.synthetic.sequence import render_sequence
from sab3r_ros.mapping.dead_reckoning import DeadReckoning, steadied
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.mapping.stream import map_stream
from sab3r_ros.types import Camera, Frame, Tracking

VIEWS, BLANK = 18, range(7, 11)
SETTINGS = {"window.keyframe_overlap": 0.9, "camera.find_up": False, "adjustment.enabled": False}


def frame(second, odometry):
    return Frame(np.zeros((2, 2, 3), np.uint8), round(second * 1e9), odometry=odometry)


def keyframe(keypoints=0):
    points = torch.tensor([0.0, 0, 2]).expand(4, 6, 3)
    return SimpleNamespace(pose=torch.eye(4, dtype=torch.float64), points=points, keypoints=[0] * keypoints)


def steady(found, predicted, own=30, theirs=30, believed=True):
    own = None if own is None else [0] * own
    return steadied(found, torch.from_numpy(predicted), own, [keyframe(theirs)], 1.2, believed)


def test_where_keypoints_tell_too_little_odometry_tells_the_pose():
    for few in ((5, 5), (49, 10), (60, 300)):
        found = steady(estimate(at(1.0), *few), at(0.1))
        assert found.by_odometry
        assert np.allclose(found.rigid_pose, at(0.1))
        assert float(torch.linalg.det(found.pose[:3, :3])) == pytest.approx(1.2**3)
        assert found.edges == ()
        assert len(found.overlap) == 1


def test_where_keypoints_are_sure_they_correct_odometry_a_little_and_overrule_it_where_wheels_slip():
    close = steady(estimate(at(0.14), scale=0.8), at(0.1))
    assert not close.by_odometry
    assert np.allclose(close.rigid_pose, at(0.11), atol=1e-9)
    assert float(torch.linalg.det(close.pose[:3, :3])) == pytest.approx(0.8**3)
    assert np.allclose(steady(estimate(at(0.1)), at(0.6)).rigid_pose, at(0.1))


def test_without_keypoints_odometry_only_stands_in_for_what_is_not_believed():
    assert not steady(estimate(at(1.0), 0, 0), at(0.1), own=None).by_odometry
    assert steady(estimate(at(1.0), 0, 0), at(0.1), own=None, believed=False).by_odometry


def test_a_camera_that_was_carried_elsewhere_is_not_where_odometry_says():
    """Two rich images that should show the same and share nothing."""
    assert not steady(estimate(at(1.0), 3, 30), at(0.0), own=400, theirs=400).by_odometry
    assert steady(estimate(at(1.0), 3, 30), at(0.0), own=100, theirs=400).by_odometry
    assert steady(estimate(at(1.0), 3, 30), at(0.0, turn=2.0), own=400, theirs=400).by_odometry  # it looks elsewhere


def test_steps_are_taken_in_the_maps_unit_from_the_newest_placed_frame():
    reckoning, here = DeadReckoning(), torch.from_numpy(at(5.0, turn=0.3))
    assert reckoning.predict(here, frame(0, at(1.0)), 1.0) is None
    reckoning.placed(frame(0, at(1.0)), None, estimate(at(5.0, turn=0.3)), 1.0)
    predicted = reckoning.predict(here, frame(0.1, at(1.2)), 2.0)
    assert np.allclose(predicted.numpy(), at(5.0, turn=0.3) @ at(0.1))
    assert reckoning.predict(None, frame(0.1, at(1.2)), 1.0) is None
    assert reckoning.predict(here, frame(0.1, None), 1.0) is None
    assert reckoning.predict(here, frame(0.1, np.full((4, 4), np.nan)), 1.0) is None


def test_a_jump_of_odometry_is_no_motion():
    reckoning, here = DeadReckoning(), torch.eye(4, dtype=torch.float64)
    reckoning.placed(frame(0, at(0)), None, estimate(at()), 1.0)
    assert reckoning.predict(here, frame(0.1, at(0.3)), 1.0) is not None
    assert reckoning.predict(here, frame(0.1, at(0.5)), 1.0) is None
    assert reckoning.predict(here, frame(0.1, at(0, turn=1.0)), 1.0) is None
    assert reckoning.predict(here, frame(1.0, at(0.5, turn=1.0)), 1.0) is not None


def test_odometry_that_keypoints_contradict_is_not_used_until_it_agrees_again():
    reckoning, last = DeadReckoning(), None
    for k in range(12):  # the wheels turn, the robot does not
        reckoning.placed(frame(k, at(0.3 * k)), last, estimate(at(0.0)), 1.0)
        last = torch.from_numpy(at(0.0))
        assert reckoning.is_trusted == (k < 4)
    for k in range(12, 24):
        reckoning.placed(frame(k, at(0.3 * 11)), last, estimate(at(0.0)), 1.0)
    assert reckoning.is_trusted


@pytest.fixture(scope="module")
def walk():
    """Eighteen views, four of which show a wall without anything on it, which the network makes nonsense of."""
    walk = render_sequence(900_060_147, VIEWS, 192, 144, 0.7)
    for k in BLANK:
        blank = np.full_like(walk.views[k].rgb, 200)
        blank[0, 0] = k  # they are told apart by it
        walk.views[k] = replace(walk.views[k], rgb=blank)
    return walk


def run(walk, odometry):
    backend = oracle(walk.views, noise=0.03, blind=BLANK)
    backend.geometry.image_size = 192
    mapper = Mapper(settings_from_dotted(SETTINGS), backend)
    camera = Camera(walk.views[0].intrinsics)
    frames = [
        Frame(v.rgb, round(k * 1e8), camera=camera, odometry=odometry[k] if odometry else None)
        for k, v in enumerate(walk.views)
    ]
    return mapper, map_stream(mapper, frames)


def error(found, walk):
    kept = [k for k, r in enumerate(found.results) if r.pose is not None]
    return absolute_trajectory_error([found.results[k].pose for k in kept], [walk.views[k].cam2world for k in kept])[0]


@pytest.mark.slow
def test_a_blank_wall_is_passed_by_odometry_and_lost_without(walk):
    true = [v.cam2world for v in walk.views]
    _, without = run(walk, None)
    assert Tracking.LOST in {r.tracking for r in without.results}
    assert all(np.isnan(r.position_std) == (r.pose is None) for r in without.results)
    _, found = run(walk, odometry_of(true, 1))
    assert {r.tracking for r in found.results} == {Tracking.OK}
    assert error(found, walk) < 0.02
    told = [k for k, r in enumerate(found.results) if r.estimate.by_odometry]
    assert set(BLANK) <= set(told)
    doubt = [r.position_std for r in found.results]
    assert doubt[BLANK[0] - 1] == doubt[-1] == 0.03
    assert 0.03 < doubt[BLANK[-1]] < 0.1  # by the way that odometry may err on
    assert sum("odometry tells it" in note for note in found.notes) == 1


def test_a_slip_while_the_camera_sees_enough_does_no_harm(walk):
    true = [v.cam2world for v in walk.views]
    slipped = odometry_of(true, 1)
    for k in range(4, VIEWS):
        slipped[k] = at(0.25) @ slipped[k]
    _, found = run(walk, slipped)
    assert error(found, walk) < 0.03


def test_odometry_errs_as_it_is_told_to():
    poses = [at(0.2 * k, turn=0.1 * k) for k in range(100)]
    exact = odometry_of(poses, 0, OdometryErrors(0, 0, 0, 0))
    assert np.allclose(exact[-1], np.linalg.inv(poses[0]) @ poses[-1])
    ends = [odometry_of(poses, seed)[-1] for seed in range(20)]
    assert np.median([rotation_angle(e[:3, :3], exact[-1][:3, :3]) for e in ends]) == pytest.approx(2.0, abs=1.5)
