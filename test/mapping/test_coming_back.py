"""A camera that comes back is where the map has that place, and adds nothing to it."""

import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from estimates import at, estimate
from oracle import oracle

from sab3r_ros.config import settings_from_dotted
from sab3r_ros.lab.synthetic.sequence import render_sequence
from sab3r_ros.mapping import recogniser
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.types import Frame, Tracking

SETTINGS = {"tracking.network": "always", "window.keyframe_overlap": 0.95, "camera.find_up": False, "adjustment.enabled": False}  # fmt: skip
VIEWS = 12


@pytest.mark.slow
@pytest.mark.parametrize("told", [True, False], ids=["by its keypoints", "where keypoints tell nothing"])
def test_it_is_found_beside_the_keyframes_of_the_first_time(monkeypatch, told):
    monkeypatch.setattr(recogniser, "_NEWEST", 4)
    if not told:
        monkeypatch.setattr(recogniser, "are_sure", lambda estimate: False)
    views = render_sequence(900_060_030, VIEWS, 256, 192, 1.0).views
    backend = oracle(views, noise=0.02)
    backend.geometry.image_size = 256
    mapper = Mapper(settings_from_dotted(SETTINGS), backend)
    shown = [*views, *views[-2::-1], *views[1:]]
    results = [mapper.register(Frame(v.rgb, round(k * 1e8))) for k, v in enumerate(shown)]
    assert all(r.tracking == Tracking.OK for r in results)
    made = [r.is_keyframe for r in results]
    assert sum(made[:VIEWS]) > VIEWS / 2
    assert sum(made[VIEWS:]) <= (7 if told else 2)  # on the way back, until it is surely there
    assert not any(made[2 * VIEWS :])
    for out, back in ((2, 20), (5, 17), (8, 30)):
        assert np.linalg.norm(results[out].pose[:3, 3] - results[back].pose[:3, 3]) < 0.03


@pytest.mark.parametrize(
    ("agreeing", "by_odometry", "overlap", "known"),
    [
        (3, False, 0.8, True),
        (3, False, 0.6, False),
        (3, True, 0.8, False),
        (300, False, 0.8, False),
        (300, False, 0.97, True),
    ],
)
def test_where_keypoints_tell_nothing_it_is_enough_that_most_was_seen(
    monkeypatch, agreeing, by_odometry, overlap, known
):
    monkeypatch.setattr(recogniser, "shares_a_place", lambda *args: agreeing > 100)
    older = SimpleNamespace(id=0)
    graph = SimpleNamespace(older_near=lambda pose, newest: [older])
    state = SimpleNamespace(graph=graph, near_newest=True, focals=[], expected_scale=1.0, lens=None)
    beside = replace(estimate(at()), overlap=(overlap,))

    class Track:
        def __call__(self, *args):
            return beside, None

        def agrees(self, *args):
            return True

        def wants_keyframe(self, found, near):
            return max(found.overlap) < 0.95

    encode = SimpleNamespace(restore_keyframe=lambda k: k)
    looks = recogniser.Recogniser(settings_from_dotted({}), encode, Track(), threading.RLock())
    frame = SimpleNamespace(keypoints=[0] * 400)
    found = looks.known_view(state, frame, replace(estimate(at(), agreeing), by_odometry=by_odometry))
    assert (found is not None) == known
    assert found is None or found == (beside, [older])
