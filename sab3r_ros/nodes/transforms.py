"""The one adapter for TF: tf2_ros where it is installed, else /tf and /tf_static by hand.

By hand means: the newest transform of every frame, chained; no interpolation in time.
"""

from typing import Protocol

import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from tf2_msgs.msg import TFMessage

from sab3r_ros.nodes.conversions import from_transform, nanoseconds


class TransformUnavailable(LookupError):
    """Two frames are not connected; the message names them."""


class Transforms(Protocol):
    """Sends transforms and looks them up."""

    def send(self, transform: TransformStamped) -> None:
        """Broadcast on /tf."""

    def lookup(self, target: str, source: str) -> np.ndarray:
        """The newest source-to-target (4,4). Raises TransformUnavailable."""


def make_transforms(node) -> Transforms:
    """The best that is installed."""
    try:
        import tf2_ros
    except ModuleNotFoundError as error:
        if error.name != "tf2_ros":
            raise
        return PlainTransforms(node)
    return _Tf2Transforms(node, tf2_ros)


class _Tf2Transforms:
    def __init__(self, node, tf2_ros):
        self._broadcaster = tf2_ros.TransformBroadcaster(node)
        self._buffer = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(self._buffer, node)
        self._error = tf2_ros.TransformException
        self._newest = Time()

    def send(self, transform: TransformStamped) -> None:
        self._broadcaster.sendTransform(transform)

    def lookup(self, target: str, source: str) -> np.ndarray:
        try:
            return from_transform(self._buffer.lookup_transform(target, source, self._newest))
        except self._error as error:
            raise TransformUnavailable(f"no transform from {source!r} to {target!r}: {error}") from error


class PlainTransforms:
    """TF through its topics alone."""

    def __init__(self, node):
        static = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._publisher = node.create_publisher(TFMessage, "/tf", 100)
        self._parents: dict[str, tuple[str, np.ndarray, int]] = {}
        group = MutuallyExclusiveCallbackGroup()
        self._subscriptions = [
            node.create_subscription(TFMessage, topic, self._listen, qos, callback_group=group)
            for topic, qos in (("/tf", 100), ("/tf_static", static))
        ]

    def send(self, transform: TransformStamped) -> None:
        """Broadcast on /tf."""
        self._remember(transform)
        self._publisher.publish(TFMessage(transforms=[transform]))

    def _listen(self, message: TFMessage) -> None:
        for transform in message.transforms:
            self._remember(transform)

    def _remember(self, transform: TransformStamped) -> None:
        self._parents[transform.child_frame_id] = (
            transform.header.frame_id, from_transform(transform), nanoseconds(transform.header.stamp),
        )  # fmt: skip

    def _to_root(self, frame: str) -> dict[str, np.ndarray]:
        """Every ancestor of a frame with the (4,4) from the frame to it."""
        chain, pose = {frame: np.eye(4)}, np.eye(4)
        while frame in self._parents:
            frame, step, _ = self._parents[frame]
            if frame in chain:
                break
            pose = step @ pose
            chain[frame] = pose
        return chain

    def lookup(self, target: str, source: str) -> np.ndarray:
        """The newest source-to-target (4,4). Raises TransformUnavailable."""
        from_source, from_target = self._to_root(source), self._to_root(target)
        for frame, pose in from_source.items():
            if frame in from_target:
                return np.linalg.inv(from_target[frame]) @ pose
        raise TransformUnavailable(f"no transform from {source!r} to {target!r}: they have no common ancestor on /tf")
