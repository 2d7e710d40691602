"""Bags as robots record them: several connections, depth and calibration, stamps that lie, files that end early."""

import cv2
import numpy as np
import pytest
from recordings import (
    STORE1,
    camera_info,
    compressed_image,
    inverse_depth_png,
    picture,
    png,
    raw_image,
    write_bag,
    write_bag1,
)
from rosbags.rosbag2 import StoragePlugin

from sab3r_ros.sources.base import SourceError
from sab3r_ros.sources.open import open_source

START, STEP = 1_700_000_000 * 10**9, 10**8


def colour(topic="/camera/image_raw", count=4, encoding="rgb8", stamps=None):
    stamps = stamps or [START + k * STEP for k in range(count)]
    return [
        (topic, START + k * STEP + 5, raw_image(s, picture(k).reshape(48, -1).reshape(48, 64, 3), encoding))
        for k, s in enumerate(stamps)
    ]


def read(path, **options):
    source = open_source(str(path), **options)
    return source, list(source)


def test_the_image_topic_is_chosen_by_content_and_not_by_name(tmp_path):
    deep = [
        ("/camera/image", START + k * STEP, raw_image(START + k * STEP, np.full((48, 64), 900, "<u2"), "16UC1"))
        for k in range(4)
    ]
    source, frames = read(write_bag(tmp_path / "bag", [*colour("/depth_camera/color"), *deep]))
    assert source.topics.image == "/depth_camera/color"
    assert len(frames) == 4


def test_raw_images_come_before_their_compressed_copy_and_colour_before_infrared(tmp_path):
    copy = [("/camera/image_raw/compressed", START, compressed_image(START, png(picture(0))))]
    infrared = [("/infra1/image", START, raw_image(START, picture(0)[..., 0], "mono8"))]
    source, _ = read(write_bag(tmp_path / "bag", [*colour(), *copy, *infrared]))
    assert source.topics.image == "/camera/image_raw"
    assert any("left aside: " in note and "/infra1/image" in note for note in source.notes)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("late", [-1, 4])
def test_depth_and_calibration_come_with_the_images(tmp_path, compressed, late):
    messages = []
    for k in range(5):
        stamp = START + k * STEP
        metres = np.full((48, 64), 2.0 + 0.1 * k, np.float32)
        deep = (
            compressed_image(stamp, inverse_depth_png(metres), "32FC1; compressedDepth png")
            if compressed
            else raw_image(stamp, (metres * 1000).round().astype("<u2"), "16UC1")
        )
        messages += [
            ("/camera/color/image_raw", stamp + 10, raw_image(stamp, picture(k), "rgb8")),
            ("/camera/aligned_depth/image", stamp + 10 + late * 10**7, deep),
            ("/camera/color/camera_info", stamp + 20, camera_info(stamp)),
        ]
    messages.sort(key=lambda m: m[1])
    _, frames = read(write_bag(tmp_path / "bag", messages), depth=True)
    assert len(frames) == 5
    for k, frame in enumerate(frames):
        assert frame.depth[3, 3] == pytest.approx(2.0 + 0.1 * k, rel=0.01)
        assert frame.camera.intrinsics[0, 0] == 50
    _, plain = read(tmp_path / "bag")
    assert plain[0].depth is None
    assert plain[0].camera is None


def test_a_depth_scale_of_ones_own_holds_for_integer_depth(tmp_path):
    messages = [*colour(count=1), ("/depth", START, raw_image(START, np.full((48, 64), 10_000, "<u2"), "16UC1"))]
    _, frames = read(write_bag(tmp_path / "bag", messages), depth=True, depth_scale=5000)
    assert frames[0].depth[0, 0] == pytest.approx(2.0)


def test_depth_that_is_missing_or_not_registered_costs_itself_and_is_said(tmp_path):
    source, frames = read(write_bag(tmp_path / "bag", colour()), depth=True)
    assert len(frames) == 4
    assert any("--depth does nothing" in note for note in source.notes)
    wrong = [
        ("/depth", START + k * STEP, raw_image(START + k * STEP, np.full((48, 48), 900, "<u2"), "16UC1"))
        for k in range(4)
    ]
    source, frames = read(write_bag(tmp_path / "other", [*colour(), *wrong]), depth=True)
    assert [f.depth for f in frames] == [None] * 4
    assert "not registered" in source.faults.summary()


def test_calibration_of_another_image_is_not_used_and_that_is_said(tmp_path):
    messages = [*colour(), ("/camera/camera_info", START, camera_info(START, 1920, 1080))]
    source, frames = read(write_bag(tmp_path / "bag", messages), depth=True)
    assert frames[0].camera is None
    assert any("another aspect" in note for note in source.notes)


def test_all_connections_of_a_topic_are_read(tmp_path):
    messages = [
        (int(k > 0), "/camera/image", START + k * STEP, raw_image(START + k * STEP, picture(k), "rgb8", STORE1))
        for k in range(4)
    ]
    source, frames = read(write_bag1(tmp_path / "restart.bag", messages))
    assert len(source) == len(frames) == 4
    assert np.array_equal(frames[3].rgb, picture(3))


def test_a_ros_1_calibration_has_capitals(tmp_path):
    image = raw_image(START, picture(0), "rgb8", STORE1)
    messages = [(0, "/camera/image", START, image), (0, "/camera/camera_info", START, camera_info(START, store=STORE1))]
    _, frames = read(write_bag1(tmp_path / "one.bag", messages), depth=True)
    assert frames[0].camera.intrinsics[0, 0] == 50


def test_one_bad_message_costs_itself(tmp_path):
    source, frames = read(write_bag(tmp_path / "bag", colour(), cut=2))
    assert [f.stamp for f in frames] == [START, START + STEP, START + 3 * STEP]
    assert len(source.faults) == 1
    assert "damaged message" in source.faults.lines[0]


@pytest.mark.parametrize("stamps", [[START] * 4, [0] * 4])
def test_stamps_that_stand_still_or_are_zero_give_way_to_the_time_of_recording(tmp_path, stamps):
    source, frames = read(write_bag(tmp_path / "bag", colour(stamps=stamps)))
    assert np.diff([f.stamp for f in frames]).tolist() == [STEP] * 3
    assert any("the time of arrival is used" in note for note in source.notes)


@pytest.mark.parametrize("encoding", ["nv12", "nv21", "nv24"])
def test_planes_of_brightness_and_colour(tmp_path, encoding):
    yuv = cv2.cvtColor(picture(3), cv2.COLOR_RGB2YUV)
    if encoding == "nv24":
        data = np.concatenate([yuv[..., 0], yuv[..., 1:].reshape(96, 64)])
        message = raw_image(START, data, encoding)
        message.height = 48
    else:
        small = yuv[::2, ::2, 1:] if encoding == "nv12" else yuv[::2, ::2, :0:-1]
        message = raw_image(START, np.concatenate([yuv[..., 0], small.reshape(24, 64)]), encoding)
    _, frames = read(write_bag(tmp_path / "bag", [("/image", START, message)]))
    # OpenCV's YUV has the full range, cameras' has 16 to 235: the hue must be right, brightness within 15 %.
    close = np.abs(frames[0].rgb.astype(int) - picture(3))
    assert close[::2, ::2].mean() < 20


def test_cameras_with_ten_bits_in_sixteen_are_not_black(tmp_path):
    ramp = np.linspace(0, 1023, 64, dtype="<u2")[None].repeat(48, 0)
    dark = ramp // 64
    messages = [
        ("/ir", START + k * STEP, raw_image(START + k * STEP, image, "mono16")) for k, image in enumerate((ramp, dark))
    ]
    _, frames = read(write_bag(tmp_path / "bag", messages))
    assert frames[0].rgb.max() == 255
    assert frames[1].rgb.max() == 3  # the stream's range holds for a dark image too


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (compressed_image(START, b"\x00\x00\x00\x01", "h264"), "h264"),
        (raw_image(START, np.zeros((4, 4), "<f4"), "32FC1"), "only depth images"),
        (raw_image(START, np.zeros((4, 4), np.uint8), "made_up"), "unknown image encoding 'made_up'"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, message, why):
    write_bag(tmp_path / "bag", [("/image", START, message)])
    try:
        source = open_source(str(tmp_path / "bag"))
    except SourceError as error:
        text = str(error)
    else:
        assert list(source) == []
        text = source.faults.summary()
    assert why in text
    assert len(text) < 250


@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_a_bag_without_metadata_is_read(tmp_path, plugin):
    write_bag(tmp_path / "bag", colour(), plugin)
    (tmp_path / "bag" / "metadata.yaml").unlink()
    assert len(read(tmp_path / "bag")[1]) == 4


def test_a_split_bag_of_which_one_part_is_damaged_gives_the_others(tmp_path):
    (tmp_path / "bag").mkdir()
    for part in range(3):
        write_bag(
            tmp_path / "part",
            [
                (t, r + part * 10**9, m)
                for t, r, m in colour(stamps=[START + part * 10**9 + k * STEP for k in range(4)])
            ],
        )
        next((tmp_path / "part").glob("*.mcap")).rename(tmp_path / "bag" / f"bag_{part}.mcap")
        (tmp_path / "part" / "metadata.yaml").unlink()
        (tmp_path / "part").rmdir()
    (tmp_path / "bag" / "bag_1.mcap").write_bytes(b"nothing of the kind")
    source, frames = read(tmp_path / "bag")
    assert len(frames) == 8
    assert "bag_1.mcap" in source.faults.lines[0]


@pytest.mark.parametrize("share", [0.9, 0.5])
def test_an_mcap_that_ends_early_is_read_as_far_as_it_goes_and_that_is_said(tmp_path, share):
    from mcap.writer import CompressionType, Writer

    path = tmp_path / "cut.mcap"
    with path.open("wb") as stream:
        writer = Writer(stream, chunk_size=10_000, compression=CompressionType.NONE)
        writer.start(profile="ros2")
        kind = "sensor_msgs/msg/Image"
        schema = writer.register_schema(kind, "ros2msg", b"")
        channel = writer.register_channel("/image", "cdr", schema)
        from recordings import STORE

        for k in range(10):
            message = raw_image(START + k * STEP, picture(k), "rgb8")
            writer.add_message(channel, START + k * STEP, bytes(STORE.serialize_cdr(message, kind)), START + k * STEP)
        writer.finish()
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    source, frames = read(path)
    assert 10 * share - 2 <= len(frames) < 10
    assert np.array_equal(frames[0].rgb, picture(0))
    assert "ends early" in source.faults.summary()


def test_reading_twice_gives_the_same(tmp_path):
    source, frames = read(write_bag(tmp_path / "bag", colour()))
    assert [f.stamp for f in source] == [f.stamp for f in frames]
