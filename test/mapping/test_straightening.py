"""Walls of a map are brought onto planes where its features know words, and only there."""

import numpy as np
import pytest
import torch
from oracle import oracle
from scipy.spatial import cKDTree

from sab3r_ros.config import DEFAULT_LABELS, settings_from_dotted
from sab3r_ros.geometry.projection import backproject, transform
from sab3r_ros.geometry.sim3 import rigid_part
from sab3r_ros.lab.synthetic.objects import LABELS
from sab3r_ros.lab.synthetic.sequence import render_sequence
from sab3r_ros.mapping import straightening
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.mapping.planes import Kind
from sab3r_ros.mapping.scene import ScenePart
from sab3r_ros.mapping.stream import map_stream
from sab3r_ros.mapping.voxel_grid import Contribution
from sab3r_ros.types import Frame

SETTINGS = {
    "adjustment.enabled": False,
    "tracking.max_keypoints": 0,
    "window.keyframe_overlap": 0.95,
    "map.voxel_size": 0.03,
}
KINDS = ("wall", "floor", "ceiling")


@pytest.fixture(scope="module")
def views():
    return render_sequence(900_060_030, 10, 128, 96, 0.6).views


class Words:
    """Embeds every default label as a direction of its own."""

    def encode_labels(self, labels, template=None):
        return torch.eye(len(DEFAULT_LABELS))[[DEFAULT_LABELS.index(label) for label in labels]]


def mapped(views, words=True, **more):
    """A mapper with a map of views whose depth is bent, and whose features are their labels."""
    of_label = [DEFAULT_LABELS.index(label) if label in DEFAULT_LABELS else len(DEFAULT_LABELS) - 1 for label in LABELS]
    table = torch.eye(len(DEFAULT_LABELS))[of_label + [len(DEFAULT_LABELS) - 1] * (256 - len(LABELS))]
    backend = oracle(views, [table[torch.from_numpy(v.label.astype(np.int64))] for v in views], bend=0.06)
    if words:
        backend.features.text_encoder = lambda *_: Words()
    mapper = Mapper(settings_from_dotted(SETTINGS | more), backend)
    map_stream(mapper, [Frame(v.rgb, round(k * 1e8)) for k, v in enumerate(views)])
    return mapper


def straightened_part(features):
    """A part of a scene whose voxels have features (M,F)."""
    nothing = torch.zeros(len(features), 3)
    contribution = Contribution(torch.arange(len(features)), nothing, nothing, nothing[:, 0], features.half(), 0)
    return ScenePart(0, contribution, nothing.numpy(), np.eye(4))


def distances(mapper, views, structure):
    """Distances (N,) of voxels that are, or are not, walls, floor and ceiling to the nearest true point of any view."""
    first = mapper.state.graph.keyframes[0]
    to_truth = views[0].cam2world @ np.linalg.inv(rigid_part(first.pose).numpy())
    snapshot = mapper.snapshot()
    names = np.array(DEFAULT_LABELS)[(snapshot.column("feature") @ snapshot.basis).argmax(1)]
    mine = np.isin(names, KINDS) == structure
    true = [transform(v.cam2world, backproject(v.depth, v.intrinsics)[::2, ::2][v.depth[::2, ::2] > 0]) for v in views]
    return cKDTree(np.concatenate(true)).query(transform(to_truth, snapshot.points[mine].astype(float)))[0]


def test_walls_and_floors_come_nearer_to_where_they_are_and_things_stay(views):
    bent, straight = (mapped(views, **{"map.straight_walls": wanted}) for wanted in (False, True))
    assert bent.straighten_walls() == 0
    before, after = (np.median(distances(m, views, structure=True)) for m in (bent, straight))
    assert before > 0.015
    assert after < 0.75 * before
    things = [distances(m, views, structure=False) for m in (bent, straight)]
    assert np.mean(things[1]) == pytest.approx(np.mean(things[0]), rel=0.05)
    again = distances(straight, views, structure=True) if straight.straighten_walls() else None
    assert np.median(again) == pytest.approx(after, rel=0.05), "once is enough"


def test_a_map_without_words_or_without_an_up_stays_as_it_is(views, caplog):
    silent = mapped(views, words=False)
    assert "walls are not straightened: the oracle knows no words" in caplog.text
    assert silent.straighten_walls() == 0
    assert caplog.text.count("not straightened") == 1, "it is said once"
    leaning = mapped(views, **{"camera.find_up": False})
    assert leaning.straighten_walls() == 0
    part = straightened_part(torch.zeros(5, 8))
    assert (straightening._kinds(part, torch.eye(3, 8)) == Kind.OTHER).all(), "no feature is no wall"
    assert straightening._kinds(straightened_part(torch.eye(8)[:2]), torch.eye(3, 8)).tolist() == [
        Kind.WALL,
        Kind.FLOOR,
    ]
    empty = Mapper(settings_from_dotted(SETTINGS), oracle(views))
    empty.up_is_known = True
    assert empty.straighten_walls() == 0
