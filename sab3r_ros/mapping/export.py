"""Files for other programs: PLY clouds and TUM trajectories."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from plyfile import PlyData, PlyElement
from scipy.spatial.transform import Rotation

from sab3r_ros.files import replacing


def write_ply(path: Path, xyz: np.ndarray, rgb: np.ndarray, score: np.ndarray, label: np.ndarray) -> None:
    """A binary PLY with x y z, red green blue, score and label; written as a whole or not at all."""
    fields = [
        ("x", "f4"),
        ("y", "f4"),
        ("z", "f4"),
        ("red", "u1"),
        ("green", "u1"),
        ("blue", "u1"),
        ("score", "f4"),
        ("label", "u2"),
    ]
    vertex = np.empty(len(xyz), fields)
    for k, name in enumerate(("x", "y", "z")):
        vertex[name] = xyz[:, k]
    for k, name in enumerate(("red", "green", "blue")):
        vertex[name] = rgb[:, k]
    vertex["score"], vertex["label"] = score, label
    with replacing(path) as part:
        PlyData([PlyElement.describe(vertex, "vertex")], byte_order="<").write(str(part))


def write_tum(path: Path, trajectory: Iterable[tuple[int, np.ndarray]]) -> None:
    """Stamped poses as "seconds tx ty tz qx qy qz qw", the camera's optical frame in the map."""
    lines = ["# timestamp tx ty tz qx qy qz qw"]
    for stamp, pose in trajectory:
        values = [*pose[:3, 3], *Rotation.from_matrix(pose[:3, :3]).as_quat()]
        lines.append(f"{stamp // 10**9}.{stamp % 10**9:09d} " + " ".join(f"{v:.7f}" for v in values))
    with replacing(path) as part:
        part.write_text("\n".join(lines) + "\n")
