"""Relative pose accuracy (RRA, RTA) and absolute trajectory error."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from sab3r_ros.geometry.projection import overlap
from sab3r_ros.geometry.sim3 import fit_sim3, transform_points
from sab3r_ros.lab.evaluation.metrics import percent, root_mean_square

_SHORTEST_BASELINE = 0.05  # metres; below it the direction of a translation is noise


def rotation_angle(a: np.ndarray, b: np.ndarray) -> float:
    """Angle in degrees between two rotations (3,3)."""
    return float(np.degrees(np.arccos(np.clip((np.trace(a.T @ b) - 1) / 2, -1, 1))))


def wide_baseline_pairs(
    views: Sequence, min_angle: float = 15.0, min_baseline: float = 0.25, min_overlap: float = 0.3
) -> list[tuple[int, int]]:
    """Pairs of views that are apart and still see the same: only such pairs prove anything.

    views have depth, intrinsics and cam2world; at least min_angle degrees or min_baseline metres apart, and at
    least min_overlap of either's pixels seen by the other.
    """
    pairs = []
    for i in range(len(views)):
        for j in range(i + 1, len(views)):
            a, b = views[i].cam2world, views[j].cam2world
            apart = (
                rotation_angle(a[:3, :3], b[:3, :3]) >= min_angle or np.linalg.norm(a[:3, 3] - b[:3, 3]) >= min_baseline
            )
            if apart and min(overlap(views[i], views[j], 8), overlap(views[j], views[i], 8)) >= min_overlap:
                pairs.append((i, j))
    return pairs


def relative_pose_hits(
    poses: Sequence[np.ndarray | None],
    truth: Sequence[np.ndarray],
    pairs: Sequence[tuple[int, int]],
    threshold: float = 15.0,
) -> tuple[list[bool], list[bool]]:
    """For every pair: whether its relative rotation, and its direction of translation, err by less than `threshold` degrees.

    A pair with a view that was not tracked (None) counts as wrong. The directions leave out pairs closer than 5 cm.
    """
    rotation, direction = [], []
    for i, j in pairs:
        true = np.linalg.inv(truth[i]) @ truth[j]
        length = np.linalg.norm(true[:3, 3])
        found, other = poses[i], poses[j]
        if found is None or other is None:
            rotation.append(False)
            if length >= _SHORTEST_BASELINE:
                direction.append(False)
            continue
        estimate = np.linalg.inv(found) @ other
        rotation.append(rotation_angle(estimate[:3, :3], true[:3, :3]) < threshold)
        if length >= _SHORTEST_BASELINE:
            cosine = estimate[:3, 3] @ true[:3, 3] / (length * max(np.linalg.norm(estimate[:3, 3]), 1e-9))
            direction.append(bool(np.degrees(np.arccos(np.clip(cosine, -1, 1))) < threshold))
    return rotation, direction


def relative_pose_accuracy(poses, truth, pairs, threshold: float = 15.0) -> tuple[float, float]:
    """(RRA, RTA) in percent of `relative_pose_hits`; nan where there is no pair."""
    hits = relative_pose_hits(poses, truth, pairs, threshold)
    rra, rta = (percent(h) for h in hits)
    return rra, rta


def pose_errors(poses: Sequence[np.ndarray | None], truth: Sequence[np.ndarray]) -> np.ndarray:
    """Degrees (P,2) by which the relative rotation and the direction of translation err, for every pair of views.

    180 where a view has no pose; 0 for the direction where the true views stand at one place.
    """
    errors = []
    for i in range(len(truth)):
        for j in range(i + 1, len(truth)):
            a, b = poses[i], poses[j]
            if a is None or b is None:
                errors.append((180.0, 180.0))
                continue
            true, found = np.linalg.inv(truth[i]) @ truth[j], np.linalg.inv(a) @ b
            lengths = np.linalg.norm(true[:3, 3]), np.linalg.norm(found[:3, 3])
            cosine = true[:3, 3] @ found[:3, 3] / max(lengths[0] * lengths[1], 1e-12)
            direction = 0.0 if lengths[0] < 1e-6 else float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
            errors.append((rotation_angle(true[:3, :3], found[:3, :3]), direction))
    return np.array(errors).reshape(-1, 2)


def mean_average_accuracy(errors: np.ndarray, largest: int = 30) -> float:
    """mAA: the mean over thresholds of 1 to `largest` degrees of min(RRA, RTA), in percent, from errors (P,2); nan of none."""
    if not len(errors):
        return float("nan")
    thresholds = np.arange(1, largest + 1)
    return 100 * float(np.mean([min((errors < t).mean(0)) for t in thresholds]))


def align_positions(
    poses: Sequence[np.ndarray], truth: Sequence[np.ndarray], fixed_scale: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The similarity (4,4) that brings camera positions to the truth, and the distances (N,) that are left (Umeyama 1991).

    fixed_scale: 1.0 for a rigid alignment. Raises ValueError for fewer than three poses, or where all are at one place.
    """
    source, target = (torch.from_numpy(np.array([p[:3, 3] for p in side])) for side in (poses, truth))
    pose = fit_sim3(source, target, torch.ones(len(source)), fixed_scale)
    return pose.numpy(), (transform_points(pose, source) - target).norm(dim=-1).numpy()


def align_poses(poses: Sequence[np.ndarray], truth: Sequence[np.ndarray]) -> np.ndarray:
    """The similarity (4,4) that brings cameras to the truth by their mean rotation, then by scale and middle of their positions.

    Positions alone leave the turn about a nearly straight path open. Raises ValueError where all are at one place.
    """
    turns = [t[:3, :3] @ p[:3, :3].T for p, t in zip(poses, truth, strict=True)]
    rotation = Rotation.from_matrix(turns).mean().as_matrix()
    source, target = (np.array([p[:3, 3] for p in side]) for side in (poses, truth))
    turned, wanted = (source - source.mean(0)) @ rotation.T, target - target.mean(0)
    if not (size := float((turned**2).sum())):
        raise ValueError("all cameras are at one place")
    out = np.eye(4)
    out[:3, :3] = float((turned * wanted).sum()) / size * rotation
    out[:3, 3] = target.mean(0) - out[:3, :3] @ source.mean(0)
    return out


def absolute_trajectory_error(poses: Sequence[np.ndarray | None], truth: Sequence[np.ndarray]) -> tuple[float, float]:
    """(ATE RMSE in metres, scale) after the best similarity; nan with fewer than three tracked views."""
    kept = [(p, t) for p, t in zip(poses, truth, strict=True) if p is not None]
    try:
        pose, errors = align_positions([p for p, _ in kept], [t for _, t in kept])
    except ValueError:
        return float("nan"), float("nan")
    return root_mean_square(errors), float(np.cbrt(np.linalg.det(pose[:3, :3])))
