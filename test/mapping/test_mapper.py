"""Tracking, fusion and their failures, with a geometry model that knows the truth."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from oracle import oracle

from sab3r_ros.config import settings_from_dotted
from sab3r_ros.geometry.ray_refinement import RayMatches
from sab3r_ros.lab.evaluation.stream import geometry_metrics
from sab3r_ros.lab.synthetic.objects import LABELS
from sab3r_ros.mapping import match_refinement, tracker
from sab3r_ros.mapping.first_pose import LEVEL_FROM_OPTICAL
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.mapping.session import load_map, save_map
from sab3r_ros.mapping.stream import map_stream
from sab3r_ros.types import BadFrame, Frame, ScaleSource, Tracking

# The tests compare with the truth from the first camera on: the map stays as that one begins it.
POINTMAPS = {"tracking.use_intrinsics": False, "window.keyframe_overlap": 0.8, "camera.find_up": False}
SETTINGS = settings_from_dotted({**POINTMAPS, "tracking.max_keypoints": 0})
WITH_KEYPOINTS = settings_from_dotted(POINTMAPS)


def frames(walk, start=0):
    return [Frame(v.rgb, start + round(k * 1e8)) for k, v in enumerate(walk.views)]


def test_true_pointmaps_give_the_true_trajectory(walk):
    mapper = Mapper(SETTINGS, oracle(walk.views))
    figures = geometry_metrics(map_stream(mapper, frames(walk)), walk.views, mapper.geometry)
    assert figures["pairs"] > 20
    assert figures["frames_kept"] == 20
    assert (figures["rra15"], figures["rta15"]) == (100.0, 100.0)
    assert figures["ate"] < 0.005
    assert figures["abs_rel"] < 1e-3


def test_noisy_pointmaps_give_nearly_the_true_trajectory(walk):
    mapper = Mapper(SETTINGS, oracle(walk.views, noise=0.05))
    figures = geometry_metrics(map_stream(mapper, frames(walk)), walk.views, mapper.geometry)
    assert figures["rra15"] == 100.0
    assert figures["ate"] < 0.05


@pytest.mark.slow
def test_keypoints_track_where_pointmaps_are_too_noisy_to(walk):
    runs = {}
    for name, setup in {"pointmaps": SETTINGS, "keypoints": WITH_KEYPOINTS}.items():
        mapper = Mapper(setup, oracle(walk.views, noise=0.3))
        runs[name] = geometry_metrics(map_stream(mapper, frames(walk)), walk.views, mapper.geometry)
    assert runs["pointmaps"]["frames_kept"] < 5
    assert runs["keypoints"]["frames_kept"] == 20
    assert runs["keypoints"]["rra15"] > 88.0
    assert runs["keypoints"]["ate"] < 0.15


def test_a_second_matching_that_leads_nowhere_is_forgotten(walk, monkeypatch):
    refine = match_refinement.refine_by_rays

    def lost(matches, pose, *args, **kwargs):
        found, agreeing = refine(matches, pose, *args, **kwargs)
        return found, torch.zeros_like(agreeing) if len(matches) <= 9 else agreeing

    def three_of_each(depth, keypoints, before, pose):
        return [
            replace(part, rays=RayMatches(*(value[:3] for value in vars(part.rays).values()))) for part in before[:3]
        ]

    monkeypatch.setattr(match_refinement, "refine_by_rays", lost)
    monkeypatch.setattr(match_refinement, "_rematched", three_of_each)
    mapper = Mapper(WITH_KEYPOINTS, oracle(walk.views))
    figures = geometry_metrics(map_stream(mapper, frames(walk)), walk.views, mapper.geometry)
    assert figures["frames_kept"] >= 19
    assert figures["ate"] < 0.05


@pytest.mark.slow
def test_keypoints_straighten_depth_that_is_bent(walk):
    figures = {}
    for name in (False, True):
        setup = settings_from_dotted({**POINTMAPS, "tracking.correct_depth": name})
        mapper = Mapper(setup, oracle(walk.views, bend=0.5))
        figures[name] = geometry_metrics(map_stream(mapper, frames(walk)), walk.views, mapper.geometry)
    assert figures[True]["frames_kept"] >= 19
    assert figures[True]["abs_rel"] < 0.9 * figures[False]["abs_rel"]
    assert figures[True]["ate"] < figures[False]["ate"]


def test_keypoints_find_the_camera_in_a_map_that_was_loaded(walk, tmp_path):
    mapper = Mapper(WITH_KEYPOINTS, oracle(walk.views))
    map_stream(mapper, frames(walk)[:15])
    save_map(mapper, tmp_path / "map")
    other = Mapper(WITH_KEYPOINTS, oracle(walk.views))
    load_map(other, tmp_path / "map")
    assert all(len(k.keypoints) > 20 for k in other.state.graph.keyframes)
    result = other.register(frames(walk)[10])
    assert result.tracking == Tracking.OK
    assert np.abs(result.pose - dict(mapper.trajectory)[result.stamp]).max() < 0.1


def test_the_map_lies_on_the_true_surfaces(walk):
    mapper = Mapper(SETTINGS, oracle(walk.views))
    map_stream(mapper, frames(walk))
    xyz = mapper.snapshot().points
    first = walk.views[0].cam2world
    world = (xyz - LEVEL_FROM_OPTICAL[:3, 3]) @ LEVEL_FROM_OPTICAL[:3, :3] @ first[:3, :3].T + first[:3, 3]
    low, high = walk.room.vertices.min(0), walk.room.vertices.max(0)
    assert len(xyz) > 1000
    assert (world > low - 0.02).all()
    assert (world < high + 0.02).all()
    floor = np.abs(world[:, 2]) < 0.02
    assert floor.mean() > 0.02  # much of what one sees in a room is its floor


def test_who_reads_the_map_before_a_keyframes_points_are_in_it_is_told_of_them(walk, monkeypatch):
    mapper = Mapper(SETTINGS, oracle(walk.views))
    read = []  # what a thread that publishes the map read at the worst moment
    features = mapper._features

    def read_before(*arguments):
        read.append(mapper.status())
        return features(*arguments)

    monkeypatch.setattr(mapper, "_features", read_before)
    mapper.register(frames(walk)[0])
    after = mapper.status()
    assert [(s.keyframes, s.points) for s in read] == [(1, 0)]
    assert after.points > 0
    assert after.points_mark != read[0].points_mark
    mapper.reset()
    assert mapper.status().points_mark not in (after.points_mark, read[0].points_mark)


def test_only_frames_that_see_something_new_become_keyframes(walk):
    mapper = Mapper(SETTINGS, oracle(walk.views))
    still = [Frame(walk.views[0].rgb, k) for k in range(10)]
    run = map_stream(mapper, still)
    assert [r.is_keyframe for r in run.results] == [True] + [False] * 9
    before = mapper.status().points
    mapper.register(Frame(walk.views[-1].rgb, 100))
    assert mapper.status().keyframes == 2
    assert mapper.status().points > before


def test_features_reach_the_voxels(walk):
    import torch

    features = [
        torch.nn.functional.one_hot(torch.from_numpy(v.label.astype(np.int64)), len(LABELS)).float() for v in walk.views
    ]
    mapper = Mapper(SETTINGS, oracle(walk.views, features=features))
    map_stream(mapper, frames(walk))
    codes = mapper.snapshot().feature
    assert codes.shape == (mapper.status().points, len(LABELS))
    assert (codes.max(-1).values > 0.9).float().mean() > 0.8  # voxels at borders mix labels


def test_lost_frames_add_nothing_and_tracking_comes_back(walk):
    mapper = Mapper(SETTINGS, oracle(walk.views, blind=[5, 6]))
    run = map_stream(mapper, frames(walk))
    states = [r.tracking for r in run.results]
    assert states[5] == states[6] == Tracking.LOST
    assert run.results[5].pose is None
    assert "lost" in run.results[5].message
    assert states[7:] == [Tracking.OK] * 13


def test_measured_depth_fixes_the_scale(walk):
    mapper = Mapper(SETTINGS, oracle(walk.views, unit=0.5))
    frames_with_depth = [Frame(v.rgb, round(k * 1e8), v.depth) for k, v in enumerate(walk.views)]
    figures = geometry_metrics(map_stream(mapper, frames_with_depth), walk.views, mapper.geometry)
    assert mapper.status().scale.source == ScaleSource.MEASURED
    assert figures["abs_rel_metric"] < 0.02
    assert figures["scale"] == pytest.approx(1.0, abs=0.03)


def test_depth_that_is_all_nan_is_told_and_the_frame_used_without(walk):
    mapper = Mapper(SETTINGS, oracle(walk.views))
    result = mapper.register(Frame(walk.views[0].rgb, 0, np.full((96, 128), np.nan, np.float32)))
    assert result.tracking == Tracking.OK
    assert "fewer than 50" in result.message
    assert mapper.status().scale.source == ScaleSource.PREDICTED


@pytest.mark.parametrize(
    ("picture", "why"),
    [
        (np.zeros((96, 128, 3), np.uint8), "black or constant"),
        (np.full((96, 128, 3), 127, np.uint8), "black or constant"),
        (np.zeros((0, 128, 3), np.uint8), "uint8 image"),
        (np.zeros((96, 128), np.uint8), "uint8 image"),
        (np.zeros((96, 128, 3), np.float32), "uint8 image"),
    ],
)
def test_unusable_pictures_are_refused_and_the_map_stays(walk, picture, why):
    mapper = Mapper(SETTINGS, oracle(walk.views))
    mapper.register(Frame(walk.views[0].rgb, 0))
    before = mapper.snapshot().xyz
    with pytest.raises(BadFrame, match=why):
        mapper.register(Frame(picture, 1))
    assert mapper.snapshot().xyz.equal(before)
    assert mapper.status().tracking == Tracking.OK


def test_a_slightly_older_picture_is_refused_and_a_restarted_stream_is_relocalised(walk):
    mapper = Mapper(SETTINGS, oracle(walk.views))
    map_stream(mapper, frames(walk, start=10**10))
    points = mapper.status().points
    newest = 10**10 + 19 * 10**8
    with pytest.raises(BadFrame, match="behind the newest"):
        mapper.register(Frame(walk.views[3].rgb, newest - 10**8))
    result = mapper.register(Frame(walk.views[3].rgb, 5))
    assert result.tracking == Tracking.OK
    assert mapper.status().points >= points
    true = np.linalg.inv(walk.views[0].cam2world) @ walk.views[3].cam2world
    assert np.allclose(LEVEL_FROM_OPTICAL @ true, result.pose, atol=0.02)


@pytest.mark.parametrize(
    ("moment", "setup"), [("encode", SETTINGS), ("predict_pairs", SETTINGS), ("match_keypoints", WITH_KEYPOINTS)]
)
def test_reset_forgets_everything_and_a_frame_in_flight(walk, monkeypatch, moment, setup):
    """At whatever moment of a frame a reset comes; it once took the focal lengths away from under it."""
    mapper = Mapper(setup, oracle(walk.views))
    map_stream(mapper, frames(walk)[:3])
    place = tracker if moment == "match_keypoints" else mapper.geometry
    call = getattr(place, moment)
    resets = []

    def reset_meanwhile(*args):
        if not resets:
            resets.append(mapper.reset())
        return call(*args)

    monkeypatch.setattr(place, moment, reset_meanwhile)
    result = mapper.register(frames(walk)[4])
    assert "replaced" in result.message
    assert (mapper.status().points, mapper.status().keyframes, mapper.trajectory, mapper.status().tracking) == (
        0,
        0,
        [],
        Tracking.IDLE,
    )
    assert mapper.revision == 1


def test_pitch_and_roll_of_the_first_camera_make_the_map_level(walk):
    settings = settings_from_dotted({"camera.pitch": 0.5, "camera.roll": 0.1})
    mapper = Mapper(settings, oracle(walk.views))
    forward = mapper.first_pose[:3, 2]
    assert forward == pytest.approx([np.cos(0.5), 0, -np.sin(0.5)], abs=1e-9)  # looking down by 0.5 rad


def test_the_newest_window_is_a_cloud_in_the_map_frame(walk):
    mapper = Mapper(SETTINGS, oracle(walk.views))
    assert mapper.newest_cloud() is None
    mapper.register(Frame(walk.views[0].rgb, 77))
    cloud, stamp = mapper.newest_cloud()
    assert stamp == 77
    assert len(cloud.xyz) == len(cloud.rgb) == len(cloud.confidence) > 1000
    assert (cloud.xyz[:, 0] > 0).all()  # in front of a level camera that looks along x
