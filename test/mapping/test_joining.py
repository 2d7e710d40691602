"""Joining saved maps: the same places in both, and maps that have nothing in common."""

import numpy as np
import pytest
import torch
from oracle import oracle

from sab3r_ros.config import settings_from_dotted
from sab3r_ros.lab.evaluation.poses import absolute_trajectory_error
from sab3r_ros.lab.synthetic.sequence import render_sequence
from sab3r_ros.mapping.adjustment.bundle import Lens
from sab3r_ros.mapping.joining import PlaceNotRecognised
from sab3r_ros.mapping.map_file import read_map
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.mapping.session import join_map, load_map, save_map
from sab3r_ros.mapping.stream import map_stream
from sab3r_ros.types import Frame, Tracking

SETTINGS = settings_from_dotted({"window.keyframe_overlap": 0.8, "camera.find_up": False})


@pytest.fixture(scope="module")
def elsewhere():
    """Ten views of another room than that of the walk."""
    return render_sequence(900_060_031, 10, 128, 96, 1.2)


@pytest.fixture(scope="module")
def mapper_for(walk, elsewhere):
    """Makes mappers that know both rooms; given the name of a saved map, with that."""

    def make(path=None, settings=SETTINGS):
        mapper = Mapper(settings, oracle([*walk.views, *elsewhere.views]))
        if path is not None:
            load_map(mapper, path)
        return mapper

    return make


@pytest.fixture(scope="module")
def saved(walk, elsewhere, mapper_for, tmp_path_factory):
    """A folder with two maps of the walk that share a few views, each in a frame of its own, and one of the other room."""
    folder = tmp_path_factory.mktemp("maps")
    for name, views in (
        ("first", frames(walk, 0, 12)),
        ("second", frames(walk, 6, 20)),
        ("other", frames(elsewhere, 0, 10)),
    ):
        mapper = mapper_for()
        map_stream(mapper, views)
        save_map(mapper, folder / name)
    return folder


def frames(walk, first, end, later=0):
    return [Frame(v.rgb, round((later + k) * 1e8)) for k, v in enumerate(walk.views[first:end], first)]


def error_of(mapper, walk, later=100):
    """Metres over the whole trajectory; frame k has the stamp k, or `later` + k."""
    truth = [walk.views[round(stamp / 1e8) % later].cam2world for stamp, _ in mapper.trajectory]
    return absolute_trajectory_error([pose for _, pose in mapper.trajectory], truth)[0]


@pytest.mark.slow
def test_two_halves_of_a_walk_become_one_map(saved, mapper_for, walk):
    mapper = mapper_for(saved / "first")
    keyframes, apart = len(mapper.state.graph), len(mapper.snapshot())
    apart += len(mapper_for(saved / "second").snapshot())
    done = join_map(mapper, saved / "second")
    graph = mapper.state.graph
    assert done.join.agree >= 3
    assert done.join.same_camera
    assert len(graph) == len({k.id for k in graph.keyframes}) == keyframes + done.keyframes
    assert error_of(mapper, walk) < 0.05
    assert len(mapper.snapshot()) < 0.9 * apart  # the same surfaces lie in the same voxels
    assert {k.session for k in graph.keyframes} == {0, 1}


def test_keyframes_of_both_can_be_adjusted_and_their_voxels_follow(saved, mapper_for):
    mapper = mapper_for(saved / "first")
    join_map(mapper, saved / "second")
    assert mapper.state.held == frozenset()
    report = mapper.adjust()
    assert report is not None
    assert report.keyframes == len(mapper.state.graph)
    assert mapper.state.lagging() == []


def test_tracking_goes_on_where_it_was_after_a_join(saved, mapper_for, walk):
    mapper = mapper_for(saved / "first")
    last = mapper.register(frames(walk, 11, 12, later=100)[0]).pose
    join_map(mapper, saved / "second")
    assert np.allclose(mapper.trajectory[-1][1], last)  # the newest frame is still the newest
    result = mapper.register(frames(walk, 11, 12, later=101)[0])
    assert result.tracking == Tracking.OK
    assert np.allclose(result.pose, last, atol=0.03)


def test_maps_without_a_common_place_are_not_joined_and_stay_as_they_are(saved, mapper_for):
    mapper = mapper_for(saved / "other")
    before = mapper.snapshot()
    with pytest.raises(PlaceNotRecognised, match=r"no place of .*first was recognised for sure"):
        join_map(mapper, saved / "first")
    assert torch.equal(mapper.snapshot().xyz, before.xyz)
    assert {k.session for k in mapper.state.graph.keyframes} == {0}


def test_an_empty_mapper_takes_a_map_instead_of_joining_it(saved, mapper_for):
    mapper = mapper_for()
    load_map(mapper, saved / "first", clear=False)
    assert len(mapper.snapshot()) == len(mapper_for(saved / "first").snapshot())
    with pytest.raises(PlaceNotRecognised, match="need keyframes"):
        join_map(mapper_for(), saved / "first")


def test_a_camera_in_another_room_is_not_found_in_a_loaded_map(saved, mapper_for, elsewhere):
    mapper = mapper_for(saved / "first")
    for frame in frames(elsewhere, 0, 10):
        result = mapper.register(frame)
        assert result.tracking == Tracking.LOST
        assert result.message.startswith("tracking lost")


@pytest.mark.slow
def test_a_loaded_map_is_continued_in_a_session_of_its_own(saved, mapper_for, walk):
    mapper = mapper_for(saved / "first")
    old = len(mapper.state.graph)
    map_stream(mapper, frames(walk, 0, 20, later=100))
    sessions = [k.session for k in mapper.state.graph.keyframes]
    assert sessions == [0] * old + [1] * (len(sessions) - old)
    assert len(sessions) > old
    assert error_of(mapper, walk) < 0.05


def test_frames_in_an_older_part_of_the_map_hang_on_its_keyframes(saved, mapper_for, walk):
    mapper = mapper_for(saved / "second", SETTINGS.with_values(window={"size": 1}))
    for n, k in enumerate((6, 7, 6, 7)):  # far from the newest keyframe
        result = mapper.register(Frame(walk.views[k].rgb, 10**12 + n * 10**8))
        assert result.tracking == Tracking.OK
        assert not mapper.state.near_newest
    assert all(k <= 2 for k in mapper.state.graph.beside[-4:])


def test_every_voxel_of_a_joined_map_tells_its_session(saved, mapper_for, tmp_path):
    mapper = mapper_for(saved / "first")
    join_map(mapper, saved / "second")
    save_map(mapper, tmp_path / "both")
    content = read_map(tmp_path / "both")
    assert set(content.sessions.tolist()) == {0, 1}
    assert set(read_map(saved / "first").sessions.tolist()) == {0}
    # What only the first keyframes of the first map see is of the first session.
    first = content.contributions[0]
    alone = content.snapshot.column("hits")[first.rows] == 1
    assert (content.sessions[first.rows[alone].numpy()] == 0).all()


@pytest.mark.slow
def test_another_camera_continues_a_map_with_its_own_lens(saved, mapper_for, walk):
    """As if the map had been made with a longer lens: its focal length must not bend what this camera sees."""
    mapper = mapper_for(saved / "first")
    state, old = mapper.state, len(mapper.state.graph)
    true = float(walk.views[0].intrinsics[0, 0])
    state.lens = Lens(1.5 * true, 0.0, 63.5, 47.5)
    state.loaded_focal = state.lens.pinhole_focal
    run = map_stream(mapper, frames(walk, 0, 20, later=100))
    assert any("another camera" in note for note in run.notes)
    assert state.believed_lens()[0].focal == pytest.approx(true, rel=0.05)
    assert all(k.keypoints is None for k in state.graph.keyframes[:old])
    assert all(k.keypoints is not None for k in state.graph.keyframes[old:])


def test_the_same_camera_keeps_the_lens_of_the_map(saved, mapper_for, walk):
    mapper = mapper_for(saved / "first")
    true = float(walk.views[0].intrinsics[0, 0])
    mapper.state.lens = Lens(1.03 * true, 0.0, 63.5, 47.5)
    mapper.state.loaded_focal = mapper.state.lens.pinhole_focal
    run = map_stream(mapper, frames(walk, 0, 8, later=100))
    assert not run.notes
    assert mapper.state.loaded_focal == 0.0
    assert all(k.keypoints is not None for k in mapper.state.graph.keyframes)
