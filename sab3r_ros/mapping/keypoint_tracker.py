"""A frame's pose from its keypoints alone, where it sees what keyframes have seen: no network is needed for that.

The residuals are those of `geometry.ray_refinement`; the keyframes' own depth tells where their keypoints are.
"""

import numpy as np
import torch
from torch import Tensor

from sab3r_ros.config import Settings
from sab3r_ros.geometry.pointmaps import share_in_view
from sab3r_ros.geometry.ray_refinement import refine_by_rays
from sab3r_ros.geometry.sim3 import rigid_part, transform_points
from sab3r_ros.mapping.match_refinement import KeypointMatches, all_rays, edges_of, keypoint_sets
from sab3r_ros.types import Keyframe, PoseEstimate

_FEWEST = 40  # matches that agree
_AGREE = 0.5  # robust weight of a match that agrees
_MEAN_WEIGHT = (
    0.3  # of all matches: a third of those that pass the ratio test are wrong, the others are as coarse as their pixels
)
_SPREAD = 0.12  # of the image's width: standard deviation of where these are, at least, in both directions
_MARGIN = 0.01  # of overlap above that of a new keyframe: what is near it, the network looks at
_FIRST_ITERATIONS, _ITERATIONS, _FEW = 10, 8, 300  # steps with few matches from the last pose, then with all of them
_GRID = 4  # pixels between the keyframes' points that tell the overlap


def pose_by_keypoints(
    keypoints: KeypointMatches, window: list[Keyframe], last_pose: Tensor, settings: Settings
) -> PoseEstimate | None:
    """The pose of a frame that needs no closer look; None where too few keypoints agree, they lie too close together, or it
    shares so little with the keyframes of the window that it should become one.

    keypoints: its matches with keyframes; last_pose (4,4): the camera's pose before, from which it is looked for. The estimate
    has no points of its own.
    """
    matrix = keypoints.intrinsics
    # Only their directions count: how far away they are, the keyframes' depth tells.
    flat = torch.ones(window[0].points.shape[:2], dtype=torch.float64)
    sets = keypoint_sets(keypoints, flat)
    if sum(map(len, sets)) < _FEWEST:
        return None
    start = rigid_part(last_pose.cpu())
    matches = all_rays(sets)
    matches.distances = _distances(matches.targets, start)
    pose, _ = refine_by_rays(matches.subsample(_FEW), start, _FIRST_ITERATIONS)
    matches.distances = _distances(matches.targets, pose)
    pose, weights = refine_by_rays(matches, pose, _ITERATIONS, gnc_start=1.0)
    agree = (weights > _AGREE).numpy()
    if agree.sum() < _FEWEST or float(weights.mean()) < _MEAN_WEIGHT:
        return None
    if np.concatenate([s.frame for s in sets])[agree].std(0).min() < _SPREAD * flat.shape[1]:
        return None
    overlap = tuple(_overlap(k, pose, matrix) for k in window)
    if max(overlap) < settings.window.keyframe_overlap + _MARGIN:
        return None
    return PoseEstimate(
        pose.to(last_pose), float(weights.mean()), overlap, torch.zeros(0, 0, 3), torch.zeros(0, 0), float(matrix[0, 0]),
        edges=edges_of(sets, weights, pose),
    )  # fmt: skip


def _distances(points: Tensor, pose: Tensor) -> Tensor:
    return (points - pose[:3, 3]).norm(dim=-1).clamp(min=1e-3)


def _overlap(keyframe: Keyframe, pose: Tensor, matrix: np.ndarray) -> float:
    """Share of a keyframe's points that fall inside the image of a camera at `pose` (4,4) with these intrinsics (3,3)."""
    points = keyframe.points[_GRID // 2 :: _GRID, _GRID // 2 :: _GRID].reshape(-1, 3).double().cpu()
    seen = transform_points(torch.linalg.inv(pose) @ keyframe.host_pose, points)
    h, w = keyframe.points.shape[:2]
    offset = float(matrix[0, 2]) - (w - 1) / 2, float(matrix[1, 2]) - (h - 1) / 2
    return share_in_view(seen, (w, h), (float(matrix[0, 0]), float(matrix[1, 1])), offset)
