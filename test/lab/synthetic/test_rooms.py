"""Procedural rooms: the same seed gives the same room, and its truth is consistent."""

import numpy as np
import pytest

from sab3r_ros.geometry.projection import backproject, overlap, transform
from sab3r_ros.lab.synthetic.objects import LABELS, STRUCTURE
from sab3r_ros.lab.synthetic.parts import AFFORDANCES
from sab3r_ros.lab.synthetic.rooms import HELD_OUT_SEEDS, build_room
from sab3r_ros.lab.synthetic.sequence import render_sequence


@pytest.fixture(scope="module")
def walk():
    return render_sequence(900_060_009, 5, 96, 72, 0.6)


def test_the_same_seed_gives_the_same_pictures(walk):
    again = render_sequence(900_060_009, 5, 96, 72, 0.6)
    other = render_sequence(900_060_010, 5, 96, 72, 0.6)
    for a, b, c in zip(walk.views, again.views, other.views, strict=True):
        assert np.array_equal(a.rgb, b.rgb)
        assert np.array_equal(a.depth, b.depth)
        assert not np.array_equal(a.rgb, c.rgb)


def test_depth_points_lie_in_the_room_and_every_pixel_has_a_label(walk):
    for view in walk.views:
        points = transform(view.cam2world, backproject(view.depth.astype(float), view.intrinsics))[view.depth > 0]
        assert (points > -0.1).all()
        assert (points < walk.room.size + 0.1).all()
        assert (view.label[view.depth > 0] < len(LABELS)).all()
        floor = view.label == LABELS.index("floor")
        heights = transform(view.cam2world, backproject(view.depth.astype(float), view.intrinsics))[floor][:, 2]
        assert np.abs(heights).max(initial=0) < 0.05
        seen = view.part >= 0
        assert np.array_equal(walk.room.part_label[view.part[seen]], view.label[seen])
        labels = walk.room.object_label[view.instance[seen]]
        other = labels != view.label[seen]  # what is under a worktop
        assert (labels[other] == LABELS.index("counter")).all()
        assert (view.label[seen][other] == LABELS.index("cabinet")).all()


def test_neighbouring_views_overlap_and_agree(walk):
    assert overlap(walk.views[0], walk.views[1]) > 0.5


def test_rooms_vary():
    rooms = [build_room(s) for s in range(900_060_020, 900_060_032)]
    assert len({tuple(r.size.round(2)) for r in rooms}) == 12
    kinds = {o.label for r in rooms for o in r.objects} - set(STRUCTURE)
    assert len(kinds) >= 10


def test_every_pixel_has_a_part_of_its_object_and_the_parts_affordances(walk):
    room = walk.room
    for view in walk.views:
        seen = view.part >= 0
        assert np.array_equal(room.part_object[view.part[seen]], view.instance[seen])
        masks = room.part_affordances[view.part] & seen[..., None]
        assert masks.shape == (*view.part.shape, len(AFFORDANCES))
        sit = masks[..., AFFORDANCES.index("sit")]
        assert all(LABELS[k] in ("chair", "stool", "sofa", "bed", "toilet") for k in np.unique(view.label[sit]))


def test_walks_look_at_things_and_not_at_bare_walls():
    shares = [
        np.mean([(v.label >= len(STRUCTURE)).mean() for v in render_sequence(seed, 3, 64, 48).views])
        for seed in range(900_060_050, 900_060_062)
    ]
    assert np.mean(shares) > 0.35
    assert min(shares) > 0.1


def test_rooms_are_neither_dark_nor_burnt_out():
    means = [
        np.mean([v.rgb.mean() for v in render_sequence(seed, 2, 64, 48).views])
        for seed in range(900_060_050, 900_060_062)
    ]
    assert min(means) > 25
    assert max(means) < 230


def test_training_seeds_and_held_out_seeds_are_apart():
    assert HELD_OUT_SEEDS.start > 100_000_000
