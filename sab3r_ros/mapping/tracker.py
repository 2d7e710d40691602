"""The mapper's step `track`: a frame's pose against the keyframes of the window."""

from collections import deque
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from sab3r_ros.config import Settings, TrackingSettings
from sab3r_ros.geometry.pointmaps import focal_from_pointmap, share_in_view, weighted_mean_pointmap
from sab3r_ros.geometry.projection import known_rays, pinhole
from sab3r_ros.geometry.sim3 import fit_sim3_robust, make_sim3, split_sim3, transform_points
from sab3r_ros.mapping.adjustment.bundle import Lens
from sab3r_ros.mapping.keypoints import Keypoints, match_keypoints
from sab3r_ros.mapping.match_refinement import MIN_MATCHES, KeypointMatches, refine_by_matches
from sab3r_ros.models.base import GeometryModel, PairPrediction
from sab3r_ros.types import Edge, EncodedFrame, Keyframe, PoseEstimate, PreparedFrame

_FOCAL_BOUNDS = (0.5, 3.5)  # of that of a camera of 60 degrees
_AGREES_WELL = 0.7  # inliers with one keyframe from which others would tell nothing new
_ENOUGH_PIXELS = 5000  # of a pointmap, for a focal length, or a pose without matches
_MIN_DEPTH_PIXELS = 50  # with measured depth, below which a scale is not taken from it


@dataclass(frozen=True)
class _Correspondences:
    """Points in the new camera (N,3), the same points in the map (N,3), and weights (N,); float64."""

    source: Tensor
    target: Tensor
    weight: Tensor


class Tracker:
    """Predicts a frame against keyframes and estimates its pose."""

    def __init__(self, geometry: GeometryModel, settings: Settings):
        self._geometry, self._settings = geometry, settings

    def __call__(
        self, frame: EncodedFrame, candidates: list[Keyframe], first_pose: np.ndarray, focals: deque[float], expected_scale: float,
        lens: Lens | None = None, keypoints: KeypointMatches | None = None,
    ) -> tuple[PoseEstimate, PairPrediction]:  # fmt: skip
        """The frame's pose and what the network predicted.

        candidates: keyframes to compare with, best first; none: the frame begins a map at `first_pose` (4,4). focals: estimates
        of the focal length so far, to which this frame's is added. expected_scale: the map's unit over the network's own. lens:
        what an adjustment made of the focal length. keypoints: matches, where they were made before.
        Raises ValueError where the network's prediction carries no weight.
        """
        cfg = self._settings
        references = candidates[: cfg.window.size]
        if not references:
            return self._begin(frame, first_pose, focals, self.known_intrinsics(frame, lens))
        some = references[:1] if cfg.window.one_first and not self._geometry.device.startswith("cuda") else references
        prediction = self._predict(frame, some)
        focals.append(_focal(prediction.frame_points[0]))
        intrinsics = self.known_intrinsics(frame, lens)
        focal = None if intrinsics is None else float(intrinsics[0, 0])
        if keypoints is None and frame.keypoints is not None:
            believed = pinhole(float(np.median(focals)), *frame.framing.cropped) if intrinsics is None else intrinsics
            keypoints = self.match_keypoints(frame.keypoints, candidates, believed)
        estimate = estimate_pose(prediction, some, references, cfg.tracking, expected_scale, keypoints, focal)
        if len(some) < len(references) and estimate.inliers < _AGREES_WELL:
            prediction = prediction.with_more(self._predict(frame, references[1:]))
            estimate = estimate_pose(prediction, references, references, cfg.tracking, expected_scale, keypoints, focal)
        return estimate if intrinsics is None else _on_rays(estimate, intrinsics), prediction

    def _begin(
        self, frame: EncodedFrame, first_pose: np.ndarray, focals: deque[float], intrinsics: np.ndarray | None
    ) -> tuple[PoseEstimate, PairPrediction]:
        """A frame that begins a map, predicted against itself."""
        prediction = self._geometry.predict_pairs(frame.tokens, [frame.tokens], False, 0)
        focals.append(_focal(prediction.frame_points[0]))
        pose = torch.from_numpy(first_pose).to(prediction.frame_points.device)
        estimate = PoseEstimate(pose, 1.0, (0.0,), prediction.frame_points[0], prediction.frame_conf[0], focals[-1])
        return estimate if intrinsics is None else _on_rays(estimate, intrinsics), prediction

    def _predict(self, frame: EncodedFrame, references: list[Keyframe]) -> PairPrediction:
        cfg = self._settings
        tokens = [k.tokens for k in references if k.tokens is not None]
        step = cfg.tracking.match_step if cfg.tracking.matching else 0
        return self._geometry.predict_pairs(frame.tokens, tokens, cfg.window.symmetric_pairs, step)

    def match_keypoints(self, own: Keypoints, candidates: list[Keyframe], intrinsics: np.ndarray) -> KeypointMatches:
        """Matches of a frame's keypoints with those of the first candidates; intrinsics (3,3) of the network's image."""
        with_keypoints = [(k, k.keypoints) for k in candidates[: self._settings.tracking.keypoint_views] if k.keypoints]
        matches = [match_keypoints(own, theirs) for _, theirs in with_keypoints]
        return KeypointMatches(own, [k for k, _ in with_keypoints], matches, intrinsics)

    def known_intrinsics(self, frame: PreparedFrame | EncodedFrame, lens: Lens | None) -> np.ndarray | None:
        """Intrinsics (3,3) of a frame's image by its calibration, else by an adjustment's lens; None where neither is known."""
        if self._settings.tracking.use_intrinsics and frame.intrinsics is not None:
            return frame.intrinsics
        return None if lens is None else pinhole(lens.pinhole_focal, *frame.framing.cropped)

    def agrees(self, estimate: PoseEstimate, candidates: list[Keyframe]) -> bool:
        """Whether enough of the confidence agrees with the pose."""
        return not candidates or estimate.inliers >= self._settings.tracking.min_inliers

    def wants_keyframe(self, estimate: PoseEstimate, candidates: list[Keyframe]) -> bool:
        """Whether a frame shares so little with every keyframe of the window that it should become one."""
        believed = estimate.by_odometry or self.agrees(estimate, candidates)
        return believed and max(estimate.overlap) < self._settings.window.keyframe_overlap


def _focal(points: Tensor) -> float:
    """Focal length in pixels that a pointmap (h,w,3) tells; neighbours err alike, so that not all are asked."""
    return focal_from_pointmap(points, clip=_FOCAL_BOUNDS, step=_step(points))


def _step(points: Tensor) -> int:
    """Pixels of a pointmap (h,w,3) between those that are enough."""
    return max(1, round((points[..., 0].numel() / _ENOUGH_PIXELS) ** 0.5))


def _on_rays(estimate: PoseEstimate, intrinsics: np.ndarray) -> PoseEstimate:
    """The estimate with its points on the rays of a camera with these intrinsics (3,3)."""
    rays = torch.from_numpy(known_rays(estimate.points.shape[:2], intrinsics)).to(estimate.points)
    return replace(estimate, points=rays * estimate.points[..., 2:], focal=float(intrinsics[0, 0]))


def estimate_pose(
    prediction: PairPrediction,
    keyframes: list[Keyframe],
    window: list[Keyframe],
    settings: TrackingSettings,
    expected_scale: float = 1.0,
    keypoints: KeypointMatches | None = None,
    known_focal: float | None = None,
) -> PoseEstimate:
    """Closed-form robust Sim(3) per keyframe, then over the correspondences of all of them, then by the rays of matches.

    keyframes: those that the frame was predicted against; window: those that its overlap is told for. expected_scale: the
    map's unit over the network's own, which `settings.scale_prior` pulls towards. keypoints: matches of the camera's own
    images, with these and with further keyframes, and the intrinsics that are believed. known_focal: of the rays that the
    keyframes' points lie on, in pixels; None = as the network predicts it.
    Raises ValueError when the correspondences carry no weight.
    """
    found = [_correspondences(prediction, k, keyframe) for k, keyframe in enumerate(keyframes)]
    fits = []
    for pair in found:
        sigma = settings.depth_sigma * pair.source[:, 2].abs().clamp(min=0.1)
        pose, robust = fit_sim3_robust(pair.source, pair.target, pair.weight, sigma)
        fits.append((float((pair.weight * robust).sum()), pose, sigma))
    best = max(range(len(fits)), key=lambda k: fits[k][0])
    best_scale = split_sim3(fits[best][1])[0]
    # Every pair predicts in a unit of its own; bring them to the best pair's before solving jointly.
    ratios = [split_sim3(fit[1])[0] / best_scale for fit in fits]
    source = torch.cat([pair.source * r for pair, r in zip(found, ratios, strict=True)])
    target, weight = torch.cat([p.target for p in found]), torch.cat([p.weight for p in found])
    sigma = torch.cat([fit[2] for fit in fits])
    pose, robust = fit_sim3_robust(source, target, weight, sigma, initial=fits[best][1])
    relative_scale = float(split_sim3(pose)[0])
    if settings.scale_prior > 0:
        scale = relative_scale ** (1 - settings.scale_prior) * expected_scale**settings.scale_prior
        pose, robust = fit_sim3_robust(source, target, weight, sigma, iterations=4, fixed_scale=scale, initial=pose)
    inliers = float((weight * robust).sum() / weight.sum())
    scaled = prediction.frame_points * torch.stack(ratios).to(prediction.frame_points)[:, None, None, None]
    points = weighted_mean_pointmap(scaled, prediction.frame_conf)
    focal = _focal(points)
    refined = refine_by_matches(prediction, keyframes, points, pose, settings, focal, keypoints)
    edges: tuple[Edge, ...] = ()
    depth_factor = 1.0
    if refined is not None:
        pose, inliers, edges = refined.pose, refined.inliers, refined.edges
        if refined.correction is not None:
            points = points * refined.correction[..., None].to(points)
            depth_factor = float(refined.correction.median())
    size = points.shape[1], points.shape[0]
    overlap = tuple(share_seen(k, pose, size, known_focal or focal) for k in window)
    conf = prediction.frame_conf.mean(0)
    return PoseEstimate(pose, inliers, overlap, points, conf, focal, relative_scale, edges, depth_factor)


def share_seen(keyframe: Keyframe, pose: Tensor, size: tuple[int, int], focal: float) -> float:
    """Share of a keyframe's points inside the image, of `size` (width, height), of a camera at `pose` (4,4), a similarity."""
    seen = transform_points((torch.linalg.inv(pose) @ keyframe.pose).to(keyframe.points), keyframe.points)
    return share_in_view(seen, size, focal)


def _correspondences(prediction: PairPrediction, k: int, keyframe: Keyframe) -> _Correspondences:
    """Matched pixels of the frame's pointmap and keyframe k's; without enough of them, pointmaps as predicted.

    The latter are of two kinds. The keyframe's pixels: predicted in the new camera against its own points. With both orders
    also the frame's pixels: its own points against their prediction in the keyframe's camera, whose unit is tied to the
    keyframe's by the median ratio of depths.
    """
    if prediction.matches is not None and len(prediction.matches[k]) >= MIN_MATCHES:
        match = prediction.matches[k]
        source = prediction.frame_points[k][match.frame[:, 1], match.frame[:, 0]]
        target = keyframe.points[match.keyframe[:, 1], match.keyframe[:, 0]]
        world = transform_points(keyframe.pose, target.double())
        return _Correspondences(source.double(), world, match.confidence.double())
    step = _step(keyframe.points)  # neighbours err alike: more of them tell no more
    grid = (slice(step // 2, None, step),) * 2
    source_parts = [prediction.keyframe_points_in_frame[k][grid].reshape(-1, 3)]
    target_parts = [keyframe.points[grid].reshape(-1, 3)]
    weights = [((prediction.keyframe_conf[k] - 1) * (keyframe.conf - 1))[grid].sqrt().flatten()]
    if prediction.frame_points_in_keyframe is not None:
        assert prediction.keyframe_points is not None
        assert prediction.frame_conf_in_keyframe is not None
        ratio = (keyframe.points[..., 2] / prediction.keyframe_points[k][..., 2].clamp(min=1e-3)).median()
        source_parts.append(prediction.frame_points[k][grid].reshape(-1, 3))
        target_parts.append(prediction.frame_points_in_keyframe[k][grid].reshape(-1, 3) * ratio)
        weights.append(
            ((prediction.frame_conf_in_keyframe[k] - 1) * (prediction.frame_conf[k] - 1))[grid].sqrt().flatten()
        )
    target = transform_points(keyframe.pose, torch.cat(target_parts).double())
    return _Correspondences(torch.cat(source_parts).double(), target, torch.cat(weights).double())


def with_measured_scale(pose: Tensor, points: Tensor, depth: Tensor) -> tuple[Tensor, float] | None:
    """Fix the scale of a pose by a depth image (h,w) in metres; the camera's position is kept.

    Returns the pose and the relative standard error of the scale, or None where fewer than 50 pixels have depth.
    """
    valid = torch.isfinite(depth) & (depth > 0.05) & (points[..., 2] > 0.05)
    if valid.sum() < _MIN_DEPTH_PIXELS:
        return None
    ratio = depth[valid] / points[..., 2][valid]
    middle = ratio.median()
    sigma = float((ratio / middle - 1).abs().median()) / max(float(valid.sum()) ** 0.5, 1.0)
    _, rotation, translation = split_sim3(pose)
    return make_sim3(float(middle), rotation, translation), sigma
