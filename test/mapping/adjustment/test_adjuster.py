"""Adjustment of a mapper's map: poses get better, voxels and frames follow, and nothing stands in the way of tracking."""

import json
import threading
import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from oracle import oracle
from safetensors.torch import load_file

from sab3r_ros.config import settings_from_dotted
from sab3r_ros.lab.evaluation.poses import absolute_trajectory_error
from sab3r_ros.lab.synthetic.sequence import render_sequence
from sab3r_ros.mapping import mapper as mapper_module
from sab3r_ros.mapping import stream
from sab3r_ros.mapping.adjustment import background
from sab3r_ros.mapping.adjustment.background import BackgroundAdjustment
from sab3r_ros.mapping.adjustment.solver_process import SolverError, SolverProcess
from sab3r_ros.mapping.map_file import write_map
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.mapping.session import load_map, save_map
from sab3r_ros.mapping.stream import map_stream
from sab3r_ros.types import Frame

pytest.importorskip("gtsam", reason="GTSAM has no wheel for this Python")
SETTINGS = {"tracking.use_intrinsics": False, "window.keyframe_overlap": 0.9, "tracking.max_keypoints": 800}


@pytest.fixture(scope="module")
def views():
    return render_sequence(900_060_030, 20, 256, 192, 1.2).views


def make(views, **more):
    backend = oracle(views, noise=0.1)
    backend.geometry.image_size = 256
    return Mapper(settings_from_dotted(SETTINGS | more), backend)


def mapped(views, **more):
    mapper = make(views, **more)
    return mapper, map_stream(mapper, [Frame(v.rgb, round(k * 1e8)) for k, v in enumerate(views)])


def ate(trajectory, views):
    """Error in metres, and scale."""
    return absolute_trajectory_error(trajectory, [v.cam2world for v in views])


def on_voxels(mapper):
    """Share of what the keyframes see, also of what is not fused, that lies in voxels."""
    found = []
    for keyframe in mapper.state.graph.keyframes:
        points = keyframe.points[::5, ::5].reshape(-1, 3).double() @ keyframe.pose[:3, :3].T + keyframe.pose[:3, 3]
        found.append((mapper.state.scene.grid.rows_at(points.float()) >= 0).float().mean())
    return float(sum(found) / len(found))


@pytest.mark.slow
def test_a_recording_is_straightened_at_its_end(views):
    before, before_run = mapped(views, **{"adjustment.enabled": False})
    after, run = mapped(views)
    assert before.adjusted is None
    assert len(run.live) == len(views)
    (live, unit), (adjusted, metres) = (ate(poses, views) for poses in (before_run.poses, run.poses))
    assert adjusted < max(0.015, live)
    assert abs(metres - 1) < max(0.07, abs(unit - 1))
    assert after.adjusted.pixel_error < 1.0
    assert after.revision > before.revision
    # The voxels stand where the keyframes are now: what these see lies on them nearly as much as where nothing was moved.
    assert on_voxels(after) > 0.8 * on_voxels(before)


def depth_errors(mapper, views):
    """Mean error (K,) of the log of the keyframes' depth, after scaling each."""
    out = []
    for keyframe in mapper.state.graph.keyframes:
        true = views[round(keyframe.stamp / 1e8)].depth
        ratio = np.log(keyframe.points[..., 2].float().numpy() / true)
        out.append(np.abs(ratio - np.median(ratio)).mean())
    return np.array(out)


@pytest.mark.slow
def test_depth_is_corrected_as_well_and_stays_as_it_is_when_nothing_new_comes(views, tmp_path):
    mappers = {}
    for wanted in (True, False):
        backend = oracle(views, noise=0.02, bend=0.25)
        backend.geometry.image_size = 256
        mapper = mappers[wanted] = Mapper(settings_from_dotted(SETTINGS | {"adjustment.depth": wanted}), backend)
        map_stream(mapper, [Frame(v.rgb, round(k * 1e8)) for k, v in enumerate(views)])
    corrected, left = mappers[True], mappers[False]
    assert all(k.depth_correction is None for k in left.state.graph.keyframes)
    assert depth_errors(corrected, views).mean() < 0.8 * depth_errors(left, views).mean()
    assert corrected.state.lagging() == []
    assert on_voxels(corrected) > 0.9 * on_voxels(left)
    before = {k.id: k.depth_correction for k in corrected.state.graph.keyframes}
    save_map(corrected, tmp_path / "map")
    assert corrected.adjust() is not None
    assert all(np.abs(k.depth_correction - before[k.id]).max() < 0.03 for k in corrected.state.graph.keyframes)
    again = make(views)
    load_map(again, tmp_path / "map")
    assert all((k.depth_correction == before[k.id]).all() for k in again.state.graph.keyframes)


@pytest.mark.slow
def test_a_reset_meanwhile_wins(views, monkeypatch):
    mapper, _ = mapped(views[:14], **{"adjustment.every": 0})
    solve = SolverProcess.__call__

    def slowly(self, *args):
        mapper.reset()
        return solve(self, *args)

    monkeypatch.setattr(SolverProcess, "__call__", slowly)
    assert mapper.adjust() is None
    assert mapper.status().keyframes == 0


@pytest.mark.slow
def test_a_solver_that_fails_leaves_the_map_as_it_is(views, monkeypatch, caplog):
    mapper, _ = mapped(views[:14], **{"adjustment.enabled": True, "adjustment.every": 0})
    poses = [k.pose.clone() for k in mapper.state.graph.keyframes]

    def fails(self, *args):
        raise SolverError("singular")

    monkeypatch.setattr(SolverProcess, "__call__", fails)
    assert mapper.adjust() is None
    assert "not adjusted: singular" in caplog.text
    assert all((a == k.pose).all() for a, k in zip(poses, mapper.state.graph.keyframes, strict=True))


def test_without_gtsam_the_mapper_says_so_and_goes_on(views, monkeypatch, caplog):
    monkeypatch.setattr(mapper_module, "gtsam_is_installed", lambda: False)
    mapper, run = mapped(views[:4])
    assert "GTSAM is not installed" in caplog.text
    assert not mapper.adjusts
    assert mapper.adjust() is None
    assert len(run.poses) == 4


@pytest.mark.slow
def test_a_thread_beside_the_stream_adjusts_and_ends_when_told(views):
    mapper = make(views, **{"adjustment.rest": 0.3})
    beside = BackgroundAdjustment(mapper)
    for k, view in enumerate(views):
        mapper.register(Frame(view.rgb, round(k * 1e8)))
    end = time.monotonic() + 60
    while mapper.adjusted is None or mapper.adjusted.keyframes < mapper.status().keyframes - 1:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert ate([p for _, p in mapper.trajectory], views)[0] < 0.02
    began = time.monotonic()
    beside.close()
    assert time.monotonic() - began < 5
    assert not any(t.name == "adjustment" for t in threading.enumerate())


@pytest.mark.slow
def test_all_keyframes_are_adjusted_though_the_camera_never_rests(views, monkeypatch):
    monkeypatch.setattr(background, "_FIRST", 6)
    mapper = make(views, **{"adjustment.every": 0, "adjustment.rest": 0.0, "adjustment.growth": 0.5})
    at: list[int] = []
    monkeypatch.setattr(mapper, "settle", lambda stop: at.append(len(mapper.state.graph)))
    beside = BackgroundAdjustment(mapper)
    try:
        for k, view in enumerate(views):
            mapper.register(Frame(view.rgb, round(k * 1e8)))
            asked = time.monotonic()
            while time.monotonic() < asked + 3 * background._LOOKS_EVERY:
                time.sleep(0.02)
    finally:
        beside.close()
    assert len(mapper.state.graph) > 12
    assert at[:2] == [6, 12]
    assert all(b - a >= max(6, 0.5 * b) for a, b in pairwise(at))
    mapper.reset()
    assert not mapper.wants_settling(6)


@pytest.mark.slow
def test_a_long_recording_is_mended_before_its_end(views, monkeypatch):
    monkeypatch.setattr(stream, "_LONG", 8)
    mapper = make(views)
    settled, settle = [], mapper.settle
    monkeypatch.setattr(mapper, "settle", lambda: settled.append(len(mapper.state.graph)) or settle())
    map_stream(mapper, [Frame(v.rgb, round(k * 1e8)) for k, v in enumerate(views)])
    assert settled[0] == 8
    assert settled[-1] == len(mapper.state.graph)  # at the end, as ever
    assert ate([p for _, p in mapper.trajectory], views)[0] < 0.02


@pytest.mark.slow
def test_an_adjustment_that_was_told_to_end_begins_nothing_more(views, monkeypatch):
    """Told while it matches pictures, or between two solutions: no solver is started again, and the map stays as it is."""
    mapper, _ = mapped(views[:14], **{"adjustment.every": 0})
    before = np.stack([k.pose.numpy() for k in mapper.state.graph.keyframes])
    stop, solved = threading.Event(), []
    solve = SolverProcess.__call__

    def told_after_the_first(self, *args):
        solved.append(solve(self, *args))
        stop.set()
        return solved[-1]

    monkeypatch.setattr(SolverProcess, "__call__", told_after_the_first)
    assert mapper.adjust(stop=stop) is None
    assert len(solved) == 1
    mapper.state.matches.found.clear()
    assert mapper.adjust(stop=stop) is None
    assert len(solved) == 1
    assert not mapper.state.matches.found, "pictures were matched for nothing"
    assert (before == np.stack([k.pose.numpy() for k in mapper.state.graph.keyframes])).all()


@pytest.mark.slow
def test_what_cannot_be_is_not_believed(views, monkeypatch):
    mapper, _ = mapped(views[:14], **{"adjustment.every": 0})
    before = np.stack([k.pose.numpy() for k in mapper.state.graph.keyframes])
    solve = SolverProcess.__call__

    def another_focal(self, problem, *args):
        found = solve(self, problem, *args)
        return replace(found, lens=replace(found.lens, focal=3 * found.lens.focal))

    monkeypatch.setattr(SolverProcess, "__call__", another_focal)
    assert mapper.adjust() is None
    assert (before == np.stack([k.pose.numpy() for k in mapper.state.graph.keyframes])).all()


@pytest.mark.slow
def test_a_solution_with_which_less_agrees_than_with_the_map_stays_out(views, monkeypatch, caplog):
    mapper, _ = mapped(views[:14], **{"adjustment.every": 0})
    before = np.stack([k.pose.numpy() for k in mapper.state.graph.keyframes])
    solve = SolverProcess.__call__

    def bent(self, problem, *args):
        """An eighth of the matches that agreed do not any more."""
        found = solve(self, problem, *args)
        inliers = found.inliers.copy()
        inliers[np.flatnonzero(inliers)[::8]] = False
        return replace(found, inliers=inliers)

    monkeypatch.setattr(SolverProcess, "__call__", bent)
    assert mapper.adjust() is None
    assert "of the matched keypoints agree with it, with the map as it is" in caplog.text
    assert (before == np.stack([k.pose.numpy() for k in mapper.state.graph.keyframes])).all()


@pytest.mark.slow
def test_a_keyframe_and_a_frame_that_came_meanwhile_move_with_the_others(views, monkeypatch):
    mapper = make(views, **{"adjustment.enabled": False})
    map_stream(mapper, [Frame(v.rgb, round(k * 1e8)) for k, v in enumerate(views[:14])])
    state = mapper.state
    first, *_, last = state.graph.keyframes
    turn = torch.eye(4, dtype=torch.float64)
    turn[:3, 3] = torch.tensor([5.0, 0, 0])
    track, later = mapper._track, []

    class Meanwhile:
        wants_keyframe, agrees = track.wants_keyframe, track.agrees

        def __call__(self, *args):
            found = track(*args)
            with mapper.lock:  # what an adjustment does that knows nothing of the last keyframe
                state.move_keyframes({k.id: turn @ k.pose for k in state.graph.keyframes[:-1]})
            later.append(found[0].pose)
            return found

    monkeypatch.setattr(mapper, "_track", Meanwhile())
    monkeypatch.setattr(mapper._placing, "is_due", lambda state, live: False)
    view = views[14]
    result = mapper.register(Frame(view.rgb, round(14 * 1e8)))
    assert torch.allclose(state.graph[last.id].pose, turn @ last.pose)
    assert torch.allclose(state.graph[first.id].pose, turn @ first.pose)
    assert result.pose[0, 3] == pytest.approx(float(later[0][0, 3]) + 5.0, abs=1e-6)


def continued(views, path, first=8):
    """A mapper that goes on in a map of a file: the poses its keyframes had, and itself."""
    again = make(views)
    load_map(again, path)
    before = {k.id: k.pose.clone() for k in again.state.graph.keyframes}
    map_stream(again, [Frame(v.rgb, round((100 + k) * 1e8)) for k, v in enumerate(views[first:], first)])
    return before, again


@pytest.mark.slow
def test_keyframes_of_a_file_are_adjusted_with_the_new_ones_and_their_voxels_follow(views, tmp_path):
    mapper, _ = mapped(views[:14])
    save_map(mapper, tmp_path / "map")
    before, again = continued(views, tmp_path / "map")
    graph = again.state.graph
    assert len(graph) > len(before)
    assert any(not torch.equal(graph[n].pose, pose) for n, pose in before.items())
    assert again.state.lagging() == []
    assert on_voxels(again) > on_voxels(mapper)


@pytest.mark.slow
def test_keyframes_of_an_older_file_stay_because_their_voxels_cannot_move(views, tmp_path):
    """Maps of older releases do not tell which keyframe contributed what."""
    mapper, _ = mapped(views[:14])
    save_map(mapper, tmp_path / "map")
    tensors = load_file(tmp_path / "map" / "map.safetensors")
    kept = {name: value for name, value in tensors.items() if not name.startswith("contributions.")}
    write_map(tmp_path / "old", kept, json.loads((tmp_path / "map" / "map.json").read_text()))
    before, again = continued(views, tmp_path / "old")
    assert again.state.held == frozenset(before)
    assert len(again.state.graph) > len(before)
    assert all(torch.equal(again.state.graph[n].pose, pose) for n, pose in before.items())
