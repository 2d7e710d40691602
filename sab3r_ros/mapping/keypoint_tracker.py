"""A frame's pose from its keypoints alone, where it sees what keyframes have seen: no network is needed for that.

The residuals are those of `geometry.ray_refinement`; the keyframes' own depth tells where their keypoints are.
"""

import numpy as np
import torch
from torch import Tensor

from sab3r_ros.config import Settings
from sab3r_ros.geometry.ray_refinement import RayMatches, refine_by_rays
from sab3r_ros.geometry.sim3 import make_sim3, rigid_part, split_sim3, transform_points
from sab3r_ros.mapping.match_refinement import KeypointMatches, unproject
from sab3r_ros.types import Edge, Keyframe, PoseEstimate

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
    found = [(k, m) for k, m in zip(keypoints.keyframes, keypoints.matches, strict=True) if m is not None]
    if sum(len(m) for _, m in found) < _FEWEST:
        return None
    start = rigid_part(last_pose.cpu())
    matrix = keypoints.intrinsics
    frame = np.concatenate([m.frame for _, m in found])
    bearings = np.concatenate([frame, np.ones((len(frame), 1))], 1) @ np.linalg.inv(matrix).T
    rays = torch.from_numpy(bearings / np.linalg.norm(bearings, axis=1, keepdims=True))
    targets, centres, angles = [], [], []
    for keyframe, match in found:
        pose = keyframe.host_pose
        targets.append(transform_points(pose, unproject(keyframe.host_depth, match.keyframe, matrix)))
        centres.append(pose[:3, 3].expand(len(match), 3))
        angles.append(torch.full((len(match),), match.sigma / matrix[0, 0], dtype=torch.float64))
    target = torch.cat(targets)
    matches = RayMatches(rays, _distances(target, start), target, torch.cat(centres), torch.cat(angles))
    pose, _ = refine_by_rays(matches.subsample(_FEW), start, _FIRST_ITERATIONS)
    matches.distances = _distances(target, pose)
    pose, weights = refine_by_rays(matches, pose, _ITERATIONS, gnc_start=1.0)
    agree = (weights > _AGREE).numpy()
    if agree.sum() < _FEWEST or float(weights.mean()) < _MEAN_WEIGHT:
        return None
    width = float(window[0].image.shape[1])
    if frame[agree].std(0).min() < _SPREAD * width:
        return None
    overlap = tuple(_overlap(k, pose, matrix) for k in window)
    if max(overlap) < settings.window.keyframe_overlap + _MARGIN:
        return None
    edges, first = [], 0
    _, rotation, translation = split_sim3(pose)
    pose = make_sim3(1.0, rotation, translation)
    for keyframe, match in found:
        relative = (torch.linalg.inv(keyframe.host_pose) @ pose).numpy()
        own = weights[first : first + len(match)].numpy()
        edges.append(Edge(None, keyframe.id, "keypoints", match.frame, match.keyframe, match.sigma, own, relative))
        first += len(match)
    nothing = torch.zeros(0, 0)
    return PoseEstimate(
        pose.to(last_pose), float(weights.mean()), overlap, torch.zeros(0, 0, 3), nothing, float(matrix[0, 0]), edges=tuple(edges)
    )  # fmt: skip


def _distances(points: Tensor, pose: Tensor) -> Tensor:
    return (points - pose[:3, 3]).norm(dim=-1).clamp(min=1e-3)


def _overlap(keyframe: Keyframe, pose: Tensor, matrix: np.ndarray) -> float:
    """Share of a keyframe's points that fall inside the image of a camera at `pose` (4,4) with these intrinsics (3,3)."""
    points = keyframe.points[_GRID // 2 :: _GRID, _GRID // 2 :: _GRID].reshape(-1, 3).double().cpu()
    seen = transform_points(torch.linalg.inv(pose) @ keyframe.host_pose, points).numpy()
    h, w = keyframe.points.shape[:2]
    pixel = seen @ matrix.T
    z = seen[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        x, y = pixel[:, 0] / z, pixel[:, 1] / z
    inside = (z > 0) & (x > -0.5) & (x < w - 0.5) & (y > -0.5) & (y < h - 0.5)
    return float(inside.mean())
