"""Files of poses: over time, in the format of TUM's tools (seconds, a position and a quaternion a line), or of images, as phones write them."""

import json
from collections.abc import Sequence
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


def read_image_poses(file: Path, images: Sequence[Path], stamps: Sequence[int]) -> TimedPoses:
    """The poses of images, with these stamps (ns), from Record3D's metadata.json or from a transforms.json (NeRF tools, scanning apps).

    Both have a camera's axes as OpenGL has them (x right, y up, z back); returned are optical ones (x right, y down, z ahead). Raises SourceError.
    """
    try:
        values = json.loads(file.read_text())
        poses = _of_record3d(values, len(images)) if "poses" in values else _of_transforms(values, images)
        known = [k for k, pose in enumerate(poses) if pose is not None and np.isfinite(pose).all()]
        optical = np.array([poses[k] for k in known], float).reshape(-1, 4, 4) @ np.diag([1.0, -1, -1, 1])
        turns = Rotation.from_matrix(optical[:, :3, :3]).as_quat().reshape(-1, 4)
        return TimedPoses(np.array(stamps, np.int64)[known], optical[:, :3, 3], turns)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceError(f"{file} cannot be read as poses of images: {error}") from error


def _of_record3d(values: dict, count: int) -> list[np.ndarray | None]:
    """Poses (4,4) of a quaternion x, y, z, w and a position each."""
    rows = np.array(values["poses"], float)
    if rows.ndim != 2 or rows.shape[1] != 7 or len(rows) != count:
        raise ValueError(f"its poses are {rows.shape}, of {count} images there should be as many with 7 numbers each")
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, :3] = Rotation.from_quat(rows[:, :4]).as_matrix()
    poses[:, :3, 3] = rows[:, 4:]
    return list(poses)


def _of_transforms(values: dict, images: Sequence[Path]) -> list[np.ndarray | None]:
    """The matrix (4,4) of every image, None where it has none; names may lack their suffix."""
    found = {Path(f["file_path"]).stem: np.array(f["transform_matrix"], float) for f in values["frames"]}
    if wrong := [name for name, matrix in found.items() if matrix.shape != (4, 4)]:
        raise ValueError(f"the matrix of {wrong[0]} is not 4 x 4")
    poses = [found.get(image.stem) for image in images]
    if not any(pose is not None for pose in poses):
        raise ValueError(f"it names none of the images, but {', '.join(list(found)[:3]) or 'nothing'}")
    return poses
