"""Calibrations: from files beside a recording, and from what a CameraInfo message says, believed as far as it fits."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from sab3r_ros.geometry.projection import scaled_intrinsics
from sab3r_ros.sources.base import SourceError
from sab3r_ros.types import DISTORTION_COEFFICIENTS, Camera

_ASPECT = 0.02  # relative difference between the aspects of a calibration and its image that a crop to even sides makes
_MODELS = {
    "fisheye": "equidistant", "kb4": "equidistant", "kannala_brandt": "equidistant", "radtan": "plumb_bob",
    "radial-tangential": "plumb_bob", "brown_conrady": "plumb_bob", "none": "plumb_bob", "": "plumb_bob",
}  # fmt: skip
_MATRICES = (
    "intrinsics.txt", "camera-intrinsics.txt", "intrinsic/intrinsic_color.txt", "intrinsic_color.txt", "calibration.txt",
)  # fmt: skip


class CalibrationError(ValueError):
    """A calibration that cannot be used for an image; the message says why."""


def is_rectified_topic(topic: str) -> bool:
    """Whether a topic's images are rectified by the convention of its name (image_rect, image_rect_color ...)."""
    return "rect" in topic.removesuffix("/compressed").rpartition("/")[2]


def distorted_camera(matrix: np.ndarray, coefficients: Sequence[float], model: str) -> Camera:
    """A camera from its matrix (3,3) and distortion. Raises CalibrationError for a model or coefficients not known."""
    values = [float(v) for v in coefficients]
    if not any(values):
        return Camera(matrix)
    if not np.isfinite(values).all():
        raise CalibrationError("its distortion coefficients are not finite")
    name = _MODELS.get(model.lower(), model.lower())
    if name == "plumb_bob" and len(values) in DISTORTION_COEFFICIENTS["rational_polynomial"]:
        name = "rational_polynomial"
    if name not in DISTORTION_COEFFICIENTS:
        raise CalibrationError(
            f"its distortion model {model!r} is not known ({', '.join(DISTORTION_COEFFICIENTS)} are)"
        )
    if len(values) not in DISTORTION_COEFFICIENTS[name]:
        wanted = " or ".join(map(str, DISTORTION_COEFFICIENTS[name]))
        raise CalibrationError(f"its distortion model {name} takes {wanted} coefficients, it has {len(values)}")
    return Camera(matrix, tuple(values), name)


def camera_of_info(
    info_size: tuple[int, int], k: Sequence[float], p: Sequence[float], d: Sequence[float], model: str, binning: tuple[int, int],
    roi: tuple[int, int, int, int], image_size: tuple[int, int], rectified: bool,
) -> Camera | None:  # fmt: skip
    """The camera of an image from the fields of its CameraInfo, None where that says that it is not calibrated.

    info_size, image_size: (W,H); roi: x, y, W, H at full resolution; rectified: the image obeys P and has no distortion, as
    on `image_rect`; otherwise K and D hold, as on `image_raw`. Raises CalibrationError where it belongs to another image.
    """
    matrix = np.array(p, float).reshape(3, 4)[:, :3].copy() if rectified else np.array(k, float).reshape(3, 3).copy()
    if matrix[0, 0] <= 0 or matrix[1, 1] <= 0 or not np.isfinite(matrix).all():
        return None
    full = info_size
    if roi[2] and roi[3]:  # sensor_msgs: the region is given at full resolution, before binning
        matrix[:2, 2] -= roi[:2]
        full = roi[2], roi[3]
    if all(full):
        binned = tuple(max(side // max(b, 1), 1) for side, b in zip(full, binning, strict=True))
        if abs(binned[0] * image_size[1] / (binned[1] * image_size[0]) - 1) > _ASPECT:
            raise CalibrationError(
                f"it is for {binned[0]} x {binned[1]} images, these are {image_size[0]} x {image_size[1]}: another aspect"
            )
        # Pixel centres: what lies at u + 0.5 of `full` lies at the same share of the image.
        matrix = scaled_intrinsics(matrix, full, binned, (0, 0))
        matrix = scaled_intrinsics(matrix, binned, image_size, (0, 0))
    return Camera(matrix) if rectified else distorted_camera(matrix, d, model)


def read_intrinsics(path: Path) -> np.ndarray | None:
    """The (3,3) matrix in a folder's intrinsics.txt (also 7-Scenes' and ScanNet's names), or None. Raises SourceError."""
    for name in _MATRICES:
        if (path / name).is_file():
            return _matrix_file(path / name)
    return None


def read_camera(path: Path) -> Camera | None:
    """The calibration that lies in a recording's folder: a matrix, Replica's, EuRoC's or Record3D's file, or a transforms.json; None without.

    Raises SourceError for a file that holds no calibration.
    """
    matrix = read_intrinsics(path)
    if matrix is not None:
        return Camera(matrix)
    for name, read in (
        ("cam_params.json", _replica), ("sensor.yaml", _euroc), ("metadata.json", _record3d), ("transforms.json", _transforms),
    ):  # fmt: skip
        file = path / name
        if file.is_file():
            try:
                camera = read(file)
            except (KeyError, TypeError, ValueError, OSError, yaml.YAMLError) as error:
                raise SourceError(f"{file} is no calibration: {type(error).__name__}: {error}") from error
            if camera is not None:
                return camera
    return None


def replica_depth_scale(path: Path) -> float | None:
    """Depth units per metre in a folder's cam_params.json, None without."""
    try:
        return float(json.loads((path / "cam_params.json").read_text())["camera"]["scale"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _matrix_file(file: Path) -> np.ndarray:
    try:
        values = np.loadtxt(file).reshape(-1)
    except (ValueError, OSError) as error:
        raise SourceError(f"{file} is not a matrix of numbers: {error}") from error
    if values.size == 4:  # fx fy cx cy
        values = np.array([values[0], 0, values[2], 0, values[1], values[3], 0, 0, 1])
    if values.size not in (9, 16):
        raise SourceError(f"{file} should hold a 3 x 3 matrix or fx fy cx cy, it has {values.size} numbers")
    side = int(values.size**0.5)
    matrix = values.reshape(side, side)[:3, :3]
    if not (np.isfinite(matrix).all() and matrix[0, 0] > 0 and matrix[1, 1] > 0):
        raise SourceError(f"{file} holds no camera: focal lengths must be positive")
    return matrix


def _pinhole(fx: float, fy: float, cx: float, cy: float) -> np.ndarray:
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], float)


def _replica(file: Path) -> Camera:
    values = json.loads(file.read_text())["camera"]
    return Camera(_pinhole(*(float(values[k]) for k in ("fx", "fy", "cx", "cy"))))


def _euroc(file: Path) -> Camera | None:
    # EuRoC's files begin with a line that is no YAML.
    values = yaml.safe_load("\n".join(line for line in file.read_text().splitlines() if not line.startswith("%")))
    if "intrinsics" not in values:
        return None
    matrix = _pinhole(*(float(v) for v in values["intrinsics"]))
    return distorted_camera(matrix, values.get("distortion_coefficients", ()), values.get("distortion_model", ""))


def _transforms(file: Path) -> Camera | None:
    """Of NeRF tools and scanning apps: one camera for all images."""
    values = json.loads(file.read_text())
    if "fl_x" not in values:
        return None
    matrix = _pinhole(
        float(values["fl_x"]), float(values.get("fl_y", values["fl_x"])), float(values["cx"]), float(values["cy"])
    )
    terms = [float(values.get(name, 0)) for name in ("k1", "k2", "p1", "p2")]
    return distorted_camera(matrix, terms, "plumb_bob") if any(terms) else Camera(matrix)


def _record3d(file: Path) -> Camera | None:
    values = json.loads(file.read_text())
    if "K" not in values:
        return None
    return Camera(np.array(values["K"], float).reshape(3, 3).T)  # column by column
