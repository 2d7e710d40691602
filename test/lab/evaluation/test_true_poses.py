"""True poses of the layouts that recordings come in."""

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sab3r_ros.lab.evaluation.true_poses import true_poses
from sab3r_ros.sources.base import SourceError
from sab3r_ros.sources.folders import FolderSource

START = 1_403_636_579_000_000_000
STAMPS = [START + k * 100_000_000 for k in range(4)]


def pose(k):
    out = np.eye(4)
    out[:3, :3] = Rotation.from_rotvec([0, 0.1 * k, 0]).as_matrix()
    out[:3, 3] = [k, 0.5, -k]
    return out


def images(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        cv2.imwrite(str(folder / name), np.full((48, 64, 3), 90, np.uint8))


def row(k):
    return [*pose(k)[:3, 3], *Rotation.from_matrix(pose(k)[:3, :3]).as_quat()]


def tum(root):
    images(root / "rgb", [f"{s / 1e9:.6f}.png" for s in STAMPS])
    (root / "rgb.txt").write_text("".join(f"{s / 1e9:.6f} rgb/{s / 1e9:.6f}.png\n" for s in STAMPS))
    # Twice as often as images, and not at their times.
    times = START / 1e9 + np.arange(-0.05, 0.36, 0.05)
    between = [np.interp(times, [s / 1e9 for s in STAMPS], [row(k)[c] for k in range(4)]) for c in range(7)]
    lines = [" ".join(map(str, [t, *values])) for t, values in zip(times, zip(*between, strict=True), strict=True)]
    (root / "groundtruth.txt").write_text("# timestamp tx ty tz qx qy qz qw\n" + "\n".join(lines))


def seven_scenes(root):
    images(root, [f"frame-{k:06d}.color.png" for k in range(4)])
    for k in range(4):
        np.savetxt(root / f"frame-{k:06d}.pose.txt", pose(k))


def scannet(root):
    images(root / "color", [f"{k}.jpg" for k in range(4)])
    (root / "pose").mkdir()
    for k in range(4):
        np.savetxt(root / "pose" / f"{k}.txt", pose(k))


def replica(root):
    images(root / "results", [f"frame{k:06d}.jpg" for k in range(4)])
    np.savetxt(root / "traj.txt", [pose(k).ravel() for k in range(4)])


def euroc(root):
    camera, truth = root / "mav0" / "cam0", root / "mav0" / "state_groundtruth_estimate0"
    images(camera / "data", [f"{s}.png" for s in STAMPS])
    (camera / "data.csv").write_text("#timestamp,filename\n" + "".join(f"{s},{s}.png\n" for s in STAMPS))
    body_from_camera = np.eye(4)
    body_from_camera[:3, :3], body_from_camera[:3, 3] = Rotation.from_rotvec([0.3, 0, 0]).as_matrix(), [0.1, 0, 0.2]
    (camera / "sensor.yaml").write_text(f"T_BS:\n  cols: 4\n  rows: 4\n  data: {body_from_camera.ravel().tolist()}\n")
    truth.mkdir()
    lines = ["#timestamp, p_x, p_y, p_z, q_w, q_x, q_y, q_z"]
    for k, stamp in enumerate(STAMPS):
        body = pose(k) @ np.linalg.inv(body_from_camera)
        x, y, z, w = Rotation.from_matrix(body[:3, :3]).as_quat()
        lines.append(",".join(map(str, [stamp, *body[:3, 3], w, x, y, z])))
    (truth / "data.csv").write_text("\n".join(lines))


@pytest.mark.parametrize("make", [tum, seven_scenes, scannet, replica, euroc])
def test_every_layout_gives_its_poses(tmp_path, make):
    make(tmp_path)
    found = true_poses(FolderSource(tmp_path, 10.0), tmp_path)
    assert len(found) == 4
    for k in range(4):
        assert np.abs(found[k] - pose(k)).max() < 2e-3


def test_unknown_poses_are_none_and_gaps_are_not_bridged(tmp_path):
    seven_scenes(tmp_path / "a")
    np.savetxt(tmp_path / "a" / "frame-000001.pose.txt", np.full((4, 4), -np.inf))
    found = true_poses(FolderSource(tmp_path / "a", 10.0), tmp_path / "a")
    assert [p is None for p in found] == [False, True, False, False]
    tum(tmp_path / "b")
    lines = (tmp_path / "b" / "groundtruth.txt").read_text().splitlines()
    (tmp_path / "b" / "groundtruth.txt").write_text("\n".join(lines[:3] + lines[-3:]))
    found = true_poses(FolderSource(tmp_path / "b", 10.0), tmp_path / "b")
    assert [p is None for p in found] == [False, True, True, False]


def test_what_is_no_pose_is_one_line(tmp_path):
    images(tmp_path / "none", ["a.png", "b.png"])
    with pytest.raises(SourceError, match="has no true poses"):
        true_poses(FolderSource(tmp_path / "none", 10.0), tmp_path / "none")
    seven_scenes(tmp_path / "a")
    np.savetxt(tmp_path / "a" / "frame-000002.pose.txt", 3 * np.eye(4))
    with pytest.raises(SourceError, match="not a rotation"):
        true_poses(FolderSource(tmp_path / "a", 10.0), tmp_path / "a")
    replica(tmp_path / "r")
    np.savetxt(tmp_path / "r" / "traj.txt", [pose(0).ravel()])
    with pytest.raises(SourceError, match="has 1 poses"):
        true_poses(FolderSource(tmp_path / "r", 10.0), tmp_path / "r")
