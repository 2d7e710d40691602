"""The affordance server's way to the map: objects from `semantic_mapper`, and the map around them."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from scipy.spatial import cKDTree
from sensor_msgs.msg import PointCloud2

from sab3r_ros.msg import MapStatus, ObjectInstance
from sab3r_ros.nodes import conversions as convert
from sab3r_ros.nodes.qos import LATCHED
from sab3r_ros.srv import LocateObject, QueryAffordance

_STATUS = QueryAffordance.Response
_AROUND = 0.4  # metres: what is farther from the object cannot be in a gripper's way


class NotAnswered(Exception):
    """Why there is no answer: `status` is one of QueryAffordance's."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


@dataclass
class FoundObject:
    """An object's points (N,3) in `frame`, metres, seen last at `stamp` (ns); surroundings (M,3): the map near it; note: what
    the caller should know of the choice."""

    name: str
    points: np.ndarray
    frame: str
    stamp: int
    map_status: MapStatus = field(default_factory=MapStatus)
    surroundings: np.ndarray | None = None
    note: str = ""


def ambiguity(objects: Sequence[ObjectInstance]) -> str:
    """What to say when several things, best first, answer to one name; "" when one does."""
    if len(objects) < 2:
        return ""
    scores = " and ".join(f"{item.score:.2f}" for item in objects[:2])
    return f"several things answer {objects[0].label!r} (scores {scores}), the best was taken; say more of it or send its points"


class MapClient:
    """Asks the locate_object of the node called `mapper` and keeps its newest map."""

    def __init__(self, node, mapper: str):
        group = MutuallyExclusiveCallbackGroup()
        self._service = f"{mapper}/locate_object"
        self._locate = node.create_client(LocateObject, self._service, callback_group=group)
        self._map: PointCloud2 | None = None
        self._subscription = node.create_subscription(
            PointCloud2, f"{mapper}/map", self._keep, LATCHED, callback_group=group
        )

    def _keep(self, message: PointCloud2) -> None:
        self._map = message

    def find(self, request: QueryAffordance.Request, timeout: float, now: int) -> FoundObject:
        """The object that the request names. Raises NotAnswered."""
        if not request.object.strip():
            raise NotAnswered(_STATUS.INVALID_REQUEST, "name an object, or send its points as `cloud`")
        answer = self._ask(request.object, timeout)
        status = answer.map_status
        if status.scale_source == MapStatus.SCALE_UNKNOWN and not request.allow_unscaled:
            raise NotAnswered(
                _STATUS.SCALE_UNKNOWN, "the map has no metric scale; set allow_unscaled to get an answer without it"
            )
        stamp = convert.nanoseconds(answer.header.stamp)
        oldest = convert.nanoseconds(request.max_age)
        if oldest and now - stamp > oldest:
            age = (now - stamp) / 1e9
            raise NotAnswered(
                _STATUS.STALE_MAP, f"the newest image in the map is {age:.1f} s old, {oldest / 1e9:.1f} s are allowed"
            )
        best = answer.objects[0]
        fields = convert.read_cloud(best.points)
        points = np.stack([fields[k] for k in "xyz"], 1).astype(np.float64)
        return FoundObject(
            request.object,
            points,
            answer.header.frame_id,
            stamp,
            status,
            self._around(points),
            ambiguity(answer.objects),
        )

    def _ask(self, name: str, timeout: float) -> LocateObject.Response:
        if not self._locate.service_is_ready() and not self._locate.wait_for_service(timeout):
            raise NotAnswered(
                _STATUS.EMPTY_MAP, f"nobody answers {self._service}: start semantic_mapper, or set the parameter mapper"
            )
        future = self._locate.call_async(LocateObject.Request(prompts=[name], max_objects=2, return_points=True))
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        if not done.wait(timeout):
            future.cancel()
            raise NotAnswered(_STATUS.FAILED, f"{self._service} did not answer within {timeout:.1f} s")
        answer = future.result()
        same = LocateObject.Response
        if answer.status == same.SUCCESS:
            return answer
        known = {
            same.NO_MATCH: _STATUS.NO_MATCH, same.EMPTY_MAP: _STATUS.EMPTY_MAP, same.INVALID_REQUEST: _STATUS.INVALID_REQUEST,
            same.NOT_CONFIGURED: _STATUS.NOT_ACTIVE,
        }  # fmt: skip
        raise NotAnswered(known.get(answer.status, _STATUS.FAILED), f"{name!r}: {answer.message}")

    def _around(self, points: np.ndarray) -> np.ndarray | None:
        """The map's points near the object that are not its own."""
        if self._map is None:
            return None
        fields = convert.read_cloud(self._map)
        cloud = np.stack([fields[k] for k in "xyz"], 1).astype(np.float64)
        if not len(cloud):
            return None
        distance = cKDTree(points).query(cloud, distance_upper_bound=_AROUND)[0]
        return cloud[(distance > 1e-3) & np.isfinite(distance)]
