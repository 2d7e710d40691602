"""The place of a new view from matched pixels: those of the network's descriptors and those of keypoints."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sab3r_ros.config import TrackingSettings
from sab3r_ros.geometry.projection import pinhole
from sab3r_ros.geometry.ray_refinement import RayMatches, refine_by_rays
from sab3r_ros.geometry.sim3 import fit_sim3_robust, make_sim3, split_sim3, transform_points
from sab3r_ros.mapping.frames import Keyframe
from sab3r_ros.mapping.keypoints import KeypointMatch, relative_rotation
from sab3r_ros.mapping.perception import Comparison

FEWEST_MATCHES = 12
_ENOUGH_KEYPOINTS = 60  # matches whose agreement says, without the network's, that the place is right
_CLOSED_FORM_SPREAD = 0.15  # relative to depth
_TRIALS = 6  # iterations from every start, before the best one is refined further
_TRIED = 200  # matches that tell which start is the best
_ITERATIONS = 8  # of the best one, with all matches


@dataclass
class KeypointMatches:
    """What keypoints say of a new view: the matches with each of some keyframes, and the intrinsics (3,3) of the network's
    picture."""

    keyframes: list[Keyframe]
    matches: list[KeypointMatch]
    intrinsics: np.ndarray


def refine_by_matches(
    comparison: Comparison,
    keyframes: list[Keyframe],
    points: Tensor,
    pose: Tensor,
    settings: TrackingSettings,
    focal: float,
    keypoints: KeypointMatches | None,
) -> tuple[Tensor, float] | None:
    """The pose (4,4) refined by the rays of all matches, and the share of them that agrees; None where there are none.

    points (h,w,3): the new view's pointmap; pose: similarity to begin with; focal: of the network's picture in pixels,
    for want of intrinsics.
    """
    h, w = points.shape[:2]
    intrinsics = pinhole(focal, w, h) if keypoints is None else keypoints.intrinsics
    scale, rotation, translation = (x.cpu() for x in split_sim3(pose))
    depth = points[..., 2].double().cpu() * scale
    parts, starts = [], [make_sim3(1.0, rotation, translation)]
    if keypoints is not None:
        for keyframe, match in zip(keypoints.keyframes, keypoints.matches, strict=True):
            angle = match.error / intrinsics[0, 0]
            parts.append(_rays(depth, keyframe, match.here, match.there, angle, intrinsics))
        k = max(range(len(parts)), key=lambda k: len(parts[k]))
        relative = relative_rotation(keypoints.matches[k], intrinsics)
        if relative is not None:
            starts.append(_turned(parts[k], keypoints.keyframes[k], relative))
    by_keypoints = sum(map(len, parts))
    for keyframe, (mine, its, _) in zip(keyframes, comparison.matches or (), strict=False):
        if len(mine) >= FEWEST_MATCHES:
            here, there = (xy.cpu().numpy().astype(np.float64) for xy in (mine, its))
            parts.append(_rays(depth, keyframe, here, there, settings.ray_residual, intrinsics))
    if not parts:
        return None
    joint = RayMatches.join(parts)
    few = joint.thinned(_TRIED)
    starts.append(_closed_form(few))
    tried = [refine_by_rays(few, start, _TRIALS) for start in starts]
    best, _ = max(tried, key=lambda found: float(found[1].sum()))
    found, agreeing = refine_by_rays(joint, best, _ITERATIONS, widening=1.0)
    if not agreeing.any():
        return None
    inliers = float(agreeing[by_keypoints:].mean()) if by_keypoints < len(joint) else 0.0
    if by_keypoints >= _ENOUGH_KEYPOINTS:
        inliers = max(inliers, float(agreeing[:by_keypoints].mean()))
    _, rotation, translation = split_sim3(found)
    return make_sim3(scale, rotation, translation).to(pose), inliers


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


def _turned(matches: RayMatches, keyframe: Keyframe, rotation: np.ndarray) -> Tensor:
    """The pose that turns as keypoints say, with the median of the points' translations."""
    turned = split_sim3(keyframe.pose.cpu())[1] @ torch.from_numpy(rotation)
    return make_sim3(1.0, turned, (matches.targets - matches.points @ turned.T).median(0).values)


def _closed_form(matches: RayMatches) -> Tensor:
    """The rigid pose that brings the points of both views together."""
    source = matches.points
    spread = _CLOSED_FORM_SPREAD * source[:, 2].abs().clamp(min=0.1)
    return fit_sim3_robust(source, matches.targets, torch.ones_like(matches.distances), spread, fixed_scale=1.0)[0]
