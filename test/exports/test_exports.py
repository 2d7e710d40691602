"""Maps as files of other programs, read back by these programs' libraries."""

import builtins
import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sab3r_ros.exports import formats
from sab3r_ros.exports.content import ExportContent, octree
from sab3r_ros.exports.formats import FORMATS, ExportError, export_map
from sab3r_ros.query.registry import MapObject, ObjectState


def pose(x, y, z, turn=0.0):
    out = np.eye(4)
    out[:3, :3] = Rotation.from_euler("z", turn).as_matrix()
    out[:3, 3] = x, y, z
    return out


@pytest.fixture(scope="module")
def content():
    rng = np.random.default_rng(0)
    points = (rng.random((50_000, 3)) * [4, 3, 2] + [100, -50, 0]).astype(np.float32)
    mug = MapObject(
        "object-1", (("mug", 0.8), ("cup", 0.2)), ObjectState.HERE, points[:10], np.zeros((10, 3), np.uint8), pose(101, -49, 1, 0.5),
        np.array([0.1, 0.08, 0.12]), np.ones(4), 0, 10, 3, 0, (0, 0, 5, 5),
    )  # fmt: skip
    return ExportContent(
        points, rng.integers(0, 256, points.shape).astype(np.uint8), rng.integers(0, 3, len(points)).astype(np.uint16),
        rng.random(len(points)).astype(np.float32), rng.random(len(points)).astype(np.float32) * 9, ("wall", "mug", "door"),
        [(k * 10**8, pose(100 + k / 10, -49, 1.2)) for k in range(5)], [mug],
    )  # fmt: skip


class Saved:
    """Stands for an opened map."""

    path = "map"

    def __init__(self, points):
        self.points = points


@pytest.fixture
def saved(content, monkeypatch):
    monkeypatch.setattr(formats, "content_of", lambda _: content)
    return Saved(content.points)


def test_an_octree_shows_every_point_once_in_its_cell(content):
    cells, low, side = octree(content.points, least=2000)
    rows = np.concatenate([c.rows for c in cells])
    assert np.array_equal(np.sort(rows), np.arange(len(content.points)))
    assert {c.level for c in cells} >= {0, 1, 2}
    for cell in cells:
        corner = low + np.array(cell.place) * side / 2**cell.level
        inside = content.points[cell.rows] - corner
        assert (inside >= -1e-4).all()
        assert (inside <= side / 2**cell.level + 1e-4).all()
        assert len(cell.rows) <= 2000
    assert len({(c.level, c.place) for c in cells}) == len(cells)


def test_an_octree_of_one_place_ends():
    cells, _, _ = octree(np.zeros((30, 3), np.float32), least=100)
    assert len(cells) == 1


def test_ply(saved, content, tmp_path):
    from plyfile import PlyData

    vertex = PlyData.read(str(export_map(saved, "ply", tmp_path / "map")))["vertex"]
    assert np.allclose(np.stack([vertex[k] for k in "xyz"], 1), content.points)
    assert np.array_equal(vertex["label"], content.labels)


def test_las(saved, content, tmp_path):
    laspy = pytest.importorskip("laspy")
    las = laspy.read(export_map(saved, "las", tmp_path / "map.las"))
    assert np.abs(las.xyz - content.points).max() < 0.001
    assert np.array_equal(np.stack([las.red, las.green, las.blue], 1) // 257, content.colours)
    assert np.array_equal(las.label, content.labels)
    assert np.allclose(las.score, content.scores)
    assert json.loads(las.header.vlrs.get("VLR")[0].record_data) == list(content.names)


def test_copc(saved, content, tmp_path):
    copclib = pytest.importorskip("copclib")
    path = export_map(saved, "copc", tmp_path / "map")
    assert path.name == "map.copc.laz"
    reader = copclib.FileReader(str(path))
    points = reader.GetAllPoints()
    xyz = np.stack([points.x, points.y, points.z], 1)
    assert len(xyz) == len(content.points)
    order, expected = np.lexsort(xyz.round(3).T), np.lexsort(content.points.astype(float).round(3).T)
    assert np.abs(xyz[order] - content.points[expected]).max() < 0.002
    assert sorted(np.asarray(points.red) // 257) == sorted(content.colours[:, 0])
    assert sorted(np.asarray(points.point_source_id)) == sorted(content.labels)
    root = reader.GetPoints(copclib.VoxelKey(0, 0, 0, 0))
    assert 0 < len(root) <= 20_000
    spread = np.stack([root.x, root.y, root.z], 1)
    assert (np.ptp(spread, axis=0) > 0.98 * np.ptp(content.points, axis=0)).all()  # the first cell shows all of the map


def test_glb(saved, content, tmp_path):
    trimesh = pytest.importorskip("trimesh")
    scene = trimesh.load(export_map(saved, "glb", tmp_path / "map"))
    names = set(scene.geometry)
    assert {"points", "camera path", "mug (object-1)"} <= names
    points = scene.geometry["points"].vertices
    assert np.allclose(points, content.points[:, [0, 2, 1]] * [1, 1, -1], atol=1e-4)
    box = np.asarray(scene.geometry["mug (object-1)"].vertices)
    assert np.allclose(box.mean(0), [101, 1, 49], atol=0.02)
    assert np.ptp(box[:, 1]) == pytest.approx(0.12, abs=1e-4)


def test_3dtiles(saved, content, tmp_path):
    trimesh = pytest.importorskip("trimesh")
    folder = export_map(saved, "3dtiles", tmp_path / "tiles")
    tileset = json.loads((folder / "tileset.json").read_text())
    assert tileset["asset"]["version"] == "1.1"
    count, waiting = 0, [(tileset["root"], None)]
    while waiting:
        node, parent = waiting.pop()
        middle, half = np.array(node["boundingVolume"]["box"][:3]), node["boundingVolume"]["box"][3]
        points = np.concatenate([g.vertices for g in trimesh.load(folder / node["content"]["uri"]).geometry.values()])
        points = np.stack([points[:, 0], -points[:, 2], points[:, 1]], 1)  # y up in glTF
        assert (np.abs(points - middle) <= half + 1e-3).all()
        count += len(points)
        if parent is not None:
            assert node["geometricError"] < parent["geometricError"]
        waiting += [(child, node) for child in node.get("children", ())]
    assert count == len(content.points)


def test_rrd(saved, tmp_path):
    pytest.importorskip("rerun")
    path = export_map(saved, "rrd", tmp_path / "map")
    assert path.read_bytes()[:4] in (b"RRF2", b"RRF0", b"RRIO")
    assert path.stat().st_size > 50_000 * 12  # the points are in it


def test_mcap(saved, content, tmp_path):
    from rosbags.highlevel import AnyReader

    path = export_map(saved, "mcap", tmp_path / "map")
    assert path.is_file()
    topics = {}
    with AnyReader([path]) as reader:
        for connection, stamp, raw in reader.messages():
            topics.setdefault(connection.topic, []).append((stamp, reader.deserialize(raw, connection.msgtype)))
    assert {k: len(v) for k, v in topics.items()} == {"/map": 1, "/path": 1, "/objects": 1, "/label_names": 1, "/tf": 5}
    cloud = topics["/map"][0][1]
    assert (cloud.width, cloud.point_step) == (len(content.points), 26)
    xyz = np.frombuffer(cloud.data.tobytes(), np.uint8).reshape(-1, 26)[:, :12].copy().view(np.float32)
    assert np.array_equal(xyz, content.points)
    assert topics["/tf"][2][0] == 2 * 10**8
    assert [m.text for m in topics["/objects"][0][1].markers] == ["", "mug (object-1)"]
    assert json.loads(topics["/label_names"][0][1].data) == list(content.names)


def test_a_place_that_is_taken_is_kept(saved, tmp_path):
    (tmp_path / "map.ply").write_text("mine")
    with pytest.raises(FileExistsError, match="--overwrite"):
        export_map(saved, "ply", tmp_path / "map.ply")
    assert (tmp_path / "map.ply").read_text() == "mine"
    assert export_map(saved, "ply", tmp_path / "map.ply", overwrite=True).stat().st_size > 1000
    assert [p.name for p in tmp_path.iterdir()] == ["map.ply"]


def test_what_cannot_be_written_leaves_nothing(saved, tmp_path, monkeypatch):
    with pytest.raises(ExportError, match="unknown format 'obj'; known: ply"):
        export_map(saved, "obj", tmp_path / "map")
    with pytest.raises(ExportError, match="no points"):
        export_map(Saved(np.zeros((0, 3))), "ply", tmp_path / "map")
    imported = builtins.__import__

    def without(name, *arguments, **named):
        if name in ("laspy", "copclib", "trimesh", "rerun"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return imported(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    for kind in ("las", "copc", "glb", "3dtiles", "rrd"):
        with pytest.raises(ExportError, match=r"sab3r_ros\[export\]"):
            export_map(saved, kind, tmp_path / "map")
    assert not list(tmp_path.iterdir())


def test_every_format_is_described():
    assert all(form.summary for form in FORMATS.values())
    assert set(FORMATS) == {"ply", "glb", "las", "copc", "rrd", "mcap", "3dtiles"}
