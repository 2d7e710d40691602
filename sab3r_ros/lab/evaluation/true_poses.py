"""True camera poses beside a recording: TUM, ICL-NUIM and Bonn, 7-Scenes, ScanNet, Replica, EuRoC."""

import csv
from pathlib import Path

import numpy as np
import yaml
from scipy.spatial.transform import Rotation

from sab3r_ros.sources.base import SourceError
from sab3r_ros.sources.folders import FolderSource
from sab3r_ros.sources.pose_file import TimedPoses, read_numbers, read_poses

_GAP = 0.1  # seconds between two true poses between which none is interpolated


def true_poses(source: FolderSource, path: Path) -> list[np.ndarray | None]:
    """The true pose (4,4), camera to world, of every image; None where there is none or it is not finite.

    Raises SourceError where the recording has no poses, or holds what is no pose.
    """
    path = Path(path)
    for name in ("groundtruth.txt", "../groundtruth.txt"):
        if (path / name).is_file():
            return _at(read_poses(path / name), source)
    euroc = path / "mav0" if (path / "mav0").is_dir() else path
    truth = euroc / "state_groundtruth_estimate0" / "data.csv"
    if truth.is_file():
        return _at(_euroc(truth, euroc / "cam0" / "sensor.yaml"), source)
    for table in (path / "traj.txt", path.parent / "traj.txt"):
        if table.is_file():
            return _rows(table, source)
    if not any(map(_file_beside, source.images)):
        raise SourceError(
            f"{path} has no true poses: groundtruth.txt (TUM), *.pose.txt (7-Scenes), pose/*.txt (ScanNet), traj.txt (Replica) "
            "or mav0/state_groundtruth_estimate0/data.csv (EuRoC) are read"
        )
    return [_beside(image) for image in source.images]


def _at(truth: TimedPoses, source: FolderSource) -> list[np.ndarray | None]:
    return [truth.at(stamp, _GAP) for stamp in source.layout.stamps]


def _file_beside(image: Path) -> Path | None:
    """The pose file of an image in 7-Scenes' or ScanNet's layout."""
    stem = image.name.split(".")[0]
    for file in (image.with_name(f"{stem}.pose.txt"), image.parent.parent / "pose" / f"{stem}.txt"):
        if file.is_file():
            return file
    return None


def _beside(image: Path) -> np.ndarray | None:
    file = _file_beside(image)
    return None if file is None else _checked(read_numbers(file), file)


def _checked(pose: np.ndarray, file: Path) -> np.ndarray | None:
    """A rigid pose; None for one that is marked as unknown by numbers that are not finite."""
    if not np.isfinite(pose).all():
        return None
    if pose.shape != (4, 4) or np.abs(pose[:3, :3] @ pose[:3, :3].T - np.eye(3)).max() > 0.02:
        raise SourceError(f"{file} holds a pose that is not a rotation and a translation (4 x 4)")
    return pose


def _rows(table: Path, source: FolderSource) -> list[np.ndarray | None]:
    rows = read_numbers(table)
    if rows.shape[1] != 16 or len(rows) < len(source.images):
        raise SourceError(f"{table} has {len(rows)} poses of {rows.shape[1]} numbers for {len(source.images)} images")
    return [_checked(row.reshape(4, 4), table) for row in rows[: len(source.images)]]


def _euroc(file: Path, sensor: Path) -> TimedPoses:
    """The camera's poses: the body's times the camera's place on it."""
    with file.open() as stream:
        rows = [row for row in csv.reader(stream) if row and not row[0].startswith("#")]
    try:
        stamps = np.array([int(row[0]) for row in rows])
        values = np.array([[float(x) for x in row[1:8]] for row in rows])
        body_from_camera = np.array(yaml.safe_load(sensor.read_text())["T_BS"]["data"], float).reshape(4, 4)
        body = Rotation.from_quat(values[:, [4, 5, 6, 3]])
        positions = values[:, :3] + body.apply(body_from_camera[:3, 3])
        return TimedPoses(stamps, positions, (body * Rotation.from_matrix(body_from_camera[:3, :3])).as_quat())
    except (ValueError, KeyError, IndexError, OSError, TypeError, yaml.YAMLError) as error:
        raise SourceError(f"{file} and {sensor} cannot be read as EuRoC's: {error}") from error
