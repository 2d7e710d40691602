"""Recordings in archives."""

import gc
import io
import json
import tarfile
import tempfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from recordings import picture, write_video

from sab3r_ros.sources import archives
from sab3r_ros.sources.base import SourceError
from sab3r_ros.sources.open import open_source


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """Where archives are unpacked."""
    folder = tmp_path / "unpacked"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def png(k):
    return cv2.imencode(".png", picture(k)[..., ::-1])[1].tobytes()


def files():
    """Images and depth in a folder of their own, as scanners zip it, and what a Mac adds."""
    found = {f"scan/color/{k}.png": png(k) for k in (10, 9, 0)}
    for k in (10, 9, 0):
        found[f"scan/depth/{k}.png"] = cv2.imencode(".png", np.full((48, 64), 1000 + k, np.uint16))[1].tobytes()
    return found | {"__MACOSX/scan/color/._0.png": b"rubbish", "scan/color/._9.png": b"rubbish"}


def zipped(path, content):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return str(path)


def tarred(path, content, mode):
    with tarfile.open(path, mode) as archive:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return str(path)


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz", "tgz", "tar.xz", "tar.bz2"])
def test_an_archive_is_read_like_the_folder_in_it_and_leaves_nothing_behind(tmp_path, place, suffix):
    path = tmp_path / f"scan.{suffix}"
    compressed = {"tar": "w", "gz": "w:gz", "tgz": "w:gz", "xz": "w:xz", "bz2": "w:bz2"}
    name = zipped(path, files()) if suffix == "zip" else tarred(path, files(), compressed[suffix.rpartition(".")[2]])
    source = open_source(name, depth=True)
    for _ in range(2):
        frames = list(source)
        assert [np.nanmedian(f.depth).round(3) for f in frames] == pytest.approx([1.0, 1.009, 1.01])
        assert (frames[1].rgb == picture(9)).all()
    assert source.name == name
    assert "unpacked 6 files" in source.notes
    assert not len(source.faults)
    assert list(place.iterdir())
    del source
    gc.collect()
    assert not list(place.iterdir())


def test_record3d_s_own_file(tmp_path):
    content = {f"rgbd/{k}.jpg": cv2.imencode(".jpg", picture(k))[1].tobytes() for k in range(3)}
    lzfse = pytest.importorskip("liblzfse")
    content |= {f"rgbd/{k}.depth": lzfse.compress(np.full((24, 32), 1.5, np.float32).tobytes()) for k in range(3)}
    content["metadata"] = json.dumps({"K": [50.0, 0, 0, 0, 50, 0, 32, 24, 1], "fps": 20})
    source = open_source(zipped(tmp_path / "room.r3d", content), depth=True)
    frames = list(source)
    assert source.layout.name == "Record3D"
    assert [f.stamp for f in frames] == [0, 50_000_000, 100_000_000]
    assert frames[0].depth[0, 0] == 1.5
    assert frames[0].camera.intrinsics[0, 0] == 50


def test_a_video_and_images_without_a_folder(tmp_path):
    video = write_video(tmp_path / "walk.avi").read_bytes()
    assert len(list(open_source(zipped(tmp_path / "a.zip", {"walk.avi": video})))) == 6
    assert len(list(open_source(zipped(tmp_path / "b.zip", {"0.png": png(0)})))) == 1
    assert len(list(open_source(zipped(tmp_path / "c.zip", {"rgb/0.png": png(0), "rgb/1.png": png(1)})))) == 2


def test_a_damaged_member_costs_itself(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for k in range(3):
            archive.writestr(f"{k}.png", png(k))
        start = archive.getinfo("1.png").header_offset
    data = bytearray(path.read_bytes())
    data[start + 200] ^= 255
    path.write_bytes(data)
    source = open_source(str(path))
    assert len(list(source)) == 2
    assert "1 left out: 1 x cannot be unpacked: Bad CRC-32" in source.faults.summary()


def test_an_archive_that_breaks_off_is_read_as_far_as_it_goes(tmp_path):
    rng = np.random.default_rng(0)
    content = {
        f"{k}.png": cv2.imencode(".png", rng.integers(0, 256, (48, 64, 3), np.uint8))[1].tobytes() for k in range(6)
    }
    path = Path(tarred(tmp_path / "a.tar.gz", content, "w:gz"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    source = open_source(str(path))
    assert 1 <= len(list(source)) <= 3
    assert "cannot be unpacked: Compressed file ended" in source.faults.summary()


def test_names_that_no_file_can_have_cost_themselves(tmp_path):
    content = {"a" * 300 + ".png": png(0), "0.png": png(0), "1.png": png(1)}
    source = open_source(zipped(tmp_path / "a.zip", content))
    assert len(list(source)) == 2
    assert "File name too long" in source.faults.summary()


def test_nothing_is_written_outside(tmp_path, place):
    content = {
        "../out.png": png(0),
        "/abs.png": png(0),
        "a/../../out.png": png(0),
        "in/0.png": png(0),
        "in/1.png": png(1),
    }
    assert len(list(open_source(zipped(tmp_path / "a.zip", content)))) == 2
    assert len(list(open_source(tarred(tmp_path / "a.tar", content, "w")))) == 2
    assert not [p for p in place.parent.rglob("*out.png")]
    assert not Path("/abs.png").exists()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: p.write_bytes(b"not a zip"), "File is not a zip file"),
        (lambda p: zipped(p, {}), "it holds no files that can be read"),
        (lambda p: zipped(p, {"a.txt": b"1", "b.txt": b"2"}), "no images in a.zip"),
        (lambda p: p.write_bytes(Path(zipped(p, files())).read_bytes()[:-30]), "File is not a zip file"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_leaves_nothing_behind(tmp_path, place, make, words):
    make(tmp_path / "a.zip")
    with pytest.raises(SourceError, match=words) as told:
        open_source(str(tmp_path / "a.zip"))
    assert "\n" not in str(told.value)
    assert not list(place.iterdir())


def test_a_disk_that_is_too_small_and_a_member_that_lies(tmp_path, place, monkeypatch):
    name = zipped(tmp_path / "a.zip", files())
    monkeypatch.setattr(archives, "_LEFT_FREE", 10**18)
    with pytest.raises(SourceError, match="is too small for it: unpack it elsewhere"):
        open_source(name)
    assert not list(place.iterdir())
    with pytest.raises(ValueError, match="not as long"):
        archives._copy(io.BytesIO(b"12345"), tmp_path / "out", 3)


def test_a_gz_that_is_no_tar_is_named(tmp_path):
    (tmp_path / "walk.log.gz").write_bytes(b"something")
    with pytest.raises(SourceError, match="unknown kind of input '.gz'"):
        open_source(str(tmp_path / "walk.log.gz"))
