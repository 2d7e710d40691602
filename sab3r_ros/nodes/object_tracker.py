"""The map's things while it grows: what frames see of them is collected on the mapping thread and worked off by another."""

import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from geometry_msgs.msg import Point

from sab3r_ros.mapping.session import map_mark
from sab3r_ros.msg import ObjectInstance
from sab3r_ros.nodes import conversions as convert
from sab3r_ros.query.map_query import MapQuery
from sab3r_ros.query.object_store import load_objects, new_registry, save_objects
from sab3r_ros.query.registry import MapObject, ObjectRegistry
from sab3r_ros.query.visibility import View, view_of_result
from sab3r_ros.types import FrameResult, Keyframe, MapSnapshot

_KEPT = 30  # frames between two updates of which something can still be said
_POSITION_STD, _ORIENTATION_STD = 0.05, 0.3  # metres, radians: of an object's box, beside the scale


class ObjectTracker:
    """An ObjectRegistry for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._registry = ObjectRegistry()
        self._views: deque[View] = deque(maxlen=_KEPT)

    def look(self, result: FrameResult) -> None:
        """Keep what a frame sees for the next update."""
        view = view_of_result(result)
        if view is not None:
            self._views.append(view)

    def update(self, query: MapQuery, snapshot: MapSnapshot, keyframes: Sequence[Keyframe]) -> None:
        """See `ObjectRegistry.update`; first come the frames since the last one."""
        with self._lock:
            while self._views:
                self._registry.look(self._views.popleft())
            self._registry.update(query, snapshot, keyframes)

    def save(self, folder: Path) -> int:
        """Write the things beside the map that was just saved there; returns their bytes. Raises OSError, MapFileError."""
        with self._lock:
            return save_objects(folder, map_mark(folder), self._registry).stat().st_size

    def restore(self, folder: Path) -> None:
        """Go on from the things saved beside a map, or from none. Raises ValueError for a damaged file."""
        stored = load_objects(folder, map_mark(folder))
        with self._lock:
            self._registry = new_registry(stored)
            self._views.clear()

    @property
    def objects(self) -> list[MapObject]:
        """All things, oldest first."""
        with self._lock:
            return self._registry.objects


def thing_message(item: MapObject, scale_stddev: float) -> ObjectInstance:
    """A thing in the map's frame as a message, without its points."""
    out = ObjectInstance(
        id=item.id, label=item.label, score=item.labels[0][1], probability=item.labels[0][1], state=int(item.state),
        labels=[name for name, _ in item.labels], label_shares=[share for _, share in item.labels], num_points=len(item.points),
        num_views=item.views, has_moved=item.moved_from is not None,
    )  # fmt: skip
    out.pose.pose = convert.to_pose(item.box_pose)
    out.pose.covariance = convert.pose_covariance(item.box_pose[:3, 3], scale_stddev, _POSITION_STD, _ORIENTATION_STD)
    out.size, out.centroid = convert.to_vector(item.size), convert.to_point(item.centroid)
    out.moved_from = Point() if item.moved_from is None else convert.to_point(item.moved_from)
    out.first_seen, out.last_seen = convert.to_stamp(item.first_seen), convert.to_stamp(item.last_seen)
    return out
