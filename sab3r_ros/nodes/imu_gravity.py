"""Which way is up in the map, from an inertial unit's accelerations (sensor_msgs/Imu).

At rest an accelerometer measures 9.8 m/s^2 upwards; accelerations of a hand or a robot average out. What it measured at an
image's stamp is turned into the map by the camera's pose of that image, and averaged over images.
"""

from collections import deque

import numpy as np
from sensor_msgs.msg import Imu

from sab3r_ros.nodes.conversions import from_xyz, nanoseconds
from sab3r_ros.nodes.transforms import Transforms, TransformUnavailable
from sab3r_ros.types import FrameResult

_GRAVITY, _OFF = 9.81, 0.25  # m/s^2, and share of it by which the average may differ
_AROUND = 50_000_000  # ns about an image's stamp
_KEPT = 2000  # measurements
_IMAGES = 10  # that must agree
_NOT_MEASURED = -1.0  # covariance of what is not measured (REP 145)


class ImuGravity:
    """Collects measurements and camera poses until they tell which way is up."""

    def __init__(self, transforms: Transforms):
        self._transforms = transforms
        self._measured: deque[tuple[int, np.ndarray, str]] = deque(maxlen=_KEPT)
        self._ups: list[np.ndarray] = []
        self.problem = ""  # why nothing comes of it, so far as is known

    def put(self, message: Imu) -> None:
        """Keep a measurement; one without accelerations is passed over."""
        acceleration = from_xyz(message.linear_acceleration)
        if message.linear_acceleration_covariance[0] == _NOT_MEASURED:
            self.problem = "the IMU does not measure accelerations"
        elif np.isfinite(acceleration).all() and acceleration.any():
            self._measured.append((nanoseconds(message.header.stamp), acceleration, message.header.frame_id))

    def forget(self) -> None:
        """Begin anew with another map."""
        self._ups.clear()

    def up(self, result: FrameResult, camera_frame: str) -> np.ndarray | None:
        """Take a frame into account; the unit vector (3,) that points up in the map, once ten images agree on it."""
        measured = list(self._measured)
        near = [(a, frame) for stamp, a, frame in measured if abs(stamp - result.stamp) <= _AROUND]
        if result.pose is None or not near:
            if measured and result.pose is not None:
                off = (measured[-1][0] - result.stamp) * 1e-9
                self.problem = f"no measurement of the images' moments; the newest is {off:.2f} s away"
            return None
        frame = near[-1][1]
        try:
            to_camera = np.eye(4) if frame == camera_frame else self._transforms.lookup(camera_frame, frame)
        except TransformUnavailable as error:
            self.problem = str(error)
            return None
        mean = np.mean([a for a, f in near if f == frame], axis=0)
        self._ups.append(result.pose[:3, :3] @ to_camera[:3, :3] @ mean)
        if len(self._ups) < _IMAGES:
            return None
        up = np.mean(self._ups[-3 * _IMAGES :], axis=0)
        length = float(np.linalg.norm(up))
        if abs(length / _GRAVITY - 1) > _OFF:
            self.problem = f"accelerations average to {length:.1f} m/s^2: is their unit right?"
            return None
        return up / length
