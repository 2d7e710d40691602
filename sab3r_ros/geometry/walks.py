"""The ways of a camera: one for every recording that a map was made from."""

from collections.abc import Sequence

import numpy as np

_PAUSE = 60 * 10**9  # ns between two poses from which on they are of different recordings


def walks(trajectory: Sequence[tuple[int, np.ndarray]]) -> list[np.ndarray]:
    """Positions (N,3) of a trajectory's stamps (ns) and poses (4,4), a list for each recording: where stamps go back or leap by a
    minute, another one begins. Empty for an empty trajectory."""
    places = np.array([pose[:3, 3] for _, pose in trajectory]).reshape(-1, 3)
    stamps = np.array([stamp for stamp, _ in trajectory], np.int64)
    steps = np.diff(stamps)
    ends = np.flatnonzero((steps < 0) | (steps > _PAUSE)) + 1
    return np.split(places, ends) if len(places) else []
