"""Refinement of a pose by the directions under which matched points are seen.

A network's depth errs by more than its directions, so the angle between rays is a better residual than the distance
between points; MASt3R-SLAM (arXiv 2412.12392, section 3.3) tracks in this way.
"""

import torch
from torch import Tensor

from sab3r_ros.geometry.sim3 import make_sim3, split_sim3


def refine_by_rays(
    source: Tensor,
    target: Tensor,
    centres: Tensor,
    weights: Tensor,
    pose: Tensor,
    spread: float,
    depth_spread: float = 0.3,
    iterations: int = 10,
) -> tuple[Tensor, Tensor]:
    """Gauss-Newton with Geman-McClure weights on rotation and translation; the scale is kept.

    source (N,3): points in the new camera; target (N,3): the same points in the map; centres (N,3): where in the
    map the camera stands that saw them before; weights (N,); pose (4,4): similarity to begin with; spread: angle
    in radians at which a match's influence has fallen to a quarter; depth_spread: the same for the ratio of
    distances, which only keeps the pose from drifting along its rays.
    Returns the pose and the robust weights (N,) of the rays. All in float64.
    """  # fmt: skip
    scale, rotation, translation = split_sim3(pose)
    eye = torch.eye(3, dtype=source.dtype, device=source.device)
    robust = torch.ones_like(weights)
    for k in range(iterations):
        width = spread * max(1.0, 4.0 * 0.6**k)
        turned = scale * (source @ rotation.T)  # from the new camera's centre, in the map's axes
        seen = turned + translation - centres
        before = target - centres
        there = target - translation
        # The point as the new view has it, from the keyframe; and as the keyframe has it, from the new view.
        ray, distance = _unit(seen)
        other_ray, other_distance = _unit(before)
        look, _ = _unit(turned)
        other_look, gap = _unit(there)
        forward, backward = ray - other_ray, look - other_look
        error = (forward.square().sum(-1) + backward.square().sum(-1)) / 2
        robust = (1 + error / width**2).pow(-2)
        tangent = (eye - ray[:, :, None] * ray[:, None]) / distance[:, None, None]
        jac1 = torch.cat([tangent @ -_cross(turned), tangent], 2)
        jac2 = torch.cat([-_cross(look), (eye - other_look[:, :, None] * other_look[:, None]) / gap[:, None, None]], 2)
        along = ray / distance[:, None]
        jac3 = torch.cat([(along[:, None] @ -_cross(turned))[:, 0], along], 1)[:, None]
        ratio = (distance / other_distance).log()
        weigh_ray = (weights * robust)[:, None].expand(-1, 3) / width**2
        weigh_depth = (weights * robust * (1 + (ratio / depth_spread).square()).pow(-2))[:, None] / depth_spread**2
        jacobian = torch.cat([jac1.flatten(0, 1), jac2.flatten(0, 1), jac3.flatten(0, 1)])
        residual = torch.cat([forward.flatten(), backward.flatten(), ratio])
        weight = torch.cat([weigh_ray.flatten(), weigh_ray.flatten(), weigh_depth.flatten()])
        normal = jacobian.T @ (jacobian * weight[:, None])
        normal = normal + 1e-9 * normal.diagonal().mean() * torch.eye(6, dtype=normal.dtype, device=normal.device)
        step = torch.linalg.solve(normal, -(jacobian.T @ (residual * weight)))
        rotation = torch.linalg.matrix_exp(_cross(step[None, :3])[0]) @ rotation
        translation = translation + step[3:]
        if float(step.abs().max()) < 1e-8:
            break
    return make_sim3(scale, rotation, translation), robust


def _unit(vectors: Tensor) -> tuple[Tensor, Tensor]:
    length = vectors.norm(dim=-1).clamp(min=1e-6)
    return vectors / length[:, None], length


def _cross(v: Tensor) -> Tensor:
    """(N,3) to the matrices (N,3,3) of the cross product from the left."""
    zero = torch.zeros_like(v[:, 0])
    x, y, z = v.unbind(-1)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
