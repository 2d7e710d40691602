"""Lens distortion: a rectified image obeys the pinhole model."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sab3r_ros.mapping.rectification import Rectifier, rectification_maps
from sab3r_ros.types import Camera, Frame

SIZE = (320, 240)
MATRIX = np.array([[210.0, 0, 158], [0, 212.0, 121], [0, 0, 1]])
DISTORTIONS = {
    "plumb_bob": (-0.28, 0.09, 0.001, -0.0005, -0.01),
    "rational_polynomial": (0.4, -0.2, 0.0, 0.0, 0.01, 0.5, -0.1, 0.02),
    "equidistant": (-0.02, 0.01, -0.004, 0.001),
}


def distorted(points, camera):
    """Pixels (N,2) of camera-frame points (N,3) in the raw image."""
    coefficients = np.array(camera.distortion)
    if camera.model == "equidistant":
        unit = (points[:, :2] / points[:, 2:])[:, None]
        return cv2.fisheye.distortPoints(unit, camera.intrinsics, coefficients)[:, 0]
    return cv2.projectPoints(points[:, None], np.zeros(3), np.zeros(3), camera.intrinsics, coefficients)[0][:, 0]


@pytest.mark.parametrize("model", DISTORTIONS)
@settings(max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_a_point_of_the_world_lands_where_the_new_intrinsics_say(model, seed):
    camera = Camera(MATRIX, DISTORTIONS[model], model)
    maps, new = rectification_maps(camera, SIZE)
    rng = np.random.default_rng(seed)
    pixel = rng.uniform([40, 40], [280, 200])
    ray = np.linalg.inv(new) @ [*pixel, 1]
    raw = distorted(ray[None], camera)[0]
    x, y = cv2.convertMaps(*maps, cv2.CV_32FC1)
    column, row = np.round(pixel).astype(int)
    near = np.array([x[row, column], y[row, column]])
    step = np.array([x[row, column + 1] - x[row, column], y[row + 1, column] - y[row, column]])
    assert np.abs(near + (pixel - [column, row]) * step - raw).max() < 0.6


@pytest.mark.parametrize("model", DISTORTIONS)
def test_frames_keep_their_size_and_show_nothing_from_outside(model):
    rgb = np.full((*SIZE[::-1], 3), 200, np.uint8)
    depth = np.full(SIZE[::-1], 2.0, np.float32)
    out = Rectifier()(Frame(rgb, 5, depth, Camera(MATRIX, DISTORTIONS[model], model)))
    assert out.rgb.shape == rgb.shape
    assert (out.rgb[3:-3, 3:-3] == 200).all()
    assert (out.depth[3:-3, 3:-3] == 2).all()
    assert out.camera.model == "pinhole"
    assert not out.camera.is_distorted
    assert out.stamp == 5


def test_frames_without_distortion_are_left_alone():
    rgb = np.zeros((4, 6, 3), np.uint8)
    for camera in (None, Camera(MATRIX), Camera(MATRIX, (0.0,) * 5, "plumb_bob")):
        frame = Frame(rgb, 0, None, camera)
        assert Rectifier()(frame) is frame


@pytest.mark.parametrize(
    ("camera", "why"),
    [
        (Camera(MATRIX, (0.1,) * 4, "omnidirectional"), "'omnidirectional' is not known"),
        (Camera(MATRIX, (0.1,) * 3, "plumb_bob"), "takes 4 or 5 coefficients, got 3"),
    ],
)
def test_unknown_models_and_wrong_coefficients_say_so(camera, why):
    with pytest.raises(ValueError, match=why):
        Rectifier()(Frame(np.zeros((4, 6, 3), np.uint8), 0, None, camera))
