"""The place of a new view from matched pixels: those of the network's descriptors and those of keypoints."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sab3r_ros.config import TrackingSettings
from sab3r_ros.geometry.projection import pinhole, project, transform
from sab3r_ros.geometry.ray_refinement import RayMatches, refine_by_rays
from sab3r_ros.geometry.sim3 import fit_sim3_robust, make_sim3, split_sim3, transform_points
from sab3r_ros.mapping.depth_correction import depth_correction
from sab3r_ros.mapping.frames import Keyframe
from sab3r_ros.mapping.keypoints import KeypointMatch, Keypoints, match_near, relative_rotation
from sab3r_ros.mapping.perception import Comparison

FEWEST_MATCHES = 12
_ENOUGH_KEYPOINTS = 60  # matches whose agreement says, without the network's, that the place is right
_CLOSED_FORM_SPREAD = 0.15  # relative to depth
_TRIALS = 6  # iterations from every start, before the best one is refined further
_TRIED = 200  # matches that tell which start is the best
_ITERATIONS = 8  # of the best one, with all matches
_AGAIN = 3  # keyframes, the first ones, whose keypoints are matched once more
_DEPTH_RANGE = 1.5  # times the depth, and a share of it, between which a keypoint is looked for once the pose is known
_REACH = 0.03  # of the picture's width, beside the line between the two


@dataclass
class KeypointMatches:
    """What keypoints say of a new view: its own, some keyframes, the matches with each of them (None where too few look
    alike), and the intrinsics (3,3) of the network's picture."""

    own: Keypoints
    keyframes: list[Keyframe]
    matches: list[KeypointMatch | None]
    intrinsics: np.ndarray


@dataclass
class Refined:
    """pose (4,4) of a new view, the share of matches that agrees with it, and the factors (h,w) by which keypoints correct the
    view's depth, None where too few of them tell."""

    pose: Tensor
    inliers: float
    correction: Tensor | None


def refine_by_matches(
    comparison: Comparison,
    keyframes: list[Keyframe],
    points: Tensor,
    pose: Tensor,
    settings: TrackingSettings,
    focal: float,
    keypoints: KeypointMatches | None,
) -> Refined | None:
    """The pose refined by the rays of all matches; None where there are none, or where they agree on nothing.

    Keypoints are matched twice: first by looks alone, then, with the pose at hand, among those that lie where they should.
    points (h,w,3): the new view's pointmap; pose: similarity to begin with; focal: of the network's picture in pixels,
    for want of intrinsics.
    """
    h, w = points.shape[:2]
    intrinsics = pinhole(focal, w, h) if keypoints is None else keypoints.intrinsics
    scale, rotation, translation = (x.cpu() for x in split_sim3(pose))
    depth = points[..., 2].double().cpu() * scale
    starts = [make_sim3(1.0, rotation, translation)]
    rays: dict[int, RayMatches] = {}  # by the number of the keyframe
    if keypoints is not None:
        matched = enumerate(zip(keypoints.keyframes, keypoints.matches, strict=True))
        rays = {i: _keypoint_rays(depth, k, m, intrinsics) for i, (k, m) in matched if m is not None}
        starts += _turned(rays, keypoints)
    by_keypoints = list(rays.values())
    by_descriptors = []
    for keyframe, (mine, its, _) in zip(keyframes, comparison.matches or (), strict=False):
        if len(mine) >= FEWEST_MATCHES:
            here, there = (xy.cpu().numpy().astype(np.float64) for xy in (mine, its))
            by_descriptors.append(_rays(depth, keyframe, here, there, settings.ray_residual, intrinsics))
    if not by_keypoints and not by_descriptors:
        return None
    joint = RayMatches.join(by_keypoints + by_descriptors)
    few = joint.thinned(_TRIED)
    starts.append(_closed_form(few))
    tried = [refine_by_rays(few, start, _TRIALS) for start in starts]
    best, _ = max(tried, key=lambda found: float(found[1].sum()))
    found, agreeing = refine_by_rays(joint, best, _ITERATIONS, widening=1.0)
    if not agreeing.any():
        return None
    inliers = _agreement(agreeing, by_keypoints)
    told = by_keypoints
    again = _matched_again(depth, keypoints, rays, found) if keypoints is not None else []
    if again:
        joint = RayMatches.join(again + by_descriptors)
        second, agreeing_again = refine_by_rays(joint, found, _ITERATIONS, widening=1.0)
        if agreeing_again.any():
            found, agreeing, told = second, agreeing_again, again
            inliers = max(inliers, _agreement(agreeing, told))
    _, rotation, translation = split_sim3(found)
    correction = None
    if told and settings.correct_depth:
        seen = RayMatches.join(told)
        correction = depth_correction(seen, agreeing[: len(seen)], found, depth, intrinsics)
    return Refined(make_sim3(scale, rotation, translation).to(pose), inliers, correction)


def _agreement(agreeing: Tensor, by_keypoints: list[RayMatches]) -> float:
    """The share of matches, those of keypoints first, that agrees: of descriptors, or of keypoints if more of them do."""
    count = sum(map(len, by_keypoints))
    inliers = float(agreeing[count:].mean()) if count < len(agreeing) else 0.0
    return max(inliers, float(agreeing[:count].mean())) if count >= _ENOUGH_KEYPOINTS else inliers


def _matched_again(
    depth: Tensor, keypoints: KeypointMatches, rays: dict[int, RayMatches], pose: Tensor
) -> list[RayMatches]:
    """The rays of every keyframe; of the first ones those that look alike where this pose (4,4) of the new view says."""
    points = transform_points(pose, _lifted(depth, keypoints.own.pixels, keypoints.intrinsics))
    centre = pose[:3, 3]
    ends = torch.stack([centre + (points - centre) * share for share in (1 / _DEPTH_RANGE, _DEPTH_RANGE)]).numpy()
    again = dict(rays)
    for i, keyframe in enumerate(keypoints.keyframes[:_AGAIN]):
        if keyframe.keypoints is None:
            continue
        near, far = project(transform(np.linalg.inv(keyframe.pose.cpu().numpy()), ends), keypoints.intrinsics)
        match = match_near(keypoints.own, keyframe.keypoints, near, far, _REACH * depth.shape[1])
        if match is not None:
            again[i] = _keypoint_rays(depth, keyframe, match, keypoints.intrinsics)
    return list(again.values())


def _keypoint_rays(depth: Tensor, keyframe: Keyframe, match: KeypointMatch, intrinsics: np.ndarray) -> RayMatches:
    return _rays(depth, keyframe, match.here, match.there, match.error / intrinsics[0, 0], intrinsics)


def _rays(
    depth: Tensor, keyframe: Keyframe, here: np.ndarray, there: np.ndarray, angle: float, intrinsics: np.ndarray
) -> RayMatches:
    """Pixels (N,2) of a new view of this depth (h,w), in the map's unit, matched with those of a keyframe."""
    source = _lifted(depth, here, intrinsics)
    distances = source.norm(dim=-1)
    older = keyframe.pose.cpu()
    targets = transform_points(older, _lifted(keyframe.points[..., 2].double().cpu(), there, intrinsics))
    angles = torch.full_like(distances, angle)
    return RayMatches(source / distances[:, None], distances, targets, older[:3, 3].expand_as(source), angles)


def _lifted(depth: Tensor, pixels: np.ndarray, intrinsics: np.ndarray) -> Tensor:
    """Pixels (N,2) as points (N,3) at the depth (h,w) of the nearest pixel."""
    column, row = torch.from_numpy(np.round(pixels).astype(np.int64)).T
    rays = np.concatenate([pixels, np.ones((len(pixels), 1))], 1) @ np.linalg.inv(intrinsics).T
    return torch.from_numpy(rays) * depth[row, column].clamp(min=1e-3)[:, None]


def _turned(rays: dict[int, RayMatches], keypoints: KeypointMatches) -> list[Tensor]:
    """The pose that turns as the keyframe with the most keypoints says, with the median of the points' translations."""
    if not rays:
        return []
    most = max(rays, key=lambda i: len(rays[i]))
    matches, keyframe, match = rays[most], keypoints.keyframes[most], keypoints.matches[most]
    assert match is not None
    rotation = relative_rotation(match, keypoints.intrinsics)
    if rotation is None:
        return []
    turned = split_sim3(keyframe.pose.cpu())[1] @ torch.from_numpy(rotation)
    return [make_sim3(1.0, turned, (matches.targets - matches.points @ turned.T).median(0).values)]


def _closed_form(matches: RayMatches) -> Tensor:
    """The rigid pose that brings the points of both views together."""
    source = matches.points
    spread = _CLOSED_FORM_SPREAD * source[:, 2].abs().clamp(min=0.1)
    return fit_sim3_robust(source, matches.targets, torch.ones_like(matches.distances), spread, fixed_scale=1.0)[0]
