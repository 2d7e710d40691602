"""Pinhole projection and the overlap of views."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sab3r_ros.geometry.projection import backproject, overlap, project, scaled_intrinsics, transform
from sab3r_ros.lab.evaluation.stream import GroundTruthView

K = np.array([[100.0, 0, 31.5], [0, 90.0, 23.5], [0, 0, 1]])


@given(st.integers(0, 10**6))
def test_projection_undoes_backprojection(seed):
    depth = np.random.default_rng(seed).uniform(0.3, 9, (48, 64))
    y, x = np.mgrid[:48, :64]
    assert np.allclose(project(backproject(depth, K), K), np.stack([x, y], -1), atol=1e-9)


def test_points_behind_the_camera_have_no_pixel():
    assert np.isnan(project(np.array([[0.0, 0, -1], [0, 0, 0]]), K)).all()


@given(st.integers(16, 900), st.integers(16, 900), st.integers(16, 600), st.integers(16, 600), st.integers(0, 7))
def test_resized_intrinsics_follow_pixel_centres(w, h, w1, h1, crop):
    scaled = scaled_intrinsics(K, (w, h), (w1, h1), (crop, crop))
    ray = np.array([0.2, -0.1, 1.0])
    u, v = (K @ ray)[:2]
    expected = (u + 0.5) * w1 / w - 0.5 - crop, (v + 0.5) * h1 / h - 0.5 - crop
    assert (scaled @ ray)[:2] == pytest.approx(expected)


def test_overlap_of_a_view_with_itself_and_with_one_turned_away():
    depth = np.full((48, 64), 2.0)
    here = GroundTruthView(depth, np.eye(4), K)
    away = np.diag([-1.0, 1, -1, 1])
    assert overlap(here, here) == 1.0
    assert overlap(here, GroundTruthView(depth, away, K)) == 0.0
    assert overlap(GroundTruthView(np.zeros((48, 64)), np.eye(4), K), here) == 0.0


def test_a_wall_in_between_hides_what_is_behind():
    far, near = np.full((48, 64), 4.0), np.full((48, 64), 1.0)
    assert overlap(GroundTruthView(far, np.eye(4), K), GroundTruthView(near, np.eye(4), K)) == 0.0


def test_transform_applies_rotation_and_translation():
    pose = np.eye(4)
    pose[:3, 3] = 1, 2, 3
    assert transform(pose, np.zeros((2, 3))).tolist() == [[1, 2, 3], [1, 2, 3]]
