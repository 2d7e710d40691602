"""What is inside an object, and what that forbids a hand."""

import numpy as np
import pytest

from sab3r_ros.affordance.grasps import Gripper, find_grasps
from sab3r_ros.affordance.solid import solid_below


def face(origin, first, second, step=0.003):
    """Points (N,3) of a rectangle and its normals."""
    origin, first, second = (np.array(v, float) for v in (origin, first, second))
    a, b = (np.arange(0, np.linalg.norm(v) + 1e-9, step) / np.linalg.norm(v) for v in (first, second))
    points = origin + (a[:, None, None] * first + b[None, :, None] * second).reshape(-1, 3)
    normal = np.cross(first, second)
    return points, np.broadcast_to(normal / np.linalg.norm(normal), points.shape)


def box_from_one_side(width=0.06, depth=0.12, height=0.15):
    """Top and front (towards -y) of a box on a table at z = 0."""
    top = face([-width / 2, 0, height], [width, 0, 0], [0, depth, 0])
    front = face([-width / 2, 0, 0], [width, 0, 0], [0, 0, height])
    return np.concatenate([top[0], front[0]]), np.concatenate([top[1], front[1]])


def table(half=0.3):
    line = np.arange(-half, half, 0.01)
    return np.column_stack([*(g.ravel() for g in np.meshgrid(line, line)), np.zeros(len(line) ** 2)])


def test_below_a_top_there_is_the_object():
    points, normals = box_from_one_side()
    inside = solid_below(points, normals, 0.0)
    assert len(inside) > 500
    assert (np.abs(inside[:, 0]) < 0.03).all()
    assert ((inside[:, 1] > 0) & (inside[:, 1] < 0.12)).all()
    assert 0 < inside[:, 2].min() < 0.012
    assert inside[:, 2].max() == pytest.approx(0.146, abs=0.001)


def test_what_has_an_underside_ends_there():
    top = face([-0.05, -0.05, 0.1], [0.1, 0, 0], [0, 0.1, 0])
    under = face([-0.05, -0.05, 0.06], [0, 0.1, 0], [0.1, 0, 0])
    inside = solid_below(np.concatenate([top[0], under[0]]), np.concatenate([top[1], under[1]]), 0.0)
    assert 0.06 < inside[:, 2].min() < inside[:, 2].max() < 0.1


def test_a_hollow_stays_open():
    """A cup whose inner bottom is seen: nothing is inside above it, and its walls are too thin to be filled."""
    bottom = face([-0.04, -0.04, 0.01], [0.08, 0, 0], [0, 0.08, 0])
    angle = np.linspace(0, 2 * np.pi, 200)
    heights = np.arange(0, 0.1, 0.003)
    wall = np.array([[0.04 * np.cos(a), 0.04 * np.sin(a), z] for a in angle for z in heights])
    normals = wall * [1, 1, 0] / 0.04
    inside = solid_below(np.concatenate([bottom[0], wall]), np.concatenate([bottom[1], normals]), 0.0)
    assert not len(inside) or inside[:, 2].max() < 0.01


def test_nothing_that_faces_up_encloses_nothing():
    points, normals = face([0, 0, 0], [0.1, 0, 0], [0, 0, 0.1])
    assert solid_below(points, normals, 0.0).shape == (0, 3)


def test_no_finger_goes_into_a_box_through_its_unseen_back():
    points, normals = box_from_one_side()
    grasps = find_grasps(points, normals, np.ones(len(points)), Gripper(), table())
    assert len(grasps) > 20
    size = np.array([0.06, 0.12, 0.15])
    finger = Gripper().finger_thickness
    for grasp in grasps:
        tips = grasp.pose[:3, 3]
        for side in (-1, 1):
            middle = tips + side * (grasp.width / 2 + finger) * grasp.pose[:3, 1] - 0.01 * grasp.pose[:3, 2]
            depth = (size / 2 - np.abs(middle - [0, 0.06, 0.075])).min()
            assert depth < 0.012
