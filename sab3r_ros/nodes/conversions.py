"""Between ROS messages and the core's arrays; pure functions, the only place that does it."""

from typing import Literal

import numpy as np
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import Point, Pose, Quaternion, TransformStamped, Vector3
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField
from std_msgs.msg import ColorRGBA, Header

from sab3r_ros.sources.calibration import camera_of_info
from sab3r_ros.sources.encodings import ImageDecoder, decode_compressed, decode_compressed_depth, decode_depth
from sab3r_ros.types import Camera, Region

_FIELD_TYPES: dict[np.dtype, int] = {
    np.dtype("<f4"): PointField.FLOAT32,
    np.dtype("<u2"): PointField.UINT16,
    np.dtype("<u4"): PointField.UINT32,
    np.dtype("u1"): PointField.UINT8,
}

_FIELD_KINDS: dict[int, np.dtype] = {
    PointField.INT8: np.dtype("i1"), PointField.UINT8: np.dtype("u1"), PointField.INT16: np.dtype("<i2"),
    PointField.UINT16: np.dtype("<u2"), PointField.INT32: np.dtype("<i4"), PointField.UINT32: np.dtype("<u4"),
    PointField.FLOAT32: np.dtype("<f4"), PointField.FLOAT64: np.dtype("<f8"),
}  # fmt: skip


def nanoseconds(stamp: Time | Duration) -> int:
    """A message's stamp or duration in nanoseconds."""
    return stamp.sec * 10**9 + stamp.nanosec


def to_stamp(ns: int) -> Time:
    """Nanoseconds (from 0 up) as a message's stamp."""
    return Time(sec=int(ns // 10**9), nanosec=int(ns % 10**9))


def to_duration(seconds: float) -> Duration:
    """Seconds (from 0 up) as a message's duration."""
    return Duration(sec=int(seconds), nanosec=int(seconds % 1 * 10**9))


def header(frame: str, ns: int) -> Header:
    """A header from a frame's name and a stamp in nanoseconds."""
    return Header(frame_id=frame, stamp=to_stamp(ns))


def image_to_rgb(message: Image | CompressedImage, decoder: ImageDecoder | None = None) -> np.ndarray:
    """(H,W,3) uint8; decoder: the one of the message's stream. Raises ImageError."""
    if isinstance(message, CompressedImage):
        return decode_compressed(message.data)
    return (decoder or ImageDecoder())(
        message.data, message.encoding, message.width, message.height, message.step, bool(message.is_bigendian)
    )


def image_to_depth(message: Image | CompressedImage) -> np.ndarray:
    """(H,W) float32 metres, NaN where unknown. Raises ImageError."""
    if isinstance(message, CompressedImage):
        return decode_compressed_depth(message.data, message.format.partition(";")[0])
    return decode_depth(
        message.data, message.encoding, message.width, message.height, message.step, bool(message.is_bigendian)
    )


def rgb_to_image(rgb: np.ndarray, head: Header) -> Image:
    """An rgb8 message from (H,W,3) uint8."""
    height, width = rgb.shape[:2]
    return Image(
        header=head,
        height=height,
        width=width,
        encoding="rgb8",
        step=3 * width,
        data=np.ascontiguousarray(rgb).tobytes(),
    )


def depth_to_image(depth: np.ndarray, head: Header) -> Image:
    """A 32FC1 message from (H,W) metres."""
    height, width = depth.shape
    return Image(
        header=head, height=height, width=width, encoding="32FC1", step=4 * width,
        data=np.ascontiguousarray(depth, "<f4").tobytes(),
    )  # fmt: skip


def to_camera(message: CameraInfo, width: int, height: int, rectified: bool) -> Camera | None:
    """The camera of an image of width x height, or None where it is not calibrated; see `calibration.camera_of_info`.

    Raises CalibrationError where the message belongs to another image.
    """
    roi = message.roi
    return camera_of_info(
        (message.width, message.height), message.k, message.p, message.d, message.distortion_model,
        (message.binning_x, message.binning_y), (roi.x_offset, roi.y_offset, roi.width, roi.height), (width, height), rectified,
    )  # fmt: skip


def camera_info(intrinsics: np.ndarray, width: int, height: int, head: Header) -> CameraInfo:
    """CameraInfo of an undistorted pinhole camera."""
    k = np.asarray(intrinsics, float)
    projection = np.hstack([k, np.zeros((3, 1))])
    return CameraInfo(
        header=head, width=width, height=height, distortion_model="plumb_bob", d=[0.0] * 5,
        k=k.reshape(-1).tolist(), r=np.eye(3).reshape(-1).tolist(), p=projection.reshape(-1).tolist(),
    )  # fmt: skip


def make_cloud(head: Header, **fields: np.ndarray) -> PointCloud2:
    """A dense, unordered, little-endian cloud from equally long columns, in the order given.

    Raises ValueError for columns of different length or a type that clouds do not have.
    """
    columns = {name: np.asarray(values) for name, values in fields.items()}
    lengths = {len(values) for values in columns.values()}
    if len(lengths) > 1:
        raise ValueError(f"cloud columns differ in length: {sorted(lengths)}")
    kinds = {name: values.dtype.newbyteorder("<") for name, values in columns.items()}
    if unknown := [f"{name}: {kind}" for name, kind in kinds.items() if kind not in _FIELD_TYPES]:
        raise ValueError(f"no cloud field type for {', '.join(unknown)}")
    record = np.dtype(list(kinds.items()))
    rows = np.empty(lengths.pop() if lengths else 0, record)
    for name, values in columns.items():
        rows[name] = values
    offsets = dict(record.fields or {})
    described = [
        PointField(name=name, offset=offsets[name][1], datatype=_FIELD_TYPES[kind], count=1)
        for name, kind in kinds.items()
    ]
    return PointCloud2(
        header=head, height=1, width=len(rows), fields=described, is_bigendian=False, point_step=record.itemsize,
        row_step=record.itemsize * len(rows), data=rows.tobytes(), is_dense=True,
    )  # fmt: skip


def read_cloud(message: PointCloud2) -> dict[str, np.ndarray]:
    """A cloud's fields as columns; padding, byte order and any order of fields are respected.

    Fields of several numbers are left out; a count of 0 means 1, a row_step or point_step of 0 means without padding, as
    some drivers write. Raises ValueError for truncated data and fields beyond the end of a point.
    """
    order: Literal["<", ">"] = ">" if message.is_bigendian else "<"
    names, formats, offsets = [], [], []
    for item in message.fields:
        if item.datatype not in _FIELD_KINDS or item.count > 1 or item.name in names:
            continue
        names.append(item.name)
        formats.append(_FIELD_KINDS[item.datatype].newbyteorder(order))
        offsets.append(item.offset)
    ends = [offset + kind.itemsize for offset, kind in zip(offsets, formats, strict=True)]
    point_step = message.point_step or max(ends, default=0)
    if any(end > point_step for end in ends):
        raise ValueError(f"the cloud's fields reach beyond its point_step of {point_step} bytes")
    width, height = (message.width, message.height) if message.height else (message.width, 1)
    row_step = message.row_step or width * point_step
    buffer = np.frombuffer(message.data, np.uint8)
    if row_step < width * point_step:
        raise ValueError(f"the cloud's row_step of {row_step} bytes is shorter than {width} points of {point_step}")
    needed = row_step * (height - 1) + width * point_step if width else 0
    if buffer.size < needed:
        raise ValueError(f"cloud data are truncated: {buffer.size} of {needed} bytes")
    if not width or not names:
        return {name: np.empty(0, kind) for name, kind in zip(names, formats, strict=True)}
    record = np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": point_step})
    rows = np.lib.stride_tricks.as_strided(buffer, (height, width * point_step), (row_step, 1))
    flat = np.ascontiguousarray(rows).view(record).reshape(-1)
    return {name: flat[name] for name in names}


def packed_rgb(rgb: np.ndarray) -> np.ndarray:
    """(N,3) uint8 to the float32 that RViz reads as a packed colour."""
    r, g, b = rgb.astype(np.uint32).T
    return ((r << 16) | (g << 8) | b).astype(np.uint32).view(np.float32)


def xyz_columns(xyz: np.ndarray) -> dict[str, np.ndarray]:
    """Columns x, y, z of points (N,3)."""
    xyz = np.asarray(xyz, np.float32)
    return {"x": xyz[:, 0], "y": xyz[:, 1], "z": xyz[:, 2]}


def _quaternion(matrix: np.ndarray) -> Quaternion:
    x, y, z, w = Rotation.from_matrix(matrix[:3, :3]).as_quat().tolist()
    return Quaternion(x=x, y=y, z=z, w=w)


def read_xyz(message: PointCloud2) -> np.ndarray:
    """A cloud's points (N,3) float64. Raises ValueError as `read_cloud`, and where x, y or z is missing."""
    fields = read_cloud(message)
    if not {"x", "y", "z"} <= fields.keys():
        raise ValueError("the cloud has no fields x, y and z")
    return np.stack([fields[k] for k in "xyz"], 1).astype(np.float64)


def to_point(values) -> Point:
    """(3,) as a Point."""
    x, y, z = (float(v) for v in values)
    return Point(x=x, y=y, z=z)


def to_vector(values) -> Vector3:
    """(3,) as a Vector3."""
    x, y, z = (float(v) for v in values)
    return Vector3(x=x, y=y, z=z)


def from_xyz(message: Vector3 | Point) -> np.ndarray:
    """A Vector3 or a Point as (3,)."""
    return np.array([message.x, message.y, message.z])


def to_pose(matrix: np.ndarray) -> Pose:
    """A rigid (4,4) as a Pose."""
    return Pose(position=to_point(matrix[:3, 3]), orientation=_quaternion(matrix))


def from_pose(message: Pose) -> np.ndarray:
    """A Pose as a rigid (4,4). A quaternion of zeros, which messages have by default, means no rotation."""
    q, t = message.orientation, message.position
    values = np.array([q.x, q.y, q.z, q.w])
    out = np.eye(4)
    if values.any():
        out[:3, :3] = Rotation.from_quat(values).as_matrix()
    out[:3, 3] = t.x, t.y, t.z
    return out


def to_region(pose: Pose, size: Vector3) -> Region | None:
    """A box of interest, None where its size is zero along all axes. Raises ValueError where it is along some."""
    extent = from_xyz(size)
    if not extent.any():
        return None
    if (extent <= 0).any():
        raise ValueError("roi_size must be positive along every axis, or zero along all")
    return Region(from_pose(pose), extent)


def to_transform(matrix: np.ndarray, parent: str, child: str, ns: int) -> TransformStamped:
    """A rigid (4,4), child to parent, as a stamped transform."""
    message = TransformStamped(header=header(parent, ns), child_frame_id=child)
    message.transform.translation = to_vector(matrix[:3, 3])
    message.transform.rotation = _quaternion(matrix)
    return message


def from_transform(message: TransformStamped) -> np.ndarray:
    """A stamped transform as a rigid (4,4), child to parent."""
    q, t = message.transform.rotation, message.transform.translation
    out = np.eye(4)
    out[:3, :3] = Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix()
    out[:3, 3] = t.x, t.y, t.z
    return out


UNKNOWN_VARIANCE = 1e6  # of what nothing is known about: filters take a variance of 0 for certainty


def pose_covariance(position: np.ndarray, scale: float, position_std: float, orientation_std: float) -> list[float]:
    """A pose covariance (36,) as ROS orders it: x, y, z, and rotations about them.

    scale: relative doubt about lengths, which grows with the distance from the map's origin, not finite = unknown;
    position_std in metres and orientation_std in radians hold everywhere.
    """
    relative = scale if np.isfinite(scale) else 1.0
    variance = (np.asarray(position, float) * relative) ** 2 + position_std**2
    return np.diag([*variance, *[orientation_std**2] * 3]).reshape(-1).tolist()


def body_velocity(before: np.ndarray, after: np.ndarray, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Linear (3,) and angular (3,) velocity, in the moving frame as Odometry wants them, between two of its poses (4,4)."""
    linear = after[:3, :3].T @ (after[:3, 3] - before[:3, 3]) / seconds
    turn = Rotation.from_matrix(before[:3, :3].T @ after[:3, :3]).as_rotvec() / seconds
    return linear, turn


def to_colour(rgb, alpha: float = 1.0) -> ColorRGBA:
    """(3,) in [0,255] as a ColorRGBA."""
    r, g, b = (float(v) / 255 for v in rgb)
    return ColorRGBA(r=r, g=g, b=b, a=alpha)
