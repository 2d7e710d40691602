"""PLY and TUM outputs, read back."""

import numpy as np
from plyfile import PlyData
from scipy.spatial.transform import Rotation

from sab3r_ros.mapping.export import write_ply, write_tum


def test_ply_holds_every_column(tmp_path):
    rng = np.random.default_rng(0)
    xyz, rgb = rng.normal(size=(50, 3)).astype(np.float32), rng.integers(0, 256, (50, 3)).astype(np.uint8)
    score, label = rng.random(50).astype(np.float32), rng.integers(0, 9, 50).astype(np.uint16)
    write_ply(tmp_path / "map.ply", xyz, rgb, score, label)
    vertex = PlyData.read(tmp_path / "map.ply")["vertex"]
    assert np.array_equal(np.stack([vertex["x"], vertex["y"], vertex["z"]], 1), xyz)
    assert np.array_equal(np.stack([vertex["red"], vertex["green"], vertex["blue"]], 1), rgb)
    assert np.array_equal(vertex["score"], score)
    assert np.array_equal(vertex["label"], label)
    assert [p.name for p in tmp_path.iterdir()] == ["map.ply"]


def test_tum_lines_keep_nanoseconds_and_poses(tmp_path):
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("xyz", [0.1, 0.2, 0.3]).as_matrix()
    pose[:3, 3] = 1, -2, 3
    write_tum(tmp_path / "t.txt", [(1_700_000_000_000_000_001, pose)])
    line = (tmp_path / "t.txt").read_text().splitlines()[1].split()
    assert line[0] == "1700000000.000000001"
    values = np.array(line[1:], float)
    assert np.allclose(values[:3], pose[:3, 3])
    assert np.allclose(Rotation.from_quat(values[3:]).as_matrix(), pose[:3, :3], atol=1e-6)
