"""Figures of presence against worked-out cases, and a fit whose answer is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sab3r_ros.lab.evaluation.metrics import area_under_roc, calibration_error
from sab3r_ros.lab.evaluation.presence import ABSENT_WORDS, Asked, ask_recording, figures
from sab3r_ros.lab.synthetic.objects import LABELS
from sab3r_ros.lab.training.presence_fit import fit_presence
from sab3r_ros.query.presence import EVIDENCE, NULL_WORDS, Verdict


def asked(there, probability, share=0.05, word="mug", evidence=None):
    verdict = Verdict.PRESENT if probability >= 0.2 else Verdict.UNSEEN
    return Asked(
        "room", word, there, share if there else 0.0, probability, verdict, evidence, evidence, probability, probability
    )


def test_area_under_roc_by_hand():
    true = np.array([True, True, False, False])
    assert area_under_roc(np.array([0.9, 0.4, 0.5, 0.1]), true) == 0.75
    assert area_under_roc(np.array([0.5, 0.5, 0.5, 0.5]), true) == 0.5
    assert np.isnan(area_under_roc(np.array([1.0]), np.array([True])))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=30))
def test_area_under_roc_against_all_pairs(rows):
    true, scores = np.array([t for t, _ in rows]), np.array([float(s) for _, s in rows])
    if true.all() or not true.any():
        return
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[true] for b in scores[~true]]
    assert area_under_roc(scores, true) == pytest.approx(np.mean(pairs))


def test_figures_of_a_perfect_and_of_a_blind_map():
    perfect = figures([asked(True, 1.0)] * 5 + [asked(False, 0.0, word="piano")] * 20)
    assert (perfect["auroc"], perfect["ece"], perfect["false_at_recall90"], perfect["recall_at_false5"]) == (
        1,
        0,
        0,
        100,
    )
    assert perfect["classes"] == [["mug", 5, 5, pytest.approx(float("nan"), nan_ok=True)]]
    blind = figures([asked(True, 0.3)] * 5 + [asked(False, 0.3)] * 20)
    assert blind["auroc"] == 0.5
    assert blind["ece"] == pytest.approx(0.1)
    assert blind["false_answers"] == 100


def test_what_was_hardly_seen_is_no_question():
    rows = [asked(True, 0.9), asked(True, 0.1, share=0.001), asked(False, 0.1)]
    assert figures(rows)["hardly_seen"] == 1
    assert figures(rows)["questions"] == 2
    with pytest.raises(ValueError, match="that are not"):
        figures(rows[:1])


def test_words_that_no_room_has():
    assert len(set(ABSENT_WORDS)) == 40
    assert not set(ABSENT_WORDS) & set(LABELS)
    assert not set(NULL_WORDS) & {*LABELS}


def test_a_fit_finds_what_speaks_for_presence():
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(600):
        evidence = rng.normal(size=len(EVIDENCE))
        there = rng.random() < 1 / (1 + np.exp(-(3 * evidence[1] - 2)))
        rows.append(asked(there, 0.5, evidence=evidence))
    fitted = fit_presence(rows)
    assert np.abs(fitted.weights).argmax() == 1
    assert fitted.prior == pytest.approx(np.mean([a.there for a in rows]))
    probability = fitted.probability(np.stack([a.evidence for a in rows]))
    assert calibration_error(list(zip(probability, [a.there for a in rows], strict=True))) < 0.1
    with pytest.raises(ValueError, match="too few"):
        fit_presence(rows[:10])


def test_a_recording_without_labels_is_refused(tmp_path):
    import cv2

    from sab3r_ros.config import Settings

    cv2.imwrite(str(tmp_path / "frame-000000.color.png"), np.full((48, 64, 3), 90, np.uint8))
    with pytest.raises(ValueError, match="labels.json"):
        ask_recording(Settings(), tmp_path)
