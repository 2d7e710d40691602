"""What goes through the mapper: frames in, keyframes kept, results out."""

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from torch import Tensor

from sab3r_ros.mapping.keypoints import Keypoints
from sab3r_ros.models.preprocess import Framing
from sab3r_ros.models.sab3r import EncodedView


class Tracking(IntEnum):
    """State of the camera's localisation; the values are those of MapStatus."""

    IDLE = 0
    OK = 1
    LOST = 2


class ScaleSource(IntEnum):
    """Where the map's unit comes from; the values are those of MapStatus."""

    UNKNOWN = 0
    PREDICTED = 1
    MEASURED = 2


def nth_stamp(index: int, rate: float) -> int:
    """Stamp in nanoseconds of picture `index` of a sequence with `rate` pictures per second."""
    return round(index * 1e9 / rate)


class BadFrame(ValueError):
    """A picture that cannot be used; the message says why. The map is untouched."""


@dataclass
class Frame:
    """One picture of the stream.

    rgb (H,W,3) uint8; stamp in nanoseconds; depth (H,W) float32 metres along z in the same camera, NaN or 0
    where unknown, or None; intrinsics (3,3) of the picture, or None.
    """

    rgb: np.ndarray
    stamp: int
    depth: np.ndarray | None = None
    intrinsics: np.ndarray | None = None


@dataclass
class View:
    """A frame prepared for the network: rgb (h,w,3) uint8 after the crop, with the depth and intrinsics following, and the
    keypoints of the camera's own picture where they are used."""

    rgb: np.ndarray
    stamp: int
    framing: Framing
    depth: np.ndarray | None
    intrinsics: np.ndarray | None
    keypoints: Keypoints | None = None


@dataclass
class Keyframe:
    """A frame that the newest ones are compared with.

    tokens: its encoded view (1 sample); points (h,w,3) canonical pointmap in its own camera; conf (h,w);
    pose (4,4) float64 similarity, camera to map; signature (C,) for finding it again; rgb (h,w,3) uint8; keypoints of the
    camera's own picture, where they are used.
    """

    tokens: EncodedView
    points: Tensor
    conf: Tensor
    pose: Tensor
    stamp: int
    signature: Tensor
    rgb: np.ndarray
    keypoints: Keypoints | None = None


@dataclass
class Cloud:
    """Points in the map's frame: xyz (N,3) float32 metres, rgb (N,3) uint8, and per point a confidence (N,)."""

    xyz: np.ndarray
    rgb: np.ndarray
    confidence: np.ndarray


@dataclass
class FrameResult:
    """What became of one frame.

    pose (4,4) camera optical frame in the map, rigid; None when lost. inliers: share of confidence that agrees;
    overlap: largest share of a window keyframe seen again; focal in pixels of the network's picture; depth (h,w)
    float32 along z in the map's unit, for the network's picture.
    """

    stamp: int
    tracking: Tracking
    pose: np.ndarray | None
    is_keyframe: bool
    inliers: float
    overlap: float
    focal: float
    inference_ms: float
    message: str = ""
    depth: np.ndarray | None = field(default=None, repr=False)
