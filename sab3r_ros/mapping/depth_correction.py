"""A frame's depth corrected by what its keypoints triangulate.

The log ratio y = log(triangulated / predicted range) of matched keypoints is a sample of a Gaussian process (Rasmussen and
Williams 2006, section 2.2) over pixel and log depth, x = (u / l_u, v / l_u, log z / l_z), with the kernel

    k(x, x') = bias_std^2 + signal_std^2 exp(-|x - x'|^2 / 2),   noise: sigma_i^2 + noise_std^2.

The network's depth is smooth and plausible, and wrong by a fifth; triangulation is exact, but sparse, and needs a baseline.
"""

import numpy as np
import torch
from torch import Tensor

from sab3r_ros.geometry.projection import project
from sab3r_ros.geometry.ray_refinement import RayMatches
from sab3r_ros.geometry.sim3 import split_sim3

_BIAS_STD = 0.15  # of the log ratio, shared by all pixels
_SIGNAL_STD = 0.15  # of the log ratio, shared by near pixels of similar depth
_PIXEL_LENGTH = 0.15  # length scale, of the image's width
_LOG_DEPTH_LENGTH = 0.25  # length scale, of log depth
_NOISE_STD = 0.05  # of a sample, beside what its bearings explain
_MIN_PARALLAX = 0.01  # radians
_MIN_WEIGHT = 0.3  # robust weight
_BEARING_STD = 0.01  # radians, of the cameras' estimated orientations
_MAX_LOG_RATIO = 0.7  # log ratio beyond which a sample is a wrong match
_MAX_SAMPLES, _MIN_SAMPLES = 250, 12
_STEP = 2  # pixels between those at which the function is read
_NODE_STEP = 0.25  # length scales between the nodes of the table that the function is read from


def depth_correction(
    matches: RayMatches, robust_weights: Tensor, pose: Tensor, depth: Tensor, intrinsics: np.ndarray
) -> Tensor | None:
    """Factors (h,w) for a frame's depth (h,w), in the map's unit; None where too few matches tell.

    robust_weights (N,): the matches' robust weights; pose (4,4): the frame's; intrinsics (3,3): of the network's image.
    """
    ratio, error = triangulated(matches, pose)
    kept = (robust_weights > _MIN_WEIGHT) & (error < 0.5) & (ratio.abs() < _MAX_LOG_RATIO)
    if kept.sum() < _MIN_SAMPLES:
        return None
    index = kept.nonzero()[:, 0]
    if len(index) > _MAX_SAMPLES:
        index = index[error[index].argsort()[:_MAX_SAMPLES]]
    rays = matches.points[index].numpy()
    known = _features(torch.from_numpy(project(rays, intrinsics)), torch.from_numpy(rays[:, 2]), depth.shape[1])
    noise = torch.diag(error[index] ** 2 + _NOISE_STD**2)
    factor = torch.linalg.cholesky(_BIAS_STD**2 + _SIGNAL_STD**2 * _kernel(known, known) + noise)
    weights = torch.cholesky_solve(ratio[index][:, None], factor)[:, 0]
    # Between pixels, so that one pixel's own noise does not decide what it is corrected by.
    field = _field(weights, known, depth, _STEP)[None, None]
    field = torch.nn.functional.interpolate(field, size=depth.shape, mode="bilinear", align_corners=False)[0, 0]
    return (_BIAS_STD**2 * weights.sum() + _SIGNAL_STD**2 * field).exp()


def _field(weights: Tensor, known: Tensor, depth: Tensor, step: int = 1) -> Tensor:
    """sum_i weights_i exp(-|x - known_i|^2 / 2) at every step-th pixel x of a depth (h,w), float32.

    The kernel is a product over the three coordinates, and smooth: it is tabulated on a grid finer than its length scales, and
    read between its nodes.
    """
    (h, w), nearest = depth.shape, depth.clamp(min=1e-3)
    near, far = (float(x.log()) / _LOG_DEPTH_LENGTH for x in (nearest.min(), nearest.max()))
    # Beyond all samples by more than four length scales the function is zero: a single far pixel need not enlarge the table.
    low, high = float(known[:, 2].min()) - 4, float(known[:, 2].max()) + 4
    near, far = min(max(near, low), high), max(min(far, high), low)
    ends = [(0.0, (w - 1) / (_PIXEL_LENGTH * w)), (0.0, (h - 1) / (_PIXEL_LENGTH * w)), (near, far)]
    axes = [torch.linspace(a, b, 2 + int((b - a) / _NODE_STEP), dtype=torch.float64) for a, b in ends]
    u, v, z = (torch.exp(-0.5 * (axis[:, None] - known[:, k]) ** 2) for k, axis in enumerate(axes))
    table = (z * weights) @ (v[:, None] * u).flatten(0, 1).T  # (Z, V * U)
    places = nearest[::step, ::step].float()
    across = torch.linspace(-1, 1, w)[::step].expand(places.shape)
    down = torch.linspace(-1, 1, h)[::step, None].expand(places.shape)
    middle, half = (near + far) / 2, max((far - near) / 2, 1e-6)
    deep = (places.log() / _LOG_DEPTH_LENGTH - middle) / half
    table = table.float().reshape(1, 1, len(z), len(v), len(u))
    at = torch.stack([across, down, deep], -1)[None, None]
    return torch.nn.functional.grid_sample(table, at, padding_mode="border", align_corners=True)[0, 0, 0]


def triangulated(matches: RayMatches, pose: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithms (N,) of the triangulated over the predicted distance from the new camera, and their standard deviations."""
    _, rotation, translation = split_sim3(pose)
    bearing = matches.rays @ rotation.T
    other = torch.nn.functional.normalize(matches.targets - matches.centres, dim=-1)
    between = matches.centres - translation
    cosine = (bearing * other).sum(-1)
    sine_square = (1 - cosine**2).clamp(min=1e-12)
    distance = ((between * bearing).sum(-1) - cosine * (between * other).sum(-1)) / sine_square
    parallax = sine_square.sqrt()
    ratio = (distance.clamp(min=1e-3) / matches.distances).log()
    error = torch.where(distance > 0, (2 * matches.angles**2 + _BEARING_STD**2).sqrt() / parallax, torch.inf)
    return ratio, torch.where(parallax > _MIN_PARALLAX, error, torch.inf)


def _features(pixels: Tensor, depth: Tensor, width: int) -> Tensor:
    """Inputs x (N,3) of the Gaussian process for pixels (N,2) of depths (N,)."""
    return torch.cat([pixels / (_PIXEL_LENGTH * width), depth.log()[:, None] / _LOG_DEPTH_LENGTH], -1)


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    return torch.exp(-0.5 * torch.cdist(a, b).square())
