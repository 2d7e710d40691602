"""The one adapter for TF: tf2_ros where it is installed, else /tf and /tf_static by hand.

Both answer for a moment: between two transforms of a frame they interpolate, and wait a little for one that is to come.
"""

import threading
import time
from typing import Protocol

import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from tf2_msgs.msg import TFMessage

from sab3r_ros.geometry.transform_tree import KEPT, NotKnown, TransformTree
from sab3r_ros.nodes.conversions import from_transform, nanoseconds


class TransformUnavailable(LookupError):
    """Two frames are not connected, or not at that moment; the message says what is missing."""


class Transforms(Protocol):
    """Sends transforms and looks them up."""

    def send(self, transform: TransformStamped) -> None:
        """Broadcast on /tf."""

    def lookup(self, target: str, source: str, stamp: int | None = None, timeout: float = 0.0) -> np.ndarray:
        """Source-to-target (4,4) at `stamp` (ns), interpolated; the newest one where that is None.

        timeout: seconds to wait for transforms that are still to come; not from a callback that TF itself needs.
        Raises TransformUnavailable.
        """


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
        self._buffer = tf2_ros.Buffer(Duration(nanoseconds=KEPT))
        self._listener = tf2_ros.TransformListener(self._buffer, node)
        self._error = tf2_ros.TransformException

    def send(self, transform: TransformStamped) -> None:
        self._broadcaster.sendTransform(transform)

    def lookup(self, target: str, source: str, stamp: int | None = None, timeout: float = 0.0) -> np.ndarray:
        when, wait = Time(nanoseconds=stamp or 0), Duration(seconds=timeout)
        try:
            return from_transform(self._buffer.lookup_transform(target, source, when, wait))
        except self._error as error:
            raise TransformUnavailable(f"no transform from {source!r} to {target!r}: {error}") from error


class PlainTransforms:
    """TF through its topics alone."""

    def __init__(self, node):
        static = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._publisher = node.create_publisher(TFMessage, "/tf", 100)
        self._tree = TransformTree()
        self._news = threading.Condition()
        group = MutuallyExclusiveCallbackGroup()
        self._subscriptions = [
            node.create_subscription(TFMessage, "/tf", self._listen, 100, callback_group=group),
            node.create_subscription(TFMessage, "/tf_static", self._listen_static, static, callback_group=group),
        ]

    def send(self, transform: TransformStamped) -> None:
        """Broadcast on /tf."""
        self._remember(transform, False)
        self._publisher.publish(TFMessage(transforms=[transform]))

    def _listen(self, message: TFMessage) -> None:
        for transform in message.transforms:
            self._remember(transform, False)

    def _listen_static(self, message: TFMessage) -> None:
        for transform in message.transforms:
            self._remember(transform, True)

    def _remember(self, transform: TransformStamped, static: bool) -> None:
        q = transform.transform.rotation
        if not np.any([q.x, q.y, q.z, q.w]):  # tf2 ignores such transforms too
            return
        stamp, pose = nanoseconds(transform.header.stamp), from_transform(transform)
        with self._news:
            self._tree.add(transform.header.frame_id, transform.child_frame_id, stamp, pose, static)
            self._news.notify_all()

    def lookup(self, target: str, source: str, stamp: int | None = None, timeout: float = 0.0) -> np.ndarray:
        """Source-to-target (4,4); see `Transforms.lookup`. Raises TransformUnavailable."""
        end = time.monotonic() + timeout
        with self._news:
            while True:
                try:
                    return self._tree.lookup(target, source, stamp)
                except NotKnown as error:
                    reason, may_come = str(error), error.may_come
                left = end - time.monotonic()
                if not may_come or left <= 0:
                    raise TransformUnavailable(f"no transform from {source!r} to {target!r}: {reason}")
                self._news.wait(left)
