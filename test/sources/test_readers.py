"""Folders, videos, bags, the built-in sequence, and inputs that cannot be read."""

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from sab3r_ros.sources.base import SourceError
from sab3r_ros.sources.demo import FOLDER
from sab3r_ros.sources.folders import FolderSource
from sab3r_ros.sources.open import open_source


def picture(k, width=64, height=48):
    out = np.zeros((height, width, 3), np.uint8)
    out[:, : 4 + 3 * k] = 200, 20 * k, 10
    return out


def write(path, rgb):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), rgb[..., ::-1])


def test_a_plain_folder_in_natural_order(tmp_path):
    for k in (0, 2, 10, 9):
        write(tmp_path / f"shot{k}.png", picture(k))
    frames = list(open_source(str(tmp_path), rate=5))
    assert [f.stamp for f in frames] == [0, 200_000_000, 400_000_000, 600_000_000]
    for frame, k in zip(frames, (0, 2, 9, 10), strict=True):
        assert np.array_equal(frame.rgb, picture(k))


def test_the_7_scenes_layout_with_depth_and_intrinsics(tmp_path):
    for k in range(3):
        write(tmp_path / f"frame-{k:06d}.color.png", picture(k))
        cv2.imwrite(str(tmp_path / f"frame-{k:06d}.depth.png"), np.full((48, 64), 1500, np.uint16))
        cv2.imwrite(str(tmp_path / f"frame-{k:06d}.label.png"), np.zeros((48, 64), np.uint8))
    (tmp_path / "intrinsics.txt").write_text("50 0 32\n0 50 24\n0 0 1\n")
    source = open_source(str(tmp_path), depth=True)
    frames = list(source)
    assert len(source) == len(frames) == 3
    assert frames[0].depth[3, 3] == pytest.approx(1.5)
    assert frames[0].camera.intrinsics[0, 2] == 32
    plain = next(iter(open_source(str(tmp_path))))
    assert plain.depth is None
    assert plain.camera is None


def test_the_tum_layout_keeps_its_stamps(tmp_path):
    write(tmp_path / "rgb" / "1305031102.175304.png", picture(0))
    write(tmp_path / "rgb" / "1305031102.211214.png", picture(1))
    frames = list(FolderSource(tmp_path))
    assert [f.stamp for f in frames] == [1305031102175304000, 1305031102211214000]


def test_unreadable_pictures_are_skipped_and_named(tmp_path):
    for k in range(3):
        write(tmp_path / f"{k}.png", picture(k))
    (tmp_path / "1.png").write_bytes(b"rubbish")
    source = open_source(str(tmp_path))
    assert [f.stamp for f in source] == [0, 200_000_000]
    assert len(source.skipped) == 1
    assert "1.png" in source.skipped[0]


def test_a_video(tmp_path):
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 20, (64, 48))
    assert writer.isOpened()
    for k in range(6):
        writer.write(picture(k)[..., ::-1].copy())
    writer.release()
    source = open_source(str(path))
    frames = list(source)
    assert len(source) == len(frames) == 6
    assert [f.stamp for f in frames] == [k * 50_000_000 for k in range(6)]
    assert np.abs(frames[5].rgb.astype(int) - picture(5)).mean() < 8


def write_bag(path, plugin, topics):
    store = get_typestore(Stores.ROS2_JAZZY)
    types = store.types
    time, header = types["builtin_interfaces/msg/Time"], types["std_msgs/msg/Header"]
    raw, compressed = types["sensor_msgs/msg/Image"], types["sensor_msgs/msg/CompressedImage"]
    with Writer(path, version=9, storage_plugin=plugin) as writer:
        for topic, kind in topics:
            connection = writer.add_connection(topic, f"sensor_msgs/msg/{kind}", typestore=store)
            for k in range(4):
                head = header(stamp=time(sec=100 + k, nanosec=7), frame_id="cam")
                if kind == "Image":
                    padded = np.pad(picture(k).reshape(48, -1), ((0, 0), (0, 8)))
                    message = raw(
                        header=head, height=48, width=64, encoding="rgb8", is_bigendian=0, step=200, data=padded.ravel()
                    )
                else:
                    data = cv2.imencode(".png", picture(k)[..., ::-1])[1].ravel()
                    message = compressed(header=head, format="png", data=data)
                writer.write(connection, (100 + k) * 10**9 + 50, store.serialize_cdr(message, message.__msgtype__))


@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
@pytest.mark.parametrize("kind", ["Image", "CompressedImage"])
def test_bags(tmp_path, plugin, kind):
    write_bag(tmp_path / "bag", plugin, [("/cam/image", kind)])
    source = open_source(str(tmp_path / "bag"))
    frames = list(source)
    assert len(source) == 4
    assert [f.stamp for f in frames] == [(100 + k) * 10**9 + 7 for k in range(4)]
    assert all(np.array_equal(f.rgb, picture(k)) for k, f in enumerate(frames))


def test_a_bare_mcap_file(tmp_path):
    write_bag(tmp_path / "bag", StoragePlugin.MCAP, [("/image", "Image")])
    file = next((tmp_path / "bag").glob("*.mcap"))
    assert len(list(open_source(str(file)))) == 4


def test_a_bag_with_several_topics_needs_a_choice(tmp_path):
    write_bag(
        tmp_path / "bag", StoragePlugin.MCAP, [("/left", "Image"), ("/right", "Image"), ("/depth/image", "Image")]
    )
    with pytest.raises(SourceError, match="choose one: .*/left, /right"):
        open_source(str(tmp_path / "bag"))
    assert len(list(open_source(str(tmp_path / "bag"), topic="/right"))) == 4
    with pytest.raises(SourceError, match="no image topic '/up'"):
        open_source(str(tmp_path / "bag"), topic="/up")


def test_the_shipped_sequence_is_small_and_has_its_truth():
    source = open_source("demo")
    frames = list(source)
    assert len(frames) == len(source) == 48
    assert {f.rgb.shape for f in frames} == {(240, 320, 3)}
    assert [f.stamp for f in frames[:3]] == [0, 10**8, 2 * 10**8]
    assert sum(p.stat().st_size for p in FOLDER.rglob("*") if p.is_file()) < 3 << 20
    with np.load(FOLDER / "truth.npz") as truth:
        assert truth["poses"].shape == (48, 4, 4)
        assert truth["depth"].shape == truth["instance"].shape == (48, 120, 160)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda p: None, "no such input"),
        (lambda p: p.mkdir(), "no images in"),
        (lambda p: p.write_text("x"), "unknown kind of input"),
        (lambda p: (p.mkdir(), (p / "metadata.yaml").write_text("nonsense: [")), "cannot be read as a bag"),
    ],
)
def test_inputs_that_cannot_be_read(tmp_path, make, why):
    path = tmp_path / "thing"
    make(path)
    with pytest.raises((SourceError, FileNotFoundError), match=why):
        open_source(str(path))


@pytest.mark.parametrize("name", ["broken.mp4", "broken.mcap", "broken.db3", "one.png"])
def test_broken_files_say_so(tmp_path, name):
    (tmp_path / name).write_bytes(b"not what it seems" * 10)
    with pytest.raises(SourceError, match="damaged|cannot be read|single image"):
        open_source(str(tmp_path / name))


def test_a_camera_that_is_not_there_says_so():
    with pytest.raises(SourceError, match="camera 93 cannot be opened"):
        open_source("93")
