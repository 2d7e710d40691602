"""What keyframes see through is taken out: a person who passed, a box that was carried away; what stands, stays."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import oracle
from scipy.spatial import cKDTree

from sab3r_ros.config import settings_from_dotted
from sab3r_ros.geometry.projection import backproject, transform
from sab3r_ros.lab.synthetic.sequence import render_sequence
from sab3r_ros.mapping.adjustment.bundle import Lens
from sab3r_ros.mapping.free_space import DepthView, _Cells, _looked_at, seen_through
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.mapping.session import load_map, save_map
from sab3r_ros.mapping.stream import map_stream
from sab3r_ros.types import Frame

LENS = Lens(100.0, 0.0, 79.5, 59.5)
WALL, BOX = [0.0, 0.0, 3.0], [0.0, 0.0, 1.5]
POINTS = np.array([WALL, BOX])


def looking_at(depth, hidden=()):
    """A view from the origin of a wall at some depth; hidden: rows that it does not believe."""
    image = np.full((120, 160), depth, np.float32)
    image[list(hidden)] = 0
    return DepthView(np.eye(4), image)


def gone(*depths):
    return seen_through(POINTS, [looking_at(d) for d in depths], LENS).tolist()


def test_what_the_last_two_views_see_through_is_gone_however_long_it_stood_there():
    assert gone(1.5, 3.0) == [False, False]  # one view alone may err
    assert gone(1.5, 3.0, 3.0) == [False, True]
    assert gone(*[1.5] * 9, 3.0, 3.0) == [False, True]
    assert gone(*[3.0] * 9, 1.5) == [False, False]  # it was brought
    assert gone(3.0, 1.5, 3.0, 1.5, 3.0) == [False, False]


def test_a_surface_that_is_judged_a_little_too_far_is_not_seen_through():
    assert gone(*[1.5 * 1.15] * 9) == [False, False]
    assert gone(*[1.5 * 1.3] * 9) == [False, True]


def test_what_is_hidden_outside_or_not_believed_is_not_judged():
    behind = np.array([[0, 0, -2.0], [9, 0, 1.0], [0, 0, 5.0]])
    views = [looking_at(3.0)] * 5
    assert not seen_through(behind, views, LENS).any()
    blind = [looking_at(3.0, hidden=range(50, 70))] * 5
    assert not seen_through(POINTS, blind, LENS).any()
    assert seen_through(np.zeros((0, 3)), views, LENS).shape == (0,)


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_no_point_that_a_view_judges_lies_in_a_cell_that_is_passed_over(seed):
    rng = np.random.default_rng(seed)
    points = rng.uniform(-6, 6, (400, 3))
    turned = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    view = looking_at(rng.uniform(1, 5))
    view.pose[:3, :3] = turned * np.sign(np.linalg.det(turned))
    view.pose[:3, 3] = rng.uniform(-2, 2, 3)
    lens = replace(LENS, k1=rng.uniform(-0.05, 0.05))
    through, same = _looked_at(points, view, lens)
    assert set(np.flatnonzero(through | same)) <= set(_Cells(points).before(view, lens).tolist())


PERSON = range(3, 6)


@pytest.fixture(scope="module")
def views():
    """Fourteen views of a room, three of which a person passes through, a metre before the camera."""
    views = render_sequence(900_060_147, 14, 128, 96, 0.5).views
    for k in PERSON:
        rgb, depth = views[k].rgb.copy(), views[k].depth.copy()
        left = 30 + 15 * (k - PERSON[0])
        rgb[10:, left : left + 25] = (200, 30, 30)
        depth[10:, left : left + 25] = 0.8
        views[k] = replace(views[k], rgb=rgb, depth=depth)
    return views


def mapped(views, clear):
    options = {
        "window.keyframe_overlap": 0.97, "camera.find_up": False, "adjustment.enabled": False, "map.edge_ratio": 0.5,
        "tracking.max_keypoints": 0, "map.clear_free_space": clear,
    }  # fmt: skip
    mapper = Mapper(settings_from_dotted(options), oracle(views, noise=0.01))
    map_stream(mapper, [Frame(v.rgb, round(k * 1e8)) for k, v in enumerate(views)])
    return mapper


def counts(mapper, views):
    """Voxels farther than 0.15 m from any surface of the room, and all others."""
    still = [v for k, v in enumerate(views) if k not in PERSON]
    room = np.concatenate([transform(v.cam2world, backproject(v.depth, v.intrinsics)).reshape(-1, 3) for v in still])
    to_map = np.linalg.inv(views[0].cam2world)
    points = mapper.snapshot(columns=("xyz",)).points
    away = cKDTree(transform(mapper.first_pose @ to_map, room)).query(points)[0] > 0.15
    return int(away.sum()), int((~away).sum())


def test_a_person_leaves_no_trail_and_the_room_stays(views, tmp_path):
    with_trail, room = counts(mapped(views, clear=False), views)
    mapper = mapped(views, clear=True)
    left, rest = counts(mapper, views)
    assert with_trail > 40
    assert left < 0.3 * with_trail  # the rest fewer than two later keyframes look at
    assert rest > 0.95 * room
    assert mapper.revision >= 1
    # What was taken out stays out when keyframes move, and in a saved map.
    moved = {k.id: k.pose + torch.tensor([[0, 0, 0, 1.0]] * 3 + [[0, 0, 0, 0]]) for k in mapper.state.graph.keyframes}
    mapper.state.move_keyframes(moved)
    mapper.move_voxels(mapper.state)
    assert len(mapper.state.scene) == pytest.approx(left + rest, rel=0.05)
    save_map(mapper, tmp_path / "map")
    again = Mapper(mapper.settings, oracle(views))
    load_map(again, tmp_path / "map")
    assert len(again.state.scene) == len(mapper.state.scene)


def test_it_changes_nothing_where_nothing_is_seen_through(views):
    still = [v for k, v in enumerate(views) if k not in PERSON]
    mapper = mapped(still, clear=False)
    before = len(mapper.state.scene)
    mapper.settings = mapped(still[:1], clear=True).settings
    assert mapper.clear_free_space() < 0.02 * before
    assert len(mapper.state.scene) > 0.98 * before
