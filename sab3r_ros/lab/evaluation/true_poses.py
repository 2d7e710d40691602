"""True camera poses beside a recording: TUM, ICL-NUIM and Bonn, 7-Scenes, ScanNet, Replica, EuRoC."""

import csv
from pathlib import Path

import numpy as np
import yaml
from scipy.spatial.transform import Rotation, Slerp

from sab3r_ros.sources.base import SourceError
from sab3r_ros.sources.folders import FolderSource

_GAP = 0.1  # seconds between two true poses between which none is interpolated


def true_poses(source: FolderSource, path: Path) -> list[np.ndarray | None]:
    """The true pose (4,4), camera to world, of every image; None where there is none or it is not finite.

    Raises SourceError where the recording has no poses, or holds what is no pose.
    """
    path = Path(path)
    for name in ("groundtruth.txt", "../groundtruth.txt"):
        if (path / name).is_file():
            return _interpolated(_tum(path / name), source.layout.stamps)
    euroc = path / "mav0" if (path / "mav0").is_dir() else path
    truth = euroc / "state_groundtruth_estimate0" / "data.csv"
    if truth.is_file():
        return _interpolated(_euroc(truth, euroc / "cam0" / "sensor.yaml"), source.layout.stamps)
    for table in (path / "traj.txt", path.parent / "traj.txt"):
        if table.is_file():
            return _rows(table, source)
    if not any(map(_file_beside, source.images)):
        raise SourceError(
            f"{path} has no true poses: groundtruth.txt (TUM), *.pose.txt (7-Scenes), pose/*.txt (ScanNet), traj.txt (Replica) "
            "or mav0/state_groundtruth_estimate0/data.csv (EuRoC) are read"
        )
    return [_beside(image) for image in source.images]


def _file_beside(image: Path) -> Path | None:
    """The pose file of an image in 7-Scenes' or ScanNet's layout."""
    stem = image.name.split(".")[0]
    for file in (image.with_name(f"{stem}.pose.txt"), image.parent.parent / "pose" / f"{stem}.txt"):
        if file.is_file():
            return file
    return None


def _beside(image: Path) -> np.ndarray | None:
    file = _file_beside(image)
    return None if file is None else _checked(_numbers(file), file)


def _numbers(file: Path) -> np.ndarray:
    try:
        return np.loadtxt(file, ndmin=2)
    except (ValueError, OSError) as error:
        raise SourceError(f"{file} cannot be read as poses: {error}") from error


def _checked(pose: np.ndarray, file: Path) -> np.ndarray | None:
    """A rigid pose; None for one that is marked as unknown by numbers that are not finite."""
    if not np.isfinite(pose).all():
        return None
    if pose.shape != (4, 4) or np.abs(pose[:3, :3] @ pose[:3, :3].T - np.eye(3)).max() > 0.02:
        raise SourceError(f"{file} holds a pose that is not a rotation and a translation (4 x 4)")
    return pose


def _rows(table: Path, source: FolderSource) -> list[np.ndarray | None]:
    rows = _numbers(table)
    if rows.shape[1] != 16 or len(rows) < len(source.images):
        raise SourceError(f"{table} has {len(rows)} poses of {rows.shape[1]} numbers for {len(source.images)} images")
    return [_checked(row.reshape(4, 4), table) for row in rows[: len(source.images)]]


def _tum(file: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Stamps in ns, positions and quaternions (x, y, z, w)."""
    rows = _numbers(file)
    if rows.shape[1] != 8:
        raise SourceError(f"{file} has {rows.shape[1]} columns; a stamp, a position and a quaternion are eight")
    return np.round(rows[:, 0] * 1e9).astype(np.int64), rows[:, 1:4], rows[:, 4:8]


def _euroc(file: Path, sensor: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `_tum`, of the camera: the body's poses times the camera's place on it."""
    with file.open() as stream:
        rows = [row for row in csv.reader(stream) if row and not row[0].startswith("#")]
    try:
        stamps = np.array([int(row[0]) for row in rows])
        values = np.array([[float(x) for x in row[1:8]] for row in rows])
        body_from_camera = np.array(yaml.safe_load(sensor.read_text())["T_BS"]["data"], float).reshape(4, 4)
    except (ValueError, KeyError, OSError, TypeError, yaml.YAMLError) as error:
        raise SourceError(f"{file} and {sensor} cannot be read as EuRoC's: {error}") from error
    body = Rotation.from_quat(values[:, [4, 5, 6, 3]])
    positions = values[:, :3] + body.apply(body_from_camera[:3, 3])
    return stamps, positions, (body * Rotation.from_matrix(body_from_camera[:3, :3])).as_quat()


def _interpolated(truth: tuple[np.ndarray, np.ndarray, np.ndarray], stamps: list[int]) -> list[np.ndarray | None]:
    """Poses at other stamps, between the nearest two that are at most a tenth of a second apart."""
    times, first = np.unique(truth[0], return_index=True)
    positions, quaternions = truth[1][first], truth[2][first]
    known = np.isfinite(positions).all(1) & (np.linalg.norm(quaternions, axis=1) > 0.5)
    times, positions, quaternions = times[known], positions[known], quaternions[known]
    if len(times) < 2:
        raise SourceError("the true trajectory has fewer than two poses")
    seconds = (times - times[0]) * 1e-9
    turn = Slerp(seconds, Rotation.from_quat(quaternions))
    out: list[np.ndarray | None] = []
    for stamp in stamps:
        k = int(np.searchsorted(times, stamp))
        exact = k < len(times) and times[k] == stamp
        if not exact and not (0 < k < len(times) and seconds[k] - seconds[k - 1] <= _GAP):
            out.append(None)
            continue
        at = (stamp - int(times[0])) * 1e-9
        pose = np.eye(4)
        pose[:3, :3] = turn(at).as_matrix()
        pose[:3, 3] = [np.interp(at, seconds, positions[:, axis]) for axis in range(3)]
        out.append(pose)
    return out
