"""A camera that comes back is where the map has that place, and adds nothing to it."""

import numpy as np
import pytest
from oracle import oracle

from sab3r_ros.config import settings_from_dotted
from sab3r_ros.lab.synthetic.sequence import render_sequence
from sab3r_ros.mapping import recogniser
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.types import Frame, Tracking

SETTINGS = {"tracking.network": "always", "window.keyframe_overlap": 0.95, "camera.find_up": False, "adjustment.enabled": False}  # fmt: skip
VIEWS = 12


@pytest.mark.slow
def test_it_is_found_beside_the_keyframes_of_the_first_time(monkeypatch):
    monkeypatch.setattr(recogniser, "_NEWEST", 4)
    views = render_sequence(900_060_030, VIEWS, 256, 192, 1.0).views
    backend = oracle(views, noise=0.02)
    backend.geometry.image_size = 256
    mapper = Mapper(settings_from_dotted(SETTINGS), backend)
    shown = [*views, *views[-2::-1], *views[1:]]
    results = [mapper.register(Frame(v.rgb, round(k * 1e8))) for k, v in enumerate(shown)]
    assert all(r.tracking == Tracking.OK for r in results)
    made = [r.is_keyframe for r in results]
    assert sum(made[:VIEWS]) > VIEWS / 2
    assert sum(made[VIEWS:]) <= 7  # on the way back, until it is surely there
    assert not any(made[2 * VIEWS :])
    for out, back in ((2, 20), (5, 17), (8, 30)):
        assert np.linalg.norm(results[out].pose[:3, 3] - results[back].pose[:3, 3]) < 0.03
