"""An object's points made ready: what is no part of it dropped, doubles merged, density evened, and all of it said."""

from dataclasses import dataclass, field

import numpy as np
from scipy.spatial import cKDTree

_MAX_POINTS = 20_000  # grasping grows with the square of the density
_GRID = 500  # cells along the object's longest side: points nearer to each other than one of them say nothing new
_STRAY = 4.0  # times the radius that holds 95 of 100 points
_LARGEST = 10.0  # metres; larger "objects" are given in another unit, or are no single object
_SHIFT = 0.318  # of a cell: the outermost points, and those on a regular grid, lie on no border between cells
_MARKED = 20_000_000  # cells that are counted by marking them; more by sorting
_CANONICAL = 1e-6  # metres: to which coordinates are rounded before points are put in order


@dataclass(frozen=True)
class PreparedCloud:
    """points (M,3) float64 about `origin` (3,), in an order of their own; rows (N,): of every given point the one that
    stands for it, -1 where it was dropped; notes: what was done, for people."""

    points: np.ndarray
    origin: np.ndarray
    rows: np.ndarray
    notes: list[str] = field(default_factory=list)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Values (M,...) of prepared points for every given one, 0 where it was dropped."""
        out = np.zeros((len(self.rows), *values.shape[1:]), values.dtype)
        kept = self.rows >= 0
        out[kept] = values[self.rows[kept]]
        return out


def prepare(points: np.ndarray) -> PreparedCloud:
    """Points (N,3) of one object for the network and the grasp planner.

    Dropped: what is not finite, unset points (several at exactly the origin), and strays far outside. Merged: what lies closer
    together than the object's 500th part; coarser where more than 20,000 remain. The result does not depend on the order, on
    doubles or on where the object lies, so that neither does the answer.
    """
    points = np.asarray(points, np.float64)
    rows, notes = np.full(len(points), -1), []
    usable = np.isfinite(points).all(-1)
    if not usable.all():
        notes.append(f"{int((~usable).sum())} points are not finite")
    unset = usable & (points == 0).all(-1)
    if unset.sum() > 1 and (usable & ~unset).any():
        notes.append(f"{int(unset.sum())} points at exactly (0, 0, 0) were taken as unset")
        usable &= ~unset
    kept = np.flatnonzero(usable)
    if not len(kept):
        return PreparedCloud(np.empty((0, 3)), np.zeros(3), rows, notes)
    origin = np.median(points[kept], axis=0)
    local = points[kept] - origin
    distance = np.linalg.norm(local, axis=1)
    near = distance <= max(_STRAY * float(np.quantile(distance, 0.95)), 1e-9)
    if not near.all():
        notes.append(f"{int((~near).sum())} stray points far from the others were dropped")
        kept, local = kept[near], local[near]
    order, first = _canonical(local)
    kept, local = kept[order], local[order]
    if not first.all():
        notes.append(f"{int((~first).sum())} points lie where another one does")
    chosen, group = _thinned(local, first)
    rows[kept] = group
    if len(chosen) < 0.9 * int(first.sum()):
        notes.append(f"{int(first.sum())} points were thinned to {len(chosen)}")
    # The middle of what is left does not move with doubles and strays, as the median above may.
    middle = (local[chosen].min(0) + local[chosen].max(0)) / 2
    return PreparedCloud(local[chosen] - middle, origin + middle, rows, notes)


def check_size(points: np.ndarray) -> str:
    """ "" or why points (N,3) can be no single object in metres."""
    finite = points[np.isfinite(points).all(-1)]
    if not len(finite):
        return ""
    low, high = np.quantile(finite, [0.01, 0.99], axis=0)
    extent = float((high - low).max())
    if extent <= _LARGEST:
        return ""
    unit = "; they look like millimetres: multiply by 0.001 (--unit mm)" if 0.01 <= extent / 1000 <= _LARGEST else ""
    return f"the object is {extent:.0f} m large: points must be in metres, and those of one object{unit}"


def _canonical(local: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An order of points (N,3) that depends on their places alone, and which of them, in it, are first at their place."""
    rounded = np.round((local - local.min(0)) / _CANONICAL).astype(np.int64)
    order = np.lexsort(rounded.T)
    ordered = rounded[order]
    first = np.ones(len(order), bool)
    first[1:] = (ordered[1:] != ordered[:-1]).any(1)
    return order, first


def _thinned(local: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of points that stand for all, at most 20,000, and of every point (N,) the number of the one that does."""
    distinct = np.flatnonzero(first)
    size = float(np.ptp(local, axis=0).max())
    cell = size / _GRID
    from_corner = local[distinct] - local[distinct].min(0)
    while cell > 0 and _occupied(from_corner, cell) > _MAX_POINTS:
        cell *= 1.25
    chosen = one_per_cell(local, distinct, cell) if cell > 0 else distinct
    group = cKDTree(local[chosen]).query(local)[1]
    return chosen, group


def evenly(points: np.ndarray, count: int) -> np.ndarray:
    """Rows of at most `count` points (N,3) that are spread evenly: random ones leave holes that a finger fits through."""
    rows = np.arange(len(points))
    cell = float(np.ptp(points, axis=0).max()) / _GRID if len(points) > count else 0.0
    if cell <= 0:
        return rows
    from_corner = points - points.min(0)
    while _occupied(from_corner, cell) > count:
        cell *= 1.25
    return one_per_cell(points, rows, cell)


def _occupied(from_corner: np.ndarray, cell: float) -> int:
    """How many cells have points in them; from_corner (N,3): the points from the lowest coordinates on. As `one_per_cell` cuts them."""
    columns = [np.floor(column / cell + _SHIFT).astype(np.int64) for column in from_corner.T]
    x, y, z = (int(column.max()) + 1 for column in columns)
    key = (columns[0] * y + columns[1]) * z + columns[2]
    if x * y * z > _MARKED:
        return len(np.unique(key))
    marks = np.zeros(x * y * z, bool)
    marks[key] = True
    return int(np.count_nonzero(marks))


def one_per_cell(local: np.ndarray, rows: np.ndarray, cell: float) -> np.ndarray:
    """Of `rows` the ones nearest to the middle of their cell, in their order."""
    scaled = (local[rows] - local[rows].min(0)) / cell + _SHIFT
    index = np.floor(scaled).astype(np.int64)
    off = np.square(scaled - index - 0.5).sum(1)
    key = np.ravel_multi_index(tuple(index.T), tuple(index.max(0) + 1))
    order = np.lexsort((np.arange(len(rows)), np.round(off, 6), key))
    starts = np.ones(len(order), bool)
    starts[1:] = key[order][1:] != key[order][:-1]
    return rows[np.sort(order[starts])]
