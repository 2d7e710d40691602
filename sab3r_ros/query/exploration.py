"""How much of a room was looked at: the share of the border of free space that is a surface, not darkness.

Seen from above, cells that rays from cameras to surfaces cross are free; a free cell's neighbour is a surface, free too, or a
place that nobody has looked at: a frontier (Yamauchi, "A frontier-based approach for autonomous exploration", 1997).
"""

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.ndimage import binary_closing, binary_dilation

from sab3r_ros.types import Keyframe, MapSnapshot

_CELL = 0.15  # metres
_BAND = (0.15, 2.2)  # metres above the lowest points: what lies between blocks the view of somebody who looks around
_REACH = 8.0  # metres: farther points err too much to say what is free
_STEPS = 64  # samples along a ray
_PIXELS = 600  # rays of a view
_VIEWS = 150  # views at most, evenly chosen
_THIN = 4  # of a keyframe's pixels, in both directions
_FEWEST = 50  # points of a map of which anything can be said


class Exploration:
    """The explored share of one map after the other; worked out again only where the map or its keyframes changed."""

    def __init__(self) -> None:
        self._state: tuple[int, int, int] | None = None
        self._share = float("nan")

    def share(self, snapshot: MapSnapshot, keyframes: Sequence[Keyframe]) -> float:
        """`explored_share` of a whole map."""
        state = snapshot.map_uid, snapshot.version, len(keyframes)
        if state != self._state:
            self._state, self._share = state, explored_share(snapshot.points, views_of(keyframes))
        return self._share


def views_of(keyframes: Sequence[Keyframe]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Poses (4,4) and thinned pointmaps (..., 3) of at most 150 keyframes, evenly chosen."""
    some = keyframes[:: -(-len(keyframes) // _VIEWS)] if keyframes else []
    return [(k.pose.cpu().numpy(), k.points[::_THIN, ::_THIN].float().cpu().numpy()) for k in some]


def explored_share(points: np.ndarray, views: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
    """In [0, 1], or nan where too little is known.

    points (N,3): of a map whose z is up, in metres; views: poses (4,4), similarities from camera to map, and pointmaps
    (..., 3) in the camera.
    """
    views = list(views)
    if len(points) < _FEWEST or not views:
        return float("nan")
    low = np.quantile(points[:, 2], 0.02)
    blocking = points[(points[:, 2] > low + _BAND[0]) & (points[:, 2] < low + _BAND[1])]
    free = np.concatenate([_free_cells(pose, pointmap) for pose, pointmap in views])
    blocked = _cells_of(blocking[:, :2])
    if not len(free) or not len(blocked):
        return float("nan")
    first = np.minimum(free.min(0), blocked.min(0)) - 1
    shape = np.maximum(free.max(0), blocked.max(0)) + 2 - first
    is_blocked, is_free = np.zeros(shape, bool), np.zeros(shape, bool)
    is_blocked[tuple((blocked - first).T)] = True
    is_free[tuple((free - first).T)] = True
    is_free = binary_closing(is_free, np.ones((3, 3))) & ~is_blocked  # rays leave gaps
    is_blocked = binary_dilation(is_blocked) & ~is_free  # rays end a cell short of what they hit
    unknown = ~is_free & ~is_blocked
    frontier, surface = (
        sum(int((is_free & np.roll(cells, step, axis)).sum()) for axis in (0, 1) for step in (1, -1))
        for cells in (unknown, is_blocked)
    )
    return surface / (surface + frontier) if surface + frontier else float("nan")


def _free_cells(pose: np.ndarray, pointmap: np.ndarray) -> np.ndarray:
    """Cells (M,2) that the rays of one view cross before they end."""
    points = pointmap.reshape(-1, 3)
    points = points[np.isfinite(points).all(1) & (points[:, 2] > 0.05)]
    points = points[:: max(1, len(points) // _PIXELS)]
    ends = points @ pose[:3, :3].T + pose[:3, 3]
    rays = ends - pose[:3, 3]
    length = np.linalg.norm(rays, axis=1)
    rays, length = rays[length < _REACH], length[length < _REACH]
    if not len(rays):
        return np.zeros((0, 2), int)
    short = np.clip(1 - _CELL / length, 0, 1)  # a ray's end is a surface
    along = np.linspace(0, 1, _STEPS)[:, None, None] * (rays[:, :2] * short[:, None])[None]
    return _cells_of((pose[:2, 3] + along).reshape(-1, 2))


def _cells_of(places: np.ndarray) -> np.ndarray:
    """The cells (M,2) that hold places (N,2), each once."""
    cell = np.floor(places / _CELL).astype(np.int64)
    packed = np.unique((cell[:, 0] << 32) + (cell[:, 1] + (1 << 31)))  # numbers sort much faster than rows
    return np.stack([packed >> 32, (packed & 0xFFFFFFFF) - (1 << 31)], 1)
