"""Up from accelerations: averaged over images, by the camera's pose and the unit's place on it."""

import numpy as np
import pytest
from geometry_msgs.msg import Vector3
from sensor_msgs.msg import Imu

from sab3r_ros.mapping.first_pose import mounted_pose
from sab3r_ros.nodes import conversions as convert
from sab3r_ros.nodes.imu_gravity import ImuGravity
from sab3r_ros.nodes.transforms import TransformUnavailable
from sab3r_ros.types import FrameResult, Tracking

TO_CAMERA = mounted_pose(0.7, -0.2)[:3, :3].T  # some turn between unit and camera


class Placed:
    """TF that knows where the unit is on the camera."""

    def lookup(self, target, source, stamp=None, timeout=0.0):
        if (target, source) != ("cam", "unit"):
            raise TransformUnavailable(f"no transform from {source!r} to {target!r}")
        pose = np.eye(4)
        pose[:3, :3] = TO_CAMERA
        return pose


def frame(stamp, pose):
    return FrameResult(stamp, Tracking.OK if pose is not None else Tracking.LOST, pose, 1.0, 1.0, 100.0, 1.0)


def measurement(stamp, acceleration, frame_id="unit", known=True):
    x, y, z = map(float, acceleration)
    out = Imu(header=convert.header(frame_id, stamp), linear_acceleration=Vector3(x=x, y=y, z=z))
    if not known:
        out.linear_acceleration_covariance[0] = -1.0
    return out


def walk(gravity, up, images=14, scale=9.81, noise=0.5, frame_id="unit", first=0):
    """Images of a camera that turns and shakes in a map in which `up` points up; what came of it."""
    rng, found = np.random.default_rng(0), None
    for k in range(first, first + images):
        pose = mounted_pose(0.05 * k, 0.03 * k)
        for step in range(-3, 4):
            felt = scale * up + noise * rng.normal(size=3)
            gravity.put(measurement(k * 10**8 + step * 10**7, TO_CAMERA.T @ pose[:3, :3].T @ felt, frame_id))
        found = gravity.up(frame(k * 10**8, pose), "cam")
    return found


@pytest.mark.parametrize("up", [np.array([0, 0, 1.0]), np.array([0.6, 0, 0.8])])
def test_up_is_found_although_the_camera_shakes(up):
    assert walk(ImuGravity(Placed()), up) == pytest.approx(up, abs=0.03)


def test_a_few_images_tell_nothing_and_another_map_begins_anew():
    gravity = ImuGravity(Placed())
    assert walk(gravity, np.array([0, 0, 1.0]), images=9) is None
    gravity.forget()
    assert walk(gravity, np.array([0, 1.0, 0]), images=9, first=20) is None
    assert walk(gravity, np.array([0, 1.0, 0]), images=3, first=40) == pytest.approx([0, 1, 0], abs=0.03)


def test_what_cannot_be_used_is_said():
    gravity = ImuGravity(Placed())
    assert walk(gravity, np.array([0, 0, 1.0]), scale=1.0, noise=0.0) is None
    assert "1.0 m/s^2" in gravity.problem
    elsewhere = ImuGravity(Placed())
    assert walk(elsewhere, np.array([0, 0, 1.0]), frame_id="mars") is None
    assert "'mars'" in elsewhere.problem
    late = ImuGravity(Placed())
    late.put(measurement(10**10, (0, 0, 9.81)))
    assert late.up(frame(0, np.eye(4)), "cam") is None
    assert "10.00 s away" in late.problem
    assert late.up(frame(0, None), "cam") is None
    silent = ImuGravity(Placed())
    silent.put(measurement(0, (0, 0, 9.81), known=False))
    silent.put(measurement(0, (float("nan"), 0, 9.81)))
    assert silent.up(frame(0, np.eye(4)), "cam") is None
    assert "does not measure" in silent.problem
