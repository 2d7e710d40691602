"""Every encoding, with padding, odd sizes and portraits, against OpenCV."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sab3r_ros.sources.encodings import (
    COLOUR_ENCODINGS,
    ImageError,
    decode_compressed,
    decode_compressed_depth,
    decode_depth,
    decode_image,
)

SIZES = [(64, 48), (63, 47), (48, 64), (31, 33), (640, 480)]
BAYER = {
    "rggb": cv2.COLOR_BAYER_BG2RGB,
    "bggr": cv2.COLOR_BAYER_RG2RGB,
    "gbrg": cv2.COLOR_BAYER_GR2RGB,
    "grbg": cv2.COLOR_BAYER_GB2RGB,
}


def picture(width, height, channels=3, dtype=np.uint8):
    rng = np.random.default_rng(width * 1000 + height)
    small = rng.integers(0, np.iinfo(dtype).max, (6, 7, channels)).astype(dtype)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR).reshape(height, width, channels)


def packed(image, padding=0):
    """Rows with `padding` bytes of rubbish, and the step."""
    rows = np.ascontiguousarray(image).view(np.uint8).reshape(image.shape[0], -1)
    rows = np.concatenate([rows, np.full((len(rows), padding), 0xAB, np.uint8)], 1)
    return rows.tobytes(), rows.shape[1]


def decode(image, encoding, padding=0, big_endian=False):
    data, step = packed(image.astype(image.dtype.newbyteorder(">")) if big_endian else image, padding)
    return decode_image(data, encoding, image.shape[1], image.shape[0], step, big_endian)


@pytest.mark.parametrize("padding", [0, 5, 64])
@pytest.mark.parametrize("size", SIZES)
def test_colour_and_grey(size, padding):
    rgb = picture(*size)
    for encoding, code in (
        ("rgb8", None),
        ("bgr8", cv2.COLOR_RGB2BGR),
        ("rgba8", cv2.COLOR_RGB2RGBA),
        ("bgra8", cv2.COLOR_RGB2BGRA),
        ("8UC3", cv2.COLOR_RGB2BGR),
    ):
        sent = rgb if code is None else cv2.cvtColor(rgb, code)
        assert np.array_equal(decode(sent, encoding, padding), rgb), encoding
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    assert np.array_equal(decode(grey, "mono8", padding), cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB))


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("encoding", ["mono16", "rgb16", "bgr16", "rgba16", "bgra16"])
def test_sixteen_bits(encoding, big_endian):
    channels = {"mono16": 1}.get(encoding, 4 if "a" in encoding else 3)
    image = picture(33, 21, channels, np.uint16)
    expected = (image >> 8).astype(np.uint8)
    if channels == 1:
        expected = np.repeat(expected, 3, 2)
        image = image[..., 0]
    elif encoding.startswith("b"):
        expected = expected[..., 2::-1]
    assert np.array_equal(decode(image, encoding, 6, big_endian), expected[..., :3])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("order", list(BAYER))
def test_bayer(order, size):
    raw = picture(*size, 1)[..., 0]
    assert np.array_equal(decode(raw, f"bayer_{order}8", 3), cv2.cvtColor(raw, BAYER[order]))
    assert np.array_equal(decode(raw.astype(np.uint16) << 8, f"bayer_{order}16"), cv2.cvtColor(raw, BAYER[order]))


@pytest.mark.parametrize("order", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_of_a_red_wall_is_red(order):
    """Names of Bayer patterns differ between ROS and OpenCV; a real mosaic tells."""
    raw = np.zeros((20, 20), np.uint8)
    y, x = divmod(order.index("r"), 2)
    raw[y::2, x::2] = 200
    middle = decode(raw, f"bayer_{order}8")[10, 10]
    assert middle[0] > 150
    assert middle[1:].max() < 50


@pytest.mark.parametrize("size", [(64, 48), (62, 47), (48, 64)])
@pytest.mark.parametrize(
    ("encoding", "code"),
    [
        ("yuv422", cv2.COLOR_YUV2RGB_UYVY),
        ("uyvy", cv2.COLOR_YUV2RGB_UYVY),
        ("yuv422_yuy2", cv2.COLOR_YUV2RGB_YUY2),
        ("yuyv", cv2.COLOR_YUV2RGB_YUY2),
    ],
)
def test_yuv422(encoding, code, size):
    raw = picture(*size, 2)
    assert np.array_equal(decode(raw, encoding, 8), cv2.cvtColor(raw, code))


@pytest.mark.parametrize(("kind", "tolerance"), [(".png", 0), (".jpg", 12)])
@pytest.mark.parametrize("size", SIZES)
def test_compressed(kind, tolerance, size):
    rgb = picture(*size)
    data = cv2.imencode(kind, rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    out = decode_compressed(data)
    assert np.array_equal(out, cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1])
    assert np.abs(out.astype(int) - rgb).mean() <= tolerance


def test_depth_in_both_units_and_what_is_unknown():
    mm = np.array([[0, 1000], [65535, 250]], np.uint16)
    for big in (False, True):
        data, step = packed(mm.astype(">u2") if big else mm, 4)
        depth = decode_depth(data, "16UC1", 2, 2, step, big)
        assert depth.dtype == np.float32
        assert np.isnan(depth[0, 0])
        assert depth[0, 1] == pytest.approx(1)
    metres = np.array([[np.nan, np.inf], [-1, 2.5]], np.float32)
    depth = decode_depth(*packed(metres)[:1], "32FC1", 2, 2, 8)
    assert np.isnan(depth.ravel()[:3]).all()
    assert depth[1, 1] == 2.5
    png = cv2.imencode(".png", mm)[1].tobytes()
    for data in (png, b"\0" * 12 + png):  # with compressedDepth's header
        assert decode_compressed_depth(data)[0, 1] == pytest.approx(1)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 9))
def test_any_size_and_padding(width, height, padding):
    rgb = np.random.default_rng(width).integers(0, 256, (height, width, 3)).astype(np.uint8)
    assert np.array_equal(decode(rgb, "rgb8", padding), rgb)


def test_the_last_rows_padding_may_be_missing():
    rgb = picture(10, 8)
    data, step = packed(rgb, 6)
    assert np.array_equal(decode_image(data[:-6], "rgb8", 10, 8, step), rgb)


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda: decode_image(b"", "rgb8", 4, 4, 12), "truncated: 0 bytes"),
        (lambda: decode_image(b"\0" * 40, "rgb8", 4, 4, 12), "truncated: 40 bytes"),
        (lambda: decode_image(b"\0" * 48, "rgb9", 4, 4, 12), "unknown image encoding 'rgb9'"),
        (lambda: decode_image(b"", "rgb8", 0, 4, 0), "empty image"),
        (lambda: decode_image(b"", "rgb8", 4, 0, 12), "empty image"),
        (lambda: decode_image(b"\0" * 48, "rgb8", 4, 4, 11), "step 11 is shorter"),
        (lambda: decode_image(b"\0" * 48, "yuv422", 3, 4, 6), "even width"),
        (lambda: decode_image(b"\0" * 8, "bayer_rggb8", 1, 8, 1), "at least 2 x 2"),
        (lambda: decode_depth(b"\0" * 48, "rgb8", 4, 4, 12), "unknown depth encoding"),
        (lambda: decode_depth(b"\0" * 4, "16UC1", 4, 4, 8), "truncated"),
        (lambda: decode_compressed(b""), "0 bytes cannot be decoded"),
        (lambda: decode_compressed(b"not a picture"), "cannot be decoded"),
        (
            lambda: decode_compressed_depth(cv2.imencode(".png", np.zeros((3, 3, 3), np.uint8))[1].tobytes()),
            "16-bit PNG",
        ),
    ],
)
def test_bad_data_say_what_is_wrong(call, why):
    with pytest.raises(ImageError, match=why):
        call()


def test_a_truncated_png_is_refused():
    data = cv2.imencode(".png", picture(64, 48)[..., ::-1])[1].tobytes()
    with pytest.raises(ImageError):
        decode_compressed(data[:60])


def test_every_common_encoding_is_known():
    wanted = {
        "mono8",
        "rgb8",
        "bgr8",
        "rgba8",
        "bgra8",
        "yuv422",
        "bayer_rggb8",
        "bayer_bggr8",
        "bayer_gbrg8",
        "bayer_grbg8",
    }
    assert wanted <= set(COLOUR_ENCODINGS)
