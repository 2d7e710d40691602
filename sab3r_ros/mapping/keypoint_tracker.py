"""A frame's pose from its keypoints alone, where it sees what keyframes have seen: no network is needed for that.

The residuals are those of `geometry.ray_refinement`; the keyframes' own depth tells where their keypoints are.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from sab3r_ros.geometry.pointmaps import pose_from_pnp, share_in_view
from sab3r_ros.geometry.ray_refinement import RayMatches, position_deviation, refine_by_rays
from sab3r_ros.geometry.sim3 import rigid_part, transform_points
from sab3r_ros.mapping.match_refinement import KeypointMatches, all_rays, edges_of, keypoint_sets
from sab3r_ros.types import AGREES, Keyframe, PoseEstimate

_FEWEST = 30  # matches that agree
_MEAN_WEIGHT = 0.2  # of all matches: a third of those that pass the ratio test are wrong, many others are coarse
_SURE = 0.4  # mean weight from which the last pose was near enough to begin with
_DEVIATION = 0.0085  # of the camera's position, by the matches that agree, as a share of their distance, at most
_FIRST_ITERATIONS, _ITERATIONS, _FEW = 10, 8, 300  # steps with few matches, then with all of them
_WRONG_BY, _TRIES = 4.0, 200  # pixels, and samples of RANSAC
_GRID = 4  # pixels between the keyframes' points that tell the overlap


def pose_by_keypoints(
    keypoints: KeypointMatches, window: list[Keyframe], last_pose: Tensor, least_overlap: float
) -> PoseEstimate | None:
    """The pose of a frame that needs no closer look; None where too few keypoints agree, they leave the pose open, or it shares
    less than `least_overlap` with every keyframe of the window.

    keypoints: its matches with keyframes; last_pose (4,4): the camera's pose before, from which it is looked for. The estimate
    has no points of its own.
    """
    matrix = keypoints.intrinsics
    # Only their directions count: how far away they are, the keyframes' depth tells.
    flat = torch.ones(window[0].points.shape[:2], dtype=torch.float64)
    sets = keypoint_sets(keypoints, flat)
    if sum(map(len, sets)) < _FEWEST:
        return None
    matches = all_rays(sets)
    pose, weights = _refined(matches, rigid_part(last_pose.cpu()))
    if float(weights.mean()) < _SURE:
        pixels, centre = np.concatenate([s.frame for s in sets]), (float(matrix[0, 2]), float(matrix[1, 2]))
        start = pose_from_pnp(matches.targets.numpy(), pixels, float(matrix[0, 0]), centre, _TRIES, _WRONG_BY)
        if start is not None:
            rival = _refined(matches, torch.from_numpy(start))
            pose, weights = max((pose, weights), rival, key=lambda found: float(found[1].sum()))
    if (weights > AGREES).sum() < _FEWEST or float(weights.mean()) < _MEAN_WEIGHT:
        return None
    if position_deviation(matches, pose, weights) > _DEVIATION * float(_distances(matches.targets, pose).median()):
        return None
    overlap = tuple(_overlap(k, pose, matrix) for k in window)
    if max(overlap) < least_overlap:
        return None
    return PoseEstimate(
        pose.to(last_pose), float(weights.mean()), overlap, torch.zeros(0, 0, 3), torch.zeros(0, 0), float(matrix[0, 0]),
        edges=edges_of(sets, weights, pose),
    )  # fmt: skip


def _refined(matches: RayMatches, start: Tensor) -> tuple[Tensor, Tensor]:
    """The rigid pose (4,4) that the matches lead to from this one, and their robust weights."""
    matches = replace(matches, distances=_distances(matches.targets, start))
    pose, _ = refine_by_rays(matches.subsample(_FEW), start, _FIRST_ITERATIONS)
    matches = replace(matches, distances=_distances(matches.targets, pose))
    return refine_by_rays(matches, pose, _ITERATIONS, gnc_start=1.0)


def _distances(points: Tensor, pose: Tensor) -> Tensor:
    return (points - pose[:3, 3]).norm(dim=-1).clamp(min=1e-3)


def _overlap(keyframe: Keyframe, pose: Tensor, matrix: np.ndarray) -> float:
    """Share of a keyframe's points that fall inside the image of a camera at `pose` (4,4) with these intrinsics (3,3)."""
    points = keyframe.points[_GRID // 2 :: _GRID, _GRID // 2 :: _GRID].reshape(-1, 3).double().cpu()
    seen = transform_points(torch.linalg.inv(pose) @ keyframe.host_pose, points)
    h, w = keyframe.points.shape[:2]
    offset = float(matrix[0, 2]) - (w - 1) / 2, float(matrix[1, 2]) - (h - 1) / 2
    return share_in_view(seen, (w, h), (float(matrix[0, 0]), float(matrix[1, 1])), offset)
