"""Probabilities, verdicts, and how much of a room was looked at."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sab3r_ros.config import ModelSettings
from sab3r_ros.models.backends import load_feature_model
from sab3r_ros.query.colours import colour_shares
from sab3r_ros.query.exploration import explored_share
from sab3r_ros.query.presence import (
    EVIDENCE,
    FILE,
    RELATIVE,
    Calibration,
    Verdict,
    decide,
    load_calibration,
    relative_evidence,
)
from sab3r_ros.query.questions import COLOURS


def calibration(**changes):
    rng = np.random.default_rng(0)
    size = len(EVIDENCE)
    values = {
        "mean": rng.normal(size=size),
        "scale": rng.uniform(0.5, 2, size),
        "weights": rng.uniform(0.1, 1, size),
        "bias": -1.0,
        "prior": 0.1,
    }
    return Calibration(**(values | changes))


def test_a_calibration_is_read_back(tmp_path):
    path = calibration().save(tmp_path, "net-1", {"rooms": 3})
    evidence = np.random.default_rng(1).normal(size=(5, len(EVIDENCE)))
    again = load_calibration(tmp_path, "net-1")
    assert again.probability(evidence) == pytest.approx(calibration().probability(evidence), abs=1e-5)
    assert load_calibration(tmp_path / "nowhere", "net-1") is None
    assert load_calibration(None, "net-1") is None
    assert json.loads(path.read_text())["notes"] == {"rooms": 3}


def test_a_calibration_of_other_weights_is_not_used(tmp_path, caplog):
    calibration().save(tmp_path, "net-1", {})
    assert load_calibration(tmp_path, "net-2") is None
    assert "not calibrated" in caplog.text


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"format": "sab3r_presence", "evidence": []}'])
def test_a_damaged_calibration_says_how_to_make_it_again(tmp_path, content):
    (tmp_path / FILE).write_text(content)
    with pytest.raises(ValueError, match="sab3r calibrate"):
        load_calibration(tmp_path, "net-1")


def test_the_shipped_weights_are_calibrated():
    features = load_feature_model(ModelSettings())
    shipped = load_calibration(features.folder, features.id)
    assert shipped is not None
    assert 0.05 < shipped.prior < 0.3


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_probability_grows_with_the_prior(first, second):
    evidence = np.random.default_rng(2).normal(size=(3, len(EVIDENCE)))
    low, high = sorted((first, second))
    assert (calibration().probability(evidence, low) <= calibration().probability(evidence, high) + 1e-12).all()
    assert calibration().probability(evidence, 0.1) == pytest.approx(calibration().probability(evidence))


def test_evidence_like_that_of_words_for_absent_things_speaks_against_presence():
    rng = np.random.default_rng(3)
    null = rng.normal(size=(24, 3))
    like = [0, 1, 2, 1, 1, 0]
    weak = np.concatenate([null.mean(0)[like], [0.6, 5]])[None]
    strong = weak.copy()
    strong[:, :6] += 15 * null.std(0)[like]
    assert RELATIVE.probability(relative_evidence(weak, null))[0] < 0.1
    assert RELATIVE.probability(relative_evidence(strong, null))[0] > 0.7


@pytest.mark.parametrize(("found", "explored", "verdict"), [
    (True, 0.1, Verdict.PRESENT), (False, 0.9, Verdict.ABSENT), (False, 0.5, Verdict.UNSEEN), (False, float("nan"), Verdict.UNSEEN),
])  # fmt: skip
def test_what_is_not_found_is_absent_only_where_enough_was_seen(found, explored, verdict):
    answer = decide("mug", 0.4, found, explored, True, 0.8)
    assert answer.verdict == verdict
    assert "mug" in answer.in_words()


def room_points(side=4.0, height=2.4):
    """Walls and floor of a square room, 5 cm apart."""
    along, up = np.meshgrid(np.arange(0, side, 0.05), np.arange(0, height, 0.05))
    a, u = along.ravel(), up.ravel()
    flat = np.stack(np.meshgrid(np.arange(0, side, 0.1), np.arange(0, side, 0.1)), -1).reshape(-1, 2)
    walls = [np.stack(c, 1) for c in ((a, 0 * a, u), (a, 0 * a + side, u), (0 * a, a, u), (0 * a + side, a, u))]
    return walls, np.column_stack([flat, np.zeros(len(flat))])


def seen_from(eye, points):
    """Views of a camera that turns on the spot in steps of 60 degrees, with all points inside 70 degrees of each."""
    views = []
    for yaw in np.deg2rad(np.arange(0, 360, 60)):
        pose = np.eye(4)
        pose[:3, :3] = np.column_stack([(np.sin(yaw), -np.cos(yaw), 0), (0, 0, -1), (np.cos(yaw), np.sin(yaw), 0)])
        pose[:3, 3] = eye
        local = (points - eye) @ pose[:3, :3]
        views.append((pose, local[np.abs(local[:, 0]) < np.tan(np.deg2rad(35)) * local[:, 2]]))
    return views


def test_a_room_that_was_looked_at_all_round_is_explored_and_a_corner_is_not():
    walls, floor = room_points()
    everything, eye = np.concatenate([*walls, floor]), np.array([2.0, 2.0, 1.2])
    whole = explored_share(everything, seen_from(eye, everything))
    assert whole > 0.95
    corner = np.concatenate([walls[0][walls[0][:, 0] < 2], walls[2][walls[2][:, 1] < 2]])
    part = explored_share(corner, seen_from(eye, corner))
    assert part < 0.75
    assert np.isnan(explored_share(everything, []))
    assert np.isnan(explored_share(everything[:10], seen_from(eye, everything)))


@pytest.mark.parametrize(("rgb", "name"), [
    ((200, 30, 30), "red"), ((30, 30, 30), "black"), ((240, 240, 240), "white"), ((125, 125, 125), "grey"), ((60, 90, 180), "blue"),
    ((240, 210, 70), "yellow"), ((70, 140, 70), "green"), ((110, 75, 48), "brown"), ((230, 130, 40), "orange"),
])  # fmt: skip
def test_colours_have_their_names(rgb, name):
    shares = {other: colour_shares(np.array([rgb], np.uint8), other)[0] for other in COLOURS}
    assert max(shares, key=shares.get) == name
    assert sum(shares.values()) == pytest.approx(1, abs=1e-5)


def test_a_colour_nobody_knows():
    with pytest.raises(KeyError, match="mauve"):
        colour_shares(np.zeros((1, 3), np.uint8), "mauve")
