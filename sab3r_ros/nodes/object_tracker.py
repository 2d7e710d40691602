"""The map's things while it grows: what frames see of them is collected on the mapping thread and worked off by another."""

import threading
from collections import deque
from pathlib import Path

from sab3r_ros.mapping.map_file import map_mark
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.query.map_query import MapQuery
from sab3r_ros.query.object_store import load_objects, new_registry, save_objects
from sab3r_ros.query.registry import MapObject, ObjectRegistry
from sab3r_ros.query.visibility import View, view_of_result
from sab3r_ros.types import FrameResult

_KEPT = 30  # frames between two updates of which something can still be said


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

    def update(self, query: MapQuery, mapper: Mapper) -> None:
        """See `ObjectRegistry.update`; first come the frames since the last one. An empty map changes nothing."""
        with mapper.lock:
            snapshot, keyframes = mapper.snapshot(), mapper.state.graph.keyframes
        if not len(snapshot):
            return
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
