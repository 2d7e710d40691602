"""The evaluation of relations: what it holds to be true, and that answers agree with it."""

import numpy as np
import pytest

from sab3r_ros.config import Settings
from sab3r_ros.lab.evaluation.relations import _relations, evaluate_relations

EYE = np.array([0.0, 0.0, 1.5])


def block(centre, size):
    return np.random.default_rng(0).uniform(-0.5, 0.5, (4000, 3)) * size + centre


TABLE = block((3.0, 0, 0.7), (1.2, 0.8, 0.1))


@pytest.mark.parametrize(
    ("thing", "expected"),
    [
        (block((3.0, 0.1, 0.8), (0.1, 0.1, 0.1)), {"on"}),
        (block((3.0, 0.1, 0.15), (0.3, 0.3, 0.3)), {"under"}),
        (block((3.0, 0.1, 1.5), (0.1, 0.1, 0.1)), set()),  # it hovers
        (block((3.0, 0.75, 0.5), (0.4, 0.4, 1.0)), {"next to", "left of"}),
        (block((3.0, -1.2, 0.2), (0.4, 0.4, 0.4)), {"right of"}),
        (block((9.0, 0.0, 0.2), (0.4, 0.4, 0.4)), set()),
    ],
)
def test_what_is_true_beyond_doubt(thing, expected):
    assert set(_relations(thing, TABLE, EYE)) == expected


@pytest.mark.slow
def test_questions_to_a_room_are_answered_right():
    figures = evaluate_relations(Settings(), rooms=1)
    assert figures["questions"] > 40
    assert figures["not_found"] == 0
    assert figures["right_percent"] >= 90
    assert figures["questions"] == sum(row["questions"] for row in figures["by_relation"].values())
    assert 0 < figures["among_namesakes"] < figures["questions"]
