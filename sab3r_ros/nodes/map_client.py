"""The affordance server's way to the map: objects from `semantic_mapper`, and what surrounds them."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup

from sab3r_ros.msg import MapStatus, ObjectInstance
from sab3r_ros.nodes import conversions as convert
from sab3r_ros.srv import LocateObject, QueryAffordance

_STATUS = QueryAffordance.Response
_SURROUNDINGS = 0.4  # metres: what is farther from the object cannot be in a gripper's way


class QueryError(Exception):
    """Why there is no answer: `status` is one of QueryAffordance's; answer: the mapper's, where it gave one."""

    def __init__(self, status: int, message: str, answer: LocateObject.Response | None = None):
        super().__init__(message)
        self.status, self.answer = status, answer


@dataclass
class FoundObject:
    """An object's points (N,3) in `frame`, metres, seen last at `stamp` (ns); surroundings (M,3): the map near it; views
    (N,): keyframes that saw each point, None where it is not known; note: what the caller should know of the choice. Points outside the request's region of interest are not cut off yet."""

    name: str
    points: np.ndarray
    frame: str
    stamp: int
    map_status: MapStatus = field(default_factory=MapStatus)
    surroundings: np.ndarray = field(default_factory=lambda: np.empty((0, 3)))
    views: np.ndarray | None = None
    note: str = ""


def ambiguity(objects: Sequence[ObjectInstance]) -> str:
    """What to say when several things, best first, answer to one name; "" when one does."""
    if len(objects) < 2:
        return ""
    scores = " and ".join(f"{item.score:.2f}" for item in objects[:2])
    return f"several objects answer {objects[0].label!r} (scores {scores}), the best was taken; say more of it or send its points"


class MapClient:
    """Asks the locate_object of the node called `mapper`."""

    def __init__(self, node, mapper: str):
        group = MutuallyExclusiveCallbackGroup()
        self._service = f"{mapper}/locate_object"
        self._answered = False
        self._locate = node.create_client(LocateObject, self._service, callback_group=group)

    def find(self, request: QueryAffordance.Request, timeout: float, now: int) -> FoundObject:
        """The object that the request names, or what is in its region of interest where it names none.

        Raises QueryError.
        """
        name = request.object.strip()
        if not name and not convert.from_xyz(request.roi_size).any():
            text = "name an object, give a region of interest (roi_size), or send points as `cloud`"
            raise QueryError(_STATUS.INVALID_REQUEST, text)
        wanted = LocateObject.Request(return_points=True, surroundings_radius=_SURROUNDINGS, max_objects=2)
        if name:
            wanted.prompts = [name]
        else:
            wanted.target_frame = request.target_frame
            wanted.roi_pose, wanted.roi_size = request.roi_pose, request.roi_size
        answer = self._ask(wanted, name or "region of interest", timeout)
        stamp = convert.nanoseconds(answer.header.stamp)
        _check(answer.map_status, stamp, request, now)
        best = answer.objects[0]
        columns = convert.read_cloud(best.points)
        return FoundObject(
            name or "region of interest", convert.read_xyz(best.points), answer.header.frame_id, stamp, answer.map_status,
            convert.read_xyz(best.surroundings), columns["views"], ambiguity(answer.objects),
        )  # fmt: skip

    def _ask(self, request: LocateObject.Request, name: str, timeout: float) -> LocateObject.Response:
        if not self._locate.service_is_ready() and not self._locate.wait_for_service(timeout):
            raise QueryError(
                _STATUS.EMPTY_MAP, f"nobody answers {self._service}: start semantic_mapper, or set the parameter mapper"
            )
        answer = self._answer(request, timeout)
        if answer is None:
            raise QueryError(_STATUS.FAILED, f"{self._service} did not answer within {timeout:.1f} s")
        same = LocateObject.Response
        if answer.status == same.SUCCESS:
            return answer
        known = {
            same.NO_MATCH: _STATUS.NO_MATCH, same.EMPTY_MAP: _STATUS.EMPTY_MAP, same.INVALID_REQUEST: _STATUS.INVALID_REQUEST,
            same.NOT_CONFIGURED: _STATUS.NOT_ACTIVE, same.TRANSFORM_UNAVAILABLE: _STATUS.TRANSFORM_UNAVAILABLE,
        }  # fmt: skip
        raise QueryError(known.get(answer.status, _STATUS.FAILED), f"{name!r}: {answer.message}", answer)

    def _answer(self, request: LocateObject.Request, timeout: float) -> LocateObject.Response | None:
        """The first answer, None where none comes in time.

        A server that has just met this client may not know yet where to answer to, and the answer is lost: the first request is
        sent a second time after half of the time.
        """
        done = threading.Event()
        futures = []
        for part in (timeout,) if self._answered else (timeout / 2, timeout / 2):
            futures.append(self._locate.call_async(request))
            futures[-1].add_done_callback(lambda _: done.set())
            if done.wait(part):
                break
        answers = [f.result() for f in futures if f.done() and not f.cancelled()]
        for future in futures:
            future.cancel()
        self._answered = bool(answers)
        return answers[0] if answers else None


def _check(status: MapStatus, stamp: int, request: QueryAffordance.Request, now: int) -> None:
    """Raises QueryError where the caller does not accept the map's scale or age."""
    if status.scale_source == MapStatus.SCALE_UNKNOWN and not request.allow_unscaled:
        raise QueryError(
            _STATUS.SCALE_UNKNOWN, "the map has no metric scale; set allow_unscaled to get an answer without it"
        )
    oldest = convert.nanoseconds(request.max_age)
    if oldest and now - stamp > oldest:
        age = (now - stamp) / 1e9
        raise QueryError(
            _STATUS.STALE_MAP, f"the newest image in the map is {age:.1f} s old, {oldest / 1e9:.1f} s are allowed"
        )
