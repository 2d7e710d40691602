"""Files of poses over time, in the format of TUM's tools: seconds, a position and a quaternion a line."""

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from sab3r_ros.sources.base import SourceError


class TimedPoses:
    """Poses over time: stamps (N,) in ns, positions (N,3), quaternions (N,4) as x, y, z, w.

    What is not finite, or no rotation, is passed over. Raises ValueError where fewer than two poses are left.
    """

    def __init__(self, stamps: np.ndarray, positions: np.ndarray, quaternions: np.ndarray):
        times, first = np.unique(stamps, return_index=True)
        positions, quaternions = positions[first], quaternions[first]
        known = np.isfinite(positions).all(1) & (np.linalg.norm(quaternions, axis=1) > 0.5)
        self.stamps, self._positions = times[known], positions[known]
        if len(self.stamps) < 2:
            raise ValueError("the trajectory has fewer than two poses")
        self._seconds = (self.stamps - self.stamps[0]) * 1e-9
        self._turn = Slerp(self._seconds, Rotation.from_quat(quaternions[known]))

    def at(self, stamp: int, gap: float) -> np.ndarray | None:
        """The pose (4,4) at another stamp, between two that are at most `gap` seconds apart; None where there are none."""
        times, seconds = self.stamps, self._seconds
        k = int(np.searchsorted(times, stamp))
        exact = k < len(times) and times[k] == stamp
        if not exact and not (0 < k < len(times) and seconds[k] - seconds[k - 1] <= gap):
            return None
        at = (stamp - int(times[0])) * 1e-9
        pose = np.eye(4)
        pose[:3, :3] = self._turn(at).as_matrix()
        pose[:3, 3] = [np.interp(at, seconds, self._positions[:, axis]) for axis in range(3)]
        return pose


def read_numbers(file: Path) -> np.ndarray:
    """The numbers (N,M) of a text file, a row a line. Raises SourceError."""
    try:
        return np.loadtxt(file, ndmin=2)
    except (ValueError, OSError) as error:
        raise SourceError(f"{file} cannot be read as poses: {error}") from error


def read_poses(file: Path) -> TimedPoses:
    """The poses of a file in TUM's format. Raises SourceError."""
    rows = read_numbers(file)
    if rows.shape[1] != 8:
        raise SourceError(f"{file} has {rows.shape[1]} columns; a stamp, a position and a quaternion are eight")
    try:
        return TimedPoses(np.round(rows[:, 0] * 1e9).astype(np.int64), rows[:, 1:4], rows[:, 4:8])
    except ValueError as error:
        raise SourceError(f"{file}: {error}") from error
