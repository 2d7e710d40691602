"""What is built in: kitchens fit their corner, chairs face their tables, boards and televisions hang."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sab3r_ros.lab.synthetic.fitted import fitted_kitchen, hung, seat_at, wall_board
from sab3r_ros.lab.synthetic.layout import furnish
from sab3r_ros.lab.synthetic.objects import SceneObject, build_object, part_label

seeds = st.integers(0, 2**31)


def corners(obj: SceneObject) -> np.ndarray:
    """All vertices of an object in its room."""
    return np.concatenate([p.mesh()[0] for p in obj.parts]) @ obj.rotation().T + obj.position


@settings(deadline=None, max_examples=60)
@given(seeds, st.floats(2.8, 6.0), st.floats(2.8, 6.0), st.floats(2.3, 2.9))
def test_a_fitted_kitchen_stays_in_its_room_and_its_units_apart(seed, width, depth, height):
    size = np.array([width, depth, height])
    units = fitted_kitchen(size, np.random.default_rng(seed))
    boxes = []
    for unit in units:
        points = corners(unit)
        low, high = points.min(0), points.max(0)
        assert (low > -0.01).all()
        assert (high < size + 0.01).all()
        against = np.concatenate([low[:2], size[:2] - high[:2]])
        assert against.min() < 0.02  # stands or hangs on a wall
        if unit.label != "wall":
            boxes.append((low, high))
    for k, (low, high) in enumerate(boxes):
        for other_low, other_high in boxes[k + 1 :]:
            shared = np.minimum(high, other_high) - np.maximum(low, other_low)
            assert shared.min() < 0.03  # a worktop overhangs its front by as much


@settings(deadline=None, max_examples=30)
@given(seeds)
def test_fronts_face_the_room_and_are_cabinets(seed):
    size = np.array([4.0, 4.0, 2.5])
    for unit in fitted_kitchen(size, np.random.default_rng(seed)):
        if unit.label == "wall":
            continue
        doors = [p for p in unit.parts if p.name in ("door", "drawer front")]
        assert doors
        for door in doors:
            assert part_label(unit.label, door.name) == "cabinet"
            place = unit.rotation() @ door.centre + unit.position
            outwards = unit.rotation()[:, 0]
            ahead = place + 0.3 * outwards
            assert (ahead[:2] > 0).all()
            assert (ahead[:2] < size[:2]).all()


@settings(deadline=None, max_examples=40)
@given(seeds, st.floats(-3, 3))
def test_chairs_stand_beside_their_table_and_face_it(seed, yaw):
    rng = np.random.default_rng(seed)
    host, chair = build_object("table", rng), build_object("chair", rng)
    host.position, host.yaw = np.array([1.0, 2.0, 0.0]), yaw
    seat_at(host, chair, rng)
    low, high = host.extents()
    local = host.rotation().T @ (chair.position - host.position)
    assert (np.abs(local[:2]) - (high - low)[:2] / 2).max() > -0.06
    assert np.linalg.norm(local[:2]) < np.linalg.norm((high - low)[:2] / 2) + 0.4
    side = int(np.argmax(np.abs(local[:2]) - (high - low)[:2] / 2))
    front = host.rotation().T @ chair.rotation()[:, 0]
    assert -np.sign(local[side]) * front[side] > 0.5  # turned by a quarter of a radian, mostly


def test_things_hang_without_a_foot():
    rng = np.random.default_rng(3)
    television = build_object("television", rng)
    assert {p.name for p in hung(television).parts} == {"frame", "screen"}
    board = wall_board(rng)
    assert board.label == "shelves"
    assert all("support" in p.affordances for p in board.parts)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_furnished_rooms_have_what_was_asked_for(seed):
    """Over many rooms: kitchens with worktops, chairs at tables, boards with things on them."""
    rng = np.random.default_rng(seed)
    rooms = [furnish(np.array([5.0, 4.5, 2.6]), rng) for _ in range(40)]
    kitchens = [objects for kind, objects in rooms if kind == "kitchen"]
    assert any(o.label == "counter" for objects in kitchens for o in objects)
    assert any(p.name == "plinth" for objects in kitchens for o in objects for p in o.parts)
    seated = [
        any(np.linalg.norm(table.position - o.position) < 1.2 for o in objects if o.label == "chair")
        for _, objects in rooms for table in objects if table.label == "table"
    ]  # fmt: skip
    assert np.mean(seated) > 0.35
