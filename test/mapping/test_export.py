"""PLY, TUM and PNG outputs, read back."""

import numpy as np
from PIL import Image
from plyfile import PlyData
from scipy.spatial.transform import Rotation

from sab3r_ros.mapping.export import render_preview, write_ply, write_tum
from sab3r_ros.mapping.query import UNLABELLED


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


def test_the_preview_shows_the_points(tmp_path):
    rng = np.random.default_rng(0)
    xyz = rng.uniform(0, 2, (500, 3))
    label = np.where(np.arange(500) < 250, 0, UNLABELLED).astype(np.uint16)
    render_preview(
        tmp_path / "p.png",
        xyz,
        np.full((500, 3), 200, np.uint8),
        label,
        ["wall"],
        np.array([[255, 0, 0]], np.uint8),
        xyz[:5],
    )
    image = np.asarray(Image.open(tmp_path / "p.png").convert("RGB")).astype(int)
    red = (image[..., 0] > 200) & (image[..., 1] < 60) & (image[..., 2] < 60)
    assert image.shape[1] > image.shape[0] > 300
    assert red.sum() > 500


def test_an_empty_map_still_gives_a_preview(tmp_path):
    empty = np.zeros((0, 3))
    render_preview(
        tmp_path / "p.png", empty, empty.astype(np.uint8), np.zeros(0, np.uint16), [], empty.astype(np.uint8), empty
    )
    assert (tmp_path / "p.png").stat().st_size > 1000
