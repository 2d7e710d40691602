"""What keyframes see of points of the map: at which pixels, and whether they look through them."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from sab3r_ros.geometry.pointmaps import focal_from_pointmap
from sab3r_ros.types import FrameResult, Keyframe, PoseEstimate

_TOLERANCE = 0.1  # of the depth: what errs less is the same surface
_BEHIND = 0.15  # metres at least, and share of the depth: what is farther behind a point was seen through it
_THROUGH = 0.6  # share of the points of a thing that a view must look through
_ENOUGH = 0.5  # share of them that must lie in the view
_SAMPLE = 200  # points of a thing that are looked at


@dataclass(frozen=True)
class View:
    """A frame as a depth camera: id of the keyframe (-1 for none), stamp (ns), pose (4,4) similarity, focal in pixels, depth (h,w) in its own unit."""

    id: int
    stamp: int
    pose: np.ndarray
    focal: float
    depth: np.ndarray

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which of points (N,3) of the map lie in the view (N,), their pixels (N,2) as integers (x, y), and depth (N,)."""
        local = (points - self.pose[:3, 3]) @ np.linalg.inv(self.pose[:3, :3]).T
        height, width = self.depth.shape
        z = local[:, 2]
        safe = np.where(z > 1e-6, z, 1.0)
        pixels = np.round(local[:, :2] / safe[:, None] * self.focal + [(width - 1) / 2, (height - 1) / 2]).astype(int)
        inside = (z > 1e-6) & (pixels >= 0).all(1) & (pixels < [width, height]).all(1)
        return inside, np.clip(pixels, 0, [width - 1, height - 1]), z


def view_of(keyframe: Keyframe, focal: float = 0.0) -> View:
    """A keyframe's pose and depth; focal: in pixels, 0 = what its pointmap has."""
    focal = focal or focal_from_pointmap(keyframe.points.float().cpu())
    pose, depth = keyframe.host_pose.numpy(), keyframe.host_depth.numpy().astype(np.float32)
    return View(keyframe.id, keyframe.stamp, pose, focal, depth)


def view_of_result(result: FrameResult) -> View | None:
    """A tracked frame, whether it became a keyframe or not; None for one that was lost, or that has no depth."""
    estimate = result.estimate
    if estimate is None or result.pose is None or not estimate.has_points:
        return None
    return view_of_estimate(estimate, result.stamp)


def view_of_estimate(estimate: PoseEstimate, stamp: int = 0) -> View:
    """What a placed image sees; the estimate must have points."""
    depth = estimate.points[..., 2].float().cpu().numpy()
    return View(-1, stamp, estimate.pose.cpu().numpy(), estimate.focal, depth)


class Sight(Enum):
    """What a view says of a place."""

    NOTHING = 0
    SEEN = 1
    SEEN_THROUGH = 2


def look_at(points: np.ndarray, view: View) -> Sight:
    """Whether a view shows a surface where points (N,3) are, looks through most of them, or does neither."""
    some = points[:: -(-len(points) // _SAMPLE)]
    inside, pixels, z = view.project(some)
    if inside.mean() < _ENOUGH:
        return Sight.NOTHING
    unit = np.cbrt(abs(np.linalg.det(view.pose[:3, :3])))
    ahead = (view.depth[pixels[inside, 1], pixels[inside, 0]] - z[inside]) * unit
    allowed = np.maximum(_BEHIND, _BEHIND * z[inside] * unit)
    if (ahead > allowed).mean() >= _THROUGH:
        return Sight.SEEN_THROUGH
    return Sight.SEEN if (np.abs(ahead) <= allowed).mean() >= _THROUGH else Sight.NOTHING


def best_view(points: np.ndarray, views: Sequence[View]) -> tuple[View, tuple[int, int, int, int]] | None:
    """The view that shows most of points (N,3), unhidden and large, and their box of pixels there; None where none does."""
    some = points[:: -(-len(points) // _SAMPLE)]
    best, found = 0.0, None
    for view in views:
        inside, pixels, z = view.project(some)
        if not inside.any():
            continue
        seen = view.depth[pixels[:, 1], pixels[:, 0]]
        shown = inside & (np.abs(seen - z) <= _TOLERANCE * z)
        if not shown.any():
            continue
        # Near is large: the share that is seen counts, then the size.
        value = float(shown.mean()) * (1 + 0.2 * view.focal / float(np.median(z[shown])) / max(view.depth.shape))
        if value > best:
            low, high = pixels[shown].min(0), pixels[shown].max(0)
            best, found = value, (view, (int(low[0]), int(low[1]), int(high[0]), int(high[1])))
    return found
