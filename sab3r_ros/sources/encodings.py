"""Raw and compressed camera images, as sensor_msgs names their encodings, to RGB or metric depth; no ROS needed."""

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
    "yuv422": (2, np.uint8, _channels(cv2.COLOR_YUV2RGB_UYVY)), "uyvy": (2, np.uint8, _channels(cv2.COLOR_YUV2RGB_UYVY)),
    "yuv422_yuy2": (2, np.uint8, _channels(cv2.COLOR_YUV2RGB_YUY2)), "yuyv": (2, np.uint8, _channels(cv2.COLOR_YUV2RGB_YUY2)),
}  # fmt: skip
_DEPTH = {"16UC1": (np.uint16, 1e-3), "mono16": (np.uint16, 1e-3), "32FC1": (np.float32, 1.0)}
COLOUR_ENCODINGS = tuple(_COLOUR)


def decode_image(data, encoding: str, width: int, height: int, step: int, big_endian: bool = False) -> np.ndarray:
    """Raw image bytes to (H,W,3) uint8 RGB.

    step: bytes of a row, padding included. Raises ImageError for unknown encodings and data that do not fit.
    """
    if encoding not in _COLOUR:
        raise ImageError(f"unknown image encoding {encoding!r}; known: {', '.join(_COLOUR)}")
    channels, dtype, convert = _COLOUR[encoding]
    if channels == 2 and width % 2:
        raise ImageError(f"{encoding} needs an even width, got {width}")
    image = _rows(data, width, height, step, channels, dtype, big_endian, encoding)
    if dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if encoding.startswith("bayer") and (width < 2 or height < 2):
        raise ImageError(f"a Bayer image needs at least 2 x 2 pixels, got {width} x {height}")
    return convert(np.ascontiguousarray(image))


def decode_depth(data, encoding: str, width: int, height: int, step: int, big_endian: bool = False) -> np.ndarray:
    """Raw depth bytes to (H,W) float32 metres, NaN where unknown (REP-118). Raises ImageError."""
    if encoding not in _DEPTH:
        raise ImageError(f"unknown depth encoding {encoding!r}; known: {', '.join(_DEPTH)}")
    dtype, unit = _DEPTH[encoding]
    return _metric(_rows(data, width, height, step, 1, dtype, big_endian, encoding), unit)


def decode_compressed(data) -> np.ndarray:
    """JPEG, PNG and whatever else OpenCV reads, to (H,W,3) uint8 RGB. Raises ImageError."""
    return cv2.cvtColor(_imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def read_image(path: Path) -> np.ndarray:
    """An image file as (H,W,3) uint8 RGB. Raises ImageError for one that is missing or cannot be read."""
    try:
        return decode_compressed(path.read_bytes())
    except (OSError, ImageError) as error:
        raise ImageError(f"cannot read the image {path}: {error}") from error


def decode_compressed_depth(data) -> np.ndarray:
    """A 16-bit PNG in millimetres, with or without compressedDepth's header, to (H,W) float32 metres. Raises ImageError."""
    raw = bytes(data)
    start = raw.find(b"\x89PNG")
    image = _imdecode(raw[max(start, 0) :], cv2.IMREAD_UNCHANGED)
    if image.ndim != 2 or image.dtype != np.uint16:
        raise ImageError(f"compressed depth must be a 16-bit PNG in millimetres, got {image.dtype} {image.shape}")
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
