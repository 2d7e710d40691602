"""Clouds from files of every kind, and what makes an object of them."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plyfile import PlyData, PlyElement

from sab3r_ros.sources.base import SourceError
from sab3r_ros.sources.clouds import read_cloud
from sab3r_ros.sources.pcd import lzf_decompress

POINTS = np.random.default_rng(0).normal(0, 0.1, (200, 3)).round(6)
TRIANGLE = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0.0]])


def ply(path, points=POINTS, faces=None, **options):
    vertex = np.array([tuple(p) for p in points], [(k, "f8") for k in "xyz"])
    elements = [PlyElement.describe(vertex, "vertex", comments=options.pop("comments", []))]
    if faces is not None:
        rows = np.empty(len(faces), [("vertex_indices", "i4", (len(faces[0]),))])
        rows["vertex_indices"] = faces
        elements.append(PlyElement.describe(rows, "face"))
    PlyData(elements, **options).write(str(path))


def lzf_literal(data: bytes) -> bytes:
    """LZF without any compression: literal runs of at most 32 bytes."""
    return b"".join(bytes([len(data[k : k + 32]) - 1]) + data[k : k + 32] for k in range(0, len(data), 32))


def pcd(path, layout, points=POINTS):
    head = (
        f"# .PCD v0.7\nVERSION 0.7\nFIELDS intensity x y z\nSIZE 1 4 8 4\nTYPE U F F F\nCOUNT 1 1 1 1\nWIDTH {len(points)}\n"
        f"HEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {len(points)}\nDATA {layout}\n"
    ).encode()
    record = np.dtype([("intensity", "u1"), ("x", "<f4"), ("y", "<f8"), ("z", "<f4")])
    rows = np.zeros(len(points), record)
    for k, name in enumerate("xyz"):
        rows[name] = points[:, k]
    if layout == "ascii":
        body = "\n".join(f"7 {x} {y} {z}" for x, y, z in points).encode()
    elif layout == "binary":
        body = rows.tobytes()
    else:
        columns = b"".join(rows[name].tobytes() for name in record.names)
        packed = lzf_literal(columns)
        body = struct.pack("<II", len(packed), len(columns)) + packed
    path.write_bytes(head + body)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.ply", ply), ("ascii.ply", lambda p: ply(p, text=True)), ("big.ply", lambda p: ply(p, byte_order=">")),
        ("a.pcd", lambda p: pcd(p, "ascii")), ("b.pcd", lambda p: pcd(p, "binary")), ("c.pcd", lambda p: pcd(p, "binary_compressed")),
        ("a.npy", lambda p: np.save(p, POINTS)), ("a.npz", lambda p: np.savez(p, points=POINTS)),
        ("a.xyz", lambda p: np.savetxt(p, POINTS)), ("a.csv", lambda p: np.savetxt(p, POINTS, delimiter=",", header="x,y,z", comments="")),
        ("a.pts", lambda p: p.write_text(f"{len(POINTS)}\n" + "\n".join(f"{x} {y} {z} 1 2 3" for x, y, z in POINTS))),
    ],
)  # fmt: skip
def test_every_format_gives_the_same_points(tmp_path, name, write):
    write(tmp_path / name)
    assert np.allclose(read_cloud(tmp_path / name), POINTS, atol=1e-6)


@pytest.mark.parametrize("suffix", [".obj", ".stl", ".glb", ".off", ".ply"])
def test_faces_are_sampled_evenly(tmp_path, suffix):
    trimesh = pytest.importorskip("trimesh")
    path = tmp_path / f"triangle{suffix}"
    if suffix == ".ply":
        ply(path, TRIANGLE, [[0, 1, 2]])
    else:
        trimesh.Trimesh(TRIANGLE, [[0, 1, 2]]).export(path)
    points = read_cloud(path)
    assert len(points) > 5000
    assert points.mean(0) == pytest.approx([1 / 3, 1 / 3, 0], abs=0.01)  # the centroid of a triangle
    assert (points @ [1, 1, 0] <= 1 + 1e-6).all()


def test_comments_may_hold_anything(tmp_path):
    ply(tmp_path / "a.ply", comments=["made by Rene"])
    raw = (tmp_path / "a.ply").read_bytes().replace(b"Rene", b"Ren\xe9")
    (tmp_path / "a.ply").write_bytes(raw)
    assert len(read_cloud(tmp_path / "a.ply")) == len(POINTS)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.ply", b"ply\nformat ascii 1.0\nelement vertex 99999999999\nproperty float x\nend_header\n", "cannot read|more than"),
        ("a.ply", b"", "cannot read"), ("a.pcd", b"FIELDS x\n", "no PCD file"),
        ("a.pcd", b"FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nPOINTS 9999999999\nDATA binary\n", "claims"),
        ("a.pcd", b"FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nPOINTS 5\nDATA binary\n" + bytes(40), "cut short: 3 of 5"),
        ("a.xyz", b"1 2 3\n4 5 six\n", "line 2"), ("a.xyz", b"", "no points"), ("a.npy", b"junk", "cannot read"),
        ("a.las", b"LASF", "unknown kind"), ("a.obj", b"v 1\nf 1 2 3", "cannot read|no points"),
    ],
)  # fmt: skip
def test_files_that_are_none_say_why_in_one_line(tmp_path, name, content, why):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=why) as raised:
        read_cloud(tmp_path / name)
    assert "\n" not in str(raised.value)


@settings(max_examples=60)
@given(st.binary(min_size=1, max_size=300))
def test_lzf_round_trip_of_literals(data):
    assert lzf_decompress(lzf_literal(data), len(data)) == data


def test_lzf_back_references_may_overlap():
    assert lzf_decompress(b"\x00a" + bytes([(7 << 5), 3, 0]), 13) == b"a" * 13  # 'a', then 12 bytes from one back
    with pytest.raises(ValueError, match="damaged"):
        lzf_decompress(bytes([(1 << 5), 5]), 3)
