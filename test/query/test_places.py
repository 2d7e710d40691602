"""What is where: things in relations, at points, in boxes and in views."""

import numpy as np
import pytest

from sab3r_ros.query.objects import LocatedObject, upright_box
from sab3r_ros.query.places import (
    asks_for_contents,
    parse_place,
    thing_at,
    things_in_box,
    things_in_view,
    things_related,
)
from sab3r_ros.query.questions import QuestionError, Relation
from sab3r_ros.query.registry import MapObject, ObjectState
from sab3r_ros.query.visibility import View
from sab3r_ros.types import Region


def block(centre, size, count=1500):
    """Points on a box's surface."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-0.5, 0.5, (count, 3))
    axis = rng.integers(0, 3, count)
    points[np.arange(count), axis] = np.sign(points[np.arange(count), axis]) * 0.5
    return points * size + centre


def thing(name, points, state=ObjectState.HERE):
    pose, size = upright_box(points)
    rgb = np.zeros((len(points), 3), np.uint8)
    return MapObject(
        f"object-{name}", ((name, 1.0),), state, points, rgb, pose, size, np.ones(1), 0, 0, 1, 0, (0, 0, 1, 1)
    )


def located(points):
    pose, size = upright_box(points)
    index = np.arange(len(points))
    return LocatedObject("", "", 0, 1.0, 1.0, points.mean(0), pose, size, points, index, index, 0, index, index)


TABLE = block((2, 0, 0.7), (1.2, 0.8, 0.08))
THINGS = [
    thing("table", TABLE),
    thing("book", block((2.1, 0.1, 0.76), (0.2, 0.15, 0.03))),  # so thin that all of it is near the table
    thing("mug", block((1.8, -0.2, 0.8), (0.1, 0.1, 0.12))),
    thing("box", block((2.0, 0.0, 0.15), (0.3, 0.3, 0.3))),
    thing("ghost", block((2.0, 0.1, 0.8), (0.1, 0.1, 0.1)), ObjectState.GONE),
]


def names(found):
    return {item.label for item, _ in found}


def test_places_are_relations_to_things():
    ((relation, anchor),) = parse_place("What is on the table?")
    assert (relation, str(anchor)) == (Relation.ON, "table")
    both = parse_place("in the shelves and left of the sink")
    assert [(r, str(a)) for r, a in both] == [(Relation.IN, "shelves"), (Relation.LEFT, "sink")]
    for text in ("table", "", "what is"):
        with pytest.raises(QuestionError, match="does not say where"):
            parse_place(text)


def test_what_is_on_and_under_the_table_not_the_table_itself_and_not_what_is_gone():
    assert names(things_related(THINGS, Relation.ON, [located(TABLE)])) == {"book", "mug"}
    assert names(things_related(THINGS, Relation.UNDER, [located(TABLE)])) == {"box"}


def test_a_point_finds_the_nearest_thing():
    assert thing_at(THINGS, np.array([1.8, -0.2, 0.87]), 0.1).label == "mug"
    assert thing_at(THINGS, np.array([1.8, -0.2, 3.0]), 0.1) is None
    assert thing_at([], np.zeros(3), 1.0) is None


def test_a_box_holds_what_lies_in_it_by_half():
    region = Region.around(np.array([[1.4, -0.4, 0.75], [2.6, 0.4, 1.0]]), 0.0)
    found = things_in_box(THINGS, region)
    assert names(found) == {"mug", "book"}
    assert all(0.5 <= share <= 1 for _, share in found)


def test_a_view_shows_what_is_in_front_and_not_what_is_hidden():
    """A camera at the origin that looks along x sees the mug and, before it, a wall at 1 m or nothing."""
    pose = np.eye(4)
    pose[:3, :3] = np.array([[0, 0, 1.0], [-1, 0, 0], [0, -1, 0]])
    pose[2, 3] = 0.8
    for depth, expected in ((5.0, True), (1.0, False)):
        view = View(-1, 0, pose, 100.0, np.full((96, 128), depth, np.float32))
        found = things_in_view(THINGS, view)
        assert ("mug" in names(found)) is expected
        assert all(0 < share <= 1 for _, share in found)
    behind = pose.copy()
    behind[:3, :3] = pose[:3, :3] @ np.diag([-1.0, 1, -1])
    assert things_in_view(THINGS, View(-1, 0, behind, 100.0, np.full((96, 128), 5.0, np.float32))) == []


@pytest.mark.parametrize(
    ("text", "asks"),
    [("what is on the table", True), ("Everything in the shelves", True), ("  what's next to the door?", True), ("mug", False),
     ("the whatnot on the table", False), ("", False)],
)  # fmt: skip
def test_questions_for_the_contents_of_a_place_are_told_from_things(text, asks):
    assert asks_for_contents(text) == asks
