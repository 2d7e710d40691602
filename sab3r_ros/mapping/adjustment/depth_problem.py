"""From an adjustment of keyframes to the correction of their depth."""

import numpy as np
import torch

from sab3r_ros.geometry.sim3 import rigid_part, split_sim3
from sab3r_ros.mapping.adjustment.back_end import Adjustment, Prepared, network_depth
from sab3r_ros.mapping.adjustment.bundle import BundleSolution
from sab3r_ros.mapping.adjustment.depth_fields import STEP, DepthProblem

_DIRECTION_STD = 0.002  # radians, of a keypoint's ray
_LARGEST_RATIO = 0.5  # of the log, of triangulated over predicted depth: more is a wrong match


def depth_problem(prepared: Prepared, solution: BundleSolution, found: Adjustment) -> DepthProblem:
    """The keyframes of an adjustment, where it left them, with the keypoints that it triangulated."""
    poses = [torch.from_numpy(found.poses.get(k.id, k.host_pose.numpy())) for k in prepared.keyframes]
    scales = np.array([float(split_sim3(pose)[0]) for pose in poses])
    depths = [network_depth(k)[::STEP, ::STEP] * s for k, s in zip(prepared.keyframes, scales, strict=True)]
    h, w = prepared.keyframes[0].points.shape[:2]
    tracks, problem = prepared.tracks, prepared.problem
    offset = solution.points[tracks.track] - solution.poses[tracks.view, :3, 3]
    distance = np.linalg.norm(offset, axis=1)
    unit = np.log(found.to_metres[0, 0]) - np.log(scales / prepared.units)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.log(distance / problem.ranges) + unit[tracks.view]
        sigma = _DIRECTION_STD / _spread(tracks.track, offset / distance[:, None], solution.inliers)[tracks.track]
        kept = solution.inliers & (np.abs(ratio) < _LARGEST_RATIO) & np.isfinite(sigma)
    return DepthProblem(
        np.stack([rigid_part(pose).numpy() for pose in poses]), found.lens, (w, h), np.stack(depths),
        tracks.view[kept], problem.pixels[kept], ratio[kept], sigma[kept],
    )  # fmt: skip


def _spread(track: np.ndarray, rays: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """How far the unit rays (N,3) to every point (P,) differ, root of the sum of squares, in radians: what its distance is known by."""
    count = np.maximum(np.bincount(track[kept], minlength=track.max() + 1), 1)
    mean = np.stack([np.bincount(track[kept], rays[kept, k], len(count)) for k in range(3)], 1) / count[:, None]
    return np.sqrt(np.maximum(1 - (mean**2).sum(1), 0) * count)
