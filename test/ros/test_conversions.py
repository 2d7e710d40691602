"""Messages to arrays and back, on generated data."""

import cv2
import numpy as np
import pytest
from geometry_msgs.msg import Pose, TransformStamped
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField, RegionOfInterest

from sab3r_ros.mapping.rectification import Rectifier
from sab3r_ros.nodes import conversions as convert
from sab3r_ros.sources.calibration import CalibrationError
from sab3r_ros.types import Frame

stamps = st.integers(0, 2**31 * 10**9 - 1)


def rigid(seed):
    rng = np.random.default_rng(seed)
    out = np.eye(4)
    out[:3, :3] = Rotation.random(random_state=rng).as_matrix()
    out[:3, 3] = rng.normal(size=3) * 10
    return out


@given(stamps)
def test_stamps_keep_every_nanosecond(ns):
    assert convert.nanoseconds(convert.to_stamp(ns)) == ns


@given(st.integers(1, 50), st.integers(1, 50), st.integers(0, 9))
def test_images_survive_the_round_trip(width, height, seed):
    rgb = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    message = convert.rgb_to_image(rgb, convert.header("cam", 5))
    assert (message.width, message.height, message.step, message.encoding) == (width, height, 3 * width, "rgb8")
    assert np.array_equal(convert.image_to_rgb(message), rgb)


@pytest.mark.parametrize(
    "encoding", ["mono8", "rgb8", "bgr8", "rgba8", "bgra8", "bayer_rggb8", "bayer_grbg8", "yuv422", "yuv422_yuy2"]
)
@pytest.mark.parametrize("size", [(64, 48), (62, 47), (48, 64)])
def test_image_messages_of_every_encoding_with_padded_rows(encoding, size):
    width, height = size
    codes = {
        "mono8": (1, cv2.COLOR_GRAY2RGB), "rgb8": (3, None), "bgr8": (3, cv2.COLOR_BGR2RGB), "rgba8": (4, cv2.COLOR_RGBA2RGB), "bgra8": (4, cv2.COLOR_BGRA2RGB),
        "bayer_rggb8": (1, cv2.COLOR_BAYER_BG2RGB), "bayer_grbg8": (1, cv2.COLOR_BAYER_GB2RGB), "yuv422": (2, cv2.COLOR_YUV2RGB_UYVY), "yuv422_yuy2": (2, cv2.COLOR_YUV2RGB_YUY2),
    }  # fmt: skip
    channels, code = codes[encoding]
    raw = np.random.default_rng(0).integers(0, 256, (height, width, channels)).astype(np.uint8)
    padded = np.pad(raw.reshape(height, -1), ((0, 0), (0, 10)), constant_values=77)
    message = Image(height=height, width=width, encoding=encoding, step=padded.shape[1], data=padded.tobytes())
    expected = raw if code is None else cv2.cvtColor(raw[..., 0] if channels == 1 else raw, code)
    assert np.array_equal(convert.image_to_rgb(message), expected)


@pytest.mark.parametrize("kind", [".jpg", ".png"])
def test_compressed_images(kind):
    rgb = cv2.resize(np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8), (61, 47))
    data = cv2.imencode(kind, rgb[..., ::-1])[1].tobytes()
    out = convert.image_to_rgb(CompressedImage(format=kind[1:], data=data))
    assert np.array_equal(out, cv2.imdecode(np.frombuffer(data, np.uint8), 1)[..., ::-1])


def test_depth_images_both_ways():
    depth = np.array([[1.5, np.nan], [0.3, 9.0]], np.float32)
    back = convert.image_to_depth(convert.depth_to_image(depth, convert.header("cam", 0)))
    assert np.array_equal(back, depth, equal_nan=True)
    png = cv2.imencode(".png", (np.nan_to_num(depth) * 1000).astype(np.uint16))[1].tobytes()
    assert np.allclose(convert.image_to_depth(CompressedImage(data=png)), depth, atol=1e-3, equal_nan=True)


@given(st.integers(0, 200), st.integers(0, 100))
def test_clouds_survive_the_round_trip(count, seed):
    rng = np.random.default_rng(seed)
    xyz, score = rng.normal(size=(count, 3)).astype(np.float32), rng.random(count).astype(np.float32)
    rgb, label = rng.random(count).astype(np.float32), rng.integers(0, 65536, count).astype(np.uint16)
    cloud = convert.make_cloud(convert.header("map", 9), **convert.xyz_columns(xyz), rgb=rgb, score=score, label=label)
    assert [f.name for f in cloud.fields] == ["x", "y", "z", "rgb", "score", "label"]
    assert (cloud.height, cloud.width, cloud.row_step) == (1, count, cloud.point_step * count)
    assert cloud.is_dense
    assert not cloud.is_bigendian
    back = convert.read_cloud(cloud)
    assert np.array_equal(np.stack([back["x"], back["y"], back["z"]], 1), xyz)
    for name, column in (("rgb", rgb), ("score", score), ("label", label)):
        assert np.array_equal(back[name], column)


def test_organised_big_endian_padded_clouds_are_read():
    cloud = convert.make_cloud(convert.header("map", 0), x=np.arange(6, dtype=np.float32))
    rows = np.zeros((2, 3), np.dtype([("x", ">f4"), ("pad", "u1", 4)]))
    rows["x"] = np.arange(6).reshape(2, 3)
    data = np.concatenate([rows.view(np.uint8).reshape(2, 24), np.full((2, 5), 9, np.uint8)], 1)
    cloud.height, cloud.width, cloud.point_step, cloud.row_step, cloud.is_bigendian = 2, 3, 8, 29, True
    cloud.data = data.tobytes()
    assert convert.read_cloud(cloud)["x"].tolist() == [0, 1, 2, 3, 4, 5]
    cloud.data = data.tobytes()[:-9]
    with pytest.raises(ValueError, match="truncated"):
        convert.read_cloud(cloud)


def test_columns_that_make_no_cloud_are_refused():
    with pytest.raises(ValueError, match="differ in length"):
        convert.make_cloud(convert.header("map", 0), x=np.zeros(2, np.float32), y=np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="no cloud field type"):
        convert.make_cloud(convert.header("map", 0), x=np.zeros(2, np.float64))


@given(st.integers(0, 10**6), stamps)
def test_transforms_survive_the_round_trip(seed, ns):
    matrix = rigid(seed)
    message = convert.to_transform(matrix, "map", "camera", ns)
    assert isinstance(message, TransformStamped)
    assert (message.header.frame_id, message.child_frame_id) == ("map", "camera")
    assert np.allclose(convert.from_transform(message), matrix, atol=1e-12)
    pose = convert.to_pose(matrix)
    assert [pose.position.x, pose.position.y, pose.position.z] == matrix[:3, 3].tolist()


def test_camera_info_both_ways_and_uncalibrated_ones():
    k = np.array([[500.0, 0, 320], [0, 510.0, 240], [0, 0, 1]])
    message = convert.camera_info(k, 640, 480, convert.header("cam", 0))
    for rectified in (False, True):
        camera = convert.to_camera(message, 640, 480, rectified)
        assert np.allclose(camera.intrinsics, k)
        assert not camera.is_distorted
        assert convert.to_camera(CameraInfo(width=640, height=480), 640, 480, rectified) is None


def test_camera_info_of_a_resized_stream_keeps_pixel_centres():
    k = np.array([[500.0, 0, 319.5], [0, 500.0, 239.5], [0, 0, 1]])
    camera = convert.to_camera(convert.camera_info(k, 640, 480, convert.header("cam", 0)), 320, 240, False)
    assert camera.intrinsics == pytest.approx(np.array([[250.0, 0, 159.5], [0, 250.0, 119.5], [0, 0, 1]]))


def test_camera_info_with_a_region_of_interest_and_binning():
    k = np.array([[500.0, 0, 319.5], [0, 500.0, 239.5], [0, 0, 1]])
    message = convert.camera_info(k, 640, 480, convert.header("cam", 0))
    message.roi.x_offset, message.roi.y_offset, message.roi.width, message.roi.height = 160, 120, 320, 240
    assert convert.to_camera(message, 320, 240, False).intrinsics[:2, 2] == pytest.approx([159.5, 119.5])
    message.binning_x = message.binning_y = 2
    camera = convert.to_camera(message, 160, 120, False)
    assert camera.intrinsics[:2, 2] == pytest.approx([79.5, 59.5])
    assert camera.intrinsics[0, 0] == pytest.approx(250)


@pytest.mark.parametrize(
    ("name", "model"),
    [("plumb_bob", "plumb_bob"), ("fisheye", "equidistant"), ("equidistant", "equidistant"), ("", "plumb_bob")],
)
def test_distortion_holds_for_raw_images_and_not_for_rectified_ones(name, model):
    k = np.array([[500.0, 0, 319.5], [0, 500.0, 239.5], [0, 0, 1]])
    message = convert.camera_info(k, 640, 480, convert.header("cam", 0))
    message.d, message.distortion_model = [-0.2, 0.1, 0.0, 0.01], name
    message.p[0] = message.p[5] = 450.0
    raw, rectified = (convert.to_camera(message, 640, 480, r) for r in (False, True))
    assert (raw.model, raw.distortion) == (model, (-0.2, 0.1, 0.0, 0.01))
    assert raw.is_distorted
    assert not rectified.is_distorted
    assert rectified.intrinsics[0, 0] == 450


def test_regions_of_interest():
    pose, size = Pose(), convert.to_vector([1, 2, 3])
    assert convert.to_region(pose, convert.to_vector([0, 0, 0])) is None
    region = convert.to_region(pose, size)
    assert region.contains(np.array([[0.4, 0.9, 1.4], [0.6, 0, 0]])).tolist() == [True, False]
    with pytest.raises(ValueError, match="positive along every axis"):
        convert.to_region(pose, convert.to_vector([1, 0, 1]))


def test_covariances_say_what_is_known():
    covariance = np.array(convert.pose_covariance(np.array([2.0, 0, 0]), 0.1, 0.03, 0.2)).reshape(6, 6)
    assert np.diag(covariance) == pytest.approx([0.04 + 0.0009, 0.0009, 0.0009, 0.04, 0.04, 0.04])
    unknown = np.diag(np.array(convert.pose_covariance(np.ones(3), float("nan"), 0.03, 0.2)).reshape(6, 6))
    assert np.isfinite(unknown).all()
    assert unknown.min() > 0
    assert unknown[0] >= 1


def test_velocities_are_those_of_the_moving_frame():
    before, after = np.eye(4), np.eye(4)
    before[:3, :3] = Rotation.from_euler("z", 90, degrees=True).as_matrix()
    after[:3, :3] = Rotation.from_euler("z", 100, degrees=True).as_matrix()
    after[:3, 3] = before[:3, :3] @ [1.0, 0, 0]  # straight ahead
    linear, angular = convert.body_velocity(before, after, 2.0)
    assert linear == pytest.approx([0.5 * np.cos(np.radians(10)), -0.5 * np.sin(np.radians(10)), 0])
    assert angular == pytest.approx([0, 0, np.radians(5)])


def test_packed_colours_are_what_rviz_reads():
    packed = convert.packed_rgb(np.array([[255, 128, 1]], np.uint8))
    assert packed.view(np.uint32)[0] == 0xFF8001


XYZ = np.random.default_rng(3).normal(0, 1, (24, 3))


@pytest.mark.parametrize("kind", ["<f4", "<f8", ">f4", ">f8"])
@pytest.mark.parametrize("height", [1, 4])
@pytest.mark.parametrize(
    "change", ["", "count 0", "row_step 0", "point_step 0", "padded rows", "other order", "extra fields"]
)
def test_clouds_as_drivers_write_them(kind, height, change):
    """The same points whatever the fields' type and order, the byte order, padding and zeros where numbers should be."""
    names = ["z", "x", "y"] if change == "other order" else ["x", "y", "z"]
    extra = [("ring", kind[0] + "u2"), ("time", kind[0] + "f8")] if change == "extra fields" else []
    record = np.dtype([*((name, kind) for name in names), *extra])
    rows = np.zeros(len(XYZ), record)
    for k, name in enumerate("xyz"):
        rows[name] = XYZ[:, k]
    width, padding = len(XYZ) // height, 12 if change == "padded rows" else 0
    data = b"".join(rows[k * width : (k + 1) * width].tobytes() + bytes(padding) for k in range(height))
    code = PointField.FLOAT32 if kind[1:] == "f4" else PointField.FLOAT64
    kinds = {"ring": PointField.UINT16, "time": PointField.FLOAT64}
    fields = [
        PointField(
            name=n, offset=record.fields[n][1], datatype=kinds.get(n, code), count=0 if change == "count 0" else 1
        )
        for n in record.names
    ]
    cloud = PointCloud2(
        height=height, width=width, fields=fields, is_bigendian=kind[0] == ">", data=data,
        point_step=0 if change == "point_step 0" else record.itemsize,
        row_step=0 if change == "row_step 0" else record.itemsize * width + padding,
    )  # fmt: skip
    assert convert.read_xyz(cloud) == pytest.approx(XYZ, abs=1e-6)


def test_clouds_that_contradict_themselves_are_refused():
    good = convert.make_cloud(convert.header("map", 0), **convert.xyz_columns(XYZ))
    for name, value, why in (
        ("point_step", 8, "beyond its point_step"),
        ("row_step", 12, "shorter than"),
        ("width", 99, "shorter|truncated"),
    ):
        bad = PointCloud2(
            height=1,
            width=good.width,
            fields=good.fields,
            data=good.data,
            point_step=good.point_step,
            row_step=good.row_step,
        )
        setattr(bad, name, value)
        with pytest.raises(ValueError, match=why):
            convert.read_xyz(bad)


def info(size, k, model="plumb_bob", d=(0.0,) * 5, roi=(0, 0, 0, 0), binning=(0, 0)):
    message = CameraInfo(
        width=size[0], height=size[1], distortion_model=model, d=list(d), k=list(np.array(k, float).ravel())
    )
    message.roi = RegionOfInterest(x_offset=roi[0], y_offset=roi[1], width=roi[2], height=roi[3])
    message.binning_x, message.binning_y = binning
    return message


K = [[600, 0, 640], [0, 600, 360], [0, 0, 1]]


@pytest.mark.parametrize(
    ("message", "image", "focal", "middle"),
    [
        (info((1280, 720), K), (1280, 720), 600, (640, 360)), (info((1280, 720), K, binning=(2, 2)), (640, 360), 300, (319.75, 179.75)),
        (info((1280, 720), K, roi=(320, 180, 640, 360)), (640, 360), 600, (320, 180)),
        (info((640, 400), [[404, 0, 631], [0, 404, 376], [0, 0, 1]], roi=(320, 200, 640, 400)), (640, 400), 404, (311, 176)),
        (info((1280, 720), K), (640, 360), 300, (319.75, 179.75)),
        (info((1280, 720), K, "equidistant", (0.1, 0.02, 0, 0)), (1280, 720), 600, (640, 360)),
        (info((1280, 720), K, "kb4", (0.1, 0.02, 0, 0)), (1280, 720), 600, (640, 360)),
        (info((1280, 720), K, "plumb_bob", (0.1,) * 8), (1280, 720), 600, (640, 360)),
    ],
)  # fmt: skip
def test_calibrations_as_drivers_send_them(message, image, focal, middle):
    camera = convert.to_camera(message, *image, rectified=False)
    assert camera.intrinsics[[0, 1], [0, 1]] == pytest.approx([focal, focal])
    assert camera.intrinsics[:2, 2] == pytest.approx(middle)
    assert camera.is_distorted == any(message.d)
    Rectifier()(Frame(np.zeros((image[1], image[0], 3), np.uint8), 0, camera=camera))  # a model that is understood


@pytest.mark.parametrize(
    ("message", "image", "why"),
    [
        (info((1920, 1080), K), (640, 480), "another aspect"), (info((1280, 720), K), (720, 1280), "another aspect"),
        (info((1280, 720), K, "omni", (0.1,) * 4), (1280, 720), "'omni' is not known"),
        (info((1280, 720), K, "equidistant", (0.1,) * 5), (1280, 720), "takes 4 coefficients"),
        (info((1280, 720), K, "plumb_bob", (float("nan"),) * 5), (1280, 720), "not finite"),
    ],
)  # fmt: skip
def test_calibrations_that_do_not_fit_are_refused_with_the_reason(message, image, why):
    with pytest.raises(CalibrationError, match=why):
        convert.to_camera(message, *image, rectified=False)
    assert convert.to_camera(info((4, 4), np.zeros((3, 3))), 4, 4, rectified=False) is None
