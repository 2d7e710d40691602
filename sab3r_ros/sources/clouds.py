"""Point clouds from files."""

from pathlib import Path

import numpy as np

from sab3r_ros.sources.base import SourceError


def read_cloud(path: Path) -> np.ndarray:
    """Points (N,3) of a PLY file. Raises SourceError for one that is missing, damaged or empty."""
    from plyfile import PlyData, PlyParseError

    try:
        vertex = PlyData.read(path)["vertex"]
        points = np.stack([np.asarray(vertex[k], np.float64) for k in "xyz"], 1)
    except (OSError, PlyParseError, KeyError, ValueError) as error:
        raise SourceError(f"cannot read points from {path}: {error}") from error
    if not len(points):
        raise SourceError(f"{path} holds no points")
    return points
