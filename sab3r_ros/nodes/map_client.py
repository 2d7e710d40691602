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
    the caller should know of the choice. Points outside the request's region of interest are not cut off yet."""

    name: str
    points: np.ndarray
    frame: str
    stamp: int
    map_status: MapStatus = field(default_factory=MapStatus)
    surroundings: np.ndarray = field(default_factory=lambda: np.empty((0, 3)))
    note: str = ""


def ambiguity(objects: Sequence[ObjectInstance]) -> str:
    """What to say when several things, best first, answer to one name; "" when one does."""
    if len(objects) < 2:
        return ""
    scores = " and ".join(f"{item.score:.2f}" for item in objects[:2])
    return f"several things answer {objects[0].label!r} (scores {scores}), the best was taken; say more of it or send its points"


def around(points: np.ndarray, cloud: np.ndarray) -> np.ndarray:
    """Those of a cloud (M,3) that lie near points (N,3) and are none of them; what is not finite lies nowhere."""
    points, cloud = (x[np.isfinite(x).all(1)] for x in (points, cloud))
    if not len(points) or not len(cloud):
        return cloud[:0]
    distance = cKDTree(points).query(cloud, distance_upper_bound=_AROUND)[0]
    return cloud[(distance > 1e-3) & np.isfinite(distance)]


class MapClient:
    """Asks the locate_object of the node called `mapper` and keeps its newest map and status."""

    def __init__(self, node, mapper: str):
        group = MutuallyExclusiveCallbackGroup()
        self._service = f"{mapper}/locate_object"
        self._locate = node.create_client(LocateObject, self._service, callback_group=group)
        self._map = convert.make_cloud(convert.header("", 0), **convert.xyz_columns(np.empty((0, 3))))
        self._status = MapStatus()
        node.create_subscription(PointCloud2, f"{mapper}/map", self._keep_map, LATCHED, callback_group=group)
        node.create_subscription(MapStatus, f"{mapper}/status", self._keep_status, LATCHED, callback_group=group)

    def _keep_map(self, message: PointCloud2) -> None:
        self._map = message

    def _keep_status(self, message: MapStatus) -> None:
        self._status = message

    def find(self, request: QueryAffordance.Request, timeout: float, now: int) -> FoundObject:
        """The object that the request names, or the whole map where it names a region of interest instead.

        Raises NotAnswered.
        """
        if request.object.strip():
            return self._named(request, timeout, now)
        if convert.from_xyz(request.roi_size).any():
            return self._everything(request, now)
        text = "name an object, give a region of interest (roi_size), or send points as `cloud`"
        raise NotAnswered(_STATUS.INVALID_REQUEST, text)

    def _everything(self, request, now: int) -> FoundObject:
        points = convert.read_xyz(self._map)
        if not len(points):
            raise NotAnswered(_STATUS.EMPTY_MAP, "nothing has been mapped yet")
        stamp = convert.nanoseconds(self._map.header.stamp)
        _check(self._status, stamp, request, now)
        return FoundObject("region of interest", points, self._map.header.frame_id, stamp, self._status)

    def _named(self, request, timeout: float, now: int) -> FoundObject:
        answer = self._ask(request.object, timeout)
        stamp = convert.nanoseconds(answer.header.stamp)
        _check(answer.map_status, stamp, request, now)
        points = convert.read_xyz(answer.objects[0].points)
        return FoundObject(
            request.object, points, answer.header.frame_id, stamp, answer.map_status, around(points, convert.read_xyz(self._map)),
            ambiguity(answer.objects),
        )  # fmt: skip

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


def _check(status: MapStatus, stamp: int, request: QueryAffordance.Request, now: int) -> None:
    """Raises NotAnswered where the caller does not accept the map's scale or age."""
    if status.scale_source == MapStatus.SCALE_UNKNOWN and not request.allow_unscaled:
        raise NotAnswered(
            _STATUS.SCALE_UNKNOWN, "the map has no metric scale; set allow_unscaled to get an answer without it"
        )
    oldest = convert.nanoseconds(request.max_age)
    if oldest and now - stamp > oldest:
        age = (now - stamp) / 1e9
        raise NotAnswered(
            _STATUS.STALE_MAP, f"the newest image in the map is {age:.1f} s old, {oldest / 1e9:.1f} s are allowed"
        )
