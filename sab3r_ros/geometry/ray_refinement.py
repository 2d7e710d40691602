"""Refinement of a pose by the directions under which matched points are seen.

A network's depth errs by more than its directions, so the angle between rays is a better residual than the distance
between points (MASt3R-SLAM, arXiv 2412.12392, section 3.3). And an error of depth moves a point along its epipolar line
alone: across that line a match is as good as its pixels are.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sab3r_ros.geometry.sim3 import make_sim3, split_sim3

_DEPTH_SPREAD = 0.25  # relative error of the points' depth, of which a match's parallax inherits its own
_DISTANCE_SPREAD = 0.3  # of the ratio of distances, which only keeps the pose from drifting along its rays
_WIDEST = 0.4  # radians of parallax; with more of it depth excuses nothing, or a pose far off would agree with all
_FACING = 0.7  # cosine; a point that should be seen farther off its ray than this is not seen at all
_FARTHEST = 0.7  # median of the logarithm of the ratio of distances, above which a pose has run away


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
    def join(parts: "list[RayMatches]") -> "RayMatches":
        """All matches of several sets."""
        return RayMatches(*(torch.cat([vars(p)[name] for p in parts]) for name in RayMatches.__dataclass_fields__))

    def thinned(self, most: int) -> "RayMatches":
        """At most `most` of the matches, evenly from all of them."""
        kept = slice(None, None, -(-len(self) // most))
        return RayMatches(*(value[kept] for value in vars(self).values()))


def refine_by_rays(
    matches: RayMatches, pose: Tensor, iterations: int = 15, widening: float = 6.0
) -> tuple[Tensor, Tensor]:
    """Gauss-Newton with Geman-McClure weights on rotation and translation; the scale is kept.

    pose (4,4): similarity to begin with; widening: how many times as wide as at the end the kernel is at first, so that
    a poor start does not decide. Every match has two residuals in units of their standard deviations: the
    angle out of the plane of both cameras and the point, and the angle within, which the depth's error makes larger
    with the parallax.
    Returns the pose and the robust weights (N,), all zero where the pose has run away from the points.
    """
    scale, rotation, translation = split_sim3(pose)
    depth = (matches.targets - matches.centres).norm(dim=-1)
    robust = torch.ones_like(matches.angles)
    typical = float(matches.distances.median())
    for k in range(iterations):
        widened = max(1.0, widening * 0.6**k)
        look = matches.rays @ rotation.T
        baseline = translation - matches.centres
        seen, gap = _unit(matches.targets - translation)
        across, within, parallax = _epipolar_axes(look, baseline, depth)
        spread = torch.stack(
            [matches.angles, (matches.angles**2 + (_DEPTH_SPREAD * parallax.clamp(max=_WIDEST)) ** 2).sqrt()], 1
        )
        # Both axes are square to the ray: turning it moves it along one of them by what it is turned about the other.
        off = torch.stack([(across * seen).sum(-1), (within * seen).sum(-1)], 1) / spread
        robust = (1 + off.square().sum(-1) / (2 * widened**2)).pow(-2)
        axes = torch.stack([across, within], 1) / spread[..., None]
        turning = torch.stack([within, -across], 1) / spread[..., None]
        moving = (off[..., None] * seen[:, None] - axes) / gap[:, None, None]
        jacobian = torch.cat([turning, moving], 2)
        ratio = (gap / matches.distances).log()
        along = torch.cat([torch.zeros_like(seen), -seen / gap[:, None]], 1)
        # Not redescending: points that recede for ever would agree with any ray.
        hold = robust.clamp(min=0.05) / (1 + ratio.abs() / _DISTANCE_SPREAD) / _DISTANCE_SPREAD**2
        rows = torch.cat([jacobian.flatten(0, 1), along])
        weight = torch.cat([robust.repeat_interleave(2), hold])
        weighted = rows * weight[:, None]
        normal = rows.T @ weighted
        normal = normal + 1e-9 * normal.diagonal().mean() * torch.eye(6, dtype=normal.dtype, device=normal.device)
        step = torch.linalg.solve(normal, -(weighted.T @ torch.cat([off.flatten(), ratio])))
        step = step * _shortened(step, typical)
        rotation = torch.linalg.matrix_exp(_cross(step[None, :3])[0]) @ rotation
        translation = translation + step[3:]
        if widened == 1.0 and float(step.abs().max()) < 1e-7:
            break
    if _ran_away(matches, rotation, translation):
        robust = torch.zeros_like(robust)
    return make_sim3(scale, rotation, translation), robust


def _epipolar_axes(look: Tensor, baseline: Tensor, depth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Unit vectors (N,3) out of the epipolar plane and within it, both square to the ray, and the parallax (N,) in radians."""
    normal = torch.linalg.cross(baseline, look)
    parallax = normal.norm(dim=-1) / depth.clamp(min=1e-6)
    # Without a baseline any plane through the ray will do; both residuals then have the same spread.
    aside = look.roll(1, -1) + torch.tensor([0.1, 0.0, 0.0], dtype=look.dtype, device=look.device)
    across, _ = _unit(normal + 1e-6 * torch.linalg.cross(aside, look))
    return across, torch.linalg.cross(across, look), parallax


def _shortened(step: Tensor, distance: float) -> float:
    """How much of a step to take: at most half a radian, and half of the way to the points."""
    angle, length = float(step[:3].norm()), float(step[3:].norm())
    return min(1.0, 0.5 / max(angle, 1e-9), 0.5 * distance / max(length, 1e-9))


def _ran_away(matches: RayMatches, rotation: Tensor, translation: Tensor) -> bool:
    seen, gap = _unit(matches.targets - translation)
    facing = ((seen * (matches.rays @ rotation.T)).sum(-1) > _FACING).double().mean()
    return float((gap / matches.distances).log().abs().median()) > _FARTHEST or float(facing) < 0.3


def _unit(vectors: Tensor) -> tuple[Tensor, Tensor]:
    length = vectors.norm(dim=-1).clamp(min=1e-9)
    return vectors / length[:, None], length


def _cross(v: Tensor) -> Tensor:
    """(N,3) to the matrices (N,3,3) of the cross product from the left."""
    zero = torch.zeros_like(v[:, 0])
    x, y, z = v.unbind(-1)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
