"""The one adapter for TF: tf2_ros where it is installed, else /tf and /tf_static by hand.

Both answer for a moment: between two transforms of a frame they interpolate, and wait a little for one that is to come.
"""

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from scipy.spatial.transform import Rotation, Slerp
from tf2_msgs.msg import TFMessage

from sab3r_ros.nodes.conversions import from_transform, nanoseconds

_KEPT = 30 * 10**9  # ns of transforms kept per frame: longer than any frame takes to map
_MOST = 10_000  # transforms kept per frame, whatever their stamps say


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
        self._buffer = tf2_ros.Buffer(Duration(nanoseconds=_KEPT))
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


@dataclass
class _Link:
    """Where a frame was in its parent: (stamp, pose) in the order of their stamps; one that is static holds always."""

    parent: str
    static: bool
    poses: deque = field(default_factory=lambda: deque(maxlen=_MOST))

    def add(self, stamp: int, pose: np.ndarray) -> None:
        if self.static:
            self.poses.clear()
        elif self.poses and stamp <= self.poses[-1][0]:
            if self.poses[-1][0] - stamp > _KEPT // 3:  # time began anew: a bag was started again
                self.poses.clear()
            else:
                before = [p for p in self.poses if p[0] < stamp]
                after = [p for p in self.poses if p[0] > stamp]
                self.poses = deque([*before, (stamp, pose), *after], maxlen=_MOST)
                return
        self.poses.append((stamp, pose))
        while self.poses[-1][0] - self.poses[0][0] > _KEPT:
            self.poses.popleft()

    def at(self, stamp: int | None, frame: str) -> np.ndarray:
        if self.static or stamp is None:
            return self.poses[-1][1]
        oldest, newest = self.poses[0][0], self.poses[-1][0]
        if not oldest <= stamp <= newest:
            which, by = ("after", stamp - newest) if stamp > newest else ("before", oldest - stamp)
            end = "newest" if stamp > newest else "oldest"
            raise _NotAtThatTime(
                f"{frame} in {self.parent} is wanted {by * 1e-9:.3f} s {which} its {end} transform", stamp > newest
            )
        for (t0, first), (t1, second) in pairwise(self.poses):
            if t0 <= stamp <= t1:
                return interpolated(first, second, (stamp - t0) / (t1 - t0))
        return self.poses[-1][1]


class _NotAtThatTime(Exception):
    def __init__(self, text: str, may_come: bool):
        super().__init__(text)
        self.may_come = may_come


def interpolated(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """The rigid pose (4,4) at `share` in [0, 1] of the way: position linear, orientation along the shortest turn."""
    out = np.eye(4)
    out[:3, 3] = (1 - share) * first[:3, 3] + share * second[:3, 3]
    both = Rotation.from_matrix(np.stack([first[:3, :3], second[:3, :3]]))
    out[:3, :3] = Slerp([0, 1], both)(share).as_matrix()
    return out


class PlainTransforms:
    """TF through its topics alone."""

    def __init__(self, node):
        static = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._publisher = node.create_publisher(TFMessage, "/tf", 100)
        self._links: dict[str, _Link] = {}
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
        child, parent = transform.child_frame_id.lstrip("/"), transform.header.frame_id.lstrip("/")
        q = transform.transform.rotation
        if not child or not parent or not np.any([q.x, q.y, q.z, q.w]):  # tf2 ignores such transforms too
            return
        with self._news:
            link = self._links.get(child)
            if link is None or link.parent != parent or link.static != static:
                link = self._links[child] = _Link(parent, static)
            link.add(nanoseconds(transform.header.stamp), from_transform(transform))
            self._news.notify_all()

    def _to_root(self, frame: str) -> list[str]:
        """A frame and its ancestors."""
        chain = [frame]
        while (link := self._links.get(chain[-1])) is not None and link.parent not in chain:
            chain.append(link.parent)
        return chain

    def lookup(self, target: str, source: str, stamp: int | None = None, timeout: float = 0.0) -> np.ndarray:
        """Source-to-target (4,4); see `Transforms.lookup`. Raises TransformUnavailable."""
        end = time.monotonic() + timeout
        target, source = target.lstrip("/"), source.lstrip("/")
        with self._news:
            while True:
                try:
                    return self._now(target, source, stamp)
                except _NotAtThatTime as error:
                    reason, may_come = str(error), error.may_come
                left = end - time.monotonic()
                if not may_come or left <= 0:
                    raise TransformUnavailable(f"no transform from {source!r} to {target!r}: {reason}")
                self._news.wait(left)

    def _now(self, target: str, source: str, stamp: int | None) -> np.ndarray:
        from_source, from_target = self._to_root(source), self._to_root(target)
        shared = next((frame for frame in from_source if frame in from_target), None)
        if shared is None:
            raise _NotAtThatTime("they have no common ancestor on /tf", True)
        return np.linalg.inv(self._chain(from_target, shared, stamp)) @ self._chain(from_source, shared, stamp)

    def _chain(self, frames: list[str], end: str, stamp: int | None) -> np.ndarray:
        pose = np.eye(4)
        for frame in frames[: frames.index(end)]:
            pose = self._links[frame].at(stamp, frame) @ pose
        return pose
