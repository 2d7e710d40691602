"""The mapper's node in its own process, played to by frame_player in another: topics, services, lifecycle."""

import json
import os
import pathlib
import re
import time
from collections import Counter
from functools import partial
from itertools import islice

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import Point, Vector3
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import GetState
from nav_msgs.msg import Odometry, Path
from rclpy.node import Node
from ros_processes import call, change_state, spin_until
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, Imu, PointCloud2
from std_srvs.srv import SetBool, Trigger
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from sab3r_ros.lab.synthetic.sequence import render_sequence
from sab3r_ros.mapping.map_file import map_mark
from sab3r_ros.msg import MapStatus, Vocabulary
from sab3r_ros.nodes import conversions as convert
from sab3r_ros.nodes.qos import LATCHED, RELIABLE, image_qos
from sab3r_ros.query.object_store import load_objects
from sab3r_ros.sources.open import open_source
from sab3r_ros.srv import LoadMap, LocateObject, QueryAffordance, SaveMap, SetVocabulary, WhatIs

NAME = "/semantic_mapper"


class Listener(Node):
    """Keeps everything the mapper publishes, and can play pictures itself."""

    def __init__(self):
        super().__init__("listener")
        self.got = {
            k: []
            for k in ("image", "map", "window", "odometry", "path", "tf", "status", "labels", "markers", "diagnostics")
        }
        for key, kind, topic, qos in (
            ("image", Image, "image", image_qos("best_effort")), ("map", PointCloud2, f"{NAME}/map", LATCHED), ("window", PointCloud2, f"{NAME}/window", RELIABLE),
            ("odometry", Odometry, f"{NAME}/odometry", RELIABLE), ("path", Path, f"{NAME}/path", RELIABLE), ("tf", TFMessage, "/tf", RELIABLE),
            ("status", MapStatus, f"{NAME}/status", LATCHED), ("labels", Vocabulary, f"{NAME}/labels", LATCHED),
            ("markers", MarkerArray, f"{NAME}/markers", LATCHED), ("diagnostics", DiagnosticArray, "/diagnostics", RELIABLE),
        ):  # fmt: skip
            self.create_subscription(kind, topic, lambda m, k=key: self.keep(k, m), qos)
        self.camera = self.create_publisher(Image, "image", image_qos("reliable"))
        self.compressed = self.create_publisher(CompressedImage, "image/compressed", image_qos("reliable"))

    def keep(self, key, message):
        self.got[key].append(convert.nanoseconds(message.header.stamp) if key == "image" else message)

    @property
    def status(self):
        return self.got["status"][-1] if self.got["status"] else MapStatus()

    def ready(self):
        return spin_until(self, lambda: bool(self.got["status"]) and self.camera.get_subscription_count() > 1, 90)

    def send(self, message, wait=1.5):
        """Publish and wait until the mapper has taken note, at most `wait` seconds.

        Best effort loses what is sent before the node has met this camera: what it says not to have received is sent again.
        """
        before, told = len(self.got["odometry"]), len(self.got["diagnostics"])
        received = self.values().get("frames_received", "0")

        def tracked():
            return len(self.got["odometry"]) > before

        def lost():
            return len(self.got["diagnostics"]) > told + 2 and self.values().get("frames_received") == received

        self.camera.publish(message)
        spin_until(self, lambda: tracked() or lost(), wait)
        if not tracked() and lost():
            self.camera.publish(message)
            spin_until(self, tracked, wait)

    def values(self):
        return {v.key: v.value for v in self.got["diagnostics"][-1].status[0].values} if self.got["diagnostics"] else {}

    def problem(self, kind, timeout=6.0):
        """Whether diagnostics come to count a problem."""
        return spin_until(self, lambda: int(self.values().get(f"problem/{kind}", 0)) > 0, timeout)

    def provoke(self, kind, send, times=20):
        """`send()` until diagnostics come to count a problem: best effort may lose a picture, and a newer one replaces
        one that waits."""
        for _ in range(times):
            send()
            if self.problem(kind, 1.2):
                return True
        return False


@pytest.fixture
def listener(ros):
    out = Listener()
    yield out
    out.destroy_node()


@pytest.fixture(scope="module")
def pictures():
    return [v.rgb for v in render_sequence(900_060_004, 8, 160, 120, 0.3).views]


def message(rgb, ns):
    return convert.rgb_to_image(rgb, convert.header("cam", ns))


def stamps(messages):
    return [convert.nanoseconds(m.header.stamp) for m in messages]


@pytest.mark.slow
def test_the_real_kitchen_through_player_and_mapper(start, listener, real_data, tmp_path, record_property):
    """100 pictures at 10 Hz; every stamp is a picture's, the map grows, the services answer, the node survives."""
    mapper = start("semantic_mapper", map_rate=2.0)
    assert listener.ready(), mapper.output
    player = start("frame_player", input=str(real_data / "rgbd_kitchen"), rate=10.0, wait_for_subscribers=20.0)
    assert spin_until(listener, lambda: not player.alive, 90), player.output
    spin_until(listener, lambda: False, 2)
    got, status = listener.got, listener.status
    assert "sent 100 frames" in player.output
    assert 60 <= status.frames_received <= 100  # best effort may lose some where the machine is busy
    assert status.frames_dropped < status.frames_received

    images = set(got["image"])
    for key in ("odometry", "map", "path", "window"):
        seen = [s for s in stamps(got[key]) if s]
        assert seen, key
        assert len(images) < 100 or set(seen) <= images, f"{key} has stamps that are no image's"
    transforms = [t for m in got["tf"] for t in m.transforms]
    assert {(t.header.frame_id, t.child_frame_id) for t in transforms} == {("map", "camera_optical")}
    assert stamps(transforms) == stamps(got["odometry"])
    assert got["odometry"][0].header.frame_id == "map"
    assert got["odometry"][0].child_frame_id == "camera_optical"
    widths = [m.width for m in got["map"] if m.width]
    assert widths[-1] >= widths[0] > 0
    assert status.num_keyframes >= 1
    assert mapper.alive

    cloud = convert.read_cloud(got["map"][-1])
    assert list(cloud) == ["x", "y", "z", "rgb", "score", "label"]
    assert all(np.isfinite(cloud[k]).all() for k in ("x", "y", "z", "score"))
    assert cloud["label"].max() < len(got["labels"][-1].labels)
    found = call(
        listener, LocateObject, f"{NAME}/locate_object", prompts=["table", "chair"], min_score=0.05, return_points=True
    )
    assert found.status in (LocateObject.Response.SUCCESS, LocateObject.Response.NO_MATCH), found.message
    assert convert.nanoseconds(found.header.stamp) in set(stamps(got["odometry"])) | images
    for item in found.objects:
        assert item.points.width == item.num_points > 0
        assert 0 <= item.score <= 1
    saved = call(listener, SaveMap, f"{NAME}/save_map", path=str(tmp_path / "map"), include_features=True)
    assert saved.status == SaveMap.Response.SUCCESS, saved.message
    assert saved.num_bytes == sum(f.stat().st_size for f in (tmp_path / "map").iterdir())
    assert call(listener, Trigger, f"{NAME}/reset").success
    assert spin_until(listener, lambda: listener.status.num_points == 0, 10)
    assert spin_until(listener, lambda: listener.got["map"][-1].width == 0, 10)
    latency = np.array([s.age_ms for s in got["status"] if s.frames_received and s.inference_ms])
    print(json.dumps({
        "received": status.frames_received, "dropped": status.frames_dropped, "poses": len(got["odometry"]), "keyframes": status.num_keyframes, "map_points": widths[-1],
        "maps": len(widths), "latency_ms_median": float(np.median(latency)), "latency_ms_p95": float(np.quantile(latency, 0.95)), "inference_ms": float(status.inference_ms),
    }))  # fmt: skip


def test_services_markers_and_labels_on_a_rendered_room(start, listener, pictures, tmp_path):
    mapper = start("semantic_mapper", map_rate=10.0)
    assert listener.ready(), mapper.output
    empty = call(listener, LocateObject, f"{NAME}/locate_object", prompts=["wall"])
    assert empty.status == LocateObject.Response.EMPTY_MAP
    assert call(listener, SaveMap, f"{NAME}/save_map", path=str(tmp_path / "m")).status == SaveMap.Response.EMPTY_MAP
    listener.send(message(pictures[0], 10**9), 10)
    assert spin_until(listener, lambda: listener.status.num_points > 0, 10), mapper.output

    answer = call(
        listener, LocateObject, f"{NAME}/locate_object", prompts=["wall", "floor"], min_score=0.02, max_objects=1
    )
    assert answer.status == LocateObject.Response.SUCCESS
    assert len(answer.objects) == 1
    assert answer.header.frame_id == "map"
    assert answer.map_status.scale_source == MapStatus.SCALE_PREDICTED
    for bad, status in (
        ({"prompts": []}, LocateObject.Response.INVALID_REQUEST), ({"prompts": ["a", "a"]}, LocateObject.Response.INVALID_REQUEST),
        ({"prompts": ["a"], "min_score": 7.0}, LocateObject.Response.INVALID_REQUEST), ({"prompts": ["wall"], "min_score": 1.0}, LocateObject.Response.NO_MATCH),
        ({"prompts": ["wall"], "target_frame": "mars"}, LocateObject.Response.TRANSFORM_UNAVAILABLE),
    ):  # fmt: skip
        assert call(listener, LocateObject, f"{NAME}/locate_object", **bad).status == status, bad
    in_camera = call(
        listener,
        LocateObject,
        f"{NAME}/locate_object",
        prompts=["wall", "floor"],
        min_score=0.02,
        max_objects=1,
        target_frame="cam",
    )
    assert in_camera.header.frame_id == "cam"
    assert in_camera.objects[0].centroid.z > 0  # in front of the optical frame

    labels = len(listener.got["labels"])
    for bad in ([], ["mug", "mug"], [""]):
        assert (
            call(listener, SetVocabulary, f"{NAME}/set_vocabulary", labels=bad).status
            == SetVocabulary.Response.INVALID_REQUEST
        )
    assert (
        call(listener, SetVocabulary, f"{NAME}/set_vocabulary", labels=["wall", "rest"]).status
        == SetVocabulary.Response.SUCCESS
    )
    assert spin_until(listener, lambda: len(listener.got["labels"]) > labels, 5)
    assert listener.got["labels"][-1].labels == ["wall", "rest"]
    assert len(listener.got["labels"][-1].colors) == 2
    maps = len(listener.got["map"])
    assert spin_until(listener, lambda: len(listener.got["map"]) > maps, 10), "the map is not labelled anew"
    assert convert.read_cloud(listener.got["map"][-1])["label"].max() <= 1

    path = str(tmp_path / "map")
    assert (
        call(listener, SaveMap, f"{NAME}/save_map", path=path, include_features=True).status == SaveMap.Response.SUCCESS
    )
    assert call(listener, SaveMap, f"{NAME}/save_map", path=path).status == SaveMap.Response.PATH_EXISTS
    assert call(listener, SaveMap, f"{NAME}/save_map", path="").status == SaveMap.Response.PATH_INVALID
    points = listener.status.num_points
    assert call(listener, Trigger, f"{NAME}/reset").success
    assert (
        call(listener, LoadMap, f"{NAME}/load_map", path=str(tmp_path / "none"), clear=True).status
        == LoadMap.Response.NOT_FOUND
    )
    loaded = call(listener, LoadMap, f"{NAME}/load_map", path=path, clear=True)
    assert loaded.status == LoadMap.Response.SUCCESS, loaded.message
    assert loaded.map_status.num_points == points
    again = str(tmp_path / "again")
    assert (
        call(listener, SaveMap, f"{NAME}/save_map", path=again, include_features=True).status
        == SaveMap.Response.SUCCESS
    )
    before, after = (load_objects(p, map_mark(p))[0] for p in map(pathlib.Path, (path, again)))
    assert {o.id: o.label for o in before} == {o.id: o.label for o in after}, "things lost their ids over a reload"
    keyframes = listener.status.num_keyframes
    joined = call(listener, LoadMap, f"{NAME}/load_map", path=again, clear=False)  # the same places once more
    assert joined.status == LoadMap.Response.SUCCESS, joined.message
    assert joined.map_status.num_keyframes == 2 * keyframes
    assert joined.map_status.num_points < 1.3 * points
    assert call(listener, LoadMap, f"{NAME}/load_map", path=path, clear=True).map_status.num_points == points
    data = (tmp_path / "map" / "map.safetensors").read_bytes()
    (tmp_path / "map" / "map.safetensors").write_bytes(data[:-1000])
    assert call(listener, LoadMap, f"{NAME}/load_map", path=path, clear=True).status == LoadMap.Response.INVALID_DATA
    assert listener.status.num_points == points
    info = json.loads((tmp_path / "map" / "map.json").read_text())
    (tmp_path / "map" / "map.safetensors").write_bytes(data)
    (tmp_path / "map" / "map.json").write_text(json.dumps(info | {"feature_model": "another"}))
    other = call(listener, LoadMap, f"{NAME}/load_map", path=path, clear=True)
    assert other.status == LoadMap.Response.INCOMPATIBLE_MODEL
    assert other.map_status.num_points == points
    assert (
        call(listener, LocateObject, f"{NAME}/locate_object", prompts=["wall"]).status
        == LocateObject.Response.NO_FEATURES
    )

    assert call(listener, SetBool, f"{NAME}/pause", data=True).success
    received = listener.status.frames_received
    listener.send(message(pictures[1], 2 * 10**9), 0.5)
    assert listener.status.frames_received == received
    assert call(listener, SetBool, f"{NAME}/pause", data=False).success
    assert mapper.alive


def test_what_is_in_a_place_is_asked_with_words(start, listener):
    mapper = start("semantic_mapper", map_rate=10.0)
    assert listener.ready(), mapper.output
    for k, frame in enumerate(islice(open_source("demo"), 0, 32, 4), 1):
        listener.send(message(frame.rgb, k * 10**9), 10)
    assert spin_until(listener, lambda: listener.status.num_keyframes >= 3, 20), mapper.output

    def ask(*prompts, **more):
        return call(listener, LocateObject, f"{NAME}/locate_object", prompts=list(prompts), **more)

    answer = ask("what is next to the door", return_points=True, surroundings_radius=0.3)
    assert answer.status == LocateObject.Response.SUCCESS, answer.message
    assert re.fullmatch(r"object-\d+", answer.objects[0].id)
    assert 0.3 <= answer.objects[0].score <= 1
    assert convert.read_cloud(answer.objects[0].points)["x"].size == answer.objects[0].num_points
    assert answer.objects[0].surroundings.width > 0
    assert len(ask("What is next to the door?", max_objects=1).objects) == 1
    nowhere = ask("everything on the submarine")
    assert nowhere.status == LocateObject.Response.NO_MATCH
    assert "submarine" in nowhere.message
    for bad in (("what is it all about",), ("what is on the floor", "what is next to the door")):
        assert ask(*bad).status == LocateObject.Response.INVALID_REQUEST, bad
    assert mapper.alive


def test_accelerations_tell_which_way_is_up(start, listener):
    mapper = start("semantic_mapper", map_rate=10.0, use_imu=True, **{"adjustment.enabled": False})
    assert listener.ready(), mapper.output
    publisher = listener.create_publisher(Imu, "imu", 10)
    assert spin_until(listener, lambda: publisher.get_subscription_count() > 0, 10)
    tilt = np.radians(30)  # the camera looks down
    measured = Vector3(y=-9.81 * np.cos(tilt), z=-9.81 * np.sin(tilt))

    def camera_up():
        return convert.from_pose(listener.got["odometry"][-1].pose.pose)[:3, :3] @ convert.from_xyz(measured) / 9.81

    for k, frame in enumerate(islice(open_source("demo"), 14), 1):
        stamp = k * 10**8
        imu = Imu(header=convert.header("cam", stamp), linear_acceleration=measured)
        publisher.publish(imu)
        listener.send(message(frame.rgb, stamp), 10)
        if k == 1:
            assert camera_up()[2] < 0.9  # the map begins as a level camera's
    turned = spin_until(listener, lambda: "the IMU's accelerations show which way is up" in mapper.output, 10)
    assert turned, mapper.output
    listener.send(message(next(islice(open_source("demo"), 15, None)).rgb, 2 * 10**9), 10)
    first = camera_up()
    assert first[2] > np.cos(np.radians(12)), first  # it turned a little while it was walked


@pytest.mark.slow
def test_what_is_at_a_point_in_a_box_and_in_a_picture(start, listener):
    mapper = start("semantic_mapper", map_rate=10.0)
    assert listener.ready(), mapper.output
    ask = partial(call, listener, WhatIs, f"{NAME}/what_is")
    assert ask().status == WhatIs.Response.EMPTY_MAP
    shown = [frame.rgb for frame in islice(open_source("demo"), 0, 32, 4)]
    for k, rgb in enumerate(shown, 1):
        listener.send(message(rgb, k * 10**9), 10)
    assert spin_until(listener, lambda: listener.status.num_keyframes >= 3, 20), mapper.output

    everything = ask(kind=WhatIs.Request.BOX, box_size=Vector3(x=100.0, y=100.0, z=100.0))
    assert everything.status == WhatIs.Response.SUCCESS, everything.message
    assert len(everything.objects) > 3
    assert all(o.score == pytest.approx(1.0) for o in everything.objects)
    thing = max(everything.objects, key=lambda o: o.num_points)
    box = ask(kind=WhatIs.Request.BOX, box_pose=thing.pose.pose, box_size=thing.size, max_objects=1)
    assert len(box.objects) == 1
    near = min(everything.objects, key=lambda o: o.size.x * o.size.y * o.size.z)
    there = ask(point=near.centroid, reach=1.0)
    assert [o.id for o in there.objects] != []
    assert there.objects[0].id in {o.id for o in everything.objects}
    assert ask(point=Point(x=50.0)).status == WhatIs.Response.NO_MATCH

    picture = ask(kind=WhatIs.Request.IMAGE, image=message(shown[4], 0))
    assert picture.status == WhatIs.Response.SUCCESS, picture.message
    assert picture.has_camera_pose
    path = [convert.from_pose(p.pose)[:3, 3] for p in listener.got["path"][-1].poses]
    assert min(np.linalg.norm(p - convert.from_pose(picture.camera_pose)[:3, 3]) for p in path) < 0.15
    known = {o.id for o in picture.objects} & {
        o.id for o in everything.objects
    }  # new ones come while keyframes are adjusted
    assert len(known) > len(picture.objects) / 2
    assert all(0 < o.score <= 1 for o in picture.objects)
    other = np.random.default_rng(0).integers(0, 255, shown[0].shape, np.uint8)
    unknown = ask(kind=WhatIs.Request.IMAGE, image=message(other, 0))
    assert unknown.status == WhatIs.Response.NO_MATCH
    assert not unknown.has_camera_pose

    invalid, no_tf = WhatIs.Response.INVALID_REQUEST, WhatIs.Response.TRANSFORM_UNAVAILABLE
    for bad, status in (
        ({"kind": 7}, invalid), ({"kind": WhatIs.Request.BOX}, invalid), ({"kind": WhatIs.Request.IMAGE}, invalid),
        ({"point": Point(x=float("nan"))}, invalid), ({"reach": -1.0}, invalid), ({"target_frame": "mars"}, no_tf),
    ):  # fmt: skip
        answer = ask(**bad)
        assert answer.status == status, (bad, answer.message)
        assert answer.message
    assert mapper.alive


@pytest.mark.slow
def test_bad_pictures_are_counted_said_once_and_the_map_stays_whole(start, listener, pictures):
    mapper = start("semantic_mapper", map_rate=10.0, use_depth=True)
    assert listener.ready(), mapper.output
    good = message(pictures[0], 10**9)
    listener.send(good, 10)
    assert spin_until(listener, lambda: listener.status.num_points > 0, 10), mapper.output
    points = listener.status.num_points

    def broken(**fields):
        out = message(pictures[1], 2 * 10**9)
        for name, value in fields.items():
            setattr(out, name, value)
        return out

    assert listener.provoke("ImageError", lambda: listener.send(broken(data=b""), 0.3)), mapper.output
    for bad in (
        broken(data=good.data[:100].tobytes()), broken(encoding="ultraviolet"), broken(width=0), broken(height=0), broken(step=1),
        broken(data=b""), broken(data=b""), broken(data=b""),
    ):  # fmt: skip
        listener.send(bad, 0.3)
    dark = [np.zeros((120, 160, 3), np.uint8), np.full((120, 160, 3), 200, np.uint8)]
    assert listener.provoke("BadFrame", lambda: [listener.send(message(d, 3 * 10**9), 0.5) for d in dark]), (
        mapper.output
    )
    listener.send(message(pictures[1], 10**9 - 10**8), 0.5)  # a little older than the newest
    texture = np.random.default_rng(0).integers(0, 256, (120, 160, 3)).astype(np.uint8)
    listener.send(message(texture, 4 * 10**9), 1)
    assert listener.status.num_points >= points
    narrow, turned = pictures[0][:, :120].copy(), np.ascontiguousarray(pictures[0].transpose(1, 0, 2))
    # Another size in mid-stream, and another one again.
    assert listener.provoke("size_change", lambda: listener.send(message(narrow, 5 * 10**9), 2)), mapper.output
    assert listener.provoke("no_depth", lambda: listener.send(message(turned, 6 * 10**9), 2)), mapper.output
    assert mapper.alive
    said = [line for line in mapper.output.splitlines() if "truncated: 0 bytes" in line]
    assert len(said) == 1, "the same complaint should be made once"
    assert "black or constant" in mapper.output
    poses = len(listener.got["odometry"])
    for k in range(3):
        listener.send(message(pictures[0], 10**10 + k), 5)
    assert len(listener.got["odometry"]) > poses, "the node does not go on after bad pictures"
    assert listener.status.num_points >= points


@pytest.mark.slow
def test_depth_and_intrinsics_make_the_scale_measured(start, listener):
    views = render_sequence(900_060_004, 3, 160, 120, 0.1).views
    mapper = start("semantic_mapper", use_depth=True)
    depth = listener.create_publisher(Image, "depth", image_qos("reliable"))
    info = listener.create_publisher(CameraInfo, "camera_info", image_qos("reliable"))
    assert listener.ready(), mapper.output
    assert spin_until(listener, lambda: depth.get_subscription_count() and info.get_subscription_count(), 10)
    for k, view in enumerate(views):
        head = convert.header("cam", (k + 1) * 10**9)
        info.publish(convert.camera_info(view.intrinsics, 160, 120, head))
        depth.publish(convert.depth_to_image(view.depth, head))
        spin_until(listener, lambda: False, 0.3)
        listener.send(message(view.rgb, (k + 1) * 10**9), 10)
    assert listener.status.scale_source == MapStatus.SCALE_MEASURED, mapper.output
    assert listener.status.scale_stddev < 0.2

    def send_without_depth():
        blank = np.full((120, 160), np.nan, np.float32)
        depth.publish(convert.depth_to_image(blank, convert.header("cam", 9 * 10**9)))
        spin_until(listener, lambda: False, 0.3)
        listener.send(message(views[0].rgb, 9 * 10**9), 10)

    assert listener.provoke("frame_note", send_without_depth), mapper.output
    assert "fewer than 50 usable" in mapper.output


def test_compressed_pictures(start, listener, pictures):
    mapper = start("semantic_mapper", image_transport="compressed")
    assert spin_until(listener, lambda: listener.got["status"] and listener.compressed.get_subscription_count(), 60), (
        mapper.output
    )
    data = cv2.imencode(".jpg", pictures[0][..., ::-1])[1].tobytes()
    done = {b"not a jpeg": lambda: "cannot be decoded" in mapper.output, data: lambda: bool(listener.got["odometry"])}
    for content, seen in done.items():
        for _ in range(4):  # best effort loses what is sent before the node has met this camera
            head = convert.header("cam", 10**9)
            listener.compressed.publish(CompressedImage(header=head, format="jpeg", data=content))
            if spin_until(listener, seen, 5):
                break
    assert "cannot be decoded" in mapper.output
    assert stamps(listener.got["odometry"]) == [10**9], mapper.output


@pytest.mark.slow
def test_lifecycle_by_hand(start, listener, pictures):
    def change(transition):
        return change_state(listener, NAME, transition)

    def state():
        assert mapper.alive, mapper.output
        return call(listener, GetState, f"{NAME}/get_state").current_state.id

    mapper = start("semantic_mapper", autostart=False)
    assert state() == State.PRIMARY_STATE_UNCONFIGURED
    answer = call(listener, LocateObject, f"{NAME}/locate_object", prompts=["wall"])
    assert answer.status == LocateObject.Response.NOT_CONFIGURED
    assert change(Transition.TRANSITION_CONFIGURE)
    assert change(Transition.TRANSITION_ACTIVATE)
    assert listener.ready(), mapper.output
    listener.send(message(pictures[0], 10**9), 10)
    assert spin_until(listener, lambda: listener.status.num_points > 0, 10), mapper.output
    assert change(Transition.TRANSITION_DEACTIVATE)
    assert state() == State.PRIMARY_STATE_INACTIVE
    poses = len(listener.got["odometry"])
    listener.send(message(pictures[1], 2 * 10**9), 0.5)
    assert len(listener.got["odometry"]) == poses
    answer = call(listener, LocateObject, f"{NAME}/locate_object", prompts=["wall", "floor"], min_score=0.02)
    assert answer.status == LocateObject.Response.SUCCESS  # a deactivated mapper still answers
    assert change(Transition.TRANSITION_ACTIVATE)
    assert spin_until(listener, lambda: listener.camera.get_subscription_count() > 1, 10)
    listener.send(message(pictures[1], 3 * 10**9), 10)
    assert len(listener.got["odometry"]) > poses
    assert change(Transition.TRANSITION_DEACTIVATE)
    assert change(Transition.TRANSITION_CLEANUP)
    assert state() == State.PRIMARY_STATE_UNCONFIGURED
    assert change(Transition.TRANSITION_CONFIGURE)


def test_a_wrong_checkpoint_leaves_the_node_up_and_says_why(start, listener, tmp_path):
    (tmp_path / "wrong.safetensors").write_bytes(b"not weights")
    mapper = start("semantic_mapper", model__checkpoint=str(tmp_path / "wrong.safetensors"))
    answer = call(listener, LocateObject, f"{NAME}/locate_object", prompts=["wall"])
    assert answer.status == LocateObject.Response.NOT_CONFIGURED
    assert mapper.alive
    assert "damaged or not a safetensors file" in mapper.output
    assert call(listener, GetState, f"{NAME}/get_state").current_state.id == State.PRIMARY_STATE_UNCONFIGURED


def test_a_late_joiner_gets_the_map_labels_and_status(start, listener, pictures, ros):
    mapper = start("semantic_mapper", map_rate=5.0)
    assert listener.ready(), mapper.output
    listener.send(message(pictures[0], 10**9), 10)
    assert spin_until(listener, lambda: any(m.width for m in listener.got["map"]), 20), mapper.output
    late = Listener()
    try:
        assert spin_until(late, lambda: late.got["map"] and late.got["labels"] and late.got["markers"], 10)
        assert late.got["map"][-1].width > 0
        assert stamps(late.got["map"])[-1] == 10**9
    finally:
        late.destroy_node()


def test_without_images_the_node_says_what_is_offered(start, listener):
    mapper = start("semantic_mapper", warn_after=1.0, image_reliability="reliable")
    assert spin_until(listener, lambda: "Publishers:" in mapper.output, 60), mapper.output
    assert "reliable" in mapper.output
    assert "listener" in mapper.output
    assert spin_until(
        listener, lambda: any(m.status[0].level == DiagnosticStatus.WARN for m in listener.got["diagnostics"]), 10
    )


def test_the_player_says_what_it_cannot_read(start):
    player = start("frame_player", input="/nowhere/at/all")
    assert player.process.wait(60) == 1
    assert "no such input" in player.output
    assert "Traceback" not in player.output


def test_the_player_keeps_stamps_and_publishes_the_clock(start, listener, tmp_path):
    from rosgraph_msgs.msg import Clock

    folder = tmp_path / "tum" / "rgb"
    folder.mkdir(parents=True)
    names = ["1305031102.175304", "1305031102.211214", "1305031102.243211"]
    for name in names:
        cv2.imwrite(str(folder / f"{name}.png"), np.full((48, 64, 3), 90, np.uint8))
    clock = []
    listener.create_subscription(Clock, "/clock", lambda m: clock.append(convert.nanoseconds(m.clock)), RELIABLE)
    player = start("frame_player", input=str(tmp_path / "tum"), restamp=False, publish_clock=True, rate=5.0)
    assert spin_until(listener, lambda: not player.alive, 60), player.output
    expected = [1305031102175304000, 1305031102211214000, 1305031102243211000]
    assert Counter(listener.got["image"]) <= Counter(expected)
    assert clock
    assert set(clock) <= set(expected)


def test_a_ros_clock_that_jumps_back_resets_the_map_and_says_so(start, listener, pictures):
    from rosgraph_msgs.msg import Clock

    mapper = start("semantic_mapper", use_sim_time=True)
    clock = listener.create_publisher(Clock, "/clock", RELIABLE)
    assert listener.ready(), mapper.output
    assert spin_until(listener, lambda: clock.get_subscription_count() > 0, 10)

    def tick(seconds):
        clock.publish(Clock(clock=convert.to_stamp(int(seconds * 1e9))))
        spin_until(listener, lambda: False, 0.3)

    tick(100)
    listener.send(message(pictures[0], 100 * 10**9), 10)
    assert spin_until(listener, lambda: listener.status.num_points > 0, 10), mapper.output
    tick(101)
    tick(50)
    assert spin_until(listener, lambda: listener.status.num_points == 0, 10), mapper.output
    assert "clock jumped back" in mapper.output
    assert mapper.alive


def test_the_tests_themselves_run_with_the_fast_dds_profile_and_alone():
    assert os.path.isfile(os.environ["FASTDDS_DEFAULT_PROFILES_FILE"])
    assert os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"


@pytest.mark.slow
def test_the_demo_of_the_nodes_collects_what_they_publish(tmp_path):
    """The executable of `make demo`, on a short recording."""
    import subprocess
    import sys
    from pathlib import Path

    for k, view in enumerate(render_sequence(900_060_006, 12, 160, 120, 0.3).views):
        cv2.imwrite(str(tmp_path / f"{k}.png"), view.rgb[..., ::-1])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "summary.json").write_text(
        json.dumps(
            {
                "frames": 12,
                "located": [{"query": "wall", "iou": 0.5}],
                "affords": [{"object": "wall", "affordance": "push"}],
            }
        )
    )
    script = Path(__file__).resolve().parents[2] / "scripts" / "sab3r_demo"
    command = [sys.executable, str(script), str(tmp_path / "out"), "--input", str(tmp_path), "--rate", "4"]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONSAFEPATH": "1"}, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["frames"] == 12
    assert summary["ros"]["frames_received"] > 6
    assert summary["ros"]["odometry"] == summary["ros"]["transforms"] > 0
    assert summary["ros"]["map_points"] > 100
    (answer,) = summary["ros"][
        "affords"
    ]  # of a server that was started a moment before, and whose model takes its time
    assert answer["status"] != QueryAffordance.Response.NOT_ACTIVE
    assert (tmp_path / "out" / "ros_map" / "map.safetensors").stat().st_size > 0
    missing = subprocess.run(
        [*command[:-4], "--input", "/nowhere", "--timeout", "60"],
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert missing.returncode == 1
    assert "frame_player failed" in missing.stderr


def test_a_parameter_of_another_type_is_one_line_and_ends_the_node(start):
    for executable, parameter in (("semantic_mapper", {"window.size": "many"}), ("frame_player", {"input": 7})):
        process = start(executable, **parameter)
        assert process.process.wait(60) == 1
        assert "Traceback" not in process.output
        assert next(iter(parameter)) in process.output


def test_a_base_that_drives_and_turns(start, listener, pictures):
    """map -> odom is made with odometry at the image's stamp; odometry is the base's; base -> camera tells which way is up."""
    from rclpy.qos import DurabilityPolicy, QoSProfile

    pitch = 0.4
    base_from_camera = np.eye(4)
    about_y = np.array([[np.cos(pitch), 0, np.sin(pitch)], [0, 1, 0], [-np.sin(pitch), 0, np.cos(pitch)]])
    base_from_camera[:3, :3] = about_y @ np.array([[0, 0, 1.0], [-1, 0, 0], [0, -1, 0]])
    base_from_camera[:3, 3] = 0.1, 0, 0.5
    started = time.time_ns()

    def odom_from_base(stamp):
        """0.5 m/s ahead while turning by 0.3 rad/s."""
        seconds = (stamp - started) * 1e-9
        angle, radius = 0.3 * seconds, 0.5 / 0.3
        out = np.eye(4)
        out[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        out[:2, 3] = radius * np.sin(angle), radius * (1 - np.cos(angle))
        return out

    def drive():
        now = time.time_ns()
        dynamic.publish(TFMessage(transforms=[convert.to_transform(odom_from_base(now), "odom", "base", now)]))

    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    static = listener.create_publisher(TFMessage, "/tf_static", latched)
    static.publish(TFMessage(transforms=[convert.to_transform(base_from_camera, "base", "cam", 0)]))
    dynamic = listener.create_publisher(TFMessage, "/tf", 100)
    timer = listener.create_timer(0.02, drive)
    mapper = start("semantic_mapper", odom_frame="odom", base_frame="base")
    assert listener.ready(), mapper.output
    assert spin_until(listener, lambda: static.get_subscription_count() > 0, 10)
    spin_until(listener, lambda: False, 1)
    for k in range(4):
        listener.send(message(pictures[k // 2], time.time_ns()), 10)
    spin_until(listener, lambda: False, 0.5)
    listener.destroy_timer(timer)
    assert "tells which way is up" in mapper.output
    transforms = [t for m in listener.got["tf"] for t in m.transforms if t.header.frame_id == "map"]
    assert {t.child_frame_id for t in transforms} == {"odom"}
    poses = dict(zip(stamps(listener.got["odometry"]), listener.got["odometry"], strict=True))
    assert len(poses) >= 3
    for transform in transforms:
        stamp = convert.nanoseconds(transform.header.stamp)
        assert poses[stamp].child_frame_id == "base"
        base = convert.from_transform(transform) @ odom_from_base(stamp)
        wanted = convert.from_pose(poses[stamp].pose.pose)
        assert np.linalg.norm(base[:3, 3] - wanted[:3, 3]) < 0.005
        turn = np.arccos(np.clip((np.trace(base[:3, :3].T @ wanted[:3, :3]) - 1) / 2, -1, 1))
        assert np.degrees(turn) < 0.2
        variances = np.array(poses[stamp].pose.covariance).reshape(6, 6).diagonal()
        assert (variances > 0).all()
        assert (np.array(poses[stamp].twist.covariance).reshape(6, 6).diagonal() > 0).all()
    first = convert.from_pose(
        poses[sorted(poses)[1]].pose.pose
    )  # the map began anew with gravity after the first image
    assert first[2, 2] == pytest.approx(1.0, abs=0.02)  # upright


@pytest.mark.slow
def test_odometry_tells_the_maps_unit_and_goes_on_before_a_blank_wall(start, listener):
    """odom -> camera on TF, with lengths twice the true ones: the map takes its unit from there, not from the network."""
    factor = 2.0
    views = render_sequence(900_060_147, 15, 320, 240, 1.8).views
    mapper = start("semantic_mapper", **{"odom_frame": "odom", "publish_tf": False, "window.keyframe_overlap": 1.0})
    dynamic = listener.create_publisher(TFMessage, "/tf", 100)
    assert listener.ready(), mapper.output
    assert spin_until(listener, lambda: dynamic.get_subscription_count() > 0, 10)
    walked = []

    def walk(rgb, pose):
        stamp = (len(walked) + 1) * 10**9
        dynamic.publish(TFMessage(transforms=[convert.to_transform(pose, "odom", "cam", stamp)]))
        spin_until(listener, lambda: False, 0.1)
        listener.send(message(rgb, stamp), 10)
        walked.append(pose[:3, 3])

    measured_at = len(views)
    for step, view in enumerate(views):
        pose = view.cam2world.copy()
        pose[:3, 3] *= factor
        walk(view.rgb, pose)
        if listener.status.scale_source == MapStatus.SCALE_MEASURED:
            measured_at = min(measured_at, step)
        if step >= measured_at + 4:  # how soon depends on when the adjustment beside the stream gets the processor
            break
    assert listener.status.scale_source == MapStatus.SCALE_MEASURED, mapper.output
    assert listener.status.scale_stddev < 0.15
    # The unit changes once a frame that was told before became a keyframe.
    newest = [convert.from_pose(m.pose.pose)[:3, 3] for m in listener.got["odometry"][-3:]]
    mine = np.linalg.norm(np.diff(newest, axis=0), axis=1).sum()
    true = np.linalg.norm(np.diff(walked[-3:], axis=0), axis=1).sum()
    assert mine == pytest.approx(true, rel=0.35)
    poses = len(listener.got["odometry"])
    for step in (0.3, 0.6):
        ahead = pose.copy()
        ahead[:3, 3] += step * pose[:3, 2]
        shaded = np.broadcast_to(np.linspace(180, 230, 320).astype(np.uint8)[None, :, None], (240, 320, 3)).copy()
        walk(shaded, ahead)
    assert spin_until(listener, lambda: len(listener.got["odometry"]) == poses + 2, 20), mapper.output
    assert listener.status.tracking == MapStatus.TRACKING_OK
    before, after = (convert.from_pose(m.pose.pose) for m in listener.got["odometry"][-2:])
    assert np.allclose((np.linalg.inv(before) @ after)[:3, 3], [0, 0, 0.3], atol=0.05)
