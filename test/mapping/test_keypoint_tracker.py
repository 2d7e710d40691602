"""Frames that keypoints alone place: where they come out, and when the network is asked after all."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from oracle import oracle

from sab3r_ros.config import settings_from_dotted
from sab3r_ros.geometry.projection import pinhole
from sab3r_ros.lab.evaluation.stream import geometry_metrics
from sab3r_ros.lab.synthetic.sequence import render_sequence
from sab3r_ros.mapping.keypoint_tracker import pose_by_keypoints
from sab3r_ros.mapping.keypoints import KeypointMatch, Keypoints
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.mapping.match_refinement import KeypointMatches
from sab3r_ros.mapping.placing import KeypointPlacing
from sab3r_ros.mapping.stream import map_stream
from sab3r_ros.types import Camera, Frame, Keyframe, Tracking

SETTINGS = {"window.keyframe_overlap": 0.8, "camera.find_up": False, "adjustment.enabled": False}


@pytest.fixture(scope="module")
def slow_walk():
    """Thirty views of a held-out room, 256 x 192, as a camera at 10 Hz sees it."""
    return render_sequence(900_060_147, 30, 256, 192, 0.6)


def run(walk, network, frames=None):
    geometry = oracle(walk.views, noise=0.03)
    geometry.geometry.image_size = 256
    mapper = Mapper(settings_from_dotted({**SETTINGS, "tracking.network": network}), geometry)
    camera = Camera(walk.views[0].intrinsics)
    frames = frames or [Frame(v.rgb, round(k * 1e8), camera=camera) for k, v in enumerate(walk.views)]
    return mapper, map_stream(mapper, frames)


@pytest.mark.slow
def test_most_frames_need_no_network_and_come_out_as_well(slow_walk):
    mapper, found = run(slow_walk, "needed")
    always, reference = run(slow_walk, "always")
    assert always.geometry.encoded == 30
    assert mapper.geometry.encoded <= 20
    figures, wanted = (geometry_metrics(r, slow_walk.views, mapper.geometry) for r in (found, reference))
    assert figures["frames_kept"] == 30
    assert figures["rra15"] == 100
    assert figures["ate"] < max(1.3 * wanted["ate"], 0.02)
    placed = [r for r in found.results if r.depth is None]
    assert len(placed) == 30 - mapper.geometry.encoded
    assert not any(r.is_keyframe for r in placed)
    assert len(mapper.trajectory) == 30


@pytest.mark.slow
def test_auto_spares_the_network_on_a_cpu(slow_walk):
    mapper, _ = run(slow_walk, "auto")
    assert mapper.geometry.encoded < 30
    assert mapper._placing.is_due(mapper.state, live=True)
    on_gpu = KeypointPlacing(mapper.settings, mapper.encode, mapper._track, "cuda:0")
    assert not on_gpu.is_due(mapper.state, live=True)
    mapper._placing = on_gpu
    frame = Frame(slow_walk.views[-1].rgb, 10**11, camera=Camera(slow_walk.views[0].intrinsics))
    assert mapper.start(frame).keypoints is None  # found beside the encoder
    ahead = mapper.start(frame, live=True)
    assert len(ahead.keypoints) > 50  # found while the network looks at the frame before
    assert mapper.look(ahead).tracking == Tracking.OK


def test_without_a_known_focal_length_the_network_sees_every_frame(slow_walk):
    frames = [Frame(v.rgb, round(k * 1e8)) for k, v in enumerate(slow_walk.views[:8])]
    mapper, _ = run(slow_walk, "needed", frames)
    assert mapper.geometry.encoded == 8


def test_the_network_looks_again_after_ten_frames(slow_walk):
    camera = Camera(slow_walk.views[0].intrinsics)
    frames = [Frame(slow_walk.views[0].rgb, round(k * 1e8), camera=camera) for k in range(25)]
    mapper, found = run(slow_walk, "needed", frames)
    assert mapper.geometry.encoded == 3  # the first, the 12th and the 23rd
    assert len(mapper.state.graph) == 1
    positions = np.array([r.pose[:3, 3] for r in found.results])
    assert np.ptp(positions, axis=0).max() < 0.01


def keyframe_and_matches(count=200, wrong=0.0, spread=1.0, seed=0):
    """A keyframe that sees points of a slanted wall, and a camera 10 cm beside it that matches them."""
    rng = np.random.default_rng(seed)
    h, w = 120, 160
    matrix = pinhole(150.0, w, h)
    ys, xs = np.mgrid[:h, :w]
    depth = 2.0 + 0.004 * xs + 0.002 * ys
    rays = np.stack([(xs - matrix[0, 2]) / 150, (ys - matrix[1, 2]) / 150, np.ones((h, w))], -1)
    points = torch.from_numpy(rays * depth[..., None]).float()
    pixels = np.stack([rng.uniform(0, spread * (w - 1), count), rng.uniform(0, spread * (h - 1), count)], 1).round()
    truth = np.eye(4)
    truth[:3, 3] = 0.1, 0.02, 0.03
    at = points[pixels[:, 1].astype(int), pixels[:, 0].astype(int)].double().numpy() - truth[:3, 3]
    seen = at[:, :2] / at[:, 2:] * 150 + [matrix[0, 2], matrix[1, 2]]
    lost = rng.random(count) < wrong
    seen[lost] = rng.uniform(0, [w - 1, h - 1], (lost.sum(), 2))
    nothing = Keypoints(seen, np.zeros((count, 128), np.float32), 0.5)
    keyframe = Keyframe(
        0, 0, torch.eye(4, dtype=torch.float64), points, torch.ones(h, w), np.zeros((h, w, 3), np.uint8), torch.ones(1), nothing,
    )  # fmt: skip
    return KeypointMatches(nothing, [keyframe], [KeypointMatch(seen, pixels, 0.5)], matrix), keyframe, truth


@pytest.mark.parametrize("wrong", [0.0, 0.3])
def test_the_pose_is_that_of_the_camera(wrong):
    matches, keyframe, truth = keyframe_and_matches(wrong=wrong)
    found = pose_by_keypoints(matches, [keyframe], torch.eye(4, dtype=torch.float64), 0.7)
    assert found is not None
    assert np.abs(found.rigid_pose - truth).max() < 0.004
    assert not found.has_points
    assert 0.8 < found.overlap[0] < 1
    assert [e.target for e in found.edges] == [0]
    assert (found.edges[0].weights > 0.5).mean() == pytest.approx(1 - wrong, abs=0.08)


@pytest.mark.parametrize("options", [{"count": 25}, {"wrong": 0.85}, {"spread": 0.1}])
def test_a_doubtful_frame_is_left_to_the_network(options):
    matches, keyframe, _ = keyframe_and_matches(**options)
    assert pose_by_keypoints(matches, [keyframe], torch.eye(4, dtype=torch.float64), 0.5) is None


def test_a_frame_that_shares_too_little_is_left_to_the_network():
    matches, keyframe, _ = keyframe_and_matches()
    assert pose_by_keypoints(matches, [keyframe], torch.eye(4, dtype=torch.float64), 0.995) is None


def test_matches_with_no_keyframe_place_nothing():
    matches, keyframe, _ = keyframe_and_matches()
    nothing = replace(matches, matches=[None])
    assert pose_by_keypoints(nothing, [keyframe], torch.eye(4, dtype=torch.float64), 0.5) is None


def test_a_camera_that_has_turned_far_is_found():
    matches, keyframe, truth = keyframe_and_matches(wrong=0.4)
    away = torch.eye(4, dtype=torch.float64)
    angle = np.deg2rad(50.0)
    away[:3, :3] = torch.tensor([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    found = pose_by_keypoints(matches, [keyframe], away, 0.5)
    assert found is not None
    assert np.abs(found.rigid_pose - truth).max() < 0.01
