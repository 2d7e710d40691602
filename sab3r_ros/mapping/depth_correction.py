"""A view's depth corrected by what its keypoints triangulate.

A network's depth is smooth and plausible, and wrong by a fifth; keypoints seen from two known places tell depth exactly, but
few of them, and only with a baseline. The logarithm of the ratio is taken for a sample of a smooth function of the pixel and
of its predicted depth, and a Gaussian process (Rasmussen and Williams 2006, section 2.2) says what it is everywhere else.
"""

import numpy as np
import torch
from torch import Tensor

from sab3r_ros.geometry.projection import project
from sab3r_ros.geometry.ray_refinement import RayMatches
from sab3r_ros.geometry.sim3 import split_sim3

_EVERYWHERE = 0.15  # standard deviation of the logarithm that all pixels share
_HERE = 0.15  # the same of what only near pixels of similar depth share
_NEAR = 0.15  # of the picture's width
_SIMILAR = 0.25  # of the logarithm of depth
_UNEXPLAINED = 0.05  # standard deviation of a sample, beside what directions explain
_LEAST_PARALLAX = 0.01  # radians
_AGREEING = 0.3  # robust weight
_POSE = 0.01  # radians by which the cameras' own directions may be wrong
_LARGEST = 0.7  # logarithm beyond which a sample is a wrong match
_MOST, _FEWEST = 250, 12
_STEP = 2  # pixels between those at which the function is computed


def depth_correction(
    matches: RayMatches, agreeing: Tensor, pose: Tensor, depth: Tensor, intrinsics: np.ndarray
) -> Tensor | None:
    """Factors (h,w) for a new view's depth (h,w), in the map's unit; None where too few matches tell.

    agreeing (N,): the matches' robust weights; pose (4,4): the new view's; intrinsics (3,3): of the network's picture.
    """
    ratio, error = triangulated(matches, pose)
    kept = (agreeing > _AGREEING) & (error < 0.5) & (ratio.abs() < _LARGEST)
    if kept.sum() < _FEWEST:
        return None
    index = kept.nonzero()[:, 0]
    if len(index) > _MOST:
        index = index[error[index].argsort()[:_MOST]]
    rays = matches.points[index].numpy()
    known = _features(torch.from_numpy(project(rays, intrinsics)), torch.from_numpy(rays[:, 2]), depth.shape[1])
    h, w = depth.shape
    rows, columns = torch.meshgrid(torch.arange(0, h, _STEP), torch.arange(0, w, _STEP), indexing="ij")
    small = depth[rows, columns].clamp(min=1e-3)
    wanted = _features(torch.stack([columns, rows], -1).flatten(0, 1), small.flatten(), w)
    noise = torch.diag(error[index] ** 2 + _UNEXPLAINED**2)
    weights = torch.linalg.solve(_covariance(known, known) + noise, ratio[index])
    field = (_covariance(wanted.float(), known.float()) @ weights.float()).reshape(small.shape)
    field = torch.nn.functional.interpolate(field[None, None], size=(h, w), mode="bilinear", align_corners=False)[0, 0]
    return field.exp()


def triangulated(matches: RayMatches, pose: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithms (N,) of the triangulated over the predicted distance from the new camera, and their standard deviations."""
    _, rotation, translation = split_sim3(pose)
    look = matches.rays @ rotation.T
    other = torch.nn.functional.normalize(matches.targets - matches.centres, dim=-1)
    between = matches.centres - translation
    cosine = (look * other).sum(-1)
    sine_square = (1 - cosine**2).clamp(min=1e-12)
    distance = ((between * look).sum(-1) - cosine * (between * other).sum(-1)) / sine_square
    parallax = sine_square.sqrt()
    ratio = (distance.clamp(min=1e-3) / matches.distances).log()
    error = torch.where(distance > 0, (2 * matches.angles**2 + _POSE**2).sqrt() / parallax, torch.inf)
    return ratio, torch.where(parallax > _LEAST_PARALLAX, error, torch.inf)


def _features(pixels: Tensor, depth: Tensor, width: int) -> Tensor:
    """What two pixels (N,2) of depths (N,) must share to be corrected alike, in units in which 1 is near: (N,3)."""
    return torch.cat([pixels / (_NEAR * width), depth.log()[:, None] / _SIMILAR], -1)


def _covariance(a: Tensor, b: Tensor) -> Tensor:
    return _EVERYWHERE**2 + _HERE**2 * torch.exp(-0.5 * torch.cdist(a, b).square())
