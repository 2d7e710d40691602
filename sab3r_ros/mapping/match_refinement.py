"""Refinement of a frame's pose from matched pixels: the network's descriptors and keypoints.

The residuals are those of `geometry.ray_refinement`. Several hypotheses are refined on a subsample; the one with the largest
sum of robust weights is refined on all matches; keypoints are then matched again where that pose says they should be.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sab3r_ros.config import TrackingSettings
from sab3r_ros.geometry.projection import pinhole, project, transform
from sab3r_ros.geometry.ray_refinement import RayMatches, refine_by_rays
from sab3r_ros.geometry.sim3 import fit_sim3_robust, make_sim3, split_sim3, transform_points
from sab3r_ros.mapping.depth_correction import depth_correction
from sab3r_ros.mapping.keypoints import KeypointMatch, Keypoints, guided_match, relative_rotation
from sab3r_ros.models.base import PairPrediction
from sab3r_ros.types import Edge, Keyframe

MIN_MATCHES = 12
_ENOUGH_KEYPOINTS = 60  # matches whose agreement says, without the network's, that the pose is right
_CLOSED_FORM_SIGMA = 0.15  # relative to depth
_HYPOTHESIS_ITERATIONS = 6  # from every hypothesis, before the best one is refined further
_HYPOTHESIS_MATCHES = 200  # matches that score the hypotheses
_SURE = 0.6  # mean weight of the matches from which no other hypothesis is tried: there is no room for a better one
_ITERATIONS = 8  # of the best one, with all matches
_REMATCH_KEYFRAMES = 3  # keyframes, the first ones, whose keypoints are matched once more
_DEPTH_RANGE = 1.5  # times the depth, and a share of it, between which a keypoint is searched once the pose is known
_BAND_RADIUS = 0.03  # of the image's width, beside the epipolar line


@dataclass(frozen=True)
class KeypointMatches:
    """A frame's keypoints, some keyframes, the matches with each of them (None where too few pass), and the intrinsics
    (3,3) of the network's image."""

    own: Keypoints
    keyframes: list[Keyframe]
    matches: list[KeypointMatch | None]
    intrinsics: np.ndarray


@dataclass(frozen=True)
class Refined:
    """pose (4,4) of a frame, the share of matches that agrees with it, the factors (h,w) by which keypoints correct its
    depth (None where too few of them tell), and the matches as edges."""

    pose: Tensor
    inliers: float
    correction: Tensor | None
    edges: tuple[Edge, ...]


@dataclass(frozen=True)
class MatchSet:
    """Matches with one keyframe: pixels (M,2) of both, their standard deviation, and the rays they make."""

    keyframe: Keyframe
    kind: str
    frame: np.ndarray
    target: np.ndarray
    sigma: float
    rays: RayMatches

    def __len__(self) -> int:
        return len(self.rays)


def refine_by_matches(
    prediction: PairPrediction,
    keyframes: list[Keyframe],
    points: Tensor,
    pose: Tensor,
    settings: TrackingSettings,
    focal: float,
    keypoints: KeypointMatches | None,
) -> Refined | None:
    """The pose refined by the rays of all matches; None where there are none, or where they agree on nothing.

    points (h,w,3): the frame's pointmap; pose: similarity to begin with; focal: of the network's image in pixels, for want of
    intrinsics.
    """
    h, w = points.shape[:2]
    intrinsics = pinhole(focal, w, h) if keypoints is None else keypoints.intrinsics
    scale, rotation, translation = (x.cpu() for x in split_sim3(pose))
    depth = points[..., 2].double().cpu() * scale
    by_keypoints = [] if keypoints is None else keypoint_sets(keypoints, depth)
    by_descriptors = _descriptor_sets(prediction, keyframes, depth, settings.descriptor_sigma, intrinsics)
    if not by_keypoints and not by_descriptors:
        return None
    joint = all_rays(by_keypoints + by_descriptors)
    few = joint.subsample(_HYPOTHESIS_MATCHES)
    best, agreed = refine_by_rays(few, make_sim3(1.0, rotation, translation), _HYPOTHESIS_ITERATIONS)
    if agreed.mean() < _SURE:
        rivals = [*_rotation_hypothesis(by_keypoints, intrinsics), _closed_form(few)]
        scored = [(best, agreed), *(refine_by_rays(few, start, _HYPOTHESIS_ITERATIONS) for start in rivals)]
        best, _ = max(scored, key=lambda found: float(found[1].sum()))
    found, weights = refine_by_rays(joint, best, _ITERATIONS, gnc_start=1.0)
    if not weights.any():
        return None
    inliers = _agreement(weights, by_keypoints)
    rematched = _rematched(depth, keypoints, by_keypoints, found) if keypoints is not None else []
    if rematched:
        second, weights_again = refine_by_rays(all_rays(rematched + by_descriptors), found, _ITERATIONS, gnc_start=1.0)
        if weights_again.any():
            found, weights, by_keypoints = second, weights_again, rematched
            inliers = max(inliers, _agreement(weights, by_keypoints))
    _, rotation, translation = split_sim3(found)
    correction = None
    if by_keypoints and settings.correct_depth:
        seen = all_rays(by_keypoints)
        correction = depth_correction(seen, weights[: len(seen)], found, depth, intrinsics)
    refined = make_sim3(scale, rotation, translation)
    return Refined(refined.to(pose), inliers, correction, edges_of(by_keypoints + by_descriptors, weights, refined))


def all_rays(sets: list[MatchSet]) -> RayMatches:
    """The matches of several sets, in their order."""
    return RayMatches.cat([s.rays for s in sets])


def _agreement(weights: Tensor, by_keypoints: list[MatchSet]) -> float:
    """The share of matches, those of keypoints first, that agrees: of descriptors, or of keypoints if more of them do."""
    count = sum(map(len, by_keypoints))
    inliers = float(weights[count:].mean()) if count < len(weights) else 0.0
    return max(inliers, float(weights[:count].mean())) if count >= _ENOUGH_KEYPOINTS else inliers


def _rematched(depth: Tensor, keypoints: KeypointMatches, before: list[MatchSet], pose: Tensor) -> list[MatchSet]:
    """The matches with every keyframe; with the first ones guided by this pose (4,4) of the frame."""
    points = transform_points(pose, unproject(depth, keypoints.own.pixels, keypoints.intrinsics))
    centre = pose[:3, 3]
    ends = torch.stack([centre + (points - centre) * share for share in (1 / _DEPTH_RANGE, _DEPTH_RANGE)]).numpy()
    sets = {s.keyframe.id: s for s in before}
    for keyframe in keypoints.keyframes[:_REMATCH_KEYFRAMES]:
        if keyframe.keypoints is None:
            continue
        near, far = project(transform(np.linalg.inv(keyframe.host_pose.numpy()), ends), keypoints.intrinsics)
        match = guided_match(keypoints.own, keyframe.keypoints, near, far, _BAND_RADIUS * depth.shape[1])
        if match is not None:
            sets[keyframe.id] = _keypoint_set(depth, keyframe, match, keypoints.intrinsics)
    return list(sets.values())


def keypoint_sets(keypoints: KeypointMatches, depth: Tensor) -> list[MatchSet]:
    """The matches with every keyframe that has enough of them; depth (h,w): the frame's, in the map's unit."""
    both = zip(keypoints.keyframes, keypoints.matches, strict=True)
    return [_keypoint_set(depth, k, m, keypoints.intrinsics) for k, m in both if m is not None]


def _keypoint_set(depth: Tensor, keyframe: Keyframe, match: KeypointMatch, intrinsics: np.ndarray) -> MatchSet:
    angle = match.sigma / intrinsics[0, 0]
    rays = _rays(depth, keyframe, match.frame, match.keyframe, angle, intrinsics)
    return MatchSet(keyframe, "keypoints", match.frame, match.keyframe, match.sigma, rays)


def _descriptor_sets(
    prediction: PairPrediction, keyframes: list[Keyframe], depth: Tensor, angle: float, intrinsics: np.ndarray
) -> list[MatchSet]:
    """Matches of descriptors with each keyframe that has enough of them."""
    sets = []
    for keyframe, match in zip(keyframes, prediction.matches or (), strict=False):
        if len(match) >= MIN_MATCHES:
            frame, target = (xy.cpu().numpy().astype(np.float64) for xy in (match.frame, match.keyframe))
            rays = _rays(depth, keyframe, frame, target, angle, intrinsics)
            sets.append(MatchSet(keyframe, "descriptors", frame, target, angle * float(intrinsics[0, 0]), rays))
    return sets


def _rays(
    depth: Tensor, keyframe: Keyframe, frame: np.ndarray, target: np.ndarray, angle: float, intrinsics: np.ndarray
) -> RayMatches:
    """Pixels (N,2) of a frame of this depth (h,w), in the map's unit, matched with those of a keyframe."""
    source = unproject(depth, frame, intrinsics)
    distances = source.norm(dim=-1)
    older = keyframe.host_pose
    targets = transform_points(older, unproject(keyframe.host_depth, target, intrinsics))
    angles = torch.full_like(distances, angle)
    return RayMatches(source / distances[:, None], distances, targets, older[:3, 3].expand_as(source), angles)


def unproject(depth: Tensor, pixels: np.ndarray, intrinsics: np.ndarray) -> Tensor:
    """Pixels (N,2) as points (N,3) at the depth (h,w) of the nearest pixel."""
    column, row = torch.from_numpy(np.round(pixels).astype(np.int64)).T
    rays = np.concatenate([pixels, np.ones((len(pixels), 1))], 1) @ np.linalg.inv(intrinsics).T
    return torch.from_numpy(rays) * depth[row, column].clamp(min=1e-3)[:, None]


def _rotation_hypothesis(sets: list[MatchSet], intrinsics: np.ndarray) -> list[Tensor]:
    """The pose with the rotation of the essential matrix to the keyframe with the most matches, and the median translation."""
    if not sets:
        return []
    most = max(sets, key=len)
    rotation = relative_rotation(KeypointMatch(most.frame, most.target, most.sigma), intrinsics)
    if rotation is None:
        return []
    turned = split_sim3(most.keyframe.host_pose)[1] @ torch.from_numpy(rotation)
    return [make_sim3(1.0, turned, (most.rays.targets - most.rays.points @ turned.T).median(0).values)]


def _closed_form(matches: RayMatches) -> Tensor:
    """The rigid pose that brings the points of both views together (Umeyama, robust)."""
    source = matches.points
    sigma = _CLOSED_FORM_SIGMA * source[:, 2].abs().clamp(min=0.1)
    return fit_sim3_robust(source, matches.targets, torch.ones_like(matches.distances), sigma, fixed_scale=1.0)[0]


def edges_of(sets: list[MatchSet], weights: Tensor, pose: Tensor) -> tuple[Edge, ...]:
    """The matches with each keyframe, with their robust weights (in the order of the sets)."""
    edges, start = [], 0
    for s in sets:
        relative = torch.linalg.inv(s.keyframe.host_pose) @ pose
        weight = weights[start : start + len(s)].numpy()
        edges.append(Edge(None, s.keyframe.id, s.kind, s.frame, s.target, s.sigma, weight, relative.numpy()))
        start += len(s)
    return tuple(edges)
