"""Relations between things whose places are known."""

import numpy as np
import pytest

from sab3r_ros.query.objects import LocatedObject, upright_box
from sab3r_ros.query.questions import Relation
from sab3r_ros.query.relations import relation_score

_NEXT = iter(range(0, 10**9, 10**5))


def box(centre, size, hollow=False):
    """Points on a box's surface; hollow: of its top and four legs only."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-0.5, 0.5, (1500, 3))
    axis = rng.integers(0, 3, 1500)
    points[np.arange(1500), axis] = np.sign(points[np.arange(1500), axis]) * 0.5
    points = points * size + centre
    if hollow:
        top = points[:, 2] > centre[2] + 0.45 * size[2]
        legs = (np.abs(points[:, :2] - centre[:2]) > 0.45 * np.array(size[:2])).all(1)
        points = points[top | legs]
    pose, extent = upright_box(points)
    first = next(_NEXT)
    index = np.arange(first, first + len(points))
    none = np.zeros(len(points), int)
    return LocatedObject("", "", 0, 1.0, 1.0, points.mean(0), pose, extent, points, none, none, 0, index, index)


TABLE = box((2, 0, 0.375), (1.2, 0.8, 0.75), hollow=True)
ON_IT = box((2.1, 0.1, 0.8), (0.1, 0.1, 0.1))
UNDER_IT = box((2.0, 0.0, 0.15), (0.3, 0.3, 0.3))
BESIDE = box((2.0, 0.8, 0.25), (0.4, 0.4, 0.5))
FAR = box((-2, 3, 0.25), (0.4, 0.4, 0.5))
SHELF = box((5, 0, 1.0), (0.8, 0.4, 2.0))
IN_SHELF = box((5, 0, 1.2), (0.1, 0.1, 0.2))
PICTURE = box((2, 0.1, 1.6), (0.5, 0.05, 0.4))
EVERYTHING = {
    "on": ON_IT, "under": UNDER_IT, "beside": BESIDE, "far": FAR, "shelf": SHELF, "in shelf": IN_SHELF, "picture": PICTURE,
}  # fmt: skip


@pytest.mark.parametrize(("relation", "anchor", "right"), [
    (Relation.ON, TABLE, {"on"}), (Relation.UNDER, TABLE, {"under"}), (Relation.NEXT_TO, TABLE, {"beside"}),
    (Relation.ABOVE, TABLE, {"picture"}), (Relation.IN, SHELF, {"in shelf"}),
])  # fmt: skip
def test_relations_hold_for_the_right_things_alone(relation, anchor, right):
    scores = {name: relation_score(relation, item, anchor) for name, item in EVERYTHING.items()}
    best = min(scores[name] for name in right)
    others = max(score for name, score in scores.items() if name not in right)
    assert best > 0.6, scores
    assert others < 0.6 * best, scores


def test_left_and_right_are_those_of_the_viewer():
    left = relation_score(Relation.LEFT, BESIDE, TABLE, viewpoint=np.array([0.0, 0, 1]))
    right = relation_score(Relation.RIGHT, BESIDE, TABLE, viewpoint=np.array([0.0, 0, 1]))
    assert left > 0.9
    assert right == 0
    assert relation_score(Relation.RIGHT, BESIDE, TABLE, viewpoint=np.array([4.0, 0, 1])) > 0.9
    assert relation_score(Relation.IN_FRONT, BESIDE, TABLE, viewpoint=np.array([2.0, 4, 1])) > 0.9
    assert relation_score(Relation.BEHIND, BESIDE, TABLE, viewpoint=np.array([2.0, -4, 1])) > 0.9


def test_the_nearest_has_the_highest_score():
    scores = [relation_score(Relation.NEAREST, item, TABLE) for item in (ON_IT, BESIDE, FAR)]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("relation", list(Relation))
def test_nothing_is_in_a_relation_to_itself_and_scores_are_shares(relation):
    assert relation_score(relation, TABLE, TABLE) == 0
    for item in EVERYTHING.values():
        for other in EVERYTHING.values():
            assert 0 <= relation_score(relation, item, other, np.zeros(3)) <= 1
