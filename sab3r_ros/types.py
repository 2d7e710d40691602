"""The data that pass between the parts of the system. Nothing here is changed after it was handed on.

Light to import: whoever only reads recordings, or asks a node, does not wait for PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from sab3r_ros.mapping.keypoints import Keypoints
    from sab3r_ros.models.base import EncodedView
    from sab3r_ros.models.preprocess import Framing


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


@dataclass(frozen=True)
class Scale:
    """Where the map's unit comes from and its relative standard deviation (nan while unknown)."""

    source: ScaleSource = ScaleSource.UNKNOWN
    stddev: float = float("nan")


class BadFrame(ValueError):
    """An image that cannot be used; the message says why. The map is untouched."""


# Distortion models that images can be freed from, and how many coefficients each takes (OpenCV's order).
DISTORTION_COEFFICIENTS = {"plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14), "equidistant": (4,)}


@dataclass(frozen=True)
class Camera:
    """A calibrated camera.

    intrinsics (3,3) in pixels of the frame's image; distortion (n,): coefficients of `model` in OpenCV's order, () for none;
    model: "pinhole" (no distortion), "plumb_bob" or "rational_polynomial" (4 to 14 coefficients), "equidistant" (fisheye, 4).
    """

    intrinsics: np.ndarray
    distortion: tuple[float, ...] = ()
    model: str = "pinhole"

    @property
    def is_distorted(self) -> bool:
        """Whether images must be rectified before they obey the pinhole model."""
        return self.model != "pinhole" and any(self.distortion)


@dataclass(frozen=True)
class Frame:
    """One image of the stream.

    rgb (H,W,3) uint8; stamp in nanoseconds; depth (H,W) float32 metres along z in the same camera, NaN or 0 where unknown, or
    None; camera: its calibration, or None; odometry (4,4): the camera's pose in a frame of wheel or visual odometry at that
    stamp, in metres, or None: from it come the map's unit, and poses where the images tell too little.
    """

    rgb: np.ndarray
    stamp: int
    depth: np.ndarray | None = None
    camera: Camera | None = None
    odometry: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class PreparedFrame:
    """A frame in the network's size.

    image (h,w,3) uint8; stamp in ns; framing: how it was resized and cropped; depth (h,w) metres or None; intrinsics (3,3) of
    `image` or None.
    """

    image: np.ndarray
    stamp: int
    framing: Framing
    depth: np.ndarray | None = None
    intrinsics: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class EncodedFrame(PreparedFrame):
    """A frame as the network sees it.

    tokens: 1 sample; descriptor (C,): global, of unit length; keypoints of the camera's own image, where they are used.
    """

    tokens: EncodedView
    descriptor: Tensor
    keypoints: Keypoints | None = None


AGREES = 0.5  # robust weight of a match that agrees with a pose


@dataclass(frozen=True)
class Edge:
    """Matched pixels of a frame and a keyframe: an edge of the keyframe graph.

    source: the frame's keyframe id, None while it is no keyframe; target: the keyframe's id; kind: "keypoints" or
    "descriptors"; source_pixels and target_pixels (M,2) float64 as (x, y) in the network's images; sigma: their standard
    deviation in pixels; weights (M,) in [0, 1]: how far each match agrees with the estimated pose;
    target_from_source (4,4): the estimated similarity.
    """

    source: int | None
    target: int
    kind: str
    source_pixels: np.ndarray
    target_pixels: np.ndarray
    sigma: float
    weights: np.ndarray
    target_from_source: np.ndarray

    def __len__(self) -> int:
        return len(self.source_pixels)

    @property
    def agreeing(self) -> np.ndarray:
        """Which matches (M,) bool agree with the estimated pose."""
        return self.weights > AGREES


@dataclass(frozen=True)
class PoseEstimate:
    """Where a frame is, and its geometry from there.

    pose (4,4) float64: similarity, camera to map; inliers: share of the confidence that agrees; overlap: share of each
    reference keyframe's points inside the frame; points (h,w,3): pointmap in the camera, conf (h,w), both empty where keypoints
    alone placed the frame; focal in pixels of the network's image; relative_scale: the map's unit over the network's own, before the two were reconciled; edges: matches
    with keyframes; depth_factor: by which keypoints corrected the network's depth on the whole; by_odometry: whether odometry told the
    pose, because keypoints told too little.
    """

    pose: Tensor
    inliers: float
    overlap: tuple[float, ...]
    points: Tensor
    conf: Tensor
    focal: float
    relative_scale: float = 1.0
    edges: tuple[Edge, ...] = ()
    depth_factor: float = 1.0
    by_odometry: bool = False

    @property
    def has_points(self) -> bool:
        """Whether the network has seen the frame."""
        return bool(self.points.numel())

    @property
    def rigid_pose(self) -> np.ndarray:
        """The camera's pose (4,4) in the map, without scale."""
        from sab3r_ros.geometry.sim3 import rigid_part

        return rigid_part(self.pose).cpu().numpy()


@dataclass(frozen=True)
class Observation:
    """What one frame sees: points (h,w,3) in its camera, conf (h,w), image (h,w,3) uint8, features (h,w,C) or None."""

    points: Tensor
    conf: Tensor
    image: np.ndarray
    features: Tensor | None = None


@dataclass(frozen=True)
class Keyframe:
    """A frame that later ones are compared with.

    id: unique within a map; stamp in ns; pose (4,4) float64: similarity, camera to map; points (h,w,3): pointmap in its own
    camera, conf (h,w); image (h,w,3) uint8; descriptor (C,): global, of unit length; keypoints of the camera's own image;
    tokens: 1 sample, None where they were let go (`FrameEncoder.restore_keyframe` makes them again); depth_factor: of `points`
    over what the network predicted, on the whole; session: of several recordings joined in one map, which it is from;
    depth_correction: nodes of the smooth factors that an adjustment gave `points` (`mapping.depth_grid`), None for none.
    """

    id: int
    stamp: int
    pose: Tensor
    points: Tensor
    conf: Tensor
    image: np.ndarray
    descriptor: Tensor
    keypoints: Keypoints | None = None
    tokens: EncodedView | None = None
    depth_factor: float = 1.0
    session: int = 0
    depth_correction: np.ndarray | None = None

    @cached_property
    def host_depth(self) -> Tensor:
        """Depth (h,w) float64 on the CPU, in the unit of `points`; downloaded once."""
        return self.points[..., 2].double().cpu()

    @cached_property
    def host_pose(self) -> Tensor:
        """The pose (4,4) on the CPU."""
        return self.pose.cpu()

    def without_heavy_tensors(self) -> Keyframe:
        """The same without tokens, with its pointmap in half precision on the CPU."""
        return replace(self, tokens=None, points=self.points.half().cpu(), conf=self.conf.half().cpu())


@dataclass(frozen=True)
class Cloud:
    """Points in the map's frame: xyz (N,3) float32 metres, rgb (N,3) uint8, and per point a confidence (N,)."""

    xyz: np.ndarray
    rgb: np.ndarray
    confidence: np.ndarray


@dataclass(frozen=True)
class Region:
    """An upright or turned box: pose (4,4) of its middle in the map, size (3,) along its axes in metres."""

    pose: np.ndarray
    size: np.ndarray

    @staticmethod
    def around(points: np.ndarray, margin: float) -> Region:
        """The axis-aligned box that reaches `margin` metres beyond points (N,3)."""
        low, high = points.min(0) - margin, points.max(0) + margin
        pose = np.eye(4)
        pose[:3, 3] = (low + high) / 2
        return Region(pose, high - low)

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Smallest and largest coordinates (3,) of its corners in the map."""
        reach = np.abs(self.pose[:3, :3]) @ (self.size / 2)
        return self.pose[:3, 3] - reach, self.pose[:3, 3] + reach

    def contains(self, points):
        """Which of points (N,3), an array or a tensor in the map, lie inside."""
        rotation, centre, half = self.pose[:3, :3], self.pose[:3, 3], self.size / 2
        if not isinstance(points, np.ndarray):
            rotation, centre, half = (points.new_tensor(x) for x in (rotation, centre, half))
        return (abs((points - centre) @ rotation) <= half).all(-1)


COLUMNS = ("xyz", "rgb", "feature", "weight", "hits", "stamp")


@dataclass(frozen=True)
class MapSnapshot:
    """Voxels of a map on the CPU, consistent in themselves; columns that were not asked for are None.

    voxel_size in metres; rows (N,): numbers that voxels keep as long as they exist; xyz (N,3) float32 metres; rgb (N,3) float32
    in [0, 255]; feature (N,F) float32 in the coordinates of basis (r,C), zeros where a voxel has none; weight (N,) float32:
    summed confidence; hits (N,) int32: keyframes that saw it; stamp (N,) int64: ns of the newest of them.
    has_features: whether any voxel of the map has features; version: grows with every change of the map; map_uid: of the map
    within this process, -1 where it is none's.
    """

    voxel_size: float
    rows: Tensor
    basis: Tensor
    has_features: bool
    version: int = 0
    map_uid: int = -1
    xyz: Tensor | None = None
    rgb: Tensor | None = None
    feature: Tensor | None = None
    weight: Tensor | None = None
    hits: Tensor | None = None
    stamp: Tensor | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> Tensor:
        """A column; raises ValueError where it was not asked for."""
        value = getattr(self, name)
        if value is None:
            raise ValueError(f"the snapshot was taken without its column {name!r}")
        return value

    @property
    def points(self) -> np.ndarray:
        """Positions (N,3) float32."""
        return self.column("xyz").numpy()

    @cached_property
    def colours(self) -> np.ndarray:
        """Colours (N,3) uint8."""
        return self.column("rgb").clamp(0, 255).byte().numpy()


@dataclass(frozen=True)
class FrameResult:
    """What became of one frame.

    pose (4,4): camera optical frame in the map, rigid; None when lost. inliers: share of the confidence that agrees; overlap:
    largest share of a window keyframe seen again; focal in pixels of the network's image; keyframe: its id, None where it
    became none; position_std, orientation_std: of the pose, in the map's unit and in radians, beside the scale's: they grow while the network
    alone places frames, before a blank wall, say; NaN where it is lost.
    """

    stamp: int
    tracking: Tracking
    pose: np.ndarray | None
    inliers: float
    overlap: float
    focal: float
    inference_ms: float
    message: str = ""
    keyframe: int | None = None
    position_std: float = float("nan")
    orientation_std: float = float("nan")
    estimate: PoseEstimate | None = field(default=None, repr=False, compare=False)

    @property
    def is_keyframe(self) -> bool:
        """Whether the frame became a keyframe."""
        return self.keyframe is not None

    @property
    def depth(self) -> np.ndarray | None:
        """Depth (h,w) float32 along z in the map's unit, of the network's image; downloaded when asked for. None where the network
        has not seen the frame."""
        if self.estimate is None or not self.estimate.has_points:
            return None
        from sab3r_ros.geometry.sim3 import split_sim3

        scale = float(split_sim3(self.estimate.pose)[0])
        return (self.estimate.points[..., 2] * scale).float().cpu().numpy()


def nth_stamp(index: int, rate: float) -> int:
    """Stamp in nanoseconds of image `index` of a sequence with `rate` images per second."""
    return round(index * 1e9 / rate)
