"""Odometry of recordings: from a bag's transforms, and from a file of poses."""

import json
import math
import re

import numpy as np
import pytest
from recordings import (
    STORE1,
    picture,
    raw_image,
    transforms,
    wheel_odometry,
    write_bag,
    write_bag1,
    write_picture,
    write_video,
)

from sab3r_ros.sources.bags import BagSource
from sab3r_ros.sources.base import SourceError
from sab3r_ros.sources.calibration import read_camera
from sab3r_ros.sources.open import open_source

START, STEP = 1_700_000_000 * 10**9, 10**8
TF, TF_STATIC = "/tf", "/tf_static"
CAMERA_ON_BASE = ("base_link", "cam", (0.1, 0.0, 0.5), (0.5, -0.5, 0.5, -0.5))  # optical axes, looking ahead


def images(count=4):
    return [
        ("/camera/image_raw", START + k * STEP + 5, raw_image(START + k * STEP, picture(k), "rgb8"))
        for k in range(count)
    ]


def driven(count=5, first=-0.5, late=0, parent="odom", child="base_link"):
    """A robot that drives 1 m/s along x and turns by 1 rad/s, in transforms halfway between the images."""
    messages = []
    for k in range(count):
        at = first + k
        half = 0.5 * at * STEP * 1e-9
        stamp = START + round(at * STEP)
        turn = (0.0, 0.0, math.sin(half), math.cos(half))
        messages.append((TF, stamp + late, transforms(stamp, (parent, child, (at * STEP * 1e-9, 0, 0), turn))))
    return messages


def static(recorded=START):
    return [(TF_STATIC, recorded, transforms(0, CAMERA_ON_BASE))]


def read(tmp_path, messages, odometry="odom"):
    messages = sorted(messages, key=lambda m: m[1])
    source = open_source(str(write_bag(tmp_path / "bag", messages)), odometry=odometry)
    return source, list(source)


@pytest.mark.parametrize("late", [0, 2 * STEP])
@pytest.mark.parametrize("static_at", [START - STEP, START + 9 * STEP])
def test_a_bags_transforms_tell_where_the_camera_was(tmp_path, late, static_at):
    source, frames = read(tmp_path, [*images(), *static(static_at), *driven(late=late)])
    assert len(frames) == 4
    for k, frame in enumerate(frames):
        seconds = k * STEP * 1e-9
        turn = np.array(
            [[math.cos(seconds), -math.sin(seconds), 0], [math.sin(seconds), math.cos(seconds), 0], [0, 0, 1]]
        )
        assert frame.odometry[:3, 3] == pytest.approx([seconds, 0, 0] + turn @ [0.1, 0, 0.5], abs=1e-4)
        assert frame.odometry[:3, 2] == pytest.approx(turn @ [1, 0, 0], abs=1e-3)  # it looks where it drives
    assert "odometry: known for all 4 images" in source.notes
    assert all(f.odometry is None for f in open_source(str(tmp_path / "bag")))


def test_odometry_messages_do_where_transforms_lack_it(tmp_path):
    wheels = [
        (
            "/wheels/odom",
            START + k * STEP,
            wheel_odometry(START + k * STEP, "odom", "base_link", (0.2 * k, 0, 0), (0, 0, 0, 1)),
        )
        for k in range(4)
    ]
    other = [("/visual", START + 7, wheel_odometry(START + 7, "vodom", "base_link", (9, 9, 9), (0, 0, 0, 1)))]
    _, frames = read(tmp_path, [*images(), *static(), *wheels, *other])
    assert [f.odometry[0, 3] for f in frames] == pytest.approx([0.1, 0.3, 0.5, 0.7])


def test_transforms_come_before_odometry_messages_of_the_same_frame(tmp_path):
    wheels = [
        (
            "/wheels/odom",
            START + k * STEP + 1,
            wheel_odometry(START + k * STEP, "odom", "base_link", (9, 9, 9), (0, 0, 0, 1)),
        )
        for k in range(4)
    ]
    chain = [*driven(child="base_footprint"), *driven(parent="base_footprint", child="base_link")]
    _, frames = read(tmp_path, [*images(), *static(), *chain, *wheels])
    assert all(f.odometry is not None for f in frames)
    assert max(np.abs(f.odometry[:3, 3]).max() for f in frames) < 2


def test_what_is_not_known_costs_no_image_and_is_told(tmp_path):
    broken = [(TF, START + 1, transforms(START, ("odom", "base_link", (math.nan, 0, 0), (0, 0, 0, 0))))]
    source, frames = read(tmp_path, [*images(), *static(), *driven(3), *broken])
    assert [f.odometry is not None for f in frames] == [True, True, False, False]
    assert any("not for 2" in note and "base_link in odom is wanted" in note for note in source.notes)
    again = open_source(str(tmp_path / "bag"), odometry="elsewhere")
    assert all(f.odometry is None for f in again)
    assert any("'cam' in 'elsewhere': they have no common ancestor" in note for note in again.notes)


def poses_file(path, rows):
    path.write_text("# time x y z qx qy qz qw\n" + "\n".join(" ".join(map(str, row)) for row in rows) + "\n")
    return str(path)


def test_a_file_of_poses_belongs_to_any_recording(tmp_path):
    for k in range(5):
        write_picture(tmp_path / "walk" / f"{k}.png", picture(k))
    file = poses_file(tmp_path / "arkit.txt", [(0.05 * k, 0.1 * k, 0, 1.5, 0, 0, 0, 1) for k in range(5)])
    source = open_source(str(tmp_path / "walk"), rate=10, odometry=file)
    frames = list(source)
    assert len(source) == len(frames) == 5
    assert [f.odometry[0, 3] for f in frames[:3]] == pytest.approx([0, 0.2, 0.4])
    assert [f.odometry for f in frames[3:]] == [None, None]
    assert any("not for 2" in note and "from 0.000 to 0.200 s" in note for note in source.notes)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("1 2 3\n", "3 columns"), ("one two\n", "cannot be read"), ("0 0 0 0 0 0 0 1\n", "fewer than two"),
        ("0 nan 0 0 0 0 0 1\n1 0 0 0 0 0 0 0\n", "fewer than two"), ("", "eight"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:loadtxt")
def test_a_file_that_holds_no_poses_is_refused(tmp_path, content, words):
    write_picture(tmp_path / "walk" / "0.png", picture(0))
    (tmp_path / "poses.txt").write_text(content)
    with pytest.raises(SourceError, match=words):
        open_source(str(tmp_path / "walk"), odometry=str(tmp_path / "poses.txt"))


def test_only_a_bag_has_frames_of_its_own(tmp_path):
    write_picture(tmp_path / "0.png", picture(0))
    with pytest.raises(SourceError, match="no file of poses odom"):
        open_source(str(tmp_path), odometry="odom")


def test_bags_of_ros1_have_transforms_too(tmp_path):
    turn = (0, 0, 0, 1)
    messages = [(0, TF_STATIC, START, transforms(START, CAMERA_ON_BASE, store=STORE1))]
    for k in range(3):
        stamp = START + k * STEP
        messages.append((0, "/cam/image", stamp + 5, raw_image(stamp, picture(k), "rgb8", STORE1)))
        messages.append((0, TF, stamp, transforms(stamp, ("odom", "/base_link", (0.2 * k, 0, 0), turn), store=STORE1)))
    path = write_bag1(tmp_path / "walk.bag", messages)
    assert [f.odometry[0, 3] for f in open_source(str(path), odometry="/odom")] == pytest.approx([0.1, 0.3, 0.5])


def test_frames_that_odometry_may_be_asked_for(tmp_path):
    path = write_bag(tmp_path / "bag", [*static(), *driven(), *driven(parent="map", child="odom"), *images()])
    assert BagSource(path).frames_above() == ["base_link", "odom", "map"]


LOOKS_BACK = np.diag([1.0, -1, -1, 1])  # optical axes of a camera whose own are the world's, as OpenGL has them


def scanned(folder, **file):
    """Three images, and what a scanning app wrote beside them."""
    for k in range(3):
        write_picture(folder / "images" / f"{k:03d}.png", picture(k))
    name, values = next(iter(file.items()))
    path = folder / f"{name}.json"
    path.write_text(values if isinstance(values, str) else json.dumps(values))
    return list(open_source(str(folder), odometry=str(path)))


def moved(x):
    pose = np.eye(4)
    pose[0, 3] = x
    return pose


def test_what_scanning_apps_write_tells_where_the_camera_was(tmp_path):
    matrices = [{"file_path": f"./images/{k:03d}", "transform_matrix": moved(0.1 * k).tolist()} for k in (2, 0)]
    frames = scanned(tmp_path / "app", transforms={"frames": matrices, "fl_x": 60, "cx": 32, "cy": 24})
    assert np.allclose(frames[2].odometry, moved(0.2) @ LOOKS_BACK)
    assert np.allclose(frames[1].odometry, moved(0.1) @ LOOKS_BACK)  # between the two
    rows = [[0, 0, 0, 1, 0.3 * k, 0, 0] for k in range(3)]
    frames = scanned(tmp_path / "phone", metadata={"poses": rows})
    assert np.allclose([f.odometry for f in frames], [moved(0.3 * k) @ LOOKS_BACK for k in range(3)])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ("no json", "cannot be read as poses of images"),
        ({"poses": [[0, 0, 0, 1, 0, 0, 0]]}, "of 3 images there should be as many"),
        (
            {"frames": [{"file_path": "other.png", "transform_matrix": np.eye(4).tolist()}]},
            "names none of the images, but other",
        ),
        ({"frames": [{"file_path": "001.png", "transform_matrix": [[1]]}]}, "is not 4 x 4"),
        ({"frames": []}, "names none of the images, but nothing"),
        ({"other": 1}, "cannot be read as poses of images: 'frames'"),
        ([1], "cannot be read as poses of images"),
    ],
)
def test_what_scanning_apps_did_not_write_is_refused(tmp_path, values, words):
    with pytest.raises(SourceError, match=re.escape(words)):
        scanned(tmp_path, transforms=values)


def test_poses_of_images_belong_to_a_folder(tmp_path):
    (tmp_path / "transforms.json").write_text("{}")
    with pytest.raises(SourceError, match="belongs to a folder of these"):
        open_source(str(write_video(tmp_path / "a.avi")), odometry=str(tmp_path / "transforms.json"))


def test_a_transforms_file_holds_the_calibration_too(tmp_path):
    scanned(tmp_path, metadata={"poses": [[0, 0, 0, 1, 0, 0, 0]] * 3})
    values = {"fl_x": 60.0, "fl_y": 61.0, "cx": 32, "cy": 24}
    (tmp_path / "transforms.json").write_text(json.dumps(values))
    assert read_camera(tmp_path).intrinsics.tolist() == [[60, 0, 32], [0, 61, 24], [0, 0, 1]]
    (tmp_path / "transforms.json").write_text(json.dumps(values | {"k1": 0.1}))
    assert read_camera(tmp_path).distortion[0] == pytest.approx(0.1)
    (tmp_path / "transforms.json").write_text(json.dumps({"frames": []}))
    assert read_camera(tmp_path) is None
