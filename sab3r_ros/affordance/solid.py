"""What is inside an object: the space below the surfaces that face up, which no camera sees and no finger can enter.

One view shows the top and a side of a box; without this, a finger fits through its unseen back. Under a surface that faces up
there is the object, down to where its underside was seen, or to what it stands on.
"""

import numpy as np
from scipy.ndimage import binary_erosion

_CELL = 0.004  # metres, horizontally
_STEP = 0.008  # metres between points of a column
_FLAT = 0.5  # vertical part of a normal from which on a surface faces up or down
_SKIN = 0.004  # metres beneath a surface that stay empty: it scatters, and is there itself


def solid_below(points: np.ndarray, normals: np.ndarray, foot: float) -> np.ndarray:
    """Points (M,3) inside an object (N,3) with unit normals (N,3), metres, z up, that stands on the height `foot`.

    Columns at the rim of what faces up are left out: the object may end within them.
    """
    flat = np.abs(normals[:, 2]) > _FLAT
    if not flat.any():
        return np.empty((0, 3))
    facing, down = points[flat], normals[flat, 2] < 0
    low = facing[:, :2].min(0)
    cell = np.floor((facing[:, :2] - low) / _CELL).astype(int)
    shape = tuple(cell.max(0) + 1)
    column = np.ravel_multi_index(tuple(cell.T), shape)
    top = np.full(shape[0] * shape[1], -np.inf)
    np.maximum.at(top, column, facing[:, 2])
    bottom = np.full(len(top), foot)
    under = down & (facing[:, 2] < top[column] - 2 * _SKIN)
    np.maximum.at(bottom, column[under], facing[under, 2])
    inner = binary_erosion(np.isfinite(top).reshape(shape)).ravel()
    # Every second column: a finger is wider than two of them.
    inner &= (np.indices(shape).sum(0) % 2 == 0).ravel()
    rows = np.flatnonzero(inner & (top - bottom > 2 * _SKIN))
    count = np.floor((top[rows] - bottom[rows] - 2 * _SKIN) / _STEP).astype(int) + 1
    which = np.repeat(np.arange(len(rows)), count)
    height = top[rows][which] - _SKIN - _STEP * (np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count))
    x, y = np.unravel_index(rows[which], shape)
    return np.column_stack([low + (np.column_stack([x, y]) + 0.5) * _CELL, height])
