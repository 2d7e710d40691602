"""Refinement of a pose by the bearings of matched points.

Residuals of a match with bearing b (new camera, turned into the map), target X seen from an older camera at c, new camera at t:

    r_out = n . u / sigma,        u = (X - t) / |X - t|,   n = (t - c) x b / |(t - c) x b|    (out of the epipolar plane)
    r_in  = (n x b) . u / sqrt(sigma^2 + (sigma_depth * parallax)^2)                           (in the plane)
    r_d   = log(|X - t| / d) / sigma_range                                                     (range, weakly)

A network's depth errs by more than its directions, so bearings make better residuals than distances between points
(MASt3R-SLAM, arXiv 2412.12392, section 3.3); and an error of depth moves a point along its epipolar line alone, so that out of
the plane a match is as good as its pixels are.
"""

from dataclasses import dataclass

import cv2
import torch
from torch import Tensor

from sab3r_ros.geometry.sim3 import make_sim3, split_sim3

_DEPTH_SIGMA = 0.25  # relative error of the points' depth, of which a match's parallax inherits its own
_RANGE_SIGMA = 0.3  # of the ratio of distances, which only keeps the pose from drifting along its rays
_MAX_PARALLAX = (
    0.4  # radians of parallax; with more of it depth excuses nothing, or a pose far off would agree with all
)
_MIN_COSINE = 0.7  # cosine; a point that should be seen farther off its ray than this is not seen at all
_CONVERGED = 1e-5  # radians, and units of the map: a step that tells the end
_MAX_LOG_RANGE = 0.7  # median of the logarithm of the ratio of distances, above which a pose has diverged


@dataclass
class RayMatches:
    """Points seen by a new camera and by an older one whose place is known; float64.

    rays (N,3): unit directions in the new camera; distances (N,): as the new view has them, in the map's unit;
    targets (N,3): the points in the map as the older view has them; centres (N,3): where in the map the camera
    stands that saw them; angles (N,): standard deviation of the directions in radians.
    """

    rays: Tensor
    distances: Tensor
    targets: Tensor
    centres: Tensor
    angles: Tensor

    def __len__(self):
        return len(self.rays)

    @property
    def points(self) -> Tensor:
        """The points (N,3) as the new view has them, in its camera."""
        return self.rays * self.distances[:, None]

    @staticmethod
    def cat(parts: "list[RayMatches]") -> "RayMatches":
        """All matches of several sets."""
        return RayMatches(*(torch.cat([vars(p)[name] for p in parts]) for name in RayMatches.__dataclass_fields__))

    def subsample(self, most: int) -> "RayMatches":
        """At most `most` of the matches, evenly from all of them."""
        kept = slice(None, None, -(-len(self) // most))
        return RayMatches(*(value[kept] for value in vars(self).values()))


def refine_by_rays(
    matches: RayMatches, pose: Tensor, iterations: int = 15, gnc_start: float = 6.0
) -> tuple[Tensor, Tensor]:
    """Gauss-Newton with Geman-McClure weights on rotation and translation; the scale is kept.

    pose (4,4): similarity to begin with; gnc_start: how many times as wide as at the end the kernel is at first
    (graduated non-convexity), so that a poor start does not decide. Every match has two residuals in units of their standard deviations: the
    angle out of the plane of both cameras and the point, and the angle in_plane, which the depth's error makes larger
    with the parallax.
    Returns the pose and the robust weights (N,), all zero where the pose has diverged.
    """
    scale, rotation, translation = split_sim3(pose)
    depth = (matches.targets - matches.centres).norm(dim=-1)
    robust = torch.ones_like(matches.angles)
    typical = float(matches.distances.median())
    for k in range(iterations):
        gnc_scale = max(1.0, gnc_start * 0.6**k)
        bearing = matches.rays @ rotation.T
        baseline = translation - matches.centres
        seen, gap = _unit(matches.targets - translation)
        out_of_plane, in_plane, parallax = _epipolar_axes(bearing, baseline, depth)
        sigma = torch.stack(
            [matches.angles, (matches.angles**2 + (_DEPTH_SIGMA * parallax.clamp(max=_MAX_PARALLAX)) ** 2).sqrt()], 1
        )
        # Both axes are square to the ray: turning it moves it along one of them by what it is turned about the other.
        off = torch.stack([(out_of_plane * seen).sum(-1), (in_plane * seen).sum(-1)], 1) / sigma
        robust = (1 + off.square().sum(-1) / (2 * gnc_scale**2)).pow(-2)
        axes = torch.stack([out_of_plane, in_plane], 1) / sigma[..., None]
        turning = torch.stack([in_plane, -out_of_plane], 1) / sigma[..., None]
        moving = (off[..., None] * seen[:, None] - axes) / gap[:, None, None]
        jacobian = torch.cat([turning, moving], 2)
        ratio = (gap / matches.distances).log()
        along = torch.cat([torch.zeros_like(seen), -seen / gap[:, None]], 1)
        # Not redescending: points that recede for ever would agree with any ray.
        range_weight = robust.clamp(min=0.05) / (1 + ratio.abs() / _RANGE_SIGMA) / _RANGE_SIGMA**2
        rows = torch.cat([jacobian.flatten(0, 1), along])
        weight = torch.cat([robust.repeat_interleave(2), range_weight])
        weighted = rows * weight[:, None]
        normal = rows.T @ weighted
        normal = normal + 1e-9 * normal.diagonal().mean() * torch.eye(6, dtype=normal.dtype, device=normal.device)
        step = torch.linalg.solve(normal, -(weighted.T @ torch.cat([off.flatten(), ratio])))
        step = step * _trust_region_scale(step, typical)
        rotation = torch.from_numpy(cv2.Rodrigues(step[:3].cpu().numpy())[0]).to(rotation) @ rotation
        translation = translation + step[3:]
        if gnc_scale == 1.0 and float(step.abs().max()) < _CONVERGED:
            break
    if _diverged(matches, rotation, translation):
        robust = torch.zeros_like(robust)
    return make_sim3(scale, rotation, translation), robust


def position_deviation(matches: RayMatches, pose: Tensor, weights: Tensor) -> float:
    """Standard deviation of the camera's position at `pose` (4,4), as the directions of weighted matches (N,) leave it open.

    Square root of the trace of the positions' block of the inverse normal matrix of rotation and translation; in the map's unit. The
    points are taken as certain.
    """
    seen, gap = _unit(matches.targets - pose[:3, 3])
    across = _unit(torch.linalg.cross(seen, _least_axis(seen)))[0]
    rows = []
    for axis in (across, torch.linalg.cross(seen, across)):
        jacobian = torch.cat([torch.linalg.cross(seen, axis), -axis / gap[:, None]], 1)
        rows.append(jacobian * (weights.sqrt() / matches.angles)[:, None])
    stacked = torch.cat(rows)
    normal = stacked.T @ stacked
    normal = normal + 1e-12 * normal.diagonal().mean() * torch.eye(6, dtype=normal.dtype)
    return float(torch.linalg.inv(normal).diagonal()[3:].sum().sqrt())


def _least_axis(vectors: Tensor) -> Tensor:
    """The coordinate axis (N,3) that each vector (N,3) lies least along."""
    return torch.nn.functional.one_hot(vectors.abs().argmin(-1), 3).to(vectors)


def _epipolar_axes(bearing: Tensor, baseline: Tensor, depth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Unit vectors (N,3) out of the epipolar plane and in_plane it, both square to the ray, and the parallax (N,) in radians."""
    normal = torch.linalg.cross(baseline, bearing)
    parallax = normal.norm(dim=-1) / depth.clamp(min=1e-6)
    # Without a baseline any plane through the ray will do; both residuals then have the same sigma.
    aside = bearing.roll(1, -1) + torch.tensor([0.1, 0.0, 0.0], dtype=bearing.dtype, device=bearing.device)
    out_of_plane, _ = _unit(normal + 1e-6 * torch.linalg.cross(aside, bearing))
    return out_of_plane, torch.linalg.cross(out_of_plane, bearing), parallax


def _trust_region_scale(step: Tensor, distance: float) -> float:
    """How much of a step to take: at most half a radian, and half of the way to the points."""
    angle, length = float(step[:3].norm()), float(step[3:].norm())
    return min(1.0, 0.5 / max(angle, 1e-9), 0.5 * distance / max(length, 1e-9))


def _diverged(matches: RayMatches, rotation: Tensor, translation: Tensor) -> bool:
    seen, gap = _unit(matches.targets - translation)
    facing = ((seen * (matches.rays @ rotation.T)).sum(-1) > _MIN_COSINE).double().mean()
    return float((gap / matches.distances).log().abs().median()) > _MAX_LOG_RANGE or float(facing) < 0.3


def _unit(vectors: Tensor) -> tuple[Tensor, Tensor]:
    length = vectors.norm(dim=-1).clamp(min=1e-9)
    return vectors / length[:, None], length
