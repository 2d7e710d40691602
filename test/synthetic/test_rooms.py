"""Procedural rooms: the same seed gives the same room, and its truth is consistent."""

import numpy as np
import pytest

from sab3r_ros.geometry.projection import backproject, overlap, transform
from sab3r_ros.synthetic.objects import LABELS, STRUCTURE
from sab3r_ros.synthetic.rooms import build_room
from sab3r_ros.synthetic.sequence import render_sequence
from sab3r_ros.training.rooms_data import HELD_OUT_SEEDS, RoomGroups


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
        labels = np.array([LABELS.index(o.label) for o in walk.room.objects])
        seen = view.instance >= 0
        assert np.array_equal(labels[view.instance[seen]], view.label[seen])


def test_neighbouring_views_overlap_and_agree(walk):
    assert overlap(walk.views[0], walk.views[1]) > 0.5


def test_rooms_vary():
    rooms = [build_room(s) for s in range(900_060_020, 900_060_032)]
    assert len({tuple(r.size.round(2)) for r in rooms}) == 12
    kinds = {o.label for r in rooms for o in r.objects} - set(STRUCTURE)
    assert len(kinds) >= 10


def test_training_samples_have_true_correspondences():
    sample = RoomGroups(900_060_040, 1, 96, 72, views=3, pairs=2, matches=64)[0]
    assert sample["images"].shape == (3, 3, 72, 96)
    for p, (i, j) in enumerate(sample["pairs"].tolist()):
        valid = sample["valid_corres"][p]
        a, b = sample["corres1"][p][valid], sample["corres2"][p][valid]
        gap = sample["points"][i][a[:, 1], a[:, 0]] - sample["points"][j][b[:, 1], b[:, 0]]
        assert valid.any()
        assert gap.norm(dim=-1).median() < 0.05


def test_training_seeds_and_held_out_seeds_are_apart():
    assert HELD_OUT_SEEDS.start > 100_000_000
