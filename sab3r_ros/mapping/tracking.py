"""The place of a new view from pointmap-to-pointmap correspondences with the window."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sab3r_ros.config import TrackingSettings
from sab3r_ros.geometry.pointmaps import focal_from_pointmap
from sab3r_ros.geometry.sim3 import fit_sim3_robust, make_sim3, split_sim3, transform_points
from sab3r_ros.mapping.frames import Keyframe
from sab3r_ros.mapping.match_refinement import FEWEST_MATCHES, KeypointMatches, refine_by_matches
from sab3r_ros.mapping.perception import Comparison

FOCAL_BOUNDS = (0.5, 3.5)  # of that of a camera of 60 degrees


@dataclass
class Alignment:
    """Where a view is, and what it looks like from there.

    pose (4,4) float64 similarity, camera to map; inliers: share of confidence that agrees; overlap (K,): share
    of each keyframe's points inside the new picture; points (h,w,3) canonical pointmap, conf (h,w); focal (px); own_scale: the map's unit over the network's own
    metric one, before the two were reconciled.
    """

    pose: Tensor
    inliers: float
    overlap: list[float]
    points: Tensor
    conf: Tensor
    focal: float
    own_scale: float = 1.0


@dataclass
class Correspondences:
    """Points in the new camera (N,3), the same points in the map (N,3), and weights (N,); float64."""

    source: Tensor
    target: Tensor
    weight: Tensor


def correspondences(comparison: Comparison, k: int, keyframe: Keyframe) -> Correspondences:
    """Matched pixels of the new view's pointmap and keyframe k's canonical one; without enough of them, pointmaps as predicted.

    The latter are of two kinds. The keyframe's pixels: predicted in the new camera against its own canonical points.
    With both orders also the new view's pixels: its own points against their prediction in the keyframe's camera,
    whose unit is tied to the keyframe's by the median ratio of depths.
    """
    if comparison.matches is not None and len(comparison.matches[k][0]) >= FEWEST_MATCHES:
        here, there, weight = comparison.matches[k]
        source = comparison.own[k][here[:, 1], here[:, 0]]
        target = keyframe.points[there[:, 1], there[:, 0]]
        return Correspondences(source.double(), transform_points(keyframe.pose, target.double()), weight.double())
    source_parts = [comparison.seen[k].reshape(-1, 3)]
    target_parts = [keyframe.points.reshape(-1, 3)]
    weights = [((comparison.seen_conf[k] - 1) * (keyframe.conf - 1)).sqrt().flatten()]
    if comparison.back is not None:
        assert comparison.back_own is not None
        assert comparison.back_conf is not None
        ratio = (keyframe.points[..., 2] / comparison.back_own[k][..., 2].clamp(min=1e-3)).median()
        source_parts.append(comparison.own[k].reshape(-1, 3))
        target_parts.append(comparison.back[k].reshape(-1, 3) * ratio)
        weights.append(((comparison.back_conf[k] - 1) * (comparison.own_conf[k] - 1)).sqrt().flatten())
    target = transform_points(keyframe.pose, torch.cat(target_parts).double())
    return Correspondences(torch.cat(source_parts).double(), target, torch.cat(weights).double())


def align_to_window(
    comparison: Comparison,
    keyframes: list[Keyframe],
    settings: TrackingSettings,
    expected_scale: float = 1.0,
    keypoints: KeypointMatches | None = None,
) -> Alignment:
    """Closed-form robust Sim(3) per keyframe, then over the correspondences of all of them, then by the rays of matches.

    expected_scale: the map's unit over the network's own, which `settings.scale_prior` pulls towards. keypoints: matches of
    the whole pictures, with these and with further keyframes, and the intrinsics that are believed.
    Raises ValueError when the correspondences carry no weight.
    """
    found = [correspondences(comparison, k, keyframe) for k, keyframe in enumerate(keyframes)]
    fits = []
    for pair in found:
        spread = settings.relative_residual * pair.source[:, 2].abs().clamp(min=0.1)
        pose, robust = fit_sim3_robust(pair.source, pair.target, pair.weight, spread)
        fits.append((float((pair.weight * robust).sum()), pose, spread))
    best = max(range(len(fits)), key=lambda k: fits[k][0])
    best_scale = split_sim3(fits[best][1])[0]
    # Every pair predicts in a unit of its own; bring them to the best pair's before solving jointly.
    ratios = [split_sim3(fit[1])[0] / best_scale for fit in fits]
    source = torch.cat([pair.source * r for pair, r in zip(found, ratios, strict=True)])
    target, weight = torch.cat([p.target for p in found]), torch.cat([p.weight for p in found])
    spread = torch.cat([fit[2] for fit in fits])
    pose, robust = fit_sim3_robust(source, target, weight, spread, initial=fits[best][1])
    own_scale = float(split_sim3(pose)[0])
    if settings.scale_prior > 0:
        scale = own_scale ** (1 - settings.scale_prior) * expected_scale**settings.scale_prior
        pose, robust = fit_sim3_robust(source, target, weight, spread, iterations=4, fixed_scale=scale, initial=pose)
    inliers = float((weight * robust).sum() / weight.sum())
    points, conf = _canonical(comparison, torch.stack(ratios).to(comparison.own))
    focal = focal_from_pointmap(points, clip=FOCAL_BOUNDS)
    refined = refine_by_matches(comparison, keyframes, points, pose, settings, focal, keypoints)
    if refined is not None:
        pose, inliers = refined.pose, refined.inliers
        if refined.correction is not None:
            points = points * refined.correction[..., None].to(points)
    to_camera = torch.linalg.inv(pose)
    overlap = [_overlap(transform_points((to_camera @ k.pose).to(k.points), k.points), focal) for k in keyframes]
    return Alignment(pose, inliers, overlap, points, conf, focal, own_scale)


def _canonical(comparison: Comparison, ratios: Tensor) -> tuple[Tensor, Tensor]:
    """Confidence-weighted mean of the new view's pointmaps over all pairs, in the best pair's unit."""
    weight = (comparison.own_conf - 0.999)[..., None]
    points = (comparison.own * ratios[:, None, None, None] * weight).sum(0) / weight.sum(0)
    return points, comparison.own_conf.mean(0)


def _overlap(seen: Tensor, focal: float) -> float:
    """Share of a keyframe's points (h,w,3), given in the new camera, that fall inside the new picture."""
    h, w = seen.shape[:2]
    z = seen[..., 2]
    pixel = seen[..., :2] / z.clamp(min=1e-3)[..., None] * focal
    inside = (z > 0) & (pixel[..., 0].abs() < w / 2) & (pixel[..., 1].abs() < h / 2)
    return float(inside.float().mean())


def with_measured_scale(pose: Tensor, points: Tensor, depth: Tensor) -> tuple[Tensor, float] | None:
    """Fix the scale of a pose by a depth image (h,w) in metres; the camera's place is kept.

    Returns the pose and the relative spread of the scale, or None where fewer than 50 pixels have depth.
    """
    valid = torch.isfinite(depth) & (depth > 0.05) & (points[..., 2] > 0.05)
    if valid.sum() < 50:
        return None
    ratio = depth[valid] / points[..., 2][valid]
    middle = ratio.median()
    spread = float((ratio / middle - 1).abs().median()) / max(float(valid.sum()) ** 0.5, 1.0)
    _, rotation, translation = split_sim3(pose)
    return make_sim3(float(middle), rotation, translation), spread
