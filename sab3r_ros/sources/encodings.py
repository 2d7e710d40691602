"""Raw and compressed camera images, as sensor_msgs names their encodings, to RGB or metric depth; no ROS needed."""

import io
import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np


class ImageError(ValueError):
    """Image data that cannot be decoded; the message says why."""


def _channels(code: int | None) -> Callable[[np.ndarray], np.ndarray]:
    return (lambda x: x) if code is None else (lambda x: cv2.cvtColor(x, code))


# encoding -> (channels, dtype, conversion to RGB). 16-bit values are brought to 8 bits first.
_COLOUR: dict[str, tuple[int, type, Callable]] = {
    "mono8": (1, np.uint8, _channels(cv2.COLOR_GRAY2RGB)), "mono16": (1, np.uint16, _channels(cv2.COLOR_GRAY2RGB)),
    "8UC1": (1, np.uint8, _channels(cv2.COLOR_GRAY2RGB)), "16UC1": (1, np.uint16, _channels(cv2.COLOR_GRAY2RGB)),
    "rgb8": (3, np.uint8, _channels(None)), "rgb16": (3, np.uint16, _channels(None)),
    "bgr8": (3, np.uint8, _channels(cv2.COLOR_BGR2RGB)), "bgr16": (3, np.uint16, _channels(cv2.COLOR_BGR2RGB)),
    "8UC3": (3, np.uint8, _channels(cv2.COLOR_BGR2RGB)), "16UC3": (3, np.uint16, _channels(cv2.COLOR_BGR2RGB)),
    "rgba8": (4, np.uint8, _channels(cv2.COLOR_RGBA2RGB)), "rgba16": (4, np.uint16, _channels(cv2.COLOR_RGBA2RGB)),
    "bgra8": (4, np.uint8, _channels(cv2.COLOR_BGRA2RGB)), "bgra16": (4, np.uint16, _channels(cv2.COLOR_BGRA2RGB)),
    "8UC4": (4, np.uint8, _channels(cv2.COLOR_BGRA2RGB)),
    **{
        f"bayer_{order}{bits}": (1, dtype, _channels(getattr(cv2, f"COLOR_Bayer{order.upper()}2RGB")))
        for order in ("rggb", "bggr", "gbrg", "grbg") for bits, dtype in ((8, np.uint8), (16, np.uint16))
    },
    **{
        name: (2, np.uint8, _channels(code))
        for code, names in (
            (cv2.COLOR_YUV2RGB_UYVY, ("yuv422", "uyvy")), (cv2.COLOR_YUV2RGB_YUY2, ("yuv422_yuy2", "yuyv")),
            (cv2.COLOR_YUV2RGB_YVYU, ("yvyu",)),
        )
        for name in names
    },
}  # fmt: skip
# A plane of brightness, then one of interleaved colour: OpenCV's code and rows of colour per row of brightness.
_TWO_PLANES = {"nv12": (cv2.COLOR_YUV2RGB_NV12, 0.5), "nv21": (cv2.COLOR_YUV2RGB_NV21, 0.5), "nv24": (None, 2.0)}
_BIT_DEPTHS = (8, 10, 12, 14, 16)  # that cameras deliver in 16-bit pixels
_DEPTH_HEADER = struct.Struct("<iff")  # of compressed depth: kind, and the constants of inverse depth
_DEPTH = {"16UC1": (np.uint16, 1e-3), "mono16": (np.uint16, 1e-3), "32FC1": (np.float32, 1.0)}
COLOUR_ENCODINGS = (*_COLOUR, *_TWO_PLANES)


class ImageDecoder:
    """Decodes the raw images of one stream.

    16-bit pixels often carry 10, 12 or 14 bits; how many is the largest number seen in the stream so far, so that a dark
    image after a bright one stays dark.
    """

    def __init__(self) -> None:
        self.bits = _BIT_DEPTHS[0]

    def __call__(self, data, encoding: str, width: int, height: int, step: int, big_endian: bool = False) -> np.ndarray:
        """Raw image bytes to (H,W,3) uint8 RGB.

        step: bytes of a row, padding included. Raises ImageError for encodings that are unknown or no colour, and for data
        that do not fit.
        """
        if encoding in _TWO_PLANES:
            return _two_planes(data, encoding, width, height, step)
        if encoding not in _COLOUR:
            raise ImageError(_refusal(encoding))
        channels, dtype, convert = _COLOUR[encoding]
        if channels == 2 and width % 2:
            raise ImageError(f"{encoding} needs an even width, got {width}")
        image = _rows(data, width, height, step, channels, dtype, big_endian, encoding)
        if dtype == np.uint16:
            needed = int(image.max()).bit_length()
            self.bits = max(self.bits, next(bits for bits in _BIT_DEPTHS if bits >= needed))
            image = (image >> (self.bits - 8)).astype(np.uint8)
        if encoding.startswith("bayer") and (width < 2 or height < 2):
            raise ImageError(f"a Bayer image needs at least 2 x 2 pixels, got {width} x {height}")
        return convert(np.ascontiguousarray(image))


def decode_image(data, encoding: str, width: int, height: int, step: int, big_endian: bool = False) -> np.ndarray:
    """One image of no stream; see `ImageDecoder`."""
    return ImageDecoder()(data, encoding, width, height, step, big_endian)


def _refusal(encoding: str) -> str:
    if encoding in _DEPTH or encoding.startswith(("32F", "64F", "16S", "32S")):
        return f"{encoding!r} holds measurements, not colour: use it as the depth image, and another topic as the image"
    return (
        f"unknown image encoding {encoding!r}; convert the images to rgb8 (known: mono, rgb, bgr, bayer, yuv422, nv12)"
    )


def _two_planes(data, encoding: str, width: int, height: int, step: int) -> np.ndarray:
    code, share = _TWO_PLANES[encoding]
    if share < 1 and (width % 2 or height % 2):
        raise ImageError(f"{encoding} needs even sides, got {width} x {height}")
    rows = height + round(height * share)
    plane = _rows(data, width, rows, step, 1, np.uint8, False, encoding)
    if code is not None:
        return cv2.cvtColor(plane, code)
    colour = plane[height:].reshape(height, width, 2)
    return cv2.cvtColor(np.dstack([plane[:height], colour]), cv2.COLOR_YUV2RGB)


def decode_depth(data, encoding: str, width: int, height: int, step: int, big_endian: bool = False) -> np.ndarray:
    """Raw depth bytes to (H,W) float32 metres, NaN where unknown (REP-118). Raises ImageError."""
    if encoding not in _DEPTH:
        raise ImageError(f"unknown depth encoding {encoding!r}; known: {', '.join(_DEPTH)}")
    dtype, unit = _DEPTH[encoding]
    return _metric(_rows(data, width, height, step, 1, dtype, big_endian, encoding), unit)


def decode_compressed(data) -> np.ndarray:
    """JPEG, PNG and whatever else OpenCV or Pillow reads, HEIC with pillow-heif, to (H,W,3) uint8 RGB. Raises ImageError."""
    if bytes(data[4:8]) == b"ftyp":  # HEIC and AVIF: containers that OpenCV does not open
        return _pillow(bytes(data))
    return cv2.cvtColor(_imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def _pillow(data: bytes) -> np.ndarray:
    from PIL import Image, ImageOps, UnidentifiedImageError

    brand = data[8:12].decode("latin-1")
    try:
        import pillow_heif
    except ImportError:
        if not brand.startswith("avi"):
            raise ImageError("HEIC images need pillow-heif: pip install pillow-heif, or convert them to JPEG") from None
    else:
        pillow_heif.register_heif_opener()
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise ImageError(f"cannot decode the {brand.strip()} image: {error}") from error


def read_image(path: Path) -> np.ndarray:
    """An image file as (H,W,3) uint8 RGB. Raises ImageError for one that is missing or cannot be read."""
    try:
        return decode_compressed(path.read_bytes())
    except (OSError, ImageError) as error:
        raise ImageError(f"cannot read the image {path}: {error}") from error


def decode_compressed_depth(data, encoding: str = "") -> np.ndarray:
    """A message of compressed depth, or a 16-bit PNG in millimetres, to (H,W) float32 metres, NaN where unknown.

    encoding: what comes before the ";" of the message's format. 32FC1 is stored as inverse depth in 16 bits, with its two
    constants in the header (compressed_depth_image_transport). Raises ImageError.
    """
    raw = bytes(data)
    start = raw.find(b"\x89PNG", 0, 64)
    if start < 0:
        raise ImageError("compressed depth must be a PNG; RVL and other codecs cannot be read: set png_level, not rvl")
    image = _imdecode(raw[start:], cv2.IMREAD_UNCHANGED)
    if image.ndim != 2 or image.dtype != np.uint16:
        raise ImageError(f"compressed depth must be a 16-bit PNG in millimetres, got {image.dtype} {image.shape}")
    if start == _DEPTH_HEADER.size:
        _, scale, offset = _DEPTH_HEADER.unpack(raw[:start])
        if encoding.strip() == "32FC1" or (not encoding.strip() and scale > 0):
            with np.errstate(divide="ignore", invalid="ignore"):
                depth = np.float32(scale) / (image.astype(np.float32) - np.float32(offset))
            return _metric(np.where(image > 0, depth, 0), 1.0)
    return _metric(image, 1e-3)


def _imdecode(data, flag) -> np.ndarray:
    buffer = np.frombuffer(data, np.uint8)
    image = None
    if buffer.size:
        try:
            image = cv2.imdecode(buffer, flag)
        except cv2.error:
            image = None
    if image is None:
        raise ImageError(f"compressed image of {buffer.size} bytes cannot be decoded: empty, truncated or not an image")
    return image


def _rows(data, width, height, step, channels, dtype, big_endian, encoding) -> np.ndarray:
    if width <= 0 or height <= 0:
        raise ImageError(f"empty image: {width} x {height}")
    row = width * channels * np.dtype(dtype).itemsize
    if step < row:
        raise ImageError(f"step {step} is shorter than a row of {width} {encoding} pixels ({row} bytes)")
    buffer = np.frombuffer(data, np.uint8)
    if buffer.size < step * (height - 1) + row:
        raise ImageError(
            f"image data are truncated: {buffer.size} bytes, {width} x {height} {encoding} with step {step} needs {step * height}"
        )
    if buffer.size < step * height:  # the last row's padding may be left out
        buffer = np.concatenate([buffer, np.zeros(step * height - buffer.size, np.uint8)])
    rows = np.ascontiguousarray(buffer[: step * height].reshape(height, step)[:, :row])
    image = rows.view(np.dtype(dtype).newbyteorder(">" if big_endian else "<")).astype(dtype, copy=False)
    return image.reshape(height, width, channels) if channels > 1 else image.reshape(height, width)


def _metric(image, unit) -> np.ndarray:
    depth = image.astype(np.float32) * np.float32(unit)
    depth[~(np.isfinite(depth) & (depth > 0))] = np.nan
    return depth
