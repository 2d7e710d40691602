"""MCAP with ROS 2 messages, as Foxglove and rosbag2 read them: /map, /path, /objects and /tf."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from scipy.spatial.transform import Rotation

from sab3r_ros.exports.content import ExportContent

_FRAME, _CAMERA = "map", "camera"
_STORE = get_typestore(Stores.ROS2_JAZZY)
_CUBE, _TEXT = 1, 9  # visualization_msgs/Marker
_LETTERS = 0.08  # metres


def write_mcap(content: ExportContent, path: Path) -> None:
    """One map, path and set of boxes at the first stamp; the camera's transform at every one. Label names are in /label_names."""
    first = content.trajectory[0][0] if content.trajectory else 0
    with TemporaryDirectory(dir=path.parent) as folder:
        bag = Path(folder) / "bag"  # rosbags writes a folder with one file and a description
        _write_bag(content, bag, first)
        next(bag.glob("*.mcap")).replace(path)


def _write_bag(content: ExportContent, bag: Path, first: int) -> None:
    with Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP) as writer:

        def channel(topic: str, kind: str):
            connection = writer.add_connection(topic, kind, typestore=_STORE)
            return lambda stamp, message: writer.write(connection, stamp, _STORE.serialize_cdr(message, kind))

        channel("/map", "sensor_msgs/msg/PointCloud2")(first, _cloud(content, first))
        channel("/path", "nav_msgs/msg/Path")(first, _path(content, first))
        channel("/objects", "visualization_msgs/msg/MarkerArray")(first, _markers(content, first))
        names = _STORE.types["std_msgs/msg/String"](json.dumps(list(content.names)))
        channel("/label_names", "std_msgs/msg/String")(first, names)
        transform = channel("/tf", "tf2_msgs/msg/TFMessage")
        for stamp, pose in content.trajectory:
            transform(stamp, _transform(stamp, pose))


def _message(name: str, *fields):
    return _STORE.types[name](*fields)


def _header(stamp: int, frame: str = _FRAME):
    time = _message("builtin_interfaces/msg/Time", int(stamp // 10**9), int(stamp % 10**9))
    return _message("std_msgs/msg/Header", time, frame)


def _cloud(content: ExportContent, stamp: int):
    kind = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("rgb", "<u4"), ("label", "<u2"), ("score", "<f4"), ("confidence", "<f4")])  # fmt: skip
    data = np.zeros(len(content.points), kind)
    data["x"], data["y"], data["z"] = content.points.T
    red, green, blue = content.colours.astype(np.uint32).T
    data["rgb"] = red << 16 | green << 8 | blue
    data["label"], data["score"], data["confidence"] = content.labels, content.scores, content.confidence
    types = {"<f4": 7, "<u4": 7, "<u2": 4}  # rgb is told as a float, as PCL has it
    fields = [
        _message("sensor_msgs/msg/PointField", name, kind.fields[name][1], types[kind.fields[name][0].str], 1)  # type: ignore[index]
        for name in kind.names or ()
    ]
    raw = np.frombuffer(data.tobytes(), np.uint8)
    count = len(data)
    return _message(
        "sensor_msgs/msg/PointCloud2",
        _header(stamp),
        1,
        count,
        fields,
        False,
        kind.itemsize,
        kind.itemsize * count,
        raw,
        True,
    )


def _pose(matrix: np.ndarray):
    position = _message("geometry_msgs/msg/Point", *map(float, matrix[:3, 3]))
    return _message("geometry_msgs/msg/Pose", position, _quaternion(matrix))


def _quaternion(matrix: np.ndarray):
    return _message("geometry_msgs/msg/Quaternion", *map(float, Rotation.from_matrix(matrix[:3, :3]).as_quat()))


def _path(content: ExportContent, stamp: int):
    poses = [_message("geometry_msgs/msg/PoseStamped", _header(s), _pose(p)) for s, p in content.trajectory]
    return _message("nav_msgs/msg/Path", _header(stamp), poses)


def _transform(stamp: int, pose: np.ndarray):
    shift = _message("geometry_msgs/msg/Vector3", *map(float, pose[:3, 3]))
    moved = _message("geometry_msgs/msg/Transform", shift, _quaternion(pose))
    return _message(
        "tf2_msgs/msg/TFMessage", [_message("geometry_msgs/msg/TransformStamped", _header(stamp), _CAMERA, moved)]
    )


def _markers(content: ExportContent, stamp: int):
    markers = []
    for number, item in enumerate(content.objects):
        label = f"{item.label} ({item.id})"
        markers.append(_marker(stamp, "boxes", number, _CUBE, item.box_pose, item.size, (0.2, 0.7, 1.0, 0.3), ""))
        above = item.box_pose.copy()
        above[2, 3] += float(item.size[2]) / 2 + _LETTERS
        markers.append(_marker(stamp, "names", number, _TEXT, above, np.full(3, _LETTERS), (1.0, 1.0, 1.0, 1.0), label))
    return _message("visualization_msgs/msg/MarkerArray", markers)


def _marker(stamp: int, space: str, number: int, kind: int, pose: np.ndarray, size: np.ndarray, colour, text: str):
    none = _message("builtin_interfaces/msg/Duration", 0, 0)
    scale = _message("geometry_msgs/msg/Vector3", *map(float, size))
    paint = _message("std_msgs/msg/ColorRGBA", *colour)
    image = _message("sensor_msgs/msg/CompressedImage", _header(stamp), "", np.zeros(0, np.uint8))
    mesh = _message("visualization_msgs/msg/MeshFile", "", np.zeros(0, np.uint8))
    return _message(
        "visualization_msgs/msg/Marker", _header(stamp), space, number, kind, 0, _pose(pose), scale, paint, none, False, [], [], "",
        image, [], text, "", mesh, False,
    )  # fmt: skip
