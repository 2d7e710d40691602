"""The bench: bodies with known answers, and grasps that must and must not lift them."""

import numpy as np
import pytest

from sab3r_ros.affordance.grasps import Grasp, Gripper

pytest.importorskip("mujoco")

from scipy.spatial import cKDTree

from sab3r_ros.lab.evaluation.grasp_bench import (
    CLUTTER,
    HOUSEHOLD_FIRST,
    Trial,
    figures,
    from_above,
    household_paths,
    load_object,
    observe,
    observe_among,
    on_right_part,
    table_points,
    trials_of,
)
from sab3r_ros.lab.evaluation.grasp_clutter import moved, neighbours
from sab3r_ros.lab.evaluation.grasp_objects import varied_object
from sab3r_ros.lab.evaluation.grasp_physics import Body, Outcome, enters, lowest_point, read_body, try_grasp
from sab3r_ros.lab.evaluation.metrics import calibration_error


def brick(size=(0.05, 0.12, 0.06), mass=0.2):
    import trimesh

    mesh = trimesh.creation.box(size)
    mesh.apply_translation([0, 0, size[2] / 2])
    return Body("brick", np.asarray(mesh.vertices), np.asarray(mesh.faces), [np.asarray(mesh.vertices)], mass)


def grasp_from_above(height, x=0.0, width=0.05):
    pose = np.eye(4)
    closing, approach = np.array([1.0, 0, 0]), np.array([0, 0, -1.0])
    pose[:3, :3] = np.stack([np.cross(closing, approach), closing, approach], 1)
    pose[:3, 3] = x, 0, height
    return Grasp(pose, np.zeros((2, 3)), width, 0.03, 0.1, 1.0)


@pytest.mark.parametrize(
    ("grasp", "item", "reason"),
    [
        (grasp_from_above(0.02), brick(), ""), (grasp_from_above(0.1), brick(), "not lifted"),
        (grasp_from_above(-0.01), brick(), "enters the table"), (grasp_from_above(0.02, width=0.09), brick(), "wider than the gripper"),
        (grasp_from_above(0.02, x=0.05), brick(), "pushed away"), (grasp_from_above(0.02), brick(mass=8.0), "not lifted"),
    ],
)  # fmt: skip
def test_what_lifts_and_what_does_not(grasp, item, reason):
    outcome = try_grasp(item, grasp, Gripper())
    if reason == "pushed away":
        assert not outcome.lifted
    else:
        assert (outcome.lifted, outcome.reason) == (reason == "", reason)


def test_the_lowest_point_of_a_hand():
    gripper = Gripper()
    assert lowest_point(grasp_from_above(0.03).pose, gripper, 0.05) == pytest.approx(0.03)
    turned = np.eye(4)
    turned[:3, :3] = np.array([[0, 1.0, 0], [0, 0, 1], [1, 0, 0]]).T  # approach along x, closing along z
    turned[2, 3] = 0.1
    assert lowest_point(turned, gripper, 0.05) < 0.1 - 0.025


def test_a_neighbour_in_the_way_is_a_failure_and_one_aside_is_none():
    grasp = grasp_from_above(0.02)
    aside, beside = (moved(brick(), np.array([x, 0.0]), 0.0) for x in (0.15, 0.06))
    assert try_grasp(brick(), grasp, Gripper(), [aside]).lifted
    assert try_grasp(brick(), grasp, Gripper(), [beside, aside]).reason == "enters a neighbour"
    on_top = grasp_from_above(0.07)
    assert not enters(brick(), on_top.pose, Gripper(), 0.06)
    assert enters(brick(), grasp_from_above(0.055, x=0.025).pose, Gripper(), 0.03)


def test_neighbours_stand_close_and_touch_nothing():
    item = load_object(f"mug-{HOUSEHOLD_FIRST}")
    others = [load_object(f"{kind}-{HOUSEHOLD_FIRST}") for kind in ("bottle", "ball")]
    item, others[0] = moved(item, np.array([0.3, -0.1]), 0.2), moved(others[0], np.array([-0.5, 0.5]), 0.0)
    placed = neighbours(item, others, np.random.default_rng(0))
    for other in placed:
        near = cKDTree(item.vertices[:, :2]).query(other.vertices[:, :2])[0].min()
        assert 0.01 < near < 0.06
        assert other.vertices[:, 2].min() == pytest.approx(0, abs=1e-9)
    again = neighbours(item, others, np.random.default_rng(0))
    assert all(np.array_equal(a.vertices, b.vertices) for a, b in zip(placed, again, strict=True))


def test_in_clutter_the_object_and_what_is_around_it_are_told_apart():
    item, other = brick(), moved(brick(), np.array([0.08, 0.0]), 0.3)
    points, around = observe_among([item, other], CLUTTER, 0.0, np.random.default_rng(1))
    assert len(points) > 500
    assert len(around) > 500
    assert np.abs(points[:, 0]).max() < 0.0251
    assert around[:, 0].min() > 0.025
    outcome = trials_of(f"mug-{HOUSEHOLD_FIRST}", [CLUTTER], 0.001, 0, None, 1, household_paths()[:6])
    assert [t.cloud for t in outcome] == [CLUTTER]
    assert "lift_clutter" in figures(outcome)


def test_varied_objects_rest_on_the_table_and_keep_their_parts():
    plain, seen = load_object(f"hammer-{HOUSEHOLD_FIRST}"), set()
    for seed in range(HOUSEHOLD_FIRST, HOUSEHOLD_FIRST + 6):
        item = varied_object("hammer", seed)
        assert item.vertices[:, 2].min() == pytest.approx(0, abs=1e-9)
        corners = np.concatenate(item.hulls)
        assert np.abs(corners.min(0) - item.vertices.min(0)).max() < 0.01
        assert 0.015 <= item.mass <= 1.2
        assert np.ptp(item.vertices, axis=0).max() <= 0.3201
        seen.add(tuple(np.ptp(item.vertices, axis=0).round(3)))
    assert len(seen) == 6
    assert set(item.affording) == set(plain.affording)


def test_clouds_lie_on_what_cameras_see():
    item, rng = brick(), np.random.default_rng(0)
    whole, one, two = (observe(item, cloud, 0.0, rng) for cloud in ("whole", "one", "two"))
    for points in (whole, one, two):
        off = np.abs(np.abs(points - [0, 0, 0.03]) - [0.025, 0.06, 0.03]).min(1)
        assert off.max() < 1e-4
    assert whole[:, 2].min() < 0.001
    assert one[:, 2].max() > 0.0599
    sides = [np.abs(one[:, 0] - s * 0.025).min() < 1e-4 for s in (-1, 1)]
    assert sum(sides) <= 2
    table = table_points(one, rng, 0.0)
    assert (table[:, 2] == 0).all()
    best = from_above(whole, table)[0]
    assert try_grasp(item, best, Gripper()).lifted


@pytest.mark.parametrize("cloud", ["whole", "two", "one"])
def test_the_same_seed_gives_the_same_cloud(cloud):
    item = load_object("mug-900080000")
    first, second = (observe(item, cloud, 0.001, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first, second)


def test_figures_count_what_they_say():
    good, bad = Outcome(True, ""), Outcome(False, "not lifted")
    trials = [
        Trial("a", "one", (good, bad), (0.9, 0.1)),
        Trial("b", "one", (bad, good), (0.8, 0.7)),
        Trial("c", "one", (), ()),
    ]
    found = figures(trials)
    assert found["lift_one"] == pytest.approx(33.333, abs=0.001)
    assert found["top5_one"] == found["offered_one"] == pytest.approx(66.667, abs=0.001)
    assert found["table_hits"] == 0
    assert calibration_error([(0.95, True)] * 19 + [(0.95, False)]) == pytest.approx(0)
    assert calibration_error([(0.95, False)] * 10) == pytest.approx(0.95)


def test_household_objects_are_bodies():
    names = household_paths()
    assert len(names) >= 60
    for name in (f"mug-{HOUSEHOLD_FIRST}", f"hammer-{HOUSEHOLD_FIRST}", f"bottle-{HOUSEHOLD_FIRST + 1}"):
        item = load_object(name)
        assert item.vertices[:, 2].min() == pytest.approx(0, abs=1e-9)
        assert 0.03 <= item.mass <= 0.8
        corners = np.concatenate(item.hulls)
        assert np.abs(corners.min(0) - item.vertices.min(0)).max() < 0.005
        assert np.abs(corners.max(0) - item.vertices.max(0)).max() < 0.005


@pytest.mark.slow
def test_the_default_planner_lifts_real_objects(real_data):
    """Three that are told apart by what they need: a body, a handle lying down, something flat."""
    folder = real_data / "grasp_objects"
    lifted = []
    for name in ("tomato_soup_can", "hammer", "banana"):
        trials = trials_of(folder / f"{name}.npz", ["two"], 0.001, 0, "grasp", 1)
        assert trials[0].outcomes, name
        lifted.append(trials[0].any_lifts)
    assert sum(lifted) >= 2


def test_a_file_that_is_no_object_says_so(tmp_path):
    np.savez(tmp_path / "a.npz", points=np.zeros(3))
    with pytest.raises(ValueError, match="no object for the bench"):
        read_body(tmp_path / "a.npz")


def test_the_right_part_is_the_one_that_affords_what_was_asked():
    item = load_object(f"hammer-{HOUSEHOLD_FIRST}")
    affords = item.affording["grasp"]
    assert 0 < affords.sum() < len(affords) == len(item.faces)
    found = {}
    for on_it in (True, False):
        corners = item.vertices[item.faces[affords == on_it]].reshape(-1, 3)
        contacts = np.stack([corners[corners[:, 1].argmin()], corners[corners[:, 1].argmax()]])
        found[on_it] = on_right_part(item, Grasp(np.eye(4), contacts, 0.02, 0.02, 0.1, 1.0), "grasp")
    assert found == {True: True, False: False}
    assert on_right_part(item, Grasp(np.eye(4), contacts, 0.02, 0.02, 0.1, 1.0), "no such affordance") is None
    trials = [Trial("a", "one", (), (), right) for right in (True, True, False, None)]
    assert figures(trials)["right_part_one"] == pytest.approx(66.667, abs=0.001)
