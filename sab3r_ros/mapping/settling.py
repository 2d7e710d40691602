"""What is done to a map once all its keyframes were adjusted: it is turned upright, free space is cleared, walls become straight.

Each step reads under the mapper's lock, works without it, and changes the map in portions between which a frame may pass.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from sab3r_ros.mapping.free_space import depth_view, seen_through
from sab3r_ros.mapping.straightening import Straightener
from sab3r_ros.mapping.up import find_up, rotation_to_z

if TYPE_CHECKING:
    from sab3r_ros.mapping.mapper import Mapper
    from sab3r_ros.mapping.state import MapState

T = TypeVar("T")

_LOG = logging.getLogger("sab3r_ros")
_UPRIGHT = 3.0  # degrees: a map that leans less is left as it is
_PORTION = 8  # keyframes whose voxels are moved at once, while the lock is held


def turn_upright(mapper: "Mapper") -> float:
    """See `Mapper.turn_upright`."""
    with mapper.lock:
        state = mapper.state
        if mapper.up_is_known or state.upright or not mapper.settings.camera.find_up:
            return 0.0
        keyframes = state.graph.keyframes
    up = find_up(keyframes)
    return 0.0 if up is None else turn(mapper, state, up, "its floors, tables and walls")


def turn(mapper: "Mapper", state: "MapState", up: np.ndarray, by: str) -> float:
    """Turn a map so that `up` (3,) is its z axis; returns by how many degrees. by: what shows it."""
    degrees = float(np.degrees(np.arccos(np.clip(up[2], -1, 1))))
    rotation = torch.eye(4, dtype=torch.float64)
    rotation[:3, :3] = torch.from_numpy(rotation_to_z(up))
    with mapper.lock:
        if mapper.state is not state:
            return 0.0
        state.upright = True
        if degrees < _UPRIGHT:
            return 0.0
        state.transform(rotation)
    mapper.move_voxels(state)
    _LOG.info("the map was turned by %.0f degrees: %s show which way is up", degrees, by)
    return degrees


def clear_free_space(mapper: "Mapper", stop: threading.Event | None = None) -> int:
    """See `Mapper.clear_free_space`."""
    with mapper.lock:
        state, settings = mapper.state, mapper.settings.map
        lens, _ = state.believed_lens()
        if not settings.clear_free_space or lens is None:
            return 0
        newest = state.graph.keyframes[-1].points.shape
        keyframes = [k for k in state.graph.keyframes if k.points.shape == newest]  # others are of another camera
        contributions, snapshot = state.scene.contributed(), state.scene.snapshot(columns=("xyz",))
    stop = stop or threading.Event()
    views = (depth_view(k, settings) for k in keyframes if not stop.is_set())
    gone = seen_through(snapshot.points.astype(np.float64), views, lens)
    if stop.is_set():
        return 0
    rows = snapshot.rows[torch.from_numpy(gone)]
    kept = [(number, part, ~torch.isin(part.rows, rows)) for number, part in contributions.items()]
    kept = [(number, part, mask) for number, part, mask in kept if not mask.all()]
    return len(rows) if in_portions(mapper, state, kept, state.scene.thin) else 0


def straighten_walls(mapper: "Mapper", straightener: Straightener) -> int:
    """See `Mapper.straighten_walls`."""
    with mapper.lock:
        state = mapper.state
        upright = state.upright or mapper.up_is_known
        if not (mapper.settings.map.straight_walls and upright and state.scene.has_features):
            return 0
        parts, basis, keypoints = state.scene.parts(), state.scene.codec.basis.clone(), state.keypoints
    shapes, planes = straightener.shapes(parts, basis, keypoints)
    return planes if in_portions(mapper, state, shapes, state.scene.reshape) else 0


def in_portions(
    mapper: "Mapper", state: "MapState", items: Sequence[T], change: Callable[[Sequence[T]], object]
) -> bool:
    """Change a map for some items at a time, with the lock in hand; False where the map was replaced meanwhile."""
    for start in range(0, len(items), _PORTION):
        with mapper.lock:
            if mapper.state is not state:
                return False
            change(items[start : start + _PORTION])
            mapper.revision += 1
    return True
