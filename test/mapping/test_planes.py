"""Planes of walls and floors: found where they are, refused where a crowd of things is, and reached along rays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sab3r_ros.mapping.planes import Kind, Plane, find_planes, onto_planes

EYE = np.array([0.0, 0.0, 1.2])
NONE = np.zeros((0, 3)), np.zeros(0, int)


def seen(points, seed, noise=0.01, bend=0.0):
    """Points as a camera at EYE takes them to be: errors along their rays, a share of their distance, and a smooth bend."""
    rng = np.random.default_rng(seed)
    offset = points - EYE
    factor = np.exp(noise * rng.normal(size=len(points)) + bend * np.sin(points[:, 0] + points[:, 1]))
    return EYE + offset * factor[:, None]


def room(seed, turn=0.4, **errors):
    """A wall 3 m away that is turned, the floor, and a crowd of things; points and kinds."""
    rng = np.random.default_rng(seed)
    along = np.array([np.cos(turn), np.sin(turn), 0])
    ahead = np.array([-np.sin(turn), np.cos(turn), 0])
    wall = 3 * ahead + rng.uniform(-2, 2, (2000, 1)) * along + rng.uniform(0, 2.4, (2000, 1)) * [0, 0, 1]
    floor = rng.uniform(-2, 2, (2000, 1)) * along + rng.uniform(1, 3, (2000, 1)) * ahead
    things = rng.uniform([-1, 1, 0], [1, 2, 1], (1000, 3))
    points = seen(np.concatenate([wall, floor, things]), seed, **errors)
    return points, np.repeat([Kind.WALL, Kind.FLOOR, Kind.OTHER], [2000, 2000, 1000]), ahead


def ranges(points):
    return np.linalg.norm(points - EYE, axis=1)


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.floats(-3, 3))
def test_wall_and_floor_are_found_where_they_are(seed, turn):
    points, kinds, ahead = room(seed, turn, bend=0.02)
    planes = find_planes(points, ranges(points), kinds, *NONE)
    assert [p.kind for p in planes] == [Kind.WALL, Kind.FLOOR]
    wall, floor = planes
    assert abs(wall.normal @ ahead) > np.cos(np.radians(3.0))
    assert abs(abs(wall.offset) - 3) < 0.08
    assert abs(floor.offset) < 0.04
    moved = onto_planes(points, EYE, kinds, planes)
    assert np.median(np.abs(wall.distance(moved[:2000]))) < 1e-9
    assert (moved[4000:] == points[4000:]).all(), "other things stay"
    ray, before = moved - EYE, points - EYE
    assert np.allclose(np.cross(ray, before), 0, atol=1e-9), "points move along their rays"


def test_keypoints_tell_where_a_wall_is():
    points, kinds, ahead = room(1)
    wrong = EYE + (points - EYE) * 1.02
    exact = 3 * ahead + np.c_[np.zeros((20, 2)), np.linspace(0.2, 2, 20)]
    without = find_planes(wrong, ranges(wrong), kinds, *NONE)[0]
    planes = find_planes(wrong, ranges(wrong), kinds, exact, np.full(20, Kind.WALL))
    assert abs(abs(without.offset) - 3) > 0.04
    assert abs(abs(planes[0].offset) - 3) < 0.005
    others = find_planes(wrong, ranges(wrong), kinds, exact, np.full(20, Kind.OTHER))
    assert others[0].offset == without.offset


def test_a_second_layer_is_the_same_wall_and_a_crowd_is_none():
    points, kinds, _ = room(2)
    layer = EYE + (points[:600] - EYE) * 1.08
    everything = np.concatenate([points, layer]), np.concatenate([kinds, kinds[:600]])
    planes = find_planes(everything[0], ranges(everything[0]), everything[1], *NONE)
    assert [p.kind for p in planes] == [Kind.WALL, Kind.FLOOR]
    crowd = np.random.default_rng(0).uniform([-1, 1, 0], [1, 3, 1.5], (3000, 3))
    assert find_planes(crowd, ranges(crowd), np.full(3000, Kind.WALL), *NONE) == []


@pytest.mark.parametrize("count", [0, 1, 2, 100])
def test_too_few_points_make_no_plane(count):
    points = np.ones((count, 3))
    assert find_planes(points, ranges(points), np.full(count, Kind.WALL), *NONE) == []


def test_the_same_point_many_times_is_survived():
    points = np.ones((500, 3))
    for plane in find_planes(points, ranges(points), np.full(500, Kind.WALL), *NONE):
        assert np.isfinite(plane.normal).all()


def test_what_lies_elsewhere_or_across_the_ray_stays():
    wall = Plane(Kind.WALL, np.array([0, 1.0, 0]), 3.0)
    points = np.array([[0, 3.1, 1.2], [0, 3.9, 1.2], [5, 0.01, 1.2], [0, -3.0, 1.2]])
    moved = onto_planes(points, EYE, np.full(4, Kind.WALL), [wall])
    assert np.allclose(moved[0], [0, 3.0, 1.2])
    assert (moved[1:] == points[1:]).all()
