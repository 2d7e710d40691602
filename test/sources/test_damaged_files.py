"""Files of every format, damaged in every way: an answer or one line, never anything else.

`SAB3R_MUTATIONS=2000` makes a long run of it.
"""

import os
import shutil
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
from plyfile import PlyData, PlyElement
from recordings import STORE1, camera_info, picture, png, raw_image, write_bag, write_bag1, write_picture, write_video
from rosbags.rosbag2 import StoragePlugin

from sab3r_ros.sources.base import SourceError
from sab3r_ros.sources.clouds import read_cloud
from sab3r_ros.sources.open import open_source

POINTS = np.random.default_rng(0).normal(0, 0.1, (300, 3))
START = 1_700_000_000 * 10**9


def _ply(path, **options):
    vertex = np.array([tuple(p) for p in POINTS], [(k, "f4") for k in "xyz"])
    PlyData([PlyElement.describe(vertex, "vertex")], **options).write(str(path))
    return path


def _pcd(path):
    head = (
        "VERSION 0.7\nFIELDS x y z\nSIZE 8 8 8\nTYPE F F F\nCOUNT 1 1 1\nWIDTH 300\nHEIGHT 1\nPOINTS 300\nDATA binary\n"
    )
    path.write_bytes(head.encode() + POINTS.tobytes())
    return path


def _numpy(path):
    np.save(path, POINTS)
    return path


def _text(path):
    np.savetxt(path, POINTS)
    return path


def _obj(path):
    path.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 2 3\nf 1 3 4\n")
    return path


def _stl(path):
    import trimesh

    trimesh.creation.box().export(path)
    return path


def _messages(store=None):
    options = {} if store is None else {"store": store}
    for k in range(3):
        stamp = START + k * 10**8
        yield "/image", stamp, raw_image(stamp, picture(k), "rgb8", **options)
        yield "/camera_info", stamp, camera_info(stamp, **options)
        yield "/depth", stamp, raw_image(stamp, np.full((48, 64), 900, "<u2"), "16UC1", **options)


def _bag(folder, plugin, suffix):
    write_bag(folder / "bag", list(_messages()), plugin)
    return next((folder / "bag").glob(f"*{suffix}"))


def _picture_folder(folder, suffix):
    if suffix == ".depth":
        write_picture(folder / "in" / "rgb" / "0.png", picture(0))
        return write_picture(folder / "in" / "depth" / "0.png", np.full((48, 64), 5000, np.uint16))
    if suffix == ".exr":
        exr = pytest.importorskip("OpenEXR")
        write_picture(folder / "in" / "rgb" / "0.png", picture(0))
        (folder / "in" / "depth").mkdir()
        file = folder / "in" / "depth" / "0.exr"
        exr.File({"type": exr.scanlineimage}, {"Z": np.ones((24, 32), np.float32)}).write(str(file))
        return file
    return write_picture(folder / "in" / f"0{suffix}", picture(0))


def _archive(path):
    _picture_folder(path.parent, ".depth")
    kind = "zip" if path.suffix == ".zip" else "gztar"
    return Path(shutil.make_archive(str(path).removesuffix(".zip").removesuffix(".tar.gz"), kind, path.parent / "in"))


MAKERS = {
    "ply": lambda f: _ply(f / "a.ply"), "ply ascii": lambda f: _ply(f / "a.ply", text=True), "pcd": lambda f: _pcd(f / "a.pcd"),
    "npy": lambda f: _numpy(f / "a.npy"), "xyz": lambda f: _text(f / "a.xyz"), "obj": lambda f: _obj(f / "a.obj"),
    "stl": lambda f: _stl(f / "a.stl"), "glb": lambda f: _stl(f / "a.glb"),
    "mcap": lambda f: _bag(f, StoragePlugin.MCAP, ".mcap"), "db3": lambda f: _bag(f, StoragePlugin.SQLITE3, ".db3"),
    "bag": lambda f: write_bag1(f / "a.bag", [(0, *m) for m in _messages(STORE1)]), "avi": lambda f: write_video(f / "a.avi"),
    "jpg": lambda f: _picture_folder(f, ".jpg"), "png": lambda f: _picture_folder(f, ".png"),
    "tiff": lambda f: _picture_folder(f, ".tiff"), "webp": lambda f: _picture_folder(f, ".webp"),
    "depth": lambda f: _picture_folder(f, ".depth"), "exr": lambda f: _picture_folder(f, ".exr"),
    "zip": lambda f: _archive(f / "a.zip"), "tar": lambda f: _archive(f / "a.tar.gz"),
}  # fmt: skip


def damaged(data: bytes, rng, other: bytes) -> bytes:
    """The bytes cut short, with flipped bits, with a piece lost, doubled or overwritten, or behind another file's header."""
    raw = bytearray(data)
    kind = rng.integers(6)
    place = int(rng.integers(len(raw)))
    if kind == 0:
        return bytes(raw[:place])
    if kind == 1:
        for _ in range(int(rng.integers(1, 30))):
            raw[int(rng.integers(len(raw)))] ^= 1 << int(rng.integers(8))
        return bytes(raw)
    if kind == 2:  # near the beginning, where headers are
        for _ in range(int(rng.integers(1, 6))):
            raw[int(rng.integers(min(len(raw), 120)))] = int(rng.integers(256))
        return bytes(raw)
    if kind == 3:
        return bytes(raw[:place] + raw[place + int(rng.integers(1, 200)) :])
    if kind == 4:
        return bytes(raw[:place] + raw[max(0, place - 100) :])
    return other[: int(rng.integers(4, 200))] + bytes(raw[int(rng.integers(200)) :])


def answer(kind, path):
    if path.suffix in (".ply", ".pcd", ".npy", ".xyz", ".obj", ".stl", ".glb"):
        points = read_cloud(path)
        assert points.ndim == 2
        return
    where = path
    if kind in ("jpg", "png", "tiff", "webp"):
        where = path.parent
    elif kind in ("depth", "exr"):
        where = path.parent.parent
    for frame in open_source(str(where), depth=True):
        assert frame.rgb.ndim == 3


@pytest.mark.parametrize("kind", list(MAKERS))
def test_a_damaged_file_is_an_answer_or_one_line(tmp_path, kind):
    rng = np.random.default_rng(sum(kind.encode()))
    path = MAKERS[kind](tmp_path)
    whole, other = path.read_bytes(), png(picture(1))
    answer(kind, path)
    refused, count = [], max(1, int(os.environ.get("SAB3R_MUTATIONS", 170)) // len(MAKERS))
    for _ in range(count):
        path.write_bytes(damaged(whole, rng, other))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                answer(kind, path)
        except (SourceError, FileNotFoundError) as error:
            refused.append(str(error))
    assert not any("\n" in text or len(text) > 600 for text in refused)
    print(f"{kind}: {count} damaged files, {len(refused)} refused")


def test_messages_of_any_content_are_answered_or_refused():
    from sab3r_ros.sources.encodings import (
        COLOUR_ENCODINGS,
        ImageError,
        decode_compressed_depth,
        decode_depth,
        decode_image,
    )

    rng, refused = np.random.default_rng(5), []
    packed = cv2.imencode(".png", np.ones((3, 3), np.uint16))[1].tobytes()
    for _ in range(400):
        encoding = str(rng.choice([*COLOUR_ENCODINGS, "32FC1", "nonsense", ""]))
        width, height, step = (int(v) for v in rng.integers(0, 40, 3))
        data = rng.bytes(int(rng.integers(0, 4000)))
        for decode in (decode_image, decode_depth):
            try:
                shape = decode(data, encoding, width, height, step).shape[:2]
            except ImageError as error:
                refused.append(str(error))
            else:
                assert shape == (height, width)
        try:
            decode_compressed_depth(data[:60] + packed, "32FC1")
        except ImageError as error:
            refused.append(str(error))
    assert not any("\n" in text or len(text) > 300 for text in refused)
