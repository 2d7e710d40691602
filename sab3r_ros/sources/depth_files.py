"""Depth images from files, in the formats that recordings keep them in."""

from pathlib import Path

import cv2
import numpy as np

from sab3r_ros.sources.encodings import ImageError

DEPTH_SUFFIXES = frozenset({".png", ".pgm", ".tif", ".tiff", ".npy", ".exr", ".depth"})
_EXR_DEPTH = ("Z", "depth", "Y", "R")  # names of the channel, the surest first
_UNKNOWN = (0, 65535)  # values of 16-bit depth images that mean "none"


def read_depth(path: Path, factor: float, shape: tuple[int, int]) -> np.ndarray:
    """A depth image (H,W) float32 in metres, NaN where unknown, brought to the `shape` (H,W) of its colour image.

    factor: units per metre. The values 0 and 65535 of 16-bit images, NaN, infinity and what is not positive are unknown.
    Raises ImageError.
    """
    values = _values(path, shape)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.ndim != 2 or values.dtype.kind not in "fu" or values.dtype == np.uint8:
        raise ImageError(
            f"{path.name} is no depth image: {values.dtype} {values.shape}, expected one channel of 16 or 32 bits"
        )
    depth = values.astype(np.float32) / np.float32(factor)
    unknown = ~np.isfinite(depth) | (depth <= 0)
    if values.dtype == np.uint16:
        unknown |= np.isin(values, _UNKNOWN)
    depth[unknown] = np.nan
    return fitted(depth, shape)


def fitted(depth: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Depth (h,w) at the size (H,W) of its image, by nearest pixels. Raises ImageError where the aspects differ."""
    if depth.shape == shape:
        return depth
    (h, w), (height, width) = depth.shape, shape
    if abs(w * height / (h * width) - 1) > 0.02:
        raise ImageError(
            f"the depth image is {w} x {h}, its image {width} x {height}: depth is not registered to colour"
        )
    return cv2.resize(depth, (width, height), interpolation=cv2.INTER_NEAREST)


def is_measurement(path: Path) -> bool:
    """Whether an image file has one channel of more than 8 bits, as depth has and photographs have not."""
    if path.suffix.lower() in (".npy", ".exr", ".depth"):
        return True
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return image.mode in ("I", "F") or image.mode.startswith("I;16")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        return False


def _values(path: Path, shape: tuple[int, int]) -> np.ndarray:
    suffix = path.suffix.lower()
    if suffix == ".depth":
        return _record3d(path, shape)
    if suffix == ".exr":
        return _exr(path)
    try:
        if suffix == ".npy":
            return np.load(path, allow_pickle=False)
        image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    except (OSError, ValueError, EOFError, cv2.error) as error:
        raise ImageError(f"cannot read the depth image {path.name}: {error}") from error
    if image is None:
        raise ImageError(f"cannot read the depth image {path.name}: empty, truncated or not an image")
    return image


def _exr(path: Path) -> np.ndarray:
    """The first channel (h,w) of an OpenEXR image, of its depth where it has one by that name."""
    try:
        import OpenEXR
    except ImportError:
        raise ImageError("depth in EXR images needs OpenEXR: pip install OpenEXR") from None
    try:
        channels = OpenEXR.File(str(path)).channels()
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        raise ImageError(f"cannot read the depth image {path.name}: truncated, damaged or no EXR image") from error
    found = [c for name in _EXR_DEPTH if (c := channels.get(name)) is not None] or list(channels.values())
    if not found or found[0].pixels is None:
        raise ImageError(f"cannot read the depth image {path.name}: it has no channels, or is truncated")
    pixels = np.asarray(found[0].pixels)
    return (pixels[..., 0] if pixels.ndim == 3 else pixels).astype(np.float32)


def _record3d(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Record3D's compressed depth: float32 metres, a small image of the colour image's aspect."""
    try:
        import liblzfse
    except ImportError:
        raise ImageError("Record3D's .depth files need pyliblzfse: pip install pyliblzfse, or export EXR") from None
    try:
        values = np.frombuffer(liblzfse.decompress(path.read_bytes()), np.float32)
    except (OSError, ValueError, liblzfse.error) as error:
        raise ImageError(f"cannot read the depth image {path.name}: {error}") from error
    height = round((values.size * shape[0] / shape[1]) ** 0.5)
    if not height or values.size % height:
        raise ImageError(f"{path.name} holds {values.size} numbers, which is no image of its colour image's aspect")
    return values.reshape(height, -1)
