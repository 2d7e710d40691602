"""Small recordings of every kind, made on the spot."""

import struct
from pathlib import Path

import cv2
import numpy as np
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

STORE = get_typestore(Stores.ROS2_JAZZY)
STORE1 = get_typestore(Stores.ROS1_NOETIC)
STORE1.register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms", "tf2_msgs/msg/TFMessage"))


def picture(k: int, width: int = 64, height: int = 48) -> np.ndarray:
    """An image (H,W,3) that differs from that of every other small k."""
    out = np.zeros((height, width, 3), np.uint8)
    out[:, : 4 + 3 * k] = 200, 20 * k % 256, 10
    out[::5, ::7] = 30, 90, 220
    return out


def write_picture(path: Path, rgb: np.ndarray) -> Path:
    """An image file; the format follows from the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), rgb[..., ::-1] if rgb.ndim == 3 else rgb)
    return path


def write_video(path: Path, frames: int = 6, fps: float = 20.0) -> Path:
    """A video with Motion JPEG."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), fps, (64, 48))
    assert writer.isOpened()
    for k in range(frames):
        writer.write(picture(k)[..., ::-1].copy())
    writer.release()
    return path


def _header(store, stamp: int):
    types = store.types
    time = types["builtin_interfaces/msg/Time"](sec=stamp // 10**9, nanosec=stamp % 10**9)
    extra = {"seq": 0} if store is STORE1 else {}
    return types["std_msgs/msg/Header"](stamp=time, frame_id="cam", **extra)


def raw_image(stamp: int, data: np.ndarray, encoding: str, store=STORE):
    """sensor_msgs/Image from rows of bytes (H,step)."""
    rows = np.ascontiguousarray(data)
    height, width = rows.shape[:2]
    if encoding.startswith("nv"):
        height = height * 2 // 3
    flat = rows.view(np.uint8).reshape(rows.shape[0], -1)
    return store.types["sensor_msgs/msg/Image"](
        header=_header(store, stamp), height=height, width=width, encoding=encoding, is_bigendian=0, step=flat.shape[1],
        data=flat.ravel(),
    )  # fmt: skip


def compressed_image(stamp: int, data: bytes, form: str = "png", store=STORE):
    """sensor_msgs/CompressedImage."""
    return store.types["sensor_msgs/msg/CompressedImage"](
        header=_header(store, stamp), format=form, data=np.frombuffer(data, np.uint8)
    )


def png(image: np.ndarray) -> bytes:
    """An image (RGB, or one channel) as PNG."""
    return cv2.imencode(".png", image[..., ::-1] if image.ndim == 3 else image)[1].tobytes()


def inverse_depth_png(depth: np.ndarray, far: float = 10.0, quantisation: float = 100.0) -> bytes:
    """32FC1 as compressed_depth_image_transport writes it: a header and inverse depth in 16 bits."""
    scale = quantisation * (quantisation + 1)
    offset = 1 - scale / far
    values = np.where(np.isfinite(depth) & (depth > 0), scale / np.where(depth > 0, depth, 1) + offset, 0)
    return struct.pack("<iff", 0, scale, offset) + png(values.astype(np.uint16))


def camera_info(stamp: int, width: int = 64, height: int = 48, focal: float = 50.0, store=STORE, **changes):
    """sensor_msgs/CameraInfo of a pinhole camera."""
    k = np.array([focal, 0, width / 2, 0, focal, height / 2, 0, 0, 1], float)
    p = np.array([focal, 0, width / 2, 0, 0, focal, height / 2, 0, 0, 0, 1, 0], float)
    matrices = {"d": np.zeros(5), "k": k, "r": np.eye(3).ravel(), "p": p} | changes
    if store is STORE1:
        matrices = {name.upper(): value for name, value in matrices.items()}
    roi = store.types["sensor_msgs/msg/RegionOfInterest"](x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    return store.types["sensor_msgs/msg/CameraInfo"](
        header=_header(store, stamp), height=height, width=width, distortion_model="plumb_bob", binning_x=0, binning_y=0, roi=roi,
        **matrices,
    )  # fmt: skip


def transforms(stamp: int, *links, store=STORE):
    """tf2_msgs/TFMessage of (parent, child, position, quaternion)."""
    types = store.types
    vector, turn = types["geometry_msgs/msg/Vector3"], types["geometry_msgs/msg/Quaternion"]
    made = []
    for parent, child, position, quaternion in links:
        where = types["geometry_msgs/msg/Transform"](
            translation=vector(*map(float, position)), rotation=turn(*map(float, quaternion))
        )
        header = _header(store, stamp)
        header.frame_id = parent
        made.append(types["geometry_msgs/msg/TransformStamped"](header=header, child_frame_id=child, transform=where))
    return types["tf2_msgs/msg/TFMessage"](transforms=made)


def wheel_odometry(stamp: int, parent: str, child: str, position, quaternion, store=STORE):
    """nav_msgs/Odometry."""
    types = store.types
    point, turn = types["geometry_msgs/msg/Point"], types["geometry_msgs/msg/Quaternion"]
    pose = types["geometry_msgs/msg/Pose"](
        position=point(*map(float, position)), orientation=turn(*map(float, quaternion))
    )
    zero = types["geometry_msgs/msg/Vector3"](0.0, 0.0, 0.0)
    header = _header(store, stamp)
    header.frame_id = parent
    return types["nav_msgs/msg/Odometry"](
        header=header, child_frame_id=child,
        pose=types["geometry_msgs/msg/PoseWithCovariance"](pose=pose, covariance=np.zeros(36)),
        twist=types["geometry_msgs/msg/TwistWithCovariance"](
            twist=types["geometry_msgs/msg/Twist"](linear=zero, angular=zero), covariance=np.zeros(36)
        ),
    )  # fmt: skip


def write_bag(path: Path, messages, plugin=StoragePlugin.MCAP, cut: int | None = None, **options) -> Path:
    """A rosbag2 of (topic, recorded ns, message); cut: the bytes of this message are cut short."""
    with Writer(path, version=9, storage_plugin=plugin) as writer:
        for key, value in options.items():
            getattr(writer, f"set_{key}")(*value)
        connections: dict = {}
        for k, (topic, recorded, message) in enumerate(messages):
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=STORE)
            raw = bytes(STORE.serialize_cdr(message, kind))
            writer.write(connections[topic], recorded, raw[: len(raw) // 2] if k == cut else raw)
    return path


def write_bag1(path: Path, messages) -> Path:
    """A ROS 1 bag of (connection number, topic, recorded ns, message)."""
    with Writer1(path) as writer:
        connections: dict = {}
        for number, topic, recorded, message in messages:
            kind = message.__msgtype__
            if (number, topic) not in connections:
                connections[number, topic] = writer.add_connection(
                    topic, kind, typestore=STORE1, callerid=f"/driver{number}"
                )
            writer.write(connections[number, topic], recorded, STORE1.serialize_ros1(message, kind))
    return path
